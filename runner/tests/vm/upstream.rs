//! The kernel's own selftests, and what kvet makes of what they print.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use kvet::event::{CellEnd, CellReport, Outcome, RunReport};

use crate::guests::{cache, check_junit};
use crate::support::{Ended, Kvet, have};

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

/// The tests and subtests whose start stands in the kernel's log; a name that comes again is told apart as in the report.
fn marked(console: &str) -> BTreeSet<String> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeMap::new());
    for name in console.lines().filter_map(|line| Some(line.split_once("kvet-test: RUN ")?.1.trim())) {
        let times = seen.entry(name.to_owned()).or_insert(0);
        *times += 1;
        found.insert(if *times == 1 { name.to_owned() } else { format!("{name}#{times}") });
    }
    found
}

/// The same program by hand in the same guest, from a copy with a script beside it.
fn by_hand(kernel: &str, arch: &str, id: &str) -> Ended {
    let share = cache().join("suites").join(id).join("share");
    let dir = tempfile::tempdir().unwrap();
    let copy = Command::new("cp").arg("-r").arg(&share).arg(dir.path()).status().unwrap();
    assert!(copy.success());
    let script = dir.path().join("share/by-hand.sh");
    fs::write(&script, "#!/bin/bash\nexec ./test_progs\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    Kvet::run_on(kernel, arch)
        .args(["--memory", "1536M", "--root", "userland", "--timeout", "5m", "--"])
        .args([&script])
        .end()
}

/// With what the job of a run ended, by what init said on the wire.
fn exit_status(ended: &Ended) -> i64 {
    let wire = ended.cell_file("wire.jsonl");
    let mut messages = wire.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let status = messages.find_map(|message| message.pointer("/from_guest/status").cloned()).unwrap();
    status["code"].as_i64().unwrap_or_else(|| panic!("{status}"))
}

/// Names and verdicts in the report are those in the raw output, and those of test_progs by hand; each test was marked.
fn the_same_as_by_hand(kernel: &str, arch: &str, slices: &[&str], subtests_of_dynptr: usize) {
    let slices = slices.iter().flat_map(|slice| ["--slice", slice]);
    let kvet = Kvet::run_on(kernel, arch).args(["-s", "upstream"]).args(slices);
    let ended = kvet.args(["--junit", "j.xml"]).end().code(0);
    let cell = ended.cell();
    check_junit(&ended.path("j.xml"), &cell);
    let said = reported(&cell);
    let dynptr = said.iter().filter(|(name, _)| name.starts_with("dynptr/")).count();
    assert_eq!(dynptr, subtests_of_dynptr, "subtests of dynptr");
    for fact in
        ["selftests_source", "selftests_version", "selftests_slices", "selftests_clang", "selftests_id"]
    {
        assert!(cell.provenance.contains_key(fact), "{fact}: {:?}", cell.provenance);
    }
    assert_eq!(said, by_eye(&ended.cell_file("stdout")));
    let marked = marked(&ended.cell_file("console.log"));
    let unmarked: Vec<_> = said.iter().filter(|(name, _)| !marked.contains(name)).collect();
    assert!(unmarked.is_empty(), "{unmarked:?}");
    let hand = by_hand(kernel, arch, &cell.provenance["selftests_id"]);
    assert_eq!(said, by_eye(&hand.cell_file("stdout")));
    let exit = exit_status(&hand);
    assert_eq!(exit_status(&ended), exit, "of the job");
    // A script passes if its exit status is 0, and kvet with it.
    assert_eq!(hand.code, Some(i32::from(exit != 0)), "{}", hand.stdout);
    assert_eq!(exit != 0, said.iter().any(|(_, verdict)| *verdict == "FAIL"), "exit status {exit}");
}

#[test]
fn the_kernels_own_selftests_say_the_same_as_by_hand() {
    the_same_as_by_hand("7.2", "x86_64", &["dynptr", "user_ringbuf"], 128);
}

#[test]
#[ignore = "all slices take minutes"]
fn all_slices_of_7_2_say_the_same_as_by_hand() {
    the_same_as_by_hand("7.2", "x86_64", &[], 128);
}

#[test]
#[ignore = "all slices take minutes"]
fn all_slices_of_7_2_say_the_same_as_by_hand_on_arm64() {
    the_same_as_by_hand("7.2", "arm64", &[], 128);
}

#[test]
#[ignore = "all slices take minutes"]
fn all_slices_of_6_12_say_the_same_as_by_hand() {
    the_same_as_by_hand("6.12", "x86_64", &[], 88);
}

/// A source tree of the caller's in which a program does not compile.
fn broken_tree() -> tempfile::TempDir {
    // Fetches the source.
    Kvet::run_on("7.2", "x86_64")
        .args(["-s", "upstream", "--slice", "user_ringbuf", "--dry-run"])
        .end()
        .code(0);
    let sources = fs::read_dir(cache().join("sources")).unwrap().map(|entry| entry.unwrap().path());
    let is_7_2 = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("debian-7.2.");
    let from = sources.filter(is_7_2).max().unwrap().join("tree");
    let dir = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.current_dir(from).args(["-r", "--parents", "Makefile", "Kconfig", "scripts", "tools", "kernel/bpf"]);
    assert!(
        copy.args(["arch/arm64/include", "arch/x86/include"]).arg(dir.path()).status().unwrap().success()
    );
    let program = dir.path().join("tools/testing/selftests/bpf/progs/user_ringbuf_fail.c");
    let text = fs::read_to_string(&program).unwrap();
    fs::write(program, format!("{text}\nint kvet was here;\n")).unwrap();
    dir
}

#[test]
fn selftests_that_do_not_build_are_the_kernels_fault_and_hold_nobody_up() {
    let tree = broken_tree();
    let source = format!("tree:{}", tree.path().display());
    let matrix = "kernels: [debian:7.2]\narchs: [x86_64]\nsuites: [upstream, ./good.yaml]\n";
    let ended = Kvet::new(["matrix", "m.yaml", "--slice", "user_ringbuf", "--selftests", &source])
        .fault_suite("good", &["one=pass"])
        .file("m.yaml", matrix)
        .end()
        .code(1);
    let report = fs::read_to_string(ended.path("results/latest/report.json")).unwrap();
    let cells = serde_json::from_str::<RunReport>(&report).unwrap().cells;
    let of = |suite: &str| cells.iter().find(|cell| cell.id.suite == suite).unwrap();
    assert_eq!((of("good").counts.passed, &of("good").end), (1, &CellEnd::Completed));
    let CellEnd::Unbootable { reason, detail } = &of("upstream").end else {
        panic!("{:?}", of("upstream").end)
    };
    assert!(reason.contains("do not build (user_ringbuf_fail.bpf.o)"), "{reason}");
    assert!(reason.contains("progs/user_ringbuf_fail.c:") && reason.contains("error:"), "{reason}");
    assert!(detail.contains("kvet was here"), "{detail}");
    let junit = fs::read_to_string(ended.path("results/latest/junit.xml")).unwrap();
    assert!(junit.contains("name=\"build\"") && !junit.contains("name=\"boot\""), "{junit}");
    let log = ended.path("results/latest/debian-7.2-x86_64-upstream/selftests.log");
    assert!(fs::read_to_string(log).unwrap().contains("kvet was here"));
    let args = ["-s", "upstream", "--slice", "user_ringbuf", "--selftests", &source];
    let ended = Kvet::run_on("7.2", "x86_64").args(args).end().code(1);
    assert!(
        ended.stderr.contains("kvet was here") || ended.stdout.contains("kvet was here"),
        "{}",
        ended.stderr
    );
}

/// libbpf looks for the kernel's config in `/boot` and in /proc/config.gz, which Debian's kernels do not have.
#[test]
#[ignore = "builds a slice of its own"]
fn programs_find_the_kernels_config() {
    let ended =
        Kvet::run_on("7.2", "x86_64").args(["-s", "upstream", "--slice", "config=core_extern"]).end().code(0);
    let counts = ended.cell().counts;
    assert!(counts.passed >= 30 && counts.failed == 0, "{counts:?}");
}

#[test]
fn a_shell_builds_what_it_has_at_hand() {
    let line = "cd /kvet/tests && ./test_progs -l && command -v ip bash";
    let args =
        ["shell", "-k", "7.2", "-a", "x86_64", "-s", "upstream", "--slice", "user_ringbuf", "-c", line];
    have("7.2", "x86_64");
    let ended = Kvet::new(args).end().code(0);
    let said: Vec<&str> = ended.stdout.lines().map(str::trim).collect();
    assert_eq!(said[0], "user_ringbuf", "{}", ended.stdout);
    assert!(said.contains(&"/usr/bin/bash"), "the suite's root: {}", ended.stdout);
    let nothing = Kvet::new(["shell", "-k", "7.2", "--slice", "dynptr", "-c", "true"]).end().code(2);
    assert!(nothing.stderr.contains("--slice goes with"), "{}", nothing.stderr);
}

#[test]
fn what_cannot_be_built_is_said_before_anything_is_started() {
    let ended = Kvet::run_on("7.2", "x86_64").args(["-s", "upstream", "--slice", "dynprt"]).end().code(2);
    assert!(ended.stderr.contains("dynprt") && ended.stderr.contains("skb_meta"), "{}", ended.stderr);
    let args = ["-s", "upstream", "--slice", "user_ringbuf", "-t", "user_ringbfu/*"];
    let ended = Kvet::run_on("7.2", "x86_64").args(args).end().code(2);
    assert!(ended.stderr.contains("matches -t 'user_ringbfu/*'"), "{}", ended.stderr);
    assert!(ended.stderr.contains("there are user_ringbuf;"), "{}", ended.stderr);
    assert!(!ended.cell_dir().join("selftests.log").exists(), "nothing is built");
    let ended = Kvet::run_on("7.2", "x86_64").args(["--slice", "dynptr"]).end().code(2);
    assert!(ended.stderr.contains("-s upstream"), "{}", ended.stderr);
    let ended =
        Kvet::run_on("7.2", "x86_64").args(["-s", "upstream", "--selftests", "tree:/nowhere"]).end().code(2);
    assert!(ended.stderr.contains("/nowhere"), "{}", ended.stderr);
}
