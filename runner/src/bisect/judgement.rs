//! What several runs of one kernel amount to.

use std::path::PathBuf;

use super::Subject;
use super::state::{Parts, Step, Verdict};
use super::symptom::{Finding, Symptom};
use crate::event::CellReport;

/// What several runs of a kernel amount to.
pub(super) struct Judgement {
    verdict: Verdict,
    reason: String,
    /// What each run says.
    findings: Vec<Finding>,
}

impl Judgement {
    pub fn of(symptom: &Symptom, runs: &[CellReport]) -> Self {
        let findings: Vec<Finding> = runs.iter().map(|run| symptom.find_in(run)).collect();
        let last = |verdict| findings.iter().rev().find(|finding| finding.verdict() == verdict);
        // Seen once is there.
        let (verdict, reason) = match last(Verdict::Bad).or_else(|| last(Verdict::Skip)) {
            Some(Finding::Bad(message)) => (Verdict::Bad, message.clone()),
            Some(Finding::Unknown(reason)) => (Verdict::Skip, reason.clone()),
            Some(Finding::Good) | None => (Verdict::Good, String::new()),
        };
        Self { verdict, reason, findings }
    }

    fn failed(&self) -> usize {
        self.findings.iter().filter(|finding| matches!(finding, Finding::Bad(_))).count()
    }

    /// How likely one more run of this kernel shows the symptom (Laplace's rule of succession: a few runs that all failed are no
    /// certainty).
    pub fn rate(&self) -> f64 {
        (self.failed() + 1) as f64 / (self.findings.len() + 2) as f64
    }

    /// The step that it makes, with the kernel's signature as the runs have it.
    pub fn step(&self, subject: &Subject, runs: &[CellReport], parts: Parts) -> Step {
        let kernel = runs.iter().find_map(|run| run.kernel.as_ref());
        Step {
            release: kernel.map(|kernel| kernel.release.clone()),
            signature: kernel.map(|kernel| kernel.signature().to_owned()),
            runs: runs.len(),
            failed_runs: self.failed(),
            dirs: self.folders(runs),
            ..Step::unseen(subject, self.verdict, self.reason.clone(), parts)
        }
    }

    /// The folders of the runs, those last that show what the kernel is.
    fn folders(&self, runs: &[CellReport]) -> Vec<PathBuf> {
        let told = runs.iter().zip(&self.findings);
        let (show, others): (Vec<_>, Vec<_>) =
            told.partition(|(_, finding)| finding.verdict() == self.verdict);
        others.into_iter().chain(show).map(|(run, _)| run.dir.clone()).collect()
    }
}
