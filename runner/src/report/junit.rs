//! JUnit XML, one test suite per cell.
//!
//! The junit-report crate writes whatever it is given, also what XML 1.0 has no place for (control characters) and
//! what ends a CDATA section. Every string goes through one of the two functions at the end of this file first.

use std::path::PathBuf;

use junit_report::{
    Duration, OffsetDateTime, ReportBuilder, TestCase as Xml, TestResult as Verdict, TestSuite,
    TestSuiteBuilder,
};

use super::whole::write_whole;
use super::{Reporter, all_cases};
use crate::error::{Error, Result};
use crate::event::{CellReport, Event, Outcome, RunReport, TestCase};

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
            Event::RunFinished { report } => write_whole(&self.path, &to_xml(report)?),
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
    for cell in &run.cells {
        report.add_testsuite(suite(cell));
    }
    let mut xml = Vec::new();
    report.build().write_xml(&mut xml).map_err(|e| Error::host("cannot write JUnit XML").because(e))?;
    xml.push(b'\n');
    Ok(xml)
}

fn suite(cell: &CellReport) -> TestSuite {
    let name = format!("{}-{}-{}", cell.id.kernel, cell.id.arch, cell.id.suite);
    let mut suite = TestSuiteBuilder::new(&attribute(&name));
    suite.set_timestamp(timestamp(cell.started_unix));
    for case in all_cases(cell) {
        suite.add_testcase(testcase(&cell.id.suite, &case));
    }
    suite.set_system_out(&cdata(&facts(cell)));
    suite.build()
}

fn testcase(suite: &str, case: &TestCase) -> Xml {
    let time = case.duration.unwrap_or_default();
    let time = Duration::try_from(time).unwrap_or(Duration::ZERO);
    let (group, name) = match case.name.rsplit_once('/') {
        Some((group, name)) => (Some(group), name),
        None => (None, case.name.as_str()),
    };
    let (name, message) = (attribute(name), attribute(&case.message));
    let mut xml = match case.outcome {
        Outcome::Pass => Xml::success(&name, time),
        Outcome::Fail => Xml::failure(&name, time, "fail", &message),
        Outcome::Error => Xml::error(&name, time, "error", &message),
        Outcome::NotRun => Xml::error(&name, time, "not_run", &message),
        Outcome::Skip => Xml::skipped_with_cause(&name, "skip", &message),
        Outcome::Xfail => Xml::skipped_with_cause(&name, "xfail", &format!("expected failure: {message}")),
    };
    xml.time = time;
    let text = (!case.detail.is_empty()).then(|| cdata(&case.detail));
    match &mut xml.result {
        Verdict::Failure { cause, .. }
        | Verdict::Error { cause, .. }
        | Verdict::SkippedWithCause { cause, .. } => *cause = text,
        Verdict::Success | Verdict::Skipped => xml.system_out = text,
    }
    xml.set_classname(&attribute(&match group {
        Some(group) => format!("{suite}.{}", group.replace('/', ".")),
        None => suite.to_owned(),
    }));
    xml
}

