//! Starting QEMU so that it cannot outlive us, and ending it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, getppid, setpgid};

use crate::error::{Error, IoContext, Result};
use crate::quote;
use crate::vm::machine::{Machine, Sockets};

/// Our ends of QEMU's sockets, all non-blocking.
pub struct Channels {
    /// The serial console.
    pub console: UnixStream,
    /// The virtio-serial port.
    pub wire: UnixStream,
    /// The QEMU Machine Protocol.
    pub qmp: UnixStream,
}

/// A running QEMU. Dropping it kills and reaps it.
pub struct Process {
    child: Child,
    /// Its number may be another's since it was reaped.
    reaped: bool,
    /// Readable when QEMU has ended (pidfd_open(2)).
    pub pidfd: OwnedFd,
    /// QEMU's own complaints.
    pub stderr: ChildStderr,
    /// The exact command line.
    pub argv: Vec<OsString>,
}

impl Process {
    /// Starts QEMU for a machine. The calling thread must live as long as the machine: the kernel kills QEMU when
    /// that thread ends (prctl(2), PR_SET_PDEATHSIG).
    ///
    /// # Errors
    /// The host's: QEMU is not installed, or no descriptors are left.
    pub fn start(machine: &Machine) -> Result<(Self, Channels)> {
        let (console, guest_console) = socket_pair()?;
        let (wire, guest_wire) = socket_pair()?;
        let (qmp, guest_qmp) = socket_pair()?;
        let inherited = [&guest_console, &guest_wire, &guest_qmp].map(AsRawFd::as_raw_fd);
        let argv = machine.argv(Sockets { console: inherited[0], wire: inherited[1], qmp: inherited[2] });
        let mut child = spawn(&argv, inherited)?;
        let (stderr, pidfd) = match descriptors(&mut child) {
            Ok(descriptors) => descriptors,
            Err(e) => {
                // Nobody would watch it. That it is dead already is the best that can happen.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(Error::host("cannot watch QEMU").because(e));
            }
        };
        Ok((Self { child, reaped: false, pidfd, stderr, argv }, Channels { console, wire, qmp }))
    }

    /// QEMU's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills QEMU and everything in its process group. Its end still has to be waited for.
    pub fn kill(&mut self) {
        if self.reaped {
            return;
        }
        // It may have ended already, and then there is nothing to kill.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.kill();
    }

    /// Whether somebody has stopped it (proc_pid_stat(5), state `T`): a guest cannot do that.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // The name stands in brackets and may hold anything.
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
    }

    /// Kills whatever still runs of QEMU, and reaps it. The status of a QEMU that had ended already is the one it
    /// ended with; children it left behind are killed before they can hold or fill its sockets.
    ///
    /// # Errors
    /// waitpid(2) failed, which it does not for a child of ours.
    pub fn reap(&mut self) -> Result<ExitStatus> {
        self.kill();
        let status = self.child.wait().host("wait for QEMU")?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.reap();
    }
}

/// In one phrase: `exit status 1`, `killed by SIGKILL`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(Ok(Signal::SIGKILL))) => {
            "killed by SIGKILL, as the kernel does where memory runs out".to_owned()
        }
        (None, Some(Ok(signal))) => format!("killed by {signal}"),
        (None, _) => format!("wait status {:#x}", status.into_raw()),
    }
}

fn socket_pair() -> Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair().host("create a socket pair")?;
    ours.set_nonblocking(true).host("make a socket non-blocking")?;
    Ok((ours, theirs))
}

fn spawn(argv: &[OsString], inherited: [RawFd; 3]) -> Result<Child> {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let parent = Pid::this();
    // SAFETY: the closure makes async-signal-safe system calls only.
    unsafe { command.pre_exec(move || prepare_child(parent, inherited)) };
    command.spawn().map_err(|e| {
        let name = argv[0].to_string_lossy().into_owned();
        let missing = e.kind() == io::ErrorKind::NotFound;
        let error = Error::host(format!("cannot start {name}")).because(e);
        if missing {
            error.hint("`kvet doctor` says which package is missing")
        } else {
            error.hint(format!("the command was: {}", quote::command(argv)))
        }
    })
}

/// In the child, before QEMU: its own process group, so that Ctrl-C at the terminal does not reach it before we
/// have decided; death with its parent; and the sockets kept open across exec.
fn prepare_child(parent: Pid, inherited: [RawFd; 3]) -> io::Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // The parent died before the line above: nobody would kill us.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    SigSet::empty().thread_set_mask()?;
    for fd in inherited {
        // SAFETY: a plain fcntl on a descriptor that the parent keeps open across the fork.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn descriptors(child: &mut Child) -> io::Result<(ChildStderr, OwnedFd)> {
    let stderr = child.stderr.take().ok_or_else(|| io::Error::other("QEMU has no stderr"))?;
    set_nonblocking(stderr.as_raw_fd())?;
    Ok((stderr, pidfd_open(child.id())?))
}

fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: plain fcntl calls on an open descriptor.
    let result = unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the system call takes a process id and flags and returns a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
