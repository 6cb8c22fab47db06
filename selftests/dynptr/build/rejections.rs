// SPDX-License-Identifier: GPL-2.0-only
//! `rejections.yaml` as closed types, its rules, and the Rust tables made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

/// The file as it was written. Whether there are such functions and tests, the harness' own tests say.
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

impl Rejections {
    /// Reads the file; the error says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        crate::yaml::parse(text)
    }

    /// The Rust source of the tables `RULES`, `REASONS` and `REJECTIONS`.
    ///
    /// # Errors
    /// The function and the rule of which something is said that does not fit together.
    pub fn generate(&self) -> Result<String, String> {
        let mut out = String::from(
            "\n/// In which ways a call can be wrong.\npub static RULES: &[(&str, &str)] = &[\n",
        );
        for (rule, about) in self.rules.all() {
            let _ = writeln!(out, "({rule:?}, {about:?}),");
        }
        out += "];\n\n/// Why nothing may be refused.\npub static REASONS: &[(&str, &str)] = &[\n";
        for (name, why) in &self.reasons {
            let _ = writeln!(out, "({name:?}, {why:?}),");
        }
        out += "];\n\n/// What is refused of each function.\npub static REJECTIONS: &[Rejection] = &[\n";
        let mut used = BTreeSet::new();
        for (function, rules) in &self.functions {
            for (rule, refused) in rules.all() {
                self.check(refused).map_err(|err| format!("{function}: {rule}: {err}"))?;
                used.extend(&refused.none);
                let Refused { by, none } = refused;
                let _ = writeln!(
                    out,
                    "Rejection {{ function: {function:?}, rule: {rule:?}, by: &{by:?}, none: {none:?} }},"
                );
            }
        }
        match self.reasons.keys().find(|name| !used.contains(name)) {
            Some(name) => Err(format!("reason {name} is used by no function")),
            None => Ok(out + "];\n"),
        }
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

    fn generated(function: &str) -> Result<String, String> {
        let rules = "rules: { argument: a, caller: c, result: r }\nreasons: { free: all may }\n";
        Rejections::parse(&format!("{rules}functions: {{ f: {function} }}\n"))?.generate()
    }

    #[test]
    fn a_function_has_tests_of_each_rule_or_a_reason() {
        let table =
            generated("{ argument: { by: [a/b] }, caller: { none: free }, result: { by: [a/c, a/b] } }");
        let table = table.expect("sound");
        for line in [
            r#"("caller", "c"),"#,
            r#"("free", "all may"),"#,
            r#"Rejection { function: "f", rule: "argument", by: &["a/b"], none: None },"#,
            r#"Rejection { function: "f", rule: "caller", by: &[], none: Some("free") },"#,
            r#"Rejection { function: "f", rule: "result", by: &["a/c", "a/b"], none: None },"#,
        ] {
            assert!(table.contains(line), "{line}: {table}");
        }
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
            let err = generated(&format!("{{ argument: {argument}, {rest} }}")).expect_err(argument);
            assert!(err.contains(complaint), "{argument}: {err}");
        }
        let err = generated("{ argument: { by: [a/b] }, result: { by: [a/b] } }").expect_err("no caller");
        assert!(err.contains("missing field `caller`"), "{err}");
        let err = generated("{ argument: { by: [a/b] }, caller: { by: [a/b] }, result: { by: [a/b] } }");
        assert!(err.expect_err("unused").contains("reason free is used by no function"));
    }
}
