// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the tests. A mutant is a test whose program is wrong in one way: every call of one function of the kernel is
//! replaced by `r0 = 0`, as if the function did nothing and said that all is well, and where that is what the test
//! expects, by `r0 = 1`; or an argument is one too large, or too small; or records are submitted that should be discarded,
//! and the other way round. A mutant that passes shows a test that notices nothing. One that the verifier refuses shows
//! nothing about what the test expects, and does not count.
//!
//! Of a program that the verifier has to refuse, the instruction at which it stopped is taken out: if it takes the rest,
//! it was for that instruction alone, and not for another mistake with the same words.

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
    /// The constants that this function gets in this register: they are that much larger.
    Argument(&'static Argument, i32),
    /// Calls of a function that ends a record: they are calls of the other one.
    Ending(&'static str),
    /// The instruction with this number.
    Instruction(usize),
}

/// An argument that can be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    /// The function.
    pub function: &'static str,
    /// What it is.
    pub name: &'static str,
    /// Where it is.
    pub register: u8,
}

const fn argument(function: &'static str, name: &'static str, register: u8) -> Argument {
    Argument { function, name, register }
}

/// Offsets and sizes; and flags, which nobody knows: with one, the function fails.
const ARGUMENTS: &[Argument] = &[
    argument("bpf_dynptr_adjust", "start", 2),
    argument("bpf_dynptr_adjust", "end", 3),
    argument("bpf_dynptr_copy", "to_offset", 2),
    argument("bpf_dynptr_copy", "from_offset", 4),
    argument("bpf_dynptr_copy", "size", 5),
    argument("bpf_dynptr_data", "offset", 2),
    argument("bpf_dynptr_data", "size", 3),
    argument("bpf_dynptr_from_file", "flags", 2),
    argument("bpf_dynptr_from_mem", "size", 2),
    argument("bpf_dynptr_from_mem", "flags", 3),
    argument("bpf_dynptr_from_skb", "flags", 2),
    argument("bpf_dynptr_from_skb_meta", "flags", 2),
    argument("bpf_dynptr_from_xdp", "flags", 2),
    argument("bpf_dynptr_memset", "offset", 2),
    argument("bpf_dynptr_memset", "size", 3),
    argument("bpf_dynptr_memset", "byte", 4),
    argument("bpf_dynptr_read", "size", 2),
    argument("bpf_dynptr_read", "offset", 4),
    argument("bpf_dynptr_read", "flags", 5),
    argument("bpf_dynptr_slice", "offset", 2),
    argument("bpf_dynptr_slice", "size", 4),
    argument("bpf_dynptr_slice_rdwr", "offset", 2),
    argument("bpf_dynptr_slice_rdwr", "size", 4),
    argument("bpf_dynptr_write", "offset", 2),
    argument("bpf_dynptr_write", "size", 4),
    argument("bpf_dynptr_write", "flags", 5),
    argument("bpf_ringbuf_reserve_dynptr", "size", 2),
    argument("bpf_ringbuf_reserve_dynptr", "flags", 3),
    argument("bpf_probe_read_kernel_dynptr", "offset", 2),
    argument("bpf_probe_read_kernel_dynptr", "size", 3),
    argument("bpf_probe_read_kernel_str_dynptr", "offset", 2),
    argument("bpf_probe_read_kernel_str_dynptr", "size", 3),
    argument("bpf_probe_read_user_dynptr", "offset", 2),
    argument("bpf_probe_read_user_dynptr", "size", 3),
    argument("bpf_probe_read_user_str_dynptr", "offset", 2),
    argument("bpf_probe_read_user_str_dynptr", "size", 3),
    argument("bpf_copy_from_user_dynptr", "offset", 2),
    argument("bpf_copy_from_user_dynptr", "size", 3),
    argument("bpf_copy_from_user_str_dynptr", "offset", 2),
    argument("bpf_copy_from_user_str_dynptr", "size", 3),
    argument("bpf_copy_from_user_task_dynptr", "offset", 2),
    argument("bpf_copy_from_user_task_dynptr", "size", 3),
    argument("bpf_copy_from_user_task_str_dynptr", "offset", 2),
    argument("bpf_copy_from_user_task_str_dynptr", "size", 3),
];

/// How records end.
const ENDINGS: [&str; 2] = ["bpf_ringbuf_submit_dynptr", "bpf_ringbuf_discard_dynptr"];

/// The other way in which a record can end.
pub fn other_ending(function: &str) -> &'static str {
    if function == ENDINGS[0] { ENDINGS[1] } else { ENDINGS[0] }
}

impl Mutation {
    /// What the table's reasons, and the mutant's name, have for it.
    fn name(self) -> String {
        match self {
            Self::Call(function, _) => function.into(),
            Self::Argument(argument, _) => format!("{}.{}", argument.function, argument.name),
            Self::Ending(function) => format!("{function}.other"),
            Self::Instruction(_) => "repaired".into(),
        }
    }

