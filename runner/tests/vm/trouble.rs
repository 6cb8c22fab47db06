//! Kernels, init, QEMU and kvet in trouble.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::guests::check_junit;
use crate::support::Kvet;

#[test]
fn a_warning_and_a_panic_are_blamed_on_their_tests_and_the_rest_was_not_run() {
    let steps = ["one=pass", "two=warn", "three=skip", "four=fail", "five=panic", "six=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).end().code(1);
    ended.ended("Crashed", "sysrq triggered crash");
    let mut cases = ended.cases();
    cases.sort();
    assert_eq!(cases, ["five Error", "four Fail", "one Pass", "six NotRun", "three Skip", "two Error"]);
    let (message, detail) = ended.case("faults/two");
    assert!(
        message.contains("faults_warn+0x2a/0x40") && detail.contains("[ cut here ]"),
        "{message}\n{detail}"
    );
    let (_, detail) = ended.case("faults/five");
    assert!(detail.contains("Kernel panic") && detail.contains("sysrq_handle_crash"), "{detail}");
    let (message, _) = ended.case("faults/six");
    assert!(message.starts_with("not run: the guest crashed"), "{message}");
    check_junit(&ended.path("results/latest/junit.xml"), &ended.cell());
    assert!(
        ended.stdout.contains("faults/five") && ended.stdout.contains("Kernel panic"),
        "{}",
        ended.stdout
    );
}

#[test]
fn without_marks_a_warning_is_blamed_by_the_stamps() {
    let suite = "name: faults\ntitle: t\nprogram: '{guest}/faults/kvet-faults'\nformat: ktap\n\
                 args: [--ktap, --no-marks, one=sleep:300, two=warn, three=sleep:300]\n";
    let kvet = Kvet::run_on("6.1", "x86_64").file("suite.yaml", suite).args(["--suite", "./suite.yaml"]);
    let ended = kvet.end().code(1);
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three Pass"]);
}

#[test]
fn a_panic_is_125_for_git_bisect() {
    let ended = Kvet::run_on("7.2", "arm64")
        .faults(&["one=pass", "two=panic"])
        .args(["--git-bisect"])
        .end()
        .code(125);
    ended.ended("Crashed", "sysrq triggered crash");
    assert_eq!(ended.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_test_that_hangs_is_ended_after_its_time() {
    let steps = ["one=pass", "two=hang", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--timeout", "2s"]).end().code(1);
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
    assert!(
        ended.case("faults/two").0.contains("faults/two ran longer than 2 s"),
        "{:?}",
        ended.case("faults/two")
    );
    assert!(ended.cell_file("console.log").contains("sysrq: Show"), "the kernel was asked what its tasks do");
}

#[test]
fn a_kernel_that_is_starved_is_given_up() {
    let steps = ["one=pass", "two=spin:0", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--timeout", "8s"]).end().code(1);
    ended.ended("TimedOut", "faults/two ran longer than 8 s");
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
}

#[test]
fn a_test_that_kills_init_crashes_the_guest() {
    let ended = Kvet::run_on("7.2", "x86_64").faults(&["one=pass", "two=kill-init"]).end().code(1);
    ended.ended("Crashed", "the guest's init failed: killed by a signal");
    assert_eq!(ended.cases(), ["one Pass", "two Error"]);
}

#[test]
fn an_init_that_is_gone_skips_the_commit() {
    let ended = Kvet::run_on("7.2", "arm64")
        .faults(&["one=pass", "two=wipe-init"])
        .args(["--git-bisect"])
        .end()
        .code(125);
    ended.ended("Crashed", "Attempted to kill init!");
}

/// A run whose second test sleeps forever, seen to do so.
fn hanging() -> crate::support::Running {
    let running = Kvet::run_on("7.2", "x86_64").faults(&["one=pass", "two=hang", "three=pass"]).start();
    running.wait_for("stdout", "RUN           two");
    running
}

#[test]
fn a_killed_qemu_is_the_hosts_trouble() {
    let running = hanging();
    kill(running.qemu(), Signal::SIGKILL).unwrap();
    let ended = running.end().code(3);
    ended.ended("Infra", "SIGKILL");
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
}

#[test]
fn a_killed_kvet_takes_its_qemu_along_and_leaves_the_logs() {
    let running = hanging();
    running.signal(Signal::SIGKILL);
    // Waits for the end of QEMU, too.
    let ended = running.end();
    assert_eq!(ended.code, None);
    assert!(
        ended.cell_file("stdout").contains("ok 1 one") && ended.cell_file("console.log").contains("Linux")
    );
}

#[test]
fn an_interrupt_writes_what_had_finished() {
    let running = hanging();
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    ended.ended("Interrupted", "");
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
    check_junit(&ended.path("results/latest/junit.xml"), &ended.cell());
    assert!(ended.wall < Duration::from_secs(10), "{:?}", ended.wall);
}

#[test]
fn two_interrupts_end_it_at_once() {
    let running = hanging();
    running.signal(Signal::SIGINT);
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    assert!(ended.wall < Duration::from_secs(5), "{:?}", ended.wall);
}

#[test]
#[ignore = "fills a guest's memory: 15 s"]
fn an_oom_kill_is_blamed_on_its_test() {
    let steps = ["one=pass", "two=oom", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).end().code(1);
    let (message, detail) = ended.case("faults/two");
    assert!(detail.contains("Out of memory") || message.contains("oom"), "{message}\n{detail}");
}

#[test]
#[ignore = "100 MiB over an emulated wire: 30 s"]
fn a_flood_of_output_is_cut_and_the_tests_go_on() {
    let steps = ["one=pass", "two=flood:100", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).end().code(0);
    assert_eq!(ended.cases(), ["one Pass", "two Pass", "three Pass"]);
    let size = std::fs::metadata(ended.cell_dir().join("stdout")).unwrap().len();
    assert!(size <= 65 << 20, "{size} bytes");
    assert!(ended.cell().notes.iter().any(|note| note.contains("64 MiB")), "{:?}", ended.cell().notes);
}

#[test]
#[ignore = "100,000 lines over an emulated serial line: 60 s"]
fn a_flood_on_the_console_does_not_hide_the_results() {
    let steps = ["one=kmsg-flood:100000", "two=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--timeout", "4m"]).end().code(0);
    assert_eq!(ended.cases(), ["one Pass", "two Pass"]);
}

#[test]
#[ignore = "a hang without a time limit is noticed after 45 s of silence"]
fn a_guest_without_a_sign_of_life_is_given_up() {
    let ended = Kvet::run_on("6.12", "x86_64").faults(&["one=pass", "two=spin:0"]).end().code(1);
    ended.ended("TimedOut", "no sign of life for 45 s");
    assert_eq!(ended.cases(), ["one Pass", "two Error"]);
}
