//! Runs the cells of a plan, several at once, and reports on them.

pub mod retry;
pub mod shard;
pub mod times;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::cell::{self, Resources};
use crate::error::exit;
use crate::event::{CellEnd, CellReport, Event, Phase, RunReport};
use crate::plan::{CellPlan, Plan};
use crate::report::store::RunDir;
use crate::report::{cell_code, verdict};
use retry::Retries;

/// How cells are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Guests that run at the same time.
    pub jobs: usize,
    /// Whether one more cell is fetched, built and prepared meanwhile. Its guest waits for the others' only by the slots.
    pub ahead: bool,
    /// Whether no guest is started any more after a cell that failed.
    pub fail_fast: bool,
    /// How long each cell took last time, in seconds; 0 where nothing is known. The longest is started first.
    pub weights: Vec<f64>,
    /// What is done about tests that fail, if anything.
    pub retries: Option<Retries>,
}

impl Options {
    /// One after the other, as they were asked for.
    pub fn sequential(plan: &Plan) -> Self {
        Self { jobs: 1, ahead: false, fail_fast: false, weights: vec![0.0; plan.cells.len()], retries: None }
    }

    /// Cells that are worked on at the same time.
    fn workers(&self, cells: usize) -> usize {
        (self.jobs + usize::from(self.ahead)).clamp(1, cells.max(1))
    }
}

/// Events that may wait to be reported: a guest that floods its console waits for the reporters, and not they for memory.
const MAX_WAITING: usize = 1024;

/// Runs every cell, whatever becomes of the others. After an interrupt the rest are reported as interrupted. Events are
/// emitted on the calling thread.
pub fn run(
    plan: &Plan,
    dir: &RunDir,
    command: Vec<String>,
    resources: &Resources,
    options: &Options,
    emit: &mut dyn FnMut(Event),
) -> RunReport {
    let started = Instant::now();
    emit(Event::RunStarted {
        run_id: dir.run_id().to_owned(),
        dir: dir.path().to_owned(),
        cells: plan.cells.iter().map(|cell| cell.id.clone()).collect(),
        weights: options.weights.clone(),
    });
    let cells = run_cells(plan, dir, resources, options, emit);
    let mut report = RunReport {
        run_id: dir.run_id().to_owned(),
        dir: dir.path().to_owned(),
        command,
        kvet: env!("CARGO_PKG_VERSION").to_owned(),
        planned: plan.planned.clone(),
        cells,
        wall: started.elapsed(),
        exit_code: 0,
    };
    report.exit_code = verdict(&report);
    emit(Event::RunFinished { report: Box::new(report.clone()) });
    report
}

/// The cells that nobody has begun, and why nobody should any more.
struct Queue {
    waiting: Mutex<(VecDeque<usize>, Option<String>)>,
    /// Whether a guest was started, or a cell is over.
    begun: (Mutex<bool>, Condvar),
}

impl Queue {
    fn new(options: &Options, cells: usize) -> Self {
        let mut order: Vec<usize> = (0..cells).collect();
        let weight = |cell: &usize| options.weights.get(*cell).copied().unwrap_or(0.0);
        order.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        Self { waiting: Mutex::new((order.into(), None)), begun: Default::default() }
    }

    /// Whoever works ahead comes after those who are first: two that prepare at the same time would start in any order.
    fn wait_for_the_first(&self) {
        let (begun, changed) = &self.begun;
        let begun = begun.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(changed.wait_while(begun, |begun| !*begun));
    }

    fn note_first(&self, event: &Event) {
        if matches!(event, Event::PhaseStarted { phase: Phase::Boot, .. } | Event::CellFinished { .. }) {
            *self.begun.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
            self.begun.1.notify_all();
        }
    }

    /// The next cell, and the reason not to begin it.
    fn next(&self) -> Option<(usize, Option<String>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cell = waiting.0.pop_front()?;
        Some((cell, waiting.1.clone()))
    }

    fn stop(&self, reason: String) {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        waiting.1.get_or_insert(reason);
    }
}

fn run_cells(
    plan: &Plan,
    dir: &RunDir,
    resources: &Resources,
    options: &Options,
    emit: &mut dyn FnMut(Event),
) -> Vec<CellReport> {
    let queue = Queue::new(options, plan.cells.len());
    let (sender, events) = sync_channel(MAX_WAITING);
    let mut reports: Vec<Option<CellReport>> = plan.cells.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for worker in 0..options.workers(plan.cells.len()) {
            let (queue, sender) = (&queue, sender.clone());
            // A guest lives as long as the thread that started it: each cell is on one thread from beginning to end.
            scope.spawn(move || {
                if worker >= options.jobs.max(1) {
                    queue.wait_for_the_first();
                }
                work(queue, plan, dir, resources, options, &sender);
            });
        }
        drop(sender);
        for event in events {
            if let Event::CellFinished { cell, report } = &event {
                reports[*cell] = Some((**report).clone());
            }
            emit(event);
        }
    });
    // A worker that panicked has taken its cell with it.
    let lost = |index: usize| {
        let reason = "an internal error of kvet".to_owned();
        cell::not_run(&plan.cells[index], dir.cell(index), CellEnd::Infra { reason })
    };
    reports.into_iter().enumerate().map(|(index, report)| report.unwrap_or_else(|| lost(index))).collect()
}