/// What a reader of the report has to know about how it came about; JUnit's `properties` would be the place, which
/// the crate does not write.
fn facts(cell: &CellReport) -> String {
    let mut lines = Vec::new();
    if let Some(kernel) = &cell.kernel {
        lines.push(format!("kernel: {} ({})", kernel.release, kernel.origin));
        lines.push(format!("image sha256: {}", kernel.image_sha256));
        for p in &kernel.packages {
            lines.push(format!("package: {} {} ({}) sha256 {}", p.name, p.version, p.suite, p.sha256));
        }
        for (option, value) in &kernel.config {
            lines.push(format!("config: {option}={value}"));
        }
    }
    if let Some(accel) = cell.accel {
        lines.push(format!("accelerator: {accel} ({})", cell.accel_reason));
    }
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
mod tests {
    use super::super::sample;
    use super::*;
    use crate::event::CellEnd;

    fn parse(run: &RunReport) -> String {
        let xml = String::from_utf8(to_xml(run).unwrap()).unwrap();
        // A strict reader: it refuses characters and structures that XML 1.0 does not have.
        roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{e}\n{xml}"));
        xml
    }

    #[test]
    fn a_run_reads_back_with_all_its_text() {
        let xml = parse(&sample::run());
        let doc = roxmltree::Document::parse(&xml).unwrap();
        let suite = doc.descendants().find(|n| n.has_tag_name("testsuite")).unwrap();
        assert_eq!(suite.attribute("name"), Some("debian:7.2-x86_64-dynptr"));
        assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("7"), Some("1")));
        assert_eq!(suite.attribute("errors"), Some("3"), "lost, not run, and the splat without a test");
        assert_eq!(suite.attribute("timestamp"), Some("2026-11-20T10:15:30Z"));
        let cases: Vec<String> = suite
            .children()
            .filter(|n| n.has_tag_name("testcase"))
            .map(|n| {
                let a = |name| n.attribute(name).unwrap_or("?").to_owned();
                let inner = n.first_element_child().map_or(String::new(), |e| {
                    format!(" {} {:?}", e.tag_name().name(), e.attribute("message").unwrap_or(""))
                });
                format!("{} {} {}{inner}", a("classname"), a("name"), a("time"))
            })
            .collect();
        assert_eq!(
            cases,
            [
                "dynptr.dynptr_success test_read_write 0.01",
                "dynptr.dynptr_success test_clone 0.025 failure \"expected 3, got 4\"",
                "dynptr.dynptr_success test_old 0 skipped \"needs 6.12, this is 6.1\"",
                "dynptr.dynptr_success test_known 0.001 skipped \"expected failure: known bug\"",
                "dynptr.dynptr_fail lost 0.09 error \"kernel panic: x\"",
                "dynptr alone 0 error \"not run: guest crashed\"",
                "dynptr.kvet splat 0 error \"warn: WARNING: a.c:1 at f+0x1/0x2\"",
            ]
        );
        let out = suite.children().find(|n| n.has_tag_name("system-out")).and_then(|n| n.text()).unwrap();
        for part in [
            "kernel: 7.2.12+deb13-amd64",
            &"cd".repeat(32),
            "accelerator: tcg",
            "note: KVM died",
            "CONFIG_BPF_SYSCALL=y",
        ] {
            assert!(out.contains(part), "{part} in {out}");
        }
    }

    #[test]
    fn hostile_text_survives_in_what_xml_can_hold_of_it() {
        let xml = parse(&sample::run());
        let doc = roxmltree::Document::parse(&xml).unwrap();
        let failure = doc.descendants().find(|n| n.has_tag_name("failure")).unwrap();
        let text: String = failure.children().filter_map(|n| n.text()).collect();
        let expected: String = sample::HOSTILE
            .chars()
            .map(|c| if matches!(c, '\x1b' | '\0' | '\u{fffe}' | '\u{85}') { '\u{fffd}' } else { c })
            .collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn every_string_goes_through_the_door() {
        let bad = sample::HOSTILE;
        let mut run = sample::run();
        let cell = &mut run.cells[0];
        cell.id.kernel = bad.into();
        cell.id.suite = bad.into();
        for case in &mut cell.cases {
            (case.name, case.message, case.detail) = (format!("{bad}/{bad}"), bad.into(), bad.into());
        }
        let splat = &mut cell.splats[0];
        (splat.kind, splat.title, splat.text) = (bad.into(), bad.into(), bad.into());
        cell.accel_reason = bad.into();
        cell.notes = vec![bad.into()];
        cell.dir = bad.into();
        let kernel = cell.kernel.as_mut().unwrap();
        (kernel.release, kernel.origin) = (bad.into(), bad.into());
        kernel.packages[0].name = bad.into();
        kernel.config.insert(bad.into(), bad.into());
        cell.splats.push(crate::event::Splat { allowed: Some(bad.into()), ..cell.splats[0].clone() });
        for end in [
            CellEnd::Crashed { reason: bad.into() },
            CellEnd::Unbootable { reason: bad.into(), detail: bad.into() },
            CellEnd::Infra { reason: bad.into() },
            CellEnd::Usage { reason: bad.into() },
            CellEnd::Interrupted,
        ] {
            run.cells[0].end = end;
            parse(&run);
        }
        if let Some(path) = std::env::var_os("KVET_JUNIT_SAMPLE") {
            std::fs::write(path, to_xml(&run).unwrap()).unwrap();
        }
    }

    #[test]
    fn every_character_is_legal_afterwards() {
        let all: String = (0..=0x0011_0000_u32).filter_map(char::from_u32).collect();
        let mut run = sample::run();
        run.cells[0].cases[1].detail.clone_from(&all);
        run.cells[0].cases[1].message = all;
        parse(&run);
    }

    #[test]
    fn a_cell_without_tests_is_not_green() {
        let mut run = sample::run();
        run.cells[0].cases.clear();
        run.cells[0].splats.clear();
        for (end, name, message) in [
            (CellEnd::Unbootable { reason: "no 9p".into(), detail: "x".into() }, "boot", "no 9p"),
            (CellEnd::Infra { reason: "disk full".into() }, "host", "disk full"),
            (CellEnd::Usage { reason: "arm64 image".into() }, "usage", "arm64 image"),
            (CellEnd::Crashed { reason: "panic".into() }, "crash", "panic"),
            (CellEnd::Interrupted, "interrupted", "interrupted before the end"),
            (CellEnd::Completed, "tests", "the job ended and no test was run"),
        ] {
            run.cells[0].end = end;
            let xml = parse(&run);
            assert!(xml.contains(&format!("name=\"{name}\"")), "{name}: {xml}");
            assert!(
                xml.contains(&format!("<error type=\"error\" message=\"{message}\"")),
                "{message}: {xml}"
            );
        }
        // What its guest was to be made of could not be built.
        run.cells[0].end = CellEnd::Unbootable { reason: "a.c:1: error".into(), detail: String::new() };
        run.cells[0].times.truncate(1);
        assert!(parse(&run).contains("name=\"build\""));
    }

    #[test]
    fn times_that_no_calendar_has() {
        for (unix, year) in [(f64::NAN, "1970"), (-1e300, "1970"), (1e300, "9999"), (f64::INFINITY, "1970")] {
            let mut run = sample::run();
            run.cells[0].started_unix = unix;
            assert!(parse(&run).contains(&format!("timestamp=\"{year}")), "{unix}");
        }
    }
}
