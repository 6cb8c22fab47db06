//! The words that the rooms speak to each other: what happens during a run, and what it amounted to.
//!
//! Producers (`vm`, `guest`, `parse`, `cell`) emit [`Event`]s; consumers (`report`) turn them into a terminal
//! display, JUnit, JSON lines and the files under `results/`. Nothing else connects the two sides. Everything
//! here is serialisable: `--message-format json` prints exactly these events, one a line.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
pub use crate::facts::{BtfFacts, BuiltFacts, KernelFacts, PackageFacts, Work, WorkTime};
use crate::seconds;

/// What became of one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran and did what it should.
    Pass,
    /// It ran and did not.
    Fail,
    /// It did not apply here; the message says why.
    Skip,
    /// It failed as a known kernel bug makes it fail.
    Xfail,
    /// The kernel crashed, hung or was lost while it ran, or it ended without a result.
    Error,
    /// It never started, because of what happened before it; the message says what.
    NotRun,
}

impl Outcome {
    /// Whether the run as a whole fails because of it.
    pub fn is_bad(self) -> bool {
        matches!(self, Outcome::Fail | Outcome::Error | Outcome::NotRun)
    }
}

/// What kept a test from a result of its own. Of several boots of a cell each test has the cause of its own boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The kernel crashed while it ran, or the guest was lost.
    Crash,
    /// It passed a limit of time.
    TimeOut,
}

/// One finished test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCase {
    /// Suite-local name: `dynptr_success/test_read_write`.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it ran, where that is known.
    #[serde(with = "seconds::optional", default)]
    pub duration: Option<Duration>,
    /// One line: the reason of a skip, the failure in short. Empty for a pass.
    #[serde(default)]
    pub message: String,
    /// The whole text: diagnostics, verifier log, splat. May be empty.
    #[serde(default)]
    pub detail: String,
    /// Of an error: what kept it from a result, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// A kernel complaint on the console, complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splat {
    /// Which kind, as the pattern table names it: `panic`, `oops`, `warn`, `kasan`, `lockdep`, `rcu_stall`, …
    pub kind: String,
    /// The line that gave it away, without its printk prefix.
    pub title: String,
    /// The lines from the first to the last of the report.
    pub text: String,
    /// The printk time of its first line, since boot.
    #[serde(with = "seconds::optional", default)]
    pub at: Option<Duration>,
    /// Whether the kernel cannot go on after it.
    pub fatal: bool,
    /// Set when an entry of the allow-list covers it: that entry's reason. It then fails nothing.
    #[serde(default)]
    pub allowed: Option<String>,
    /// The test that it is blamed on: that test's case has it as well.
    #[serde(default)]
    pub test: Option<String>,
    /// The test that ran when it came, whether that test counts in this run or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
}

/// What kvet writes to `.gitignore` of a results folder that is its own: to git, and to a look for changes in a source tree
/// around it, results are no part of the source.
pub const RESULTS_IGNORE: &str = "# Results of kvet, made by it.\n*\n";

/// Which of a job's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output: what is parsed for results.
    Stdout,
    /// Standard error: kept, shown on failure.
    Stderr,
}

/// What a cell is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Getting the kernel: index, download, unpack, or a look into the cache.
    Fetch,
    /// Building the suite, where it is built from a kernel's source.
    Build,
    /// Preflight checks and the initramfs.
    Prepare,
    /// Until other guests leave enough of the host, where they do not.
    Wait,
    /// From the start of QEMU to init's Ready.
    Boot,
    /// From the job being sent to its exit status.
    Tests,
    /// Ending QEMU and writing the results.
    Teardown,
}

/// Identifies a cell: kernel × arch × suite.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellId {
    /// The kernel as it was asked for, `debian:7.2`.
    pub kernel: String,
    /// The guest's architecture.
    pub arch: Arch,
    /// The suite's name.
    pub suite: String,
}

impl std::fmt::Display for CellId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.kernel, self.arch, self.suite)
    }
}

/// How a guest's CPUs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accel {
    /// Hardware virtualisation through /dev/kvm.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl std::fmt::Display for Accel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        })
    }
}

