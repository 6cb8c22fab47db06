//! `kvet bisect`.

mod ahead;
mod ends;
mod evidence;
mod lab;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use nix::fcntl::{Flock, FlockArg};

use crate::bisect::answer::{self, Answer, Evidence};
use crate::bisect::state::{State, Step, replay};
use crate::bisect::{Bisection, Find, News, Progress, Search};
use crate::cmd::args::{BisectArgs, Cli, Command, NEWEST};
use crate::cmd::{Setup, print};
use crate::error::{Error, Fault, IoContext, Result, exit};
use crate::event::{CellReport, RunReport};
use crate::parse::clean::one_line;
use crate::report::store::{self, RunDir};
use crate::report::term::ColorChoice;
use crate::report::whole::write_whole;
use ends::Stage;
use lab::Kernels;

/// The file that a bisection lives in.
const STATE: &str = "state.json";

/// The file of the second level, commits after releases.
const COMMITS: &str = "commits.json";

/// Finds the first bad kernel, or the first good one again.
pub fn run(args: &BisectArgs, color: ColorChoice) -> Result<u8> {
    if let Some(folder) = &args.log {
        let folder = found(folder, &args.output)?;
        let further = folder.join(COMMITS);
        let mut log = State::load(&folder.join(STATE))?.log();
        if further.is_file() {
            log += &State::load(&further)?.log();
        }
        return print(&log);
    }
    let Some(folder) = &args.resume else { return begin(args, color) };
    let folder = found(folder, &args.output)?;
    // It goes on with what it was begun with.
    let command = State::load(&folder.join(STATE))?.command;
    let words = std::iter::once("kvet".to_owned()).chain(command.iter().cloned());
    let cli = Cli::try_parse_from(words).map_err(|e| {
        Error::caller(format!("{}: its command line is not understood", folder.display())).because(e)
    })?;
    match cli.command {
        Command::Bisect(begun) => {
            let args = BisectArgs { verbose: begun.verbose || args.verbose, ..*begun };
            bisect(&args, &setup(&args)?, &folder, &command, color)
        }
        _ => Err(Error::caller(format!("{} is no bisection", folder.display()))),
    }
}

fn setup(args: &BisectArgs) -> Result<Setup> {
    let setup = Setup::new()?.with_jobs(args.build.jobs);
    setup.resources.cancel.on_signals()?;
    Ok(setup)
}

