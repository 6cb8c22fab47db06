//! What `kvet report` and `kvet matrix` do without a guest: the gate of `--diff`, shards, and the jobs for CI systems.

mod diff;
mod files;
mod log;
mod matrix;
mod merge;
mod shards;
mod terminal;

use std::fs;
use std::path::Path;

use crate::fixtures::cell;
use crate::support::{Ended, Kvet};
use Outcome::{Error, Fail, NotRun, Pass, Skip, Xfail};
use kvet::event::{CellReport, Outcome};
use kvet::report::store::store_report;

/// The kernel of a run of one cell.
const KERNEL: &str = "debian:7.2";

/// A run in a folder.
fn stored(cells: Vec<CellReport>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    store_report(dir.path(), &crate::fixtures::run(cells)).unwrap();
    dir
}

fn report(args: &[&str]) -> Ended {
    Kvet::new(["report"]).args(args).without_guest().end()
}
