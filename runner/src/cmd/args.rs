//! The command line as it is typed. Each value is well-formed after parsing; what fits together is decided in
//! [`crate::plan`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::arch::Arch;
use crate::kernel::{ConfigBase, Toolchain};
use crate::plan::ShareMode;
use crate::report::term::ColorChoice;
use crate::schedule::shard::Shard;
use crate::spec::suite::Root;
use crate::spec::units;
use crate::vm::accel::AccelChoice;

const EXIT_CODES: &str = "\
Exit codes:
  0    every selected test passed, or was skipped with a reason
  1    a test failed, or the kernel crashed, hung, or could not be booted
  2    wrong usage or configuration; nothing was started
  3    trouble of the host (no QEMU, no mirror, disk full): no verdict
  130  interrupted; what had finished is written

Environment:
  KVET_CACHE   the cache of kernels (default: $XDG_CACHE_HOME/kvet, else ~/.cache/kvet)
  KVET_MIRROR  the Debian archive to use: a URL or a folder (default: what apt is configured with)
  KVET_HOME    where configs/ and selftests/ are (default: above or beside the executable)
  NO_COLOR     no colours";

const RUN_EXAMPLES: &str = "\
Examples:
  kvet run                                  the default kernel, the dynptr suite
  kvet run -k 6.12 -k 7.2 -a arm64          two kernels, arm64
  kvet run -k 7.2 -t 'dynptr_success/*'     some tests
  kvet run -k file:./bzImage --modules DIR  a kernel of your own
  kvet run -k 7.2 -s upstream               the kernel's own dynptr selftests, built from its source
  kvet run -k tree:~/linux                  the same of its source: builds what changed
  kvet run -k 7.2 -- ./my_static_test a b   any program; its exit status is the verdict
  kvet run --root userland -- ./test.sh     a script for bash, a dynamic program: with a small Debian as root
  git bisect run kvet run -k file:./bzImage --git-bisect -t dynptr_success/test_adjust";

const MATRIX_EXAMPLES: &str = "\
Examples:
  kvet matrix                                       configs/matrix/dynptr.yaml
  kvet matrix smoke
  kvet matrix -k 6.1 -k 6.12 -k 7.2 -a x86_64 -a arm64 -j 2
  kvet matrix full --shard 2/4 --junit out.xml
  kvet matrix full --emit github --shards 4";

const BISECT_EXAMPLES: &str = "\
Examples:
  kvet bisect -t dynptr_success/test_adjust --good debian:6.12 --bad debian:7.2
  kvet bisect -t 'dynptr_success/*' --bad 7.2.6 --good 7.2.12       good is the newer one: finds the fix
  kvet bisect -t T --tree ~/linux --good v6.12 --bad HEAD --paths kernel/bpf
  kvet bisect -t 'dynptr/*' -s upstream --selftests debian-source:7.3 --bad 7.2.6 --good 7.2.12
  kvet bisect --resume                                              after whatever stopped it";

const REPORT_EXAMPLES: &str = "\
Examples:
  kvet report                                     the latest run, as a table
  kvet report results/latest --format html -o report.html
  kvet report --diff results/BEFORE results/AFTER   exits 1 if something newly fails
  kvet report --merge shard1 shard2 --into results/all";

const BUILD_EXAMPLES: &str = "\
Examples:
  kvet kernel build tree:~/linux                     a tree of your own; nothing is written into it
  kvet kernel build git:~/linux@v6.12 -a arm64       a revision, without touching the checkout
  kvet kernel build debian-source:7.2 --config debug the archive's source, with KASAN and lockdep
  kvet kernel build tar:linux-6.12.30.tar.xz         a tarball; a URL needs #sha256=… or #keyring=FILE";

/// What `--resume` and `--log` mean where no folder is named.
pub const NEWEST: &str = "newest";

