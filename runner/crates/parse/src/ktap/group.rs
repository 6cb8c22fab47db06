//! Groups: documents, and documents inside of tests. What opens, completes and closes them.

use super::emit::Fault;
use super::line::Format;
use super::numbers::Numbers;
use super::rule::Rule;
use super::*;

/// A group of results with one plan.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// What stands before each of its lines: spaces, `# `, or both.
    pub(super) prefix: String,
    pub(super) name: Option<String>,
    /// Whether the name stood inside, as `# Subtest:`.
    pub(super) self_named: bool,
    /// The name of the group that will open inside, where it was announced on this level.
    pub(super) next_child: Option<String>,
    /// Whether another document on this level was before.
    pub(super) later: bool,
    /// Whether `pragma +strict` holds.
    pub(super) strict: bool,
    /// What its header says.
    pub(super) format: Option<Format>,
    pub(super) plan: Option<Plan>,
    pub(super) skip_all: Option<String>,
    pub(super) numbers: Numbers,
    /// Tests announced and not finished.
    pub(super) running: Vec<Running>,
    /// Child groups that closed without a result line of their own, and announced tests that have none.
    pub(super) unresulted: u64,
    /// Whether a group opened inside.
    pub(super) nests: bool,
    /// Whether a diagnostic stood between the plan and the first result.
    pub(super) spoke_first: bool,
    /// Cases inside, at any depth, and whether one of them is bad.
    pub(super) cases: u64,
    pub(super) bad: bool,
    /// Results behind other text that were the next ones when they were read.
    pub(super) glued: Vec<Glued>,
    /// The line of what may be a failure without a number behind other text, and whether it can be nothing else.
    pub(super) glued_failure: Option<(u64, bool)>,
    /// Why a part of it may be missing.
    pub(super) cut: Option<String>,
    /// What waits for the name of the group, which kselftest gives only at the end.
    pub(super) held: Vec<TestEvent>,
}

/// A plan, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) count: u64,
    pub(super) line: u64,
    /// Whether results came before it.
    pub(super) last: bool,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) name: String,
    pub(super) since: Duration,
}

/// What may be a result behind other text.
#[derive(Debug, Clone)]
pub(super) struct Glued {
    pub(super) number: u64,
    pub(super) ok: bool,
    pub(super) name: String,
    pub(super) line: u64,
}

/// What a closed group says about the result of its test.
pub(super) struct Closed {
    pub(super) cases: u64,
    pub(super) bad: bool,
    pub(super) skip_all: Option<String>,
    /// Whether a header or `# Subtest:` promised results.
    pub(super) promised: bool,
}

impl Group {
    /// Whether a line of a document was seen on this level.
    fn has_begun(&self) -> bool {
        self.format.is_some() || self.has_content()
    }

    /// The same, but for a header, which alone promises nothing.
    fn has_content(&self) -> bool {
        self.plan.is_some() || self.numbers.results > 0 || !self.running.is_empty()
    }
}

impl KtapParser {
    /// Which specification the lines on a level follow.
    pub(super) fn format(&self, depth: usize) -> Format {
        self.groups[..=depth].iter().rev().find_map(|group| group.format).unwrap_or(Format::Tap(12))
    }

    pub(super) fn open(&mut self, parent: usize, prefix: String, out: &mut Vec<TestEvent>) {
        // Without headers the innermost document is the first to be seen.
        if let Some(inner) = self.groups.get(parent + 1)
            && inner.prefix.starts_with(&prefix)
            && inner.prefix != prefix
            && inner.format.is_none()
            && inner.name.is_none()
            && self.groups.len() < self.limits.depth
        {
            let group = Group { prefix, nests: true, cases: inner.cases, bad: inner.bad, ..Group::default() };
            self.groups.insert(parent + 1, group);
            return;
        }
        self.abandon(parent, None, out);
        self.groups[parent].nests = true;
        let name = self.groups[parent].next_child.take();
        let strict = self.groups[parent].strict;
        self.groups.push(Group { prefix, name, strict, ..Group::default() });
    }

    pub(super) fn version(&mut self, depth: usize, format: Format, out: &mut Vec<TestEvent>) {
        self.abandon(depth, None, out);
        let group = &self.groups[depth];
        // Two programs may print a header each before the first result.
        if group.has_content() || group.cases > 0 && group.format.is_none() {
            self.next_document(depth, out);
        }
        self.groups[depth].format = Some(format);
    }

