//! The table on a terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{Column, Entry, FLAKY, Row, Sheet, Table, legend, sign};
use crate::event::{Counts, Outcome};

/// How it is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Colours.
    pub color: bool,
    /// Also the tests that pass wherever they apply.
    pub all: bool,
}

/// The table, a line for each kernel and for each test.
pub fn render(table: &Table, options: Options) -> String {
    let mut text = String::new();
    for sheet in &table.sheets {
        if !text.is_empty() {
            text.push('\n');
        }
        write_sheet(&mut text, sheet, options);
    }
    text
}

fn write_sheet(text: &mut String, sheet: &Sheet, options: Options) {
    let bold = |words: &str| paint(options.color, Style::new().bold(), words);
    let _ = writeln!(text, "{}", bold(&format!("{} {}", sheet.suite, sheet.arch)));
    let wide = |of: &dyn Fn(&Column) -> usize| sheet.columns.iter().map(of).max().unwrap_or(0);
    let (label, release) = (wide(&|c| c.label.len()), wide(&|c| c.release.as_deref().map_or(0, str::len)));
    for (index, column) in sheet.columns.iter().enumerate() {
        let name = column.release.as_deref().unwrap_or("");
        let _ = write!(text, "  {}  {:label$}  {name:release$}  ", letter(index), column.label);
        let _ = writeln!(text, "{}{}", counts(column.counts), trouble(column, options.color));
    }
    let worth = |row: &&Row| options.all || !(row.is_plain() || row.never_ran());
    let shown: Vec<&Row> = sheet.rows.iter().filter(worth).collect();
    if !shown.is_empty() {
        text.push_str("\n  ");
        for index in 0..sheet.columns.len() {
            let _ = write!(text, "{:>2}", letter(index));
        }
        text.push('\n');
    }
    let width = shown.iter().map(|row| row.test.chars().count()).max().unwrap_or(0).min(MAX_NAME);
    for row in &shown {
        text.push_str("  ");
        for entry in &row.entries {
            text.push_str(&mark(entry.as_ref(), options.color));
        }
        let _ = writeln!(text, "  {:width$}  {}", row.test, row.verdict);
    }
    write_footer(text, sheet, &shown);
}

/// Names longer than this push their verdict to the right instead of every other.
const MAX_NAME: usize = 60;

fn write_footer(text: &mut String, sheet: &Sheet, shown: &[&Row]) {
    let left_out = |kind: &dyn Fn(&Row) -> bool| {
        sheet.rows.iter().filter(|row| kind(row)).count() - shown.iter().filter(|row| kind(row)).count()
    };
    for (hidden, words) in [
        (left_out(&Row::is_plain), ["test passes wherever it applies", "tests pass wherever they apply"]),
        (left_out(&Row::never_ran), ["test was run nowhere", "tests were run nowhere"]),
    ] {
        if hidden > 0 {
            let _ = writeln!(text, "  {hidden} {}", words[usize::from(hidden > 1)]);
        }
    }
    if !shown.is_empty() {
        let legend: Vec<String> = legend()
            .map(|(_, sign)| sign)
            .chain(sheet.rows.iter().any(Row::is_flaky).then_some(FLAKY))
            .map(|(letter, words)| format!("{letter} {words}"))
            .collect();
        let _ = writeln!(text, "  {}, > differs from the kernel on the left", legend.join(", "));
    }
}

/// `a` to `z`, then `A` to `Z`, then `+`: a matrix so wide is read as HTML.
pub(super) fn letter(index: usize) -> char {
    ('a'..='z').chain('A'..='Z').nth(index).unwrap_or('+')
}

fn mark(entry: Option<&Entry>, color: bool) -> String {
    let (letter, _) = entry.map_or_else(|| sign(None), Entry::sign);
    let style = match entry.map(|e| e.outcome) {
        _ if entry.is_some_and(|e| e.flaky) => AnsiColor::Yellow.on_default().bold(),
        Some(Outcome::Pass) => AnsiColor::Green.on_default(),
        Some(Outcome::Fail | Outcome::Error) => AnsiColor::Red.on_default().bold(),
        Some(Outcome::Xfail) => AnsiColor::Yellow.on_default(),
        _ => Style::new().dimmed(),
    };
    let changed = if entry.is_some_and(|e| e.changed) { '>' } else { ' ' };
    format!("{changed}{}", paint(color, style, &letter.to_string()))
}

fn trouble(column: &Column, color: bool) -> String {
    match &column.trouble {
        Some(text) => format!(" · {}", paint(color, AnsiColor::Red.on_default().bold(), text)),
        None if column.nothing_ran => format!(" · {}", paint(color, Style::new().bold(), NOTHING_RAN)),
        None => String::new(),
    }
}

