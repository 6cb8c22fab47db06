//! What the job says: output, results, its end.

use super::*;
use crate::error::Fault;

impl Watch<'_> {
    pub(super) fn on_ready<W: Write>(&mut self, ready: &Ready, session: &mut Session<W>) -> Result<()> {
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

    pub(super) fn on_output(&mut self, stream: Stream, at: Duration, bytes: &[u8]) {
        self.clock.guest = self.clock.guest.max(at);
        let index = usize::from(stream == Stream::Stderr);
        for line in self.output[index].push(bytes) {
            self.output_line(stream, at, line);
        }
    }

    pub(super) fn output_line(&mut self, stream: Stream, at: Duration, line: String) {
        let events = self.parser.line(stream, at, &line);
        match self.output_budget.take(line.len()) {
            Ok(true) => (self.emit)(Event::OutputLine { cell: self.cell, stream, at, line }),
            Ok(false) => {}
            Err(note) => self.note(note),
        }
        self.on_tests(events);
    }

    pub(super) fn on_tests(&mut self, events: Vec<TestEvent>) {
        for event in events {
            let since = std::mem::replace(&mut self.clock.test_since, Instant::now());
            match event {
                TestEvent::Started { name, at } => {
                    self.timeline.announced(at, &name);
                    self.running = Some(name.clone());
                    (self.emit)(Event::TestStarted { cell: self.cell, name });
                }
                TestEvent::Finished { mut case, about_job, .. } => {
                    // No output tells how long a test ran that hung or took the guest with it.
                    let ended = self.running.take().is_some_and(|name| name == case.name);
                    if ended && case.outcome == Outcome::Error {
                        case.duration.get_or_insert_with(|| since.elapsed());
                    }
                    if let Some(expected) = self.expected {
                        expected.adjust(&mut case);
                    }
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
                TestEvent::NoVerdict { fault: Fault::Caller, reason } => {
                    self.out.end = CellEnd::Usage { reason };
                }
                TestEvent::NoVerdict { reason, .. } => self.out.end = CellEnd::Infra { reason },
                TestEvent::Note(text) => self.note(text),
                // That the clock of the test starts again is all there is to do.
                TestEvent::Progress => {}
            }
        }
    }

    pub(super) fn on_job_done<W: Write>(
        &mut self,
        at: Duration,
        status: JobStatus,
        held_by: Option<&str>,
        session: &mut Session<W>,
    ) -> Result<()> {
        let in_time = matches!(self.stage, Stage::Working | Stage::Dumping { .. } | Stage::Killing { .. });
        let never_started = matches!(status, JobStatus::NotStarted { .. });
        if !in_time || never_started == self.job_started {
            self.out_of_order("the end of a job that did not run");
            return Ok(());
        }
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
        if let Some(holder) = held_by {
            self.cut_output(holder);
        }
        let cause = matches!(end, JobEnd::TimedOut(_)).then_some(Cause::TimeOut);
        self.finish_job(&end, cause);
        self.out.done = Some(Instant::now());
        (self.emit)(Event::PhaseStarted { cell: self.cell, phase: Phase::Teardown });
        let now = Instant::now();
        self.stage = Stage::Leaving { until: now + SETTLE, latest: now + LEAVE_LIMIT };
        session.power_off()
    }

    /// A file system that the kernel does not know (mount(2), ENODEV) is what it lacks, and preflight could not see it
    /// without a config. Everything else is trouble of ours.
    pub(super) fn not_started(&mut self, reason: &str, stage: &str, error: &str) {
        if stage.starts_with("mount ") && error.starts_with("ENODEV") {
            let what = if stage.contains("overlay") { "overlayfs" } else { "9p" };
            self.unbootable(format!("the kernel has no {what}, and no modules for it were given: {reason}"));
        } else {
            self.lost(CellEnd::Infra { reason: reason.to_owned() });
        }
    }

    /// The end of the output is missing.
    fn cut_output(&mut self, holder: &str) {
        self.finish_lines();
        let why = format!("'{holder}' still held the output when kvet stopped waiting for it");
        let events = self.parser.cut(self.clock.guest, &why);
        self.on_tests(events);
        self.note(format!("the end of the output may be missing: {why}"));
    }

    fn finish_lines(&mut self) {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if let Some(line) = self.output[index].finish() {
                self.output_line(stream, self.clock.guest, line);
            }
        }
    }

    /// The output is complete: what has no result gets one, with the cause that there is.
    pub(super) fn finish_job(&mut self, end: &JobEnd, cause: Option<Cause>) {
        self.finish_lines();
        self.out.cut = match end {
            JobEnd::Exited(_) => None,
            JobEnd::Signaled(_) => Some(format!("the job {end}")),
            JobEnd::TimedOut(why) | JobEnd::Lost(why) => Some(why.clone()),
        };
        let mut events = self.parser.finish(end, self.clock.guest);
        if let JobEnd::Lost(how) = end {
            self.blame_unheard(how, &mut events);
        }
        for event in &mut events {
            if let TestEvent::Finished { case, .. } = event
                && case.outcome == Outcome::Error
            {
                case.cause = cause.or(case.cause);
            }
        }
        self.on_tests(events);
    }

    /// The guest can die before a test's announcement has come over the wire; the console knows of it. The first of
    /// the planned tests that the parser misses is this one.
    pub(super) fn blame_unheard(&self, how: &str, events: &mut Vec<TestEvent>) {
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
            cause: None,
        };
        let is_missing = |event: &TestEvent| matches!(event, TestEvent::Finished { case, .. } if case.outcome == Outcome::NotRun);
        let event = TestEvent::Finished { case, about_job: false, at: self.clock.guest };
        match events.iter_mut().find(|event| is_missing(event)) {
            Some(missing) => *missing = event,
            None => events.push(event),
        }
    }

    /// Once init's last line is on the console, so is everything the kernel had to say before; its last frame comes behind
    /// what it read of the kernel's log.
    pub(super) fn leave_if_done(&mut self) {
        if self.bye_seen
            && self.bye_heard
            && matches!(self.stage, Stage::Leaving { .. })
            && self.scanner.pending().is_none()
        {
            self.stage = Stage::Over;
        }
    }
}
