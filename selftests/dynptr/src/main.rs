// SPDX-License-Identifier: GPL-2.0-only
//! The dynptr selftests: one program at a time, on any kernel.

use std::io::{self, Write};
use std::process::ExitCode;

mod cli;
mod coverage;
#[cfg(feature = "selftests")]
mod crash_selftest;
mod environment;
mod isolate;
mod kconfig;
mod kernel_types;
mod ktap;
mod leak_check;
#[cfg(feature = "selftests")]
mod leak_selftest;
mod loader;
#[cfg(feature = "selftests")]
mod mutant;
mod packet;
mod report;
mod run;
#[cfg(feature = "selftests")]
mod selftests;
mod session;
mod suite;
mod tables;
mod trigger;
#[cfg(feature = "selftests")]
mod tunnel_selftest;
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
        Command::Help => cli::help(),
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
    if let Err(message) = environment::check() {
        return complain(UNUSABLE, &message);
    }
    #[cfg(feature = "selftests")]
    if options.selftests.leaks {
        return ended(selftests::of_harness());
    }
    let session = match Session::new(options) {
        Ok(session) => session,
        Err(message) => return complain(UNUSABLE, &message),
    };
    #[cfg(feature = "selftests")]
    if options.selftests.mutants {
        return ended(mutant::run(&session));
    }
    ended(session.run())
}

fn ended(all_good: io::Result<bool>) -> ExitCode {
    match all_good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(err) => complain(UNUSABLE, &format!("cannot go on: {err}")),
    }
}
