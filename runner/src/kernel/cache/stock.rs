//! What is in the cache, for people to see, and how it gets smaller.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Cache, ENTRY_FILE, EntryInfo, Kind, names};
use crate::error::{IoContext, Result};
use kvet_host::disk::tree_size;
use kvet_host::fs::{modified, unix};
use kvet_host::lock::{Lock, Mode};

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
    /// The sources that came to it, the newest first, where it was built here.
    pub built_of: Vec<String>,
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
    /// All but so many of each kind, the most recently used ones: kernels do not make way for packages.
    KeepNewest(usize),
}

impl Prune {
    /// Whether it is meant: the `rank`th of its kind by its last use.
    fn takes(self, rank: usize, used: SystemTime, now: SystemTime) -> bool {
        match self {
            Prune::All => true,
            Prune::UnusedFor(age) => now.duration_since(used).unwrap_or_default() >= age,
            Prune::KeepNewest(n) => rank >= n,
        }
    }
}

/// An entry that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// What it was: `kernel`, `package`, `source`, …
    pub kind: &'static str,
    /// Its name in the cache.
    pub id: String,
    /// Bytes that came free.
    pub size_bytes: u64,
}

/// Files of one kind that were removed and have no names that would tell anybody anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedFiles {
    /// What they were, one of them and several.
    pub kind: (&'static str, &'static str),
    /// How many.
    pub count: usize,
    /// Bytes that came free.
    pub size_bytes: u64,
}

/// What [`Cache::prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The removed entries, kind by kind.
    pub removed: Vec<Removed>,
    /// Initramfs images, indexes, broken-off downloads.
    pub files: Vec<RemovedFiles>,
    /// Names of the entries that stayed because they are in use.
    pub in_use: Vec<String>,
}

impl Pruned {
    /// Bytes that came free.
    pub fn freed_bytes(&self) -> u64 {
        let entries = self.removed.iter().map(|removed| removed.size_bytes);
        entries.chain(self.files.iter().map(|files| files.size_bytes)).sum()
    }

    /// Names of the removed entries.
    pub fn names(&self) -> Vec<&str> {
        self.removed.iter().map(|removed| removed.id.as_str()).collect()
    }
}

impl Cache {
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
                let mut built_of = Vec::new();
                for source in self.builds(&id).into_iter().map(|build| build.facts.source) {
                    built_of.extend((!built_of.contains(&source)).then_some(source));
                }
                all.push(Listed { info, dir, last_used_unix: unix(modified(&lock)), in_use, built_of });
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
        let mut files =
            vec![self.prune_files("initramfs", "", ("initramfs file", "initramfs files"), what)?];
        // Small, and they go by themselves when they are old.
        if what == Prune::All {
            files.push(self.prune_files("index", ".json", ("index", "indexes"), what)?);
            files.push(self.prune_files(
                "partial",
                "",
                ("broken-off download", "broken-off downloads"),
                what,
            )?);
        }
        done.files = files.into_iter().filter(|files| files.count > 0).collect();
        Ok(done)
    }

    pub(in crate::kernel) fn prune_entries(&self, kinds: &[Kind], what: Prune) -> Result<Pruned> {
        let now = SystemTime::now();
        let mut done = Pruned::default();
        for &kind in kinds {
            let mut entries = Vec::new();
            for id in self.ids(kind)? {
                let whole = self.entry_dir(kind, &id).join(ENTRY_FILE).is_file();
                entries.push((whole, modified(&self.lock_path(&id)), id));
            }
            // Broken ones last: they must not take the place of a whole one.
            entries.sort_by_key(|(whole, used, _)| std::cmp::Reverse((*whole, *used)));
            for (rank, (whole, used, id)) in entries.into_iter().enumerate() {
                if whole && !what.takes(rank, used, now) {
                    continue;
                }
                match Lock::try_take(&self.lock_path(&id), Mode::Exclusive)? {
                    Some(_alone) => {
                        let size_bytes = self.remove_entry(kind, &id)?;
                        done.removed.push(Removed { kind: kind.word(), id, size_bytes });
                    }
                    None => done.in_use.push(id),
                }
            }
        }
        Ok(done)
    }

    /// Those in use stay.
    fn prune_files(
        &self,
        dir: &str,
        suffix: &str,
        kind: (&'static str, &'static str),
        what: Prune,
    ) -> Result<RemovedFiles> {
        let now = SystemTime::now();
        let mut done = RemovedFiles { kind, count: 0, size_bytes: 0 };
        let named = names(&self.root.join(dir))?.into_iter();
        let mut all: Vec<_> = named.map(|n| (modified(&self.root.join(dir).join(&n)), n)).collect();
        all.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        for (rank, (used, name)) in all.into_iter().enumerate() {
            let path = self.root.join(dir).join(&name);
            let lock = match name.strip_suffix(suffix) {
                Some(stem) if !suffix.is_empty() => self.lock_path(&format!("index-{stem}")),
                _ => path.clone(),
            };
            if what.takes(rank, used, now)
                && let Some(_alone) = Lock::try_take(&lock, Mode::Exclusive)?
            {
                done.size_bytes += path.metadata().map_or(0, |m| m.len());
                fs::remove_file(&path).host(format_args!("remove {}", path.display()))?;
                done.count += 1;
            }
        }
        Ok(done)
    }
}
