//! The cache on disk: what is in it, how things get into it, and how they leave.
//!
//! ```text
//! <root>/
//!   kernels/<id>/            a kernel: entry.json, image, config, lib/modules/<release>/…
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
//! An entry appears by one rename; afterwards only files that are made from it are added, each by one rename. Who uses it holds its lock shared; who makes
//! or removes it holds it alone.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};
use crate::event::{BuiltFacts, PackageFacts};

use super::hash::Sha256Hex;
use super::image::ImageKind;
use super::lock::{Lock, Mode};
use super::space;
use super::version::KernelVersion;

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
    /// What it was built of: names of source, config and toolchain. Empty for what was not built here.
    #[serde(default)]
    pub build_keys: Vec<String>,
    /// How it was built, where it was built here.
    #[serde(default)]
    pub built: Option<BuiltFacts>,
}

/// The description of an entry, in its folder.
pub(super) const ENTRY_FILE: &str = "entry.json";

/// A kernel in the cache, and what only the disk knows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// The kernel.
    #[serde(flatten)]
    pub info: EntryInfo,
    /// Its folder.
    pub dir: PathBuf,
    /// When it was last acquired, seconds since the epoch.
    pub last_used_unix: u64,
    /// Whether some kvet uses it right now.
    pub in_use: bool,
}

/// A source or a build folder in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedWork {
    /// `source` or `build`.
    pub kind: &'static str,
    /// Its name in the cache.
    pub id: String,
    /// What it is of, for people.
    pub what: String,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// Whether some kvet uses it right now.
    pub in_use: bool,
}

/// What [`Cache::prune`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Everything, indexes and broken-off downloads too.
    All,
    /// Entries of every kind that were not used for so long.
    UnusedFor(Duration),
    /// All but so many, the most recently used ones.
    KeepNewest(usize),
}

