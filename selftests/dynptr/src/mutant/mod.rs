// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the tests. A mutant is a test whose program is wrong in one [way][Mutation]: it has to fail, because an expectation
//! does not hold or, where a bound or a release is missing, because the verifier refuses the program for just that. One that
//! passes shows a test that does not look, unless `survivors.yaml` says why it may. One that the verifier refuses for something
//! else shows nothing, and does not count.
//!
//! Of a program that the verifier has to refuse, the instruction at which it stopped is taken out: if it takes the rest,
//! it was for that instruction alone, and not for another mistake with the same words.

use std::io;
use std::time::Instant;

use crate::isolate::{self, Missing, Verdict};
use crate::ktap::{Outcome, Writer};
use crate::report::Config;
use crate::run as test_run;
use crate::session::{Session, mark_console, of_group};
use crate::suite::{Detail, Loaded, Suite};
use crate::tables::SURVIVORS;
use crate::unprivileged::Unprivileged;
use dynptr_spec::Running;
use dynptr_spec::{Expectation, Group, Run, Survivor, Test};

mod mutation;
mod rewrite;

use mutation::mutations;
pub use mutation::{Mutation, choice};
use rewrite::FunctionIds;

/// Runs all mutants of the tests. True if each one failed, or survived where the table says why.
///
/// # Errors
/// Where the results cannot be written, or no process can be had.
pub fn run(session: &Session) -> io::Result<bool> {
    let ids = FunctionIds::of_kernel();
    let mut out = Writer::new(io::stdout(), session.groups.len())?;
    let mut all_good = true;
    for (group, tests) in &session.groups {
        let mutants: Vec<(&'static Test, Mutation)> =
            tests.iter().flat_map(|test| all(session, test, &ids)).collect();
        let strays: Vec<String> = tests.iter().flat_map(|test| strays(session, group, test, &ids)).collect();
        out.begin_group(group.name, mutants.len())?;
        let mut outcomes = Vec::new();
        let mut sound = (None, Err(Outcome::Fail));
        for (test, mutation) in mutants {
            let name = format!("{}.{}", test.name, mutation.name());
            mark_console(group.name, &name);
            out.begin_test(&name)?;
            let begin = Instant::now();
            if sound.0 != Some(test.name) {
                sound = (Some(test.name), soundly(session, test)?);
            }
            let (outcome, lines) = match (&sound.1, &session.suite) {
                (Ok(running), Some(suite)) => {
                    let survivor = reasons(group, test, mutation).find(|it| it.is_of(*running));
                    judge(suite, *running, test, mutation, survivor, &ids)?
                }
                (Ok(_), None) => (Outcome::Fail, vec!["harness: nothing was prepared".into()]),
                (Err(other), _) => (other.clone(), vec!["the test itself does not pass".into()]),
            };
            out.end_test(&name, &outcome, begin.elapsed(), lines.iter().map(String::as_str))?;
            outcomes.push(outcome);
        }
        let outcome = if strays.is_empty() { of_group(&outcomes) } else { Outcome::Fail };
        all_good &= outcome != Outcome::Fail;
        out.end_group(group.name, &outcome, strays.iter().map(String::as_str))?;
    }
    Ok(all_good)
}

/// A test's mutants, as far as its program as it is for this kernel has what they change.
fn all(session: &Session, test: &'static Test, ids: &FunctionIds) -> Vec<(&'static Test, Mutation)> {
    let can_be = |it: &Mutation| {
        matches!(it, Mutation::Repaired(_))
            || session.suite.as_ref().is_some_and(|suite| instructions(suite, test, *it, ids).is_some())
    };
    mutations(test).into_iter().filter(can_be).map(|it| (test, it)).collect()
}

/// What the table has reasons for, and is no mutant of the test's.
fn strays(session: &Session, group: &Group, test: &'static Test, ids: &FunctionIds) -> Vec<String> {
    if session.too_old(test).is_some() {
        return Vec::new();
    }
    let names: Vec<String> = all(session, test, ids).iter().map(|it| it.1.name()).collect();
    let of_test = SURVIVORS.iter().filter(|it| test.is_called(it.test, group.name));
    let strays = of_test.filter(|it| !names.iter().any(|name| name == it.mutation));
    let told = strays
        .map(|it| format!("survivors.yaml has {}.{}, and there is no such mutant", it.test, it.mutation));
    told.collect()
}

/// What the table says about this mutant, on one kernel or another.
fn reasons(group: &Group, test: &Test, mutation: Mutation) -> impl Iterator<Item = &'static Survivor> {
    let name = mutation.name();
    SURVIVORS.iter().filter(move |it| it.mutation == name && test.is_called(it.test, group.name))
}

