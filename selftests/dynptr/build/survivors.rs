// SPDX-License-Identifier: GPL-2.0-only
//! `survivors.yaml` as closed types, its rules, and the Rust table made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use crate::release::Release;

/// By `group/test`: what is wrong, and what is to be said about it.
type ByTest = BTreeMap<String, BTreeMap<String, String>>;

/// The file as it was written. Whether there are such tests and mutants, the harness' own tests and runs say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivors {
    /// Why a mutant may not be noticed, by a name.
    classes: BTreeMap<String, String>,
    /// Mutants that are not noticed, and the class of each.
    survivors: ByTest,
    /// Mutants that are not noticed on some kernels.
    ranges: Vec<RangeSpec>,
    /// Mutants that are not run, and why.
    spared: ByTest,
}

/// A mutant that is not noticed since a release, or until one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeSpec {
    test: String,
    mutation: String,
    class: String,
    since: Option<String>,
    until: Option<String>,
}

impl Survivors {
    /// Reads the file; the error says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_yaml::from_str(text).map_err(|err| err.to_string())
    }

    /// The Rust source of the table `SURVIVORS`.
    pub fn generate(&self) -> Result<String, String> {
        let mut out = String::from(
            "\n/// Mutants that are not noticed, or not run.\npub static SURVIVORS: &[Survivor] = &[\n",
        );
        let mut used = BTreeSet::new();
        let why = |test: &str, mutation: &str, class: &str| {
            let why = self.classes.get(class);
            why.ok_or_else(|| format!("{test}.{mutation}: there is no class {class}"))
        };
        for (test, mutations) in &self.survivors {
            for (mutation, class) in mutations {
                used.insert(class);
                add(
                    &mut out,
                    test,
                    mutation,
                    why(test, mutation, class)?,
                    "since: None, until: None, spared: false",
                );
            }
        }
        for RangeSpec { test, mutation, class, since, until } in &self.ranges {
            used.insert(class);
            if since.is_none() && until.is_none() {
                return Err(format!("{test}.{mutation}: a range has `since`, `until`, or both"));
            }
            if self.survivors.get(test).is_some_and(|it| it.contains_key(mutation)) {
                return Err(format!("{test}.{mutation} is said to survive on all kernels, and on some"));
            }
            let range = format!("since: {}, until: {}, spared: false", release(since)?, release(until)?);
            add(&mut out, test, mutation, why(test, mutation, class)?, &range);
        }
        if let Some((class, _)) = self.classes.iter().find(|it| !used.contains(it.0)) {
            return Err(format!("class {class} has no mutant"));
        }
        for (test, mutations) in &self.spared {
            for (mutation, why) in mutations {
                if self.survivors.get(test).is_some_and(|it| it.contains_key(mutation)) {
                    return Err(format!("{test}.{mutation} is said to survive, and to be spared"));
                }
                add(&mut out, test, mutation, why, "since: None, until: None, spared: true");
            }
        }
        Ok(out + "];\n")
    }
}

fn add(out: &mut String, test: &str, mutation: &str, why: &str, rest: &str) {
    let _ = writeln!(out, "Survivor {{ test: {test:?}, mutation: {mutation:?}, why: {why:?}, {rest} }},");
}

fn release(text: &Option<String>) -> Result<String, String> {
    let Some(text) = text else { return Ok("None".into()) };
    let Release { major, minor, patch } =
        Release::parse(text).ok_or_else(|| format!("{text:?} is no release: expected the form 6.4"))?;
    Ok(format!("Some(Release::new({major}, {minor}, {patch}))"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(classes: &str, survivors: &str, spared: &str) -> Result<String, String> {
        let ranges = if spared.contains("ranges") { "" } else { "\nranges: []" };
        let text = format!("classes: {classes}\nsurvivors: {survivors}\nspared: {spared}{ranges}\n");
        Survivors::parse(&text)?.generate()
    }

    #[test]
    fn a_survivor_has_the_reason_of_its_class_and_what_is_spared_its_own() {
        let table =
            generated("{ far: it is far }", "{ a/b: { f.lost: far } }", "{ a/c: { f.lost: it hangs } }");
        let table = table.expect("sound");
        let survivor =
            r#"test: "a/b", mutation: "f.lost", why: "it is far", since: None, until: None, spared: false"#;
        assert!(table.contains(survivor), "{table}");
        let spared =
            r#"test: "a/c", mutation: "f.lost", why: "it hangs", since: None, until: None, spared: true"#;
        assert!(table.contains(spared), "{table}");
        let range = "{}\nranges: [{ test: a/b, mutation: f.lost, class: far, until: '6.4' }]";
        let table = generated("{ far: it is far }", "{}", range).expect("sound");
        assert!(table.contains("since: None, until: Some(Release::new(6, 4, 0)), spared: false"), "{table}");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (classes, survivors, spared, complaint) in [
            ("{}", "{ a/b: { f.lost: far } }", "{}", "a/b.f.lost: there is no class far"),
            ("{ far: x }", "{}", "{}", "class far has no mutant"),
            ("{ far: x }", "{ a/b: { f.lost: far } }", "{ a/b: { f.lost: x } }", "and to be spared"),
            (
                "{ far: x }",
                "{}",
                "{}\nranges: [{ test: a/b, mutation: f.lost, class: far }]",
                "a/b.f.lost: a range has",
            ),
            (
                "{ far: x }",
                "{}",
                "{}\nranges: [{ test: a/b, mutation: f.lost, class: far, since: now }]",
                "\"now\" is no release",
            ),
            ("{ far: x }", "{ a/b: far }", "{}", "invalid type"),
            ("{}", "{}", "{}\nmore: {}", "unknown field"),
        ] {
            let err = generated(classes, survivors, spared).expect_err(complaint);
            assert!(err.contains(complaint), "{err}");
        }
    }
}
