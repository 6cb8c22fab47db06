// SPDX-License-Identifier: GPL-2.0-only
//! What perf counts: the ticks of a clock, and the passing of a tracepoint.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::veth::{PATIENCE, wait_for};
use super::{NotRun, TRACING, attach_to, call};
use crate::suite::Programs;
use dynptr_spec::Test;

/// Kinds of events.
const SOFTWARE: u32 = 1;
const TRACEPOINT: u32 = 2;
/// A clock, and nanoseconds between two runs of the program.
const CPU_CLOCK: u64 = 0;
const PERIOD: u64 = 1_000_000;

/// Attaches the program to a clock of CPU 0, and waits for it to tick.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let event = event(SOFTWARE, CPU_CLOCK, PERIOD)
        .map_err(|err| NotRun::of(&err, &[libc::ENOSYS], "cannot have a clock of perf's"))?;
    let _link = attach_to(programs.get(test.program)?.attach_perf_event(event.as_raw_fd()))?;
    wait_for(programs, PATIENCE)?;
    Ok(())
}

/// Attaches the program to the tracepoint, and makes the system call. libbpf would look for the tracepoint's number
/// where that has the kernel mount something, which stays.
pub fn tracepoint(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let path = format!("{TRACING}/events/syscalls/sys_enter_nanosleep/id");
    let text = fs::read_to_string(&path).map_err(|err| format!("cannot read {path}: {err}"))?;
    let number = text.trim().parse().map_err(|err| format!("{path}: {text:?}: {err}"))?;
    let event = event(TRACEPOINT, number, 1).map_err(|err| format!("cannot count passings: {err}"))?;
    let _link = attach_to(programs.get(test.program)?.attach_perf_event(event.as_raw_fd()))?;
    Ok(call::sleep()?)
}

/// Opens an event of CPU 0, on which guests have nothing but us.
fn event(kind: u32, which: u64, period: u64) -> io::Result<OwnedFd> {
    /// The size of the first version of `struct perf_event_attr`.
    const BYTES: usize = 64;
    // The rest is 0.
    let mut attributes = [0u8; BYTES];
    attributes[0..4].copy_from_slice(&kind.to_ne_bytes());
    attributes[4..8].copy_from_slice(&(BYTES as u32).to_ne_bytes());
    attributes[8..16].copy_from_slice(&which.to_ne_bytes());
    attributes[16..24].copy_from_slice(&period.to_ne_bytes());
    let (process, cpu, group, flags) = (-1, 0, -1, 0);
    // SAFETY: the attributes are as long as they say.
    let event =
        unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), process, cpu, group, flags) };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = i32::try_from(event).map_err(io::Error::other)?;
    // SAFETY: it was opened just now, and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(event) })
}
