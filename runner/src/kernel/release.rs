//! InRelease: the signed root of everything a suite offers.
//!
//! Only text that gpgv wrote out as verified is ever looked at; what is around or between signed parts of the
//! file is not. Format: sources.list(5), apt-secure(8), and the
//! "Debian Repository Format" page of the Debian wiki.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use jiff::Timestamp;

use crate::error::{Error, IoContext, Result};
use kvet_host::disk;

use super::cache::Scratch;
use kvet_host::hash::Sha256Hex;

/// The verified content of an InRelease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    pub suite: String,
    pub codename: String,
    /// As written: `Sat, 12 Sep 2026 07:55:41 UTC`.
    pub date: String,
    pub valid_until: Option<SystemTime>,
    pub by_hash: bool,
    files: HashMap<String, (u64, Sha256Hex)>,
}

/// Checks the signature and returns what is signed.
///
/// `place` names the file in messages. `old_keys` accepts a signature by a key that expired since: for suites
/// that are not signed anew any more.
///
/// # Errors
/// The host's: no gpgv, a bad signature, or none by a key of these keyrings.
pub(super) fn verify(
    bytes: &[u8],
    place: &str,
    keyrings: &[&Path],
    old_keys: bool,
    scratch: &Scratch,
) -> Result<String> {
    let refused = |why: &str| {
        let rings = keyrings.iter().map(|k| k.display().to_string()).collect::<Vec<_>>().join(", ");
        Error::host(format!("{place} is refused and deleted: {why} (keyring: {rings})")).hint(
            "the mirror must serve what Debian signed; newer keys come with a newer debian-archive-keyring package",
        )
    };
    if !is_one_message(bytes) {
        return Err(refused("it is not one signed message and nothing else"));
    }
    let (signed, text) = (scratch.path().join("InRelease"), scratch.path().join("verified"));
    std::fs::File::create(&signed)
        .and_then(|mut f| f.write_all(bytes))
        .map_err(|e| disk::explain(e, &signed, "write"))?;
    let status = gpgv(&signed, &text, keyrings)?;
    let verdict = judge(&status, old_keys);
    let verified = std::fs::read_to_string(&text);
    for file in [&signed, &text] {
        // The scratch folder goes soon; an unverified file is not left lying about even that long.
        let _ = std::fs::remove_file(file);
    }
    verdict.map_err(|why| refused(&why))?;
    verified.host(format_args!("read what gpgv verified of {place}"))
}

/// gpgv passes over what stands before, behind and between signed messages. We do not.
fn is_one_message(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
    let begins = bytes.split(|c| *c == b'\n').filter(|line| line.starts_with(BEGIN)).count();
    bytes.starts_with(BEGIN)
        && begins == 1
        && bytes.trim_ascii_end().ends_with(b"-----END PGP SIGNATURE-----")
}

