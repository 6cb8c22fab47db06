//! The kernel's own BPF selftests, in slices: `test_progs` with the chosen tests and what these need, built from a kernel
//! source with the BTF of the kernel under test.
//!
//! ```text
//! source tree ─ select ─→ files ─ place ─→ workshop (in the cache, per source, slice, architecture, compiler)
//!                           └ hash ─→ id        └ make ─→ test_progs ─ collect ─→ suites/<id> (in the cache, for good)
//! ```
//!
//! The source tree is never written to. The id is a hash of everything that goes in, so a second build builds nothing; a
//! changed program is the only new file in the workshop, so make builds it alone.

mod bpftool;
mod check;
mod collect;
mod make;
mod makefile;
pub mod manifest;
mod mark;
mod place;
mod rounds;
mod scan;
mod select;
mod sysroot;
mod toolchain;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::{Error, Fault, Result};
use crate::kernel::source::{self, Purpose, SourceSpec, SourceTree};
use crate::kernel::{
    self, Btf, Cache, Entry, Kernel, KernelSpec, KernelVersion, Progress, Sha256Hex, Shop, Sources,
};
use crate::spec::arch::{ArchFacts, BuildFacts};
use crate::spec::home::Home;
use check::{check_path, check_wanted};
use manifest::{Manifest, Slices};
use select::{Selection, Tree};
use sysroot::Sysroot;
use toolchain::Toolchain;

pub use check::{check_available, check_source, check_tools};

/// The program that is built.
pub const PROGRAM: &str = "test_progs";
/// Something else about a build's result when this changes.
const FORMAT: &str = "kvet upstream 1";

/// What is asked for: part of a plan.
#[derive(Debug, Clone)]
pub struct Request {
    /// How slices are built.
    pub manifest: Manifest,
    /// Which.
    pub slices: Slices,
    /// Of which source; none: of the kernel's own.
    pub source: Option<SourceSpec>,
}

/// The selftests, ready to be run. While this lives, nobody prunes them.
#[derive(Debug)]
pub struct BuiltSuite {
    /// The folder for the guest.
    pub share: PathBuf,
    /// The program in it.
    pub program: PathBuf,
    /// The names of its tests, without those of their subtests, which only a run tells.
    pub tests: Vec<String>,
    /// The release that they are of.
    pub version: KernelVersion,
    /// How many steps make took; 0 when everything was in the cache.
    pub steps: u64,
    /// What belongs into a report: `selftests_source`, `selftests_slices`, …
    pub facts: BTreeMap<String, String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    _entry: Entry,
}

/// What a build works with.
pub struct Means<'a> {
    /// Where the facts about architectures are.
    pub home: &'a Home,
    /// The cache.
    pub cache: &'a Cache,
    /// Where packages and sources come from.
    pub sources: &'a Sources,
    /// The request to stop.
    pub cancel: &'a Cancel,
    /// Where everything that make says goes; added at the end.
    pub log: &'a Path,
    /// Asked before anything is compiled, with the names of the tests that would be built, without those of their subtests:
    /// whether any of them is meant.
    pub wanted: &'a dyn Fn(&[String]) -> Result<()>,
}

/// What a build would do, for a dry run.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// The folder for the guest, which may not be there yet.
    pub share: PathBuf,
    /// The release that the tests are of.
    pub version: KernelVersion,
    /// Whether it is.
    pub built: bool,
    /// Lines for people.
    pub text: String,
}

/// The source whose selftests are meant for a kernel: its own; for one of the archive's, the archive's source of the same
/// release or the nearest of its series.
///
/// # Errors
/// The caller's: nobody knows what an image was built from. Else as [`source::nearest_debian`].
pub fn source_of(kernel: &Kernel, means: &Means, progress: &mut dyn FnMut(Progress)) -> Result<SourceSpec> {
    match &kernel.spec {
        KernelSpec::Debian { .. } => {
            let Means { cache, sources, cancel, .. } = means;
            source::nearest_debian(kernel.version, cache, sources, progress, cancel).map_err(|error| {
                let lost = error.fault() == Fault::Caller;
                if lost { error.hint(OTHER_SOURCE) } else { error }
            })
        }
        KernelSpec::Source { source, .. } => Ok(source.clone()),
        KernelSpec::File { image, .. } => Err(Error::caller(format!(
            "file:{}: what this kernel was built from is not known, nor are its selftests",
            image.display()
        ))
        .hint(OTHER_SOURCE)),
    }
}

/// What to do where a kernel's own selftests are not to be had.
const OTHER_SOURCE: &str = "--selftests SOURCE names a source: tree:~/linux, git:~/linux@v6.12, debian-source:7.2, tar:linux-7.1.tar.xz";

