//! How cases leave the parser: named, bounded, and in order.

use super::comment::Directive;
use super::rule::Rule;
use super::*;

/// A contradiction on its way to become a case.
pub(super) struct Fault<'a> {
    pub(super) rule: Rule,
    pub(super) name: &'a str,
    pub(super) outcome: Outcome,
    pub(super) message: String,
    /// Whether no filter may leave it out.
    pub(super) about_job: bool,
}

impl<'a> Fault<'a> {
    /// An error about the job.
    pub(super) fn new(rule: Rule, name: &'a str, message: String) -> Self {
        Self { rule, name, outcome: Outcome::Error, message, about_job: true }
    }
}

/// A test's own result, but for what is said of it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) depth: usize,
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) directive: Option<Directive>,
    pub(super) comment: String,
    /// What the message begins with.
    pub(super) lead: Option<String>,
    pub(super) duration: Option<Duration>,
    pub(super) about_job: bool,
    pub(super) at: Duration,
}

/// To whom a diagnostic belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// To the result that follows: KTAP, and whatever kselftest and KUnit print.
    Before,
    /// To the result before: TAP.
    After,
    /// That is not known.
    Unknown,
}

impl KtapParser {
    pub(super) fn order(&self, depth: usize) -> Order {
        let group = &self.groups[depth];
        match self.format(depth) {
            _ if self.kernel || group.prefix.contains('#') => Order::Before,
            Format::Ktap => Order::Before,
            Format::Tap(13) if group.spoke_first => Order::Unknown,
            Format::Tap(_) => Order::After,
        }
    }

    /// A result is complete: at once, or when all that follows it was read.
    pub(super) fn deliver(&mut self, draft: Draft, out: &mut Vec<TestEvent>) {
        if self.order(draft.depth) == Order::After {
            out.push(TestEvent::Progress);
            self.talk.clear();
            self.held = Some(draft);
        } else {
            self.complete(draft, out);
        }
    }

    /// Whether a failure waits for what is said of it.
    pub(super) fn holds_failure(&self) -> bool {
        self.held.as_ref().is_some_and(|draft| draft.outcome.is_bad())
    }

    /// Lets go of the result that waited for what is said of it.
    pub(super) fn release(&mut self, out: &mut Vec<TestEvent>) {
        if let Some(draft) = self.held.take() {
            self.complete(draft, out);
        }
    }

    fn complete(&mut self, draft: Draft, out: &mut Vec<TestEvent>) {
        let mut message = self.talk.message(&draft.comment, draft.directive, draft.outcome);
        if let Some(lead) = draft.lead {
            message = if message.is_empty() { lead } else { format!("{lead}: {message}") };
        }
        let detail = self.take_detail();
        let cause = (draft.directive == Some(Directive::Timeout)).then_some(Cause::TimeOut);
        let Draft { depth, name, outcome, duration, about_job, at, .. } = draft;
        let case = TestCase { name, outcome, duration, message, detail, cause };
        self.done(depth, case, (about_job, at), out);
    }

    /// An announced test has no result.
    pub(super) fn unfinished(&mut self, depth: usize, name: &str, message: String, out: &mut Vec<TestEvent>) {
        let fault = Fault { about_job: false, ..Fault::new(Rule::Unfinished, name, message) };
        self.fault(depth, fault, out);
    }

    /// Makes a case of a contradiction. What was said so far is its detail where a test ended with it.
    pub(super) fn fault(&mut self, depth: usize, fault: Fault<'_>, out: &mut Vec<TestEvent>) {
        let Fault { rule, name, outcome, message, about_job } = fault;
        if !self.rules.hold(rule) {
            return;
        }
        let ends = matches!(rule, Rule::Unfinished | Rule::NoResult | Rule::ExitStatus);
        let detail = if ends && self.held.is_none() { self.take_detail() } else { String::new() };
        let case = TestCase { name: name.to_owned(), outcome, duration: None, message, detail, cause: None };
        self.done(depth, case, (about_job, self.last_at), out);
    }

    /// What is said of the job and is no contradiction.
    pub(super) fn remark(
        &mut self,
        depth: usize,
        name: &str,
        outcome: Outcome,
        message: String,
        out: &mut Vec<TestEvent>,
    ) {
        let detail = self.take_detail();
        let case = TestCase { name: name.to_owned(), outcome, duration: None, message, detail, cause: None };
        self.done(depth, case, (true, self.last_at), out);
    }

    fn done(
        &mut self,
        depth: usize,
        case: TestCase,
        (about_job, at): (bool, Duration),
        out: &mut Vec<TestEvent>,
    ) {
        for group in &mut self.groups[..=depth] {
            group.cases += 1;
            group.bad |= case.outcome.is_bad();
        }
        self.only_skips &= case.outcome == Outcome::Skip;
        if self.made >= self.limits.cases {
            self.drop_case(out);
            return;
        }
        self.made += 1;
        self.send(depth, TestEvent::Finished { case, about_job, at }, out);
    }

    /// Puts the names of its groups before an event's name, or holds it until they are known.
    pub(super) fn send(&mut self, depth: usize, mut event: TestEvent, out: &mut Vec<TestEvent>) {
        for group in self.groups[1..=depth].iter_mut().rev() {
            let Some(name) = &group.name else {
                // An announcement that has to wait is of no use later, and there is no limit to their number.
                if matches!(event, TestEvent::Finished { .. }) {
                    group.held.push(event);
                }
                out.push(TestEvent::Progress);
                return;
            };
            if let Some(inner) = event.name_mut() {
                *inner = format!("{name}/{inner}");
            }
        }
        let Some(name) = event.name_mut() else { return };
        if name.len() > self.limits.path {
            *name = shorten_middle(name, self.limits.path);
        }
        let bytes = name.len();
        if matches!(event, TestEvent::Finished { .. }) {
            match self.names_left.checked_sub(bytes) {
                Some(left) => self.names_left = left,
                None => {
                    self.names_left = 0;
                    self.drop_case(out);
                    return;
                }
            }
        }
        self.names.settle(&mut event);
        out.push(event);
    }

    /// A limit is passed: said once, when it happens, and counted from then on.
    fn drop_case(&mut self, out: &mut Vec<TestEvent>) {
        self.dropped += 1;
        if self.dropped > 1 || !self.rules.hold(Rule::TooMany) {
            out.push(TestEvent::Progress);
            return;
        }
        let message = format!(
            "more than {} test cases, or more than {} MiB of names: what follows is counted and not kept (line {})",
            self.limits.cases,
            self.limits.names >> 20,
            self.line
        );
        let case = TestCase {
            name: "too many tests".to_owned(),
            outcome: Outcome::Error,
            duration: None,
            message,
            detail: String::new(),
            cause: None,
        };
        self.groups[0].bad = true;
        out.push(TestEvent::Finished { case, about_job: true, at: self.last_at });
    }

    pub(super) fn take_detail(&mut self) -> String {
        let text = self.talk.text.take_within(&mut self.detail_left, self.limits.spare_detail);
        self.talk.clear();
        text
    }

    pub(super) fn tidy(&self, name: &str) -> String {
        shorten(name.trim(), self.limits.name)
    }
}
