//! Advisory locks (flock(2)) by which several kvets share one cache.
//!
//! Every lock is a file that somebody holds open, so the end of a process, however sudden, ends its locks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use kvet_base::cancel::Cancel;
use kvet_base::error::{Error, IoContext, Result};

use kvet_base::progress::Progress;

/// How often a held lock is tried again.
const POLL: Duration = Duration::from_millis(50);

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    flock: Flock<File>,
    path: PathBuf,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With others who read.
    Shared,
    /// Alone.
    Exclusive,
}

impl Lock {
    /// Takes the lock if nobody is in the way.
    pub fn try_take(path: &Path, mode: Mode) -> Result<Option<Self>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .host(format_args!("open the lock {}", path.display()))?;
            let arg = match mode {
                Mode::Shared => FlockArg::LockSharedNonblock,
                Mode::Exclusive => FlockArg::LockExclusiveNonblock,
            };
            let flock = match Flock::lock(file, arg) {
                Ok(flock) => flock,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, e)) => {
                    return Err(Error::host(format!("cannot lock {}", path.display())).because(e));
                }
            };
            // Whoever swept the file away between our open and our lock left us with a lock on nothing.
            if same_file(&flock, path) {
                return Ok(Some(Self { flock, path: path.to_path_buf() }));
            }
        }
    }

    /// Waits for the lock, and says once that it waits, and for what.
    pub fn take(
        path: &Path,
        mode: Mode,
        waiting_for: &str,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut wait = Wait::new(waiting_for);
        loop {
            cancel.check()?;
            if let Some(lock) = Self::try_take(path, mode)? {
                return Ok(lock);
            }
            wait.once(progress, cancel)?;
        }
    }

    /// From alone to with others. Between the two moments somebody else may have had the lock: look again.
    pub fn share(&self) -> Result<()> {
        self.flock
            .relock(FlockArg::LockShared)
            .map_err(|e| Error::host(format!("cannot share the lock {}", self.path.display())).because(e))
    }

    /// Marks the lock's file as used now; `prune` goes by it. Failing to is no reason to fail: a cache on a
    /// read-only disk still serves.
    pub fn touch(&self) {
        let _ = self.flock.set_modified(SystemTime::now());
    }

    /// The file that is locked, for reading and writing.
    pub fn file(&self) -> &File {
        &self.flock
    }

    /// Removes the file while it is locked.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Waits in small steps, and says so.
pub struct Wait<'a> {
    what: &'a str,
    steps: u32,
}

impl<'a> Wait<'a> {
    /// `what` the other kvet does, as in "waiting for another kvet to …".
    pub fn new(what: &'a str) -> Self {
        Self { what, steps: 0 }
    }

    /// One step. It is said at the second one: `kvet kernel list` holds a lock for an instant, and that is not
    /// worth a word.
    pub fn once(&mut self, progress: &mut dyn FnMut(Progress), cancel: &Cancel) -> Result<()> {
        self.steps += 1;
        if self.steps == 2 {
            progress(Progress::Note(format!("waiting for another kvet to {}", self.what)));
        }
        std::thread::sleep(POLL);
        cancel.check()
    }
}

fn same_file(held: &File, path: &Path) -> bool {
    match (held.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers_and_a_removed_file_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let a = Lock::try_take(&path, Mode::Exclusive).unwrap().unwrap();
        assert!(Lock::try_take(&path, Mode::Shared).unwrap().is_none());
        a.share().unwrap();
        let b = Lock::try_take(&path, Mode::Shared).unwrap().unwrap();
        assert!(Lock::try_take(&path, Mode::Exclusive).unwrap().is_none());
        drop(a);
        b.remove().unwrap();
        assert!(!path.exists());
        let c = Lock::try_take(&path, Mode::Exclusive).unwrap().unwrap();
        assert!(same_file(c.file(), &path));
    }

    #[test]
    fn a_cancelled_wait_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let _held = Lock::try_take(&path, Mode::Exclusive).unwrap().unwrap();
        let (cancel, mut notes) = (Cancel::new().unwrap(), Vec::new());
        let later = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(120));
            later.request();
        });
        let error = Lock::take(&path, Mode::Shared, "fetch x", &mut |p| notes.push(p), &cancel).unwrap_err();
        assert_eq!(error.fault(), kvet_base::error::Fault::Interrupted);
        assert_eq!(notes, [Progress::Note("waiting for another kvet to fetch x".into())]);
    }
}
