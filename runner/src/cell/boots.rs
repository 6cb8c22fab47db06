//! The guests of a cell: one, or with `--resume` further ones after a crash.

use std::fs::File;
use std::io::LineWriter;
use std::path::Path;
use std::time::Instant;

use super::command::{self, ALL_SKIPPED, Command};
use super::prepare::{self, Prepared};
use super::resume::{Next, SoFar};
use super::slots::Share;
use super::watch::{Watch, Watched};
use super::{FILES, Running};
use crate::error::{IoContext, Result};
use crate::event::{Accel, CellEnd, Event, Phase, PhaseTime};
use crate::guest::Session;
use crate::kernel::Kernel;
use crate::parse::OutputParser;
use crate::parse::exit::ExitParser;
use crate::parse::ktap::KtapParser;
use crate::parse::test_progs::TestProgsParser;
use crate::plan::expectations::Expected;
use crate::plan::{CellPlan, Limits};
use crate::report::store::numbered;
use crate::spec::suite::Format;
use crate::vm::Vm;
use crate::vm::accel::{AccelChoice, Chosen};

/// What all guests of a cell have in common.
#[derive(Clone, Copy)]
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) prepared: &'a Prepared,
    pub(super) qemu: &'a Path,
    pub(super) expected: &'a Expected,
}

/// What one of them has for itself.
struct Boot<'a> {
    /// From 1 on.
    number: u32,
    chosen: &'a Chosen,
    command: &'a Command,
    limits: Limits,
}

