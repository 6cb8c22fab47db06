//! Where a report is written.

use std::os::unix::fs::symlink;
use std::process::Command;

use kvet::event::RunReport;

use super::*;

#[test]
fn the_folder_of_a_report_is_made_and_one_that_cannot_be_is_the_callers_mistake() {
    let run = stored(vec![cell(KERNEL, &[("t", Pass, "")])]);
    let run = run.path().to_str().unwrap();
    let ended = report(&[run, "--format", "html", "-o", "new/er/x.html"]).code(0);
    assert!(ended.path("new/er/x.html").is_file());
    let ended = report(&[run, "-o", "/dev/null/x.html"]).code(2);
    assert!(ended.stderr.contains("cannot make /dev/null for /dev/null/x.html"), "{}", ended.stderr);
    let ended = report(&[run, "-o", "/proc/x.html"]).code(3);
    assert!(ended.stderr.contains("/proc/x.html") && !ended.stderr.contains(".kvet-"), "{}", ended.stderr);
}

/// The kvet under test.
fn kvet() -> Command {
    let named = std::env::var("KVET_TEST_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_kvet").to_owned());
    Command::new(fs::canonicalize(named).unwrap())
}

/// `kvet` by bash, in a folder with a run in `run`. Gives what it said, and the folder.
fn in_bash(script: &str) -> (String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    store_report(&dir.path().join("run"), &crate::fixtures::run(vec![cell(KERNEL, &[("t", Pass, "")])]))
        .unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-ec", script]).env("kvet", kvet().get_program()).current_dir(dir.path());
    let output = bash.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{script}: {said}");
    (said, dir)
}

#[test]
fn what_is_no_plain_file_is_written_through() {
    let junit = |text: &str| text.matches("<testsuites").count();
    let make = "$kvet report run --format junit -o";
    for (script, file) in [
        (format!("ln -s real link; {make} link; test -L link"), "real"),
        (format!("mkfifo fifo; cat fifo >got & {make} fifo; wait; test -p fifo"), "got"),
        (format!("{make} >(cat >got); wait $!"), "got"),
        (format!("{make} /dev/stdout >got"), "got"),
        (format!("(echo before; {make} /dev/fd/1; echo after) >got"), "got"),
        (format!("echo before >got; {make} /proc/self/fd/1 >>got"), "got"),
        (format!("echo old >got; chmod 600 got; {make} got; test $(stat -c %a got) = 600"), "got"),
    ] {
        let (said, dir) = in_bash(&script);
        let text = fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!((junit(&text), said.as_str()), (1, ""), "{script}: {text}");
        assert_eq!(text.contains("before"), script.contains("before"), "{script}: {text}");
        assert_eq!(text.trim_end().ends_with("after"), script.contains("after"), "{script}: {text}");
    }
    let run = stored(vec![cell(KERNEL, &[("t", Pass, "")])]);
    let ended = report(&[run.path().to_str().unwrap(), "-o", "/dev/full"]).code(3);
    assert!(ended.stderr.starts_with("error: cannot write /dev/full: No space left"), "{}", ended.stderr);
}

/// A matrix of kernels that are not there: it is run, reported, and exits 2.
fn matrix(results: &Path) -> Ended {
    let text = "kernels: ['file:/nowhere/a', 'file:/nowhere/b']\narchs: [x86_64]\nsuites: [dynptr]\n";
    let kvet = Kvet::new(["matrix", "m.yaml", "--output"]).arg(results);
    kvet.file("m.yaml", text).without_guest().end().code(2)
}

#[test]
fn a_run_does_not_depend_on_latest() {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    let old =
        RunReport { run_id: "20260101-000000".into(), ..crate::fixtures::run(vec![cell("debian:old", &[])]) };
    store_report(&results.join("20260101-000000"), &old).unwrap();
    store_report(&results.join("latest"), &old).unwrap();
    let note = |ended: &Ended| ended.stderr.lines().filter(|line| line.starts_with("note: ")).count();
    let ended = matrix(&results);
    assert!(note(&ended) == 1 && ended.stderr.contains("latest at 20"), "{}", ended.stderr);
    // The newest is shown, and neither the folder nor the run that it is a copy of.
    let show = || {
        let output = kvet().arg("report").current_dir(dir.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(output.status.code(), Some(0));
        (text(output.stdout), text(output.stderr))
    };
    let (table, remark) = show();
    assert!(table.contains("file:/nowhere/b") && !table.contains("debian:old"), "{table}");
    assert!(remark.starts_with("note: results/latest is no link; this is results/20"), "{remark}");
    fs::remove_dir_all(results.join("latest")).unwrap();
    assert!(show().0.contains("file:/nowhere/b"));
    symlink("gone", results.join("latest")).unwrap();
    assert!(show().0.contains("file:/nowhere/b"));
    // A link to a run is made again where there can be one.
    assert_eq!(note(&matrix(&results)), 0);
    assert_eq!(show().1, "");
}
