//! What `kvet run` and `kvet matrix` have in common: a plan that is run and reported.

use std::path::Path;

use crate::cell;
use crate::cell::Resources;
use crate::cmd::args::{MessageFormat, OutputArgs};
use crate::cmd::{Setup, plain_progress};
use crate::error::{Error, Fault, IoContext, Result, exit};
use crate::event::{CellEnd, CellId, Event, RunReport};
use crate::kernel;
use crate::plan::Plan;
use crate::report::Fanout;
use crate::report::json::Json;
use crate::report::junit::JunitFile;
use crate::report::store::{RunDir, Store};
use crate::report::term::{ColorChoice, Style, Term};
use crate::schedule::{self, Options};

/// Where a run is reported.
pub struct Outputs<'a> {
    /// Folders, files and the form of standard output.
    pub places: &'a OutputArgs,
    /// What is shown on a terminal.
    pub style: Style,
    /// Whether consoles are shown.
    pub verbose: bool,
    /// Whether it is coloured.
    pub color: ColorChoice,
}

/// Runs a plan. Gives its report, and whether all of it could be written.
pub fn run_plan(
    plan: &Plan,
    setup: &Setup,
    outputs: &Outputs,
    options: &Options,
) -> Result<(RunReport, Result<()>)> {
    check_kernels(plan, setup)?;
    let places = outputs.places;
    let ids: Vec<CellId> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
    if let Some(folder) = places.junit.as_deref().and_then(Path::parent) {
        // Now, and not when the tests have run for an hour.
        std::fs::create_dir_all(folder).given(format!("make {} for the JUnit file", folder.display()))?;
    }
    let dir = RunDir::create(&places.output, &ids)?;
    let mut reporters = Fanout::new().with("the results folder", Store::new(dir.clone()));
    if let Some(path) = &places.junit {
        reporters = reporters.with("the JUnit file", JunitFile::new(path));
    }
    reporters = match places.message_format {
        MessageFormat::Human => {
            reporters.with("the terminal", Term::stdio(outputs.color, outputs.verbose, outputs.style))
        }
        MessageFormat::Json => reporters.with("standard output", Json::new(std::io::stdout())),
    };
    let mut emit = |event: Event| {
        for trouble in reporters.event(&event) {
            eprintln!("error: {trouble}");
        }
    };
    let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let report = schedule::run(plan, &dir, command, &setup.resources, options, &mut emit);
    let complete = reporters.finish();
    Ok((report, complete))
}

/// A kernel that does not exist is the caller's mistake, and is said before anything is started. Trouble of the host is
/// left to the cells, which report it.
fn check_kernels(plan: &Plan, setup: &Setup) -> Result<()> {
    let Resources { cache, sources, cancel, .. } = &setup.resources;
    let mut progress = plain_progress();
    for cell in &plan.cells {
        mistake(kernel::check_available(&cell.kernel, cell.arch, cache, sources, &mut progress, cancel))?;
        mistake(cell::check_tests(cell, &setup.resources))?;
    }
    Ok(())
}

/// Only what the caller did wrong: trouble of the host is told when it is in the way.
pub fn mistake(checked: Result<()>) -> Result<()> {
    checked.or_else(|error| if error.fault() == Fault::Caller { Err(error) } else { Ok(()) })
}

/// The exit code of a run. A caller's mistake that only showed once a cell ran is told like every other.
pub fn exit_code(report: &RunReport) -> Result<u8> {
    let usage = report.cells.iter().find_map(|cell| match &cell.end {
        CellEnd::Usage { reason } if report.exit_code == exit::USAGE => Some(reason),
        _ => None,
    });
    usage.map_or(Ok(report.exit_code), |reason| Err(as_told(reason)))
}

/// A cell's reason ends with its hint, in brackets.
fn as_told(reason: &str) -> Error {
    match reason.strip_suffix(')').and_then(|rest| rest.split_once(" (hint: ")) {
        Some((message, hint)) => Error::caller(message).hint(hint),
        None => Error::caller(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cells_hint_is_told_as_a_hint() {
        let error = as_told("no test of suite a matches -t 'b' (hint: `kvet suite show a` lists its tests)");
        assert_eq!(error.to_string(), "no test of suite a matches -t 'b'");
        assert_eq!(error.hint_text(), Some("`kvet suite show a` lists its tests"));
        let error = as_told("a folder (of somebody)");
        assert_eq!((error.to_string().as_str(), error.hint_text()), ("a folder (of somebody)", None));
    }
}
