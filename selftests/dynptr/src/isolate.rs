// SPDX-License-Identifier: GPL-2.0-only
//! Each test runs in a child process: its programs, links, maps and network namespace end with it.
//! A test that runs its programs has a copy of the harness ([`run`]). One that only has the verifier
//! look at them has the harness' own memory, which is faster ([`run_vfork`]). docs/ISOLATION.md says
//! what each may do.

use std::cell::Cell;
use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::panic;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use nix::errno::Errno;
use nix::sched::{CloneFlags, clone};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Pass,
    /// It failed; what there is to say about it, a line or more each.
    Fail(Vec<String>),
    /// The verifier refused what it should have taken, or took it, or said something else; as for a failure.
    Refused(Vec<String>),
    /// The kernel has not got what the test needs, whatever its release.
    Missing(Missing),
}

/// What a kernel can be built without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A module, and why it is needed.
    Module(String),
    /// A configuration option, and how it is.
    Config(String),
    /// What may be missing, in a whole sentence.
    Perhaps(String),
    /// A file system that is not mounted, by its usual place.
    Mount(String),
    /// Another setting of the kernel's.
    Setting(String),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Module(name) => write!(f, "needs module {name}"),
            Self::Config(name) => write!(f, "needs {name}"),
            Self::Perhaps(what) => write!(f, "{what}"),
            Self::Setting(what) => write!(f, "needs {what}"),
            Self::Mount(path) => write!(f, "needs {path} mounted"),
        }
    }
}

/// No verdict is longer: a child that is out of control cannot fill our memory.
const VERDICT_BYTES: u64 = 1 << 20;

/// Runs `test` in a child process, and returns its verdict. A child that dies without one has failed.
///
/// # Errors
/// Where no process or pipe can be had.
pub fn run(test: impl FnOnce() -> Verdict) -> io::Result<Verdict> {
    say_panics();
    let (mut reader, writer) = io::pipe()?;
    // SAFETY: the harness has one thread, so the child may do what the parent may.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(reader);
            in_child(OwnedFd::from(writer).into(), test)
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut bytes = Vec::new();
            let read = reader.by_ref().take(VERDICT_BYTES).read_to_end(&mut bytes);
            // Nobody reads on: a child that still writes gets EPIPE and ends.
            drop(reader);
            let status = wait(child)?;
            read?;
            Ok(judged(status, decode(&bytes)))
        }
    }
}

/// Runs `test` in a child process that has our memory, and not a copy of it, while we stand still:
/// under TCG a copy takes some 3 ms. Descriptors, rights and namespaces are its own, and end with it.
///
/// This is for a test that only gives programs to the verifier. What it writes to memory stays. It
/// must not hold a lock while it is in the kernel, where it may be killed. If the kernel kills it for
/// want of memory, that may kill us too.
///
/// # Errors
/// Where no process can be had.
pub fn run_vfork(test: impl FnOnce() -> Verdict) -> io::Result<Verdict> {
    say_panics();
    let mut stack = lock(&STACK);
    let stack = match &mut *stack {
        Some(stack) => stack,
        none => none.insert(new_stack()?),
    };
    let mut test = Some(test);
    let mut verdict = None;
    let body = Box::new(|| {
        // A child without its parent has nobody to report to.
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        verdict = test.take().map(|test| test());
        0
    });
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    IN_VFORK.set(true);
    // SAFETY: we wait until the child has ended, so nobody else uses our memory or its stack; it returns from `body`, or dies.
    let child = unsafe { clone(body, stack, flags, Some(Signal::SIGCHLD as i32)) };
    IN_VFORK.set(false);
    let status = wait(child?)?;
    let said = std::mem::take(&mut *lock(&PANICKED));
    Ok(judged(status, if said.is_empty() { verdict } else { Some(Verdict::Fail(said)) }))
}

