// SPDX-License-Identifier: GPL-2.0-only
//! Interfaces, addresses and routes: the little of rtnetlink(7) that tests need, as a guest has no `ip`.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;

use nix::sched::{CloneFlags, unshare};

use super::NotRun;

/// A request: a header, a fixed part, attributes.
pub struct Request {
    bytes: Vec<u8>,
    flags: u16,
    kind: u16,
}

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16 | libc::NLM_F_ACK as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16 | libc::NLM_F_EXCL as u16;

impl Request {
    /// Something to be made (`RTM_NEW…`), with the fixed part of its kind.
    pub fn create(kind: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes.extend(fixed);
        Self { bytes, flags: REQUEST | CREATE, kind }
    }

    /// Something to be removed (`RTM_DEL…`), with the fixed part of its kind.
    pub fn remove(kind: u16, fixed: &[u8]) -> Self {
        Self { flags: REQUEST, ..Self::create(kind, fixed) }
    }

    /// Adds an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute that is made of others.
    pub fn with_nested(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        let mut this = inner(self);
        let length = u16::try_from(this.bytes.len() - start).unwrap_or(u16::MAX);
        this.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        this.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        this
    }

    /// Adds bytes as they are.
    pub fn with_bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// Sends it, and waits for the kernel's answer.
    pub fn send(mut self) -> io::Result<()> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[4..6].copy_from_slice(&self.kind.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&self.flags.to_ne_bytes());
        // SAFETY: plain numbers.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was opened just now, and is nobody else's.
        let mut socket = unsafe { File::from_raw_fd(fd) };
        socket.write_all(&self.bytes)?;
        let mut answer = [0; 4096];
        let length = socket.read(&mut answer)?;
        // A header, then the error as a negative number.
        let error = answer.get(HEADER..HEADER + 4).filter(|_| length >= HEADER + 4);
        match error.map(|it| i32::from_ne_bytes([it[0], it[1], it[2], it[3]])) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::Error::other("netlink gave a short answer")),
        }
    }
}

/// `struct ifinfomsg`.
pub fn interface_message(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(change.to_ne_bytes());
    bytes
}

/// The name as the kernel wants it.
pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The number of an interface of this namespace.
pub fn interface(name: &str) -> Result<i32, String> {
    let c_name = CString::new(name).map_err(|err| err.to_string())?;
    // SAFETY: the name ends with NUL.
    match unsafe { libc::if_nametoindex(c_name.as_ptr()) } {
        0 => Err(format!("no interface {name}: {}", io::Error::last_os_error())),
        index => Ok(index.cast_signed()),
    }
}

/// Sets an interface up.
pub fn interface_up(index: i32) -> Result<(), String> {
    let up = libc::IFF_UP as u32;
    let mut request = Request::create(libc::RTM_NEWLINK, &interface_message(index, up, up));
    request.flags = REQUEST;
    request.send().map_err(|err| format!("cannot set interface {index} up: {err}"))
}

/// Moves this process into a new network namespace; it goes with the process.
pub fn new_namespace() -> Result<(), NotRun> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|err| NotRun::of(&err.into(), &[libc::EINVAL], "cannot make a network namespace"))?;
    // Routers that look for each other are noise; a kernel without IPv6 makes none.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/router_solicitations", "0");
    Ok(())
}

/// Moves this process into a new network namespace whose loopback device is up; returns the device's number.
pub fn loopback_in_new_namespace() -> Result<i32, NotRun> {
    new_namespace()?;
    let lo = interface("lo")?;
    interface_up(lo)?;
    Ok(lo)
}

/// Makes a pair of interfaces: what is sent on one arrives at the other.
pub fn veth_pair(one: &str, other: &str) -> Result<(), NotRun> {
    const VETH_INFO_PEER: u16 = 1;
    let request = Request::create(libc::RTM_NEWLINK, &interface_message(0, 0, 0))
        .with(libc::IFLA_IFNAME, &name(one))
        .with_nested(libc::IFLA_LINKINFO, |it| {
            it.with(libc::IFLA_INFO_KIND, b"veth").with_nested(libc::IFLA_INFO_DATA, |it| {
                it.with_nested(VETH_INFO_PEER, |it| {
                    it.with_bytes(&interface_message(0, 0, 0)).with(libc::IFLA_IFNAME, &name(other))
                })
            })
        });
    match request.send() {
        Ok(()) => Ok(()),
        Err(err) => Err(NotRun::of(&err, &[libc::EOPNOTSUPP], "cannot make a veth pair")),
    }
}

/// Removes an interface of this namespace, and its peer with it.
#[cfg(feature = "selftests")]
pub fn remove_interface(name: &str) -> Result<(), String> {
    let mut request = Request::create(libc::RTM_DELLINK, &interface_message(interface(name)?, 0, 0));
    request.flags = REQUEST;
    request.send().map_err(|err| format!("cannot remove interface {name}: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nest() {
        let request = Request::create(16, &[]).with(3, b"lo\0").with_nested(18, |it| it.with(1, b"veth"));
        let bytes = &request.bytes[HEADER..];
        assert_eq!(&bytes[0..8], [[7, 0].as_slice(), &[3, 0], b"lo\0", &[0]].concat());
        assert_eq!(u16::from_ne_bytes([bytes[8], bytes[9]]), 12);
        assert_eq!(&bytes[16..20], b"veth");
        assert_eq!(bytes.len(), 20);
    }
}
