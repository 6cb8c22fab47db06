// SPDX-License-Identifier: GPL-2.0-only
//! The command line.

use crate::coverage;
#[cfg(feature = "selftests")]
use crate::selftests;
use crate::tables::GROUPS;
use dynptr_spec::Test;

/// How the tests are run.
const USAGE: &str = "\
The BPF dynptr selftests of kvet. Results are written to stdout as KTAP.

Usage: dynptr-selftests [--strict] [--shuffle SEED] [--logs] [--test NAME]...
       dynptr-selftests --list [--format text|json|md]
";

/// The options that each binary has.
const OPTIONS: &str = "
      --test NAME      run this test (group/test), and others that are named so; without it, all
      --strict         a test that lacks a module, a mount or a kernel option fails instead of being skipped
      --shuffle SEED   run groups, and the tests of each, in an order that the number decides
      --logs           keep what the verifier has to say of every test, and not only where it said something else
      --list           list the tests and run none; needs neither root nor BPF
      --format FORMAT  text: a name per line (default); json: what each test is and needs; md: COVERAGE.md
  -h, --help           say this
  -V, --version        say the version
";

/// What else there is to know.
const STATUS: &str = "
Environment: KVET_RESULTS is a folder for the verifier's whole logs, of what it should not have taken or refused, or with
--logs of everything.

Exit status: 0 all tests passed, were skipped, or failed of a known mistake of this kernel's; 1 a test failed;
2 the command line is wrong; 3 this machine cannot run the tests (not root, no BPF, no /sys/kernel/btf/vmlinux).
";

/// The text of `--help`.
pub fn help() -> String {
    #[cfg(feature = "selftests")]
    let (usage, options) = (selftests::USAGE, selftests::OPTIONS);
    #[cfg(not(feature = "selftests"))]
    let (usage, options) = ("", "");
    [USAGE, usage, OPTIONS, options, STATUS].concat()
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Run tests.
    Run(Options),
    /// List the tests.
    List(Format),
    /// Show the help.
    Help,
    /// Show the version.
    Version,
}

/// Which tests are run, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// These, or all where there are none.
    pub tests: Vec<String>,
    /// What is missing beside functions of the kernel fails a test.
    pub strict: bool,
    /// The number that the order is made of; without it, the tests are in the order of the table.
    pub shuffle: Option<u64>,
    /// The verifier's logs of all tests are kept.
    pub logs: bool,
    /// Tests of the tests and of the harness.
    #[cfg(feature = "selftests")]
    pub selftests: selftests::Request,
}

/// The form of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A name per line.
    Text,
    /// An array of objects.
    Json,
    /// Tables for people: what is covered by what.
    Markdown,
}

/// Reads the arguments, without the program's own name.
///
/// # Errors
/// What is wrong with them, for the caller to be told.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut args = args.into_iter();
    let mut options = Options::default();
    let mut list = false;
    let mut format = None;
    while let Some(arg) = args.next() {
        let (flag, mut joined) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value =
            || joined.take().or_else(|| args.next()).ok_or_else(|| format!("{flag} needs a value"));
        match flag {
            "--test" => options.tests.push(known(value()?)?),
            #[cfg(feature = "selftests")]
            "--mutate" => options.selftests.mutate(&value()?)?,
            "--format" => format = Some(format_of(&value()?)?),
            "--shuffle" => options.shuffle = Some(seed(&value()?)?),
            "--strict" => options.strict = true,
            "--logs" => options.logs = true,
            #[cfg(feature = "selftests")]
            "--mutants" => options.selftests.mutants = true,
            #[cfg(feature = "selftests")]
            "--leaks" => options.selftests.leaks = true,
            "--list" => list = true,
            "-h" | "--help" => return Ok(Command::Help),
            "-V" | "--version" => return Ok(Command::Version),
            _ => return Err(format!("unknown argument {arg:?}")),
        }
        if joined.is_some() {
            return Err(format!("{flag} takes no value"));
        }
    }
    match (list, options == Options::default(), format) {
        (true, true, format) => Ok(Command::List(format.unwrap_or(Format::Text))),
        (true, false, _) => Err("--list runs nothing: it goes with --format only".into()),
        (false, _, Some(_)) => Err("--format is the form of --list".into()),
        (false, _, None) => {
            #[cfg(feature = "selftests")]
            options.selftests.check(&options)?;
            Ok(Command::Run(options))
        }
    }
}

fn format_of(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "md" => Ok(Format::Markdown),
        _ => Err(format!("unknown format {text:?}: text, json or md")),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("--shuffle {text:?}: expected a number from 0 to {}", u64::MAX))
}

