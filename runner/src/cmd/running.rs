//! What `kvet run` and `kvet matrix` have in common: a plan that is run and reported.

use std::path::Path;

use crate::cell;
use crate::cell::Resources;
use crate::cmd::args::{MessageFormat, OutputArgs};
use crate::cmd::{Setup, complain, plain_progress};
use crate::error::{Error, Fault, IoContext, Result, exit};
use crate::event::{CellEnd, CellId, Event, RunReport};
use crate::kernel;
use crate::plan::{CellPlan, Plan};
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
    check_kernels(plan, setup, outputs.color)?;
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

/// What the caller did wrong is said before anything is started. Of what a file says of itself, nothing is started either.
/// But a kernel that is not to be had, though the file of a matrix names it, may have left the archive since: that
/// concerns its cell, which reports it once more, and the others are run. Trouble of the host is left to the cells.
fn check_kernels(plan: &Plan, setup: &Setup, color: ColorChoice) -> Result<()> {
    let Resources { cache, sources, cancel, .. } = &setup.resources;
    let mut progress = plain_progress();
    for cell in &plan.cells {
        mistake(kernel::check_fragments(&cell.kernel, sources)).map_err(|e| placed(e, cell))?;
    }
    for cell in &plan.cells {
        let checked = kernel::check_available(&cell.kernel, cell.arch, cache, sources, &mut progress, cancel);
        match mistake(checked).map_err(|e| placed(e, cell)) {
            Ok(()) => mistake(cell::check_tests(cell, &setup.resources)).map_err(|e| placed(e, cell))?,
            // Other shards are no concern of this one: what there is to report is reported by it.
            Err(error) if cell.place.is_some() && plan.planned.len() > 1 => complain(&error, color),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// With the place where a file names the cell, if one does.
fn placed(error: Error, cell: &CellPlan) -> Error {
    match &cell.place {
        Some(place) => error.context(place),
        None => error,
    }
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
    usage.map_or(Ok(report.exit_code), |reason| Err(Error::caller(reason.clone())))
}
