// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the tests. A mutant is a test whose program has lost what it is about: every call of one function of the
//! kernel is replaced by `r0 = 0`, as if the function did nothing and said that all is well, and where that is what
//! the test expects, by `r0 = 1`; or, where the verifier has to refuse the program, all of it is. A mutant that passes
//! shows a test that notices nothing.

use std::io;
use std::time::Instant;

use crate::isolate::{self, Verdict};
use crate::ktap::{Outcome, Writer};
use crate::model::{FUNCTIONS, Run, Test};
use crate::run as test_run;
use crate::session::{Session, mark_console, of_group};
use crate::suite::{FunctionIds, Suite};

/// What is taken away from a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// All calls of this function of the kernel; this is what they return.
    Call(&'static str, i32),
    /// Everything.
    All,
}

/// Runs all mutants of the tests. True if each one failed, or survived where the table says why.
///
/// # Errors
/// Where the results cannot be written, or no process can be had.
pub fn run(session: &Session) -> io::Result<bool> {
    let ids = match &session.suite {
        Some(_) => FunctionIds::of_kernel().map_err(io::Error::other)?,
        None => FunctionIds::default(),
    };
    let mut out = Writer::new(io::stdout(), session.groups.len())?;
    let mut all_good = true;
    for (group, tests) in &session.groups {
        let mutants: Vec<(&'static Test, Mutation)> =
            tests.iter().flat_map(|test| mutations(test).into_iter().map(|it| (*test, it))).collect();
        out.begin_group(group.name, mutants.len())?;
        let mut outcomes = Vec::new();
        let mut sound = (None, Outcome::Pass);
        for (test, mutation) in mutants {
            let name = match mutation {
                Mutation::Call(function, _) => format!("{}.{function}", test.name),
                Mutation::All => format!("{}.all", test.name),
            };
            mark_console(group.name, &name);
            out.begin_test(&name)?;
            let begin = Instant::now();
            if sound.0 != Some(test.name) {
                sound = (Some(test.name), sound_outcome(session, test)?);
            }
            let (outcome, lines) = match (&sound.1, &session.suite) {
                (Outcome::Pass, Some(suite)) => mutant(session, suite, test, mutation, &ids)?,
                (other, _) => (other.clone(), vec!["the test itself does not pass".into()]),
            };
            out.end_test(&name, &outcome, begin.elapsed(), lines.iter().map(String::as_str))?;
            outcomes.push(outcome);
        }
        let outcome = of_group(&outcomes);
        all_good &= outcome != Outcome::Fail;
        out.end_group(group.name, &outcome, [])?;
    }
    Ok(all_good)
}

/// What can be taken away from a test.
pub fn mutations(test: &Test) -> Vec<Mutation> {
    match test.run {
        Run::Rejected(_) => vec![Mutation::All],
        Run::Trigger(_) => FUNCTIONS
            .iter()
            .map(|function| function.name)
            .filter(|name| test.calls.contains(name))
            .map(|name| Mutation::Call(name, 0))
            .collect(),
    }
}

/// What becomes of the test as it is: only one that passes can be told from its mutants.
fn sound_outcome(session: &Session, test: &'static Test) -> io::Result<Outcome> {
    let Some(suite) = &session.suite else { return Ok(Outcome::Skip("nothing can be run here".into())) };
    if let Some(need) = test.missing_in(session.release) {
        return Ok(Outcome::Skip(format!("needs {}: {}", need.since.mainline, need.name)));
    }
    if test.bug.as_ref().is_some_and(|bug| bug.is_in(session.release)) {
        return Ok(Outcome::Skip("this kernel has a mistake that the test runs into".into()));
    }
    Ok(match isolate::run(|| test_run::run(test, suite, session.release, None))? {
        Verdict::Pass => Outcome::Pass,
        Verdict::Missing(missing) => Outcome::Skip(missing.to_string()),
        Verdict::Fail(_) | Verdict::Refused(_) => Outcome::Fail,
    })
}

fn mutant(
    session: &Session,
    suite: &Suite,
    test: &'static Test,
    mutation: Mutation,
    ids: &FunctionIds,
) -> io::Result<(Outcome, Vec<String>)> {
    if let Some(reason) = reason(test.spares, mutation) {
        return Ok((Outcome::Skip(format!("spared: {reason}")), Vec::new()));
    }
    let attempt = |it| isolate::run(|| test_run::run(test, suite, session.release, Some((it, ids))));
    let verdict = match (attempt(mutation)?, mutation) {
        (Verdict::Pass, Mutation::Call(function, _)) => attempt(Mutation::Call(function, 1))?,
        (verdict, _) => verdict,
    };
    let reason = reason(test.survives, mutation);
    let is_old = test.era.is_some_and(|point| !point.reached_by(session.release));
    Ok(match (verdict, reason) {
        (Verdict::Pass, None) if is_old => {
            (Outcome::Skip("this kernel is older than what the test is about".into()), Vec::new())
        }
        (Verdict::Fail(lines) | Verdict::Refused(lines), None) => (Outcome::Pass, first(&lines)),
        (Verdict::Pass, Some(reason)) => (Outcome::Skip(format!("survives: {reason}")), Vec::new()),
        (Verdict::Pass, None) => {
            (Outcome::Fail, vec!["the mutant survives: the test does not notice what it has lost".into()])
        }
        (Verdict::Fail(_) | Verdict::Refused(_), Some(_)) => {
            (Outcome::Fail, vec!["the table says that the mutant survives, and it does not".into()])
        }
        (Verdict::Missing(missing), _) => (Outcome::Skip(missing.to_string()), Vec::new()),
    })
}

/// What the table says about this mutation.
fn reason(table: &[(&str, &'static str)], mutation: Mutation) -> Option<&'static str> {
    match mutation {
        Mutation::Call(function, _) => table.iter().find(|it| it.0 == function).map(|it| it.1),
        Mutation::All => None,
    }
}

/// How it was noticed.
fn first(lines: &[String]) -> Vec<String> {
    let all = lines.join("\n");
    all.lines().take(2).map(|line| format!("noticed: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::GROUPS;

    #[test]
    fn every_test_has_a_mutant() {
        for test in GROUPS.iter().flat_map(|group| group.tests) {
            assert!(!mutations(test).is_empty(), "{}", test.name);
        }
    }

    #[test]
    fn every_function_is_taken_away_from_a_test_that_notices() {
        let mut noticed = BTreeSet::new();
        for test in GROUPS.iter().flat_map(|group| group.tests) {
            for mutation in mutations(test) {
                if let Mutation::Call(name, _) = mutation
                    && !test.survives.iter().any(|it| it.0 == name)
                {
                    noticed.insert(name);
                }
            }
        }
        let all: BTreeSet<_> = FUNCTIONS.iter().map(|it| it.name).collect();
        assert_eq!(noticed, all);
    }
}
