//! Output format `ktap`: the kernel's own test format, as specified and as met.
//!
//! Sources: Documentation/dev-tools/ktap.rst, and the output of kselftest programs, of kselftest's runner (which
//! puts `# ` before a program's own lines) and of KUnit. Deviations are tolerated where they cannot hide a failure,
//! and become error cases where they could: an announced test without a result, fewer or more results than
//! planned, no result at all, a bad exit status beside nothing but good results.
//!
//! The parser knows nothing of files or guests; it takes clean lines and gives test cases as they complete.

mod line;
mod talk;

use std::collections::BTreeSet;
use std::time::Duration;

use self::line::{Line, TestResult};
use self::talk::{Talk, Voice, or};
use super::names::Names;
use super::text::{MAX_DETAIL_BYTES, shorten};
use super::{JobEnd, OutputParser, TestEvent};
use crate::event::{Outcome, Stream, TestCase};

/// What a hostile or broken job can make the parser keep at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Test cases of a job; further ones are counted, and reported as one error.
    pub cases: usize,
    /// Bytes of detail of one test; the middle is left out of longer ones.
    pub detail: usize,
    /// Bytes of detail of all tests together; once used up, each test keeps [`Limits::spare_detail`].
    pub total_detail: usize,
    /// Bytes of detail each test has left when the total is used up.
    pub spare_detail: usize,
    /// Bytes of one name between two slashes.
    pub name: usize,
    /// Announced tests without a result yet, and missing tests reported one by one, per group.
    pub open: usize,
    /// Levels of groups; deeper lines are taken as noise.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cases: 100_000,
            detail: MAX_DETAIL_BYTES,
            total_detail: 16 << 20,
            spare_detail: 1 << 10,
            name: 256,
            open: 64,
            depth: 16,
        }
    }
}

/// The KTAP parser.
#[derive(Debug)]
pub struct KtapParser {
    suite: String,
    limits: Limits,
    /// The groups that are open; the first is the job itself and has no name.
    groups: Vec<Group>,
    talk: Talk,
    names: Names,
    /// When the last result came, or the job started: where an unannounced test is taken to have begun.
    last_at: Duration,
    bailed: Option<String>,
    made: usize,
    dropped: usize,
    only_skips: bool,
    detail_left: usize,
}

/// A group of results with one plan.
#[derive(Debug, Default)]
struct Group {
    /// What stands before each of its lines: spaces, `# `, or both.
    prefix: String,
    name: Option<String>,
    /// The name of the group that will open inside, where it was announced on this level.
    next_child: Option<String>,
    plan: Option<u64>,
    skip_all: Option<String>,
    /// Result lines so far, and their numbers.
    results: u64,
    numbers: BTreeSet<u64>,
    expected: u64,
    /// Tests announced and not finished.
    running: Vec<Running>,
    /// Child groups that closed without a result line of their own.
    unresulted: u64,
    /// Cases inside, at any depth, and whether one of them is bad.
    cases: u64,
    bad: bool,
    /// What waits for the name of the group, which kselftest gives only at the end.
    held: Vec<TestEvent>,
}

#[derive(Debug)]
struct Running {
    name: String,
    since: Duration,
}

/// One result of a closed group: how its tests went.
struct Closed {
    cases: u64,
    bad: bool,
    skip_all: Option<String>,
}

