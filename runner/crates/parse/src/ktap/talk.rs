//! What is said about a test.

use std::time::Duration;

use super::comment::Directive;
use super::line::is_meaningful;
use crate::text::{HeadTail, shorten};
use kvet_base::event::Outcome;

/// What was said about one test: since the result before it, or since its own, as the format has it.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) text: HeadTail,
    diagnostic: Option<String>,
    noise: Option<String>,
    stderr: Option<String>,
    pub(super) took: Option<Duration>,
}

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    Diagnostic,
    Noise,
    Stderr,
}

impl Talk {
    pub(super) fn new(max: usize) -> Self {
        Self { text: HeadTail::new(max), diagnostic: None, noise: None, stderr: None, took: None }
    }

    pub(super) fn heard(&mut self, line: &str, voice: Voice) {
        self.text.push(line);
        let first = match voice {
            Voice::Diagnostic => &mut self.diagnostic,
            Voice::Noise => &mut self.noise,
            Voice::Stderr => &mut self.stderr,
        };
        if first.is_none() && is_meaningful(line) {
            *first = Some(shorten(line.trim(), 500));
        }
    }

    /// A line of a YAML block. Its `message` is what a failure says.
    pub(super) fn yaml(&mut self, line: &str) {
        self.text.push(line);
        if let Some(message) = line.trim().strip_prefix("message:")
            && self.diagnostic.is_none()
        {
            let message = message.trim().trim_matches(['\'', '"']);
            self.diagnostic = (!message.is_empty()).then(|| shorten(message, 500));
        }
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        (self.diagnostic, self.noise, self.stderr, self.took) = (None, None, None, None);
    }

    /// The first thing worth repeating: what was meant as diagnostics before what was merely printed.
    pub(super) fn said(&self) -> Option<String> {
        self.diagnostic.as_ref().or(self.noise.as_ref()).or(self.stderr.as_ref()).cloned()
    }

    /// A result in one line. `comment` is what stands behind its directive.
    pub(super) fn message(&self, comment: &str, directive: Option<Directive>, outcome: Outcome) -> String {
        let given = (!comment.is_empty()).then(|| comment.to_owned());
        match (outcome, directive) {
            (Outcome::Pass, _) => String::new(),
            (Outcome::Skip | Outcome::Xfail, _) => {
                given.or_else(|| self.said()).unwrap_or_else(|| "no reason given".into())
            }
            (_, Some(Directive::Timeout)) => format!("timed out: {}", or(comment, "no limit given")),
            (_, Some(_)) => given.or_else(|| self.said()).unwrap_or_else(|| "an error without words".into()),
            (_, None) => {
                self.said().or(given).unwrap_or_else(|| "not ok, and nothing was said about it".into())
            }
        }
    }
}

/// The text, or other words where it is empty.
pub(super) fn or(text: &str, instead: &str) -> String {
    if text.is_empty() { instead.to_owned() } else { text.to_owned() }
}
