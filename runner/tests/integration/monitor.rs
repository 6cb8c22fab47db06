//! The real monitor ([`kvet::vm::Vm`], [`kvet::guest::Session`], [`kvet::cell::watch::Watch`]) before a fake QEMU that
//! plays what guests do, and what they should not do.

mod complaints;
mod floods;
mod init;
mod limits;
mod protocol;
mod qemu;
mod test_progs;

use std::time::{Duration, Instant};

use crate::fake_qemu::{Scenario, job};
use kvet::cell::resume::{Next, SoFar};
use kvet::event::{Cause, CellEnd, Phase};
use kvet::guest::Session;

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
