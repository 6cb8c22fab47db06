//! Flags and config files become a [`Plan`] that cannot be wrong. Validation ends here: nothing later checks what
//! a user typed.

pub mod config;
pub mod filter;
pub mod program;

use std::path::PathBuf;
use std::time::Duration;

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::event::CellId;
use crate::kernel::{ConfigBase, KernelSpec, Toolchain};
use crate::spec::arch::ArchFacts;
use crate::spec::home::Home;
use crate::spec::suite::{self, Suite};
use crate::vm::accel::AccelChoice;
use config::KernelsConfig;
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
    /// `--share`.
    pub share: ShareMode,
}

/// How the suite's files get to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ShareMode {
    /// Over 9p, with a folder for what the tests leave.
    #[default]
    #[value(name = "9p")]
    NineP,
    /// In the initramfs: for kernels without 9p. What the tests leave is lost.
    Initramfs,
}

/// What will be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order they were asked for.
    pub cells: Vec<CellPlan>,
}

/// What will be done in one cell.
#[derive(Debug, Clone)]
pub struct CellPlan {
    /// Kernel × arch × suite.
    pub id: CellId,
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
    /// Which of its tests count.
    pub filter: Filter,
    /// The names of the selected tests, where the suite lists them.
    pub selected: Option<Vec<String>>,
    /// Whether what cannot be tested fails.
    pub strict: bool,
    /// How the suite's files get to the guest.
    pub share: ShareMode,
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
        let kernels = match &request.kernels[..] {
            [] => vec![config.default.parse()?],
            typed => typed.iter().map(|text| text.parse()).collect::<Result<Vec<KernelSpec>>>()?,
        };
        let kernels = with_files(kernels, request)?;
        let archs = if request.archs.is_empty() { vec![Arch::host()?] } else { request.archs.clone() };
        let filter = Filter::new(&request.tests)?;
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
        Ok(Self { cells })
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
    let selected = match &suite.tests {
        Some(names) => Some(filter.select(names, &spec.name)?),
        None => None,
    };
    if spec.format == suite::Format::Exit && !filter.matches(&spec.name) {
        return Err(filter.nothing(&spec.name, std::slice::from_ref(&spec.name)));
    }
    if suite.script && request.share == ShareMode::Initramfs {
        return Err(Error::caller(format!("{} is a script, and its shell needs --share 9p", spec.program)));
    }
    if request.strict && spec.strict.is_none() {
        return Err(Error::caller(format!("suite {} has nothing to be strict about", spec.name))
            .hint("its suite.yaml names no `strict` argument"));
    }
    let test = request.timeout.or(spec.timeout).unwrap_or(TEST_LIMIT);
    let cell = request.deadline.or(spec.deadline).unwrap_or(CELL_LIMIT);
    Ok(CellPlan {
        id: CellId { kernel: kernel.to_string(), arch, suite: spec.name.clone() },
        kernel: kernel.clone(),
        arch,
        facts: ArchFacts::load(home, arch)?,
        init: home.init(arch)?,
        filter: filter.clone(),
        selected,
        strict: request.strict,
        share: request.share,
        accel: request.accel,
        memory_mib: request.memory_mib.or(spec.memory).unwrap_or(MEMORY_MIB),
        cpus: request.cpus.or(spec.cpus).unwrap_or(CPUS),
        limits: Limits { boot: BOOT_LIMIT.min(cell), test: test.min(cell), cell, silence: SILENCE_LIMIT },
        suite,
    })
}

fn find_suite(request: &Request, home: &Home, config: &KernelsConfig, arch: Arch) -> Result<Suite> {
    if !request.command.is_empty() {
        if let Some(suite) = &request.suite {
            return Err(Error::caller(format!("--suite {suite} and a command after -- exclude each other")));
        }
        return program::suite(&request.command, arch);
    }
    let name = request.suite.as_deref().unwrap_or(&config.suite);
    let (manifest, spec) = suite::find(home, name)?;
    let mut suite = spec.resolve(&manifest, home, arch)?;
    let kind = program::check(&suite.share.join(&suite.program), &suite.spec.program, arch)
        .map_err(|e| e.context(manifest.display()))?;
    suite.script = kind == program::Kind::Script;
    Ok(suite)
}
