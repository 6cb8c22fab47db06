//! The `debian:` source: from a version pattern to an unpacked kernel, every step of the way verified.
//!
//! InRelease (signature, by gpgv) → Packages.xz (size and SHA-256 in InRelease) → .deb (size and SHA-256 in
//! Packages) → unpacked. What does not fit is refused and deleted.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};
use crate::event::{KernelFacts, PackageFacts};

use super::apt::{self, Archive, Base, Mirrors};
use super::cache::{Cache, EntryInfo, FORMAT, Kind, Scratch, read_json, tree_size, unix};
use super::download::{Expected, Fetcher, Trouble};
use super::hash::Sha256Hex;
use super::index::{self, Index, Offer};
use super::kconfig::{KernelConfig, MAX_CONFIG_BYTES};
use super::lock::{Lock, Mode, Wait};
use super::release::{self, Release};
use super::spec::VersionPattern;
use super::version::{KernelVersion, cmp_debian};
use super::{Cancel, Kernel, KernelSpec, Progress, deb, image, space};

/// The Debian part of `configs/kernels.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSuites {
    /// Where kernels are looked for. Of two kernels of the same version the one in the earlier suite is taken.
    pub suites: Vec<DebianSuite>,
    /// The suite that [`acquire_packages`] takes what guests need from (busybox, …).
    pub packages_suite: String,
    /// How long an index serves before the archive is asked again, in hours.
    #[serde(default = "a_day")]
    pub index_ttl_hours: u32,
    /// Keyrings whose keys may sign an InRelease. Those of them that exist are used; one must.
    #[serde(default = "debian_keyrings")]
    pub keyrings: Vec<PathBuf>,
    /// Keyrings of retired keys: used for archived suites only, beside the others, where they exist.
    #[serde(default = "retired_keyrings")]
    pub retired_keyrings: Vec<PathBuf>,
}

/// One suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSuite {
    /// Its name under `dists/`: `trixie-backports`.
    pub name: String,
    /// Which archive it is in.
    #[serde(default = "main_archive")]
    pub archive: Archive,
    /// Nothing new comes to it: keys and signatures may have expired since it was signed last.
    #[serde(default)]
    pub archived: bool,
    /// Whether an index past its Valid-Until is refused (apt's `check-valid-until`). Where it is not, its use is
    /// noted; everything in it is still signed, only newer things may exist.
    #[serde(default = "yes")]
    pub check_valid_until: bool,
    /// The kernel series it can hold; empty: any. It spares the index of a suite that cannot have what is asked.
    #[serde(default)]
    pub series: Vec<Series>,
}

/// A kernel series, `6.12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Series(pub u32, pub u32);

impl TryFrom<String> for Series {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(VersionPattern::Series { major, minor }) => Ok(Series(major, minor)),
            _ => Err(format!("'{text}' is not a kernel series such as 6.12")),
        }
    }
}

impl From<Series> for String {
    fn from(Series(major, minor): Series) -> String {
        format!("{major}.{minor}")
    }
}

fn a_day() -> u32 {
    24
}

fn yes() -> bool {
    true
}

fn main_archive() -> Archive {
    Archive::Main
}

fn debian_keyrings() -> Vec<PathBuf> {
    // Debian 12 calls it .gpg, Debian 13 .pgp.
    ["gpg", "pgp"]
        .map(|ext| PathBuf::from(format!("/usr/share/keyrings/debian-archive-keyring.{ext}")))
        .into()
}

fn retired_keyrings() -> Vec<PathBuf> {
    ["gpg", "pgp"]
        .map(|ext| PathBuf::from(format!("/usr/share/keyrings/debian-archive-removed-keys.{ext}")))
        .into()
}

/// No InRelease comes near this (the largest has 200 KB).
const MAX_INRELEASE: u64 = 8 << 20;
/// The largest Packages.xz has 11 MB.
const MAX_PACKAGES: u64 = 256 << 20;
/// The largest kernel package has 170 MB.
const MAX_DEB: u64 = 2 << 30;

/// Where kernels come from. One for a whole run; several threads may use it at once.
#[derive(Debug)]
pub struct Sources {
    config: DebianSuites,
    refresh: bool,
    started_unix: u64,
    mirrors: OnceLock<Mirrors>,
    fetcher: OnceLock<Fetcher>,
    /// Archives that could not be reached: one wait for a time-out is enough.
    down: Mutex<HashSet<String>>,
}

