//! What readers of JUnit look for and junit-report does not write: the properties of a suite, how many of its tests were
//! skipped, and the runs of a test that did not decide (Surefire's schema, which Jenkins reads as well).

use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};

use crate::error::{Error, Result};

/// What a suite gets. Every string is clean already.
#[derive(Default)]
pub(super) struct Suite {
    /// Names and values.
    pub(super) properties: Vec<(String, String)>,
    /// Tests that were skipped.
    pub(super) skipped: usize,
    /// The further runs of each of its tests, in the order of the tests.
    pub(super) runs: Vec<Vec<Run>>,
}

/// A run of a test that did not decide what became of it.
pub(super) struct Run {
    /// The element: `flakyFailure`, `flakyError`, `rerunFailure` or `rerunError`.
    pub(super) element: &'static str,
    /// As for `failure`.
    pub(super) kind: &'static str,
    /// In one line.
    pub(super) message: String,
}

type Out = Writer<Vec<u8>>;

/// Adds to a report that junit-report wrote what belongs to its suites, in their order.
///
/// # Errors
/// It is not what junit-report writes: a mistake of ours, so the host's.
pub(super) fn complete(xml: &[u8], suites: &[Suite]) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(xml).map_err(|e| broken().because(e))?;
    let mut reader = Reader::from_str(text);
    let mut out = Writer::new(Vec::with_capacity(xml.len()));
    let mut suites = suites.iter();
    let mut runs = [].iter();
    // Those that belong behind the failure of the test at hand.
    let mut behind: &[Run] = &[];
    loop {
        match reader.read_event().map_err(|e| broken().because(e))? {
            Event::Eof => break,
            Event::Start(start) if start.name().as_ref() == b"testsuite" => {
                let suite = suites.next().ok_or_else(broken)?;
                runs = suite.runs.iter();
                begin_suite(&mut out, start.into_owned(), suite)
            }
            Event::Start(start) if start.name().as_ref() == b"testcase" => {
                let runs = runs.next().ok_or_else(broken)?;
                let fails = runs.first().is_some_and(|run| run.element.starts_with("rerun"));
                let before = if fails { &[] } else { &runs[..] };
                behind = if fails { runs } else { &[] };
                out.write_event(Event::Start(start)).and_then(|()| write_runs(&mut out, before))
            }
            Event::End(end) if end.name().as_ref() == b"testcase" => {
                let runs = std::mem::take(&mut behind);
                write_runs(&mut out, runs).and_then(|()| out.write_event(Event::End(end)))
            }
            Event::Empty(start) if start.name().as_ref() == b"testcase" => {
                let runs = runs.next().ok_or_else(broken)?;
                lone_case(&mut out, start, runs)
            }
            event => out.write_event(event),
        }
        .map_err(|e| broken().because(e))?;
    }
    if suites.next().is_some() || runs.next().is_some() {
        return Err(broken());
    }
    Ok(out.into_inner())
}

fn broken() -> Error {
    Error::host("cannot complete the JUnit report")
}

fn begin_suite(out: &mut Out, mut start: BytesStart<'static>, suite: &Suite) -> std::io::Result<()> {
    start.push_attribute(("skipped", suite.skipped.to_string().as_str()));
    out.write_event(Event::Start(start))?;
    out.write_event(Event::Start(BytesStart::new("properties")))?;
    for (name, value) in &suite.properties {
        let mut property = BytesStart::new("property");
        property.push_attribute(("name", name.as_str()));
        property.push_attribute(("value", value.as_str()));
        out.write_event(Event::Empty(property))?;
    }
    out.write_event(Event::End(BytesEnd::new("properties")))
}

/// A test of which nothing else is to be said.
fn lone_case(out: &mut Out, start: BytesStart<'_>, runs: &[Run]) -> std::io::Result<()> {
    if runs.is_empty() {
        return out.write_event(Event::Empty(start));
    }
    let end = start.to_end().into_owned();
    out.write_event(Event::Start(start))?;
    write_runs(out, runs)?;
    out.write_event(Event::End(end))
}

fn write_runs(out: &mut Out, runs: &[Run]) -> std::io::Result<()> {
    for run in runs {
        let mut element = BytesStart::new(run.element);
        element.push_attribute(("message", run.message.as_str()));
        element.push_attribute(("type", run.kind));
        out.write_event(Event::Start(element))?;
        // Jenkins and Surefire's own reports show this, and not the attribute.
        out.write_event(Event::Start(BytesStart::new("stackTrace")))?;
        out.write_event(Event::Text(BytesText::new(&run.message)))?;
        out.write_event(Event::End(BytesEnd::new("stackTrace")))?;
        out.write_event(Event::End(BytesEnd::new(run.element)))?;
    }
    Ok(())
}
