//! Tests × kernels: what became of each test on each kernel, and what that amounts to.
//!
//! A [`Table`] is made of the report of a run and knows nothing of how it is shown; [`text`], [`markdown`] and [`html`]
//! show it, and as JSON it is what it is.

pub mod html;
pub mod markdown;
mod sheet;
pub mod text;
mod trend;

use std::path::PathBuf;

use serde::Serialize;

use crate::arch::Arch;
use crate::event::{Cause, Counts, Outcome};

pub use trend::Trend;

/// All sheets of a run, one for each architecture and suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Names the run.
    pub run_id: String,
    /// In the order of the run's cells.
    pub sheets: Vec<Sheet>,
}

/// The kernels of one architecture under one suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sheet {
    /// The architecture.
    pub arch: Arch,
    /// The suite.
    pub suite: String,
    /// The kernels, the oldest first.
    pub columns: Vec<Column>,
    /// The tests, in the order of the newest kernel that has them.
    pub rows: Vec<Row>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// What is short and tells it from its neighbours: `7.2.13`.
    pub label: String,
    /// How it was asked for.
    pub spec: String,
    /// `uname -r`, where the kernel was had.
    pub release: Option<String>,
    /// How its tests came out.
    pub counts: Counts,
    /// Whether it came to its end and none of its tests ran.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nothing_ran: bool,
    /// Why its tests did not all run, in one line, if so.
    pub trouble: Option<String>,
    /// The folder of its cell.
    pub dir: PathBuf,
}

/// A test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub test: String,
    /// What became of it, for each column; nothing where the suite on that kernel has no such test.
    pub entries: Vec<Option<Entry>>,
    /// What its row amounts to.
    pub trend: Trend,
    /// The trend in words: `6.18, not 6.12, regressed in 7.0`.
    pub verdict: String,
}

impl Row {
    /// Whether it was flaky on a kernel.
    pub fn is_flaky(&self) -> bool {
        self.entries.iter().flatten().any(|entry| entry.flaky)
    }

    /// Whether it passed wherever it could be tested, and at once.
    pub fn is_plain(&self) -> bool {
        matches!(self.trend, Trend::Always | Trend::Since) && !self.is_flaky()
    }

    /// Whether it ran nowhere, of which it says why where it was skipped, and else the kernels' own lines do.
    pub fn never_ran(&self) -> bool {
        matches!(self.trend, Trend::Skipped | Trend::Unknown)
    }
}

/// What became of a test on a kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// In one word.
    pub outcome: Outcome,
    /// Of an error: what kept the test from a result, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Whether that differs from the nearest kernel on the left on which the test could be judged.
    pub changed: bool,
    /// Whether it failed, and passed when it was run again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// In one line, unless it passed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Seconds, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Entry {
    /// Its letter and its words, as the legend has them.
    pub fn sign(&self) -> (char, &'static str) {
        match self {
            Self { flaky: true, .. } => FLAKY,
            Self { cause: Some(Cause::Crash), .. } => CRASH,
            Self { cause: Some(Cause::TimeOut), .. } => TIME_OUT,
            Self { outcome, .. } => sign(Some(*outcome)),
        }
    }
}

/// The letter and the word of a test in which the kernel crashed.
pub const CRASH: (char, &str) = ('C', "crash");

/// The letter and the word of a test that passed a limit of time.
pub const TIME_OUT: (char, &str) = ('T', "time-out");

/// The letters and the words of a legend, with the outcome that they stand for.
pub fn legend() -> impl Iterator<Item = (Outcome, (char, &'static str))> {
    LEGEND.into_iter().flat_map(|outcome| {
        let causes = if outcome == Outcome::Error { &[CRASH, TIME_OUT][..] } else { &[] };
        causes.iter().copied().chain([sign(Some(outcome))]).map(move |sign| (outcome, sign))
    })
}

/// The letter and the word of a test that failed, and passed when it was run again.
pub const FLAKY: (char, &str) = ('~', "flaky");

/// An outcome as the legend has it: its letter, and its words.
pub fn sign(outcome: Option<Outcome>) -> (char, &'static str) {
    match outcome {
        Some(Outcome::Pass) => ('.', "pass"),
        Some(Outcome::Fail) => ('F', "fail"),
        Some(Outcome::Xfail) => ('x', "known bug"),
        Some(Outcome::Skip) => ('-', "skip"),
        Some(Outcome::Error) => ('E', "error"),
        Some(Outcome::NotRun) => ('?', "not run"),
        None => (' ', "no such test"),
    }
}

/// The outcomes in the order of the legend.
const LEGEND: [Outcome; 6] =
    [Outcome::Pass, Outcome::Fail, Outcome::Xfail, Outcome::Skip, Outcome::Error, Outcome::NotRun];

#[cfg(test)]
pub(crate) mod sample;
