//! Trees: packages with everything they depend on, unpacked over each other into one folder of the cache.
//!
//! No maintainer script is run and nobody needs to be root; what those scripts would have done is up to the caller, before
//! the tree gets its name in the cache.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::event::PackageFacts;
use kvet_host::disk::{self, tree_size};
use kvet_host::fs::{modified, unix};

use super::Progress;
use super::archive::Work;
use super::cache::{Cache, FORMAT, Kind, Prune, Pruned};
use super::debian::package_facts;
use super::download::Trouble;
use super::resolve::{Needed, Wanted, resolve};
use super::suites::{DebianSuite, Sources};
use kvet_host::hash::Sha256Hex;
use kvet_host::lock::{Lock, Mode};

/// `/bin` and the like are links into `/usr`, as every Debian since 12 has it.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Where a file of a package goes in a tree in which `/bin` and the like are links into `/usr`: where a package still ships
/// a file there, it goes where the link leads. None for such a link itself: [`link_merged`] makes it.
pub fn merged(path: &Path) -> Option<PathBuf> {
    let first = path.components().next()?.as_os_str();
    match MERGED.iter().any(|name| first == *name) {
        true if path.components().count() == 1 => None,
        true => Some(Path::new("usr").join(path)),
        false => Some(path.to_owned()),
    }
}

/// Makes those links, as far as there is something for them to lead to.
///
/// # Errors
/// The host's: there is something else in their place, or they cannot be made.
pub fn link_merged(root: &Path) -> Result<()> {
    for name in MERGED {
        let target = Path::new("usr").join(name);
        if fs::symlink_metadata(root.join(&target)).is_ok_and(|found| found.is_dir()) {
            let path = root.join(name);
            symlink(&target, &path).host(format_args!("link {}", path.display()))?;
        }
    }
    Ok(())
}

/// What a tree is made of.
pub struct TreeSpec<'a> {
    /// The first word of its name in the cache.
    pub name: &'a str,
    /// The packages asked for.
    pub names: &'a [String],
    /// Packages that are done without, whoever depends on them.
    pub left_out: &'a [String],
    /// Something that differs when `place` or `finish` would do something else.
    pub identity: &'a str,
    /// Where a file of a package goes, if anywhere: both paths are relative to the tree.
    pub place: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// Does the rest, on the finished tree.
    pub finish: &'a dyn Fn(&Path) -> Result<()>,
}

/// A tree in the cache. While it lives, nobody prunes it.
#[derive(Debug)]
pub struct Tree {
    /// What it is.
    pub info: TreeInfo,
    /// The folder that stands for `/`.
    pub root: PathBuf,
    _lock: Lock,
}

/// What a tree is: the content of its `entry.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeInfo {
    /// The format of this description.
    pub format: u32,
    /// Its name in the cache, `userland-x86_64-0d916c7f1310`.
    pub id: String,
    /// The architecture.
    pub arch: Arch,
    /// Its packages, by name.
    pub packages: Vec<TreePackage>,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// When it was made, seconds since the epoch.
    pub created_unix: u64,
}

impl TreeInfo {
    /// Its packages with their versions, in one line: `bash 5.2.37-2, coreutils 9.7-3`.
    pub fn packages_line(&self) -> String {
        let line = |package: &TreePackage| format!("{} {}", package.facts.name, package.facts.version);
        self.packages.iter().map(line).collect::<Vec<_>>().join(", ")
    }
}

/// A package of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreePackage {
    /// Name, version, suite, hash.
    pub facts: PackageFacts,
    /// The package that depends on it; none for one that was asked for.
    pub needed_by: Option<String>,
}

/// A tree in the cache, and what only the disk knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTree {
    /// The tree.
    pub info: TreeInfo,
    /// When it was last used, seconds since the epoch.
    pub last_used_unix: u64,
    /// Whether some kvet uses it right now.
    pub in_use: bool,
}

