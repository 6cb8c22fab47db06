//! Tarballs: a file or a URL, what shows that it is the right one, and its unpacking.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::{Error, Fault, IoContext, Result};
use kvet_host::disk;
use kvet_host::fs::unix;

use super::super::Progress;
use super::super::apt::Base;
use super::super::cache::{Cache, FORMAT, Kind};
use super::super::deb::{Target, Watched, decoder};
use super::super::download::Trouble;
use super::super::suites::Sources;
use super::super::version::KernelVersion;
use super::spec::{Proof, is_url};
use super::{SourceTree, tree};
use kvet_host::hash::{Sha256Hex, sha256};
use kvet_host::lock::{Lock, Mode, Wait};

/// No tarball of the kernel comes near this; the largest have 160 MB packed by xz, and 1.6 GB not packed at all.
const MAX_TAR: u64 = 4 << 30;
/// A detached signature has a kilobyte.
const MAX_SIGNATURE: u64 = 64 << 10;
/// An unpacked tree.
const TREE_BYTES: u64 = 2 << 30;

/// What is known of an unpacked tarball.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    format: u32,
    /// Where it came from when it was unpacked.
    place: String,
    sha256: Sha256Hex,
    version: KernelVersion,
    created_unix: u64,
}

pub(super) fn ensure(
    place: &str,
    proof: &Proof,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<SourceTree> {
    // What the hash names is either there or not, wherever it came from.
    if let Proof::Sha256(hash) = proof
        && let Some(lock) = Lock::try_take(&cache.lock_path(&id(hash)), Mode::Shared)?
        && let Some(tree) = open(cache, hash, lock, None)
    {
        return Ok(tree);
    }
    let fetched =
        if is_url(place) { Some(fetch(place, proof, cache, sources, progress, cancel)?) } else { None };
    let file = fetched.as_ref().map_or(Path::new(place), |scratch| &scratch.file);
    let hash = File::open(file)
        .and_then(|f| sha256(Patient { inner: f, cancel }))
        .given(format_args!("read the tarball {}", file.display()));
    cancel.check()?;
    let hash = hash?;
    verify(place, file, &hash, proof, sources, progress, cancel)?;
    let id = id(&hash);
    let note = (*proof == Proof::None).then_some("not verified");
    let mut wait_for = Wait::new("unpack the same tarball");
    loop {
        let lock_path = cache.lock_path(&id);
        if let Some(lock) = Lock::try_take(&lock_path, Mode::Shared)?
            && let Some(tree) = open(cache, &hash, lock, note)
        {
            return Ok(tree);
        }
        if let Some(lock) = Lock::try_take(&lock_path, Mode::Exclusive)? {
            if cache.read_entry::<Entry>(Kind::Sources, &id).is_none_or(|e| e.format != FORMAT) {
                make(place, file, &hash, &id, cache, progress, cancel)?;
            }
            lock.share()?;
            if let Some(tree) = open(cache, &hash, lock, note) {
                return Ok(tree);
            }
        }
        wait_for.once(progress, cancel)?;
    }
}

fn id(hash: &Sha256Hex) -> String {
    format!("tar-{}", &hash.as_str()[..16])
}

fn open(cache: &Cache, hash: &Sha256Hex, lock: Lock, note: Option<&str>) -> Option<SourceTree> {
    let id = id(hash);
    let entry =
        cache.read_entry::<Entry>(Kind::Sources, &id).filter(|e| e.format == FORMAT && e.sha256 == *hash)?;
    lock.touch();
    let name = entry.place.rsplit('/').next().unwrap_or_default();
    Some(SourceTree {
        path: cache.entry_dir(Kind::Sources, &id).join("tree"),
        version: entry.version,
        describe: Some(note.map_or(name.to_string(), |note| format!("{name}, {note}"))),
        dirty: false,
        identity: format!("tar-{hash}"),
        settled: true,
        lock: Some(lock),
    })
}

fn make(
    place: &str,
    file: &Path,
    hash: &Sha256Hex,
    id: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<()> {
    disk::require(cache.root(), TREE_BYTES, &format!("the source in {place}"))?;
    let scratch = cache.scratch()?;
    let tree = scratch.path().join("tree");
    // What is unpacked is what the caller named, down to its hash.
    unpack(file, &tree, &format!("tarball {place}"), Fault::Caller, progress, cancel)?;
    let version = tree::version(&tree).map_err(|_| {
        Error::caller(format!(
            "tarball {place} holds no kernel source: no Makefile with a version below one folder"
        ))
    })?;
    let entry = Entry {
        format: FORMAT,
        place: place.to_string(),
        sha256: hash.clone(),
        version,
        created_unix: unix(SystemTime::now()),
    };
    cache.commit(&scratch, Kind::Sources, id, &entry)
}

/// Unpacks a tarball without its outermost folder. Messages call it `whole`, and `fault` is whose it is if it is none.
pub(super) fn unpack(
    packed: &Path,
    dest: &Path,
    whole: &str,
    fault: Fault,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<()> {
    let name = packed.file_name().and_then(|n| n.to_str()).unwrap_or("the tarball").to_string();
    let file = File::open(packed).given(format_args!("open {}", packed.display()))?;
    let total = file.metadata().host(format_args!("stat {}", packed.display()))?.len();
    fs::create_dir(dest).map_err(|e| disk::explain(e, dest, "make"))?;
    let watched = Watched::file(file, total, format!("unpacking {name}"), progress, cancel);
    let plain = decoder(watched, suffix(&name)).host(format_args!("unpack {name}"))?;
    let below = |path: &Path| {
        let mut parts = path.components();
        parts.next();
        let rest = parts.as_path();
        (!rest.as_os_str().is_empty()).then(|| rest.to_path_buf())
    };
    let done = Target::new(dest, whole, fault).all(plain, &below);
    // A cancel surfaces as a failed read somewhere deep down.
    cancel.check()?;
    done
}

/// How a tarball is compressed, by its name.
fn suffix(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((_, "xz")) => ".xz",
        Some((_, "gz" | "tgz")) => ".gz",
        Some((_, "zst")) => ".zst",
        _ => "",
    }
}

/// A download that vanishes when dropped.
struct Fetched {
    file: PathBuf,
    _scratch: super::super::cache::Scratch,
}

fn fetch(
    url: &str,
    proof: &Proof,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Fetched> {
    let scratch = cache.scratch()?;
    let (base, name) = split(url)?;
    if let Proof::Keyring(keys) = proof {
        // Before the long download.
        fs::metadata(keys).given(format_args!("open the keyring {}", keys.display()))?;
    }
    let file = scratch.path().join(&name);
    let mut out = File::create(&file).map_err(|e| disk::explain(e, &file, "make"))?;
    let fetcher = sources.plain_fetcher();
    fetcher.whole(&base, &name, &mut out, &file, MAX_TAR, progress, cancel).map_err(Trouble::into_error)?;
    Ok(Fetched { file, _scratch: scratch })
}

fn split(url: &str) -> Result<(Base, String)> {
    let (base, name) = url.rsplit_once('/').unwrap_or((url, ""));
    if name.is_empty() || !base.contains("://") {
        return Err(Error::caller(format!("{url} names no file")));
    }
    Ok((Base::parse(base)?, name.to_string()))
}

fn verify(
    place: &str,
    file: &Path,
    hash: &Sha256Hex,
    proof: &Proof,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<()> {
    match proof {
        Proof::None => {
            progress(Progress::Note(format!(
                "{place} is taken as it is: nothing says what it should be (tar:{place}#sha256={hash} would)"
            )));
            Ok(())
        }
        Proof::Sha256(wanted) if wanted == hash => Ok(()),
        Proof::Sha256(wanted) => {
            let text = format!("{place} is not what was asked for: its SHA-256 is {hash}, not {wanted}");
            let error = if is_url(place) { Error::host(text) } else { Error::caller(text) };
            Err(error.hint("nothing of it was unpacked"))
        }
        Proof::Keyring(keys) => {
            let signature = signature(place, sources, cancel)?;
            progress(Progress::Note(format!("checking the signature of {place}")));
            check_signature(place, file, &signature, keys, cancel)
        }
    }
}

/// `linux-6.12.30.tar.xz` is signed as `linux-6.12.30.tar.sign`: the signature is over the uncompressed tar.
fn signature(place: &str, sources: &Sources, cancel: &Cancel) -> Result<Vec<u8>> {
    let stem = place.strip_suffix(".tgz").map(|s| format!("{s}.tar"));
    let plain = [".xz", ".gz", ".zst"].iter().find_map(|e| place.strip_suffix(e)).unwrap_or(place);
    let name = format!("{}.sign", stem.as_deref().unwrap_or(plain));
    if is_url(&name) {
        let (base, name) = split(&name)?;
        return sources
            .plain_fetcher()
            .small(&base, &name, MAX_SIGNATURE, cancel)
            .map_err(Trouble::into_error);
    }
    let mut bytes = Vec::new();
    let file = File::open(&name).given(format_args!("open the signature {name}"))?;
    file.take(MAX_SIGNATURE).read_to_end(&mut bytes).host(format_args!("read {name}"))?;
    Ok(bytes)
}

fn check_signature(place: &str, file: &Path, signature: &[u8], keys: &Path, cancel: &Cancel) -> Result<()> {
    let keys = keys.canonicalize().given(format_args!("open the keyring {}", keys.display()))?;
    let mut sign = tempfile::NamedTempFile::new().host("make a temporary file")?;
    sign.write_all(signature).and_then(|()| sign.rewind()).host("write a temporary file")?;
    let mut gpgv = Command::new("gpgv")
        .args(["--quiet", "--keyring"])
        .arg(&keys)
        .arg(sign.path())
        .arg("-")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Error::host("cannot run gpgv").because(e).hint("apt-get install gpgv"))?;
    let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let packed = File::open(file).given(format_args!("open {}", file.display()))?;
    let plain =
        decoder(Patient { inner: packed, cancel }, suffix(name)).host(format_args!("unpack {place}"))?;
    let fed = gpgv.stdin.take().map(|mut pipe| io::copy(&mut plain.take(MAX_TAR), &mut pipe));
    let done = gpgv.wait_with_output().host("wait for gpgv")?;
    cancel.check()?;
    if done.status.success() && matches!(fed, Some(Ok(_))) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let why = said.lines().last().unwrap_or("it does not unpack").trim_start_matches("gpgv: ").to_string();
    Err(Error::host(format!(
        "{place} is refused: its signature is not one by a key of {}: {why}",
        keys.display()
    ))
    .hint("nothing of it was unpacked"))
}

/// A reader that a cancel ends.
struct Patient<'a> {
    inner: File,
    cancel: &'a Cancel,
}

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.cancel.requested() {
            return Err(io::Error::other("interrupted"));
        }
        self.inner.read(buf)
    }
}
