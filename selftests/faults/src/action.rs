// SPDX-License-Identifier: GPL-2.0-only
//! What can be done to a guest.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// For people.
pub const ACTIONS: &str = "\
actions:
  pass, fail, skip  nothing, and say so
  alone             pass if this is the only test, else fail: a test that others disturb (--ktap)
  panic             let the kernel panic (sysrq c)
  warn              write a report shaped like a kernel warning into the kernel's log
  hang              sleep forever
  sleep:MS          sleep so many milliseconds
  spin:SECONDS      take the CPU from everything else, the kernel's threads included; 0 is forever
  oom               use memory until the kernel kills
  flood:MIB         write so much to standard output
  kmsg-flood:LINES  write so many lines into the kernel's log
  exit:N, signal:N  end like this
  orphan            leave a child behind that holds standard output, and end
  kill-init         damage the code that init returns to
  wipe-init         damage all of init's code";

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Pass,
    /// Nothing, and call it a failure.
    Fail,
    /// Nothing, and call it skipped.
    Skip,
    /// Nothing, and call it a failure if there are others.
    Alone,
    /// Sysrq `c`.
    Panic,
    /// A report in the kernel's log.
    Warn,
    /// Sleep.
    Sleep(Option<Duration>),
    /// Starve everything else.
    Spin(Option<Duration>),
    /// Use up the memory.
    Oom,
    /// MiB on standard output.
    Flood(u64),
    /// Lines in the kernel's log.
    KmsgFlood(u64),
    /// End with a status.
    Exit(i32),
    /// End by a signal.
    Signal(i32),
    /// Leave a child behind.
    Orphan,
    /// Damage init's code: where it returns to, or all.
    KillInit {
        /// All of it.
        all: bool,
    },
}

/// How an action went, if it came back.
pub enum Done {
    /// It did.
    Pass,
    /// It did not, or was to fail.
    Fail(String),
    /// It was to be skipped.
    Skip(String),
}

/// Whether this is a guest of kvet's: its init made this folder.
pub fn check_guest() -> Result<(), String> {
    let init = fs::read_link("/proc/1/exe").map_err(|e| format!("/proc/1/exe: {e}"))?;
    if Path::new(kvet_wire::paths::TESTS).is_dir() && init == Path::new("/init") {
        return Ok(());
    }
    Err("this is no guest of kvet's, and it would do harm here".into())
}

impl Action {
    /// Reads an action.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let number = || value.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        let small = || value.parse::<i32>().map_err(|e| format!("{text}: {e}"));
        Ok(match name {
            "pass" => Self::Pass,
            "fail" => Self::Fail,
            "skip" => Self::Skip,
            "alone" => Self::Alone,
            "panic" => Self::Panic,
            "warn" => Self::Warn,
            "hang" => Self::Sleep(None),
            "sleep" => Self::Sleep(Some(Duration::from_millis(number()?))),
            "spin" => Self::Spin(Some(Duration::from_secs(number()?)).filter(|time| !time.is_zero())),
            "oom" => Self::Oom,
            "flood" => Self::Flood(number()?),
            "kmsg-flood" => Self::KmsgFlood(number()?),
            "exit" => Self::Exit(small()?),
            "signal" => Self::Signal(small()?),
            "orphan" => Self::Orphan,
            "kill-init" => Self::KillInit { all: false },
            "wipe-init" => Self::KillInit { all: true },
            _ => return Err(format!("unknown action {text}")),
        })
    }

    /// Whether the test's announcement should be out before: the guest may not survive, or complains at once.
    pub fn comes_after_its_name(&self) -> bool {
        matches!(self, Self::Warn | Self::Panic | Self::Spin(_) | Self::Oom | Self::KillInit { .. })
    }

    /// Does it.
    pub fn perform(&self) -> Done {
        let done = match self {
            Self::Pass => Ok(()),
            Self::Fail => return Done::Fail("it was told to fail".into()),
            Self::Skip => return Done::Skip("it was told to be skipped".into()),
            Self::Alone => return Done::Fail("it is not alone".into()),
            Self::Panic => write("/proc/sysrq-trigger", "c"),
            Self::Warn => warn(),
            Self::Sleep(time) => {
                std::thread::sleep(time.unwrap_or(Duration::MAX));
                Ok(())
            }
            Self::Spin(time) => spin(*time),
            Self::Oom => oom(),
            Self::Flood(mib) => flood(*mib),
            Self::KmsgFlood(lines) => kmsg_flood(*lines),
            Self::Exit(code) => std::process::exit(*code),
            Self::Signal(number) => signal(*number),
            Self::Orphan => orphan(),
            Self::KillInit { all } => kill_init(*all),
        };
        done.map_or_else(Done::Fail, |()| Done::Pass)
    }
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("write {text} to {path}: {e}"))
}

