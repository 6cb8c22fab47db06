// SPDX-License-Identifier: GPL-2.0-only
//! Actions as tests: KTAP, version 1 (<https://docs.kernel.org/dev-tools/ktap.html>).

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use kvet_wire::RUN_MARK;

use crate::action::{self, Action, Done};

/// All tests are in this group.
const GROUP: &str = "faults";

/// How long init gets to forward the announcement of a test before the test may bring the guest down.
const HEARD: Duration = Duration::from_millis(100);

struct Options {
    marks: bool,
    steps: Vec<(String, Action)>,
}

/// Runs the tests that the arguments name.
pub fn run(args: &[String]) -> ExitCode {
    let options = match action::check_guest().and_then(|()| parse(args)) {
        Ok(options) => options,
        Err(why) => return crate::usage(&why),
    };
    println!(
        "KTAP version 1\n1..1\n    # Subtest: {GROUP}\n    KTAP version 1\n    1..{}",
        options.steps.len()
    );
    let mut failed = false;
    for (index, (name, action)) in options.steps.iter().enumerate() {
        failed |= !test(index + 1, name, action, options.marks);
    }
    println!("{} 1 {GROUP}", if failed { "not ok" } else { "ok" });
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn test(number: usize, name: &str, action: &Action, marks: bool) -> bool {
    println!("    #  RUN           {name} ...");
    if marks {
        // A kernel without /dev/kmsg has no complaints to attribute either.
        let _ = fs::write("/dev/kmsg", format!("<4>{RUN_MARK}{GROUP}/{name}\n"));
    }
    if action.comes_after_its_name() {
        std::thread::sleep(HEARD);
    }
    match action.perform() {
        Done::Pass => println!("    ok {number} {name}"),
        Done::Skip(why) => println!("    ok {number} {name} # SKIP {why}"),
        Done::Fail(why) => {
            println!("    # {why}\n    not ok {number} {name}");
            return false;
        }
    }
    true
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options { marks: true, steps: Vec::new() };
    let mut selected = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--no-marks" => options.marks = false,
            "--test" => selected.push(args.next().ok_or("--test needs a name")?.as_str()),
            step => {
                let (name, action) =
                    step.split_once('=').ok_or_else(|| format!("{step} is no NAME=ACTION"))?;
                options.steps.push((name.to_owned(), Action::parse(action)?));
            }
        }
    }
    if !selected.is_empty() {
        options.steps.retain(|(name, _)| selected.contains(&format!("{GROUP}/{name}").as_str()));
    }
    if let [(_, action @ Action::Alone)] = &mut options.steps[..] {
        *action = Action::Pass;
    }
    Ok(options)
}