/// Gets a source and builds the selftests of it for a kernel.
///
/// # Errors
/// The kernel's: its selftests do not compile, or it has no BTF. The caller's: the source is none, or has nothing of what
/// is asked for. The host's: no compiler, no space, no mirror. Interrupted: after a cancel.
pub fn ensure(
    request: &Request,
    kernel: &Kernel,
    means: &Means,
    progress: &mut dyn FnMut(Progress),
) -> Result<BuiltSuite> {
    let (spec, tree) = obtain(request, kernel, means, progress)?;
    let build = Build::prepare(request, &spec, &tree, kernel, means, progress)?;
    build.ensure(progress).map_err(|e| e.concerning(format_args!("selftests of {spec}")))
}

/// What [`ensure`] would do. Sources and packages are fetched; nothing is compiled.
///
/// # Errors
/// As [`ensure`], for what shows before a build.
pub fn foresee(
    request: &Request,
    kernel: &Kernel,
    means: &Means,
    progress: &mut dyn FnMut(Progress),
) -> Result<Foreseen> {
    let (spec, tree) = obtain(request, kernel, means, progress)?;
    Build::prepare(request, &spec, &tree, kernel, means, progress)?.foresee()
}

fn obtain(
    request: &Request,
    kernel: &Kernel,
    means: &Means,
    progress: &mut dyn FnMut(Progress),
) -> Result<(SourceSpec, SourceTree)> {
    let spec = match &request.source {
        Some(spec) => spec.clone(),
        None => source_of(kernel, means, progress)?,
    };
    let tree = source::ensure(&spec, Purpose::Selftests, means.cache, means.sources, progress, means.cancel)?;
    Ok((spec, tree))
}

/// Everything that goes into a build.
struct Build<'a> {
    request: &'a Request,
    spec: &'a SourceSpec,
    source: &'a SourceTree,
    kernel: &'a Kernel,
    means: &'a Means<'a>,
    tree: Tree<'a>,
    tests: BTreeSet<String>,
    arch: BuildFacts,
    toolchain: Toolchain,
    sysroot: Sysroot,
    btf: Btf,
    /// The release of the kernel that the BTF is of.
    btf_of: String,
    notes: Vec<String>,
}

