// SPDX-License-Identifier: GPL-2.0-only
//! A packet that is routed into a tunnel: it comes in through a tap device, with metadata of XDP's, and leaves through
//! one end of a veth pair, with another header in front.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
#[cfg(feature = "selftests")]
use std::sync::atomic::{AtomicBool, Ordering};

use super::NotRun;
use super::netlink::{Request, interface, interface_up, veth_pair};
use super::tap::Tap;
use super::veth::wait_for;
use crate::suite::{Programs, attach_tcx_ingress};
use dynptr_spec::Test;

/// The addresses of one version of IP: of the tap device, of the way out, of the next hop, and of the destination.
struct Addresses {
    family: u8,
    bits: u8,
    tap: Vec<u8>,
    out: Vec<u8>,
    hop: Vec<u8>,
    destination: Vec<u8>,
}

/// How the packet is wrapped, by the test's name.
struct Tunnel {
    name: &'static str,
    kind: u16,
    ipv6: bool,
}

const TUNNELS: &[Tunnel] = &[
    Tunnel { name: "lwt_mpls_encap", kind: 1, ipv6: false },
    Tunnel { name: "lwt_seg6_encap", kind: 5, ipv6: true },
    Tunnel { name: "lwt_bpf_encap", kind: 6, ipv6: false },
    Tunnel { name: "lwt_ioam6_encap", kind: 9, ipv6: true },
];

/// Do routes lead past the tunnels?
#[cfg(feature = "selftests")]
static PAST_TUNNELS: AtomicBool = AtomicBool::new(false);

/// From now on, routes of this process have no tunnel in them: for a test of the tests.
#[cfg(feature = "selftests")]
pub fn lead_past_tunnels() {
    PAST_TUNNELS.store(true, Ordering::Relaxed);
}

fn has_tunnels() -> bool {
    #[cfg(feature = "selftests")]
    return !PAST_TUNNELS.load(Ordering::Relaxed);
    #[cfg(not(feature = "selftests"))]
    true
}

/// Sends the packet. The program under test is at TC egress of the way out, where it sees the packet wrapped.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let tunnel = TUNNELS.iter().find(|it| it.name == test.name);
    let tunnel = tunnel.ok_or_else(|| format!("no tunnel for {}", test.name))?;
    let mut tap = Tap::in_new_namespace()?;
    veth_pair("out", "beyond")?;
    let out = interface("out")?;
    interface_up(interface("beyond")?)?;
    interface_up(out)?;
    let addresses = Addresses::of(tunnel.ipv6);
    addresses.configure(tap.interface, out)?;
    addresses.route(tunnel, test, programs, out)?;
    let xdp = test.with.ok_or("the test names no XDP program".to_owned())?;
    let _link = programs
        .get(xdp)?
        .attach_xdp(tap.interface)
        .map_err(|err| format!("cannot attach XDP to the tap device: {err}"))?;
    attach_tcx_ingress(&*programs.get(test.program)?, out)
        .map_err(|err| format!("cannot attach to TC egress: {err}"))?;
    let frame = addresses.frame(tap.address()?, test.bytes);
    // An interface takes packets a moment after it has been set up.
    for _ in 0..20 {
        tap.send(&frame)?;
        if wait_for(programs, std::time::Duration::from_millis(50))? {
            break;
        }
    }
    Ok(())
}

impl Addresses {
    fn of(ipv6: bool) -> Self {
        let address = |net: u8, host: u8| {
            if ipv6 {
                let mut bytes = vec![0xfd, net];
                bytes.resize(15, 0);
                bytes.push(host);
                bytes
            } else {
                vec![10, net, 0, host]
            }
        };
        let (family, bits) = if ipv6 { (libc::AF_INET6, 64) } else { (libc::AF_INET, 24) };
        Self {
            family: family as u8,
            bits,
            tap: address(77, 1),
            out: address(78, 1),
            hop: address(78, 2),
            destination: address(79, 1),
        }
    }

    /// Gives both interfaces their addresses, and has the kernel forward packets.
    fn configure(&self, tap: i32, out: i32) -> Result<(), NotRun> {
        let failed = |what: &str, err: io::Error| format!("cannot {what}: {err}");
        for (index, address) in [(tap, &self.tap), (out, &self.out)] {
            let mut message = vec![self.family, self.bits, 0, 0];
            message.extend(index.to_ne_bytes());
            Request::create(libc::RTM_NEWADDR, &message)
                .with(libc::IFA_LOCAL, address)
                .with(libc::IFA_ADDRESS, address)
                .send()
                .map_err(|err| failed("add an address", err))?;
        }
        let switch = if self.family == libc::AF_INET6 as u8 {
            "/proc/sys/net/ipv6/conf/all/forwarding"
        } else {
            "/proc/sys/net/ipv4/ip_forward"
        };
        fs::write(switch, "1").map_err(|err| failed("turn forwarding on", err))?;
        // The next hop's address is known: nobody has to be asked for it.
        let mut message = vec![self.family, 0, 0, 0];
        message.extend(out.to_ne_bytes());
        message.extend(libc::NUD_PERMANENT.to_ne_bytes());
        message.extend([0, 0]);
        Request::create(libc::RTM_NEWNEIGH, &message)
            .with(libc::NDA_DST, &self.hop)
            .with(libc::NDA_LLADDR, &[2, 0, 0, 0, 0, 9])
            .send()
            .map_err(|err| failed("add a neighbour", err))?;
        Ok(())
    }

