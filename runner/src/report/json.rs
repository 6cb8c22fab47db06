//! `--message-format json`: every event as one line of JSON.

use std::io::{ErrorKind, Write};

use super::Reporter;
use super::term::harmless_json;
use crate::error::{Error, IoContext, Result};
use crate::event::Event;

/// Writes events as JSON lines. A reader that goes away ends the writing quietly.
pub struct Json<W> {
    to: W,
    closed: bool,
}

impl<W: Write + Send> Json<W> {
    /// Writes to the given place, usually standard output.
    pub fn new(to: W) -> Self {
        Self { to, closed: false }
    }
}

impl<W: Write + Send> Reporter for Json<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let line = harmless_json(&line(event)?);
        match self.to.write_all(line.as_bytes()).and_then(|()| self.to.flush()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            done => done.host("write an event to standard output"),
        }
    }
}

/// An event as a line of JSON, with its newline.
pub(super) fn line(event: &Event) -> Result<String> {
    let mut line =
        serde_json::to_string(event).map_err(|e| Error::host("cannot turn an event into JSON").because(e))?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_event_is_one_line_and_reads_back() {
        let mut out = Vec::new();
        let mut json = Json::new(&mut out);
        let events = sample::events();
        for event in &events {
            json.event(event).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        let back: Vec<Event> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(back, events);
        assert!(text.starts_with(r#"{"event":"run_started","run_id":"20261120-101530""#), "{text}");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let mut json = Json::new(sample::Gone);
        for event in sample::events() {
            json.event(&event).unwrap();
        }
    }
}