/// A made-up report of the form that the kernel's own have. Each line gets an opening of its own, because /dev/kmsg
/// limits the rate per opening.
fn warn() -> Result<(), String> {
    let report = [
        "------------[ cut here ]------------",
        "WARNING: CPU: 0 PID: 77 at kernel/faults.c:12 faults_warn+0x2a/0x40",
        "CPU: 0 PID: 77 Comm: kvet-faults Not tainted",
        "Call Trace:",
        " <TASK>",
        " faults_do+0x11/0x20",
        " </TASK>",
        "---[ end trace 0000000000000000 ]---",
    ];
    report.iter().try_for_each(|line| write("/dev/kmsg", &format!("<4>{line}\n")))
}

/// Spins with the highest real-time priority after turning off what would save the others from it: the throttling of
/// real-time tasks, and since 6.12 the server that gives ordinary tasks their share (Documentation/scheduler). The
/// kernel's threads starve then, RCU's among them, and it is told to complain of that early.
fn spin(time: Option<Duration>) -> Result<(), String> {
    write("/proc/sys/kernel/sched_rt_runtime_us", "-1")?;
    let server = Path::new("/sys/kernel/debug/sched/fair_server/cpu0/runtime");
    if server.exists() {
        write(&server.to_string_lossy(), "0")?;
    }
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut priority: libc::sched_param = unsafe { std::mem::zeroed() };
    priority.sched_priority = 99;
    // SAFETY: the struct is valid and lives across the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } != 0 {
        return Err(format!("sched_setscheduler: {}", std::io::Error::last_os_error()));
    }
    let started = Instant::now();
    while time.is_none_or(|time| started.elapsed() < time) {
        std::hint::spin_loop();
    }
    priority.sched_priority = 0;
    // SAFETY: as above.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const priority) };
    Ok(())
}

fn oom() -> Result<(), String> {
    let mut held = Vec::new();
    loop {
        // Every page is written to: memory that is only asked for costs nothing.
        held.push(vec![1u8; 4 << 20]);
        std::hint::black_box(&held);
    }
}

fn flood(mib: u64) -> Result<(), String> {
    let line = format!("{}\n", "flood ".repeat(85));
    let mut out = std::io::stdout().lock();
    for _ in 0..(mib << 20).div_ceil(line.len() as u64) {
        out.write_all(line.as_bytes()).map_err(|e| format!("write: {e}"))?;
    }
    Ok(())
}

fn kmsg_flood(lines: u64) -> Result<(), String> {
    let mut log = OpenOptions::new().write(true).open("/dev/kmsg").map_err(|e| e.to_string())?;
    for number in 0..lines {
        log.write_all(format!("<4>flood {number}\n").as_bytes()).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn signal(number: i32) -> Result<(), String> {
    // SAFETY: plain calls; Rust's own handler for SIGSEGV, which would take it for no fault, is set aside.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::raise(number);
    }
    Err(format!("it survived signal {number}"))
}

fn orphan() -> Result<(), String> {
    // SAFETY: this process has one thread, so that the child may do anything.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: a system call without arguments.
            unsafe { libc::setsid() };
            std::thread::sleep(Duration::MAX);
            Ok(())
        }
        child if child > 0 => Ok(()),
        _ => Err(format!("fork: {}", std::io::Error::last_os_error())),
    }
}

