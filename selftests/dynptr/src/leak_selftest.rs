// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the search for what tests leave behind: something of each kind is left, and has to be named; then it is taken
//! away, and nothing may be named any more.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use libbpf_sys as sys;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, fork, pause};

use crate::isolate::{self, Missing, Verdict};
use crate::ktap::{Outcome, Writer};
use crate::leak_check::{self, Objects, Traces};
use crate::session::{mark_console, of_group};
use crate::trigger::{self, NotRun};

/// Something that a test could leave behind.
struct Leak {
    name: &'static str,
    /// What has to be there before.
    prepare: fn() -> Result<(), NotRun>,
    /// Leaves it, in a process of its own.
    leave: fn() -> Result<(), NotRun>,
    /// What has to be said at once.
    traces: &'static [&'static str],
    /// What has to be said when the kernel has had its time.
    objects: &'static [&'static str],
    /// Takes it away again.
    clean: fn(),
}

const GROUP: &str = "leaks";
const PINNED_MAP: &str = "/sys/fs/bpf/kvet-leak-map";
const PINNED_LINK: &str = "/sys/fs/bpf/kvet-leak-link";
const CONTROL_GROUP: &str = "/sys/fs/cgroup/kvet-leak";
const NAMESPACE: &str = "/run/netns/kvet-leak";
const MOUNTED: &str = "/tmp/kvet-leak-mount";
const FILE: &str = "/tmp/kvet-leak-file";
const ATTRIBUTE: &str = "user.kvet-leak";
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// The keyring of the user, which outlives processes.
const USER_KEYRING: i32 = -4;
const DEVICES: [&str; 2] = ["kvet-leak0", "kvet-leak1"];

const LEAKS: &[Leak] = &[
    Leak {
        name: "attribute",
        prepare: nothing,
        leave: || trigger::set_attribute(Path::new("/sys/fs/cgroup"), ATTRIBUTE, "left"),
        traces: &["left behind: attribute user.kvet-leak of /sys/fs/cgroup is \"left\""],
        objects: &[],
        clean: || drop(trigger::remove_attribute(Path::new("/sys/fs/cgroup"), ATTRIBUTE)),
    },
    // It was there, and has another value: as long as the other, so that nothing else tells. It is taken away in the end.
    Leak {
        name: "attribute_value",
        prepare: || trigger::set_attribute(Path::new("/tmp"), ATTRIBUTE, "mine"),
        leave: || trigger::set_attribute(Path::new("/tmp"), ATTRIBUTE, "left"),
        traces: &["left behind: attribute user.kvet-leak of /tmp is \"left\""],
        objects: &[],
        clean: || drop(trigger::set_attribute(Path::new("/tmp"), ATTRIBUTE, "mine")),
    },
    Leak {
        name: "control_group",
        prepare: nothing,
        leave: || {
            Ok(fs::create_dir(CONTROL_GROUP).map_err(|err| format!("cannot make {CONTROL_GROUP}: {err}"))?)
        },
        traces: &["left behind: /sys/fs/cgroup/kvet-leak"],
        objects: &[],
        clean: || drop(fs::remove_dir(CONTROL_GROUP)),
    },
    Leak {
        name: "device",
        prepare: nothing,
        leave: || trigger::veth_pair(DEVICES[0], DEVICES[1]),
        traces: &["left behind: /sys/class/net/kvet-leak0", "left behind: /sys/class/net/kvet-leak1"],
        objects: &[],
        clean: || drop(trigger::remove_interface(DEVICES[0])),
    },
    Leak {
        name: "file",
        prepare: nothing,
        leave: || Ok(fs::write(FILE, "left").map_err(|err| format!("cannot write {FILE}: {err}"))?),
        traces: &["left behind: /tmp/kvet-leak-file"],
        objects: &[],
        clean: || drop(fs::remove_file(FILE)),
    },
    Leak {
        name: "key",
        prepare: nothing,
        leave: key,
        traces: &[],
        objects: &["key left behind: key "],
        clean: clean_key,
    },
    Leak {
        name: "loop_device",
        prepare: nothing,
        leave: loop_device,
        traces: &["left behind: /dev/loop", "left behind: /tmp/kvet-leak-file"],
        objects: &[],
        clean: clean_loop_devices,
    },
    Leak {
        name: "mount",
        prepare: nothing,
        leave: mounted,
        traces: &["left behind: mount /tmp/kvet-leak-mount", "left behind: /tmp/kvet-leak-mount"],
        objects: &[],
        clean: || {
            let _ = umount(MOUNTED);
            let _ = fs::remove_dir(MOUNTED);
        },
    },
    Leak {
        name: "network_namespace",
        prepare: nothing,
        leave: namespace,
        traces: &["left behind: mount /run/netns/kvet-leak", "left behind: /run/netns/kvet-leak"],
        objects: &[],
        clean: || {
            let _ = umount(NAMESPACE);
            let _ = fs::remove_file(NAMESPACE);
        },
    },
    Leak {
        name: "pinned_objects",
        prepare: nothing,
        leave: pinned,
        traces: &["left behind: /sys/fs/bpf/kvet-leak-map", "left behind: /sys/fs/bpf/kvet-leak-link"],
        objects: &[
            "pinned_objects left behind: BPF map ",
            "pinned_objects left behind: BPF link ",
            "pinned_objects left behind: BPF program ",
        ],
        clean: || {
            let _ = fs::remove_file(PINNED_MAP);
            let _ = fs::remove_file(PINNED_LINK);
        },
    },
    Leak {
        name: "process",
        prepare: nothing,
        leave: process,
        traces: &["left behind: process "],
        objects: &[],
        // The search ends it.
        clean: || {},
    },
    Leak {
        name: "setting_of_bpf",
        prepare: nothing,
        leave: || write_setting(STATISTICS, "1"),
        traces: &["left behind: /proc/sys/kernel/bpf_stats_enabled is 1"],
        objects: &[],
        clean: || drop(write_setting(STATISTICS, "0")),
    },
    Leak {
        name: "setting_of_the_network",
        prepare: nothing,
        leave: || write_setting(FORWARDING, "1"),
        traces: &["left behind: /proc/sys/net/ipv4/ip_forward is 1"],
        objects: &[],
        clean: || drop(write_setting(FORWARDING, "0")),
    },
];

