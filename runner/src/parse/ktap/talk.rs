//! What is kept between two results: what was said.

use std::time::Duration;

use super::line::{Directive, TestResult, is_meaningful};
use crate::event::Outcome;
use crate::parse::text::{HeadTail, shorten};

/// What was said since the last result (or the announcement of the running test).
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

    pub(super) fn clear(&mut self) {
        self.text.clear();
        (self.diagnostic, self.noise, self.stderr, self.took) = (None, None, None, None);
    }

    /// The first thing worth repeating: what was meant as diagnostics before what was merely printed.
    pub(super) fn said(&self) -> Option<String> {
        self.diagnostic.as_ref().or(self.noise.as_ref()).or(self.stderr.as_ref()).cloned()
    }

    /// A result in one line.
    pub(super) fn message(&self, result: &TestResult<'_>, outcome: Outcome) -> String {
        let comment = (!result.comment.is_empty()).then(|| result.comment.to_owned());
        match (outcome, result.directive) {
            (Outcome::Pass, _) => String::new(),
            (Outcome::Skip | Outcome::Xfail, _) => {
                comment.or_else(|| self.said()).unwrap_or_else(|| "no reason given".into())
            }
            (_, Some(Directive::Timeout)) => format!("timed out: {}", or(result.comment, "no limit given")),
            (_, Some(_)) => {
                comment.or_else(|| self.said()).unwrap_or_else(|| "an error without words".into())
            }
            (_, None) => {
                self.said().or(comment).unwrap_or_else(|| "not ok, and nothing was said about it".into())
            }
        }
    }
}

/// The text, or other words where it is empty.
pub(super) fn or(text: &str, instead: &str) -> String {
    if text.is_empty() { instead.to_owned() } else { text.to_owned() }
}
