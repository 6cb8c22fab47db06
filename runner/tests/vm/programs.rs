//! How programs and scripts are started, and what they find, on real kernels.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::guests::faults;
use crate::support::{Ended, Kvet, have};

/// A script in `common/`, which `mine/` has a link to, and `data.txt` beside that link.
fn linked(script: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("common")).unwrap();
    fs::create_dir_all(at("mine/empty")).unwrap();
    write(&at("common/run.sh"), script);
    symlink("../common/run.sh", at("mine/run.sh")).unwrap();
    fs::write(at("mine/data.txt"), "my data\n").unwrap();
    symlink("data.txt", at("mine/link")).unwrap();
    fs::set_permissions(at("mine/empty"), fs::Permissions::from_mode(0o1750)).unwrap();
    let program = at("mine/run.sh");
    (dir, program)
}

fn write(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// 8,000 numbers, nothing, two lines, and 100 KB.
fn arguments() -> Vec<String> {
    let odd = [String::new(), "two\nlines".into(), "y".repeat(100_000)];
    (1..=8000).map(|number: u32| number.to_string()).chain(odd).collect()
}

const AS_GIVEN: &str = r#"
set -e
fail() { echo "$1"; exit 1; }
[ "$0" = /kvet/tests/run.sh ] || fail "it is called $0"
[ "$(pwd)" = /kvet/tests ] || fail "it runs in $(pwd)"
[ "$(cat ./data.txt)" = "my data" ] || fail "there is no data of its folder's"
[ "$(cat "$(dirname "$0")/link")" = "my data" ] || fail "the link is gone"
[ "$(stat -c %A empty)" = drwxr-x--T ] || fail "the empty folder is $(stat -c %A empty)"
[ $# = 8003 ] || fail "it has $# arguments"
[ "$1-$2" = 1-2 ] || fail "it begins with $1 and $2"
shift 8000
[ "$1" = "" ] || fail "the empty one is '$1'"
[ "$2" = "two
lines" ] || fail "the two lines are '$2'"
[ ${#3} = 100000 ] || fail "the long one has ${#3}"
echo "as given"
"#;

fn keeps_what_is_given(kernel: &str, shell: &str, flags: &[&str]) -> Ended {
    let (_dir, program) = linked(&format!("#!{shell}\n{AS_GIVEN}"));
    let ended = Kvet::run_on(kernel, "x86_64").args(flags).args(["--"]).arg(&program).args(arguments()).end();
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.cell_file("stdout").contains("as given"));
    assert_eq!(ended.cases(), ["run_sh Pass"]);
    ended
}

#[test]
fn programs_keep_what_is_given_over_9p() {
    keeps_what_is_given("6.1", "/bin/sh", &[]);
    keeps_what_is_given("7.2", "/bin/sh", &[]);
}

#[test]
fn programs_keep_what_is_given_in_a_root() {
    keeps_what_is_given("7.2", "/bin/bash", &["--root", "userland"]);
}

#[test]
fn programs_keep_what_is_given_without_9p() {
    let ended = keeps_what_is_given("7.1", "/bin/sh", &[]);
    assert!(!ended.cell_file("qemu.argv").contains("virtio-9p"), "nothing is shared");
}

#[test]
fn a_suite_keeps_the_name_of_its_link() {
    let (dir, _) = linked("#!/bin/sh\ncat ./data.txt; echo \"$0\"\n");
    let suite = "name: mine\ntitle: Mine\nprogram: mine/run.sh\nformat: exit\n";
    fs::write(dir.path().join("suite.yaml"), suite).unwrap();
    let manifest = dir.path().join("suite.yaml");
    let ended = Kvet::run_on("7.2", "x86_64").args(["-s"]).arg(&manifest).end().code(0);
    assert_eq!(ended.cell_file("stdout"), "my data\n/kvet/tests/run.sh\n");
}

#[test]
fn a_shell_needs_no_9p() {
    have("7.1", "x86_64");
    let line = "echo said-$((6 * 7)); ls /kvet/tests; false";
    let ended = Kvet::new(["shell", "-k", "7.1", "-a", "x86_64", "-c", line]).end().code(1);
    for expected in ["said-42", "dynptr-selftests"] {
        assert!(ended.stdout.contains(expected), "{expected}: {}", ended.stdout);
    }
    assert!(ended.stderr.contains("note: the suite travels in the initramfs"), "{}", ended.stderr);
}

/// What docs/reference/guest.md says of the results folder. All else works.
const NOT_IN_RESULTS: [&str; 4] = [
    "fallocate: Operation not supported (os error 95)",
    "mmap, shared and written: Invalid argument (os error 22)",
    "O_TMPFILE: Operation not supported (os error 95)",
    "unlinked and open: ftruncate: No such file or directory (os error 2)",
];

fn tried(kernel: &str, folder: &str) -> (usize, Vec<String>) {
    let ended = Kvet::run_on(kernel, "x86_64");
    let ended = ended.args(["--", &faults("x86_64"), "--folder", folder]).end().code(0);
    let said = ended.cell_file("stdout");
    let (works, not): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.ends_with(": works"));
    (works.len(), not.into_iter().map(str::to_owned).collect())
}

#[test]
fn the_results_folder_does_what_is_documented() {
    for kernel in ["6.1", "6.12", "7.2"] {
        assert_eq!(
            tried(kernel, "/kvet/results"),
            (23, NOT_IN_RESULTS.map(str::to_owned).into()),
            "{kernel}"
        );
    }
}

#[test]
fn without_9p_everything_works_in_the_results_folder() {
    assert_eq!(tried("7.1", "/kvet/results"), (27, Vec::new()));
}

#[test]
fn what_is_written_outlives_a_crash() {
    let script =
        "#!/bin/sh\nexec 3> $KVET_RESULTS/log\necho written >&3\nsleep 1\necho c > /proc/sysrq-trigger\n";
    for kernel in ["6.1", "7.2"] {
        let call = Kvet::run_on(kernel, "x86_64").args(["--", "./t.sh"]);
        let ended = call.file("t.sh", script).executable("t.sh").end().code(1);
        assert_eq!(ended.cell_file("files/log"), "written\n", "{kernel}");
    }
}

// --- what is refused before anything boots ----------------------------------------------------------------------

fn run(arguments: &[&OsStr]) -> Kvet {
    Kvet::new(["run", "-k", "7.2", "-a", "x86_64", "--"]).args(arguments).without_guest()
}

#[test]
fn what_cannot_run_is_refused_at_once() {
    for (text, mode, why) in [
        ("#!/bin/sh\r\necho\r\n", 0o755, r"an interpreter named '/bin/sh\r'"),
        ("#!/bin/sh\necho\n", 0o644, "./t.sh is not executable: its mode is 0644"),
        ("", 0o755, "./t.sh is empty"),
        ("#!/usr/bin/perl\n", 0o755, "is a script for '/usr/bin/perl'"),
    ] {
        let kvet = run(&[OsStr::new("./t.sh")]).file("t.sh", text);
        let kvet = if mode == 0o755 { kvet.executable("t.sh") } else { kvet };
        kvet.end().code(2).refused(why);
    }
    run(&[OsStr::new("/tmp")]).end().code(2).refused("/tmp is a folder, not a program");
}

#[test]
fn what_env_does_not_find_is_named() {
    have("7.2", "x86_64");
    let args = ["run", "-k", "7.2", "-a", "x86_64", "--root", "userland", "--", "./t.sh"];
    let call = Kvet::new(args).file("t.sh", "#!/usr/bin/env python3\n").executable("t.sh");
    let ended = call.without_guest().end().code(2);
    assert!(ended.stderr.contains("error: ./t.sh is run by python3, which"), "{}", ended.stderr);
    assert!(!ended.path("results").exists(), "nothing was begun");
}

#[test]
fn what_cannot_be_an_argument_is_refused() {
    let script = |arguments: &[&OsStr]| run(arguments).file("t.sh", "#!/bin/sh\n").executable("t.sh");
    let program = OsStr::new("./t.sh");
    let invalid = script(&[program, OsStr::from_bytes(b"\xff")]).end().code(2);
    assert!(invalid.stderr.contains("invalid UTF-8"), "{}", invalid.stderr);
    let long = "x".repeat(1000);
    let mut many = vec![program];
    many.extend(std::iter::repeat_n(OsStr::new(&long), 2025));
    script(&many).end().code(2).refused("kvet can give a guest's program 2031616");
}

#[test]
fn what_cannot_travel_is_refused_by_name() {
    let (dir, program) = linked("#!/bin/sh\n");
    have("7.1", "x86_64");
    nix::unistd::mkfifo(&dir.path().join("mine/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ended = Kvet::new(["run", "-k", "7.1", "-a", "x86_64", "--"]).arg(&program).end().code(2);
    ended.ended("Usage", "cannot travel in the initramfs: it is a FIFO");
    assert!(!ended.cell_dir().join("qemu.argv").exists(), "nothing was booted");
}
