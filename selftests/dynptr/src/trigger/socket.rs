// SPDX-License-Identifier: GPL-2.0-only
//! A socket with an extended attribute, for programs at hooks of the security modules.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::netlink::{interface, interface_up, new_namespace};
use super::{NotRun, attach};
use crate::suite::Programs;
use dynptr_spec::Test;

/// The attribute; `bpf/file.bpf.c` knows it.
const ATTRIBUTE: (&[u8], &[u8]) = (b"user.kvet\0", b"socket of kvet");

/// Attaches the program, and connects the socket to another of this process.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    new_namespace()?;
    interface_up(interface("lo")?)?;
    let failed = |err: io::Error| format!("TCP over the loopback device: {err}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    // SAFETY: plain numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(failed(io::Error::last_os_error()).into());
    }
    // SAFETY: it was opened just now, and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set_attribute(&socket)?;
    let _link = attach(test, programs)?;
    connect(&socket, port).map_err(|err| failed(err).into())
}

fn set_attribute(socket: &OwnedFd) -> Result<(), NotRun> {
    let (name, value) = ATTRIBUTE;
    // SAFETY: the name ends with NUL, and the value is as long as is said.
    let result = unsafe {
        libc::fsetxattr(socket.as_raw_fd(), name.as_ptr().cast(), value.as_ptr().cast(), value.len(), 0)
    };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        err if err.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Err(NotRun::Unsupported(format!("cannot set an attribute of a socket: {err}")))
        }
        err => Err(NotRun::Failed(format!("cannot set an attribute of a socket: {err}"))),
    }
}

fn connect(socket: &OwnedFd, port: u16) -> io::Result<()> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
    // SAFETY: the address is as long as is said.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
