// SPDX-License-Identifier: GPL-2.0-only
//! A pair of interfaces: a packet that is sent on one arrives at XDP and TC of the other.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::NotRun;
use super::netlink::{interface, interface_up, new_namespace, veth_pair};
use crate::packet;
use crate::suite::{Programs, attach_tcx_ingress};
use dynptr_spec::Test;

/// Sends a packet to the other program, at XDP, and the program under test behind it.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    new_namespace()?;
    veth_pair("near", "far")?;
    let (near, far) = (interface("near")?, interface("far")?);
    let xdp = test.with.ok_or("the test names no XDP program".to_owned())?;
    let _link = programs
        .get(xdp)?
        .attach_xdp(far)
        .map_err(|err| format!("cannot attach XDP to the veth device: {err}"))?;
    attach_tcx_ingress(&*programs.get(test.program)?, far)
        .map_err(|err| format!("cannot attach to TC ingress of the veth device: {err}"))?;
    interface_up(near)?;
    interface_up(far)?;
    let frame = packet::frame(test.bytes, test.protocol);
    let deadline = Instant::now() + PATIENCE;
    // What is sent before the kernel has noticed that the pair is up, a moment later, is dropped.
    while !has_reported(programs)? && Instant::now() < deadline {
        send(near, &frame).map_err(|err| format!("cannot send a packet: {err}"))?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Sends a frame as it is.
pub fn send(interface: i32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: plain numbers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = interface;
    // SAFETY: the frame and the address are as long as is said.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// So long a packet may be under way.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until a program has reported, but no longer than that; a packet may arrive a little later. True if it has.
pub fn wait_for(programs: &Programs, patience: Duration) -> Result<bool, String> {
    let deadline = Instant::now() + patience;
    while !has_reported(programs)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

fn has_reported(programs: &Programs) -> Result<bool, String> {
    let report = programs.report()?;
    Ok(report.runs > 0 || report.failures > 0)
}
