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
mod collect;
mod make;
mod makefile;
pub mod manifest;
mod mark;
mod place;
mod scan;
mod select;
mod sysroot;
mod toolchain;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, Fault, IoContext, Result};
use crate::kernel::source::{self, SourceSpec, SourceTree};
use crate::kernel::{
    self, Btf, Cache, Entry, Kernel, KernelSpec, KernelVersion, Progress, Sha256Hex, Shop, Sources,
};
use crate::spec::arch::{ArchFacts, BuildFacts};
use crate::spec::home::Home;
use bpftool::Bpftool;
use make::{Made, Make};
use manifest::{Manifest, Slices};
use select::{SELFTESTS, Selection, Tree};
use sysroot::Sysroot;
use toolchain::Toolchain;

/// The program that is built.
pub const PROGRAM: &str = "test_progs";
/// Something else about a build's result when this changes.
const FORMAT: &str = "kvet upstream 1";
/// How often programs that do not compile are left out and the rest is tried again.
const ROUNDS: usize = 4;
/// In a workshop: a build began. If it is still there at the next one, that build was killed, and left who knows what.
const UNDER_WAY: &str = "under-way";
/// In a workshop: how many steps a build of everything took.
const STEPS: &str = "steps";

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
            source::nearest_debian(kernel.version, cache, sources, progress, cancel)
        }
        KernelSpec::Source { source, .. } => Ok(source.clone()),
        KernelSpec::File { image, .. } => Err(Error::caller(format!(
            "file:{}: what this kernel was built from is not known, nor are its selftests",
            image.display()
        ))
        .hint("--selftests SOURCE names a source: tree:~/linux, git:~/linux@v6.12, debian-source:7.2")),
    }
}

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
    let tree = source::ensure(&spec, means.cache, means.sources, progress, means.cancel)?;
    Ok((spec, tree))
}

/// Looks for what a build needs, and gives the version of the compiler of BPF programs.
///
/// # Errors
/// The host's: programs are missing; all of them are named, with the packages.
pub fn check_tools(arch: Arch, home: &Home, manifest: &Manifest) -> Result<String> {
    let facts = ArchFacts::load(home, arch)?.build;
    Toolchain::find(arch, &facts, &manifest.clang).map(|found| found.clang_version)
}

/// Whether what is asked for is among the selftests of a tree of the caller's, before a kernel is built of it. Nothing is fetched for
/// that: other sources are looked at in [`ensure`].
///
/// # Errors
/// As [`ensure`], for what shows so early.
pub fn check_available(request: &Request, kernel: &KernelSpec, arch: Arch, means: &Means) -> Result<()> {
    let source = match (&request.source, kernel) {
        (Some(source), _) | (None, KernelSpec::Source { source, .. }) => source,
        _ => return Ok(()),
    };
    let SourceSpec::Tree(path) = source else { return Ok(()) };
    let facts = ArchFacts::load(means.home, arch)?.build;
    let tree = Tree::open(path, &facts.source_arch, means.cancel)?;
    let (tests, _) = request.slices.select(&tree.tests()?, source::version_of_tree(path)?)?;
    check_wanted(&tree, &tests, means).map_err(|e| e.concerning(format_args!("selftests of {source}")))
}

