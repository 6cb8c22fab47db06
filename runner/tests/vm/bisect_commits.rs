//! `kvet bisect` over the commits of a real kernel: built, booted, killed and resumed.

mod repository;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvet::bisect::state::{State, Step, Verdict};
use kvet::cancel::Cancel;
use kvet::event::RunReport;
use kvet::kernel::source::{self, SourceSpec};
use kvet::kernel::{Cache, Sources};
use kvet::plan::config::KernelsConfig;
use kvet::report::store;
use kvet::spec::home::Home;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use repository::{BREAKS, MENDS, MENDS_SLICES, SPOILS};

/// Two bisections at a time would build in two checkouts, each of them all of the kernel.
static ALONE: Mutex<()> = Mutex::new(());

/// The repository, made of the archive's 7.2. It stays where it is, so that another run of these tests builds only what changed.
fn repository() -> (PathBuf, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let home = Home::find(Some(top.into()), Path::new("/")).unwrap();
    let cache = Cache::open(Cache::locate(&|name| std::env::var_os(name)).unwrap()).unwrap();
    let sources = Sources::new(KernelsConfig::load(&home).unwrap().debian);
    let spec: SourceSpec = "debian-source:7.2".parse().unwrap();
    let tree = source::ensure(
        &spec,
        source::Purpose::Kernel,
        &cache,
        &sources,
        &mut |_| {},
        &Cancel::new().unwrap(),
    )
    .unwrap();
    let repository = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bisect-{}.git", tree.version));
    repository::make(&tree.path, &repository);
    (repository, alone)
}

fn kvet(dir: &Path, args: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let binary = std::env::var_os("KVET_TEST_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_kvet").into());
    let mut command = Command::new(binary);
    // A group of its own: what it starts can be killed with it.
    command.arg("bisect").args(args).current_dir(dir).stdin(Stdio::null()).process_group(0);
    command
}

fn succeed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{out}\n{err}");
    out
}

/// The state of the only bisection in a folder.
fn state(dir: &Path) -> Option<State> {
    let entries = std::fs::read_dir(dir.join("results")).ok()?;
    let path = entries.flatten().map(|e| e.path().join("state.json")).find(|path| path.is_file())?;
    State::load(&path).ok()
}

/// Waits for that many verdicts and kills kvet and everything that it started, without a warning.
fn kill_after(dir: &Path, args: &[&str], verdicts: usize) {
    let mut child = kvet(dir, args).stdout(Stdio::null()).spawn().unwrap();
    while state(dir).is_none_or(|state| state.steps.len() < verdicts) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(200));
    }
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
}

fn verdict_on<'a>(state: &'a State, subject: &str) -> Option<(Verdict, &'a str)> {
    let step = state.steps.iter().find(|step| step.shown.ends_with(subject))?;
    Some((step.verdict, &step.reason))
}

#[test]
#[ignore = "builds a kernel and eight of its neighbours: a quarter of an hour on a quiet machine with two CPUs"]
fn the_commit_that_breaks_a_test_is_found_around_broken_ones_though_killed() {
    let (repository, _alone) = repository();
    let dir = tempfile::tempdir().unwrap();
    let tree = repository.to_str().unwrap();
    let test = "dynptr_success/test_adjust";
    let args = ["-t", test, "--tree", tree, "--good", "imported", "--bad", "broken"];
    kill_after(dir.path(), &args, 3);
    let known = state(dir.path()).unwrap();
    let out = succeed(kvet(dir.path(), &["--resume"]));
    assert!(
        out.lines().last().unwrap().starts_with("first bad: ") && out.trim_end().ends_with(BREAKS),
        "{out}"
    );
    let found = state(dir.path()).unwrap();
    assert_eq!(found.steps[..known.steps.len()], known.steps, "what was known stays as it was");
    let answer = found.answer.as_ref().unwrap();
    assert!(answer.doubtful.is_empty(), "{answer:?}");
    assert!(answer.commit.as_ref().unwrap().stat.contains("kernel/bpf/helpers.c"), "{answer:?}");
    for (subject, why) in
        [("lpm_trie: unfinished", "does not compile"), ("ringbuf: does not boot", "does not boot")]
    {
        if let Some((verdict, reason)) = verdict_on(&found, subject) {
            assert_eq!(verdict, Verdict::Skip);
            assert!(reason.contains(why), "{reason}");
        }
    }
    // Those that an earlier run of this test has left in the cache are not built again.
    let built = found.steps.iter().filter(|step| step.runs > 0 && step.parts.make > 0.0);
    for Step { shown, seconds, parts, .. } in built {
        assert!((parts.sum() - seconds).abs() < 0.1, "{shown}: {seconds} {parts:?}");
        println!("{shown}: {:.1}s beside make's and the boot's: {parts:.1?}", parts.overhead());
    }
    assert!(out.contains(" verdicts in "), "{out}");
    let skipped = found.steps.iter().filter(|step| step.verdict == Verdict::Skip).count();
    assert!(
        skipped > 0,
        "git asks for the one in the middle first, which does not compile: {:?}",
        found.steps
    );
}

#[test]
#[ignore = "builds kernels; run after the other one it needs two minutes on a quiet machine"]
fn the_commit_that_mends_a_test_is_found() {
    let (repository, _alone) = repository();
    let dir = tempfile::tempdir().unwrap();
    let tree = repository.to_str().unwrap();
    let args = ["-t", "dynptr_success/test_adjust", "--tree", tree, "--find", "fix", "--bad", "broken"];
    let out = succeed(kvet(dir.path(), &[&args[..], &["--good", "mended"]].concat()));
    assert!(
        out.lines().last().unwrap().starts_with("first fixed: ") && out.trim_end().ends_with(MENDS),
        "{out}"
    );
}

