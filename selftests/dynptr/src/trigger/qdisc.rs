// SPDX-License-Identifier: GPL-2.0-only
//! A queueing discipline that is a structure of operations.

use super::NotRun;
use super::netfilter::send;
use super::netlink::{Request, loopback_in_new_namespace, name};
use crate::suite::Programs;
use dynptr_spec::Test;

/// The name that the kernel knows it by; `bpf/types.bpf.c` has the same.
const NAME: &str = "kvet";
/// Its number, and the place above which there is none.
const HANDLE: u32 = 1 << 16;
const ROOT: u32 = u32::MAX;

/// Has the loopback device queue its packets with the program under test, and sends a datagram.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let ops = test.ops.ok_or("the test names no structure of operations".to_owned())?;
    let lo = loopback_in_new_namespace()?;
    let _link = programs.attach_ops(ops.map)?;
    let message = message(lo);
    Request::create(libc::RTM_NEWQDISC, &message)
        .with(libc::TCA_KIND, &name(NAME))
        .send()
        .map_err(|err| format!("cannot add the queueing discipline {NAME}: {err}"))?;
    // The program drops it, which the sender may be told.
    let _ = send(test.bytes);
    // It would go with the namespace, but some time later.
    Request::remove(libc::RTM_DELQDISC, &message)
        .send()
        .map_err(|err| format!("cannot remove the queueing discipline {NAME}: {err}").into())
}

/// `struct tcmsg`.
fn message(interface: i32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(interface.to_ne_bytes());
    bytes.extend(HANDLE.to_ne_bytes());
    bytes.extend(ROOT.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}
