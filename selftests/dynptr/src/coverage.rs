// SPDX-License-Identifier: GPL-2.0-only
//! `COVERAGE.md`: what is tested by what.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{FUNCTIONS, GROUPS, Run, UPSTREAM};

/// What `coverage.yaml` calls the functions that no program can call, among upstream's tests.
const NOT_CALLED: &str = "functions";

/// The page.
pub fn markdown() -> String {
    let mut out = String::from(
        "<!-- SPDX-License-Identifier: GPL-2.0-only -->\n\
         <!-- Made by `dynptr-selftests --list --format md`; a test fails where it is not up to date. -->\n\
         # What is covered\n\n",
    );
    let tests: usize = GROUPS.iter().map(|group| group.tests.len()).sum();
    let refusals =
        GROUPS.iter().flat_map(|group| group.tests).filter(|test| matches!(test.run, Run::Rejected(_)));
    let _ = writeln!(
        out,
        "{tests} tests, {} of which the verifier has to refuse, of {} functions.\n",
        refusals.count(),
        FUNCTIONS.len()
    );
    functions(&mut out);
    upstream(&mut out);
    out
}

/// Function → since → the tests that call it.
fn functions(out: &mut String) {
    *out += "## Functions\n\nTests in *italics* are refused by the verifier.\n\n| Function | Since | Tests |\n| --- | --- | --- |\n";
    for function in FUNCTIONS {
        let mut by_group: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for group in GROUPS {
            for test in group.tests.iter().filter(|test| test.calls.contains(&function.name)) {
                let name = match test.run {
                    Run::Rejected(_) => format!("*{}*", test.name),
                    Run::Trigger(_) => test.name.to_owned(),
                };
                by_group.entry(group.name).or_default().push(name);
            }
        }
        let tests: Vec<String> =
            by_group.into_iter().map(|(group, tests)| format!("{group}: {}", tests.join(", "))).collect();
        let _ =
            writeln!(out, "| `{}` | {} | {} |", function.name, function.since.mainline, tests.join("<br>"));
    }
    for row in UPSTREAM.iter().filter(|row| row.suite == NOT_CALLED) {
        let _ = writeln!(out, "| `{}` | | none: {} |", row.name, row.hole.unwrap_or_default());
    }
}

/// Upstream's subtests → ours.
fn upstream(out: &mut String) {
    *out += "\n## Upstream's subtests\n\nOf 7.3-rc7: what each checks is checked by these tests of ours.\n\n\
             | Upstream | Ours |\n| --- | --- |\n";
    for row in UPSTREAM.iter().filter(|row| row.suite != NOT_CALLED) {
        let ours = match row.hole {
            Some(reason) if row.by.is_empty() => format!("none: {reason}"),
            Some(reason) => format!("{}; {reason}", row.by.join(", ")),
            None => row.by.join(", "),
        };
        let _ = writeln!(out, "| {}/{} | {ours} |", row.suite, row.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        let page = include_str!("../COVERAGE.md");
        // Not `assert_eq`, which would print both.
        let command = "dynptr-selftests --list --format md > selftests/dynptr/COVERAGE.md";
        assert!(page == markdown(), "run: {command}");
    }

    #[test]
    fn every_function_is_called_by_a_test_that_runs() {
        for function in FUNCTIONS {
            let runs = GROUPS
                .iter()
                .flat_map(|group| group.tests)
                .any(|test| matches!(test.run, Run::Trigger(_)) && test.calls.contains(&function.name));
            assert!(runs, "{}", function.name);
        }
    }

    #[test]
    fn every_subtest_of_upstream_is_covered_or_has_a_reason() {
        for row in UPSTREAM {
            assert!(!row.by.is_empty() || row.hole.is_some_and(|reason| reason.len() > 20), "{}", row.name);
            for name in row.by {
                let known = GROUPS
                    .iter()
                    .any(|group| group.tests.iter().any(|test| test.is_called(name, group.name)));
                assert!(known, "{}/{}: no test {name}", row.suite, row.name);
            }
        }
    }

    #[test]
    fn every_subtest_of_7_3_is_in_the_table_and_nothing_else() {
        let listed: Vec<&str> = include_str!("../data/upstream-7.3-rc7.list").lines().collect();
        assert!(listed.is_sorted_by(|a, b| a < b));
        let mut named: Vec<String> = UPSTREAM
            .iter()
            .filter(|row| row.suite != NOT_CALLED)
            .map(|row| format!("{}/{}", row.suite, row.name))
            .collect();
        named.sort_unstable();
        assert_eq!(named, listed);
    }
}
