// SPDX-License-Identifier: GPL-2.0-only
//! Programs that stand between sockets: in a map of them, in the search for one, in a group with one port.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null;

use libbpf_sys as sys;

use super::NotRun;
use super::netfilter::{payload, send};
use super::netlink::loopback_in_new_namespace;
use super::veth::PATIENCE;
use crate::suite::{Programs, attach_namespace};
use dynptr_spec::Test;

/// Tests whose program changes a byte on the way, which one, and to what; `bpf/types.bpf.c` has the same.
const CHANGES: &[(&str, usize, u8)] = &[("skb_in_sk_skb", 40, 0xee)];

/// Puts both ends of a connection into a map that the program is attached to, and sends a segment.
pub fn map(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    loopback_in_new_namespace()?;
    let failed = |err: io::Error| format!("TCP over the loopback device: {err}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let mut client = TcpStream::connect(listener.local_addr().map_err(failed)?).map_err(failed)?;
    let (mut server, _) = listener.accept().map_err(failed)?;
    let map = sockmap(2).map_err(|err| format!("cannot make a map of sockets: {err}"))?;
    programs
        .get(test.program)?
        .attach_sockmap(map.as_raw_fd())
        .map_err(|err| format!("cannot attach to a map of sockets: {err}"))?;
    for (key, socket) in [(0, &client), (1, &server)] {
        put(&map, key, socket).map_err(|err| format!("cannot put a socket into a map: {err}"))?;
    }
    let sent = payload(test.bytes);
    client.write_all(&sent).map_err(failed)?;
    server.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut received = vec![0; sent.len()];
    server.read_exact(&mut received).map_err(failed)?;
    let mut expected = sent;
    // What the program has found wrong says more than what came of it.
    let report = programs.report()?;
    for (_, offset, byte) in CHANGES.iter().filter(|it| it.0 == test.name && report.failures == 0) {
        expected[*offset] = *byte;
    }
    if report.failures == 0 && received != expected {
        return Err("the socket has not received what the program made of it".to_owned().into());
    }
    Ok(())
}

fn sockmap(entries: u32) -> io::Result<OwnedFd> {
    // SAFETY: a map needs no name, and no options.
    let map = unsafe { sys::bpf_map_create(sys::BPF_MAP_TYPE_SOCKMAP, null(), 4, 4, entries, null()) };
    if map < 0 {
        return Err(io::Error::from_raw_os_error(-map));
    }
    // SAFETY: it was made just now, and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(map) })
}

fn put(map: &OwnedFd, key: u32, socket: &TcpStream) -> io::Result<()> {
    let descriptor = socket.as_raw_fd();
    // SAFETY: keys and values of the map have four bytes.
    let result = unsafe {
        sys::bpf_map_update_elem(map.as_raw_fd(), (&raw const key).cast(), (&raw const descriptor).cast(), 0)
    };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Attaches the program to the search for sockets, and has the kernel look for the receiver of a datagram.
pub fn lookup(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    loopback_in_new_namespace()?;
    attach_namespace(&*programs.get(test.program)?)
        .map_err(|err| format!("cannot attach to the network namespace: {err}"))?;
    send(test.bytes).map_err(|err| format!("UDP over the loopback device: {err}").into())
}

/// Attaches the program to a group of one socket, and sends a datagram there.
pub fn reuseport(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    const ATTACH_REUSEPORT_EBPF: i32 = 52;
    loopback_in_new_namespace()?;
    let failed = |err: io::Error| format!("UDP over the loopback device: {err}");
    let program = programs.get(test.program)?;
    // SAFETY: plain numbers.
    let group = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if group < 0 {
        return Err(failed(io::Error::last_os_error()).into());
    }
    // SAFETY: it was opened just now, and is nobody else's.
    let group = unsafe { UdpSocket::from_raw_fd(group) };
    // A socket joins a group with the first program, or else when it gets its port; after that it is too late.
    set_option(&group, libc::SO_REUSEPORT, 1).map_err(failed)?;
    set_option(&group, ATTACH_REUSEPORT_EBPF, program.as_fd().as_raw_fd())
        .map_err(|err| format!("cannot attach to a group of sockets: {err}"))?;
    bind(&group).map_err(failed)?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let to = group.local_addr().map_err(failed)?;
    sender.send_to(&payload(test.bytes), to).map(drop).map_err(|err| failed(err).into())
}

/// Gives the socket a port.
fn bind(socket: &UdpSocket) -> io::Result<()> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
    // SAFETY: the address is as long as is said.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_option(socket: &UdpSocket, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is as long as is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
