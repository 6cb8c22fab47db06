// SPDX-License-Identifier: GPL-2.0-only
//! Actions as tests, told as the BPF selftests' test_progs tells its own, with the options that kvet gives it.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use kvet_wire::RUN_MARK;

use crate::action::{self, Action, Done};

/// How long init gets to forward what was printed before the guest may be brought down.
const HEARD: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Options {
    marks: bool,
    allow: Vec<String>,
    deny: Vec<String>,
    steps: Vec<(String, Action)>,
}

/// What was counted.
#[derive(Default)]
struct Counts {
    tests: u32,
    subtests: u32,
    skipped: u32,
    failed: u32,
}

/// Runs the tests that the arguments name: `test/subtest=action` or `test=action`.
pub fn run(args: &[String]) -> ExitCode {
    let options = match action::check_guest().and_then(|()| parse(args)) {
        Ok(options) => options,
        Err(why) => return crate::usage(&why),
    };
    let mut counts = Counts::default();
    let tests = options.steps.chunk_by(|(a, _), (b, _)| test_of(a) == test_of(b));
    for (index, steps) in tests.enumerate() {
        let test = test_of(&steps[0].0);
        if options.runs_test(test) {
            run_test(index + 1, test, steps, &options, &mut counts);
        }
    }
    let Counts { tests, subtests, skipped, failed } = counts;
    println!("Summary: {tests}/{subtests} PASSED, {skipped} SKIPPED, {failed} FAILED");
    match (tests, failed) {
        (0, 0) => ExitCode::from(2),
        (_, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn run_test(number: usize, test: &str, steps: &[(String, Action)], options: &Options, counts: &mut Counts) {
    let mut verdict = "OK";
    if steps[0].0 != test {
        mark(test, options.marks);
    }
    for (index, (name, action)) in steps.iter().enumerate() {
        if !options.runs(name) {
            continue;
        }
        let result = perform(name, action, options.marks);
        if result == "FAIL" {
            verdict = "FAIL";
        }
        if name == test {
            verdict = result;
        } else {
            counts.subtests += u32::from(result == "OK");
            println!("#{number}/{:<6} {name}:{result}", index + 1);
        }
        counts.skipped += u32::from(result == "SKIP");
    }
    if verdict == "FAIL" {
        counts.failed += 1;
    } else {
        counts.tests += 1;
    }
    println!("#{number:<7} {test}:{verdict}");
}

/// What `selftests/upstream/mark.c` does in the real one.
fn mark(name: &str, marks: bool) {
    if marks {
        // A kernel without /dev/kmsg has no complaints to attribute either.
        let _ = fs::write("/dev/kmsg", format!("<4>{RUN_MARK}{name}\n"));
    }
}

fn perform(name: &str, action: &Action, marks: bool) -> &'static str {
    mark(name, marks);
    if action.comes_after_its_name() {
        std::thread::sleep(HEARD);
    }
    match action.perform() {
        Done::Pass => "OK",
        Done::Skip(_) => "SKIP",
        Done::Fail(why) => {
            println!("perform:FAIL:{why}");
            "FAIL"
        }
    }
}

fn test_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(test, _)| test)
}

impl Options {
    fn runs_test(&self, test: &str) -> bool {
        let whole = |name: &&String| !name.contains('/');
        let names = |name: &String| glob(test_of(name), test);
        !self.deny.iter().filter(whole).any(names) && (self.allow.is_empty() || self.allow.iter().any(names))
    }

    fn runs(&self, name: &str) -> bool {
        let matches = |pattern: &String| match (pattern.split_once('/'), name.split_once('/')) {
            (None, _) => glob(pattern, test_of(name)),
            (Some((test, sub)), Some((t, s))) => glob(test, t) && glob(sub, s),
            (Some(_), None) => false,
        };
        !self.deny.iter().any(matches) && (self.allow.is_empty() || self.allow.iter().any(matches))
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| glob(rest, &text[at..]))
        }),
    }
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options { marks: true, ..Options::default() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let names = |list: Option<&String>| -> Result<Vec<String>, String> {
            Ok(list.ok_or_else(|| format!("{arg} needs names"))?.split(',').map(Into::into).collect())
        };
        match arg.as_str() {
            "--no-marks" => options.marks = false,
            "-v" => {}
            "-a" => options.allow.extend(names(args.next())?),
            "-d" => options.deny.extend(names(args.next())?),
            step => {
                let (name, action) =
                    step.split_once('=').ok_or_else(|| format!("{step} is no NAME=ACTION"))?;
                options.steps.push((name.to_owned(), Action::parse(action)?));
            }
        }
    }
    Ok(options)
}
