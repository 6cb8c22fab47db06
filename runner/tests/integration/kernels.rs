//! What kvet says of kernels and of the cache without a guest.

use std::path::Path;

use crate::support::{Kvet, have};
use kvet::event::Phase;

/// `PATH` with this folder first.
fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

#[test]
fn an_interrupt_while_apt_is_asked_is_no_trouble_of_the_host() {
    for args in [&["kernel", "fetch", "6.12"][..], &["image", "build"], &["run", "-k", "6.12"]] {
        let cache = tempfile::tempdir().unwrap();
        let bin = tempfile::tempdir().unwrap();
        // As a terminal does: the signal goes to all of kvet's process group.
        let shell = "unset KVET_MIRROR; chmod +x apt-get; mv apt-get \"$BIN\"; exec setsid \"$0\" \"$@\"";
        let ended = Kvet::under(shell, args)
            .file("apt-get", "#!/bin/sh\nkill -s INT -- -$PPID\nsleep 60\n")
            .env("BIN", bin.path())
            .env("KVET_CACHE", cache.path())
            .env("PATH", Path::new(&path_with(bin.path())))
            .without_guest()
            .end()
            .code(130);
        assert!(!ended.stderr.contains("mirror") && !ended.stderr.contains("hint"), "{}", ended.stderr);
        assert!(ended.wall.as_secs() < 30, "{:?}", ended.wall);
    }
}

#[test]
fn a_kernel_whose_modules_are_gone_is_told_before_anything_boots() {
    have("7.1", "x86_64");
    for (root, remedy) in [
        (&["--share", "9p"][..], "(hint: --share auto carries a suite"),
        (&["--root", "host"], "(hint: a root of its own comes over 9p; --root none runs"),
    ] {
        let ended = Kvet::new(["run", "-k", "7.1", "-a", "x86_64"]).args(root).without_guest().end().code(1);
        let gone = "kvet cannot work with debian:7.1: its modules are gone from the archive";
        assert!(ended.stdout.contains(gone) && ended.stdout.contains(remedy), "{}", ended.stdout);
        let phases: Vec<Phase> = ended.cell().times.iter().map(|time| time.phase).collect();
        assert!(!phases.contains(&Phase::Boot), "{phases:?}");
    }
}

/// A script, and what reads it.
fn script_suite(call: Kvet, interpreter: &str, root: &str) -> Kvet {
    let suite = format!("name: s\ntitle: S\nprogram: ./s.sh\nformat: ktap\nroot: {root}\n");
    call.file("s.yaml", &suite).file("s.sh", &format!("#!{interpreter}\necho 1..0\n")).executable("s.sh")
}

#[test]
fn an_end_without_9p_is_told_before_the_other_one_boots() {
    for kernel in ["7.1", "7.2"] {
        have(kernel, "x86_64");
    }
    for (good, bad, which) in [("7.1", "7.2", "good"), ("7.2", "7.1", "bad")] {
        let call = Kvet::new(["bisect", "-a", "x86_64", "-s", "./s.yaml", "--good", good, "--bad", bad]);
        let ended = script_suite(call, "/bin/sh", "host").without_guest().end().code(1);
        let said = format!("error: the {which} end debian:7.1");
        let why = "its modules are gone from the archive";
        assert!(ended.stderr.contains(&said) && ended.stderr.contains(why), "{}", ended.stderr);
        assert!(!ended.stderr.contains("testing the end"), "{}", ended.stderr);
        let left = std::fs::read_dir(ended.path("results")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing is left");
    }
}

#[test]
fn a_script_that_nothing_can_read_is_told_before_anything_boots() {
    have("7.2", "x86_64");
    let matrix = "kernels: [7.2]\narchs: [x86_64]\nsuites: [dynptr, ./s.yaml]\n";
    for args in [
        &["run", "-k", "7.2", "-a", "x86_64", "-s", "./s.yaml"][..],
        &["matrix", "m.yaml"],
        &["bisect", "-a", "x86_64", "-s", "./s.yaml", "--good", "7.2", "--bad", "6.12"],
    ] {
        let call = Kvet::new(args).file("m.yaml", matrix);
        let ended = script_suite(call, "/opt/no/such/shell", "host").without_guest().end().code(2);
        let said = "./s.sh is run by /opt/no/such/shell, which the host's / does not have";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        let left = std::fs::read_dir(ended.path("results")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{args:?} leaves nothing");
    }
}

#[test]
fn info_tells_of_what_is_there_and_fetches_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let info = |spec: &str| {
        Kvet::new(["kernel", "info", spec, "-a", "arm64"])
            .env("KVET_CACHE", cache.path())
            .env("KVET_MIRROR", Path::new("/nonexistent/mirror"))
            .without_guest()
            .end()
            .code(2)
    };
    for spec in ["6.12", "debian:7.2.11", "debian:trixie/6.12"] {
        let ended = info(spec);
        ended.refused("for arm64 is not in the cache");
        assert!(ended.stderr.contains("hint: `kvet kernel fetch debian:"), "{}", ended.stderr);
    }
    have("7.2", "x86_64");
    let ended = Kvet::new(["kernel", "info", "7.2", "-a", "x86_64"])
        .env("KVET_MIRROR", Path::new("/nonexistent/mirror"))
        .without_guest()
        .end()
        .code(0);
    assert!(ended.stdout.starts_with("spec      debian:7.2\nrelease   7.2."), "{}", ended.stdout);
}

#[test]
fn selftests_of_a_release_whose_source_is_gone_are_asked_of_another_source() {
    have("7.1", "x86_64");
    let args = ["run", "-k", "7.1", "-a", "x86_64", "-s", "upstream", "--slice", "dynptr"];
    let ended = Kvet::new(args).without_guest().end();
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(
        said.contains("no suite that can have it (trixie-backports) offers linux-source of 7.1"),
        "{said}"
    );
    assert!(said.contains("hint: --selftests SOURCE names a source"), "{said}");
}
