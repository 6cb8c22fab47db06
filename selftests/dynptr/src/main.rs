// SPDX-License-Identifier: GPL-2.0-only
//! The dynptr selftests: one program at a time, on any kernel.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod cli;
mod environment;
mod isolate;
mod ktap;
mod model;
mod packet;
mod release;
mod report;
mod run;
mod suite;
mod tap;

// The build script's own rules are tested here: nothing runs the tests of a build script.
#[cfg(test)]
#[path = "../build/table.rs"]
mod table;

use cli::Command;
use isolate::Verdict;
use ktap::{Outcome, Writer};
use model::{GROUPS, Group, Test};
use release::Release;
use suite::Suite;

/// A test failed.
const FAILED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// This machine cannot run the tests.
const UNUSABLE: u8 = 3;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(message) => return complain(USAGE, &message),
    };
    let text = match command {
        Command::Run(names) => return run(&names),
        Command::List(format) => cli::list(format),
        Command::Help => cli::HELP.to_owned(),
        Command::Version => format!("dynptr-selftests {}\n", env!("CARGO_PKG_VERSION")),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => complain(UNUSABLE, &format!("cannot write to stdout: {err}")),
    }
}

fn complain(code: u8, message: &str) -> ExitCode {
    for line in message.lines() {
        eprintln!("dynptr-selftests: {line}");
    }
    ExitCode::from(code)
}

fn run(names: &[String]) -> ExitCode {
    let session = match environment::check().and_then(|()| Session::new(names)) {
        Ok(session) => session,
        Err(message) => return complain(UNUSABLE, &message),
    };
    match session.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(err) => complain(UNUSABLE, &format!("cannot go on: {err}")),
    }
}

/// The tests that were asked for, on the running kernel.
struct Session {
    release: Release,
    groups: Vec<(&'static Group, Vec<&'static Test>)>,
    /// None where the kernel is too old for all of them.
    suite: Option<Suite>,
}

impl Session {
    fn new(names: &[String]) -> Result<Self, String> {
        let wanted = |group: &Group, test: &Test| {
            names.is_empty() || names.iter().any(|name| name.split_once('/') == Some((group.name, test.name)))
        };
        let groups: Vec<(&Group, Vec<&Test>)> = GROUPS
            .iter()
            .map(|group| (group, group.tests.iter().filter(|test| wanted(group, test)).collect::<Vec<_>>()))
            .filter(|(_, tests)| !tests.is_empty())
            .collect();
        let release = environment::release()?;
        let tests =
            groups.iter().flat_map(|(_, tests)| tests).filter(|test| test.missing_in(release).is_none());
        let programs: Vec<&str> = tests.flat_map(|test| test.programs()).collect();
        let suite = if programs.is_empty() { None } else { Some(Suite::prepare(&programs)?) };
        Ok(Self { release, groups, suite })
    }

    /// True if no test failed.
    fn run(&self) -> io::Result<bool> {
        let mut out = Writer::new(io::stdout(), self.groups.len())?;
        let mut all_good = true;
        for (group, tests) in &self.groups {
            out.begin_group(group.name, tests.len())?;
            let mut outcomes = Vec::new();
            for test in tests {
                mark_console(group.name, test.name);
                out.begin_test(test.name)?;
                let (outcome, duration, diagnostics) = self.test(test)?;
                out.end_test(test.name, &outcome, duration, diagnostics.iter().map(String::as_str))?;
                outcomes.push(outcome);
            }
            let outcome = of_group(&outcomes);
            all_good &= outcome != Outcome::Fail;
            out.end_group(group.name, &outcome)?;
        }
        Ok(all_good)
    }

    fn test(&self, test: &'static Test) -> io::Result<(Outcome, Duration, Vec<String>)> {
        let begin = Instant::now();
        let verdict = match (test.missing_in(self.release), &self.suite) {
            (Some(need), _) => {
                let reason = format!("needs {}: {}", need.since.mainline, need.name);
                return Ok((Outcome::Skip(reason), begin.elapsed(), Vec::new()));
            }
            (None, Some(suite)) => isolate::run(|| run::run(test, suite, self.release))?,
            (None, None) => Verdict::Fail(vec!["harness: nothing was prepared".into()]),
        };
        Ok(match verdict {
            Verdict::Pass => (Outcome::Pass, begin.elapsed(), Vec::new()),
            Verdict::Fail(lines) => (Outcome::Fail, begin.elapsed(), lines),
            Verdict::Missing(missing) => (Outcome::Skip(missing.to_string()), begin.elapsed(), Vec::new()),
        })
    }
}

/// Puts the test's name into the kernel's log, so that what the kernel complains about from now on stands behind it.
fn mark_console(group: &str, test: &str) {
    // Where the log cannot be written there is nobody who reads it for this mark.
    let _ = std::fs::write("/dev/kmsg", format!("<4>{}{group}/{test}\n", kvet_wire::RUN_MARK));
}

/// A group fails with any of its tests, and is skipped with all of them.
fn of_group(outcomes: &[Outcome]) -> Outcome {
    if outcomes.contains(&Outcome::Fail) {
        Outcome::Fail
    } else if outcomes.iter().all(|it| matches!(it, Outcome::Skip(_))) {
        Outcome::Skip("all of its tests were".into())
    } else {
        Outcome::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_fails_with_any_test_and_is_skipped_with_all() {
        let skip = Outcome::Skip("old".into());
        assert_eq!(of_group(&[Outcome::Pass, Outcome::Fail, skip.clone()]), Outcome::Fail);
        assert_eq!(of_group(&[Outcome::Pass, skip.clone()]), Outcome::Pass);
        assert!(matches!(of_group(&[skip.clone(), skip]), Outcome::Skip(_)));
    }
}
