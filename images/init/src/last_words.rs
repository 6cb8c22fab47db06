//! What init says when it ends by its own fault, and how it ends: never by a kernel panic, which would look like
//! the kernel's fault.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use kvet_wire::{FromGuest, LACKS_MARK, LAST_WORDS_MARK, message};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::port::Port;
use crate::sys;

/// The wire's descriptor once it is open; -1 before.
static WIRE: AtomicI32 = AtomicI32::new(-1);

/// What a signal handler says on the wire: made beforehand, because it must not allocate.
static SIGNAL_FRAME: OnceLock<Vec<u8>> = OnceLock::new();

/// Makes a panic of this program, and the signals a bug would raise, end in a power-off.
pub fn install() {
    let text = "killed by a signal; the console says which".to_owned();
    if let Ok(frame) = message::control(&FromGuest::LastWords { text }) {
        let _ = SIGNAL_FRAME.set(frame.to_bytes());
    }
    std::panic::set_hook(Box::new(|info| say_and_power_off(&info.to_string())));
    let flags = SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::SigAction(on_fatal_signal), flags, SigSet::empty());
    for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT] {
        // SAFETY: the handler makes system calls only, and returns only where nothing was at fault.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// From now on last words also go over the wire.
pub fn use_wire(port: &Port) {
    WIRE.store(port.as_raw_fd(), Ordering::Relaxed);
}

/// Says on the console what the kernel lacks, and powers the machine off.
pub fn blame_the_kernel(what: &str) -> ! {
    say_on_console(LACKS_MARK, what);
    sys::power_off()
}

fn say_on_console(mark: &str, text: &str) {
    let line = format!("{mark}{}\n", text.replace('\n', " "));
    for path in ["/dev/kmsg", "/dev/console"] {
        if let Ok(mut console) = OpenOptions::new().write(true).open(path)
            && console.write_all(line.as_bytes()).is_ok()
        {
            break;
        }
    }
}

/// Says why on the console and on the wire, and powers the machine off.
pub fn say_and_power_off(why: &str) -> ! {
    say_on_console(LAST_WORDS_MARK, why);
    let wire = WIRE.load(Ordering::Relaxed);
    let text: String = why.chars().take(4096).collect();
    if wire >= 0
        && let Ok(frame) = message::control(&FromGuest::LastWords { text })
    {
        write_raw(wire, &frame.to_bytes());
    }
    sys::power_off()
}

/// Whether a process sent a signal: a job that signals PID 1 does not end the guest. `abort(3)` of init's own does.
///
/// # Safety
/// `info` is what the kernel gave a handler.
unsafe fn was_sent(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the kernel fills it in; si_pid is there wherever si_code says that a process sent it (sigaction(2)).
    let (code, pid) = unsafe { ((*info).si_code, (*info).si_pid()) };
    // No other process can send SI_TKILL in the name of this one (rt_sigqueueinfo(2)).
    code <= 0 && !(code == libc::SI_TKILL && pid == 1)
}

extern "C" fn on_fatal_signal(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: this is a handler, and that is its argument.
    if unsafe { was_sent(info) } {
        return;
    }
    // Formatting may allocate, which a signal handler must not: a fixed line, then the end.
    let line: &[u8] = match signal {
        libc::SIGSEGV => b"kvet-init: last words: killed by SIGSEGV\n",
        libc::SIGBUS => b"kvet-init: last words: killed by SIGBUS\n",
        libc::SIGABRT => b"kvet-init: last words: killed by SIGABRT\n",
        _ => b"kvet-init: last words: killed by a signal\n",
    };
    write_raw(2, line);
    let wire = WIRE.load(Ordering::Relaxed);
    if let (true, Some(frame)) = (wire >= 0, SIGNAL_FRAME.get()) {
        write_raw(wire, frame);
    }
    sys::power_off()
}

fn write_raw(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the pointer and the length describe `bytes`. A failed write has nobody left to be told.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}