    /// A second document on the same level: another program of the same script, or a group whose own result line is
    /// missing.
    fn next_document(&mut self, depth: usize, out: &mut Vec<TestEvent>) {
        if depth > 0 && self.groups[depth].self_named {
            let prefix = self.groups[depth].prefix.clone();
            self.open(depth - 1, prefix, out);
            return;
        }
        self.settle(depth, None, out);
        let old = std::mem::take(&mut self.groups[depth]);
        if let Some(reason) = old.skip_all.filter(|_| old.numbers.results == 0) {
            let suite = self.suite.clone();
            self.remark(depth, &suite, Outcome::Skip, reason, out);
        }
        self.groups[depth] = Group {
            prefix: old.prefix,
            name: old.name,
            cases: old.cases,
            bad: old.bad,
            held: old.held,
            strict: old.strict,
            later: true,
            ..Group::default()
        };
    }

    pub(super) fn name_group(&mut self, depth: usize, name: String, out: &mut Vec<TestEvent>) {
        self.groups[depth].name = Some(name);
        for event in std::mem::take(&mut self.groups[depth].held) {
            self.send(depth, event, out);
        }
    }

    /// Closes the group below `depth` with the result line of its test, which has this name.
    pub(super) fn close(&mut self, depth: usize, name: &str, out: &mut Vec<TestEvent>) -> Option<Closed> {
        self.abandon(depth + 1, None, out);
        let last = depth + 1;
        let announced = self.groups.get(last)?.name.clone().filter(|_| !self.groups[last].self_named);
        if let Some(announced) = announced.filter(|own| own != name)
            && matches!(self.format(depth), Format::Tap(14..))
        {
            let message =
                format!("line {} ends the subtest {announced} with the result of {name}", self.line);
            self.fault(depth, Fault::new(Rule::Mismatch, &announced, message), out);
        }
        if self.groups[last].name.is_none() {
            self.name_group(last, name.to_owned(), out);
        }
        self.settle(last, None, out);
        let group = self.groups.pop()?;
        let promised = group.format.is_some() || group.self_named;
        Some(Closed { cases: group.cases, bad: group.bad, skip_all: group.skip_all, promised })
    }

    /// Closes every group below `depth`: none of them had a result of its own.
    pub(super) fn abandon(&mut self, depth: usize, end: Option<&JobEnd>, out: &mut Vec<TestEvent>) {
        while self.groups.len() > depth + 1 {
            let last = self.groups.len() - 1;
            self.settle(last, end, out);
            let Some(group) = self.groups.pop() else { return };
            for event in group.held {
                self.send(last - 1, event, out);
            }
            let parent = &mut self.groups[last - 1];
            // Output that is indented as a whole has no parent that could have a result.
            if !parent.has_begun() {
                continue;
            }
            parent.unresulted += 1;
            if !group.bad {
                let name = group.name.unwrap_or_else(|| format!("test {}", parent.numbers.expected()));
                let mut message = "its tests have results and the group itself has none".to_owned();
                if let Some(end) = end {
                    message.push_str(&format!(": the job {end}"));
                }
                if let Some(Glued { line, .. }) = parent.glued.iter().find(|glued| glued.name == name) {
                    message.push_str(&format!("; what may be it stands behind other text on line {line}"));
                }
                let fault = Fault::new(Rule::NoParentResult, &name, message);
                self.fault(last - 1, fault, out);
            }
        }
    }

    /// A group is complete: what it announced or planned and did not deliver becomes a case.
    pub(super) fn settle(&mut self, depth: usize, end: Option<&JobEnd>, out: &mut Vec<TestEvent>) {
        let running = std::mem::take(&mut self.groups[depth].running);
        self.groups[depth].unresulted += running.len() as u64;
        for test in running {
            let message = match end {
                Some(end) => format!("ended without a result: the job {end}"),
                None => "ended without a result".to_owned(),
            };
            self.unfinished(depth, &test.name, message, out);
        }
        let group = &self.groups[depth];
        if group.format.is_some() && !group.has_content() && !group.nests && group.later {
            let message = "the last header has neither a plan nor a result behind it".to_owned();
            self.fault(depth, Fault::new(Rule::Hollow, "document", message), out);
        }
        if let Some(Plan { count, line, .. }) = self.groups[depth].plan {
            let results = self.groups[depth].numbers.results;
            if results > count {
                let message = format!("{results} results where {count} were planned (line {line})");
                self.fault(depth, Fault::new(Rule::Surplus, "plan", message), out);
            }
        } else {
            self.without_plan(depth, out);
        }
        self.missing(depth, end, out);
        self.glued_at_end(depth, out);
    }

