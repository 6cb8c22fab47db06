//! The words and lines of the report for people; nothing here writes.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::event::{Cause, CellEnd, CellReport, Counts, Outcome, Phase, ProgressUnit, RunReport, TestCase};
use crate::parse::clean::one_line;
use crate::report::{cell_code, extra_failures, nothing_ran, trouble, verdict};

/// Lines that are shown of the beginning of a failure's detail, and of its end; all of it is in the results folder.
const DETAIL_HALF: usize = 10;

/// Failures that are shown with their text; of more only the number is.
const MAX_FAILURES: usize = 500;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) on: bool,
}

impl Paint {
    fn with(self, style: Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    fn faint(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    fn strong(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }
}

/// A phase in one word, as reports name it.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Fetch => "fetch",
        Phase::Build => "build",
        Phase::Prepare => "prepare",
        Phase::Wait => "wait",
        Phase::Boot => "boot",
        Phase::Tests => "tests",
        Phase::Teardown => "teardown",
    }
}

pub(super) fn phase_verb(phase: Phase) -> &'static str {
    match phase {
        Phase::Fetch => "fetching the kernel",
        Phase::Build => "building the suite",
        Phase::Prepare => "preparing",
        Phase::Wait => "waiting for other guests",
        Phase::Boot => "booting",
        Phase::Tests => "running tests",
        Phase::Teardown => "ending",
    }
}

/// One test in one line.
pub(super) fn case_line(case: &TestCase, paint: Paint) -> String {
    let sign = match case.outcome {
        Outcome::Pass | Outcome::Xfail => paint.good("✓"),
        Outcome::Skip => paint.faint("–"),
        Outcome::Fail | Outcome::Error | Outcome::NotRun => paint.bad("✗"),
    };
    let mut line = format!("{sign} {}", one_line(&case.name));
    if let Some(duration) = case.duration {
        line.push_str(&format!("  {}", paint.faint(&seconds(duration))));
    }
    let message = one_line(&case.message);
    let word = match case.outcome {
        Outcome::Xfail => "expected failure: ",
        // A directive of KTAP says it itself.
        Outcome::Error if case.cause == Some(Cause::TimeOut) && !message.starts_with("timed out") => {
            "timed out: "
        }
        Outcome::Error => "error: ",
        _ => "",
    };
    if !message.is_empty() {
        line.push_str(&format!("  {word}{message}"));
    }
    line
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}s", duration.as_secs_f64())
}

/// What a download or the like has come to.
pub(super) fn describe_progress(what: &str, done: u64, total: u64, unit: ProgressUnit) -> String {
    let amount = |n: u64| match unit {
        ProgressUnit::Bytes => format!("{:.1} MB", n as f64 / 1e6),
        ProgressUnit::Items => n.to_string(),
    };
    match (done, total) {
        (0, 0) => what.to_owned(),
        (done, 0) => format!("{what}: {} so far", amount(done)),
        (done, total) if done >= total => format!("{what}: {} done", amount(total)),
        (0, total) => format!("{what}: {}", amount(total)),
        (done, total) => format!("{what}: {} of {}", amount(done), amount(total)),
    }
}

/// Everything that went wrong, once more and with its text, after all the rest. Empty if nothing did.
pub(super) fn failures(run: &RunReport, consoles: &[Vec<String>], paint: Paint) -> String {
    let mut text = String::new();
    let mut left = MAX_FAILURES;
    for (index, cell) in run.cells.iter().enumerate() {
        let failed = cell.cases.iter().filter(|c| matches!(c.outcome, Outcome::Fail | Outcome::Error));
        let failed: Vec<&TestCase> = failed.collect();
        let (shown, more) = failed.split_at(failed.len().min(left));
        left -= shown.len();
        for case in shown {
            text.push_str(&failure(cell, &case.name, &case.message, &case.detail, paint));
        }
        if let Some(first) = more.first() {
            let (words, from) = (format!("{} more failures", more.len()), &first.name);
            text.push_str(&failure(
                cell,
                &words,
                &format!("from {from} on; all are in the reports"),
                "",
                paint,
            ));
        }
        text.push_str(&not_run(cell, paint));
        for case in extra_failures(cell) {
            text.push_str(&failure(cell, &case.name, &case.message, &case.detail, paint));
        }
        let shown = matches!(&cell.end, CellEnd::Unbootable { detail, .. } if !detail.is_empty())
            || cell.splats.iter().any(|splat| splat.fatal);
        let lost = matches!(
            cell.end,
            CellEnd::Crashed { .. } | CellEnd::TimedOut { .. } | CellEnd::Unbootable { .. }
        );
        if lost && !shown {
            text.push_str(&console_tail(cell, consoles.get(index).map_or(&[], Vec::as_slice), paint));
        }
    }
    if text.is_empty() { text } else { format!("\n{}\n\n{text}", paint.strong("failures:")) }
}

fn failure(cell: &CellReport, name: &str, message: &str, detail: &str, paint: Paint) -> String {
    let mut text = format!(
        "  {} {}\n    {}\n",
        paint.bad(&one_line(name)),
        paint.faint(&one_line(&cell.id.to_string())),
        one_line(message)
    );
    let lines: Vec<&str> = detail.lines().collect();
    let hidden = lines.len().saturating_sub(2 * DETAIL_HALF);
    for (number, line) in lines.iter().enumerate() {
        // The first lines say what it is and the last ones what came of it.
        if hidden > 0 && number == DETAIL_HALF {
            text.push_str(&format!("    {}\n", paint.faint(&format!("│ … {hidden} lines"))));
        }
        if hidden == 0 || number < DETAIL_HALF || number >= DETAIL_HALF + hidden {
            text.push_str(&format!("    {} {}\n", paint.faint("│"), one_line(line)));
        }
    }
    text.push('\n');
    text
}