impl KtapParser {
    /// A parser for one job. What concerns the job as a whole (no result at all, everything skipped) becomes a case
    /// with the suite's name.
    pub fn new(suite: impl Into<String>) -> Self {
        Self::with_limits(suite, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(suite: impl Into<String>, limits: Limits) -> Self {
        Self {
            suite: suite.into(),
            limits,
            groups: vec![Group { expected: 1, ..Group::default() }],
            talk: Talk::new(limits.detail),
            names: Names::default(),
            last_at: Duration::ZERO,
            bailed: None,
            made: 0,
            dropped: 0,
            only_skips: true,
            detail_left: limits.total_detail,
        }
    }

    /// The level a line belongs to, and what it says there. Opens a group where the line is the first of one.
    fn locate<'a>(&mut self, text: &'a str, out: &mut Vec<TestEvent>) -> (usize, Line<'a>) {
        let depth = self.groups.iter().rposition(|g| text.starts_with(&g.prefix)).unwrap_or(0);
        let rest = &text[self.groups[depth].prefix.len()..];
        let line = Line::parse(rest);
        if line.is_structure() {
            return (depth, line);
        }
        match nested(rest) {
            Some((indent, inner)) if depth + 1 < self.limits.depth => {
                let prefix = format!("{}{}", self.groups[depth].prefix, &rest[..indent]);
                self.open(depth, prefix, out);
                (depth + 1, inner)
            }
            _ => (depth, line),
        }
    }

    fn open(&mut self, parent: usize, prefix: String, out: &mut Vec<TestEvent>) {
        if self.groups.len() > parent + 1 {
            self.close_below(parent, None, None, out);
            self.groups[parent].unresulted += 1;
        }
        let name = self.groups[parent].next_child.take();
        self.groups.push(Group { prefix, name, expected: 1, ..Group::default() });
    }

    fn version(&mut self, depth: usize, out: &mut Vec<TestEvent>) {
        if self.groups.len() > depth + 1 {
            self.close_below(depth, None, None, out);
            self.groups[depth].unresulted += 1;
        }
        let group = &self.groups[depth];
        if group.results == 0 && group.cases == 0 && group.running.is_empty() {
            return;
        }
        // A second document on the same level: another program of the same script, or a group whose own result
        // line is missing.
        if depth > 0 {
            let prefix = group.prefix.clone();
            self.open(depth - 1, prefix, out);
        } else {
            self.settle(0, None, out);
            let old = std::mem::take(&mut self.groups[0]);
            self.groups[0] = Group { expected: 1, cases: old.cases, bad: old.bad, ..Group::default() };
        }
    }

    fn subtest(&mut self, depth: usize, name: &str, out: &mut Vec<TestEvent>) {
        let name = self.tidy(name);
        if depth > 0 && self.groups[depth].name.is_none() {
            self.name_group(depth, name, out);
        } else if depth == 0 || self.groups[depth].name.as_ref() != Some(&name) {
            self.groups[depth].next_child = Some(name);
        }
    }

    fn name_group(&mut self, depth: usize, name: String, out: &mut Vec<TestEvent>) {
        self.groups[depth].name = Some(name);
        for event in std::mem::take(&mut self.groups[depth].held) {
            self.send(depth, event, out);
        }
    }

    fn plan(&mut self, depth: usize, count: u64, skip: Option<&str>, out: &mut Vec<TestEvent>) {
        match self.groups[depth].plan {
            Some(first) if first != count => {
                let message = format!("two plans: 1..{first} and 1..{count}");
                self.verdict(depth, "plan", Outcome::Error, message, out);
            }
            _ => self.groups[depth].plan = Some(count),
        }
        if let Some(reason) = skip
            && count == 0
        {
            self.groups[depth].skip_all = Some(or(reason, "skipped, and no reason given"));
        }
    }

    fn run(&mut self, depth: usize, name: &str, at: Duration, out: &mut Vec<TestEvent>) {
        if self.groups.len() > depth + 1 {
            self.close_below(depth, None, None, out);
            self.groups[depth].unresulted += 1;
        }
        if self.groups[depth].running.len() >= self.limits.open {
            let oldest = self.groups[depth].running.remove(0);
            self.unfinished(depth, oldest, "ended without a result".into(), out);
        }
        self.talk.clear();
        let name = self.tidy(name);
        self.groups[depth].running.push(Running { name: name.clone(), since: at });
        if self.made < self.limits.cases {
            self.send(depth, TestEvent::Started { name, at }, out);
        }
    }

    fn result(&mut self, depth: usize, result: &TestResult<'_>, at: Duration, out: &mut Vec<TestEvent>) {
        let name = match self.tidy(result.name) {
            name if name.is_empty() => format!("test {}", result.number),
            name => name,
        };
        let inside = (self.groups.len() > depth + 1).then(|| self.close_below(depth, Some(&name), None, out));
        self.count_result(depth, result.number);
        let group = &mut self.groups[depth];
        group.next_child = None;
        let running = group.running.iter().position(|r| r.name == name).map(|i| group.running.remove(i));
        let mut outcome = result.outcome();
        let mut message = self.talk.message(result, outcome);
        let duration = match inside {
            Some(Closed { cases: 1.., bad, .. }) => {
                let contradicts = matches!(outcome, Outcome::Fail | Outcome::Error) && !bad;
                if !contradicts {
                    self.talk.clear();
                    self.last_at = at;
                    return;
                }
                message = format!("the group is not ok though every test in it is: {message}");
                None
            }
            Some(Closed { skip_all: Some(reason), .. }) if result.ok => {
                outcome = Outcome::Skip;
                message = reason;
                None
            }
            _ => {
                let since = running.map_or(self.last_at, |r| r.since);
                Some(self.talk.took.unwrap_or_else(|| at.saturating_sub(since)))
            }
        };
        let detail = self.take_detail();
        self.last_at = at;
        self.done(depth, TestCase { name, outcome, duration, message, detail }, false, out);
    }

    fn count_result(&mut self, depth: usize, number: u64) {
        let group = &mut self.groups[depth];
        if number != group.expected {
            let note = format!("kvet: result number {number} stands where {} was expected", group.expected);
            self.talk.text.push(&note);
        }
        group.expected = number.saturating_add(1);
        group.results += 1;
        if group.numbers.len() < self.limits.cases {
            group.numbers.insert(number);
        }
    }

    fn bail_out(&mut self, reason: &str, out: &mut Vec<TestEvent>) {
        let message = format!("bail out: {}", or(reason, "no reason given"));
        let mut blamed = false;
        for depth in (0..self.groups.len()).rev() {
            for running in std::mem::take(&mut self.groups[depth].running) {
                self.groups[depth].unresulted += 1;
                self.unfinished(depth, running, message.clone(), out);
                blamed = true;
            }
        }
        if !blamed && self.bailed.is_none() {
            self.verdict(0, "bail out", Outcome::Error, message.clone(), out);
        }
        self.bailed = Some(message);
    }

    /// Closes every group below `depth`. `name` is what the result line of the uppermost of them says it is called.
    fn close_below(
        &mut self,
        depth: usize,
        name: Option<&str>,
        end: Option<&JobEnd>,
        out: &mut Vec<TestEvent>,
    ) -> Closed {
        let mut closed = Closed { cases: 0, bad: false, skip_all: None };
        while self.groups.len() > depth + 1 {
            let last = self.groups.len() - 1;
            if last == depth + 1
                && self.groups[last].name.is_none()
                && let Some(name) = name
            {
                self.name_group(last, name.to_owned(), out);
            }
            self.settle(last, end, out);
            let Some(group) = self.groups.pop() else { break };
            for event in group.held {
                self.send(last - 1, event, out);
            }
            if last > depth + 1 {
                self.groups[last - 1].unresulted += 1;
            }
            closed = Closed { cases: group.cases, bad: group.bad, skip_all: group.skip_all };
        }
        closed
    }

    /// A group is complete: what it announced or planned and did not deliver becomes a case.
    fn settle(&mut self, depth: usize, end: Option<&JobEnd>, out: &mut Vec<TestEvent>) {
        let running = std::mem::take(&mut self.groups[depth].running);
        let unfinished = running.len() as u64 + std::mem::take(&mut self.groups[depth].unresulted);
        for test in running {
            let message = match end {
                Some(end) => format!("ended without a result: the job {end}"),
                None => "ended without a result".to_owned(),
            };
            self.unfinished(depth, test, message, out);
        }
        let group = &self.groups[depth];
        let (Some(plan), results) = (group.plan, group.results) else { return };
        if results > plan {
            let message = format!("{results} results where {plan} were planned");
            self.verdict(depth, "plan", Outcome::Error, message, out);
        }
        let missing = plan.saturating_sub(results.saturating_add(unfinished));
        if missing > 0 {
            self.missing(depth, plan, unfinished, missing, end, out);
        }
    }

    /// Planned tests that nothing was heard of. Those that were announced have had their case already and are
    /// taken to be the first of the numbers that are missing.
    fn missing(
        &mut self,
        depth: usize,
        plan: u64,
        unfinished: u64,
        missing: u64,
        end: Option<&JobEnd>,
        out: &mut Vec<TestEvent>,
    ) {
        let (outcome, why) = match (&self.bailed, end) {
            (Some(bail), _) => (Outcome::NotRun, format!("not run: {bail}")),
            (None, Some(end @ (JobEnd::Signaled(_) | JobEnd::TimedOut(_) | JobEnd::Lost(_)))) => {
                (Outcome::NotRun, format!("not run: the job {end}"))
            }
            _ => (Outcome::Error, "it has no result".to_owned()),
        };
        let shown = missing.min(self.limits.open as u64);
        let numbers: Vec<u64> = (1..=plan)
            .filter(|n| !self.groups[depth].numbers.contains(n))
            .skip(unfinished.min(self.limits.cases as u64) as usize)
            .take(shown as usize)
            .collect();
        for number in &numbers {
            let message = format!("planned as number {number} of {plan}; {why}");
            self.verdict(depth, &format!("test {number}"), outcome, message, out);
        }
        let rest = missing - (numbers.len() as u64).min(missing);
        if rest > 0 {
            let message = format!("{rest} more of {plan} planned tests; {why}");
            self.verdict(depth, "missing tests", outcome, message, out);
        }
    }

    fn unfinished(&mut self, depth: usize, test: Running, message: String, out: &mut Vec<TestEvent>) {
        let detail = self.take_detail();
        let case = TestCase { name: test.name, outcome: Outcome::Error, duration: None, message, detail };
        self.done(depth, case, false, out);
    }

    /// A case that is not a test's own result.
    fn verdict(
        &mut self,
        depth: usize,
        name: &str,
        outcome: Outcome,
        message: String,
        out: &mut Vec<TestEvent>,
    ) {
        let case =
            TestCase { name: name.to_owned(), outcome, duration: None, message, detail: String::new() };
        self.done(depth, case, true, out);
    }

    fn done(&mut self, depth: usize, case: TestCase, about_job: bool, out: &mut Vec<TestEvent>) {
        for group in &mut self.groups[..=depth] {
            group.cases += 1;
            group.bad |= case.outcome.is_bad();
        }
        self.only_skips &= case.outcome == Outcome::Skip;
        if self.made >= self.limits.cases {
            self.dropped += 1;
            return;
        }
        self.made += 1;
        self.send(depth, TestEvent::Finished { case, about_job, at: self.last_at }, out);
    }

    /// Puts the names of its groups before an event's name, or holds it until they are known.
    fn send(&mut self, depth: usize, mut event: TestEvent, out: &mut Vec<TestEvent>) {
        for group in self.groups[1..=depth].iter_mut().rev() {
            let Some(name) = &group.name else {
                // An announcement that has to wait is of no use later, and there is no limit to their number.
                if matches!(event, TestEvent::Finished { .. }) {
                    group.held.push(event);
                }
                return;
            };
            if let Some(inner) = event.name_mut() {
                *inner = format!("{name}/{inner}");
            }
        }
        self.names.settle(&mut event);
        out.push(event);
    }

    fn take_detail(&mut self) -> String {
        let text = self.talk.text.take_within(&mut self.detail_left, self.limits.spare_detail);
        self.talk.clear();
        text
    }

    fn tidy(&self, name: &str) -> String {
        shorten(name.trim(), self.limits.name)
    }

    /// The job as a whole: no result at all, or an exit status that its results do not explain.
    fn conclude(&mut self, end: &JobEnd, blamed: bool, out: &mut Vec<TestEvent>) {
        let root = &self.groups[0];
        let suite = self.suite.clone();
        if root.cases == 0 {
            let (outcome, message) = match (&root.skip_all, end) {
                (Some(reason), JobEnd::Exited(0 | 4)) => (Outcome::Skip, reason.clone()),
                (None, JobEnd::Exited(4)) => (
                    Outcome::Skip,
                    self.talk.said().unwrap_or_else(|| "exit status 4 (skip), and no reason given".into()),
                ),
                _ => (Outcome::Error, format!("no test result in the output: the job {end}")),
            };
            let detail = self.take_detail();
            self.done(0, TestCase { name: suite, outcome, duration: None, message, detail }, true, out);
            return;
        }
        let message = match end {
            JobEnd::Exited(0) | JobEnd::Lost(_) => return,
            JobEnd::Exited(_) if root.bad => return,
            JobEnd::Exited(4) if self.only_skips => return,
            JobEnd::Exited(status) => format!("exit status {status} though no test failed"),
            JobEnd::Signaled(_) | JobEnd::TimedOut(_) if blamed => return,
            JobEnd::Signaled(_) | JobEnd::TimedOut(_) => format!("the job {end}, between tests"),
        };
        let detail = self.take_detail();
        let case =
            TestCase { name: "exit status".into(), outcome: Outcome::Error, duration: None, message, detail };
        self.done(0, case, true, out);
    }
}

impl OutputParser for KtapParser {
    fn start(&mut self, at: Duration) -> Vec<TestEvent> {
        self.last_at = at;
        Vec::new()
    }

