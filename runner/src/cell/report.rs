//! From what was watched to a cell's report: blame, selection, and names for what never ran.

use std::collections::HashSet;

use crate::cell::watch::{self, Watched};
use crate::event::{Cause, CellEnd, CellReport, Outcome, Splat, TestCase};
use crate::parse::splat::bare;
use crate::plan::CellPlan;
use crate::plan::expectations::{As, Expectation, Expected};
use crate::plan::filter::{Filter, is_glob};
use crate::spec::allowed::Allowance;

/// Puts what was watched into the report.
pub fn conclude(report: &mut CellReport, plan: &CellPlan, watched: Watched) {
    report.end = watched.end;
    report.cases = watched.cases;
    report.about_job = watched.about_job.iter().cloned().collect();
    report.about_job.sort();
    report.notes.extend(watched.notes);
    let unused = unused(&plan.allowed_splats, &watched.splats, report);
    report.notes.extend(unused);
    if !plan.filter.is_all() && !plan.judges_all {
        select(report, &plan.filter, &watched.about_job);
    }
    for (mut splat, test) in watched.splats {
        splat.during.clone_from(&test);
        splat.allowed =
            splat.allowed.take().or_else(|| watch::reason(&plan.allowed_splats, &splat, test.as_deref()));
        let case = test.and_then(|name| report.cases.iter_mut().find(|case| case.name == name));
        if let (Some(case), None) = (case, &splat.allowed) {
            blame(case, &splat);
            splat.test = Some(case.name.clone());
        }
        report.splats.push(splat);
    }
}

/// Allowances that covered nothing although their tests ran to their end: the complaint is gone, or its words are others.
fn unused(allowances: &[Allowance], splats: &[(Splat, Option<String>)], report: &CellReport) -> Vec<String> {
    let ran = |allowance: &&Allowance| {
        report.cases.iter().any(|case| {
            !matches!(case.outcome, Outcome::Skip | Outcome::NotRun) && allowance.is_for(&case.name)
        })
    };
    let covers = |allowance: &Allowance, (splat, test): &(Splat, Option<String>)| {
        allowance.covers(splat, &bare(&splat.text), test.as_deref())
    };
    allowances
        .iter()
        .filter(|_| report.end == CellEnd::Completed)
        .filter(ran)
        .filter(|allowance| !splats.iter().any(|splat| covers(allowance, splat)))
        .map(|Allowance { entry, .. }| {
            format!(
                "allowed_splats: no complaint of the kernel matched '{}' ({})",
                entry.pattern, entry.reason
            )
        })
        .collect()
}

/// A test that made the kernel complain has not passed, whatever it says of itself.
fn blame(case: &mut TestCase, splat: &Splat) {
    let title = format!("{}: {}", splat.kind, splat.title);
    if case.outcome != Outcome::Error {
        case.message = match case.outcome {
            Outcome::Pass => title,
            _ if case.message.is_empty() => title,
            _ => format!("{title} (the test itself: {})", case.message),
        };
        case.outcome = Outcome::Error;
    } else if !case.message.contains(&splat.title) {
        case.message = format!("{}; {title}", case.message);
    }
    if splat.fatal {
        case.cause = Some(Cause::Crash);
    }
    if !case.detail.is_empty() {
        case.detail.push('\n');
    }
    case.detail.push_str(&splat.text);
}

/// Where the suite could not be told which tests to run, all ran; only those asked for count, and what is to be said
/// of the job as a whole. A splat of a test that does not count is nobody's, but a failure all the same.
fn select(report: &mut CellReport, filter: &Filter, about_job: &HashSet<String>) {
    let before = report.cases.len();
    let names: Vec<String> = report.cases.iter().map(|case| case.name.clone()).collect();
    report.cases.retain(|case| filter.matches(&case.name) || about_job.contains(&case.name));
    if report.cases.is_empty() && before > 0 && report.end == CellEnd::Completed {
        let error = filter.nothing(&report.id.suite, &names);
        report.end = super::end_of(&error);
    }
}

/// What was asked for by name and is not there has not passed; a pattern that matches nothing is worth a note. Where the suite
/// lists its tests, both were refused before the boot.
pub fn name_what_is_not_there(report: &mut CellReport, plan: &CellPlan) {
    if report.end != CellEnd::Completed || plan.selected.is_some() {
        return;
    }
    let names: Vec<&str> = report.cases.iter().map(|case| case.name.as_str()).collect();
    let (patterns, lost): (Vec<&str>, Vec<&str>) =
        plan.filter.unmatched(&names).into_iter().partition(|text| is_glob(text));
    let notes = patterns.into_iter().map(|text| format!("-t '{text}' matches no test of this suite"));
    report.notes.extend(notes);
    report.cases.extend(lost.into_iter().map(|name| TestCase {
        name: name.to_owned(),
        outcome: Outcome::Error,
        duration: None,
        message: "asked for with -t, but the suite printed no result for it".to_owned(),
        detail: String::new(),
        cause: None,
    }));
}