    /// Routes the destination into the tunnel.
    fn route(&self, tunnel: &Tunnel, test: &Test, programs: &Programs, out: i32) -> Result<(), NotRun> {
        const BPF_XMIT: u16 = 3;
        const BPF_PROG_FD: u16 = 1;
        const BPF_PROG_NAME: u16 = 2;
        const BPF_XMIT_HEADROOM: u16 = 4;
        let descriptor = match test.also {
            Some(name) => programs.get(name)?.as_fd().as_raw_fd(),
            None => -1,
        };
        let (universe, unicast, main, static_) = (0u8, 1u8, 254u8, 4u8);
        let whole = if self.family == libc::AF_INET6 as u8 { 128 } else { 32 };
        let message = [self.family, whole, 0, 0, main, static_, universe, unicast, 0, 0, 0, 0];
        let mut request = Request::create(libc::RTM_NEWROUTE, &message)
            .with(libc::RTA_DST, &self.destination)
            .with(libc::RTA_GATEWAY, &self.hop)
            .with(libc::RTA_OIF, &out.to_ne_bytes());
        if has_tunnels() {
            request = request.with(libc::RTA_ENCAP_TYPE, &tunnel.kind.to_ne_bytes()).with_nested(
                libc::RTA_ENCAP | libc::NLA_F_NESTED as u16,
                |it| match tunnel.kind {
                    // One label, the last of its stack.
                    1 => it.with(1, &[0, 0x06, 0x41, 0]),
                    5 => it.with(1, &self.segments()),
                    9 => self.with_trace(it),
                    _ => it
                        .with_nested(BPF_XMIT | libc::NLA_F_NESTED as u16, |it| {
                            it.with(BPF_PROG_FD, &descriptor.to_ne_bytes()).with(BPF_PROG_NAME, b"kvet\0")
                        })
                        .with(BPF_XMIT_HEADROOM, &64u32.to_ne_bytes()),
                },
            );
        }
        match request.send() {
            Ok(()) => Ok(()),
            Err(err) => Err(NotRun::of(&err, &[libc::EOPNOTSUPP], "cannot add a route into a tunnel")),
        }
    }

    /// `struct seg6_iptunnel_encap`: the mode, and a routing header with one segment.
    fn segments(&self) -> Vec<u8> {
        const ENCAP: u32 = 1;
        let mut bytes = ENCAP.to_ne_bytes().to_vec();
        bytes.extend([0, 2, 4, 0, 0, 0, 0, 0]);
        bytes.extend(&self.hop);
        bytes
    }

    /// Another header in front (`IOAM6_IPTUNNEL_MODE_ENCAP`) with the next hop for a destination, and `struct ioam6_trace_hdr`:
    /// of the default namespace, with four bytes left for the number of one node.
    fn with_trace(&self, request: Request) -> Request {
        const MODE: u16 = 1;
        const DESTINATION: u16 = 2;
        const TRACE: u16 = 3;
        const ENCAP: u8 = 2;
        let trace = [0, 0, 0, 1, 0x80, 0, 0, 0];
        request.with(MODE, &[ENCAP]).with(DESTINATION, &self.hop).with(TRACE, &trace)
    }

    /// A datagram of UDP for the destination.
    fn frame(&self, to: [u8; 6], bytes: usize) -> Vec<u8> {
        const ETHERNET: usize = 14;
        let mut frame = to.to_vec();
        frame.extend([2, 0, 0, 0, 0, 1]);
        let mut source = self.tap.clone();
        if let Some(last) = source.last_mut() {
            *last = 2;
        }
        if self.family == libc::AF_INET6 as u8 {
            let payload = u16::try_from(bytes - ETHERNET - 40).unwrap_or(0);
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(payload.to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(source);
            frame.extend(&self.destination);
        } else {
            let length = u16::try_from(bytes - ETHERNET).unwrap_or(0).to_be_bytes();
            let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 17, 0, 0];
            header.extend(source);
            header.extend(&self.destination);
            let sum: u32 = header.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1])).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(header);
        }
        frame.resize(bytes, 0x5a);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_header_makes_its_sum_all_ones() {
        let frame = Addresses::of(false).frame([2; 6], 200);
        let sum: u32 = frame[14..34].chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(frame.len(), 200);
    }
}
