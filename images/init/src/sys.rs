//! Small system matters: clocks, randomness, sysrq, the loopback interface, power.

use std::fs;
use std::mem::size_of;

use nix::sys::reboot::{RebootMode, reboot};
use nix::time::{ClockId, clock_gettime, clock_settime};

/// CLOCK_BOOTTIME in microseconds.
pub fn boottime_us() -> u64 {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(t) => t.tv_sec() as u64 * 1_000_000 + t.tv_nsec() as u64 / 1_000,
        Err(_) => 0,
    }
}

/// Sets the wall clock.
pub fn set_clock(unix_time_ns: u64) -> nix::Result<()> {
    let time = std::time::Duration::from_nanos(unix_time_ns);
    clock_settime(ClockId::CLOCK_REALTIME, time.into())
}

/// Credits seed bytes, in hexadecimal, to the kernel's random pool: RNDADDENTROPY, random(4).
pub fn seed_random(seed: &str) -> Result<(), String> {
    #[repr(C)]
    struct PoolInfo {
        entropy_count: libc::c_int,
        buf_size: libc::c_int,
        buf: [u8; 64],
    }
    nix::ioctl_write_ptr_bad!(
        add_entropy,
        nix::request_code_write!(b'R', 0x03, 2 * size_of::<libc::c_int>()),
        PoolInfo
    );

    let mut info = PoolInfo { entropy_count: 0, buf_size: 0, buf: [0; 64] };
    for (pair, byte) in seed.as_bytes().chunks_exact(2).zip(&mut info.buf) {
        let text = std::str::from_utf8(pair).map_err(|e| e.to_string())?;
        *byte = u8::from_str_radix(text, 16).map_err(|e| format!("seed '{text}': {e}"))?;
        info.buf_size += 1;
        info.entropy_count += 8;
    }
    let random = fs::OpenOptions::new().write(true).open("/dev/random").map_err(|e| e.to_string())?;
    // SAFETY: the struct has the layout of rand_pool_info and lives across the call.
    unsafe { add_entropy(std::os::fd::AsRawFd::as_raw_fd(&random), &info) }
        .map(drop)
        .map_err(|e| format!("RNDADDENTROPY: {e}"))
}

/// Kernel settings a test may rely on. Returns what did not work.
pub fn prepare_kernel() -> Vec<String> {
    let mut problems = Vec::new();
    let mut set = |path: &str, value: &str| {
        if let Err(e) = fs::write(path, value) {
            problems.push(format!("write {value} to {path}: {e}"));
        }
    };
    // Sysrq is how a hung guest is asked for its stacks.
    set("/proc/sys/kernel/sysrq", "1");
    // Absent where the kernel has no modules at all, and then nobody will ask.
    if fs::exists("/proc/sys/kernel/modprobe").unwrap_or(false) {
        set("/proc/sys/kernel/modprobe", "/sbin/modprobe");
    }
    // BPF's just-in-time compiler, as distributions have it; interpreter-only kernels lack the file.
    if fs::exists("/proc/sys/net/core/bpf_jit_enable").unwrap_or(false) {
        set("/proc/sys/net/core/bpf_jit_enable", "1");
    }
    if let Err(e) = loopback_up() {
        problems.push(format!("bring up lo: {e}"));
    }
    problems
}

fn loopback_up() -> nix::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    nix::ioctl_read_bad!(get_flags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);

    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // SAFETY: the request is valid and lives across both calls; ifru_flags is the member these calls use.
    unsafe {
        get_flags(fd, &mut request)?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        set_flags(fd, &request)?;
    }
    Ok(())
}

/// Asks the kernel for blocked tasks and every CPU's stack on the console.
pub fn dump_tasks() {
    for key in ["w", "l"] {
        // Nothing can be done where this fails; the host sees that no dump came.
        let _ = fs::write("/proc/sysrq-trigger", key);
    }
}

/// Ends the machine. Does not return, whatever happens.
pub fn power_off() -> ! {
    nix::unistd::sync();
    let _ = reboot(RebootMode::RB_POWER_OFF);
    // Some machines cannot power off; QEMU runs with -no-reboot, so that a reboot ends it too.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
