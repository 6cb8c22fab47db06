// SPDX-License-Identifier: GPL-2.0-only
//! Control groups: what a process does that programs at the root of them are asked about.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use libbpf_rs::ProgramAttachType;

use super::NotRun;
use super::file::CGROUP;
use super::netlink::loopback_in_new_namespace;
use crate::kconfig::unmounted;
use crate::suite::Programs;
use dynptr_spec::Test;

/// Attaches the program to the root group, to which this process belongs like every other. Then opens a device, reads
/// a knob of the kernel's, makes sockets, asks for an option, and connects.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let Ok(group) = File::open(CGROUP).and_then(|group| {
        fs::metadata(format!("{CGROUP}/cgroup.procs"))?;
        Ok(group)
    }) else {
        return Err(unmounted(CGROUP, "cgroup2"));
    };
    let program = programs.get(test.program)?;
    // Only a connection of TCP needs a route, and a namespace takes longer than all the rest.
    let connects = matches!(program.attach_type(), ProgramAttachType::CgroupSockOps);
    if connects {
        loopback_in_new_namespace()?;
    }
    let _link = program
        .attach_cgroup(group.as_raw_fd())
        .map_err(|err| format!("cannot attach to the root control group: {err}"))?;
    // Each program is about one of these; whether it ran is in its report.
    let _ = File::open("/dev/null");
    let _ = fs::read("/proc/sys/kernel/ostype");
    if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        let _ = socket.ttl();
        let _ = socket.connect((Ipv4Addr::LOCALHOST, 9));
    }
    if connects {
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, 9));
    }
    Ok(())
}