/// Asks whether any of the tests is meant. Where none is, another file of the source may have one that is.
fn check_wanted(tree: &Tree, files: &BTreeSet<String>, means: &Means) -> Result<()> {
    let names = tree.names_in(files)?;
    // What cannot be read out of the sources is left to test_progs.
    if names.is_empty() {
        return Ok(());
    }
    let Err(error) = (means.wanted)(&names) else { return Ok(()) };
    for file in tree.tests()?.difference(files) {
        let others = tree.names_in(&BTreeSet::from([file.clone()]))?;
        if !others.is_empty() && (means.wanted)(&others).is_ok() {
            return Err(
                error.hint(format!("prog_tests/{file}.c has such a test: --slice mine={file} builds it"))
            );
        }
    }
    Err(error)
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

    /// Builds, and where that is allowed leaves out what does not compile.
    fn build(
        &self,
        shop: &Shop,
        mut selection: Selection,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Finished> {
        let under_way = shop.dir.join(UNDER_WAY);
        if under_way.exists() {
            shop.clear()?;
        }
        fs::write(&under_way, "").host(format!("write {}", under_way.display()))?;
        let outcome = self.rounds(shop, &mut selection, progress);
        // Make has removed what was half made, but where something was killed or could not be written.
        let is_sound = !matches!(&outcome, Err(error) if error.fault() == Fault::Host);
        if is_sound {
            fs::remove_file(&under_way).host(format!("remove {}", under_way.display()))?;
        }
        outcome.map(|(steps, mut broken)| {
            broken.extend(selection.lost.clone());
            Finished { steps, broken, selection }
        })
    }

    fn rounds(
        &self,
        shop: &Shop,
        selection: &mut Selection,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(u64, BTreeSet<String>)> {
        let (mut steps, mut broken) = (0, BTreeSet::new());
        for _ in 0..ROUNDS {
            let made = self.round(shop, selection, progress)?;
            steps += made.steps;
            if made.succeeded {
                let path = shop.dir.join(STEPS);
                let before = expected(&shop.dir);
                fs::write(&path, steps.max(before).to_string()).host(format!("write {}", path.display()))?;
                return Ok((steps, broken));
            }
            let found = self.request.slices.tolerant().then(|| culprits(&made.lines, selection));
            match found {
                Some(found) if !found.is_empty() => broken.extend(found),
                _ => return Err(self.does_not_build(&made)),
            }
            *selection = self.select(&broken)?;
        }
        Err(Error::kernel(format!(
            "even without {} programs that do not compile they do not build",
            broken.len()
        ))
        .hint(format!("make's log is {}", self.means.log.display())))
    }

    /// One call of make.
    fn round(&self, shop: &Shop, selection: &Selection, progress: &mut dyn FnMut(Progress)) -> Result<Made> {
        let cancel = self.means.cancel;
        let bpftool = Bpftool::ensure(
            &selection.files,
            selection.signs,
            &self.btf,
            &self.toolchain,
            self.means,
            progress,
        )?;
        place::sync(&shop.dir, &selection.files, cancel)?;
        place::place(&self.btf.path, &shop.dir.join("vmlinux.btf"))?;
        place::place(&bpftool.program, &shop.dir.join("bpftool"))?;
        let mut variables = self.variables(&shop.dir, selection);
        self.link_marks(&shop.dir, selection, &mut variables)?;
        let expected = match expected(&shop.dir) {
            // An object and a skeleton for each program, an object for each test, and libbpf and the helpers.
            0 => (2 * selection.programs.len() + selection.tests.len() + 90) as u64,
            known => known,
        };
        let make = Make {
            dir: &shop.dir.join("tree").join(SELFTESTS),
            target: PROGRAM,
            variables: &variables,
            keep_going: self.request.slices.tolerant(),
            what: &format!("building {} selftests of {}", selection.tests.len(), self.source.version),
            expected,
            log: self.means.log,
        };
        make.run(progress, cancel)
    }

    /// Has test_progs say which test begins.
    fn link_marks(
        &self,
        shop: &Path,
        selection: &Selection,
        variables: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        let path = |test| format!("{SELFTESTS}/prog_tests/{test}.c");
        let tests: Vec<_> = selection.tests.iter().filter_map(|t| selection.files.get(&path(t))).collect();
        let archiver = format!("{}-ar", self.arch.triplet);
        let compiler = variables.get("CC").map_or("", String::as_str);
        let marks = mark::ensure(shop, &tests, compiler, &archiver)?;
        // Of all variables, this is the one that every release's test_progs is linked with.
        let libraries = variables.entry("LDLIBS".into()).or_default();
        *libraries = format!("{} {libraries}", marks.link);
        if marks.changed {
            // Make does not know of it.
            place::remove(&shop.join("tree").join(SELFTESTS).join(PROGRAM))?;
        }
        Ok(())
    }

    /// Files that go to the guest with the program.
    fn libraries(&self) -> Vec<PathBuf> {
        let dir = self.sysroot.root.join("usr/lib").join(&self.arch.triplet);
        let names = self.request.manifest.libraries.iter();
        names.map(|name| dir.join(name.replace("{loader}", &self.arch.loader))).collect()
    }

    /// Variables for make: those of the manifest, and those that cut the Makefile's lists down.
    fn variables(&self, shop: &Path, selection: &Selection) -> BTreeMap<String, String> {
        let replace = [
            ("{sysroot}", self.sysroot.root.display().to_string()),
            ("{gap}", self.sysroot.gap().display().to_string()),
            ("{triplet}", self.arch.triplet.clone()),
            ("{clang}", self.toolchain.clang.clone()),
            ("{tests}", kvet_wire::paths::TESTS.to_owned()),
            ("{loader}", self.arch.loader.clone()),
            ("{arch}", self.kernel.arch.name().to_owned()),
        ];
        let fill =
            |text: &String| replace.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
        let mut variables: BTreeMap<String, String> =
            self.request.manifest.make.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
        variables.extend(selection.variables.clone());
        let bpftool = shop.join("bpftool").display().to_string();
        variables.insert("VMLINUX_BTF".into(), shop.join("vmlinux.btf").display().to_string());
        variables.insert("BPFTOOL".into(), bpftool.clone());
        if !selection.runs_bpftool {
            // Else one for the guest is built.
            variables.insert("TRUNNER_BPFTOOL".into(), bpftool);
        }
        variables
    }

    fn does_not_build(&self, made: &Made) -> Error {
        let error = make::first_error(&made.lines);
        let targets = make::failed_targets(&made.lines);
        let first = targets.first().map_or_else(String::new, |name| format!(" ({name})"));
        Error::kernel(format!("they do not build{first}: {error}"))
            .hint(format!("make's log is {}", self.means.log.display()))
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

/// A build that succeeded.
#[derive(Debug)]
struct Finished {
    steps: u64,
    /// What did not compile and was left out.
    broken: BTreeSet<String>,
    selection: Selection,
}

/// Programs, skeletons that are made elsewhere (libarena) and tests (`name.test`) that could not be compiled.
fn culprits(lines: &[String], selection: &Selection) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // What fails in a folder of its own (`make[1]: …`) may be called like a program.
    let top: Vec<String> = lines.iter().filter(|line| line.starts_with("make: ")).cloned().collect();
    for target in make::failed_targets(&top) {
        let ends = [".bpf.o", ".lskel.h", ".skel.h"];
        let library = target.strip_suffix(".skel.h").filter(|name| selection.libraries.contains(*name));
        if let Some(library) = library {
            found.insert(library.to_owned());
        } else if let Some(program) = ends.iter().find_map(|end| target.strip_suffix(end)) {
            found.extend(selection.programs.get(program).cloned());
        } else if let Some(test) = target.strip_suffix(".test.o")
            && selection.tests.contains(test)
        {
            found.insert(format!("{test}.test"));
        }
    }
    found
}

fn names(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn expected(shop: &Path) -> u64 {
    fs::read_to_string(shop.join(STEPS)).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn short(text: &str) -> String {
    Sha256Hex::of(text.as_bytes()).as_str()[..12].to_owned()
}

/// The cache's path goes through make and shells, which take some characters for something else.
fn check_path(root: &Path) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match root.to_str() {
        Some(text) if text.chars().all(plain) => Ok(()),
        _ => Err(Error::caller(format!("selftests cannot be built below {}", root.display()))
            .hint("KVET_CACHE: a path of letters, digits and / . _ - +")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compile_is_told_from_what_only_follows() {
        let selection = Selection {
            programs: ["a", "b", "c"].map(String::from).into(),
            tests: ["t"].map(String::from).into(),
            libraries: ["lib"].map(String::from).into(),
            ..Selection::default()
        };
        let lines = [
            "make: *** [Makefile:1: /x/a.bpf.o] Error 1",
            "make: *** [Makefile:2: /x/t.test.o] Error 1",
            "make: *** [Makefile:3: /x/b.skel.h] Error 255",
            "make: *** [Makefile:4: /x/libbpf.a] Error 2",
            "make[1]: *** [Makefile:89: c.bpf.o] Error 1",
            "make: *** [Makefile:5: lib/lib.skel.h] Error 2",
        ];
        let found = culprits(&lines.map(String::from), &selection);
        assert_eq!(found, ["a", "b", "lib", "t.test"].map(String::from).into());
    }

    #[test]
    fn a_path_that_make_would_split_is_refused() {
        check_path(Path::new("/home/me/.cache/kvet")).unwrap();
        for bad in ["/home/my self/kvet", "/a$b", "/a:b", "/a'b"] {
            assert!(check_path(Path::new(bad)).unwrap_err().to_string().contains(bad));
        }
    }
}
