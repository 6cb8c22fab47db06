//! One function per verb. With [`crate::report::term`] this is the only room that prints.

pub mod args;
mod bisect;
mod doctor;
mod image;
mod kernel;
mod manual;
mod matrix;
mod report;
mod run;
mod running;
pub(crate) mod say;
mod shell;
mod steps;
mod suite;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cancel::Cancel;
use crate::cell::Resources;
use crate::cell::slots::{Share, Slots};
use crate::error::{Error, Fault, Result, exit};
use crate::kernel::{Cache, Sources, Workshop};
use crate::parse::splat::{Allowlist, Patterns, Scanner};
use crate::plan::config::KernelsConfig;
use crate::report::term::ColorChoice;
use crate::spec::home::Home;
use args::{Cli, Command};
use say::{complain, print, print_bytes, printed};

/// The whole program. A bug of kvet's that panics is an infrastructure failure, and no verdict: the 101 of a Rust
/// program would be "bad" to git bisect.
pub fn main() -> ExitCode {
    say::explain_panics();
    guarded(is_for_git(), program)
}

/// Runs something; gives the exit code of an internal error where it panics.
fn guarded(bisecting: bool, program: impl FnOnce() -> ExitCode) -> ExitCode {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(program));
    ended.unwrap_or_else(|_| ExitCode::from(if bisecting { exit::BISECT_ABORT } else { exit::HOST }))
}

/// Parses the arguments, does what they say, and tells the exit code.
fn program() -> ExitCode {
    let (color, done) = match Cli::try_parse() {
        Ok(cli) => (cli.common.color, dispatch(cli)),
        Err(e) if e.use_stderr() => {
            // If nobody can read it, the exit code says it all. To git a usage error's 2 would be a verdict.
            let _ = e.print();
            return ExitCode::from(if is_for_git() { exit::BISECT_ABORT } else { exit::USAGE });
        }
        // What was asked for: the help, or the version.
        Err(e) => (ColorChoice::Auto, printed(e.print().and_then(|()| std::io::stdout().flush()))),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error, color);
            ExitCode::from(exit_code(error.fault()))
        }
    }
}

/// Whether git reads the exit code. An argument may be anything, UTF-8 or not; those of a program that is run are its own.
fn is_for_git() -> bool {
    let ours = std::env::args_os().take_while(|arg| arg != "--");
    ours.into_iter().any(|arg| arg.as_encoded_bytes().starts_with(b"--git-bisect"))
}

fn dispatch(cli: Cli) -> Result<u8> {
    let color = cli.common.color;
    match cli.command {
        Command::Run(args) => run::run(&args, color),
        Command::Kernel(command) => kernel::run(command, color),
        Command::Image(command) => image::run(command),
        Command::Suite(command) => suite::run(command),
        Command::Matrix(args) => matrix::run(&args, color),
        Command::Bisect(args) => bisect::run(&args, color),
        Command::Report(args) => report::run(&args, color),
        Command::Shell(args) => shell::run(&args),
        Command::Doctor => doctor::run(color),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kvet", &mut script);
            print_bytes(&script)
        }
        Command::Man(args) => manual::run(&args),
    }
}

fn exit_code(fault: Fault) -> u8 {
    match fault {
        Fault::Caller => exit::USAGE,
        Fault::Host => exit::HOST,
        Fault::Kernel => exit::FAILED,
        Fault::Interrupted => exit::INTERRUPTED,
    }
}

/// What most verbs need: kvet's own files, the kernel cache and the archive.
struct Setup {
    home: Home,
    config: KernelsConfig,
    resources: Resources,
}

impl Setup {
    fn new() -> Result<Self> {
        let home = find_home()?;
        let config = KernelsConfig::load(&home)?;
        let patterns = Patterns::load(&home.config("splats.yaml"))?;
        let allowlist = Allowlist::load(&home.config("SPLAT_ALLOWLIST"))?;
        let cancel = Cancel::new()?;
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workshop = Workshop { home: home.clone(), jobs };
        let resources = Resources {
            home: home.clone(),
            cache: Cache::open(Cache::locate(&env)?)?,
            sources: Sources::new(config.debian.clone()).building(workshop),
            scanner: Box::new(move || Scanner::new(patterns.clone(), allowlist.clone())),
            slots: Slots::new(Share { cpus: u32::MAX, memory_mib: u64::MAX }),
            cancel,
        };
        Ok(Self { home, config, resources })
    }

    /// `--jobs`.
    fn with_jobs(mut self, jobs: Option<u16>) -> Self {
        if let Some(jobs) = jobs {
            let workshop = Workshop { home: self.home.clone(), jobs: usize::from(jobs) };
            self.resources.sources = self.resources.sources.building(workshop);
        }
        self
    }
}

fn find_home() -> Result<Home> {
    let executable =
        std::env::current_exe().map_err(|e| Error::host("cannot find kvet itself").because(e))?;
    Home::find(env("KVET_HOME"), &executable)
}

fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A progress printer for verbs without a report: one line for each thing that begins.
fn plain_progress() -> impl FnMut(crate::kernel::Progress) {
    let mut bar: Option<(String, indicatif::ProgressBar)> = None;
    let mut steps = steps::Steps::default();
    move |progress| match progress {
        crate::kernel::Progress::Note(text) => {
            if let Some((_, bar)) = bar.take() {
                bar.finish_and_clear();
            }
            steps.aside(|| tell!("note: {text}"));
        }
        crate::kernel::Progress::BuildLog(path) => tell!("build log {}", path.display()),
        crate::kernel::Progress::Steps { what, done, total, current } => {
            steps.tell(&what, done, total, &current);
        }
        crate::kernel::Progress::Worked(_) => {}
        crate::kernel::Progress::Bytes { what, done, total } => {
            if bar.as_ref().is_none_or(|(name, _)| *name != what) {
                if let Some((_, old)) = bar.take() {
                    old.finish_and_clear();
                }
                bar = Some((what.clone(), new_bar(&what, total)));
            }
            if let Some((_, bar)) = &bar {
                bar.set_length(total);
                bar.set_position(done);
                if total > 0 && done >= total {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

fn new_bar(what: &str, total: u64) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        tell!("{what} ({})", indicatif::HumanBytes(total));
    }
    let bar = indicatif::ProgressBar::new(total).with_message(what.to_owned());
    let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_no_verdict() {
        let code = |bisecting| format!("{:?}", guarded(bisecting, || panic!("a panic that this test wants")));
        assert_eq!(code(false), format!("{:?}", ExitCode::from(exit::HOST)));
        assert_eq!(code(true), format!("{:?}", ExitCode::from(exit::BISECT_ABORT)));
        let fine = guarded(true, || ExitCode::from(exit::FAILED));
        assert_eq!(format!("{fine:?}"), format!("{:?}", ExitCode::from(exit::FAILED)));
    }
}
