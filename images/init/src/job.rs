//! One job: a process with its shares mounted, its modules loaded and its output read.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kvet_wire::message::Output;
use kvet_wire::{Job, JobStatus, ModuleProblem, Tty};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{leftovers, modules, root, shares, sys};

/// How long after the program's end it takes until who still holds its output is looked for; then again.
const LINGER: Duration = Duration::from_millis(100);
/// A process that has left the job's session, as daemons do, is waited for until it has been silent for so long.
const SILENT: Duration = Duration::from_secs(1);

/// What could not be done, and why: `mount kvet.tests on /kvet/tests`, `Invalid argument`.
type NotStarted = (String, String);

/// A job that was started and not yet reported as done.
pub struct Running {
    id: u32,
    pid: Pid,
    outputs: [Option<File>; 2],
    /// Where the outputs are pipes: what their other ends are called in /proc.
    pipes: Vec<String>,
    last_output: Instant,
    drain: Duration,
    input: Input,
    deadline: Option<Instant>,
    death: Option<(JobStatus, Instant)>,
    deadline_passed: bool,
}

impl Running {
    /// Mounts, loads and starts what the job says.
    pub fn start(job: &Job) -> Result<(Self, Vec<ModuleProblem>), NotStarted> {
        sys::set_clock(job.unix_time_ns).map_err(|e| ("set the clock".into(), e.to_string()))?;
        sys::seed_random(&job.seed).map_err(|e| ("seed the random pool".into(), e))?;
        for share in &job.shares {
            shares::mount_share(share).map_err(|e| (format!("mount {} on {}", share.tag, share.path), e))?;
        }
        if let Some(stand_in) = &job.stand_in {
            shares::put_over_link(stand_in)
                .map_err(|e| (format!("mount {} over {}", stand_in.from, stand_in.to), e))?;
        }
        let problems = modules::load_named(&job.modules);
        if let Some(root) = &job.root {
            root::build(root)?;
        }
        let (child, outputs, input) = spawn(job)?;
        let deadline = (job.deadline_ms > 0).then(|| Instant::now() + Duration::from_millis(job.deadline_ms));
        let pipes = if job.tty.is_some() { Vec::new() } else { leftovers::pipes(&outputs) };
        let running = Self {
            id: job.id,
            pid: child,
            outputs,
            pipes,
            last_output: Instant::now(),
            drain: Duration::from_millis(job.drain_ms),
            input,
            deadline,
            death: None,
            deadline_passed: false,
        };
        Ok((running, problems))
    }

    /// The host's number for it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The descriptor of output 0 (stdout) or 1 (stderr), while it is open.
    pub fn output_fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.outputs[index].as_ref().map(AsFd::as_fd)
    }

    /// Reads a piece of output. `None`: nothing there now, or it has ended (and is closed).
    pub fn read_output(&mut self, index: usize) -> Option<Vec<u8>> {
        let file = self.outputs[index].as_mut()?;
        let mut buffer = vec![0; Output::MAX.min(32 * 1024)];
        match file.read(&mut buffer) {
            Ok(n) if n > 0 => {
                buffer.truncate(n);
                self.last_output = Instant::now();
                Some(buffer)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            // End of file; a terminal whose last process is gone reads EIO.
            Ok(_) | Err(_) => {
                self.outputs[index] = None;
                None
            }
        }
    }

    /// Input for the job; no bytes mean that there will be no more.
    pub fn give_input(&mut self, bytes: &[u8]) {
        self.input.pending.extend(bytes);
        self.input.ending |= bytes.is_empty();
        self.input.flush();
    }

    /// The descriptor that waits for room, while input waits to be written.
    pub fn input_fd(&self) -> Option<BorrowedFd<'_>> {
        self.input.to.as_ref().filter(|_| !self.input.pending.is_empty()).map(AsFd::as_fd)
    }

    /// Writes input that waits.
    pub fn flush_input(&mut self) {
        self.input.flush();
    }

    /// Changes the size of the job's terminal; the job gets SIGWINCH from the kernel.
    pub fn resize(&self, size: Tty) {
        nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, Winsize);
        if let Some(terminal) = &self.input.to {
            // SAFETY: the struct is what the ioctl takes (ioctl_tty(2)), and lives across the call.
            let _ = unsafe { set_window_size(terminal.as_raw_fd(), &winsize(size)) };
        }
    }

    /// Takes note that a process has died.
    pub fn note_death(&mut self, pid: Pid, status: JobStatus) {
        if pid == self.pid {
            let status = if self.deadline_passed { JobStatus::DeadlinePassed } else { status };
            self.death = Some((status, Instant::now()));
        }
    }

    /// Kills the job and whatever it started.
    pub fn kill(&mut self) {
        kill_everything();
    }

    /// Kills the job when its time is over.
    pub fn check_deadline(&mut self) {
        if self.death.is_none() && !self.deadline_passed && self.deadline.is_some_and(|d| Instant::now() >= d)
        {
            self.deadline_passed = true;
            self.kill();
        }
    }

    /// How it ended, once it has and its output is read to its end; or who still holds that when it was waited for long
    /// enough. Where everything ended together, as it mostly does, nothing is looked for and nothing is waited for.
    pub fn finished(&self) -> Option<(JobStatus, Option<String>)> {
        let (status, died) = self.death.as_ref()?;
        if self.outputs.iter().all(Option::is_none) {
            return Some((status.clone(), None));
        }
        if died.elapsed() < LINGER {
            return None;
        }
        // The end of a session's leader takes the terminal away from everybody else.
        if self.pipes.is_empty() {
            return Some((status.clone(), None));
        }
        let holder = leftovers::holder(&self.pipes, self.pid);
        let patience = match &holder {
            Some(holder) if holder.in_session => self.drain,
            _ => self.drain.min(SILENT + self.last_output.saturating_duration_since(*died)),
        };
        let name = || holder.map_or_else(|| "a process that is not seen".to_owned(), |holder| holder.name);
        (died.elapsed() >= patience).then(|| (status.clone(), Some(name())))
    }

    /// When the loop has to look at this job again, at the latest.
    pub fn next_timeout(&self) -> Duration {
        match (&self.death, self.deadline) {
            (Some(_), _) => LINGER,
            (None, Some(deadline)) if !self.deadline_passed => {
                deadline.saturating_duration_since(Instant::now())
            }
            _ => Duration::from_secs(1),
        }
    }
}

