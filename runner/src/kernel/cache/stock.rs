//! What is in the cache, for people to see, and how it gets smaller.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Cache, ENTRY_FILE, EntryInfo, Kind, modified, names, unix};
use crate::error::{IoContext, Result};
use crate::kernel::lock::{Lock, Mode};

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
        // They are made again in milliseconds.
        done.freed_bytes += self.prune_files("initramfs", "")?;
        if what == Prune::All {
            done.freed_bytes += self.prune_files("index", ".json")? + self.prune_files("partial", "")?;
        }
        Ok(done)
    }

    pub(in crate::kernel) fn prune_entries(&self, kinds: &[Kind], what: Prune) -> Result<Pruned> {
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
}

/// Bytes of the regular files below a folder. Symbolic links are not followed; what cannot be read counts nothing.
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
