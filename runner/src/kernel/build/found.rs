//! What was built before: by the hash of all that went in, and by the name of its source.

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::event::BuiltFacts;

use super::super::cache::{Build, Cache, Kind};
use super::super::source::SourceSpec;
use super::super::{Kernel, KernelSpec, Progress, debian};
use super::{Recipe, Work};
use kvet_host::lock::{Lock, Mode};

/// Letters of a signature that name one kernel for certain.
const SIGNATURE_LETTERS: usize = 8;

impl Work<'_> {
    /// A kernel that was built of exactly this.
    pub(super) fn built(&self, key: &str, progress: &mut dyn FnMut(Progress)) -> Result<Option<Kernel>> {
        let cache = self.order.cache;
        for id in cache.ids(Kind::Kernels)? {
            let mut builds = cache.builds(&id).into_iter();
            if let Some(build) = builds.find(|b| b.key.as_deref() == Some(key))
                && let Some(kernel) = self.open(&id, build.facts, progress)?
            {
                return Ok(Some(kernel));
            }
        }
        Ok(None)
    }

    fn open(
        &self,
        id: &str,
        facts: BuiltFacts,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Kernel>> {
        let what = format!("be done with {id}");
        let path = self.order.cache.lock_path(id);
        let lock = Lock::take(&path, Mode::Shared, &what, progress, self.order.cancel)?;
        open(self.order.cache, self.order.spec, id, facts, lock)
    }
}

/// A kernel of the cache as one of the builds that came to it tells of it. None where it is not there.
pub(super) fn open(
    cache: &Cache,
    spec: &KernelSpec,
    id: &str,
    facts: BuiltFacts,
    lock: Lock,
) -> Result<Option<Kernel>> {
    let kernel = debian::open(cache, spec, id, lock)?;
    Ok(kernel.map(|mut kernel| {
        kernel.facts.origin = origin(&facts);
        kernel.facts.built = Some(Box::new(facts));
        kernel
    }))
}

/// Where a kernel came from, in one line.
pub(super) fn origin(built: &BuiltFacts) -> String {
    let what = built.describe.clone().unwrap_or_else(|| built.source.clone());
    let extra = match &built.fragments[..] {
        [] => String::new(),
        fragments => format!(" with {}", fragments.join(", ")),
    };
    format!("{what}{extra}, built by {}", built.toolchain)
}

/// What was built last of a source, whatever became of the source since. `name` may also be the name of an entry, or the
/// beginning of a signature.
///
/// # Errors
/// The caller's: nothing was. The host's: the cache cannot be read.
pub fn find_built(name: &str, arch: Option<Arch>, cache: &Cache) -> Result<Kernel> {
    let nothing = || {
        let arch = arch.map_or(String::new(), |a| format!(" for {a}"));
        Error::caller(format!("nothing was built of {name}{arch} yet"))
            .hint(format!("kvet kernel build {name}"))
    };
    let (id, build) = newest(name, arch, cache)?.ok_or_else(nothing)?;
    let lock = Lock::try_take(&cache.lock_path(&id), Mode::Shared)?
        .ok_or_else(|| Error::host(format!("{id} is being replaced just now")))?;
    let source = build.facts.source.parse().map_err(|_| nothing())?;
    let spec = KernelSpec::Source { source, recipe: Recipe::default() };
    open(cache, &spec, &id, build.facts, lock)?.ok_or_else(nothing)
}

/// The newest build that is meant, with the entry that came of it.
fn newest(name: &str, arch: Option<Arch>, cache: &Cache) -> Result<Option<(String, Build)>> {
    let source = name.parse::<SourceSpec>().ok().map(|s| s.to_string());
    let mut found = Vec::new();
    for entry in cache.list()?.into_iter().map(|listed| listed.info) {
        if arch.is_some_and(|arch| arch != entry.arch) {
            continue;
        }
        let is_meant = |build: &Build| {
            let signed = name.len() >= SIGNATURE_LETTERS && build.facts.signature.starts_with(name);
            source.as_ref() == Some(&build.facts.source) || signed || entry.id == name
        };
        let build = cache.builds(&entry.id).into_iter().find(is_meant);
        found.extend(build.map(|build| (entry.id, build)));
    }
    Ok(found.into_iter().max_by_key(|(_, build)| build.ended_unix_ns))
}
