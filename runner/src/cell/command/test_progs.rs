//! The arguments of test_progs.
//!
//! `-a` and `-d` select and leave out by `test/subtest`, with `*` as the only wildcard, which does not reach across the
//! slash; both are there since 5.14, and in every release that knows dynptr. A selection that cannot be said exactly is
//! made larger, and the results that were not asked for do not count; an exclusion that cannot be said exactly is left
//! to the results.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kvet_wire::{Tty, paths};

use super::{Command, LeftOut, MAX_SELECTION, size, too_long};
use crate::error::{IoContext, Result};
use crate::plan::{CellPlan, ShareMode};

/// Longest list in one argument, in bytes; the kernel takes 128 KiB (execve(2), MAX_ARG_STRLEN).
const MAX_LIST: usize = 16 << 10;
/// How much longer than kvet test_progs waits for a test: kvet is first, and asks the kernel for its stacks.
const WATCHDOG_LATER: u64 = 30;

/// Whether results are to stand where they come about, with arguments of the suite's own.
pub fn is_live(args: &[String]) -> bool {
    // Workers keep their output back whatever they are told.
    !args.iter().any(|arg| arg.starts_with("-j") || arg.starts_with("--workers"))
}

/// Adds what kvet wants of test_progs.
pub(super) fn complete(command: &mut Command, plan: &CellPlan, left_out: &LeftOut) -> Result<()> {
    if is_live(&plan.suite.spec.args) {
        if !plan.suite.spec.args.iter().any(|arg| arg.starts_with("-v") || arg == "--verbose") {
            command.argv.push("-v".into());
        }
        // With a pipe the C library would keep 4 KiB back, and a crash would take them along.
        command.tty = Some(Tty { cols: 200, rows: 50 });
    }
    let options = Options::of(&plan.suite.share.join(&plan.suite.program))?;
    if options.watchdog {
        let seconds = plan.limits.test.as_secs() + WATCHDOG_LATER;
        command.argv.extend(["-w".to_owned(), seconds.to_string()]);
    }
    if options.json && plan.share == ShareMode::NineP {
        command.argv.extend(["-J".to_owned(), format!("{}/test_progs.json", paths::RESULTS)]);
    }
    let globs = plan.filter.excludes().filter_map(exclude);
    let excluded: Vec<String> = globs.chain(left_out.skipped.iter().filter_map(|glob| skip(glob))).collect();
    let mut selection = lists("-a", &includes(plan.filter.includes()));
    selection.extend(lists("-d", &excluded));
    let denied = lists("-d", &exactly(&left_out.done));
    if size(&selection) + size(&denied) <= MAX_SELECTION {
        command.leaves_done_out = true;
        selection.extend(denied);
    }
    let bytes = size(&selection);
    if bytes > MAX_SELECTION && !plan.filter.is_all() {
        return Err(too_long("the names and globs of -t", bytes));
    }
    // Without -t these are tests that are expected to be skipped; more of them than fit are run.
    if bytes <= MAX_SELECTION {
        command.argv.extend(selection);
    }
    Ok(())
}

/// Options that not every release has. The program itself tells: a release's name would not, since distributions carry
/// patches from one to another.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Options {
    /// `-w`; 6.12 does not have it.
    watchdog: bool,
    /// `-J`; 6.1 does not have it.
    json: bool,
}

impl Options {
    fn of(program: &Path) -> Result<Self> {
        let context = format!("read {}", program.display());
        let mut file = File::open(program).host(&context)?;
        let mut options = Self::default();
        // Pieces overlap by more than a name has.
        let (mut buffer, mut kept) = (vec![0; 1 << 20], 0);
        loop {
            let length = file.read(&mut buffer[kept..]).host(&context)?;
            if length == 0 {
                return Ok(options);
            }
            let filled = kept + length;
            let has = |name: &[u8]| buffer[..filled].windows(name.len()).any(|bytes| bytes == name);
            // The names of argp's options, each with its end.
            options.watchdog |= has(b"watchdog-timeout\0");
            options.json |= has(b"json-summary\0");
            kept = filled.min(64);
            buffer.copy_within(filled - kept..filled, 0);
        }
    }
}

