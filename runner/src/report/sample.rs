//! A run that tests of several reporters share.

use std::time::Duration;

use crate::arch::Arch;
use crate::event::*;

/// Names no file, and holds what a hostile guest could put on its console.
pub(crate) const HOSTILE: &str =
    "esc \x1b[31m nul \0 cdata ]]> tag <a b=\"c\"> amp & \u{fffe} \u{85} ]]]]>>\nsecond line";

pub(crate) fn case(name: &str, outcome: Outcome, ms: u64, message: &str, detail: &str) -> TestCase {
    TestCase {
        name: name.into(),
        outcome,
        duration: Some(Duration::from_millis(ms)),
        message: message.into(),
        detail: detail.into(),
        cause: None,
    }
}

pub(crate) fn id() -> CellId {
    CellId { kernel: "debian:7.2".into(), arch: Arch::X86_64, suite: "dynptr".into() }
}

pub(crate) fn kernel() -> KernelFacts {
    KernelFacts {
        spec: "debian:7.2".into(),
        release: "7.2.12+deb13-amd64".into(),
        version: "7.2.12".into(),
        origin: "linux-binary-7.2.12+deb13-amd64 7.2.12-1~bpo13+1 (trixie-backports)".into(),
        image_sha256: "ab".repeat(32),
        packages: vec![PackageFacts {
            name: "linux-binary-7.2.12+deb13-amd64".into(),
            version: "7.2.12-1~bpo13+1".into(),
            suite: "trixie-backports".into(),
            sha256: "cd".repeat(32),
        }],
        config: [("CONFIG_BPF_SYSCALL".to_owned(), "y".to_owned())].into(),
        built: None,
    }
}

/// One cell that has some of everything.
pub(crate) fn run() -> RunReport {
    let time = |phase, ms| PhaseTime { phase, wall: Duration::from_millis(ms) };
    let cell = CellReport {
        id: id(),
        kernel: Some(kernel()),
        accel: Some(Accel::Tcg),
        accel_reason: "the CPU has neither VT-x nor AMD-V".into(),
        end: CellEnd::Completed,
        cases: vec![
            case("dynptr_success/test_read_write", Outcome::Pass, 10, "", ""),
            case("dynptr_success/test_clone", Outcome::Fail, 25, "expected 3, got 4", HOSTILE),
            case("dynptr_success/test_old", Outcome::Skip, 0, "needs 6.12, this is 6.1", ""),
            case("dynptr_success/test_known", Outcome::Xfail, 1, "known bug", ""),
            case("dynptr_fail/lost", Outcome::Error, 90, "kernel panic: x", "the splat"),
            TestCase { duration: None, ..case("alone", Outcome::NotRun, 0, "not run: guest crashed", "") },
        ],
        counts: Default::default(),
        provenance: Default::default(),
        splats: vec![Splat {
            kind: "warn".into(),
            title: "WARNING: a.c:1 at f+0x1/0x2".into(),
            text: "WARNING: a.c:1 at f+0x1/0x2\nCall Trace:".into(),
            at: Some(Duration::from_millis(1500)),
            fatal: false,
            allowed: None,
            test: None,
            during: None,
        }],
        times: vec![time(Phase::Fetch, 0), time(Phase::Boot, 3100), time(Phase::Tests, 800)],
        work: Vec::new(),
        started_unix: 1_795_169_730.0,
        dir: "results/20261120-101530/debian-7.2-x86_64-dynptr".into(),
        boots: 1,
        notes: vec!["KVM died early, TCG used".into()],
        flaky: Vec::new(),
        reruns: Vec::new(),
        about_job: Vec::new(),
        must_run: false,
    };
    RunReport {
        run_id: "20261120-101530".into(),
        dir: "results/20261120-101530".into(),
        command: vec!["kvet".into(), "run".into()],
        kvet: "0.1.0".into(),
        planned: vec![id()],
        cells: vec![cell],
        wall: Duration::from_millis(4200),
        exit_code: 0,
    }
}

/// The events of that run.
pub(crate) fn events() -> Vec<Event> {
    let report = run();
    let cell = 0;
    let mut events = vec![
        Event::RunStarted {
            run_id: report.run_id.clone(),
            dir: report.dir.clone(),
            cells: vec![id()],
            weights: vec![0.0],
        },
        Event::PhaseStarted { cell, phase: Phase::Fetch },
        Event::Progress {
            cell,
            what: "downloading linux-binary".into(),
            done: 0,
            total: 2_000_000,
            unit: ProgressUnit::Bytes,
            current: String::new(),
        },
        Event::Progress {
            cell,
            what: "downloading linux-binary".into(),
            done: 1_000_000,
            total: 2_000_000,
            unit: ProgressUnit::Bytes,
            current: String::new(),
        },
        Event::Progress {
            cell,
            what: "downloading linux-binary".into(),
            done: 2_000_000,
            total: 2_000_000,
            unit: ProgressUnit::Bytes,
            current: String::new(),
        },
        Event::KernelReady { cell, kernel: kernel() },
        Event::PhaseStarted { cell, phase: Phase::Boot },
        Event::VmStarted {
            cell,
            accel: Accel::Tcg,
            reason: "the CPU has neither VT-x nor AMD-V".into(),
            argv: vec![
                "qemu-system-x86_64".into(),
                "-append".into(),
                "console=ttyS0 it's".into(),
                String::new(),
            ],
        },
        Event::ConsoleLine { cell, line: "[    0.000000] Linux version 7.2.12".into() },
        Event::GuestReady { cell, boottime: Duration::from_millis(2900) },
        Event::PhaseStarted { cell, phase: Phase::Tests },
        Event::Note { cell, text: "KVM died early, TCG used".into() },
        Event::OutputLine {
            cell,
            stream: Stream::Stdout,
            at: Duration::from_secs(3),
            line: "KTAP version 1".into(),
        },
        Event::OutputLine {
            cell,
            stream: Stream::Stderr,
            at: Duration::from_secs(3),
            line: "libbpf: x".into(),
        },
    ];
    for case in &report.cells[0].cases {
        if case.outcome != Outcome::NotRun {
            events.push(Event::TestStarted { cell, name: case.name.clone() });
            events.push(Event::TestFinished { cell, case: case.clone() });
        }
    }
    events.push(Event::SplatSeen { cell, splat: report.cells[0].splats[0].clone(), test: None });
    events.push(Event::PhaseStarted { cell, phase: Phase::Teardown });
    events.push(Event::CellFinished { cell, report: Box::new(report.cells[0].clone()) });
    events.push(Event::RunFinished { report: Box::new(report) });
    events
}

/// A reader that went away: whatever is written fails with EPIPE.
pub struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
