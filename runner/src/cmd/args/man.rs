//! `kvet man`.

use std::path::PathBuf;

use clap::Args;

/// `kvet man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command whose page is printed: `kvet man run`, `kvet man kernel fetch` (default: the page of kvet itself)
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Write one page per command into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with_all = ["command", "markdown"])]
    pub into: Option<PathBuf>,
    /// Print docs/reference/command-line.md
    #[arg(long, hide = true, conflicts_with = "command")]
    pub markdown: bool,
}
