//! `kvet report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `kvet report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders of runs, or their report.json (default: the latest run in results/)
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub format: ReportFormat,
    /// Compare two runs: what newly fails, is fixed, appears, vanishes
    #[arg(long, conflicts_with_all = ["merge", "all"])]
    pub diff: bool,
    /// Merge the shards of one run; exits as the whole run would have
    #[arg(long, requires = "runs")]
    pub merge: bool,
    /// Keep the merged run in this folder
    #[arg(long, value_name = "DIR", requires = "merge")]
    pub into: Option<PathBuf>,
    /// Also the tests that pass wherever they apply, and those that ran nowhere
    #[arg(long)]
    pub all: bool,
    /// Write to this file instead of standard output
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