#[test]
#[ignore = "builds kernels; run after the first one it needs two minutes on a quiet machine"]
fn releases_are_narrowed_down_to_two_neighbours_and_then_their_commits_are_bisected() {
    let (repository, _alone) = repository();
    let dir = tempfile::tempdir().unwrap();
    let tree = repository.to_str().unwrap();
    let ends = ["--bad", "debian:7.2.6", "--good", "debian:7.2.12"];
    let test = ["-t", "dynptr_success/test_skb_pieces_tcp_no_buffer", "--tree", tree, "--jobs", "2"];
    let out = succeed(kvet(dir.path(), &[&test[..], &ends].concat()));
    assert!(
        out.lines().last().unwrap().starts_with("first fixed: ") && out.trim_end().ends_with(MENDS_SLICES),
        "{out}"
    );
    let releases = state(dir.path()).unwrap();
    let first = &releases.answer.as_ref().unwrap().first;
    assert_eq!((first.shown.as_str(), releases.steps.len()), ("7.2.9", 3));
    // What is written has both levels.
    let folder = releases.steps[0].dirs[0].ancestors().nth(3).unwrap();
    let commits = State::load(&folder.join("commits.json")).unwrap();
    let mail = std::fs::read_to_string(folder.join("answer.md")).unwrap();
    for part in [
        "## Releases, first fixed: 7.2.9\n",
        "## Commits, first fixed: ",
        "| good | 7.2.9 |",
        "To reproduce:\n\n    kvet run -k git:",
    ] {
        assert!(mail.contains(part) && mail.contains(MENDS_SLICES), "{part} in {mail}");
    }
    let booted = releases.steps.iter().chain(&commits.steps).filter(|step| step.runs > 0).count();
    assert_eq!(store::load(folder).unwrap().cells.len(), booted);
    assert_eq!(std::fs::read_to_string(folder.join("log")).unwrap(), succeed(kvet(dir.path(), &["--log"])));
    // The log has the verdicts of both levels, which is all that another bisection has to be told.
    let log = succeed(kvet(dir.path(), &["--log"]));
    assert!(log.contains("good debian:7.2.9\n") && log.contains("bad git:"), "{log}");
    std::fs::write(dir.path().join("log"), &log).unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("log"), other.path().join("log")).unwrap();
    let out = succeed(kvet(other.path(), &[&test[..], &ends, &["--replay", "log"]].concat()));
    assert!(out.trim_end().ends_with(MENDS_SLICES), "{out}");
    assert_eq!(state(other.path()).unwrap().steps.iter().filter(|step| step.runs > 0).count(), 2);
}

#[test]
#[ignore = "builds two kernels and their selftests: a few minutes where the first one has run"]
fn each_commit_is_tested_with_the_selftests_of_its_own_source_though_the_kernel_is_the_same() {
    let (repository, _alone) = repository();
    repository::selftests(&repository);
    let dir = tempfile::tempdir().unwrap();
    let tree = repository.to_str().unwrap();
    let suite = ["-t", "dynptr/test_adjust", "-s", "upstream", "--slice", "dynptr", "--selftests", "own"];
    let ends = ["--tree", tree, "--good", "imported", "--bad", "selftests"];
    let out = succeed(kvet(dir.path(), &[&suite[..], &ends].concat()));
    assert!(out.trim_end().ends_with(SPOILS), "{out}");
    let found = state(dir.path()).unwrap();
    for step in found.steps.iter().filter(|step| step.runs > 0) {
        let report = std::fs::read(step.dirs[0].parent().unwrap().join("report.json")).unwrap();
        let cells = serde_json::from_slice::<RunReport>(&report).unwrap().cells;
        let source = &cells[0].provenance["selftests_source"];
        assert!(source.starts_with(&step.kernel), "{}: {source}", step.kernel);
    }
    assert!(found.steps.iter().filter(|step| step.runs > 0).count() > 2, "{:?}", found.steps);
}

/// The history is what the tests above take it for, which is cheap to know.
#[test]
#[ignore = "unpacks the source of a kernel"]
fn the_repository_holds_what_it_should() {
    let (repository, _alone) = repository();
    let git = |args: &[&str]| {
        succeed({
            let mut command = Command::new("git");
            command.arg("-C").arg(&repository).args(args);
            command
        })
    };
    assert_eq!(git(&["rev-list", "--count", "imported..broken"]).trim(), "20");
    assert_eq!(git(&["rev-list", "--count", "broken..mended"]).trim(), "6");
    assert_eq!(git(&["rev-list", "--count", "v7.2.6..v7.2.9"]).trim(), "5");
    assert_eq!(git(&["diff", "--stat", "imported..mended", "--", "kernel/bpf/helpers.c"]), "");
    assert_eq!(git(&["diff", "--stat", "mended..v7.2.9", "--", "kernel/bpf/helpers.c"]), "");
    assert!(git(&["log", "-1", "--format=%s", "broken~6"]).contains(BREAKS));
    repository::selftests(&repository);
    assert_eq!(git(&["rev-list", "--count", "imported..selftests"]).trim(), "3");
    assert!(git(&["log", "-1", "--format=%s", "selftests~1"]).contains(SPOILS));
    let changed = git(&["diff", "--numstat", "selftests~2", "selftests~1"]);
    assert!(changed.starts_with("1\t1\ttools/testing/selftests/bpf/"), "{changed}");
    assert!(git(&["log", "-1", "--format=%s", "v7.2.9~2"]).contains(MENDS_SLICES));
}
