//! Tests of the dynptr suite's tests: programs that are wrong in one way fail, each its own test and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use kvet::event::{Outcome, TestCase};

use crate::support::{Ended, Kvet};

/// What is wrong with the calls of a function: `bpf_dynptr_read.wrong_offset`.
type Wrong<'a> = &'a str;

/// All mutants on a kernel. One that is not noticed, and has no reason for it, fails; and so does a reason that is not true.
fn mutants(kernel: &str) -> Vec<TestCase> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/dynptr/mutants.yaml");
    let manifest = manifest.canonicalize().unwrap();
    let kvet = Kvet::run_on(kernel, "x86_64").args(["--suite", manifest.to_str().unwrap()]);
    kvet.end().code(0).cell().cases
}

#[test]
#[ignore = "some two minutes"]
fn no_test_of_the_dynptr_suite_passes_on_7_3_without_what_it_is_about() {
    let cases = mutants("7.3");
    // There the programs without CAP_PERFMON can be repaired; whatever is new with 7.3 has to be noticed, too.
    let more: Vec<_> = vacuous(&cases).difference(&unrepaired()).copied().collect();
    assert!(more.is_empty(), "tests of which no mutant is noticed: {more:#?}");
    assert_eq!(refused(&cases), REFUSED + 1, "mutants that the verifier refuses of something else");
}

#[test]
fn no_test_of_the_dynptr_suite_passes_without_what_it_is_about_and_each_mutant_fails_its_own_test_alone() {
    let cases = mutants("7.2");
    let noticed = noticed(&cases);
    assert_eq!(refused(&cases), REFUSED, "mutants that the verifier refuses of something else");
    assert_eq!(
        vacuous(&cases),
        unrepaired(),
        "tests of which no mutant is noticed, and those of which that is known"
    );
    for wrong in [
        "bpf_dynptr_data.missing_bound",
        "bpf_dynptr_slice.missing_bound",
        "bpf_dynptr_slice_rdwr.missing_bound",
        "bpf_dynptr_file_discard.skipped_release",
        "bpf_ringbuf_discard_dynptr.skipped_release",
        "bpf_ringbuf_discard_dynptr.replaced_release",
        "bpf_ringbuf_submit_dynptr.skipped_release",
        "bpf_ringbuf_submit_dynptr.replaced_release",
        "bpf_dynptr_from_file.wrong_flags",
        "bpf_dynptr_from_skb.wrong_flags",
        "bpf_dynptr_from_skb_meta.wrong_flags",
        "bpf_dynptr_from_xdp.wrong_flags",
        "bpf_ringbuf_reserve_dynptr.wrong_flags",
    ] {
        assert!(noticed.contains_key(wrong), "{wrong}: no test notices it");
    }

    let chosen = choose(&noticed);
    // All that can be wrong with a function: what no test was left for is not.
    let left_out: BTreeSet<&str> =
        noticed.keys().filter(|it| !chosen.contains_key(*it)).map(|it| function(it)).collect();
    let functions: BTreeSet<&str> =
        chosen.keys().map(|it| function(it)).filter(|it| !left_out.contains(it)).collect();
    assert!(functions.len() >= 30, "{functions:?}");
    assert!(
        ["wrong_offset", "missing_bound", "skipped_release"]
            .iter()
            .all(|kind| { chosen.keys().any(|wrong| wrong.ends_with(kind)) })
    );
    fail_alone(&chosen);
}

#[test]
fn the_shipped_dynptr_binary_has_no_selftests() {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests").join(arch);
    let said = Command::new(guests.join("dynptr/dynptr-selftests")).arg("--mutants").output().unwrap();
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("unknown argument \"--mutants\""), "{said}");
}

/// The tests that this kernel is new enough and built for, and of which no mutant is noticed.
fn vacuous(cases: &[TestCase]) -> BTreeSet<&str> {
    let mut tests: BTreeMap<&str, bool> = BTreeMap::new();
    for case in cases.iter().filter(|case| !case.message.starts_with("needs ")) {
        let name = case.name.split('.').next().unwrap();
        if name == crate::dynptr::LACKS_AN_OPTION {
            continue;
        }
        *tests.entry(name).or_default() |= case.outcome == Outcome::Pass;
    }
    tests.into_iter().filter(|(_, is_noticed)| !is_noticed).map(|(name, _)| name).collect()
}

/// So many mutants of 7.2 show nothing, for want of a program that the verifier takes.
const REFUSED: usize = 145;

/// How many mutants show nothing.
fn refused(cases: &[TestCase]) -> usize {
    cases.iter().filter(|case| case.message.starts_with("refused by the verifier: ")).count()
}

/// Those of which that is known, each with its reason in the file.
fn unrepaired() -> BTreeSet<&'static str> {
    let lines = include_str!("../data/dynptr/unrepaired.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").expect("a test and its reason").0).collect()
}

#[test]
fn what_mutants_survive_on_some_kernels_is_true_of_those() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/dynptr/survivors.yaml");
    let file: serde_yaml::Value = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let ranges = file["ranges"].as_sequence().unwrap();
    let text = |row: &serde_yaml::Value, field: &str| row[field].as_str().unwrap().to_owned();
    let tests: BTreeSet<String> = ranges.iter().map(|row| text(row, "test")).collect();
    let arguments: String = tests.iter().map(|test| format!(", --test, {test}")).collect();
    let suite = format!(
        "name: mutants\ntitle: t\nprogram: '{{guest}}/dynptr-check/dynptr-selftests'\nformat: ktap\n\
         modules: [tun]\nmemory: 512M\nargs: [--mutants{arguments}]\n"
    );
    let mut survivors = BTreeSet::new();
    for kernel in ["6.1", "7.2"] {
        let kvet =
            Kvet::run_on(kernel, "x86_64").file("suite.yaml", &suite).args(["--suite", "./suite.yaml"]);
        let cases = kvet.end().code(0).cell().cases;
        let survive = cases.into_iter().filter(|case| case.message.contains("survives: "));
        survivors.extend(survive.map(|case| case.name));
    }
    for row in ranges {
        let name = format!("{}.{}", text(row, "test"), text(row, "mutation"));
        assert!(survivors.contains(&name), "{name} survives on none of these kernels");
    }
}

