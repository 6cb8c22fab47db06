// SPDX-License-Identifier: GPL-2.0-only
//! `survivors.yaml` as closed types, and its rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{list, text, yaml};
use crate::{Release, Survivor};

/// By `group/test`: what is wrong, and what is to be said about it.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct ByTest(BTreeMap<String, BTreeMap<String, String>>);

/// The file as it was written. Tests and runs of the harness check that it has these tests and
/// mutants.
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
    exempt: ByTest,
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

impl ByTest {
    fn has(&self, test: &str, mutation: &str) -> bool {
        self.0.get(test).is_some_and(|it| it.contains_key(mutation))
    }

    /// Test, mutation, and what is said about them.
    fn rows(&self) -> impl Iterator<Item = (&String, &String, &String)> {
        self.0.iter().flat_map(|(test, of_test)| of_test.iter().map(move |(name, what)| (test, name, what)))
    }
}

impl Survivors {
    /// Reads the file.
    ///
    /// # Errors
    /// Where the file is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        yaml::parse(text)
    }

    /// Checks the file, and returns the table of mutants that are not noticed, or not run.
    ///
    /// # Errors
    /// The mutant with rows that do not fit together, or an unused class.
    pub fn table(&self) -> Result<&'static [Survivor], String> {
        let mut rows = Vec::new();
        let mut used = BTreeSet::new();
        let mut why = |test: &str, mutation: &str, class: &str| {
            used.insert(class.to_owned());
            let why = self.classes.get(class);
            why.ok_or_else(|| format!("{test}.{mutation}: there is no class {class}"))
        };
        for (test, mutation, class) in self.survivors.rows() {
            rows.push(survivor(test, mutation, why(test, mutation, class)?));
        }
        for (index, row) in self.ranges.iter().enumerate() {
            self.fits(row, &self.ranges[..index])?;
            let [since, until] = row.ends()?;
            let why = why(&row.test, &row.mutation, &row.class)?;
            rows.push(Survivor { since, until, ..survivor(&row.test, &row.mutation, why) });
        }
        if let Some(class) = self.classes.keys().find(|it| !used.contains(*it)) {
            return Err(format!("class {class} has no mutant"));
        }
        for (test, mutation, why) in self.exempt.rows() {
            if self.survivors.has(test, mutation) {
                return Err(format!("{test}.{mutation} is said to survive, and to be exempt"));
            }
            rows.push(Survivor { exempt: true, ..survivor(test, mutation, why) });
        }
        Ok(list(rows))
    }

    /// A range is not empty, and nothing else is said about its kernels: of two reasons, only one would be looked at.
    fn fits(&self, row: &RangeSpec, before: &[RangeSpec]) -> Result<(), String> {
        let RangeSpec { test, mutation, .. } = row;
        let [since, until] = row.ends()?;
        if since.is_none() && until.is_none() {
            return Err(format!("{test}.{mutation}: a range has `since`, `until`, or both"));
        }
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(format!("{test}.{mutation}: there is no kernel {}", row.name()));
        }
        if self.survivors.has(test, mutation) {
            return Err(format!("{test}.{mutation} is said to survive on all kernels, and {}", row.name()));
        }
        if self.exempt.has(test, mutation) {
            return Err(format!("{test}.{mutation} is said to be exempt, and to survive {}", row.name()));
        }
        for other in before.iter().filter(|it| it.test == *test && it.mutation == *mutation) {
            let [from, to] = other.ends()?;
            // None comes before every release.
            let apart =
                to.is_some_and(|to| Some(to) <= since) || until.is_some_and(|until| Some(until) <= from);
            if !apart {
                let names = [other.name(), row.name()].join(", and ");
                return Err(format!("{test}.{mutation} is said to survive {names}: they overlap"));
            }
        }
        Ok(())
    }
}

impl RangeSpec {
    fn ends(&self) -> Result<[Option<Release>; 2], String> {
        Ok([release(&self.since)?, release(&self.until)?])
    }

