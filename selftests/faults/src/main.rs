// SPDX-License-Identifier: GPL-2.0-only
//! Causes trouble in a guest, so that kvet's tests can see what kvet makes of it. **Never run it outside a guest.**
//!
//! ```text
//! kvet-faults ACTION                    does it
//! kvet-faults --ktap [--no-marks] [--test NAME]… NAME=ACTION…
//!                                       does one after the other as the tests faults/NAME, in KTAP
//! kvet-faults --test-progs [--no-marks] [-v] [-a GLOB,…] [-d GLOB,…] NAME=ACTION…
//!                                       the same as test_progs tells it; a NAME is TEST/SUBTEST or TEST
//! kvet-faults --folder DIR [FILES]      tells what can be done in a folder, or how long so many files take there
//! ```
//!
//! `kvet-faults --help` lists the actions. As a test, `fail` and `skip` give these results and everything that comes
//! back is a pass; `--test` selects, by the whole name. `--no-marks` leaves the starts of tests out of the kernel log.

mod action;
mod folder;
mod ktap;
mod test_progs;

use std::path::Path;
use std::process::ExitCode;

use action::{ACTIONS, Action, Done};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--ktap", ..] => ktap::run(&args[1..]),
        ["--test-progs", ..] => test_progs::run(&args[1..]),
        ["--folder", dir] => folder(dir, None),
        ["--folder", dir, files] => match files.parse() {
            Ok(files) => folder(dir, Some(files)),
            Err(e) => usage(&format!("{files}: {e}")),
        },
        ["--help"] => {
            println!("{ACTIONS}");
            ExitCode::SUCCESS
        }
        [action] => alone(action),
        _ => usage("one action, --ktap or --test-progs and NAME=ACTION…, or --folder and one"),
    }
}

fn folder(dir: &str, files: Option<u32>) -> ExitCode {
    match action::check_guest() {
        Ok(()) => folder::run(Path::new(dir), files),
        Err(why) => usage(&why),
    }
}

fn alone(text: &str) -> ExitCode {
    // Outside a guest most actions would hit the host.
    if let Err(why) = action::check_guest() {
        return usage(&why);
    }
    match Action::parse(text).map(|action| action.perform()) {
        Ok(Done::Pass) => ExitCode::SUCCESS,
        Ok(Done::Fail(why)) => {
            println!("{why}");
            ExitCode::FAILURE
        }
        Ok(Done::Skip(why)) => {
            println!("{why}");
            // KSFT_SKIP of the kernel's selftests.
            ExitCode::from(4)
        }
        Err(why) => usage(&why),
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!("kvet-faults: {why}\n{ACTIONS}");
    ExitCode::from(2)
}