/// The name, if it is that of a test.
///
/// # Errors
/// It is not.
pub fn known(name: String) -> Result<String, String> {
    let known = all().any(|(group, test)| test.is_called(&name, group));
    if known { Ok(name) } else { Err(format!("no test {name:?}; hint: --list shows all")) }
}

/// All tests, each with its group.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Test)> {
    GROUPS.iter().flat_map(|group| group.tests.iter().map(|test| (group.name, test)))
}

/// The list.
pub fn list(format: Format) -> String {
    match format {
        Format::Text => all().map(|(group, test)| format!("{group}/{}\n", test.name)).collect(),
        Format::Json => {
            let tests: Vec<String> = all().map(|(group, test)| json(group, test)).collect();
            format!("[\n{}\n]\n", tests.join(",\n"))
        }
        Format::Markdown => coverage::markdown(),
    }
}

/// All of these strings are plain ASCII, for which Rust's quotes are JSON's.
fn json(group: &str, test: &Test) -> String {
    let since = test.since().map_or("null".into(), |since| format!("\"{since}\""));
    let needs: Vec<String> = test.needs.iter().map(|need| format!("{:?}", need.name)).collect();
    format!(
        "  {{\"name\": \"{group}/{}\", \"program\": {:?}, \"since\": {since}, \"needs\": [{}]}}",
        test.name,
        test.program,
        needs.join(", ")
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn parsed(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(ToString::to_string))
    }

    #[test]
    fn reads_the_command_line() {
        assert_eq!(parsed(&[]), Ok(Command::Run(Options::default())));
        let two = ["dynptr_success/test_read_write", "skb_meta/dynptr_read"];
        let both = Options { tests: two.map(str::to_owned).into(), ..Options::default() };
        assert_eq!(parsed(&["--test", two[0], "--test=skb_meta/dynptr_read"]), Ok(Command::Run(both)));
        let strict = Options { strict: true, shuffle: Some(7), ..Options::default() };
        assert_eq!(parsed(&["--strict", "--shuffle=7"]), Ok(Command::Run(strict)));
        let logs = Options { logs: true, ..Options::default() };
        assert_eq!(parsed(&["--logs"]), Ok(Command::Run(logs)));
        assert_eq!(parsed(&["--list"]), Ok(Command::List(Format::Text)));
        assert_eq!(parsed(&["--format=json", "--list"]), Ok(Command::List(Format::Json)));
        assert_eq!(parsed(&["--list", "-h"]), Ok(Command::Help));
    }

    #[test]
    fn refuses_a_wrong_command_line() {
        for (args, complaint) in [
            (&["--test", "dynptr_success/nothing"][..], "no test \"dynptr_success/nothing\""),
            (&["--test", "test_read_write"], "no test"),
            (&["--test"], "--test needs a value"),
            (&["--list=yes"], "--list takes no value"),
            (&["--list", "--format", "yaml"], "unknown format"),
            (&["--format", "json"], "--format is the form"),
            (&["--list", "--test", "skb_meta/dynptr_read"], "--list runs nothing"),
            (&["--list", "--strict"], "--list runs nothing"),
            (&["--shuffle", "now"], "expected a number"),
            (&["all"], "unknown argument"),
        ] {
            let err = parsed(args).expect_err("wrong");
            assert!(err.contains(complaint), "{args:?}: {err}");
        }
    }

    #[cfg(not(feature = "selftests"))]
    #[test]
    fn the_shipped_binary_has_no_selftests() {
        for flag in ["--mutants", "--mutate=dynptr_success/test_adjust.bpf_dynptr_size.lost", "--leaks"] {
            let err = parsed(&[flag]).expect_err(flag);
            assert_eq!(err, format!("unknown argument {flag:?}"));
        }
        assert!(!help().contains("--mut") && !help().contains("--leaks"), "{}", help());
    }

    #[test]
    fn lists_every_test_once_by_the_name_that_runs_it() {
        let text = list(Format::Text);
        let mut names: Vec<&str> = text.lines().collect();
        assert_eq!(names.len(), GROUPS.iter().map(|group| group.tests.len()).sum::<usize>());
        for name in &names {
            assert!(parsed(&["--test", name]).is_ok(), "{name}");
        }
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b));
        let json = list(Format::Json);
        assert!(json.contains(
            "\"name\": \"skb_meta/dynptr_read\", \"program\": \"dynptr_read\", \"since\": \"6.18\""
        ));
    }
}
