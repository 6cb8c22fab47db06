//! `kvet run`.

use std::path::Path;

use crate::cell;
use crate::cmd::args::{MessageFormat, RunArgs};
use crate::cmd::{Setup, plain_progress, print};
use crate::error::{Error, IoContext, Result};
use crate::event::{CellEnd, CellId, Event, RunReport};
use crate::plan::{Plan, Request};
use crate::report::json::Json;
use crate::report::junit::JunitFile;
use crate::report::store::{RunDir, Store};
use crate::report::term::{ColorChoice, Term};
use crate::report::{Fanout, bisect_code, verdict};
use crate::schedule;

/// Runs the suite on every kernel, reports, and gives the exit code.
pub fn run(args: &RunArgs, color: ColorChoice) -> Result<u8> {
    let setup = Setup::new()?;
    let plan = Plan::new(&request(args), &setup.home, &setup.config)?;
    setup.resources.cancel.on_signals()?;
    if args.dry_run {
        let texts = plan.cells.iter().map(|c| cell::dry_run(c, &setup.resources, &mut plain_progress()));
        return print(&texts.collect::<Result<Vec<_>>>()?.join("\n"));
    }
    let ids: Vec<CellId> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
    if let Some(folder) = args.junit.as_deref().and_then(Path::parent) {
        // Now, and not when the tests have run for an hour.
        std::fs::create_dir_all(folder).given(format!("make {} for the JUnit file", folder.display()))?;
    }
    let dir = RunDir::create(&args.output, &ids)?;
    let mut reporters = Fanout::new().with("the results folder", Store::new(dir.clone()));
    if let Some(path) = &args.junit {
        reporters = reporters.with("the JUnit file", JunitFile::new(path));
    }
    reporters = match args.message_format {
        MessageFormat::Human => reporters.with("the terminal", Term::stdio(color, args.verbose)),
        MessageFormat::Json => reporters.with("standard output", Json::new(std::io::stdout())),
    };
    let mut emit = |event: Event| {
        for trouble in reporters.event(&event) {
            eprintln!("error: {trouble}");
        }
    };
    let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let report = schedule::run(&plan, &dir, command, &setup.resources, &mut emit);
    let complete = reporters.finish();
    if args.git_bisect {
        // A report that could not be written does not change what is known about the kernel.
        return Ok(bisect_code(&report, false));
    }
    complete?;
    usage_trouble(&report)?;
    Ok(verdict(&report))
}

/// A caller's mistake that only showed once a cell ran is told like every other.
fn usage_trouble(report: &RunReport) -> Result<()> {
    match report.cells.iter().find_map(|cell| match &cell.end {
        CellEnd::Usage { reason } => Some(reason),
        _ => None,
    }) {
        Some(reason) => Err(Error::caller(reason.clone())),
        None => Ok(()),
    }
}

fn request(args: &RunArgs) -> Request {
    Request {
        kernels: args.kernels.clone(),
        modules: args.files.modules.clone(),
        config: args.files.config.clone(),
        archs: args.archs.clone(),
        suite: args.suite.clone(),
        command: args.command.clone(),
        tests: args.tests.clone(),
        accel: args.hardware.accel,
        timeout: args.timeout,
        deadline: args.deadline,
        memory_mib: args.hardware.memory,
        cpus: args.hardware.cpus,
    }
}