/// Of what is wrong with a function, the tests that notice it.
fn noticed(cases: &[TestCase]) -> BTreeMap<Wrong<'_>, BTreeSet<&str>> {
    let mut noticed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.outcome == Outcome::Pass) {
        let (test, wrong) = case.name.split_once('.').unwrap();
        if wrong != "repaired" {
            noticed.entry(wrong).or_default().insert(test);
        }
    }
    noticed
}

fn function(wrong: Wrong<'_>) -> &str {
    wrong.split('.').next().unwrap()
}

/// A test for each way of being wrong, each test once: those with the fewest to choose from first.
fn choose<'a>(noticed: &BTreeMap<Wrong<'a>, BTreeSet<&'a str>>) -> BTreeMap<Wrong<'a>, &'a str> {
    let mut rows: Vec<_> = noticed.iter().collect();
    rows.sort_by_key(|(_, tests)| tests.len());
    let mut taken = BTreeSet::new();
    let mut chosen = BTreeMap::new();
    for (wrong, tests) in rows {
        if let Some(test) = tests.iter().find(|test| !taken.contains(*test)) {
            taken.insert(*test);
            chosen.insert(*wrong, *test);
        }
    }
    chosen
}

/// Two programs that have to be refused: one that is made good, and one that other words are waited for.
const TAKEN: &str = "dynptr_fail/data_slice_out_of_bounds_ringbuf";
const REFUSED_WITH_OTHER_WORDS: &str = "dynptr_fail/release_twice";

/// Runs the whole suite with these mutants in it: they fail, and nothing else does.
fn fail_alone(chosen: &BTreeMap<Wrong<'_>, &str>) {
    let refused = [("repaired", TAKEN), ("other_words", REFUSED_WITH_OTHER_WORDS)];
    let all = || chosen.iter().map(|(wrong, test)| (*wrong, *test)).chain(refused);
    let arguments: String = all().map(|(wrong, test)| format!(", --mutate, {test}.{wrong}")).collect();
    let suite = format!(
        "name: mutated\ntitle: t\nprogram: '{{guest}}/dynptr-check/dynptr-selftests'\nformat: ktap\n\
         modules: [tun, veth, loop]\nmemory: 512M\nargs: [--strict{arguments}]\n"
    );
    let kvet = Kvet::run_on("7.2", "x86_64").file("suite.yaml", &suite).args(["--suite", "./suite.yaml"]);
    let ended = kvet.end().code(1);
    let cases = ended.cell().cases;
    // With --strict, so does what this kernel was not built for.
    let expected: BTreeSet<&str> =
        all().map(|it| it.1).chain(std::iter::once(crate::dynptr::LACKS_AN_OPTION)).collect();
    let failed: BTreeSet<&str> =
        cases.iter().filter(|case| case.outcome == Outcome::Fail).map(|case| case.name.as_str()).collect();
    assert_eq!(failed, expected);
    let others = cases.iter().filter(|case| !expected.contains(case.name.as_str()));
    for case in others {
        assert!(matches!(case.outcome, Outcome::Pass | Outcome::Skip), "{case:?}");
    }
    shows_why_a_rejection_test_failed(&ended);
}

/// What was expected, what the verifier says, with the program's instructions and the lines of its source, and where all of it is.
fn shows_why_a_rejection_test_failed(ended: &Ended) {
    let taken = "the verifier took the program\n\
                 expected to be refused with: value is outside of the allowed memory range\n";
    let refused =
        "expected to be refused with: words that no verifier says\nprogram release_twice: not loaded: ";
    for (test, expected, end) in [
        (TAKEN, taken, "processed "),
        (REFUSED_WITH_OTHER_WORDS, refused, "Expected an initialized dynptr as R1"),
    ] {
        let (_, detail) = ended.case(test);
        let (said, shown) =
            detail.split_once("verifier log:\n").unwrap_or_else(|| panic!("{test}: {detail}"));
        assert!(said.starts_with(expected), "{test}: {detail}");
        let file = format!("verifier/{}.log", test.replace('/', "."));
        assert!(said.contains(&format!("the verifier's whole log is in {file} of the results")), "{detail}");
        let shown: Vec<&str> = shown.lines().map(str::trim_end).collect();
        let kept = ended.cell_file(&format!("files/{file}"));
        let kept: Vec<&str> = kept.lines().map(str::trim_end).collect();
        assert!(
            kept.join("\n").ends_with(&shown.join("\n")),
            "{test}: {shown:#?}\nis not the end of {kept:#?}"
        );
        // Both programs have this call; its line of the source stands before the instructions that it was made into.
        let call = shown.iter().rposition(|line| line.contains("(85) call bpf_ringbuf_submit_dynptr#"));
        let call = call.unwrap_or_else(|| panic!("{test}: no instructions: {shown:#?}"));
        let source = shown[..call].iter().rfind(|line| line.starts_with(';'));
        let source = source.unwrap_or_else(|| panic!("{test}: no source: {shown:#?}"));
        assert!(
            source.starts_with("; bpf_ringbuf_submit_dynptr(&ptr, 0); @ reject_local.bpf.c:"),
            "{source}"
        );
        assert!(shown[call..].iter().any(|line| line.starts_with(end)), "{test}: {shown:#?}");
    }
}
