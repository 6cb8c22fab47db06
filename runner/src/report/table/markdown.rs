//! The table as Markdown, for the summary of a CI job or a mail.

use std::fmt::Write;

use super::text::{NOTHING_RAN, counts};
use super::{Entry, Row, Sheet, Table};
use crate::event::Outcome;

/// Rows of a sheet that are written; a job's summary has a limit of 1 MiB, and nobody reads more.
const MAX_ROWS: usize = 500;

/// The table. Tests that pass wherever they apply, or ran nowhere, are folded away, or left out of what would be too long.
pub fn render(table: &Table) -> String {
    let mut text = String::new();
    for sheet in &table.sheets {
        let _ = writeln!(text, "## {} {}\n", escape(&sheet.suite), sheet.arch);
        write_kernels(&mut text, sheet);
        let (plain, others): (Vec<&Row>, Vec<&Row>) = sheet.rows.iter().partition(|row| row.is_plain());
        let (unknown, notable): (Vec<&Row>, Vec<&Row>) = others.into_iter().partition(|row| row.never_ran());
        write_rows(&mut text, sheet, &notable);
        for (rows, words) in [(plain, "pass wherever they apply"), (unknown, "were run nowhere")] {
            if !rows.is_empty() {
                let _ = writeln!(text, "<details><summary>{} tests {words}</summary>\n", rows.len());
                write_rows(&mut text, sheet, &rows);
                text.push_str("</details>\n\n");
            }
        }
    }
    text
}

fn write_kernels(text: &mut String, sheet: &Sheet) {
    text.push_str("| kernel | release | tests |\n|---|---|---|\n");
    for column in &sheet.columns {
        let mut tests = counts(column.counts);
        if let Some(trouble) = &column.trouble {
            let _ = write!(tests, "; **{}**", escape(trouble));
        } else if column.nothing_ran {
            let _ = write!(tests, "; **{NOTHING_RAN}**");
        }
        let release = column.release.as_deref().unwrap_or("");
        let _ = writeln!(text, "| {} | {} | {tests} |", escape(&column.spec), escape(release));
    }
    text.push('\n');
}

fn write_rows(text: &mut String, sheet: &Sheet, rows: &[&Row]) {
    if rows.is_empty() {
        return;
    }
    text.push_str("| test |");
    for column in &sheet.columns {
        let _ = write!(text, " {} |", escape(&column.label));
    }
    text.push_str(" verdict |\n|---|");
    text.push_str(&":-:|".repeat(sheet.columns.len()));
    text.push_str("---|\n");
    for row in rows.iter().take(MAX_ROWS) {
        let _ = write!(text, "| {} |", escape(&row.test));
        for entry in &row.entries {
            let _ = write!(text, " {} |", cell(entry.as_ref()));
        }
        let _ = writeln!(text, " {} |", escape(&row.verdict));
    }
    if rows.len() > MAX_ROWS {
        let _ = writeln!(text, "\n… and {} tests more.", rows.len() - MAX_ROWS);
    }
    text.push('\n');
}

fn cell(entry: Option<&Entry>) -> String {
    let Some(entry) = entry else { return String::new() };
    let (_, words) = entry.sign();
    // Bold is what failed; an arrow is what changed.
    let words = match entry.outcome {
        Outcome::Fail | Outcome::Error => format!("**{words}**"),
        _ => words.to_owned(),
    };
    if entry.changed { format!("→ {words}") } else { words }
}

/// Text that means itself in a Markdown table.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '\\' | '~' | '#' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_is_notable_stands_first_and_the_rest_is_folded() {
        let text = render(&Table::of(&sample::run()));
        let notable = text.find("| g/regressed | skip | pass | → **fail** | → pass |  |").expect(&text);
        let folded = text.find("<details><summary>3 tests pass wherever they apply").expect(&text);
        let since =
            text.find("| g/since | skip | pass | pass | pass |  | 6.18.15, not 6.1.192 |").expect(&text);
        assert!(notable < folded && folded < since, "{text}");
        assert!(
            text.contains("| debian:7.3-rc | 7.3-rc7-amd64 | no test; **did not boot: no 9p** |"),
            "{text}"
        );
    }

    #[test]
    fn hostile_names_stay_in_their_cell() {
        let mut run = sample::run();
        run.cells[0].cases[0].name = "a|b<script>*x*\n| c".into();
        let text = render(&Table::of(&run));
        assert!(text.contains(r"a\|b\<script\>\*x\*"), "{text}");
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        let line = text.lines().find(|l| l.contains("script")).unwrap();
        assert_eq!(columns(line), 5 + 3, "{line}");
    }
}
