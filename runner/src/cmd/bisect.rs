//! `kvet bisect`.

mod ahead;
mod ends;
mod evidence;
mod lab;
mod reproduce;
mod written;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::fcntl::{Flock, FlockArg};

use crate::bisect::answer::{self, Answer, Evidence};
use crate::bisect::state::{Parts, STEPS, State, Step, replay};
use crate::bisect::{Bisection, Find, News, Progress, Search};
use crate::cmd::args::{BisectArgs, Cli, Command, NEWEST};
use crate::cmd::{Setup, print};
use crate::error::{Error, Fault, IoContext, Result, exit};
use crate::parse::clean::one_line;
use crate::report::store::RunDir;
use crate::report::term::{ColorChoice, harmless};
use ends::Stage;
use lab::Kernels;

/// The file that a bisection lives in.
const STATE: &str = "state.json";

/// The file of the second level, commits after releases.
const COMMITS: &str = "commits.json";

/// Finds the first bad kernel, or the first good one again.
pub fn run(args: &BisectArgs, color: ColorChoice) -> Result<u8> {
    if let Some(folder) = &args.log {
        return print(&whole(&found(folder, &args.output)?)?.log());
    }
    match &args.resume {
        Some(folder) => resume(args, &found(folder, &args.output)?, color),
        None => begin(args, color),
    }
}

/// Both searches of a bisection, as far as they went.
fn whole(folder: &Path) -> Result<State> {
    let first = State::load(&folder.join(STATE))?;
    let further = folder.join(COMMITS);
    if !further.is_file() {
        return Ok(first);
    }
    Ok(State { releases: Some(Box::new(first)), ..State::load(&further)? })
}

fn setup(args: &BisectArgs) -> Result<Setup> {
    let setup = Setup::new()?.with_jobs(args.build.jobs);
    setup.resources.cancel.on_signals()?;
    Ok(setup)
}

/// Goes on with what it was begun with, and where.
fn resume(args: &BisectArgs, folder: &Path, color: ColorChoice) -> Result<u8> {
    let folder = folder.canonicalize().given(format!("find {}", folder.display()))?;
    let State { command, cwd, .. } = State::load(&folder.join(STATE))?;
    let words = std::iter::once("kvet".to_owned()).chain(command.iter().cloned());
    let cli = Cli::try_parse_from(words).map_err(|e| {
        Error::caller(format!("{}: its command line is not understood", folder.display())).because(e)
    })?;
    let Command::Bisect(begun) = cli.command else {
        return Err(Error::caller(format!("{} is no bisection", folder.display())));
    };
    let args = BisectArgs { verbose: begun.verbose || args.verbose, ..*begun };
    // What this command's own surroundings name is found before its folder is left.
    let setup = setup(&args)?;
    std::env::set_current_dir(&cwd).given(format!("go to {}, where it was begun", cwd.display()))?;
    kept(bisect(&args, &setup, &folder, &command, color), &folder)
}

