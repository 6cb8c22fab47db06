//! What long work reports while it goes on.

use std::path::PathBuf;

use crate::facts::WorkTime;

/// One report of work that takes its time: fetching, unpacking, building.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Something worth knowing that needs no action.
    Note(String),
    /// A transfer or an unpacking.
    Bytes {
        /// `downloading linux-image-…`, `unpacking linux-image-…`.
        what: String,
        /// So far.
        done: u64,
        /// In the end; 0 where unknown.
        total: u64,
    },
    /// Something that is done in steps: a build, object by object.
    Steps {
        /// `building 7.2.12 x86_64`.
        what: String,
        /// So far.
        done: u64,
        /// In the end; 0 where unknown.
        total: u64,
        /// The file at hand.
        current: String,
    },
    /// A build begins, and everything that it says goes into this file.
    BuildLog(PathBuf),
    /// A part of a build is over, whether it failed or not.
    Worked(WorkTime),
}