impl Sources {
    /// The mirror is looked for when it is needed first: `KVET_MIRROR`, else apt's configuration.
    pub fn new(config: DebianSuites) -> Self {
        Self {
            config,
            refresh: false,
            started_unix: unix(SystemTime::now()),
            mirrors: OnceLock::new(),
            fetcher: OnceLock::new(),
            down: Mutex::new(HashSet::new()),
        }
    }

    /// With the archives given, whatever the environment and apt say.
    pub fn with_mirrors(config: DebianSuites, mirrors: Mirrors) -> Self {
        let sources = Self::new(config);
        let _ = sources.mirrors.set(mirrors);
        sources
    }

    /// Asks the archive anew even where a fresh index is in the cache, once per suite.
    #[must_use]
    pub fn refresh(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// The archives in use.
    ///
    /// # Errors
    /// As [`Mirrors::discover`].
    pub fn mirrors(&self) -> Result<&Mirrors> {
        if self.mirrors.get().is_none() {
            let found = Mirrors::discover(&|name| std::env::var_os(name))?;
            // Another thread may have been faster, with the same answer.
            let _ = self.mirrors.set(found);
        }
        self.mirrors.get().ok_or_else(|| Error::host("no mirror"))
    }

    fn fetcher(&self) -> Result<&Fetcher> {
        let proxy = self.mirrors()?.proxy.clone();
        Ok(self.fetcher.get_or_init(|| Fetcher::new(proxy)))
    }

    fn base(&self, suite: &DebianSuite) -> std::result::Result<&Base, Trouble> {
        let mirrors = self.mirrors()?;
        match suite.archive {
            Archive::Main => Ok(&mirrors.main),
            Archive::Security => mirrors
                .security
                .as_ref()
                .ok_or_else(|| Trouble::Missing(Error::host("apt is configured with no security archive"))),
        }
    }

    fn suite(&self, name: &str) -> Result<&DebianSuite> {
        self.config.suites.iter().find(|s| s.name == name).ok_or_else(|| {
            let known = self.config.suites.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::caller(format!("suite '{name}' is not configured; known: {known}"))
                .hint("configs/kernels.yaml lists the suites")
        })
    }

    /// Those that can hold the pattern; the one that was named, whatever it can hold.
    fn suites(&self, named: Option<&str>, pattern: VersionPattern) -> Result<Vec<&DebianSuite>> {
        if let Some(name) = named {
            return Ok(vec![self.suite(name)?]);
        }
        let (major, minor) = pattern.series();
        let can = |s: &&DebianSuite| s.series.is_empty() || s.series.contains(&Series(major, minor));
        Ok(self.config.suites.iter().filter(can).collect())
    }

    fn is_fresh(&self, index: &Index, also: &[String]) -> bool {
        let now = unix(SystemTime::now());
        let ttl = u64::from(self.config.index_ttl_hours) * 3600;
        // A time stamp in the future comes from a clock that was wrong: ask again.
        let young = index.checked_unix <= now && now - index.checked_unix < ttl;
        let covers = also.iter().all(|name| index.also.contains(name));
        covers && young && (!self.refresh || index.checked_unix >= self.started_unix)
    }
}

/// Everything one call works with.
struct Work<'a> {
    arch: Arch,
    cache: &'a Cache,
    sources: &'a Sources,
    progress: &'a mut dyn FnMut(Progress),
    cancel: &'a Cancel,
}

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

/// What all the suites asked offer.
#[derive(Default)]
struct Market {
    offers: Vec<Offer>,
    /// What the suites that were not asked had when they were asked last; only for messages.
    elsewhere: Vec<Offer>,
    trouble: Vec<Error>,
    asked: Vec<String>,
}

