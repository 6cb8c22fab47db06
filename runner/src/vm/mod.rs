//! One guest: started, watched by one epoll loop, and ended.
//!
//! [`Vm::next_event`] is the whole interface between a running guest and the rest: it waits for the console, the
//! wire, QMP, QEMU's end, a deadline or a cancel, whichever comes first. Everything the guest says passes
//! through here as bounded pieces and is trusted nowhere.

pub mod accel;
pub mod machine;
pub mod process;
pub mod qmp;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use kvet_wire::message::{self, Input};
use kvet_wire::{Decoder, Frame, FrameError, ToGuest};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::timerfd::TimerFd;

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use machine::Machine;
use process::{Channels, Process};

/// What happens to a guest.
#[derive(Debug)]
pub enum VmEvent {
    /// Bytes of the serial console.
    Console(Vec<u8>),
    /// A frame of the wire.
    Frame(Frame),
    /// The wire carries something that is no frame; nothing more will come out of it.
    WireBroken(FrameError),
    /// QEMU says that the guest stopped, and why: `guest-reset`, `guest-shutdown`, `guest-panic`, ….
    Stopped(String),
    /// QEMU has ended; everything it had to say came before.
    Exited {
        /// In one phrase: `exit status 0`, `killed by SIGKILL`.
        status: String,
        /// Whether that was exit status 0.
        clean: bool,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// The deadline given to [`Vm::next_event`] has passed.
    Deadline,
    /// Somebody asked to stop. Reported once.
    Cancelled,
    /// A descriptor given to [`Vm::also_watch`] is readable, or its other end is closed. It is reported until it
    /// is read or no longer watched.
    Also(RawFd),
}

/// The reason of [`VmEvent::Stopped`] for a guest that QEMU has paused and that will not go on.
pub const PAUSED: &str = "paused";

/// Most bytes of QEMU's stderr that are kept.
const MAX_STDERR: usize = 16 * 1024;
/// Most bytes that wait to be sent to a guest that does not read.
const MAX_UNSENT: usize = kvet_wire::MAX_ORDER + (1 << 20);
/// How much is read from a channel before the others get their turn.
const CHUNK: usize = 64 * 1024;
/// How much of a channel is read once QEMU has ended, in pieces of [`CHUNK`]: more than a socket holds (socket(7), `wmem_default`).
const LAST_CHUNKS: usize = 16;
/// How long QEMU may take to end after `quit` before it is killed.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);
/// The same after a cancel, which is no orderly end. While QEMU starts it does not listen.
const CANCEL_PATIENCE: Duration = Duration::from_millis(500);

const CONSOLE: u64 = 1;
const WIRE: u64 = 2;
const QMP: u64 = 3;
const STDERR: u64 = 4;
const PROCESS: u64 = 5;
const TIMER: u64 = 6;
const CANCEL: u64 = 7;
/// Tokens from here on are descriptors of the caller's.
const ALSO: u64 = 1 << 32;

/// A running guest.
pub struct Vm {
    process: Process,
    console: Channel,
    wire: Channel,
    qmp: Channel,
    decoder: Decoder,
    wire_broken: bool,
    qmp_reader: qmp::Reader,
    stderr: Vec<u8>,
    stderr_open: bool,
    epoll: Epoll,
    timer: TimerFd,
    cancel: Cancel,
    queue: VecDeque<VmEvent>,
    exited: bool,
    qemu_version: Option<String>,
}

impl Vm {
    /// Starts QEMU and watches it. See [`Process::start`] for what the calling thread has to promise.
    ///
    /// # Errors
    /// The host's: no QEMU, no descriptors.
    pub fn start(machine: &Machine, cancel: &Cancel) -> Result<Self> {
        let (process, Channels { console, wire, qmp }) = Process::start(machine)?;
        let epoll = Epoll::new().host("create an epoll instance")?;
        let timer = TimerFd::new().map_err(|e| Error::host(format!("cannot create a timer: {e}")))?;
        let vm = Self {
            console: Channel::new(console, CONSOLE),
            wire: Channel::new(wire, WIRE),
            qmp: Channel::new(qmp, QMP),
            decoder: Decoder::default(),
            wire_broken: false,
            qmp_reader: qmp::Reader::default(),
            stderr: Vec::new(),
            stderr_open: true,
            epoll,
            timer,
            cancel: cancel.clone(),
            queue: VecDeque::new(),
            exited: false,
            qemu_version: None,
            process,
        };
        for (fd, token) in [
            (vm.console.fd(), CONSOLE),
            (vm.wire.fd(), WIRE),
            (vm.qmp.fd(), QMP),
            (vm.process.stderr.as_raw_fd(), STDERR),
            (vm.process.pidfd.as_raw_fd(), PROCESS),
            (vm.timer.as_raw_fd(), TIMER),
            (cancel.fd(), CANCEL),
        ] {
            vm.watch(ControlOperation::Add, fd, EventSet::IN, token)?;
        }
        Ok(vm)
    }

