//! The cache on disk: what is in it, how things get into it, and how they leave.
//!
//! ```text
//! <root>/
//!   kernels/<id>/            a kernel: entry.json, image, config, lib/modules/<release>/…; builds.json where it was built here
//!   packages/<id>/           any other package: entry.json, root/…
//!   sources/<id>/            a kernel's source: entry.json, tree/…
//!   builds/<id>/             where a kernel is built, again and again: entry.json, out/… (make's O=)
//!   slices/<id>/             where selftests are built, again and again: entry.json, tree/…
//!   suites/<id>/             what came of that: entry.json, share/…
//!   images/<id>/             what guests have as their root: entry.json, root/…
//!   initramfs/<hash>.cpio    an initramfs, and indexes of module trees that are not ours
//!   index/<suite>-<arch>-<format>.json  what a suite's signed index says of kernels and what else was asked for
//!   partial/<sha256>         a download that is under way or was broken off; goes on where it stopped
//!   tmp/<name>, tmp/<name>.lock  something being made; without a holder of the lock it is rubbish
//!   locks/<name>.lock        one per entry and index; its time stamp is that of the last use
//! ```
//!
//! An entry appears by one rename; afterwards only files that are made from it, or that tell of it, are added, each by one rename. Who uses it holds its lock
//! shared; who makes or removes it holds it alone.

mod builds;
mod stock;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};
use crate::event::{BuiltFacts, PackageFacts};
use kvet_host::disk::{self, tree_size};
use kvet_host::fs::modified;

use super::image::ImageKind;
use super::version::KernelVersion;
use kvet_host::hash::Sha256Hex;
use kvet_host::lock::{Lock, Mode};

pub(super) use builds::Build;
pub use stock::{Listed, ListedWork, Prune, Pruned, Removed, RemovedFiles};

/// Entries of another format are not understood and are made again.
pub(super) const FORMAT: u32 = 1;
/// A broken-off download that nobody came back for.
const PARTIAL_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
/// An entry's description is small; what is larger is none.
const MAX_JSON: u64 = 8 << 20;

/// The kernel cache. Any number of processes may have it open.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What a kernel in the cache is: the content of its `entry.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryInfo {
    /// The format of this description.
    pub format: u32,
    /// Its name in the cache, `debian-7.2.12-x86_64-0d916c7f1310`.
    pub id: String,
    /// The upstream version.
    pub version: KernelVersion,
    /// The architecture.
    pub arch: Arch,
    /// `uname -r`, read from the image.
    pub release: String,
    /// The suite it was found in; empty for what was built here.
    pub suite: String,
    /// Where it came from, in one line.
    pub origin: String,
    /// The form of its image.
    pub image_kind: ImageKind,
    /// SHA-256 of the image.
    pub image_sha256: Sha256Hex,
    /// The packages it was unpacked from.
    pub packages: Vec<PackageFacts>,
    /// Whether its config says that it carries BTF; none where it came without a config.
    pub btf: Option<bool>,
    /// How many module files it has.
    pub modules: u64,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// When it was unpacked or built, seconds since the epoch.
    pub created_unix: u64,
    /// How it was built first, where it was built here.
    #[serde(default)]
    pub built: Option<BuiltFacts>,
}

/// The description of an entry, in its folder.
pub(super) const ENTRY_FILE: &str = "entry.json";

/// The kinds of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Kernels,
    Packages,
    Sources,
    Builds,
    Slices,
    Suites,
    Images,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Kernels,
        Kind::Packages,
        Kind::Sources,
        Kind::Builds,
        Kind::Slices,
        Kind::Suites,
        Kind::Images,
    ];
    /// What [`Cache::prune`] looks at; images have a verb of their own.
    const OWN: [Kind; 6] =
        [Kind::Kernels, Kind::Packages, Kind::Sources, Kind::Builds, Kind::Slices, Kind::Suites];

    fn dir(self) -> &'static str {
        match self {
            Kind::Kernels => "kernels",
            Kind::Packages => "packages",
            Kind::Sources => "sources",
            Kind::Builds => "builds",
            Kind::Slices => "slices",
            Kind::Suites => "suites",
            Kind::Images => "images",
        }
    }

    /// One of them, for people.
    fn word(self) -> &'static str {
        match self {
            Kind::Kernels => "kernel",
            Kind::Packages => "package",
            Kind::Sources => "source",
            Kind::Builds => "build",
            Kind::Slices => "slice",
            Kind::Suites => "suite",
            Kind::Images => "image",
        }
    }
}

