//! Kernels for a bisection, had and run as `kvet run` does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::arch::Arch;
use crate::bisect::answer::Answer;
use crate::bisect::state::{STEPS, State};
use crate::bisect::symptom::{self, Symptom};
use crate::bisect::{Find, Lab, Subject};
use crate::cell::{self, BUILD_LOG, Resources, SUITE_LOG};
use crate::cmd::args::BisectArgs;
use crate::cmd::running::mistake;
use crate::cmd::{Setup, plain_progress};
use crate::error::{Error, Fault, IoContext, Result};
use crate::event::{CellEnd, CellId, CellReport, Event, Phase, WorkTime};
use crate::kernel::{self, Kernel, KernelSpec, Progress, Sources};
use crate::plan::{CellPlan, Plan, Request};
use crate::report::Fanout;
use crate::report::store::{self, RunDir, Store, safe_name};
use crate::report::term::{ColorChoice, Style, Term};
use crate::schedule::{self, Options};
use crate::spec::suite::SuiteSpec;
use crate::upstream::{self, Means};

use super::ahead::{self, Ahead};
use super::reproduce;

/// `--selftests own`: each kernel is tested with the selftests of its own source.
const OWN: &str = "own";

/// Runs kernels one at a time; each run has a folder below `steps/`.
pub struct Kernels<'a> {
    setup: &'a Setup,
    request: Request,
    arch: Arch,
    folder: PathBuf,
    own_selftests: bool,
    /// Whether commits are built while a guest runs, those that are wanted, and the builds.
    builds_ahead: bool,
    likely: Vec<Subject>,
    ahead: Option<Ahead>,
    /// What building took that nobody has asked for yet.
    worked: Vec<WorkTime>,
    verbose: bool,
    color: ColorChoice,
}

/// What can be told of a command line before anything is fetched, built or booted.
///
/// # Errors
/// The caller's: the suite, its tests, slices, a pattern, a config fragment or a log are not what they should be.
pub fn check(args: &BisectArgs, setup: &Setup) -> Result<()> {
    symptom::check_pattern(args.matching.as_deref())?;
    let own_selftests = args.selftests.as_deref() == Some(OWN);
    // On some kernel: of the ends nothing is known yet. What is built of a tree is asked for in one way, whatever the commit.
    let kernels = args.tree.iter().map(|tree| format!("git:{}@HEAD", tree.display())).collect();
    let request = Request { kernels, ..request(args)? };
    let plan = Plan::new(&request, &setup.home, &setup.config)?;
    if own_selftests && plan.cells.iter().any(|cell| cell.upstream.is_none()) {
        return Err(Error::caller("--selftests goes with a suite that is built, such as -s upstream"));
    }
    for cell in &plan.cells {
        if args.tree.is_some() {
            let Resources { cache, sources, cancel, .. } = &setup.resources;
            let mut progress = plain_progress();
            // A compiler that is missing now is missing later.
            kernel::check_tools(request.toolchain, cell.arch, &setup.home, cancel)?;
            mistake(kernel::check_available(&cell.kernel, cell.arch, cache, sources, &mut progress, cancel))?;
        }
        mistake(cell::check_tests(cell, &setup.resources))?;
    }
    Ok(())
}

fn request(args: &BisectArgs) -> Result<Request> {
    Ok(Request {
        archs: vec![arch(args)?],
        suite: args.suite.clone(),
        tests: args.tests.clone(),
        config: args.config.clone(),
        toolchain: args.build.toolchain,
        base: args.build.base,
        slices: args.slices.clone(),
        selftests: args.selftests.clone().filter(|source| source != OWN),
        logs: true,
        accel: args.hardware.accel,
        timeout: args.limits.timeout,
        deadline: args.limits.deadline,
        memory_mib: args.hardware.memory,
        cpus: args.hardware.cpus,
        ..Request::default()
    })
}

impl<'a> Kernels<'a> {
    pub fn new(args: &BisectArgs, setup: &'a Setup, folder: &Path, color: ColorChoice) -> Result<Self> {
        Ok(Self {
            setup,
            request: request(args)?,
            arch: arch(args)?,
            folder: folder.to_owned(),
            own_selftests: args.selftests.as_deref() == Some(OWN),
            builds_ahead: args.build.jobs.is_some_and(|jobs| jobs > 1),
            likely: Vec::new(),
            ahead: None,
            worked: Vec::new(),
            verbose: args.verbose,
            color,
        })
    }

    /// The source of the selftests of the newest kernel.
    fn newest_selftests(&mut self, newest: &Subject) -> Result<String> {
        let cell = self.cell(newest, None)?;
        let resources = &self.setup.resources;
        let log = self.folder.join(SUITE_LOG);
        let means = Means {
            home: &resources.home,
            cache: &resources.cache,
            sources: &resources.sources,
            cancel: &resources.cancel,
            log: &log,
            wanted: &|_| Ok(()),
        };
        cell::check_source(&cell, resources, &mut plain_progress())?;
        let kernel = self.acquire(newest)?;
        upstream::source_of(&kernel, &means, &mut plain_progress()).map(|source| source.to_string())
    }

