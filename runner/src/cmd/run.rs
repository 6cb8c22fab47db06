//! `kvet run`.

use std::path::Path;

use crate::cell::{self, Resources};
use crate::cmd::args::{MessageFormat, RunArgs, Symptom};
use crate::cmd::{Setup, complain, plain_progress, print};
use crate::error::{Error, Fault, IoContext, Result, exit};
use crate::event::{CellEnd, CellId, Event, RunReport};
use crate::kernel;
use crate::plan::{Plan, Request};
use crate::report::json::Json;
use crate::report::junit::JunitFile;
use crate::report::store::{RunDir, Store};
use crate::report::term::{ColorChoice, Term};
use crate::report::{Fanout, bisect_code};
use crate::schedule;

/// Runs the suite on every kernel, reports, and gives the exit code.
pub fn run(args: &RunArgs, color: ColorChoice) -> Result<u8> {
    let Some(sought) = args.git_bisect else {
        let (report, complete) = run_and_report(args, color)?;
        let code = report.as_ref().map_or(exit::PASSED, |report| report.exit_code);
        complete?;
        if code == exit::USAGE {
            usage_trouble(&report)?;
        }
        return Ok(code);
    };
    // git takes 1 to 127 for a verdict about the kernel: whatever kept us from having one must stop the bisection. A
    // report that could not be written does not change what is known about the kernel.
    match run_and_report(args, color) {
        Ok((Some(report), _)) => Ok(bisect_code(&report, sought == Symptom::Crash)),
        Ok((None, _)) => Ok(exit::PASSED),
        Err(error) => {
            complain(&error, color);
            Ok(exit::BISECT_ABORT)
        }
    }
}

/// The run's report, if it was not a dry one, and whether all of it could be written.
fn run_and_report(args: &RunArgs, color: ColorChoice) -> Result<(Option<RunReport>, Result<()>)> {
    let setup = Setup::new()?.with_jobs(args.build.jobs);
    let plan = Plan::new(&request(args), &setup.home, &setup.config)?;
    setup.resources.cancel.on_signals()?;
    if args.dry_run {
        let texts = plan.cells.iter().map(|c| cell::dry_run(c, &setup.resources, &mut plain_progress()));
        print(&texts.collect::<Result<Vec<_>>>()?.join("\n"))?;
        return Ok((None, Ok(())));
    }
    check_kernels(&plan, &setup)?;
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
        MessageFormat::Human => {
            reporters.with("the terminal", Term::stdio(color, args.verbose, !args.command.is_empty()))
        }
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
    Ok((Some(report), complete))
}

/// A kernel that does not exist is the caller's mistake, and is said before anything is started. Trouble of the host is
/// left to the cells, which report it.
fn check_kernels(plan: &Plan, setup: &Setup) -> Result<()> {
    let Resources { cache, sources, cancel, .. } = &setup.resources;
    let mut progress = plain_progress();
    for cell in &plan.cells {
        match kernel::check_available(&cell.kernel, cell.arch, cache, sources, &mut progress, cancel) {
            Err(error) if error.fault() == Fault::Caller => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A caller's mistake that only showed once a cell ran is told like every other.
fn usage_trouble(report: &Option<RunReport>) -> Result<()> {
    match report.iter().flat_map(|report| &report.cells).find_map(|cell| match &cell.end {
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
        toolchain: args.build.toolchain,
        base: args.build.base,
        archs: args.archs.clone(),
        suite: args.suite.clone(),
        command: args.command.clone(),
        tests: args.tests.clone(),
        accel: args.hardware.accel,
        timeout: args.timeout,
        deadline: args.deadline,
        memory_mib: args.hardware.memory,
        cpus: args.hardware.cpus,
        strict: args.strict,
        share: args.share,
        slices: args.slices.clone(),
        selftests: args.selftests.clone(),
        resume: args.resume,
        root: args.root,
    }
}
