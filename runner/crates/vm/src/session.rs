//! The host's end of the wire: jobs out, events in.
//!
//! A [`Session`] wraps a running [`Vm`] and holds the guest to the protocol: Ready first and once, one job at a
//! time, nothing about jobs that were not sent. What breaks it is a [`GuestEvent::Violation`], which is a finding
//! about the guest and never an error of ours.

use std::io::Write;
use std::time::{Duration, Instant};

use kvet_wire::frame::Kind;
use kvet_wire::message::{self, Output};
use kvet_wire::{Frame, FromGuest, Job, JobStatus, ModuleProblem, PROTOCOL, ToGuest, Tty};
use serde::Serialize;

use crate::{Vm, VmEvent};
use kvet_base::error::{Error, Result};
use kvet_base::event::Stream;
use kvet_parse::clean::one_line;

/// Most bytes of `wire.jsonl`, per guest.
const MAX_LOG: u64 = 64 << 20;

/// Characters of a process' name that are kept.
const MAX_NAME: usize = 40;

/// What a guest does, as far as the rest of the runner is concerned.
#[derive(Debug)]
pub enum GuestEvent {
    /// Bytes of the serial console.
    Console(Vec<u8>),
    /// Init is up and takes jobs.
    Ready(Ready),
    /// The job's process runs.
    JobStarted {
        /// Guest time since boot.
        at: Duration,
        /// Modules that could not be loaded.
        modules: Vec<ModuleProblem>,
    },
    /// A piece of the job's output.
    Output {
        /// Which stream.
        stream: Stream,
        /// Guest time since boot.
        at: Duration,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The job is over.
    JobDone {
        /// Guest time since boot.
        at: Duration,
        /// How it ended.
        status: JobStatus,
        /// What still held its output open when init stopped waiting: the end of the output is missing.
        held_by: Option<String>,
    },
    /// Records of the kernel's log, as /dev/kmsg gives them.
    KernelLog(Vec<u8>),
    /// Init is alive.
    Beat,
    /// Everything is unmounted; the guest powers off.
    Bye,
    /// Init has ended by its own fault.
    LastWords(String),
    /// The guest broke the protocol.
    Violation(String),
    /// QEMU says why the guest stopped.
    Stopped(String),
    /// QEMU has ended.
    Exited {
        /// In one phrase.
        status: String,
        /// Whether that was exit status 0.
        clean: bool,
        /// The end of its stderr.
        stderr: String,
    },
    /// The deadline has passed.
    Deadline,
    /// Somebody asked to stop.
    Cancelled,
    /// A descriptor given to [`Vm::also_watch`] is readable.
    Also(std::os::fd::RawFd),
}

/// What init says about the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// Guest time since boot.
    pub boottime: Duration,
    /// When init began, guest time since boot.
    pub init: Duration,
    /// Mounts and modules that did not work.
    pub problems: Vec<String>,
}

/// A guest that is held to the protocol.
pub struct Session<W: Write> {
    vm: Vm,
    log: W,
    started: Instant,
    ready: bool,
    job: Option<u32>,
    job_started: bool,
    next_job: u32,
    log_left: u64,
    log_error: Option<Error>,
    last_frame: Instant,
}

/// One line of `wire.jsonl`.
#[derive(Default, Serialize)]
#[serde(rename_all = "snake_case")]
struct LogLine<'a> {
    /// Seconds since QEMU was started, host time.
    at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_guest: Option<&'a ToGuest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_guest: Option<&'a FromGuest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputHead>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_log: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<&'a str>,
}

#[derive(Serialize)]
struct OutputHead {
    stream: u8,
    boottime_us: u64,
    bytes: usize,
}

impl<W: Write> Session<W> {
    /// Wraps a guest that was just started. Every message is noted in `log`, one JSON object a line.
    pub fn new(vm: Vm, log: W) -> Self {
        let now = Instant::now();
        Self {
            vm,
            log,
            started: now,
            ready: false,
            job: None,
            job_started: false,
            next_job: 1,
            log_left: MAX_LOG,
            log_error: None,
            last_frame: now,
        }
    }

