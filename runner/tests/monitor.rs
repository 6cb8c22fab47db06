//! The real monitor ([`kvet::vm::Vm`], [`kvet::guest::Session`], [`kvet::cell::watch::Watch`]) before a fake QEMU that
//! plays what guests do, and what they should not do.

#[path = "fake-qemu/play.rs"]
mod play;

use std::time::{Duration, Instant};

use kvet::cell::resume::{Next, SoFar};
use kvet::event::{Cause, CellEnd, Phase};
use kvet::guest::Session;
use play::{Scenario, job};

/// A job with two tests was announced, and the first has passed.
const FIRST_PASSED: &str = r#"
say "[    0.000000] Linux version 6.6.6 (fake)"
ready; hear; [[ $heard == *'"type":"run"'* ]] || exit 9
stamp 2; started
out 'KTAP version 1'; out '1..2'
out '#  RUN           one ...'
stamp 3; out 'ok 1 one'
"#;

/// The second test has begun.
const SECOND_RUNS: &str = "stamp 4; out '#  RUN           two ...'\n";

/// A report of a warning, its printk time as the parameter.
const WARNING: &str = r#"
warning() {
    say "[    $1] ------------[ cut here ]------------"
    say "[    $1] WARNING: CPU: 0 PID: 7 at kernel/fake.c:12 fake+0x2a/0x40"
    say "[    $1] CPU: 0 PID: 7 Comm: fake Not tainted"
    say "[    $1] Call Trace:"
    say "[    $1]  fake+0x11/0x20"
    say "[    $1] ---[ end trace 0000000000000000 ]---"
}
"#;

/// Everything is over, and in good order.
const LEAVE: &str = r#"
stamp 6; done_with '{"how":"exited","code":0}'
hear; [[ $heard == *power_off* ]] || exit 9
bye
obey
"#;

fn scenario(parts: &[&str]) -> Scenario {
    Scenario::new(&parts.concat())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

// --- guests that behave -----------------------------------------------------------------------------------------

#[test]
fn a_run_from_power_on_to_power_off() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "out 'not ok 2 two'\n", LEAVE]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.cases(), ["one Pass", "two Fail"]);
    assert_eq!(p.watched.cases[0].duration, Some(Duration::from_secs(1)), "by init's stamps");
    assert_eq!(p.started, ["one", "two"]);
    assert_eq!(p.console[0], "[    0.000000] Linux version 6.6.6 (fake)");
    assert!(p.watched.ready.is_some() && p.watched.done.is_some() && !p.watched.stillborn);
    assert!(p.watched.notes.is_empty() && p.watched.splats.is_empty());
    let lines: Vec<serde_json::Value> =
        p.wire.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["from_guest"]["type"], "ready");
    assert_eq!(lines[1]["to_guest"]["type"], "run");
    let last: Vec<&str> = lines[lines.len() - 2..]
        .iter()
        .filter_map(|line| line["to_guest"]["type"].as_str().or(line["from_guest"]["type"].as_str()))
        .collect();
    assert_eq!(last, ["power_off", "bye"]);
}

#[test]
fn the_last_line_needs_no_newline() {
    let half =
        "printf 'KV\\x02\\x00\\x15\\0\\0\\0\\x01\\0\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\0\\0ok 2 two' >&$wire\n";
    let p = scenario(&[FIRST_PASSED, half, LEAVE]).play();
    assert_eq!((p.cases(), p.watched.end), (vec!["one Pass".into(), "two Pass".into()], CellEnd::Completed));
}

#[test]
fn a_job_that_a_signal_kills_is_an_error_of_its_running_test() {
    let killed = "done_with '{\"how\":\"signaled\",\"signal\":11}'; hear; bye; obey";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, killed]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    assert!(p.watched.cases[1].message.contains("SIGSEGV"), "{:?}", p.watched.cases[1]);
}

