//! Consumers of [`Event`]s: the terminal, JUnit, JSON lines, and the files under `results/`.
//!
//! A reporter knows nothing but events; whatever it needs to say must be in them.
//!
//! ```no_run
//! use std::path::Path;
//! use kvet::event::{CellId, Event};
//! use kvet::report::{Fanout, junit::JunitFile, store::{RunDir, Store}, term::{ColorChoice, Style, Term}};
//! # fn main() -> kvet::error::Result<()> {
//! # let cells: Vec<CellId> = Vec::new();
//! let dir = RunDir::create(Path::new("results"), &cells)?;
//! let started =
//!     Event::RunStarted { run_id: dir.run_id().into(), dir: dir.path().into(), cells: cells.clone(), weights: vec![] };
//! let mut reporters = Fanout::new()
//!     .with("terminal", Term::stdio(ColorChoice::Auto, false, Style::Tests))
//!     .with("the results folder", Store::new(dir))
//!     .with("the JUnit file", JunitFile::new("junit.xml"));
//! for news in reporters.event(&started) {
//!     eprintln!("kvet: {news}");
//! }
//! reporters.finish()
//! # }
//! ```

pub mod diff;
pub mod json;
pub mod junit;
pub mod latest;
pub mod merge;
pub mod store;
pub mod table;
pub mod term;
mod verdict;

pub use verdict::{bisect_code, cell_code, nothing_ran, verdict};

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::event::{Cause, CellEnd, CellReport, Event, Outcome, Phase, Splat, TestCase};

/// Takes every event of a run, in order.
pub trait Reporter: Send {
    /// Takes one event.
    ///
    /// # Errors
    /// What it should have written could not be written: the host's fault, such as a full disk. A reporter may be
    /// given further events after that.
    fn event(&mut self, event: &Event) -> Result<()>;
}

/// Feeds several reporters. The failure of one keeps no other from its events.
#[derive(Default)]
pub struct Fanout {
    reporters: Vec<Slot>,
}

struct Slot {
    name: String,
    reporter: Box<dyn Reporter>,
    error: Option<Error>,
    failures: usize,
}

impl Fanout {
    /// One that feeds nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reporter; the name is for messages about its failures.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, reporter: impl Reporter + 'static) -> Self {
        let reporter = Box::new(reporter);
        self.reporters.push(Slot { name: name.into(), reporter, error: None, failures: 0 });
        self
    }

    /// Hands an event to each reporter. Gives the errors that are the first of their reporter, to be told at once;
    /// later ones are only counted.
    pub fn event(&mut self, event: &Event) -> Vec<String> {
        let mut news = Vec::new();
        for slot in &mut self.reporters {
            // A mistake of ours in one reporter must not cost the others' reports.
            let told = catch_unwind(AssertUnwindSafe(|| slot.reporter.event(event)));
            let told = told.unwrap_or_else(|_| Err(Error::host("an internal error of kvet, see above")));
            let Err(error) = told else { continue };
            slot.failures += 1;
            if slot.error.is_none() {
                news.push(format!("{}: {error}", slot.name));
                slot.error = Some(error);
            }
        }
        news
    }

    /// Ends the run's reporting.
    ///
    /// # Errors
    /// The first error of the first reporter that had one: results are missing, so the run must not look complete.
    pub fn finish(self) -> Result<()> {
        for slot in self.reporters {
            if let Some(error) = slot.error {
                let times =
                    if slot.failures > 1 { format!(" ({} times)", slot.failures) } else { String::new() };
                return Err(error.context(format!("{} is incomplete{times}", slot.name)));
            }
        }
        Ok(())
    }
}

/// Splats of a cell that no test was blamed for and no entry of the allow-list covers: each is a failure of its own.
pub fn unblamed(cell: &CellReport) -> impl Iterator<Item = &Splat> {
    cell.splats.iter().filter(|s| s.allowed.is_none() && s.test.is_none())
}

