//! The suites that kernels are looked for in, and the archives that hold them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use kvet_host::fs::unix;

use super::apt::{Archive, Base, Mirrors};
use super::build::Workshop;
use super::download::{Fetcher, Trouble};
use super::index::Index;
use crate::pattern::VersionPattern;

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

/// Where kernels come from. One for a whole run; several threads may use it at once.
#[derive(Debug)]
pub struct Sources {
    pub(super) config: DebianSuites,
    pub(super) refresh: bool,
    pub(super) started_unix: u64,
    mirrors: OnceLock<Mirrors>,
    fetcher: OnceLock<Fetcher>,
    plain: OnceLock<Fetcher>,
    workshop: Option<Workshop>,
    /// Archives that could not be reached: one wait for a time-out is enough.
    pub(super) down: Mutex<HashSet<String>>,
}

/// An InRelease has some 150 KB.
const MAX_PROBE: u64 = 4 << 20;

impl Sources {
    /// The mirror is looked for when it is needed first: `KVET_MIRROR`, else apt's configuration.
    pub fn new(config: DebianSuites) -> Self {
        Self {
            config,
            refresh: false,
            started_unix: unix(SystemTime::now()),
            mirrors: OnceLock::new(),
            fetcher: OnceLock::new(),
            plain: OnceLock::new(),
            workshop: None,
            down: Mutex::new(HashSet::new()),
        }
    }

    /// With the archives given, whatever the environment and apt say.
    pub fn with_mirrors(config: DebianSuites, mirrors: Mirrors) -> Self {
        let sources = Self::new(config);
        let _ = sources.mirrors.set(mirrors);
        sources
    }

    /// Lets kernels be built, too.
    #[must_use]
    pub fn building(mut self, workshop: Workshop) -> Self {
        self.workshop = Some(workshop);
        self
    }

    /// How kernels are built here.
    ///
    /// # Errors
    /// The caller's: they are not.
    pub fn workshop(&self) -> Result<&Workshop> {
        self.workshop.as_ref().ok_or_else(|| Error::caller("no kernels are built here"))
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
    pub fn mirrors(&self, cancel: &Cancel) -> Result<&Mirrors> {
        if self.mirrors.get().is_none() {
            let found = Mirrors::discover(&|name| std::env::var_os(name), cancel)?;
            // Another thread may have been faster, with the same answer.
            let _ = self.mirrors.set(found);
        }
        self.mirrors.get().ok_or_else(|| Error::host("no mirror"))
    }

    /// Whether the archive answers: a line for people.
    ///
    /// # Errors
    /// As [`Mirrors::discover`], or it does not answer.
    pub fn probe(&self, cancel: &Cancel) -> Result<String> {
        let main = &self.mirrors(cancel)?.main;
        let suite = self.config.suites.iter().find(|suite| suite.archive == Archive::Main);
        let suite =
            suite.ok_or_else(|| Error::caller("configs/kernels.yaml names no suite of the main archive"))?;
        let path = format!("dists/{}/InRelease", suite.name);
        match self.fetcher(cancel)?.small(main, &path, MAX_PROBE, cancel) {
            Ok(_) => Ok(format!("{main} answers")),
            Err(trouble) => Err(trouble.into_error()),
        }
    }

    pub(super) fn fetcher(&self, cancel: &Cancel) -> Result<&Fetcher> {
        let proxy = self.mirrors(cancel)?.proxy.clone();
        Ok(self.fetcher.get_or_init(|| Fetcher::new(proxy)))
    }

    /// For places that the caller names: no mirror is needed to get there.
    pub(super) fn plain_fetcher(&self) -> &Fetcher {
        self.plain.get_or_init(|| Fetcher::new(None))
    }

    pub(super) fn base(&self, suite: &DebianSuite, cancel: &Cancel) -> std::result::Result<&Base, Trouble> {
        let mirrors = self.mirrors(cancel)?;
        match suite.archive {
            Archive::Main => Ok(&mirrors.main),
            Archive::Security => mirrors
                .security
                .as_ref()
                .ok_or_else(|| Trouble::Missing(Error::host("apt is configured with no security archive"))),
        }
    }

    pub(super) fn suite(&self, name: &str) -> Result<&DebianSuite> {
        self.config.suites.iter().find(|s| s.name == name).ok_or_else(|| {
            let known = self.config.suites.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::caller(format!("suite '{name}' is not configured; known: {known}"))
                .hint("configs/kernels.yaml lists the suites")
        })
    }

    /// Those that can hold the pattern; the one that was named, whatever it can hold.
    pub(super) fn suites(&self, named: Option<&str>, pattern: VersionPattern) -> Result<Vec<&DebianSuite>> {
        if let Some(name) = named {
            return Ok(vec![self.suite(name)?]);
        }
        let (major, minor) = pattern.series();
        let can = |s: &&DebianSuite| s.series.is_empty() || s.series.contains(&Series(major, minor));
        Ok(self.config.suites.iter().filter(can).collect())
    }

    pub(super) fn is_fresh(&self, index: &Index, also: &[String]) -> bool {
        let now = unix(SystemTime::now());
        let ttl = u64::from(self.config.index_ttl_hours) * 3600;
        // A time stamp in the future comes from a clock that was wrong: ask again.
        let young = index.checked_unix <= now && now - index.checked_unix < ttl;
        let covers = also.iter().all(|name| index.also.contains(name));
        covers && young && (!self.refresh || index.checked_unix >= self.started_unix)
    }
}
