//! From the report of a run to its table.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::trend::{Mark, is_judgement, judge};
use super::{Column, Entry, Row, Sheet, Table, Trend};
use crate::arch::Arch;
use crate::event::{CellReport, Counts, Outcome, RunReport, TestCase};
use crate::parse::clean::one_line;
use crate::report::{OWN, all_cases, nothing_ran, trouble};
use crate::version::KernelVersion;

impl Table {
    /// The table of a run.
    pub fn of(run: &RunReport) -> Self {
        let mut groups: Vec<((Arch, &str), Vec<&CellReport>)> = Vec::new();
        for cell in &run.cells {
            let key = (cell.id.arch, cell.id.suite.as_str());
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, cells)) => cells.push(cell),
                None => groups.push((key, vec![cell])),
            }
        }
        let sheets = groups.into_iter().map(|((arch, suite), cells)| sheet(arch, suite, cells)).collect();
        Self { run_id: run.run_id.clone(), sheets }
    }
}

fn sheet(arch: Arch, suite: &str, mut cells: Vec<&CellReport>) -> Sheet {
    // A kernel that was not had has the version that was asked for, as far as its name tells; the sort is stable.
    cells.sort_by_key(|cell| version(cell).map_or((1, KernelVersion::new(0, 0, 0)), |v| (0, v)));
    let labels = labels(&cells);
    let cases: Vec<Vec<TestCase>> = cells.iter().map(|cell| all_cases(cell)).collect();
    let columns = cells.iter().zip(&labels).map(|(cell, label)| column(cell, label)).collect();
    let by_name: Vec<HashMap<&str, &TestCase>> = cases.iter().map(|cases| by_name(cases)).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let flaky: Vec<HashSet<&str>> =
        cells.iter().map(|cell| cell.flaky.iter().map(|flaky| flaky.test.as_str()).collect()).collect();
    let seen = Seen { labels: &labels, columns: &by_name, flaky: &flaky };
    let rows = order(&cases).into_iter().map(|test| row(test, &seen)).collect();
    Sheet { arch, suite: suite.to_owned(), columns, rows }
}

/// Of two cases with one name, which kvet does not write, the bad one counts.
fn by_name(cases: &[TestCase]) -> HashMap<&str, &TestCase> {
    let mut all: HashMap<&str, &TestCase> = HashMap::new();
    for case in cases {
        let known = all.entry(&case.name).or_insert(case);
        if !known.outcome.is_bad() {
            *known = case;
        }
    }
    all
}

fn version(cell: &CellReport) -> Option<KernelVersion> {
    match &cell.kernel {
        Some(kernel) => kernel.version.parse().ok(),
        None => cell.id.kernel.rsplit([':', '/', '@']).next()?.trim_start_matches('v').parse().ok(),
    }
}

/// The shortest names that tell the kernels apart.
fn labels(cells: &[&CellReport]) -> Vec<String> {
    let short = |cell: &&CellReport| match &cell.kernel {
        Some(kernel) => one_line(&kernel.version),
        None => one_line(&cell.id.kernel),
    };
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for cell in cells {
        *count.entry(short(cell)).or_default() += 1;
    }
    cells
        .iter()
        .map(|cell| match short(cell) {
            alone if count[&alone] == 1 => alone,
            _ => one_line(&cell.id.kernel),
        })
        .collect()
}

fn column(cell: &CellReport, label: &str) -> Column {
    Column {
        label: label.to_owned(),
        spec: one_line(&cell.id.kernel),
        release: cell.kernel.as_ref().map(|kernel| one_line(&kernel.release)),
        counts: Counts::of(&cell.cases),
        nothing_ran: nothing_ran(cell),
        trouble: trouble(cell).map(|text| one_line(&text)),
        dir: cell.dir.clone(),
    }
}

/// Every test once: those of the newest kernel in their order, then what only older ones have. What kvet says beside the tests
/// comes first.
fn order(cases: &[Vec<TestCase>]) -> Vec<&str> {
    let mut seen = HashSet::new();
    let names = cases.iter().rev().flatten().map(|case| case.name.as_str());
    let (own, tests): (Vec<&str>, Vec<&str>) =
        names.filter(|name| seen.insert(*name)).partition(|name| name.starts_with(OWN));
    own.into_iter().chain(tests).collect()
}

/// What kvet complains of is no test that passes elsewhere: only where it happened counts.
fn trouble_in(labels: &[&str], cases: &[Option<&TestCase>]) -> String {
    let kernels: Vec<&str> =
        labels.iter().zip(cases).filter(|(_, case)| case.is_some()).map(|(label, _)| *label).collect();
    format!("in {}", kernels.join(", "))
}

/// What is known of each kernel.
struct Seen<'a> {
    labels: &'a [&'a str],
    columns: &'a [HashMap<&'a str, &'a TestCase>],
    flaky: &'a [HashSet<&'a str>],
}

