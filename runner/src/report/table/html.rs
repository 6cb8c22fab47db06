//! The table as one HTML file that needs nothing else: no network, and no script to be read.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::text::{NOTHING_RAN, counts};
use super::{Column, Entry, FLAKY, Row, Sheet, Table, Trend, legend};
use crate::event::Outcome;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page. `place` is the folder that it will stand in: links to the logs are relative to that.
pub fn render(table: &Table, place: &Path) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Nothing is loaded from anywhere, whatever a test's name or message holds.
    page.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n",
    );
    let _ = writeln!(page, "<title>kvet {}</title>", escape(&table.run_id));
    let _ = writeln!(page, "<style>\n{STYLE}</style>\n</head>\n<body>");
    write_head(&mut page, table);
    page.push_str("<main>\n");
    for (number, sheet) in table.sheets.iter().enumerate() {
        write_sheet(&mut page, sheet, number, place);
    }
    page.push_str("</main>\n<div id=\"panel\" role=\"status\" aria-live=\"polite\" hidden></div>\n");
    let _ = writeln!(page, "<script>\n{SCRIPT}</script>\n</body>\n</html>");
    page
}

fn write_head(page: &mut String, table: &Table) {
    let _ = writeln!(page, "<header>\n<h1>kvet <small>{}</small></h1>", escape(&table.run_id));
    page.push_str(
        "<form id=\"tools\" role=\"search\">\n\
         <label>filter <input id=\"filter\" type=\"search\" placeholder=\"test or verdict   ( / )\" \
         autocomplete=\"off\"></label>\n\
         <label>show <select id=\"show\"><option value=\"notable\">what does not always pass</option>\
         <option value=\"all\">all tests</option><option value=\"bad\">regressed and failing</option>\
         <option value=\"known\">known bugs</option><option value=\"skipped\">skipped</option></select></label>\n\
         <label><input id=\"dark\" type=\"checkbox\"> dark</label>\n\
         <output id=\"shown\"></output>\n</form>\n<p class=\"legend\">",
    );
    for (outcome, (letter, words)) in legend() {
        let _ = write!(page, "<span class=\"{}\">{letter}</span> {words} ", class(outcome));
    }
    let (letter, words) = FLAKY;
    let _ = write!(page, "<span class=\"pass flaky\">{letter}</span> {words} ");
    page.push_str(
        "<span class=\"pass changed\">.</span> differs from the kernel on the left \
         · arrow keys move, Enter pins the message</p>\n</header>\n",
    );
}

fn write_sheet(page: &mut String, sheet: &Sheet, number: usize, place: &Path) {
    let _ = writeln!(
        page,
        "<section>\n<h2 id=\"s{number}\">{} <small>{} <span class=\"count\"></span></small></h2>\n<div class=\"scroll\">\n\
         <table role=\"grid\" aria-labelledby=\"s{number}\">\n<thead>\n<tr><th scope=\"col\">test</th>",
        escape(&sheet.suite),
        sheet.arch
    );
    for column in &sheet.columns {
        write_column(page, column, place);
    }
    page.push_str("<th scope=\"col\" class=\"verdict\">verdict</th></tr>\n</thead>\n<tbody>\n");
    for row in &sheet.rows {
        write_row(page, row);
    }
    page.push_str("</tbody>\n</table>\n</div>\n</section>\n");
}

fn write_column(page: &mut String, column: &Column, place: &Path) {
    let mut about = column.spec.clone();
    if let Some(release) = &column.release {
        let _ = write!(about, " ({release})");
    }
    let _ = write!(about, ": {}", counts(column.counts));
    if let Some(trouble) = &column.trouble {
        let _ = write!(about, "; {trouble}");
    } else if column.nothing_ran {
        let _ = write!(about, "; {NOTHING_RAN}");
    }
    let class = if column.trouble.is_some() || column.nothing_ran { " class=\"trouble\"" } else { "" };
    let link = url(&relative(place, &column.dir));
    let _ = write!(
        page,
        "<th scope=\"col\"{class} data-about=\"{about}\" title=\"{about}\"><a href=\"{link}/\">{label}</a>\
         <small><a href=\"{link}/console.log\" title=\"the kernel's log\">log</a> \
         <a href=\"{link}/stdout\" title=\"the tests' output\">out</a></small></th>",
        about = escape(&about),
        label = escape(&column.label),
    );
}

fn write_row(page: &mut String, row: &Row) {
    // What is flaky is shown with what does not always pass.
    let plain = matches!(row.trend, Trend::Always | Trend::Since | Trend::Skipped);
    let trend = if plain && row.is_flaky() { "flaky" } else { trend(row.trend) };
    let _ = write!(page, "<tr data-trend=\"{trend}\"><th scope=\"row\">{}</th>", escape(&row.test));
    for entry in &row.entries {
        write_entry(page, entry.as_ref());
    }
    let _ = writeln!(page, "<td class=\"verdict\">{}</td></tr>", escape(&row.verdict));
}

