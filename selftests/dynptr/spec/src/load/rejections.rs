// SPDX-License-Identifier: GPL-2.0-only
//! `rejections.yaml` as closed types, and its rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{list, text, texts, yaml};
use crate::Rejection;

/// The file as it was written. Tests of the harness check that it has these functions and tests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejections {
    /// What each rule is about.
    rules: Rules<String>,
    /// Why nothing may be refused by a rule, by a name.
    reasons: BTreeMap<String, String>,
    functions: BTreeMap<String, Rules<Refused>>,
}

/// Something for each of the ways in which a call can be wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules<T> {
    argument: T,
    caller: T,
    result: T,
}

/// One of the two is said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    /// The tests, as `group/test`.
    #[serde(default)]
    by: Vec<String>,
    /// The reason why there are none.
    none: Option<String>,
}

impl<T> Rules<T> {
    fn all(&self) -> [(&'static str, &T); 3] {
        [("argument", &self.argument), ("caller", &self.caller), ("result", &self.result)]
    }
}

/// The tables made of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectionTables {
    /// The ways in which a call can be wrong: name and description.
    pub rules: &'static [(&'static str, &'static str)],
    /// Why the verifier may refuse nothing: name and description.
    pub reasons: &'static [(&'static str, &'static str)],
    /// What it refuses of each function.
    pub rejections: &'static [Rejection],
}

impl Rejections {
    /// Reads the file.
    ///
    /// # Errors
    /// Where the file is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        yaml::parse(text)
    }

    /// Checks the file, and returns its tables.
    ///
    /// # Errors
    /// The function and the rule with rows that do not fit together, or an unused reason.
    pub fn tables(&self) -> Result<RejectionTables, String> {
        let mut rejections = Vec::new();
        let mut used = BTreeSet::new();
        for (function, rules) in &self.functions {
            for (rule, refused) in rules.all() {
                self.check(refused).map_err(|err| format!("{function}: {rule}: {err}"))?;
                used.extend(&refused.none);
                let Refused { by, none } = refused;
                let none = none.as_deref().map(text);
                rejections.push(Rejection { function: text(function), rule, by: texts(by), none });
            }
        }
        if let Some(name) = self.reasons.keys().find(|name| !used.contains(name)) {
            return Err(format!("reason {name} is used by no function"));
        }
        Ok(RejectionTables {
            rules: list(self.rules.all().map(|(rule, about)| (rule, text(about)))),
            reasons: list(self.reasons.iter().map(|(name, why)| (text(name), text(why)))),
            rejections: list(rejections),
        })
    }

    fn check(&self, Refused { by, none }: &Refused) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = by.iter().find(|name| !seen.insert(*name)) {
            return Err(format!("{twice} is named twice"));
        }
        match none {
            None if by.is_empty() => {
                Err("expected tests, `by`, or a reason why there are none, `none`".into())
            }
            Some(name) if !by.is_empty() => {
                Err(format!("there are tests, and a reason why there are none, {name}"))
            }
            Some(name) if !self.reasons.contains_key(name) => Err(format!(
                "there is no reason {name}: expected one of {}",
                self.reasons.keys().cloned().collect::<Vec<_>>().join(", ")
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(function: &str) -> Result<RejectionTables, String> {
        let rules = "rules: { argument: a, caller: c, result: r }\nreasons: { free: all may }\n";
        Rejections::parse(&format!("{rules}functions: {{ f: {function} }}\n"))?.tables()
    }

    #[test]
    fn a_function_has_tests_of_each_rule_or_a_reason() {
        let tables =
            tables("{ argument: { by: [a/b] }, caller: { none: free }, result: { by: [a/c, a/b] } }");
        let tables = tables.expect("sound");
        assert_eq!(tables.rules, [("argument", "a"), ("caller", "c"), ("result", "r")]);
        assert_eq!(tables.reasons, [("free", "all may")]);
        let argument = Rejection { function: "f", rule: "argument", by: &["a/b"], none: None };
        let caller = Rejection { rule: "caller", by: &[], none: Some("free"), ..argument };
        let result = Rejection { rule: "result", by: &["a/c", "a/b"], ..argument };
        assert_eq!(tables.rejections, [argument, caller, result]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let rest = "caller: { none: free }, result: { by: [a/b] }";
        for (argument, complaint) in [
            ("{}", "f: argument: expected tests, `by`, or a reason"),
            ("{ by: [] }", "f: argument: expected tests"),
            (
                "{ by: [a/b], none: free }",
                "f: argument: there are tests, and a reason why there are none, free",
            ),
            ("{ none: idle }", "f: argument: there is no reason idle: expected one of free"),
            ("{ by: [a/b, a/b] }", "f: argument: a/b is named twice"),
            ("{ tests: [a/b] }", "unknown field"),
        ] {
            let err = tables(&format!("{{ argument: {argument}, {rest} }}")).expect_err(argument);
            assert!(err.contains(complaint), "{argument}: {err}");
        }
        let err = tables("{ argument: { by: [a/b] }, result: { by: [a/b] } }").expect_err("no caller");
        assert!(err.contains("missing field `caller`"), "{err}");
        let err = tables("{ argument: { by: [a/b] }, caller: { by: [a/b] }, result: { by: [a/b] } }");
        assert!(err.expect_err("unused").contains("reason free is used by no function"));
    }
}
