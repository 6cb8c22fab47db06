// SPDX-License-Identifier: GPL-2.0-only
//! Whether this machine can run the tests at all.

use std::fs;
use std::io;

use libbpf_sys as sys;
use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use dynptr_spec::Running;

/// The kernel's description of itself, without which none of its functions can be found.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel.
pub fn running() -> Result<Running, String> {
    let names = uname().map_err(|err| format!("uname: {err}"))?;
    let release = names.release().to_string_lossy();
    Running::of_uname(&release, &names.version().to_string_lossy())
        .ok_or_else(|| format!("cannot tell the release of a kernel that calls itself {release:?}"))
}

/// Checks what every test needs, whatever the kernel's release.
pub fn check() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("only root can load BPF programs".into());
    }
    let mut smallest_map = sys::bpf_map_create_opts {
        sz: size_of::<sys::bpf_map_create_opts>() as sys::size_t,
        ..Default::default()
    };
    // SAFETY: an array of one number, without a name.
    let fd = unsafe {
        sys::bpf_map_create(sys::BPF_MAP_TYPE_ARRAY, std::ptr::null(), 4, 4, 1, &raw mut smallest_map)
    };
    if fd < 0 {
        return Err(format!("the bpf system call does not work: {}", io::Error::last_os_error()));
    }
    // SAFETY: it was opened just now, and is nobody else's.
    unsafe { libc::close(fd) };
    fs::File::open(VMLINUX_BTF).map(drop).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => format!(
            "cannot open {VMLINUX_BTF}: {err}; hint: the kernel needs CONFIG_DEBUG_INFO_BTF, and sysfs mounted"
        ),
        _ => format!("cannot open {VMLINUX_BTF}: {err}"),
    })
}
