//! Stack traces that belong to no report that kvet knows: at least a remark, with the line that tells what they are about.

use std::time::Duration;

/// Remarks of one guest; the rest is counted.
const MAX_TOLD: usize = 10;
/// Characters of the line that is quoted.
const MAX_QUOTE: usize = 200;
/// Printk time after which a line is not about what came before.
const QUIET: Duration = Duration::from_secs(1);

/// Watches the lines that belong to no report.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// The newest line that says something: no register, no address.
    about: Option<(Option<Duration>, String)>,
    /// Until then backtraces are what somebody asked for by sysrq.
    asked: Option<Duration>,
    told: Vec<String>,
    count: u64,
}

impl Unknown {
    /// A line outside of reports. `body`: it looks like one of a report's.
    pub(super) fn line(&mut self, text: &str, at: Option<Duration>, body: bool) {
        let close = |to: Duration| at.is_none_or(|at| at.saturating_sub(to) <= QUIET);
        if text.starts_with("sysrq: ") || self.asked.is_some_and(close) {
            self.asked = Some(at.unwrap_or_default());
            return;
        }
        self.asked = None;
        if is_trace(text) {
            self.count += 1;
            let about = self.about.take().filter(|(to, _)| to.is_none_or(close));
            let about = about.map_or_else(|| text.to_owned(), |(_, line)| line);
            if self.count <= MAX_TOLD as u64 {
                self.told.push(about);
            }
        } else if !body {
            self.about = Some((at, text.trim().chars().take(MAX_QUOTE).collect()));
        }
    }

    /// What each new one is about.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// How many were not told.
    pub(super) fn untold(&mut self) -> u64 {
        let untold = self.count.saturating_sub(MAX_TOLD as u64);
        self.count -= untold;
        untold
    }
}

/// Whether a stack trace begins.
pub(super) fn is_trace(text: &str) -> bool {
    text.starts_with("Call Trace:") || text.starts_with("Call trace:")
}
