//! What stands on the console: lines, splats, and the marks of init.

use kvet_wire::{BYE_MARK, LACKS_MARK, LAST_WORDS_MARK};

use super::*;
use crate::parse::splat::{at_stamps, bare, strip_prefix};
use crate::spec::allowed::Allowance;

/// Why a suite provokes a complaint, if it does so in that test.
pub fn reason(allowances: &[Allowance], splat: &Splat, test: Option<&str>) -> Option<String> {
    let bare = bare(&splat.text);
    let covering = allowances.iter().find(|allowance| allowance.covers(splat, &bare, test));
    covering.map(|allowance| allowance.entry.reason.clone())
}

/// Stands for complaints that a suite provokes, and of which there were so many that kvet did not look whether the right tests
/// did: that is no pass.
fn too_many(overlooked: u64) -> Splat {
    Splat {
        kind: "too_many".into(),
        title: format!(
            "{overlooked} more complaints of kinds that the suite allows; kvet did not look at them"
        ),
        text: String::new(),
        at: None,
        fatal: false,
        allowed: None,
        test: None,
        during: None,
    }
}

impl Watch<'_> {
    pub(super) fn on_console(&mut self, bytes: &[u8]) {
        self.console.last = Instant::now();
        for line in self.console.splitter.push(bytes) {
            self.console_line(line);
        }
    }

    pub(super) fn console_line(&mut self, line: String) {
        self.console.lines += 1;
        // What the kernel prints stands behind what a program left unfinished on the console.
        for part in at_stamps(&line) {
            if let Some((name, at)) = self.timeline.console_line(part) {
                let events = self.parser.marked(at, &name);
                self.on_tests(events);
            }
            let splats = self.scanner.line(part);
            self.on_splats(splats);
            for about in self.scanner.unknown() {
                self.on_unknown(&about);
            }
            self.on_mark(strip_prefix(part).1);
        }
        if self.console.tail.len() == TAIL {
            self.console.tail.remove(0);
        }
        self.console.tail.push(line.clone());
        match self.console.budget.take(line.len()) {
            Ok(true) => (self.emit)(Event::ConsoleLine { cell: self.cell, line }),
            Ok(false) => {}
            Err(note) => self.note(note),
        }
    }

    /// What init says through the kernel's log. A test could say the same, so it counts only where no test runs.
    pub(super) fn on_mark(&mut self, text: &str) {
        match self.stage {
            Stage::Booting => {
                if let Some(what) = text.strip_prefix(LACKS_MARK) {
                    self.unbootable(format!("the kernel lacks what every guest needs: {}", what.trim()));
                } else if let Some(words) = text.strip_prefix(LAST_WORDS_MARK) {
                    let reason = format!("the guest's init failed: {}", words.trim());
                    self.lost(CellEnd::Infra { reason });
                }
            }
            Stage::Leaving { .. } if text.starts_with(BYE_MARK) => {
                self.bye_seen = true;
                self.leave_if_done();
            }
            _ => {}
        }
    }

    /// The console is gone or nobody will read on: what is open is complete.
    pub(super) fn console_ended(&mut self) {
        if let Some(line) = self.console.splitter.finish() {
            self.console_line(line);
        }
        let splats = self.scanner.flush();
        self.on_splats(splats);
        let suppressed = self.scanner.suppressed();
        if suppressed > 0 {
            self.note(format!("the kernel complained {suppressed} more times; see console.log"));
        }
        let untold = self.scanner.untold();
        if untold > 0 {
            self.note(format!("there were {untold} more such stack traces; see console.log"));
        }
        let overlooked = self.scanner.suppressed_provoked();
        if overlooked > 0 {
            self.on_splats(vec![too_many(overlooked)]);
        }
    }

    /// A stack trace of no known kind may be harmless; that it was there is said all the same.
    fn on_unknown(&mut self, about: &str) {
        let during = self.running.as_ref().map_or(String::new(), |test| format!(" while {test} ran"));
        self.note(format!("the kernel printed a stack trace{during} that kvet has no kind for: {about}"));
    }

    /// Some formats tell only with its result when a test began: now all is known.
    pub(super) fn place_splats(&mut self) {
        for (splat, test) in &mut self.out.splats {
            if let Some(at) = splat.at {
                *test = self.timeline.running_at(at).map(Into::into);
            }
        }
    }

    pub(super) fn on_splats(&mut self, splats: Vec<Splat>) {
        for splat in splats {
            let test = match splat.at {
                Some(at) => self.timeline.running_at(at).map(Into::into),
                // Without printk times the order of arrival has to do.
                None => self.running.clone(),
            };
            // Some tests are known only later; the report decides.
            let mut told = splat.clone();
            told.allowed = told.allowed.or_else(|| reason(self.allowances, &splat, test.as_deref()));
            (self.emit)(Event::SplatSeen { cell: self.cell, splat: told, test: test.clone() });
            self.out.splats.push((splat, test));
        }
    }
}
