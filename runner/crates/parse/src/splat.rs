//! Kernel complaints on the console: panics, oopses, warnings, sanitizer reports, lockups.
//!
//! [`Scanner`] reads console lines and gives a [`Splat`] when a report is complete. What reports look like is data:
//! `configs/splats.yaml`; which of them are known and accepted is data too: `configs/SPLAT_ALLOWLIST`.

mod patterns;
mod report;
mod restart;
mod unknown;

pub use patterns::{Allowlist, Patterns};

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use kvet_base::event::Splat;
use report::Report;
use restart::{Banner, Restart};
use unknown::Unknown;

/// Reports of one guest that are given, fatal ones apart: a driver can warn thousands of times.
const MAX_SPLATS: usize = 100;

/// The same of those that a suite says it provokes, in short after the first [`MAX_SPLATS`].
const MAX_PROVOKED: usize = 5000;

/// Fatal ones at most: after the first the guest is dead, unless it only says so.
const MAX_FATAL_SPLATS: usize = 5;

/// Lines after the closing line that may pass before the report counts as complete, where lines have no time.
const LINGER_LINES: usize = 32;

/// Lines between `[ cut here ]` and the line that says what it is about.
const MAX_PRELUDE: usize = 10;

/// Stamps in one line of the console that are looked for.
const MAX_PARTS: usize = 8;

/// Finds splats in a guest's console. One scanner reads one guest, from its first line on.
///
/// ```
/// # use kvet_parse::splat::{Allowlist, Patterns, Scanner};
/// let patterns = Patterns::load("../../../configs/splats.yaml".as_ref())?;
/// let mut scanner = Scanner::new(patterns, Allowlist::default());
/// assert!(scanner.line("[    2.125610] Kernel panic - not syncing: sysrq triggered crash").is_empty());
/// assert!(scanner.pending().is_some_and(|p| p.fatal));
/// // The guest is gone, or silent for a while:
/// let splat = scanner.flush().remove(0);
/// assert_eq!((splat.kind.as_str(), splat.fatal), ("panic", true));
/// # Ok::<(), kvet_base::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Scanner {
    patterns: Arc<Patterns>,
    allowlist: Allowlist,
    open: Option<Report>,
    /// A line of `=`, which some reports begin with.
    frame: Option<(String, Option<Duration>)>,
    booted: bool,
    restart: Restart,
    /// A banner of which what follows has to show whether it is a restart.
    banner: Option<Report>,
    unknown: Unknown,
    given: usize,
    given_fatal: usize,
    given_allowed: usize,
    given_provoked: usize,
    suppressed: u64,
    suppressed_provoked: u64,
    provoked: Arc<[Regex]>,
}

/// A report that is not complete yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending<'a> {
    /// Its kind, if a line told it already.
    pub kind: Option<&'a str>,
    /// The line that gave it away, or what there is.
    pub title: &'a str,
    /// Whether the kernel cannot go on after it.
    pub fatal: bool,
}

impl Scanner {
    /// A scanner for one guest.
    pub fn new(patterns: Arc<Patterns>, allowlist: Allowlist) -> Self {
        Self {
            patterns,
            allowlist,
            open: None,
            frame: None,
            booted: false,
            restart: Restart::default(),
            banner: None,
            unknown: Unknown::default(),
            given: 0,
            given_fatal: 0,
            given_allowed: 0,
            given_provoked: 0,
            suppressed: 0,
            suppressed_provoked: 0,
            provoked: Arc::new([]),
        }
    }

