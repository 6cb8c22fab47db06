//! Kernels that complain.

use super::*;

#[test]
fn a_panic_ends_the_running_test_and_keeps_the_finished_one() {
    let panic = r#"
        say "[    3.500000] sysrq: Trigger a crash"
        say "[    3.500100] Kernel panic - not syncing: sysrq triggered crash"
        say "[    3.500200] Call Trace:"
        say "[    3.500300]  panic+0x1/0x2"
        event '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}'
        exit 0
    "#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "sleep 0.2\n", &panic.replace("3.5", "4.5")]).play();
    p.assert_end("Crashed", "sysrq triggered crash");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    assert_eq!(p.splats(), ["panic two"]);
    let (splat, _) = &p.watched.splats[0];
    assert!(splat.fatal && splat.text.contains("panic+0x1/0x2"), "read on to the end: {}", splat.text);
}

#[test]
fn a_warning_belongs_to_the_test_whose_mark_stands_before_it() {
    // The output says that test two was running; the console knows better.
    let marks = r#"
        say "[    3.100000] kvet-test: RUN one"
        warning 3.200000
        say "[    4.100000] kvet-test: RUN two"
        out 'ok 2 two'
    "#;
    let p = scenario(&[WARNING, FIRST_PASSED, SECOND_RUNS, marks, LEAVE]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.splats(), ["warn one"]);
}

#[test]
fn without_marks_the_stamps_decide_across_the_difference_of_the_clocks() {
    // printk is two seconds behind CLOCK_BOOTTIME: 3.5 there is 1.5 on the console.
    for (printk, test) in [("0.500000", "-"), ("1.500000", "one"), ("4.500000", "two"), ("9.000000", "-")] {
        let script = format!(
            "{WARNING}
             say '[    0.000000] Linux version 6.6.6 (fake)'
             ready 3000000; hear; started
             stamp 3; out '1..2'; out '#  RUN           one ...'; out 'ok 1 one'
             stamp 6; out '#  RUN           two ...'; out 'ok 2 two'
             stamp 8; done_with '{{\"how\":\"exited\",\"code\":0}}'
             warning {printk}
             hear; bye; obey"
        );
        assert_eq!(Scenario::new(&script).play().splats(), [format!("warn {test}")], "at {printk}");
    }
}

#[test]
fn a_panic_before_the_announcement_was_heard_goes_to_the_marked_test() {
    let panic = "say '[    5.000000] kvet-test: RUN two'
                 say '[    5.000100] Kernel panic - not syncing: oops'
                 exit 0";
    let p = scenario(&[FIRST_PASSED, panic]).play();
    assert_eq!(p.splats(), ["panic two"]);
    assert_eq!(p.cases(), ["one Pass", "two Error"], "and not as 'test 2', which the plan misses");
    p.assert_end("Crashed", "Kernel panic - not syncing: oops");
}

#[test]
fn a_report_that_breaks_off_is_taken_as_it_is() {
    let cut = "say '[    4.500000] ------------[ cut here ]------------'
               say '[    4.500000] WARNING: CPU: 0 PID: 7 at kernel/fake.c:12 fake+0x2a/0x40'
               printf '[    4.500000] RIP: 0010:fa' >&$console
               exit 0";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "sleep 0.2\n", cut]).play();
    assert_eq!(p.splats(), ["warn two"]);
    assert!(p.watched.splats[0].0.text.ends_with("RIP: 0010:fa"), "{:?}", p.watched.splats);
    p.assert_end("Crashed", "without a word");
}

#[test]
fn a_report_is_complete_once_the_console_is_silent() {
    // No closing line and no end of the guest: the test is told all the same, within the second.
    let open = "warning 4.500000 | grep -v 'end trace'; sleep 1.5; out 'ok 2 two'\n";
    let p =
        scenario(&[&WARNING.replace("say \"[    $1] ---", ": \""), FIRST_PASSED, SECOND_RUNS, open, LEAVE])
            .play();
    assert_eq!((p.splats(), p.watched.end), (vec!["warn two".to_owned()], CellEnd::Completed));
}

#[test]
fn a_kernel_that_starts_twice_was_reset() {
    let again = "say '[    0.000000] Linux version 6.6.6 (fake)'; exit 0";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, again]).play();
    p.assert_end("Crashed", "Linux version");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_guest_that_is_gone_without_a_word_is_said_to_be() {
    let reset = r#"event '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}'
        sleep 0.1; exit 0"#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, reset]).play();
    p.assert_end("Crashed", "without a word (guest-reset)");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_panic_before_ready_is_an_unbootable_kernel() {
    let p = Scenario::new(
        "say '[    0.000000] Linux version 6.6.6 (fake)'
         say '[    1.000000] Kernel panic - not syncing: VFS: Unable to mount root fs'; exit 0",
    )
    .play();
    p.assert_end("Unbootable", "VFS: Unable to mount root fs");
    p.assert_end("Unbootable", "Linux version 6.6.6");
    assert!(!p.watched.stillborn && p.cases().is_empty());
}
