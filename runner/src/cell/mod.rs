//! One kernel × arch × suite, from its plan to its report.

mod boots;
mod budget;
mod carry;
pub mod command;
mod dry_run;
pub mod memory;
pub mod prepare;
mod report;
pub mod resume;
pub mod root;
pub mod slots;
mod timeline;
pub mod tools;
pub mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::cancel::Cancel;
use crate::error::{Error, Fault, IoContext, Result};
use crate::event::{Accel, CellEnd, CellReport, Counts, Event, Phase, PhaseTime, ProgressUnit};
use crate::kernel::{self, Cache, Kernel, KernelSpec, KernelVersion, Progress, Sources};
use crate::parse::splat::Scanner;
use crate::plan::expectations::{Expected, Subject};
use crate::plan::{CellPlan, ShareMode};
use crate::spec::home::Home;
use crate::upstream::{self, BuiltSuite, Means};
use crate::vm::accel;
use boots::Guest;
pub use dry_run::{dry_run, rehearse};
use prepare::Equipment;
use root::GuestRoot;
use slots::{Slot, Slots};
use tools::Tools;

/// What cells share.
pub struct Resources {
    /// kvet's own files.
    pub home: Home,
    /// The kernel cache.
    pub cache: Cache,
    /// Where kernels come from.
    pub sources: Sources,
    /// Makes a scanner for one guest's console.
    pub scanner: Box<dyn Fn() -> Scanner + Send + Sync>,
    /// What guests share of the host.
    pub slots: Slots,
    /// The request to stop.
    pub cancel: Cancel,
}

/// What make said while the suite was built, in a cell's folder.
pub const SUITE_LOG: &str = "selftests.log";
/// The folder of a cell that its guest may write to.
pub const FILES: &str = "files";

/// What the build of the kernel said, in the cell's folder.
pub const BUILD_LOG: &str = "build.log";

/// In a report's provenance: how the suite got into the guest. With `9p` files come back the same way, else none do.
pub const SHARE: &str = "share";

/// A cell that is being run.
struct Running<'a> {
    index: usize,
    plan: CellPlan,
    dir: &'a Path,
    resources: &'a Resources,
    emit: &'a mut dyn FnMut(Event),
    phase: Option<(Phase, Instant)>,
    report: CellReport,
    /// Where the log of the kernel's build is, if it was built.
    build_log: Option<PathBuf>,
    /// What its guests have of the host. It is kept until the cell is told to be finished: who stops the others because this one
    /// failed has to be quicker than they are.
    slot: Option<Slot<'a>>,
}

/// Runs a cell. `dir` is its folder in the results. Whatever happens is in the report: the kernel's trouble, the
/// host's and the caller's alike.
pub fn run(
    index: usize,
    plan: &CellPlan,
    dir: &Path,
    resources: &Resources,
    emit: &mut dyn FnMut(Event),
) -> CellReport {
    let report = blank(plan, dir, CellEnd::Completed);
    let plan = plan.clone();
    let (phase, build_log, slot) = (None, None, None);
    let mut cell = Running { index, plan, dir, resources, emit, phase, report, build_log, slot };
    if let Err(error) = cell.run() {
        cell.report.end = end_of(&error);
    }
    cell.finish()
}

/// The report of a cell that was never begun, with its tests where they are known.
pub fn not_run(plan: &CellPlan, dir: &Path, end: CellEnd) -> CellReport {
    let mut report = blank(plan, dir, end);
    report::name_what_never_ran(&mut report, plan);
    report.counts = Counts::of(&report.cases);
    report
}

fn blank(plan: &CellPlan, dir: &Path, end: CellEnd) -> CellReport {
    CellReport {
        id: plan.id.clone(),
        kernel: None,
        accel: None,
        accel_reason: String::new(),
        end,
        cases: Vec::new(),
        counts: Counts::default(),
        splats: Vec::new(),
        provenance: BTreeMap::new(),
        times: Vec::new(),
        work: Vec::new(),
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
        dir: dir.to_owned(),
        boots: 1,
        notes: Vec::new(),
        flaky: Vec::new(),
        reruns: Vec::new(),
        about_job: Vec::new(),
        must_run: plan.must_run,
    }
}

