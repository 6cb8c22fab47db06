//! Kernels: from the way a person names one to an image, its modules and its config on disk.
//!
//! [`acquire`] is the door. A `debian:` kernel is looked up in signed indexes, downloaded, checked and unpacked
//! into the [`Cache`], once; a `file:` kernel is looked at where it is; one that is named by its [`source`] is built. Nothing here
//! boots anything.

mod apt;
mod archive;
mod btf;
mod build;
mod cache;
mod deb;
mod debian;
mod depends;
mod download;
mod file;
#[cfg(test)]
mod fixture;
mod image;
mod index;
mod kconfig;
mod market;
mod package;
mod pages;
mod pattern;
mod release;
mod releases;
mod resolve;
mod shelf;
pub mod source;
mod spec;
mod suites;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tree;
mod version;
mod vmlinux;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::event::{KernelFacts, Work, WorkTime};
pub use crate::pattern::VersionPattern;
pub use crate::progress::Progress;
use kvet_host::lock::Lock;

pub use apt::{Archive, Base, Mirrors};
pub use btf::{Btf, ensure_btf};
pub use build::{Base as ConfigBase, Recipe, Toolchain, Workshop, check_tools, find_built};
pub(crate) use build::{Trouble, trouble};
pub use cache::{Cache, EntryInfo, Held, Listed, ListedWork, Prune, Pruned, Removed, RemovedFiles};
pub use image::{ImageFacts, ImageKind, identify};
pub use kconfig::KernelConfig;
pub use kvet_host::hash::{Sha256Hex, sha256};
pub use package::{Package, acquire_packages};
pub use pages::page_kib;
pub use releases::{Release, releases};
pub use shelf::{Entry, Shop};
pub use spec::KernelSpec;
pub use suites::{DebianSuite, DebianSuites, Series, Sources};
pub use tree::{ListedTree, Tree, TreeInfo, TreePackage, TreeSpec, acquire_tree};
pub use version::KernelVersion;
pub use vmlinux::ensure_uncompressed;

/// A kernel that is there, ready to be booted. While it lives, nobody prunes it.
#[derive(Debug)]
pub struct Kernel {
    /// How it was asked for.
    pub spec: KernelSpec,
    /// What reports say about it.
    pub facts: KernelFacts,
    /// The upstream version.
    pub version: KernelVersion,
    /// The architecture it runs on.
    pub arch: Arch,
    /// The form of the image.
    pub image_kind: ImageKind,
    /// The image.
    pub image: PathBuf,
    /// Its `lib/modules/<release>`: module files below `kernel/`, compressed or not; `modules.builtin` and
    /// `modules.order` where they came along; `modules.dep` only where somebody ran depmod. The folder above
    /// it holds no other release when the kernel is Debian's.
    pub modules: Option<PathBuf>,
    /// What it was built with, where that is known.
    pub config: Option<KernelConfig>,
    lock: Option<Lock>,
}

impl Kernel {
    /// Whether it is in the cache, where files made from it may be kept beside it.
    pub fn is_cached(&self) -> bool {
        self.lock.is_some()
    }
}

/// Does a part of a build, and tells how long it took.
fn timed<T>(
    work: Work,
    progress: &mut dyn FnMut(Progress),
    run: impl FnOnce(&mut dyn FnMut(Progress)) -> T,
) -> T {
    let started = Instant::now();
    let done = run(progress);
    progress(Progress::Worked(WorkTime { work, wall: started.elapsed() }));
    done
}

/// Whether a config fragment is there, and says something. Of one that is found below the source (`tree:…`) nothing is known yet.
///
/// # Errors
/// The caller's: it is not there, or not what it should be.
pub fn check_fragment(given: &Path, sources: &Sources) -> Result<()> {
    build::check_fragment(given, &sources.workshop()?.home)
}

/// Whether a kernel can be had, as far as that shows without fetching it: it is in the cache, some suite offers it, or the
/// file is a kernel of this architecture.
///
/// # Errors
/// As [`acquire`], for what shows so early.
pub fn check_available(
    spec: &KernelSpec,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<()> {
    match spec {
        KernelSpec::Debian { suite, version } => {
            debian::check_available(suite.as_deref(), *version, arch, cache, sources, progress, cancel)
        }
        KernelSpec::File { image, modules, config } => {
            file::acquire(spec, image, modules.as_deref(), config.as_deref(), arch, &mut |_| {}).map(drop)
        }
        KernelSpec::Source { source, recipe } => {
            build::check_available(source, recipe, arch, sources, cancel)
        }
    }
    .map_err(|e| e.context(format_args!("kernel {spec}")))
}

/// One of the archive's kernels that is in the cache, the newest that is meant. Nothing is asked or fetched.
///
/// # Errors
/// The caller's: it is not there. Interrupted.
pub fn find_cached(
    spec: &KernelSpec,
    suite: Option<&str>,
    version: VersionPattern,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    cancel: &Cancel,
) -> Result<Kernel> {
    debian::find(spec, suite, version, arch, cache, sources, cancel)?.ok_or_else(|| {
        Error::caller(format!("kernel {spec} for {arch} is not in the cache"))
            .hint(format!("`kvet kernel fetch {spec} -a {arch}` gets it"))
    })
}

/// Gets a kernel: out of the cache, else from the archive, or from the caller's own disk.
///
/// With everything in the cache and the indexes younger than their time to live there is no network traffic and
/// no process started. `progress` is called on this thread. A cancel is heeded within about 0.1 s.
///
/// # Errors
/// The caller's: no such kernel, or one of another architecture. The host's: no mirror, no space, something
/// that came is not what Debian signed. Interrupted: after a cancel.
pub fn acquire(
    spec: &KernelSpec,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Kernel> {
    match spec {
        KernelSpec::Debian { suite, version } => {
            debian::acquire(spec, suite.as_deref(), *version, arch, cache, sources, progress, cancel)
                .map_err(|e| e.concerning(format_args!("kernel {spec}")))
        }
        // Its messages name the file.
        KernelSpec::File { image, modules, config } => {
            file::acquire(spec, image, modules.as_deref(), config.as_deref(), arch, progress)
        }
        KernelSpec::Source { source, recipe } => {
            build::Order { spec, source, recipe, arch, cache, sources, cancel }.acquire(progress)
        }
    }
}

/// What building a kernel would be: its config is made and proved, and nothing is built.
///
/// # Errors
/// As [`acquire`], for what shows so early; the caller's for a kernel that is not built.
pub fn dry_build(
    spec: &KernelSpec,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<String> {
    match spec {
        KernelSpec::Source { source, recipe } => {
            build::Order { spec, source, recipe, arch, cache, sources, cancel }.dry_run(progress)
        }
        other => Err(crate::error::Error::caller(format!("{other} is not built"))),
    }
}
