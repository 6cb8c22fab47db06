// SPDX-License-Identifier: GPL-2.0-only
//! The dynptr selftests: one program at a time, on any kernel.

use std::io::{self, Write};
use std::process::ExitCode;

mod cli;
mod coverage;
mod deaths;
mod environment;
mod isolate;
mod kconfig;
mod kernel_types;
mod ktap;
mod leak;
mod leaks;
mod loader;
mod mutant;
mod packet;
mod report;
mod run;
mod session;
mod suite;
mod tables;
mod trigger;
mod tunnels;
mod types;
mod unprivileged;

use cli::{Command, Options};
use session::Session;

/// A test failed.
const FAILED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// This machine cannot run the tests.
const UNUSABLE: u8 = 3;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(message) => return complain(USAGE, &message),
    };
    let text = match command {
        Command::Run(options) => return run(&options),
        Command::List(format) => cli::list(format),
        Command::Help => cli::HELP.to_owned(),
        Command::Version => format!("dynptr-selftests {}\n", env!("CARGO_PKG_VERSION")),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => complain(UNUSABLE, &format!("cannot write to stdout: {err}")),
    }
}

fn complain(code: u8, message: &str) -> ExitCode {
    for line in message.lines() {
        eprintln!("dynptr-selftests: {line}");
    }
    ExitCode::from(code)
}

fn run(options: &Options) -> ExitCode {
    if options.leaks {
        return match environment::check() {
            Ok(()) => ended(leaks::run()),
            Err(message) => complain(UNUSABLE, &message),
        };
    }
    let session = match environment::check().and_then(|()| Session::new(options)) {
        Ok(session) => session,
        Err(message) => return complain(UNUSABLE, &message),
    };
    ended(if options.mutants { mutant::run(&session) } else { session.run() })
}

fn ended(all_good: io::Result<bool>) -> ExitCode {
    match all_good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(err) => complain(UNUSABLE, &format!("cannot go on: {err}")),
    }
}
