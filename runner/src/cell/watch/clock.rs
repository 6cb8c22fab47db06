//! What takes too long, and the host's disk.

use super::*;

impl Watch<'_> {
    pub(super) fn on_deadline<W: Write>(&mut self, session: &mut Session<W>) -> Result<()> {
        if self.scanner.pending().is_some() && self.console.last.elapsed() >= QUIET {
            let splats = self.scanner.flush();
            self.on_splats(splats);
            self.leave_if_done();
        }
        let now = Instant::now();
        match self.stage.clone() {
            Stage::Booting if now >= self.clock.started + self.limits.boot => {
                self.out.stillborn = self.console.lines == 0;
                let late = format!("not up after {}", seconds(self.limits.boot));
                match session.vm().not_running() {
                    Some(why) => self.lost(CellEnd::Infra { reason: format!("{late}: {why}") }),
                    None => self.unbootable(late),
                }
            }
            Stage::Working => {
                if let Some(why) = self.passed_limit(now, session) {
                    match session.vm().not_running() {
                        Some(host) => self.lost(CellEnd::Infra { reason: format!("{why}: {host}") }),
                        None => self.ask_for_stacks(why, session)?,
                    }
                }
            }
            Stage::Dumping { why, until } if now >= until => self.kill_job(why, session)?,
            Stage::Killing { why, until } if now >= until => {
                self.lost(CellEnd::TimedOut { reason: format!("{why}, and could not be killed") });
            }
            Stage::Leaving { until, latest } if now >= until => {
                // A slow console is read to its end, within reason.
                let quiet = self.console.last.elapsed() >= QUIET;
                if !quiet && now < latest {
                    self.stage = Stage::Leaving { until: now + QUIET, latest };
                } else if self.bye_heard {
                    self.stage = Stage::Over;
                } else {
                    self.lost(CellEnd::TimedOut {
                        reason: "the guest hung when it was told to leave".into(),
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a limit only seems to have passed because kvet did not run. When that began is not known; the limits move
    /// by all the time since something came `before`.
    pub(super) fn stood_still(&mut self, deadline: Instant, before: Instant) -> bool {
        let late = before.elapsed();
        if deadline.elapsed() < STALL || !matches!(self.stage, Stage::Booting | Stage::Working) {
            return false;
        }
        self.clock.started += late;
        self.clock.test_since += late;
        self.clock.resumed = Instant::now();
        self.note(format!(
            "the host stood still, for up to {}; the limits were moved by as much",
            seconds(late)
        ));
        true
    }

    pub(super) fn passed_limit<W: Write>(&self, now: Instant, session: &Session<W>) -> Option<String> {
        if now >= session.last_frame().max(self.clock.resumed) + self.limits.silence {
            return Some(format!("the guest hung: no sign of life for {}", seconds(self.limits.silence)));
        }
        if now >= self.clock.started + self.limits.cell {
            return Some(cell_limit(self.limits.cell));
        }
        if now >= self.clock.test_since + self.limits.test {
            let limit = seconds(self.limits.test);
            return Some(match &self.running {
                Some(test) => format!("{test} ran longer than {limit}"),
                None => format!("no test began or ended for {limit}"),
            });
        }
        None
    }

    /// Before anything is killed, the kernel says what its tasks and CPUs are doing: through init where it lives, by
    /// an NMI where it does not.
    pub(super) fn ask_for_stacks<W: Write>(&mut self, why: String, session: &mut Session<W>) -> Result<()> {
        if session.last_frame().elapsed() < DEAF {
            session.dump()?;
        } else {
            session.vm().inject_nmi()?;
        }
        self.stage = Stage::Dumping { why, until: Instant::now() + SETTLE };
        Ok(())
    }

    pub(super) fn kill_job<W: Write>(&mut self, why: String, session: &mut Session<W>) -> Result<()> {
        if session.last_frame().elapsed() >= DEAF {
            self.lost(CellEnd::TimedOut { reason: why });
            return Ok(());
        }
        session.kill_job()?;
        self.stage = Stage::Killing { why, until: Instant::now() + KILL_PATIENCE };
        Ok(())
    }

    /// Notices a guest that fills the host's disk through its results share.
    pub(super) fn check_disk(&mut self) {
        let Some(dir) = &self.files else { return };
        let Ok(stat) = nix::sys::statvfs::statvfs(dir.as_path()) else { return };
        if stat.blocks_available() * stat.fragment_size() < DISK_RESERVE && tree_size(dir) > MAX_FILES {
            let reason = format!("the guest has filled the disk of {}", dir.display());
            self.lost(CellEnd::Infra { reason });
        }
    }

    /// QEMU says why a guest no longer runs. Its end follows, unless it was only paused.
    pub(super) fn on_stopped(&mut self, reason: String) {
        if reason != PAUSED {
            self.stopped = Some(reason);
        } else if self.stopped.is_none() && !matches!(self.stage, Stage::Leaving { .. }) {
            self.out.stillborn = self.console.lines == 0;
            let reason = "QEMU paused the guest: its accelerator could not go on".to_owned();
            self.lost(CellEnd::Infra { reason });
        }
    }
}
