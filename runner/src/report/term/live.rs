//! Live lines on a terminal: one for each running cell, and one for a download while there is one.

use std::io;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, TermLike};

use super::pace::{Pace, draw, style};
use super::text::phase_name;
use crate::event::{CellId, Phase, ProgressUnit};
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
    /// When each was begun.
    begun: Vec<Option<Instant>>,
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

/// A cell that takes longer than last time is almost done, and no more.
const ALMOST: f64 = 0.9;

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
        Self::on(Term::buffered_stderr())
    }

    fn on(terminal: impl TermLike + 'static) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Deaf(terminal)), HERTZ);
        Self { all: MultiProgress::with_draw_target(target), cells: Vec::new(), total: None }
    }

    /// With a line for all cells together.
    pub(super) fn with_total() -> Self {
        let mut live = Self::new();
        let bar = live.all.add(ProgressBar::new(STEPS));
        bar.set_style(style("  {bar:24} {msg} · {elapsed}"));
        bar.enable_steady_tick(TICK);
        let (weights, left, begun) = (Vec::new(), Vec::new(), Vec::new());
        live.total = Some(Total { bar, weights, left, begun, failed: 0, started: Instant::now() });
        live
    }

    pub(super) fn cells(&mut self, cells: &[CellId], weights: &[f64]) {
        self.cells = cells.iter().map(LiveCell::new).collect();
        if let Some(total) = &mut self.total {
            total.weights =
                cells.iter().enumerate().map(|(i, _)| weights.get(i).copied().unwrap_or(0.0)).collect();
            total.left = vec![true; cells.len()];
            total.begun = vec![None; cells.len()];
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

    pub(super) fn phase(&mut self, cell: usize, phase: Phase) {
        if self.cells.get(cell).is_some_and(|state| state.line.is_none()) {
            let line = self.add(ProgressBar::new_spinner());
            line.set_style(style("{spinner} {msg} · {elapsed}"));
            line.enable_steady_tick(TICK);
            self.cells[cell].line = Some(line);
        }
        let Some(state) = self.cells.get_mut(cell) else { return };
        state.phase = phase_name(phase);
        state.test.clear();
        state.end_bar();
        state.show();
        if let Some(total) = &mut self.total {
            total.phase(cell, phase);
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
            if let Some(total) = &self.total {
                total.show();
            }
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

/// A terminal on which every write succeeds as far as indicatif knows, which panics where one does not: a terminal that was
/// closed must not end the run.
#[derive(Debug)]
struct Deaf<T>(T);

impl<T: TermLike> TermLike for Deaf<T> {
    fn width(&self) -> u16 {
        self.0.width()
    }

    fn height(&self) -> u16 {
        self.0.height()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n).or(Ok(()))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n).or(Ok(()))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n).or(Ok(()))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n).or(Ok(()))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text).or(Ok(()))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text).or(Ok(()))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line().or(Ok(()))
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush().or(Ok(()))
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
    /// While a cell waits for others nothing of its time passes: it begins after that.
    fn phase(&mut self, cell: usize, phase: Phase) {
        let Some(begun) = self.begun.get_mut(cell) else { return };
        *begun = if phase == Phase::Wait { None } else { begun.or_else(|| Some(Instant::now())) };
    }

    /// How much of all is done, 0 to 1. Of a cell whose time is known from an earlier run, also what is over of it counts.
    fn part(&self) -> f64 {
        let (mut over, mut all) = (0.0, 0.0);
        for ((weight, left), begun) in self.weights.iter().zip(&self.left).zip(&self.begun) {
            // Cells of which nothing is known count alike.
            let whole = weight.max(1.0);
            all += whole;
            over += match begun {
                _ if !left => whole,
                Some(begun) => begun.elapsed().as_secs_f64().min(weight * ALMOST),
                None => 0.0,
            };
        }
        over / all.max(1.0)
    }

    /// By how much the longest of the cells that are left is late, if all of them are.
    fn overdue(&self) -> Option<Duration> {
        let cells = self.weights.iter().zip(&self.left).zip(&self.begun).filter(|((_, left), _)| **left);
        let late = |((weight, _), begun): ((&f64, &bool), &Option<Instant>)| {
            let (known, begun) = ((*weight > 0.0).then_some(*weight)?, (*begun)?);
            begun.elapsed().checked_sub(Duration::from_secs_f64(known))
        };
        cells.map(late).collect::<Option<Vec<Duration>>>()?.into_iter().max()
    }

    fn show(&self) {
        let done = self.left.iter().filter(|left| !**left).count();
        let part = self.part();
        let mut text = format!("{done} of {} cells", self.left.len());
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if let Some(late) = self.overdue() {
            // What was forecast has passed, and nothing tells how long it will still take.
            text.push_str(&format!(" · {} longer than last time", HumanDuration(late)));
        } else if part > 0.0 && done < self.left.len() {
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

    use super::*;

    fn total(weights: &[f64], left: &[bool], begun: &[Option<Instant>]) -> Total {
        let (bar, started) = (ProgressBar::hidden(), Instant::now());
        let (weights, left, begun) = (weights.to_vec(), left.to_vec(), begun.to_vec());
        Total { bar, weights, left, begun, failed: 0, started }
    }

    fn ago(seconds: u64) -> Option<Instant> {
        Instant::now().checked_sub(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_over_of_a_cell_counts_where_its_time_is_known() {
        let part =
            |weights: &[f64], left: &[bool], begun: &[Option<Instant>]| total(weights, left, begun).part();
        assert_eq!(part(&[0.0, 0.0], &[true, true], &[ago(5), None]), 0.0);
        assert_eq!(part(&[0.0, 0.0], &[false, true], &[ago(5), ago(5)]), 0.5);
        let half = part(&[10.0, 10.0], &[true, true], &[ago(5), ago(5)]);
        assert!((0.5..0.6).contains(&half), "{half}");
        assert_eq!(part(&[10.0, 10.0], &[true, true], &[ago(50), None]), 0.45);
    }

    #[test]
    fn a_cell_that_waits_for_others_has_not_begun() {
        let mut total = total(&[10.0, 10.0], &[true, true], &[ago(50), ago(5)]);
        total.phase(1, Phase::Wait);
        assert_eq!(total.part(), 0.45, "of the other one alone");
        total.phase(1, Phase::Boot);
        assert!((0.45..0.5).contains(&total.part()), "it begins now: {}", total.part());
        let begun = total.begun[1];
        total.phase(1, Phase::Tests);
        assert!(begun.is_some() && total.begun[1] == begun);
    }

    #[test]
    fn a_forecast_that_has_passed_is_no_forecast() {
        let late = |weights: &[f64], left: &[bool], begun: &[Option<Instant>]| {
            total(weights, left, begun).overdue().map(|late| late.as_secs())
        };
        assert_eq!(late(&[10.0, 10.0], &[true, true], &[ago(15), ago(35)]), Some(25));
        assert_eq!(late(&[10.0, 10.0], &[false, true], &[ago(15), ago(5)]), None, "not yet");
        assert_eq!(late(&[10.0, 10.0], &[true, true], &[ago(15), None]), None, "one waits");
        assert_eq!(late(&[0.0], &[true], &[ago(15)]), None, "nothing was forecast");
        assert_eq!(late(&[10.0], &[false], &[ago(15)]), None, "all are done");
        let total = total(&[10.0], &[true], &[ago(75)]);
        total.show();
        assert_eq!(total.bar.message(), "0 of 1 cells · 65 seconds longer than last time");
    }

    /// A terminal that was closed: every write fails (tty_write(), EIO).
    #[derive(Debug)]
    struct Closed;

    fn gone() -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    impl TermLike for Closed {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            gone()
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            gone()
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            gone()
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            gone()
        }
        fn write_line(&self, _: &str) -> io::Result<()> {
            gone()
        }
        fn write_str(&self, _: &str) -> io::Result<()> {
            gone()
        }
        fn clear_line(&self) -> io::Result<()> {
            gone()
        }
        fn flush(&self) -> io::Result<()> {
            gone()
        }
    }

    #[test]
    fn a_closed_terminal_ends_nothing() {
        let mut live = Live::on(Closed);
        let cell = crate::report::sample::id();
        live.cells(std::slice::from_ref(&cell), &[1.0]);
        live.phase(0, Phase::Tests);
        live.test(0, "a");
        live.progress(0, "building", 1, 10, ProgressUnit::Items, "a.o");
        assert_eq!(live.aside(|| 7), 7);
        live.tested(0, true);
        assert_eq!(live.aside(|| 8), 8);
        live.end(0);
    }

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
