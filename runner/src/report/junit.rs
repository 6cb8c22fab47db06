//! JUnit XML, one test suite per cell.
//!
//! The junit-report crate writes whatever it is given, also what XML 1.0 has no place for (control characters) and
//! what ends a CDATA section. Every string goes through one of the two functions at the end of this file first. What the
//! crate does not write at all, [`complete`] adds.

mod complete;

use std::collections::HashSet;
use std::path::PathBuf;

use junit_report::{
    Duration, OffsetDateTime, ReportBuilder, TestCase as Xml, TestResult as Verdict, TestSuite,
    TestSuiteBuilder,
};

use super::{Reporter, all_cases};
use crate::error::{Error, Result};
use crate::event::{Cause, CellEnd, CellReport, Event, Outcome, RunReport, TestCase};
use complete::{Run, Suite, complete};
use kvet_host::fs::write_atomic;

/// Writes a JUnit file when the run is finished (`--junit FILE`).
pub struct JunitFile {
    path: PathBuf,
}

impl JunitFile {
    /// Will write to the given file, replacing it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Reporter for JunitFile {
    fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::RunFinished { report } => write_atomic(&self.path, &to_xml(report)?),
            _ => Ok(()),
        }
    }
}

/// A run as JUnit XML.
///
/// # Errors
/// None that input could cause; the XML writer's signature has them.
pub fn to_xml(run: &RunReport) -> Result<Vec<u8>> {
    let mut report = ReportBuilder::new();
    let mut identities = Identities::default();
    let mut additions = Vec::new();
    for cell in &run.cells {
        let (suite, addition) = suite(run, cell, &mut identities);
        report.add_testsuite(suite);
        additions.push(addition);
    }
    let mut xml = Vec::new();
    report.build().write_xml(&mut xml).map_err(|e| Error::host("cannot write JUnit XML").because(e))?;
    let mut xml = complete(&xml, &additions)?;
    xml.push(b'\n');
    Ok(xml)
}

fn suite(run: &RunReport, cell: &CellReport, identities: &mut Identities) -> (TestSuite, Suite) {
    let name = format!("{}-{}-{}", cell.id.kernel, cell.id.arch, cell.id.suite);
    let mut suite = TestSuiteBuilder::new(&attribute(&name));
    suite.set_timestamp(timestamp(cell.started_unix));
    let mut addition = Suite { properties: properties(run, cell), ..Suite::default() };
    for case in all_cases(cell) {
        let (class, name) = identities.identity(cell, &case.name);
        let mut xml = testcase(cell, &case, &name);
        xml.set_classname(&class);
        addition.skipped += usize::from(xml.is_skipped());
        addition.runs.push(runs(cell, &case.name));
        suite.add_testcase(xml);
    }
    suite.set_system_out(&cdata(&remarks(cell)));
    (suite.build(), addition)
}

/// What readers know tests by. Many show nothing but these two, so each pair is there once, in all cells together.
#[derive(Default)]
struct Identities {
    used: HashSet<(String, String)>,
}

impl Identities {
    /// The class name and the name of a test. `a/b/c` is `c` of the class `a/b`; where one of the two would be empty, the
    /// whole is the name. So different tests stay different, and a test is called the same in every run.
    fn identity(&mut self, cell: &CellReport, test: &str) -> (String, String) {
        let cell = format!("{}-{}.{}", cell.id.kernel, cell.id.arch, cell.id.suite);
        let (class, name) = match test.rsplit_once('/') {
            Some((group, name)) if !blank(group) && !blank(name) => (format!("{cell}.{group}"), name),
            _ => (cell, test),
        };
        let class = attribute(&class);
        let first = if blank(name) { "(no name)".to_owned() } else { attribute(name) };
        let (mut name, mut number) = (first.clone(), 1);
        // Names can be one only where what tells them apart is not allowed in XML.
        while !self.used.insert((class.clone(), name.clone())) {
            number += 1;
            name = format!("{first}#{number}");
        }
        (class, name)
    }
}

fn blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn testcase(cell: &CellReport, case: &TestCase, name: &str) -> Xml {
    let time = case.duration.unwrap_or_default();
    let time = Duration::try_from(time).unwrap_or(Duration::ZERO);
    let message = attribute(&case.message);
    let mut xml = match case.outcome {
        Outcome::Pass => Xml::success(name, time),
        Outcome::Fail => Xml::failure(name, time, "fail", &message),
        Outcome::Error => {
            let kind = match case.cause {
                Some(Cause::TimeOut) => "time-out",
                Some(Cause::Crash) | None => "error",
            };
            Xml::error(name, time, kind, &message)
        }
        // Whoever interrupts a run does not want hundreds of errors; `kvet/interrupted` is the one.
        Outcome::NotRun if cell.end == CellEnd::Interrupted => {
            Xml::skipped_with_cause(name, "not_run", &message)
        }
        Outcome::NotRun => Xml::error(name, time, "not_run", &message),
        Outcome::Skip => Xml::skipped_with_cause(name, "skip", &message),
        Outcome::Xfail => Xml::skipped_with_cause(name, "xfail", &format!("expected failure: {message}")),
    };
    xml.time = time;
    let text = (!case.detail.is_empty()).then(|| cdata(&case.detail));
    match &mut xml.result {
        Verdict::Failure { cause, .. }
        | Verdict::Error { cause, .. }
        | Verdict::SkippedWithCause { cause, .. } => *cause = text,
        Verdict::Success | Verdict::Skipped => xml.system_out = text,
    }
    xml
}

