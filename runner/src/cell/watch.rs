//! A guest from power-on to its end: the loop that turns what happens to it into events, test cases and a verdict.
//!
//! The state and the loop are here; what each kind of event does is in the files below.

mod clock;
mod console;
mod ends;
mod job;
mod kernel_log;

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kvet_wire::{Job, JobStatus};

use crate::cell::budget::Budget;
use crate::cell::timeline::Timeline;
use crate::error::Result;
use crate::event::{Cause, CellEnd, Event, Outcome, Phase, Splat, Stream, TestCase};
use crate::guest::{GuestEvent, Ready, Session};
use crate::kernel::tree_size;
use crate::parse::clean::LineSplitter;
use crate::parse::splat::Scanner;
use crate::parse::{JobEnd, OutputParser, TestEvent};
use crate::plan::Limits;
use crate::plan::expectations::Expected;
use crate::plan::filter::Filter;
use crate::spec::allowed::Allowance;
use crate::vm::PAUSED;
pub use console::reason;
use kernel_log::KernelLog;

/// How long the last words of a guest, or the stacks of one that hangs, are waited for.
const SETTLE: Duration = Duration::from_secs(2);
/// A report that was begun is complete when the console has been silent for this long.
const QUIET: Duration = Duration::from_millis(500);
/// How long a job may take to die once it was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// A deadline that is noticed this late shows that the host stood still: stopped, suspended, or without a CPU for kvet.
const STALL: Duration = Duration::from_secs(1);
/// A guest whose init gave no sign of life for this long is not asked to do anything any more.
const DEAF: Duration = Duration::from_secs(5);
/// How long a guest may take to leave while its console still speaks.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);
/// Most remarks about one guest, and most characters of one.
const MAX_NOTES: usize = 100;
/// See [`MAX_NOTES`].
const MAX_NOTE: usize = 2000;
/// A guest that has written this much is stopped when the disk it writes to gets full.
const MAX_FILES: u64 = 64 << 20;
/// Free space, in bytes, below which a disk is getting full.
const DISK_RESERVE: u64 = 512 << 20;
/// How many lines of the console are kept for messages about a guest that did not come up.
const TAIL: usize = 30;
/// Bytes of QEMU's last line that are worth quoting.
const MAX_REASON: usize = 500;
/// The kind, in configs/splats.yaml, of the panic that follows the death of PID 1, which is kvet's own program.
const INIT_KILLED: &str = "init_killed";

/// What came out of a guest.
#[derive(Debug)]
pub struct Watched {
    /// How it ended.
    pub end: CellEnd,
    /// Tests with results, in the order they finished.
    pub cases: Vec<TestCase>,
    /// The names of those cases that are about the job as a whole.
    pub about_job: HashSet<String>,
    /// What the guest said of itself at Ready.
    pub guest_release: Option<String>,
    /// What the kernel complained about, and the test it belongs to.
    pub splats: Vec<(Splat, Option<String>)>,
    /// Whether QEMU ended before the guest said a word: worth a second try with another accelerator.
    pub stillborn: bool,
    /// When Ready came.
    pub ready: Option<Instant>,
    /// When the job was over.
    pub done: Option<Instant>,
    /// Why the job ended before its tests were over, if they may go on in another boot: a crash, a limit of one test, a
    /// signal.
    pub cut: Option<String>,
    /// Remarks for the report.
    pub notes: Vec<String>,
}

impl Watched {
    /// Nothing yet, of a guest that ends in this way.
    pub fn new(end: CellEnd) -> Self {
        Self {
            end,
            cases: Vec::new(),
            about_job: HashSet::new(),
            guest_release: None,
            splats: Vec::new(),
            stillborn: false,
            ready: None,
            done: None,
            cut: None,
            notes: Vec::new(),
        }
    }
}

