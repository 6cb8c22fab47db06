// SPDX-License-Identifier: GPL-2.0-only
//! A segment of TCP over the loopback device: its headers are in one piece, its payload is in others.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use super::netlink::{interface, interface_up, new_namespace};
use super::veth::{PATIENCE, wait_for};
use super::{NotRun, attach};
use crate::suite::{Programs, attach_tcx_ingress};
use dynptr_spec::Test;

/// Attaches the program, and sends `test.bytes` of payload, each its own offset, in one call.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    new_namespace()?;
    let lo = interface("lo")?;
    interface_up(lo)?;
    attach_tcx_ingress(&*programs.get(test.program)?, lo)
        .map_err(|err| format!("cannot attach to TC ingress of the loopback device: {err}"))?;
    let failed = |err| format!("TCP over the loopback device: {err}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let mut stream = TcpStream::connect(listener.local_addr().map_err(failed)?).map_err(failed)?;
    let payload: Vec<u8> = (0..test.bytes).map(|offset| offset.to_le_bytes()[0]).collect();
    stream.write_all(&payload).map_err(failed)?;
    wait_for(programs, PATIENCE)?;
    Ok(())
}

/// Attaches the program, and sends a datagram to where nobody listens: the kernel drops it.
pub fn drop_one(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    new_namespace()?;
    interface_up(interface("lo")?)?;
    let failed = |err| format!("UDP over the loopback device: {err}");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let _link = attach(test, programs)?;
    socket.send_to(b"kvet", (Ipv4Addr::LOCALHOST, 9)).map_err(failed)?;
    wait_for(programs, PATIENCE)?;
    Ok(())
}