/// Vets kernels: fetches or builds them, boots them in QEMU, runs selftests over 9p and writes JUnit.
#[derive(Debug, Parser)]
#[command(name = "kvet", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    /// Flags that every command takes.
    pub common: Common,
    #[command(subcommand)]
    /// What to do.
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Common {
    /// When to use colours
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub color: ColorChoice,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot kernels and run a suite on each
    #[command(after_help = RUN_EXAMPLES, after_long_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// The kernel cache: fetch, list, look at, prune
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// The guest's userland: build, list, look at, prune
    #[command(subcommand)]
    Image(ImageCommand),
    /// The suites that come with kvet
    #[command(subcommand)]
    Suite(SuiteCommand),
    /// Run suites on many kernels, several at once, and show tests × kernels
    #[command(after_help = MATRIX_EXAMPLES, after_long_help = MATRIX_EXAMPLES)]
    Matrix(Box<MatrixArgs>),
    /// Find the first kernel, or the first commit, on which a test fails
    #[command(after_help = BISECT_EXAMPLES, after_long_help = BISECT_EXAMPLES)]
    Bisect(Box<BisectArgs>),
    /// Show a run as a table of tests × kernels, compare two runs, or merge the shards of one
    #[command(after_help = REPORT_EXAMPLES, after_long_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Boot a kernel and open a shell in it
    Shell(ShellArgs),
    /// Check this machine: QEMU, KVM, the mirror, the cache, the guest's programs
    Doctor,
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

/// A kernel and its files.
#[derive(Debug, Args)]
pub struct KernelFiles {
    /// The module tree of a file: kernel (lib/modules/<release>)
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// The .config of a file: kernel; for one that is built a config fragment: a file, `debug`, or tree:PATH below the
    /// source; repeatable
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
}

/// How kernels are built.
#[derive(Debug, Args)]
pub struct BuildFlags {
    /// The compiler of a kernel that is built: gcc, gcc-12, clang, clang-19
    #[arg(long, value_name = "WHICH", default_value = "gcc")]
    pub toolchain: Toolchain,
    /// What options a kernel that is built has besides those asked for: none, or the architecture's defconfig
    #[arg(long, value_enum, value_name = "WHICH", default_value = "tiny")]
    pub base: ConfigBase,
    /// How many compilers run at once (default: one per CPU)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// The guest's hardware.
#[derive(Debug, Args)]
pub struct Hardware {
    /// How the guest's CPUs are run: auto, kvm or tcg
    #[arg(long, default_value = "auto", value_name = "WHICH")]
    pub accel: AccelChoice,
    /// The guest's memory (default: the suite's, else 1G)
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    pub memory: Option<u32>,
    /// The guest's CPUs (default: the suite's, else 1)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: Option<u32>,
}

/// `kvet run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A kernel: debian:7.2, debian:6.12.95, debian:trixie/6.12, 7.2, file:./bzImage, tree:~/linux,
    /// git:~/linux@v6.12, debian-source:7.2, tar:linux-6.12.30.tar.xz; repeatable
    #[arg(short, long = "kernel", value_name = "SPEC")]
    pub kernels: Vec<String>,
    #[command(flatten)]
    /// Its files.
    pub files: KernelFiles,
    #[command(flatten)]
    /// How it is built.
    pub build: BuildFlags,
    /// An architecture: x86_64 (amd64) or arm64 (aarch64); repeatable (default: the host's)
    #[arg(short, long = "arch", value_name = "ARCH")]
    pub archs: Vec<Arch>,
    /// A suite, by name or by the path of its suite.yaml (default: dynptr)
    #[arg(short, long, value_name = "SUITE")]
    pub suite: Option<String>,
    /// What of the kernel's own selftests is built for -s upstream: a slice by name, NAME=GLOB,… of files in prog_tests/,
    /// or all; repeatable (default: `kvet suite show upstream` says)
    #[arg(long = "slice", value_name = "NAME[=GLOB,…]")]
    pub slices: Vec<String>,
    /// Where the selftests of -s upstream come from: tree:~/linux, git:~/linux@v6.12, debian-source:7.2 (default: the
    /// source of each kernel)
    #[arg(long, value_name = "SOURCE")]
    pub selftests: Option<String>,
    /// Only tests that match this glob; '!GLOB' leaves tests out; repeatable
    #[arg(short, long = "test", value_name = "GLOB")]
    pub tests: Vec<String>,
    #[command(flatten)]
    /// The guest.
    pub hardware: Hardware,
    /// Fail what the kernel's config or missing modules keep from being tested, instead of skipping it
    #[arg(long)]
    pub strict: bool,
    /// Run the tests in an order that this number decides; the same number gives the same order
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    /// How the suite's files get to the guest: over 9p, or in the initramfs for kernels that lack 9p
    #[arg(long, value_enum, value_name = "HOW", default_value = "9p")]
    pub share: ShareMode,
    /// After a crash or a hang boot again and run the rest, without what is done and what crashed; at most N times
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub resume: Option<u32>,
    /// What the program has as its root (default: the suite's, else none)
    #[arg(long, value_enum, value_name = "ROOT")]
    pub root: Option<Root>,
    /// How long one test may take: 90s, 2m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// How long one kernel may take, boot included: 10m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub deadline: Option<Duration>,
    #[command(flatten)]
    /// Where it is reported.
    pub outputs: OutputArgs,
    /// Print the plan, QEMU's exact command line and the initramfs; start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Exit as `git bisect run` wants it: 0 good, 1 bad, 125 skip, 128 stop. What is bad: a test that fails (a crash is
    /// then a skip), or with =crash also a crash or a complaint of the kernel
    #[arg(long, value_enum, value_name = "SYMPTOM", num_args = 0..=1, require_equals = true,
          default_missing_value = "fail")]
    pub git_bisect: Option<Symptom>,
    /// Show the console, the job's output and QEMU's command line as they come
    #[arg(short, long)]
    pub verbose: bool,
    /// A program and its arguments, to run instead of a suite; its folder is shared. Without --root it must be static
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Where a run is reported.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Where results go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub output: PathBuf,
    /// Write JUnit here, too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// What standard output is: text for people, or every event as a JSON line
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    pub message_format: MessageFormat,
}

