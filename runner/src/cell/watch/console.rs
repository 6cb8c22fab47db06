//! What stands on the console: lines, splats, and the marks of init.

use kvet_wire::{BYE_MARK, LACKS_MARK, LAST_WORDS_MARK};

use super::*;
use crate::parse::splat::{at_stamps, strip_prefix};

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
        if self.scanner.suppressed() > 0 {
            self.note(format!(
                "the kernel complained {} more times; see console.log",
                self.scanner.suppressed()
            ));
        }
        if self.scanner.untold() > 0 {
            self.note(format!(
                "there were {} more such stack traces; see console.log",
                self.scanner.untold()
            ));
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
            (self.emit)(Event::SplatSeen { cell: self.cell, splat: splat.clone(), test: test.clone() });
            self.out.splats.push((splat, test));
        }
    }
}
