//! Several runs that are parts of one.

use std::collections::HashSet;

use super::verdict;
use crate::error::{Error, Result};
use crate::event::{CellEnd, CellId, CellReport, Counts, RunReport};

/// Puts the shards of a run together: the report is that of the whole run. A cell that no shard has is trouble of the host: it
/// was planned, and nobody knows what became of it.
///
/// # Errors
/// The caller's: nothing to merge, shards of different plans, or two shards with the same cell.
pub fn merge(shards: &[RunReport]) -> Result<RunReport> {
    let Some(first) = shards.first() else {
        return Err(Error::caller("there is no run to merge"));
    };
    let mut cells: Vec<CellReport> = Vec::new();
    for shard in shards {
        if shard.planned != first.planned {
            return Err(Error::caller(format!(
                "{} and {} are not shards of one plan",
                first.dir.display(),
                shard.dir.display()
            ))
            .hint("`kvet report --diff` compares runs"));
        }
        for cell in &shard.cells {
            if let Some(twice) = cells.iter().find(|other| other.id == cell.id) {
                return Err(Error::caller(format!(
                    "{} is in two of the runs: {} and {}",
                    cell.id,
                    twice.dir.display(),
                    cell.dir.display()
                )));
            }
            cells.push(cell.clone());
        }
    }
    let known: HashSet<&CellId> = cells.iter().map(|cell| &cell.id).collect();
    let missing: Vec<CellReport> =
        first.planned.iter().filter(|id| !known.contains(id)).map(|id| lost(id, first)).collect();
    cells.extend(missing);
    cells.sort_by_key(|cell| first.planned.iter().position(|id| *id == cell.id));
    let mut whole = RunReport {
        cells,
        wall: shards.iter().map(|shard| shard.wall).max().unwrap_or_default(),
        ..first.clone()
    };
    whole.exit_code = verdict(&whole);
    Ok(whole)
}

fn lost(id: &CellId, run: &RunReport) -> CellReport {
    CellReport {
        id: id.clone(),
        kernel: None,
        accel: None,
        accel_reason: String::new(),
        end: CellEnd::Infra { reason: "none of the merged runs has this cell".into() },
        cases: Vec::new(),
        counts: Counts::default(),
        splats: Vec::new(),
        provenance: std::collections::BTreeMap::new(),
        times: Vec::new(),
        work: Vec::new(),
        started_unix: 0.0,
        dir: run.dir.clone(),
        boots: 0,
        notes: Vec::new(),
        flaky: Vec::new(),
        reruns: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Table, sample};
    use super::super::{junit, sample as plain};
    use super::*;
    use crate::error::{Fault, exit};

    /// The run that the tests of the table share, and that run in two shards.
    fn whole_and_shards() -> (RunReport, Vec<RunReport>) {
        let mut whole = sample::run();
        whole.planned = whole.cells.iter().map(|cell| cell.id.clone()).collect();
        whole.exit_code = verdict(&whole);
        let part = |keep: &dyn Fn(usize) -> bool| RunReport {
            cells: whole.cells.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, c)| c.clone()).collect(),
            ..whole.clone()
        };
        let shards = vec![part(&|i| i % 2 == 1), part(&|i| i % 2 == 0)];
        (whole, shards)
    }

    #[test]
    fn shards_merged_are_the_whole() {
        let (whole, shards) = whole_and_shards();
        let merged = merge(&shards).unwrap();
        assert_eq!(merged, whole);
        assert_eq!(Table::of(&merged), Table::of(&whole));
        assert_eq!(junit::to_xml(&merged).unwrap(), junit::to_xml(&whole).unwrap());
    }

    #[test]
    fn a_shard_that_is_missing_is_not_green() {
        let (whole, shards) = whole_and_shards();
        let merged = merge(&shards[..1]).unwrap();
        assert_eq!(merged.cells.len(), whole.cells.len());
        assert_eq!(merged.exit_code, exit::HOST);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (_, shards) = whole_and_shards();
        let e = merge(&[shards[0].clone(), shards[0].clone()]).unwrap_err();
        assert!(e.to_string().contains("is in two of the runs"), "{e}");
        let e = merge(&[shards[0].clone(), plain::run()]).unwrap_err();
        assert!(e.to_string().contains("not shards of one plan"), "{e}");
        assert_eq!(merge(&[]).unwrap_err().fault(), Fault::Caller);
    }
}
