//! Output format `test_progs`: what the BPF selftests' own runner prints, as of 5.10, 6.1, 6.12, 7.2 and 7.3-rc7.
//!
//! Tests are known by `test/subtest`, never by number. A test with subtests is a group and no case of its own, unless it
//! failed outside of them. With `-v` each result stands where it came about, so that a crash loses nothing and kvet can
//! measure times; without, test_progs prints all subtests of a test when the test is over.
//!
//! What could hide a failure becomes an error case: no summary, a summary that counted otherwise than what was read, an
//! exit status that the results do not explain.

mod end;
mod line;
mod said;
mod talk;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use self::line::{Line, Summary, Verdict};
use self::talk::Talk;
use super::ktap::Limits;
use super::names::Names;
use super::text::shorten;
use super::{JobEnd, OutputParser, TestEvent};
use kvet_base::event::{Outcome, Stream, TestCase};
pub use said::verifier_said;

/// The parser.
#[derive(Debug)]
pub struct TestProgsParser {
    suite: String,
    limits: Limits,
    /// Whether results stand where they came about (`-v`).
    live: bool,
    names: Names,
    talk: Talk,
    /// The test whose subtests are being told.
    open: Option<Open>,
    /// Results by their numbers, to know those that are told again.
    seen: HashMap<(u32, u32), Verdict>,
    in_error_logs: bool,
    counted: Summary,
    summary: bool,
    /// Tests whose start is marked on the console, with its time, and that have no result.
    announced: VecDeque<(String, Duration)>,
    /// How many more marks than results each name had. The console may be behind the output.
    ahead: HashMap<String, i32>,
    /// How many there were.
    marks: usize,
    /// What the watchdog said last: which test, after how long, and whether it killed it.
    watchdog: Option<(String, u32, bool)>,
    caught: Option<i32>,
    /// Why a part of the output is missing.
    cut: Option<String>,
    /// Programs that did not load, and the tests that they failed.
    blocked: BTreeMap<String, Blocked>,
    last_result: Option<String>,
    last_at: Duration,
    cases: usize,
    dropped: usize,
    bad: bool,
    detail_left: usize,
}

/// A test with subtests.
#[derive(Debug)]
struct Open {
    number: u32,
    /// None while only subtests without it were seen (5.10).
    name: Option<String>,
    bad: bool,
    /// Subtests that wait for the name of their test.
    held: Vec<Held>,
}

/// A subtest that waits for the name of its test.
#[derive(Debug)]
struct Held {
    case: TestCase,
    at: Duration,
}

/// What one program that did not load did.
#[derive(Debug)]
struct Blocked {
    why: String,
    victims: Vec<String>,
    more: usize,
}

/// Tests of which one blocking program's note names each.
const MAX_VICTIMS: usize = 8;