    /// What is asked for on a kernel. Tests are those of the command line, or these alone.
    fn request_for(&self, subject: &Subject, tests: Option<&[String]>) -> Result<Request> {
        let built = matches!(subject.kernel.parse()?, KernelSpec::Source { .. });
        let Request { config, toolchain, base, .. } = self.request.clone();
        // How kernels are built is for those that are; releases on the way there are what they are.
        let (config, toolchain, base) = if built { (config, toolchain, base) } else { Default::default() };
        Ok(Request {
            kernels: vec![subject.kernel.clone()],
            tests: match tests {
                Some(names) => names.iter().map(|name| globset::escape(name)).collect(),
                None => self.request.tests.clone(),
            },
            config,
            toolchain,
            base,
            ..self.request.clone()
        })
    }

    /// The plan for a kernel.
    fn plan(&self, subject: &Subject, tests: Option<&[String]>) -> Result<Plan> {
        Plan::new(&self.request_for(subject, tests)?, &self.setup.home, &self.setup.config)
    }

    /// The command line of kvet that shows the symptom on the bad one of the two kernels of an answer.
    ///
    /// # Errors
    /// The host's: the answer is none of ours.
    pub fn reproduce(&self, state: &State, found: &Answer) -> Result<Vec<String>> {
        let bad = match state.find {
            Find::Bug => &found.first,
            Find::Fix => &found.before,
        };
        let tests = state.symptom.as_ref().map(Symptom::names);
        Ok(reproduce::words(&self.request_for(bad, tests.as_deref())?))
    }

    fn cell(&self, subject: &Subject, tests: Option<&[String]>) -> Result<CellPlan> {
        let plan = self.plan(subject, tests)?;
        plan.cells.into_iter().next().ok_or_else(|| Error::host("a plan without a cell"))
    }

    /// The suite that is run.
    ///
    /// # Errors
    /// The caller's: it is not what it should be.
    pub fn suite(&self, subject: &Subject) -> Result<SuiteSpec> {
        Ok(self.cell(subject, None)?.suite.spec)
    }

    /// Fetches or builds. The log of a build that fails is kept with the steps: the next build begins a new one.
    fn acquire(&mut self, subject: &Subject) -> Result<Kernel> {
        let spec = self.cell(subject, None)?.kernel;
        let resources = &self.setup.resources;
        let (cache, sources, cancel) = (&resources.cache, &resources.sources, &resources.cancel);
        if let Some(ahead) = self.ahead.take() {
            ahead.end(&spec, cancel);
        }
        let (mut log, worked) = (None, &mut self.worked);
        let mut tell = plain_progress();
        let mut progress = |progress: Progress| match progress {
            Progress::BuildLog(path) => log = Some(path),
            Progress::Worked(time) => worked.push(time),
            other => tell(other),
        };
        let kernel = kernel::acquire(&spec, self.arch, cache, sources, &mut progress, cancel);
        if let (Err(error), Some(log)) = (&kernel, log)
            && error.fault() == Fault::Kernel
        {
            let dir = self.run_dir(subject, &[])?;
            let copy = dir.path().join(BUILD_LOG);
            std::fs::copy(&log, &copy).host(format!("copy {} to {}", log.display(), copy.display()))?;
            tell!("build log {}", copy.display());
        }
        kernel
    }

    /// Where the selftests of a kernel's own source are, or will be: named by all that goes into them.
    ///
    /// # Errors
    /// The kernel's: its source does not have what is asked for. Else as [`upstream::foresee`].
    fn selftests(&self, subject: &Subject, kernel: &Kernel) -> Result<PathBuf> {
        let cell = self.cell(subject, None)?;
        let request = cell.upstream.ok_or_else(|| Error::host("a suite that is not built"))?;
        let Resources { home, cache, sources, cancel, .. } = &self.setup.resources;
        let log = self.folder.join(SUITE_LOG);
        let means = Means { home, cache, sources, cancel, log: &log, wanted: &|_| Ok(()) };
        let foreseen = upstream::foresee(&request, kernel, &means, &mut plain_progress());
        foreseen.map(|foreseen| foreseen.share).map_err(|e| match e.fault() {
            Fault::Caller => Error::kernel(e.to_string()),
            _ => e,
        })
    }

    fn run_dir(&self, subject: &Subject, cells: &[CellId]) -> Result<RunDir> {
        RunDir::create_at(&self.folder.join(STEPS), &safe_name(&subject.shown), cells)
    }