fn row(test: &str, seen: &Seen<'_>) -> Row {
    let Seen { labels, columns, flaky } = *seen;
    let cases: Vec<Option<&TestCase>> = columns.iter().map(|column| column.get(test).copied()).collect();
    let mark = |case: &TestCase| {
        let outcome = case.outcome;
        Mark { outcome, cause: case.cause.filter(|_| outcome == Outcome::Error) }
    };
    let marks: Vec<Option<Mark>> = cases.iter().map(|case| case.map(mark)).collect();
    let (trend, mut verdict) = match test.starts_with(OWN) {
        true => (Trend::Failing, trouble_in(labels, &cases)),
        false => judge(labels, &marks),
    };
    let flaky: Vec<bool> = flaky.iter().map(|tests| tests.contains(test)).collect();
    let where_flaky: Vec<&str> =
        labels.iter().zip(&flaky).filter(|(_, flaky)| **flaky).map(|(label, _)| *label).collect();
    if !where_flaky.is_empty() {
        let words = format!("flaky in {}", where_flaky.join(", "));
        let bad = |mark: &Option<Mark>| mark.is_some_and(|mark| mark.outcome.is_bad());
        let fails = marks.iter().any(&bad);
        // What always fails is not flaky: where flaky tests count as failed, the trend's words are about nothing else.
        let only = fails && marks.iter().zip(&flaky).all(|(mark, flaky)| *flaky || !bad(mark));
        verdict = if only { words } else { format!("{verdict}, {words}") };
    }
    let mut left = None;
    let entries = cases
        .iter()
        .zip(&marks)
        .zip(flaky)
        .map(|((case, mark), flaky)| {
            let (case, mark) = ((*case)?, (*mark)?);
            let judged = is_judgement(case.outcome);
            let changed = judged && left.is_some_and(|before| before != mark);
            if judged {
                left = Some(mark);
            }
            Some(Entry {
                outcome: case.outcome,
                cause: mark.cause,
                changed,
                flaky,
                message: one_line(&case.message),
                seconds: case.duration.map(|d| (d.as_secs_f64() * 1e6).round() / 1e6),
            })
        })
        .collect();
    Row { test: one_line(test), entries, trend, verdict }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::event::{Cause, CellEnd};

    #[test]
    fn kernels_stand_in_order_of_age_and_tests_in_that_of_the_newest() {
        let table = Table::of(&sample::run());
        assert_eq!(table.sheets.len(), 2);
        let sheet = &table.sheets[0];
        let labels: Vec<&str> = sheet.columns.iter().map(|c| c.label.as_str()).collect();
        assert_eq!(labels, ["6.1.192", "6.18.15", "debian:7.2.6", "file:./bzImage", "7.3-rc7"]);
        let tests: Vec<&str> = sheet.rows.iter().map(|r| r.test.as_str()).collect();
        assert_eq!(tests, ["kvet/boot", "g/always", "g/since", "g/regressed", "g/old"]);
        let verdicts: Vec<&str> = sheet.rows.iter().map(|r| r.verdict.as_str()).collect();
        assert_eq!(
            verdicts,
            [
                "in 7.3-rc7",
                "always where it ran",
                "6.18.15, not 6.1.192",
                "6.18.15, not 6.1.192, regressed in debian:7.2.6, fixed in file:./bzImage",
                "always where it ran"
            ]
        );
    }

    #[test]
    fn a_change_is_against_the_nearest_kernel_that_was_judged() {
        let table = Table::of(&sample::run());
        let row = &table.sheets[0].rows[3];
        let changed: Vec<Option<bool>> = row.entries.iter().map(|e| e.as_ref().map(|e| e.changed)).collect();
        assert_eq!(changed, [Some(false), Some(false), Some(true), Some(true), None]);
        assert_eq!(row.entries[2].as_ref().unwrap().message, "expected 3, got 4");
    }

    #[test]
    fn a_kernel_that_was_not_had_is_there_with_its_reason() {
        let table = Table::of(&sample::run());
        let last = table.sheets[0].columns.last().unwrap();
        assert_eq!(last.trouble.as_deref(), Some("did not boot: no 9p"));
        assert_eq!(table.sheets[1].columns[0].trouble.as_deref(), Some("trouble of the host: disk full"));
    }

    #[test]
    fn an_error_is_called_by_its_cause() {
        // A crash in another boot of the cell makes none of a time-out.
        let crashed = || CellEnd::Crashed { reason: "panic".into() };
        let ended = |version: &str, end: CellEnd, cause: Option<Cause>| {
            let mut cell = sample::cell(&format!("debian:{version}"), version, &[("a", Outcome::Error, "x")]);
            cell.cases[0].cause = cause;
            CellReport { end, ..cell }
        };
        let run = RunReport {
            cells: vec![
                ended("6.1", CellEnd::Completed, None),
                ended("6.12", crashed(), Some(Cause::Crash)),
                ended("6.18", crashed(), Some(Cause::TimeOut)),
            ],
            ..sample::run()
        };
        let table = Table::of(&run);
        let row = &table.sheets[0].rows.iter().find(|row| row.test == "a").unwrap();
        let signs: Vec<char> = row.entries.iter().flatten().map(|entry| entry.sign().0).collect();
        assert_eq!(
            (signs, row.verdict.as_str()),
            (vec!['E', 'C', 'T'], "error, crashes in 6.12, times out in 6.18")
        );
        assert!(row.entries[1].as_ref().unwrap().changed);
    }
}
