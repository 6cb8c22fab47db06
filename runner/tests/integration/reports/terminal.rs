//! A terminal that is lost or full changes no exit code, and loses no report.

use super::*;

/// Two kernels that are not there: nothing is booted, and each is the trouble of its cell.
const MATRIX: &str = "kernels: ['file:/nowhere/a', 'file:/nowhere/b']\narchs: [x86_64]\nsuites: [dynptr]\n";

/// What becomes of the two streams of kvet.
const LOST: [&str; 8] =
    [">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "2>&-", ">&-", "<&- >&- 2>&-", ">gone", "2>gone"];

/// `kvet ARGS…` by a shell that takes its streams away. `gone` is a pipe whose reader has ended.
fn without(streams: &str, args: &[&str]) -> Ended {
    let shell = format!(
        "mkfifo gone; sleep 60 >gone & exec 9<gone; kill $!; exec 8>gone; exec 9<&-\n\
         \"$0\" \"$@\" {} && exit 0 || exit $?\n:",
        streams.replace(">gone", ">&8")
    );
    Kvet::under(&shell, args).file("m.yaml", MATRIX).without_guest().end()
}

#[test]
fn a_matrix_ends_as_if_somebody_read_it() {
    for streams in LOST {
        let ended = without(streams, &["matrix", "m.yaml", "--junit", "j.xml"]).code(2);
        for file in ["results/latest/report.json", "results/latest/report.html", "j.xml"] {
            assert!(ended.path(file).is_file(), "{streams}: {file}");
        }
    }
}

#[test]
fn git_bisect_is_told_the_same() {
    for streams in LOST {
        without(streams, &["run", "--git-bisect", "-k", "file:/nowhere/a"]).code(128);
        without(streams, &["run", "--git-bisect", "--no-such-flag"]).code(128);
    }
}

#[test]
fn data_that_cannot_be_written_is_an_error() {
    let run = stored(vec![cell(KERNEL, &[("t", Pass, "")])]);
    let run = run.path().to_str().unwrap();
    for args in [
        &["report", run][..],
        &["report", run, "--format", "json"],
        &["report", run, "--format", "junit"],
        &["suite", "list"],
        &["completions", "bash"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
    ] {
        let ended = without(">/dev/full", args).code(3);
        let said = "error: cannot write to standard output: No space left on device";
        assert!(ended.stderr.starts_with(said), "{args:?}: {}", ended.stderr);
        // A reader that has seen enough is no trouble of ours, and a stream that is closed was closed by the caller.
        assert_eq!(without(">gone", args).code(0).stderr, "");
        without(">&-", args).code(0);
    }
}

#[test]
fn an_argument_that_is_no_text_is_a_usage_error() {
    use std::os::unix::ffi::OsStrExt;
    let bad = std::ffi::OsStr::from_bytes(b"--\xff");
    let code = |args: &[&std::ffi::OsStr]| Kvet::new(args).without_guest().end().code;
    assert_eq!(code(&["run".as_ref(), bad]), Some(2));
    assert_eq!(code(&["run".as_ref(), "--git-bisect".as_ref(), bad]), Some(128));
}