impl Cache {
    /// Where the cache is: `KVET_CACHE`, else `$XDG_CACHE_HOME/kvet`, else `~/.cache/kvet`. `env` looks a
    /// variable up.
    ///
    /// # Errors
    /// None of the variables is set.
    pub fn locate(env: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
        let set = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        // The XDG base directory specification wants relative paths ignored; KVET_CACHE may be one.
        set("KVET_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("kvet")))
            .or_else(|| set("HOME").map(|p| p.join(".cache/kvet")))
            .ok_or_else(|| {
                Error::host(
                    "no place for the kernel cache: none of KVET_CACHE, XDG_CACHE_HOME and HOME is set",
                )
                .hint("set KVET_CACHE to a folder with a few GiB of space")
            })
    }

    /// Opens the cache, makes it where there is none, and removes what killed kvets left behind.
    ///
    /// # Errors
    /// The host's: the folder cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = std::path::absolute(root.into()).host("find the current directory")?;
        let plain = ["index", "initramfs", "partial", "tmp", "locks"];
        for dir in Kind::ALL.map(Kind::dir).into_iter().chain(plain) {
            let dir = root.join(dir);
            if !dir.is_dir() {
                fs::create_dir_all(&dir)
                    .host(format_args!("make the kernel cache {}", dir.display()))
                    .map_err(|e| e.hint("KVET_CACHE says where the cache is"))?;
            }
        }
        let cache = Self { root };
        cache.sweep();
        Ok(cache)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn ids(&self, kind: Kind) -> Result<Vec<String>> {
        names(&self.root.join(kind.dir()))
    }

    pub(super) fn entry_dir(&self, kind: Kind, id: &str) -> PathBuf {
        self.root.join(kind.dir()).join(id)
    }

    pub(super) fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(format!("{name}.lock"))
    }

    pub(super) fn index_path(&self, name: &str) -> PathBuf {
        self.root.join("index").join(format!("{name}.json"))
    }

    pub(super) fn partial_path(&self, sha256: &Sha256Hex) -> PathBuf {
        self.root.join("partial").join(sha256.as_str())
    }

    /// An entry's description; none where there is no such entry or it cannot be understood.
    pub(super) fn read_entry<T: DeserializeOwned>(&self, kind: Kind, id: &str) -> Option<T> {
        read_json(&self.entry_dir(kind, id).join(ENTRY_FILE))
    }

    /// Moves an entry out of sight and removes it. The caller holds its lock alone.
    pub(super) fn remove_entry(&self, kind: Kind, id: &str) -> Result<u64> {
        let scratch = self.scratch()?;
        let dir = self.entry_dir(kind, id);
        let size = tree_size(&dir);
        match fs::rename(&dir, scratch.path().join("gone")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            moved => moved.host(format_args!("remove {}", dir.display())).map(|()| size),
        }
    }