/// `kvet matrix`.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// A matrix file, or the name of one in configs/matrix (default: dynptr)
    #[arg(value_name = "FILE", conflicts_with_all = ["kernels", "archs", "suites"])]
    pub file: Option<PathBuf>,
    /// Instead of a file: a kernel, as for kvet run; repeatable
    #[arg(short, long = "kernel", value_name = "SPEC")]
    pub kernels: Vec<String>,
    /// An architecture; repeatable (default: the host's)
    #[arg(short, long = "arch", value_name = "ARCH", requires = "kernels")]
    pub archs: Vec<Arch>,
    /// A suite; repeatable (default: dynptr)
    #[arg(short, long = "suite", value_name = "SUITE", requires = "kernels")]
    pub suites: Vec<String>,
    /// What of the kernel's own selftests is built for cells of the suite upstream, as for kvet run; repeatable
    #[arg(long = "slice", value_name = "NAME[=GLOB,…]")]
    pub slices: Vec<String>,
    /// Where the selftests of the suite upstream come from (default: the source of each kernel)
    #[arg(long, value_name = "SOURCE")]
    pub selftests: Option<String>,
    /// Only tests that match this glob; '!GLOB' leaves tests out; repeatable
    #[arg(short, long = "test", value_name = "GLOB")]
    pub tests: Vec<String>,
    /// Guests that run at the same time (default: one for each CPU of this machine)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Start nothing more after a cell that failed
    #[arg(long)]
    pub fail_fast: bool,
    /// Run each failing test again, in a guest of its own, up to N times: one that passes then is flaky
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub retries: Option<u16>,
    /// With --retries: what a flaky test counts as
    #[arg(long, value_enum, value_name = "VERDICT", default_value = "pass", requires = "retries")]
    pub flaky: FlakyIs,
    /// Run one part of the matrix: 2/4 is the second of four
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Balance the shards by the times of this run (every shard has to be given the same)
    #[arg(long, value_name = "RUN", requires = "shard")]
    pub times: Option<PathBuf>,
    #[command(flatten)]
    /// The guests.
    pub hardware: Hardware,
    /// Fail what the kernel's config or missing modules keep from being tested, instead of skipping it
    #[arg(long)]
    pub strict: bool,
    /// How long one test may take: 90s, 2m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// How long one kernel may take, boot included: 10m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub deadline: Option<Duration>,
    #[command(flatten)]
    /// Where it is reported.
    pub outputs: OutputArgs,
    /// List the cells and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the jobs for a CI system, one for each shard, and start nothing
    #[arg(long, value_enum, value_name = "SYSTEM", conflicts_with_all = ["dry_run", "shard"])]
    pub emit: Option<CiSystem>,
    /// With --emit: into how many jobs (default: one for each cell)
    #[arg(long, value_name = "N", requires = "emit", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: Option<u16>,
    /// Show consoles and the jobs' output as they come
    #[arg(short, long)]
    pub verbose: bool,
}