/// Says which expectations name no test. Only a run of all tests to their end can tell, and not one of slices, which have
/// one list of expectations for all of them.
fn note_what_names_nothing(report: &mut CellReport, plan: &CellPlan, expected: &Expected) {
    if report.end != CellEnd::Completed || !plan.filter.is_all() || plan.upstream.is_some() {
        return;
    }
    let listed = plan.suite.tests.iter().flatten().map(String::as_str);
    let names: Vec<&str> = report.cases.iter().map(|case| case.name.as_str()).chain(listed).collect();
    // Where tests are not listed, one that is left out is not heard of.
    let heard = |entry: &&Expectation| plan.suite.tests.is_some() || entry.outcome != As::Skip;
    let notes = expected.without_test(&names).into_iter().filter(heard);
    report.notes.extend(
        notes.map(|entry| format!("the expectation for '{}' names no test of this suite", entry.test)),
    );
}

/// A test that was left out because it is expected to be skipped is in the report, with the reason, and so is an
/// expectation that is no longer true.
pub fn apply_expectations(report: &mut CellReport, plan: &CellPlan, expected: &Expected) {
    note_what_names_nothing(report, plan, expected);
    report.cases.extend(expected.stale(&report.cases));
    let known: Vec<&String> = plan.selected.iter().flatten().collect();
    for entry in expected.skipped() {
        let listed: Vec<&String> = known.iter().copied().filter(|name| entry.names(name)).collect();
        // What is not listed is called as the entry calls it.
        let names = if listed.is_empty() && plan.filter.matches(&entry.test) && known.is_empty() {
            if report.cases.iter().any(|case| entry.names(&case.name)) { vec![] } else { vec![&entry.test] }
        } else {
            listed
        };
        for name in names {
            if report.cases.iter().any(|case| case.name == *name) {
                continue;
            }
            report.cases.push(TestCase {
                name: name.clone(),
                outcome: Outcome::Skip,
                duration: None,
                message: entry.reason.clone(),
                detail: String::new(),
                cause: None,
            });
        }
    }
}

/// Every selected test is in the report: those that never started say why.
pub fn name_what_never_ran(report: &mut CellReport, plan: &CellPlan) {
    let reason = match &report.end {
        CellEnd::Completed if report.cases.iter().any(|case| case.outcome == Outcome::Error) => {
            "not run: the job ended early".to_owned()
        }
        CellEnd::Completed => "listed by the suite, but it printed no result for it".to_owned(),
        CellEnd::Crashed { reason } => format!("not run: the guest crashed: {reason}"),
        CellEnd::TimedOut { reason } => format!("not run: timed out: {reason}"),
        CellEnd::Unbootable { reason, .. } => format!("not run: {reason}"),
        CellEnd::Infra { reason } => format!("not run: {reason}"),
        CellEnd::Interrupted => "not run: interrupted".to_owned(),
        CellEnd::NotStarted { reason } => format!("not run: {reason}"),
        CellEnd::Usage { .. } => return,
    };
    let Some(selected) = &plan.selected else { return };
    // The parser only knows that planned tests are missing, not which.
    let known = plan.suite.tests.as_deref().unwrap_or_default();
    report.cases.retain(|case| case.outcome != Outcome::NotRun || known.contains(&case.name));
    let seen: HashSet<&str> = report.cases.iter().map(|case| case.name.as_str()).collect();
    let missing: Vec<TestCase> = selected
        .iter()
        .filter(|name| !seen.contains(name.as_str()))
        .map(|name| TestCase {
            name: name.clone(),
            outcome: if report.end == CellEnd::Completed && reason.starts_with("listed") {
                Outcome::Error
            } else {
                Outcome::NotRun
            },
            duration: None,
            message: reason.clone(),
            detail: String::new(),
            cause: None,
        })
        .collect();
    report.cases.extend(missing);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_filter_that_turns_out_to_match_nothing_says_where_the_names_are() {
        let cases = vec![sample::case("dynptr/test_read", Outcome::Pass, 1, "", "")];
        let mut report = CellReport {
            end: CellEnd::Completed,
            cases,
            splats: Vec::new(),
            ..sample::run().cells.remove(0)
        };
        let filter = Filter::new(&["dynptr/tset_read".to_owned()]);
        select(&mut report, &filter, &HashSet::new());
        let CellEnd::Usage { reason } = &report.end else { panic!("{:?}", report.end) };
        assert!(reason.contains("matches -t 'dynptr/tset_read' (hint: `kvet suite show "), "{reason}");
    }
}
