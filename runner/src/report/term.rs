//! The report for people.
//!
//! Results go to standard output: they are what was asked for. What goes on meanwhile goes to standard error: as
//! live lines where that is a terminal, else as plain lines, none of which is lost. Live lines are taken away while
//! a result is printed and drawn again below it, so that the two never mix on one screen.

mod fold;
mod live;
mod pace;
mod text;

pub use fold::{harmless, harmless_json};
pub use pace::{Pace, draw};
pub use text::{phase_name, summary};

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use fold::Fold;
use live::Live;
use text::{Paint, case_line, describe_progress};

use super::Reporter;
use super::table::{self, Table};
use crate::error::Result;
use crate::event::{CellId, CellReport, Event, Outcome, Phase, ProgressUnit, RunReport, Stream, TestCase};
use crate::parse::clean::one_line;

/// Lines of the console kept for showing after a crash.
const CONSOLE_TAIL: usize = 30;
/// Results that are shown one by one; of more only the number is.
const MAX_RESULTS: usize = 5000;
/// How often a plain line tells how far a build is.
const STEPS_EVERY: Duration = Duration::from_secs(30);

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// Where standard output is a terminal and NO_COLOR is not set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether to colour, given whether the output is a terminal. NO_COLOR: <https://no-color.org>.
    pub fn is_on(self, terminal: bool) -> bool {
        match self {
            ColorChoice::Auto => {
                terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        }
    }
}

/// How much is said, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Colours in the results.
    pub color: bool,
    /// Also the console, the job's output and QEMU's command line, on standard error.
    pub verbose: bool,
    /// What is shown of the tests.
    pub style: Style,
    /// Each line begins with the time since the beginning: a log of a matrix is read much later.
    pub clock: bool,
    /// The CI system in whose log the tests of a finished cell are folded away.
    pub fold: Option<Fold>,
    /// Whether this becomes the log of a CI job: nothing that a guest says is a command in it then.
    pub job: bool,
}

/// What is shown of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// A line for each.
    #[default]
    Tests,
    /// The same, and the job's output as it comes, each stream on ours: the caller named a program and wants to see what it
    /// says.
    Program,
    /// Those that failed, a line for each cell, and the table of tests × kernels in the end.
    Cells,
}

/// The reporter for people.
pub struct Term<O, E> {
    results: Pipe<O>,
    progress: Pipe<E>,
    options: Options,
    live: Option<Live>,
    cells: Vec<Cell>,
    started: Instant,
    /// How many results there were to show.
    results_shown: usize,
}

/// Somewhere to write that may close.
struct Pipe<W> {
    to: W,
    closed: bool,
}

/// What is known of a cell so far.
struct Cell {
    id: CellId,
    /// What was printed of its tests.
    printed: HashMap<String, Outcome>,
    console: VecDeque<String>,
    /// What was said of the progress at hand, its pace, and when it was spoken of last.
    progress: Option<String>,
    pace: Pace,
    told: Instant,
}

impl Term<std::io::Stdout, std::io::Stderr> {
    /// On standard output and standard error, with live lines if the latter is a terminal.
    pub fn stdio(color: ColorChoice, verbose: bool, style: Style) -> Self {
        let color = color.is_on(std::io::stdout().is_terminal());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let (fold, job) = (Fold::of_environment(), fold::in_a_job());
        let live = (std::io::stderr().is_terminal() && !dumb && !job).then(|| match style {
            Style::Cells => Live::with_total(),
            Style::Tests | Style::Program => Live::new(),
        });
        let clock = style == Style::Cells && live.is_none();
        let options = Options { color, verbose, style, clock, fold, job };
        Self { live, ..Term::plain(std::io::stdout(), std::io::stderr(), options) }
    }
}

impl<O: Write + Send, E: Write + Send> Term<O, E> {
    /// To two given places, without live lines.
    pub fn plain(results: O, progress: E, options: Options) -> Self {
        let (results, progress) = (Pipe::new(results), Pipe::new(progress));
        Self {
            results,
            progress,
            options,
            live: None,
            cells: Vec::new(),
            started: Instant::now(),
            results_shown: 0,
        }
    }

    /// The time since the beginning, where lines have it.
    fn clock(&self) -> String {
        let seconds = self.started.elapsed().as_secs();
        if self.options.clock { format!("[{:2}:{:02}] ", seconds / 60, seconds % 60) } else { String::new() }
    }

    fn result(&mut self, text: &str) {
        let text = self.harmless(text);
        self.write(&text);
    }

    /// A text for the log of a CI job, if this is one.
    fn harmless(&self, text: &str) -> String {
        if self.options.job { fold::tame(text) } else { text.to_owned() }
    }

    fn write(&mut self, text: &str) {
        let to = &mut self.results;
        let lost = match &self.live {
            Some(live) => live.aside(|| to.line(text)),
            None => to.line(text),
        };
        if let Some(error) = lost {
            // A full disk is worth a word, once. The verdict does not depend on who can read it.
            self.say(&format!(
                "note: cannot write to standard output: {error}; the results folder has everything"
            ));
        }
    }

