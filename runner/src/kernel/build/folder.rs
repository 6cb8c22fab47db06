//! The folder of the cache in which a kernel is built again and again, and what is known of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use kvet_host::disk;

use super::super::Progress;
use super::super::cache::{Cache, ENTRY_FILE, FORMAT, Kind};
use super::{Work, unfinished};

/// What a full build leaves in its folder.
const BUILD_BYTES: u64 = 3 << 30;

/// A build folder, whose lock is held alone.
pub(super) struct Folder<'a> {
    cache: &'a Cache,
    /// Where it is. `out` in it is make's.
    pub path: PathBuf,
    record: Record,
}

/// What is known of a build folder: the content of its `entry.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// What is built in it, or was last: of the sources in one folder, as revisions of one repository are, each has its turn.
    source: String,
    /// Whether the last make came to its end, so that nothing in it is half made.
    complete: bool,
    /// Whether all of a kernel was compiled in it once: from then on what is outdated or gone is all that there is to do.
    compiled: bool,
}

impl<'a> Folder<'a> {
    /// Makes the folder or goes on in it.
    ///
    /// # Errors
    /// The host's: no space, or the folder cannot be read or written. Interrupted.
    pub fn open(work: &Work<'a>, id: &str, progress: &mut dyn FnMut(Progress)) -> Result<Self> {
        let cache = work.order.cache;
        let path = cache.entry_dir(Kind::Builds, id);
        let old = cache.read_entry::<Record>(Kind::Builds, id).filter(|r| r.format == FORMAT);
        let source = work.order.source.to_string();
        let record = Record { format: FORMAT, source, complete: false, compiled: false };
        let Some(old) = old else {
            disk::require(cache.root(), BUILD_BYTES, &format!("building {}", work.tree.version))?;
            let scratch = cache.scratch()?;
            let out = scratch.path().join("out");
            fs::create_dir(&out).map_err(|e| disk::explain(e, &out, "make"))?;
            cache.commit(&scratch, Kind::Builds, id, &record)?;
            return Ok(Self { cache, path, record });
        };
        if !old.complete {
            let removed = unfinished::remove(&path.join("out"), &path.join("build.log"), work.order.cancel)?;
            let left = match removed {
                0 => String::new(),
                1 => "; 1 unfinished file removed".to_string(),
                n => format!("; {n} unfinished files removed"),
            };
            progress(Progress::Note(format!("going on with a build that did not come to its end{left}")));
        }
        let folder = Self { cache, path, record: Record { compiled: old.compiled, ..record } };
        folder.write()?;
        Ok(folder)
    }

    /// Make's output folder.
    pub fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// Whether all of a kernel was compiled here once.
    pub fn is_compiled(&self) -> bool {
        self.record.compiled
    }

    /// Make has made everything that it was to make.
    ///
    /// # Errors
    /// The host's: it cannot be written down.
    pub fn set_compiled(&mut self) -> Result<()> {
        self.record.compiled = true;
        self.write()
    }

    /// Make came to its end, whatever it was, and nothing is half made.
    ///
    /// # Errors
    /// The host's: it cannot be written down.
    pub fn set_complete(&mut self) -> Result<()> {
        self.record.complete = true;
        self.write()
    }

    fn write(&self) -> Result<()> {
        self.cache.replace_json(&self.path.join(ENTRY_FILE), &self.record)
    }
}

/// The log beside make's output folder.
pub(super) fn log_beside(out: &Path) -> PathBuf {
    out.with_file_name("build.log")
}
