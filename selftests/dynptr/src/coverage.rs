// SPDX-License-Identifier: GPL-2.0-only
//! `COVERAGE.md`: what is tested by what.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::tables::{FUNCTIONS, GROUPS, REASONS, REJECTIONS, RULES, UPSTREAM};
use dynptr_spec::{Rejection, Run};

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
    refused(&mut out);
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

/// Function → rule → the tests that see that the verifier refuses what is against it.
fn refused(out: &mut String) {
    *out += "\n## What is refused\n\nHow a call can be wrong, and the tests that the verifier refuses for it:\n\n";
    for (name, about) in RULES {
        let _ = writeln!(out, "- {name}: {about}");
    }
    *out += "\nWhere there can be none, for one of two reasons:\n\n";
    for (name, why) in REASONS {
        let _ = writeln!(out, "- *{name}*: {why}");
    }
    let names: Vec<&str> = RULES.iter().map(|rule| rule.0).collect();
    let _ = writeln!(out, "\n| Function | {} |\n|{} --- |", names.join(" | "), " --- |".repeat(names.len()));
    for function in FUNCTIONS {
        let _ = write!(out, "| `{}` |", function.name);
        for rule in &names {
            let is_it = |row: &&Rejection| (row.function, row.rule) == (function.name, *rule);
            let _ = match REJECTIONS.iter().find(is_it) {
                Some(Rejection { none: Some(reason), .. }) => write!(out, " *{reason}* |"),
                row => write!(out, " {} |", row.map_or(String::new(), |row| row.by.join(", "))),
            };
        }
        *out += "\n";
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
    use dynptr_spec::Test;

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
    fn every_function_has_refused_programs_or_a_reason_of_every_rule() {
        for function in FUNCTIONS {
            let rows = REJECTIONS.iter().filter(|row| row.function == function.name);
            let rules: Vec<&str> = rows.map(|row| row.rule).collect();
            assert_eq!(rules, ["argument", "caller", "result"], "{} in rejections.yaml", function.name);
        }
        for row in REJECTIONS {
            assert!(FUNCTIONS.iter().any(|it| it.name == row.function), "{} is no function", row.function);
            for name in row.by {
                let test = all().find(|(group, test)| test.is_called(name, group));
                let (_, test) = test.unwrap_or_else(|| panic!("{}: no test {name}", row.function));
                assert!(matches!(test.run, Run::Rejected(_)), "{}: {name} is not refused", row.function);
                assert!(test.calls.contains(&row.function), "{name} does not call {}", row.function);
            }
        }
    }

    /// By one of those that it calls, and by each that the verifier's words name: such a function has no reason left why nothing is
    /// refused.
    #[test]
    fn every_refused_program_is_named_by_the_functions_that_it_is_refused_for() {
        for (group, test) in all() {
            let Run::Rejected(expectations) = test.run else { continue };
            let names = |function: &str| {
                let rows = REJECTIONS.iter().filter(|row| row.function == function);
                rows.flat_map(|row| row.by).any(|name| test.is_called(name, group))
            };
            let mut calls =
                test.calls.iter().filter(|it| FUNCTIONS.iter().any(|f| f.name == **it)).peekable();
            let is_ours = calls.peek().is_some();
            assert!(!is_ours || calls.any(|it| names(it)), "{group}/{} is not in rejections.yaml", test.name);
            let said: Vec<&str> = expectations.iter().filter_map(|it| it.text).collect();
            for function in FUNCTIONS {
                let whole = |text: &&str| text.split(' ').any(|word| word == function.name);
                let is_said = said.iter().any(whole);
                assert!(
                    !is_said || names(function.name),
                    "{}: {} is refused for it",
                    function.name,
                    test.name
                );
            }
        }
    }

    fn all() -> impl Iterator<Item = (&'static str, &'static Test)> {
        GROUPS.iter().flat_map(|group| group.tests.iter().map(|test| (group.name, test)))
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
