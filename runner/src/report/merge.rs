//! Several runs that are parts of one.

use std::collections::HashSet;

use super::verdict;
use super::verdict::worst_code;
use crate::error::{Error, Result, exit};
use crate::event::{CellEnd, CellId, CellReport, Counts, RunReport};

/// Puts the shards of a run together: the report is that of the whole run. A cell that no shard has is trouble of the host: it
/// was planned, and nobody knows what became of it. Where a shard's own exit code is worse than what its cells amount to,
/// it counts.
///
/// # Errors
/// The caller's: nothing to merge, shards of different plans or without one, a cell that is not in the plan or in two shards.
pub fn merge(shards: &[RunReport]) -> Result<RunReport> {
    let Some(first) = shards.first() else {
        return Err(Error::caller("there is no run to merge"));
    };
    let mut cells: Vec<CellReport> = Vec::new();
    for shard in shards {
        check_plan(shard, first)?;
        for cell in &shard.cells {
            if let Some(twice) = cells.iter().find(|other| other.id == cell.id) {
                return Err(Error::caller(format!(
                    "{} is in two of the runs: {} and {}",
                    cell.id,
                    twice.dir.display(),
                    cell.dir.display()
                ))
                .hint("leave one of the two runs out: kvet does not choose between their results"));
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
    let codes = shards.iter().map(|shard| shard.exit_code).chain([verdict(&whole)]);
    whole.exit_code = worst_code(codes).unwrap_or(exit::HOST);
    Ok(whole)
}

/// Whether a report counts the results that it has.
///
/// # Errors
/// The caller's: it does not. Somebody has changed one of the two.
pub fn check_counts(run: &RunReport) -> Result<()> {
    match run.cells.iter().find(|cell| cell.counts != Counts::of(&cell.cases)) {
        Some(cell) => {
            let (dir, id) = (run.dir.display(), &cell.id);
            Err(Error::caller(format!("the report of {dir} counts other results of {id} than it has"))
                .hint("it was changed after the run: run it again"))
        }
        None => Ok(()),
    }
}

/// Whether a run is a part of the same plan as the first one, and of nothing else.
fn check_plan(shard: &RunReport, first: &RunReport) -> Result<()> {
    let dir = shard.dir.display();
    if shard.planned.is_empty() {
        // What is missing could not be told from what was never planned.
        return Err(Error::caller(format!("the report of {dir} does not say what was planned"))
            .hint("run it again with this version of kvet"));
    }
    if shard.planned != first.planned {
        return Err(Error::caller(format!("{} and {dir} are not shards of one plan", first.dir.display()))
            .hint("`kvet report --diff` compares runs"));
    }
    match shard.cells.iter().find(|cell| !shard.planned.contains(&cell.id)) {
        Some(cell) => {
            Err(Error::caller(format!("the report of {dir} has {}, which is not in its plan", cell.id)))
        }
        None => Ok(()),
    }
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
        about_job: Vec::new(),
        must_run: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Table, sample};
    use super::super::{junit, sample as plain};
    use super::*;
    use crate::error::Fault;
    use crate::event::Outcome;

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
        let mut planless = shards[0].clone();
        planless.planned.clear();
        let e = merge(&[planless.clone(), planless]).unwrap_err();
        assert!(e.to_string().contains("does not say what was planned"), "{e}");
        let mut stray = shards[0].clone();
        stray.cells[0].id.kernel = "debian:9.9".into();
        let e = merge(&[stray]).unwrap_err();
        assert!(e.to_string().contains(", which is not in its plan"), "{e}");
    }

    #[test]
    fn the_exit_code_of_a_shard_counts() {
        let (_, mut shards) = whole_and_shards();
        for shard in &mut shards {
            shard.cells.iter_mut().for_each(|cell| {
                cell.end = CellEnd::Completed;
                cell.cases = vec![plain::case("a", Outcome::Pass, 1, "", "")];
            });
            shard.exit_code = exit::PASSED;
        }
        assert_eq!(merge(&shards).unwrap().exit_code, exit::PASSED);
        for code in [exit::FAILED, exit::HOST, exit::INTERRUPTED, 77] {
            shards[0].exit_code = code;
            assert_eq!(merge(&shards).unwrap().exit_code, code);
        }
    }
}