/// Names for `-a` that select at least what the globs mean; none for everything.
fn includes<'a>(globs: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names = Vec::new();
    for glob in globs {
        let name = include(glob);
        if name == "*" {
            return Vec::new();
        }
        names.push(name);
    }
    names
}

/// What of a kvet glob may be in a name of test_progs: everything special becomes `*`.
fn include(glob: &str) -> String {
    let special = |c: char| "*?[{\\,@".contains(c);
    match glob.split_once('/') {
        Some((test, subtest)) if !test.contains(special) => format!("{test}/{}", widened(subtest)),
        // A wildcard may reach across the slash: all tests that begin as the glob does, whole.
        _ => match glob.find(special) {
            Some(at) => format!("{}*", glob[..at].split('/').next().unwrap_or_default()),
            None => glob.to_owned(),
        },
    }
}

/// A glob with `*` as its only wildcard that matches at least as much.
fn widened(glob: &str) -> String {
    let mut out = String::new();
    let mut depth: Option<char> = None;
    for c in glob.chars() {
        match (depth, c) {
            (Some(end), c) => {
                if c == end {
                    depth = None;
                }
                continue;
            }
            (None, '[') => depth = Some(']'),
            (None, '{') => depth = Some('}'),
            (None, '*' | '?' | '\\' | ',' | '@') => {}
            (None, c) => {
                out.push(c);
                continue;
            }
        }
        if !out.ends_with('*') {
            out.push('*');
        }
    }
    out
}

/// A name for `-d` that leaves out just what the glob means, if there is one.
fn exclude(glob: &str) -> Option<String> {
    let plain = |text: &str| !text.contains(|c: char| "*?[]{}\\,@".contains(c));
    let stars = |text: &str| !text.contains(|c: char| "?[]{}\\,@".contains(c));
    match glob.split_once('/') {
        // `*` in a subtest's name is the same to both.
        Some((test, subtest)) => (plain(test) && stars(subtest)).then(|| glob.to_owned()),
        // `name*` is all tests that begin so, with their subtests.
        None => glob.strip_suffix('*').filter(|text| plain(text)).map(|_| glob.to_owned()),
    }
}

/// The same for a test that is to be skipped: one without a slash is a whole test.
fn skip(glob: &str) -> Option<String> {
    exclude(glob).or_else(|| (!glob.contains(|c: char| "/*?[]{}\\,@".contains(c))).then(|| glob.to_owned()))
}

/// Names of tests that are done, for `-d`. What test_progs cannot be told literally becomes `*`.
fn exactly(done: &[String]) -> Vec<String> {
    let base = |name: &String| match name.rsplit_once('#') {
        // The second of a name: both are known to test_progs by the same.
        Some((base, number))
            if number.bytes().all(|b| b.is_ascii_digit()) && done.iter().any(|d| d == base) =>
        {
            None
        }
        _ => Some(name.replace(',', "*").replacen('@', if name.starts_with('@') { "*" } else { "@" }, 1)),
    };
    done.iter().filter_map(base).collect()
}