/// What goes into a job: the terminal, or the pipe that is its standard input. Written without blocking, because a job
/// that does not read must not stop init.
#[derive(Default)]
struct Input {
    to: Option<File>,
    pending: VecDeque<u8>,
    ending: bool,
    terminal: bool,
}

impl Input {
    fn flush(&mut self) {
        while let (Some(to), false) = (&mut self.to, self.pending.is_empty()) {
            match to.write(self.pending.as_slices().0) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // Nobody reads any more.
                Err(_) => self.to = None,
            }
        }
        self.pending.clear();
        if self.ending && !self.terminal {
            self.to = None;
        }
    }
}

/// Kills every process but this one, and every kernel thread ignores it (kill(2), pid -1).
pub fn kill_everything() {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
}

/// Reaps one dead child, orphans included.
pub fn reap_one() -> Option<(Pid, JobStatus)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => return Some((pid, JobStatus::Exited { code })),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Some((pid, JobStatus::Signaled { signal: signal as i32 }));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            // A stopped or continued child is no death; there may be another behind it.
            Ok(_) => {}
        }
    }
}

type Spawned = (Pid, [Option<File>; 2], Input);

fn spawn(job: &Job) -> Result<Spawned, NotStarted> {
    let (program, args) = job.argv.split_first().ok_or(("read the job".into(), "empty argv".into()))?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(job.env.iter().map(|(k, v)| (k, v)));
    let stage = || format!("start {program} in {}", job.cwd);
    match &job.root {
        None => drop(command.current_dir(&job.cwd)),
        Some(_) => {
            let cwd = CString::new(job.cwd.as_str()).map_err(|e| (stage(), e.to_string()))?;
            // SAFETY: the closure makes async-signal-safe system calls only.
            unsafe { command.pre_exec(move || root::enter(&cwd)) };
        }
    }
    match job.tty {
        Some(size) => spawn_on_terminal(command, size),
        None => spawn_on_pipes(command, job.stdin),
    }
    .map_err(|e| (stage(), e))
}

fn spawn_on_pipes(mut command: Command, stdin: bool) -> Result<Spawned, String> {
    command.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: the closure makes async-signal-safe system calls only.
    unsafe { command.pre_exec(|| new_session(None)) };
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let outputs = [non_blocking(stdout)?, non_blocking(stderr)?];
    let input = Input { to: non_blocking(child.stdin.take().map(OwnedFd::from))?, ..Input::default() };
    Ok((Pid::from_raw(child.id() as i32), outputs, input))
}

fn spawn_on_terminal(mut command: Command, size: Tty) -> Result<Spawned, String> {
    let pty = openpty(&winsize(size), None).map_err(|e| format!("openpty: {e}"))?;
    let side = |fd: &OwnedFd| fd.try_clone().map(Stdio::from).map_err(|e| e.to_string());
    command.stdin(side(&pty.slave)?).stdout(side(&pty.slave)?).stderr(side(&pty.slave)?);
    // SAFETY: the closure makes async-signal-safe system calls only.
    unsafe { command.pre_exec(|| new_session(Some(0))) };
    let child = command.spawn().map_err(|e| e.to_string())?;
    let input = pty.master.try_clone().map_err(|e| e.to_string())?;
    let output = non_blocking(Some(pty.master))?;
    let input = Input { to: Some(File::from(input)), terminal: true, ..Input::default() };
    Ok((Pid::from_raw(child.id() as i32), [output, None], input))
}

/// In the child: its own session, with descriptor `terminal` as its controlling terminal, and init's signal
/// mask undone.
fn new_session(terminal: Option<i32>) -> std::io::Result<()> {
    nix::unistd::setsid()?;
    SigSet::empty().thread_set_mask()?;
    if let Some(fd) = terminal {
        // SAFETY: a plain ioctl on an open descriptor.
        if unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

fn non_blocking(fd: Option<OwnedFd>) -> Result<Option<File>, String> {
    let Some(fd) = fd else { return Ok(None) };
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| format!("fcntl: {e}"))?;
    Ok(Some(File::from(fd)))
}

fn winsize(size: Tty) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}