    /// A scanner with the same tables, for another record of the same guest.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self { provoked: self.provoked.clone(), ..Self::new(self.patterns.clone(), self.allowlist.clone()) }
    }

    /// Complaints with a line that matches one of these do not use up the room of others: a suite provokes them. Whether that
    /// excuses them is decided by who knows which test ran.
    #[must_use]
    pub fn provoking(mut self, patterns: impl Iterator<Item = Regex>) -> Self {
        self.provoked = patterns.collect();
        self
    }

    /// Takes one complete line, cleaned of control bytes, and gives the splats it completes.
    pub fn line(&mut self, raw: &str) -> Vec<Splat> {
        let (at, text) = strip_prefix(raw);
        let mut out = Vec::new();
        match self.restart.line(at) {
            Some(Banner::Restart) => out.extend(self.restarted()),
            Some(_) => self.banner = None,
            None => {}
        }
        // What init and the harness say is no part of what the kernel says.
        let ours = text.starts_with("kvet-init: ") || text.starts_with("kvet-test: ");
        if self.open.as_ref().is_some_and(|r| r.is_over(at) || ours && !r.fatal) {
            out.extend(self.close());
        }
        match self.find(text, at) {
            Some(index) if self.patterns.is_banner(index) => self.on_banner(index, raw, text, at, &mut out),
            Some(index) => self.start(index, raw, text, at, &mut out),
            None if is_cut_here(text) => self.cut_here(raw, text, at, &mut out),
            None => self.other(raw, text, at, &mut out),
        }
        self.frame = is_frame(text).then(|| (raw.to_owned(), at));
        out
    }

    /// The console is silent or gone: what is open is complete. Call it when nothing came for a while although
    /// [`Scanner::pending`] says that something is open (half a second is plenty), and at the end.
    pub fn flush(&mut self) -> Vec<Splat> {
        self.close().into_iter().collect()
    }

    /// The report that is being read, if one is: keep reading the console, and the clock.
    pub fn pending(&self) -> Option<Pending<'_>> {
        self.open.as_ref().map(|r| Pending {
            kind: r.pattern.map(|i| self.patterns.kind(i)),
            title: &r.title,
            fatal: r.fatal,
        })
    }

    /// The guest is gone, and was not told to go: a banner that nothing followed was that of a restart.
    pub fn gone(&mut self) -> Vec<Splat> {
        let mut splats = self.flush();
        splats.extend(self.restarted());
        splats
    }

    /// What stack traces were about that belong to no report, since this was asked last; see [`Scanner::untold`].
    pub fn unknown(&mut self) -> Vec<String> {
        self.unknown.take()
    }

    /// How many more such stack traces there were, since this was asked last.
    pub fn untold(&mut self) -> u64 {
        self.unknown.untold()
    }

    /// How many splats were left out because there were too many, since this was asked last.
    pub fn suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }

    /// The same of those that the suite provokes: none of them was looked at.
    pub fn suppressed_provoked(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed_provoked)
    }

    /// The pattern that a line matches. The banner counts from the second time on.
    fn find(&mut self, text: &str, at: Option<Duration>) -> Option<usize> {
        let index = self.patterns.find(text)?;
        if !self.patterns.is_banner(index) {
            return Some(index);
        }
        let first = !std::mem::replace(&mut self.booted, true);
        (!first && self.restart.banner(at) != Banner::Quoted).then_some(index)
    }

    fn on_banner(&mut self, index: usize, raw: &str, text: &str, at: Option<Duration>, out: &mut Vec<Splat>) {
        let mut report = self.begin(index, text, at);
        report.push(raw, text, at);
        self.banner = Some(report);
        if !self.restart.is_unclear() {
            out.extend(self.restarted());
        }
    }

    /// The banner was that of a kernel that starts again.
    fn restarted(&mut self) -> Vec<Splat> {
        let Some(banner) = self.banner.take() else { return Vec::new() };
        let mut splats = self.flush();
        self.open = Some(banner);
        splats.extend(self.close());
        splats
    }

    fn begin(&self, index: usize, text: &str, at: Option<Duration>) -> Report {
        let mut report = Report::new(Some(index), text, at);
        report.fatal = self.patterns.is_fatal(index);
        report.end = self.patterns.has_end(index).then_some(index);
        report
    }

    fn start(&mut self, index: usize, raw: &str, text: &str, at: Option<Duration>, out: &mut Vec<Splat>) {
        let fatal = self.patterns.is_fatal(index);
        let refines = |of| self.patterns.refines(index, of);
        let belongs = |of| refines(of) || self.patterns.end_alike(index, of);
        if let Some(report) = &mut self.open
            && (fatal || report.takes_more() && (report.fatal || report.pattern.is_none_or(belongs)))
        {
            report.push(raw, text, at);
            let refines = report.pattern.is_some_and(refines);
            report.merge(index, text, fatal, refines, self.patterns.has_end(index));
        } else {
            out.extend(self.close());
            let mut report = self.begin(index, text, at);
            if let Some((frame, at)) = self.frame.take() {
                report.push(&frame, "", at);
            }
            report.push(raw, text, at);
            self.open = Some(report);
        }
        // Some reports end with a line that could begin one.
        if let Some(report) = &mut self.open
            && report.end.is_some_and(|end| self.patterns.ends(end, text))
        {
            report.ended = Some(0);
        }
    }

    fn cut_here(&mut self, raw: &str, text: &str, at: Option<Duration>, out: &mut Vec<Splat>) {
        match &mut self.open {
            Some(report) if report.takes_more() => report.push(raw, text, at),
            _ => {
                out.extend(self.close());
                let mut report = Report::new(None, text, at);
                report.push(raw, text, at);
                self.open = Some(report);
            }
        }
    }

    /// A line that begins nothing.
    fn other(&mut self, raw: &str, text: &str, at: Option<Duration>, out: &mut Vec<Splat>) {
        let body = self.patterns.is_body(text);
        let Some(report) = &mut self.open else {
            self.unknown.line(text, at, body);
            return;
        };
        if let Some(strangers) = &mut report.ended {
            if self.patterns.is_tail(text) {
                report.push(raw, text, at);
                return;
            }
            self.unknown.line(text, at, body);
            *strangers += 1;
            if *strangers > LINGER_LINES {
                out.extend(self.close());
            }
            return;
        }
        let closing = match report.end {
            Some(index) => self.patterns.ends(index, text),
            None => report.pattern.is_none() && text.starts_with("---[ end trace"),
        };
        if report.end.is_none() && report.traced && !closing && !body {
            out.extend(self.close());
            self.unknown.line(text, at, body);
            return;
        }
        report.push(raw, text, at);
        if report.pattern.is_none() && report.lines == 2 {
            text.clone_into(&mut report.title);
        }
        if closing {
            report.ended = Some(0);
        } else if report.cut || report.pattern.is_none() && report.lines > MAX_PRELUDE {
            out.extend(self.close());
        }
    }

    fn close(&mut self) -> Option<Splat> {
        let report = self.open.take()?;
        let allowed = if report.fatal { None } else { self.allowlist.reason(&report.bare) };
        let provoked = self.provoked.iter().any(|pattern| pattern.is_match(&report.bare));
        let (given, most, suppressed) = match (report.fatal, &allowed) {
            (true, _) => (&mut self.given_fatal, MAX_FATAL_SPLATS, Some(&mut self.suppressed)),
            (false, None) if provoked => {
                (&mut self.given_provoked, MAX_PROVOKED, Some(&mut self.suppressed_provoked))
            }
            (false, None) => (&mut self.given, MAX_SPLATS, Some(&mut self.suppressed)),
            // The list says that they do not matter; they must not use up the room of those that do.
            (false, Some(_)) => (&mut self.given_allowed, MAX_SPLATS, None),
        };
        if *given >= most {
            suppressed.into_iter().for_each(|count| *count += 1);
            return None;
        }
        *given += 1;
        let in_short = *given > MAX_SPLATS;
        // What is cut out by the kernel for us to see, and is of no kind we know, is a warning at least.
        let kind = report.pattern.map_or("warn", |i| self.patterns.kind(i)).to_owned();
        let mut text = if in_short { report.title.clone() } else { report.text };
        text.truncate(text.trim_end().len());
        Some(Splat {
            kind,
            title: report.title,
            text,
            at: report.at,
            fatal: report.fatal,
            allowed,
            test: None,
            during: None,
        })
    }
}

