//! Init's main loop: orders from the host in, output and results of the one running job out.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use kvet_wire::frame::Kind;
use kvet_wire::message::{self, Input, Output};
use kvet_wire::{BYE_MARK, FromGuest, JobStatus, PROTOCOL, SYNC_MARK, ToGuest};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::job::{self, Running};
use crate::kernel_log::KernelLog;
use crate::port::Port;
use crate::{shares, sys};

/// How often the host hears that init is alive.
const BEAT: Duration = Duration::from_secs(1);

/// Pieces of the kernel's log that are sent after its last line: what fits into the largest buffer that kernels have by default.
const LAST_PIECES: usize = 64;

/// The state of init between boot and power-off.
pub struct Agent {
    port: Port,
    children: SignalFd,
    job: Option<Running>,
    kernel_log: KernelLog,
    last_beat: Instant,
}

/// What woke the loop.
struct Ready {
    port: bool,
    children: bool,
    outputs: [bool; 2],
    input: bool,
    kernel_log: bool,
}

impl Agent {
    /// Takes over SIGCHLD, so that every dead process is reaped by the loop.
    pub fn new(port: Port) -> Result<Self, String> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().map_err(|e| format!("block SIGCHLD: {e}"))?;
        let children = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|e| format!("signalfd: {e}"))?;
        Ok(Self { port, children, job: None, kernel_log: KernelLog::open(), last_beat: Instant::now() })
    }

    /// Says that the guest is up.
    pub fn announce(&mut self, init_us: u64, problems: Vec<String>) -> Result<(), String> {
        let uname = nix::sys::utsname::uname().map_err(|e| format!("uname: {e}"))?;
        let boottime_us = sys::boottime_us();
        // A kernel without /dev/kmsg (CONFIG_PRINTK=n) has no printk clock to compare with either.
        let _ = std::fs::write("/dev/kmsg", format!("<4>{SYNC_MARK}{boottime_us}\n"));
        self.tell(&FromGuest::Ready {
            protocol: PROTOCOL,
            release: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            boottime_us,
            init_us,
            problems,
        })
    }

    /// Serves the host until it orders the power-off.
    pub fn serve(&mut self) -> Result<(), String> {
        loop {
            let ready = self.wait()?;
            if ready.children {
                self.reap();
            }
            for (index, readable) in ready.outputs.into_iter().enumerate() {
                if readable {
                    self.forward_output(index)?;
                }
            }
            if let (true, Some(job)) = (ready.input, &mut self.job) {
                job.flush_input();
            }
            if ready.kernel_log {
                self.forward_kernel_log()?;
            }
            if ready.port && self.obey()? {
                return Ok(());
            }
            self.finish_job()?;
            if self.last_beat.elapsed() >= BEAT {
                self.last_beat = Instant::now();
                self.tell(&FromGuest::Beat { boottime_us: sys::boottime_us() })?;
            }
        }
    }

    fn wait(&self) -> Result<Ready, String> {
        let mut timeout = BEAT.saturating_sub(self.last_beat.elapsed());
        let mut fds = vec![
            PollFd::new(self.port.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        let mut outputs: [Option<usize>; 2] = [None, None];
        if let Some(job) = &self.job {
            timeout = timeout.min(job.next_timeout());
            for (index, slot) in outputs.iter_mut().enumerate() {
                if let Some(fd) = job.output_fd(index) {
                    *slot = Some(fds.len());
                    fds.push(PollFd::new(fd, PollFlags::POLLIN));
                }
            }
        }
        let mut input = None;
        if let Some(fd) = self.job.as_ref().and_then(Running::input_fd) {
            input = Some(fds.len());
            fds.push(PollFd::new(fd, PollFlags::POLLOUT));
        }
        let mut kernel_log = None;
        if let Some(fd) = self.kernel_log.fd() {
            kernel_log = Some(fds.len());
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        let timeout = PollTimeout::try_from(timeout + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(format!("poll: {errno}")),
        }
        let hit = |i: usize| fds[i].revents().is_some_and(|events| !events.is_empty());
        // POLLHUP without POLLIN only says that the host is not connected; reading would spin.
        let port = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
        Ok(Ready {
            port,
            children: hit(1),
            outputs: outputs.map(|slot| slot.is_some_and(hit)),
            input: input.is_some_and(hit),
            kernel_log: kernel_log.is_some_and(hit),
        })
    }

    fn reap(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        while let Some((pid, status)) = job::reap_one() {
            if let Some(job) = &mut self.job {
                job.note_death(pid, status);
            }
        }
    }

    /// Sends one piece of output. False: there is none now.
    fn forward_output(&mut self, index: usize) -> Result<bool, String> {
        let Some(job) = &mut self.job else { return Ok(false) };
        let Some(bytes) = job.read_output(index) else { return Ok(false) };
        let output =
            Output { job: job.id(), stream: index as u8 + 1, boottime_us: sys::boottime_us(), bytes };
        self.port.send(&output.to_frame()).map_err(|e| format!("write to the wire: {e}"))?;
        Ok(true)
    }

    /// Sends some records of the kernel's log. False: there are none now.
    fn forward_kernel_log(&mut self) -> Result<bool, String> {
        let Some(records) = self.kernel_log.read() else { return Ok(false) };
        self.port.send(&message::kernel_log(records)).map_err(|e| format!("write to the wire: {e}"))?;
        Ok(true)
    }

    /// Handles what the host sent. True: power off.
    fn obey(&mut self) -> Result<bool, String> {
        self.port.fill().map_err(|e| format!("read from the wire: {e}"))?;
        while let Some(frame) = self.port.next_frame()? {
            match frame.kind {
                Kind::Input => {
                    let input = Input::parse(&frame.payload).map_err(|e| e.to_string())?;
                    if let Some(job) = self.job.as_mut().filter(|job| job.id() == input.job) {
                        job.give_input(&input.bytes);
                    }
                }
                Kind::Control => {
                    let order = message::parse_control(&frame.payload).map_err(|e| e.to_string())?;
                    if self.order(order)? {
                        return Ok(true);
                    }
                }
                Kind::Output | Kind::KernelLog => return Err("the host sent a frame of a guest's".into()),
            }
        }
        Ok(false)
    }

    fn order(&mut self, order: ToGuest) -> Result<bool, String> {
        match order {
            ToGuest::Run(job) => self.start(&job)?,
            ToGuest::Kill { job } => {
                if let Some(running) = self.job.as_mut().filter(|running| running.id() == job) {
                    running.kill();
                }
            }
            ToGuest::Resize { job, size } => {
                if let Some(running) = self.job.as_ref().filter(|running| running.id() == job) {
                    running.resize(size);
                }
            }
            ToGuest::Dump => sys::dump_tasks(),
            ToGuest::PowerOff => {
                job::kill_everything();
                shares::unmount_all();
                let _ = std::fs::write("/dev/kmsg", format!("<4>{BYE_MARK}\n"));
                // Everything up to that; a kernel that never falls silent does not keep the guest.
                for _ in 0..LAST_PIECES {
                    if !self.forward_kernel_log()? {
                        break;
                    }
                }
                self.tell(&FromGuest::Bye { boottime_us: sys::boottime_us() })?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn start(&mut self, job: &kvet_wire::Job) -> Result<(), String> {
        if let Some(running) = &self.job {
            return Err(format!("job {} was sent while job {} runs", job.id, running.id()));
        }
        let id = job.id;
        match Running::start(job) {
            Ok((running, modules)) => {
                self.job = Some(running);
                self.tell(&FromGuest::JobStarted { job: id, boottime_us: sys::boottime_us(), modules })
            }
            Err((stage, error)) => self.tell(&FromGuest::JobDone {
                job: id,
                boottime_us: sys::boottime_us(),
                status: JobStatus::NotStarted { stage, error },
                held_by: None,
            }),
        }
    }

    /// Ends the job where it has ended, and sends what is left of its output before its status.
    fn finish_job(&mut self) -> Result<(), String> {
        let Some(job) = &mut self.job else { return Ok(()) };
        job.check_deadline();
        let Some((status, held_by)) = job.finished() else { return Ok(()) };
        let id = job.id();
        job::kill_everything();
        for index in 0..2 {
            while self.forward_output(index)? {}
        }
        self.job = None;
        self.tell(&FromGuest::JobDone { job: id, boottime_us: sys::boottime_us(), status, held_by })
    }

    fn tell(&mut self, message: &FromGuest) -> Result<(), String> {
        let frame = message::control(message).map_err(|e| format!("encode a message: {e}"))?;
        self.port.send(&frame).map_err(|e| format!("write to the wire: {e}"))
    }
}
