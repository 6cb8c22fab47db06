// SPDX-License-Identifier: GPL-2.0-only
//! How programs are made to run.

mod call;
mod cgroup;
mod file;
mod loopback;
mod lwt;
mod netfilter;
mod netlink;
mod other_task;
mod perf;
mod qdisc;
mod ringbuf;
mod seg6local;
mod signature;
mod socket;
mod sockets;
mod tap;
mod user_ringbuf;
mod verity;
mod veth;

use std::io;
use std::path::Path;

#[cfg(feature = "selftests")]
pub use file::{remove_attribute, set_attribute};
#[cfg(feature = "selftests")]
pub use lwt::lead_past_tunnels;
#[cfg(feature = "selftests")]
pub use netlink::{remove_interface, veth_pair};
#[cfg(feature = "selftests")]
pub use verity::{loop_device, release_loop_device};

use libbpf_rs::Link;

use crate::kconfig::unmounted;
use crate::report::Config;
use crate::suite::Programs;
use dynptr_spec::{Test, Trigger};

/// Why a program was not run.
#[derive(Debug)]
pub enum NotRun {
    /// The kernel says that it has not got what it takes, or shows it. Whether it should have is for its configuration to say.
    Unsupported(String),
    /// A file system that the kernel has is not mounted, by its usual place.
    Unmounted(String),
    /// Something went wrong.
    Failed(String),
}

impl NotRun {
    /// What could not be done, because of an error. Some errors are those of a kernel that has not got it at all.
    fn of(err: &io::Error, absent: &[i32], what: &str) -> Self {
        let message = format!("{what}: {err}");
        match err.raw_os_error() {
            Some(number) if absent.contains(&number) => Self::Unsupported(message),
            _ => Self::Failed(message),
        }
    }
}