/// A kernel of the archive whose types the selftests are compiled with, where they are not of the series of the kernel under
/// test: their programs know no types but those of their own release. None where they are, and where the archive has none
/// of that series; then it is the kernel under test.
fn other_release(
    source: &SourceTree,
    kernel: &Kernel,
    means: &Means,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Kernel>> {
    let series = source.version.series();
    if series == kernel.version.series() {
        return Ok(None);
    }
    let Means { cache, sources, cancel, .. } = means;
    let spec: KernelSpec = format!("debian:{}.{}", series.0, series.1).parse()?;
    match kernel::acquire(&spec, kernel.arch, cache, sources, progress, cancel) {
        Err(e) if e.fault() == Fault::Caller => Ok(None),
        found => found.map(Some),
    }
}

impl<'a> Build<'a> {
    fn prepare(
        request: &'a Request,
        spec: &'a SourceSpec,
        source: &'a SourceTree,
        kernel: &'a Kernel,
        means: &'a Means<'a>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let Means { cache, sources, cancel, .. } = means;
        check_path(cache.root())?;
        let arch = ArchFacts::load(means.home, kernel.arch)?.build;
        let tree = Tree::open(&source.path, &arch.source_arch, cancel)?;
        let (tests, mut notes) = request.slices.select(&tree.tests()?, source.version)?;
        check_wanted(&tree, &tests, means)?;
        let toolchain = Toolchain::find(kernel.arch, &arch, &request.manifest.clang)?;
        let (packages, triplet) = (&request.manifest.sysroot, &arch.triplet);
        let sysroot = Sysroot::ensure(packages, kernel.arch, triplet, cache, sources, progress, cancel)?;
        let (btf, btf_of) = match other_release(source, kernel, means, progress)? {
            Some(other) => (kernel::ensure_btf(&other, cache)?, other.facts.release),
            None => (kernel::ensure_btf(kernel, cache)?, kernel.facts.release.clone()),
        };
        if source.version != kernel.version {
            let (tests, on) = (source.version, kernel.version);
            notes.push(format!("selftests of {tests}, with the types of {btf_of}, on a kernel {on}"));
        }
        Ok(Self {
            request,
            spec,
            source,
            kernel,
            means,
            tree,
            tests,
            arch,
            toolchain,
            sysroot,
            btf,
            btf_of,
            notes,
        })
    }

    fn ensure(mut self, progress: &mut dyn FnMut(Progress)) -> Result<BuiltSuite> {
        let cancel = self.means.cancel;
        let selection = self.select(&BTreeSet::new())?;
        let id = self.id(&place::hashes(&selection.files, cancel)?);
        let mut steps = 0;
        let (this, means) = (&self, self.means);
        let entry = means.cache.ensure_suite(&id, progress, cancel, &mut |into, progress| {
            let shop = this.workshop(progress)?;
            let made = this.build(&shop, selection.clone(), progress)?;
            steps = made.steps;
            collect::collect(&made, &shop.dir.join("tree"), &this.libraries(), into)
        })?;
        let collected = collect::read(&entry.dir)?;
        self.notes.extend(collected.notes);
        let facts = self.facts(&id);
        Ok(BuiltSuite {
            share: entry.dir.join(collect::SHARE),
            program: PathBuf::from(PROGRAM),
            tests: collected.tests,
            version: self.source.version,
            steps,
            facts,
            notes: self.notes,
            _entry: entry,
        })
    }

    fn foresee(&self) -> Result<Foreseen> {
        let selection = self.select(&BTreeSet::new())?;
        let id = self.id(&place::hashes(&selection.files, self.means.cancel)?);
        let found = self.means.cache.suite(&id)?;
        let mut text = format!("selftests  {} ({})\n", self.spec, self.source.version);
        text += &format!("slices     {}\n", self.request.slices.names.join(" "));
        text += &format!("tests of   {}\n", names(&selection.tests));
        text += &format!("programs   {}\n", names(&selection.programs));
        text += &format!("clang      {}\n", self.toolchain.clang_version);
        text += &format!("built      {}\n", if found.is_some() { "yes, in the cache" } else { "not yet" });
        for note in &self.notes {
            text += &format!("note       {note}\n");
        }
        let share = self.means.cache.suite_dir(&id).join(collect::SHARE);
        Ok(Foreseen { share, version: self.source.version, built: found.is_some(), text })
    }

    /// The name of the result in the cache: a hash of everything that goes in.
    fn id(&self, hashes: &BTreeMap<String, Sha256Hex>) -> String {
        let mut text = format!("{FORMAT}\n{}\n{}\n", self.kernel.arch, self.btf.sha256);
        text += &format!("{:?}\n{:?}\n{}\n", self.toolchain, self.request.manifest.make, self.sysroot.id);
        text += &format!("{:?}\n{}\n", self.request.manifest.libraries, mark::SOURCE);
        text += &format!("{:?} {}\n", self.tests, self.request.slices.tolerant());
        for (name, hash) in hashes {
            text += &format!("{name} {hash}\n");
        }
        format!("upstream-{}-{}-{}", self.source.version, self.kernel.arch, short(&text))
    }

    fn select(&self, broken: &BTreeSet<String>) -> Result<Selection> {
        let Request { manifest, slices, .. } = self.request;
        self.tree.select(&self.tests, broken, slices.tolerant(), &manifest.copy)
    }

    /// The folder to build in: the same for every state of a source.
    fn workshop(&self, progress: &mut dyn FnMut(Progress)) -> Result<Shop> {
        let Means { cache, cancel, .. } = self.means;
        let lineage = match self.source.is_cached() {
            true => format!("{:?}", self.source.version.series()),
            false => self.source.path.display().to_string(),
        };
        // Files name each other by absolute paths, so the place counts as well.
        let text = format!(
            "{FORMAT}\n{lineage}\n{}\n{}\n{:?}\n{:?}\n{:?}\n{}",
            self.kernel.arch,
            cache.root().display(),
            self.request.slices.names,
            self.toolchain,
            self.request.manifest.make,
            self.sysroot.id
        );
        let id = format!("slice-{}-{}", self.kernel.arch, short(&text));
        cache.workshop(&id, "build the same selftests", progress, cancel)
    }

    /// Files that go to the guest with the program.
    fn libraries(&self) -> Vec<PathBuf> {
        let dir = self.sysroot.root.join("usr/lib").join(&self.arch.triplet);
        let names = self.request.manifest.libraries.iter();
        names.map(|name| dir.join(name.replace("{loader}", &self.arch.loader))).collect()
    }

    fn facts(&self, id: &str) -> BTreeMap<String, String> {
        let mut source = self.spec.to_string();
        if let Some(describe) = &self.source.describe {
            source += &format!(" ({describe}{})", if self.source.dirty { ", with changes" } else { "" });
        }
        [
            ("selftests_source", source),
            ("selftests_version", self.source.version.to_string()),
            ("selftests_slices", self.request.slices.names.join(" ")),
            ("selftests_btf", self.btf_of.clone()),
            ("selftests_btf_sha256", self.btf.sha256.to_string()),
            ("selftests_sysroot", self.sysroot.packages.clone()),
            ("selftests_clang", self.toolchain.clang_version.clone()),
            ("selftests_id", id.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn names(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn short(text: &str) -> String {
    Sha256Hex::of(text.as_bytes()).as_str()[..12].to_owned()
}
