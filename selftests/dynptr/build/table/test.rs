// SPDX-License-Identifier: GPL-2.0-only
//! The Rust source of a test.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::spec::{BugSpec, OpsSpec, OptionSpec, RejectedSpec, TestSpec, Words};
use super::{EXPERIMENTAL, File, PACKET_BYTES, Programs, Used, fields};

/// The section of programs that carry out an operation for the kernel.
const OPERATIONS: &str = "struct_ops";

/// What a test's programs bring with them.
#[derive(Default)]
struct Parts<'a> {
    /// The functions that they call.
    calls: BTreeSet<&'a str>,
    /// The options that it takes.
    options: Vec<&'a String>,
}

impl File {
    /// The source of a test.
    ///
    /// # Errors
    /// What in it does not fit together.
    pub(super) fn test(
        &self,
        test: &TestSpec,
        programs: &Programs,
        used: &mut Used,
    ) -> Result<String, String> {
        fields::check(test)?;
        let names = names(test)?;
        let mut parts = self.parts(&names, programs, used)?;
        let needs = self.needs(test, &mut parts, used)?;
        let config = self.config(test, parts.options, used)?;
        let TestSpec { name, with, also, linear, rights, .. } = test;
        let program = names[0];
        let source = &programs.sources[program];
        check_operations(test, program, programs)?;
        let own: Vec<&String> = programs.calls.get(program).into_iter().flatten().collect();
        let maps = maps(test, &names, programs);
        let bytes = test.bytes.unwrap_or(PACKET_BYTES);
        let protocol = test.protocol.unwrap_or(EXPERIMENTAL);
        let run = self.run(test, used)?;
        let ops = operations(test);
        let bug = self.bug(test, used)?;
        let era = match &test.era {
            Some(_) => format!("Some({})", self.points([&test.era, &None], used)?.trim_end_matches(", ")),
            None => "None".into(),
        };
        Ok(format!(
            "Test {{ name: {name:?}, program: {program:?}, source: {source:?}, with: {with:?}, also: {also:?}, ops: {ops}, rights: Rights::{rights:?}, \
             needs: &[{needs}], config: &[{config}], calls: &{own:?}, maps: &{maps:?}, bytes: {bytes}, protocol: {protocol}, linear: {linear:?}, era: {era}, bug: {bug}, \
             run: {run} }},\n"
        ))
    }

