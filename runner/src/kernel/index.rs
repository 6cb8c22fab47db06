//! Packages: what a suite offers, cut down to what kvet asks for.
//!
//! Debian's whole index has 60 MB and 76,000 stanzas; it is read as a stream, and only some stanzas are kept.

use std::io::{BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::{Error, Result};

use super::resolve::reachable;
use super::version::{KernelVersion, cmp_debian};
use kvet_host::hash::Sha256Hex;

/// One package, as the signed index describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Package {
    pub name: String,
    pub version: String,
    /// Below the archive's root; checked to be a harmless relative path.
    pub filename: String,
    pub size: u64,
    pub installed_kib: u64,
    pub sha256: Sha256Hex,
    /// Pre-Depends and Depends; like the next two empty for kernels.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub depends: String,
    /// Provides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provides: String,
    /// Conflicts and Breaks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub conflicts: String,
}

/// Indexes of another format are not understood and are made again. It is in the file's name, because kvets of different
/// versions may share a cache: what an older one keeps lacks the dependencies.
pub(super) const FORMAT: u32 = 2;

/// What is kept of one suite's index for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub format: u32,
    pub suite: String,
    pub arch: Arch,
    /// When the archive was last asked, seconds since the epoch.
    pub checked_unix: u64,
    /// The InRelease's own date, as written.
    pub date: String,
    /// Until when the archive says it may be used, where it says so.
    pub valid_until_unix: Option<u64>,
    /// The Packages file this was read from.
    pub packages_sha256: Sha256Hex,
    /// Names of packages that were looked for apart from kernels; not all need to be there. What they may need is
    /// kept with them.
    pub also: Vec<String>,
    pub packages: Vec<Package>,
}

/// A line of an index is short; one that is not belongs to no index that Debian made.
const MAX_LINE: u64 = 1 << 20;
/// Bounds what an index can make us read, and keep.
const MAX_INDEX: u64 = 512 << 20;
const MAX_KEPT: usize = 20_000;

/// Reads a Packages file (uncompressed) and keeps the kernels' packages and those named, with all that these may need.
///
/// # Errors
/// The host's: it does not read, or a stanza that is kept lacks a field.
pub(super) fn parse(source: impl Read, arch: Arch, also: &[String], place: &str) -> Result<Vec<Package>> {
    let broken = |why: &str| Error::host(format!("{place}: {why}: refused and deleted"));
    let mut source = BufReader::with_capacity(64 << 10, source.take(MAX_INDEX));
    let mut read = Vec::new();
    let mut stanza: Option<Stanza> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = (&mut source)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|e| broken("does not unpack").because(e))?;
        if n as u64 == MAX_LINE {
            return Err(broken("has a line of a megabyte"));
        }
        if line == b"\n" || n == 0 {
            read.extend(stanza.take());
            if n == 0 {
                return keep(read, arch, also).map_err(|why| broken(&why));
            }
        } else if let Some(name) = line.strip_prefix(b"Package: ") {
            let name = String::from_utf8_lossy(name).trim().to_string();
            // What a package needs may stand before or behind it: all are looked at when all are read.
            let wanted = !also.is_empty() || kernel_abi(&name, arch).is_some();
            stanza = wanted.then(|| Stanza { name, ..Stanza::default() });
        } else if let Some(stanza) = &mut stanza {
            stanza.field(&String::from_utf8_lossy(&line));
        }
    }
}

/// The kernels' packages, and what [`reachable`] finds.
fn keep(read: Vec<Stanza>, arch: Arch, also: &[String]) -> std::result::Result<Vec<Package>, String> {
    let reached = reachable(&read, also, |s| (&s.name, &s.provides, &s.depends));
    let mut kept = Vec::new();
    for (mut stanza, reached) in read.into_iter().zip(reached) {
        if !reached {
            if kernel_abi(&stanza.name, arch).is_none() {
                continue;
            }
            (stanza.depends, stanza.provides, stanza.conflicts) = Default::default();
        }
        kept.push(stanza.finish()?);
        if kept.len() > MAX_KEPT {
            return Err("offers more than can be wanted".into());
        }
    }
    Ok(kept)
}

#[derive(Default)]
struct Stanza {
    name: String,
    version: Option<String>,
    filename: Option<String>,
    size: Option<u64>,
    installed_kib: u64,
    sha256: Option<Sha256Hex>,
    depends: String,
    provides: String,
    conflicts: String,
}

