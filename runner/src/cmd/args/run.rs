//! `kvet run`.

use clap::{Args, ValueEnum};

use super::{BuildFlags, Hardware, KernelFiles, NothingRan, OutputArgs, TimeLimits};
use crate::arch::Arch;
use crate::plan::ShareMode;
use crate::spec::suite::Root;

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
    /// For -s upstream: the slice of the kernel's own selftests to build: its name, NAME=GLOB,… of files in prog_tests/,
    /// or all; repeatable (default: see `kvet suite show upstream`)
    #[arg(long = "slice", value_name = "NAME[=GLOB,…]")]
    pub slices: Vec<String>,
    /// For -s upstream: the source of the selftests: tree:~/linux, git:~/linux@v6.12, debian-source:7.2 (default: the
    /// source of each kernel)
    #[arg(long, value_name = "SOURCE")]
    pub selftests: Option<String>,
    /// Only tests that match this glob; '!GLOB' leaves tests out; repeatable
    #[arg(short, long = "test", value_name = "GLOB")]
    pub tests: Vec<String>,
    #[command(flatten)]
    /// The guest.
    pub hardware: Hardware,
    /// Treat tests skipped for missing kconfig options or modules as failures
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    /// When all tests were skipped.
    pub nothing_ran: NothingRan,
    /// Run the tests in an order that this number decides; the same number gives the same order
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    /// How the suite's files reach the guest: over 9p, in the initramfs, or over the first of these that the kernel
    /// supports. In the initramfs, what the tests write to /kvet/results is lost
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    pub share: ShareMode,
    /// After a crash or a hang boot again and run the remaining tests; at most N times
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub resume: Option<u32>,
    /// Root file system of the program (default: the suite's, else none)
    #[arg(long, value_enum, value_name = "ROOT")]
    pub root: Option<Root>,
    #[command(flatten)]
    /// How long they may take.
    pub limits: TimeLimits,
    #[command(flatten)]
    /// Where it is reported.
    pub outputs: OutputArgs,
    /// Print the plan, QEMU's exact command line and the initramfs; start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Exit as `git bisect run` expects: 0 good, 1 bad, 125 skip, 128 stop. Bad is a failing test (a crash is then a
    /// skip), or with =crash also a crash or a complaint of the kernel
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

/// What a bisection looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Symptom {
    /// A test that fails.
    Fail,
    /// A crash, a hang or a splat as well.
    Crash,
}
