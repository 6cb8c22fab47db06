//! What `kvet run` and `kvet matrix` have in common: a plan that is run and reported.

use std::path::{Path, PathBuf};

use crate::cell;
use crate::cell::Resources;
use crate::cell::memory::{self, Memory};
use crate::cmd::args::{MessageFormat, OutputArgs};
use crate::cmd::{Setup, complain, plain_progress};
use crate::error::{Error, Fault, IoContext, Result, exit};
use crate::event::{CellEnd, CellId, Event, RunReport};
use crate::kernel::{self, KernelSpec};
use crate::plan::{CellPlan, Plan};
use crate::report::Fanout;
use crate::report::json::Json;
use crate::report::junit::JunitFile;
use crate::report::latest;
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
    check_memory(plan)?;
    let places = outputs.places;
    check_kernels(plan, setup, outputs.color)?;
    check_files(plan, setup, &places.output)?;
    let ids: Vec<CellId> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
    if let Some(file) = &places.junit {
        // Now, and not when the tests have run for an hour.
        make_folder_of(file)?;
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
            tell!("error: {trouble}");
        }
    };
    let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    note(latest::point_at(dir.path()));
    let report = schedule::run(plan, &dir, command, &setup.resources, options, &mut emit);
    let complete = reporters.finish();
    if report.exit_code == exit::INTERRUPTED {
        note(latest::pass_over(dir.path()));
    }
    Ok((report, complete))
}

/// Tells what went wrong with something that no verdict depends on.
fn note(done: Result<()>) {
    if let Err(error) = done {
        tell!("note: {error}");
    }
}

/// Makes the folder that a file is to be written to.
///
/// # Errors
/// The caller's: it cannot be made.
pub fn make_folder_of(file: &Path) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).given(format!("make {} for {}", folder.display(), file.display()))
}

/// A guest gets no more memory than the machine has, or the control group that kvet runs in: the kernel refuses that much to QEMU (vm/overcommit-accounting in the
/// kernel's documentation), or kills it when it is used.
fn check_memory(plan: &Plan) -> Result<()> {
    let all = memory::total()?;
    let Some(cell) = plan.cells.iter().find(|cell| u64::from(cell.memory_mib) > all.mib) else {
        return Ok(());
    };
    let place = cell.places.as_ref().and_then(|places| places.memory.clone());
    let mib = cell.memory_mib;
    let Memory { mib: most, bound } = all;
    Err(Error::caller(format!("a guest of {mib} MiB: there are at most {most} MiB ({bound})"))
        .context(place.unwrap_or_else(|| cell.id.to_string())))
}

/// What the caller did wrong is said before anything is started. Of what a file says of itself, nothing is started either.
/// But a kernel that is not to be had, though the file of a matrix names it, may have left the archive since: that
/// concerns its cell, which reports it once more, and the others are run. Trouble of the host is left to the cells.
fn check_kernels(plan: &Plan, setup: &Setup, color: ColorChoice) -> Result<()> {
    let Resources { cache, sources, cancel, .. } = &setup.resources;
    let mut progress = plain_progress();
    for cell in &plan.cells {
        check_fragments(cell, &setup.resources)?;
    }
    for cell in &plan.cells {
        let checked = kernel::check_available(&cell.kernel, cell.arch, cache, sources, &mut progress, cancel);
        match mistake(checked).map_err(|e| placed(e, cell)) {
            Ok(()) => mistake(cell::check_tests(cell, &setup.resources)).map_err(|e| placed(e, cell))?,
            // Other shards are no concern of this one: what there is to report is reported by it.
            Err(error) if cell.places.is_some() && plan.planned.len() > 1 => complain(&error, color),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Programs that cannot run in their root, and suites that cannot travel, are told before anything boots, too.
fn check_files(plan: &Plan, setup: &Setup, output: &Path) -> Result<()> {
    let all_results = all_results(output)?;
    for cell in &plan.cells {
        let checked = cell::check_files(cell, &setup.resources, &all_results, &mut plain_progress());
        mistake(checked).map_err(|e| placed(e, cell))?;
    }
    Ok(())
}

/// The folder that runs have theirs in, as it is found below a suite's.
///
/// # Errors
/// The host's: there is no current directory.
pub fn all_results(output: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(output).host(format!("find {}", output.display()))?;
    Ok(absolute.canonicalize().unwrap_or(absolute))
}

/// Whether the fragments that a matrix names for its kernels are there. Others are looked at with their kernel.
fn check_fragments(cell: &CellPlan, resources: &Resources) -> Result<()> {
    let (Some(places), KernelSpec::Source { recipe, .. }) = (&cell.places, &cell.kernel) else {
        return Ok(());
    };
    for (index, given) in recipe.fragments.iter().enumerate() {
        let place = places.config.get(index).map_or("--config", String::as_str);
        mistake(kernel::check_fragment(given, &resources.sources)).map_err(|e| e.context(place))?;
    }
    Ok(())
}

/// With the place where a file names the cell, if one does.
fn placed(error: Error, cell: &CellPlan) -> Error {
    match &cell.places {
        Some(places) => error.context(&places.kernel),
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