/// What a guest is watched with.
pub struct Watch<'a> {
    cell: usize,
    emit: &'a mut dyn FnMut(Event),
    limits: Limits,
    job: Option<Job>,
    parser: Box<dyn OutputParser>,
    scanner: Scanner,
    timeline: Timeline,
    console: Text,
    kernel_log: KernelLog,
    output: [LineSplitter; 2],
    output_budget: Budget,
    running: Option<String>,
    clock: Clock,
    stage: Stage,
    /// The job's program was started.
    job_started: bool,
    /// Init's last line is on the console.
    bye_seen: bool,
    /// Init's last frame has come.
    bye_heard: bool,
    files: Option<PathBuf>,
    filter: Option<&'a Filter>,
    expected: Option<&'a Expected>,
    allowances: &'a [Allowance],
    stopped: Option<String>,
    out: Watched,
}

/// The console as text.
struct Text {
    splitter: LineSplitter,
    budget: Budget,
    lines: u64,
    tail: Vec<String>,
    last: Instant,
}

/// When what began.
struct Clock {
    started: Instant,
    test_since: Instant,
    /// When something last came.
    awake: Instant,
    /// When the host went on after it had stood still; the start, where it never did.
    resumed: Instant,
    /// The newest stamp of the guest's own clock.
    guest: Duration,
}

/// Where the guest is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Not yet Ready.
    Booting,
    /// A job was sent.
    Working,
    /// A limit was passed; the guest was asked for its stacks and may print until then.
    Dumping { why: String, until: Instant },
    /// The job was killed for this reason, and has to be gone by then.
    Killing { why: String, until: Instant },
    /// The guest was told to power off; what the kernel still says is read until then.
    Leaving { until: Instant, latest: Instant },
    /// Nothing more will come.
    Over,
}

impl<'a> Watch<'a> {
    /// Watches a guest that will be given one job.
    pub fn new(
        cell: usize,
        job: Job,
        limits: Limits,
        parser: Box<dyn OutputParser>,
        scanner: Scanner,
        emit: &'a mut dyn FnMut(Event),
    ) -> Self {
        let now = Instant::now();
        Self {
            cell,
            emit,
            limits,
            job: Some(job),
            parser,
            kernel_log: KernelLog::new(scanner.twin()),
            scanner,
            timeline: Timeline::default(),
            console: Text {
                splitter: LineSplitter::default(),
                budget: Budget::new("console"),
                lines: 0,
                tail: Vec::new(),
                last: now,
            },
            output: [LineSplitter::default(), LineSplitter::default()],
            output_budget: Budget::new("output"),
            running: None,
            clock: Clock { started: now, test_since: now, awake: now, resumed: now, guest: Duration::ZERO },
            stage: Stage::Booting,
            job_started: false,
            bye_seen: false,
            bye_heard: false,
            files: None,
            filter: None,
            expected: None,
            allowances: &[],
            stopped: None,
            out: Watched::new(CellEnd::Completed),
        }
    }

