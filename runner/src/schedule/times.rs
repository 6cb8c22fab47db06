//! How long cells took, so that the longest can go first next time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::event::{CellEnd, CellId, CellReport, Phase, RunReport};
use crate::report::store;
use kvet_host::fs::write_atomic;

/// What was recorded, in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    seconds: BTreeMap<String, f64>,
}

/// Most cells that are remembered; the file stays small whatever people try.
const MAX_CELLS: usize = 4096;

impl Times {
    /// The record in a cache. One that is not there or cannot be read is empty: it decides nothing but an order.
    pub fn recorded(cache: &Path) -> Self {
        let read = std::fs::read(file(cache)).ok();
        let seconds: BTreeMap<String, f64> =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let sane = |seconds: &f64| seconds.is_finite() && *seconds >= 0.0;
        Self { seconds: seconds.into_iter().filter(|(_, s)| sane(s)).collect() }
    }

    /// The times of a run, for shards that have to be the same on every machine.
    ///
    /// # Errors
    /// The caller's: it is no run's report.
    pub fn of_run(path: &Path) -> Result<Self> {
        let mut times = Self::default();
        times.add(&store::load(path)?);
        Ok(times)
    }

    /// How long a cell is expected to take; nothing is known of one that never ran.
    pub fn get(&self, cell: &CellId) -> Option<f64> {
        self.seconds.get(&cell.to_string()).copied()
    }

    /// For all cells; one that never ran counts like the average of those that did.
    pub fn weights<'a>(&self, cells: impl Iterator<Item = &'a CellId>) -> Vec<f64> {
        let known: Vec<Option<f64>> = cells.map(|cell| self.get(cell)).collect();
        let some: Vec<f64> = known.iter().flatten().copied().collect();
        let average = if some.is_empty() { 0.0 } else { some.iter().sum::<f64>() / some.len() as f64 };
        known.into_iter().map(|seconds| seconds.unwrap_or(average)).collect()
    }

    /// Takes over what a run took. A cell that did not run to its end says nothing.
    pub fn add(&mut self, run: &RunReport) {
        for cell in run.cells.iter().filter(|cell| cell.end == CellEnd::Completed) {
            if self.seconds.len() < MAX_CELLS || self.seconds.contains_key(&cell.id.to_string()) {
                self.seconds.insert(cell.id.to_string(), seconds(cell));
            }
        }
    }

    /// Writes the record into a cache.
    ///
    /// # Errors
    /// The host's: it cannot be written.
    pub fn record(&self, cache: &Path) -> Result<()> {
        let path = file(cache);
        let bytes = serde_json::to_vec_pretty(&self.seconds)
            .map_err(|e| Error::host("cannot turn times into JSON").because(e))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).host(format!("make {}", folder.display()))?;
        }
        write_atomic(&path, &bytes)
    }
}

/// Without the fetching, which the next run need not do again, and without the waiting, which is for others.
fn seconds(cell: &CellReport) -> f64 {
    let own = cell.times.iter().filter(|t| !matches!(t.phase, Phase::Fetch | Phase::Wait));
    own.map(|t| t.wall.as_secs_f64()).sum()
}

fn file(cache: &Path) -> PathBuf {
    cache.join("times.json")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::PhaseTime;
    use crate::report::sample;

    #[test]
    fn what_ran_is_remembered_without_its_fetching() {
        let cache = tempfile::tempdir().unwrap();
        let mut times = Times::recorded(cache.path());
        assert_eq!(times, Times::default());
        let mut run = sample::run();
        run.cells[0].times.push(PhaseTime { phase: Phase::Wait, wall: Duration::from_secs(60) });
        times.add(&run);
        times.record(cache.path()).unwrap();
        let times = Times::recorded(cache.path());
        assert_eq!(times.get(&sample::id()), Some(3.9));
        let other = CellId { kernel: "debian:5.10".into(), ..sample::id() };
        assert_eq!(times.weights([&sample::id(), &other].into_iter()), [3.9, 3.9]);
        assert_eq!(Times::default().weights([&other].into_iter()), [0.0]);
    }

    #[test]
    fn a_record_that_is_rubbish_is_no_trouble() {
        let cache = tempfile::tempdir().unwrap();
        std::fs::write(file(cache.path()), "{\"x\": -1, \"y\": 1e999}").unwrap();
        assert_eq!(Times::recorded(cache.path()), Times::default());
        std::fs::write(file(cache.path()), "\0").unwrap();
        assert_eq!(Times::recorded(cache.path()), Times::default());
    }
}
