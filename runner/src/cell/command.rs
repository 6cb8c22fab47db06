//! The command line of a job: the suite's program and which of its tests are to run.

mod test_progs;

use kvet_wire::{Tty, paths};

use crate::error::Result;
use crate::plan::CellPlan;
use crate::plan::arguments::MAX_TOTAL;
use crate::plan::expectations::Expected;
use crate::spec::suite::Format;

pub use test_progs::is_live;

/// Linux takes [`crate::plan::arguments::MAX_TOTAL`] bytes of arguments; half of that is for the selection.
const MAX_SELECTION: usize = MAX_TOTAL / 2;

/// What a program is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// A terminal, where the program would otherwise keep its output back.
    pub tty: Option<Tty>,
    /// Whether the tests that are done really are left out: with some suites, and with very many tests, that cannot be
    /// said.
    pub leaves_done_out: bool,
}

/// What a boot need not run.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// Tests that have a result from a boot before.
    pub done: Vec<String>,
    /// Globs of tests that are expected to be skipped.
    pub skipped: Vec<String>,
}

/// What a boot of a plan need not run, with what is expected and what is done.
pub fn left_out(plan: &CellPlan, expected: &Expected, done: &[String]) -> LeftOut {
    let mut skipped: Vec<String> = expected.skipped().map(|entry| entry.test.clone()).collect();
    let listed = plan.selected.iter().flatten();
    skipped.extend(listed.filter(|name| expected.skipped().any(|entry| entry.names(name))).cloned());
    LeftOut { done: done.to_vec(), skipped }
}

/// The command line for the tests of a plan.
///
/// # Errors
/// The host's: the program cannot be read.
pub fn command(plan: &CellPlan, left_out: &LeftOut) -> Result<Command> {
    let spec = &plan.suite.spec;
    let mut argv = vec![format!("{}/{}", paths::TESTS, plan.suite.program.display())];
    argv.extend(spec.args.iter().cloned());
    if plan.strict {
        argv.extend(spec.strict.clone());
    }
    if let (Some(seed), Some(flag)) = (plan.shuffle, &spec.shuffle) {
        argv.extend([flag.clone(), seed.to_string()]);
    }
    if plan.logs {
        argv.extend(spec.logs.clone());
    }
    let mut command = Command { argv, tty: None, leaves_done_out: left_out.done.is_empty() };
    if spec.format == Format::TestProgs {
        test_progs::complete(&mut command, plan, left_out)?;
    } else {
        select(&mut command, plan, left_out);
    }
    Ok(command)
}

/// One argument for each test, where the suite has such an argument.
fn select(command: &mut Command, plan: &CellPlan, left_out: &LeftOut) {
    let (Some(flag), Some(selected)) = (&plan.suite.spec.select, &plan.selected) else { return };
    let LeftOut { done, skipped } = left_out;
    if plan.filter.is_all() && done.is_empty() && skipped.is_empty() {
        return;
    }
    let left = selected.iter().filter(|name| !done.contains(name) && !skipped.contains(name));
    let selection: Vec<String> = left.flat_map(|name| [flag.clone(), name.clone()]).collect();
    // Where it would not fit, all tests run, and only those asked for count.
    if size(&selection) <= MAX_SELECTION {
        command.argv.extend(selection);
        command.leaves_done_out = true;
    }
}

/// What arguments take of that, with a pointer for each.
fn size(arguments: &[String]) -> usize {
    arguments.iter().map(|argument| argument.len() + 9).sum()
}