/// Tests that never ran share their reason: one line is enough.
fn not_run(cell: &CellReport, paint: Paint) -> String {
    let mut missing = cell.cases.iter().filter(|c| c.outcome == Outcome::NotRun);
    let Some(first) = missing.next() else { return String::new() };
    let count = 1 + missing.count();
    failure(cell, &format!("{count} not run"), &format!("{}: {}", first.name, first.message), "", paint)
}

/// The last lines of the console of a cell that crashed.
fn console_tail(cell: &CellReport, lines: &[String], paint: Paint) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let text = lines[lines.len().saturating_sub(2 * DETAIL_HALF)..].join("\n");
    let path = cell.dir.join("console.log");
    failure(cell, "the end of the console", &path.display().to_string(), &text, paint)
}

/// The last lines of a report: per cell what was tested, how, and what came of it; and where the rest is.
pub fn summary(run: &RunReport, color: bool) -> String {
    let paint = Paint { on: color };
    let mut text = String::from("\n");
    for cell in &run.cells {
        text.push_str(&cell_summary(cell, paint));
    }
    text + &last_line(run, paint)
}

/// What the run came to, and where the rest is.
pub(super) fn last_line(run: &RunReport, paint: Paint) -> String {
    let verdict = match verdict(run) {
        crate::error::exit::PASSED if run.cells.iter().all(nothing_ran) => paint.strong("nothing ran"),
        crate::error::exit::PASSED => paint.good("passed"),
        crate::error::exit::FAILED => paint.bad("failed"),
        crate::error::exit::INTERRUPTED => paint.bad("interrupted"),
        _ => paint.bad("no verdict"),
    };
    let dir = one_line(&run.dir.display().to_string());
    format!("{verdict} in {:.1}s · results in {dir}\n", run.wall.as_secs_f64())
}

/// A cell of a matrix, when it is finished.
pub(super) fn cell_line(cell: &CellReport, paint: Paint) -> String {
    let good = cell_code(cell) == crate::error::exit::PASSED;
    let sign = match good {
        true if nothing_ran(cell) => paint.faint("–"),
        true => paint.good("✓"),
        false => paint.bad("✗"),
    };
    let mut text = format!("{sign} {}", paint.strong(&one_line(&cell.id.to_string())));
    if let Some(kernel) = &cell.kernel {
        text.push_str(&format!(" ({})", one_line(&kernel.release)));
    }
    text.push_str(&format!(" · {}{}", counts(Counts::of(&cell.cases)), idle(cell, paint)));
    if !cell.flaky.is_empty() {
        text.push_str(&format!(", {} flaky", cell.flaky.len()));
    }
    if let Some(end) = trouble(cell) {
        text.push_str(&format!(" · {}", paint.bad(&one_line(&end))));
    }
    let own = cell.times.iter().filter(|time| time.phase != Phase::Wait);
    // Of nothing a sum would be -0.
    let seconds = own.fold(0.0, |all, time| all + time.wall.as_secs_f64());
    text.push_str(&paint.faint(&format!(" · {seconds:.1}s")));
    text
}

fn cell_summary(cell: &CellReport, paint: Paint) -> String {
    let mut name = one_line(&cell.id.kernel);
    if let Some(kernel) = &cell.kernel {
        name.push_str(&format!(" ({})", one_line(&kernel.release)));
    }
    name.push_str(&format!(" {} {}", cell.id.arch, one_line(&cell.id.suite)));
    if let Some(accel) = cell.accel {
        name.push_str(&format!(" {accel}"));
    }
    let mut text =
        format!("{} · {}{}", paint.strong(&name), counts(Counts::of(&cell.cases)), idle(cell, paint));
    if let Some(end) = trouble(cell) {
        text.push_str(&format!(" · {}", paint.bad(&one_line(&end))));
    }
    let times: Vec<String> =
        cell.times.iter().map(|t| format!("{} {:.1}s", phase_name(t.phase), t.wall.as_secs_f64())).collect();
    if !times.is_empty() {
        text.push_str(&format!(" · {}", times.join(" ")));
    }
    text.push('\n');
    if let Some(accel) = cell.accel {
        let line = format!("  {accel}: {}", one_line(&cell.accel_reason));
        text.push_str(&format!("{}\n", paint.faint(&line)));
    }
    for note in &cell.notes {
        text.push_str(&format!("{}\n", paint.faint(&format!("  note: {}", one_line(note)))));
    }
    text
}

/// That no test ran, if so: nobody should take it for a pass.
fn idle(cell: &CellReport, paint: Paint) -> String {
    if nothing_ran(cell) { format!(" · {}", paint.strong("nothing ran")) } else { String::new() }
}

/// The usual three always, the others where there are any.
fn counts(counts: Counts) -> String {
    let mut text = format!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    for (count, word) in [
        (counts.errors, "with an error"),
        (counts.not_run, "not run"),
        (counts.xfailed, "failed as expected"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}
