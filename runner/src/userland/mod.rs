//! The guest's userland: a small Debian made of packages, as a folder of the cache that guests share read-only.
//!
//! [`ensure`] is the door. What is in it stands in `images/userland.yaml` ([`UserlandSpec`]); the packages come verified
//! from the archive ([`crate::kernel::acquire_tree`]). Nothing in it is run on the host, and nobody needs to be root.

mod guise;
mod libraries;
mod spec;
mod tree;

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::kernel::{self, Cache, Progress, Sources, Tree, TreeInfo, TreeSpec};
use crate::spec::home::Home;

pub use spec::{FileSpec, LinkSpec, PackageSpec, Reasoned, SkippedSpec, UserlandSpec};

/// The first word of its name in the cache.
pub const NAME: &str = "userland";

/// A userland that is there. While it lives, nobody prunes it.
#[derive(Debug)]
pub struct Userland {
    /// The folder to share. On the host it is not for use: links and owners are written down for QEMU's `mapped-file`
    /// model, so that the guest sees them, and the host has no link that could lead out of it.
    pub root: PathBuf,
    /// What it is made of.
    pub facts: TreeInfo,
    _lock: Tree,
}

/// Gets the userland of an architecture out of the cache, or makes it. `progress` is called on this thread.
///
/// # Errors
/// The caller's: `images/userland.yaml` is wrong or names what the suite does not have. The host's: as for kernels, or a
/// program of the packages lacks a library.
pub fn ensure(
    home: &Home,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Userland> {
    let spec = UserlandSpec::load(home)?;
    make(&spec, arch, cache, sources, progress, cancel)
        .map_err(|e| e.concerning(format_args!("userland for {arch}")))
}

fn make(
    spec: &UserlandSpec,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Userland> {
    let names = spec.names(arch);
    let left_out: Vec<String> = spec.left_out.iter().map(|package| package.name.clone()).collect();
    let skipped = spec.skipped()?;
    let tree = kernel::acquire_tree(
        &TreeSpec {
            name: NAME,
            names: &names,
            left_out: &left_out,
            identity: &spec.identity()?,
            place: &|path: &Path| tree::place(path, &skipped),
            finish: &|root: &Path| {
                tree::complete(root, spec)?;
                libraries::check(root, arch)?;
                guise::dress(root)
            },
        },
        arch,
        cache,
        sources,
        progress,
        cancel,
    )?;
    Ok(Userland { root: tree.root.clone(), facts: tree.info.clone(), _lock: tree })
}

impl Userland {
    /// Whether there is something at an absolute path, as a guest would find it: links are followed.
    pub fn has(&self, path: &str) -> bool {
        guise::has(&self.root, Path::new(path))
    }
}

#[cfg(test)]
mod tests;
