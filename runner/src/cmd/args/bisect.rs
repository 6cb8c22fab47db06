//! `kvet bisect`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{BuildFlags, Hardware, TimeLimits};
use crate::arch::Arch;

/// What `--resume` and `--log` mean where no folder is named.
pub const NEWEST: &str = "newest";

/// What a search is: one that was begun goes on with what it was begun with, and would not heed these.
const SEARCH: [&str; 21] = [
    "good",
    "bad",
    "tests",
    "tree",
    "paths",
    "find",
    "matching",
    "runs",
    "arch",
    "suite",
    "slices",
    "selftests",
    "config",
    "toolchain",
    "base",
    "jobs",
    "accel",
    "memory",
    "cpus",
    "timeout",
    "deadline",
];

/// `kvet bisect`.
#[derive(Debug, Args)]
pub struct BisectArgs {
    /// Tests to bisect: those of them that fail on the bad end and pass on the good one; repeatable
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
    /// On commits: find the first bad one, or the first good one again. On releases the ends decide
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
    /// For -s upstream: the slice to build, as for kvet run; repeatable
    #[arg(long = "slice", value_name = "NAME[=GLOB,…]")]
    pub slices: Vec<String>,
    /// For -s upstream: the source of the selftests of all kernels: tree:~/linux, debian-source:7.3, or `own`: each
    /// kernel's own source (default: the source of the newer end)
    #[arg(long, value_name = "SOURCE")]
    pub selftests: Option<String>,
    /// With --tree: a config fragment for built kernels: a file, `debug`, or tree:PATH; repeatable
    #[arg(long, value_name = "FRAGMENT", requires = "tree")]
    pub config: Vec<PathBuf>,
    #[command(flatten)]
    /// How kernels are built.
    pub build: BuildFlags,
    #[command(flatten)]
    /// The guest.
    pub hardware: Hardware,
    #[command(flatten)]
    /// How long they may take.
    pub limits: TimeLimits,
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub output: PathBuf,
    /// Continue a bisection that was stopped: its folder, or the newest one in results
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = NEWEST, conflicts_with_all = SEARCH, conflicts_with = "log")]
    pub resume: Option<PathBuf>,
    /// Print the verdicts of a bisection, for --replay: its folder, or the newest one in results
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = NEWEST, conflicts_with_all = SEARCH)]
    pub log: Option<PathBuf>,
    /// Replay verdicts from this log (see --log)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["resume", "log"])]
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