/// Gets a tree out of the cache, or makes it of packages from [`DebianSuites::packages_suite`](super::DebianSuites),
/// verified like kernels.
///
/// # Errors
/// As [`acquire`](super::acquire); the caller's when the suite has no package of a name; what `finish` gives.
pub fn acquire_tree(
    spec: &TreeSpec,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Tree> {
    let mut work = Work { arch, cache, sources, progress, cancel };
    let suite = sources.suite(&sources.config.packages_suite)?;
    let index = work.index(suite, spec.names).map_err(Trouble::into_error)?;
    let place = format!("suite {} for {arch}", suite.name);
    let wanted = Wanted { names: spec.names, left_out: spec.left_out, place: &place };
    let needed = resolve(&index.packages, &wanted)?;
    let hashes = needed.iter().map(|n| n.package.sha256.as_str()).collect::<Vec<_>>().join(" ");
    let key = Sha256Hex::of(format!("{}\n{hashes}", spec.identity).as_bytes());
    let id = format!("{}-{arch}-{}", spec.name, &key.as_str()[..12]);
    let read = |cache: &Cache| {
        let info = cache.read_entry::<TreeInfo>(Kind::Images, &id);
        info.filter(|info| info.format == FORMAT && info.id == id)
    };
    let what = format!("make {id}");
    let lock = work.settled(&id, &what, &|cache| read(cache).is_some(), &mut |work| {
        work.make_tree(&id, spec, suite, &needed)
    })?;
    lock.touch();
    let info = read(cache).ok_or_else(|| Error::host(format!("the cache entry {id} vanished")))?;
    Ok(Tree { info, root: cache.entry_dir(Kind::Images, &id).join("root"), _lock: lock })
}

impl Work<'_> {
    /// Downloads, unpacks and finishes. The entry's lock is held alone.
    fn make_tree(&mut self, id: &str, spec: &TreeSpec, suite: &DebianSuite, needed: &[Needed]) -> Result<()> {
        let base = self.sources.base(suite, self.cancel).map_err(Trouble::into_error)?;
        let sizes = needed
            .iter()
            .map(|n| n.package.size.saturating_add(n.package.installed_kib.saturating_mul(1024)));
        let size = sizes.fold(0, u64::saturating_add);
        disk::require(self.cache.root(), size, &format!("{} {}", spec.name, self.arch))?;
        let scratch = self.cache.scratch()?;
        let root = scratch.path().join("root");
        fs::create_dir(&root).map_err(|e| disk::explain(e, &root, "make"))?;
        let what = format!("downloading {} packages of the {} for {}", needed.len(), spec.name, self.arch);
        let total = needed.iter().map(|n| n.package.size).sum();
        let mut before = 0;
        for Needed { package, .. } in needed {
            let progress = &mut *self.progress;
            // One line for all of them; unpacking takes no time worth a word.
            let mut told = |step: Progress| match step {
                Progress::Bytes { what: step, done, .. } => {
                    if !step.starts_with("unpacking ") {
                        progress(Progress::Bytes { what: what.clone(), done: before + done, total });
                    }
                }
                other => progress(other),
            };
            let (arch, cache, sources, cancel) = (self.arch, self.cache, self.sources, self.cancel);
            let mut work = Work { arch, cache, sources, progress: &mut told, cancel };
            work.unpack(base, package, &root, spec.place)?;
            before += package.size;
        }
        (spec.finish)(&root)?;
        self.cancel.check()?;
        let info = TreeInfo {
            format: FORMAT,
            id: id.to_owned(),
            arch: self.arch,
            packages: needed.iter().map(|n| tree_package(n, &suite.name)).collect(),
            size_bytes: tree_size(&root),
            created_unix: unix(SystemTime::now()),
        };
        self.cache.commit(&scratch, Kind::Images, id, &info)
    }
}

fn tree_package(needed: &Needed, suite: &str) -> TreePackage {
    TreePackage { facts: package_facts(&needed.package, suite), needed_by: needed.by.clone() }
}

impl Cache {
    /// The trees in it, the one used last first. Entries that cannot be read are left out; they are made again when asked
    /// for, and removed by [`Cache::prune_trees`].
    ///
    /// # Errors
    /// The host's: the cache cannot be read.
    pub fn trees(&self) -> Result<Vec<ListedTree>> {
        let mut all = BTreeMap::new();
        for id in self.ids(Kind::Images)? {
            let info = self.read_entry::<TreeInfo>(Kind::Images, &id);
            if let Some(info) = info.filter(|info| info.format == FORMAT && info.id == id) {
                let last_used_unix = unix(modified(&self.lock_path(&id)));
                let in_use = Lock::try_take(&self.lock_path(&id), Mode::Exclusive)?.is_none();
                let listed = ListedTree { info, last_used_unix, in_use };
                all.insert((std::cmp::Reverse(last_used_unix), id), listed);
            }
        }
        Ok(all.into_values().collect())
    }

    /// Removes trees that are not in use, and broken ones.
    ///
    /// # Errors
    /// The host's: something cannot be removed.
    pub fn prune_trees(&self, what: Prune) -> Result<Pruned> {
        self.prune_entries(&[Kind::Images], what)
    }
}
