//! A guest from power-on to its end: the loop that turns what happens to it into events, test cases and a verdict.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kvet_wire::{BYE_MARK, Job, JobStatus, LACKS_MARK, LAST_WORDS_MARK};

use crate::cell::budget::Budget;
use crate::cell::timeline::Timeline;
use crate::error::Result;
use crate::event::{CellEnd, Event, Outcome, Phase, Splat, Stream, TestCase};
use crate::guest::{GuestEvent, Ready, Session};
use crate::kernel::tree_size;
use crate::parse::clean::LineSplitter;
use crate::parse::splat::{Scanner, strip_prefix};
use crate::parse::{JobEnd, OutputParser, TestEvent};
use crate::plan::Limits;
use crate::plan::filter::Filter;
use crate::vm::PAUSED;

/// How long the last words of a guest, or the stacks of one that hangs, are waited for.
const SETTLE: Duration = Duration::from_secs(2);
/// A report that was begun is complete when the console has been silent for this long.
const QUIET: Duration = Duration::from_millis(500);
/// How long a job may take to die once it was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
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
/// The kind, in configs/splats.yaml, of the panic that follows the death of PID 1. That is kvet's own program, so that
/// its death is no verdict about the kernel.
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
    /// Remarks for the report.
    pub notes: Vec<String>,
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
    output: [LineSplitter; 2],
    output_budget: Budget,
    running: Option<String>,
    clock: Clock,
    stage: Stage,
    /// Init's last line is on the console.
    bye_seen: bool,
    /// Init's last frame has come.
    bye_heard: bool,
    files: Option<PathBuf>,
    filter: Option<&'a Filter>,
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
            clock: Clock { started: now, test_since: now, guest: Duration::ZERO },
            stage: Stage::Booting,
            bye_seen: false,
            bye_heard: false,
            files: None,
            filter: None,
            stopped: None,
            out: Watched {
                end: CellEnd::Completed,
                cases: Vec::new(),
                about_job: HashSet::new(),
                guest_release: None,
                splats: Vec::new(),
                stillborn: false,
                ready: None,
                done: None,
                notes: Vec::new(),
            },
        }
    }

    /// Tells results as they come only of tests that a filter means. All are in what is returned.
    #[must_use]
    pub fn telling(mut self, filter: &'a Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Also keeps an eye on the folder that the guest writes to.
    #[must_use]
    pub fn writing_to(mut self, files: &Path) -> Self {
        self.files = Some(files.to_owned());
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
        if let Some(error) = session.log_error() {
            self.note(error.to_string());
        }
        self.out
    }

    fn step<W: Write>(&mut self, session: &mut Session<W>) -> Result<()> {
        let deadline = self.deadline(session);
        match session.next_event(Some(deadline))? {
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
                .min(session.last_frame() + self.limits.silence),
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
                for problem in modules {
                    self.note(format!("module {} could not be loaded: {}", problem.name, problem.error));
                }
                self.clock.test_since = Instant::now();
                let events = self.parser.start(at);
                self.on_tests(events);
            }
            GuestEvent::Output { stream, at, bytes } => self.on_output(stream, at, &bytes),
            GuestEvent::JobDone { at, status } => self.on_job_done(at, status, session)?,
            GuestEvent::Bye => self.bye_heard = true,
            GuestEvent::Beat => self.check_disk(),
            GuestEvent::Deadline | GuestEvent::Also(_) => {}
            GuestEvent::LastWords(text) => {
                self.lost(CellEnd::Infra { reason: format!("the guest's init failed: {text}") });
            }
            GuestEvent::Violation(why) => {
                self.lost(CellEnd::Crashed { reason: format!("the guest broke the wire protocol: {why}") });
            }
            GuestEvent::Stopped(reason) => self.on_stopped(reason),
            GuestEvent::Exited { status, clean, stderr } => self.on_exit(&status, clean, &stderr),
            GuestEvent::Cancelled => self.lost(CellEnd::Interrupted),
        }
        Ok(())
    }

    // --- the console ---------------------------------------------------------------------------------------

    fn on_console(&mut self, bytes: &[u8]) {
        self.console.last = Instant::now();
        for line in self.console.splitter.push(bytes) {
            self.console_line(line);
        }
    }

    fn console_line(&mut self, line: String) {
        self.console.lines += 1;
        self.timeline.console_line(&line);
        let splats = self.scanner.line(&line);
        self.on_splats(splats);
        self.on_mark(strip_prefix(&line).1);
        if self.console.tail.len() == TAIL {
            self.console.tail.remove(0);
        }
        self.console.tail.push(line.clone());
        match self.console.budget.take(line.len()) {
            Ok(true) => (self.emit)(Event::ConsoleLine { cell: self.cell, line }),
            Ok(false) => {}
            Err(note) => self.note(note),
        }
    }

    /// What init says through the kernel's log. A test could say the same, so it counts only where no test runs.
    fn on_mark(&mut self, text: &str) {
        match self.stage {
            Stage::Booting => {
                if let Some(what) = text.strip_prefix(LACKS_MARK) {
                    self.unbootable(format!("the kernel lacks what every guest needs: {}", what.trim()));
                } else if let Some(words) = text.strip_prefix(LAST_WORDS_MARK) {
                    let reason = format!("the guest's init failed: {}", words.trim());
                    self.lost(CellEnd::Infra { reason });
                }
            }
            Stage::Leaving { .. } if text.starts_with(BYE_MARK) => {
                self.bye_seen = true;
                self.leave_if_done();
            }
            _ => {}
        }
    }

    /// The console is gone or nobody will read on: what is open is complete.
    fn console_ended(&mut self) {
        if let Some(line) = self.console.splitter.finish() {
            self.console_line(line);
        }
        let splats = self.scanner.flush();
        self.on_splats(splats);
        if self.scanner.suppressed() > 0 {
            self.note(format!(
                "the kernel complained {} more times; see console.log",
                self.scanner.suppressed()
            ));
        }
    }

    fn on_splats(&mut self, splats: Vec<Splat>) {
        for splat in splats {
            let test = match splat.at {
                Some(at) => self.timeline.running_at(at).map(Into::into),
                // Without printk times the order of arrival has to do.
                None => self.running.clone(),
            };
            (self.emit)(Event::SplatSeen { cell: self.cell, splat: splat.clone(), test: test.clone() });
            self.out.splats.push((splat, test));
        }
    }

    // --- the job -------------------------------------------------------------------------------------------

    fn on_ready<W: Write>(&mut self, ready: &Ready, session: &mut Session<W>) -> Result<()> {
        (self.emit)(Event::GuestReady { cell: self.cell, boottime: ready.boottime });
        self.out.guest_release = Some(ready.release.clone());
        for problem in &ready.problems {
            self.note(format!("guest: {problem}"));
        }
        self.out.ready = Some(Instant::now());
        (self.emit)(Event::PhaseStarted { cell: self.cell, phase: Phase::Tests });
        self.clock.test_since = Instant::now();
        self.stage = Stage::Working;
        match self.job.take() {
            Some(job) => session.run(job),
            None => Ok(()),
        }
    }

    fn on_output(&mut self, stream: Stream, at: Duration, bytes: &[u8]) {
        self.clock.guest = self.clock.guest.max(at);
        let index = usize::from(stream == Stream::Stderr);
        for line in self.output[index].push(bytes) {
            self.output_line(stream, at, line);
        }
    }

    fn output_line(&mut self, stream: Stream, at: Duration, line: String) {
        let events = self.parser.line(stream, at, &line);
        match self.output_budget.take(line.len()) {
            Ok(true) => (self.emit)(Event::OutputLine { cell: self.cell, stream, at, line }),
            Ok(false) => {}
            Err(note) => self.note(note),
        }
        self.on_tests(events);
    }

    fn on_tests(&mut self, events: Vec<TestEvent>) {
        for event in events {
            self.clock.test_since = Instant::now();
            match event {
                TestEvent::Started { name, at } => {
                    self.timeline.announced(at, &name);
                    self.running = Some(name.clone());
                    (self.emit)(Event::TestStarted { cell: self.cell, name });
                }
                TestEvent::Finished { case, about_job, .. } => {
                    self.running = None;
                    if about_job {
                        self.out.about_job.insert(case.name.clone());
                    }
                    // What never ran is named in the report, by the names the suite lists; what was not asked for is
                    // not told.
                    let told = about_job || self.filter.is_none_or(|filter| filter.matches(&case.name));
                    if told && case.outcome != Outcome::NotRun {
                        (self.emit)(Event::TestFinished { cell: self.cell, case: case.clone() });
                    }
                    self.out.cases.push(case);
                }
            }
        }
    }

    fn on_job_done<W: Write>(
        &mut self,
        at: Duration,
        status: JobStatus,
        session: &mut Session<W>,
    ) -> Result<()> {
        self.clock.guest = self.clock.guest.max(at);
        self.timeline.ended(at);
        let end = match (status, &self.stage) {
            (JobStatus::NotStarted { stage, error }, _) => {
                self.not_started(&format!("the job was not started: {stage}: {error}"), &stage, &error);
                return Ok(());
            }
            (_, Stage::Dumping { why, .. } | Stage::Killing { why, .. }) => JobEnd::TimedOut(why.clone()),
            (JobStatus::Exited { code }, _) => JobEnd::Exited(code),
            (JobStatus::Signaled { signal }, _) => JobEnd::Signaled(signal),
            (JobStatus::DeadlinePassed, _) => JobEnd::TimedOut(cell_limit(self.limits.cell)),
        };
        self.finish_job(&end);
        self.out.done = Some(Instant::now());
        (self.emit)(Event::PhaseStarted { cell: self.cell, phase: Phase::Teardown });
        let now = Instant::now();
        self.stage = Stage::Leaving { until: now + SETTLE, latest: now + LEAVE_LIMIT };
        session.power_off()
    }

    /// A file system that the kernel does not know (mount(2), ENODEV) is what it lacks, and preflight could not see it
    /// without a config. Everything else is trouble of ours.
    fn not_started(&mut self, reason: &str, stage: &str, error: &str) {
        if stage.starts_with("mount ") && error.starts_with("ENODEV") {
            self.unbootable(format!("the kernel has no 9p, and no modules for it were given: {reason}"));
        } else {
            self.lost(CellEnd::Infra { reason: reason.to_owned() });
        }
    }

    /// The output is complete: what has no result gets one.
    fn finish_job(&mut self, end: &JobEnd) {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if let Some(line) = self.output[index].finish() {
                self.output_line(stream, self.clock.guest, line);
            }
        }
        let mut events = self.parser.finish(end, self.clock.guest);
        if let JobEnd::Lost(how) = end {
            self.blame_unheard(how, &mut events);
        }
        self.on_tests(events);
    }

    /// The guest can die before a test's announcement has come over the wire; the console knows of it. The first of
    /// the planned tests that the parser misses is this one.
    fn blame_unheard(&self, how: &str, events: &mut Vec<TestEvent>) {
        let Some(name) = self.timeline.unheard() else { return };
        if self.out.cases.iter().any(|case| case.name == name) {
            return;
        }
        let case = TestCase {
            name: name.to_owned(),
            outcome: Outcome::Error,
            duration: None,
            message: format!("ended without a result: the job {}", JobEnd::Lost(how.to_owned())),
            detail: String::new(),
        };
        let is_missing = |event: &TestEvent| matches!(event, TestEvent::Finished { case, .. } if case.outcome == Outcome::NotRun);
        let event = TestEvent::Finished { case, about_job: false, at: self.clock.guest };
        match events.iter_mut().find(|event| is_missing(event)) {
            Some(missing) => *missing = event,
            None => events.push(event),
        }
    }

    /// Once init's last line is on the console, so is everything the kernel had to say before.
    fn leave_if_done(&mut self) {
        if self.bye_seen && matches!(self.stage, Stage::Leaving { .. }) && self.scanner.pending().is_none() {
            self.stage = Stage::Over;
        }
    }

    // --- the clock -----------------------------------------------------------------------------------------

    fn on_deadline<W: Write>(&mut self, session: &mut Session<W>) -> Result<()> {
        if self.scanner.pending().is_some() && self.console.last.elapsed() >= QUIET {
            let splats = self.scanner.flush();
            self.on_splats(splats);
            self.leave_if_done();
        }
        let now = Instant::now();
        match self.stage.clone() {
            Stage::Booting if now >= self.clock.started + self.limits.boot => {
                self.out.stillborn = self.console.lines == 0;
                self.unbootable(format!("not up after {}", seconds(self.limits.boot)));
            }
            Stage::Working => {
                if let Some(why) = self.passed_limit(now, session) {
                    self.ask_for_stacks(why, session)?;
                }
            }
            Stage::Dumping { why, until } if now >= until => self.kill_job(why, session)?,
            Stage::Killing { why, until } if now >= until => {
                self.lost(CellEnd::Crashed { reason: format!("{why}, and could not be killed") });
            }
            Stage::Leaving { until, latest } if now >= until => {
                // A slow console is read to its end, within reason.
                let quiet = self.console.last.elapsed() >= QUIET;
                if !quiet && now < latest {
                    self.stage = Stage::Leaving { until: now + QUIET, latest };
                } else if self.bye_heard {
                    self.stage = Stage::Over;
                } else {
                    self.lost(CellEnd::Crashed { reason: "the guest hung when it was told to leave".into() });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn passed_limit<W: Write>(&self, now: Instant, session: &Session<W>) -> Option<String> {
        if now >= session.last_frame() + self.limits.silence {
            return Some(format!("the guest hung: no sign of life for {}", seconds(self.limits.silence)));
        }
        if now >= self.clock.started + self.limits.cell {
            return Some(cell_limit(self.limits.cell));
        }
        if now >= self.clock.test_since + self.limits.test {
            let limit = seconds(self.limits.test);
            return Some(match &self.running {
                Some(test) => format!("{test} ran longer than {limit}"),
                None => format!("no test began or ended for {limit}"),
            });
        }
        None
    }

    /// Before anything is killed, the kernel says what its tasks and CPUs are doing: through init where it lives, by
    /// an NMI where it does not.
    fn ask_for_stacks<W: Write>(&mut self, why: String, session: &mut Session<W>) -> Result<()> {
        if session.last_frame().elapsed() < DEAF {
            session.dump()?;
        } else {
            session.vm().inject_nmi()?;
        }
        self.stage = Stage::Dumping { why, until: Instant::now() + SETTLE };
        Ok(())
    }

    fn kill_job<W: Write>(&mut self, why: String, session: &mut Session<W>) -> Result<()> {
        if session.last_frame().elapsed() >= DEAF {
            self.lost(CellEnd::Crashed { reason: why });
            return Ok(());
        }
        session.kill_job()?;
        self.stage = Stage::Killing { why, until: Instant::now() + KILL_PATIENCE };
        Ok(())
    }

    /// Notices a guest that fills the host's disk through its results share.
    fn check_disk(&mut self) {
        let Some(dir) = &self.files else { return };
        let Ok(stat) = nix::sys::statvfs::statvfs(dir.as_path()) else { return };
        if stat.blocks_available() * stat.fragment_size() < DISK_RESERVE && tree_size(dir) > MAX_FILES {
            let reason = format!("the guest has filled the disk of {}", dir.display());
            self.lost(CellEnd::Infra { reason });
        }
    }

    /// QEMU says why a guest no longer runs. Its end follows, unless it was only paused.
    fn on_stopped(&mut self, reason: String) {
        if reason != PAUSED {
            self.stopped = Some(reason);
        } else if self.stopped.is_none() && !matches!(self.stage, Stage::Leaving { .. }) {
            self.out.stillborn = self.console.lines == 0;
            let reason = "QEMU paused the guest: its accelerator could not go on".to_owned();
            self.lost(CellEnd::Infra { reason });
        }
    }

    // --- ends ----------------------------------------------------------------------------------------------

    fn on_exit(&mut self, status: &str, clean: bool, stderr: &str) {
        self.console_ended();
        if self.bye_heard {
            self.stage = Stage::Over;
            return;
        }
        self.out.stillborn = self.console.lines == 0;
        // A guest that resets or powers off ends QEMU with status 0. Anything else is QEMU's own end.
        if !clean {
            let reason = format!("QEMU ended with {status}{}", self.said(stderr));
            self.lost(CellEnd::Infra { reason });
            return;
        }
        let fatal = self.out.splats.iter().map(|(splat, _)| splat).find(|splat| splat.fatal);
        let reason = match (fatal, &self.stopped) {
            (Some(splat), _) if splat.kind == INIT_KILLED && self.stage != Stage::Booting => {
                let reason = format!("the guest's init was killed: {}", splat.title);
                self.lost(CellEnd::Infra { reason });
                return;
            }
            (Some(splat), _) => splat.title.clone(),
            (None, Some(reason)) => format!("the guest stopped without a word ({reason})"),
            (None, None) => "the guest stopped without a word".to_owned(),
        };
        if self.stage == Stage::Booting {
            self.unbootable(reason);
        } else {
            self.lost(CellEnd::Crashed { reason });
        }
    }

    /// QEMU's last line for a reason of one line, and a note where it said more.
    fn said(&mut self, stderr: &str) -> String {
        let mut splitter = LineSplitter::new(MAX_REASON);
        let mut lines = splitter.push(stderr.as_bytes());
        lines.extend(splitter.finish());
        lines.retain(|line| !line.trim().is_empty());
        if lines.len() > 1 {
            self.note(format!("QEMU said: {}", lines.join("\n")));
        }
        lines.pop().map_or_else(String::new, |line| format!(": {}", line.trim()))
    }

    fn unbootable(&mut self, reason: String) {
        let detail = self.console.tail.join("\n");
        self.lost(CellEnd::Unbootable { reason, detail });
    }

    /// Ends the watch. A test that was running gets its result from how it ended.
    fn lost(&mut self, end: CellEnd) {
        let leaving = matches!(self.stage, Stage::Leaving { .. });
        match self.stage {
            Stage::Over => return,
            Stage::Booting | Stage::Leaving { .. } => {}
            _ => {
                let how = match &end {
                    CellEnd::Crashed { reason }
                    | CellEnd::Infra { reason }
                    | CellEnd::Unbootable { reason, .. } => reason.clone(),
                    CellEnd::Interrupted => "interrupted".to_owned(),
                    _ => "the guest was lost".to_owned(),
                };
                self.finish_job(&JobEnd::Lost(how));
            }
        }
        // A job that was over keeps its verdict if the host has trouble with what is left of the guest; a kernel that
        // crashes while it tidies up after the tests has crashed.
        match end {
            CellEnd::Infra { reason } if leaving => self.note(format!("after the tests: {reason}")),
            end => self.out.end = end,
        }
        self.stage = Stage::Over;
    }

    fn note(&mut self, mut text: String) {
        if self.out.notes.len() >= MAX_NOTES {
            return;
        }
        if let Some((end, _)) = text.char_indices().nth(MAX_NOTE) {
            text.truncate(end);
        }
        (self.emit)(Event::Note { cell: self.cell, text: text.clone() });
        self.out.notes.push(text);
    }
}

fn cell_limit(limit: Duration) -> String {
    format!("the cell took longer than {}", seconds(limit))
}

fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}