    /// The builds of what is likely to be asked for next.
    fn begin_ahead(&self, likely: &[Subject]) -> Result<Option<Ahead>> {
        let specs = likely.iter().map(|subject| Ok(self.cell(subject, None)?.kernel));
        let specs = specs.collect::<Result<Vec<KernelSpec>>>()?;
        if specs.is_empty() {
            return Ok(None);
        }
        let resources = &self.setup.resources;
        let sources = Sources::new(self.setup.config.debian.clone());
        let sources = sources.building(resources.sources.workshop()?.clone());
        let means = ahead::Means { cache: resources.cache.clone(), sources, arch: self.arch };
        Ahead::begin(specs, means).map(Some)
    }
}

/// The architecture that is bisected on.
pub fn arch(args: &BisectArgs) -> Result<Arch> {
    args.arch.map_or_else(Arch::host, Ok)
}

impl Lab for Kernels<'_> {
    /// Unless something else was asked for, the selftests are those of the newest kernel. A suite that is no kernel's own is the
    /// same for all anyway.
    fn prepare(&mut self, newest: &Subject, known: Option<&str>) -> Result<Option<String>> {
        let cell = self.cell(newest, None)?;
        let built = cell.upstream.is_some();
        if built && self.request.selftests.is_some() {
            cell::check_source(&cell, &self.setup.resources, &mut plain_progress())?;
        } else if built && !self.own_selftests {
            let source = known.map_or_else(|| self.newest_selftests(newest), |known| Ok(known.to_owned()))?;
            tell!("the selftests on all kernels: {source}");
            self.request.selftests = Some(source);
        }
        Ok(self.request.selftests.clone())
    }

    /// Kernels that kvet builds have what a guest needs, and building the second end would hold up the verdict on the first.
    fn rehearse(&mut self, end: &Subject) -> Result<()> {
        let cell = self.cell(end, None)?;
        match cell.kernel {
            KernelSpec::Source { .. } => Ok(()),
            _ => {
                let steps = self.folder.join(STEPS);
                cell::rehearse(&cell, &self.setup.resources, &steps, &mut plain_progress())
            }
        }
    }

    fn signature(&mut self, subject: &Subject) -> Result<String> {
        let kernel = self.acquire(subject)?;
        let signature = kernel.facts.signature().to_owned();
        if !self.own_selftests {
            return Ok(signature);
        }
        // With other tests the same kernel may be another one.
        let selftests = self.selftests(subject, &kernel)?;
        Ok(format!("{signature} with {}", selftests.display()))
    }

    fn worked(&mut self) -> Vec<WorkTime> {
        std::mem::take(&mut self.worked)
    }

    fn run(&mut self, subject: &Subject, tests: Option<&[String]>) -> Result<CellReport> {
        // Of a run that is done again: what is built ahead has taken the checkout, which this one needs.
        self.ahead = None;
        let plan = self.plan(subject, tests)?;
        let ids: Vec<CellId> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
        let dir = self.run_dir(subject, &ids)?;
        let mut reporters = Fanout::new().with("the results folder", Store::new(dir.clone()));
        if self.verbose {
            reporters = reporters.with("the terminal", Term::stdio(self.color, true, Style::Tests));
        }
        let likely = std::mem::take(&mut self.likely);
        let mut begun = Ok(None);
        let mut emit = |event: Event| {
            for trouble in reporters.event(&event) {
                tell!("error: {trouble}");
            }
            // By now the cell has all that it needs of the sources.
            if matches!(event, Event::PhaseStarted { phase: Phase::Boot, .. }) && matches!(begun, Ok(None)) {
                begun = self.begin_ahead(&likely);
            }
        };
        let resources = &self.setup.resources;
        let options = Options::sequential(&plan);
        let report = schedule::run(&plan, &dir, Vec::new(), resources, &options, &mut emit);
        reporters.finish()?;
        match begun {
            Ok(Some(ahead)) => self.ahead = Some(ahead),
            Ok(None) => {}
            Err(error) => tell!("note: nothing is built ahead: {error}"),
        }
        let mut cell = report.cells.into_iter().next().ok_or_else(|| Error::host("a run without a cell"))?;
        // A source that does not have the test is no mistake of the caller: its kernel cannot be judged.
        if self.own_selftests
            && let CellEnd::Usage { reason } = cell.end
        {
            cell.end = CellEnd::NotStarted { reason };
        }
        Ok(cell)
    }

    fn pause(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.setup.resources.cancel.check()?;
            std::thread::sleep(ahead::LOOK);
        }
        Ok(())
    }

    fn looks_ahead(&self) -> bool {
        self.builds_ahead
    }

    fn foresee(&mut self, likely: Vec<Subject>) {
        self.likely = likely;
    }

    fn recall(&mut self, dir: &Path) -> Option<CellReport> {
        store::load(dir.parent()?).ok()?.cells.into_iter().next()
    }
}
