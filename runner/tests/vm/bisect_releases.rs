//! `kvet bisect` over releases; over commits it is in `bisect_commits.rs`, which builds kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kvet::bisect::state::{State, Verdict};
use kvet::event::Outcome;
use nix::sys::signal::Signal;

use crate::support::{Ended, Kvet, have};

/// A mistake of 6.12 that was mended between these two (selftests/dynptr/expectations.yaml, `commuted_slices`): 6.12.104 is not in
/// the archive.
const TEST: &str = "dynptr_fail/dynptr_slice_commuted_invalidate";
const BAD: &str = "debian:6.12.95";
const GOOD: &str = "debian:6.12.107";
const FIXED: &str = "6.12.105";

fn of_releases(more: &[&str]) -> Kvet {
    have(BAD, "x86_64");
    have(GOOD, "x86_64");
    Kvet::new(["bisect", "-a", "x86_64", "-t", TEST, "--bad", BAD, "--good", GOOD]).args(more)
}

/// The folder of the only bisection of a kvet.
fn folder(results: &Path) -> PathBuf {
    let found: Vec<PathBuf> = fs::read_dir(results).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn state(ended: &Ended) -> State {
    State::load(&folder(&ended.path("results")).join("state.json")).unwrap()
}

#[test]
fn releases_are_bisected_from_their_ends_though_interrupted_and_the_verifier_says_what_changed() {
    // A log that says nothing, to be found again by whoever goes on from elsewhere.
    let running = of_releases(&["--replay", "nothing.log"]).file("nothing.log", "# nothing\n").start();
    let patience = Instant::now() + Duration::from_secs(200);
    // The second end boots.
    let second = || {
        let bisections = fs::read_dir(running.path("results")).into_iter().flatten().flatten();
        bisections.map(|entry| entry.path().join("steps/6.12.107")).find(|path| path.is_dir())
    };
    let booting = || {
        let cell = second().and_then(|dir| fs::read_dir(dir).ok()?.flatten().next());
        cell.is_some_and(|cell| {
            fs::metadata(cell.path().join("console.log")).is_ok_and(|meta| meta.len() > 0)
        })
    };
    while !booting() {
        assert!(Instant::now() < patience, "the second end was not booted");
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    let results = ended.path("results");
    let hint = format!("`kvet bisect --resume {}` goes on", folder(&results).display());
    assert!(ended.stderr.contains(&hint), "{}", ended.stderr);
    let known = state(&ended);
    assert_eq!(known.observed.iter().map(|end| end.kernel.as_str()).collect::<Vec<_>>(), [BAD]);

    let resumed = Kvet::new(["bisect", "--resume", folder(&results).to_str().unwrap()]).end().code(0);
    assert_eq!(resumed.stdout.lines().last(), Some(format!("first fixed: {FIXED}").as_str()));
    assert!(!resumed.stderr.contains("testing the end 6.12.95"), "it was run before: {}", resumed.stderr);
    assert!(resumed.stderr.contains(" between 6.12.95 and 6.12.107 ("), "{}", resumed.stderr);
    assert!(resumed.stdout.contains(&format!("  steps/{FIXED}")), "{}", resumed.stdout);
    let verdicts = state(&ended);
    assert!(verdicts.steps.iter().all(|step| step.verdict != Verdict::Skip), "{:?}", verdicts.steps);

    // The line that shows the failure does so by itself.
    let mail = fs::read_to_string(folder(&results).join("answer.md")).unwrap();
    let line = mail.split("To reproduce:\n\n    ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert_eq!(line, format!("kvet run -k debian:6.12.101 -a x86_64 -t {TEST}"));
    let reproduced = Kvet::new(line.split(' ').skip(1)).end().code(0);
    let cell = reproduced.cell();
    let cases: Vec<_> = cell.cases.iter().map(|case| (case.name.as_str(), case.outcome)).collect();
    assert_eq!(cases, [(TEST, Outcome::Xfail)], "a known mistake of this kernel");
    // Whatever is missing of what is written of an answer is written again, and nothing is booted for it.
    let files =
        ["junit.xml", "report.html", "report.json", "answer.md"].map(|name| folder(&results).join(name));
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    let again = Kvet::new(["bisect", "--resume", folder(&results).to_str().unwrap()]).end().code(0);
    assert!(!again.stderr.contains("testing"), "{}", again.stderr);
    assert!(files.iter().all(|file| file.is_file()), "{files:?}");

    // What the verifier said of the slice before and after, wherever the answer is told.
    let mail = fs::read_to_string(folder(&results).join("answer.md")).unwrap();
    let json = fs::read_to_string(folder(&results).join("answer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let diff = json["evidence"]["verifier"]["differ"].as_str().unwrap();
    for said in [&resumed.stdout, &mail, diff] {
        assert!(said.contains("\n+R7 invalid mem access 'scalar'\n"), "{said}");
        assert!(said.lines().any(|line| line.starts_with('-') && line.ends_with(": safe")), "{said}");
    }

    // Where the time went: nothing is built, and all that was booted was tested.
    let parts = verdicts.steps.iter().map(|step| (step.seconds, step.parts));
    assert!(
        parts.clone().all(|(all, p)| p.boot > 0.0
            && p.tests > 0.0
            && p.make + p.checkout == 0.0
            && p.sum() <= all + 0.1),
        "{:?}",
        parts.collect::<Vec<_>>()
    );
    assert!(resumed.stdout.contains(" verdicts in ") && mail.contains(", tests "), "{mail}");

    // Its log, with which another one knows everything but the ends.
    let log = Kvet::new(["bisect", "--log", folder(&results).to_str().unwrap()]).end().code(0).stdout;
    assert!(log.contains(&format!("\ngood debian:{FIXED}\n")), "{log}");
    let replayed = of_releases(&["--replay", "log", "--runs", "2"]).file("log", &log).end().code(0);
    assert_eq!(replayed.stdout.lines().last(), Some(format!("first fixed: {FIXED}").as_str()));
    let steps = fs::read_dir(folder(&replayed.path("results")).join("steps")).unwrap().flatten();
    let mut booted: Vec<_> = steps.map(|entry| entry.file_name()).filter(|name| name != "latest").collect();
    booted.sort();
    assert_eq!(booted, ["6.12.107", "6.12.107-2", "6.12.95", "6.12.95-2"], "only the ends, and these twice");
    let twice = state(&replayed);
    let end = |kernel: &str| twice.of(kernel).map(|step| (step.runs, step.failed_runs, step.dirs.len()));
    assert_eq!((end(BAD), end(GOOD)), (Some((2, 2, 2)), Some((2, 0, 2))));
    assert_eq!(twice.failure_rate, 0.75, "three of four: two runs that failed are no certainty");
    for said in ["2 of 2 runs failed", "0 of 2 runs failed (93 % sure)"] {
        assert!(replayed.stdout.contains(said), "{said} in {}", replayed.stdout);
        assert!(replayed.stderr.contains(said), "{said} in {}", replayed.stderr);
    }
    // The kernels beside the answer were not run here, and that is why nothing is compared.
    let why = "no difference to show: 6.12.101 was not run here: said by log";
    assert!(
        replayed.stdout.contains(&format!("the verifier, 6.12.101 → {FIXED}: {why}")),
        "{}",
        replayed.stdout
    );
}

#[test]
fn what_is_wrong_in_a_bisections_arguments_is_said_before_anything_is_begun() {
    let repository = tempfile::tempdir().unwrap();
    let tree = repository.path().to_str().unwrap();
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=T", "-c", "user.email=t@example"];
        assert!(Command::new("git").arg("-C").arg(tree).args(who).args(args).status().unwrap().success());
    };
    git(&["init", "--quiet"]);
    for subject in ["nothing", "nothing more"] {
        git(&["commit", "--quiet", "--allow-empty", "-m", subject]);
    }
    for (args, said) in [
        (&["-t", "dynptr_success/nothing"][..], "dynptr_success/nothing"),
        (&["-t", "["], "'['"),
        (&["--match", "("], "--match '(' is no pattern"),
        (&["-s", "nosuch"], "nosuch"),
        (&["-s", "upstream", "--slice", "nosuch"], "nosuch"),
        (&["--slice", "dynptr"], "--slice goes with a suite that is built"),
        (&["--selftests", "own"], "--selftests goes with a suite that is built"),
        (&["-s", "upstream", "--selftests", "nosuch:x"], "nosuch"),
        (&["--replay", "nosuch.log"], "nosuch.log"),
        (&["--replay", "wrong.log"], "wrong.log:1: 'bad' should be"),
        (&["--tree", tree, "--paths", "no/such/path"], "--paths no/such/path: no commit touches"),
        (&["--tree", tree, "--config", "nosuch"], "nosuch"),
        (&["-s", "upstream", "--selftests", "tree:no/such/tree"], "no/such/tree"),
        (&["--tree", "/"], "/ is no git repository"),
        (&["--tree", tree, "--find", "fix"], "--find is for commits"),
    ] {
        let mut all = vec!["bisect", "-a", "x86_64", "--bad", BAD, "--good", GOOD];
        all.extend(args);
        let ended = Kvet::new(all).file("wrong.log", "bad\n").end().code(2);
        ended.refused(said);
        let left = fs::read_dir(ended.path("results")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{args:?} leaves nothing");
    }
    for (ends, said) in [
        (&["--good", "v6.12", "--bad", "HEAD"][..], "'v6.12' is no commit of"),
        (&["--good", "HEAD~1", "--bad", "HEAD"], "--good HEAD~1: no kernel"),
        (&["--good", "HEAD~1", "--bad", "HEAD", "--config", "nosuch"], "nosuch"),
        (&["--good", "HEAD", "--bad", "HEAD"], "--good HEAD and --bad HEAD are the same commit"),
        (&["--good", "HEAD", "--bad", "HEAD~1"], "--good HEAD is newer than --bad HEAD~1"),
        (&["--good", "HEAD", "--bad", "HEAD~1"], "hint: swap them, or `--find fix`"),
        (&["--find", "fix", "--good", "HEAD~1", "--bad", "HEAD"], "--bad HEAD is newer than --good HEAD~1"),
    ] {
        let ended = Kvet::new(["bisect", "--tree", tree]).args(ends).end().code(2);
        ended.refused(said);
        let left = fs::read_dir(ended.path("results")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{ends:?} leaves nothing");
    }
}