/// The stack of the processes that have our memory, made with the first.
static STACK: Mutex<Option<&'static mut [u8]>> = Mutex::new(None);
/// Nearly all of it is never touched.
const STACK_BYTES: usize = 1 << 20;
/// Below it is what nobody may touch: a stack that is too small must not grow into something else. A page, wherever we run.
const GUARD_BYTES: usize = 1 << 16;

fn new_stack() -> io::Result<&'static mut [u8]> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
    // SAFETY: new memory, which is nobody else's and is never given back.
    unsafe {
        let start = libc::mmap(null_mut(), GUARD_BYTES + STACK_BYTES, libc::PROT_NONE, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = start.byte_add(GUARD_BYTES);
        if libc::mprotect(stack, STACK_BYTES, libc::PROT_READ | libc::PROT_WRITE) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(std::slice::from_raw_parts_mut(stack.cast(), STACK_BYTES))
    }
}

/// What processes in our memory said when they panicked.
static PANICKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// In a test's own copy, where its verdict goes.
static PIPE: Mutex<Option<File>> = Mutex::new(None);

thread_local! {
    /// Does a process run in our memory? It has our thread's variables.
    static IN_VFORK: Cell<bool> = const { Cell::new(false) };
}

/// Locks, even where a test panicked that held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the panic of a test's process become its verdict. That is set up here, in the harness, for all of them: after a panic in our
/// memory we count as panicking, and a process that does may set up nothing.
fn say_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let words = format!("harness: {info}");
            if IN_VFORK.get() {
                lock(&PANICKED).push(words);
            } else if let Some(pipe) = &*lock(&PIPE) {
                let _ = (&*pipe).write_all(&encode(&Verdict::Fail(vec![words])));
            } else {
                before(info);
            }
        }));
    });
}

fn in_child(mut pipe: File, test: impl FnOnce() -> Verdict) -> ! {
    // A child without its parent has nobody to report to.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    *lock(&PIPE) = pipe.try_clone().ok();
    IS_CHILD.store(true, Ordering::Relaxed);
    let verdict = test();
    let code = i32::from(pipe.write_all(&encode(&verdict)).is_err());
    // SAFETY: nothing that belongs to the parent may be flushed or destroyed a second time.
    unsafe { libc::_exit(code) }
}

/// Are we a test's process?
static IS_CHILD: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    /// The C library's `free`, by the name that the linker gives it (`--wrap`).
    fn __real_free(memory: *mut c_void);
}

/// What is called for `free`, by libbpf and by all of Rust. A test's process frees nothing: it ends soon, and what is freed
/// is written to, so that the page which it shares with its parent has to be copied first. libbpf frees a few things per
/// program of the object where the kernel refuses one; that was half of the time that loading took.
///
/// # Safety
/// As for `free`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_free(memory: *mut c_void) {
    if !IS_CHILD.load(Ordering::Relaxed) {
        // SAFETY: the caller answers for it.
        unsafe { __real_free(memory) }
    }
}