    /// A folder to make something in. It vanishes when dropped, and when its maker is killed the next kvet
    /// removes it.
    pub(super) fn scratch(&self) -> Result<Scratch> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let serial = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = self.root.join("tmp").join(format!("{}-{serial}", std::process::id()));
            let lock = dir.with_extension("lock");
            // Another host or container may share the cache and have our process id.
            let Some(lock) = Lock::try_take(&lock, Mode::Exclusive)? else { continue };
            match fs::create_dir(&dir) {
                Ok(()) => return Ok(Scratch { dir, lock: Some(lock) }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    fs::remove_dir_all(&dir).host(format_args!("remove the leftover {}", dir.display()))?;
                    lock.remove().host("remove a leftover lock")?;
                }
                Err(e) => {
                    let _ = lock.remove();
                    return Err(disk::explain(e, &dir, "make"));
                }
            }
        }
    }

    /// Makes what is in a scratch folder an entry. The caller holds the entry's lock alone.
    pub(super) fn commit(
        &self,
        scratch: &Scratch,
        kind: Kind,
        id: &str,
        entry: &impl Serialize,
    ) -> Result<()> {
        write_json(&scratch.path().join(ENTRY_FILE), entry)?;
        self.remove_entry(kind, id)?;
        let dir = self.entry_dir(kind, id);
        fs::rename(scratch.path(), &dir).host(format_args!("put {} into the cache", dir.display()))
    }

    /// Replaces a small file whole.
    pub(super) fn replace_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let scratch = self.scratch()?;
        let temp = scratch.path().join("new");
        write_json(&temp, value)?;
        fs::rename(&temp, path).host(format_args!("write {}", path.display()))
    }

    /// Makes a file of the cache that appears whole or not at all: `make` writes it elsewhere, then it gets its
    /// name. Two processes that make the same file at once both do, and the later one's stays.
    ///
    /// # Errors
    /// What `make` gives, or the host's: a full disk is named as such.
    pub fn publish(&self, path: &Path, make: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
        let action = || format!("write {}", path.display());
        let scratch = self.scratch()?;
        let temp = scratch.path().join("new");
        let mut file = BufWriter::new(File::create(&temp).host(action())?);
        make(&mut file)?;
        file.flush().map_err(|e| disk::explain(e, path, "write"))?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).host(format_args!("make {}", dir.display()))?;
        }
        fs::rename(&temp, path).host(action())
    }

    /// Keeps a published file from being pruned while the returned value lives. None if it was pruned already.
    ///
    /// # Errors
    /// The host's: it cannot be locked.
    pub fn hold(&self, path: &Path) -> Result<Option<Held>> {
        if !path.is_file() {
            return Ok(None);
        }
        let lock = Lock::try_take(path, Mode::Shared)?;
        // Taking the lock makes the file where it had just gone; ours are never empty.
        let lock = lock.filter(|lock| lock.file().metadata().is_ok_and(|m| m.len() > 0));
        Ok(lock.inspect(Lock::touch).map(Held))
    }

    /// Removes what has no living owner. Trouble in doing so hinders nobody: the next kvet tries again.
    fn sweep(&self) {
        let tmp = self.root.join("tmp");
        for name in names(&tmp).unwrap_or_default() {
            let lock = match name.strip_suffix(".lock") {
                Some(_) => tmp.join(&name),
                None => tmp.join(format!("{name}.lock")),
            };
            if let Ok(Some(lock)) = Lock::try_take(&lock, Mode::Exclusive) {
                let _ = fs::remove_dir_all(tmp.join(name.strip_suffix(".lock").unwrap_or(&name)));
                let _ = lock.remove();
            }
        }
        let partial = self.root.join("partial");
        for path in names(&partial).unwrap_or_default().iter().map(|n| partial.join(n)) {
            let age = SystemTime::now().duration_since(modified(&path)).unwrap_or_default();
            if age >= PARTIAL_LIFE
                && let Ok(Some(lock)) = Lock::try_take(&path, Mode::Exclusive)
            {
                let _ = lock.remove();
            }
        }
    }
}

/// See [`Cache::hold`].
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "it is the lock's life that counts")] Lock);

/// See [`Cache::scratch`].
#[derive(Debug)]
pub(super) struct Scratch {
    dir: PathBuf,
    lock: Option<Lock>,
}

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a commit the folder is gone already. What cannot be removed now, the next kvet sweeps.
        let _ = fs::remove_dir_all(&self.dir);
        let _ = self.lock.take().map(Lock::remove);
    }
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    if path.metadata().ok()?.len() > MAX_JSON {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::host(format!("cannot describe {}", path.display())).because(e))?;
    File::create(path).and_then(|mut f| f.write_all(&text)).map_err(|e| disk::explain(e, path, "write"))
}

/// The names in a folder that are UTF-8 (all of ours are), sorted.
fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).host(format_args!("read {}", dir.display()))? {
        let entry = entry.host(format_args!("read {}", dir.display()))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