    /// The guest itself.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// When the guest last said anything on the wire.
    pub fn last_frame(&self) -> Instant {
        self.last_frame
    }

    /// Sends a job. Its `id` is set here.
    ///
    /// # Errors
    /// See [`Vm::tell`].
    pub fn run(&mut self, mut job: Job) -> Result<()> {
        job.id = self.next_job;
        self.next_job += 1;
        self.job = Some(job.id);
        self.job_started = false;
        self.tell(&ToGuest::Run(Box::new(job)))
    }

    /// Has the running job killed, if one runs.
    ///
    /// # Errors
    /// See [`Vm::tell`].
    pub fn kill_job(&mut self) -> Result<()> {
        match self.job {
            Some(job) => self.tell(&ToGuest::Kill { job }),
            None => Ok(()),
        }
    }

    /// Types into the terminal of the running job.
    ///
    /// # Errors
    /// See [`Vm::type_into`].
    pub fn type_into(&mut self, bytes: &[u8]) -> Result<()> {
        match self.job {
            Some(job) => self.vm.type_into(job, bytes),
            None => Ok(()),
        }
    }

    /// Tells the running job's terminal its size.
    ///
    /// # Errors
    /// See [`Vm::tell`].
    pub fn resize(&mut self, size: Tty) -> Result<()> {
        match self.job {
            Some(job) => self.tell(&ToGuest::Resize { job, size }),
            None => Ok(()),
        }
    }

    /// Asks the kernel to print blocked tasks and stacks.
    ///
    /// # Errors
    /// See [`Vm::tell`].
    pub fn dump(&mut self) -> Result<()> {
        self.tell(&ToGuest::Dump)
    }

    /// Asks init to unmount and power off; Bye follows.
    ///
    /// # Errors
    /// See [`Vm::tell`].
    pub fn power_off(&mut self) -> Result<()> {
        self.tell(&ToGuest::PowerOff)
    }

    /// Ends QEMU.
    ///
    /// # Errors
    /// See [`Vm::end`].
    pub fn end(self) -> Result<()> {
        self.vm.end()
    }

    /// Waits for what the guest does next, at the latest until `deadline`.
    ///
    /// # Errors
    /// The host's: the wait failed, or the log cannot be written.
    pub fn next_event(&mut self, deadline: Option<Instant>) -> Result<GuestEvent> {
        Ok(match self.vm.next_event(deadline)? {
            VmEvent::Console(bytes) => GuestEvent::Console(bytes),
            VmEvent::Frame(frame) => match self.frame(&frame) {
                Ok(event) => event,
                Err(why) => self.violation(why),
            },
            VmEvent::WireBroken(error) => self.violation(error.to_string()),
            VmEvent::Stopped(reason) => GuestEvent::Stopped(reason),
            VmEvent::Exited { status, clean, stderr } => GuestEvent::Exited { status, clean, stderr },
            VmEvent::Deadline => GuestEvent::Deadline,
            VmEvent::Cancelled => GuestEvent::Cancelled,
            VmEvent::Also(fd) => GuestEvent::Also(fd),
        })
    }

    fn tell(&mut self, message: &ToGuest) -> Result<()> {
        self.log(|line| line.to_guest = Some(message));
        self.vm.tell(message)
    }

    fn violation(&mut self, why: String) -> GuestEvent {
        self.log(|line| line.violation = Some(&why));
        GuestEvent::Violation(why)
    }

