//! Which releases can be had, for a search over them.

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::Result;

use super::Progress;
use super::archive::Work;
use super::cache::{Cache, EntryInfo, Kind};
use super::download::Trouble;
use super::index;
use super::suites::Sources;
use super::version::KernelVersion;

/// A stock kernel that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// Its version.
    pub version: KernelVersion,
    /// Whether its modules can be had as well.
    pub modules: bool,
}

/// Every release from one version to another, both included, that some suite offers or the cache holds; the oldest first.
///
/// # Errors
/// The host's: an index is not what it should be. Interrupted: after a cancel. A suite that cannot be asked is left out, with a
/// note.
pub fn releases(
    from: KernelVersion,
    to: KernelVersion,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Vec<Release>> {
    let mut work = Work { arch, cache, sources, progress, cancel };
    let mut found: Vec<Release> = Vec::new();
    for suite in &sources.config.suites {
        let inside = |series: (u32, u32)| (from.series()..=to.series()).contains(&series);
        if !suite.series.is_empty() && !suite.series.iter().any(|s| inside((s.0, s.1))) {
            continue;
        }
        match work.index(suite, &[]) {
            Ok(index) => found.extend(index::offers(&index).into_iter().filter_map(|offer| {
                let had = offer.missing.is_none() || offer.bare;
                had.then_some(Release { version: offer.version, modules: offer.missing.is_none() })
            })),
            Err(Trouble::Fatal(e)) => return Err(e),
            Err(Trouble::Missing(e) | Trouble::Away(e)) => {
                work.note(format!("suite {} is left out: {e}", suite.name));
            }
        }
    }
    for id in cache.ids(Kind::Kernels)? {
        let entry = cache.read_entry::<EntryInfo>(Kind::Kernels, &id);
        let stock = entry.filter(|e| e.arch == arch && !e.packages.is_empty());
        found.extend(stock.map(|e| Release { version: e.version, modules: e.modules > 0 }));
    }
    found.retain(|release| (from..=to).contains(&release.version));
    // Of the same version, one with modules.
    found.sort_by_key(|release| (release.version, !release.modules));
    found.dedup_by_key(|release| release.version);
    Ok(found)
}