impl Running<'_> {
    /// Boots until the tests are over, or until nothing is gained by another boot. None if no guest may be started any more.
    pub(super) fn boots(&mut self, guest: &Guest<'_>, chosen: Chosen) -> Result<Option<Watched>> {
        let resources = self.resources;
        let skipped = command::left_out(&self.plan, guest.expected, &[]);
        if command::is_nothing(&self.plan, &skipped) {
            self.note(format!("nothing was booted: {ALL_SKIPPED}"));
            return Ok(Some(Watched::new(CellEnd::Completed)));
        }
        let wanted = Share { cpus: self.plan.cpus, memory_mib: self.plan.memory_mib.into() };
        // Before the clock starts: waiting for other guests is no time of this one.
        self.slot = resources.slots.take(wanted, &resources.cancel, || self.enter(Phase::Wait))?;
        if self.slot.is_none() {
            return Ok(None);
        }
        let started = Instant::now();
        let (first, chosen) = self.first_boot(guest, chosen)?;
        let mut all = SoFar::new(first);
        let mut grown = true;
        loop {
            let reason = match all.next(grown) {
                Next::Over => break,
                Next::Stuck => {
                    self.note("booted again to no avail: the rest of the tests is not run".into());
                    break;
                }
                Next::Again(reason) => reason,
            };
            if let Some(reason) = resources.slots.closed() {
                self.note(format!("not booted again: {reason}"));
                break;
            }
            let Some(limits) = self.limits_left(started, all.boots) else { break };
            let Some(command) = self.rest(guest, &all)? else { break };
            let number = all.boots + 1;
            (self.emit)(Event::Rebooted { cell: self.index, boot: number, reason });
            let next = self.boot(guest, &Boot { number, chosen: &chosen, command: &command, limits })?;
            grown = all.add(next);
        }
        self.report.boots = all.boots;
        Ok(Some(all.watched))
    }

    /// The first guest, and how it was run.
    fn first_boot(&mut self, guest: &Guest<'_>, chosen: Chosen) -> Result<(Watched, Chosen)> {
        let command = command::command(&self.plan, &command::left_out(&self.plan, guest.expected, &[]))?;
        let limits = self.plan.limits;
        let boot = Boot { number: 1, chosen: &chosen, command: &command, limits };
        let watched = self.boot(guest, &boot)?;
        if !(watched.stillborn && chosen.accel == Accel::Kvm && self.plan.accel == AccelChoice::Auto) {
            return Ok((watched, chosen));
        }
        self.note("QEMU died under KVM before the kernel said a word; once more with TCG".into());
        let chosen = Chosen { accel: Accel::Tcg, reason: "QEMU died early under KVM".to_owned() };
        let watched = self.boot(guest, &Boot { chosen: &chosen, ..boot })?;
        Ok((watched, chosen))
    }

    /// The limits of one more boot; none if there may not be one.
    fn limits_left(&mut self, started: Instant, boots: u32) -> Option<Limits> {
        let Limits { boot, test, cell, silence } = self.plan.limits;
        if boots > self.plan.resume {
            if self.plan.resume > 0 {
                self.note(format!("not booted again: --resume={} allows no more", self.plan.resume));
            }
            return None;
        }
        let cell = cell.saturating_sub(started.elapsed());
        if cell.is_zero() {
            self.note("not booted again: the cell's time is over".into());
            return None;
        }
        Some(Limits { boot: boot.min(cell), test: test.min(cell), cell, silence })
    }

    /// The command line for what is left of the tests; none if nothing is, or if the suite cannot be told.
    fn rest(&mut self, guest: &Guest<'_>, all: &SoFar) -> Result<Option<Command>> {
        let selected = self.plan.selected.iter().flatten();
        let listed = self.plan.selected.is_some() && self.plan.suite.spec.format == Format::Ktap;
        if listed && selected.clone().all(|name| all.done().contains(name)) {
            return Ok(None);
        }
        let left_out = command::left_out(&self.plan, guest.expected, all.done());
        let command = command::command(&self.plan, &left_out)?;
        if !command.leaves_done_out {
            self.note("not booted again: the tests that are done are too many to be named".into());
            return Ok(None);
        }
        Ok(Some(command))
    }

    /// One guest, from power-on to power-off.
    fn boot(&mut self, guest: &Guest<'_>, boot: &Boot<'_>) -> Result<Watched> {
        let Guest { kernel, prepared, qemu, expected } = *guest;
        let chosen = boot.chosen;
        self.report.accel = Some(chosen.accel);
        self.report.accel_reason.clone_from(&chosen.reason);
        let machine =
            prepare::machine(&self.plan, kernel, prepared, &self.resources.cache, chosen.accel, qemu)?;
        let log = self.dir.join(numbered("wire", boot.number, ".jsonl"));
        let log = LineWriter::new(File::create(&log).host(format!("create {}", log.display()))?);
        let kernel_log = self.dir.join(numbered("kmsg", boot.number, ".log"));
        let kernel_log = File::create(&kernel_log).host(format!("create {}", kernel_log.display()))?;
        let job = prepare::job(&self.plan, &prepared.told, boot.command.clone())?;
        self.enter(Phase::Boot);
        let started = Instant::now();
        let vm = Vm::start(&machine, &self.resources.cancel)?;
        (self.emit)(Event::VmStarted {
            cell: self.index,
            accel: chosen.accel,
            reason: chosen.reason.clone(),
            argv: vm.argv().iter().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        });
        let mut session = Session::new(vm, log);
        let parser = parser(&self.plan);
        let provoked = self.plan.allowed_splats.iter().map(|allowance| allowance.pattern().clone());
        let scanner = (self.resources.scanner)().provoking(provoked);
        let watch = Watch::new(self.index, job, boot.limits, parser, scanner, &mut *self.emit)
            .telling(&self.plan.filter)
            .expecting(expected)
            .allowing(&self.plan.allowed_splats);
        let watch = watch.writing_to(&self.dir.join(FILES)).logging_to(Box::new(kernel_log));
        let watched = watch.run(&mut session);
        self.phase = None;
        self.times(started, &watched);
        self.note_guest(kernel, &watched, session.vm().qemu_version());
        if let Err(error) = session.end() {
            self.note(format!("QEMU could not be ended in good order: {error}"));
        }
        self.add_time(Phase::Teardown, watched.done.unwrap_or_else(Instant::now));
        Ok(watched)
    }

    /// What the guest and QEMU said of themselves. That the kernel that ran is the one that was meant is not taken for
    /// granted.
    fn note_guest(&mut self, kernel: &Kernel, watched: &Watched, qemu: Option<&str>) {
        let mut add = |name: &str, value: &str| {
            self.report.provenance.insert(name.to_owned(), value.to_owned());
        };
        if let Some(version) = qemu {
            add("qemu", version);
        }
        let Some(release) = &watched.guest_release else { return };
        add("guest_release", release);
        if *release != kernel.facts.release {
            let said = &kernel.facts.release;
            self.note(format!("the guest calls itself {release}, its image {said}"));
        }
    }

    /// The phases that the watch went through by itself.
    fn times(&mut self, started: Instant, watched: &Watched) {
        let now = Instant::now();
        let ready = watched.ready.unwrap_or(now);
        self.report.times.push(PhaseTime { phase: Phase::Boot, wall: ready - started });
        if watched.ready.is_some() {
            let done = watched.done.unwrap_or(now);
            self.report.times.push(PhaseTime { phase: Phase::Tests, wall: done - ready });
        }
    }
}

/// What reads the output of a cell's job.
fn parser(plan: &CellPlan) -> Box<dyn OutputParser> {
    match plan.suite.spec.format {
        Format::Ktap => Box::new(KtapParser::new(&plan.suite.spec.name)),
        Format::Exit => Box::new(ExitParser::new(&plan.suite.spec.name)),
        Format::TestProgs => {
            Box::new(TestProgsParser::new(&plan.suite.spec.name, command::is_live(&plan.suite.spec.args)))
        }
    }
}
