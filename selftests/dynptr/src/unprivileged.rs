// SPDX-License-Identifier: GPL-2.0-only
//! Loading programs as a user may who has a right to BPF and nothing else, or to nothing: which takes a process without
//! capabilities, and for the latter a kernel that lets users load programs at all.

use std::fs;
use std::io;

use crate::isolate::{Missing, Verdict};
use dynptr_spec::Rights;

/// 0 where every user may load programs; 1 where that cannot be changed any more.
const KNOB: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// `struct __user_cap_data_struct`: the low, and then the high half of the sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Capabilities {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `CAP_BPF`, of the high half.
const HIGH_BPF: u32 = 1 << (39 - 32);

/// Holds while there are no other capabilities; all is as it was afterwards.
pub struct Unprivileged {
    capabilities: [Capabilities; 2],
    /// What was in the knob, where it was changed.
    knob: Option<String>,
}

impl Unprivileged {
    /// Puts those of this process' capabilities aside that go beyond the rights; nothing is done where these are all.
    ///
    /// # Errors
    /// The verdict of a test that needs this and cannot have it.
    pub fn begin(rights: Rights) -> Result<Option<Self>, Verdict> {
        if rights == Rights::All {
            return Ok(None);
        }
        let capabilities = get().map_err(|err| failed("read our capabilities", &err))?;
        let knob = if rights == Rights::None { Some(open_knob()?) } else { None };
        let this = Self { capabilities, knob };
        set(&reduced(capabilities, rights)).map_err(|err| failed("drop our capabilities", &err))?;
        Ok(Some(this))
    }
}

fn failed(what: &str, err: &io::Error) -> Verdict {
    Verdict::Fail(vec![format!("cannot {what}: {err}")])
}

/// What is left of them.
fn reduced(all: [Capabilities; 2], rights: Rights) -> [Capabilities; 2] {
    let [low, high] = all.map(|it| Capabilities { effective: 0, ..it });
    let effective = if rights == Rights::Bpf { all[1].effective & HIGH_BPF } else { 0 };
    [low, Capabilities { effective, ..high }]
}

/// Has the kernel take programs of everybody, and returns what was in the knob.
fn open_knob() -> Result<String, Verdict> {
    let knob = fs::read_to_string(KNOB).map_err(|err| failed("read the kernel's knob", &err))?;
    if knob.trim() == "1" {
        let setting = "kernel.unprivileged_bpf_disabled to be other than 1, which is for good";
        return Err(Verdict::Missing(Missing::Setting(setting.into())));
    }
    fs::write(KNOB, "0").map_err(|err| failed("let users load programs", &err))?;
    Ok(knob)
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        // Without them the harness could do nothing any more, and the next test would say so.
        let _ = set(&self.capabilities);
        if let Some(knob) = &self.knob {
            let _ = fs::write(KNOB, knob.trim());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_to_bpf_is_one_capability() {
        let all = [Capabilities { effective: u32::MAX, permitted: 7, inheritable: 0 }; 2];
        let [low, high] = reduced(all, Rights::Bpf);
        assert_eq!((low.effective, high.effective), (0, 0x80));
        assert_eq!((low.permitted, high.permitted), (7, 7), "what is put aside can be taken again");
        let [low, high] = reduced(all, Rights::None);
        assert_eq!((low.effective, high.effective), (0, 0));
    }
}