fn wait(child: Pid) -> io::Result<WaitStatus> {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The verdict of a child that ended so and left this.
fn judged(status: WaitStatus, left: Option<Verdict>) -> Verdict {
    match status {
        WaitStatus::Exited(_, 0) => {
            left.unwrap_or_else(|| Verdict::Fail(vec!["the test's process ended without a verdict".into()]))
        }
        WaitStatus::Exited(_, code) => Verdict::Fail(vec![format!("the test's process exited with {code}")]),
        WaitStatus::Signaled(_, signal, _) => {
            let mut lines = vec![format!("the test's process was killed by {signal:?}")];
            if let Some(Verdict::Fail(more)) = left {
                lines.extend(more);
            }
            Verdict::Fail(lines)
        }
        other => Verdict::Fail(vec![format!("the test's process is {other:?}")]),
    }
}

/// One byte for the kind, then what there is to say.
fn encode(verdict: &Verdict) -> Vec<u8> {
    let (kind, text) = match verdict {
        Verdict::Pass => ('P', String::new()),
        Verdict::Fail(lines) => ('F', lines.join("\n")),
        Verdict::Refused(lines) => ('R', lines.join("\n")),
        Verdict::Missing(Missing::Module(name)) => ('M', name.clone()),
        Verdict::Missing(Missing::Config(name)) => ('C', name.clone()),
        Verdict::Missing(Missing::Perhaps(what)) => ('O', what.clone()),
        Verdict::Missing(Missing::Setting(what)) => ('S', what.clone()),
        Verdict::Missing(Missing::Mount(path)) => ('D', path.clone()),
    };
    format!("{kind}{text}").into_bytes()
}

fn decode(bytes: &[u8]) -> Option<Verdict> {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars();
    let kind = chars.next()?;
    let rest = chars.as_str().to_owned();
    Some(match kind {
        'P' => Verdict::Pass,
        'F' => Verdict::Fail(vec![rest]),
        'R' => Verdict::Refused(vec![rest]),
        'M' => Verdict::Missing(Missing::Module(rest)),
        'C' => Verdict::Missing(Missing::Config(rest)),
        'O' => Verdict::Missing(Missing::Perhaps(rest)),
        'S' => Verdict::Missing(Missing::Setting(rest)),
        'D' => Verdict::Missing(Missing::Mount(rest)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn verdicts_survive_the_pipe() {
        for verdict in [
            Verdict::Pass,
            Verdict::Fail(vec!["one\ntwo".into()]),
            Verdict::Refused(vec!["three".into()]),
            Verdict::Missing(Missing::Module("tun".into())),
            Verdict::Missing(Missing::Config("CONFIG_NET_XGRESS".into())),
            Verdict::Missing(Missing::Perhaps("no tun".into())),
            Verdict::Missing(Missing::Setting("a knob".into())),
            Verdict::Missing(Missing::Mount("/sys/kernel/tracing".into())),
        ] {
            assert_eq!(decode(&encode(&verdict)), Some(verdict));
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"?x"), None);
    }

    #[test]
    fn a_child_without_a_verdict_has_failed() {
        let pid = Pid::from_raw(1);
        let failed = |status, bytes| matches!(judged(status, decode(bytes)), Verdict::Fail(_));
        assert!(failed(WaitStatus::Exited(pid, 0), b"".as_slice()));
        assert!(failed(WaitStatus::Exited(pid, 1), b"P"));
        assert!(failed(WaitStatus::Signaled(pid, Signal::SIGSEGV, false), b"P"));
        assert_eq!(judged(WaitStatus::Exited(pid, 0), decode(b"P")), Verdict::Pass);
    }

    #[test]
    fn a_vfork_child_has_its_own_descriptors() {
        let ours = File::open("/dev/null").expect("it is there");
        let fd = ours.as_raw_fd();
        let lines = vec!["long".repeat(1 << 18)];
        let verdict = run_vfork(|| {
            // SAFETY: in this process nobody uses the descriptor any more.
            let closed = unsafe { libc::close(fd) } == 0;
            if closed { Verdict::Refused(lines.clone()) } else { Verdict::Pass }
        });
        assert_eq!(verdict.expect("a process"), Verdict::Refused(lines));
        assert!(ours.metadata().is_ok(), "closed for us, too");
        let killed = run_vfork(|| {
            // SAFETY: the child ends itself.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            Verdict::Pass
        });
        let Ok(Verdict::Fail(lines)) = killed else { panic!("{killed:?}") };
        assert_eq!(lines, ["the test's process was killed by SIGKILL"]);
    }

    #[test]
    fn reasons_name_what_is_missing() {
        assert_eq!(Missing::Module("tun".into()).to_string(), "needs module tun");
        assert_eq!(Missing::Config("CONFIG_NET_XGRESS".into()).to_string(), "needs CONFIG_NET_XGRESS");
    }
}