    /// The exact command line of QEMU.
    pub fn argv(&self) -> &[std::ffi::OsString] {
        &self.process.argv
    }

    /// QEMU's version, once it has said it.
    pub fn qemu_version(&self) -> Option<&str> {
        self.qemu_version.as_deref()
    }

    /// QEMU's process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Why the guest cannot be what is late, if that can be told: QEMU did not run.
    pub fn not_running(&self) -> Option<&'static str> {
        if self.process.is_stopped() {
            return Some("QEMU was stopped by a signal of the host");
        }
        // It greets whoever connects to its monitor, before it starts the guest's CPUs.
        self.qemu_version.is_none().then_some("QEMU did not come up: it said nothing on its monitor")
    }

    /// Waits for what happens next, at the latest until `deadline`. After [`VmEvent::Exited`] nothing comes but
    /// deadlines.
    ///
    /// # Errors
    /// The host's: the wait itself failed.
    pub fn next_event(&mut self, deadline: Option<Instant>) -> Result<VmEvent> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            // What has come is told before a deadline is: a host that stood still is no guest that hangs.
            let passed = deadline.is_some_and(|d| Instant::now() >= d);
            self.set_timer(deadline)?;
            let mut events = [EpollEvent::default(); 8];
            let count = match self.epoll.wait(if passed { 0 } else { -1 }, &mut events) {
                Ok(count) => count,
                // The signal handler of a Ctrl-C sets no SA_RESTART; what it wrote is seen in the next round.
                Err(e) if e.kind() == ErrorKind::Interrupted => 0,
                Err(e) => return Err(Error::host("cannot wait for QEMU").because(e)),
            };
            for event in &events[..count] {
                self.handle(event)?;
            }
            if passed && self.queue.is_empty() {
                return Ok(VmEvent::Deadline);
            }
        }
    }

    /// Sends init a message.
    ///
    /// # Errors
    /// The message does not fit into a frame, or the guest has not read for so long that too much waits.
    pub fn tell(&mut self, message: &ToGuest) -> Result<()> {
        let frame = message::order(message)
            .map_err(|e| Error::caller(format!("a job that does not fit on the wire: {e}")))?;
        self.send_wire(&frame.to_bytes())
    }

    /// Types into a job's terminal.
    ///
    /// # Errors
    /// The guest has not read for so long that too much waits.
    pub fn type_into(&mut self, job: u32, bytes: &[u8]) -> Result<()> {
        self.send_wire(&Input { job, bytes: bytes.to_vec() }.to_frame().to_bytes())
    }

    /// Interrupts the guest's CPUs with an NMI, so that a hung kernel says where it hangs.
    ///
    /// # Errors
    /// The host's.
    pub fn inject_nmi(&mut self) -> Result<()> {
        self.send_qmp(&qmp::inject_nmi())
    }

    /// Kills QEMU. [`VmEvent::Exited`] follows.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends QEMU in good order, or by force where it does not obey within five seconds, or half a second once somebody
    /// cancelled. What the guest still says is dropped.
    ///
    /// # Errors
    /// The host's: the wait itself failed.
    pub fn end(mut self) -> Result<()> {
        if !self.exited {
            self.send_qmp(&qmp::quit())?;
        }
        let asked = Instant::now();
        while !self.exited {
            let patience = if self.cancel.requested() { CANCEL_PATIENCE } else { QUIT_PATIENCE };
            if let VmEvent::Deadline = self.next_event(Some(asked + patience))? {
                self.process.reap()?;
                self.exited = true;
            }
        }
        Ok(())
    }

    /// Also waits for a descriptor of the caller's, which has to stay open while it is watched.
    ///
    /// # Errors
    /// The descriptor is one that cannot be waited for, such as a plain file.
    pub fn also_watch(&self, fd: RawFd) -> Result<()> {
        self.watch(ControlOperation::Add, fd, EventSet::IN, ALSO + fd as u64)
    }

    /// No longer waits for it.
    ///
    /// # Errors
    /// It was not watched.
    pub fn stop_watching(&self, fd: RawFd) -> Result<()> {
        self.watch(ControlOperation::Delete, fd, EventSet::empty(), ALSO + fd as u64)
    }

    fn handle(&mut self, event: &EpollEvent) -> Result<()> {
        let set = event.event_set();
        match event.data() {
            CONSOLE => drop(self.read_console()?),
            WIRE if set.contains(EventSet::OUT) => self.flush(WIRE)?,
            WIRE => drop(self.read_wire()?),
            QMP if set.contains(EventSet::OUT) => self.flush(QMP)?,
            QMP => drop(self.read_qmp()?),
            STDERR => drop(self.read_stderr()?),
            PROCESS => self.reap()?,
            TIMER => {
                // Only wakes the loop, which looks at the clock itself.
                self.timer.clear().map_err(|e| Error::host(format!("cannot clear a timer: {e}")))?;
            }
            CANCEL => {
                self.watch(ControlOperation::Delete, self.cancel.fd(), EventSet::empty(), CANCEL)?;
                self.queue.push_back(VmEvent::Cancelled);
            }
            also if also >= ALSO => self.queue.push_back(VmEvent::Also((also - ALSO) as RawFd)),
            _ => {}
        }
        Ok(())
    }

    fn set_timer(&mut self, deadline: Option<Instant>) -> Result<()> {
        let result = match deadline {
            // A timer of zero is one that is off (timerfd_settime(2)).
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
                self.timer.reset(left, None)
            }
            None => self.timer.clear(),
        };
        result.map_err(|e| Error::host(format!("cannot set a timer: {e}")))
    }

    /// Reads a piece. False: nothing was there.
    fn read_console(&mut self) -> Result<bool> {
        let bytes = self.console.read()?;
        let some = !bytes.is_empty();
        if some {
            self.queue.push_back(VmEvent::Console(bytes));
        }
        self.unwatch_closed(CONSOLE)?;
        Ok(some)
    }

    fn read_wire(&mut self) -> Result<bool> {
        let bytes = self.wire.read()?;
        if !self.wire_broken {
            self.decoder.push(&bytes);
            loop {
                match self.decoder.next_frame() {
                    Ok(Some(frame)) => self.queue.push_back(VmEvent::Frame(frame)),
                    Ok(None) => break,
                    Err(e) => {
                        self.wire_broken = true;
                        self.decoder = Decoder::default();
                        self.queue.push_back(VmEvent::WireBroken(e));
                        break;
                    }
                }
            }
        }
        self.unwatch_closed(WIRE)?;
        Ok(!bytes.is_empty())
    }

    fn read_qmp(&mut self) -> Result<bool> {
        let bytes = self.qmp.read()?;
        for said in self.qmp_reader.push(&bytes) {
            match said {
                qmp::Said::Greeting(version) => {
                    self.qemu_version = Some(version);
                    self.send_qmp(&qmp::capabilities())?;
                }
                qmp::Said::Event(event) => {
                    if let Some(reason) = stop_reason(&event) {
                        self.queue.push_back(VmEvent::Stopped(reason));
                    }
                }
                // Commands of ours that fail have their effect missed elsewhere: a quit by its patience running
                // out, an NMI by the stack that does not come.
                qmp::Said::CommandFailed(_) | qmp::Said::Unknown(_) => {}
            }
        }
        self.unwatch_closed(QMP)?;
        Ok(!bytes.is_empty())
    }

    fn read_stderr(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        match self.process.stderr.read(&mut buffer) {
            Ok(0) if self.stderr_open => {
                self.stderr_open = false;
                let fd = self.process.stderr.as_raw_fd();
                self.watch(ControlOperation::Delete, fd, EventSet::empty(), STDERR)?;
            }
            Ok(0) => {}
            Ok(n) => {
                self.stderr.extend_from_slice(&buffer[..n]);
                let excess = self.stderr.len().saturating_sub(MAX_STDERR);
                self.stderr.drain(..excess);
                return Ok(true);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(Error::host("cannot read QEMU's stderr").because(e)),
        }
        Ok(false)
    }

    /// QEMU has ended: read what is left, then say so.
    fn reap(&mut self) -> Result<()> {
        let fd = self.process.pidfd.as_raw_fd();
        self.watch(ControlOperation::Delete, fd, EventSet::empty(), PROCESS)?;
        let status = self.process.reap()?;
        // Not until the end of file, and not until nothing is left: a process outside QEMU's group may hold a socket, and
        // fill it.
        self.drain(Self::read_console)?;
        self.drain(Self::read_wire)?;
        self.drain(Self::read_qmp)?;
        self.drain(Self::read_stderr)?;
        self.exited = true;
        self.queue.push_back(VmEvent::Exited {
            status: process::describe(status),
            clean: status.success(),
            stderr: String::from_utf8_lossy(&self.stderr).trim().to_owned(),
        });
        Ok(())
    }

    fn drain(&mut self, read: fn(&mut Self) -> Result<bool>) -> Result<()> {
        for _ in 0..LAST_CHUNKS {
            if !read(self)? {
                break;
            }
        }
        Ok(())
    }

    fn send_wire(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.queue(bytes)?;
        self.flush(WIRE)
    }

    fn send_qmp(&mut self, bytes: &[u8]) -> Result<()> {
        self.qmp.queue(bytes)?;
        self.flush(QMP)
    }

    /// Writes what waits, and watches for room where not all of it went.
    fn flush(&mut self, token: u64) -> Result<()> {
        let channel = if token == WIRE { &mut self.wire } else { &mut self.qmp };
        let was_waiting = channel.watching_out;
        channel.flush()?;
        channel.watching_out = !channel.unsent.is_empty();
        let (fd, waiting, open) = (channel.fd(), channel.watching_out, channel.open);
        if open && was_waiting != waiting {
            let set = if waiting { EventSet::IN | EventSet::OUT } else { EventSet::IN };
            self.watch(ControlOperation::Modify, fd, set, token)?;
        }
        Ok(())
    }

    fn unwatch_closed(&mut self, token: u64) -> Result<()> {
        let channel = match token {
            CONSOLE => &mut self.console,
            WIRE => &mut self.wire,
            _ => &mut self.qmp,
        };
        if channel.open || !channel.watched {
            return Ok(());
        }
        channel.watched = false;
        let fd = channel.fd();
        self.watch(ControlOperation::Delete, fd, EventSet::empty(), token)
    }

    fn watch(&self, operation: ControlOperation, fd: RawFd, set: EventSet, token: u64) -> Result<()> {
        self.epoll.ctl(operation, fd, EpollEvent::new(set, token)).host("watch a descriptor")
    }
}