fn gpgv(signed: &Path, text: &Path, keyrings: &[&Path]) -> Result<String> {
    let mut command = Command::new("gpgv");
    command.args(["--status-fd", "1", "--output"]).arg(text);
    for ring in keyrings {
        // A name without a slash would be looked for in ~/.gnupg.
        let ring = std::path::absolute(ring).host("find the current directory")?;
        command.arg("--keyring").arg(ring);
    }
    let output = command
        .arg("--")
        .arg(signed)
        .env("LC_ALL", "C")
        // A terminal's ^C must not look like a signature that is wrong.
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|e| Error::host("cannot run gpgv").because(e).hint("apt-get install gpgv"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Decides by gpgv's status lines (doc/DETAILS of GnuPG). Debian signs with several keys, the newest of which an
/// older keyring lacks: one good signature by a known key is enough, one bad signature is too many.
fn judge(status: &str, old_keys: bool) -> std::result::Result<(), String> {
    let (mut good, mut plain, mut missing) = (false, 0, Vec::new());
    let mut candidate = None;
    for line in status.lines().filter_map(|l| l.strip_prefix("[GNUPG:] ")) {
        let mut words = line.split(' ');
        let (word, first) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match word {
            "PLAINTEXT" => plain += 1,
            "ERROR" if first.starts_with("proc_pkt") => {
                return Err(format!("gpgv cannot make sense of it ({line})"));
            }
            "BADSIG" => return Err(format!("its signature by key {first} is bad: the file was changed")),
            "REVKEYSIG" => return Err(format!("it is signed by the revoked key {first}")),
            "EXPSIG" => return Err(format!("its signature by key {first} has expired")),
            "GOODSIG" => candidate = Some(first),
            "EXPKEYSIG" if old_keys => candidate = Some(first),
            "EXPKEYSIG" => missing.push(format!("{first} (expired)")),
            "NO_PUBKEY" => missing.push(first.to_string()),
            // Fields: fingerprint, date, time stamp, expiry, version, reserved, algorithm, hash, class. The hash
            // algorithms that are strong enough: SHA-256, -384, -512 (RFC 4880, 9.4). Class 01 is text.
            "VALIDSIG" => {
                let hash = words.nth(6).unwrap_or("");
                let known = candidate.take().is_some_and(|key| first.ends_with(key));
                good |= known && matches!(hash, "8" | "9" | "10");
            }
            _ => {}
        }
    }
    match (good, plain) {
        (true, 1) => Ok(()),
        (true, n) => Err(format!("it holds {n} signed messages where there must be one")),
        (false, _) if missing.is_empty() => Err("it has no signature that can be trusted".to_string()),
        (false, _) => Err(format!("it is signed by unknown keys only: {}", missing.join(", "))),
    }
}

impl Release {
    /// Reads verified text.
    ///
    /// # Errors
    /// The host's: a field that must be there is not.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let mut fields = HashMap::new();
        let mut files = HashMap::new();
        let mut in_hashes = false;
        for line in text.lines() {
            if let Some(entry) = line.strip_prefix(' ') {
                if in_hashes {
                    let mut words = entry.split_ascii_whitespace();
                    if let (Some(hash), Some(size), Some(name)) = (words.next(), words.next(), words.next())
                        && let (Some(hash), Ok(size)) = (Sha256Hex::parse(hash), size.parse())
                    {
                        files.insert(name.to_string(), (size, hash));
                    }
                }
            } else if let Some((name, value)) = line.split_once(':') {
                in_hashes = name.eq_ignore_ascii_case("SHA256");
                fields.insert(name.to_ascii_lowercase(), value.trim().to_string());
            }
        }
        let mut field = |name: &str| fields.remove(name).filter(|v| !v.is_empty());
        let missing = |name: &str| Error::host(format!("{place} has no {name} field: refused"));
        let valid_until = match field("valid-until") {
            None => None,
            Some(text) => Some(date(&text).ok_or_else(|| {
                Error::host(format!("{place}: Valid-Until '{text}' is not a date: refused"))
            })?),
        };
        Ok(Self {
            suite: field("suite").ok_or_else(|| missing("Suite"))?,
            codename: field("codename").ok_or_else(|| missing("Codename"))?,
            date: field("date").ok_or_else(|| missing("Date"))?,
            by_hash: field("acquire-by-hash").is_some_and(|v| v.eq_ignore_ascii_case("yes")),
            valid_until,
            files,
        })
    }

    /// Refuses an InRelease of another suite: a mirror could serve an old release under a new one's name.
    ///
    /// # Errors
    /// The host's, naming both.
    pub fn must_be(&self, asked: &str, place: &str) -> Result<()> {
        if [&self.suite, &self.codename].iter().any(|name| *name == asked) {
            return Ok(());
        }
        Err(Error::host(format!(
            "{place} is that of suite '{}' (codename '{}'), not of '{asked}': refused and deleted",
            self.suite, self.codename
        )))
    }

    /// Size and hash of a file of the suite.
    pub fn file(&self, name: &str) -> Option<(u64, &Sha256Hex)> {
        self.files.get(name).map(|(size, hash)| (*size, hash))
    }
}

/// RFC 2822, with the zone as `UTC` (Debian) or an offset.
pub(super) fn date(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix("UTC").map_or_else(|| text.to_string(), |t| format!("{t}+0000"));
    let zoned = jiff::fmt::rfc2822::parse(&text).ok()?;
    Some(SystemTime::from(zoned.timestamp()))
}

/// How a moment is written in a message.
pub(super) fn show(time: SystemTime) -> String {
    Timestamp::try_from(time)
        .map_or_else(|_| "?".to_string(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "[GNUPG:] GOODSIG 6ED0E7B82643E131 Somebody\n\
                       [GNUPG:] VALIDSIG 4CB50190207B4758A3F73A796ED0E7B82643E131 2026-09-12 1 0 4 0 1 8 01 B8\n";
    const PLAIN: &str = "[GNUPG:] PLAINTEXT 74 0 \n";

    #[test]
    fn one_good_signature_is_enough_and_one_bad_one_too_many() {
        let ok = |status: &str| judge(status, false);
        let good = format!("{PLAIN}{KEY}");
        assert_eq!(ok(&good), Ok(()));
        assert_eq!(ok(&format!("{good}[GNUPG:] ERRSIG AB 1 8 01 1 9 -\n[GNUPG:] NO_PUBKEY AB\n")), Ok(()));
        assert!(ok(&format!("{good}[GNUPG:] BADSIG AB x\n")).unwrap_err().contains("AB is bad"));
        assert!(ok(&format!("{good}[GNUPG:] REVKEYSIG AB x\n")).unwrap_err().contains("revoked"));
        assert!(ok(&format!("{PLAIN}{good}")).unwrap_err().contains("2 signed messages"));
        assert!(
            ok(&format!("{PLAIN}[GNUPG:] NO_PUBKEY AB\n")).unwrap_err().contains("unknown keys only: AB")
        );
        assert!(ok("").unwrap_err().contains("no signature"));
        let sha1 = good.replace(" 1 8 01", " 1 2 01");
        assert!(ok(&sha1).is_err());
        let other = good.replace("GOODSIG 6ED0", "GOODSIG 7ED0");
        assert!(ok(&other).is_err());
        let old = good.replace("GOODSIG", "EXPKEYSIG");
        assert!(ok(&old).unwrap_err().contains("expired"));
        assert_eq!(judge(&old, true), Ok(()));
    }

    const TEXT: &str = "Origin: Debian\nSuite: unstable\nCodename: sid\nDate: Fri, 30 Oct 2026 08:08:01 UTC\n\
        Valid-Until: Fri, 06 Nov 2026 08:08:01 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n \
        d41d8cd98f00b204e9800998ecf8427e 0 main/a\nSHA256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        7 main/binary-amd64/Packages.xz\n \
        junk 1 main/b\n";

    #[test]
    fn the_fields_and_only_the_sha256_list() {
        let release = Release::parse(TEXT, "x").unwrap();
        assert_eq!((release.suite.as_str(), release.by_hash), ("unstable", true));
        assert_eq!(release.file("main/binary-amd64/Packages.xz").unwrap().0, 7);
        assert_eq!((release.file("main/a"), release.file("main/b")), (None, None));
        assert_eq!(show(release.valid_until.unwrap()), "2026-11-06 08:08 UTC");
        release.must_be("sid", "x").unwrap();
        release.must_be("unstable", "x").unwrap();
        let error = release.must_be("trixie", "x").unwrap_err().to_string();
        assert!(error.contains("'sid'") && error.contains("'trixie'"), "{error}");
    }

    #[test]
    fn what_lacks_a_field_or_has_a_date_that_is_none_is_refused() {
        for (from, to, said) in [
            ("Suite: unstable", "X: y", "no Suite"),
            ("Codename: sid", "X: y", "no Codename"),
            ("Valid-Until: Fri, 06", "Valid-Until: some", "Valid-Until"),
        ] {
            let error = Release::parse(&TEXT.replace(from, to), "there").unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("there"), "{error}");
        }
    }
}