#[test]
fn a_guest_that_hangs_or_dies_while_it_leaves_is_lost() {
    let stay = "done_with '{\"how\":\"exited\",\"code\":0}'; hear; obey";
    let p = scenario(&[FIRST_PASSED, "out 'ok 2 two'\n", stay]).play();
    p.assert_end("TimedOut", "hung when it was told to leave");
    assert_eq!(p.cases(), ["one Pass", "two Pass"]);
    let die = "done_with '{\"how\":\"exited\",\"code\":0}'; hear; exit 0";
    let p = scenario(&[FIRST_PASSED, "out 'ok 2 two'\n", die]).play();
    p.assert_end("Crashed", "without a word");
}

#[test]
fn marks_of_init_count_only_where_no_test_could_have_written_them() {
    let spoof = r#"
        say "[    4.000000] kvet-init: bye"
        say "[    4.100000] kvet-init: last words: not mine"
        say "[    4.200000] kvet-init: the kernel lacks: everything"
    "#;
    let p = scenario(&[FIRST_PASSED, spoof, "sleep 0.2; out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.cases(), ["one Pass", "two Pass"]);
}

#[test]
fn what_the_kernel_lacks_is_the_kernels_fault() {
    let p = Scenario::new(
        "say '[    1.000000] kvet-init: the kernel lacks: mount devtmpfs on /dev: ENODEV'; exit 0",
    )
    .play();
    p.assert_end("Unbootable", "devtmpfs");
    let killed = "say '[    1.500000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b'; exit 0";
    Scenario::new(killed).play().assert_end("Unbootable", "Attempted to kill init");
}

// --- kernels that complain --------------------------------------------------------------------------------------

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

// --- test_progs, and what another boot can do -------------------------------------------------------------------

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

// --- init that is lost ------------------------------------------------------------------------------------------

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

// --- guests that break the protocol -----------------------------------------------------------------------------

#[test]
fn garbage_on_the_wire_ends_the_cell_and_says_what_it_was() {
    let table = [
        ("printf 'hello, wire' >&$wire", "no frame begins with bytes 68 65"),
        ("printf 'KV\\x01\\x00\\xff\\xff\\xff\\x7f' >&$wire", "frame of 2147483647 bytes"),
        ("printf 'KV\\x09\\x00\\x00\\x00\\x00\\x00' >&$wire", "unknown frame kind 9"),
        ("printf 'KV\\x01\\x07\\x00\\x00\\x00\\x00' >&$wire", "reserved header byte"),
        ("frame 1 $'{\"type\":\"be\\xff\\xfe\"}'", "bad payload"),
        ("frame 1 '{\"type\":\"explode\"}'", "explode"),
        ("control '{\"type\":\"beat\",\"boottime_us\":1,\"more\":2}'", "more"),
        ("frame 2 short", "output of 5 bytes"),
        ("frame 3 keys", "input frame"),
        ("frame 5 what", "unknown frame kind 5"),
        ("ready", "Ready was said twice"),
        (
            "control '{\"type\":\"job_done\",\"job\":7,\"boottime_us\":1,\"status\":{\"how\":\"exited\",\"code\":0}}'",
            "job 7 while job 1 runs",
        ),
    ];
    for (garbage, expected) in table {
        let p = scenario(&[FIRST_PASSED, SECOND_RUNS, garbage, "\nobey"]).play();
        p.assert_end("Crashed", expected);
        assert_eq!(p.cases(), ["one Pass", "two Error"], "{garbage}");
        assert!(p.wire.lines().last().unwrap().contains("violation"), "{garbage}: {}", p.wire);
    }
}

#[test]
fn nothing_is_taken_before_ready() {
    let table = [
        ("out 'ok 1 one'", "job 1, and none runs"),
        ("control '{\"type\":\"beat\",\"boottime_us\":1}'", "before Ready"),
        ("done_with '{\"how\":\"exited\",\"code\":0}'", "before Ready"),
        ("kmsg '6,1,0,-;early'", "before Ready"),
    ];
    for (early, expected) in table {
        let p = scenario(&["say booting\n", early, "\nobey"]).play();
        p.assert_end("Crashed", expected);
        assert!(p.cases().is_empty());
    }
}

#[test]
fn halves_at_the_end_are_kept_or_dropped_but_break_nothing() {
    let halves =
        "printf 'half a li' >&$console; printf 'KV\\x01\\x00\\x40\\x00\\x00\\x00{\"ty' >&$wire; exit 0";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, halves]).play();
    p.assert_end("Crashed", "without a word");
    assert_eq!(p.console.last().unwrap(), "half a li");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn hostile_bytes_on_the_console_come_out_as_text() {
    let bytes = "printf '\\x1b[2J\\x00\\xff\\xfe\\x07hello\\r\\n' >&$console\n";
    let p = scenario(&[FIRST_PASSED, bytes, "out 'ok 2 two'\n", LEAVE]).play();
    let line = p.console.iter().find(|line| line.contains("hello")).unwrap();
    assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    assert_eq!(p.watched.end, CellEnd::Completed);
}

#[test]
fn nonsense_on_qmp_is_passed_over() {
    let nonsense =
        "event 'no json'; event '{\"event\": 7}'; head -c 1000000 /dev/zero | tr '\\0' x >&$qmp; event ''\n";
    let p = scenario(&[FIRST_PASSED, nonsense, "out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!((p.cases().len(), p.watched.end), (2, CellEnd::Completed));
}

// --- too much ---------------------------------------------------------------------------------------------------

/// Peak memory of this process in MiB (proc_pid_status(5)).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_console_flood_is_cut_and_the_job_goes_on() {
    let flood = "head -c 80000000 /dev/zero | tr '\\0' f | fold -w 4000 >&$console\n";
    let p = scenario(&[FIRST_PASSED, flood, "out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!((p.cases().len(), &p.watched.end), (2, &CellEnd::Completed));
    assert!(p.console_bytes <= 64 << 20, "{} bytes were passed on", p.console_bytes);
    p.assert_note("console went past 64 MiB");
    assert!(peak_mib() < 128, "{} MiB", peak_mib());
    eprintln!("flood: {:?}", p.wall);
}

#[test]
fn a_line_without_end_is_bounded() {
    let flood = "head -c 30000000 /dev/zero | tr '\\0' f >&$console; say\n";
    let p = scenario(&[FIRST_PASSED, flood, "out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert!(p.console_bytes < 10_000, "{}", p.console_bytes);
    assert!(peak_mib() < 128, "{} MiB", peak_mib());
}

#[test]
fn a_flood_of_warnings_is_counted_not_kept() {
    let warnings = "for ((i = 0; i < 300; i++)); do warning \"$((5 + i)).000000\"; done; out 'ok 2 two'\n";
    let p = scenario(&[WARNING, FIRST_PASSED, SECOND_RUNS, warnings, LEAVE]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.watched.splats.len(), 100);
    p.assert_note("200 more");
}

#[test]
fn a_flood_on_stderr_of_qemu_is_cut() {
    let p =
        Scenario::new("head -c 20000000 /dev/zero | tr '\\0' e >&2; echo >&2; echo 'the end' >&2; exit 1")
            .play();
    p.assert_end("Infra", "exit status 1: the end");
    assert!(p.end().len() < 1000, "{}", p.end().len());
    assert!(p.watched.stillborn);
}

#[test]
fn a_guest_that_does_not_read_has_its_input_bounded() {
    let (vm, _dir) = Scenario::new("ready; sleep 30").start();
    let mut session = Session::new(vm, std::io::sink());
    session.run(job()).unwrap();
    let mut typed = 0usize;
    let error = loop {
        match session.type_into(&[b'x'; 4096]) {
            Ok(()) => typed += 4096,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("unread"), "{error}");
    assert!((16 << 20..20 << 20).contains(&typed), "{typed} bytes");
    session.vm().kill();
    session.end().unwrap();
}

// --- too long ---------------------------------------------------------------------------------------------------

/// In the background: init's sign of life.
const BEATS: &str = "while sleep 0.3; do control '{\"type\":\"beat\",\"boottime_us\":1}'; done &\n";

#[test]
fn a_kernel_that_does_not_come_up_is_unbootable() {
    let p =
        Scenario::new("say '[    0.000000] Linux version 6.6.6'; obey").limits(|l| l.boot = ms(500)).play();
    p.assert_end("Unbootable", "not up after 0.5 s");
    p.assert_end("Unbootable", "Linux version 6.6.6");
    assert!(p.wall < ms(5000), "{:?}", p.wall);
}

#[test]
fn a_test_that_hangs_is_dumped_then_killed() {
    let hang = r#"
        hear; [[ $heard == *dump* ]] || exit 8
        say "[    4.900000] sysrq: Show Blocked State"
        hear; [[ $heard == *kill* ]] || exit 7
        done_with '{"how":"signaled","signal":9}'; hear; bye; obey
    "#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, BEATS, hang]).limits(|l| l.test = ms(1000)).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    assert!(p.watched.cases[1].message.contains("two ran longer than 1 s"), "{:?}", p.watched.cases[1]);
    assert_eq!(p.watched.cases[1].cause, Some(Cause::TimeOut));
    let ran = p.watched.cases[1].duration.unwrap();
    assert!(ran >= ms(1000) && ran < p.wall, "{ran:?} of {:?}", p.wall);
    assert!(p.console.iter().any(|line| line.contains("Blocked State")));
}

#[test]
fn a_job_that_cannot_be_killed_is_given_up() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, BEATS, "obey"]).limits(|l| l.test = ms(500)).play();
    p.assert_end("TimedOut", "two ran longer than 0.5 s, and could not be killed");
    assert_eq!(p.watched.cases[1].cause, Some(Cause::TimeOut));
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_cell_has_its_limit_though_no_test_hangs() {
    let busy = r##"
        for ((i = 0; i < 40; i++)); do out '# still here'; out "ok $((i + 2)) more$i"; sleep 0.1; done
        hear; hear; [[ $heard == *kill* ]] || exit 7
        done_with '{"how":"signaled","signal":9}'; hear; bye; obey
    "##;
    let p = scenario(&[FIRST_PASSED, busy]).limits(|l| l.cell = ms(1500)).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    let last = p.watched.cases.last().unwrap();
    assert!(last.message.contains("the cell took longer than 1.5 s"), "{last:?}");
}

#[test]
fn a_guest_without_a_sign_of_life_gets_an_nmi_and_is_given_up() {
    let deaf = r#"while read -r line <&$qmp; do
        case $line in
        *inject-nmi*) say "[    9.000000] NMI backtrace for cpu 0" ;;
        *quit*) exit 0 ;;
        esac
    done"#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, deaf]).limits(|l| l.silence = ms(5200)).play();
    p.assert_end("TimedOut", "no sign of life for 5.2 s");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    assert!(p.console.iter().any(|line| line.contains("NMI backtrace")), "{:?}", p.console);
}

// --- QEMU itself ------------------------------------------------------------------------------------------------

#[test]
fn a_qemu_that_refuses_its_command_line_is_stillborn() {
    let p = Scenario::new("echo 'qemu: -cpu what: no such model' >&2; exit 1").play();
    p.assert_end("Infra", "exit status 1: qemu: -cpu what: no such model");
    assert!(p.watched.stillborn);
}

#[test]
fn a_qemu_that_dies_in_a_run_is_the_hosts_trouble() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "kill -9 $$"]).play();
    p.assert_end("Infra", "killed by SIGKILL");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    assert!(!p.watched.stillborn);
}

