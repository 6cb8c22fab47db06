// SPDX-License-Identifier: GPL-2.0-only
//! Makes tests of what the file says: names become what they stand for, and what follows from the
//! programs is added.

use std::collections::{BTreeMap, BTreeSet};

use super::expectations::{Expectations, Programs};
use super::fields::{self, EXPERIMENTAL, PACKET_BYTES};
use super::schema::{BugSpec, OptionSpec, RejectedSpec, TestSpec, Words};
use super::{list, text, texts};
use crate::{Bug, Expectation, Need, Ops, Point, Run, Test, Trigger, Wanted};

/// The section of programs that carry out an operation for the kernel.
const OPERATIONS: &str = "struct_ops";

/// Resolves the tests of a file, one after the other, and notes what they use.
pub(super) struct Resolver<'a> {
    file: &'a Expectations,
    programs: &'a Programs,
    /// The architecture that the harness is built for (Rust's name).
    arch: &'a str,
    used: Used<'a>,
}

/// What the tests refer to.
#[derive(Default)]
struct Used<'a> {
    programs: BTreeSet<&'a str>,
    features: BTreeSet<&'a str>,
    messages: BTreeSet<&'a str>,
    points: BTreeSet<&'a str>,
    bugs: BTreeSet<&'a str>,
    options: BTreeSet<&'a str>,
    sections: BTreeSet<&'a str>,
    runs: BTreeSet<Trigger>,
}