impl From<String> for NotRun {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// Where the kernel shows its tracepoints.
pub const TRACING: &str = "/sys/kernel/tracing";
/// Where it lists the security modules that are active.
const SECURITY: &str = "/sys/kernel/security";

/// Has the kernel got what a way of running needs beyond BPF itself? This is for what shows before a program is loaded.
///
/// # Errors
/// Where it does not seem so.
pub fn check(kind: Trigger) -> Result<(), NotRun> {
    match kind {
        Trigger::Nanosleep | Trigger::Tracepoint => {
            let events = Path::new(TRACING).join("events");
            if !events.exists() {
                return Err(unmounted(TRACING, "tracefs"));
            }
            let name = "syscalls/sys_enter_nanosleep";
            if events.join(name).exists() {
                Ok(())
            } else {
                Err(NotRun::Unsupported(format!("the kernel has no tracepoint {name}")))
            }
        }
        Trigger::Open | Trigger::Verity | Trigger::Cold | Trigger::Bpf | Trigger::Connect => {
            match std::fs::read_to_string(Path::new(SECURITY).join("lsm")) {
                Err(_) => Err(unmounted(SECURITY, "securityfs")),
                Ok(active) if active.trim().split(',').any(|name| name == "bpf") => Ok(()),
                Ok(active) => Err(NotRun::Unsupported(format!(
                    "bpf is not among the active security modules: {}",
                    active.trim()
                ))),
            }
        }
        _ => Ok(()),
    }
}

/// Has the test's program run, once.
///
/// # Errors
/// Where it could not be; how it went is in the program's report.
pub fn run(kind: Trigger, test: &Test, programs: &Programs, config: Config) -> Result<(), NotRun> {
    match kind {
        Trigger::Nanosleep => call::nanosleep(test, programs),
        Trigger::Call => call::call(test, programs),
        Trigger::OtherTask => other_task::run(test, programs, config),
        Trigger::Ringbuf => ringbuf::run(test, programs),
        Trigger::TestRun => call::packet(test, programs),
        Trigger::XdpContext => call::xdp_context(test, programs),
        Trigger::Tap => tap::run(test, programs, config, false),
        Trigger::TapClone => tap::run(test, programs, config, true),
        Trigger::Veth => veth::run(test, programs),
        Trigger::Lwt => lwt::run(test, programs),
        Trigger::Loopback => loopback::run(test, programs),
        Trigger::Open => file::run(test, programs),
        Trigger::Verity => verity::run(test, programs),
        Trigger::Cold => verity::cold(test, programs),
        Trigger::Bpf => signature::run(test, programs, config),
        Trigger::Connect => socket::run(test, programs),
        Trigger::Drop => loopback::drop_one(test, programs),
        Trigger::UserRingbuf => user_ringbuf::run(test, programs),
        Trigger::Sockmap => sockets::map(test, programs),
        Trigger::Netfilter => netfilter::run(test, programs),
        Trigger::Seg6Local => seg6local::run(test, programs),
        Trigger::Qdisc => qdisc::run(test, programs),
        Trigger::Cgroup => cgroup::run(test, programs),
        Trigger::SocketLookup => sockets::lookup(test, programs),
        Trigger::Reuseport => sockets::reuseport(test, programs),
        Trigger::Perf => perf::run(test, programs),
        Trigger::Tracepoint => perf::tracepoint(test, programs),
    }
}

/// Sees that the programs of a test which is not about them have left no records but those that are known.
///
/// # Errors
/// What is in the buffer and should not be, or is missing.
pub fn left_in_ring(test: &Test, kind: Trigger, programs: &Programs) -> Result<(), String> {
    if kind == Trigger::Ringbuf || !test.maps.contains(&ringbuf::MAP) {
        return Ok(());
    }
    ringbuf::left(test, programs)
}

/// Attaches the program under test, by its section's name.
fn attach(test: &Test, programs: &Programs) -> Result<Link, NotRun> {
    attach_to(programs.get(test.program)?.attach())
}

fn attach_to(link: libbpf_rs::Result<Link>) -> Result<Link, NotRun> {
    Ok(link.map_err(|err| format!("cannot attach: {err}"))?)
}

/// Length of [`memory`], behind which there is none.
const MEMORY_BYTES: usize = 4096;
/// Where a string begins in it.
const STRING_AT: usize = 1024;
/// The string; `bpf/user.bpf.c` knows it.
const STRING: &[u8] = b"kvet reads strings\0";
/// The very end of it, a string without an end.
const EDGE: &[u8] = b"edge";

/// Memory of this process for programs to read: each byte is its own offset, but for a string at [`STRING_AT`]. The
/// page behind it cannot be read.
///
/// # Errors
/// Where there is no memory.
pub fn memory() -> io::Result<u64> {
    // SAFETY: the call only asks.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
    let mapped = page.max(MEMORY_BYTES);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping takes nothing from anyone; its last page is made unreadable before anybody has it.
    let bytes = unsafe {
        let start = libc::mmap(std::ptr::null_mut(), mapped + page, protection, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        if libc::mprotect(start.byte_add(mapped), page, libc::PROT_NONE) < 0 {
            return Err(io::Error::last_os_error());
        }
        let first = start.cast::<u8>().add(mapped - MEMORY_BYTES);
        std::slice::from_raw_parts_mut(first, MEMORY_BYTES)
    };
    for (offset, byte) in bytes.iter_mut().enumerate() {
        *byte = offset.to_le_bytes()[0];
    }
    bytes[STRING_AT..STRING_AT + STRING.len()].copy_from_slice(STRING);
    bytes[MEMORY_BYTES - EDGE.len()..].copy_from_slice(EDGE);
    Ok(bytes.as_ptr() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_what_programs_expect() {
        let start = memory().expect("memory") as *const u8;
        // SAFETY: it is as long as that.
        let bytes = unsafe { std::slice::from_raw_parts(start, MEMORY_BYTES) };
        assert_eq!(bytes[300], 44);
        assert_eq!(&bytes[STRING_AT..STRING_AT + 4], b"kvet");
        assert_eq!(&bytes[MEMORY_BYTES - 4..], b"edge");
    }
}
