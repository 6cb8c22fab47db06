//! What is known when the output is complete: the job as a whole.

use super::emit::Fault;
use super::rule::Rule;
use super::*;

impl KtapParser {
    /// A result in more levels than are read. One such line is enough to say so.
    pub(super) fn too_deep(&mut self, out: &mut Vec<TestEvent>) {
        if std::mem::replace(&mut self.deep, true) {
            return;
        }
        let depth = self.limits.depth - 1;
        let message = format!("line {} is nested in more than {depth} levels, which are not read", self.line);
        self.fault(0, Fault::new(Rule::TooDeep, "too deep", message), out);
    }

    /// Every level may have lost something.
    pub(super) fn output_was_cut(&mut self, why: &str) {
        let why = format!("output is missing after line {}: {why}", self.line);
        for group in &mut self.groups {
            group.cut = Some(why.clone());
        }
    }

    /// No result at all, or an exit status or a summary that the results do not explain.
    pub(super) fn conclude(&mut self, end: &JobEnd, blamed: bool, out: &mut Vec<TestEvent>) {
        if self.groups[0].cases == 0 {
            self.no_result(end, out);
            return;
        }
        if let Some((line, text)) = self.failing_total.take().filter(|_| !self.groups[0].bad) {
            let message = format!("line {line} counts failures, and no result is one: {text}");
            self.fault(0, Fault::new(Rule::Summary, "summary", message), out);
        }
        let message = match end {
            JobEnd::Exited(0) | JobEnd::Lost(_) => return,
            // What a shell says of a program that a signal ended. No failing test explains that.
            JobEnd::Exited(status @ 129..=159) => {
                format!("exit status {status}, as of a program that signal {} ended", status - 128)
            }
            JobEnd::Exited(_) if self.groups[0].bad => return,
            JobEnd::Exited(4) if self.only_skips => return,
            JobEnd::Exited(status) => format!("exit status {status} though no test failed"),
            JobEnd::Signaled(_) | JobEnd::TimedOut(_) if blamed => return,
            JobEnd::Signaled(_) | JobEnd::TimedOut(_) => format!("the job {end}, between tests"),
        };
        self.fault(0, Fault::new(Rule::ExitStatus, "exit status", message), out);
    }

    fn no_result(&mut self, end: &JobEnd, out: &mut Vec<TestEvent>) {
        // What was said of nobody is about the job.
        std::mem::swap(&mut self.talk, &mut self.loose);
        let suite = self.suite.clone();
        let skipped = match (self.groups[0].skip_all.take(), end) {
            (Some(reason), JobEnd::Exited(0 | 4)) => Some(reason),
            (None, JobEnd::Exited(4)) => {
                Some(self.talk.said().unwrap_or_else(|| "exit status 4 (skip), and no reason given".into()))
            }
            _ => None,
        };
        // Status 4 is no skip beside results of another format.
        let other = self.failing_total.is_some() || self.foreign.is_some();
        if let Some(reason) = skipped.filter(|_| !other) {
            self.remark(0, &suite, Outcome::Skip, reason, out);
            return;
        }
        let mut message = format!("no test result in the output: the job {end}");
        if let Some(dialect) = self.foreign {
            message.push_str(&format!("; {}", dialect.hint()));
        }
        self.fault(0, Fault::new(Rule::NoResult, &suite, message), out);
    }
}
