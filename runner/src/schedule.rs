//! Runs the cells of a plan and reports on them. They run one after the other.

use std::time::Instant;

use crate::cell::{self, Resources};
use crate::event::{Event, RunReport};
use crate::plan::Plan;
use crate::report::store::RunDir;
use crate::report::verdict;

/// Runs every cell, whatever becomes of the others. After an interrupt the rest are reported as interrupted.
pub fn run(
    plan: &Plan,
    dir: &RunDir,
    command: Vec<String>,
    resources: &Resources,
    emit: &mut dyn FnMut(Event),
) -> RunReport {
    let started = Instant::now();
    emit(Event::RunStarted {
        run_id: dir.run_id().to_owned(),
        dir: dir.path().to_owned(),
        cells: plan.cells.iter().map(|cell| cell.id.clone()).collect(),
    });
    let mut cells = Vec::new();
    for (index, plan) in plan.cells.iter().enumerate() {
        cells.push(cell::run(index, plan, dir.cell(index), resources, emit));
    }
    let mut report = RunReport {
        run_id: dir.run_id().to_owned(),
        dir: dir.path().to_owned(),
        command,
        kvet: env!("CARGO_PKG_VERSION").to_owned(),
        planned: plan.cells.iter().map(|cell| cell.id.clone()).collect(),
        cells,
        wall: started.elapsed(),
        exit_code: 0,
    };
    report.exit_code = verdict(&report);
    emit(Event::RunFinished { report: Box::new(report.clone()) });
    report
}
