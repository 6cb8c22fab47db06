//! Flags and config files become a [`Plan`] that cannot be wrong. Validation ends here: nothing later checks what
//! a user typed.

pub mod arguments;
pub mod config;
pub mod expectations;
pub mod filter;
pub mod program;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::event::CellId;
use crate::kernel::{ConfigBase, KernelSpec, Toolchain};
use crate::spec::allowed::{Allowance, AllowedSplat};
use crate::spec::arch::ArchFacts;
use crate::spec::home::Home;
use crate::spec::matrix::{MatrixCell, Places, ShareWay};
use crate::spec::suite::{self, Root, Suite};
use crate::upstream;
use crate::upstream::manifest::Manifest;
use crate::vm::accel::AccelChoice;
use config::KernelsConfig;
use expectations::Expectation;
use filter::Filter;

/// What the user asked for, each part well-formed by itself.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `-k`, as typed; empty: the default kernel.
    pub kernels: Vec<String>,
    /// `--modules`, for a `file:` kernel.
    pub modules: Option<PathBuf>,
    /// `--config`: of a `file:` kernel, or fragments for one that is built.
    pub config: Vec<PathBuf>,
    /// `--toolchain`, for kernels that are built.
    pub toolchain: Toolchain,
    /// `--base`, for kernels that are built.
    pub base: ConfigBase,
    /// `-a`; empty: the host's.
    pub archs: Vec<Arch>,
    /// `--suite`.
    pub suite: Option<String>,
    /// What stands after `--`.
    pub command: Vec<String>,
    /// `-t`.
    pub tests: Vec<String>,
    /// `--accel`.
    pub accel: AccelChoice,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--deadline`.
    pub deadline: Option<Duration>,
    /// `--memory`, MiB.
    pub memory_mib: Option<u32>,
    /// `--cpus`.
    pub cpus: Option<u32>,
    /// `--strict`.
    pub strict: bool,
    /// Whether a cell fails in which no test ran.
    pub must_run: bool,
    /// `--shuffle`.
    pub shuffle: Option<u64>,
    /// Whether a suite that can do so keeps the verifier's log of each test.
    pub logs: bool,
    /// `--share`.
    pub share: ShareMode,
    /// `--slice`, as typed.
    pub slices: Vec<String>,
    /// `--selftests`, as typed.
    pub selftests: Option<String>,
    /// `--resume`: how often a crash may be followed by another boot.
    pub resume: Option<u32>,
    /// `--root`; none: what the suite says.
    pub root: Option<Root>,
}

/// How the suite's files get to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ShareMode {
    /// Over 9p where the kernel has it, else in the initramfs. A cell settles on one of them once it has its kernel.
    #[default]
    Auto,
    /// Over 9p, with a folder for what the tests leave.
    #[value(name = "9p")]
    NineP,
    /// In the initramfs: for kernels without 9p. What the tests leave is lost.
    Initramfs,
}

impl std::fmt::Display for ShareMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ShareMode::Auto => "auto",
            ShareMode::NineP => "9p",
            ShareMode::Initramfs => "initramfs",
        })
    }
}

/// What will be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order they were asked for.
    pub cells: Vec<CellPlan>,
    /// All cells of the matrix, also those that are left to other shards.
    pub planned: Vec<CellId>,
}

/// What will be done in one cell.
#[derive(Debug, Clone)]
pub struct CellPlan {
    /// Kernel × arch × suite.
    pub id: CellId,
    /// Where it stands in the file of a matrix.
    pub places: Option<Places>,
    /// The kernel.
    pub kernel: KernelSpec,
    /// The guest's architecture.
    pub arch: Arch,
    /// How guests of it are run.
    pub facts: ArchFacts,
    /// PID 1 for it.
    pub init: PathBuf,
    /// The suite.
    pub suite: Suite,
    /// What of the kernel's own selftests is built for it, if it is that suite.
    pub upstream: Option<upstream::Request>,
    /// Which of its tests count.
    pub filter: Filter,
    /// The names of the selected tests, where the suite lists them.
    pub selected: Option<Vec<String>>,
    /// Whether what cannot be tested fails.
    pub strict: bool,
    /// Whether it fails if none of its tests runs.
    pub must_run: bool,
    /// Whether tests count that the filter does not mean, where they ran all the same: with a test that is run again.
    pub judges_all: bool,
    /// The number that decides the order of the tests; none: the suite's own order.
    pub shuffle: Option<u64>,
    /// Whether the verifier's log of each test is kept, where the suite can do so.
    pub logs: bool,
    /// Which of its tests cannot pass, where, and why.
    pub expectations: Vec<Expectation>,
    /// Complaints of the kernel that its tests provoke on purpose.
    pub allowed_splats: Vec<Allowance>,
    /// How often a crash may be followed by another boot that runs the rest.
    pub resume: u32,
    /// How the suite's files get to the guest.
    pub share: ShareMode,
    /// What the job has as its root.
    pub root: Root,
    /// Which accelerator.
    pub accel: AccelChoice,
    /// The guest's memory.
    pub memory_mib: u32,
    /// The guest's CPUs.
    pub cpus: u32,
    /// What a guest may take.
    pub limits: Limits,
}

/// How long a guest may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the start of QEMU to Ready.
    pub boot: Duration,
    /// One test.
    pub test: Duration,
    /// From the start of QEMU to the end of the job.
    pub cell: Duration,
    /// Without a sign of life from init, which gives one every second.
    pub silence: Duration,
}

/// A guest that is not up after this long does not boot. TCG on a busy machine takes some tens of seconds.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// Default of `--timeout`, where the suite says nothing else.
const TEST_LIMIT: Duration = Duration::from_secs(90);
/// Default of `--deadline`, where the suite says nothing else.
const CELL_LIMIT: Duration = Duration::from_secs(600);
/// A kernel that does not run init for this long hangs. RCU stalls are reported after 21 s, soft lockups after 20:
/// their reports should come first.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// Default of `--memory`. The suites need 200 MiB; the rest keeps a stock kernel's initramfs comfortable.
const MEMORY_MIB: u32 = 1024;
/// Default of `--cpus`.
const CPUS: u32 = 1;

impl Plan {
    /// Makes a plan of a request.
    ///
    /// # Errors
    /// The caller's: something does not fit. The host's: a part of kvet is missing.
    pub fn new(request: &Request, home: &Home, config: &KernelsConfig) -> Result<Self> {
        let plan = Self::of_request(request, home, config)?;
        plan.builds_what_is_asked_for(request)?;
        plan.has_what_is_asked_for()?;
        Ok(plan)
    }

    fn of_request(request: &Request, home: &Home, config: &KernelsConfig) -> Result<Self> {
        let kernels = match &request.kernels[..] {
            [] => vec![config.default.parse()?],
            typed => typed.iter().map(|text| text.parse()).collect::<Result<Vec<KernelSpec>>>()?,
        };
        let kernels = with_files(kernels, request)?;
        let archs = if request.archs.is_empty() { vec![Arch::host()?] } else { request.archs.clone() };
        let filter = Filter::new(&request.tests);
        let mut cells: Vec<CellPlan> = Vec::new();
        for kernel in &kernels {
            for &arch in &archs {
                let cell = plan_cell(request, home, config, &filter, kernel, arch)?;
                // Said twice is meant once.
                if !cells.iter().any(|other| other.id == cell.id && other.kernel == cell.kernel) {
                    cells.push(cell);
                }
            }
        }
        let planned = cells.iter().map(|cell| cell.id.clone()).collect();
        Ok(Self { cells, planned })
    }

    /// Each pattern of `-t` matches a test of some suite, as far as all suites list theirs: a name with a mistake in it would go
    /// unnoticed beside others.
    fn has_what_is_asked_for(&self) -> Result<()> {
        let listed: Option<Vec<(&Filter, &Vec<String>, &str)>> = self
            .cells
            .iter()
            .map(|cell| Some((&cell.filter, cell.suite.tests.as_ref()?, cell.suite.spec.name.as_str())))
            .collect();
        let Some([(first, names, suite), rest @ ..]) = listed.as_deref() else { return Ok(()) };
        let unmatched = |filter: &Filter, names: &[String]| -> BTreeSet<String> {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            filter.unmatched(&names).into_iter().map(str::to_owned).collect()
        };
        let mut nowhere = unmatched(first, names);
        for (filter, names, _) in rest {
            let here = unmatched(filter, names);
            nowhere.retain(|text| here.contains(text));
        }
        match nowhere.into_iter().next() {
            Some(text) => Err(Filter::new(&[text]).nothing(suite, names)),
            None => Ok(()),
        }
    }

    /// `--slice` and `--selftests` are of no use where no suite is built.
    fn builds_what_is_asked_for(&self, request: &Request) -> Result<()> {
        let asked = [("--slice", !request.slices.is_empty()), ("--selftests", request.selftests.is_some())];
        let Some((flag, _)) = asked.iter().find(|(_, asked)| *asked) else { return Ok(()) };
        if self.cells.iter().any(|cell| cell.upstream.is_some()) {
            return Ok(());
        }
        let suites: BTreeSet<&str> = self.cells.iter().map(|cell| cell.id.suite.as_str()).collect();
        let (are, suites) =
            (if suites.len() == 1 { "is" } else { "are" }, suites.into_iter().collect::<Vec<_>>());
        Err(Error::caller(format!(
            "{flag} goes with a suite that is built, and {} {are} not",
            suites.join(", ")
        ))
        .hint("-s upstream is the kernel's own selftests"))
    }

    /// Makes a plan of the cells of a matrix. What `request` says goes before what the matrix says.
    ///
    /// # Errors
    /// The caller's: something does not fit; the message begins with the place in the matrix. The host's: a part of kvet is
    /// missing.
    pub fn of_matrix(
        cells: &[MatrixCell],
        request: &Request,
        home: &Home,
        config: &KernelsConfig,
    ) -> Result<Self> {
        let mut plan = Self { cells: Vec::new(), planned: Vec::new() };
        let mut kept: Vec<&MatrixCell> = Vec::new();
        for cell in cells {
            let wanted = with_settings(cell, request);
            if let Some(places) = &cell.places {
                check_parts(cell, places, request, &wanted, home, config)?;
            }
            let place = cell.places.as_ref().map_or("-k", |places| &places.kernel);
            let one = Self::of_request(&wanted, home, config).map_err(|e| e.context(place))?;
            for planned in one.cells {
                if let Some(index) = plan.planned.iter().position(|id| *id == planned.id) {
                    let same = plan.cells[index].suite == planned.suite;
                    // Said twice in flags is meant once.
                    if !same || cell.places.is_some() {
                        return Err(twice(&planned.id, kept[index], cell, same));
                    }
                    continue;
                }
                kept.push(cell);
                plan.planned.push(planned.id.clone());
                plan.cells.push(CellPlan { places: places_of(cell, request), ..planned });
            }
        }
        plan.builds_what_is_asked_for(request)?;
        plan.has_what_is_asked_for()?;
        Ok(plan)
    }

    /// Keeps the cells of one shard.
    #[must_use]
    pub fn shard(mut self, numbers: &[usize], number: usize) -> Self {
        let mut of = numbers.iter();
        self.cells.retain(|_| of.next() == Some(&number));
        self
    }
}

/// Says what is wrong with a part of a cell at the part's own line.
fn check_parts(
    cell: &MatrixCell,
    places: &Places,
    request: &Request,
    wanted: &Request,
    home: &Home,
    config: &KernelsConfig,
) -> Result<()> {
    let kernel: KernelSpec = cell.kernel.parse().map_err(|e: Error| e.context(&places.kernel))?;
    if let Some(place) = places.config.first().filter(|_| request.config.is_empty()) {
        let fitting = kernel.with_files(None, cell.settings.config.clone());
        fitting.map_err(|e| {
            e.context(place)
                .hint("only what is built has fragments: an entry of include gives them to some kernels")
        })?;
    }
    find_suite(wanted, home, config, cell.arch).map(drop).map_err(|e| e.context(&places.suite))
}

/// The places of a cell, without those of what a flag overrides.
fn places_of(cell: &MatrixCell, request: &Request) -> Option<Places> {
    let mut places = cell.places.clone()?;
    if !request.config.is_empty() {
        places.config.clear();
    }
    places.memory = places.memory.filter(|_| request.memory_mib.is_none());
    Some(places)
}

/// Two cells of one name, however they were written: no report could tell them apart.
fn twice(id: &CellId, first: &MatrixCell, second: &MatrixCell, same_suite: bool) -> Error {
    let Some((places, before)) = second.places.as_ref().zip(first.places.as_ref()) else {
        let (a, b) = (&first.suite, &second.suite);
        return Error::caller(format!("{id} is there twice: the suites {a} and {b} have one name"));
    };
    // The part that is said twice.
    let (place, before) = match places.kernel == before.kernel {
        true => (&places.suite, &before.suite),
        false => (&places.kernel, &before.kernel),
    };
    if !same_suite {
        let (a, b) = (&first.suite, &second.suite);
        return Error::caller(format!("{place}: {id} is there twice: the suites {a} and {b} have one name"));
    }
    let error = Error::caller(format!("{place}: {id} is there twice, first in {before}"));
    if first.kernel == second.kernel {
        return error;
    }
    error.hint(format!(
        "'{}' and '{}' are one kernel; settings for it are included under the name that stands first",
        first.kernel, second.kernel
    ))
}

fn with_settings(cell: &MatrixCell, request: &Request) -> Request {
    let settings = &cell.settings;
    let share = match settings.share {
        Some(ShareWay::Auto) => ShareMode::Auto,
        Some(ShareWay::NineP) => ShareMode::NineP,
        Some(ShareWay::Initramfs) => ShareMode::Initramfs,
        None => request.share,
    };
    Request {
        kernels: vec![cell.kernel.clone()],
        archs: vec![cell.arch],
        suite: Some(cell.suite.clone()),
        memory_mib: request.memory_mib.or(settings.memory),
        cpus: request.cpus.or(settings.cpus),
        timeout: request.timeout.or(settings.timeout),
        deadline: request.deadline.or(settings.deadline),
        config: if request.config.is_empty() { settings.config.clone() } else { request.config.clone() },
        strict: request.strict || settings.strict == Some(true),
        share,
        ..request.clone()
    }
}

fn with_files(kernels: Vec<KernelSpec>, request: &Request) -> Result<Vec<KernelSpec>> {
    let built = |k: &KernelSpec| matches!(k, KernelSpec::Source { .. });
    let files = request.modules.is_some() || (!request.config.is_empty() && !kernels.iter().all(built));
    if kernels.len() > 1 && files {
        return Err(Error::caller("--modules and --config go with one kernel, and several were given"));
    }
    kernels
        .into_iter()
        .map(|k| k.with_files(request.modules.clone(), request.config.clone()))
        .map(|k| Ok(k?.with_recipe(request.toolchain, request.base)))
        .collect()
}

fn plan_cell(
    request: &Request,
    home: &Home,
    config: &KernelsConfig,
    filter: &Filter,
    kernel: &KernelSpec,
    arch: Arch,
) -> Result<CellPlan> {
    let suite = find_suite(request, home, config, arch)?;
    let spec = &suite.spec;
    check_root(spec.root, request.share, arch)?;
    arguments::check(&spec.program, &spec.args, &spec.env)?;
    let filter = filter.among(suite.tests.as_deref().unwrap_or_default())?;
    let selected = match &suite.tests {
        Some(names) => Some(filter.select(names, &spec.name)?),
        None => None,
    };
    if spec.format == suite::Format::Exit && !filter.matches(&spec.name) {
        return Err(filter.nothing(&spec.name, std::slice::from_ref(&spec.name)));
    }
    if request.strict && spec.strict.is_none() {
        return Err(Error::caller(format!("suite {} has nothing to be strict about", spec.name))
            .hint("its suite.yaml names no `strict` argument"));
    }
    if request.shuffle.is_some() && spec.shuffle.is_none() {
        return Err(Error::caller(format!("suite {} has an order of its own", spec.name))
            .hint("its suite.yaml names no `shuffle` argument"));
    }
    let upstream = plan_upstream(request, home, &suite)?;
    if request.resume.is_some() && !can_resume(&suite) {
        return Err(Error::caller(format!("suite {} cannot be resumed after a crash", spec.name))
            .hint("its suite.yaml has to name `tests` and `select`, or its format has to be test_progs"));
    }
    let compile = |entry: &AllowedSplat| entry.compile(&suite.spec.name);
    let allowed_splats = suite.spec.allowed_splats.iter().map(compile).collect::<Result<_>>()?;
    let expectations = match &suite.expectations {
        Some(path) => expectations::load(path)?,
        None => Vec::new(),
    };
    let test = request.timeout.or(spec.timeout).unwrap_or(TEST_LIMIT);
    let cell = request.deadline.or(spec.deadline).unwrap_or(CELL_LIMIT);
    Ok(CellPlan {
        id: CellId { kernel: kernel.to_string(), arch, suite: spec.name.clone() },
        places: None,
        kernel: kernel.clone(),
        arch,
        facts: ArchFacts::load(home, arch)?,
        init: home.init(arch)?,
        upstream,
        filter,
        selected,
        strict: request.strict,
        must_run: request.must_run,
        judges_all: false,
        shuffle: request.shuffle,
        logs: request.logs,
        expectations,
        allowed_splats,
        resume: request.resume.unwrap_or(0),
        share: request.share,
        root: spec.root,
        accel: request.accel,
        memory_mib: request.memory_mib.or(spec.memory).unwrap_or(MEMORY_MIB),
        cpus: request.cpus.or(spec.cpus).unwrap_or(CPUS),
        limits: Limits { boot: BOOT_LIMIT.min(cell), test: test.min(cell), cell, silence: SILENCE_LIMIT },
        suite,
    })
}

/// What is to be built for a suite.
fn plan_upstream(request: &Request, home: &Home, suite: &Suite) -> Result<Option<upstream::Request>> {
    match suite.spec.build {
        Some(suite::Build::Upstream) => {
            let manifest = Manifest::load(home)?;
            let slices = manifest.choose(&request.slices)?;
            let source = request.selftests.as_deref().map(str::parse).transpose();
            let source = source.map_err(|e: Error| e.context("--selftests"))?;
            Ok(Some(upstream::Request { manifest, slices, source }))
        }
        None => Ok(None),
    }
}

/// Whether a suite can be told to run only some of its tests.
fn can_resume(suite: &Suite) -> bool {
    match suite.spec.format {
        suite::Format::Ktap => suite.tests.is_some() && suite.spec.select.is_some(),
        suite::Format::TestProgs => true,
        suite::Format::Exit => false,
    }
}

/// Whether a guest can have this root.
fn check_root(root: Root, share: ShareMode, arch: Arch) -> Result<()> {
    if root != Root::None && share == ShareMode::Initramfs {
        return Err(Error::caller(
            "a root of its own comes over 9p: --root and --share initramfs exclude each other",
        )
        .hint("--root none, or --share auto and a kernel with 9p"));
    }
    if root == Root::Host && arch != Arch::host()? {
        let host = Arch::host()?;
        return Err(Error::caller(format!(
            "--root host: the guest is {arch}, and this machine's programs are {host}"
        ))
        .hint("--root userland has them for every architecture"));
    }
    Ok(())
}

fn find_suite(request: &Request, home: &Home, config: &KernelsConfig, arch: Arch) -> Result<Suite> {
    if !request.command.is_empty() {
        if let Some(suite) = &request.suite {
            return Err(Error::caller(format!("--suite {suite} and a command after -- exclude each other")));
        }
        return program::suite(&request.command, arch, request.root.unwrap_or_default());
    }
    let name = request.suite.as_deref().unwrap_or(&config.suite);
    let (manifest, mut spec) = suite::find(home, name)?;
    spec.root = request.root.unwrap_or(spec.root);
    let root = spec.root;
    let mut suite = spec.resolve(&manifest, home, arch)?;
    if suite.spec.build.is_some() {
        return Ok(suite);
    }
    let kind = program::check(&suite.share.join(&suite.program), &suite.spec.program, arch, root)
        .map_err(|e| e.context(manifest.display()))?;
    suite.script = kind == program::Kind::Script;
    Ok(suite)
}