    /// Tells results as they come only of tests that a filter means. All are in what is returned.
    #[must_use]
    pub fn telling(mut self, filter: &'a Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Gives failures that are expected, and passes that are not, the outcome that they have.
    #[must_use]
    pub fn expecting(mut self, expected: &'a Expected) -> Self {
        self.expected = Some(expected);
        self
    }

    /// Tells of complaints that the suite provokes that they are allowed.
    #[must_use]
    pub fn allowing(mut self, allowances: &'a [Allowance]) -> Self {
        self.allowances = allowances;
        self
    }

    /// Also keeps an eye on the folder that the guest writes to.
    #[must_use]
    pub fn writing_to(mut self, files: &Path) -> Self {
        self.files = Some(files.to_owned());
        self
    }

    /// Writes the kernel's log, as init reads it, to a file.
    #[must_use]
    pub fn logging_to(mut self, file: Box<dyn Write>) -> Self {
        self.kernel_log.keep(file);
        self
    }

    /// Watches until the guest's job is over and its last words are read, or the guest is lost. QEMU may still run
    /// afterwards.
    ///
    /// Whatever happens, it is in the result: what the guest does is never an error here, and trouble of the host does
    /// not lose what had finished.
    pub fn run<W: Write>(mut self, session: &mut Session<W>) -> Watched {
        while self.stage != Stage::Over {
            // Trouble of the host ends the guest, and leaves what had finished.
            if let Err(error) = self.step(session) {
                self.lost(CellEnd::Infra { reason: error.to_string() });
            }
        }
        self.console_ended();
        self.fill_in();
        self.place_splats();
        if let Some(error) = session.log_error() {
            self.note(error.to_string());
        }
        self.out
    }

    fn step<W: Write>(&mut self, session: &mut Session<W>) -> Result<()> {
        let deadline = self.deadline(session);
        let event = session.next_event(Some(deadline))?;
        let before = std::mem::replace(&mut self.clock.awake, Instant::now());
        match event {
            GuestEvent::Deadline if self.stood_still(deadline, before) => Ok(()),
            GuestEvent::Deadline => self.on_deadline(session),
            event => self.on_event(event, session),
        }
    }

    /// When the loop has to look at the clock, at the latest.
    fn deadline<W: Write>(&self, session: &Session<W>) -> Instant {
        let stage = match &self.stage {
            Stage::Booting => self.clock.started + self.limits.boot,
            Stage::Working => (self.clock.test_since + self.limits.test)
                .min(self.clock.started + self.limits.cell)
                .min(session.last_frame().max(self.clock.resumed) + self.limits.silence),
            Stage::Dumping { until, .. } | Stage::Killing { until, .. } | Stage::Leaving { until, .. } => {
                *until
            }
            Stage::Over => Instant::now(),
        };
        if self.scanner.pending().is_some() { stage.min(self.console.last + QUIET) } else { stage }
    }

    fn on_event<W: Write>(&mut self, event: GuestEvent, session: &mut Session<W>) -> Result<()> {
        match event {
            GuestEvent::Console(bytes) => self.on_console(&bytes),
            GuestEvent::Ready(ready) => self.on_ready(&ready, session)?,
            GuestEvent::JobStarted { at, modules } => {
                self.job_started = true;
                for problem in modules {
                    self.note(format!("module {} could not be loaded: {}", problem.name, problem.error));
                }
                self.clock.test_since = Instant::now();
                let events = self.parser.start(at);
                self.on_tests(events);
            }
            GuestEvent::Output { stream, at, bytes } => self.on_output(stream, at, &bytes),
            GuestEvent::KernelLog(records) => self.on_kernel_log(&records),
            GuestEvent::JobDone { at, status, held_by } => {
                self.on_job_done(at, status, held_by.as_deref(), session)?;
            }
            GuestEvent::Bye if matches!(self.stage, Stage::Leaving { .. }) => {
                self.bye_heard = true;
                self.leave_if_done();
            }
            GuestEvent::Bye => self.out_of_order("bye before it was told to leave"),
            GuestEvent::Beat => self.check_disk(),
            GuestEvent::Deadline | GuestEvent::Also(_) => {}
            GuestEvent::LastWords(text) => {
                let reason = format!("the guest's init failed: {text}");
                // After Ready it may be a test that brought it down.
                self.lost(match self.stage {
                    Stage::Booting => CellEnd::Infra { reason },
                    _ => CellEnd::Crashed { reason },
                });
            }
            GuestEvent::Violation(why) => {
                self.lost(CellEnd::Crashed { reason: format!("the guest broke the wire protocol: {why}") });
            }
            GuestEvent::Stopped(reason) => self.on_stopped(reason),
            GuestEvent::Exited { status, clean, stderr } => self.on_exit(&status, clean, &stderr),
            GuestEvent::Cancelled => {
                // Said at once: QEMU may take a moment.
                if !matches!(self.stage, Stage::Leaving { .. } | Stage::Over) {
                    (self.emit)(Event::PhaseStarted { cell: self.cell, phase: Phase::Teardown });
                }
                self.lost(CellEnd::Interrupted);
            }
        }
        Ok(())
    }
}

fn cell_limit(limit: Duration) -> String {
    format!("the cell took longer than {}", seconds(limit))
}

fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}
