//! test_progs, and what another boot can do.

use super::*;

/// test_progs runs; its first subtest has passed.
const SUBTEST_PASSED: &str = r##"
say "[    0.000000] Linux version 6.6.6 (fake)"
ready; hear; [[ $heard == *'"type":"run"'* ]] || exit 9
stamp 2; started
stamp 3; out '#1/1     g/one:OK'
"##;

/// The second one makes the kernel panic, 4.5 s after power-on.
const PANIC: &str = r#"
say "[    4.500000] Kernel panic - not syncing: oops"
exit 0
"#;

fn test_progs(parts: &[&str]) -> Scenario {
    scenario(parts).test_progs()
}

#[test]
fn a_test_that_was_never_announced_has_the_panic_that_ended_it() {
    let p = test_progs(&[SUBTEST_PASSED, "sleep 0.2\n", PANIC]).play();
    assert_eq!(p.cases(), ["g/one Pass", "g Error"]);
    assert_eq!(p.splats(), ["panic g"], "and not the one that had passed");
    let marked = "say '[    3.100000] kvet-test: RUN g/two x'; sleep 0.2\n";
    let p = test_progs(&[SUBTEST_PASSED, marked, PANIC]).play();
    assert_eq!(p.cases(), ["g/one Pass", "g/two x Error"]);
    assert_eq!(
        (p.splats(), p.started),
        (vec!["panic g/two x".to_owned()], vec!["g/one".into(), "g/two x".into()])
    );
}

#[test]
fn a_warning_belongs_to_the_test_that_tells_its_result_next() {
    let rest = "stamp 5; out '#1/2     g/two:OK'; out '#1       g:OK'
                out 'Summary: 1/2 PASSED, 0 SKIPPED, 0 FAILED'\n";
    for (printk, test) in [("2.500000", "g/one"), ("4.500000", "g/two")] {
        let warning = format!("warning {printk}; sleep 0.2\n");
        let p = test_progs(&[WARNING, SUBTEST_PASSED, &warning, rest, LEAVE]).play();
        assert_eq!((p.splats(), p.watched.end), (vec![format!("warn {test}")], CellEnd::Completed));
        assert_eq!(p.watched.cases[1].duration, Some(Duration::from_secs(2)));
    }
}

#[test]
fn two_boots_make_one_result() {
    let marked = "say '[    3.100000] kvet-test: RUN g/two'; sleep 0.2\n";
    let first = test_progs(&[SUBTEST_PASSED, marked, PANIC]).play();
    let mut all = SoFar::new(first.watched);
    assert_eq!(all.done(), ["g/one", "g/two"]);
    assert!(matches!(all.next(true), Next::Again(reason) if reason.contains("oops")));
    let rest = "out '#1/3     g/three:OK'; out '#1       g:OK'
                out 'Summary: 1/1 PASSED, 0 SKIPPED, 0 FAILED'\n";
    let begin = SUBTEST_PASSED.replace("stamp 3; out '#1/1     g/one:OK'", "");
    let second = test_progs(&[&begin, rest, LEAVE]).play();
    let grown = all.add(second.watched);
    assert_eq!((all.next(grown), all.boots), (Next::Over, 2));
    let names: Vec<&str> = all.watched.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["g/one", "g/two", "g/three"]);
    assert!(matches!(all.watched.end, CellEnd::Crashed { .. }));
}

#[test]
fn only_what_a_test_or_the_kernel_did_is_worth_another_boot() {
    let hang = "hear; done_with '{\"how\":\"signaled\",\"signal\":9}'; hear; bye; obey";
    let p = test_progs(&[SUBTEST_PASSED, hang]).limits(|l| l.test = ms(300)).play();
    assert!(matches!(SoFar::new(p.watched).next(true), Next::Again(why) if why.contains("for 0.3 s")));
    let p = test_progs(&[SUBTEST_PASSED, "kill -9 $$"]).play();
    assert_eq!(SoFar::new(p.watched).next(true), Next::Over, "the host is in trouble");
    let setup = "out 'Failed to reset'; done_with '{\"how\":\"exited\",\"code\":3}'; hear; bye; obey";
    let p = test_progs(&[SUBTEST_PASSED, setup]).play();
    p.assert_end("Infra", "could not set up");
    assert_eq!(SoFar::new(p.watched).next(true), Next::Over);
}