/// What an error means for a cell.
fn end_of(error: &Error) -> CellEnd {
    let reason = match error.hint_text() {
        Some(hint) => format!("{error} (hint: {hint})"),
        None => error.to_string(),
    };
    match error.fault() {
        Fault::Caller => CellEnd::Usage { reason },
        Fault::Host => CellEnd::Infra { reason },
        // What comes after the first line is what the compiler had to say.
        Fault::Kernel => {
            let message = error.to_string();
            let (first, detail) = message.split_once('\n').unwrap_or((&message, ""));
            let hint = error.hint_text().map_or(String::new(), |hint| format!(" (hint: {hint})"));
            CellEnd::Unbootable { reason: format!("{first}{hint}"), detail: detail.to_owned() }
        }
        Fault::Interrupted => CellEnd::Interrupted,
    }
}

impl Running<'_> {
    fn run(&mut self) -> Result<()> {
        self.resources.cancel.check()?;
        self.enter(Phase::Fetch);
        let kernel = self.acquire()?;
        // The selftests stay locked in the cache until the guest is gone.
        let built = self.build(&kernel)?;
        let tools = self.acquire_tools()?;
        let root = self.acquire_root()?;
        self.enter(Phase::Prepare);
        let qemu = find_qemu(&self.plan.facts)?;
        let results = self.dir.join(FILES);
        std::fs::create_dir_all(&results).host(format!("create {}", results.display()))?;
        if let Some(note) = prepare::settle_share(&mut self.plan, &kernel)? {
            self.note(note);
        }
        let all_results = prepare::all_results(&results);
        let equipment = Equipment { tools: tools.as_ref(), root: root.as_ref(), all_results };
        let prepared = prepare::prepare(&self.plan, &kernel, &self.resources.cache, &results, equipment)?;
        for note in prepared.notes.clone() {
            self.note(note);
        }
        self.note_programs()?;
        self.report.provenance.insert(SHARE.to_owned(), self.plan.share.to_string());
        let chosen = accel::choose(self.plan.accel, self.plan.arch, &qemu)?;
        let selftests = built.as_ref().map(|built| built.version);
        let expected = expected(&self.plan, &kernel, selftests, chosen.accel);
        let guest = Guest { kernel: &kernel, prepared: &prepared, qemu: &qemu, expected: &expected };
        let watched = self.boots(&guest, chosen)?;
        remove_if_empty(&results);
        let Some(watched) = watched else {
            let reason = self.resources.slots.closed().unwrap_or_default();
            self.report.end = CellEnd::NotStarted { reason };
            return Ok(());
        };
        report::conclude(&mut self.report, &self.plan, watched);
        report::apply_expectations(&mut self.report, &self.plan, &expected);
        report::name_what_is_not_there(&mut self.report, &self.plan);
        Ok(())
    }

    fn acquire(&mut self) -> Result<Kernel> {
        let Resources { cache, sources, cancel, .. } = self.resources;
        let (plan, resources) = (self.plan.clone(), self.resources);
        self.with_progress(|p| check_source(&plan, resources, p))?;
        let (spec, arch) = (plan.kernel, plan.arch);
        let kernel = self.with_progress(|p| kernel::acquire(&spec, arch, cache, sources, p, cancel));
        if let Some(log) = self.build_log.take() {
            // The next build begins a new one; this run keeps its own, whatever came of it.
            let copy = self.dir.join(BUILD_LOG);
            std::fs::copy(&log, &copy).host(format!("copy {} to {}", log.display(), copy.display()))?;
        }
        let kernel = kernel?;
        self.report.kernel = Some(kernel.facts.clone());
        (self.emit)(Event::KernelReady { cell: self.index, kernel: kernel.facts.clone() });
        Ok(kernel)
    }

    /// Builds the suite, where it is built from the kernel's source. From then on the plan names what came of it.
    fn build(&mut self, kernel: &Kernel) -> Result<Option<BuiltSuite>> {
        let Some(request) = self.plan.upstream.clone() else { return Ok(None) };
        self.enter(Phase::Build);
        let Resources { home, cache, sources, cancel, .. } = self.resources;
        let log = self.dir.join(SUITE_LOG);
        let (filter, suite) = (self.plan.filter.clone(), self.plan.id.suite.clone());
        let wanted = |names: &[String]| filter.check_tests(names, &suite);
        let means = Means { home, cache, sources, cancel, log: &log, wanted: &wanted };
        let built = self.with_progress(|p| upstream::ensure(&request, kernel, &means, p))?;
        self.plan.suite.share.clone_from(&built.share);
        self.plan.suite.program.clone_from(&built.program);
        self.report.provenance.extend(built.facts.clone());
        for note in built.notes.clone() {
            self.note(note);
        }
        Ok(Some(built))
    }

    /// Which programs of ours ran in the guest.
    fn note_programs(&mut self) -> Result<()> {
        let program = self.plan.suite.share.join(&self.plan.suite.program);
        for (name, path) in [("init_sha256", &self.plan.init), ("program_sha256", &program)] {
            let file = File::open(path).host(format!("read {}", path.display()))?;
            let hash = kernel::sha256(file).host(format!("read {}", path.display()))?;
            self.report.provenance.insert(name.to_owned(), hash.as_str().to_owned());
        }
        Ok(())
    }

    /// A shell, where the suite is a script.
    fn acquire_tools(&mut self) -> Result<Option<Tools>> {
        if !self.plan.suite.script {
            return Ok(None);
        }
        let Resources { cache, sources, cancel, .. } = self.resources;
        let arch = self.plan.arch;
        self.with_progress(|p| Tools::acquire(arch, cache, sources, p, cancel)).map(Some)
    }

    /// What the job has as its root, where it wants one.
    fn acquire_root(&mut self) -> Result<Option<GuestRoot>> {
        let Resources { home, cache, sources, cancel, .. } = self.resources;
        let plan = self.plan.clone();
        let root = self.with_progress(|p| GuestRoot::acquire(&plan, home, cache, sources, p, cancel))?;
        if let Some(root) = &root {
            let packages = root.packages().map(|packages| ("root_packages".to_owned(), packages));
            self.report.provenance.extend(packages);
            self.report.provenance.insert("root".to_owned(), root.name());
        }
        Ok(root)
    }

    /// Turns the progress of something into events, and its notes into notes of the report.
    fn with_progress<T>(&mut self, work: impl FnOnce(&mut dyn FnMut(Progress)) -> T) -> T {
        let index = self.index;
        let (emit, log) = (&mut *self.emit, &mut self.build_log);
        let CellReport { notes, work: parts, .. } = &mut self.report;
        work(&mut |progress| match progress {
            Progress::Note(text) => {
                emit(Event::Note { cell: index, text: text.clone() });
                notes.push(text);
            }
            Progress::Bytes { what, done, total } => {
                let (unit, current) = (ProgressUnit::Bytes, String::new());
                emit(Event::Progress { cell: index, what, done, total, unit, current });
            }
            Progress::Steps { what, done, total, current } => {
                emit(Event::Progress { cell: index, what, done, total, unit: ProgressUnit::Items, current });
            }
            Progress::BuildLog(path) => *log = Some(path),
            Progress::Worked(time) => parts.push(time),
        })
    }

    fn enter(&mut self, phase: Phase) {
        if let Some((previous, since)) = self.phase.take() {
            self.add_time(previous, since);
        }
        self.phase = Some((phase, Instant::now()));
        (self.emit)(Event::PhaseStarted { cell: self.index, phase });
    }

    fn add_time(&mut self, phase: Phase, since: Instant) {
        self.report.times.push(PhaseTime { phase, wall: since.elapsed() });
    }

    fn note(&mut self, text: String) {
        (self.emit)(Event::Note { cell: self.index, text: text.clone() });
        self.report.notes.push(text);
    }

    fn finish(mut self) -> CellReport {
        if let Some((phase, since)) = self.phase.take() {
            self.add_time(phase, since);
        }
        report::name_what_never_ran(&mut self.report, &self.plan);
        self.report.counts = Counts::of(&self.report.cases);
        // What was told as passed, and is not, is told again before the cell is.
        for splat in &self.report.splats {
            let blamed = self.report.cases.iter().find(|case| splat.test.as_ref() == Some(&case.name));
            if let Some(case) = blamed {
                (self.emit)(Event::TestFinished { cell: self.index, case: case.clone() });
            }
        }
        (self.emit)(Event::CellFinished { cell: self.index, report: Box::new(self.report.clone()) });
        self.report
    }
}

