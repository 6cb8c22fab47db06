// SPDX-License-Identifier: GPL-2.0-only
//! `coverage.yaml` as closed types, and the Rust table made of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// `coverage.yaml`: suite of upstream's → subtest → the tests of ours that check the same.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Coverage(BTreeMap<String, BTreeMap<String, CoveredBy>>);

/// At least one of the two is said; a hole beside tests is what they leave out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoveredBy {
    #[serde(default)]
    by: Vec<String>,
    hole: Option<String>,
}

impl Coverage {
    /// Reads the file; the error says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        crate::yaml::parse(text)
    }

    /// The Rust source of the table `UPSTREAM`.
    pub fn generate(&self) -> String {
        let mut out =
            String::from("\n/// Upstream's subtests, and ours.\npub static UPSTREAM: &[Upstream] = &[\n");
        for (suite, subtests) in &self.0 {
            for (name, CoveredBy { by, hole }) in subtests {
                let _ = writeln!(
                    out,
                    "Upstream {{ suite: {suite:?}, name: {name:?}, by: &{by:?}, hole: {hole:?} }},"
                );
            }
        }
        out + "];\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_names_tests_or_says_why_there_are_none() {
        let text = "suite: { one: { by: [a/b] }, two: { hole: there is no such thing } }";
        let table = Coverage::parse(text).expect("sound").generate();
        assert!(table.contains(r#"suite: "suite", name: "one", by: &["a/b"], hole: None"#), "{table}");
        assert!(table.contains(r#"name: "two", by: &[], hole: Some("there is no such thing")"#), "{table}");
        assert!(Coverage::parse("suite: { one: { tests: [] } }").is_err());
    }
}
