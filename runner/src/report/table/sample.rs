//! A run of several kernels that the tests of the table share.

use crate::arch::Arch;
use crate::event::{CellEnd, CellId, CellReport, Counts, KernelFacts, Outcome, RunReport, TestCase};
use crate::report::sample;

/// A cell with these outcomes.
pub(crate) fn cell(spec: &str, version: &str, outcomes: &[(&str, Outcome, &str)]) -> CellReport {
    let cases: Vec<TestCase> = outcomes
        .iter()
        .map(|(name, outcome, message)| sample::case(name, *outcome, 7, message, ""))
        .collect();
    CellReport {
        id: CellId { kernel: spec.into(), ..sample::id() },
        kernel: Some(KernelFacts {
            spec: spec.into(),
            version: version.into(),
            release: format!("{version}-amd64"),
            ..sample::kernel()
        }),
        counts: Counts::of(&cases),
        cases,
        splats: Vec::new(),
        notes: Vec::new(),
        dir: format!("results/r/{}-x86_64-dynptr", spec.replace(':', "-")).into(),
        ..sample::run().cells.remove(0)
    }
}

/// Two architectures; kernels out of order, two of one version, one that does not boot, one that was never had.
pub(crate) fn run() -> RunReport {
    use Outcome::{Fail, Pass, Skip};
    let unbootable = CellReport {
        end: CellEnd::Unbootable { reason: "no 9p".into(), detail: String::new() },
        ..cell("debian:7.3-rc", "7.3-rc7", &[])
    };
    let lost = CellReport {
        id: CellId { kernel: "debian:6.12".into(), arch: Arch::Arm64, suite: "dynptr".into() },
        kernel: None,
        end: CellEnd::Infra { reason: "disk full".into() },
        ..cell("debian:6.12", "6.12", &[])
    };
    RunReport {
        cells: vec![
            cell(
                "debian:7.2.6",
                "7.2.6",
                &[("g/always", Pass, ""), ("g/since", Pass, ""), ("g/regressed", Fail, "expected 3, got 4")],
            ),
            lost,
            unbootable,
            cell(
                "debian:6.18",
                "6.18.15",
                &[("g/always", Pass, ""), ("g/since", Pass, ""), ("g/regressed", Pass, "")],
            ),
            cell(
                "file:./bzImage",
                "7.2.6",
                &[("g/always", Pass, ""), ("g/since", Pass, ""), ("g/regressed", Pass, "")],
            ),
            cell(
                "debian:6.1",
                "6.1.192",
                &[
                    ("g/always", Pass, ""),
                    ("g/since", Skip, "needs 6.18, this is 6.1.192"),
                    ("g/regressed", Skip, "needs 6.18, this is 6.1.192"),
                    ("g/old", Pass, ""),
                ],
            ),
        ],
        ..sample::run()
    }
}