/// Takes cells until there are none left.
fn work(
    queue: &Queue,
    plan: &Plan,
    dir: &RunDir,
    resources: &Resources,
    options: &Options,
    events: &SyncSender<Event>,
) {
    let mut emit = |event: Event| {
        queue.note_first(&event);
        if let Event::CellFinished { report, .. } = &event
            && options.fail_fast
            && report.end != CellEnd::Interrupted
            && cell_code(report) != exit::PASSED
        {
            // It still has its slot, so that none of those that wait for one can be quicker. (With --retries its last guest has gone: one
            // of them may be.)
            let reason = format!("{} failed", report.id);
            resources.slots.close(&reason);
            queue.stop(reason);
        }
        // The receiver lives until every sender is gone, unless something panicked there. Then nobody reports what comes, and
        // no guest should run for it.
        if events.send(event).is_err() {
            resources.cancel.request();
        }
    };
    while let Some((index, stopped)) = queue.next() {
        let cell = &plan.cells[index];
        if let Some(reason) = stopped {
            let report = cell::not_run(cell, dir.cell(index), CellEnd::NotStarted { reason });
            emit(Event::CellFinished { cell: index, report: Box::new(report) });
            continue;
        }
        run_one(index, cell, dir.cell(index), resources, options.retries, &mut emit);
    }
}

/// A cell, and whatever panics in it: a mistake of ours in one cell is no reason to lose the others.
fn run_one(
    index: usize,
    plan: &CellPlan,
    dir: &Path,
    resources: &Resources,
    retries: Option<Retries>,
    emit: &mut dyn FnMut(Event),
) {
    let run = std::panic::AssertUnwindSafe(|| match retries {
        Some(retries) => run_with_retries(index, plan, dir, resources, retries, emit),
        None => drop(cell::run(index, plan, dir, resources, emit)),
    });
    if std::panic::catch_unwind(run).is_err() {
        let reason = "an internal error of kvet; what it said is above".to_owned();
        let report = cell::not_run(plan, dir, CellEnd::Infra { reason });
        emit(Event::CellFinished { cell: index, report: Box::new(report) });
    }
}

/// A cell and then its failing tests. That it is finished is told when they are, too.
fn run_with_retries(
    index: usize,
    plan: &CellPlan,
    dir: &Path,
    resources: &Resources,
    retries: Retries,
    emit: &mut dyn FnMut(Event),
) {
    let mut report = cell::run(index, plan, dir, resources, &mut |event| match event {
        Event::CellFinished { .. } => {}
        event => emit(event),
    });
    retry::retry(index, plan, &mut report, resources, retries, emit);
    emit(Event::CellFinished { cell: index, report: Box::new(report) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_goes_first_and_equals_stay_in_order() {
        let weights = vec![1.0, 9.0, 1.0, 4.0];
        let options = Options { jobs: 2, ahead: true, fail_fast: false, weights, retries: None };
        let queue = Queue::new(&options, 4);
        let order: Vec<usize> = std::iter::from_fn(|| queue.next().map(|(cell, _)| cell)).collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!((options.workers(4), options.workers(2), options.workers(0)), (3, 2, 1));
        assert_eq!(Options { jobs: 1, ..options.clone() }.workers(4), 2);
        assert_eq!(Options { jobs: 1, ahead: false, ..options }.workers(4), 1);
    }

    #[test]
    fn who_works_ahead_waits_for_a_guest() {
        let options = Options { jobs: 1, ahead: true, fail_fast: false, weights: Vec::new(), retries: None };
        let queue = Queue::new(&options, 2);
        let (sender, order) = sync_channel(2);
        std::thread::scope(|scope| {
            let (queue, ahead) = (&queue, sender.clone());
            scope.spawn(move || {
                queue.wait_for_the_first();
                ahead.send("ahead").unwrap();
            });
            queue.note_first(&Event::PhaseStarted { cell: 0, phase: Phase::Prepare });
            std::thread::sleep(std::time::Duration::from_millis(50));
            sender.send("first").unwrap();
            queue.note_first(&Event::PhaseStarted { cell: 0, phase: Phase::Boot });
        });
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["first", "ahead"]);
    }

    #[test]
    fn nothing_is_begun_after_a_stop() {
        let queue = Queue::new(
            &Options { jobs: 1, ahead: false, fail_fast: true, weights: Vec::new(), retries: None },
            2,
        );
        assert_eq!(queue.next(), Some((0, None)));
        queue.stop("a failed".into());
        queue.stop("b failed".into());
        assert_eq!(queue.next(), Some((1, Some("a failed".into()))));
        assert_eq!(queue.next(), None);
    }
}
