//! Failing tests, each once more in a guest of its own: what passes then is flaky.

use std::path::Path;

use crate::cell::{self, Resources};
use crate::error::Result;
use crate::event::{CellEnd, CellReport, Counts, Event, Flaky, Outcome, Rerun};
use crate::plan::CellPlan;
use crate::plan::filter::Filter;
use crate::report::store::{RunDir, Store, safe_name};
use crate::report::{Fanout, all_cases, trouble};

/// What is done about tests that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often each is run again, until it passes.
    pub times: u32,
    /// Whether one that passes then has failed all the same.
    pub flaky_fails: bool,
}

/// A cell with more failures than this is not flaky but broken, and every one of them costs a boot.
const MAX_TESTS: usize = 20;
/// In the folder of a cell: the runs of its tests.
const FOLDER: &str = "retries";

/// Runs the failing tests of a cell again and corrects its report. A crash of the kernel stays what it is.
pub(super) fn retry(
    index: usize,
    plan: &CellPlan,
    report: &mut CellReport,
    resources: &Resources,
    retries: Retries,
    emit: &mut dyn FnMut(Event),
) {
    let failing = worth_another_run(report, plan.selected.as_deref());
    if failing.is_empty() || !was_tested(report) {
        return;
    }
    if failing.len() > MAX_TESTS {
        say(
            index,
            report,
            emit,
            format!("{} tests fail: too many to be flaky, none is run again", failing.len()),
        );
        return;
    }
    for number in failing {
        let test = report.cases[number].name.clone();
        let mut reruns = Vec::new();
        let passes = passes_again(plan, &test, report, resources, retries.times, &mut reruns);
        report.reruns.extend(reruns);
        match passes {
            Ok(Some(run)) => mark(report, number, run, retries.flaky_fails),
            Ok(None) => continue,
            Err(why) => {
                say(index, report, emit, format!("{test} could not be run again: {why}"));
                if resources.cancel.requested() {
                    report.end = CellEnd::Interrupted;
                    break;
                }
                continue;
            }
        }
        let text = format!("{test}: {}", report.cases[number].message);
        say(index, report, emit, text);
        let case = report.cases[number].clone();
        emit(Event::TestFinished { cell: index, case });
    }
    report.counts = Counts::of(&report.cases);
}

/// Indices of the cases that may be flaky. What the kernel complained about is found, whether it shows again or not; and
/// some cases are no tests: the exit status of the whole, a plan that was not met.
fn worth_another_run(report: &CellReport, selected: Option<&[String]>) -> Vec<usize> {
    let complained = |name: &String| {
        report.splats.iter().any(|splat| splat.allowed.is_none() && splat.test.as_ref() == Some(name))
    };
    let cases = report.cases.iter().enumerate();
    cases
        .filter(|(_, case)| matches!(case.outcome, Outcome::Fail | Outcome::Error))
        .filter(|(_, case)| selected.is_none_or(|tests| tests.contains(&case.name)))
        .filter(|(_, case)| !report.about_job.contains(&case.name))
        .filter(|(_, case)| !complained(&case.name))
        .map(|(number, _)| number)
        .collect()
}

/// Whether the end of a cell says something of its kernel and its tests.
fn was_tested(report: &CellReport) -> bool {
    matches!(report.end, CellEnd::Completed | CellEnd::Crashed { .. } | CellEnd::TimedOut { .. })
}

/// Whether a test passed in a run of its own, and nothing went wrong there that had not before: a program that runs all its
/// tests may fail in another one each time.
fn has_passed(again: &CellReport, test: &str, first: &CellReport) -> bool {
    let was_bad = |name: &str| first.cases.iter().any(|case| case.name == name && case.outcome.is_bad());
    again.end == CellEnd::Completed
        && again.cases.iter().any(|case| case.name == test && case.outcome == Outcome::Pass)
        && !again
            .cases
            .iter()
            .any(|case| case.outcome.is_bad() && (case.name == test || !was_bad(&case.name)))
        && again.splats.iter().all(|splat| splat.allowed.is_some())
}

fn say(cell: usize, report: &mut CellReport, emit: &mut dyn FnMut(Event), text: String) {
    emit(Event::Note { cell, text: text.clone() });
    report.notes.push(text);
}