/// Leaves each, one after the other: all have to be named, and nothing else.
///
/// # Errors
/// Where the results cannot be written, or no process can be had.
pub fn run<W: Write>(out: &mut Writer<W>) -> io::Result<Outcome> {
    out.begin_group(GROUP, LEAKS.len())?;
    let mut outcomes = Vec::new();
    for leak in LEAKS {
        mark_console(GROUP, leak.name);
        out.begin_test(leak.name)?;
        let begin = Instant::now();
        let (outcome, lines) = named(leak)?;
        out.end_test(leak.name, &outcome, begin.elapsed(), lines.iter().map(String::as_str))?;
        outcomes.push(outcome);
    }
    trigger::remove_attribute(Path::new("/tmp"), ATTRIBUTE).map_err(io::Error::other)?;
    let outcome = of_group(&outcomes);
    out.end_group(GROUP, &outcome, [leak_check::cost().as_str()])?;
    Ok(outcome)
}

/// Most can be left without anything else.
fn nothing() -> Result<(), NotRun> {
    Ok(())
}

fn verdict_of(result: Result<(), NotRun>) -> Verdict {
    match result {
        Ok(()) => Verdict::Pass,
        Err(NotRun::Unsupported(what)) => Verdict::Missing(Missing::Perhaps(what)),
        Err(NotRun::Unmounted(place)) => Verdict::Missing(Missing::Mount(place)),
        Err(NotRun::Failed(message)) => Verdict::Fail(vec![message]),
    }
}

fn named(leak: &Leak) -> io::Result<(Outcome, Vec<String>)> {
    let prepared = verdict_of((leak.prepare)());
    let (before, mut objects) = (Traces::now(), Objects::now());
    let verdict = match prepared {
        Verdict::Pass => isolate::run(|| verdict_of((leak.leave)()))?,
        other => other,
    };
    match verdict {
        Verdict::Pass => {}
        Verdict::Missing(missing) => return Ok((Outcome::Skip(missing.to_string()), Vec::new())),
        Verdict::Fail(lines) | Verdict::Refused(lines) => return Ok((Outcome::Fail, lines)),
    }
    let mut lines = before.left();
    objects.note(leak.name);
    if !leak.objects.is_empty() {
        lines.extend(objects.left());
    }
    (leak.clean)();
    let mut wrong: Vec<String> = leak
        .traces
        .iter()
        .chain(leak.objects)
        .filter(|words| !lines.iter().any(|line| line.starts_with(**words)))
        .map(|words| format!("expected to be told: {words}"))
        .collect();
    wrong.extend(
        before.left().into_iter().chain(objects.left()).map(|line| format!("cleaned, and still {line}")),
    );
    let outcome = if wrong.is_empty() { Outcome::Pass } else { Outcome::Fail };
    lines.extend(wrong);
    Ok((outcome, lines))
}

