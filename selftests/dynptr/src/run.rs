// SPDX-License-Identifier: GPL-2.0-only
//! Runs one test and judges it.

use std::fs;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::process;

use crate::isolate::Verdict;
use crate::kconfig;
use crate::kernel_types;
use crate::report::{Config, Report};
use crate::suite::{Detail, Loaded, Programs, Suite};
use crate::tables;
use crate::trigger;
use crate::unprivileged::Unprivileged;
use dynptr_spec::{Expectation, Run, Test, Trigger};
use dynptr_spec::{Has, Running};

/// What there is to say where it should have refused a program.
pub const TAKEN: &str = "the verifier took the program";

/// So much of a verifier's log is shown: its end says what was wrong.
const LOG_LINES: usize = 200;

/// Runs the test, in this process and with this process' copy of the suite.
pub fn run(test: &Test, suite: &Suite, running: Running) -> Verdict {
    if let Some(verdict) = kconfig::get().before(test.config) {
        return verdict;
    }
    if let Run::Trigger(kind) = test.run
        && let Err(not_run) = trigger::check(kind)
    {
        return kconfig::get().after(test.config, not_run);
    }
    let config = match test.run {
        Run::Trigger(_) => config(test, running),
        // It does not run, and its process may not change our memory.
        Run::Rejected(_) => Ok(Config::default()),
    };
    let config = match config {
        Ok(config) => config,
        Err(message) => return Verdict::Fail(vec![message]),
    };
    let programs: Vec<&str> = test.programs().collect();
    let without = match Unprivileged::begin(test.rights) {
        Ok(without) => without,
        Err(verdict) => return verdict,
    };
    let detail = match test.run {
        Run::Trigger(_) => Detail::Surprise,
        Run::Rejected(_) => Detail::Refusal,
    };
    let loaded = match suite.load(&programs, config, detail) {
        Ok(loaded) => loaded,
        Err(message) => return Verdict::Fail(vec![message]),
    };
    drop(without);
    match (&test.run, loaded) {
        (Run::Rejected(expectations), loaded) => rejected(expectations, &loaded, running),
        (Run::Trigger(_), Loaded::Refused { reason, log }) => {
            Verdict::Refused(std::iter::once(reason).chain(last_words(&log)).collect())
        }
        (Run::Trigger(kind), Loaded::Accepted { programs, .. }) => {
            // They end with this process. To take the object apart would be to copy and change most of it.
            let programs = ManuallyDrop::new(programs);
            match accepted(test, *kind, &programs, config) {
                Verdict::Pass => trigger::left_in_ring(test, *kind, &programs)
                    .map_or_else(|message| Verdict::Fail(vec![message]), |()| Verdict::Pass),
                other => other,
            }
        }
    }
}

/// Is the test's program told that the kernel is in the test's release window?
pub fn is_in_release_window(test: &Test, running: Running) -> bool {
    test.release_window.is_some_and(|point| match point.of(running) {
        Has::Yes => true,
        Has::No => false,
        Has::Unknown => running.newer,
    })
}

fn config(test: &Test, running: Running) -> Result<Config, String> {
    let bytes = u32::try_from(test.bytes).map_err(|err| err.to_string())?;
    let linear = u32::try_from(test.linear.unwrap_or(test.bytes)).map_err(|err| err.to_string())?;
    let user = trigger::memory().map_err(|err| format!("cannot map memory: {err}"))?;
    Ok(Config {
        pid: process::id(),
        bytes,
        linear,
        in_release_window: is_in_release_window(test, running),
        user,
        interface: 0,
        key: 0,
        protocol: test.protocol,
        other: 0,
    })
}

/// Has the verifier tell all about the test's program. The lines to show are the end of it; all of it goes into
/// `file` in the folder of results.
pub fn explain(test: &Test, suite: &Suite, file: &str) -> Vec<String> {
    let programs: Vec<&str> = test.programs().collect();
    // Where it cannot be had, the log is that of somebody who may do everything.
    let without = Unprivileged::begin(test.rights).ok();
    let loaded = suite.load(&programs, Config::default(), Detail::Everything);
    drop(without);
    let log = match loaded {
        Ok(Loaded::Accepted { log, .. } | Loaded::Refused { log, .. }) => log,
        Err(message) => return vec![message],
    };
    let lacking = kernel_types::lacking(test);
    let mut lines: Vec<String> =
        lacking.iter().map(|name| format!("this kernel has no function {name}")).collect();
    if let Some(folder) = std::env::var_os("KVET_RESULTS") {
        let folder = Path::new(&folder).join("verifier");
        let path = folder.join(file);
        lines.push(match fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &log)) {
            Ok(()) => format!("the verifier's whole log is in verifier/{file} of the results"),
            Err(err) => format!("cannot write the verifier's log to {}: {err}", path.display()),
        });
    }
    lines.push(tail(&log));
    lines
}