/// What a test's programs bring with them.
#[derive(Default)]
struct Parts<'a> {
    /// The functions that they call.
    calls: BTreeSet<&'a str>,
    /// The options that they need.
    options: Vec<&'a String>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(file: &'a Expectations, programs: &'a Programs, arch: &'a str) -> Self {
        Self { file, programs, arch, used: Used::default() }
    }

    /// The test as the tables have it.
    ///
    /// # Errors
    /// What in it does not fit together.
    pub(super) fn test(&mut self, test: &'a TestSpec) -> Result<Test, String> {
        fields::check(test)?;
        let names = names(test)?;
        let mut parts = self.parts(&names)?;
        let needs = self.needs(test, &mut parts)?;
        let config = self.config(test, parts.options)?;
        let program = names[0];
        self.check_operations(test, program)?;
        let release_window = test.release_window.as_ref().map(|name| self.point(name)).transpose()?;
        let ops = test.ops.as_ref();
        Ok(Test {
            name: text(&test.name),
            program: text(program),
            source: text(&self.programs.sources[program]),
            with: test.with.as_deref().map(text),
            also: test.also.as_deref().map(text),
            ops: ops.map(|ops| Ops { map: text(&ops.map), programs: texts(&ops.programs) }),
            rights: test.rights,
            needs: list(needs),
            config: list(config),
            calls: texts(self.programs.calls.get(program).into_iter().flatten()),
            maps: self.maps(test, &names),
            bytes: test.bytes.unwrap_or(PACKET_BYTES),
            protocol: test.protocol.unwrap_or(EXPERIMENTAL),
            linear: test.linear,
            release_window,
            bug: self.bug(test)?,
            run: match test.run {
                Some(run) => Run::Trigger(run),
                None => Run::Rejected(self.rejected(&test.rejected)?),
            },
        })
    }

    /// What these programs call, and what their sections need.
    fn parts(&mut self, names: &[&'a String]) -> Result<Parts<'a>, String> {
        let mut parts = Parts::default();
        for name in names {
            self.used.programs.insert(name);
            if !self.programs.sources.contains_key(*name) {
                return Err(format!("no file of bpf/ has a program {name}"));
            }
            parts.calls.extend(self.programs.calls.get(*name).into_iter().flatten().map(String::as_str));
            let section = section(name, self.programs);
            if let Some(needed) = self.file.sections.get(section) {
                self.used.sections.insert(section);
                parts.options.extend(needed);
            }
        }
        Ok(parts)
    }

    /// The functions and features that the test needs. Their options, and those of its way of
    /// running, are added to `parts`.
    fn needs(&mut self, test: &'a TestSpec, parts: &mut Parts<'a>) -> Result<Vec<Need>, String> {
        let file = self.file;
        let mut seen = parts.calls.clone();
        for name in &test.needs {
            if !seen.insert(name) {
                return Err(format!(
                    "`needs: {name}` is known without it, from what its programs call: leave it out"
                ));
            }
        }
        let mut needs = Vec::new();
        let beside = test.needs.iter().map(String::as_str);
        for name in parts.calls.iter().copied().chain(beside) {
            let feature = file.functions.get(name).or_else(|| file.features.get(name));
            let feature =
                feature.ok_or_else(|| format!("{name} is neither among the functions nor the features"))?;
            self.used.features.insert(name);
            needs.push(feature.need(name, self.arch));
            parts.options.extend(&feature.config);
        }
        if let Some((run, needed)) = test.run.and_then(|run| file.runs.get_key_value(&run)) {
            self.used.runs.insert(*run);
            parts.options.extend(needed);
        }
        Ok(needs)
    }

    /// Each option once: those that are known from elsewhere, then the test's own.
    fn config(&mut self, test: &'a TestSpec, known: Vec<&'a String>) -> Result<Vec<Wanted>, String> {
        let mut seen = BTreeSet::new();
        let mut names: Vec<&String> = known.into_iter().filter(|name| seen.insert(name.as_str())).collect();
        for name in &test.config {
            if !seen.insert(name) {
                return Err(format!(
                    "`config: {name}` is known without it, from its programs, their functions, `needs` or `run`: leave it out"
                ));
            }
            names.push(name);
        }
        names.into_iter().map(|name| self.option(name)).collect()
    }

    fn option(&mut self, name: &'a String) -> Result<Wanted, String> {
        let option = self.file.options.get(name);
        let OptionSpec { modules, has, shows } =
            option.ok_or_else(|| format!("{name} is not among the options"))?;
        self.used.options.insert(name);
        Ok(Wanted {
            option: text(name),
            modules: texts(modules),
            has: has.as_deref().map(text),
            shows: shows.as_deref().map(text),
        })
    }

    /// The maps that the programs refer to.
    fn maps(&self, test: &TestSpec, names: &[&String]) -> &'static [&'static str] {
        let referred = names.iter().filter_map(|it| self.programs.maps.get(*it)).flatten();
        let all: BTreeSet<&String> = referred.chain(test.ops.iter().map(|ops| &ops.map)).collect();
        texts(all)
    }

    fn bug(&mut self, test: &'a TestSpec) -> Result<Option<Bug>, String> {
        let Some(bug) = &test.bug else { return Ok(None) };
        let spec = self.file.bugs.get(&bug.name).ok_or_else(|| format!("no bug {}", bug.name))?;
        self.used.bugs.insert(&bug.name);
        let BugSpec { what, introduced, fixed, commit } = spec;
        if commit.len() < 12 || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("bug {}: {commit:?} is no commit of at least 12 digits", bug.name));
        }
        Ok(Some(Bug {
            what: text(what),
            commit: text(commit),
            introduced: introduced.resolve(),
            fixed: fixed.resolve(),
            fails: text(&bug.fails),
        }))
    }

    fn rejected(&mut self, rejected: &'a [RejectedSpec]) -> Result<&'static [Expectation], String> {
        let file = self.file;
        let mut expectations = Vec::new();
        let taken = [Words { text: String::new(), since: None, until: None }];
        for row in rejected {
            let message = match (&row.says, row.taken) {
                (Some(name), false) => {
                    self.used.messages.insert(name);
                    file.messages.get(name).ok_or_else(|| format!("no message {name}"))?.as_slice()
                }
                (None, true) => &taken,
                _ => return Err("expected either `says` or `taken: true`".into()),
            };
            for words in message {
                expectations.push(Expectation {
                    since: self.points([&row.since, &words.since])?,
                    until: self.points([&row.until, &words.until])?,
                    text: (!row.taken).then(|| text(&words.text)),
                });
            }
        }
        if rejected.iter().all(|row| row.taken) {
            return Err("a program that no kernel refuses has to be run".into());
        }
        Ok(list(expectations))
    }

    fn points(&mut self, names: [&Option<String>; 2]) -> Result<&'static [Point], String> {
        let points = names.into_iter().flatten().map(|name| self.point(name));
        Ok(list(points.collect::<Result<Vec<_>, _>>()?))
    }

    fn point(&mut self, name: &str) -> Result<Point, String> {
        let point = self.file.points.get_key_value(name);
        let (name, point) = point.ok_or_else(|| format!("no point {name}"))?;
        self.used.points.insert(name);
        Ok(point.resolve())
    }

    /// Programs that carry out an operation need the structure that they belong to, and no others
    /// have one.
    fn check_operations(&self, test: &TestSpec, program: &str) -> Result<(), String> {
        let section = section(program, self.programs);
        match (&test.ops, section == OPERATIONS) {
            (Some(_), false) => Err(format!(
                "`ops` has no effect on {program}, which is in section {section}: it goes with {OPERATIONS}"
            )),
            (None, true) => Err(format!("{program} is in section {OPERATIONS}: expected `ops`")),
            _ => Ok(()),
        }
    }

    /// Is everything used? What no test refers to is a mistake: a forgotten test, or stale data.
    ///
    /// # Errors
    /// What is not.
    pub(super) fn finish(self) -> Result<(), String> {
        let Self { file, programs, used, .. } = self;
        unused("program", &programs.sources, &used.programs)?;
        unused("function", &file.functions, &used.features)?;
        unused("feature", &file.features, &used.features)?;
        unused("message", &file.messages, &used.messages)?;
        unused("bug", &file.bugs, &used.bugs)?;
        unused("option", &file.options, &used.options)?;
        unused("section", &file.sections, &used.sections)?;
        if let Some(run) = file.runs.keys().find(|it| !used.runs.contains(it)) {
            return Err(format!("run {run:?} is used by no test"));
        }
        unused("point", &file.points, &used.points)
    }
}

fn unused<T>(what: &str, all: &BTreeMap<String, T>, used: &BTreeSet<&str>) -> Result<(), String> {
    match all.keys().find(|it| !used.contains(it.as_str())) {
        Some(name) => Err(format!("{what} {name} is used by no test")),
        None => Ok(()),
    }
}

/// The programs that are loaded: the one under test first.
fn names(test: &TestSpec) -> Result<Vec<&String>, String> {
    let program = test.program.as_ref().unwrap_or(&test.name);
    let beside = test.ops.iter().flat_map(|ops| &ops.programs);
    let mut names = vec![program];
    for name in test.with.iter().chain(&test.also).chain(beside) {
        if names.contains(&name) {
            return Err(format!("program {name} is loaded twice: expected another one"));
        }
        names.push(name);
    }
    Ok(names)
}

/// The part of the name of its section that tells the type.
fn section<'a>(program: &str, programs: &'a Programs) -> &'a str {
    let section = programs.sections.get(program).map_or("", String::as_str);
    section.split(['/', '.']).next().unwrap_or(section)
}
