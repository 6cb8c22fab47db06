//! Ctrl-C, as the rest of the runner sees it: a flag that can be polled and a descriptor that can be waited for.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::signal::register_signal_handler;

use crate::error::{Error, IoContext, Result, exit};

/// A request to stop that every part of a run shares.
#[derive(Clone)]
pub struct Cancel {
    shared: Arc<Shared>,
}

struct Shared {
    requested: AtomicBool,
    event: EventFd,
}

/// The event descriptor that the signal handler writes to; -1 until one is installed.
static SIGNAL_FD: AtomicI32 = AtomicI32::new(-1);
/// How often the user has asked.
static SIGNALS: AtomicU32 = AtomicU32::new(0);

impl Cancel {
    /// A request that nobody has made yet.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn new() -> Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).host("create an eventfd")?;
        Ok(Self { shared: Arc::new(Shared { requested: AtomicBool::new(false), event }) })
    }

    /// Lets SIGINT, SIGTERM and SIGHUP make the request. What is written by then is kept and reported; the second
    /// signal ends the process at once, and QEMU with it (prctl(2), PR_SET_PDEATHSIG).
    ///
    /// # Errors
    /// The handler cannot be installed.
    pub fn on_signals(&self) -> Result<()> {
        SIGNAL_FD.store(self.shared.event.as_raw_fd(), Ordering::SeqCst);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            register_signal_handler(signal, on_signal)
                .map_err(|e| Error::host(format!("cannot handle signal {signal}: {e}")))?;
        }
        Ok(())
    }

    /// Makes the request.
    pub fn request(&self) {
        self.shared.requested.store(true, Ordering::SeqCst);
        // Fails only where the counter is full, and then it is readable anyway.
        let _ = self.shared.event.write(1);
    }

    /// Whether the request was made.
    pub fn requested(&self) -> bool {
        self.shared.requested.load(Ordering::SeqCst)
            || (SIGNAL_FD.load(Ordering::SeqCst) == self.shared.event.as_raw_fd()
                && SIGNALS.load(Ordering::SeqCst) > 0)
    }

    /// `Err` once the request was made: for the loops of work that can stop anywhere.
    ///
    /// # Errors
    /// [`crate::error::Fault::Interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Readable once the request was made, and from then on.
    pub fn fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}

/// The terminal settings that the second signal puts back; null while the terminal is as it was found.
static TERMINAL: AtomicPtr<libc::termios> = AtomicPtr::new(std::ptr::null_mut());

/// Has the terminal on standard input put back by the second signal, too, from now on or (with `None`) no longer.
pub fn restore_terminal_at_exit(settings: Option<libc::termios>) {
    // Leaked on purpose: a signal handler may be reading it at any time. It happens once or twice in a process.
    let new = settings.map_or(std::ptr::null_mut(), |settings| Box::into_raw(Box::new(settings)));
    TERMINAL.store(new, Ordering::SeqCst);
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if SIGNALS.fetch_add(1, Ordering::SeqCst) > 0 {
        let terminal = TERMINAL.load(Ordering::SeqCst);
        if !terminal.is_null() {
            // SAFETY: tcsetattr(3) is async-signal-safe, and the settings are never freed.
            unsafe { libc::tcsetattr(0, libc::TCSANOW, terminal) };
        }
        // SAFETY: _exit(2) is async-signal-safe and does not return.
        unsafe { libc::_exit(i32::from(exit::INTERRUPTED)) };
    }
    let one = 1u64;
    // SAFETY: write(2) is async-signal-safe; the pointer and length describe `one`.
    unsafe { libc::write(SIGNAL_FD.load(Ordering::SeqCst), (&raw const one).cast(), 8) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_seen_by_every_clone() {
        let cancel = Cancel::new().unwrap();
        let other = cancel.clone();
        other.check().unwrap();
        cancel.request();
        assert!(other.requested());
        assert_eq!(other.check().unwrap_err().fault(), crate::error::Fault::Interrupted);
    }
}