    fn name(&self) -> String {
        let end = |word, text: &Option<String>| text.as_ref().map(|text| format!("{word} {text}"));
        let ends = [end("since", &self.since), end("until", &self.until)];
        ends.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// A mutant that survives on all kernels.
fn survivor(test: &str, mutation: &str, why: &str) -> Survivor {
    let [test, mutation, why] = [test, mutation, why].map(text);
    Survivor { test, mutation, why, since: None, until: None, exempt: false }
}

fn release(text: &Option<String>) -> Result<Option<Release>, String> {
    let parsed = |text: &String| {
        Release::parse(text).ok_or_else(|| format!("{text:?} is no release: expected the form 6.4"))
    };
    text.as_ref().map(parsed).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(classes: &str, survivors: &str, exempt: &str) -> Result<&'static [Survivor], String> {
        let ranges = if exempt.contains("ranges") { "" } else { "\nranges: []" };
        let text = format!("classes: {classes}\nsurvivors: {survivors}\nexempt: {exempt}{ranges}\n");
        Survivors::parse(&text)?.table()
    }

    #[test]
    fn a_survivor_has_the_reason_of_its_class_and_what_is_exempt_its_own() {
        let rows = table("{ far: it is far }", "{ a/b: { f.lost: far } }", "{ a/c: { f.lost: it hangs } }");
        let far = Survivor {
            test: "a/b",
            mutation: "f.lost",
            why: "it is far",
            since: None,
            until: None,
            exempt: false,
        };
        let exempt = Survivor { test: "a/c", why: "it hangs", exempt: true, ..far };
        assert_eq!(rows.expect("sound"), [far, exempt]);
        let range = "{}\nranges: [{ test: a/b, mutation: f.lost, class: far, until: '6.4' }]";
        let rows = table("{ far: it is far }", "{}", range).expect("sound");
        assert_eq!(rows, [Survivor { until: Some(Release::new(6, 4, 0)), ..far }]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (classes, survivors, exempt, complaint) in [
            ("{}", "{ a/b: { f.lost: far } }", "{}", "a/b.f.lost: there is no class far"),
            ("{ far: x }", "{}", "{}", "class far has no mutant"),
            ("{ far: x }", "{ a/b: { f.lost: far } }", "{ a/b: { f.lost: x } }", "and to be exempt"),
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
            (
                "{ far: x, far: y }",
                "{ a/b: { f.lost: far } }",
                "{}",
                "classes: duplicate entry with key \"far\"",
            ),
            (
                "{ far: x }",
                "{ a/b: { f.lost: far }, a/b: { f.lost: far } }",
                "{}",
                "duplicate entry with key \"a/b\"",
            ),
            (
                "{ far: x }",
                "{ a/b: { f.lost: far, f.lost: far } }",
                "{}",
                "duplicate entry with key \"f.lost\"",
            ),
            ("{}", "{}", "{}\nmore: {}", "unknown field"),
        ] {
            let err = table(classes, survivors, exempt).expect_err(complaint);
            assert!(err.contains(complaint), "{err}");
        }
    }

    #[test]
    fn ranges_of_a_mutant_do_not_overlap() {
        let with = |survivors: &str, exempt: &str, ranges: &[&str]| {
            let ranges: Vec<String> = ranges
                .iter()
                .map(|it| format!("{{ test: a/b, mutation: f.lost, class: far, {it} }}"))
                .collect();
            table("{ far: x }", survivors, &format!("{exempt}\nranges: [{}]", ranges.join(", ")))
        };
        let from_4 = "since: '6.4'";
        for apart in [
            &["until: '6.4'", from_4][..],
            &[from_4, "until: '6.4'"],
            &["since: '6.1', until: '6.4'", "since: '6.10', until: '7.0'", "since: '6.4', until: '6.10'"],
        ] {
            assert_eq!(with("{}", "{}", apart).map(|_| ()), Ok(()), "{apart:?}");
        }
        for (ranges, complaint) in [
            (&[from_4, from_4][..], "a/b.f.lost is said to survive since 6.4, and since 6.4: they overlap"),
            (&["until: '6.4.1'", from_4], "until 6.4.1, and since 6.4: they overlap"),
            (&[from_4, "until: '6.4.1'"], "since 6.4, and until 6.4.1: they overlap"),
            (&["until: '6.1'", "until: '5.10'"], "until 6.1, and until 5.10: they overlap"),
            (
                &["since: '6.1'", "since: '6.10', until: '6.12'"],
                "since 6.1, and since 6.10 until 6.12: they overlap",
            ),
            (&["since: '6.10', until: '6.4'"], "a/b.f.lost: there is no kernel since 6.10 until 6.4"),
        ] {
            assert_eq!(with("{}", "{}", ranges).expect_err(complaint).find(complaint).map(|_| ()), Some(()));
        }
        let all = with("{ a/b: { f.lost: far } }", "{}", &[from_4]).expect_err("on all");
        assert_eq!(all, "a/b.f.lost is said to survive on all kernels, and since 6.4");
        let exempt = with("{}", "{ a/b: { f.lost: x } }", &[from_4]).expect_err("exempt");
        assert_eq!(exempt, "a/b.f.lost is said to be exempt, and to survive since 6.4");
    }
}
