//! Output format `exit`: the job is one test, and its exit status is the verdict.

use std::time::Duration;

use super::text::{HeadTail, MAX_DETAIL_BYTES};
use super::{JobEnd, OutputParser, TestEvent, signal_name};
use kvet_base::event::{Outcome, Stream, TestCase};

/// The exit status by which a kernel selftest says that it does not apply (`KSFT_SKIP` in kselftest.h).
const SKIP: i32 = 4;

/// Makes one test case of a whole job.
#[derive(Debug)]
pub struct ExitParser {
    name: String,
    started: Duration,
    detail: HeadTail,
    last_line: String,
}

impl ExitParser {
    /// The test case will have the given name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            started: Duration::ZERO,
            detail: HeadTail::new(MAX_DETAIL_BYTES),
            last_line: String::new(),
        }
    }
}

impl OutputParser for ExitParser {
    fn start(&mut self, at: Duration) -> Vec<TestEvent> {
        self.started = at;
        vec![TestEvent::Started { name: self.name.clone(), at }]
    }

    fn line(&mut self, _stream: Stream, _at: Duration, line: &str) -> Vec<TestEvent> {
        self.detail.push(line);
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut self.last_line);
        }
        Vec::new()
    }

    /// The exit status is the verdict, whatever is missing of the output.
    fn cut(&mut self, _at: Duration, why: &str) -> Vec<TestEvent> {
        self.detail.push(&format!("[… output is missing here: {why} …]"));
        Vec::new()
    }

    fn finish(&mut self, end: &JobEnd, at: Duration) -> Vec<TestEvent> {
        let (outcome, message) = match end {
            JobEnd::Exited(0) => (Outcome::Pass, String::new()),
            JobEnd::Exited(SKIP) => (Outcome::Skip, self.skip_reason()),
            JobEnd::Exited(status) => (Outcome::Fail, format!("exit status {status}")),
            JobEnd::Signaled(number) => (Outcome::Fail, format!("killed by {}", signal_name(*number))),
            JobEnd::TimedOut(text) | JobEnd::Lost(text) => (Outcome::Error, text.clone()),
        };
        let case = TestCase {
            name: self.name.clone(),
            outcome,
            duration: Some(at.saturating_sub(self.started)),
            message,
            detail: self.detail.take(),
            cause: None,
        };
        vec![TestEvent::Finished { case, about_job: false, at }]
    }
}

impl ExitParser {
    /// A program that skips usually says why in its last line.
    fn skip_reason(&mut self) -> String {
        match std::mem::take(&mut self.last_line) {
            line if line.is_empty() => format!("exit status {SKIP} (skip), and no reason given"),
            line => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[&str], end: &JobEnd) -> TestCase {
        let mut p = ExitParser::new("my_test");
        let s = Duration::from_secs;
        assert_eq!(p.start(s(1)), [TestEvent::Started { name: "my_test".into(), at: s(1) }]);
        for line in lines {
            assert_eq!(p.line(Stream::Stdout, s(2), line), []);
        }
        match p.finish(end, s(4)).remove(0) {
            TestEvent::Finished { case, .. } => case,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_way_to_end_has_its_outcome_and_its_words() {
        let table = [
            (JobEnd::Exited(0), Outcome::Pass, ""),
            (JobEnd::Exited(4), Outcome::Skip, "no cgroup v2 here"),
            (JobEnd::Exited(3), Outcome::Fail, "exit status 3"),
            (JobEnd::Exited(255), Outcome::Fail, "exit status 255"),
            (JobEnd::Signaled(11), Outcome::Fail, "killed by SIGSEGV"),
            (JobEnd::Signaled(40), Outcome::Fail, "killed by signal 40"),
            (JobEnd::TimedOut("ran longer than 90s".into()), Outcome::Error, "ran longer than 90s"),
            (JobEnd::Lost("kernel panic: x".into()), Outcome::Error, "kernel panic: x"),
        ];
        for (end, outcome, message) in table {
            let case = run(&["hello", "no cgroup v2 here", ""], &end);
            assert_eq!((case.outcome, case.message.as_str()), (outcome, message), "{end:?}");
            assert_eq!(case.duration, Some(Duration::from_secs(3)));
            assert_eq!(case.detail, "hello\nno cgroup v2 here");
        }
    }

    #[test]
    fn missing_output_is_told_in_place() {
        let mut p = ExitParser::new("my_test");
        let at = Duration::from_secs(1);
        p.line(Stream::Stdout, at, "before");
        p.cut(at, "the output passed 64 MiB");
        p.line(Stream::Stdout, at, "after");
        let TestEvent::Finished { case, .. } = p.finish(&JobEnd::Exited(0), at).remove(0) else { panic!() };
        assert_eq!(case.outcome, Outcome::Pass);
        assert_eq!(case.detail, "before\n[… output is missing here: the output passed 64 MiB …]\nafter");
    }

    #[test]
    fn a_skip_without_words_says_that_it_has_none() {
        assert_eq!(run(&[], &JobEnd::Exited(4)).message, "exit status 4 (skip), and no reason given");
    }
}
