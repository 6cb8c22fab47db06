//! Every command that the documentation names is parsed: in fenced blocks, in code spans, in example files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::Cli;

/// What variables of CI systems stand for.
const VARIABLES: [(&str, &str); 3] =
    [("$CI_NODE_INDEX/$CI_NODE_TOTAL", "1/4"), ("${{ matrix.shard }}", "1/4"), ("$SHARD", "1/4")];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files below a folder, or the file itself.
fn files(place: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(place) else { return found.push(place.to_owned()) };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.iter().for_each(|entry| files(entry, found));
}

/// Every file in which users find commands.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "examples", ".github/workflows"] {
        files(&top().join(name), &mut found);
    }
    for suite in fs::read_dir(top().join("selftests")).unwrap() {
        files(&suite.unwrap().path(), &mut found);
    }
    let text = ["md", "yml", "yaml"].map(|extension| Some(extension.to_owned()));
    found.retain(|path| text.contains(&path.extension().map(|e| e.to_string_lossy().into_owned())));
    found
}

/// The code in a page: a fenced block, or what stands between two backticks. A file of another kind is one block.
fn code(path: &Path, text: &str) -> Vec<(bool, String)> {
    if path.extension().is_none_or(|extension| extension != "md") {
        return vec![(true, text.to_owned())];
    }
    let parts = text.split("```").enumerate().flat_map(|(number, part)| {
        if number % 2 == 1 {
            return vec![(true, part.to_owned())];
        }
        // A span may go on in the next line.
        part.split('`').skip(1).step_by(2).map(|span| (false, span.replace('\n', " "))).collect()
    });
    parts.collect()
}

/// The words of the command at the beginning of a text, as a shell would have them. It ends where the shell ends it,
/// or at the wide gap before an explanation.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let begins = words.last().is_some_and(String::is_empty);
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            // What may be left out is given.
            (None, '[' | ']') => {}
            (None, ' ') if chars.peek() == Some(&' ') => break,
            (None, ' ') => words.push(String::new()),
            (None, ';' | '|' | '&' | '>' | ')' | '`' | '\n') => break,
            (None, '#') if begins => break,
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The commands in a line: where `kvet` and a verb stand, and whether they stand in backticks.
fn commands(line: &str, verbs: &BTreeSet<String>) -> Vec<(bool, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("kvet ") {
        let before = line[..at].chars().next_back();
        let words = words(&line[at..]);
        if before.is_none_or(|c| matches!(c, ' ' | '/' | '(' | '`' | '"' | '\''))
            && words.get(1).is_some_and(|verb| verbs.contains(verb))
        {
            found.push((before == Some('`'), words));
        }
    }
    found
}

/// Why a command is wrong. A mention of a command in a sentence may leave out what the command needs.
fn fault(command: &[String], mention: bool) -> Option<clap::Error> {
    let e = Cli::try_parse_from(command).err()?;
    let incomplete = matches!(
        e.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::InvalidValue
            | ErrorKind::ValueValidation
    );
    let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!asked && (!mention || !incomplete)).then_some(e)
}

#[test]
fn documented_commands_parse() {
    let verbs: BTreeSet<String> =
        Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let (mut fenced, mut wrong) = (0, Vec::new());
    for path in documents() {
        let mut text = fs::read_to_string(&path).unwrap();
        for (variable, value) in VARIABLES {
            text = text.replace(variable, value);
        }
        for (block, part) in code(&path, &text) {
            // The shell joins these lines.
            let part = part.replace("\\\n", "");
            // A synopsis is no command.
            for line in part.lines().filter(|line| !line.contains("[OPTIONS]")) {
                // A comment in a YAML file is a sentence.
                let mention = !block || line.trim_start().starts_with('#');
                for (quoted, command) in commands(line, &verbs) {
                    let mention = mention || quoted;
                    fenced += usize::from(!mention);
                    if let Some(e) = fault(&command, mention) {
                        wrong.push(format!("{}: {line}\n{e}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(fenced > 100, "{fenced} commands were found");
}

#[test]
fn commands_are_found_in_lines() {
    let verbs = BTreeSet::from(["run".to_owned(), "report".to_owned()]);
    for (line, expected) in [
        ("$ kvet run -k 7.2   # a comment", &["kvet run -k 7.2"][..]),
        ("kvet run -t 'a b'  an explanation", &["kvet run -t a b"]),
        ("make || exit 125; target/release/kvet run > log", &["kvet run"]),
        ("run: x=$(kvet report --all)", &["kvet report --all"]),
        ("kvet run; kvet report", &["kvet run", "kvet report"]),
        ("building kvet", &[]),
        ("waiting for another kvet process", &[]),
    ] {
        let found: Vec<String> = commands(line, &verbs).iter().map(|(_, words)| words.join(" ")).collect();
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn wrong_commands_are_found() {
    let command = |text: &str| words(text);
    assert!(fault(&command("kvet run --unknown"), true).is_some());
    assert!(fault(&command("kvet bisect"), false).is_some());
    assert!(fault(&command("kvet bisect"), true).is_none());
    assert!(fault(&command("kvet run --help"), false).is_none());
}
