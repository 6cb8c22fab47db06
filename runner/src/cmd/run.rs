//! `kvet run`.

use crate::cell;
use crate::cmd::args::{RunArgs, Symptom};
use crate::cmd::running::{Outputs, all_results, exit_code, run_plan};
use crate::cmd::{Setup, complain, plain_progress, print};
use crate::error::{Result, exit};
use crate::event::RunReport;
use crate::plan::{Plan, Request};
use crate::report::bisect_code;
use crate::report::term::{ColorChoice, Style};
use crate::schedule;

/// Runs the suite on every kernel, reports, and gives the exit code.
pub fn run(args: &RunArgs, color: ColorChoice) -> Result<u8> {
    let Some(sought) = args.git_bisect else {
        let (report, complete) = run_and_report(args, color)?;
        complete?;
        return report.as_ref().map_or(Ok(exit::PASSED), exit_code);
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
        let all_results = all_results(&args.outputs.output)?;
        let texts = plan.cells.iter();
        let texts = texts.map(|c| cell::dry_run(c, &setup.resources, &all_results, &mut plain_progress()));
        print(&texts.collect::<Result<Vec<_>>>()?.join("\n"))?;
        return Ok((None, Ok(())));
    }
    let style = if args.command.is_empty() { Style::Tests } else { Style::Program };
    let outputs = Outputs { places: &args.outputs, style, verbose: args.verbose, color };
    let options = schedule::Options::sequential(&plan);
    let (report, complete) = run_plan(&plan, &setup, &outputs, &options)?;
    Ok((Some(report), complete))
}

/// What is asked for.
pub(super) fn request(args: &RunArgs) -> Request {
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
        timeout: args.limits.timeout,
        deadline: args.limits.deadline,
        memory_mib: args.hardware.memory,
        cpus: args.hardware.cpus,
        strict: args.strict,
        must_run: args.nothing_ran.fails(&args.tests),
        shuffle: args.shuffle,
        logs: false,
        share: args.share,
        slices: args.slices.clone(),
        selftests: args.selftests.clone(),
        resume: args.resume,
        root: args.root,
    }
}