    /// The same the other way, for what the test expects anyhow.
    fn opposite(self) -> Option<Self> {
        match self {
            Self::Call(function, 0) => Some(Self::Call(function, 1)),
            Self::Argument(argument, 1) => Some(Self::Argument(argument, -1)),
            _ => None,
        }
    }
}

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
        out.begin_group(group.name, mutants.len())?;
        let mut outcomes = Vec::new();
        let mut sound = (None, Outcome::Pass);
        for (test, mutation) in mutants {
            let name = format!("{}.{}", test.name, mutation.name());
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

/// A test's mutants, as far as its program as it is for this kernel has what they change.
fn all(session: &Session, test: &'static Test, ids: &FunctionIds) -> Vec<(&'static Test, Mutation)> {
    let can_be = |it: &Mutation| {
        matches!(it, Mutation::Call(..) | Mutation::Instruction(_))
            || session.suite.as_ref().is_some_and(|suite| suite.mutated(test.program, *it, ids).is_ok())
    };
    mutations(test).into_iter().filter(can_be).map(|it| (test, it)).collect()
}

/// What can be wrong with a test.
pub fn mutations(test: &Test) -> Vec<Mutation> {
    if matches!(test.run, Run::Rejected(_)) {
        // Which instruction it is, the verifier says.
        return vec![Mutation::Instruction(0)];
    }
    let calls = FUNCTIONS.iter().map(|function| function.name).filter(|name| test.calls.contains(name));
    let arguments = ARGUMENTS.iter().filter(|it| test.calls.contains(&it.function));
    let endings = ENDINGS.into_iter().filter(|name| test.calls.contains(name));
    calls
        .map(|name| Mutation::Call(name, 0))
        .chain(arguments.map(|it| Mutation::Argument(it, 1)))
        .chain(endings.map(Mutation::Ending))
        .collect()
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
    if let Mutation::Instruction(_) = mutation {
        let refused = isolate::run(|| test_run::refused_at(test, suite))?;
        return repaired(refused, |index| attempt(Mutation::Instruction(index)));
    }
    let verdict = match (attempt(mutation)?, mutation.opposite()) {
        (first @ (Verdict::Pass | Verdict::Refused(_)), Some(opposite)) => {
            match (first, attempt(opposite)?) {
                // What was refused the one way shows no more the other way than that nothing was noticed.
                (refused @ Verdict::Refused(_), Verdict::Pass) => refused,
                (_, second) => second,
            }
        }
        (verdict, _) => verdict,
    };
    let reason = reason(test.survives, mutation);
    let is_old = test.era.is_some_and(|point| !point.reached_by(session.release));
    Ok(match (verdict, reason) {
        (Verdict::Pass, None) if is_old => {
            (Outcome::Skip("this kernel is older than what the test is about".into()), Vec::new())
        }
        (Verdict::Fail(lines), None) => (Outcome::Pass, first(&lines)),
        (Verdict::Refused(_), _) => (
            Outcome::Skip("refused by the verifier: it shows nothing about what is expected".into()),
            Vec::new(),
        ),
        (Verdict::Pass, Some(reason)) => (Outcome::Skip(format!("survives: {reason}")), Vec::new()),
        // Where a function fails anyhow, its other arguments do not matter: that is told, and does not count as noticed.
        (Verdict::Pass, None) if !matches!(mutation, Mutation::Call(..)) => (
            Outcome::Skip("not noticed: it does not matter to this test, or is not looked at".into()),
            Vec::new(),
        ),
        (Verdict::Pass, None) => {
            (Outcome::Fail, vec!["the mutant survives: the test does not notice what it has lost".into()])
        }
        (Verdict::Fail(_), Some(_)) => {
            (Outcome::Fail, vec!["the table says that the mutant survives, and it does not".into()])
        }
        (Verdict::Missing(missing), _) => (Outcome::Skip(missing.to_string()), Vec::new()),
    })
}

/// What the table says about this mutation.
fn reason(table: &[(&str, &'static str)], mutation: Mutation) -> Option<&'static str> {
    table.iter().find(|it| it.0 == mutation.name()).map(|it| it.1)
}

/// Is the rest of a program good, when the instruction is taken out for which it was refused?
fn repaired(
    refused: Verdict,
    attempt: impl FnOnce(usize) -> io::Result<Verdict>,
) -> io::Result<(Outcome, Vec<String>)> {
    let Verdict::Refused(lines) = refused else {
        return Ok((Outcome::Skip("the verifier names no instruction".into()), Vec::new()));
    };
    let text = lines.join("\n");
    let Ok(index) = text.trim().parse() else { return Ok((Outcome::Fail, lines)) };
    Ok(match attempt(index)? {
        Verdict::Refused(lines) if first(&lines).iter().any(|it| it.ends_with(test_run::TAKEN)) => {
            (Outcome::Pass, vec![format!("without instruction {index} the verifier takes it")])
        }
        Verdict::Missing(missing) => (Outcome::Skip(missing.to_string()), Vec::new()),
        // What is missing at the end cannot be taken out, nor what other instructions need.
        _ => (Outcome::Skip("refused without that instruction, too: no repair by one".into()), Vec::new()),
    })
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
