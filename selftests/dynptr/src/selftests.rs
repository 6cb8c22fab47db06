// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the tests and of the harness, as the command line starts them. The shipped binary is
//! built without the feature `selftests`, and has none of them.

use std::io;

use nix::sys::prctl;

use crate::cli::{self, Options};
use crate::crash_selftest;
use crate::ktap::{Outcome, Writer};
use crate::leak_selftest;
use crate::mutant::{Mutation, choice};
use crate::tunnel_selftest;

/// What `--help` says of their usage.
pub const USAGE: &str = concat!(
    "       dynptr-selftests [--strict] [--shuffle SEED] [--logs] [--test NAME]... --mutate NAME...\n",
    "       dynptr-selftests --mutants [--test NAME]...\n",
    "       dynptr-selftests --leaks\n",
);

/// What `--help` says of their options.
pub const OPTIONS: &str = "
      --mutate NAME    make this test's program wrong (group/test.mutation, as --mutants names it): it should fail, and no other;
                       group/test.other_words has a program that must be refused wait for words that no verifier says
      --mutants        check the tests: take away what each test is about, and see that it notices
      --leaks          check the harness: leave something of each kind behind, and see that it is named; lead packets
                       past the tunnels, and see that the tests of these fail; have tests' processes crash
";

/// The tests of the tests and of the harness that were asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Tests whose programs are made wrong, by `group/test`.
    pub mutated: Vec<(String, Mutation)>,
    /// Run all mutants of the tests.
    pub mutants: bool,
    /// Test the harness.
    pub leaks: bool,
}

impl Request {
    /// Adds the mutant of this name.
    ///
    /// # Errors
    /// There is no such mutant.
    pub fn mutate(&mut self, text: &str) -> Result<(), String> {
        let (name, wrong) =
            text.split_once('.').ok_or_else(|| format!("--mutate {text:?}: expected group/test.mutation"))?;
        let name = cli::known(name.to_owned())?;
        let test = cli::all().find(|(group, test)| test.is_called(&name, group));
        let all = test.map_or_else(Vec::new, |(_, test)| choice(test));
        let names: Vec<String> = all.iter().map(|it| it.name()).collect();
        match all.into_iter().find(|it| it.name() == wrong) {
            Some(mutation) => self.mutated.push((name, mutation)),
            None => {
                let names = names.join(", ");
                return Err(format!("--mutate {text:?}: expected one of {name}'s: {names}"));
            }
        }
        Ok(())
    }

    /// Does it go with the other options?
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, options: &Options) -> Result<(), String> {
        let Options { tests, strict, shuffle, logs, .. } = options;
        let changes_a_run = *strict || *logs || shuffle.is_some() || !self.mutated.is_empty();
        if self.mutants && changes_a_run {
            return Err("--mutants goes with --test only".into());
        }
        if self.leaks && (self.mutants || changes_a_run || !tests.is_empty()) {
            return Err("--leaks goes with nothing else".into());
        }
        Ok(())
    }
}

/// Tests the harness: what it says of leaks, tunnels and crashes. True if all of it is right.
///
/// # Errors
/// Where the results cannot be written, or no process can be had.
pub fn of_harness() -> io::Result<bool> {
    prctl::set_child_subreaper(true)?;
    let mut out = Writer::new(io::stdout(), 3)?;
    let outcomes =
        [leak_selftest::run(&mut out)?, tunnel_selftest::run(&mut out)?, crash_selftest::run(&mut out)?];
    Ok(!outcomes.contains(&Outcome::Fail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::parsed;
    use crate::cli::{Command, help};

    #[test]
    fn reads_the_mutants_to_run() {
        let of = |text: &str, mutation| {
            let mutated = vec![(text.to_owned(), mutation)];
            let selftests = Request { mutated, ..Request::default() };
            Ok(Command::Run(Options { selftests, ..Options::default() }))
        };
        let read = "dynptr_success/test_read_write";
        let lost = parsed(&["--mutate", "dynptr_success/test_read_write.bpf_dynptr_read.lost"]);
        assert_eq!(lost, of(read, Mutation::Lost("bpf_dynptr_read", 0)));
        let words = parsed(&["--mutate=dynptr_fail/clone_invalid1.other_words"]);
        assert_eq!(words, of("dynptr_fail/clone_invalid1", Mutation::OtherWords));
        assert!(["--mutate NAME", "--mutants ", "--leaks "].iter().all(|flag| help().contains(flag)));
    }

    #[test]
    fn refuses_a_wrong_command_line() {
        for (args, complaint) in [
            (&["--mutants", "--strict"][..], "--mutants goes with --test only"),
            (&["--mutants", "--logs"], "--mutants goes with --test only"),
            (&["--mutate", "dynptr_success/test_read_write"], "expected group/test.mutation"),
            (&["--mutate", "dynptr_success/test_read_write.x"], "bpf_dynptr_read.wrong_offset"),
            (
                &["--mutate", "dynptr_fail/clone_invalid1.x"],
                "expected one of dynptr_fail/clone_invalid1's: repaired, other_words",
            ),
            (&["--mutate", "dynptr_success/test_read_write.other_words"], "expected one of"),
            (&["--leaks", "--mutants"], "--leaks goes with nothing else"),
            (&["--list", "--leaks"], "--list runs nothing"),
        ] {
            let err = parsed(args).expect_err("wrong");
            assert!(err.contains(complaint), "{args:?}: {err}");
        }
    }
}