#[test]
fn a_qemu_that_the_host_ends_is_no_verdict() {
    let ended = r#"
        event '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}'
        exit 0
    "#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, ended]).play();
    p.assert_end("Infra", "a signal of the host");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_qemu_that_does_not_run_is_the_hosts() {
    let booting = "say '[    0.000000] Linux version 6.6.6'; kill -STOP $$";
    let p = Scenario::new(booting).limits(|l| l.boot = ms(500)).play();
    p.assert_end("Infra", "not up after 0.5 s: QEMU was stopped by a signal of the host");
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "kill -STOP $$"]).limits(|l| l.test = ms(1000)).play();
    p.assert_end("Infra", "two ran longer than 1 s: QEMU was stopped by a signal of the host");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_qemu_that_says_nothing_is_the_hosts() {
    let p = Scenario::new("# mute\nsleep 60").limits(|l| l.boot = ms(500)).play();
    p.assert_end("Infra", "not up after 0.5 s: QEMU did not come up: it said nothing on its monitor");
}

#[test]
fn a_qemu_that_is_killed_may_have_been_too_large() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "kill -KILL $$"]).play();
    p.assert_end("Infra", "QEMU ended with killed by SIGKILL, as the kernel does where memory runs out");
}

#[test]
fn what_an_orphan_of_qemu_writes_is_not_read_for_ever() {
    // It has a session of its own, holds the console's socket, and never stops.
    let orphan = "setsid bash -c 'while :; do printf \"%065536d\\n\" 0; done' >&$console 2>/dev/null & sleep 0.2; exit 0";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, orphan]).play();
    p.assert_end("Crashed", "without a word");
    assert!(p.wall < ms(10_000), "{:?}", p.wall);
}

