use std::collections::HashSet;

use super::super::sample;
use super::*;
use crate::event::{Flaky, Rerun};

/// Reads strictly: characters and structures that XML 1.0 does not have are refused, and so is what Surefire's schema and
/// that of Jenkins's xunit plugin do not have.
fn parse(run: &RunReport) -> String {
    let xml = String::from_utf8(to_xml(run).unwrap()).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{e}\n{xml}"));
    assert_eq!(document.root_element().tag_name().name(), "testsuites");
    let mut known = HashSet::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        fits_the_schema(&node);
        if node.has_tag_name("testsuite") {
            has_what_it_counts(&node);
        }
        if node.has_tag_name("testcase") {
            let identity = (node.attribute("classname").unwrap(), node.attribute("name").unwrap());
            assert!(!identity.0.trim().is_empty() && !identity.1.trim().is_empty(), "{identity:?}");
            assert!(known.insert(identity), "{identity:?} is there twice");
        }
    }
    xml
}

/// An element, what it may hold, the attributes that it must have and those that it may have.
type Element = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// What an element may hold, the attributes it must have, and those it may have.
const SCHEMA: [Element; 14] = [
    ("testsuites", &["testsuite"], &[], &[]),
    (
        "testsuite",
        &["properties", "testcase", "system-out"],
        &["name", "tests", "failures", "errors"],
        &["id", "package", "hostname", "timestamp", "time", "skipped"],
    ),
    ("properties", &["property"], &[], &[]),
    ("property", &[], &["name", "value"], &[]),
    (
        "testcase",
        &[
            "failure",
            "error",
            "skipped",
            "rerunFailure",
            "rerunError",
            "flakyFailure",
            "flakyError",
            "system-out",
        ],
        &["name", "classname", "time"],
        &[],
    ),
    ("failure", &[], &["type"], &["message"]),
    ("error", &[], &["type"], &["message"]),
    ("skipped", &[], &[], &["type", "message"]),
    ("rerunFailure", &["stackTrace"], &["type"], &["message"]),
    ("rerunError", &["stackTrace"], &["type"], &["message"]),
    ("flakyFailure", &["stackTrace"], &["type"], &["message"]),
    ("flakyError", &["stackTrace"], &["type"], &["message"]),
    ("stackTrace", &[], &[], &[]),
    ("system-out", &[], &[], &[]),
];

fn fits_the_schema(node: &roxmltree::Node<'_, '_>) {
    let name = node.tag_name().name();
    let (_, inside, must, may) =
        SCHEMA.iter().find(|(known, ..)| *known == name).unwrap_or_else(|| panic!("<{name}>"));
    let holds: Vec<&str> =
        node.children().filter(roxmltree::Node::is_element).map(|child| child.tag_name().name()).collect();
    assert!(holds.iter().all(|child| inside.contains(child)), "<{name}> holds {holds:?}");
    let has: Vec<&str> = node.attributes().map(|attribute| attribute.name()).collect();
    assert!(must.iter().all(|attribute| has.contains(attribute)), "<{name}> has {has:?}");
    assert!(
        has.iter().all(|attribute| must.contains(attribute) || may.contains(attribute)),
        "<{name}>: {has:?}"
    );
}

