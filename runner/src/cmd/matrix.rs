//! `kvet matrix`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::cell::memory;
use crate::cell::slots::{Share, Slots};
use crate::cmd::args::{CiSystem, FlakyIs, MatrixArgs};
use crate::cmd::running::{Outputs, run_plan};
use crate::cmd::{Setup, complain, print};
use crate::error::{Error, IoContext, Result};
use crate::event::CellId;
use crate::kernel::KernelSpec;
use crate::plan::{Plan, Request, ShareMode};
use crate::report::term::{ColorChoice, Style};
use crate::schedule::retry::Retries;
use crate::schedule::shard::{Shard, assign};
use crate::schedule::{Options, times::Times};
use crate::spec::home::Home;
use crate::spec::matrix::{self, CellSettings, Defaults, MatrixCell};
use crate::spec::to_yaml;

/// The matrix of `kvet matrix` without a file and without `-k`.
const DEFAULT: &str = "dynptr";

/// Runs a matrix, or tells what it would be.
pub fn run(args: &MatrixArgs, color: ColorChoice) -> Result<u8> {
    let mut setup = Setup::new()?;
    let plan = Plan::of_matrix(&cells(args, &setup)?, &request(args), &setup.home, &setup.config)?;
    if let Some(system) = args.emit {
        return print(&emit(args, system, &plan.planned)?);
    }
    let plan = match args.shard {
        Some(shard) => shard_of(plan, shard, args.times.as_deref())?,
        None => plan,
    };
    let times = Times::recorded(setup.resources.cache.root());
    if args.dry_run {
        return print(&listing(&plan, &times));
    }
    let jobs = match args.jobs {
        Some(jobs) => usize::from(jobs),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let cpus = u32::try_from(jobs).unwrap_or(u32::MAX);
    setup.resources.slots = Slots::new(Share { cpus, memory_mib: memory_for_guests()? });
    setup.resources.cancel.on_signals()?;
    let outputs = Outputs { places: &args.outputs, style: Style::Cells, verbose: args.verbose, color };
    let weights = times.weights(plan.cells.iter().map(|cell| &cell.id));
    let flaky_fails = args.flaky == FlakyIs::Fail;
    let retries = args.retries.map(|times| Retries { times: u32::from(times), flaky_fails });
    let options = Options { jobs, ahead: true, fail_fast: args.fail_fast, weights, retries };
    let (report, complete) = run_plan(&plan, &setup, &outputs, &options)?;
    let mut times = times;
    // What a part of the tests took, or what took several runs, is no measure of the whole.
    if args.tests.is_empty() && args.slices.is_empty() && args.retries.is_none() {
        times.add(&report);
    }
    if let Err(error) = times.record(setup.resources.cache.root()) {
        // The results are there; only the next run's order suffers.
        complain(&error, color);
    }
    complete?;
    // What was wrong with a cell is told with it, and in the table.
    Ok(report.exit_code)
}

/// The cells of the file, or the product of the flags.
fn cells(args: &MatrixArgs, setup: &Setup) -> Result<Vec<MatrixCell>> {
    let defaults = Defaults { arch: Arch::host()?, suite: setup.config.suite.clone() };
    if args.kernels.is_empty() {
        let named = args.file.clone().unwrap_or_else(|| DEFAULT.into());
        return matrix::load(&find_file(&named, &setup.home)?, &defaults);
    }
    let archs = if args.archs.is_empty() { vec![defaults.arch] } else { args.archs.clone() };
    let suites = if args.suites.is_empty() { vec![defaults.suite] } else { args.suites.clone() };
    let mut cells: Vec<MatrixCell> = Vec::new();
    for kernel in &args.kernels {
        for &arch in &archs {
            for suite in &suites {
                let cell = MatrixCell {
                    kernel: kernel.clone(),
                    arch,
                    suite: suite.clone(),
                    settings: CellSettings::default(),
                    places: None,
                };
                // Said twice is meant once.
                if !cells.contains(&cell) {
                    cells.push(cell);
                }
            }
        }
    }
    Ok(cells)
}

/// A file by its path, or one of ours by its name.
fn find_file(named: &Path, home: &Home) -> Result<PathBuf> {
    if named.extension().is_some() || named.components().count() > 1 {
        return Ok(named.to_owned());
    }
    let folder = home.config("matrix");
    let path = folder.join(named).with_extension("yaml");
    if path.is_file() {
        return Ok(path);
    }
    let mut known: Vec<String> = std::fs::read_dir(&folder)
        .host(format!("list {}", folder.display()))?
        .flatten()
        .filter_map(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    known.sort();
    Err(Error::caller(format!("unknown matrix '{}'; known: {}", named.display(), known.join(", ")))
        .hint("a matrix of your own is named by the path of its file"))
}

fn request(args: &MatrixArgs) -> Request {
    Request {
        tests: args.tests.clone(),
        accel: args.hardware.accel,
        timeout: args.limits.timeout,
        deadline: args.limits.deadline,
        memory_mib: args.hardware.memory,
        cpus: args.hardware.cpus,
        strict: args.strict,
        must_run: args.nothing_ran.fails(&args.tests),
        shuffle: args.shuffle,
        share: ShareMode::default(),
        slices: args.slices.clone(),
        selftests: args.selftests.clone(),
        ..Request::default()
    }
}

/// The part of a plan that a shard runs. Only what every shard knows decides: the cells, and the times that were given.
fn shard_of(plan: Plan, shard: Shard, times: Option<&Path>) -> Result<Plan> {
    if shard.of > plan.cells.len() {
        let cells = plan.cells.len();
        return Err(Error::caller(format!("--shard {shard}: the matrix has only {cells} cells")));
    }
    let numbers = shards(&plan.planned, shard.of, times)?;
    Ok(plan.shard(&numbers, shard.number))
}

fn shards(planned: &[CellId], of: usize, times: Option<&Path>) -> Result<Vec<usize>> {
    let times = times.map(Times::of_run).transpose()?.unwrap_or_default();
    Ok(assign(&times.weights(planned.iter()), of))
}

fn listing(plan: &Plan, times: &Times) -> String {
    let mut text = String::new();
    let wide = |of: &dyn Fn(&CellId) -> usize| plan.cells.iter().map(|cell| of(&cell.id)).max().unwrap_or(0);
    let (kernel, suite) = (wide(&|id| id.kernel.len()), wide(&|id| id.suite.len()));
    for cell in &plan.cells {
        let id = &cell.id;
        let _ = write!(text, "{:kernel$}  {:6}  {:suite$}", id.kernel, id.arch.name(), id.suite);
        let _ = write!(text, "  {} MiB, {} cpu", cell.memory_mib, cell.cpus);
        if cell.share == ShareMode::Initramfs {
            text.push_str(", carried in the initramfs");
        }
        if let KernelSpec::Source { recipe, .. } = &cell.kernel {
            for fragment in &recipe.fragments {
                let _ = write!(text, ", config {}", fragment.display());
            }
        }
        if let Some(seconds) = times.get(id) {
            let _ = write!(text, ", {seconds:.0}s last time");
        }
        text.push('\n');
    }
    let left = plan.planned.len() - plan.cells.len();
    let others = if left > 0 { format!(", {left} in other shards") } else { String::new() };
    let cells = plan.cells.len();
    let _ = writeln!(text, "{cells} {}{others}", if cells == 1 { "cell" } else { "cells" });
    text
}

/// The jobs of a matrix for a CI system.
fn emit(args: &MatrixArgs, system: CiSystem, planned: &[CellId]) -> Result<String> {
    let of = args.shards.map_or(planned.len(), usize::from);
    if of > planned.len() {
        return Err(Error::caller(format!("--shards {of}: the matrix has only {} cells", planned.len())));
    }
    let (name, most) = system.limit();
    if of > most {
        return Err(Error::caller(format!("{of} jobs are more than {name} takes, which is {most}"))
            .hint(format!("--shards {most}, or less")));
    }
    let numbers = shards(planned, of, args.times.as_deref())?;
    let jobs = (1..=of).map(|number| {
        let cells = planned.iter().zip(&numbers).filter(|(_, n)| **n == number).map(|(id, _)| id.to_string());
        (Shard { number, of }.to_string(), cells.collect::<Vec<_>>().join(", "))
    });
    match system {
        CiSystem::Github => {
            let include: Vec<BTreeMap<&str, String>> =
                jobs.map(|(shard, cells)| BTreeMap::from([("shard", shard), ("cells", cells)])).collect();
            let value = BTreeMap::from([("include", include)]);
            serde_json::to_string(&value)
                .map(|json| json + "\n")
                .map_err(|e| Error::host("cannot turn the jobs into JSON").because(e))
        }
        CiSystem::Gitlab => {
            let words = again(std::env::args_os().map(|word| word.to_string_lossy().into_owned()));
            let matrix = [vec!["kvet".to_owned(), "matrix".to_owned()], words].concat();
            let job = GitlabJob {
                parallel: GitlabParallel {
                    matrix: jobs.map(|(shard, _)| BTreeMap::from([("SHARD", vec![shard])])).collect(),
                },
                script: vec![format!(
                    "{} --shard \"$SHARD\" --output results --junit junit.xml",
                    crate::quote::command(&matrix)
                )],
                artifacts: GitlabArtifacts {
                    when: "always",
                    paths: vec!["results/"],
                    reports: BTreeMap::from([("junit", "junit.xml")]),
                },
            };
            to_yaml(&BTreeMap::from([("kvet", job)]))
        }
    }
}

impl CiSystem {
    /// What it is called, and how many jobs it makes of one matrix (GitHub Actions, "Using a matrix for your jobs"; GitLab CI/CD YAML
    /// reference, `parallel:matrix`).
    fn limit(self) -> (&'static str, usize) {
        match self {
            Self::Github => ("GitHub", 256),
            Self::Gitlab => ("GitLab", 200),
        }
    }
}

/// The arguments that run the same matrix in the same way, out of those of this command.
fn again(words: impl Iterator<Item = String>) -> Vec<String> {
    // These say what is done with it, or where; each has a value.
    const OURS: [&str; 4] = ["--emit", "--shards", "--output", "--junit"];
    let mut words = words.skip_while(|word| word != "matrix").skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if OURS.contains(&word.as_str()) {
            words.next();
        } else if !OURS.iter().any(|ours| word.strip_prefix(ours).is_some_and(|rest| rest.starts_with('='))) {
            kept.push(word);
        }
    }
    kept
}

/// A job of a GitLab pipeline (GitLab CI/CD YAML reference).
#[derive(serde::Serialize)]
struct GitlabJob {
    parallel: GitlabParallel,
    script: Vec<String>,
    artifacts: GitlabArtifacts,
}

#[derive(serde::Serialize)]
struct GitlabParallel {
    matrix: Vec<BTreeMap<&'static str, Vec<String>>>,
}

#[derive(serde::Serialize)]
struct GitlabArtifacts {
    when: &'static str,
    paths: Vec<&'static str>,
    reports: BTreeMap<&'static str, &'static str>,
}

/// Memory that guests may take together, MiB: four fifths of what is free here, which leaves room for QEMU itself.
fn memory_for_guests() -> Result<u64> {
    Ok(memory::available()?.mib * 4 / 5)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cmd::args::{Cli, Command};
    use crate::event::{CellEnd, Phase, PhaseTime, RunReport};
    use crate::report::table::sample::{self, cell};

    #[test]
    fn a_job_runs_the_matrix_as_it_was_asked_for() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let typed = "bin/kvet --color never matrix full --emit gitlab -t a/* --shards=4 --retries 2 --junit x.xml --strict";
        assert_eq!(again(words(typed).into_iter()), words("full -t a/* --retries 2 --strict"));
        assert_eq!(again(words("kvet matrix --emit=gitlab --shards 2").into_iter()), Vec::<String>::new());
    }

    #[test]
    fn jobs_are_shared_out_by_the_times_that_are_given() {
        let run = tempfile::tempdir().unwrap();
        let cells = ["a", "b", "c"].map(|kernel| {
            let mut cell = cell(kernel, "7.2", &[]);
            let wall = Duration::from_secs(if kernel == "a" { 100 } else { 10 });
            cell.end = CellEnd::Completed;
            cell.times = vec![PhaseTime { phase: Phase::Tests, wall }];
            cell
        });
        let planned = cells.each_ref().map(|cell| cell.id.clone());
        crate::report::store::store_report(run.path(), &RunReport { cells: cells.to_vec(), ..sample::run() })
            .unwrap();
        let emitted = |more: &[&str]| {
            let words = ["kvet", "matrix", "m.yaml", "--emit", "github", "--shards", "2"];
            let cli = Cli::try_parse_from(words.iter().chain(more)).unwrap();
            let Command::Matrix(args) = cli.command else { panic!() };
            emit(&args, args.emit.unwrap(), &planned).unwrap()
        };
        let alone = format!("{{\"cells\":\"{}\",", planned[0]);
        assert!(!emitted(&[]).contains(&alone));
        let said = emitted(&["--times", run.path().to_str().unwrap()]);
        assert!(said.contains(&alone), "the slow one has a job to itself: {said}");
    }

    #[test]
    fn guests_leave_some_memory_to_the_host() {
        assert!(memory_for_guests().unwrap() > 0);
    }
}
