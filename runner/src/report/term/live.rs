//! Live lines on a terminal: one for each running cell, and one for a download while there is one.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget};

use super::pace::{Pace, draw, style};
use crate::event::{CellId, ProgressUnit};
use crate::parse::clean::one_line;

/// How often a live line moves: seldom enough to cost nothing.
pub(super) const TICK: Duration = Duration::from_millis(125);

/// How often the lines are drawn at most, per second.
const HERTZ: u8 = 8;

/// The live lines.
pub(super) struct Live {
    all: MultiProgress,
    cells: Vec<LiveCell>,
    total: Option<Total>,
}

/// The line below the cells of a matrix.
struct Total {
    bar: ProgressBar,
    /// How long each cell took last time.
    weights: Vec<f64>,
    left: Vec<bool>,
    failed: usize,
    started: Instant,
}

/// The bar's steps: more than a terminal has columns.
const STEPS: u64 = 1000;

/// The line of a download or a build.
struct Bar {
    what: String,
    line: ProgressBar,
    pace: Pace,
}

struct LiveCell {
    name: String,
    line: Option<ProgressBar>,
    bar: Option<Bar>,
    phase: &'static str,
    test: String,
    done: usize,
    bad: usize,
}

impl Live {
    pub(super) fn new() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(HERTZ);
        Self { all: MultiProgress::with_draw_target(target), cells: Vec::new(), total: None }
    }

    /// With a line for all cells together.
    pub(super) fn with_total() -> Self {
        let mut live = Self::new();
        let bar = live.all.add(ProgressBar::new(STEPS));
        bar.set_style(style("  {bar:24} {msg} · {elapsed}"));
        live.total =
            Some(Total { bar, weights: Vec::new(), left: Vec::new(), failed: 0, started: Instant::now() });
        live
    }

    pub(super) fn cells(&mut self, cells: &[CellId], weights: &[f64]) {
        self.cells = cells.iter().map(LiveCell::new).collect();
        if let Some(total) = &mut self.total {
            total.weights =
                cells.iter().enumerate().map(|(i, _)| weights.get(i).copied().unwrap_or(0.0)).collect();
            total.left = vec![true; cells.len()];
            total.show();
        }
    }

    /// A cell is done.
    pub(super) fn cell_done(&mut self, cell: usize, failed: bool) {
        if let Some(total) = &mut self.total {
            if let Some(left) = total.left.get_mut(cell) {
                *left = false;
            }
            total.failed += usize::from(failed);
            total.show();
        }
    }

    /// A line above the total's.
    fn add(&self, bar: ProgressBar) -> ProgressBar {
        match &self.total {
            Some(total) => self.all.insert_before(&total.bar, bar),
            None => self.all.add(bar),
        }
    }

    /// Takes the lines away, does something that writes, and draws them again.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.all.suspend(write)
    }

    pub(super) fn phase(&mut self, cell: usize, phase: &'static str) {
        if self.cells.get(cell).is_some_and(|state| state.line.is_none()) {
            let line = self.add(ProgressBar::new_spinner());
            line.set_style(style("{spinner} {msg} · {elapsed}"));
            line.enable_steady_tick(TICK);
            self.cells[cell].line = Some(line);
        }
        let Some(state) = self.cells.get_mut(cell) else { return };
        state.phase = phase;
        state.test.clear();
        state.end_bar();
        state.show();
        if let Some(total) = &self.total {
            total.show();
        }
    }

    pub(super) fn test(&mut self, cell: usize, name: &str) {
        if let Some(state) = self.cells.get_mut(cell) {
            name.clone_into(&mut state.test);
            state.show();
        }
    }

    pub(super) fn tested(&mut self, cell: usize, bad: bool) {
        if let Some(state) = self.cells.get_mut(cell) {
            state.test.clear();
            state.done += 1;
            state.bad += usize::from(bad);
            state.show();
        }
    }

    pub(super) fn progress(
        &mut self,
        cell: usize,
        what: &str,
        done: u64,
        total: u64,
        unit: ProgressUnit,
        current: &str,
    ) {
        let Some(state) = self.cells.get_mut(cell) else { return };
        if total > 0 && done >= total {
            state.end_bar();
            return;
        }
        if state.bar.as_ref().is_none_or(|bar| bar.what != what) {
            state.end_bar();
            let line = self.add(ProgressBar::new(total));
            if unit == ProgressUnit::Bytes {
                line.set_style(style(match total {
                    0 => "  {msg} {bytes} {bytes_per_sec}",
                    _ => "  {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
                }));
                line.set_message(what.to_owned());
            }
            let Some(state) = self.cells.get_mut(cell) else { return };
            state.bar = Some(Bar { what: what.to_owned(), line, pace: Pace::begin() });
        }
        let Some(LiveCell { bar: Some(bar), .. }) = self.cells.get_mut(cell) else { return };
        match unit {
            ProgressUnit::Bytes => bar.line.set_position(done),
            ProgressUnit::Items => draw(&bar.line, done, total, bar.pace.line(what, done, total, current)),
        }
    }

    pub(super) fn end(&mut self, cell: usize) {
        if let Some(state) = self.cells.get_mut(cell) {
            state.end_bar();
            if let Some(line) = state.line.take() {
                line.finish_and_clear();
            }
        }
    }
}

/// Whatever ends a report (an error too) leaves the terminal clean.
impl Drop for Live {
    fn drop(&mut self) {
        for cell in 0..self.cells.len() {
            self.end(cell);
        }
        if let Some(total) = &self.total {
            total.bar.finish_and_clear();
        }
    }
}

impl Total {
    fn show(&self) {
        let done = self.left.iter().filter(|left| !**left).count();
        let weight = |left: bool| -> f64 {
            // Cells of which nothing is known count alike.
            self.weights.iter().zip(&self.left).filter(|(_, l)| **l == left).map(|(w, _)| w.max(1.0)).sum()
        };
        let part = weight(false) / (weight(false) + weight(true)).max(1.0);
        let mut text = format!("{done} of {} cells", self.left.len());
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if done > 0 && done < self.left.len() {
            let eta = self.started.elapsed().as_secs_f64() * (1.0 - part) / part;
            text.push_str(&format!(" · eta {}", HumanDuration(Duration::from_secs_f64(eta))));
        }
        self.bar.set_position((part * STEPS as f64) as u64);
        self.bar.set_message(text);
    }
}

impl LiveCell {
    fn new(id: &CellId) -> Self {
        Self {
            name: one_line(&id.to_string()),
            line: None,
            bar: None,
            phase: "",
            test: String::new(),
            done: 0,
            bad: 0,
        }
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.line.finish_and_clear();
        }
    }

    fn show(&self) {
        let Some(line) = &self.line else { return };
        let mut text = format!("{} · {}", self.name, self.phase);
        if self.done > 0 {
            text.push_str(&format!(" · {} done", self.done));
        }
        if self.bad > 0 {
            text.push_str(&format!(", {} failed", self.bad));
        }
        if !self.test.is_empty() {
            text.push_str(&format!(" · {}", self.test));
        }
        line.set_message(text);
    }
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressStyle;

    #[test]
    fn the_templates_compile() {
        for template in [
            "{spinner} {msg} · {elapsed}",
            "  {bar:24} {msg} · {elapsed}",
            "  {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
        ] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