/// Overwrites init's code with instructions that no CPU has. Where init waits, /proc/1/syscall says where it will go
/// on: damage there leaves its handler for such accidents intact.
fn kill_init(all: bool) -> Result<(), String> {
    let (at, len) = if all { code_of_init()? } else { (return_of_init()?, 16) };
    // `ud2` on x86; a word of zero on arm64 is `udf #0`.
    let damage = u64::from_le_bytes(if cfg!(target_arch = "x86_64") {
        *b"\x0f\x0b\x0f\x0b\x0f\x0b\x0f\x0b"
    } else {
        [0; 8]
    });
    poke_init(at, len / 8, damage)?;
    // Init wakes within a second, for its sign of life.
    std::thread::sleep(Duration::from_secs(5));
    Err("init survived".into())
}

/// Writes a word all over a part of init's memory. Read-only code is written to by ptrace(2) alone since kernel 6.12.
fn poke_init(at: u64, words: usize, word: u64) -> Result<(), String> {
    const INIT: libc::pid_t = 1;
    let trace = |request, address: u64, data: u64| {
        // SAFETY: none of these requests touches this process' memory.
        match unsafe { libc::ptrace(request, INIT, address, data) } {
            -1 => Err(format!("ptrace {request} of init: {}", std::io::Error::last_os_error())),
            _ => Ok(()),
        }
    };
    trace(libc::PTRACE_SEIZE, 0, 0)?;
    trace(libc::PTRACE_INTERRUPT, 0, 0)?;
    // SAFETY: nobody asks for the status.
    if unsafe { libc::waitpid(INIT, std::ptr::null_mut(), libc::__WALL) } != INIT {
        return Err(format!("wait for init: {}", std::io::Error::last_os_error()));
    }
    for index in 0..words as u64 {
        trace(libc::PTRACE_POKETEXT, at + index * 8, word)?;
    }
    trace(libc::PTRACE_DETACH, 0, 0)
}

/// The instruction after the system call that init sleeps in (proc_pid_syscall(5): the last of nine fields).
fn return_of_init() -> Result<u64, String> {
    let path = "/proc/1/syscall";
    let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let pc = text.split_whitespace().nth(8).ok_or_else(|| format!("{path}: {text}"))?;
    u64::from_str_radix(pc.trim_start_matches("0x"), 16).map_err(|e| format!("{path}: {pc}: {e}"))
}

/// Begin and length of init's code (proc_pid_maps(5)).
fn code_of_init() -> Result<(u64, usize), String> {
    let maps = fs::read_to_string("/proc/1/maps").map_err(|e| format!("/proc/1/maps: {e}"))?;
    let line =
        maps.lines().find(|l| l.contains(" r-xp ") && l.ends_with("/init")).ok_or("init has no code")?;
    let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).ok_or("no range")?;
    let number = |text| u64::from_str_radix(text, 16).map_err(|e| format!("{text}: {e}"));
    Ok((number(from)?, (number(to)? - number(from)?) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_and_nonsense_is_named() {
        assert_eq!(Action::parse("exit:3"), Ok(Action::Exit(3)));
        assert_eq!(Action::parse("spin:0"), Ok(Action::Spin(None)));
        assert_eq!(Action::parse("sleep:20"), Ok(Action::Sleep(Some(Duration::from_millis(20)))));
        assert!(Action::parse("exit:x").unwrap_err().contains("exit:x"));
        assert!(Action::parse("explode").unwrap_err().contains("explode"));
    }

    #[test]
    fn nothing_is_done_outside_a_guest() {
        assert!(check_guest().is_err());
    }
}
