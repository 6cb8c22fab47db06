//! The `debian:` source: from a version pattern to a kernel in the cache.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::event::{KernelFacts, PackageFacts};
use kvet_host::disk::{self, tree_size};
use kvet_host::fs::unix;

use super::archive::Work;
use super::cache::{Cache, EntryInfo, FORMAT, Kind};
use super::download::Trouble;
use super::index::{self, Offer};
use super::kconfig::{KernelConfig, MAX_CONFIG_BYTES};
use super::suites::Sources;
use super::version::cmp_debian;
use super::{Kernel, KernelSpec, Progress, image};
use crate::pattern::VersionPattern;
use kvet_host::hash::Sha256Hex;
use kvet_host::lock::{Lock, Mode};

#[expect(clippy::too_many_arguments, reason = "the same as `acquire`, with the spec taken apart")]
pub(super) fn acquire(
    spec: &KernelSpec,
    suite: Option<&str>,
    pattern: VersionPattern,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Kernel> {
    let mut work = Work { arch, cache, sources, progress, cancel };
    // One exact version does not change: what is in the cache needs no index.
    if matches!(pattern, VersionPattern::Exact(_))
        && !sources.refresh
        && let Some(kernel) = work.cached(spec, suite, pattern)?
    {
        return Ok(kernel);
    }
    let mut market = work.market(suite, pattern)?;
    match market.choose(pattern) {
        Some(offer) => {
            if matches!(pattern, VersionPattern::Series { .. }) && offer.version.rc.is_some() {
                let (major, minor) = pattern.series();
                work.note(format!("{major}.{minor} is not released yet: taking {}", offer.version));
            }
            if let Some(missing) = &offer.missing {
                work.note(format!(
                    "{missing} is gone from the archive: the kernel comes without its modules"
                ));
            }
            work.offered(spec, &offer)
        }
        None => match work.cached(spec, suite, pattern)? {
            Some(kernel) => {
                let why = market
                    .trouble
                    .first()
                    .map_or("no suite offers it any more".to_string(), ToString::to_string);
                work.note(format!("using {} from the cache: {why}", kernel.facts.origin));
                Ok(kernel)
            }
            None => Err(market.nothing(pattern, suite, arch)),
        },
    }
}

/// See [`super::find_cached`].
pub(super) fn find(
    spec: &KernelSpec,
    suite: Option<&str>,
    pattern: VersionPattern,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    cancel: &Cancel,
) -> Result<Option<Kernel>> {
    Work { arch, cache, sources, progress: &mut |_| {}, cancel }.cached(spec, suite, pattern)
}

/// See [`super::check_available`].
pub(super) fn check_available(
    suite: Option<&str>,
    pattern: VersionPattern,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<()> {
    let mut work = Work { arch, cache, sources, progress, cancel };
    if !sources.refresh && work.is_cached(suite, pattern)? {
        return Ok(());
    }
    let mut market = work.market(suite, pattern)?;
    if market.choose(pattern).is_some() { Ok(()) } else { Err(market.nothing(pattern, suite, arch)) }
}

impl Work<'_> {
    fn is_cached(&self, suite: Option<&str>, pattern: VersionPattern) -> Result<bool> {
        let fits = |e: &EntryInfo| {
            e.arch == self.arch
                && e.built.is_none()
                && pattern.matches(e.version)
                && suite.is_none_or(|s| s == e.suite)
        };
        let ids = self.cache.ids(Kind::Kernels)?;
        Ok(ids
            .iter()
            .filter_map(|id| self.cache.read_entry::<EntryInfo>(Kind::Kernels, id))
            .any(|e| fits(&e)))
    }

    /// The best kernel of the cache that matches.
    fn cached(
        &mut self,
        spec: &KernelSpec,
        suite: Option<&str>,
        pattern: VersionPattern,
    ) -> Result<Option<Kernel>> {
        let mut found: Vec<EntryInfo> = Vec::new();
        for id in self.cache.ids(Kind::Kernels)? {
            found.extend(self.cache.read_entry::<EntryInfo>(Kind::Kernels, &id).filter(|e| {
                e.id == id
                    && e.format == FORMAT
                    && e.arch == self.arch
                    && e.built.is_none()
                    && pattern.matches(e.version)
                    && suite.is_none_or(|s| s == e.suite)
            }));
        }
        let package = |e: &EntryInfo| e.packages.first().map(|p| p.version.clone()).unwrap_or_default();
        // For a series, a release goes before any candidate, as it does in the archive.
        found.sort_by(|a, b| {
            (a.version.rc.is_none(), a.version)
                .cmp(&(b.version.rc.is_none(), b.version))
                .then_with(|| cmp_debian(&package(a), &package(b)))
                .then_with(|| a.id.cmp(&b.id))
        });
        while let Some(entry) = found.pop() {
            let path = self.cache.lock_path(&entry.id);
            let what = format!("be done with {}", entry.id);
            let lock = Lock::take(&path, Mode::Shared, &what, self.progress, self.cancel)?;
            // Pruned while we waited? Then the next one.
            if let Some(kernel) = self.open(spec, &entry.id, lock)? {
                return Ok(Some(kernel));
            }
        }
        Ok(None)
    }

    fn offered(&mut self, spec: &KernelSpec, offer: &Offer) -> Result<Kernel> {
        let hashes = offer.packages.iter().map(|p| p.sha256.as_str()).collect::<Vec<_>>().join(" ");
        let key = Sha256Hex::of(hashes.as_bytes());
        let id = format!("debian-{}-{}-{}", offer.version, self.arch, &key.as_str()[..12]);
        let what = format!("fetch {} {}", offer.version, self.arch);
        let image = self.cache.entry_dir(Kind::Kernels, &id).join("image");
        let there = |cache: &Cache| {
            cache.read_entry::<EntryInfo>(Kind::Kernels, &id).is_some_and(|e| e.format == FORMAT)
                && image.is_file()
        };
        let lock = self.settled(&id, &what, &there, &mut |work| work.make(&id, offer))?;
        // Nobody removes an entry whose lock is shared with us.
        self.open(spec, &id, lock)?.ok_or_else(|| Error::host(format!("the cache entry {id} vanished")))
    }

    fn open(&self, spec: &KernelSpec, id: &str, lock: Lock) -> Result<Option<Kernel>> {
        open(self.cache, spec, id, lock)
    }

    /// Downloads and unpacks. The entry's lock is held alone.
    fn make(&mut self, id: &str, offer: &Offer) -> Result<()> {
        let suite = self.sources.suite(&offer.suite)?;
        let base = self.sources.base(suite, self.cancel).map_err(Trouble::into_error)?;
        let needed =
            offer.packages.iter().map(|p| p.size.saturating_add(p.installed_kib.saturating_mul(1024))).sum();
        disk::require(self.cache.root(), needed, &format!("kernel {} {}", offer.version, self.arch))?;
        let scratch = self.cache.scratch()?;
        let mut modules = 0;
        for package in &offer.packages {
            let select = |path: &Path| kernel_file(path, &offer.abi);
            self.unpack(base, package, scratch.path(), &select)?;
        }
        let tree = scratch.path().join("lib/modules").join(&offer.abi);
        if tree.is_dir() {
            modules = count_modules(&tree);
        }
        let facts = image::identify(&scratch.path().join("image")).map_err(|e| {
            Error::host(format!("{} of {} is unusable", offer.packages[0].name, offer.suite)).because(e)
        })?;
        if facts.arch != self.arch || facts.release != offer.abi {
            return Err(Error::host(format!(
                "package {} should hold {} for {}; its image is {} for {}",
                offer.packages[0].name, offer.abi, self.arch, facts.release, facts.arch
            )));
        }
        let config = read_config(&scratch.path().join("config"))?;
        let entry = EntryInfo {
            format: FORMAT,
            id: id.to_string(),
            version: offer.version,
            arch: self.arch,
            release: facts.release,
            suite: offer.suite.clone(),
            origin: format!("linux-image-{} {} ({})", offer.abi, offer.package_version, offer.suite),
            image_kind: facts.kind,
            image_sha256: facts.sha256,
            packages: offer.packages.iter().map(|p| package_facts(p, &offer.suite)).collect(),
            btf: config.as_ref().map(|c| c.is_builtin("CONFIG_DEBUG_INFO_BTF")),
            modules,
            size_bytes: tree_size(scratch.path()),
            created_unix: unix(SystemTime::now()),
            built: None,
        };
        self.cache.commit(&scratch, Kind::Kernels, id, &entry)
    }
}

/// A kernel of the cache, by its lock. None where it is not there.
pub(super) fn open(cache: &Cache, spec: &KernelSpec, id: &str, lock: Lock) -> Result<Option<Kernel>> {
    let dir = cache.entry_dir(Kind::Kernels, id);
    let image = dir.join("image");
    let entry = match cache.read_entry::<EntryInfo>(Kind::Kernels, id) {
        Some(entry) if entry.format == FORMAT && image.is_file() => entry,
        _ => return Ok(None),
    };
    let config = read_config(&dir.join("config"))?;
    let modules = dir.join("lib/modules").join(&entry.release);
    let modules_known = entry.built.is_some();
    lock.touch();
    Ok(Some(Kernel {
        spec: spec.clone(),
        facts: KernelFacts {
            spec: spec.to_string(),
            release: entry.release,
            version: entry.version.to_string(),
            origin: entry.origin,
            image_sha256: entry.image_sha256.to_string(),
            packages: entry.packages,
            config: config.as_ref().map(KernelConfig::telling).unwrap_or_default(),
            built: entry.built.map(Box::new),
        },
        version: entry.version,
        arch: entry.arch,
        image_kind: entry.image_kind,
        image,
        // What we built without modules has the list of what is built in.
        modules: (entry.modules > 0 || modules_known).then_some(modules),
        config,
        lock: Some(lock),
    }))
}

/// Where a file of a kernel package goes: the image, the config and the modules are kept, with the same names
/// whatever the layout; documentation, System.map and links to the build tree are not.
fn kernel_file(path: &Path, abi: &str) -> Option<PathBuf> {
    let path = path.strip_prefix("usr").unwrap_or(path);
    if let Ok(name) = path.strip_prefix("boot") {
        let name = name.to_str()?;
        let is = |stem: &str| name.strip_prefix(stem).and_then(|n| n.strip_prefix('-')) == Some(abi);
        return if is("vmlinuz") { Some("image".into()) } else { is("config").then(|| "config".into()) };
    }
    let inner = path.strip_prefix("lib/modules").ok()?.strip_prefix(abi).ok()?;
    match inner.to_str()? {
        "vmlinuz" => Some("image".into()),
        "config" => Some("config".into()),
        "System.map" | "build" | "source" => None,
        _ => Some(path.to_path_buf()),
    }
}

pub(super) fn package_facts(package: &index::Package, suite: &str) -> PackageFacts {
    PackageFacts {
        name: package.name.clone(),
        version: package.version.clone(),
        suite: suite.to_string(),
        sha256: package.sha256.to_string(),
    }
}

fn read_config(path: &Path) -> Result<Option<KernelConfig>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.host(format_args!("open {}", path.display()))?,
    };
    let mut text = String::new();
    file.take(MAX_CONFIG_BYTES).read_to_string(&mut text).host(format_args!("read {}", path.display()))?;
    Ok(Some(KernelConfig::parse(&text)))
}

/// How many module files a tree has.
pub(super) fn count_modules(dir: &Path) -> u64 {
    let mut count = 0;
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(t) if t.is_dir() => open.push(entry.path()),
                Ok(t) if t.is_file() => {
                    let name = entry.file_name();
                    let name = name.to_string_lossy();
                    count +=
                        u64::from([".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().any(|e| name.ends_with(e)));
                }
                _ => {}
            }
        }
    }
    count
}