/// Why not all tests of a cell ran, in one line, if so.
pub fn trouble(cell: &CellReport) -> Option<String> {
    match &cell.end {
        CellEnd::Completed => None,
        CellEnd::Crashed { reason } => Some(format!("crashed: {reason}")),
        CellEnd::TimedOut { reason } => Some(format!("timed out: {reason}")),
        // One that could not be built, or lacks what it needs, was never booted; the reason says it.
        CellEnd::Unbootable { reason, .. } if !reached(cell, Phase::Boot) => Some(reason.clone()),
        CellEnd::Unbootable { reason, .. } => Some(format!("did not boot: {reason}")),
        CellEnd::Infra { reason } => Some(format!("trouble of the host: {reason}")),
        CellEnd::Usage { reason } => Some(reason.clone()),
        CellEnd::Interrupted => Some("interrupted".to_owned()),
        CellEnd::NotStarted { reason } => Some(format!("not started: {reason}")),
    }
}

/// Whether a cell came so far.
fn reached(cell: &CellReport, phase: Phase) -> bool {
    cell.times.iter().any(|time| time.phase == phase)
}

/// Whether a cell came no further than what is built for it: the kernel, which is fetched or built, or its selftests.
fn ended_in_a_build(cell: &CellReport) -> bool {
    cell.times.last().is_some_and(|time| matches!(time.phase, Phase::Fetch | Phase::Build))
}

/// The names of [`extra_failures`] begin like this.
pub(crate) const OWN: &str = "kvet/";

/// What has to be said about a cell beside its test cases, so that no trouble goes unnoticed where only test cases
/// are looked at: cases with a name under `kvet/`.
pub(crate) fn extra_failures(cell: &CellReport) -> Vec<TestCase> {
    let case = |name: &str, message: String, detail: &str| TestCase {
        name: format!("{OWN}{name}"),
        outcome: Outcome::Error,
        duration: None,
        message,
        detail: detail.to_owned(),
        cause: None,
    };
    let say = |name: &str, message: &str, detail: &str| vec![case(name, message.to_owned(), detail)];
    let bad = cell.cases.iter().any(|c| c.outcome.is_bad());
    let mut extra = match &cell.end {
        CellEnd::Completed if cell.cases.is_empty() => say("tests", "the job ended and no test was run", ""),
        CellEnd::Completed if cell.must_run && nothing_ran(cell) => {
            say("nothing-ran", &all_skipped(cell), "allow it with --fail-if-nothing-ran=false")
        }
        CellEnd::Completed => Vec::new(),
        // The test that was running has the blame, if one was.
        CellEnd::Crashed { .. } | CellEnd::TimedOut { .. } if bad => Vec::new(),
        CellEnd::Crashed { reason } => with_cause(say("crash", reason, ""), Cause::Crash),
        CellEnd::TimedOut { reason } => with_cause(say("time-out", reason, ""), Cause::TimeOut),
        CellEnd::Unbootable { reason, detail } if ended_in_a_build(cell) => say("build", reason, detail),
        CellEnd::Unbootable { reason, detail } => say("boot", reason, detail),
        CellEnd::Infra { reason } => say("host", reason, ""),
        CellEnd::Usage { reason } => say("usage", reason, ""),
        CellEnd::Interrupted => say("interrupted", "interrupted before the end", ""),
        CellEnd::NotStarted { reason } => {
            vec![TestCase { outcome: Outcome::NotRun, ..case("not-started", reason.clone(), "") }]
        }
    };
    for (number, splat) in unblamed(cell).enumerate() {
        let name = match number {
            0 => "splat".to_owned(),
            n => format!("splat#{}", n + 1),
        };
        let during = splat.during.as_ref().map_or(String::new(), |test| format!(" (while {test} ran)"));
        extra.push(case(&name, format!("{}: {}{during}", splat.kind, splat.title), &splat.text));
    }
    extra
}

fn with_cause(mut cases: Vec<TestCase>, cause: Cause) -> Vec<TestCase> {
    cases.iter_mut().for_each(|case| case.cause = Some(cause));
    cases
}