/// What a flaky test counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FlakyIs {
    /// It passes.
    Pass,
    /// It fails.
    Fail,
}

/// A CI system that jobs can be printed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CiSystem {
    /// The value of `strategy.matrix`, as JSON.
    Github,
    /// A child pipeline, as YAML.
    Gitlab,
}

/// What a bisection looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Symptom {
    /// A test that fails.
    Fail,
    /// A crash, a hang or a splat as well.
    Crash,
}

/// What standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// Text for people.
    Human,
    /// JSON lines.
    Json,
}

/// `kvet kernel …`.
#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Get kernels into the cache
    Fetch {
        /// Kernels: debian:7.2, 6.12.95, …
        #[arg(value_name = "SPEC", required = true)]
        kernels: Vec<String>,
        /// An architecture; repeatable (default: the host's)
        #[arg(short, long = "arch", value_name = "ARCH")]
        archs: Vec<Arch>,
        /// Read the archive's indexes anew
        #[arg(long)]
        refresh: bool,
    },
    /// Build kernels of source; a second time only what changed
    #[command(after_help = BUILD_EXAMPLES, after_long_help = BUILD_EXAMPLES)]
    Build {
        /// Sources: tree:~/linux, git:~/linux@v6.12, debian-source:7.2, tar:linux-6.12.30.tar.xz
        #[arg(value_name = "SOURCE", required = true)]
        kernels: Vec<String>,
        /// An architecture; repeatable (default: the host's)
        #[arg(short, long = "arch", value_name = "ARCH")]
        archs: Vec<Arch>,
        /// A config fragment: a file, `debug`, or tree:PATH below the source; repeatable
        #[arg(long, value_name = "FRAGMENT")]
        config: Vec<PathBuf>,
        #[command(flatten)]
        /// How.
        build: BuildFlags,
        /// Make and prove the config, print make's command line, and build nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List what is in the cache
    List,
    /// Show everything that is known about a kernel
    Info {
        /// A kernel: debian:7.2, file:./bzImage, or what was built of tree:~/linux, by its source or its signature
        #[arg(value_name = "SPEC")]
        kernel: String,
        /// Its architecture (default: the host's)
        #[arg(short, long, value_name = "ARCH")]
        arch: Option<Arch>,
        #[command(flatten)]
        /// Its files.
        files: KernelFiles,
    },
    /// Remove kernels from the cache; those in use stay
    #[command(group(clap::ArgGroup::new("what").required(true).args(["all", "unused_for", "keep"])))]
    Prune {
        /// All of them
        #[arg(long, conflicts_with_all = ["unused_for", "keep"])]
        all: bool,
        /// Those not used for this many days
        #[arg(long, value_name = "DAYS")]
        unused_for: Option<u32>,
        /// All but the N that were used last
        #[arg(long, value_name = "N", conflicts_with = "unused_for")]
        keep: Option<usize>,
    },
}

