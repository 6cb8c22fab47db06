//! Programs, kernels and suites of one's own.

use std::time::Duration;

use crate::guests::faults;
use crate::support::{Kvet, cached};

#[test]
fn the_exit_status_of_a_program_is_the_verdict() {
    let program = faults("x86_64");
    let ended = Kvet::run_on("7.2", "x86_64").args(["--", &program, "exit:3"]).end().code(1);
    assert_eq!(ended.cases(), ["kvet-faults Fail"]);
    assert_eq!(ended.case("kvet-faults").0, "exit status 3");
}

#[test]
fn a_program_that_a_signal_kills_has_failed_and_is_1_for_git_bisect() {
    let program = faults("arm64");
    let ended =
        Kvet::run_on("7.2", "arm64").args(["--git-bisect", "--", &program, "signal:11"]).end().code(1);
    assert_eq!(ended.case("kvet-faults").0, "killed by SIGSEGV");
}

#[test]
fn a_daemon_that_holds_the_output_is_not_waited_for() {
    let program = faults("x86_64");
    let ended = Kvet::run_on("6.12", "x86_64").args(["--", &program, "orphan"]).end().code(0);
    let tests = ended.cell().times.iter().find(|t| t.phase == kvet::event::Phase::Tests).unwrap().wall;
    assert!(tests < Duration::from_secs(5), "{tests:?}");
}

const SCRIPT: &str = r#"#!/bin/sh
echo 'KTAP version 1'
echo '1..3'
echo 'ok 1 foo'
# Nothing of this may hide the warning from the console.
echo 1 > /proc/sys/kernel/printk
echo '<4>WARNING: CPU: 0 PID: 1 at kernel/fake.c:1 quiet+0x1/0x2' > /dev/kmsg
echo 'ok 2 bar'
exit 1
"#;

#[test]
fn a_script_runs_by_busybox_and_a_filter_hides_neither_its_end_nor_a_splat() {
    let manifest = "name: mine\ntitle: t\nprogram: ./t.sh\nformat: ktap\n";
    let kvet =
        Kvet::run_on("7.2", "x86_64").file("suite.yaml", manifest).file("t.sh", SCRIPT).executable("t.sh");
    let ended = kvet.args(["--suite", "./suite.yaml", "-t", "foo"]).end().code(1);
    let cell = ended.cell();
    let names: Vec<&str> = cell.cases.iter().map(|case| case.name.as_str()).collect();
    assert!(names.contains(&"foo") && !names.contains(&"bar"), "{names:?}");
    assert!(names.iter().any(|name| name.contains("test 3")), "a plan that was not met is said: {names:?}");
    let blamed = cell.cases.iter().any(|case| case.detail.contains("quiet+0x1/0x2"));
    assert!(blamed || cell.splats.iter().any(|splat| splat.text.contains("quiet+0x1/0x2")), "{cell:?}");
}

#[test]
fn a_kernel_file_runs_with_its_modules() {
    let (image, modules) = cached("6.12", "x86_64");
    let cache = tempfile::tempdir().unwrap();
    let image = format!("file:{image}");
    let args = ["run", "-a", "x86_64", "-k", &image, "--modules", &modules, "--", &faults("x86_64"), "pass"];
    // With another cache the modules are somebody else's, and nothing may be written beside them.
    let ended = Kvet::new(args).env("KVET_CACHE", cache.path()).end().code(0);
    assert_eq!(ended.cases(), ["kvet-faults Pass"]);
    let kernel = ended.cell().kernel.unwrap();
    assert!(kernel.release.starts_with("6.12") && kernel.packages.is_empty(), "{kernel:?}");
}

#[test]
fn a_shell_runs_one_line_and_gives_its_status() {
    cached("7.2", "x86_64");
    let line = "echo said-$((6 * 7)); uname -m; ls /kvet/tests; false";
    let ended = Kvet::new(["shell", "-k", "7.2", "-a", "x86_64", "-c", line]).end().code(1);
    for expected in ["said-42", "x86_64", "dynptr-selftests"] {
        assert!(ended.stdout.contains(expected), "{expected}: {}", ended.stdout);
    }
}