fn begin(args: &BisectArgs, color: ColorChoice) -> Result<u8> {
    let setup = setup(args)?;
    lab::check(args, &setup)?;
    let command: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let stamp = format!("bisect-{}", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"));
    let folder = RunDir::create_at(&args.output, &stamp, &[])?.path().to_owned();
    let done = bisect(args, &setup, &folder, &command, color);
    // What is wrong with the command line or with an end stays wrong, and before something was tested a state says no more than
    // the command line does.
    let lasting = |error: &Error| matches!(error.fault(), Fault::Caller | Fault::Kernel);
    let begun = folder.join(if done.as_ref().is_err_and(lasting) { STEPS } else { STATE }).exists();
    if done.is_err() && !begun {
        // Nothing is known that could be gone on with.
        std::fs::remove_dir_all(&folder).host(format!("remove {}", folder.display()))?;
    }
    kept(done, &folder)
}

/// Adds to what stopped a bisection how it is gone on with, if that is what can be done.
fn kept<T>(done: Result<T>, folder: &Path) -> Result<T> {
    done.map_err(|error| {
        let passes = matches!(error.fault(), Fault::Host | Fault::Interrupted);
        if !passes || !folder.join(STATE).exists() {
            return error;
        }
        let own = error.hint_text().map_or(String::new(), |hint| format!("{hint}; "));
        let folder = crate::quote::argument(folder.as_os_str());
        error.hint(format!("{own}what is known is kept: `kvet bisect --resume {folder}` goes on"))
    })
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
    let started = Instant::now();
    let _lock = lock(folder)?;
    let mut lab = Kernels::new(args, setup, folder, color)?;
    let path = folder.join(STATE);
    let known = known(&path)?;
    let replayed = args.replay.as_deref().map(read_log).transpose()?.unwrap_or_default();
    let (releases, commits) = ends::stages(args, setup, folder, known.as_ref())?;
    let mut last: Option<(State, Answer)> = None;
    if let Some(stage) = releases {
        let level = Level { path: &path, command, replayed: &replayed, started };
        last = Some(search(args, stage, &level, &mut lab)?);
    }
    if let Some(begin) = commits {
        let started = if last.is_some() { Instant::now() } else { started };
        // The first level's neighbours are the second level's ends.
        let between =
            last.as_ref().map(|(_, answer)| (answer.before.kernel.as_str(), answer.first.kernel.as_str()));
        let path = if last.is_some() { folder.join(COMMITS) } else { path };
        let known = self::known(&path)?.and_then(|state| state.ends);
        let stage = begin.stage(between, known.as_ref())?;
        let level = Level { path: &path, command, replayed: &replayed, started };
        let (state, answer) = search(args, stage, &level, &mut lab)?;
        last = Some((State { releases: last.map(|(releases, _)| Box::new(releases)), ..state }, answer));
    }
    let (state, found) = last.ok_or_else(|| Error::host("a bisection without a search"))?;
    let suite = lab.suite(&found.first)?;
    let reproduce = lab.reproduce(&state, &found)?;
    let evidence = Evidence { reproduce, ..evidence::evidence(&state, &found, &suite) };
    written::write(folder, &state, &found, &evidence)?;
    print(&harmless(&answer::text(&state, &found, &evidence)))?;
    print(&format!("\nthe whole in {}\n{}\n", folder.display(), answer::last_line(&state, &found)))?;
    Ok(exit::PASSED)
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

/// One of the two searches of a bisection.
struct Level<'a> {
    /// The file of its state.
    path: &'a Path,
    command: &'a [String],
    /// What a log says of it, and of the other one.
    replayed: &'a [Step],
    /// When it was begun to look for its ends.
    started: Instant,
}

fn search(args: &BisectArgs, mut stage: Stage, level: &Level, lab: &mut Kernels) -> Result<(State, Answer)> {
    let path = level.path;
    let mut state = match known(path)? {
        Some(state) => state,
        None => State {
            cwd: std::env::current_dir().host("find the current directory")?,
            ..State::new(level.command.to_vec(), stage.find, args.matching.clone(), usize::from(args.runs))
        },
    };
    if state.steps.is_empty() {
        // The log of two levels holds verdicts for both.
        let (_, newer) = stage.search.ends();
        let scheme = newer.kernel.split_once(':').map_or("", |(scheme, _)| scheme);
        state.steps = State::keep(level.replayed.to_vec(), scheme);
        state.steps.retain(|step| {
            let has = stage.search.has(&step.kernel);
            if !has {
                tell!("note: {} ({}) is none of the releases between the ends", step.kernel, step.reason);
            }
            has
        });
    }
    if state.answer.is_none() {
        state.prepared += Parts::of(level.started.elapsed().as_secs_f64(), &[], &[]);
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
    let answer = bisection.run()?;
    Ok((bisection.state, answer))
}

/// What goes on, on standard error.
fn tell(news: News, seconds: &mut Vec<f64>) {
    match news {
        News::Begin(subject, Some(Progress { left, steps, between: (older, newer) })) => {
            let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
            let eta = Duration::from_secs_f64((mean * (steps + 1) as f64).round());
            let eta = if seconds.is_empty() { String::new() } else { format!(", about {eta:?}") };
            tell!(
                "testing {} between {} and {} ({left} left after it, {} to go{eta})",
                one_line(&subject.shown),
                first_word(&older.shown),
                first_word(&newer.shown),
                plural(steps + 1)
            );
        }
        News::Begin(subject, None) => tell!("testing the end {}", one_line(&subject.shown)),
        News::Judged(step, state) => {
            if step.seconds > 0.0 {
                seconds.push(step.seconds);
            }
            tell!("{}", answer::step_line(step, 0, state));
        }
        News::Confirmed(symptom) => {
            for sign in &symptom.signs {
                let (test, message) = (one_line(&sign.test), one_line(&sign.message));
                tell!("the symptom: {test}: {message}");
            }
        }
        News::Note(text) => tell!("note: {}", one_line(&text)),
    }
}

/// The version, or the short hash of a commit.
fn first_word(shown: &str) -> String {
    one_line(shown.split(' ').next().unwrap_or_default())
}

fn plural(steps: usize) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

/// What the find flag says.
pub(super) fn find_of(args: &BisectArgs) -> Find {
    match args.find {
        Some(crate::cmd::args::FindArg::Fix) => Find::Fix,
        Some(crate::cmd::args::FindArg::Bug) | None => Find::Bug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_hinted_to_go_on_from_where_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("bisect 1");
        std::fs::create_dir(&folder).unwrap();
        let hint = |error: Error| {
            let error = kept::<()>(Err(error), &folder).unwrap_err();
            error.hint_text().unwrap_or_default().to_owned()
        };
        let full = || Error::host("no space").hint("make room");
        assert_eq!(hint(full()), "make room", "nothing is kept yet");
        State::new(vec!["bisect".into()], Find::Bug, None, 1).save(&folder.join(STATE)).unwrap();
        let go_on = format!("what is known is kept: `kvet bisect --resume '{}'` goes on", folder.display());
        assert_eq!(hint(full()), format!("make room; {go_on}"));
        assert_eq!(hint(Error::interrupted()), go_on);
        assert_eq!(hint(Error::caller("no such test")), "", "it would be refused again");
    }
}
