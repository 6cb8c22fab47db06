//! `kvet matrix`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Hardware, NothingRan, OutputArgs, TimeLimits};
use crate::arch::Arch;
use crate::schedule::shard::Shard;

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
    /// For cells of the suite upstream: the slice to build, as for kvet run; repeatable
    #[arg(long = "slice", value_name = "NAME[=GLOB,…]")]
    pub slices: Vec<String>,
    /// For cells of the suite upstream: the source of the selftests (default: the source of each kernel)
    #[arg(long, value_name = "SOURCE")]
    pub selftests: Option<String>,
    /// Only tests that match this glob; '!GLOB' leaves tests out; repeatable
    #[arg(short, long = "test", value_name = "GLOB")]
    pub tests: Vec<String>,
    /// Number of guests that run at the same time (default: one per CPU)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Start no more guests after the first failure
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
    /// With --shard or --emit: balance the shards by the times of this run (every shard has to be given the same)
    #[arg(long, value_name = "RUN", requires = "shard")]
    pub times: Option<PathBuf>,
    #[command(flatten)]
    /// The guests.
    pub hardware: Hardware,
    /// Treat tests skipped for missing kconfig options or modules as failures
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    /// When all tests were skipped.
    pub nothing_ran: NothingRan,
    /// Run the tests of each cell in an order that this number decides; the same number gives the same order
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    #[command(flatten)]
    /// How long they may take.
    pub limits: TimeLimits,
    #[command(flatten)]
    /// Where it is reported.
    pub outputs: OutputArgs,
    /// List the cells and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the jobs for a CI system, one for each shard, and start nothing
    #[arg(long, value_enum, value_name = "SYSTEM", conflicts_with_all = ["dry_run", "shard"])]
    pub emit: Option<CiSystem>,
    /// With --emit: the number of jobs (default: one per cell)
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
