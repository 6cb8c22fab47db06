//! How far a build is, for verbs without a report: a live line on a terminal, else a plain line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::report::term::{Pace, draw};

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(30);

/// The progress of one build after the other.
#[derive(Default)]
pub(super) struct Steps {
    at: Option<At>,
}

struct At {
    what: String,
    pace: Pace,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Steps {
    /// Tells how far it is.
    pub(super) fn tell(&mut self, what: &str, done: u64, total: u64, current: &str) {
        let now = Instant::now();
        if self.at.as_ref().is_none_or(|at| at.what != what) {
            self.end();
            tell!("{what}");
            let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(total));
            self.at = Some(At { what: what.to_owned(), pace: Pace::begin(), told: now, bar });
        }
        let Some(at) = &mut self.at else { return };
        let over = total > 0 && done >= total;
        let line = at.pace.line(what, done, total, current);
        if let Some(bar) = &at.bar {
            // What is being built stands in the line above, and a terminal of 80 columns has no room for it twice.
            let rest = line
                .strip_prefix(what)
                .map_or(line.as_str(), |rest| rest.trim_start_matches([':', ',', ' ']));
            draw(bar, done, total, rest.to_owned());
        }
        if over || (at.bar.is_none() && now - at.told >= EVERY) {
            at.told = now;
            if let Some(bar) = &at.bar {
                bar.finish_and_clear();
            }
            tell!("{line}");
        }
        if over {
            self.at = None;
        }
    }

    /// Writes something else meanwhile.
    pub(super) fn aside(&self, write: impl FnOnce()) {
        match self.at.as_ref().and_then(|at| at.bar.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.at.take().and_then(|at| at.bar) {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.end();
    }
}
