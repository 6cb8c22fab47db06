//! The command line of a job: the suite's program and which of its tests are to run.

mod test_progs;

use kvet_wire::{Tty, paths};

use crate::error::{Error, Result};
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

/// Why there may be nothing to run.
pub const ALL_SKIPPED: &str = "every test that was asked for is expected to be skipped";

/// Whether a program that is told which tests to run has none to run.
pub fn is_nothing(plan: &CellPlan, left_out: &LeftOut) -> bool {
    let LeftOut { done, skipped } = left_out;
    let told = plan.suite.spec.format != Format::TestProgs && plan.suite.spec.select.is_some();
    let selected = plan.selected.as_deref().filter(|_| told);
    selected.is_some_and(|names| names.iter().all(|name| done.contains(name) || skipped.contains(name)))
}

/// The command line for the tests of a plan.
///
/// # Errors
/// The host's: the program cannot be read. The caller's: the selection is too long to be passed to the program.
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
        select(&mut command, plan, left_out)?;
    }
    Ok(command)
}

/// One argument for each test, where the suite has such an argument.
fn select(command: &mut Command, plan: &CellPlan, left_out: &LeftOut) -> Result<()> {
    let (Some(flag), Some(selected)) = (&plan.suite.spec.select, &plan.selected) else { return Ok(()) };
    if plan.filter.is_all() && left_out.done.is_empty() && left_out.skipped.is_empty() {
        return Ok(());
    }
    if let Some(selection) = selection(flag, selected, !plan.filter.is_all(), left_out)? {
        command.argv.extend(selection);
        command.leaves_done_out = true;
    }
    Ok(())
}

/// The arguments for some tests. None: they are too long, and all tests may run as well.
fn selection(
    flag: &str,
    selected: &[String],
    asked: bool,
    left_out: &LeftOut,
) -> Result<Option<Vec<String>>> {
    let LeftOut { done, skipped } = left_out;
    let left = selected.iter().filter(|name| !done.contains(name) && !skipped.contains(name));
    // Without a word from us the program would run all.
    if left.clone().next().is_none() {
        return Err(Error::host("a guest for a selection that is empty"));
    }
    let selection: Vec<String> = left.flat_map(|name| [flag.to_owned(), name.clone()]).collect();
    let bytes = size(&selection);
    if bytes <= MAX_SELECTION {
        return Ok(Some(selection));
    }
    if !asked {
        return Ok(None);
    }
    Err(too_long(&format!("the {} tests that -t selects", selected.len()), bytes))
}

/// A selection that cannot be passed on is refused: what was not asked for may be what crashes this kernel.
fn too_long(what: &str, bytes: usize) -> Error {
    let text = format!("{what} make {bytes} bytes of arguments; a program can be given {MAX_SELECTION}");
    Error::caller(text).hint("select fewer tests, or none to run all of them")
}

/// What arguments take of that, with a pointer for each.
fn size(arguments: &[String]) -> usize {
    arguments.iter().map(|argument| argument.len() + 9).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_never_widened() {
        let names =
            |count: usize| (0..count).map(|n| format!("a_long_name_of_a_test/{n:06}")).collect::<Vec<_>>();
        let nothing = LeftOut::default();
        let few = selection("-t", &names(2), true, &nothing).unwrap().unwrap();
        assert_eq!(few, ["-t", "a_long_name_of_a_test/000000", "-t", "a_long_name_of_a_test/000001"]);
        let many = names(MAX_SELECTION / 40);
        let error = selection("-t", &many, true, &nothing).unwrap_err();
        assert_eq!(error.fault(), crate::error::Fault::Caller);
        assert!(error.to_string().contains(&format!("the {} tests that -t selects", many.len())), "{error}");
        assert_eq!(selection("-t", &many, false, &nothing).unwrap(), None, "who asks for all gets all");
    }
}
