// SPDX-License-Identifier: GPL-2.0-only
//! A tap device in a network namespace of its own: what is written to it arrives as a packet.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::NotRun;
use super::netlink::new_namespace;
use crate::packet;
use crate::report::Config;
use crate::suite::{Programs, attach_tcx_ingress};
use dynptr_spec::Test;

const TUN: &str = "/dev/net/tun";
const NAME: &[u8] = b"tap0\0";

/// Sends a packet through the other program, at XDP, to the program under test. If it is to be `cloned`, a packet
/// socket holds it as well.
pub fn run(test: &Test, programs: &Programs, config: Config, cloned: bool) -> Result<(), NotRun> {
    let mut tap = Tap::in_new_namespace()?;
    programs.configure(Config { interface: tap.interface.unsigned_abs(), ..config })?;
    let _holder =
        if cloned { Some(packet_socket().map_err(|err| format!("packet socket: {err}"))?) } else { None };
    let _link = match test.with {
        Some(xdp) => Some(
            programs
                .get(xdp)?
                .attach_xdp(tap.interface)
                .map_err(|err| format!("cannot attach XDP to the tap device: {err}"))?,
        ),
        None => None,
    };
    attach_tcx_ingress(&*programs.get(test.program)?, tap.interface)
        .map_err(|err| format!("cannot attach to TC ingress of the tap device: {err}"))?;
    Ok(tap.send(&packet::frame(test.bytes, test.protocol))?)
}

/// A socket that gets every packet before TC does, and keeps it.
fn packet_socket() -> io::Result<File> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: plain numbers.
    let fd =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and is nobody else's.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

/// A tap device that is up. It goes with the process.
pub struct Tap {
    file: File,
    /// Its number among the interfaces.
    pub interface: i32,
}

impl Tap {
    /// Moves this process into a new network namespace, and makes the device there.
    pub fn in_new_namespace() -> Result<Self, NotRun> {
        new_namespace()?;
        // Without the module there is no node, or one with nothing behind it.
        let absent = [libc::ENOENT, libc::ENODEV, libc::ENXIO];
        Self::open().map_err(|(what, err)| NotRun::of(&err, &absent, &format!("cannot {what}")))
    }

    fn open() -> Result<Self, (&'static str, io::Error)> {
        // Only a write that must not block takes the driver's way that runs XDP before there is an sk_buff.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(TUN)
            .map_err(|err| ("open /dev/net/tun", err))?;
        let mut request = request();
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        ioctl(&file, libc::TUNSETIFF, &mut request).map_err(|err| ("make a tap device", err))?;

        let socket = socket().map_err(|err| ("open a socket", err))?;
        ioctl(&socket, libc::SIOCGIFINDEX, &mut request).map_err(|err| ("find the tap device", err))?;
        // SAFETY: this request fills in the number.
        let interface = unsafe { request.ifr_ifru.ifru_ifindex };
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        ioctl(&socket, libc::SIOCSIFFLAGS, &mut request).map_err(|err| ("set the tap device up", err))?;
        Ok(Self { file, interface })
    }

    /// Its Ethernet address.
    pub fn address(&self) -> Result<[u8; 6], String> {
        let failed = |err| format!("cannot find the address of the tap device: {err}");
        let socket = socket().map_err(failed)?;
        let mut request = request();
        ioctl(&socket, libc::SIOCGIFHWADDR, &mut request).map_err(failed)?;
        // SAFETY: this request fills in the address.
        let bytes = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
        Ok(std::array::from_fn(|index| bytes[index].to_ne_bytes()[0]))
    }

    /// Sends a frame to whoever listens on the device. It has been dealt with when this returns.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        match self.file.write(frame) {
            Ok(sent) if sent == frame.len() => Ok(()),
            Ok(sent) => Err(format!("the tap device took {sent} bytes of {}", frame.len())),
            Err(err) => Err(format!("cannot write to the tap device: {err}")),
        }
    }
}

fn request() -> libc::ifreq {
    // SAFETY: numbers and a union of numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME) {
        *to = *from as libc::c_char;
    }
    request
}

fn socket() -> io::Result<File> {
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and is nobody else's.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

fn ioctl(file: &File, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all the numbers used here take an ifreq.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), number as _, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
