// SPDX-License-Identifier: GPL-2.0-only
//! Netfilter: a datagram on its way out.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use libbpf_rs::{NF_INET_LOCAL_OUT, NFPROTO_IPV4, NetfilterOpts};

use super::NotRun;
use super::netlink::loopback_in_new_namespace;
use crate::suite::Programs;
use dynptr_spec::Test;

/// Attaches the program, and sends a datagram with [`payload`].
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    loopback_in_new_namespace()?;
    let options = NetfilterOpts {
        protocol_family: NFPROTO_IPV4,
        hooknum: NF_INET_LOCAL_OUT,
        priority: 1,
        ..Default::default()
    };
    let _link = programs
        .get(test.program)?
        .attach_netfilter_with_opts(options)
        .map_err(|err| format!("cannot attach to netfilter: {err}"))?;
    send(test.bytes).map_err(|err| format!("UDP over the loopback device: {err}").into())
}

/// Sends a datagram to its sender: nobody else has anything to say to it.
pub fn send(bytes: usize) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.send_to(&payload(bytes), socket.local_addr()?).map(drop)
}

/// Bytes that are their own offset.
pub fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|offset| offset.to_le_bytes()[0]).collect()
}
