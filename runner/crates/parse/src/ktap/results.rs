//! What each kind of line does.

use super::comment::{Directive, Said, skip_all};
use super::emit::{Draft, Fault, Order};
use super::foreign;
use super::group::{Closed, Glued, Plan, Running};
use super::line::{
    Format, Line, TestResult, is_cut, is_kernels, is_meaningful, may_be_failure, may_be_plan, program,
};
use super::numbers::Place as Number;
use super::rule::Rule;
use super::talk::{Voice, or};
use super::*;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// How many results behind other text a group remembers.
const MAX_GLUED: usize = 16;

impl KtapParser {
    /// A line of stdout that has its place. `text` is the whole of it.
    pub(super) fn understood(
        &mut self,
        (depth, line): (usize, Line<'_>),
        at: Duration,
        text: &str,
        out: &mut Vec<TestEvent>,
    ) {
        if let Line::Result(result) = &line
            && !self.is_result(depth, result)
        {
            self.noise(depth, text, out);
            return;
        }
        match line {
            Line::Version(format) => self.version(depth, format, out),
            Line::Plan { count, comment } => {
                self.plan(depth, count, comment, out);
                self.glued(text.split('#').next().unwrap_or_default(), false);
            }
            Line::Subtest(name) => self.subtest(depth, name, out),
            Line::Program(name) => {
                self.kernel = true;
                self.abandon(depth, None, out);
                self.talk.clear();
                self.groups[depth].next_child = Some(self.tidy(name));
            }
            Line::Run(name) => self.run(depth, name, at, out),
            Line::Result(result) => self.result(depth, &result, at, out),
            Line::Took(took) => self.talk.took = Some(took),
            Line::BailOut(reason) => self.bail_out(reason, out),
            Line::Diagnostic(said) => self.diagnostic(depth, said, out),
            Line::Noise(said) => self.noise(depth, said, out),
        }
    }

    /// `ok then` is a result in TAP, where a header, a plan or a result without a number shows that it is TAP, and an unknown
    /// line in KTAP, which demands a number. A failure counts everywhere.
    fn is_result(&self, depth: usize, result: &TestResult<'_>) -> bool {
        let group = &self.groups[depth];
        let framed = group.format.is_some() || group.plan.is_some() || group.numbers.unnumbered;
        result.sure || !result.ok || framed && self.format(depth) != Format::Ktap
    }

    fn subtest(&mut self, depth: usize, name: &str, out: &mut Vec<TestEvent>) {
        let name = self.tidy(name);
        let group = &mut self.groups[depth];
        if depth > 0 && group.name.is_none() {
            group.self_named = true;
            self.name_group(depth, name, out);
        } else if depth == 0 || group.name.as_ref() != Some(&name) {
            group.next_child = Some(name);
        }
    }

    fn plan(&mut self, depth: usize, count: u64, comment: Option<&str>, out: &mut Vec<TestEvent>) {
        // A group that is open on a deeper level ended without its result.
        self.abandon(depth, None, out);
        let format = self.format(depth);
        let line = self.line;
        let group = &mut self.groups[depth];
        if let Some(Plan { count: first, line: at, .. }) = group.plan {
            let message = format!("two plans: 1..{first} on line {at} and 1..{count} on line {line}");
            self.fault(depth, Fault::new(Rule::TwoPlans, "plan", message), out);
            return;
        }
        group.plan = Some(Plan { count, line, last: group.numbers.results > 0 });
        if count == 0
            && let Some(reason) = skip_all(comment, format)
        {
            group.skip_all = Some(or(reason, "skipped, and no reason given"));
        }
    }

    fn run(&mut self, depth: usize, name: &str, at: Duration, out: &mut Vec<TestEvent>) {
        self.kernel = true;
        self.abandon(depth, None, out);
        if self.groups[depth].running.len() >= self.limits.open {
            let oldest = self.groups[depth].running.remove(0);
            self.groups[depth].unresulted += 1;
            self.unfinished(depth, &oldest.name, "ended without a result".into(), out);
        }
        self.talk.clear();
        let name = self.tidy(name);
        self.groups[depth].running.push(Running { name: name.clone(), since: at });
        if self.dropped == 0 {
            self.send(depth, TestEvent::Started { name, at }, out);
        } else {
            out.push(TestEvent::Progress);
        }
    }

    fn result(&mut self, depth: usize, result: &TestResult<'_>, at: Duration, out: &mut Vec<TestEvent>) {
        self.release(out);
        let said = Said::read(result.rest, result.ok, self.format(depth));
        let number = result.number.unwrap_or_else(|| self.groups[depth].numbers.expected());
        let name = match self.tidy(&said.name) {
            name if name.is_empty() => format!("test {number}"),
            name => name,
        };
        let inside = self.close(depth, &name, out);
        self.count(depth, result, out);
        self.glued(result.rest, false);
        let group = &mut self.groups[depth];
        let announced = group.next_child.take().is_some_and(|child| program(&child).is_none());
        // TAP 14 demands a subtest behind `# Subtest`; older versions know it as a comment, which node's test runner prints
        // before each test.
        let promised = announced && matches!(self.format(depth), Format::Tap(14..));
        let empty = Closed { cases: 0, bad: false, skip_all: None, promised };
        let inside = inside.or_else(|| promised.then_some(empty));
        let group = &mut self.groups[depth];
        let running = group.running.iter().position(|r| r.name == name).map(|i| group.running.remove(i));
        let since = running.map_or(self.last_at, |running| running.since);
        let took = self.talk.took.take().unwrap_or_else(|| at.saturating_sub(since));
        self.last_at = at;
        let mut draft = Draft {
            depth,
            name,
            outcome: said.outcome(result.ok),
            directive: said.directive,
            comment: said.comment.clone().into_owned(),
            lead: None,
            duration: Some(took),
            about_job: false,
            at,
        };
        if !result.ok && !draft.outcome.is_bad() && hides_another(&said) {
            // The directive may be that of another result, which is glued to this one.
            (draft.outcome, draft.directive) = (Outcome::Fail, None);
        }
        if result.ok && is_cut(result.rest) && self.rules.hold(Rule::CutLine) {
            draft.comment = format!("its result on line {} was cut, and may have said more", self.line);
            (draft.outcome, draft.directive) = (Outcome::Error, Some(Directive::Error));
        }
        if self.beside_children(&mut draft, inside, out) {
            self.deliver(draft, out);
        } else {
            self.talk.clear();
        }
    }

    /// Compares the result of a group with those inside. Whether it becomes a case of its own.
    fn beside_children(
        &mut self,
        draft: &mut Draft,
        inside: Option<Closed>,
        out: &mut Vec<TestEvent>,
    ) -> bool {
        let bad = draft.outcome.is_bad();
        match inside {
            Some(Closed { cases: 1.., bad: inner, .. }) if inner == bad => false,
            Some(Closed { cases: 1.., bad: true, .. }) => {
                let message = format!("it has no failure on line {}, and a test in it failed", self.line);
                let fault = Fault { about_job: false, ..Fault::new(Rule::ParentOk, &draft.name, message) };
                self.fault(draft.depth, fault, out);
                false
            }
            Some(Closed { cases: 1.., .. }) if bad => {
                draft.lead = Some("the group is not ok though every test in it is".to_owned());
                (draft.duration, draft.about_job) = (None, true);
                self.rules.hold(Rule::ParentNotOk)
            }
            Some(Closed { skip_all: Some(reason), .. }) if !bad => {
                (draft.outcome, draft.comment) = (Outcome::Skip, reason);
                true
            }
            Some(Closed { promised: true, .. })
                if draft.outcome == Outcome::Pass && self.rules.hold(Rule::Hollow) =>
            {
                draft.comment =
                    format!("subtests were announced, and none has a result by line {}", self.line);
                (draft.outcome, draft.directive) = (Outcome::Error, Some(Directive::Error));
                true
            }
            _ => true,
        }
    }

    /// The number of a result, beside those before it and the plan.
    fn count(&mut self, depth: usize, result: &TestResult<'_>, out: &mut Vec<TestEvent>) {
        let line = self.line;
        let ktap = self.format(depth) == Format::Ktap;
        let numbers = &mut self.groups[depth].numbers;
        let expected = numbers.expected();
        let place = match result.number {
            Some(number) => numbers.take(number),
            None => {
                numbers.take_next();
                Number::Ahead
            }
        };
        let mixed = numbers.numbered && numbers.unnumbered;
        let after_last_plan = self.groups[depth].plan.is_some_and(|plan| plan.last);
        let number = result.number.unwrap_or(expected);
        if place == Number::Again {
            let message =
                format!("number {number} comes again on line {line}, where {expected} was expected");
            self.fault(depth, Fault::new(Rule::Repeated, "numbers", message), out);
        } else if place == Number::Late && ktap {
            let message = format!("number {number} stands on line {line}, after higher ones");
            self.fault(depth, Fault::new(Rule::Disorder, "numbers", message), out);
        }
        // A failure needs no second reason.
        if (mixed || ktap && result.number.is_none()) && result.ok {
            let message =
                format!("the result on line {line} has no number, and others have: {}", result.rest);
            self.fault(depth, Fault::new(Rule::Unnumbered, "numbers", shorten(&message, 300)), out);
        }
        if after_last_plan {
            self.late_plan(depth, out);
        }
    }

    fn late_plan(&mut self, depth: usize, out: &mut Vec<TestEvent>) {
        let Some(plan) = &mut self.groups[depth].plan else { return };
        plan.last = false;
        let message =
            format!("the plan on line {} has results before and after it (line {})", plan.line, self.line);
        self.fault(depth, Fault::new(Rule::LatePlan, "plan", message), out);
    }

    fn bail_out(&mut self, reason: &str, out: &mut Vec<TestEvent>) {
        let message = format!("bail out: {}", or(reason, "no reason given"));
        let mut blamed = false;
        for depth in (0..self.groups.len()).rev() {
            for running in std::mem::take(&mut self.groups[depth].running) {
                self.groups[depth].unresulted += 1;
                self.unfinished(depth, &running.name, message.clone(), out);
                blamed = true;
            }
        }
        if !blamed && self.bailed.is_none() {
            self.fault(0, Fault::new(Rule::BailOut, "bail out", message.clone()), out);
        }
        self.bailed = Some(message);
    }

    fn diagnostic(&mut self, depth: usize, said: &str, out: &mut Vec<TestEvent>) {
        let mut order = self.order(depth);
        if order != Order::Before && is_kernels(said) {
            self.release(out);
            (self.kernel, order) = (true, Order::Before);
        }
        if self.failing_total.is_none() && foreign::totals_failed(said) {
            self.failing_total = Some((self.line, shorten(said.trim(), 200)));
        }
        let failure = self.holds_failure();
        if !self.comments_are_text(depth, order) {
            match Line::parse(said.trim_start_matches(['#', ' ', '\t'])) {
                Line::Result(result) if !result.ok && (result.sure || is_cut(said)) => {
                    self.malformed("failing result", said, out);
                }
                _ => self.glued(said, true),
            }
        }
        if is_cut(said) {
            self.line_was_cut(depth);
        }
        let group = &mut self.groups[depth];
        match order {
            Order::Before => self.talk.heard(said, Voice::Diagnostic),
            // What follows a pass may be about a failure that is still to come.
            Order::After if failure => self.talk.heard(said, Voice::Diagnostic),
            _ => {
                let first = group.plan.is_some() && group.numbers.results == 0;
                group.spoke_first |= first && is_meaningful(said);
                self.loose.heard(said, Voice::Diagnostic);
            }
        }
    }

    fn noise(&mut self, depth: usize, text: &str, out: &mut Vec<TestEvent>) {
        if may_be_failure(text) {
            self.malformed("failing result", text, out);
        } else if may_be_plan(text) {
            self.malformed("plan", text, out);
        } else if !self.pragma(depth, text, out) {
            let comment = text.trim_start().starts_with('#');
            self.glued(text, comment);
            // A test may well be called so.
            if !comment && text.trim_end().ends_with(" not ok") {
                self.glued_failure(false);
            }
        }
        if is_cut(text) {
            self.line_was_cut(depth);
        }
        if let Some(foreign) = foreign::read(text) {
            self.foreign.get_or_insert(foreign.dialect);
            if foreign.failed && self.failing_total.is_none() {
                self.failing_total = Some((self.line, shorten(text.trim(), 200)));
            }
        }
        let talk = if self.order(depth) == Order::Before { &mut self.talk } else { &mut self.loose };
        talk.heard(text, Voice::Noise);
    }

    fn malformed(&mut self, what: &str, text: &str, out: &mut Vec<TestEvent>) {
        let text = shorten(text.trim(), 200);
        let message = format!("line {} may be meant as a {what} and is not a valid one: {text}", self.line);
        self.fault(0, Fault::new(Rule::Malformed, "malformed result", message), out);
    }

    /// `pragma +strict` of TAP 14 allows no line that is not TAP from here on. Gives whether the text is a pragma.
    fn pragma(&mut self, depth: usize, text: &str, out: &mut Vec<TestEvent>) -> bool {
        if !matches!(self.format(depth), Format::Tap(14..)) {
            return false;
        }
        match text.trim().strip_prefix("pragma ") {
            Some(pragmas) => {
                for pragma in pragmas.split(',').map(str::trim) {
                    if let "+strict" | "-strict" = pragma {
                        self.groups[depth].strict = pragma.starts_with('+');
                    }
                }
                true
            }
            None => {
                if self.groups[depth].strict && !text.trim().is_empty() && !text.trim_start().starts_with('#')
                {
                    let message = format!("line {} is not TAP, which `pragma +strict` forbids", self.line);
                    self.fault(0, Fault::new(Rule::Strict, "not TAP", message), out);
                }
                false
            }
        }
    }

    /// Remembers a result that stands behind other text, if it is the next one of a group. A comment may well quote one that
    /// failed.
    fn glued(&mut self, text: &str, comment: bool) {
        for TestResult { ok, number, rest, sure } in results_in(text) {
            let Some(number) = number else {
                if !ok && !comment && (sure || rest.is_empty()) {
                    self.glued_failure(sure);
                }
                continue;
            };
            // What passed and is missing hides no failure; one that failed may be any that is still to come.
            let next = |group: &Group| {
                let expected = group.numbers.expected();
                (number == expected || !ok && !comment && number > expected) && group.glued.len() < MAX_GLUED
            };
            if !self.groups.iter().any(next) {
                continue;
            }
            let name = self.tidy(&Said::read(rest, ok, Format::Ktap).name);
            let name = if name.is_empty() { format!("test {number}") } else { name };
            let line = self.line;
            for group in self.groups.iter_mut().filter(|group| next(group)) {
                let ok = ok || comment;
                group.glued.push(Glued { number, ok, name: name.clone(), line });
            }
        }
        static BAIL_OUT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("Bail out!"));
        if !comment && BAIL_OUT.find(text.as_bytes()).is_some_and(|at| at > 0) {
            self.glued_failure(false);
        }
    }

