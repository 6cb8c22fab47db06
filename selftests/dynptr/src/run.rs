// SPDX-License-Identifier: GPL-2.0-only
//! Runs one test and judges it.

use std::path::Path;
use std::process;

use libbpf_rs::{Link, ProgramInput};

use crate::isolate::{Missing, Verdict};
use crate::model::{self, Expectation, Run, Test};
use crate::packet;
use crate::release::Release;
use crate::report::{Config, Report};
use crate::suite::{Loaded, Programs, Suite, attach_tcx_ingress};
use crate::tap::{NoTap, Tap};

/// So much of a verifier's log is shown: its end says what was wrong.
const LOG_LINES: usize = 200;
/// Where the kernel shows its tracepoints.
const TRACING: &str = "/sys/kernel/tracing";

/// Runs the test, in this process and with this process' copy of the suite.
pub fn run(test: &Test, suite: &Suite, release: Release) -> Verdict {
    if let Some(missing) = missing(test) {
        return Verdict::Missing(missing);
    }
    let programs: Vec<&str> = test.programs().collect();
    let bytes = match test.run {
        Run::Packet { bytes } | Run::Tap { bytes, .. } => bytes,
        Run::Nanosleep | Run::Rejected(_) => 0,
    };
    let config = Config { pid: process::id(), bytes: u32::try_from(bytes).unwrap_or(u32::MAX) };
    let loaded = match suite.load(&programs, config) {
        Ok(loaded) => loaded,
        Err(message) => return Verdict::Fail(vec![message]),
    };
    match (&test.run, loaded) {
        (Run::Rejected(expectations), loaded) => rejected(expectations, &loaded, release),
        (_, Loaded::Refused { log, reason }) => Verdict::Fail(vec![reason, tail(&log)]),
        (_, Loaded::Accepted(programs)) => accepted(test, &programs, bytes),
    }
}

/// What the test's way of running needs beyond BPF itself.
fn missing(test: &Test) -> Option<Missing> {
    let tracepoint = Path::new(TRACING).join("events/syscalls/sys_enter_nanosleep");
    match test.run {
        Run::Nanosleep if !Path::new(TRACING).join("events").exists() => Some(Missing::Mount(TRACING.into())),
        Run::Nanosleep if !tracepoint.exists() => Some(Missing::Config("FTRACE_SYSCALLS".into())),
        _ => None,
    }
}

/// Judges a program that the verifier had to refuse.
fn rejected(expectations: &[Expectation], loaded: &Loaded, release: Release) -> Verdict {
    let Some(expectation) = expectations.iter().find(|it| it.covers(release)) else {
        return Verdict::Fail(vec![format!("the table has no words for {release}")]);
    };
    let wanted = format!("expected to be refused with: {}", expectation.text);
    match loaded {
        Loaded::Refused { log, .. } if says(log, expectation.text) => Verdict::Pass,
        Loaded::Refused { log, reason } => Verdict::Fail(vec![wanted, reason.clone(), tail(log)]),
        Loaded::Accepted(_) => Verdict::Fail(vec![wanted, "the verifier took the program".into()]),
    }
}

/// Does the verifier say this? It also quotes the program's source, which does not count.
fn says(log: &str, text: &str) -> bool {
    log.lines().filter(|line| !line.starts_with(';')).any(|line| line.contains(text))
}

/// Runs a program, and judges by its report.
fn accepted(test: &Test, programs: &Programs, bytes: usize) -> Verdict {
    let triggered = match test.run {
        Run::Nanosleep => nanosleep(test, programs),
        Run::Packet { .. } => test_run(test, programs, bytes),
        Run::Tap { xdp, .. } => match tap(test, programs, xdp, bytes) {
            Ok(()) => Ok(()),
            Err(NoTap::Missing(missing)) => return Verdict::Missing(missing),
            Err(NoTap::Failed(message)) => Err(message),
        },
        Run::Rejected(_) => Ok(()),
    };
    match triggered.and_then(|()| programs.report()) {
        Ok(report) => judge(test, &report),
        Err(message) => Verdict::Fail(vec![message]),
    }
}

fn judge(test: &Test, report: &Report) -> Verdict {
    if report.failures > 0 {
        let Report { failures, line, got, want, .. } = *report;
        let source = test.source;
        let mut lines = vec![
            format!("bpf/{source}.bpf.c:{line}: {}", model::source_line(source, line)),
            format!("got {got}, expected {want}"),
        ];
        if failures > 1 {
            lines.push(format!("{} more expectations did not hold after it", failures - 1));
        }
        return Verdict::Fail(lines);
    }
    if report.runs == 0 {
        return Verdict::Fail(vec!["the program was triggered and did not run to its end".into()]);
    }
    Verdict::Pass
}

