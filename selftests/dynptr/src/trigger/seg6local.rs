// SPDX-License-Identifier: GPL-2.0-only
//! Segment routing over IPv6: a packet that has come to a segment of ours, where a program is asked about it.

use std::os::fd::{AsFd, AsRawFd};

use super::NotRun;
use super::netfilter::payload;
use super::netlink::{Request, loopback_in_new_namespace};
use super::veth::{PATIENCE, send, wait_for};
use crate::suite::Programs;
use dynptr_spec::Test;

/// Where the packet comes from, the segment that it has come to, and the one that it goes to then.
const SOURCE: [u8; 16] = [0xfd, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SEGMENT: [u8; 16] = [0xfd, 79, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LAST: [u8; 16] = [0xfd, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Routes the segment to the program, and sends a packet there: what the loopback device is given comes in again.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let lo = loopback_in_new_namespace()?;
    route(test, programs, lo)?;
    send(lo, &frame(test.bytes)).map_err(|err| format!("cannot send a packet: {err}"))?;
    wait_for(programs, PATIENCE)?;
    Ok(())
}

fn route(test: &Test, programs: &Programs, interface: i32) -> Result<(), NotRun> {
    const SEG6_LOCAL: u16 = 7;
    const ACTION: u16 = 1;
    const END_BPF: u32 = 15;
    const BPF: u16 = 8;
    const PROG_FD: u16 = 1;
    const PROG_NAME: u16 = 2;
    const NESTED: u16 = libc::NLA_F_NESTED as u16;
    let program = programs.get(test.program)?;
    let descriptor = program.as_fd().as_raw_fd();
    // Other routes to the loopback device lead nowhere.
    let (universe, local, main, static_) = (0u8, 2u8, 254u8, 4u8);
    let message = [libc::AF_INET6 as u8, 128, 0, 0, main, static_, universe, local, 0, 0, 0, 0];
    let request = Request::create(libc::RTM_NEWROUTE, &message)
        .with(libc::RTA_DST, &SEGMENT)
        .with(libc::RTA_OIF, &interface.to_ne_bytes())
        .with(libc::RTA_ENCAP_TYPE, &SEG6_LOCAL.to_ne_bytes())
        .with_nested(libc::RTA_ENCAP | NESTED, |it| {
            it.with(ACTION, &END_BPF.to_ne_bytes()).with_nested(BPF | NESTED, |it| {
                it.with(PROG_FD, &descriptor.to_ne_bytes()).with(PROG_NAME, b"kvet\0")
            })
        });
    match request.send() {
        Ok(()) => Ok(()),
        Err(err) => Err(NotRun::of(&err, &[libc::EOPNOTSUPP], "cannot route a segment to the program")),
    }
}

/// Ethernet, IPv6, a routing header with two segments, UDP, and bytes that are their own offset.
fn frame(bytes: usize) -> Vec<u8> {
    const ROUTING: u8 = 43;
    const UDP: u8 = 17;
    const ROUTING_BYTES: usize = 8 + 2 * 16;
    const UDP_BYTES: usize = 8;
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(0).to_be_bytes();
    // The loopback device has no address.
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length(ROUTING_BYTES + UDP_BYTES + bytes));
    frame.extend([ROUTING, 64]);
    frame.extend(SOURCE);
    frame.extend(SEGMENT);
    // What follows, length in units of 8 bytes without the first, type 4, segments left, the last one's number.
    frame.extend([UDP, 4, 4, 1, 1, 0, 0, 0]);
    // The other way round.
    frame.extend(LAST);
    frame.extend(SEGMENT);
    frame.extend([0, 9, 0, 9]);
    frame.extend(length(UDP_BYTES + bytes));
    frame.extend([0, 0]);
    frame.extend(payload(bytes));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_as_long_as_they_say() {
        let frame = frame(96);
        assert_eq!(frame.len(), 14 + 40 + 40 + 8 + 96);
        assert_eq!(frame[18..20], [0, 144]);
        assert_eq!((usize::from(frame[55]) + 1) * 8, 40);
    }
}
