//! `make bench`: what a step of `kvet bisect` over commits takes beside make's own time and the boot.
//!
//! The repository is that of `tests/vm/bisect_commits.rs`: twenty commits of which one breaks a test. Everything is built in a cache that is
//! empty before, so that each commit is compiled here and once; the source of the repository comes out of the common one. The
//! first kernel is compiled whole and the ends are told apart from the steps, of which the goal speaks.

#[path = "../tests/vm/bisect_commits/repository.rs"]
#[allow(dead_code, reason = "what the tests look for besides")]
mod repository;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kvet::bisect::state::{State, Step};
use kvet::cancel::Cancel;
use kvet::kernel::source::{self, SourceSpec};
use kvet::kernel::{Cache, Sources};
use kvet::plan::config::KernelsConfig;
use kvet::spec::home::Home;

/// What a step may take beside make's own time and the boot, in seconds.
const GOAL: f64 = 5.0;

fn main() {
    // `cargo test --benches` and `cargo clippy` call a benchmark too; it is only run when asked for.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let common =
        Cache::open(Cache::locate(&|name| std::env::var_os(name)).expect("a cache")).expect("open the cache");
    let repository = repository_of(&common);
    // Beside the common cache: on the same disk.
    let dir = tempfile::tempdir_in(common.root()).expect("a temporary folder");
    println!("a bisection of 20 commits from nothing, {} CPUs, load {}", cpus(), load());
    let state = bisect(&repository, dir.path());
    let (ends, steps) = state.steps.split_at(2);
    println!("before the first step {:.1} s", state.prepared.sum());
    ends.iter().for_each(|end| tell("end", end));
    steps.iter().for_each(|step| tell("step", step));
    let largest = steps.iter().max_by(|a, b| rest(a).total_cmp(&rest(b))).expect("a step");
    println!(
        "the largest rest of {} steps is {:.1} s (goal: at most {GOAL:.0} s): {}",
        steps.len(),
        rest(largest),
        largest.shown
    );
}

fn repository_of(cache: &Cache) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let home = Home::find(Some(top.into()), Path::new("/")).expect("find kvet's files");
    let sources = Sources::new(KernelsConfig::load(&home).expect("read configs/kernels.yaml").debian);
    let spec: SourceSpec = "debian-source:7.2".parse().expect("a source");
    let cancel = Cancel::new().expect("an eventfd");
    let tree = source::ensure(&spec, source::Purpose::Kernel, cache, &sources, &mut |_| {}, &cancel)
        .expect("get the source");
    let repository = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bisect-{}.git", tree.version));
    repository::make(&tree.path, &repository);
    repository
}

/// Finds the commit that breaks the test.
fn bisect(repository: &Path, dir: &Path) -> State {
    let binary = std::env::var_os("KVET_TEST_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_kvet").into());
    let mut command = Command::new(binary);
    command.args(["bisect", "-t", "dynptr_success/test_adjust", "--good", "imported", "--bad", "broken"]);
    command.arg("--tree").arg(repository).arg("--output").arg(dir.join("results"));
    command.env("KVET_CACHE", dir.join("cache")).stdin(Stdio::null());
    let done = command.stderr(Stdio::inherit()).output().expect("run kvet");
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && out.trim_end().ends_with(repository::BREAKS), "{out}");
    let entries = std::fs::read_dir(dir.join("results")).expect("read the results").flatten();
    let path = entries.map(|entry| entry.path().join("state.json")).find(|path| path.is_file());
    State::load(&path.expect("a bisection")).expect("read the bisection")
}

/// What a step takes beside make, the boot and the tests themselves.
fn rest(step: &Step) -> f64 {
    step.parts.overhead() - step.parts.tests
}

fn tell(what: &str, step: &Step) {
    let Step { shown, verdict, parts, .. } = step;
    println!(
        "{what:4} {verdict:4} make {:5.1} s, boot {:4.1} s, tests {:4.1} s, the rest {:4.1} s (checkout {:.1}, \
         configure {:.1}, publish {:.1}, other {:.1})  {shown}",
        parts.make,
        parts.boot,
        parts.tests,
        rest(step),
        parts.checkout,
        parts.configure,
        parts.publish,
        parts.rest
    );
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