/// How a cell ended, apart from its test cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CellEnd {
    /// The job ran to its end (its tests may have failed).
    Completed,
    /// The kernel under test crashed, or init was lost.
    Crashed {
        /// In one line.
        reason: String,
    },
    /// A limit of time passed, and the guest could not go on: it gave no sign of life, or what it ran could not be killed.
    TimedOut {
        /// Which limit, in one line.
        reason: String,
    },
    /// The kernel never got to Ready.
    Unbootable {
        /// In one line.
        reason: String,
        /// The end of the console.
        detail: String,
    },
    /// The host was in trouble: no verdict.
    Infra {
        /// In one line.
        reason: String,
    },
    /// The caller asked for something that turned out impossible, such as an image of another architecture.
    Usage {
        /// In one line.
        reason: String,
    },
    /// Interrupted.
    Interrupted,
    /// It was never begun, because of another cell.
    NotStarted {
        /// In one line.
        reason: String,
    },
}

/// Everything about one finished cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// Which cell.
    pub id: CellId,
    /// The kernel that was tested, if it was found.
    pub kernel: Option<KernelFacts>,
    /// How the guest was run, if it was started.
    pub accel: Option<Accel>,
    /// Why that accelerator.
    #[serde(default)]
    pub accel_reason: String,
    /// How it ended.
    pub end: CellEnd,
    /// Every selected test, in the order they finished; tests that never ran come last.
    pub cases: Vec<TestCase>,
    /// How many of them came out how.
    #[serde(default)]
    pub counts: Counts,
    /// Everything the kernel complained about.
    pub splats: Vec<Splat>,
    /// What else was at work: QEMU's version, what the guest calls itself, the hashes of init and of the suite's program.
    #[serde(default)]
    pub provenance: std::collections::BTreeMap<String, String>,
    /// How long each phase took, in order.
    pub times: Vec<PhaseTime>,
    /// Of the first phase what building the kernel took; empty where nothing was built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<WorkTime>,
    /// When it started, seconds since the Unix epoch.
    pub started_unix: f64,
    /// Its folder, with console.log and the rest.
    pub dir: PathBuf,
    /// How many guests ran its tests; more than one after a crash with `--resume`.
    #[serde(default = "one")]
    pub boots: u32,
    /// Remarks that belong into the report ("KVM died early, TCG used").
    pub notes: Vec<String>,
    /// Tests that failed and passed when they were run again (`--retries`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaky: Vec<Flaky>,
    /// Further runs of failing tests (`--retries`) that did not pass either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reruns: Vec<Rerun>,
    /// The names of those cases that are about the job as a whole and no tests, whatever tests are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about_job: Vec<String>,
    /// Whether the cell fails if none of its tests runs (`--fail-if-nothing-ran`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_run: bool,
}

/// A further run of a failing test, which did not pass either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rerun {
    /// The test's name.
    pub test: String,
    /// Which run of it: 2 is the first one after the failure.
    pub run: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// Its message.
    pub message: String,
}

/// A test that failed and passed when it was run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flaky {
    /// Its name.
    pub test: String,
    /// Which run of it passed: 2 is the first one after the failure.
    pub run: u32,
    /// What the first run came to.
    pub outcome: Outcome,
    /// Its message.
    pub message: String,
}

fn one() -> u32 {
    1
}

/// One phase and its wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Which phase.
    pub phase: Phase,
    /// Its wall time.
    #[serde(with = "seconds")]
    pub wall: Duration,
}

/// Counts of outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// [`Outcome::Pass`].
    pub passed: usize,
    /// [`Outcome::Fail`].
    pub failed: usize,
    /// [`Outcome::Skip`].
    pub skipped: usize,
    /// [`Outcome::Xfail`].
    pub xfailed: usize,
    /// [`Outcome::Error`].
    pub errors: usize,
    /// [`Outcome::NotRun`].
    pub not_run: usize,
}

impl Counts {
    /// Counts the outcomes of some cases.
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a TestCase>) -> Self {
        let mut counts = Counts::default();
        for case in cases {
            *match case.outcome {
                Outcome::Pass => &mut counts.passed,
                Outcome::Fail => &mut counts.failed,
                Outcome::Skip => &mut counts.skipped,
                Outcome::Xfail => &mut counts.xfailed,
                Outcome::Error => &mut counts.errors,
                Outcome::NotRun => &mut counts.not_run,
            } += 1;
        }
        counts
    }

    /// Those that ran: what was skipped, or never began, says nothing about the kernel.
    pub fn ran(&self) -> usize {
        self.passed + self.failed + self.xfailed + self.errors
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.passed + self.failed + self.skipped + self.xfailed + self.errors + self.not_run
    }
}

