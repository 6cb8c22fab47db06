//! What is on offer: which kernel is meant by a pattern, and what to say when there is none.

use crate::arch::Arch;
use crate::error::{Error, Result};

use super::archive::Work;
use super::download::Trouble;
use super::index::{self, Offer};
use super::version::{KernelVersion, cmp_debian};
use crate::pattern::VersionPattern;

/// What all the suites asked offer.
#[derive(Default)]
pub(super) struct Market {
    offers: Vec<Offer>,
    /// What the suites that were not asked had when they were asked last; only for messages.
    elsewhere: Vec<Offer>,
    pub(super) trouble: Vec<Error>,
    asked: Vec<String>,
}

impl Market {
    /// The newest complete one that matches, else the newest that lacks only its modules; of the same version, the newest
    /// package, then the earlier suite.
    pub(super) fn choose(&self, pattern: VersionPattern) -> Option<Offer> {
        self.choose_among(pattern, |offer| offer.missing.is_none())
            .or_else(|| self.choose_among(pattern, |offer| offer.bare))
    }

    fn choose_among(&self, pattern: VersionPattern, fit: fn(&Offer) -> bool) -> Option<Offer> {
        let matching = || self.offers.iter().filter(|o| fit(o) && pattern.matches(o.version));
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

    pub(super) fn nothing(&mut self, pattern: VersionPattern, suite: Option<&str>, arch: Arch) -> Error {
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
            None => format!("no suite that can have it ({})", self.asked.join(", ")),
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
    pub(super) fn market(&mut self, named: Option<&str>, pattern: VersionPattern) -> Result<Market> {
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
}