/// What the verifier says last, before it explains that at length, as it does since 7.3, and counts what it has done.
fn last_words(log: &str) -> Option<String> {
    let log = log.rsplit_once("\nVerification failed: ").map_or(log, |it| it.0);
    let counts = ["processed ", "verification time ", "stack depth "];
    let mut lines = log.lines().rev().filter(|line| !counts.iter().any(|it| line.starts_with(it)));
    lines.find(|line| !line.trim().is_empty()).map(|line| format!("the verifier: {line}"))
}

/// Judges a program that the verifier had to refuse. Where the kernel's name does not tell which words it has, any will do.
fn rejected(expectations: &[Expectation], loaded: &Loaded, running: Running) -> Verdict {
    let covering: Vec<&Expectation> = expectations.iter().filter(|it| it.covers(running)).collect();
    if covering.is_empty() {
        return Verdict::Fail(vec![format!("the table has no words for {running}")]);
    }
    let texts: Vec<&str> = covering.iter().filter_map(|it| it.text).collect();
    let may_be_taken = texts.len() < covering.len();
    let wanted = match texts.as_slice() {
        [] => format!("expected to be taken by {running}"),
        texts => format!("expected to be refused with: {}", texts.join(", or: ")),
    };
    match loaded {
        Loaded::Refused { log, .. } if texts.iter().any(|text| says(log, text)) => Verdict::Pass,
        Loaded::Refused { reason, .. } => Verdict::Refused(vec![wanted, reason.clone()]),
        Loaded::Accepted { .. } if may_be_taken => Verdict::Pass,
        // What it is that a known mistake of a kernel's is told by comes first.
        Loaded::Accepted { .. } => Verdict::Refused(vec![TAKEN.into(), wanted]),
    }
}

/// Does the verifier say this? It also quotes the program's source, which does not count.
fn says(log: &str, text: &str) -> bool {
    log.lines().filter(|line| !line.starts_with(';')).any(|line| line.contains(text))
}

/// Runs a program, and judges by its report.
fn accepted(test: &Test, kind: Trigger, programs: &Programs, config: Config) -> Verdict {
    if let Err(not_run) = trigger::run(kind, test, programs, config) {
        return kconfig::get().after(test.config, not_run);
    }
    match programs.report() {
        Ok(report) => judge(test, &report),
        Err(message) => Verdict::Fail(vec![message]),
    }
}

fn judge(test: &Test, report: &Report) -> Verdict {
    if report.failures > 0 {
        let Report { failures, line, got, want, .. } = *report;
        let source = test.source;
        let mut lines = vec![
            format!("bpf/{source}.bpf.c:{line}: {}", tables::source_line(source, line)),
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
    use dynptr_spec::Release;

    fn some_test() -> &'static Test {
        tables::GROUPS[0].tests.iter().find(|test| test.source == "local").expect("in the table")
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
        let words = &[Expectation { since: &[], until: &[], text: Some("invalid mem access") }];
        let refused = |log: &str| Loaded::Refused { log: log.into(), reason: "EACCES".into() };
        let release = Release::new(7, 2, 1).into();
        assert_eq!(rejected(words, &refused("R1 invalid mem access 'scalar'"), release), Verdict::Pass);
        let Verdict::Refused(lines) = rejected(words, &refused("unknown opcode"), release) else {
            panic!("should fail")
        };
        assert_eq!(lines[0], "expected to be refused with: invalid mem access");
        let quoted = refused("; /* invalid mem access */ @ some.bpf.c:1\nunknown opcode");
        assert!(matches!(rejected(words, &quoted, release), Verdict::Refused(_)));
        assert!(matches!(rejected(&[], &refused("x"), release), Verdict::Fail(_)));
        let taken = &[Expectation { since: &[], until: &[], text: None }];
        let Verdict::Refused(lines) = rejected(taken, &refused("x"), release) else { panic!("should fail") };
        assert!(lines[0].starts_with("expected to be taken by 7.2.1"), "{lines:?}");
    }

    #[test]
    fn the_last_words_come_before_the_counts() {
        let log = "R0 invalid mem access 'mem_or_null'\nprocessed 9 insns (limit 1000000)\n\n";
        assert_eq!(last_words(log).as_deref(), Some("the verifier: R0 invalid mem access 'mem_or_null'"));
        assert_eq!(last_words("processed 9 insns\n"), None);
        let explained = "R0 is bad\n\nVerification failed: Memory: R0 is bad\n\nSuggestion:\n  Make it good.\n\nprocessed 9 insns\n";
        assert_eq!(last_words(explained).as_deref(), Some("the verifier: R0 is bad"));
    }

    #[test]
    fn a_long_log_is_cut_at_its_beginning() {
        let log: String = (0..500).map(|line| format!("line {line}\n")).collect();
        let tail = tail(&log);
        assert!(tail.starts_with("verifier log, without its first 300 lines:\nline 300\n"));
        assert!(tail.ends_with("line 499"));
    }
}