fn instructions(
    suite: &Suite,
    test: &Test,
    mutation: Mutation,
    ids: &FunctionIds,
) -> Option<Vec<libbpf_sys::bpf_insn>> {
    rewrite::mutated(suite.instructions(test.program), mutation, ids)
}

/// As what kernel the test passes as it is: only one that passes can be told from its mutants. Otherwise, what becomes of
/// its mutants.
fn soundly(session: &Session, test: &'static Test) -> io::Result<Result<Running, Outcome>> {
    if let Some(reason) = session.too_old(test) {
        return Ok(Err(Outcome::Skip(reason)));
    }
    let Some(suite) = &session.suite else {
        return Ok(Err(Outcome::Skip("nothing can be run here".into())));
    };
    let mut verdict = Verdict::Pass;
    for running in session.expectations_of(test) {
        verdict = isolate::run(|| test_run::run(test, suite, running))?;
        if verdict == Verdict::Pass {
            return Ok(Ok(running));
        }
    }
    Ok(Err(match session.judge(test, verdict).0 {
        Outcome::Xfail(_) => Outcome::Skip("this kernel has a mistake that the test runs into".into()),
        other => other,
    }))
}

/// Runs the mutant that somebody has chosen. Its program is that of the mutation which is returned, too.
///
/// # Errors
/// Where no process can be had.
pub fn chosen(
    suite: &Suite,
    running: Running,
    test: &'static Test,
    mutation: Mutation,
) -> io::Result<(Verdict, Mutation)> {
    let mutation = match mutation {
        Mutation::Repaired(_) => match place(suite, test)? {
            Ok(index) => Mutation::Repaired(index),
            Err((Outcome::Skip(why), _)) => return Ok((no_mutant(&why), mutation)),
            Err((_, lines)) => return Ok((Verdict::Fail(lines), mutation)),
        },
        other => other,
    };
    attempt(suite, running, test, mutation, &FunctionIds::of_kernel())
}

/// Has the verifier tell all about the mutant's program, as [`test_run::explain`] does of the test's. To be called in a child
/// process.
pub fn explain(suite: &Suite, test: &'static Test, mutation: Mutation, file: &str) -> Vec<String> {
    if let Some(insns) = instructions(suite, test, mutation, &FunctionIds::of_kernel()) {
        suite.change(test.program, insns);
    }
    test_run::explain(test, suite, file)
}

/// What no verifier says, on any kernel.
const OTHER_WORDS: &[Expectation] =
    &[Expectation { since: &[], until: &[], text: Some("words that no verifier says") }];

/// There is no such mutant here, and nothing is shown.
fn no_mutant(why: &str) -> Verdict {
    Verdict::Missing(Missing::Perhaps(format!("no mutant: {why}")))
}

/// Runs the mutant, and where that shows nothing the same the other way. The mutation is the one that the verdict is about.
fn attempt(
    suite: &Suite,
    running: Running,
    test: &'static Test,
    mutation: Mutation,
    ids: &FunctionIds,
) -> io::Result<(Verdict, Mutation)> {
    let one = |it| {
        isolate::run(|| {
            if it == Mutation::OtherWords {
                let test = Test { run: Run::Rejected(OTHER_WORDS), ..*test };
                return test_run::run(&test, suite, running);
            }
            match instructions(suite, test, it, ids) {
                Some(insns) => {
                    suite.change(test.program, insns);
                    test_run::run(test, suite, running)
                }
                // Not `Fail`: a mutant that could not be made has shown nothing.
                None => no_mutant(&format!("the program has nothing for {it:?}")),
            }
        })
    };
    let first = one(mutation)?;
    Ok(match mutation.opposite() {
        Some(opposite) if matches!(first, Verdict::Pass | Verdict::Refused(_)) => {
            either_way((first, mutation), (one(opposite)?, opposite))
        }
        _ => (first, mutation),
    })
}

/// What a mutant comes to that is wrong in either of two ways. It is enough that the test notices one; but what was refused the
/// one way shows no more than that nothing was noticed the other way.
fn either_way<T>(first: (Verdict, T), second: (Verdict, T)) -> (Verdict, T) {
    let says = |verdict: &Verdict| match verdict {
        Verdict::Fail(_) => 3,
        Verdict::Pass => 2,
        Verdict::Refused(_) => 1,
        Verdict::Missing(_) => 0,
    };
    if says(&second.0) >= says(&first.0) { second } else { first }
}