/// The names as comma-separated lists, each behind the flag.
fn lists(flag: &str, names: &[String]) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for name in names {
        match lists.last_mut() {
            Some(list) if list.len() + name.len() < MAX_LIST => {
                list.push(',');
                list.push_str(name);
            }
            _ => lists.push(name.clone()),
        }
    }
    lists.into_iter().flat_map(|list| [flag.to_owned(), list]).collect()
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;

    /// test_progs' own matching: `*` in either part, and a name without a slash means the whole test.
    fn selects(list: &[String], test: &str, subtest: &str) -> bool {
        list.is_empty()
            || list.iter().any(|name| match name.split_once('/') {
                Some((t, s)) => glob(t, test) && glob(s, subtest),
                None => glob(name, test),
            })
    }

    fn glob(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((head, rest)) => {
                let Some(text) = text.strip_prefix(head) else { return false };
                (0..=text.len()).filter(|i| text.is_char_boundary(*i)).any(|i| glob(rest, &text[i..]))
            }
        }
    }

    const TESTS: &[(&str, &str)] = &[
        ("dynptr", "test_a"),
        ("dynptr", "test_b"),
        ("dynptr", "a, b"),
        ("dynptr", "with blanks @unpriv"),
        ("dynptr_more", "test_a"),
        ("xdp", "skb_meta/veth"),
        ("plain", ""),
    ];

    fn full(test: &str, subtest: &str) -> String {
        if subtest.is_empty() { test.to_owned() } else { format!("{test}/{subtest}") }
    }

    const GLOBS: &[&str] = &[
        "dynptr/*",
        "dynptr/test_a",
        "dynptr/test_[ab]",
        "dynptr/test_{a,b}",
        "dynptr/test_?",
        "dyn*",
        "*skb*",
        "*/test_a",
        "plain",
        "dynptr/a, b",
        "dynptr/*@unpriv",
        "d?nptr/x",
        "{dynptr,xdp}/*",
        "xdp/skb_meta/*",
        "[dx]*/test_a",
        "dynptr/with*",
        "nothing",
    ];

    #[test]
    fn a_selection_takes_at_least_what_the_glob_means() {
        for text in GLOBS {
            let matcher = Glob::new(text).unwrap().compile_matcher();
            let list = includes([*text].into_iter());
            for (test, subtest) in TESTS {
                let name = full(test, subtest);
                assert!(!matcher.is_match(&name) || selects(&list, test, subtest), "{text} {name} {list:?}");
            }
        }
    }

    #[test]
    fn an_exclusion_leaves_out_nothing_that_the_glob_does_not_mean() {
        let mut said = 0;
        for text in GLOBS {
            let matcher = Glob::new(text).unwrap().compile_matcher();
            let Some(name) = exclude(text) else { continue };
            said += 1;
            for (test, subtest) in TESTS {
                let hit = selects(std::slice::from_ref(&name), test, subtest);
                assert!(!hit || matcher.is_match(full(test, subtest)), "{text} -> {name} {test}/{subtest}");
            }
        }
        assert!(said >= 5, "{said}");
    }

    #[test]
    fn what_can_be_said_is_said() {
        let select = |globs: &[&str]| includes(globs.iter().copied());
        assert_eq!(select(&["dynptr/test_*", "xdp/*"]), ["dynptr/test_*", "xdp/*"]);
        assert_eq!(select(&["dynptr/t[ab]?x{1,2}"]), ["dynptr/t*x*"]);
        assert_eq!(select(&["plain"]), ["plain"]);
        assert_eq!(select(&["dyn*skb"]), ["dyn*"]);
        assert_eq!(select(&["dynptr/*", "*skb*"]), Vec::<String>::new(), "one wants everything");
        assert_eq!(exclude("dynptr/*"), Some("dynptr/*".into()));
        assert_eq!(exclude("dynptr*"), Some("dynptr*".into()));
        assert_eq!(exclude("plain"), None, "as a name of test_progs it would mean its subtests too");
    }

    #[test]
    fn what_is_done_is_named_exactly_and_in_pieces() {
        let done = ["d/a", "d/a#2", "d/x, y", "@odd", "plain"].map(String::from);
        assert_eq!(exactly(&done), ["d/a", "d/x* y", "*odd", "plain"]);
        let many: Vec<String> = (0..2000).map(|i| format!("dynptr/test_{i:020}")).collect();
        let arguments = lists("-d", &many);
        assert!(arguments.len() > 4 && arguments.iter().all(|a| a.len() <= MAX_LIST));
        assert_eq!(arguments.iter().filter(|a| *a != "-d").flat_map(|a| a.split(',')).count(), 2000);
    }

    #[test]
    fn options_are_read_from_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test_progs");
        let mut bytes = vec![b'x'; (1 << 20) - 5];
        bytes.extend(b"watchdog-timeout\0no-json-summaryx\0");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Options::of(&path).unwrap(), Options { watchdog: true, json: false });
        bytes.extend(b"json-summary\0");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Options::of(&path).unwrap(), Options { watchdog: true, json: true });
    }
}
