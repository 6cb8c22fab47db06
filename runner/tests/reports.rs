//! What `kvet report` and `kvet matrix` do without a guest: the gate of `--diff`, shards, and the jobs for CI systems.

#[path = "reports/diff.rs"]
mod diff;
#[path = "reports/files.rs"]
mod files;
#[path = "vm/kvet.rs"]
#[allow(dead_code, reason = "no guest is started here")]
mod kvet_command;
#[path = "reports/log.rs"]
mod log;
mod made_up;
#[path = "reports/matrix.rs"]
mod matrix;
#[path = "reports/merge.rs"]
mod merge;
#[path = "reports/shards.rs"]
mod shards;
#[path = "reports/terminal.rs"]
mod terminal;

use std::fs;
use std::path::Path;

use Outcome::{Error, Fail, NotRun, Pass, Skip, Xfail};
use kvet::event::{CellReport, Outcome};
use kvet::report::store::store_report;
use kvet_command::{Ended, Kvet};
use made_up::cell;

/// The kernel of a run of one cell.
const KERNEL: &str = "debian:7.2";

/// A run in a folder.
fn stored(cells: Vec<CellReport>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    store_report(dir.path(), &made_up::run(cells)).unwrap();
    dir
}

fn report(args: &[&str]) -> Ended {
    Kvet::new(["report"]).args(args).without_guest().end()
}
