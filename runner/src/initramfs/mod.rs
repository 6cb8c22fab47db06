//! The initramfs: `init`, and the modules without which it could not reach us, as a cpio that the kernel unpacks.
//!
//! It is kept in the cache under the hash of what it is made of, so that an unchanged one costs a hash of `init`
//! and nothing else: no module is opened. It is not compressed: that would cost the emulated guest 40 (zstd) to
//! 50 (gzip) million instructions for 2.6 MB, 2 % of the way to init, and save nothing that can be measured.
//!
//! What is in it, besides `/init` and the caller's files:
//!
//! | Path | What |
//! |---|---|
//! | `/modules/NN-name.ko` | the modules, decompressed, numbered in load order |
//! | `/modules/load` | the file names to load at boot, one a line, in this order |
//! | `/modules/index` | all of them as a [module index](kvet_wire::modindex), for what a job asks for |
//! | `/sbin/modprobe` | a link to `/init`: where the kernel looks for its helper |
//! | `/dev/console`, `/dev/null` | nodes for the time before devtmpfs is mounted |
//!
//! The kernel runs `/sbin/modprobe` some ten times (`crypto-cbc(aes)`, …) before it runs `/init`: without open
//! descriptors, with nothing mounted. Called by that name, init must answer from `/modules/index` or fail at once.

mod archive;
pub mod index;
pub mod modinfo;
pub mod modules;
pub mod preflight;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use cpio::newc::Reader;
use kvet_wire::modindex::{self, Entry};
use sha2::{Digest, Sha256};

use self::archive::Archive;
use self::modules::ModuleTree;
use crate::error::{Error, IoContext, Result};
use crate::kernel::{Cache, Held};

/// Goes up whenever the same inputs give another archive.
const FORMAT: u32 = 2;
/// The largest single file that is copied in, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A further file, folder or link that is to be in the initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Where it is to be: absolute, without `.` and `..`. Folders are made.
    pub guest: String,
    /// What is in it.
    pub content: Content,
    /// Its permissions, as in `st_mode`; a link has none of its own.
    pub mode: u32,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// What is in this file of the host.
    Of(PathBuf),
    /// This.
    Text(String),
    /// A folder, which further files may be in.
    Folder,
    /// A symbolic link that says this.
    Link(String),
}

/// What an initramfs is made of.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// The guest's PID 1, built for its architecture.
    pub init: &'a Path,
    /// The kernel's modules.
    pub tree: &'a ModuleTree,
    /// The kernel's release (`uname -r`), where it is known.
    pub release: Option<&'a str>,
    /// Something that differs when the modules do: the kernel's signature, a hash, a build number.
    pub identity: &'a str,
    /// Modules to load at boot.
    pub boot: &'a [&'a str],
    /// Modules that jobs will ask for.
    pub jobs: &'a [&'a str],
    /// Further files.
    pub files: &'a [ExtraFile],
}

/// An initramfs in the cache. While it lives, nobody prunes it.
#[derive(Debug)]
pub struct Initramfs {
    /// The archive.
    pub path: PathBuf,
    /// Whether it was made just now.
    pub made: bool,
    /// Wanted modules that are neither in the tree nor known to be built in. [`preflight`] says what that means.
    pub missing: Vec<String>,
    _held: Held,
}

/// Finds or makes the initramfs, as `<cache>/initramfs/<key>.cpio`.
///
/// # Errors
/// The caller's fault: a file that is not there, or wants to be where something else is. The kernel's: a module
/// that is damaged, needs one that is not there, or was built for another release. The host's: the rest.
pub fn ensure(cache: &Cache, contents: &Contents) -> Result<Initramfs> {
    let path = cache.root().join("initramfs").join(format!("{}.cpio", contents.key()?));
    let missing = contents.missing()?;
    let mut made = false;
    loop {
        if let Some(held) = cache.hold(&path)? {
            return Ok(Initramfs { path, made, missing, _held: held });
        }
        cache.publish(&path, |file| contents.write(file, &path))?;
        made = true;
    }
}

