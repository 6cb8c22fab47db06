// SPDX-License-Identifier: GPL-2.0-only
//! Loading programs as a user may who has no right to anything: which takes a kernel that lets users load programs at
//! all, and a process without capabilities.

use std::fs;
use std::io;

use crate::isolate::{Missing, Verdict};

/// 0 where every user may load programs; 1 where that cannot be changed any more.
const KNOB: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// `struct __user_cap_data_struct`: the low, and then the high half of the sets.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Capabilities {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Holds while there are no capabilities; all is as it was afterwards.
pub struct Unprivileged {
    capabilities: [Capabilities; 2],
    knob: String,
}

impl Unprivileged {
    /// Puts this process' capabilities aside, and has the kernel take programs all the same.
    ///
    /// # Errors
    /// The verdict of a test that needs this and cannot have it.
    pub fn begin() -> Result<Self, Verdict> {
        let failed = |what: &str, err: io::Error| Verdict::Fail(vec![format!("cannot {what}: {err}")]);
        let knob = fs::read_to_string(KNOB).map_err(|err| failed("read the kernel's knob", err))?;
        if knob.trim() == "1" {
            let setting = "kernel.unprivileged_bpf_disabled to be other than 1, which is for good";
            return Err(Verdict::Missing(Missing::Setting(setting.into())));
        }
        let capabilities = get().map_err(|err| failed("read our capabilities", err))?;
        fs::write(KNOB, "0").map_err(|err| failed("let users load programs", err))?;
        let this = Self { capabilities, knob };
        let none = capabilities.map(|it| Capabilities { effective: 0, ..it });
        set(&none).map_err(|err| failed("drop our capabilities", err))?;
        Ok(this)
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        // Without them the harness could do nothing any more, and the next test would say so.
        let _ = set(&self.capabilities);
        let _ = fs::write(KNOB, self.knob.trim());
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`, and this process.
const HEADER: [u32; 2] = [0x2008_0522, 0];

fn get() -> io::Result<[Capabilities; 2]> {
    let mut header = HEADER;
    let mut sets = [Capabilities::default(); 2];
    // SAFETY: the header announces two halves, and there is room for them.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(sets) }
}

fn set(sets: &[Capabilities; 2]) -> io::Result<()> {
    let mut header = HEADER;
    // SAFETY: the header announces two halves, and there they are.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