    fn say(&mut self, text: &str) {
        let text = self.harmless(text);
        let to = &mut self.progress;
        // If that is lost too, there is nobody to tell.
        let _ = match &self.live {
            Some(live) => live.aside(|| to.line(&text)),
            None => to.line(&text),
        };
    }

    /// Something about a cell: with its name where there are several.
    fn say_of(&mut self, cell: usize, text: &str) {
        let line = format!("{}{}{}", self.clock(), self.label(cell), one_line(text));
        self.say(&line);
    }

    fn say_if_verbose(&mut self, cell: usize, text: &str) {
        if self.options.verbose {
            self.say_of(cell, text);
        }
    }

    fn label(&self, cell: usize) -> String {
        match self.cells.get(cell) {
            Some(c) if self.cells.len() > 1 => format!("[{}] ", one_line(&c.id.to_string())),
            _ => String::new(),
        }
    }

    fn paint(&self) -> Paint {
        Paint { on: self.options.color }
    }

    fn case(&mut self, cell: usize, case: &TestCase) {
        if let Some(c) = self.cells.get_mut(cell) {
            c.printed.insert(case.name.clone(), case.outcome);
        }
        if self.options.style == Style::Cells && !case.outcome.is_bad() {
            return;
        }
        self.results_shown += 1;
        if self.results_shown > MAX_RESULTS {
            return;
        }
        let line = format!("{}{}{}", self.clock(), self.label(cell), case_line(case, self.paint()));
        self.result(&line);
    }

    fn phase(&mut self, cell: usize, phase: Phase) {
        match &mut self.live {
            Some(live) => live.phase(cell, phase),
            None => self.say_of(cell, &format!("{}…", text::phase_verb(phase))),
        }
    }

    fn progress(&mut self, cell: usize, event: &Event) {
        let Event::Progress { what, done, total, unit, current, .. } = event else { return };
        if let Some(live) = &mut self.live {
            live.progress(cell, &one_line(what), *done, *total, *unit, &one_line(current));
        }
        let Some(state) = self.cells.get_mut(cell) else { return };
        let begun = state.progress.as_ref() == Some(what);
        if !begun {
            (state.pace, state.told) = (Pace::begin(), Instant::now());
        }
        // A build takes many minutes.
        if self.live.is_none() && *unit == ProgressUnit::Items && state.told.elapsed() >= STEPS_EVERY {
            state.told = Instant::now();
            let line = state.pace.line(what, *done, *total, current);
            self.say_of(cell, &line);
            return;
        }
        let ended = *total > 0 && done >= total;
        state.progress = (!ended).then(|| what.clone());
        // Live bars go away with their end; one line stays. Plain lines tell the beginning too.
        if ended || (!begun && self.live.is_none()) {
            self.say_of(cell, &describe_progress(what, *done, *total, *unit));
        }
    }

    /// What the finished cell says replaces what was printed before: tells what is new or different.
    fn cell_finished(&mut self, cell: usize, report: &CellReport) {
        if let Some(live) = &mut self.live {
            live.end(cell);
            live.cell_done(cell, super::cell_code(report) != crate::error::exit::PASSED);
        }
        let printed = self.cells.get_mut(cell).map(|c| std::mem::take(&mut c.printed)).unwrap_or_default();
        for case in &report.cases {
            // What never ran has one line for all of it among the failures.
            if case.outcome != Outcome::NotRun && printed.get(&case.name) != Some(&case.outcome) {
                self.case(cell, case);
            }
        }
        let paint = self.paint();
        for flaky in &report.flaky {
            let case = report.cases.iter().find(|case| case.name == flaky.test);
            let message = one_line(case.map_or("", |case| case.message.as_str()));
            let line = format!("{}{}~ {}  {message}", self.clock(), self.label(cell), one_line(&flaky.test));
            self.result(&line);
        }
        for case in super::extra_failures(report) {
            let (cross, message) = (paint.bad("✗"), one_line(&case.message));
            let line = format!("{}{}{cross} {}  {message}", self.clock(), self.label(cell), case.name);
            self.result(&line);
        }
        if self.options.style == Style::Cells {
            self.cell_line(report);
        }
    }

    /// A cell of a matrix in one line, and its tests folded away below it where that is possible.
    fn cell_line(&mut self, report: &CellReport) {
        let paint = self.paint();
        let line = format!("{}{}", self.clock(), text::cell_line(report, paint));
        let Some(fold) = self.options.fold else {
            self.result(&line);
            return;
        };
        let mut folded = fold.begin(&report.id.to_string(), &fold::tame(&line));
        for case in report.cases.iter().take(MAX_RESULTS) {
            folded.push_str(&fold::tame(&case_line(case, paint)));
            folded.push('\n');
        }
        if report.cases.len() > MAX_RESULTS {
            folded.push_str(&format!("… {} more results\n", report.cases.len() - MAX_RESULTS));
        }
        folded.push_str(&fold.end(&report.id.to_string()));
        self.write(&folded);
    }