impl TestProgsParser {
    /// A parser for one job. `live` says whether test_progs was told to be verbose.
    pub fn new(suite: impl Into<String>, live: bool) -> Self {
        Self::with_limits(suite, live, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(suite: impl Into<String>, live: bool, limits: Limits) -> Self {
        Self {
            suite: suite.into(),
            limits,
            live,
            names: Names::default(),
            talk: Talk::new(limits.detail),
            open: None,
            seen: HashMap::new(),
            in_error_logs: false,
            counted: Summary::default(),
            summary: false,
            announced: VecDeque::new(),
            ahead: HashMap::new(),
            marks: 0,
            watchdog: None,
            caught: None,
            cut: None,
            blocked: BTreeMap::new(),
            last_result: None,
            last_at: Duration::ZERO,
            cases: 0,
            dropped: 0,
            bad: false,
            detail_left: limits.total_detail,
        }
    }

    fn subtest(
        &mut self,
        (test, number): (u32, u32),
        name: &str,
        verdict: Verdict,
        at: Duration,
        out: &mut Vec<TestEvent>,
    ) {
        if self.told_again((test, number), verdict) {
            return;
        }
        self.begin(test, out);
        match verdict {
            Verdict::Ok => self.counted.subtests_passed += 1,
            Verdict::Fail => *self.counted.subtests_failed.get_or_insert(0) += 1,
            _ => {}
        }
        let (group, name) = match name.split_once('/') {
            Some((group, _)) => (Some(group.to_owned()), self.tidy(name)),
            None => (None, self.tidy(name)),
        };
        let duration = self.live.then(|| at.saturating_sub(self.last_at));
        let case = self.case(name, verdict, duration);
        let limit = self.limits.open;
        let Some(open) = &mut self.open else { return };
        open.bad |= case.outcome.is_bad();
        if group.is_some() {
            open.name = group;
        } else if open.held.len() < limit.max(1000) {
            open.held.push(Held { case, at });
            self.last_at = at;
            return;
        }
        self.finished(case, false, at, out);
    }

    fn test(&mut self, number: u32, name: &str, verdict: Verdict, at: Duration, out: &mut Vec<TestEvent>) {
        if self.told_again((number, 0), verdict) {
            return;
        }
        match verdict {
            Verdict::Fail => self.counted.failed += 1,
            Verdict::NotBuilt => {}
            _ => self.counted.passed += 1,
        }
        let name = self.tidy(name);
        if self.open.as_ref().is_some_and(|open| open.number != number) {
            self.abandon(out);
        }
        let Some(open) = self.open.take() else {
            let case = self.case(name, verdict, Some(at.saturating_sub(self.last_at)));
            self.finished(case, false, at, out);
            return;
        };
        // A group has no result of its own to wait for.
        self.unmark(&name);
        for mut held in open.held {
            held.case.name = format!("{name}/{}", held.case.name);
            self.finished(held.case, false, held.at, out);
        }
        if verdict == Verdict::Fail && !open.bad {
            let message = format!("failed, though none of its subtests did: {}", self.talk.failure(&name));
            let detail = self.take_detail();
            let case =
                TestCase { name, outcome: Outcome::Fail, duration: None, message, detail, cause: None };
            // No pattern that selects subtests may hide it.
            self.finished(case, true, at, out);
        }
        self.talk.clear();
        self.last_at = at;
    }

    /// A result of test `number` is coming. The test before it must have had its own.
    fn begin(&mut self, number: u32, out: &mut Vec<TestEvent>) {
        if self.open.as_ref().is_some_and(|open| open.number != number) {
            self.abandon(out);
        }
        self.open.get_or_insert(Open { number, name: None, bad: false, held: Vec::new() });
    }

    /// Another test goes on before the open one had its result.
    fn abandon(&mut self, out: &mut Vec<TestEvent>) {
        let Some(open) = self.open.take() else { return };
        let name = self.name_of(&open);
        self.release(open, out);
        let message = "it has no result of its own, and another test went on".to_owned();
        self.verdict(name, message, out);
    }

    /// What to call a test of which only subtests were seen.
    fn name_of(&self, open: &Open) -> String {
        open.name.clone().unwrap_or_else(|| format!("test {}", open.number))
    }

    fn release(&mut self, open: Open, out: &mut Vec<TestEvent>) {
        let name = self.name_of(&open);
        for mut held in open.held {
            held.case.name = format!("{name}/{}", held.case.name);
            self.finished(held.case, false, held.at, out);
        }
    }

    /// Whether a result only repeats one, under `All error logs:`.
    fn told_again(&mut self, numbers: (u32, u32), verdict: Verdict) -> bool {
        if self.in_error_logs && self.seen.get(&numbers) == Some(&verdict) {
            self.talk.clear();
            return true;
        }
        self.in_error_logs = false;
        if self.seen.len() < self.limits.cases {
            self.seen.insert(numbers, verdict);
        }
        false
    }

    /// A test's own result. What a test that passed has said is in the job's output, and nowhere else.
    fn case(&mut self, name: String, verdict: Verdict, duration: Option<Duration>) -> TestCase {
        let outcome = verdict.outcome();
        let (message, detail) = match outcome {
            Outcome::Pass => (String::new(), String::new()),
            Outcome::Skip if verdict == Verdict::NotBuilt => ("it was not built".into(), String::new()),
            Outcome::Skip => (self.talk.skip(), self.take_detail()),
            _ => {
                if let Some(load) = self.talk.blocked_by(&name).cloned() {
                    self.block(load, &name);
                }
                (self.talk.failure(&name), self.take_detail())
            }
        };
        self.talk.clear();
        TestCase { name, outcome, duration, message, detail, cause: None }
    }

    fn block(&mut self, load: talk::Load, victim: &str) {
        if self.blocked.len() >= self.limits.open && !self.blocked.contains_key(&load.program) {
            return;
        }
        let Blocked { victims, more, .. } = self.blocked.entry(load.program).or_insert_with(|| Blocked {
            why: load.why,
            victims: Vec::new(),
            more: 0,
        });
        if victims.len() < MAX_VICTIMS { victims.push(victim.to_owned()) } else { *more += 1 }
    }

    /// A test has its result. Gives when it began, if its mark came before.
    fn unmark(&mut self, name: &str) -> Option<Duration> {
        if self.ahead.len() < self.limits.cases {
            *self.ahead.entry(name.to_owned()).or_insert(0) -= 1;
        }
        let index = self.announced.iter().position(|(marked, _)| marked == name)?;
        self.announced.remove(index).map(|(_, since)| since)
    }

    fn finished(&mut self, mut case: TestCase, about_job: bool, at: Duration, out: &mut Vec<TestEvent>) {
        self.cases += 1;
        self.bad |= case.outcome.is_bad();
        self.last_result = Some(case.name.clone());
        let started = std::mem::replace(&mut self.last_at, at);
        if self.cases > self.limits.cases {
            self.dropped += 1;
            return;
        }
        let began = self.unmark(&case.name);
        if let (Some(began), Some(duration)) = (began, &mut case.duration) {
            *duration = at.saturating_sub(began);
        } else if began.is_none() && !about_job && case.duration.is_some() {
            // It is known now from when on it ran, which tells what of the kernel's complaints are its own.
            self.send(TestEvent::Started { name: case.name.clone(), at: started }, out);
        }
        if self.watchdog.as_ref().is_some_and(|(name, ..)| *name == case.name) {
            self.watchdog = None;
        }
        self.send(TestEvent::Finished { case, about_job, at }, out);
    }

    fn send(&mut self, mut event: TestEvent, out: &mut Vec<TestEvent>) {
        self.names.settle(&mut event);
        out.push(event);
    }

    /// An error that is no test's own result.
    fn verdict(&mut self, name: String, message: String, out: &mut Vec<TestEvent>) {
        let detail = self.take_detail();
        let case = TestCase { name, outcome: Outcome::Error, duration: None, message, detail, cause: None };
        self.finished(case, true, self.last_at, out);
    }

    fn summarized(&mut self, summary: Summary, out: &mut Vec<TestEvent>) {
        if self.open.is_some() {
            self.abandon(out);
        }
        let counted = std::mem::take(&mut self.counted);
        let told = |s: &Summary| format!("{}/{} passed, {} failed", s.passed, s.subtests_passed, s.failed);
        // Subtests that failed are counted since 7.3 only.
        let same = (counted.passed, counted.subtests_passed, counted.failed)
            == (summary.passed, summary.subtests_passed, summary.failed)
            && summary.subtests_failed.is_none_or(|failed| failed == counted.subtests_failed.unwrap_or(0));
        if !same {
            let cut = self.missing();
            let message = format!(
                "test_progs counted {}, and its output shows {}{cut}",
                told(&summary),
                told(&counted)
            );
            self.verdict("summary".into(), message, out);
        }
        // A second run in the same job numbers its tests anew.
        self.seen.clear();
        self.talk.clear();
        self.announced.clear();
        (self.in_error_logs, self.summary) = (false, true);
    }

    /// That output is missing, as the end of a message.
    fn missing(&self) -> String {
        self.cut.as_ref().map(|why| format!(" (output is missing: {why})")).unwrap_or_default()
    }

    fn take_detail(&mut self) -> String {
        let text = self.talk.text.take_within(&mut self.detail_left, self.limits.spare_detail);
        self.talk.clear();
        text
    }

    fn tidy(&self, name: &str) -> String {
        shorten(name.trim(), self.limits.name)
    }

    /// Whether a result behind other text is one: its number is what must come next.
    fn plausible(&self, line: &Line<'_>) -> bool {
        let fits = |number: u32| match &self.open {
            Some(open) => open.number == number,
            None => self.seen.keys().all(|(seen, _)| *seen < number),
        };
        match line {
            Line::Subtest { test, number, .. } => fits(*test) && !self.seen.contains_key(&(*test, *number)),
            Line::Test { number, .. } => fits(*number) && !self.seen.contains_key(&(*number, 0)),
            _ => false,
        }
    }

    fn take_line(&mut self, at: Duration, line: Line<'_>, out: &mut Vec<TestEvent>) {
        match line {
            Line::Subtest { test, number, name, verdict } => {
                self.summary = false;
                self.subtest((test, number), name, verdict, at, out);
            }
            Line::Test { number, name, verdict } => {
                self.summary = false;
                self.test(number, name, verdict, at, out);
            }
            Line::Summary(summary) => self.summarized(summary, out),
            Line::ErrorLogs => {
                self.in_error_logs = true;
                self.talk.clear();
            }
            Line::Watchdog { name, seconds, killing } => {
                let name = self.tidy(name);
                if self.live
                    && !self.announced.iter().any(|(marked, _)| *marked == name)
                    && self.watchdog.is_none()
                {
                    out.extend(self.marked(at, &name));
                }
                self.watchdog = Some((name, seconds, killing));
            }
            Line::Caught(signal) => self.caught = Some(signal),
            Line::Text(text) => self.talk.heard(text),
        }
    }
}

impl OutputParser for TestProgsParser {
    fn start(&mut self, at: Duration) -> Vec<TestEvent> {
        self.last_at = at;
        Vec::new()
    }

    fn line(&mut self, stream: Stream, at: Duration, text: &str) -> Vec<TestEvent> {
        let mut out = Vec::new();
        let mut line = Line::parse(text);
        if stream == Stream::Stderr && !matches!(line, Line::Watchdog { .. } | Line::Caught(_)) {
            line = Line::Text(text);
        }
        if let (Line::Text(_), Stream::Stdout) = (&line, stream)
            && let Some((before, result)) = Line::glued(text)
            && self.plausible(&result)
        {
            self.talk.heard(before);
            line = result;
        }
        self.take_line(at, line, &mut out);
        out
    }

    fn marked(&mut self, at: Duration, name: &str) -> Vec<TestEvent> {
        let mut out = Vec::new();
        self.marks += 1;
        if self.marks > self.limits.cases {
            return out;
        }
        let name = self.tidy(name);
        let ahead = self.ahead.entry(name.clone()).or_insert(0);
        *ahead += 1;
        if *ahead <= 0 {
            // It is over already.
            return out;
        }
        if self.announced.len() >= self.limits.open {
            self.announced.pop_front();
        }
        self.announced.push_back((name.clone(), at));
        self.send(TestEvent::Started { name, at }, &mut out);
        out
    }

    /// The summary tells whether a result is missing.
    fn cut(&mut self, _at: Duration, why: &str) -> Vec<TestEvent> {
        self.cut.get_or_insert_with(|| why.to_owned());
        Vec::new()
    }

    fn finish(&mut self, end: &JobEnd, at: Duration) -> Vec<TestEvent> {
        let mut out = Vec::new();
        self.conclude(end, at.max(self.last_at), &mut out);
        self.notes(&mut out);
        out
    }
}

#[cfg(test)]
mod tests;