fn judge(
    suite: &Suite,
    running: Running,
    test: &'static Test,
    mutation: Mutation,
    survivor: Option<&Survivor>,
    ids: &FunctionIds,
) -> io::Result<(Outcome, Vec<String>)> {
    if let Some(Survivor { why, exempt: true, .. }) = survivor {
        return Ok((Outcome::Skip(format!("exempt: {why}")), Vec::new()));
    }
    if let Mutation::Repaired(_) = mutation {
        return Ok(match place(suite, test)? {
            Ok(index) => repaired(index, attempt(suite, running, test, Mutation::Repaired(index), ids)?.0),
            Err(outcome) => outcome,
        });
    }
    let verdict = attempt(suite, running, test, mutation, ids)?.0;
    if verdict == Verdict::Pass
        && test.release_window.is_some()
        && !test_run::is_in_release_window(test, running)
    {
        let skip = "this kernel is older than what the test is about, and there is less to see";
        return Ok((Outcome::Skip(skip.into()), Vec::new()));
    }
    Ok(of_verdict(verdict, mutation, survivor.map(|it| it.why)))
}

fn of_verdict(verdict: Verdict, mutation: Mutation, reason: Option<&str>) -> (Outcome, Vec<String>) {
    let noticed = match &verdict {
        Verdict::Fail(_) => true,
        Verdict::Refused(lines) => {
            mutation.refused_with().is_some_and(|words| lines.iter().any(|line| line.contains(words)))
        }
        Verdict::Pass | Verdict::Missing(_) => false,
    };
    match (verdict, reason) {
        (Verdict::Fail(lines) | Verdict::Refused(lines), Some(_)) => {
            let stale = "survivors.yaml says that the mutant survives, and it does not".to_owned();
            (Outcome::Fail, std::iter::once(stale).chain(first(&lines)).collect())
        }
        (Verdict::Fail(lines) | Verdict::Refused(lines), None) if noticed => (Outcome::Pass, first(&lines)),
        (Verdict::Fail(lines) | Verdict::Refused(lines), None) => {
            let skip = "refused by the verifier: it shows nothing about what is expected";
            (Outcome::Skip(skip.into()), first(&lines))
        }
        (Verdict::Pass, Some(reason)) => (Outcome::Skip(format!("survives: {reason}")), Vec::new()),
        (Verdict::Pass, None) => {
            let lines =
                ["the mutant survives: the test does not notice, and survivors.yaml does not say why"];
            (Outcome::Fail, lines.map(str::to_owned).into())
        }
        (Verdict::Missing(missing), _) => (Outcome::Skip(missing.to_string()), Vec::new()),
    }
}

/// The instruction at which the verifier stops, or what becomes of the mutant without one.
fn place(suite: &Suite, test: &'static Test) -> io::Result<Result<usize, (Outcome, Vec<String>)>> {
    Ok(match isolate::run(|| refused_at(test, suite))? {
        Verdict::Refused(lines) => lines.concat().trim().parse().map_err(|_| (Outcome::Fail, lines)),
        Verdict::Pass => Err((Outcome::Skip("the verifier names no instruction".into()), Vec::new())),
        Verdict::Missing(missing) => Err((Outcome::Skip(missing.to_string()), Vec::new())),
        Verdict::Fail(lines) => Err((Outcome::Fail, lines)),
    })
}

/// The number of the instruction at which the verifier stops, as the one line of a refusal; a pass where there is none.
fn refused_at(test: &Test, suite: &Suite) -> Verdict {
    let without = match Unprivileged::begin(test.rights) {
        Ok(without) => without,
        Err(verdict) => return verdict,
    };
    let programs: Vec<&str> = test.programs().collect();
    let loaded = suite.load(&programs, Config::default(), Detail::Refusal);
    drop(without);
    match loaded {
        Ok(Loaded::Refused { log, .. }) => match last_instruction(&log) {
            Some(index) => Verdict::Refused(vec![index.to_string()]),
            None => Verdict::Pass,
        },
        // Some kernels take what others refuse.
        Ok(Loaded::Accepted { .. }) => no_mutant("this kernel takes the program"),
        Err(message) => Verdict::Fail(vec![message]),
    }
}

/// The log's last line about an instruction begins with its number, a colon and its code in brackets.
fn last_instruction(log: &str) -> Option<usize> {
    log.lines().rev().find_map(|line| line.split_once(": (")?.0.trim().parse().ok())
}