    /// Notes a message. A log that cannot be written is no reason to lose the guest: it ends there, and
    /// [`Session::log_error`] tells.
    fn log<'a>(&mut self, fill: impl FnOnce(&mut LogLine<'a>)) {
        if self.log_left == 0 {
            return;
        }
        let at = (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e6;
        let mut line = LogLine { at, ..LogLine::default() };
        fill(&mut line);
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        self.log_left = self.log_left.saturating_sub(text.len() as u64);
        if let Err(e) = self.log.write_all(&text) {
            self.log_left = 0;
            self.log_error = Some(Error::host("wire.jsonl cannot be written").because(e));
        }
    }

    /// What kept the log from being complete, if anything did.
    pub fn log_error(&self) -> Option<&Error> {
        self.log_error.as_ref()
    }

    fn frame(&mut self, frame: &Frame) -> std::result::Result<GuestEvent, String> {
        self.last_frame = Instant::now();
        match frame.kind {
            Kind::Control => match message::parse_control(&frame.payload) {
                Ok(message) => {
                    self.log(|line| line.from_guest = Some(&message));
                    self.control(message)
                }
                Err(e) => Err(e.to_string()),
            },
            Kind::Output => match Output::parse(&frame.payload) {
                Ok(output) => {
                    let head = OutputHead {
                        stream: output.stream,
                        boottime_us: output.boottime_us,
                        bytes: output.bytes.len(),
                    };
                    self.log(|line| line.output = Some(head));
                    self.output(output)
                }
                Err(e) => Err(e.to_string()),
            },
            Kind::KernelLog if !self.ready => Err("something was said before Ready".into()),
            Kind::KernelLog => {
                self.log(|line| line.kernel_log = Some(frame.payload.len()));
                Ok(GuestEvent::KernelLog(frame.payload.clone()))
            }
            Kind::Input => Err("the guest sent an input frame".into()),
        }
    }

    fn output(&self, output: Output) -> std::result::Result<GuestEvent, String> {
        self.expect_job(output.job)?;
        let stream = if output.stream == 1 { Stream::Stdout } else { Stream::Stderr };
        Ok(GuestEvent::Output { stream, at: Duration::from_micros(output.boottime_us), bytes: output.bytes })
    }

    fn control(&mut self, message: FromGuest) -> std::result::Result<GuestEvent, String> {
        let at = Duration::from_micros;
        match message {
            FromGuest::Ready { .. } if self.ready => Err("Ready was said twice".into()),
            FromGuest::Ready { protocol, .. } if protocol != PROTOCOL => {
                // Ours, not the guest's: init comes from the host.
                let text =
                    format!("it speaks protocol {protocol}, this kvet speaks {PROTOCOL}; run `make build`");
                Ok(GuestEvent::LastWords(text))
            }
            FromGuest::Ready { release, machine, boottime_us, init_us, problems, .. } => {
                self.ready = true;
                let (boottime, init) = (at(boottime_us), at(init_us));
                Ok(GuestEvent::Ready(Ready { release, machine, boottime, init, problems }))
            }
            FromGuest::LastWords { text } => Ok(GuestEvent::LastWords(text)),
            _ if !self.ready => Err("something was said before Ready".into()),
            FromGuest::JobStarted { job, boottime_us, modules } => {
                self.expect_job(job)?;
                if std::mem::replace(&mut self.job_started, true) {
                    return Err(format!("job {job} was started twice"));
                }
                Ok(GuestEvent::JobStarted { at: at(boottime_us), modules })
            }
            FromGuest::JobDone { job, boottime_us, status, held_by } => {
                self.expect_job(job)?;
                self.job = None;
                let held_by = held_by.map(|name| one_line(&name).chars().take(MAX_NAME).collect());
                Ok(GuestEvent::JobDone { at: at(boottime_us), status, held_by })
            }
            FromGuest::Beat { .. } => Ok(GuestEvent::Beat),
            FromGuest::Bye { .. } => Ok(GuestEvent::Bye),
        }
    }

    fn expect_job(&self, job: u32) -> std::result::Result<(), String> {
        match self.job {
            Some(expected) if expected == job => Ok(()),
            Some(expected) => Err(format!("something was said of job {job} while job {expected} runs")),
            None => Err(format!("something was said of job {job}, and none runs")),
        }
    }
}