fn write_setting(path: &str, value: &str) -> Result<(), NotRun> {
    Ok(fs::write(path, value).map_err(|err| format!("cannot write {path}: {err}"))?)
}

/// A key of the user's.
fn key() -> Result<(), NotRun> {
    let (kind, name, value) = (c"user", c"kvet-leak", c"left");
    // SAFETY: the strings end with NUL, and the value is as long as is said.
    let key = unsafe {
        libc::syscall(libc::SYS_add_key, kind.as_ptr(), name.as_ptr(), value.as_ptr(), 4, USER_KEYRING)
    };
    if key < 0 { Err(last_error("add a key")) } else { Ok(()) }
}

fn clean_key() {
    const CLEAR: i32 = 7;
    // SAFETY: plain numbers. Nothing else of ours is in that keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, CLEAR, USER_KEYRING) };
}

fn last_error(what: &str) -> NotRun {
    NotRun::Failed(format!("cannot {what}: {}", io::Error::last_os_error()))
}

fn pin(fd: i32, path: &str) -> Result<(), NotRun> {
    let path = CString::new(path).map_err(|err| err.to_string())?;
    // SAFETY: the path ends with NUL.
    if unsafe { sys::bpf_obj_pin(fd, path.as_ptr()) } < 0 { Err(last_error("pin an object")) } else { Ok(()) }
}

/// A map, and a link to a program that does nothing.
fn pinned() -> Result<(), NotRun> {
    // SAFETY: an array of one number, without a name and options.
    let map =
        unsafe { sys::bpf_map_create(sys::BPF_MAP_TYPE_ARRAY, std::ptr::null(), 4, 4, 1, std::ptr::null()) };
    if map < 0 {
        return Err(last_error("make a map"));
    }
    pin(map, PINNED_MAP)?;
    // r0 = 0; exit.
    let insns = [
        sys::bpf_insn { code: 0xb7, ..Default::default() },
        sys::bpf_insn { code: 0x95, ..Default::default() },
    ];
    // SAFETY: the strings end with NUL, and the instructions are as many as is said.
    let link = unsafe {
        let program = sys::bpf_prog_load(
            sys::BPF_PROG_TYPE_RAW_TRACEPOINT,
            std::ptr::null(),
            c"GPL".as_ptr(),
            insns.as_ptr(),
            insns.len() as sys::size_t,
            std::ptr::null_mut(),
        );
        sys::bpf_raw_tracepoint_open(c"sched_process_exit".as_ptr(), program)
    };
    if link < 0 {
        return Err(last_error("attach a program"));
    }
    pin(link, PINNED_LINK)
}

fn namespace() -> Result<(), NotRun> {
    let failed = |what: &str, err: &dyn std::fmt::Display| format!("cannot {what} {NAMESPACE}: {err}");
    File::create(NAMESPACE).map_err(|err| failed("make", &err))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|err| failed("make a namespace for", &err))?;
    mount(Some("/proc/self/ns/net"), NAMESPACE, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|err| failed("mount", &err))?;
    Ok(())
}

fn mounted() -> Result<(), NotRun> {
    fs::create_dir(MOUNTED).map_err(|err| format!("cannot make {MOUNTED}: {err}"))?;
    mount(None::<&str>, MOUNTED, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .map_err(|err| format!("cannot mount {MOUNTED}: {err}"))?;
    Ok(())
}

fn loop_device() -> Result<(), NotRun> {
    let failed = |err| format!("cannot write {FILE}: {err}");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(FILE).map_err(failed)?;
    file.set_len(4096).map_err(failed)?;
    trigger::loop_device(&file).map(drop)
}

fn clean_loop_devices() {
    for number in 0..8 {
        let name = format!("/dev/loop{number}");
        if Path::new(&format!("/sys/block/loop{number}/loop")).exists()
            && let Ok(device) = File::open(&name)
        {
            trigger::release_loop_device(&device);
        }
    }
    let _ = fs::remove_file(FILE);
}

/// One that outlives its parent.
fn process() -> Result<(), NotRun> {
    // SAFETY: a test's process has one thread.
    match unsafe { fork() }.map_err(|err| format!("cannot make a process: {err}"))? {
        ForkResult::Parent { .. } => Ok(()),
        ForkResult::Child => {
            // It has the pipe for the verdict, whose end is waited for.
            // SAFETY: nothing of this process is used any more.
            unsafe { libc::close_range(3, u32::MAX, 0) };
            loop {
                pause();
            }
        }
    }
}
