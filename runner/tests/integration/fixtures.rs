//! Runs that nobody ran.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kvet::arch::Arch;
use kvet::event::{CellEnd, CellId, CellReport, Counts, Outcome, RunReport, TestCase};

/// The suite of all of them.
pub const SUITE: &str = "dynptr";

/// A cell whose tests came out like this: a name, what became of it, and the message.
pub fn cell(kernel: &str, cases: &[(&str, Outcome, &str)]) -> CellReport {
    let case = |(name, outcome, message): &(&str, Outcome, &str)| TestCase {
        name: (*name).to_owned(),
        outcome: *outcome,
        duration: None,
        message: (*message).to_owned(),
        detail: String::new(),
        cause: None,
    };
    let cases: Vec<TestCase> = cases.iter().map(case).collect();
    CellReport {
        id: CellId { kernel: kernel.to_owned(), arch: Arch::X86_64, suite: SUITE.into() },
        kernel: None,
        accel: None,
        accel_reason: String::new(),
        end: CellEnd::Completed,
        counts: Counts::of(&cases),
        cases,
        splats: Vec::new(),
        provenance: BTreeMap::new(),
        times: Vec::new(),
        work: Vec::new(),
        started_unix: 0.0,
        dir: PathBuf::new(),
        boots: 1,
        notes: Vec::new(),
        flaky: Vec::new(),
        reruns: Vec::new(),
        about_job: Vec::new(),
        must_run: false,
    }
}

/// A run of these cells.
#[allow(dead_code, reason = "for reports.rs")]
pub fn run(cells: Vec<CellReport>) -> RunReport {
    RunReport {
        run_id: "made-up".into(),
        dir: PathBuf::new(),
        command: Vec::new(),
        kvet: String::new(),
        planned: cells.iter().map(|cell| cell.id.clone()).collect(),
        cells,
        wall: Duration::ZERO,
        exit_code: 0,
    }
}