    /// What may be a failure without a number stands behind other text. If it is not `sure`, a plan that is met tells that it is
    /// none.
    fn glued_failure(&mut self, sure: bool) {
        let line = self.line;
        if let Some(group) = self.groups.last_mut() {
            let (_, was_sure) = group.glued_failure.get_or_insert((line, sure));
            *was_sure |= sure;
        }
    }

    /// A line without structure was cut: at its end may have been what counts.
    fn line_was_cut(&mut self, depth: usize) {
        let why = format!("line {} was cut", self.line);
        for group in &mut self.groups[..=depth] {
            group.cut.get_or_insert_with(|| why.clone());
        }
    }

    /// Results are read from stdout. A failure elsewhere must not be lost for all that.
    pub(super) fn stderr(&mut self, text: &str, out: &mut Vec<TestEvent>) {
        let what = match Line::parse(text) {
            Line::Result(result) if !result.ok => Some("is a failing result"),
            Line::BailOut(_) => Some("gives up"),
            _ => None,
        };
        if let Some(what) = what {
            let text = shorten(text.trim(), 200);
            let message =
                format!("line {} of stderr {what}: {text} (hint: results belong on stdout)", self.err_line);
            self.fault(0, Fault::new(Rule::Stderr, "result on stderr", message), out);
        }
        let last = self.groups.len() - 1;
        match self.order(last) {
            Order::Before => self.talk.heard(text, Voice::Stderr),
            Order::After if self.holds_failure() && text.starts_with('#') => {
                self.talk.heard(text.trim_start_matches(['#', ' ']), Voice::Diagnostic);
            }
            _ => self.loose.heard(text, Voice::Stderr),
        }
    }
}

/// Whether another result is glued to the name, or a failing one to the comment: the directive may be that one's.
fn hides_another(said: &Said<'_>) -> bool {
    results_in(&said.name).any(|inner| inner.sure)
        || results_in(&said.comment).any(|inner| inner.sure && !inner.ok)
}

/// What may be results behind the beginning of a text.
fn results_in(text: &str) -> impl Iterator<Item = TestResult<'_>> {
    static OK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("ok "));
    OK.find_iter(text.as_bytes()).filter_map(|at| {
        let from = if text[..at].ends_with("not ") { at - 4 } else { at };
        match Line::parse(&text[from..]) {
            Line::Result(result) if from > 0 => Some(result),
            _ => None,
        }
    })
}
