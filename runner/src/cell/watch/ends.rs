//! How a guest is lost, and what that means.

use super::*;

/// Why QEMU ended where a signal told it to (ShutdownCause `host-signal` in QEMU's QMP reference).
const KILLED_BY_HOST: &str = "host-signal";

impl Watch<'_> {
    pub(super) fn on_exit(&mut self, status: &str, clean: bool, stderr: &str) {
        self.console_ended();
        if self.bye_heard {
            self.stage = Stage::Over;
            return;
        }
        let splats = self.scanner.gone();
        self.on_splats(splats);
        self.out.stillborn = self.console.lines == 0;
        // A guest that resets or powers off ends QEMU with status 0. Anything else is QEMU's own end.
        if !clean {
            let reason = format!("QEMU ended with {status}{}", self.said(stderr));
            self.lost(CellEnd::Infra { reason });
            return;
        }
        // Somebody ended QEMU: systemd, an OOM daemon, an administrator.
        if self.stopped.as_deref() == Some(KILLED_BY_HOST) {
            self.lost(CellEnd::Infra { reason: "QEMU was told to end by a signal of the host".to_owned() });
            return;
        }
        let fatal = self.out.splats.iter().map(|(splat, _)| splat).find(|splat| splat.fatal);
        let reason = match (fatal, &self.stopped) {
            // A test can do that to it, and so can a kernel that corrupts memory.
            (Some(splat), _) if splat.kind == INIT_KILLED && self.stage != Stage::Booting => {
                format!("the guest's init was killed: {}", splat.title)
            }
            (Some(splat), _) => splat.title.clone(),
            (None, Some(reason)) => format!("the guest stopped without a word ({reason})"),
            (None, None) => "the guest stopped without a word".to_owned(),
        };
        if self.stage == Stage::Booting {
            self.unbootable(reason);
        } else {
            self.lost(CellEnd::Crashed { reason });
        }
    }

    /// The guest says something that does not fit where it is. Nothing it says is believed from there on: a job that was
    /// running ends without its results.
    pub(super) fn out_of_order(&mut self, what: &str) {
        self.lost(CellEnd::Crashed { reason: format!("the guest broke the wire protocol: {what}") });
    }

    /// QEMU's last line for a reason of one line, and a note where it said more.
    pub(super) fn said(&mut self, stderr: &str) -> String {
        let mut splitter = LineSplitter::new(MAX_REASON);
        let mut lines = splitter.push(stderr.as_bytes());
        lines.extend(splitter.finish());
        lines.retain(|line| !line.trim().is_empty());
        if lines.len() > 1 {
            self.note(format!("QEMU said: {}", lines.join("\n")));
        }
        lines.pop().map_or_else(String::new, |line| format!(": {}", line.trim()))
    }

    pub(super) fn unbootable(&mut self, reason: String) {
        let detail = self.console.tail.join("\n");
        self.lost(CellEnd::Unbootable { reason, detail });
    }

    /// Ends the watch. A test that was running gets its result from how it ended.
    pub(super) fn lost(&mut self, end: CellEnd) {
        let leaving = matches!(self.stage, Stage::Leaving { .. });
        match self.stage {
            Stage::Over => return,
            Stage::Booting | Stage::Leaving { .. } => {}
            _ => {
                let how = match &end {
                    CellEnd::Crashed { reason }
                    | CellEnd::TimedOut { reason }
                    | CellEnd::Infra { reason }
                    | CellEnd::Unbootable { reason, .. } => reason.clone(),
                    CellEnd::Interrupted => "interrupted".to_owned(),
                    _ => "the guest was lost".to_owned(),
                };
                let cause = match &end {
                    CellEnd::Crashed { .. } => Some(Cause::Crash),
                    CellEnd::TimedOut { .. } => Some(Cause::TimeOut),
                    _ => None,
                };
                self.finish_job(&JobEnd::Lost(how), cause);
            }
        }
        // A job that was over keeps its verdict if the host has trouble with what is left of the guest; a kernel that
        // crashes while it tidies up after the tests has crashed.
        match end {
            CellEnd::Infra { reason } if leaving => self.note(format!("after the tests: {reason}")),
            end => self.out.end = end,
        }
        self.stage = Stage::Over;
    }

    pub(super) fn note(&mut self, mut text: String) {
        if self.out.notes.len() >= MAX_NOTES {
            return;
        }
        if let Some((end, _)) = text.char_indices().nth(MAX_NOTE) {
            text.truncate(end);
        }
        (self.emit)(Event::Note { cell: self.cell, text: text.clone() });
        self.out.notes.push(text);
    }
}