impl Stanza {
    fn field(&mut self, line: &str) {
        let Some((name, value)) = line.trim_end().split_once(": ") else { return };
        match name {
            "Version" => self.version = Some(value.to_string()),
            "Filename" => self.filename = Some(value.to_string()),
            "Size" => self.size = value.parse().ok(),
            "Installed-Size" => self.installed_kib = value.parse().unwrap_or(0),
            "SHA256" => self.sha256 = Sha256Hex::parse(value),
            "Depends" | "Pre-Depends" => add(&mut self.depends, value),
            "Conflicts" | "Breaks" => add(&mut self.conflicts, value),
            "Provides" => add(&mut self.provides, value),
            _ => {}
        }
    }

    fn finish(self) -> std::result::Result<Package, String> {
        let lacks = |what: &str| format!("package {} has no usable {what}", self.name);
        let filename = self.filename.as_ref().filter(|f| harmless(f)).ok_or_else(|| lacks("Filename"))?;
        let version = self.version.as_ref().filter(|v| harmless(v)).ok_or_else(|| lacks("Version"))?;
        Ok(Package {
            filename: filename.clone(),
            version: version.clone(),
            size: self.size.ok_or_else(|| lacks("Size"))?,
            sha256: self.sha256.clone().ok_or_else(|| lacks("SHA256"))?,
            installed_kib: self.installed_kib,
            name: self.name,
            depends: self.depends,
            provides: self.provides,
            conflicts: self.conflicts,
        })
    }
}

fn add(field: &mut String, value: &str) {
    if !field.is_empty() {
        field.push_str(", ");
    }
    field.push_str(value);
}

/// A relative path (or a version) made of the characters that Debian uses, going nowhere but down.
fn harmless(path: &str) -> bool {
    !path.is_empty()
        && path.len() < 1024
        && path.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~+:".contains(&c))
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The parts a kernel comes in.
const PARTS: [&str; 4] = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

/// `7.2.12+deb13-amd64` for a package of the standard flavour; none for `cloud`, `rt`, `16k`, unsigned images,
/// debug information, and meta packages without a version.
fn kernel_abi(package: &str, arch: Arch) -> Option<&str> {
    let abi = PARTS.iter().find_map(|part| package.strip_prefix(part))?;
    let stem = abi.strip_suffix(arch.debian())?.strip_suffix('-')?;
    let (_, rest) = KernelVersion::parse_prefix(stem)?;
    // What follows the version is a build (`+deb13`), an ABI (`-50`, `-0.deb11.50`) or `-rc7`; a word is a flavour.
    let plain = rest.split('-').skip(1).all(|word| {
        word.starts_with(|c: char| c.is_ascii_digit())
            || word.strip_prefix("rc").is_some_and(|n| n.parse::<u32>().is_ok())
    });
    (plain && !abi.contains('/')).then_some(abi)
}

/// A kernel that a suite offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub suite: String,
    pub version: KernelVersion,
    /// `linux-image-<abi>`'s version.
    pub package_version: String,
    pub abi: String,
    /// What has to be fetched; the first one holds the image.
    pub packages: Vec<Package>,
    /// What has to be there and is not.
    pub missing: Option<String>,
    /// What is there makes a kernel that boots, though without its modules.
    pub bare: bool,
}

/// A `linux-image` of this size or less is a meta package (they have 2 KB; the smallest real one has megabytes).
const META: u64 = 16 << 10;