impl Market {
    /// The newest complete one that matches; of the same version, the newest package, then the earlier suite.
    fn choose(&self, pattern: VersionPattern) -> Option<Offer> {
        let matching = || self.offers.iter().filter(|o| o.missing.is_none() && pattern.matches(o.version));
        let newest = |among: &mut dyn Iterator<Item = &Offer>| {
            among
                .reduce(|best, o| {
                    let order = o.version.cmp(&best.version);
                    let order = order.then_with(|| cmp_debian(&o.package_version, &best.package_version));
                    if order.is_gt() { o } else { best }
                })
                .cloned()
        };
        match pattern {
            VersionPattern::Series { .. } => {
                newest(&mut matching().filter(|o| o.version.rc.is_none())).or_else(|| newest(&mut matching()))
            }
            _ => newest(&mut matching()),
        }
    }

    fn nothing(&mut self, pattern: VersionPattern, suite: Option<&str>, arch: Arch) -> Error {
        if let Some(trouble) = self.trouble.pop() {
            return trouble;
        }
        if let Some(Offer { missing: Some(missing), version, suite, .. }) =
            self.offers.iter().rev().find(|o| pattern.matches(o.version))
        {
            return Error::caller(format!(
                "{suite} lists {version} for {arch}, but its package {missing} is gone from the archive; {}",
                self.near(pattern)
            ));
        }
        let place = match suite {
            Some(suite) => format!("suite {suite}"),
            None if self.asked.is_empty() => "no configured suite can".to_string(),
            None => format!("no suite ({})", self.asked.join(", ")),
        };
        let verb = match suite {
            Some(_) => " does not offer",
            None if self.asked.is_empty() => " hold",
            None => " offers",
        };
        Error::caller(format!("{place}{verb} {pattern} for {arch}; {}", self.near(pattern)))
            .hint("`kvet kernel fetch --refresh` asks the archive anew; old point releases leave it")
    }

    /// The versions that can be had and are closest to what was asked, in order.
    fn near(&self, pattern: VersionPattern) -> String {
        let (major, minor) = pattern.series();
        let asked =
            if let VersionPattern::Exact(v) = pattern { v } else { KernelVersion::new(major, minor, 0) };
        let mut all: Vec<&Offer> =
            self.offers.iter().chain(&self.elsewhere).filter(|o| o.missing.is_none()).collect();
        all.sort_by_key(|o| o.version);
        all.dedup_by_key(|o| o.version);
        let at = all.partition_point(|o| o.version < asked);
        let shown = &all[at.saturating_sub(4)..(at + 4).min(all.len())];
        let shown: Vec<String> = shown.iter().map(|o| format!("{} ({})", o.version, o.suite)).collect();
        if shown.is_empty() {
            "nothing is available".into()
        } else {
            format!("available: {}", shown.join(", "))
        }
    }
}