/// Everything about a finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Names the folder under `results/`.
    pub run_id: String,
    /// The folder.
    pub dir: PathBuf,
    /// The command line, as it was typed.
    pub command: Vec<String>,
    /// The version of kvet.
    pub kvet: String,
    /// Every cell of the plan, also those that other shards run.
    #[serde(default)]
    pub planned: Vec<CellId>,
    /// One report per cell, in the order they were planned.
    pub cells: Vec<CellReport>,
    /// Wall time of the whole run.
    #[serde(with = "seconds")]
    pub wall: Duration,
    /// What `kvet run` exits with.
    #[serde(default)]
    pub exit_code: u8,
}

/// What happens during a run. Every event but the first and the last belongs to a cell, given by its index in
/// [`Event::RunStarted`]'s list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The plan is made; nothing was started yet.
    RunStarted {
        /// Names the folder under `results/`.
        run_id: String,
        /// The folder.
        dir: PathBuf,
        /// The cells, by index.
        cells: Vec<CellId>,
        /// How long each took last time, in seconds; 0 where nothing is known.
        #[serde(default)]
        weights: Vec<f64>,
    },
    /// A cell enters a phase.
    PhaseStarted {
        /// Which cell.
        cell: usize,
        /// Which phase.
        phase: Phase,
    },
    /// Something with a known extent goes on: a download, an unpacking, a build.
    Progress {
        /// Which cell.
        cell: usize,
        /// What: `downloading linux-image-…`.
        what: String,
        /// So far, in `unit`s.
        done: u64,
        /// In the end; 0 where unknown.
        total: u64,
        /// What is counted.
        unit: ProgressUnit,
        /// What of it is at hand: the file that is compiled. Empty where there is no such thing.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        current: String,
    },
    /// Something the user should know and nothing has to be done about.
    Note {
        /// Which cell.
        cell: usize,
        /// The text.
        text: String,
    },
    /// The kernel is there.
    KernelReady {
        /// Which cell.
        cell: usize,
        /// What is known about it.
        kernel: KernelFacts,
    },
    /// QEMU is started.
    VmStarted {
        /// Which cell.
        cell: usize,
        /// The accelerator used.
        accel: Accel,
        /// And why.
        reason: String,
        /// The exact command line.
        argv: Vec<String>,
    },
    /// After a crash or a hang the cell goes on in another guest, with the tests that are left (`--resume`). What follows
    /// until the next of these belongs to that guest; a [`Phase::Boot`] comes next.
    Rebooted {
        /// Which cell.
        cell: usize,
        /// Which guest of the cell begins: 2 for the second.
        boot: u32,
        /// What ended the one before, in one line.
        reason: String,
    },
    /// Init announced itself.
    GuestReady {
        /// Which cell.
        cell: usize,
        /// Guest time since boot.
        #[serde(with = "seconds")]
        boottime: Duration,
    },
    /// A complete line of the serial console, cleaned of control bytes.
    ConsoleLine {
        /// Which cell.
        cell: usize,
        /// The line.
        line: String,
    },
    /// A complete line of a job's output, cleaned of control bytes.
    OutputLine {
        /// Which cell.
        cell: usize,
        /// Which stream.
        stream: Stream,
        /// Guest time since boot.
        #[serde(with = "seconds")]
        at: Duration,
        /// The line.
        line: String,
    },
    /// A test announced that it starts.
    TestStarted {
        /// Which cell.
        cell: usize,
        /// Suite-local name.
        name: String,
    },
    /// A test has its result. A later one for the same test replaces it: a complaint of the kernel can turn a pass into
    /// an error after the fact.
    TestFinished {
        /// Which cell.
        cell: usize,
        /// The result.
        case: TestCase,
    },
    /// A splat is complete.
    SplatSeen {
        /// Which cell.
        cell: usize,
        /// The splat.
        splat: Splat,
        /// The test that was running at its printk time, if one was.
        test: Option<String>,
    },
    /// A cell is done. What it says replaces what the events before said: a splat can turn a finished test into
    /// an error after the fact.
    CellFinished {
        /// Which cell.
        cell: usize,
        /// The report.
        report: Box<CellReport>,
    },
    /// The run is done.
    RunFinished {
        /// The report.
        report: Box<RunReport>,
    },
}

/// What [`Event::Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressUnit {
    /// Bytes.
    Bytes,
    /// Things: files, objects.
    Items,
}