/// What is said of a kernel on which no test ran.
pub(super) const NOTHING_RAN: &str = "nothing ran";

/// What there is of each outcome.
pub(super) fn counts(counts: Counts) -> String {
    let parts: Vec<String> = [
        (counts.passed, "pass"),
        (counts.failed, "fail"),
        (counts.errors, "error"),
        (counts.xfailed, "known bug"),
        (counts.skipped, "skip"),
        (counts.not_run, "not run"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if parts.is_empty() { "no test".to_owned() } else { parts.join(", ") }
}

fn paint(on: bool, style: Style, text: &str) -> String {
    if on { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn only_what_is_worth_a_look_unless_all_is_asked_for() {
        let table = Table::of(&sample::run());
        assert_eq!(
            render(&table, Options::default()),
            "dynptr x86_64
  a  6.1.192         6.1.192-amd64  2 pass, 2 skip
  b  6.18.15         6.18.15-amd64  3 pass
  c  debian:7.2.6    7.2.6-amd64    2 pass, 1 fail
  d  file:./bzImage  7.2.6-amd64    3 pass
  e  7.3-rc7         7.3-rc7-amd64  no test · did not boot: no 9p

   a b c d e
           E  kvet/boot    in 7.3-rc7
   - .>F>.    g/regressed  6.18.15, not 6.1.192, regressed in debian:7.2.6, fixed in file:./bzImage
  3 tests pass wherever they apply
  . pass, F fail, x known bug, - skip, C crash, T time-out, E error, ? not run, > differs from the kernel on the left

dynptr arm64
  a  debian:6.12    no test · trouble of the host: disk full

   a
   E  kvet/host  in debian:6.12
  . pass, F fail, x known bug, - skip, C crash, T time-out, E error, ? not run, > differs from the kernel on the left
"
        );
        let all = render(&table, Options { all: true, color: false });
        assert!(all.contains("   - . . .    g/since      6.18.15, not 6.1.192\n"), "{all}");
        assert!(all.contains("   .          g/old        always where it ran\n"), "{all}");
    }

    #[test]
    fn what_was_run_nowhere_is_counted() {
        use Outcome::{NotRun, Pass, Skip};
        let mut run = sample::run();
        let rest = ("g/b", NotRun, "not run: interrupted");
        run.cells = vec![
            sample::cell(
                "debian:6.1",
                "6.1.1",
                &[("g/a", Pass, ""), rest, ("g/c", NotRun, ""), ("g/d", Skip, "")],
            ),
            sample::cell(
                "debian:7.2",
                "7.2.1",
                &[("g/a", NotRun, ""), rest, ("g/c", NotRun, ""), ("g/d", NotRun, "")],
            ),
        ];
        let table = Table::of(&run);
        let text = render(&table, Options::default());
        let last = "  1 test passes wherever it applies\n  3 tests were run nowhere\n";
        assert!(text.ends_with(last) && !text.contains("g/b"), "{text}");
        let all = render(&table, Options { all: true, color: false });
        assert!(all.contains("   ? ?  g/b  not run\n") && !all.contains("nowhere"), "{all}");
        let markdown = super::super::markdown::render(&table);
        assert!(markdown.contains("<summary>3 tests were run nowhere</summary>"), "{markdown}");
    }

    #[test]
    fn a_kernel_on_which_nothing_ran_says_so() {
        let mut run = sample::run();
        let old = [("g/a", Outcome::Skip, "needs 6.12"), ("g/b", Outcome::Skip, "needs 6.12")];
        let new = [("g/a", Outcome::Pass, ""), ("g/b", Outcome::Skip, "no such option")];
        run.cells =
            vec![sample::cell("debian:5.10", "5.10.1", &old), sample::cell("debian:7.2", "7.2.1", &new)];
        let table = Table::of(&run);
        let text = render(&table, Options::default());
        assert!(text.contains("  a  5.10.1  5.10.1-amd64  2 skip · nothing ran\n"), "{text}");
        assert!(text.contains("  b  7.2.1   7.2.1-amd64   1 pass, 1 skip\n"), "{text}");
        assert!(text.ends_with("  1 test passes wherever it applies\n  1 test was run nowhere\n"), "{text}");
        let markdown = super::super::markdown::render(&table);
        assert!(markdown.contains("| 2 skip; **nothing ran** |"), "{markdown}");
        let page = super::super::html::render(&table, std::path::Path::new("."));
        assert_eq!(page.matches("2 skip; nothing ran").count(), 2, "{page}");
    }

    #[test]
    fn colours_are_outside_the_letters() {
        let text = render(&Table::of(&sample::run()), Options { all: true, color: true });
        assert!(text.contains(">\u{1b}[1m\u{1b}[31mF\u{1b}[0m"), "{text:?}");
    }
}
