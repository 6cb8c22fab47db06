//! From a suite to its index, from a package to its unpacked files: every step verified.
//!
//! InRelease (signature, by gpgv) → Packages.xz (size and SHA-256 in InRelease) → .deb (size and SHA-256 in
//! Packages) → unpacked. What does not fit is refused and deleted.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use kvet_host::fs::unix;

use super::apt::{self, Base};
use super::cache::{Cache, Scratch, read_json};
use super::download::{Expected, Trouble};
use super::index::{self, Index};
use super::release::{self, Release};
use super::suites::{DebianSuite, Sources};
use super::{Progress, deb};
use kvet_host::hash::Sha256Hex;
use kvet_host::lock::{Lock, Mode, Wait};

/// No InRelease comes near this (the largest has 200 KB).
const MAX_INRELEASE: u64 = 8 << 20;
/// The largest Packages.xz has 11 MB.
const MAX_PACKAGES: u64 = 256 << 20;
/// The largest kernel package has 170 MB.
const MAX_DEB: u64 = 2 << 30;

/// Everything one call works with.
pub(super) struct Work<'a> {
    pub(super) arch: Arch,
    pub(super) cache: &'a Cache,
    pub(super) sources: &'a Sources,
    pub(super) progress: &'a mut dyn FnMut(Progress),
    pub(super) cancel: &'a Cancel,
}

impl Work<'_> {
    pub(super) fn note(&mut self, text: String) {
        (self.progress)(Progress::Note(text));
    }

    fn index_name(&self, suite: &DebianSuite) -> String {
        format!("{}-{}-{}", suite.name, self.arch, index::FORMAT)
    }

    /// The index in the cache, of whatever age.
    pub(super) fn stored_index(&self, suite: &DebianSuite) -> Option<Index> {
        read_json::<Index>(&self.cache.index_path(&self.index_name(suite)))
            .filter(|i| i.format == index::FORMAT && i.suite == suite.name && i.arch == self.arch)
    }

    /// A suite's index: the one in the cache while it is fresh, else what the archive says now. When the archive
    /// is away an old one still serves, with a note.
    pub(super) fn index(
        &mut self,
        suite: &DebianSuite,
        also: &[String],
    ) -> std::result::Result<Index, Trouble> {
        if let Some(index) = self.stored_index(suite).filter(|i| self.sources.is_fresh(i, also)) {
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
        let base = self.sources.base(suite, self.cancel)?;
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
        let signed = self.sources.fetcher(self.cancel)?.small(
            base,
            &format!("{dir}/InRelease"),
            MAX_INRELEASE,
            self.cancel,
        );
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
            format: index::FORMAT,
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
        if suite.check_valid_until && !self.sources.mirrors(self.cancel)?.accept_expired {
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
        let done = self.sources.fetcher(self.cancel)?.file(
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

    /// Sees to it that an entry is there, made by us or by another kvet meanwhile, and returns its lock, shared.
    pub(super) fn settled(
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

    /// Whether the index that has the package was read by this kvet.
    fn was_just_read(&self, package: &index::Package) -> bool {
        let indexes = self.sources.config.suites.iter().filter_map(|suite| self.stored_index(suite));
        let mut holding = indexes.filter(|index| index.packages.contains(package));
        holding.any(|index| index.checked_unix >= self.sources.started_unix)
    }

    pub(super) fn unpack(
        &mut self,
        base: &Base,
        package: &index::Package,
        dest: &Path,
        select: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Result<()> {
        let partial = self
            .fetched(base, &package.filename, package.size, &package.sha256, MAX_DEB, &package.name)
            .map_err(|trouble| match trouble {
                // It was read a moment ago: reading it again would say the same.
                Trouble::Missing(e) if self.was_just_read(package) => e.hint(format!(
                    "the archive still lists {} {} and has lost its file; another point release or suite may be whole \
                     (debian:SUITE/SERIES)",
                    package.name, package.version
                )),
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
pub(super) struct Partial {
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
