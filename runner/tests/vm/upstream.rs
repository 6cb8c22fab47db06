//! The kernel's own selftests, and what kvet makes of what they print.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use kvet::event::{CellReport, Outcome};

use crate::kvet_command::{Kvet, check_junit};

/// Result lines of test_progs as a person reads them: `#3/1     dynptr/test_read_write:OK`. A test with subtests is told
/// by these; a name that is there twice is told apart as in the report. At the end the logs of failures are repeated.
fn by_eye(output: &str) -> BTreeSet<(String, &'static str)> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeMap::new();
    for line in output.lines().map(str::trim_end).take_while(|line| !line.starts_with("All error logs")) {
        let Some((number, rest)) =
            line.strip_prefix('#').and_then(|line| line.split_once(char::is_whitespace))
        else {
            continue;
        };
        let Some((name, verdict)) = rest.trim().rsplit_once(':') else { continue };
        if !number.chars().all(|c| c.is_ascii_digit() || c == '/') {
            continue;
        }
        let outcome = match verdict.split_whitespace().next() {
            Some("OK") => "OK",
            Some("FAIL") => "FAIL",
            Some("SKIP") => "SKIP",
            _ => continue,
        };
        let times = seen.entry(name.to_owned()).or_insert(0);
        *times += 1;
        let name = if *times == 1 { name.to_owned() } else { format!("{name}#{times}") };
        found.insert((name, outcome));
    }
    let parents: BTreeSet<String> =
        found.iter().filter_map(|(name, _)| Some(name.split_once('/')?.0.to_owned())).collect();
    found.retain(|(name, _)| !parents.contains(name));
    found
}

/// The same of a report. What is expected to fail has failed.
fn reported(cell: &CellReport) -> BTreeSet<(String, &'static str)> {
    let word = |outcome| match outcome {
        Outcome::Pass => "OK",
        Outcome::Skip => "SKIP",
        _ => "FAIL",
    };
    cell.cases.iter().map(|case| (case.name.clone(), word(case.outcome))).collect()
}

#[test]
fn the_kernels_own_selftests_say_the_same_as_by_hand() {
    let slices = ["-s", "upstream", "--slice", "dynptr", "--slice", "user_ringbuf"];
    let ended = Kvet::run_on("7.2", "x86_64").args(slices).args(["--junit", "j.xml"]).end();
    let cell = ended.cell();
    check_junit(&ended.path("j.xml"), &cell);
    let said = reported(&cell);
    let dynptr = said.iter().filter(|(name, _)| name.starts_with("dynptr/")).count();
    assert!(dynptr >= 128, "{dynptr} subtests of dynptr");
    for fact in
        ["selftests_source", "selftests_version", "selftests_slices", "selftests_clang", "selftests_id"]
    {
        assert!(cell.provenance.contains_key(fact), "{fact}: {:?}", cell.provenance);
    }
    assert_eq!(said, by_eye(&ended.cell_file("stdout")));

    // The same program by hand in the same guest, from a copy with a script beside it.
    let cache = std::env::var("KVET_CACHE")
        .unwrap_or_else(|_| format!("{}/.cache/kvet", std::env::var("HOME").unwrap()));
    let share = format!("{cache}/suites/{}/share", cell.provenance["selftests_id"]);
    let dir = tempfile::tempdir().unwrap();
    let copy = Command::new("cp").args(["-r", &share]).arg(dir.path()).status().unwrap();
    assert!(copy.success());
    let script = dir.path().join("share/by-hand.sh");
    fs::write(&script, "#!/bin/bash\nexec ./test_progs\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let hand = Kvet::run_on("7.2", "x86_64")
        .args(["--memory", "1536M", "--root", "userland", "--timeout", "5m", "--"])
        .args([&script])
        .end();
    assert_eq!(said, by_eye(&hand.cell_file("stdout")));
}

#[test]
fn what_cannot_be_built_is_said_before_anything_is_started() {
    let ended = Kvet::run_on("7.2", "x86_64").args(["-s", "upstream", "--slice", "dynprt"]).end().code(2);
    assert!(ended.stderr.contains("dynprt") && ended.stderr.contains("skb_meta"), "{}", ended.stderr);
    let ended = Kvet::run_on("7.2", "x86_64").args(["--slice", "dynptr"]).end().code(2);
    assert!(ended.stderr.contains("-s upstream"), "{}", ended.stderr);
    let ended =
        Kvet::run_on("7.2", "x86_64").args(["-s", "upstream", "--selftests", "tree:/nowhere"]).end().code(2);
    assert!(ended.stderr.contains("/nowhere"), "{}", ended.stderr);
}