/// Attaches the program to the system call, and makes it once.
fn nanosleep(test: &Test, programs: &Programs) -> Result<(), String> {
    let _link: Link = programs.get(test.program)?.attach().map_err(|err| format!("cannot attach: {err}"))?;
    let time = libc::timespec { tv_sec: 0, tv_nsec: 1 };
    // glibc's functions make another system call, clock_nanosleep.
    // SAFETY: the call reads the time, and has nowhere to write the rest of it.
    let result = unsafe {
        libc::syscall(libc::SYS_nanosleep, &raw const time, std::ptr::null_mut::<libc::timespec>())
    };
    if result < 0 { Err(format!("nanosleep: {}", std::io::Error::last_os_error())) } else { Ok(()) }
}

/// Has the kernel run the program on a packet.
fn test_run(test: &Test, programs: &Programs, bytes: usize) -> Result<(), String> {
    let frame = packet::frame(bytes);
    let input = ProgramInput { data_in: Some(&frame), ..Default::default() };
    programs.get(test.program)?.test_run(input).map_err(|err| format!("cannot test-run: {err}"))?;
    Ok(())
}

/// Sends a packet through the XDP program to the program under test.
fn tap(test: &Test, programs: &Programs, xdp: &str, bytes: usize) -> Result<(), NoTap> {
    let failed = NoTap::Failed;
    let mut tap = Tap::in_new_namespace()?;
    let _link = programs
        .get(xdp)
        .map_err(failed)?
        .attach_xdp(tap.interface)
        .map_err(|err| failed(format!("cannot attach XDP to the tap device: {err}")))?;
    attach_tcx_ingress(&*programs.get(test.program).map_err(failed)?, tap.interface)
        .map_err(|err| failed(format!("cannot attach to TC ingress of the tap device: {err}")))?;
    tap.send(&packet::frame(bytes)).map_err(failed)
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let cut = lines.len().saturating_sub(LOG_LINES);
    let mut tail = if cut > 0 {
        format!("verifier log, without its first {cut} lines:\n")
    } else {
        "verifier log:\n".into()
    };
    tail += &lines[cut..].join("\n");
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_test() -> &'static Test {
        model::GROUPS[0].tests.iter().find(|test| test.source == "local").expect("in the table")
    }

    #[test]
    fn a_program_that_did_not_run_has_not_passed() {
        let report = Report { runs: 0, failures: 0, line: 0, got: 0, want: 0 };
        assert!(matches!(judge(some_test(), &report), Verdict::Fail(_)));
        assert_eq!(judge(some_test(), &Report { runs: 1, ..report }), Verdict::Pass);
    }

    #[test]
    fn a_failure_shows_the_line_of_the_source() {
        let report = Report { runs: 1, failures: 3, line: 1, got: -7, want: -22 };
        let Verdict::Fail(lines) = judge(some_test(), &report) else { panic!("should fail") };
        assert_eq!(lines[0], "bpf/local.bpf.c:1: // SPDX-License-Identifier: GPL-2.0-only");
        assert_eq!(lines[1], "got -7, expected -22");
        assert_eq!(lines[2], "2 more expectations did not hold after it");
    }

    #[test]
    fn a_refusal_has_to_have_the_right_words() {
        let words = &[Expectation { since: &[], until: &[], text: "invalid mem access" }];
        let refused = |log: &str| Loaded::Refused { log: log.into(), reason: "EACCES".into() };
        let release = Release::new(7, 2, 0);
        assert_eq!(rejected(words, &refused("R1 invalid mem access 'scalar'"), release), Verdict::Pass);
        let Verdict::Fail(lines) = rejected(words, &refused("unknown opcode"), release) else {
            panic!("should fail")
        };
        assert_eq!(lines[0], "expected to be refused with: invalid mem access");
        assert!(lines[2].contains("unknown opcode"));
        let quoted = refused("; /* invalid mem access */ @ some.bpf.c:1\nunknown opcode");
        assert!(matches!(rejected(words, &quoted, release), Verdict::Fail(_)));
        assert!(matches!(rejected(&[], &refused("x"), release), Verdict::Fail(_)));
    }

    #[test]
    fn a_long_log_is_cut_at_its_beginning() {
        let log: String = (0..500).map(|line| format!("line {line}\n")).collect();
        let tail = tail(&log);
        assert!(tail.starts_with("verifier log, without its first 300 lines:\nline 300\n"));
        assert!(tail.ends_with("line 499"));
    }
}