/// The kernels of an index, both layouts: image with modules inside up to 6.18, binary + modules + base after.
pub(super) fn offers(index: &Index) -> Vec<Offer> {
    let find = |part: &str, abi: &str, version: &str| {
        let name = format!("{part}{abi}");
        index.packages.iter().find(|p| p.name == name && p.version == version).cloned()
    };
    let mut all = Vec::new();
    for image in index.packages.iter().filter(|p| p.name.starts_with(PARTS[0])) {
        let Some(abi) = kernel_abi(&image.name, index.arch) else { continue };
        // The package's version tells the upstream version; the name of an older ABI does not.
        let Some((version, _)) = KernelVersion::parse_prefix(&image.version) else { continue };
        let mut offer = Offer {
            suite: index.suite.clone(),
            version,
            package_version: image.version.clone(),
            abi: abi.to_string(),
            packages: Vec::new(),
            missing: None,
            bare: false,
        };
        if image.size > META {
            offer.packages.push(image.clone());
        } else {
            for part in &PARTS[1..] {
                match find(part, abi, &image.version) {
                    Some(package) => offer.packages.push(package),
                    None => offer.missing = offer.missing.or_else(|| Some(format!("{part}{abi}"))),
                }
            }
        }
        offer.bare = offer.missing.is_some() && offer.packages.iter().any(|p| p.name.starts_with(PARTS[1]));
        all.push(offer);
    }
    all.sort_by(|a, b| {
        a.version.cmp(&b.version).then_with(|| cmp_debian(&a.package_version, &b.package_version))
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_standard_flavour_is_a_kernel() {
        for (name, arch, abi) in [
            ("linux-image-6.12.107+deb13-amd64", Arch::X86_64, Some("6.12.107+deb13-amd64")),
            ("linux-image-6.1.0-50-amd64", Arch::X86_64, Some("6.1.0-50-amd64")),
            ("linux-image-6.1.0-0.deb11.50-arm64", Arch::Arm64, Some("6.1.0-0.deb11.50-arm64")),
            ("linux-modules-7.3-amd64", Arch::X86_64, Some("7.3-amd64")),
            ("linux-binary-7.3-rc5-arm64", Arch::Arm64, Some("7.3-rc5-arm64")),
            ("linux-image-6.12.107+deb13-arm64", Arch::X86_64, None),
            ("linux-image-6.12.107+deb13-cloud-amd64", Arch::X86_64, None),
            ("linux-image-6.12.107+deb13-rt-amd64", Arch::X86_64, None),
            ("linux-image-6.12.107+deb13-arm64-16k", Arch::Arm64, None),
            ("linux-image-6.12.107+deb13-amd64-dbg", Arch::X86_64, None),
            ("linux-image-6.12.107+deb13-amd64-unsigned", Arch::X86_64, None),
            ("linux-binary-unsigned-7.2.12+deb13-amd64", Arch::X86_64, None),
            ("linux-image-amd64", Arch::X86_64, None),
            ("linux-image-5.10.0-32-cloud-amd64", Arch::X86_64, None),
        ] {
            assert_eq!(kernel_abi(name, arch), abi, "{name}");
        }
    }

    fn index(file: &str, arch: Arch, also: &[String]) -> Index {
        let path = format!("{}/tests/data/packages/{file}", env!("CARGO_MANIFEST_DIR"));
        let packages = parse(std::fs::File::open(&path).unwrap(), arch, also, &path).unwrap();
        Index {
            format: FORMAT,
            suite: file.into(),
            arch,
            checked_unix: 0,
            date: String::new(),
            valid_until_unix: None,
            packages_sha256: Sha256Hex::of(b""),
            also: also.to_vec(),
            packages,
        }
    }

    fn shown(index: &Index) -> Vec<String> {
        offers(index)
            .iter()
            .map(|o| match &o.missing {
                None => format!("{} {} {}", o.version, o.abi, o.packages.len()),
                Some(missing) => format!("{} lacks {missing}", o.version),
            })
            .collect()
    }

    #[test]
    fn saved_indexes_of_the_archive() {
        assert_eq!(
            shown(&index("backports-amd64", Arch::X86_64, &[])),
            [
                "6.18.15 6.18.15+deb13-amd64 1",
                "7.1.13 lacks linux-modules-7.1.13+deb13-amd64",
                "7.2.11 7.2.11+deb13-amd64 3",
                "7.2.12 7.2.12+deb13-amd64 3"
            ]
        );
        assert_eq!(
            shown(&index("oldoldstable-arm64", Arch::Arm64, &[])),
            ["5.10.218 5.10.0-30-arm64 1", "5.10.223 5.10.0-32-arm64 1"]
        );
        assert_eq!(shown(&index("experimental-amd64", Arch::X86_64, &[])), ["7.3-rc7 7.3-amd64 3"]);
    }

    #[test]
    fn named_packages_are_kept_too() {
        let index = index("experimental-amd64", Arch::X86_64, &["busybox-static".into(), "nosuch".into()]);
        assert!(index.packages.iter().any(|p| p.name == "busybox-static" && p.size > 900_000));
    }

    #[test]
    fn an_index_that_would_lead_astray_is_refused() {
        let sha = "0".repeat(64);
        let stanza = |file: &str, size: &str| {
            format!(
                "Package: linux-image-7.2-amd64\nVersion: 7.2-1\nFilename: {file}\nSize: {size}\nSHA256: {sha}\n"
            )
        };
        let read = |text: &str| parse(text.as_bytes(), Arch::X86_64, &[], "here");
        assert_eq!(read(&stanza("pool/a.deb", "1")).unwrap().len(), 1);
        for (text, said) in [
            (stanza("../../etc/passwd", "1"), "no usable Filename"),
            (stanza("/etc/passwd", "1"), "no usable Filename"),
            (stanza("pool/a b.deb", "1"), "no usable Filename"),
            (stanza("pool/a.deb", "many"), "no usable Size"),
            (stanza("pool/a.deb", "1").replace("SHA256", "MD5sum"), "no usable SHA256"),
            ("x".repeat(2 << 20), "a line of a megabyte"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("here"), "{error}");
        }
    }
}