fn is_cut_here(text: &str) -> bool {
    text.starts_with("------------[ cut here ]")
}

fn is_frame(text: &str) -> bool {
    text.len() >= 20 && text.bytes().all(|b| b == b'=')
}

/// The lines of a report without their prefixes.
pub fn bare(text: &str) -> String {
    text.lines().map(|line| strip_prefix(line).1).collect::<Vec<_>>().join("\n")
}

/// Splits `[   12.345678][  T123] text` into time and text. Also taken: a level before it (`<4>`), no caller, and
/// neither.
pub fn strip_prefix(line: &str) -> (Option<Duration>, &str) {
    let rest = match line.strip_prefix('<').and_then(|r| r.split_once('>')) {
        Some((level, rest)) if !level.is_empty() && level.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => line,
    };
    let Some((stamp, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) else {
        return (None, line);
    };
    let Some(at) = printk_time(stamp) else { return (None, line) };
    let after = match after.trim_start_matches(' ').strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((caller, text)) if is_caller(caller) => text,
        _ => after,
    };
    (Some(at), after.strip_prefix(' ').unwrap_or(after))
}

/// The parts of a console line, each from its printk stamp on: what the kernel prints stands behind whatever a program
/// left unfinished there (`progress: 40%[   12.345678] BUG: …`).
pub fn at_stamps(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while parts.len() < MAX_PARTS
        && let Some(at) = second_stamp(rest)
    {
        parts.push(&rest[..at]);
        rest = &rest[at..];
    }
    parts.push(rest);
    parts
}

/// Where a printk stamp stands that does not begin the line.
fn second_stamp(line: &str) -> Option<usize> {
    let first = line.len() - strip_prefix(line).1.len();
    let from = first.max(1);
    line.as_bytes().iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'[').map(|(at, _)| at).find(
        |at| {
            let stamp = line[at + 1..].split_once(']');
            stamp.is_some_and(|(stamp, after)| after.starts_with([' ', '[']) && printk_time(stamp).is_some())
        },
    )
}

/// `   12.345678` to a duration.
fn printk_time(stamp: &str) -> Option<Duration> {
    let (seconds, micros) = stamp.trim_start().split_once('.')?;
    if micros.len() != 6 || !micros.bytes().chain(seconds.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(
        Duration::from_secs(seconds.parse::<u32>().ok()?.into())
            + Duration::from_micros(micros.parse().ok()?),
    )
}

/// `  T123` or `  C0`, as CONFIG_PRINTK_CALLER adds.
fn is_caller(text: &str) -> bool {
    text.trim_start()
        .strip_prefix(['T', 'C'])
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