impl Work<'_> {
    fn note(&mut self, text: String) {
        (self.progress)(Progress::Note(text));
    }

    fn market(&mut self, named: Option<&str>, pattern: VersionPattern) -> Result<Market> {
        let mut market = Market::default();
        let sources = self.sources;
        let suites = sources.suites(named, pattern)?;
        for suite in &sources.config.suites {
            if !suites.contains(&suite) {
                let old = self.stored_index(suite);
                market.elsewhere.extend(old.iter().flat_map(index::offers));
                continue;
            }
            market.asked.push(suite.name.clone());
            match self.index(suite, &[]) {
                Ok(index) => market.offers.extend(index::offers(&index)),
                Err(Trouble::Fatal(e)) => return Err(e),
                Err(Trouble::Missing(e) | Trouble::Away(e)) if named.is_some() => market.trouble.push(e),
                Err(Trouble::Missing(e)) => self.note(format!("suite {} is left out: {e}", suite.name)),
                Err(Trouble::Away(e)) => {
                    self.note(format!("suite {} is left out: {e}", suite.name));
                    market.trouble.push(e);
                }
            }
        }
        Ok(market)
    }

    fn index_name(&self, suite: &DebianSuite) -> String {
        format!("{}-{}", suite.name, self.arch)
    }

    /// The index in the cache, of whatever age.
    fn stored_index(&self, suite: &DebianSuite) -> Option<Index> {
        read_json::<Index>(&self.cache.index_path(&self.index_name(suite)))
            .filter(|i| i.format == FORMAT && i.suite == suite.name && i.arch == self.arch)
    }

    /// A suite's index: the one in the cache while it is fresh, else what the archive says now. When the archive
    /// is away an old one still serves, with a note.
    fn index(&mut self, suite: &DebianSuite, also: &[String]) -> std::result::Result<Index, Trouble> {
        let name = format!("{}-{}", suite.name, self.arch);
        let path = self.cache.index_path(&name);
        let arch = self.arch;
        let load = || {
            read_json::<Index>(&path)
                .filter(|i| i.format == FORMAT && i.suite == suite.name && i.arch == arch)
        };
        if let Some(index) = load().filter(|i| self.sources.is_fresh(i, also)) {
            return Ok(index);
        }
        let name = self.index_name(suite);
        let lock = self.cache.lock_path(&format!("index-{name}"));
        let what = format!("fetch the index of {}", suite.name);
        let _lock = Lock::take(&lock, Mode::Exclusive, &what, self.progress, self.cancel)?;
        let old = self.stored_index(suite);
        if let Some(index) = old.as_ref().filter(|i| self.sources.is_fresh(i, also)) {
            return Ok(index.clone());
        }
        match (self.fetch_index(suite, also, old.as_ref()), old) {
            (Ok(index), _) => {
                self.cache.replace_json(&self.cache.index_path(&name), &index)?;
                Ok(index)
            }
            (Err(Trouble::Away(e)), Some(old)) if also.iter().all(|name| old.also.contains(name)) => {
                let age = unix(SystemTime::now()).saturating_sub(old.checked_unix) / 3600;
                self.note(format!(
                    "the index of {} is {age} h old and could not be renewed: {e}",
                    suite.name
                ));
                Ok(old)
            }
            (Err(trouble), _) => Err(trouble),
        }
    }

    fn fetch_index(
        &mut self,
        suite: &DebianSuite,
        also: &[String],
        old: Option<&Index>,
    ) -> std::result::Result<Index, Trouble> {
        let base = self.sources.base(suite)?;
        let down = |set: bool| {
            // A poisoned lock only means that another thread panicked; the set is fine.
            let mut down = self.sources.down.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if set { down.insert(base.to_string()) } else { down.contains(&base.to_string()) }
        };
        if down(false) {
            return Err(Trouble::Away(Error::host(format!("{base} could not be reached"))));
        }
        let dir = format!("dists/{}", suite.name);
        let place = format!("{base}/{dir}/InRelease");
        let signed =
            self.sources.fetcher()?.small(base, &format!("{dir}/InRelease"), MAX_INRELEASE, self.cancel);
        let signed = signed.inspect_err(|trouble| {
            if matches!(trouble, Trouble::Away(_)) {
                down(true);
            }
        })?;
        let scratch = self.cache.scratch()?;
        let release = self.verified(suite, &signed, &place, &scratch)?;
        self.judge_age(suite, &release, old, &place)?;

        let wanted: Vec<String> = {
            let mut all: Vec<String> = old.map(|o| o.also.clone()).unwrap_or_default();
            all.extend(also.iter().cloned());
            all.sort();
            all.dedup();
            all
        };
        let stem = format!("main/binary-{}/Packages", self.arch.debian());
        let (file, size, sha256) = ["xz", "gz"]
            .iter()
            .find_map(|ext| {
                let name = format!("{stem}.{ext}");
                release.file(&name).map(|(size, hash)| (name.clone(), size, hash.clone()))
            })
            .ok_or_else(|| {
                Trouble::Missing(Error::host(format!(
                    "{place} lists no {stem}.xz: no packages for {}",
                    self.arch
                )))
            })?;
        let packages = match old.filter(|o| o.packages_sha256 == sha256 && o.also == wanted) {
            Some(old) => old.packages.clone(),
            None => self.packages(base, &dir, &file, size, &sha256, release.by_hash, &wanted)?,
        };
        Ok(Index {
            format: FORMAT,
            suite: suite.name.clone(),
            arch: self.arch,
            checked_unix: unix(SystemTime::now()),
            date: release.date,
            valid_until_unix: release.valid_until.map(unix),
            packages_sha256: sha256,
            also: wanted,
            packages,
        })
    }

    fn verified(
        &self,
        suite: &DebianSuite,
        signed: &[u8],
        place: &str,
        scratch: &Scratch,
    ) -> Result<Release> {
        let config = &self.sources.config;
        let mut rings = apt::keyrings(&config.keyrings)?;
        if suite.archived {
            rings.extend(config.retired_keyrings.iter().map(PathBuf::as_path).filter(|p| p.is_file()));
        }
        let text = release::verify(signed, place, &rings, suite.archived, scratch)?;
        let release = Release::parse(&text, place)?;
        release.must_be(&suite.name, place)?;
        Ok(release)
    }

    /// An expired index, or one older than what was seen before, may hide newer packages. It is treated like an
    /// archive that is away.
    fn judge_age(
        &mut self,
        suite: &DebianSuite,
        release: &Release,
        old: Option<&Index>,
        place: &str,
    ) -> std::result::Result<(), Trouble> {
        let dated = |text: &str| release::date(text);
        if let (Some(before), Some(now)) = (old.and_then(|o| dated(&o.date)), dated(&release.date))
            && now < before
        {
            let (now, before) = (release::show(now), release::show(before));
            return Err(Trouble::Away(Error::host(format!(
                "{place} of {now} is older than the one of {before} that was seen before"
            ))));
        }
        let Some(until) = release.valid_until.filter(|until| *until < SystemTime::now() && !suite.archived)
        else {
            return Ok(());
        };
        let expired = format!("{place} expired on {}", release::show(until));
        if suite.check_valid_until && !self.sources.mirrors()?.accept_expired {
            return Err(Trouble::Away(Error::host(expired).hint(
                "the mirror is not updated any more, or the clock is wrong; check_valid_until: false in \
                 configs/kernels.yaml accepts it",
            )));
        }
        self.note(format!("{expired}: newer kernels may exist"));
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what to fetch, and how it must be")]
    fn packages(
        &mut self,
        base: &Base,
        dir: &str,
        file: &str,
        size: u64,
        sha256: &Sha256Hex,
        by_hash: bool,
        also: &[String],
    ) -> std::result::Result<Vec<index::Package>, Trouble> {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        // By hash there is no moment at which the mirror has the new InRelease and still the old index.
        let mut paths = vec![format!("{dir}/{file}")];
        if by_hash {
            paths.insert(0, format!("{dir}/{folder}/by-hash/SHA256/{sha256}"));
        }
        let mut result = Err(Trouble::Missing(Error::host("no index")));
        let what = format!("the index of {}", dir.rsplit('/').next().unwrap_or(dir));
        for path in &paths {
            result = self.fetched(base, path, size, sha256, MAX_PACKAGES, &what);
            if !matches!(result, Err(Trouble::Missing(_))) {
                break;
            }
        }
        let mut partial = result?;
        let place = format!("{base}/{dir}/{file}");
        let reader = partial.reader()?;
        let plain: Box<dyn Read> = if file.ends_with(".xz") {
            Box::new(liblzma::read::XzDecoder::new_multi_decoder(reader))
        } else {
            Box::new(flate2::read::MultiGzDecoder::new(reader))
        };
        self.cancel.check()?;
        let packages = index::parse(plain, self.arch, also, &place);
        partial.remove();
        Ok(packages?)
    }

    /// A file of the archive, checked, in the cache's folder of downloads.
    fn fetched(
        &mut self,
        base: &Base,
        path: &str,
        size: u64,
        sha256: &Sha256Hex,
        max: u64,
        what: &str,
    ) -> std::result::Result<Partial, Trouble> {
        if size > max {
            return Err(Trouble::Fatal(Error::host(format!(
                "{base}/{path} is said to have {size} bytes; more than {max} are refused"
            ))));
        }
        let at = self.cache.partial_path(sha256);
        let lock = Lock::take(&at, Mode::Exclusive, "download the same file", self.progress, self.cancel)?;
        let mut file = lock.file().try_clone().host(format_args!("open {}", at.display()))?;
        let done = self.sources.fetcher()?.file(
            base,
            path,
            &mut file,
            &at,
            Expected { what, size, sha256 },
            self.progress,
            self.cancel,
        );
        let empty = file.metadata().is_ok_and(|m| m.len() == 0);
        let partial = Partial { at, lock };
        match done {
            Ok(()) => Ok(partial),
            Err(trouble) => {
                if empty {
                    partial.remove();
                }
                Err(trouble)
            }
        }
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

    /// Sees to it that an entry is there, made by us or by another kvet meanwhile, and returns its lock, shared.
    fn settled(
        &mut self,
        id: &str,
        what: &str,
        there: &dyn Fn(&Cache) -> bool,
        make: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<Lock> {
        let path = self.cache.lock_path(id);
        let mut wait = Wait::new(what);
        loop {
            if let Some(lock) = Lock::try_take(&path, Mode::Shared)?
                && there(self.cache)
            {
                return Ok(lock);
            }
            // Whoever made it keeps it shared for as long as it is used: waiting to be alone could take forever.
            if let Some(lock) = Lock::try_take(&path, Mode::Exclusive)? {
                if !there(self.cache) {
                    make(self)?;
                }
                lock.share()?;
                if there(self.cache) {
                    return Ok(lock);
                }
            }
            wait.once(self.progress, self.cancel)?;
        }
    }

    /// A kernel of the cache, by its lock. None where it is not there.
    fn open(&self, spec: &KernelSpec, id: &str, lock: Lock) -> Result<Option<Kernel>> {
        let dir = self.cache.entry_dir(Kind::Kernels, id);
        let image = dir.join("image");
        let entry = match self.cache.read_entry::<EntryInfo>(Kind::Kernels, id) {
            Some(entry) if entry.format == FORMAT && image.is_file() => entry,
            _ => return Ok(None),
        };
        let config = read_config(&dir.join("config"))?;
        let modules = dir.join("lib/modules").join(&entry.release);
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
            },
            version: entry.version,
            arch: entry.arch,
            image_kind: entry.image_kind,
            image,
            modules: modules.is_dir().then_some(modules),
            config,
            _lock: Some(lock),
        }))
    }

    /// Downloads and unpacks. The entry's lock is held alone.
    fn make(&mut self, id: &str, offer: &Offer) -> Result<()> {
        let suite = self.sources.suite(&offer.suite)?;
        let base = self.sources.base(suite).map_err(Trouble::into_error)?;
        let needed =
            offer.packages.iter().map(|p| p.size.saturating_add(p.installed_kib.saturating_mul(1024))).sum();
        space::require(self.cache.root(), needed, &format!("kernel {} {}", offer.version, self.arch))?;
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
        };
        self.cache.commit(&scratch, Kind::Kernels, id, &entry)
    }

    fn unpack(
        &mut self,
        base: &Base,
        package: &index::Package,
        dest: &Path,
        select: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Result<()> {
        let partial = self
            .fetched(base, &package.filename, package.size, &package.sha256, MAX_DEB, &package.name)
            .map_err(|trouble| match trouble {
                Trouble::Missing(e) => e.hint(
                    "the archive moved on since its index was read: `kvet kernel fetch --refresh` reads it anew",
                ),
                other => other.into_error(),
            })?;
        let done = deb::unpack(&partial.at, &package.name, dest, select, self.progress, self.cancel);
        partial.remove();
        done.map(drop)
    }
}

/// A download, held alone.
struct Partial {
    at: PathBuf,
    lock: Lock,
}

impl Partial {
    fn reader(&mut self) -> Result<File> {
        let action = || format!("read {}", self.at.display());
        let mut file = self.lock.file().try_clone().host(action())?;
        file.rewind().host(action())?;
        Ok(file)
    }

    fn remove(self) {
        // What stays is swept when it is old.
        let _ = self.lock.remove();
    }
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

fn package_facts(package: &index::Package, suite: &str) -> PackageFacts {
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
        let base = self.sources.base(suite).map_err(Trouble::into_error)?;
        let needed = package.size.saturating_add(package.installed_kib.saturating_mul(1024));
        space::require(self.cache.root(), needed, &format!("package {}", package.name))?;
        let scratch = self.cache.scratch()?;
        let into = scratch.path().join("root");
        fs::create_dir(&into).map_err(|e| space::explain(e, &into, "make"))?;
        self.unpack(base, package, &into, &|path| Some(path.to_path_buf()))?;
        let entry = PackageEntry { format: FORMAT, facts: package_facts(package, &suite.name) };
        self.cache.commit(&scratch, Kind::Packages, id, &entry)
    }
}