/// Why nothing ran, with the reason of the first test.
fn all_skipped(cell: &CellReport) -> String {
    let why = cell.cases.iter().find(|case| !case.message.is_empty());
    let why = why.map_or(String::new(), |case| format!(": {}: {}", case.name, case.message));
    match cell.cases.len() {
        1 => format!("nothing ran: the only test was skipped{why}"),
        count => format!("nothing ran: all {count} tests were skipped{why}"),
    }
}

/// The test cases of a cell, and what has to be said beside them.
pub(crate) fn all_cases(cell: &CellReport) -> Vec<TestCase> {
    cell.cases.iter().cloned().chain(extra_failures(cell)).collect()
}

#[cfg(test)]
pub(crate) mod sample;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Broken;
    impl Reporter for Broken {
        fn event(&mut self, _: &Event) -> Result<()> {
            Err(Error::host("cannot write x: disk full"))
        }
    }

    struct Panics;
    impl Reporter for Panics {
        fn event(&mut self, _: &Event) -> Result<()> {
            panic!("a panic that this test wants")
        }
    }

    struct Counts(Arc<Mutex<usize>>);
    impl Reporter for Counts {
        fn event(&mut self, _: &Event) -> Result<()> {
            *self.0.lock().unwrap() += 1;
            Ok(())
        }
    }

    #[test]
    fn a_broken_reporter_is_told_once_and_stops_no_other() {
        let seen = Arc::new(Mutex::new(0));
        let mut all = Fanout::new().with("the results folder", Broken).with("terminal", Counts(seen.clone()));
        let note = Event::Note { cell: 0, text: "x".into() };
        assert_eq!(all.event(&note), ["the results folder: cannot write x: disk full"]);
        assert_eq!(all.event(&note), Vec::<String>::new());
        assert_eq!(*seen.lock().unwrap(), 2);
        let e = all.finish().unwrap_err();
        assert_eq!(e.to_string(), "the results folder is incomplete (2 times): cannot write x: disk full");
        assert_eq!(e.fault(), crate::error::Fault::Host);
    }

    #[test]
    fn a_reporter_that_panics_stops_no_other() {
        let seen = Arc::new(Mutex::new(0));
        let mut all = Fanout::new().with("terminal", Panics).with("other", Counts(seen.clone()));
        let note = Event::Note { cell: 0, text: "x".into() };
        assert_eq!(all.event(&note), ["terminal: an internal error of kvet, see above"]);
        all.event(&note);
        assert_eq!(*seen.lock().unwrap(), 2);
        assert_eq!(all.finish().unwrap_err().fault(), crate::error::Fault::Host);
    }

    #[test]
    fn nothing_ran_is_a_case_of_its_own() {
        let mut cell = sample::run().cells.remove(0);
        cell.splats.clear();
        cell.cases.retain(|case| case.outcome == Outcome::Skip);
        assert!(extra_failures(&cell).is_empty(), "nobody minds");
        cell.must_run = true;
        let said = extra_failures(&cell);
        assert_eq!(
            (said.len(), said[0].name.as_str(), said[0].outcome),
            (1, "kvet/nothing-ran", Outcome::Error)
        );
        let why = "nothing ran: the only test was skipped: dynptr_success/test_old: needs 6.12, this is 6.1";
        assert_eq!(said[0].message, why);
    }

    #[test]
    fn a_crash_is_said_once() {
        let mut cell = sample::run().cells.remove(0);
        cell.splats.clear();
        cell.end = CellEnd::Crashed { reason: "panic".into() };
        assert!(extra_failures(&cell).is_empty(), "a test has the blame");
        cell.cases.retain(|c| !c.outcome.is_bad());
        assert_eq!(extra_failures(&cell)[0].name, "kvet/crash");
        cell.end = CellEnd::TimedOut { reason: "no sign of life for 45 s".into() };
        let said = extra_failures(&cell).remove(0);
        assert_eq!((said.name.as_str(), said.cause), ("kvet/time-out", Some(Cause::TimeOut)));
        assert_eq!(trouble(&cell).as_deref(), Some("timed out: no sign of life for 45 s"));
    }
}
