//! QEMU itself.

use super::*;

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
    while !crate::fake_qemu::group_of(pid).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", crate::fake_qemu::group_of(pid));
        std::thread::sleep(ms(20));
    }
}
