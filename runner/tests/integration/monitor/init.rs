//! An init that is lost.

use super::*;

#[test]
fn init_may_fail_by_a_tests_doing() {
    let words = "control '{\"type\":\"last_words\",\"text\":\"poll: Bad file descriptor\"}'; exit 0";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, words]).play();
    p.assert_end("Crashed", "poll: Bad file descriptor");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    let p = Scenario::new("say 'kvet-init: last words: killed by SIGSEGV'; exit 0").play();
    p.assert_end("Infra", "killed by SIGSEGV");
}

#[test]
fn a_killed_init_is_a_crash() {
    let panic = "say '[    5.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b'; exit 0";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, panic]).play();
    p.assert_end("Crashed", "exitcode=0x0000000b");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn the_end_is_believed_in_its_order() {
    let forged = "bye; exit 0";
    let p = scenario(&[FIRST_PASSED, "out 'ok 2 two'\n", forged]).play();
    p.assert_end("Crashed", "bye before it was told to leave");
    let p = scenario(&[FIRST_PASSED, forged]).play();
    p.assert_end("Crashed", "bye before it was told to leave");
    assert_eq!(p.cases(), ["one Pass", "test 2 NotRun"]);
    let late =
        "done_with '{\"how\":\"not_started\",\"stage\":\"mount kvet.tests\",\"error\":\"ENODEV\"}'; obey";
    let p = scenario(&[FIRST_PASSED, late]).play();
    p.assert_end("Crashed", "the end of a job that did not run");
    let early = "ready; hear; done_with '{\"how\":\"exited\",\"code\":0}'; obey";
    Scenario::new(early).play().assert_end("Crashed", "the end of a job that did not run");
    let twice = "done_with '{\"how\":\"exited\",\"code\":0}'; ".repeat(2) + "obey";
    let p = scenario(&[FIRST_PASSED, "out 'ok 2 two'\n", &twice]).play();
    p.assert_end("Crashed", "broke the wire protocol");
}

#[test]
fn a_host_that_stands_still_is_no_hang() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "say 'stand still'\nsleep 1; out 'ok 2 two'\n", LEAVE])
        .limits(|limits| limits.test = ms(2500))
        .standing_still(Duration::from_secs(5))
        .play();
    assert_eq!((p.cases(), p.watched.end), (vec!["one Pass".into(), "two Pass".into()], CellEnd::Completed));
}

#[test]
fn limits_move_with_a_stall() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "say 'stand still'\nsleep 6; out 'ok 2 two'\n", LEAVE])
        .limits(|limits| limits.test = ms(3000))
        .standing_still(Duration::from_secs(5))
        .play();
    assert_eq!(
        (p.cases(), &p.watched.end),
        (vec!["one Pass".into(), "two Pass".into()], &CellEnd::Completed)
    );
    p.assert_note("the host stood still");
}

#[test]
fn a_splat_behind_an_unfinished_line_is_seen() {
    let glued =
        "say 'progress: 40%[    4.500000] BUG: sleeping function called from invalid context at fake.c:1'\n";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, glued, "sleep 0.2; out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!(p.splats(), ["atomic_sleep two"]);
}

/// The job is over, and `filter` still held its output.
const CUT: &str = r#"
control "{\"type\":\"job_done\",\"job\":1,\"boottime_us\":6000000,\"status\":{\"how\":\"exited\",\"code\":0},\"held_by\":\"fil\u001bter\"}"
hear; bye; obey
"#;

#[test]
fn output_that_was_cut_is_no_pass() {
    let p = scenario(&[FIRST_PASSED, CUT]).play();
    p.assert_note("'filter' still held the output");
    assert_eq!(p.cases(), ["one Pass", "test 2 Error"]);
    let p = scenario(&[&FIRST_PASSED.replace("out '1..2'", ""), CUT]).play();
    assert!(p.cases().iter().any(|case| case.ends_with("Error")), "without a plan: {:?}", p.cases());
}

#[test]
fn what_the_console_lost_is_filled_in() {
    let early = r#"
        kmsg '6,1,0,-;Linux version 6.6.6 (fake)'
        kmsg '4,2,10,-;WARNING: CPU: 0 PID: 0 at kernel/early.c:1 early+0x1/0x2'
        kmsg '4,3,4500000,-;WARNING: CPU: 0 PID: 7 at kernel/fake.c:12 fake+0x2a/0x40'
        warning 4.500000
        out 'ok 2 two'
    "#;
    let p = scenario(&[WARNING, FIRST_PASSED, SECOND_RUNS, early, LEAVE]).play();
    assert_eq!(p.splats(), ["warn -", "warn two"], "each once, in their order");
    p.assert_note("the console lost 1 of the kernel's complaints");
    assert_eq!(p.watched.end, CellEnd::Completed);
}

#[test]
fn the_kernels_log_is_read_to_its_end() {
    // Init's last line is on the console long before its last frames come.
    let late = r#"
        out 'ok 2 two'; stamp 6; done_with '{"how":"exited","code":0}'; hear
        say "[   99.000000] kvet-init: bye"; sleep 0.5
        kmsg '4,2,4500000,-;WARNING: CPU: 0 PID: 7 at kernel/fake.c:12 fake+0x2a/0x40'
        control '{"type":"bye","boottime_us":99}'; obey
    "#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, late]).play();
    assert_eq!((p.splats(), p.watched.end), (vec!["warn two".to_owned()], CellEnd::Completed));
}

#[test]
fn a_flood_of_the_kernels_log_is_bounded() {
    let flood = "for ((i = 0; i < 300; i++)); do frame 4 \"$(head -c 60000 /dev/zero | tr '\\0' x)\"; done\n";
    let p = scenario(&[FIRST_PASSED, flood, "out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!((p.cases().len(), &p.watched.end), (2, &CellEnd::Completed));
    p.assert_note("the kernel's log went past 16 MiB");
}

#[test]
fn a_quoted_banner_is_no_restart() {
    let quoted = "say '[    4.500000] Linux version 6.6.6 (fake)'; sleep 0.2; out 'ok 2 two'\n";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, quoted, LEAVE]).play();
    assert_eq!((p.splats(), p.watched.end), (Vec::<String>::new(), CellEnd::Completed));
}

#[test]
fn a_stack_trace_of_no_kind_is_a_note() {
    let trace = r#"
        say "[    4.500000] demo: what is this"
        say "[    4.500100] Call Trace:"; say "[    4.500200]  demo+0x1/0x2"; sleep 0.2
        out 'ok 2 two'
    "#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, trace, LEAVE]).play();
    assert_eq!((p.splats(), &p.watched.end), (Vec::<String>::new(), &CellEnd::Completed));
    p.assert_note("a stack trace while two ran that kvet has no kind for: demo: what is this");
}

#[test]
fn an_init_of_another_version_is_the_hosts_trouble() {
    let p = Scenario::new(
        r#"control '{"type":"ready","protocol":9,"release":"6","machine":"m","boottime_us":1,"init_us":1,"problems":[]}'
           obey"#,
    )
    .play();
    p.assert_end("Infra", "protocol 9");
}

#[test]
fn a_job_that_could_not_be_started_is_the_hosts_trouble() {
    let refused = r#"ready; hear
        done_with '{"how":"not_started","stage":"mount kvet.tests","error":"Invalid argument"}'; obey"#;
    let p = Scenario::new(refused).play();
    p.assert_end("Infra", "mount kvet.tests: Invalid argument");
    let p = Scenario::new(&refused.replace("Invalid argument", "ENODEV: No such device")).play();
    p.assert_end("Unbootable", "the kernel has no 9p");
}