    fn line(&mut self, stream: Stream, at: Duration, text: &str) -> Vec<TestEvent> {
        let mut out = Vec::new();
        if stream == Stream::Stderr {
            self.talk.heard(text, Voice::Stderr);
            return out;
        }
        let (depth, line) = self.locate(text, &mut out);
        match line {
            Line::Version => self.version(depth, &mut out),
            Line::Plan { count, skip } => self.plan(depth, count, skip, &mut out),
            Line::Subtest(name) => self.subtest(depth, name, &mut out),
            Line::Run(name) => self.run(depth, name, at, &mut out),
            Line::Result(result) => self.result(depth, &result, at, &mut out),
            Line::Took(took) => self.talk.took = Some(took),
            Line::BailOut(reason) => self.bail_out(reason, &mut out),
            Line::Diagnostic(said) => self.talk.heard(said, Voice::Diagnostic),
            Line::Noise(said) => self.talk.heard(said, Voice::Noise),
        }
        out
    }

    fn finish(&mut self, end: &JobEnd, at: Duration) -> Vec<TestEvent> {
        let mut out = Vec::new();
        let blamed = self.groups.iter().any(|g| !g.running.is_empty());
        self.last_at = at;
        if self.groups.len() > 1 {
            self.close_below(0, None, Some(end), &mut out);
            self.groups[0].unresulted += 1;
        }
        self.settle(0, Some(end), &mut out);
        self.conclude(end, blamed, &mut out);
        if self.dropped > 0 {
            let message =
                format!("{} more test cases than the {} that are kept", self.dropped, self.limits.cases);
            let detail = String::new();
            let name = "too many tests".to_owned();
            let case = TestCase { name, outcome: Outcome::Error, duration: None, message, detail };
            out.push(TestEvent::Finished { case, about_job: true, at });
        }
        out
    }
}

/// The first line of a nested group: how far it is indented, and what it says. Two or more spaces (or a tab) suffice
/// before anything that has structure; behind a `# ` only a header counts, as diagnostics can look like anything.
fn nested(text: &str) -> Option<(usize, Line<'_>)> {
    let mut at = 0;
    let mut hashed = false;
    loop {
        let rest = &text[at..];
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if blanks >= 2 || rest.starts_with('\t') {
            at += blanks;
        } else if rest.starts_with("# ") {
            at += 2;
            hashed = true;
        } else {
            return None;
        }
        let line = Line::parse(&text[at..]);
        if line.is_header() || !hashed && line.is_structure() {
            return Some((at, line));
        }
    }
}

#[cfg(test)]
mod tests;