fn has_what_it_counts(suite: &roxmltree::Node<'_, '_>) {
    for (count, element) in
        [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
    {
        let found = suite.descendants().filter(|node| node.has_tag_name(element)).count().to_string();
        assert_eq!(suite.attribute(count), Some(found.as_str()), "{count}");
    }
    assert!(suite.first_element_child().unwrap().has_tag_name("properties"), "they come first");
}

/// Class name, name, and the elements inside, of each test.
fn tests(xml: &str) -> Vec<(String, String, Vec<String>)> {
    let document = roxmltree::Document::parse(xml).unwrap();
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    cases
        .map(|case| {
            let attribute = |name| case.attribute(name).unwrap().to_owned();
            let inside = case.children().filter(roxmltree::Node::is_element);
            let inside = inside.map(|node| {
                let said = node.attribute("message").map_or(String::new(), |said| format!(" {said}"));
                format!("{}{said}", node.tag_name().name())
            });
            (attribute("classname"), attribute("name"), inside.collect())
        })
        .collect()
}

#[test]
fn every_test_has_an_identity_of_its_own() {
    // Whatever they are called, and on every kernel.
    let names = [
        "net.ipv4/route",
        "net/ipv4/route",
        "net/ipv4.route",
        "statfs /",
        "statfs /proc/",
        "stat /dev/",
        "//",
        "/",
        "",
        " ",
        "a",
        "a/",
        "/a",
        "a#2",
        "a b",
        "a\tb",
        "a\u{1}",
        "a\u{2}",
        "(no name)",
    ];
    let mut run = sample::run();
    run.cells[0].cases = names.iter().map(|name| sample::case(name, Outcome::Pass, 1, "", "")).collect();
    let mut other = run.cells[0].clone();
    other.id.kernel = "debian:7.2-x86_64.dynptr".into();
    let mut arm = run.cells[0].clone();
    arm.id.arch = crate::arch::Arch::Arm64;
    run.cells.extend([other, arm]);
    let found = tests(&parse(&run));
    let [first, second] = [&found[0], &found[1]];
    assert_eq!((first.0.as_str(), first.1.as_str()), ("debian:7.2-x86_64.dynptr.net.ipv4", "route"));
    assert_eq!((second.0.as_str(), second.1.as_str()), ("debian:7.2-x86_64.dynptr.net/ipv4", "route"));
    assert!(found.iter().any(|test| test.0.starts_with("debian:7.2-arm64.dynptr")));
    // A name does not depend on the tests beside it.
    run.cells[0].cases.retain(|case| case.name == "net/ipv4/route");
    run.cells.truncate(1);
    assert_eq!(tests(&parse(&run))[0], *second);
}

#[test]
fn runs_that_did_not_decide_are_kept() {
    let mut run = sample::run();
    let cell = &mut run.cells[0];
    let rerun = |test: &str, run, outcome, message: &str| Rerun {
        test: test.into(),
        run,
        outcome,
        message: message.into(),
    };
    let flaky = "dynptr_success/test_read_write";
    cell.flaky.push(Flaky { test: flaky.into(), run: 3, outcome: Outcome::Fail, message: "first".into() });
    cell.reruns.push(rerun(flaky, 2, Outcome::Error, "second"));
    cell.reruns.push(rerun("dynptr_success/test_clone", 2, Outcome::Fail, "a < b & \"c\""));
    cell.reruns.push(rerun("dynptr_success/test_clone", 3, Outcome::Error, "it crashed"));
    let found = tests(&parse(&run));
    assert_eq!(found[0].2, ["flakyFailure first", "flakyError second"]);
    assert_eq!(
        found[1].2,
        ["failure expected 3, got 4", "rerunFailure a < b & \"c\"", "rerunError it crashed"]
    );
    // Where a flaky test fails, the run that passed is told by its message.
    run.cells[0].cases[0].outcome = Outcome::Fail;
    run.cells[0].reruns.clear();
    assert_eq!(tests(&parse(&run))[0].2, ["failure "]);
}

#[test]
fn an_interrupted_cell_has_one_error() {
    let mut run = sample::run();
    let cell = &mut run.cells[0];
    cell.end = CellEnd::Interrupted;
    cell.splats.clear();
    cell.cases = vec![sample::case("a", Outcome::Pass, 1, "", "")];
    let rest = sample::case("b", Outcome::NotRun, 0, "not run: interrupted", "");
    cell.cases.extend([TestCase { name: "c".into(), ..rest.clone() }, rest]);
    let found = tests(&parse(&run));
    let skipped = vec!["skipped not run: interrupted".to_owned()];
    assert_eq!((&found[1].2, &found[2].2), (&skipped, &skipped));
    assert_eq!(found[3].2, ["error interrupted before the end"]);
    run.cells[0].end = CellEnd::Crashed { reason: "panic".into() };
    assert!(tests(&parse(&run))[1].2[0].starts_with("error "), "a crash fails them");
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
            "debian:7.2-x86_64.dynptr.dynptr_success test_read_write 0.01",
            "debian:7.2-x86_64.dynptr.dynptr_success test_clone 0.025 failure \"expected 3, got 4\"",
            "debian:7.2-x86_64.dynptr.dynptr_success test_old 0 skipped \"needs 6.12, this is 6.1\"",
            "debian:7.2-x86_64.dynptr.dynptr_success test_known 0.001 skipped \"expected failure: known bug\"",
            "debian:7.2-x86_64.dynptr.dynptr_fail lost 0.09 error \"kernel panic: x\"",
            "debian:7.2-x86_64.dynptr alone 0 error \"not run: guest crashed\"",
            "debian:7.2-x86_64.dynptr.kvet splat 0 error \"warn: WARNING: a.c:1 at f+0x1/0x2\"",
        ]
    );
    let out = suite.children().find(|n| n.has_tag_name("system-out")).and_then(|n| n.text()).unwrap();
    assert!(out.contains("note: KVM died") && out.contains("results: results/"), "{out}");
    let value = |name: &str| {
        let named =
            |n: &roxmltree::Node<'_, '_>| n.attribute("name") == Some(name) && n.has_tag_name("property");
        let property = suite.descendants().find(named).unwrap_or_else(|| panic!("no {name}"));
        property.attribute("value").unwrap().to_owned()
    };
    assert_eq!((value("kernel").as_str(), value("arch").as_str()), ("debian:7.2", "x86_64"));
    assert_eq!((value("kernel.release").as_str(), value("accel").as_str()), ("7.2.12+deb13-amd64", "tcg"));
    assert_eq!(value("kernel.image_sha256"), "ab".repeat(32));
    assert!(value("package.linux-binary-7.2.12+deb13-amd64").contains(&"cd".repeat(32)));
    assert_eq!(value("config.CONFIG_BPF_SYSCALL"), "y");
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
    cell.provenance.insert(bad.into(), bad.into());
    let (test, message) = (cell.cases[0].name.clone(), bad.to_owned());
    cell.reruns.push(Rerun { test: test.clone(), run: 2, outcome: Outcome::Fail, message: message.clone() });
    cell.flaky.push(Flaky { test, run: 3, outcome: Outcome::Fail, message });
    run.kvet = bad.into();
    let cell = &mut run.cells[0];
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
        assert!(xml.contains(&format!("<error type=\"error\" message=\"{message}\"")), "{message}: {xml}");
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