impl Contents<'_> {
    /// The hash of everything that the archive is made of. Reads `init` and the extra files, but no module.
    fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        // Every part says how long it is, so that no two different lists of parts look the same.
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(&FORMAT.to_le_bytes());
        part(self.release.unwrap_or_default().as_bytes());
        part(self.identity.as_bytes());
        for list in [self.boot, self.jobs] {
            part(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|name| part(name.as_bytes()));
        }
        part(&read_file(self.init)?);
        for file in self.files {
            part(file.guest.as_bytes());
            part(&file.mode.to_le_bytes());
            part(file.content.kind());
            part(&file.content.read()?);
        }
        Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    fn missing(&self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for name in self.boot.iter().chain(self.jobs) {
            if self.tree.find(name)?.is_none() && !missing.iter().any(|other| other == name) {
                missing.push((*name).to_owned());
            }
        }
        Ok(missing)
    }

    fn write(&self, out: impl Write, path: &Path) -> Result<()> {
        let mut archive = Archive::new(out, path);
        for dir in ["dev", "modules", "proc", "run", "sbin", "sys", "tmp"] {
            archive.directory(dir, 0o755)?;
        }
        // The kernel opens /dev/console for init's descriptors 0 to 2 before init can mount anything. Its built-in
        // initramfs normally has the node, but CONFIG_INITRAMFS_SOURCE may have replaced that.
        archive.device("dev/console", 0o600, 5, 1)?;
        archive.device("dev/null", 0o666, 1, 3)?;
        archive.file("init", 0o755, &read_file(self.init)?)?;
        archive.link("sbin/modprobe", "/init")?;
        self.write_modules(&mut archive)?;
        for file in self.files {
            let name = archive.make_room_for(&file.guest)?;
            match &file.content {
                Content::Folder => archive.directory(name, file.mode)?,
                Content::Link(target) => archive.link(name, target)?,
                Content::Of(_) | Content::Text(_) => archive.file(name, file.mode, &file.content.read()?)?,
            }
        }
        archive.finish()
    }

    fn write_modules(&self, archive: &mut Archive<impl Write>) -> Result<()> {
        let boot = self.tree.closure(self.boot)?.load;
        let wanted: Vec<&str> = self.boot.iter().chain(self.jobs).copied().collect();
        let all = self.tree.closure(&wanted)?.load;
        let (mut load, mut entries) = (String::new(), Vec::new());
        // Those of the boot set come first in `all`, because they were wanted first.
        for (n, module) in all.iter().enumerate() {
            let (elf, info) = self.tree.read(&module.path)?;
            self.check_release(module, info.release.as_deref(), info.versioned)?;
            let path = format!("{:02}-{}.ko", n + 1, module.name);
            archive.file(&format!("modules/{path}"), 0o644, &elf)?;
            if boot.iter().any(|other| other.name == module.name) {
                load.extend([&path, "\n"]);
            }
            entries.push(Entry { path, aliases: info.aliases, ..module.clone() });
        }
        entries.extend(self.tree.builtin().map(|name| Entry { name: name.to_owned(), ..Entry::default() }));
        archive.file("modules/load", 0o644, load.as_bytes())?;
        archive.file("modules/index", 0o644, modindex::write(&entries, &[]).as_bytes())
    }

    /// Refuses what the kernel would refuse ("version magic … should be …"), while somebody can still act on it.
    fn check_release(&self, module: &Entry, release: Option<&str>, versioned: bool) -> Result<()> {
        match (self.release, release) {
            // With symbol versions (CONFIG_MODVERSIONS) the kernel compares those instead of the release.
            (Some(kernel), Some(built_for)) if kernel != built_for && !versioned => Err(Error::kernel(
                format!("module {} was built for {built_for}, but the kernel is {kernel}", module.path),
            )
            .hint("give the modules of this very build: lib/modules/<release>")),
            _ => Ok(()),
        }
    }
}

impl Content {
    fn read(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Of(path) => read_file(path).map(Cow::Owned),
            Self::Text(text) | Self::Link(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Self::Folder => Ok(Cow::Borrowed(&[])),
        }
    }

    /// For the key: a file, a folder and a link of the same bytes are not the same.
    fn kind(&self) -> &'static [u8] {
        match self {
            Self::Of(_) | Self::Text(_) => b"file",
            Self::Folder => b"folder",
            Self::Link(_) => b"link",
        }
    }
}

impl Initramfs {
    /// What is in the archive, in its order.
    ///
    /// # Errors
    /// It cannot be read, or is no archive.
    pub fn list(&self) -> Result<Vec<Listing>> {
        let action = || format!("read {}", self.path.display());
        let mut input = BufReader::new(File::open(&self.path).host(action())?);
        let mut list = Vec::new();
        loop {
            let reader = Reader::new(input).host(action())?;
            let entry = reader.entry();
            if entry.is_trailer() {
                return Ok(list);
            }
            list.push(Listing {
                name: format!("/{}", entry.name()),
                mode: entry.mode(),
                size: entry.file_size(),
            });
            input = reader.skip().host(action())?;
        }
    }
}

/// One file of an initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Its absolute path.
    pub name: String,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Its size in bytes.
    pub size: u32,
}

impl fmt::Display for Listing {
    /// Like a line of `ls -l`, without what is always the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.mode & 0o170_000 {
            0o040_000 => 'd',
            0o120_000 => 'l',
            0o020_000 => 'c',
            _ => '-',
        };
        write!(f, "{kind}{:04o} {:>9} {}", self.mode & 0o7777, self.size, self.name)
    }
}

/// Reads a file that the caller named.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let action = || format!("read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).given(action())?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).given(action())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES >> 20;
        return Err(Error::caller(format!("{} is larger than {limit} MiB", path.display()))
            .hint("share large files with the guest instead of putting them into its initramfs"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