/// Which run of a test it passes in, if any: 2 is the first one after the failure. The runs before that one are kept in
/// `reruns`. The error is a remark for the report.
fn passes_again(
    plan: &CellPlan,
    test: &str,
    first: &CellReport,
    resources: &Resources,
    times: u32,
    reruns: &mut Vec<Rerun>,
) -> std::result::Result<Option<u32>, String> {
    for run in 2..=times.saturating_add(1) {
        let again = alone(plan, test, &first.dir, resources).map_err(|e| e.to_string())?;
        if !was_tested(&again) {
            return Err(trouble(&again).unwrap_or_default());
        }
        if has_passed(&again, test, first) {
            return Ok(Some(run));
        }
        reruns.push(rerun(&again, test, run));
    }
    Ok(None)
}

/// What a run of a test came to that did not pass.
fn rerun(again: &CellReport, test: &str, run: u32) -> Rerun {
    let named = again.cases.iter().find(|case| case.name == test);
    // What went wrong may be said beside the test: an exit status, a splat.
    let (outcome, message) = match named {
        Some(case) if case.outcome.is_bad() => (case.outcome, case.message.clone()),
        _ => {
            let beside = all_cases(again).into_iter().find(|case| case.outcome.is_bad());
            let message = beside.map_or_else(|| "it had no result".to_owned(), |case| case.message);
            (Outcome::Error, trouble(again).unwrap_or(message))
        }
    };
    Rerun { test: test.to_owned(), run, outcome, message }
}

/// A test alone, in a guest of its own; its files are kept below the cell's.
fn alone(plan: &CellPlan, test: &str, cell: &Path, resources: &Resources) -> Result<CellReport> {
    let mut plan = plan.clone();
    plan.filter = Filter::new(&[globset::escape(test)]).among(&[test.to_owned()])?;
    plan.selected = plan.selected.map(|_| vec![test.to_owned()]);
    plan.judges_all = true;
    let dir = RunDir::create_at(&cell.join(FOLDER), &safe_name(test), std::slice::from_ref(&plan.id))?;
    let mut reporters = Fanout::new().with("the results folder", Store::new(dir.clone()));
    let mut trouble = Vec::new();
    let report = cell::run(0, &plan, dir.cell(0), resources, &mut |event| {
        trouble.extend(reporters.event(&event));
    });
    reporters.finish()?;
    Ok(report)
}