/// `kvet image …`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make the userland of images/userland.yaml, unless it is in the cache
    Build {
        /// An architecture; repeatable (default: the host's)
        #[arg(short, long = "arch", value_name = "ARCH")]
        archs: Vec<Arch>,
        /// Read the archive's index anew
        #[arg(long)]
        refresh: bool,
    },
    /// List the userlands in the cache
    List,
    /// Show what the userland is made of, and what each package is for
    Info {
        /// Its architecture (default: the host's)
        #[arg(short, long, value_name = "ARCH")]
        arch: Option<Arch>,
    },
    /// Remove userlands from the cache; those in use stay
    #[command(group(clap::ArgGroup::new("what").required(true).args(["all", "unused_for", "keep"])))]
    Prune {
        /// All of them
        #[arg(long, conflicts_with_all = ["unused_for", "keep"])]
        all: bool,
        /// Those not used for this many days
        #[arg(long, value_name = "DAYS")]
        unused_for: Option<u32>,
        /// All but the N that were used last
        #[arg(long, value_name = "N", conflicts_with = "unused_for")]
        keep: Option<usize>,
    },
}

/// `kvet suite …`.
#[derive(Debug, Subcommand)]
pub enum SuiteCommand {
    /// List the suites
    List,
    /// Show a suite and its tests
    Show {
        /// Its name, or the path of its suite.yaml
        name: String,
    },
}

/// `kvet bisect`.
#[derive(Debug, Args)]
pub struct BisectArgs {
    /// The tests that are to be judged: those that fail on the bad end and pass on the good one; repeatable
    #[arg(short, long = "test", value_name = "GLOB")]
    pub tests: Vec<String>,
    /// A kernel on which they pass: debian:6.12, 7.2.12; with --tree a revision of it
    #[arg(long, value_name = "KERNEL", required_unless_present_any = ["resume", "log"])]
    pub good: Option<String>,
    /// A kernel on which they fail
    #[arg(long, value_name = "KERNEL", required_unless_present_any = ["resume", "log"])]
    pub bad: Option<String>,
    /// A git tree: bisect its commits (after the releases, where the ends are debian: kernels)
    #[arg(long, value_name = "DIR")]
    pub tree: Option<PathBuf>,
    /// With --tree: only commits that touch these paths count
    #[arg(long, value_name = "PATH", num_args = 1.., requires = "tree")]
    pub paths: Vec<String>,
    /// What is looked for on commits: the first bad one, or the first good one again. On releases the ends say it
    #[arg(long, value_enum, value_name = "WHAT", requires = "tree")]
    pub find: Option<FindArg>,
    /// Only failures whose message or text matches this regular expression are the symptom
    #[arg(long = "match", value_name = "REGEX")]
    pub matching: Option<String>,
    /// Boot each kernel up to N times: one failure is enough for bad, good takes all of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: u16,
    /// An architecture (default: the host's)
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<Arch>,
    /// A suite (default: dynptr)
    #[arg(short, long, value_name = "SUITE")]
    pub suite: Option<String>,
    /// What of the kernel's own selftests is built for -s upstream, as for kvet run; repeatable
    #[arg(long = "slice", value_name = "NAME[=GLOB,…]")]
    pub slices: Vec<String>,
    /// Where the selftests of -s upstream come from, for all kernels: tree:~/linux, debian-source:7.3, or `own`: each
    /// kernel's own source (default: the source of the newer end)
    #[arg(long, value_name = "SOURCE")]
    pub selftests: Option<String>,
    /// With --tree: a config fragment of the kernels that are built: a file, `debug`, or tree:PATH; repeatable
    #[arg(long, value_name = "FRAGMENT", requires = "tree")]
    pub config: Vec<PathBuf>,
    #[command(flatten)]
    /// How kernels are built.
    pub build: BuildFlags,
    #[command(flatten)]
    /// The guest.
    pub hardware: Hardware,
    /// How long one test may take: 90s, 2m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// How long one kernel may take, boot included: 10m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub deadline: Option<Duration>,
    /// Where results go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub output: PathBuf,
    /// Go on with a bisection that was stopped: its folder, or the newest one in results
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = NEWEST, conflicts_with_all = ["good", "bad", "log"])]
    pub resume: Option<PathBuf>,
    /// Print the verdicts of a bisection, for --replay: its folder, or the newest one in results
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = NEWEST, conflicts_with_all = ["good", "bad"])]
    pub log: Option<PathBuf>,
    /// Take the verdicts of this log for given
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Show consoles and the jobs' output as they come
    #[arg(short, long)]
    pub verbose: bool,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindArg {
    /// The first bad one: the older end is good.
    Bug,
    /// The first good one again: the older end is bad.
    Fix,
}