fn write_entry(page: &mut String, entry: Option<&Entry>) {
    let Some(entry) = entry else {
        page.push_str("<td></td>");
        return;
    };
    let (letter, words) = entry.sign();
    let changed = if entry.changed { " changed" } else { "" };
    let flaky = if entry.flaky { " flaky" } else { "" };
    let mut about = words.to_owned();
    if !entry.message.is_empty() {
        let _ = write!(about, ": {}", entry.message);
    }
    if let Some(seconds) = entry.seconds {
        let _ = write!(about, " ({seconds:.3} s)");
    }
    let _ = write!(
        page,
        "<td class=\"{}{flaky}{changed}\" title=\"{}\" aria-label=\"{words}\">{letter}</td>",
        class(entry.outcome),
        escape(&about)
    );
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Skip => "skip",
        Outcome::Xfail => "xfail",
        Outcome::Error => "error",
        Outcome::NotRun => "notrun",
    }
}

fn trend(trend: Trend) -> &'static str {
    match trend {
        Trend::Always => "always",
        Trend::Since => "since",
        Trend::Skipped => "skipped",
        Trend::Unknown => "unknown",
        Trend::Fixed => "fixed",
        Trend::Regressed => "regressed",
        Trend::Failing => "failing",
        Trend::Known => "known",
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What HTML does not allow as a character (HTML, "preprocessing the input stream").
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A path as a relative reference (RFC 3986): everything but what is plainly harmless is percent-encoded.
fn url(path: &Path) -> String {
    let mut url = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'+' => {
                url.push(char::from(*byte));
            }
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
    url
}

/// The way from one folder to another, where both are known from the same root; else `to` itself.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (from, to) = (absolute(from), absolute(to));
    let (mut f, mut t) = (from.components().peekable(), to.components().peekable());
    while f.peek().is_some() && f.peek() == t.peek() {
        f.next();
        t.next();
    }
    f.map(|_| Path::new("..").as_os_str()).chain(t.map(std::path::Component::as_os_str)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_page_stands_alone_and_is_well_formed() {
        let page = render(&Table::of(&sample::run()), Path::new("results/r"));
        for far in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(far), "{far} would need a network");
        }
        // Without what only HTML has, it is XML: every tag closed, every attribute quoted, nothing unescaped.
        let script = page.find("<script>").unwrap()..page.find("</script>").unwrap();
        let style = page.find("<style>").unwrap()..page.find("</style>").unwrap();
        let mut xml = page.clone();
        xml.replace_range(script.start + 8..script.end, "");
        xml.replace_range(style.start + 7..style.end, "");
        let mut xml = xml.replace("<!doctype html>\n", "").replace(" hidden>", ">");
        for void in ["<meta ", "<input "] {
            let mut at = 0;
            while let Some(start) = xml[at..].find(void).map(|i| i + at) {
                let end = start + xml[start..].find('>').unwrap();
                xml.insert(end, '/');
                at = end;
            }
        }
        let doc = roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{e}\n{xml}"));
        let cells = doc.descendants().filter(|n| n.has_tag_name("td")).count();
        assert_eq!(cells, 5 * 6 + 2);
    }

    #[test]
    fn links_lead_from_the_page_to_the_logs() {
        let page = render(&Table::of(&sample::run()), Path::new("results/r"));
        assert!(page.contains("href=\"debian-6.18-x86_64-dynptr/console.log\""), "{page}");
        let page = render(&Table::of(&sample::run()), Path::new("public"));
        assert!(page.contains("href=\"../results/r/debian-6.18-x86_64-dynptr/console.log\""), "{page}");
        assert_eq!(relative(Path::new("/a/b"), Path::new("/a/b")), Path::new(""));
        assert_eq!(url(Path::new("a b/\"<x>%")), "a%20b/%22%3Cx%3E%25");
    }

    #[test]
    fn nothing_hostile_becomes_markup() {
        let mut run = sample::run();
        run.run_id = "<b>".into();
        for cell in &mut run.cells {
            cell.id.suite = "\"><img>".into();
            cell.dir = "javascript:alert(1)".into();
            for case in &mut cell.cases {
                case.name = format!("<script>x</script>{}", case.name);
                case.message = "\" onmouseover=\"x".into();
            }
        }
        let page = render(&Table::of(&run), Path::new("."));
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(!page.contains("<b>") && !page.contains("<img>") && !page.contains("\" onmouseover=\""));
        assert!(!page.contains("javascript:"), "a link that runs code");
    }
}
