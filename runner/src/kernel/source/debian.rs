//! The archive's linux-source packages: a tarball of the sources that Debian's kernels are built from, patches applied.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, Fault, Result};
use crate::event::PackageFacts;
use kvet_host::disk;
use kvet_host::fs::unix;

use super::super::archive::Work;
use super::super::cache::{Cache, FORMAT, Kind};
use super::super::debian::package_facts;
use super::super::download::Trouble;
use super::super::index::Package;
use super::super::suites::Sources;
use super::super::version::{KernelVersion, cmp_debian};
use super::super::{Progress, VersionPattern};
use super::{SourceSpec, SourceTree, tar};
use kvet_host::lock::{Lock, Mode};

/// The packages are for every architecture and listed in the index of each; this one is read anyway, mostly.
const INDEX: Arch = Arch::X86_64;
/// An unpacked tree.
const TREE_BYTES: u64 = 2 << 30;

/// What is known of an unpacked package.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    format: u32,
    version: KernelVersion,
    package: PackageFacts,
    created_unix: u64,
}

/// A package on offer.
struct Offer<'a> {
    suite: &'a str,
    version: KernelVersion,
    package: Package,
}

pub(super) fn ensure(
    suite: Option<&str>,
    pattern: VersionPattern,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<SourceTree> {
    let mut work = Work { arch: INDEX, cache, sources, progress, cancel };
    if matches!(pattern, VersionPattern::Exact(_))
        && !sources.refresh
        && let Some(tree) = cached(&mut work, suite, pattern)?
    {
        return Ok(tree);
    }
    let mut market = market(&mut work, suite, pattern)?;
    match choose(&market.offers, pattern) {
        Some(offer) => offered(&mut work, offer),
        None => match cached(&mut work, suite, pattern)? {
            Some(tree) => {
                let why =
                    market.trouble.first().map_or("no suite offers it any more".into(), ToString::to_string);
                work.note(format!("using the source of {} from the cache: {why}", tree.version));
                Ok(tree)
            }
            None => Err(market.nothing(suite, pattern)),
        },
    }
}

/// The source package that is closest to a release: of the same series, its own if there is one.
///
/// # Errors
/// The caller's: no source of the series is to be had. Else as [`super::ensure`].
pub(super) fn nearest(
    version: KernelVersion,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<SourceSpec> {
    let exact = VersionPattern::Exact(version);
    let (major, minor) = version.series();
    let series = VersionPattern::Series { major, minor };
    let mut work = Work { arch: INDEX, cache, sources, progress, cancel };
    let spec = |version| SourceSpec::Debian { suite: None, version: VersionPattern::Exact(version) };
    if !sources.refresh && entries(cache, None, exact)?.next().is_some() {
        return Ok(spec(version));
    }
    let mut market = market(&mut work, None, series)?;
    let cached = entries(cache, None, series)?.map(|(_, entry)| entry.version);
    let all = market.offers.iter().map(|o| o.version).chain(cached);
    // A candidate stands as far before its release as it has successors: unlike any release.
    let distance =
        |v: &KernelVersion| (v.rc.is_some() != version.rc.is_some(), v.patch.abs_diff(version.patch));
    let best = all.min_by_key(|v| (distance(v), std::cmp::Reverse(*v)));
    best.map(spec).ok_or_else(|| market.nothing(None, series))
}

struct Market<'a> {
    offers: Vec<Offer<'a>>,
    trouble: Vec<Error>,
    asked: Vec<&'a str>,
}

fn market<'a>(work: &mut Work<'a>, named: Option<&str>, pattern: VersionPattern) -> Result<Market<'a>> {
    let (major, minor) = pattern.series();
    let name = format!("linux-source-{major}.{minor}");
    let sources: &'a Sources = work.sources;
    let mut market = Market { offers: Vec::new(), trouble: Vec::new(), asked: Vec::new() };
    for suite in sources.suites(named, pattern)? {
        market.asked.push(&suite.name);
        match work.index(suite, std::slice::from_ref(&name)) {
            Ok(index) => market.offers.extend(
                index.packages.into_iter().filter(|p| p.name == name).filter_map(|package| {
                    let (version, _) = KernelVersion::parse_prefix(&package.version)?;
                    Some(Offer { suite: &suite.name, version, package })
                }),
            ),
            Err(Trouble::Fatal(e)) => return Err(e),
            Err(Trouble::Missing(e) | Trouble::Away(e)) => {
                if named.is_none() {
                    work.note(format!("suite {} is left out: {e}", suite.name));
                }
                market.trouble.push(e);
            }
        }
    }
    Ok(market)
}

impl Market<'_> {
    fn nothing(&mut self, suite: Option<&str>, pattern: VersionPattern) -> Error {
        let mut there: Vec<_> = self.offers.iter().map(|o| (o.version, o.suite)).collect();
        there.sort();
        let there: Vec<String> =
            there.iter().map(|(version, suite)| format!("{version} ({suite})")).collect();
        if there.is_empty()
            && let Some(trouble) = self.trouble.pop()
        {
            return trouble;
        }
        let place = match suite {
            Some(suite) => format!("suite {suite} offers"),
            None => format!("no suite that can have it ({}) offers", self.asked.join(", ")),
        };
        let (no, available) = if there.is_empty() {
            (if suite.is_some() { " no" } else { "" }, "nothing of that series is available".into())
        } else {
            (if suite.is_some() { " no" } else { "" }, format!("available: {}", there.join(", ")))
        };
        Error::caller(format!("{place}{no} linux-source of {pattern}; {available}"))
            .hint("tar: takes a tarball of any release; old point releases leave Debian's archive")
    }
}