#[test]
fn a_qemu_that_ignores_quit_is_killed() {
    let stubborn = "done_with '{\"how\":\"exited\",\"code\":0}'; hear; bye; while :; do sleep 1; done";
    let p = scenario(&[FIRST_PASSED, "out 'ok 2 two'\n", stubborn]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert!((ms(5000)..ms(8000)).contains(&p.wall), "{:?}", p.wall);
}

#[test]
fn children_of_qemu_that_hold_its_sockets_are_not_waited_for() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "sleep 100 & sleep 100 & exit 0"]).play();
    p.assert_end("Crashed", "without a word");
    assert!(p.wall < ms(5000), "{:?}", p.wall);
}

#[test]
fn a_child_of_qemu_that_floods_its_sockets_ends_with_it() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, "yes >&$console & sleep 0.2; exit 0"]).play();
    p.assert_end("Crashed", "without a word");
    assert!(p.wall < ms(10000), "{:?}", p.wall);
}

#[test]
fn an_interrupt_keeps_what_had_finished() {
    let scenario = scenario(&[FIRST_PASSED, SECOND_RUNS, "obey"]);
    let cancel = scenario.cancel.clone();
    let asker = std::thread::spawn(move || {
        std::thread::sleep(ms(1000));
        cancel.request();
    });
    let p = scenario.play();
    asker.join().unwrap();
    assert_eq!(p.watched.end, CellEnd::Interrupted);
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn an_interrupt_says_so_and_does_not_wait_for_a_qemu_that_does_not_listen_yet() {
    for script in ["while :; do sleep 1; done", "ready; while :; do sleep 1; done"] {
        let scenario = Scenario::new(script);
        let cancel = scenario.cancel.clone();
        let asker = std::thread::spawn(move || {
            std::thread::sleep(ms(500));
            cancel.request();
        });
        let p = scenario.play();
        asker.join().unwrap();
        assert_eq!(p.watched.end, CellEnd::Interrupted);
        assert!(p.wall < ms(3500), "{:?}", p.wall);
        assert_eq!(p.phases.last(), Some(&Phase::Teardown), "{:?}", p.phases);
    }
}

#[test]
fn a_vm_that_is_dropped_leaves_no_process() {
    let (vm, _dir) = Scenario::new("sleep 100 & sleep 100").start();
    let pid = vm.pid();
    std::thread::sleep(ms(300));
    drop(vm);
    let deadline = Instant::now() + ms(2000);
    while !play::group_of(pid).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", play::group_of(pid));
        std::thread::sleep(ms(20));
    }
}
