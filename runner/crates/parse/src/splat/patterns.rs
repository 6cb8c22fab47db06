//! The tables the scanner works with, as data from `configs/`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use regex::{Regex, RegexSet};
use serde::Deserialize;

use kvet_base::error::{Error, IoContext, Result};
use kvet_spec as spec;

/// `configs/splats.yaml`, compiled. Cheap to share, dear to make (milliseconds): one serves all guests.
#[derive(Debug)]
pub struct Patterns {
    starts: RegexSet,
    tail: RegexSet,
    body: RegexSet,
    table: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    kind: String,
    end: Option<Regex>,
    fatal: bool,
    refines: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    patterns: Vec<Pattern>,
    tail: Vec<String>,
    body: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    kind: String,
    start: String,
    #[serde(default)]
    end: Option<String>,
    #[serde(default)]
    fatal: bool,
    #[serde(default)]
    refines: Option<String>,
    about: String,
    example: String,
}

/// The kind whose first match is the ordinary banner of a booting kernel.
const BANNER: &str = "reboot";

impl Patterns {
    /// Reads the table in a file.
    ///
    /// # Errors
    /// It cannot be read, or see [`Patterns::parse`].
    pub fn load(path: &Path) -> Result<Arc<Self>> {
        Self::parse(&read(path)?, &path.display().to_string())
    }

    /// Compiles a table. `place` names it in messages.
    ///
    /// # Errors
    /// It is not YAML of the right form, an expression does not compile, or an example does not match its pattern
    /// before all others: all of them the caller's.
    pub fn parse(yaml: &str, place: &str) -> Result<Arc<Self>> {
        let file: File = spec::parse(yaml).map_err(|e| e.context(format!("{place} is not valid")))?;
        let starts = set(file.patterns.iter().map(|p| p.start.as_str()), place)?;
        let kinds: HashSet<&str> = file.patterns.iter().map(|p| p.kind.as_str()).collect();
        let mut table = Vec::new();
        let mut ends: HashMap<&str, Regex> = HashMap::new();
        for (index, pattern) in file.patterns.iter().enumerate() {
            let at = format!("{place}: pattern {} ('{}')", index + 1, pattern.kind);
            if pattern.about.trim().is_empty() {
                return Err(Error::caller(format!("{at}: 'about' is empty; say what it means")));
            }
            let first = starts.matches(&pattern.example).into_iter().next();
            if first != Some(index) {
                let other = first.and_then(|i| file.patterns.get(i)).map_or("no pattern", |p| &p.kind);
                return Err(Error::caller(format!(
                    "{at}: its example '{}' matches {other} first; it must match its own",
                    pattern.example
                )));
            }
            // Most reports end alike, and compiling takes longer than all of their matching.
            let end = match pattern.end.as_deref() {
                None => None,
                Some(e) => match ends.get(e) {
                    Some(regex) => Some(regex.clone()),
                    None => Some(ends.entry(e).or_insert(compile(e, &at)?).clone()),
                },
            };
            if let Some(other) = pattern.refines.as_ref().filter(|other| !kinds.contains(other.as_str())) {
                return Err(Error::caller(format!("{at}: it refines '{other}', and there is no such kind")));
            }
            let (kind, refines) = (pattern.kind.clone(), pattern.refines.clone());
            table.push(Entry { kind, end, fatal: pattern.fatal, refines });
        }
        let tail = set(file.tail.iter().map(String::as_str), place)?;
        let body = set(file.body.iter().map(String::as_str), place)?;
        Ok(Arc::new(Self { starts, tail, body, table }))
    }

    /// The kinds there are, each once, in the order of the table.
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = Vec::new();
        for entry in &self.table {
            if !kinds.contains(&entry.kind.as_str()) {
                kinds.push(&entry.kind);
            }
        }
        kinds
    }

    pub(super) fn find(&self, text: &str) -> Option<usize> {
        self.starts.matches(text).into_iter().next()
    }

    pub(super) fn kind(&self, index: usize) -> &str {
        &self.table[index].kind
    }

    /// Whether a line of the pattern says more of a report of `other`.
    pub(super) fn refines(&self, index: usize, other: usize) -> bool {
        self.table[index].refines.as_ref() == Some(&self.table[other].kind)
    }

    /// Whether two patterns are about one report: a BUG line and its oops end with the same line.
    pub(super) fn end_alike(&self, index: usize, other: usize) -> bool {
        let end = |index: usize| self.table[index].end.as_ref().map(Regex::as_str);
        end(index).is_some() && end(index) == end(other)
    }

    pub(super) fn is_fatal(&self, index: usize) -> bool {
        self.table[index].fatal
    }

    pub(super) fn is_banner(&self, index: usize) -> bool {
        self.table[index].kind == BANNER
    }

    pub(super) fn has_end(&self, index: usize) -> bool {
        self.table[index].end.is_some()
    }

    pub(super) fn ends(&self, index: usize, text: &str) -> bool {
        self.table[index].end.as_ref().is_some_and(|e| e.is_match(text))
    }

    pub(super) fn is_tail(&self, text: &str) -> bool {
        self.tail.is_match(text)
    }

    pub(super) fn is_body(&self, text: &str) -> bool {
        self.body.is_match(text)
    }
}

fn compile(expression: &str, place: &str) -> Result<Regex> {
    Regex::new(expression)
        .map_err(|e| Error::caller(format!("{place}: '{expression}' is no regular expression")).because(e))
}

fn set<'a>(expressions: impl Iterator<Item = &'a str> + Clone, place: &str) -> Result<RegexSet> {
    RegexSet::new(expressions.clone()).or_else(|error| {
        // The error of a set does not say which expression it is about.
        for expression in expressions {
            compile(expression, place)?;
        }
        Err(Error::caller(format!("{place} is not valid")).because(error))
    })
}

/// Known and accepted splats, with the reason for each.
#[derive(Debug, Clone, Default)]
pub struct Allowlist {
    entries: Arc<Vec<(Regex, String)>>,
}

impl Allowlist {
    /// Reads the list in a file.
    ///
    /// # Errors
    /// It cannot be read, or see [`Allowlist::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&read(path)?, &path.display().to_string())
    }

    /// Reads lines of the form `expression # reason`; empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// A line has no reason, or its expression does not compile or matches everything.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = format!("{place}:{}", number + 1);
            let (expression, reason) = match line.rsplit_once(" # ") {
                Some((expression, reason)) if !reason.trim().is_empty() => (expression.trim(), reason.trim()),
                _ => {
                    return Err(Error::caller(format!("{at}: '{line}' gives no reason"))
                        .hint("write: regular expression # why it is accepted"));
                }
            };
            let regex = compile(&format!("(?m){expression}"), &at)?;
            if regex.is_match("") {
                return Err(Error::caller(format!("{at}: '{expression}' would cover every splat")));
            }
            entries.push((regex, reason.to_owned()));
        }
        Ok(Self { entries: Arc::new(entries) })
    }

    /// The reason of the first entry that covers a report (its lines without prefix).
    pub(super) fn reason(&self, text: &str) -> Option<String> {
        self.entries.iter().find(|(regex, _)| regex.is_match(text)).map(|(_, reason)| reason.clone())
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).given(format!("read {}", path.display()))
}