/// Is the rest of a program good, when the instruction is taken out for which it was refused?
fn repaired(index: usize, verdict: Verdict) -> (Outcome, Vec<String>) {
    match verdict {
        Verdict::Refused(lines) if first(&lines).iter().any(|it| it.ends_with(test_run::TAKEN)) => {
            (Outcome::Pass, vec![format!("without instruction {index} the verifier takes it")])
        }
        Verdict::Missing(missing) => (Outcome::Skip(missing.to_string()), Vec::new()),
        Verdict::Fail(lines) => (Outcome::Fail, lines),
        // What is missing at the end cannot be taken out, nor what other instructions need.
        _ => (Outcome::Skip("refused without that instruction, too: no repair by one".into()), Vec::new()),
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
    use crate::tables::{FUNCTIONS, GROUPS};

    fn all() -> impl Iterator<Item = (&'static Group, &'static Test)> {
        GROUPS.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test)))
    }

    #[test]
    fn every_test_has_a_mutant_and_each_its_own_name() {
        for (_, test) in all() {
            let names: Vec<String> = mutations(test).into_iter().map(Mutation::name).collect();
            assert!(!names.is_empty(), "{}", test.name);
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn every_function_is_taken_away_from_a_test_that_notices() {
        for function in FUNCTIONS {
            let prefix = format!("{}.", function.name);
            let of_function = |it: &Mutation| it.name().starts_with(&prefix);
            let notices = |(group, test): &(&Group, &Test)| {
                let first = mutations(test).into_iter().find(of_function);
                first.is_some_and(|it| reasons(group, test, it).next().is_none())
            };
            assert!(all().any(|it| notices(&it)), "{}", function.name);
        }
    }

    #[test]
    fn what_has_a_reason_is_a_mutation_of_a_test() {
        for Survivor { test, mutation, .. } in SURVIVORS {
            let of_test = |it: &(&Group, &Test)| it.1.is_called(test, it.0.name);
            let found = all().find(of_test).unwrap_or_else(|| panic!("there is no test {test}"));
            let names: Vec<String> = mutations(found.1).into_iter().map(Mutation::name).collect();
            assert!(names.iter().any(|it| it == mutation), "{test}.{mutation}");
        }
    }

    #[test]
    fn a_mutant_that_runs_unnoticed_one_way_survives_unless_the_other_way_fails() {
        let fail = || Verdict::Fail(vec!["line 7".into()]);
        let refused = |words: &str| Verdict::Refused(vec![words.into()]);
        let missing = || no_mutant("it has none");
        for (first, second, expected) in [
            (Verdict::Pass, fail(), fail()),
            (refused("one"), fail(), fail()),
            (Verdict::Pass, refused("other"), Verdict::Pass),
            (refused("one"), Verdict::Pass, Verdict::Pass),
            (Verdict::Pass, Verdict::Pass, Verdict::Pass),
            (refused("one"), refused("other"), refused("other")),
            (Verdict::Pass, missing(), Verdict::Pass),
            (refused("one"), missing(), refused("one")),
        ] {
            let text = format!("{first:?} {second:?}");
            let either = either_way((first.clone(), 1), (second.clone(), 2));
            assert_eq!(either.0, expected, "{text}");
            // It is of the mutant that is said to be the one.
            assert_eq!(either.0, if either.1 == 1 { first } else { second }, "{text}");
        }
    }

    #[test]
    fn only_what_fails_is_noticed_and_a_survivor_needs_a_reason_that_is_true() {
        let fail = || Verdict::Fail(vec!["line 7".into()]);
        let refused = |words: &str| Verdict::Refused(vec!["EACCES".into(), words.into()]);
        let lost = Mutation::Lost("bpf_dynptr_read", 0);
        let bound = Mutation::MissingBound("bpf_dynptr_data");
        let release = Mutation::SkippedRelease("bpf_dynptr_file_discard");
        for (verdict, mutation, reason, expected) in [
            (fail(), lost, None, "pass"),
            (fail(), lost, Some("x"), "fail"),
            (Verdict::Pass, lost, None, "fail"),
            (Verdict::Pass, lost, Some("x"), "skip"),
            (refused("unbounded memory access"), lost, None, "skip"),
            (refused("unbounded memory access"), lost, Some("x"), "fail"),
            (refused("R0 invalid mem access 'mem_or_null'"), bound, None, "pass"),
            (refused("unbounded memory access"), bound, None, "skip"),
            (refused("Unreleased reference id=2 alloc_insn=7"), release, None, "pass"),
            (Verdict::Pass, release, None, "fail"),
        ] {
            let text = format!("{verdict:?} {mutation:?} {reason:?}");
            let got = match of_verdict(verdict, mutation, reason).0 {
                Outcome::Pass => "pass",
                Outcome::Fail => "fail",
                Outcome::Skip(_) => "skip",
                Outcome::Xfail(_) => "xfail",
            };
            assert_eq!(got, expected, "{text}");
        }
    }
}