    fn run_finished(&mut self, report: &RunReport) {
        self.live = None;
        let consoles: Vec<Vec<String>> =
            self.cells.iter_mut().map(|c| std::mem::take(&mut c.console).into()).collect();
        let left_out = self.results_shown.saturating_sub(MAX_RESULTS);
        if left_out > 0 {
            self.result(&format!("… {left_out} more results, which are in the results folder"));
        }
        let mut text = text::failures(report, &consoles, self.paint());
        match self.options.style {
            Style::Tests | Style::Program => text.push_str(&summary(report, self.options.color)),
            Style::Cells => {
                let options = table::text::Options { color: self.options.color, all: false };
                text.push('\n');
                text.push_str(&table::text::render(&Table::of(report), options));
                text.push_str(&text::last_line(report, self.paint()));
            }
        }
        self.result(text.trim_end());
    }

    fn splat(&mut self, cell: usize, event: &Event) {
        let Event::SplatSeen { splat, test, .. } = event else { return };
        let whose = match (&splat.allowed, test) {
            (Some(reason), _) => format!(" (allowed: {reason})"),
            (None, Some(test)) => format!(" (while {test} ran)"),
            (None, None) => String::new(),
        };
        self.say_of(cell, &format!("kernel {}: {}{whose}", splat.kind, splat.title));
    }
}

impl<O: Write + Send, E: Write + Send> Reporter for Term<O, E> {
    /// A terminal that is lost or full is no error: the run goes on, and its verdict is what it is.
    fn event(&mut self, event: &Event) -> Result<()> {
        self.show(event);
        Ok(())
    }
}

impl<O: Write + Send, E: Write + Send> Term<O, E> {
    fn show(&mut self, event: &Event) {
        match event {
            Event::RunStarted { cells, weights, .. } => {
                self.cells = cells.iter().cloned().map(Cell::new).collect();
                if let Some(live) = &mut self.live {
                    live.cells(cells, weights);
                }
            }
            Event::PhaseStarted { cell, phase } => self.phase(*cell, *phase),
            Event::Progress { cell, .. } => self.progress(*cell, event),
            Event::Note { cell, text } => self.say_of(*cell, &format!("note: {text}")),
            Event::KernelReady { cell, kernel } => {
                self.say_of(*cell, &format!("kernel {} from {}", kernel.release, kernel.origin));
            }
            Event::VmStarted { cell, accel, reason, argv } => {
                self.say_if_verbose(*cell, &format!("accelerator {accel}: {reason}"));
                self.say_if_verbose(*cell, &format!("qemu: {}", argv.join(" ")));
            }
            Event::Rebooted { cell, boot, reason } => {
                self.say_of(*cell, &format!("boot {boot}, for the rest of the tests, after: {reason}"));
            }
            Event::GuestReady { cell, boottime } => self.say_if_verbose(
                *cell,
                &format!("guest ready after {:.2}s of its time", boottime.as_secs_f64()),
            ),
            Event::ConsoleLine { cell, line } => {
                if let Some(c) = self.cells.get_mut(*cell) {
                    c.keep(line);
                }
                self.say_if_verbose(*cell, &format!("console: {line}"));
            }
            Event::OutputLine { stream: Stream::Stdout, line, .. }
                if self.options.style == Style::Program =>
            {
                self.result(line);
            }
            Event::OutputLine { line, .. } if self.options.style == Style::Program => self.say(line),
            Event::OutputLine { cell, line, .. } => self.say_if_verbose(*cell, &format!("job: {line}")),
            Event::TestStarted { cell, name } => {
                if let Some(live) = &mut self.live {
                    live.test(*cell, &one_line(name));
                }
            }
            Event::TestFinished { cell, case } => {
                if let Some(live) = &mut self.live {
                    live.tested(*cell, case.outcome.is_bad());
                }
                self.case(*cell, case);
            }
            Event::SplatSeen { cell, .. } => self.splat(*cell, event),
            Event::CellFinished { cell, report } => self.cell_finished(*cell, report),
            Event::RunFinished { report } => self.run_finished(report),
        }
    }
}

impl<W: Write> Pipe<W> {
    fn new(to: W) -> Self {
        Self { to, closed: false }
    }

    /// Writes a line. Where that fails nothing more is written, and the error is what there is to say about it; a reader that
    /// went away (`kvet run | head`) needs no word.
    fn line(&mut self, text: &str) -> Option<std::io::Error> {
        if self.closed {
            return None;
        }
        let line = format!("{text}\n");
        let error = self.to.write_all(line.as_bytes()).and_then(|()| self.to.flush()).err()?;
        self.closed = true;
        (error.kind() != ErrorKind::BrokenPipe).then_some(error)
    }
}

impl Cell {
    fn new(id: CellId) -> Self {
        let (printed, console, pace) = (HashMap::new(), VecDeque::new(), Pace::begin());
        Self { id, printed, console, progress: None, pace, told: Instant::now() }
    }

    fn keep(&mut self, line: &str) {
        if self.console.len() == CONSOLE_TAIL {
            self.console.pop_front();
        }
        self.console.push_back(line.to_owned());
    }
}

#[cfg(test)]
mod tests;
