//! One report in the making: which lines belong to it, and when it is complete.

use std::time::Duration;

use super::unknown::is_trace;

/// Lines of one report at most: the longest that was met, an OOM kill with many tasks, has some 150.
const MAX_LINES: usize = 600;

/// Bytes of one report at most.
pub(super) const MAX_BYTES: usize = 128 << 10;

/// Printk time between two lines after which they are not of one report.
const QUIET: Duration = Duration::from_secs(1);

/// The same after the closing line of a report: a panic that follows an oops does so within microseconds.
const LINGER: Duration = Duration::from_millis(100);

/// A report in the making.
#[derive(Debug)]
pub(super) struct Report {
    /// Index of the pattern that named it; none as long as only `[ cut here ]` was seen.
    pub(super) pattern: Option<usize>,
    pub(super) title: String,
    pub(super) at: Option<Duration>,
    /// The latest printk time: a line from an NMI can carry an older one.
    pub(super) latest: Option<Duration>,
    /// As they came, and without prefix for the allow-list.
    pub(super) text: String,
    pub(super) bare: String,
    pub(super) lines: usize,
    pub(super) cut: bool,
    /// Index of the pattern whose closing line ends it, if it has one.
    pub(super) end: Option<usize>,
    pub(super) fatal: bool,
    /// Its stack trace has begun.
    pub(super) traced: bool,
    /// Its closing line was seen; lines since that did not belong.
    pub(super) ended: Option<usize>,
}

impl Report {
    pub(super) fn new(pattern: Option<usize>, title: &str, at: Option<Duration>) -> Self {
        Self {
            pattern,
            title: title.trim().to_owned(),
            at,
            latest: at,
            text: String::new(),
            bare: String::new(),
            lines: 0,
            cut: false,
            end: None,
            fatal: false,
            traced: false,
            ended: None,
        }
    }

    pub(super) fn push(&mut self, raw: &str, text: &str, at: Option<Duration>) {
        self.at = self.at.or(at);
        self.latest = self.latest.max(at);
        self.traced |= is_trace(text);
        if self.cut {
            return;
        }
        if self.lines >= MAX_LINES || self.text.len() + raw.len() > MAX_BYTES {
            self.cut = true;
            self.text.push_str("[… the rest of the report is in console.log …]\n");
            return;
        }
        self.lines += 1;
        for (to, line) in [(&mut self.text, raw), (&mut self.bare, text)] {
            to.push_str(line);
            to.push('\n');
        }
    }

    /// Another pattern matches a line of this report.
    pub(super) fn merge(&mut self, index: usize, text: &str, fatal: bool, refines: bool, has_end: bool) {
        if self.pattern.is_none() {
            self.pattern = Some(index);
            text.trim().clone_into(&mut self.title);
        } else if refines {
            self.pattern = Some(index);
            self.end = has_end.then_some(index);
        }
        if fatal || (!self.fatal && self.end.is_none()) {
            self.end = has_end.then_some(index).or(self.end);
        }
        if fatal {
            self.ended = None;
        }
        self.fatal |= fatal;
    }

    /// Whether the beginning of another report would be part of this one: a BUG line and its oops are one. A report
    /// that has no closing line takes nothing more once its stack trace has begun.
    pub(super) fn takes_more(&self) -> bool {
        self.ended.is_none() && !(self.traced && self.end.is_none() && self.pattern.is_some())
    }

    /// Whether a line of the given time comes too late to belong to it.
    pub(super) fn is_over(&self, at: Option<Duration>) -> bool {
        let limit = if self.ended.is_some() { LINGER } else { QUIET };
        match (self.latest, at) {
            (Some(latest), Some(at)) => at.saturating_sub(latest) > limit,
            _ => false,
        }
    }
}
