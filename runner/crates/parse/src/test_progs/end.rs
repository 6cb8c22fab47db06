//! How a run of test_progs ended, and what that says.

use super::*;
use kvet_base::error::Fault;

/// Exit statuses of test_progs. It may also end with -1 (255) from `main` before its first test.
mod status {
    /// Nothing was selected.
    pub const NOTHING: i32 = 2;
    /// Something that all tests need could not be set up.
    pub const SETUP: i32 = 3;
    /// An unknown option (argp's EX_USAGE), or one with a wrong value (-EINVAL).
    pub const USAGE: [i32; 2] = [64, 234];
    /// `return -1` in main.
    pub const MINUS_ONE: i32 = 255;
    /// How a shell tells of SIGSEGV.
    pub const SEGV: i32 = 128 + 11;
}

impl TestProgsParser {
    pub(super) fn conclude(&mut self, end: &JobEnd, at: Duration, out: &mut Vec<TestEvent>) {
        if let JobEnd::Exited(status) = end
            && let Some(event) = self.no_verdict(*status)
        {
            out.push(event);
            if self.cases == 0 {
                return;
            }
        }
        if self.summary && self.open.is_none() {
            self.after_summary(end, out);
            return;
        }
        match end {
            JobEnd::Exited(0 | 1) if self.cases > 0 => {
                let cut = self.missing();
                self.cut_short(format!("the output ends without test_progs' summary{cut}"), at, out);
            }
            JobEnd::Exited(_) if self.cases == 0 && self.culprit().is_none() => {
                let message = format!("no test result in the output: the job {end}");
                self.verdict(self.suite.clone(), message, out);
            }
            _ => self.cut_short(self.how(end), at, out),
        }
    }

    /// A status that says that nothing was tested, and by whose fault.
    fn no_verdict(&self, status: i32) -> Option<TestEvent> {
        let said = self.talk.last().map(|said| format!(": {said}")).unwrap_or_default();
        let (fault, reason) = match status {
            status::NOTHING if self.cases == 0 => {
                let suite = &self.suite;
                let hint = format!("`kvet suite show {suite}` lists what it has");
                (Fault::Caller, format!("no test of suite {suite} was selected{said} (hint: {hint})"))
            }
            status::SETUP => (Fault::Host, format!("test_progs could not set up what its tests need{said}")),
            _ if self.cases > 0 || self.summary => return None,
            status if status::USAGE.contains(&status) => {
                (Fault::Caller, format!("test_progs does not take its arguments (status {status}){said}"))
            }
            status::MINUS_ONE if self.talk.lines == 0 => (
                Fault::Host,
                "test_progs ended with 255 before its first test and said nothing: since 6.18 it does when the kernel \
                 does not take its key (add_key; CONFIG_ASYMMETRIC_KEY_TYPE, CONFIG_X509_CERTIFICATE_PARSER)"
                    .to_owned(),
            ),
            status::MINUS_ONE => (Fault::Host, format!("test_progs ended with 255 before its first test{said}")),
            _ => return None,
        };
        Some(TestEvent::NoVerdict { fault, reason })
    }

    /// All results are there; what remains is whether the end fits them.
    fn after_summary(&mut self, end: &JobEnd, out: &mut Vec<TestEvent>) {
        let message = match end {
            JobEnd::Exited(0) | JobEnd::Lost(_) => return,
            JobEnd::Exited(1) if self.bad => return,
            JobEnd::Exited(status::SETUP) => return,
            JobEnd::Exited(status) if !self.bad => format!("exit status {status} though no test failed"),
            end => format!("the job {end}, after its summary"),
        };
        self.verdict("exit status".into(), message, out);
    }

    /// The end as a test's message.
    fn how(&self, end: &JobEnd) -> String {
        let segv = matches!(end, JobEnd::Signaled(11) | JobEnd::Exited(status::SEGV));
        match &self.watchdog {
            Some((_, seconds, true)) if segv => format!("test_progs' watchdog ended it after {seconds} s"),
            _ => match (self.caught, end) {
                (Some(signal), JobEnd::Exited(_)) => {
                    format!(
                        "ended without a result: test_progs was killed by {}",
                        super::super::signal_name(signal)
                    )
                }
                _ => format!("ended without a result: the job {end}"),
            },
        }
    }

    /// The test that was running, if that is known.
    fn culprit(&self) -> Option<String> {
        let watched = self.watchdog.as_ref().map(|(name, ..)| name.clone());
        self.announced.back().map(|(name, _)| name.clone()).or(watched)
    }

    /// The job ended while a test ran, or between two.
    fn cut_short(&mut self, how: String, at: Duration, out: &mut Vec<TestEvent>) {
        let open = self.open.take();
        let group = open.as_ref().map(|open| self.name_of(open));
        if let Some(open) = open {
            self.release(open, out);
        }
        if let Some(name) = self.culprit() {
            let outside = group.is_some_and(|group| group == name);
            let last = self.last_result.iter().filter(|_| outside);
            let message =
                last.fold(how, |how, last| format!("{how} (outside of its subtests, after {last})"));
            let detail = self.take_detail();
            // No pattern that selects subtests may hide that their test, as a whole, did not get to them.
            let about_job = !name.contains('/');
            let case =
                TestCase { name, outcome: Outcome::Error, duration: None, message, detail, cause: None };
            self.finished(case, about_job, at, out);
            return;
        }
        let after = match &self.last_result {
            Some(last) => format!("after {last}"),
            None => "before the first result".to_owned(),
        };
        // Which of its subtests it was is not known, and no pattern that selects some may hide it.
        let (name, message) = match group {
            Some(name) => (name, format!("{how} (in one of its subtests, {after})")),
            None => ("unknown test".to_owned(), format!("{how} ({after})")),
        };
        // What the kernel said since the last result is about this one.
        self.send(TestEvent::Started { name: name.clone(), at: self.last_at }, out);
        self.verdict(name, message, out);
    }

    /// What concerns several tests at once.
    pub(super) fn notes(&mut self, out: &mut Vec<TestEvent>) {
        for (program, Blocked { why, victims, more }) in std::mem::take(&mut self.blocked) {
            let count = victims.len() + more;
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let tests = if count == 1 { "1 test that is" } else { &format!("{count} tests that are") };
            out.push(TestEvent::Note(format!(
                "prog '{program}' failed to load ({why}) and failed {tests} not about it: {}{rest}",
                victims.join(", ")
            )));
        }
        if self.dropped > 0 {
            let message =
                format!("{} more test cases than the {} that are kept", self.dropped, self.limits.cases);
            let name = "too many tests".to_owned();
            let case = TestCase {
                name,
                outcome: Outcome::Error,
                duration: None,
                message,
                detail: String::new(),
                cause: None,
            };
            out.push(TestEvent::Finished { case, about_job: true, at: self.last_at });
        }
    }
}