/// The runs of a test that did not decide: those before the one that passed, or those after the failure.
fn runs(cell: &CellReport, test: &str) -> Vec<Run> {
    let passes = cell.cases.iter().any(|case| case.name == test && !case.outcome.is_bad());
    let first = cell.flaky.iter().filter(|flaky| passes && flaky.test == test);
    let first = first.map(|flaky| (flaky.outcome, &flaky.message));
    let later = cell.reruns.iter().filter(|rerun| rerun.test == test);
    let all = first.chain(later.map(|rerun| (rerun.outcome, &rerun.message)));
    all.map(|(outcome, message)| {
        let (element, kind) = match (passes, outcome) {
            (true, Outcome::Fail) => ("flakyFailure", "fail"),
            (true, _) => ("flakyError", "error"),
            (false, Outcome::Fail) => ("rerunFailure", "fail"),
            (false, _) => ("rerunError", "error"),
        };
        Run { element, kind, message: attribute(message) }
    })
    .collect()
}

/// What was tested, and with what.
fn properties(run: &RunReport, cell: &CellReport) -> Vec<(String, String)> {
    let mut all = vec![
        ("kvet".to_owned(), run.kvet.clone()),
        ("kernel".to_owned(), cell.id.kernel.clone()),
        ("arch".to_owned(), cell.id.arch.to_string()),
        ("suite".to_owned(), cell.id.suite.clone()),
    ];
    let mut add = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    if let Some(kernel) = &cell.kernel {
        add("kernel.release", &kernel.release);
        add("kernel.version", &kernel.version);
        add("kernel.origin", &kernel.origin);
        add("kernel.image_sha256", &kernel.image_sha256);
        for p in &kernel.packages {
            add(&format!("package.{}", p.name), &format!("{} ({}) sha256 {}", p.version, p.suite, p.sha256));
        }
        for (option, value) in &kernel.config {
            add(&format!("config.{option}"), value);
        }
    }
    if let Some(accel) = cell.accel {
        add("accel", &accel.to_string());
        add("accel.reason", &cell.accel_reason);
    }
    add("boots", &cell.boots.to_string());
    for (name, value) in &cell.provenance {
        add(&format!("provenance.{name}"), value);
    }
    all.into_iter().map(|(name, value)| (attribute(&name), attribute(&value))).collect()
}

/// What else a reader of the report has to know about how it came about.
fn remarks(cell: &CellReport) -> String {
    let mut lines = Vec::new();
    for time in &cell.times {
        lines.push(format!("time: {} {:.3}s", super::term::phase_name(time.phase), time.wall.as_secs_f64()));
    }
    lines.extend(cell.notes.iter().map(|n| format!("note: {n}")));
    for splat in &cell.splats {
        if let Some(reason) = &splat.allowed {
            lines.push(format!("allowed: {}: {} ({reason})", splat.kind, splat.title));
        }
    }
    lines.push(format!("results: {}", cell.dir.display()));
    lines.join("\n")
}

/// The crate panics on years that RFC 3339 cannot write.
fn timestamp(unix: f64) -> OffsetDateTime {
    const LAST: f64 = 253_402_300_799.0;
    let seconds = if unix.is_finite() { unix.clamp(0.0, LAST) } else { 0.0 };
    OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Text for a CDATA section: `]]>` is split over two sections, which reads back as it was.
fn cdata(text: &str) -> String {
    legal(text).replace("]]>", "]]]]><![CDATA[>")
}

/// Text for an attribute, where a newline would read back as a blank anyway. The writer escapes the rest.
fn attribute(text: &str) -> String {
    legal(text).replace(['\n', '\r', '\t'], " ")
}

/// Replaces what XML 1.0 does not allow (and C1 controls, which it discourages) by U+FFFD.
fn legal(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t'
            | '\n'
            | '\u{20}'..='\u{7e}'
            | '\u{a0}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fffd}'
            | '\u{10000}'.. => c,
            _ => '\u{fffd}',
        })
        .collect()
}

#[cfg(test)]
mod tests;