/// What [`Cache::prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Names of the removed entries.
    pub removed: Vec<String>,
    /// Names of those that stayed because they are in use.
    pub in_use: Vec<String>,
    /// Bytes that came free.
    pub freed_bytes: u64,
}

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

    /// The kernels in it, newest version first, then by architecture. Entries that cannot be read are not
    /// kernels: they are left out here, made again when asked for, and removed by [`Cache::prune`].
    ///
    /// # Errors
    /// The host's: the cache cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for id in self.ids(Kind::Kernels)? {
            if let Some(info) = self.read_entry::<EntryInfo>(Kind::Kernels, &id).filter(|i| i.id == id) {
                let lock = self.lock_path(&id);
                let in_use = Lock::try_take(&lock, Mode::Exclusive)?.is_none();
                let dir = self.entry_dir(Kind::Kernels, &id);
                all.push(Listed { info, dir, last_used_unix: unix(modified(&lock)), in_use });
            }
        }
        all.sort_by(|a, b| {
            (b.info.version, a.info.arch, &a.info.id).cmp(&(a.info.version, b.info.arch, &b.info.id))
        });
        Ok(all)
    }

    /// The sources and build folders in it. Measuring them takes a moment: a source has 90,000 files.
    ///
    /// # Errors
    /// The host's: the cache cannot be read.
    pub fn list_work(&self) -> Result<Vec<ListedWork>> {
        let mut all = Vec::new();
        for (kind, word) in [(Kind::Sources, "source"), (Kind::Builds, "build")] {
            for id in self.ids(kind)? {
                let entry: serde_json::Value = self.read_entry(kind, &id).unwrap_or_default();
                // A build and a checkout name their source, a tarball its place, a package itself.
                let named = ["/source", "/repository", "/place", "/package/name"].iter();
                let what =
                    named.filter_map(|at| entry.pointer(at)?.as_str()).next().unwrap_or("?").to_owned();
                let in_use = Lock::try_take(&self.lock_path(&id), Mode::Exclusive)?.is_none();
                let size_bytes = tree_size(&self.entry_dir(kind, &id));
                all.push(ListedWork { kind: word, id, what, size_bytes, in_use });
            }
        }
        Ok(all)
    }

    /// Removes entries that are not in use, and broken ones; images have a verb of their own.
    ///
    /// # Errors
    /// The host's: something cannot be removed.
    pub fn prune(&self, what: Prune) -> Result<Pruned> {
        let mut done = self.prune_entries(&Kind::OWN, what)?;
        // They are made again in milliseconds.
        done.freed_bytes += self.prune_files("initramfs", "")?;
        if what == Prune::All {
            done.freed_bytes += self.prune_files("index", ".json")? + self.prune_files("partial", "")?;
        }
        Ok(done)
    }

    pub(super) fn prune_entries(&self, kinds: &[Kind], what: Prune) -> Result<Pruned> {
        let mut entries = Vec::new();
        for &kind in kinds {
            for id in self.ids(kind)? {
                let used = modified(&self.lock_path(&id));
                let whole = self.entry_dir(kind, &id).join(ENTRY_FILE).is_file();
                entries.push((used, whole, kind, id));
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.0));
        let now = SystemTime::now();
        let mut done = Pruned::default();
        for (rank, (used, whole, kind, id)) in entries.into_iter().enumerate() {
            let goes = !whole
                || match what {
                    Prune::All => true,
                    Prune::UnusedFor(age) => now.duration_since(used).unwrap_or_default() >= age,
                    Prune::KeepNewest(n) => rank >= n,
                };
            if goes {
                match Lock::try_take(&self.lock_path(&id), Mode::Exclusive)? {
                    Some(_alone) => {
                        done.freed_bytes += self.remove_entry(kind, &id)?;
                        done.removed.push(id);
                    }
                    None => done.in_use.push(id),
                }
            }
        }
        Ok(done)
    }

    fn prune_files(&self, dir: &str, suffix: &str) -> Result<u64> {
        let mut freed = 0;
        for name in names(&self.root.join(dir))? {
            let path = self.root.join(dir).join(&name);
            let lock = match name.strip_suffix(suffix) {
                Some(stem) if !suffix.is_empty() => self.lock_path(&format!("index-{stem}")),
                _ => path.clone(),
            };
            if let Some(_alone) = Lock::try_take(&lock, Mode::Exclusive)? {
                freed += path.metadata().map_or(0, |m| m.len());
                fs::remove_file(&path).host(format_args!("remove {}", path.display()))?;
            }
        }
        Ok(freed)
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
                    return Err(space::explain(e, &dir, "make"));
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
        file.flush().map_err(|e| space::explain(e, path, "write"))?;
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
        Ok(lock.filter(|lock| lock.file().metadata().is_ok_and(|m| m.len() > 0)).map(Held))
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
    File::create(path).and_then(|mut f| f.write_all(&text)).map_err(|e| space::explain(e, path, "write"))
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

pub(super) fn modified(path: &Path) -> SystemTime {
    path.metadata().and_then(|m| m.modified()).unwrap_or(UNIX_EPOCH)
}

pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Bytes of the regular files in a tree; symbolic links are not followed.
/// Bytes of all files below a folder; what cannot be read counts nothing.
pub fn tree_size(dir: &Path) -> u64 {
    let mut size = 0;
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(t) if t.is_dir() => open.push(entry.path()),
                Ok(t) if t.is_file() => size += entry.metadata().map_or(0, |m| m.len()),
                _ => {}
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("c")).unwrap();
        (dir, cache)
    }

    fn entry(cache: &Cache, id: &str, version: &str) -> EntryInfo {
        let info = EntryInfo {
            format: FORMAT,
            id: id.into(),
            version: version.parse().unwrap(),
            arch: Arch::X86_64,
            release: version.into(),
            suite: "stable".into(),
            origin: "a test".into(),
            image_kind: ImageKind::BzImage,
            image_sha256: Sha256Hex::of(b""),
            packages: vec![],
            btf: Some(true),
            modules: 0,
            size_bytes: 5,
            created_unix: 1,
            build_keys: vec![],
            built: None,
        };
        let scratch = cache.scratch().unwrap();
        fs::write(scratch.path().join("image"), b"12345").unwrap();
        cache.commit(&scratch, Kind::Kernels, id, &info).unwrap();
        info
    }

    fn used(cache: &Cache, id: &str, seconds_ago: u64) -> Lock {
        let lock = Lock::try_take(&cache.lock_path(id), Mode::Shared).unwrap().unwrap();
        lock.file().set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
        lock
    }

    #[test]
    fn the_root_comes_from_the_environment() {
        let at = |vars: &[(&str, &str)]| {
            let find = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            Cache::locate(&find).map(|p| p.display().to_string())
        };
        assert_eq!(at(&[("KVET_CACHE", "c"), ("HOME", "/h")]).unwrap(), "c");
        assert_eq!(at(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]).unwrap(), "/x/kvet");
        assert_eq!(
            at(&[("XDG_CACHE_HOME", "x"), ("KVET_CACHE", ""), ("HOME", "/h")]).unwrap(),
            "/h/.cache/kvet"
        );
        assert!(at(&[]).unwrap_err().to_string().contains("KVET_CACHE"));
    }

    #[test]
    fn an_entry_is_listed_newest_first_and_says_whether_it_is_used() {
        let (_dir, cache) = cache();
        let old = entry(&cache, "a", "6.12.95");
        let new = entry(&cache, "b", "7.2.12");
        fs::create_dir(cache.entry_dir(Kind::Kernels, "broken")).unwrap();
        let held = used(&cache, "b", 10);
        let list = cache.list().unwrap();
        assert_eq!(list.iter().map(|l| &l.info).collect::<Vec<_>>(), [&new, &old]);
        assert_eq!((list[0].in_use, list[1].in_use), (true, false));
        drop(held);
        assert!(!cache.list().unwrap()[0].in_use);
    }

    #[test]
    fn prune_goes_by_the_last_use_and_spares_what_is_in_use() {
        let (_dir, cache) = cache();
        for id in ["a", "b", "c"] {
            entry(&cache, id, "7.2.1");
        }
        fs::create_dir(cache.entry_dir(Kind::Kernels, "broken")).unwrap();
        let a = used(&cache, "a", 5000);
        used(&cache, "b", 3000);
        used(&cache, "c", 10);
        let done = cache.prune(Prune::UnusedFor(Duration::from_secs(1000))).unwrap();
        assert_eq!((done.removed, done.in_use), (vec!["b".into(), "broken".into()], vec!["a".into()]));
        assert!(done.freed_bytes > 5);
        drop(a);
        let done = cache.prune(Prune::KeepNewest(1)).unwrap();
        assert_eq!(done.removed, ["a"]);
        fs::write(cache.index_path("stable-arm64"), "{}").unwrap();
        fs::write(cache.partial_path(&Sha256Hex::of(b"")), "part").unwrap();
        assert_eq!(cache.prune(Prune::All).unwrap().removed, ["c"]);
        assert_eq!(tree_size(&cache.root.join("index")) + tree_size(&cache.root.join("partial")), 0);
        assert_eq!(names(&cache.root.join("tmp")).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn leftovers_go_and_what_somebody_works_on_stays() {
        let (_dir, cache) = cache();
        let live = cache.scratch().unwrap();
        let dead = cache.root.join("tmp/4194305-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("half"), "x").unwrap();
        fs::write(cache.root.join("tmp/4194306-0.lock"), "").unwrap();
        let partial = cache.partial_path(&Sha256Hex::of(b"old"));
        fs::write(&partial, "x").unwrap();
        fs::File::open(&partial).unwrap().set_modified(UNIX_EPOCH).unwrap();
        fs::write(cache.partial_path(&Sha256Hex::of(b"new")), "x").unwrap();
        Cache::open(cache.root()).unwrap();
        let name = live.path().file_name().unwrap().to_str().unwrap().to_string();
        assert_eq!(names(&cache.root.join("tmp")).unwrap(), [name.clone(), format!("{name}.lock")]);
        assert!(!partial.exists() && cache.partial_path(&Sha256Hex::of(b"new")).exists());
        drop(live);
        assert!(names(&cache.root.join("tmp")).unwrap().is_empty());
    }
}
