//! Room in the cache for what other rooms make: folders where something is built again and again, and what comes of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};

use super::Progress;
use super::cache::{Cache, ENTRY_FILE, FORMAT, Kind};
use kvet_host::lock::{Lock, Mode, Wait};

/// Something finished, in the cache. While it lives, nobody prunes it; nobody ever changes it.
#[derive(Debug)]
pub struct Entry {
    /// Its folder.
    pub dir: PathBuf,
    _lock: Lock,
}

/// A folder to build in, held alone.
#[derive(Debug)]
pub struct Shop {
    /// The folder. What is in it stays for the next time.
    pub dir: PathBuf,
    _lock: Lock,
}

#[derive(Serialize, Deserialize)]
struct Described {
    format: u32,
    id: String,
}

/// Makes something in an empty folder.
pub type Make<'a> = &'a mut dyn FnMut(&Path, &mut dyn FnMut(Progress)) -> Result<()>;

impl Cache {
    /// Something finished, if it is there.
    ///
    /// # Errors
    /// The host's: its lock cannot be opened.
    pub fn suite(&self, id: &str) -> Result<Option<Entry>> {
        let Some(lock) = Lock::try_take(&self.lock_path(id), Mode::Shared)? else { return Ok(None) };
        if !self.is_whole(Kind::Suites, id) {
            return Ok(None);
        }
        lock.touch();
        Ok(Some(Entry { dir: self.entry_dir(Kind::Suites, id), _lock: lock }))
    }

    /// Where something finished is or will be.
    pub fn suite_dir(&self, id: &str) -> PathBuf {
        self.entry_dir(Kind::Suites, id)
    }

    /// Something finished: found, or made now by `make`, or by another kvet meanwhile.
    ///
    /// # Errors
    /// What `make` gives; the host's: no space. Interrupted.
    pub fn ensure_suite(
        &self,
        id: &str,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
        make: Make,
    ) -> Result<Entry> {
        let path = self.lock_path(id);
        let what = format!("make {id}");
        let mut wait = Wait::new(&what);
        loop {
            if let Some(entry) = self.suite(id)? {
                return Ok(entry);
            }
            // Whoever uses it holds it shared: it is made only where it is not whole, and then nobody uses it.
            if let Some(lock) = Lock::try_take(&path, Mode::Exclusive)? {
                if !self.is_whole(Kind::Suites, id) {
                    let scratch = self.scratch()?;
                    make(scratch.path(), progress)?;
                    self.commit(
                        &scratch,
                        Kind::Suites,
                        id,
                        &Described { format: FORMAT, id: id.to_owned() },
                    )?;
                }
                lock.share()?;
            } else {
                wait.once(progress, cancel)?;
            }
        }
    }

    /// A folder to build in, for us alone; made where there is none.
    ///
    /// # Errors
    /// The host's: no space. Interrupted, while another kvet builds there.
    pub fn workshop(
        &self,
        id: &str,
        waiting_for: &str,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Shop> {
        let lock = Lock::take(&self.lock_path(id), Mode::Exclusive, waiting_for, progress, cancel)?;
        lock.touch();
        if !self.is_whole(Kind::Slices, id) {
            let scratch = self.scratch()?;
            self.commit(&scratch, Kind::Slices, id, &Described { format: FORMAT, id: id.to_owned() })?;
        }
        Ok(Shop { dir: self.entry_dir(Kind::Slices, id), _lock: lock })
    }

    fn is_whole(&self, kind: Kind, id: &str) -> bool {
        self.read_entry::<Described>(kind, id).is_some_and(|e| e.format == FORMAT && e.id == id)
    }
}

impl Shop {
    /// Empties it, for a fresh start.
    ///
    /// # Errors
    /// The host's: something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let action = || format!("empty {}", self.dir.display());
        for entry in fs::read_dir(&self.dir).host(action())? {
            let entry = entry.host(action())?;
            if entry.file_name() == ENTRY_FILE {
                continue;
            }
            let is_dir = entry.file_type().host(action())?.is_dir();
            let removed =
                if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed.map_err(|e| Error::host(format!("cannot {}", action())).because(e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Prune;

    #[test]
    fn a_suite_is_made_once_and_stays_while_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let cancel = Cancel::new().unwrap();
        let mut made = 0;
        let mut get = || {
            cache.ensure_suite("upstream-x", &mut |_| {}, &cancel, &mut |into, _| {
                made += 1;
                fs::write(into.join("test_progs"), "x").host("write")
            })
        };
        let first = get().unwrap();
        assert!(first.dir.join("test_progs").is_file());
        drop(get().unwrap());
        assert_eq!(made, 1);
        assert_eq!(cache.prune(Prune::All).unwrap().in_use, ["upstream-x"]);
        drop(first);
        assert_eq!(cache.prune(Prune::All).unwrap().names(), ["upstream-x"]);
        assert!(cache.suite("upstream-x").unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing_and_a_workshop_keeps_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let cancel = Cancel::new().unwrap();
        let failed = cache.ensure_suite("upstream-y", &mut |_| {}, &cancel, &mut |into, _| {
            fs::write(into.join("half"), "x").host("write")?;
            Err(Error::kernel("does not compile"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "does not compile");
        assert_eq!(fs::read_dir(dir.path().join("suites")).unwrap().count(), 0);
        let shop = cache.workshop("s", "build", &mut |_| {}, &cancel).unwrap();
        fs::create_dir(shop.dir.join("tree")).unwrap();
        drop(shop);
        let shop = cache.workshop("s", "build", &mut |_| {}, &cancel).unwrap();
        assert!(shop.dir.join("tree").is_dir());
        shop.clear().unwrap();
        assert!(!shop.dir.join("tree").exists() && shop.dir.join(ENTRY_FILE).is_file());
    }
}