/// The expectations that apply to a kernel.
fn expected(plan: &CellPlan, kernel: &Kernel, selftests: Option<KernelVersion>, accel: Accel) -> Expected {
    let version = kernel.facts.version.parse().ok();
    let has = |option: &str| kernel.config.as_ref().is_some_and(|config| config.get(option).is_some());
    let config: Option<&dyn Fn(&str) -> bool> = if kernel.config.is_some() { Some(&has) } else { None };
    let to = Subject { kernel: version, selftests: selftests.or(version), arch: plan.arch, accel, config };
    Expected::new(&plan.expectations, &to)
}

/// QEMU's binary, as a path.
///
/// # Errors
/// The host's: it is not installed.
pub fn find_qemu(facts: &crate::spec::arch::ArchFacts) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(&facts.qemu)).find(|file| file.is_file()).ok_or_else(
        || {
            Error::host(format!("{} is not installed", facts.qemu))
                .hint(format!("apt-get install {}, or run `make setup` in kvet's checkout", facts.package))
        },
    )
}

/// A guest that left nothing leaves no folder. QEMU keeps owners and modes in a folder of its own there.
fn remove_if_empty(dir: &Path) {
    let empty = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().all(|entry| entry.file_name() == ".virtfs_metadata"))
        .unwrap_or(false);
    if empty {
        // Failing to tidy up harms nobody.
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// Whether a suite that is built has what is asked for, as far as that shows before a kernel is fetched or built.
///
/// # Errors
/// As a real run would have.
pub fn check_tests(plan: &CellPlan, resources: &Resources) -> Result<()> {
    let Some(request) = &plan.upstream else { return Ok(()) };
    let Resources { home, cache, sources, cancel, .. } = resources;
    let wanted = |names: &[String]| plan.filter.check_tests(names, &plan.id.suite);
    let means = Means { home, cache, sources, cancel, log: Path::new(""), wanted: &wanted };
    upstream::check_available(request, &plan.kernel, plan.arch, &means)
}

/// Whether what the program is run by is in its root, and whether the suite can travel the way it is to: of no kernel that is
/// known to lack 9p, `auto` travels over it. `all_results` is the folder that runs have theirs in.
///
/// # Errors
/// As a real run would have. Trouble of the host, too, if the root has to be made.
pub fn check_files(
    plan: &CellPlan,
    resources: &Resources,
    all_results: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let Resources { home, cache, sources, cancel, .. } = resources;
    if plan.share == ShareMode::Initramfs && plan.upstream.is_none() {
        carry::folder(&plan.suite.share, Some(all_results))?;
    }
    GuestRoot::acquire(plan, home, cache, sources, progress, cancel).map(|_| ())
}

/// The same of any source that is named, the kernel's or that of its selftests: it is fetched, looked at, and then the kernel can be had.
///
/// # Errors
/// As a real run would have. What the kernel's own build lacks is said before a source is fetched for it.
pub fn check_source(
    plan: &CellPlan,
    resources: &Resources,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let Some(request) = &plan.upstream else { return Ok(()) };
    let Resources { home, cache, sources, cancel, .. } = resources;
    if let KernelSpec::Source { .. } = &plan.kernel {
        kernel::check_available(&plan.kernel, plan.arch, cache, sources, progress, cancel)?;
    }
    let wanted = |names: &[String]| plan.filter.check_tests(names, &plan.id.suite);
    let means = Means { home, cache, sources, cancel, log: Path::new(""), wanted: &wanted };
    upstream::check_source(request, &plan.kernel, plan.arch, &means, progress)
}
