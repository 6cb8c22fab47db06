//! Sources of kernels: from the way a person names one to a folder with it.
//!
//! [`ensure`] is the door. Trees of the caller's are used where they are and never written to; everything else is unpacked or
//! checked out in the cache, once.

mod debian;
mod git;
mod spec;
mod tar;
#[cfg(test)]
pub(super) mod tests;
mod tree;

use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::Result;

use super::{Cache, KernelVersion, Progress, Sources};
use kvet_host::lock::Lock;

pub use git::Purpose;
pub use spec::{Proof, SCHEMES, SourceSpec};

/// A kernel's source on disk. While it lives, nobody prunes it or checks something else out in it.
#[derive(Debug)]
pub struct SourceTree {
    /// The top of it: Makefile, Kconfig, tools/….
    pub path: PathBuf,
    /// What its Makefile says, or its package.
    pub version: KernelVersion,
    /// The nearest tag and the commit, or the package, or the tarball: for people.
    pub describe: Option<String>,
    /// Whether a git checkout has changes that are not committed.
    pub dirty: bool,
    /// Another one when anything in the tree is another: a name made of letters, digits and `-+.~:_`.
    pub identity: String,
    /// Whether it stays what it is: nobody edits it.
    pub settled: bool,
    pub(super) lock: Option<Lock>,
}

impl SourceTree {
    /// Whether it is in the cache, and not a folder of the caller's.
    pub fn is_cached(&self) -> bool {
        self.lock.is_some()
    }
}

/// Gets a source: where it is, out of the cache, or from the archive, verified.
///
/// # Errors
/// The caller's: there is no such thing, or it is no kernel's source. The host's: no mirror, no space, something that came
/// is not what it should be. Interrupted: after a cancel.
pub fn ensure(
    spec: &SourceSpec,
    purpose: Purpose,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<SourceTree> {
    match spec {
        SourceSpec::Tree(path) => tree::open(path, progress, cancel),
        SourceSpec::Git { repository, revision } => {
            git::checkout(repository, revision, purpose, cache, progress, cancel)
        }
        SourceSpec::Debian { suite, version } => {
            debian::ensure(suite.as_deref(), *version, cache, sources, progress, cancel)
        }
        SourceSpec::Tar { place, proof } => tar::ensure(place, proof, cache, sources, progress, cancel),
    }
    .map_err(|e| e.concerning(format_args!("source {spec}")))
}

/// The version that a tree's Makefile states.
///
/// # Errors
/// The caller's: the folder is no kernel's source.
pub fn version_of_tree(path: &Path) -> Result<KernelVersion> {
    tree::version(path)
}

/// The archive's source of a release: its own, else the nearest one of the same series. What is returned names exactly one.
///
/// # Errors
/// As [`ensure`].
pub fn nearest_debian(
    version: KernelVersion,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<SourceSpec> {
    debian::nearest(version, cache, sources, progress, cancel)
}
