//! Which test was running when the kernel said something.

use std::collections::HashMap;
use std::time::Duration;

use kvet_wire::{RUN_MARK, SYNC_MARK};

use crate::parse::splat::strip_prefix;

/// The starts of tests on the kernel's clock (printk stamps).
///
/// The exact source is the console itself: a harness that writes [`RUN_MARK`] to /dev/kmsg puts the start of each test
/// into the same stream as the kernel's complaints. Without such marks the stamps that init gave to the output are
/// used, shifted by the difference of the two clocks, which init's [`SYNC_MARK`] shows.
#[derive(Debug, Default)]
pub struct Timeline {
    /// Printk time minus boottime, in microseconds.
    offset_us: Option<i64>,
    marked: Vec<(Duration, String)>,
    /// How often each name was marked.
    times: HashMap<String, u32>,
    announced: Vec<(Duration, String)>,
    ended: Option<Duration>,
}

/// More starts than this are no suite: the guest floods its console.
const MAX_STARTS: usize = 200_000;
/// Longest name of a test that is looked for, in characters.
const MAX_NAME: usize = 256;

impl Timeline {
    /// Takes a line of the console. Gives the name of the test that it says starts, and when, on the clock of init's stamps.
    pub fn console_line(&mut self, line: &str) -> Option<(String, Duration)> {
        let (Some(at), text) = strip_prefix(line) else { return None };
        if let Some(name) = text.strip_prefix(RUN_MARK) {
            let name = name.trim();
            let nth = self.nth(name);
            push(&mut self.marked, at, &nth);
            return Some((name.chars().take(MAX_NAME).collect(), self.to_boottime(at)));
        }
        if self.offset_us.is_none()
            && let Some(boottime) = text.strip_prefix(SYNC_MARK).and_then(|t| t.trim().parse::<i64>().ok())
        {
            // Only the first: init says it before any test could.
            self.offset_us = (at.as_micros() as i64).checked_sub(boottime);
        }
        None
    }

    /// A name that was marked before is another test's: `x#2`, as the parsers call it.
    fn nth(&mut self, name: &str) -> String {
        if self.times.len() >= MAX_STARTS {
            return name.to_owned();
        }
        let times = self.times.entry(name.chars().take(MAX_NAME).collect()).or_insert(0);
        *times += 1;
        if *times > 1 { format!("{name}#{times}") } else { name.to_owned() }
    }

    /// A test's start was seen in the output, with init's stamp.
    pub fn announced(&mut self, at: Duration, name: &str) {
        push(&mut self.announced, at, name);
    }

    /// The job is over, at init's stamp.
    pub fn ended(&mut self, at: Duration) {
        self.ended = Some(at);
    }

    /// The test that had started last at a printk time; none before the first one and after the job's end.
    pub fn running_at(&self, printk: Duration) -> Option<&str> {
        let boottime = self.to_boottime(printk);
        if self.ended.is_some_and(|end| boottime > end) {
            return None;
        }
        let (starts, at) =
            if self.marked.is_empty() { (&self.announced, boottime) } else { (&self.marked, printk) };
        let after = starts.partition_point(|(start, _)| *start <= at);
        after.checked_sub(1).map(|last| starts[last].1.as_str())
    }

    /// The test that the console saw last, if the output never told of it: what was on its way when the guest died.
    pub fn unheard(&self) -> Option<&str> {
        let (_, last) = self.marked.last()?;
        let heard = self.announced.iter().any(|(_, name)| name == last);
        (!heard).then_some(last.as_str())
    }

    fn to_boottime(&self, printk: Duration) -> Duration {
        let us = (printk.as_micros() as i64).saturating_sub(self.offset_us.unwrap_or(0));
        Duration::from_micros(us.max(0) as u64)
    }
}

fn push(starts: &mut Vec<(Duration, String)>, at: Duration, name: &str) {
    // A guest's clock that runs backwards would break the search.
    if starts.len() < MAX_STARTS && starts.last().is_none_or(|(last, _)| *last <= at) {
        starts.push((at, name.chars().take(MAX_NAME).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn marks_on_the_console_decide_where_there_are_some() {
        let mut t = Timeline::default();
        t.announced(s(2.9), "late/stamp");
        t.console_line("[    2.500000] kvet-test: RUN a/one");
        t.console_line("[    2.700000][  T12] kvet-test: RUN a/two");
        assert_eq!(t.running_at(s(2.4)), None);
        assert_eq!(t.running_at(s(2.5)), Some("a/one"));
        assert_eq!(t.running_at(s(2.8)), Some("a/two"));
        assert_eq!(t.unheard(), Some("a/two"));
        t.announced(s(3.0), "a/two");
        assert_eq!(t.unheard(), None);
    }

    #[test]
    fn stamps_of_init_are_shifted_to_the_kernels_clock() {
        let mut t = Timeline::default();
        t.console_line("[    2.000000] kvet-init: boottime_us=1900000");
        t.announced(s(3.0), "a/one");
        t.announced(s(4.0), "a/two");
        t.ended(s(5.0));
        assert_eq!(t.running_at(s(3.05)), None);
        assert_eq!(t.running_at(s(3.15)), Some("a/one"));
        assert_eq!(t.running_at(s(4.2)), Some("a/two"));
        assert_eq!(t.running_at(s(5.2)), None, "after the job");
    }

    #[test]
    fn nonsense_is_passed_over() {
        let mut t = Timeline::default();
        t.console_line("kvet-test: RUN without/stamp");
        t.console_line("[    1.000000] kvet-init: boottime_us=lots");
        t.console_line("[    9.000000] kvet-test: RUN b");
        t.console_line("[    3.000000] kvet-test: RUN back/in/time");
        assert_eq!(t.running_at(s(10.0)), Some("b"));
    }
}