fn begin(args: &BisectArgs, color: ColorChoice) -> Result<u8> {
    let setup = setup(args)?;
    lab::check(args, &setup)?;
    let command: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let stamp = format!("bisect-{}", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"));
    let folder = RunDir::create_at(&args.output, &stamp, &[])?.path().to_owned();
    let done = bisect(args, &setup, &folder, &command, color);
    if done.is_err() && !folder.join(STATE).exists() {
        // Nothing was begun, and nothing is known that could be gone on with.
        std::fs::remove_dir_all(&folder).host(format!("remove {}", folder.display()))?;
    }
    done
}

/// The folder that was named, or the newest one.
fn found(named: &Path, output: &Path) -> Result<PathBuf> {
    if named != Path::new(NEWEST) {
        return Ok(named.to_owned());
    }
    let entries = std::fs::read_dir(output).given(format!("list {}", output.display()))?;
    let names = entries.flatten().map(|entry| entry.path());
    names
        .filter(|path| path.join(STATE).is_file())
        .max()
        .ok_or_else(|| Error::caller(format!("there is no bisection in {}", output.display())))
}

fn bisect(
    args: &BisectArgs,
    setup: &Setup,
    folder: &Path,
    command: &[String],
    color: ColorChoice,
) -> Result<u8> {
    let _lock = lock(folder)?;
    let mut lab = Kernels::new(args, setup, folder, color)?;
    let path = folder.join(STATE);
    let known = known(&path)?;
    let replayed = args.replay.as_deref().map(read_log).transpose()?.unwrap_or_default();
    let (releases, commits) = ends::stages(args, setup, folder, known.as_ref())?;
    let mut last = None;
    if let Some(stage) = releases {
        lab.pin_selftests(&stage.search.ends().1)?;
        last = Some(search(args, stage, &path, command, &replayed, &mut lab)?);
    }
    if let Some(begin) = commits {
        // The first level's neighbours are the second level's ends.
        let between =
            last.as_ref().map(|(_, answer)| (answer.before.kernel.as_str(), answer.first.kernel.as_str()));
        let path = if last.is_some() { folder.join(COMMITS) } else { path };
        let known = self::known(&path)?.and_then(|state| state.ends);
        let stage = begin.stage(between, known.as_ref())?;
        lab.pin_selftests(&stage.search.ends().1)?;
        last = Some(search(args, stage, &path, command, &replayed, &mut lab)?);
    }
    let (state, found) = last.ok_or_else(|| Error::host("a bisection without a search"))?;
    let suite = lab.suite(&found.first)?;
    report(folder, &state, &found, &evidence::evidence(&state, &found, &suite))
}

/// The verdicts of `--replay`.
fn read_log(file: &Path) -> Result<Vec<Step>> {
    let text = std::fs::read_to_string(file).given(format!("read {}", file.display()))?;
    replay(&text, &file.display().to_string())
}

/// What an earlier kvet left, if this goes on with it.
fn known(path: &Path) -> Result<Option<State>> {
    if path.is_file() { State::load(path).map(Some) } else { Ok(None) }
}

/// Two kvets in one bisection would spoil it.
fn lock(folder: &Path) -> Result<Flock<File>> {
    let path = folder.join("lock");
    let file = File::create(&path).given(format!("open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::caller(format!("another kvet works on {}", folder.display())))
}

fn search(
    args: &BisectArgs,
    mut stage: Stage,
    path: &Path,
    command: &[String],
    replayed: &[Step],
    lab: &mut Kernels,
) -> Result<(State, Answer)> {
    let mut state = match known(path)? {
        Some(state) => state,
        None => State::new(command.to_vec(), stage.find, args.matching.clone(), usize::from(args.runs)),
    };
    if state.steps.is_empty() {
        // The log of two levels holds verdicts for both.
        let (_, newer) = stage.search.ends();
        let scheme = newer.kernel.split_once(':').map_or("", |(scheme, _)| scheme);
        state.steps = State::keep(replayed.to_vec(), scheme);
    }
    let search: &mut dyn Search = &mut *stage.search;
    let mut seconds: Vec<f64> = state.steps.iter().map(|s| s.seconds).filter(|s| *s > 0.0).collect();
    let mut bisection = Bisection {
        state,
        search,
        lab,
        save: &mut |state| state.save(path),
        tell: &mut |news| tell(news, &mut seconds),
    };
    let answer = bisection.run().map_err(|e| match e.fault() {
        Fault::Interrupted => e.hint("`kvet bisect --resume` goes on"),
        _ => e,
    })?;
    Ok((bisection.state, answer))
}

/// What goes on, on standard error.
fn tell(news: News, seconds: &mut Vec<f64>) {
    match news {
        News::Begin(subject, Some(Progress { left, steps, between: (older, newer) })) => {
            let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
            let eta = Duration::from_secs_f64((mean * (steps + 1) as f64).round());
            let eta = if seconds.is_empty() { String::new() } else { format!(", about {eta:?}") };
            eprintln!(
                "testing {} between {} and {} ({left} left after it, {} to go{eta})",
                one_line(&subject.shown),
                first_word(&older.shown),
                first_word(&newer.shown),
                plural(steps + 1)
            );
        }
        News::Begin(subject, None) => eprintln!("testing the end {}", one_line(&subject.shown)),
        News::Judged(step, state) => {
            if step.seconds > 0.0 {
                seconds.push(step.seconds);
            }
            eprintln!("{}", answer::step_line(step, 0, state));
        }
        News::Confirmed(symptom) => {
            for sign in &symptom.signs {
                eprintln!("the symptom: {}: {}", one_line(&sign.test), one_line(&sign.message));
            }
        }
        News::Note(text) => eprintln!("note: {}", one_line(&text)),
    }
}

/// The version, or the short hash of a commit.
fn first_word(shown: &str) -> String {
    one_line(shown.split(' ').next().unwrap_or_default())
}

fn plural(steps: usize) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

/// Everything that is written of an answer, and what is printed of it.
fn report(folder: &Path, state: &State, found: &Answer, evidence: &Evidence) -> Result<u8> {
    write_whole(&folder.join("answer.md"), answer::markdown(state, found, evidence).as_bytes())?;
    write_whole(&folder.join("answer.json"), &answer::json(state, evidence)?)?;
    write_whole(&folder.join("log"), state.log().as_bytes())?;
    let cells = cells(state);
    if !folder.join("report.json").exists() && !cells.is_empty() {
        store::store_report(folder, &run_report(folder, state, cells))?;
    }
    print(&answer::text(state, found, evidence))?;
    print(&format!("\nthe whole in {}\n{}\n", folder.display(), answer::last_line(state, found)))?;
    Ok(exit::PASSED)
}

/// The telling run of each step, as it was stored.
fn cells(state: &State) -> Vec<CellReport> {
    let mut cells: Vec<CellReport> = Vec::new();
    for step in state.steps.iter().filter(|step| step.runs > 0) {
        let run = evidence::telling(state, step).ok().flatten();
        for cell in run.into_iter().flat_map(|run| run.cells) {
            if !cells.iter().any(|known| known.id == cell.id) {
                cells.push(cell);
            }
        }
    }
    cells
}

fn run_report(folder: &Path, state: &State, cells: Vec<CellReport>) -> RunReport {
    let seconds: f64 = state.steps.iter().map(|step| step.seconds).sum();
    let mut report = RunReport {
        run_id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        dir: folder.to_owned(),
        command: state.command.clone(),
        kvet: env!("CARGO_PKG_VERSION").to_owned(),
        planned: cells.iter().map(|cell| cell.id.clone()).collect(),
        cells,
        wall: Duration::from_secs_f64(seconds),
        exit_code: 0,
    };
    report.exit_code = crate::report::verdict(&report);
    report
}

/// What the find flag says.
pub(super) fn find_of(args: &BisectArgs) -> Find {
    match args.find {
        Some(crate::cmd::args::FindArg::Fix) => Find::Fix,
        Some(crate::cmd::args::FindArg::Bug) | None => Find::Bug,
    }
}