/// `kvet report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders of runs, or their report.json (default: results/latest)
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// What to make of it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub format: ReportFormat,
    /// Compare two runs: what newly fails, is fixed, appears, vanishes
    #[arg(long, conflicts_with_all = ["merge", "all"])]
    pub diff: bool,
    /// Put the shards of one run together; exits as the whole run would have
    #[arg(long, requires = "runs")]
    pub merge: bool,
    /// Keep the merged run in this folder
    #[arg(long, value_name = "DIR", requires = "merge")]
    pub into: Option<PathBuf>,
    /// Also the tests that pass wherever they apply
    #[arg(long)]
    pub all: bool,
    /// Write it here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `kvet report` makes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Text for a terminal.
    Table,
    /// One page that needs nothing else.
    Html,
    /// Markdown.
    Md,
    /// The table for tools.
    Json,
    /// JUnit XML.
    Junit,
}

/// `kvet shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {
    /// A kernel, as for `kvet run`
    #[arg(short, long, value_name = "SPEC")]
    pub kernel: Option<String>,
    #[command(flatten)]
    /// Its files.
    pub files: KernelFiles,
    #[command(flatten)]
    /// How it is built.
    pub build: BuildFlags,
    /// Its architecture (default: the host's)
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<Arch>,
    /// The suite whose programs and modules are at hand in /kvet/tests (default: dynptr)
    #[arg(short, long, value_name = "SUITE")]
    pub suite: Option<String>,
    #[command(flatten)]
    /// The guest.
    pub hardware: Hardware,
    /// What the shell has as its root: with none it is busybox in the initramfs
    #[arg(long, value_enum, value_name = "ROOT", default_value = "none")]
    pub root: Root,
    /// Where results go (the guest's /kvet/results)
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub output: PathBuf,
    /// Run this command line in the guest's shell and end
    #[arg(short, long, value_name = "LINE")]
    pub command: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn values_are_checked_and_named() {
        for (args, expected) in [
            (&["kvet", "run", "-a", "riscv"][..], "riscv"),
            (&["kvet", "run", "--timeout", "5"], "'5' is no duration"),
            (&["kvet", "run", "--memory", "1T"], "'1T' is no amount"),
            (&["kvet", "run", "--cpus", "0"], "0"),
            (&["kvet", "run", "--accel", "xen"], "xen"),
            (&["kvet", "run", "--colour", "never"], "--colour"),
        ] {
            let e = Cli::try_parse_from(args).unwrap_err();
            assert!(e.to_string().contains(expected), "{e}");
            assert_eq!(e.exit_code(), 2);
        }
    }

    #[test]
    fn a_bisection_needs_no_folder_to_go_on() {
        for (flags, expected) in [(&["--resume"][..], NEWEST), (&["--resume", "x/y"], "x/y")] {
            let cli = Cli::try_parse_from(["kvet", "bisect"].iter().chain(flags)).unwrap();
            let Command::Bisect(args) = cli.command else { panic!() };
            assert_eq!(args.resume.unwrap(), PathBuf::from(expected));
        }
        assert!(Cli::try_parse_from(["kvet", "bisect", "--log"]).is_ok());
        assert!(Cli::try_parse_from(["kvet", "bisect", "-t", "x"]).is_err(), "the ends have to be named");
    }

    #[test]
    fn a_command_after_the_dashes_keeps_its_flags() {
        let cli = Cli::try_parse_from(["kvet", "run", "-k", "7.2", "--", "./t", "-k", "--help"]).unwrap();
        let Command::Run(run) = cli.command else { panic!() };
        assert_eq!(run.command, ["./t", "-k", "--help"]);
    }
}
