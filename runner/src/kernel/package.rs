//! Packages other than kernels: what a guest's userland is made of.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::event::PackageFacts;
use kvet_host::disk;

use super::Progress;
use super::archive::Work;
use super::cache::{Cache, FORMAT, Kind};
use super::debian::package_facts;
use super::download::Trouble;
use super::index::{self, Index};
use super::suites::{DebianSuite, Sources};
use super::version::cmp_debian;
use kvet_host::lock::Lock;

/// A package that was unpacked into the cache. While it lives, nobody prunes it.
#[derive(Debug)]
pub struct Package {
    /// Name, version, suite, hash.
    pub facts: PackageFacts,
    /// The folder that stands for `/`: `root.join("usr/bin/busybox")`. Links in it stay below it.
    pub root: PathBuf,
    _lock: Lock,
}

#[derive(Serialize, Deserialize)]
struct PackageEntry {
    format: u32,
    facts: PackageFacts,
}

/// Gets packages other than kernels, verified in the same way, from [`DebianSuites::packages_suite`], each
/// unpacked whole. Dependencies are not followed: name everything that is needed.
///
/// # Errors
/// As [`acquire`](super::acquire); the caller's when the suite has no package of that name.
pub fn acquire_packages(
    names: &[&str],
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Vec<Package>> {
    let mut work = Work { arch, cache, sources, progress, cancel };
    let suite = sources.suite(&sources.config.packages_suite)?;
    let also: Vec<String> = names.iter().map(ToString::to_string).collect();
    let index = work.index(suite, &also).map_err(Trouble::into_error)?;
    names.iter().map(|name| work.package(name, suite, &index)).collect()
}

impl Work<'_> {
    fn package(&mut self, name: &str, suite: &DebianSuite, index: &Index) -> Result<Package> {
        let package = index
            .packages
            .iter()
            .filter(|p| p.name == name)
            .max_by(|a, b| cmp_debian(&a.version, &b.version))
            .ok_or_else(|| {
                Error::caller(format!("suite {} has no package '{name}' for {}", suite.name, self.arch))
            })?;
        let id = format!("{name}-{}-{}", self.arch, &package.sha256.as_str()[..12]);
        let root = self.cache.entry_dir(Kind::Packages, &id).join("root");
        let there = |cache: &Cache| {
            cache.read_entry::<PackageEntry>(Kind::Packages, &id).is_some_and(|e| e.format == FORMAT)
                && root.is_dir()
        };
        let lock = self.settled(&id, &format!("fetch {name}"), &there, &mut |work| {
            work.make_package(&id, package, suite)
        })?;
        lock.touch();
        Ok(Package { facts: package_facts(package, &suite.name), root, _lock: lock })
    }

    fn make_package(&mut self, id: &str, package: &index::Package, suite: &DebianSuite) -> Result<()> {
        let base = self.sources.base(suite, self.cancel).map_err(Trouble::into_error)?;
        let needed = package.size.saturating_add(package.installed_kib.saturating_mul(1024));
        disk::require(self.cache.root(), needed, &format!("package {}", package.name))?;
        let scratch = self.cache.scratch()?;
        let into = scratch.path().join("root");
        fs::create_dir(&into).map_err(|e| disk::explain(e, &into, "make"))?;
        self.unpack(base, package, &into, &|path| Some(path.to_path_buf()))?;
        let entry = PackageEntry { format: FORMAT, facts: package_facts(package, &suite.name) };
        self.cache.commit(&scratch, Kind::Packages, id, &entry)
    }
}