/// Writes down that a test passed in a later run.
fn mark(report: &mut CellReport, number: usize, run: u32, fails: bool) {
    let case = &mut report.cases[number];
    report.flaky.push(Flaky {
        test: case.name.clone(),
        run,
        outcome: case.outcome,
        message: case.message.clone(),
    });
    let before = if case.message.is_empty() { "it failed".to_owned() } else { case.message.clone() };
    case.message = format!("flaky: passed in run {run}, before: {before}");
    let mut detail = case.message.clone();
    if !case.detail.is_empty() {
        detail = format!("{detail}\n{}", case.detail);
    }
    case.detail = detail;
    if !fails {
        case.outcome = Outcome::Pass;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Splat;
    use crate::report::sample;
    use crate::report::table::{Table, html, markdown, text};

    fn flaky(fails: bool) -> CellReport {
        let mut report = sample::run().cells.remove(0);
        let number = report.cases.iter().position(|case| case.outcome == Outcome::Fail).unwrap();
        mark(&mut report, number, 3, fails);
        report
    }

    #[test]
    fn a_flaky_test_passes_or_fails_and_says_what_it_was() {
        for (fails, outcome) in [(false, Outcome::Pass), (true, Outcome::Fail)] {
            let report = flaky(fails);
            let case = &report.cases[1];
            assert_eq!(case.outcome, outcome);
            assert_eq!(case.message, "flaky: passed in run 3, before: expected 3, got 4");
            assert!(case.detail.starts_with(&case.message) && case.detail.len() > case.message.len() + 10);
            let flaky = &report.flaky[0];
            assert_eq!((flaky.run, flaky.outcome), (3, Outcome::Fail));
            assert_eq!(
                (flaky.test.as_str(), flaky.message.as_str()),
                (case.name.as_str(), "expected 3, got 4")
            );
        }
    }

    #[test]
    fn a_splat_is_never_retried_away() {
        let mut report = sample::run().cells.remove(0);
        report.splats.clear();
        let failing = worth_another_run(&report, None);
        let test = report.cases[failing[0]].name.clone();
        report.splats.push(splat(Some(&test), None));
        assert!(!worth_another_run(&report, None).contains(&failing[0]));
        report.splats[0] = splat(Some(&test), Some("known"));
        assert_eq!(worth_another_run(&report, None), failing);
    }

    #[test]
    fn what_is_about_the_job_is_no_test() {
        let mut report = sample::run().cells.remove(0);
        report.splats.clear();
        let failing = worth_another_run(&report, None);
        report.about_job = vec![report.cases[failing[0]].name.clone()];
        assert!(!worth_another_run(&report, None).contains(&failing[0]), "a test may be called so");
    }

    #[test]
    fn only_a_clean_second_run_counts() {
        let pass = |name: &str| sample::case(name, Outcome::Pass, 1, "", "");
        let run = |cases, splats, end| CellReport { cases, splats, end, ..sample::run().cells.remove(0) };
        let completed = CellEnd::Completed;
        let fail = |name: &str| sample::case(name, Outcome::Fail, 1, "", "");
        let first = run(vec![fail("a"), pass("b"), fail("c")], vec![], completed.clone());
        let has_passed = |again: &CellReport, test: &str| has_passed(again, test, &first);
        assert!(!has_passed(&run(vec![pass("a"), fail("b")], vec![], completed.clone()), "a"));
        assert!(has_passed(&run(vec![pass("a"), fail("c")], vec![], completed.clone()), "a"));
        assert!(has_passed(&run(vec![pass("a")], vec![], completed.clone()), "a"));
        assert!(!has_passed(&run(vec![pass("b")], vec![], completed.clone()), "a"));
        let crashed = CellEnd::Crashed { reason: "panic".into() };
        assert!(!has_passed(&run(vec![pass("a")], vec![], crashed), "a"));
        assert!(!has_passed(&run(vec![pass("a")], vec![splat(None, None)], completed.clone()), "a"));
        let status = sample::case("exit status", Outcome::Error, 1, "", "");
        assert!(!has_passed(&run(vec![pass("a"), status], vec![], completed.clone()), "a"));
        let skipped = sample::case("a", Outcome::Skip, 1, "", "");
        assert!(!has_passed(&run(vec![skipped], vec![], completed), "a"));
    }

    #[test]
    fn a_rerun_says_what_it_came_to() {
        let run = |cases| CellReport { cases, splats: Vec::new(), ..sample::run().cells.remove(0) };
        let said = |again: &CellReport| {
            let Rerun { outcome, message, run, .. } = rerun(again, "a", 2);
            (outcome, message, run)
        };
        let failed = sample::case("a", Outcome::Fail, 1, "expected 3", "");
        assert_eq!(said(&run(vec![failed])), (Outcome::Fail, "expected 3".into(), 2));
        let pass = sample::case("a", Outcome::Pass, 1, "", "");
        let status = sample::case("exit status", Outcome::Error, 1, "exit status 1", "");
        assert_eq!(said(&run(vec![pass, status])), (Outcome::Error, "exit status 1".into(), 2));
        let skipped = sample::case("a", Outcome::Skip, 1, "", "");
        assert_eq!(said(&run(vec![skipped])), (Outcome::Error, "it had no result".into(), 2));
    }

    fn splat(test: Option<&str>, allowed: Option<&str>) -> Splat {
        Splat {
            kind: "kasan".into(),
            title: "BUG: KASAN: slab-use-after-free in x".into(),
            text: String::new(),
            at: None,
            fatal: false,
            allowed: allowed.map(Into::into),
            test: test.map(Into::into),
            during: None,
        }
    }

    #[test]
    fn every_form_of_a_report_marks_it() {
        for fails in [false, true] {
            let run = crate::event::RunReport { cells: vec![flaky(fails)], ..sample::run() };
            let table = Table::of(&run);
            let row = table.sheets[0].rows.iter().find(|row| row.test.ends_with("test_clone")).unwrap();
            let verdict = if fails { "flaky in 7.2.12" } else { "always, flaky in 7.2.12" };
            assert!(!row.is_plain() && row.verdict == verdict, "{}", row.verdict);
            let shown = text::render(&table, text::Options::default());
            assert!(shown.contains("~  dynptr_success/test_clone") && shown.contains("~ flaky"), "{shown}");
            assert!(markdown::render(&table).contains("flaky in 7.2.12"));
            let page = html::render(&table, std::path::Path::new("results"));
            let trend = if fails { "failing" } else { "flaky" };
            assert!(page.contains(&format!("data-trend=\"{trend}\"")), "{page}");
            assert!(page.contains("flaky: passed in run 3"));
            assert!(serde_json::to_string(&table).unwrap().contains("\"flaky\":true"));
            let xml = String::from_utf8(crate::report::junit::to_xml(&run).unwrap()).unwrap();
            assert!(xml.contains("flaky: passed in run 3, before: expected 3, got 4"), "{xml}");
        }
    }
}