/// QEMU's word for why the guest stopped, where an event says that it did.
fn stop_reason(event: &qapi::qmp::Event) -> Option<String> {
    use qapi::qmp::Event;
    match event {
        Event::SHUTDOWN { data, .. } => {
            Some(serde_json::to_value(data.reason).ok()?.as_str().unwrap_or("unknown").to_owned())
        }
        Event::GUEST_PANICKED { .. } => Some("guest-panicked".to_owned()),
        // We never stop a guest: QEMU does, where its accelerator fails.
        Event::STOP { .. } => Some(PAUSED.to_owned()),
        _ => None,
    }
}

/// One of QEMU's sockets: read in bounded pieces, written without blocking.
struct Channel {
    stream: UnixStream,
    unsent: VecDeque<u8>,
    open: bool,
    watched: bool,
    watching_out: bool,
    token: u64,
}

impl Channel {
    fn new(stream: UnixStream, token: u64) -> Self {
        Self { stream, unsent: VecDeque::new(), open: true, watched: true, watching_out: false, token }
    }

    fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// What is there now; empty where nothing is, or where QEMU has closed its end.
    fn read(&mut self) -> Result<Vec<u8>> {
        let mut buffer = vec![0; CHUNK];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.open = false,
            Ok(n) => {
                buffer.truncate(n);
                return Ok(buffer);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => self.open = false,
            Err(e) => return Err(Error::host(format!("cannot read QEMU's socket {}", self.token)).because(e)),
        }
        Ok(Vec::new())
    }

    fn queue(&mut self, bytes: &[u8]) -> Result<()> {
        if self.unsent.len() + bytes.len() > MAX_UNSENT {
            return Err(Error::host(format!("the guest has left {} bytes unread", self.unsent.len())));
        }
        self.unsent.extend(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            let (head, _) = self.unsent.as_slices();
            match self.stream.write(head) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // QEMU is gone, which its end tells better.
                Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    self.unsent.clear();
                }
                Err(e) => return Err(Error::host("cannot write to QEMU").because(e)),
            }
        }
        Ok(())
    }
}
