//! Kernels for a bisection, had and run as `kvet run` does.

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::bisect::{Lab, Subject};
use crate::cell::BUILD_LOG;
use crate::cmd::args::BisectArgs;
use crate::cmd::{Setup, plain_progress};
use crate::error::{Error, Fault, IoContext, Result};
use crate::event::{CellId, CellReport, Event};
use crate::kernel::{self, Kernel, KernelSpec, Progress};
use crate::plan::{CellPlan, Plan, Request, ShareMode};
use crate::report::Fanout;
use crate::report::store::{self, RunDir, Store, safe_name};
use crate::report::term::{ColorChoice, Style, Term};
use crate::schedule::{self, Options};
use crate::upstream::{self, Means};

/// `--selftests own`: each kernel is tested with the selftests of its own source.
const OWN: &str = "own";

/// Runs kernels one at a time; each run has a folder below `steps/`.
pub struct Kernels<'a> {
    setup: &'a Setup,
    request: Request,
    arch: Arch,
    folder: PathBuf,
    own_selftests: bool,
    verbose: bool,
    color: ColorChoice,
}

impl<'a> Kernels<'a> {
    pub fn new(args: &BisectArgs, setup: &'a Setup, folder: &Path, color: ColorChoice) -> Result<Self> {
        let arch = arch(args)?;
        let own_selftests = args.selftests.as_deref() == Some(OWN);
        let request = Request {
            archs: vec![arch],
            suite: args.suite.clone(),
            tests: args.tests.clone(),
            config: args.config.clone(),
            toolchain: args.build.toolchain,
            base: args.build.base,
            slices: args.slices.clone(),
            selftests: args.selftests.clone().filter(|_| !own_selftests),
            accel: args.hardware.accel,
            timeout: args.limits.timeout,
            deadline: args.limits.deadline,
            memory_mib: args.hardware.memory,
            cpus: args.hardware.cpus,
            ..Request::default()
        };
        let folder = folder.to_owned();
        Ok(Self { setup, request, arch, folder, own_selftests, verbose: args.verbose, color })
    }

    /// Settles which selftests are run on all kernels: unless something else was asked for, those of the newest one. A suite
    /// that is no kernel's own is the same for all anyway.
    ///
    /// # Errors
    /// The caller's: the suite, the tests or the source are not what they should be, which shows here first.
    pub fn pin_selftests(&mut self, newest: &Subject) -> Result<()> {
        let built = self.cell(newest, None)?.upstream.is_some();
        if !built && self.own_selftests {
            return Err(Error::caller("--selftests goes with a suite that is built, such as -s upstream"));
        }
        if !built || self.own_selftests || self.request.selftests.is_some() {
            return Ok(());
        }
        let resources = &self.setup.resources;
        let log = self.folder.join("selftests.log");
        let means = Means {
            cache: &resources.cache,
            sources: &resources.sources,
            cancel: &resources.cancel,
            log: &log,
        };
        let kernel = self.acquire(newest)?;
        let source = upstream::source_of(&kernel, &means, &mut plain_progress())?.to_string();
        eprintln!("the selftests on all kernels: {source}");
        self.request.selftests = Some(source);
        Ok(())
    }

    /// The plan for a kernel. Tests are those of the command line, or these alone.
    fn plan(&self, subject: &Subject, tests: Option<&[String]>, share: ShareMode) -> Result<Plan> {
        let built = matches!(subject.kernel.parse()?, KernelSpec::Source { .. });
        let request = Request {
            kernels: vec![subject.kernel.clone()],
            tests: match tests {
                Some(names) => names.iter().map(|name| globset::escape(name)).collect(),
                None => self.request.tests.clone(),
            },
            // Fragments are for kernels that are built; releases on the way there are what they are.
            config: if built { self.request.config.clone() } else { Vec::new() },
            share,
            ..self.request.clone()
        };
        Plan::new(&request, &self.setup.home, &self.setup.config)
    }

    fn cell(&self, subject: &Subject, tests: Option<&[String]>) -> Result<CellPlan> {
        let plan = self.plan(subject, tests, ShareMode::NineP)?;
        plan.cells.into_iter().next().ok_or_else(|| Error::host("a plan without a cell"))
    }

    /// Fetches or builds. The log of a build that fails is kept with the steps: the next build begins a new one.
    fn acquire(&self, subject: &Subject) -> Result<Kernel> {
        let spec = self.cell(subject, None)?.kernel;
        let resources = &self.setup.resources;
        let (cache, sources, cancel) = (&resources.cache, &resources.sources, &resources.cancel);
        let mut log = None;
        let mut tell = plain_progress();
        let mut progress = |progress: Progress| match progress {
            Progress::BuildLog(path) => log = Some(path),
            other => tell(other),
        };
        let kernel = kernel::acquire(&spec, self.arch, cache, sources, &mut progress, cancel);
        if let (Err(error), Some(log)) = (&kernel, log)
            && error.fault() == Fault::Kernel
        {
            let dir = self.run_dir(subject, &[])?;
            let copy = dir.path().join(BUILD_LOG);
            std::fs::copy(&log, &copy).host(format!("copy {} to {}", log.display(), copy.display()))?;
            eprintln!("build log {}", copy.display());
        }
        kernel
    }

    fn run_dir(&self, subject: &Subject, cells: &[CellId]) -> Result<RunDir> {
        RunDir::create_at(&self.folder.join("steps"), &safe_name(&subject.shown), cells)
    }

    /// Where the archive has lost a kernel's modules the suite travels in the initramfs.
    fn share(&self, subject: &Subject) -> Result<ShareMode> {
        let stock = matches!(subject.kernel.parse()?, KernelSpec::Debian { .. });
        let bare = stock && self.acquire(subject)?.modules.is_none();
        Ok(if bare { ShareMode::Initramfs } else { ShareMode::NineP })
    }
}

/// The architecture that is bisected on.
pub fn arch(args: &BisectArgs) -> Result<Arch> {
    args.arch.map_or_else(Arch::host, Ok)
}

impl Lab for Kernels<'_> {
    fn signature(&mut self, subject: &Subject) -> Result<String> {
        Ok(self.acquire(subject)?.facts.signature().to_owned())
    }

    fn run(&mut self, subject: &Subject, tests: Option<&[String]>) -> Result<CellReport> {
        let plan = self.plan(subject, tests, self.share(subject)?)?;
        let ids: Vec<CellId> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
        let dir = self.run_dir(subject, &ids)?;
        let mut reporters = Fanout::new().with("the results folder", Store::new(dir.clone()));
        if self.verbose {
            reporters = reporters.with("the terminal", Term::stdio(self.color, true, Style::Tests));
        }
        let mut emit = |event: Event| {
            for trouble in reporters.event(&event) {
                eprintln!("error: {trouble}");
            }
        };
        let resources = &self.setup.resources;
        let options = Options::sequential(&plan);
        let report = schedule::run(&plan, &dir, Vec::new(), resources, &options, &mut emit);
        reporters.finish()?;
        report.cells.into_iter().next().ok_or_else(|| Error::host("a run without a cell"))
    }

    fn recall(&mut self, dir: &Path) -> Option<CellReport> {
        store::load(dir.parent()?).ok()?.cells.into_iter().next()
    }
}