    /// What a document without a plan cannot vouch for.
    fn without_plan(&mut self, depth: usize, out: &mut Vec<TestEvent>) {
        let group = &self.groups[depth];
        let results = group.numbers.results;
        if results > 0 && matches!(self.format(depth), Format::Tap(14..)) && !group.nests && !self.kernel {
            let message = format!(
                "no plan, which TAP 14 demands: {results} results, and nothing tells how many there should be"
            );
            self.fault(depth, Fault::new(Rule::NoPlan, "plan", message), out);
        } else if results > 0 && depth == 0 && group.format.is_none() && !group.numbers.numbered {
            let message =
                format!("{results} results without numbers, in output that has neither a header nor a plan");
            self.fault(depth, Fault::new(Rule::Frameless, "plan", message), out);
        }
        if let Some(why) = self.groups[depth].cut.take() {
            let message = format!("{why}, and no plan tells whether a result is missing");
            self.fault(depth, Fault::new(Rule::CutOutput, "output cut", message), out);
        }
    }

    /// Numbers that nothing was heard of: up to the plan, or below the highest one. Those that were announced have had their
    /// case already and are taken to be the first that are missing.
    fn missing(&mut self, depth: usize, end: Option<&JobEnd>, out: &mut Vec<TestEvent>) {
        let group = &self.groups[depth];
        let plan = group.plan.map(|plan| plan.count);
        let told = group.unresulted;
        let (count, numbers) = group.numbers.missing(plan);
        let missing = count.saturating_sub(told);
        if missing == 0 {
            return;
        }
        let shown = missing.min(self.limits.open as u64) as usize;
        let numbers: Vec<u64> = numbers.skip(told.min(1 << 20) as usize).take(shown).collect();
        let (outcome, mut why) = match (&self.bailed, end) {
            (Some(bail), _) => (Outcome::NotRun, format!("not run: {bail}")),
            (None, Some(end @ (JobEnd::Signaled(_) | JobEnd::TimedOut(_) | JobEnd::Lost(_)))) => {
                (Outcome::NotRun, format!("not run: the job {end}"))
            }
            _ => (Outcome::Error, "it has no result".to_owned()),
        };
        if let Some(cut) = &self.groups[depth].cut {
            why.push_str(&format!(" ({cut})"));
        }
        for number in &numbers {
            self.missing_number(depth, *number, plan, (outcome, &why), out);
        }
        let rest = missing - numbers.len() as u64;
        if rest > 0 {
            let message = match plan {
                Some(plan) => format!("{rest} more of {plan} planned tests; {why}"),
                None => format!("{rest} more numbers; {why}"),
            };
            let fault = Fault { outcome, ..Fault::new(Rule::Missing, "missing tests", message) };
            self.fault(depth, fault, out);
        }
    }

    fn missing_number(
        &mut self,
        depth: usize,
        number: u64,
        plan: Option<u64>,
        (outcome, why): (Outcome, &str),
        out: &mut Vec<TestEvent>,
    ) {
        let glued = self.groups[depth].glued.iter().find(|glued| glued.number == number).cloned();
        let place = match plan {
            Some(plan) => format!("planned as number {number} of {plan}"),
            None => format!("number {number}, below others that have results"),
        };
        let (name, message) = match glued {
            Some(Glued { name, line, .. }) => {
                (name, format!("{place}; {why}: what may be it stands behind other text on line {line}"))
            }
            None => (format!("test {number}"), format!("{place}; {why}")),
        };
        self.fault(depth, Fault { outcome, ..Fault::new(Rule::Missing, &name, message) }, out);
    }

    /// Without a plan the last result of all may have been glued to other text.
    fn glued_at_end(&mut self, depth: usize, out: &mut Vec<TestEvent>) {
        let group = &mut self.groups[depth];
        let glued = std::mem::take(&mut group.glued);
        let next = group.numbers.expected();
        let told = group.plan.is_some() || group.unresulted > 0 || group.numbers.missing(None).0 > 0;
        // Behind a plan that is met a pass cannot be missing; a failure is one too many.
        let met = group.plan.is_some_and(|plan| group.numbers.results >= plan.count);
        let unnumbered = group.numbers.unnumbered;
        let failure = group.glued_failure.take().filter(|(_, sure)| *sure || group.plan.is_none());
        let counts = |glued: &Glued| match glued.ok {
            true => glued.number == next && !told,
            false => (glued.number >= next || unnumbered) && (!told || met),
        };
        if let Some(last) = glued.into_iter().find(counts) {
            let message = format!(
                "what may be its result stands behind other text on line {}, as number {}",
                last.line, last.number
            );
            self.fault(depth, Fault::new(Rule::Glued, &last.name, message), out);
        } else if let Some((line, _)) = failure {
            let message = format!("what may be a failure stands behind other text on line {line}");
            self.fault(depth, Fault::new(Rule::Glued, "glued result", message), out);
        }
    }
}