/// The newest release that matches, else the newest candidate; the earlier suite's of the same package.
fn choose<'m, 'a>(offers: &'m [Offer<'a>], pattern: VersionPattern) -> Option<&'m Offer<'a>> {
    offers.iter().filter(|o| pattern.matches(o.version)).reduce(|best, o| {
        let order = (o.version.rc.is_none(), o.version).cmp(&(best.version.rc.is_none(), best.version));
        if order.then_with(|| cmp_debian(&o.package.version, &best.package.version)).is_gt() {
            o
        } else {
            best
        }
    })
}

fn entries(
    cache: &Cache,
    suite: Option<&str>,
    pattern: VersionPattern,
) -> Result<impl Iterator<Item = (String, Entry)>> {
    let suite = suite.map(str::to_owned);
    let cache = cache.clone();
    Ok(cache.ids(Kind::Sources)?.into_iter().filter_map(move |id| {
        let entry = cache.read_entry::<Entry>(Kind::Sources, &id).filter(|e| {
            e.format == FORMAT
                && pattern.matches(e.version)
                && suite.as_ref().is_none_or(|s| *s == e.package.suite)
        })?;
        Some((id, entry))
    }))
}

/// The best tree of the cache that matches.
fn cached(work: &mut Work<'_>, suite: Option<&str>, pattern: VersionPattern) -> Result<Option<SourceTree>> {
    let mut found: Vec<_> = entries(work.cache, suite, pattern)?.collect();
    found.sort_by(|(_, a), (_, b)| {
        (a.version.rc.is_none(), a.version)
            .cmp(&(b.version.rc.is_none(), b.version))
            .then_with(|| cmp_debian(&a.package.version, &b.package.version))
    });
    while let Some((id, _)) = found.pop() {
        let what = format!("be done with {id}");
        let lock = Lock::take(&work.cache.lock_path(&id), Mode::Shared, &what, work.progress, work.cancel)?;
        if let Some(tree) = open(work.cache, &id, lock) {
            return Ok(Some(tree));
        }
    }
    Ok(None)
}

fn offered(work: &mut Work<'_>, offer: &Offer<'_>) -> Result<SourceTree> {
    let id = format!("debian-{}-{}", offer.version, &offer.package.sha256.as_str()[..12]);
    let what = format!("unpack the source of {}", offer.version);
    let there =
        |cache: &Cache| cache.read_entry::<Entry>(Kind::Sources, &id).is_some_and(|e| e.format == FORMAT);
    let lock = work.settled(&id, &what, &there, &mut |work| make(work, &id, offer))?;
    open(work.cache, &id, lock).ok_or_else(|| Error::host(format!("the cache entry {id} vanished")))
}

fn open(cache: &Cache, id: &str, lock: Lock) -> Option<SourceTree> {
    let entry = cache.read_entry::<Entry>(Kind::Sources, id).filter(|e| e.format == FORMAT)?;
    lock.touch();
    let package = entry.package;
    Some(SourceTree {
        path: cache.entry_dir(Kind::Sources, id).join("tree"),
        version: entry.version,
        describe: Some(format!("{} {} ({})", package.name, package.version, package.suite)),
        dirty: false,
        identity: format!("debian-{}-{}", package.version, &package.sha256[..12]),
        settled: true,
        lock: Some(lock),
    })
}

/// Downloads and unpacks. The entry's lock is held alone.
fn make(work: &mut Work<'_>, id: &str, offer: &Offer<'_>) -> Result<()> {
    let suite = work.sources.suite(offer.suite)?;
    let base = work.sources.base(suite, work.cancel).map_err(Trouble::into_error)?;
    let needed = TREE_BYTES + 2 * offer.package.size;
    disk::require(work.cache.root(), needed, &format!("the source of {}", offer.version))?;
    let scratch = work.cache.scratch()?;
    let stem = format!("{}.tar", offer.package.name);
    let select = |path: &Path| {
        let name = path.strip_prefix("usr/src").ok()?.to_str()?;
        name.starts_with(&stem).then(|| PathBuf::from(name))
    };
    work.unpack(base, &offer.package, scratch.path(), &select)?;
    let packed = ["xz", "zst", "gz"].iter().map(|e| scratch.path().join(format!("{stem}.{e}")));
    let packed = packed
        .into_iter()
        .find(|p| p.is_file())
        .ok_or_else(|| Error::host(format!("package {} holds no usr/src/{stem}.xz", offer.package.name)))?;
    let whole = format!("the tarball in package {}", offer.package.name);
    tar::unpack(&packed, &scratch.path().join("tree"), &whole, Fault::Host, work.progress, work.cancel)?;
    fs::remove_file(&packed).map_err(|e| disk::explain(e, &packed, "remove"))?;
    let version = super::tree::version(&scratch.path().join("tree"))
        .map_err(|e| Error::host(format!("package {} is unusable", offer.package.name)).because(e))?;
    if version.series() != offer.version.series() {
        return Err(Error::host(format!(
            "package {} {} holds the source of {version}",
            offer.package.name, offer.package.version
        )));
    }
    let entry = Entry {
        format: FORMAT,
        version: offer.version,
        package: package_facts(&offer.package, offer.suite),
        created_unix: unix(SystemTime::now()),
    };
    work.cache.commit(&scratch, Kind::Sources, id, &entry)
}
