//! test_progs in a guest, and what `--resume` makes of crashes.

use crate::guests::{check_junit, faults};
use crate::support::{Ended, Kvet};
use kvet::event::Cause;

fn sorted(ended: &Ended) -> Vec<String> {
    let mut cases = ended.cases();
    cases.sort();
    cases
}

fn has(ended: &Ended, file: &str) -> bool {
    ended.cell_dir().join(file).exists()
}

#[test]
fn after_a_panic_and_a_hang_the_rest_runs_in_further_boots() {
    let steps = ["one=pass", "two=panic", "three=fail", "four=hang", "five=pass"];
    let kvet = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--resume", "--timeout", "2s"]);
    let ended = kvet.end().code(1);
    assert_eq!(sorted(&ended), ["five Pass", "four Error", "one Pass", "three Fail", "two Error"]);
    ended.ended("Crashed", "sysrq triggered crash");
    let cell = ended.cell();
    assert_eq!((cell.boots, cell.counts.not_run), (3, 0));
    assert!(ended.case("faults/two").1.contains("Kernel panic"), "the panic is its own");
    let cause = |name: &str| cell.cases.iter().find(|case| case.name == name).unwrap().cause;
    assert_eq!(
        (cause("faults/two"), cause("faults/four")),
        (Some(Cause::Crash), Some(Cause::TimeOut)),
        "a crash in one boot makes none of a time-out in another"
    );
    assert!(ended.case("faults/four").0.contains("ran longer than 2 s"));
    for (file, text) in [
        ("console.log", "sysrq triggered crash"),
        ("console.2.log", "sysrq: Show"),
        ("console.3.log", "Linux version"),
        ("stdout", "two"),
        ("stdout.3", "five"),
        ("wire.3.jsonl", "ready"),
    ] {
        assert!(ended.cell_file(file).contains(text), "{file}");
    }
    assert!(!has(&ended, "console.4.log") && !ended.cell_file("console.3.log").contains("triggered crash"));
    assert!(ended.cell_file("events.jsonl").contains(r#""event":"rebooted","cell":0,"boot":2"#));
    check_junit(&ended.path("results/latest/junit.xml"), &cell);
}

#[test]
fn test_progs_in_a_guest() {
    let steps = ["g/a=sleep:400", "'g/b @unpriv=fail'", "g/c=sleep:400", "g/a=pass", "alone=skip"];
    let ended = Kvet::run_on("7.2", "x86_64").test_progs(&steps).end().code(1);
    assert_eq!(ended.cases(), ["g/a Pass", "g/b @unpriv Fail", "g/c Pass", "g/a#2 Pass", "alone Skip"]);
    let cell = ended.cell();
    let ms = |index: usize| cell.cases[index].duration.unwrap().as_millis();
    assert!(ms(0) >= 400 && ms(2) >= 400 && ms(1) < 400 && ms(3) < 400, "{:?}", cell.cases);
    check_junit(&ended.path("results/latest/junit.xml"), &cell);
}

#[test]
fn a_crash_of_test_progs_keeps_what_had_finished_and_the_rest_is_resumed() {
    let steps = ["g/a=pass", "g/b=panic", "g/c=fail", "alone=panic", "h=pass", "i/x=signal:11", "i/y=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").test_progs(&steps).args(["--resume"]).end().code(1);
    let expected = ["alone Error", "g/a Pass", "g/b Error", "g/c Fail", "h Pass", "i/x Error", "i/y Pass"];
    assert_eq!(sorted(&ended), expected);
    assert_eq!(ended.cell().boots, 4);
    assert!(ended.case("g/b").1.contains("Kernel panic"));
    assert!(ended.case("alone").1.contains("Kernel panic"), "a test without subtests is known, too");
    assert!(ended.case("i/x").0.contains("SIGSEGV"));
    let ended = Kvet::run_on("7.2", "x86_64").test_progs(&steps).end().code(1);
    assert_eq!(ended.cases(), ["g/a Pass", "g/b Error"], "without --resume");
    assert!(!has(&ended, "console.2.log"));
}

#[test]
fn without_marks_the_whole_test_is_left_out_that_crashed() {
    let steps = ["--no-marks", "g/a=pass", "g/b=panic", "g/c=pass", "h=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").test_progs(&steps).args(["--resume"]).end().code(1);
    assert_eq!(sorted(&ended), ["g Error", "g/a Pass", "h Pass"]);
    let (message, detail) = ended.case("g");
    assert!(message.contains("in one of its subtests, after g/a"), "{message}");
    assert!(detail.contains("Kernel panic"), "{detail}");
}

#[test]
fn the_number_of_boots_is_bounded() {
    let steps = ["a=panic", "b=panic", "c=panic", "d=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--resume=1"]).end().code(1);
    assert_eq!(sorted(&ended), ["a Error", "b Error", "c NotRun", "d NotRun"]);
    let cell = ended.cell();
    assert_eq!(cell.boots, 2);
    assert!(cell.notes.iter().any(|note| note.contains("--resume=1 allows no more")), "{:?}", cell.notes);
}

#[test]
fn a_filter_and_expectations_go_to_test_progs() {
    let steps = ["g/a=pass", "g/b=fail", "g/c=pass", "g/d=panic", "h/a=fail", "i=fail"];
    let expectations = "- {test: g/b, as: xfail, message: 'perform:FAIL', reason: it is to fail}\n\
                        - {test: g/c, lacks: [CONFIG_NO_SUCH], as: xfail, reason: needs NO_SUCH}\n\
                        - {test: g/d, as: skip, reason: it crashes}\n\
                        - {test: i, kernel: {until: 5.0}, as: xfail, reason: long ago}\n";
    let kvet = Kvet::run_on("7.2", "x86_64").test_progs(&steps).file("expected.yaml", expectations);
    let ended = kvet.args(["-t", "g/*", "-t", "i"]).end().code(1);
    assert_eq!(ended.cases(), ["g/a Pass", "g/b Xfail", "g/c Fail", "i Fail", "g/d Skip"]);
    assert!(ended.case("g/b").0.starts_with("it is to fail ("));
    assert!(ended.case("g/c").0.starts_with("passed, though"), "an entry that is no longer true is found");
    assert_eq!(ended.case("g/d").0, "it crashes");
    assert!(!ended.cell_file("stdout").contains("h/a"), "it did not run");
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let ended = Kvet::new(["run", "--resume", "--", &faults("x86_64"), "pass"]).end().code(2);
    ended.refused("cannot be resumed");
    let ended = Kvet::new(["run", "--resume=0"]).end();
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--resume"), "{}", ended.stderr);
}