    /// What these programs call, and what their sections need.
    fn parts<'a>(
        &'a self,
        names: &[&String],
        programs: &'a Programs,
        used: &mut Used,
    ) -> Result<Parts<'a>, String> {
        let mut parts = Parts::default();
        for name in names {
            used.programs.insert((*name).clone());
            if !programs.sources.contains_key(*name) {
                return Err(format!("no file of bpf/ has a program {name}"));
            }
            parts.calls.extend(programs.calls.get(*name).into_iter().flatten().map(String::as_str));
            let section = section(name, programs);
            if let Some(needed) = self.sections.get(section) {
                used.sections.insert(section.to_owned());
                parts.options.extend(needed);
            }
        }
        Ok(parts)
    }

    /// The functions and features that the test needs; their options, and those of its way of running, are added.
    fn needs<'a>(
        &'a self,
        test: &'a TestSpec,
        parts: &mut Parts<'a>,
        used: &mut Used,
    ) -> Result<String, String> {
        let mut needs = String::new();
        let mut seen = parts.calls.clone();
        for name in &test.needs {
            if !seen.insert(name) {
                return Err(format!(
                    "`needs: {name}` is known without it, from what its programs call: leave it out"
                ));
            }
        }
        let beside = test.needs.iter().map(String::as_str);
        for name in parts.calls.iter().copied().chain(beside) {
            let feature = self.functions.get(name).or_else(|| self.features.get(name));
            let feature =
                feature.ok_or_else(|| format!("{name} is neither among the functions nor the features"))?;
            used.features.insert(name.to_owned());
            needs += &feature.need(name);
            needs += ", ";
            parts.options.extend(&feature.config);
        }
        if let Some((run, needed)) = test.run.and_then(|run| self.runs.get_key_value(&run)) {
            used.runs.insert(*run);
            parts.options.extend(needed);
        }
        Ok(needs)
    }

    /// Each option once, as the table has it: those that are known from elsewhere, and the test's own.
    fn config(&self, test: &TestSpec, known: Vec<&String>, used: &mut Used) -> Result<String, String> {
        let mut out = String::new();
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
        for name in names {
            let OptionSpec { modules, has, shows } =
                self.options.get(name).ok_or_else(|| format!("{name} is not among the options"))?;
            used.options.insert(name.clone());
            let _ = write!(
                out,
                "Wanted {{ option: {name:?}, modules: &{modules:?}, has: {has:?}, shows: {shows:?} }}, "
            );
        }
        Ok(out)
    }

    fn run(&self, test: &TestSpec, used: &mut Used) -> Result<String, String> {
        match test.run {
            Some(run) => Ok(format!("Run::Trigger(Trigger::{run:?})")),
            None => self.rejected(&test.rejected, used),
        }
    }

    fn bug(&self, test: &TestSpec, used: &mut Used) -> Result<String, String> {
        let Some(bug) = &test.bug else { return Ok("None".into()) };
        let spec = self.bugs.get(&bug.name).ok_or_else(|| format!("no bug {}", bug.name))?;
        used.bugs.insert(bug.name.clone());
        let BugSpec { what, introduced, fixed, commit } = spec;
        if commit.len() < 12 || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("bug {}: {commit:?} is no commit of at least 12 digits", bug.name));
        }
        Ok(format!(
            "Some(Bug {{ what: {what:?}, commit: {commit:?}, introduced: {}, fixed: {}, fails: {:?} }})",
            introduced.code(),
            fixed.code(),
            bug.fails
        ))
    }

    fn rejected(&self, rejected: &[RejectedSpec], used: &mut Used) -> Result<String, String> {
        let mut out = String::from("Run::Rejected(&[");
        let taken = [Words { text: String::new(), since: None, until: None }];
        for row in rejected {
            let message = match (&row.says, row.taken) {
                (Some(name), false) => {
                    used.messages.insert(name.clone());
                    self.messages.get(name).ok_or_else(|| format!("no message {name}"))?.as_slice()
                }
                (None, true) => &taken,
                _ => return Err("expected either `says` or `taken: true`".into()),
            };
            for words in message {
                let since = self.points([&row.since, &words.since], used)?;
                let until = self.points([&row.until, &words.until], used)?;
                let text = (!row.taken).then_some(&words.text);
                let _ =
                    write!(out, "Expectation {{ since: &[{since}], until: &[{until}], text: {text:?} }}, ");
            }
        }
        if rejected.iter().all(|row| row.taken) {
            return Err("a program that no kernel refuses has to be run".into());
        }
        Ok(out + "])")
    }

    fn points(&self, names: [&Option<String>; 2], used: &mut Used) -> Result<String, String> {
        let mut out = String::new();
        for name in names.into_iter().flatten() {
            let point = self.points.get(name).ok_or_else(|| format!("no point {name}"))?;
            used.points.insert(name.clone());
            out += &point.code();
            out += ", ";
        }
        Ok(out)
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

/// Programs that carry out an operation need the structure that they are part of, and no others have one.
fn check_operations(test: &TestSpec, program: &str, programs: &Programs) -> Result<(), String> {
    let section = section(program, programs);
    match (&test.ops, section == OPERATIONS) {
        (Some(_), false) => Err(format!(
            "`ops` has no effect on {program}, which is in section {section}: it goes with {OPERATIONS}"
        )),
        (None, true) => Err(format!("{program} is in section {OPERATIONS}: expected `ops`")),
        _ => Ok(()),
    }
}

/// The maps that the programs refer to.
fn maps<'a>(test: &'a TestSpec, names: &[&String], programs: &'a Programs) -> Vec<&'a String> {
    let referred = names.iter().filter_map(|it| programs.maps.get(*it)).flatten();
    let all: BTreeSet<&String> = referred.chain(test.ops.iter().map(|ops| &ops.map)).collect();
    all.into_iter().collect()
}

fn operations(test: &TestSpec) -> String {
    match &test.ops {
        Some(OpsSpec { map, programs }) => {
            format!("Some(Ops {{ map: {map:?}, programs: &{programs:?} }})")
        }
        None => "None".into(),
    }
}
