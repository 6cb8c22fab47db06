// SPDX-License-Identifier: GPL-2.0-only
//! `coverage.yaml` as closed types.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{list, text, texts, yaml};
use crate::Upstream;

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
    /// Reads the file.
    ///
    /// # Errors
    /// Where the file is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        yaml::parse(text)
    }

    /// The table of upstream's subtests.
    pub fn table(&self) -> &'static [Upstream] {
        let rows = self.0.iter().flat_map(|(suite, subtests)| {
            subtests.iter().map(|(name, CoveredBy { by, hole })| Upstream {
                suite: text(suite),
                name: text(name),
                by: texts(by),
                hole: hole.as_deref().map(text),
            })
        });
        list(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_names_tests_or_says_why_there_are_none() {
        let text = "suite: { one: { by: [a/b] }, two: { hole: there is no such thing } }";
        let table = Coverage::parse(text).expect("sound").table();
        let one = Upstream { suite: "suite", name: "one", by: &["a/b"], hole: None };
        let hole = Some("there is no such thing");
        assert_eq!(table, [one, Upstream { name: "two", by: &[], hole, ..one }]);
        assert!(Coverage::parse("suite: { one: { tests: [] } }").is_err());
    }
}
