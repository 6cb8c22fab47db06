// SPDX-License-Identifier: GPL-2.0-only
//! What a test leaves behind. What outlives its process at once is looked for after each test; programs, maps,
//! links and keys, which the kernel frees some time later, when the group is through.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use libbpf_sys as sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use crate::isolate::lock;

/// So long the kernel may take to free what nobody uses any more; it takes some 50 ms.
const GRACE: Duration = Duration::from_secs(5);

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Where tests could leave something, and how deep to look.
const PLACES: &[(&str, usize)] =
    &[("/sys/fs/bpf", 3), (CONTROL_GROUPS, 3), ("/sys/class/net", 1), ("/run/netns", 1), ("/tmp", 1)];

/// Settings of the whole machine, below /proc/sys, that a test may have changed: those that the harness writes (mostly in
/// namespaces of their own, from which it must not escape; a test compares them with the sources), and those that decide
/// how BPF programs are loaded, compiled and counted, whoever changes them. There are some 900 others, which
/// nothing here has a way to: to read them all would take longer than most tests.
const SETTINGS: &[&str] = &[
    "kernel/bpf_stats_enabled",
    "kernel/perf_event_paranoid",
    "kernel/unprivileged_bpf_disabled",
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/bpf_jit_kallsyms",
    "net/core/bpf_jit_limit",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/accept_dad",
    "net/ipv6/conf/default/router_solicitations",
];

/// Files that tests give attributes, or that have those which they give some; the tests' own go with their attributes.
const ATTRIBUTED: &[&CStr] = &[c"/sys/fs/cgroup", c"/tmp", c"/"];

/// The names of everything that tests could have left.
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// What there is now.
    pub fn now() -> Self {
        let mut names = BTreeSet::new();
        for (place, depth) in PLACES {
            collect(Path::new(place), *depth, &mut names);
        }
        names.extend(mounts());
        names.extend(loops());
        names.extend(settings());
        names.extend(ATTRIBUTED.iter().flat_map(|path| attributes(path)));
        Self(names)
    }

    /// What has come since then: a line for each. Processes that were left are ended.
    pub fn left(&self) -> Vec<String> {
        let mut left = self.left_in_place();
        left.extend(orphans().into_iter().map(|pid| format!("left behind: process {pid}")));
        left
    }

    /// The same without processes.
    fn left_in_place(&self) -> Vec<String> {
        Self::now().0.difference(&self.0).map(|name| format!("left behind: {name}")).collect()
    }
}

fn collect(folder: &Path, depth: usize, names: &mut BTreeSet<String>) {
    let is_group = folder.starts_with(CONTROL_GROUPS);
    // A folder has two links, and one more of each folder in it. To read all the knobs would take longer than all the rest.
    if is_group && fs::metadata(folder).is_ok_and(|it| it.nlink() == 2) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
        // The kernel's own knobs come and go with what they belong to.
        if is_folder || !is_group {
            names.insert(entry.path().display().to_string());
        }
        if is_folder && depth > 1 {
            collect(&entry.path(), depth - 1, names);
        }
    }
}

/// Where something is mounted. The kernel tells when that has changed; until then the list is not read again.
fn mounts() -> Vec<String> {
    static LAST: Mutex<Option<(File, Vec<String>)>> = Mutex::new(None);
    let mut last = lock(&LAST);
    let is_same = |file: &File| {
        let mut news = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
        poll(&mut news, PollTimeout::ZERO) == Ok(0)
    };
    if let Some((file, mounts)) = &*last
        && is_same(file)
    {
        return mounts.clone();
    }
    let mut text = String::new();
    let file = File::open("/proc/self/mountinfo").and_then(|mut file| {
        file.read_to_string(&mut text)?;
        Ok(file)
    });
    let places = text.lines().filter_map(|line| line.split(' ').nth(4));
    // The guest's init mounts modules below /kvet when the kernel asks for one.
    let places = places.filter(|it| !it.starts_with("/kvet"));
    let mounts: Vec<String> = places.map(|place| format!("mount {place}")).collect();
    *last = file.ok().map(|file| (file, mounts.clone()));
    mounts
}

/// Loop devices that have a file.
fn loops() -> Vec<String> {
    // In here the way to each is short.
    let Ok(devices) = File::open("/sys/devices/virtual/block") else { return Vec::new() };
    const BOUND: [&CStr; 8] = [
        c"loop0/loop",
        c"loop1/loop",
        c"loop2/loop",
        c"loop3/loop",
        c"loop4/loop",
        c"loop5/loop",
        c"loop6/loop",
        c"loop7/loop",
    ];
    // SAFETY: the folder is open, and the path ends with NUL.
    let is_there =
        |path: &CStr| unsafe { libc::faccessat(devices.as_raw_fd(), path.as_ptr(), libc::F_OK, 0) } == 0;
    let bound = BOUND.iter().enumerate().filter(|(_, path)| is_there(path));
    bound.map(|(number, _)| format!("/dev/loop{number} in use")).collect()
}

/// The settings that this kernel has, with their values. The files stay open: to find them again would take longer.
fn settings() -> impl Iterator<Item = String> {
    static FILES: OnceLock<Vec<(&str, File)>> = OnceLock::new();
    let open = |name: &&'static str| Some((*name, File::open(Path::new("/proc/sys").join(name)).ok()?));
    let files = FILES.get_or_init(|| SETTINGS.iter().filter_map(open).collect());
    files.iter().filter_map(|(name, file)| {
        let mut value = [0; 64];
        let length = file.read_at(&mut value, 0).ok()?;
        Some(format!("/proc/sys/{name} is {}", String::from_utf8_lossy(&value[..length]).trim()))
    })
}

/// As long as the list of a file's attributes, and each value, may be (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const ATTRIBUTE_BYTES: usize = 64 * 1024;
/// Values up to this length are shown, of longer ones a hash.
const SHOWN_BYTES: usize = 32;

/// A file's attributes with their values; none where it has none, or cannot have any.
fn attributes(path: &CStr) -> Vec<String> {
    // SAFETY: the path ends with NUL, and the buffer is as long as is said.
    let names =
        sized(|buffer| unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) });
    let shown = path.to_string_lossy();
    let names = names.split_inclusive(|byte| *byte == 0).filter_map(|it| CStr::from_bytes_with_nul(it).ok());
    names
        .map(|name| {
            // SAFETY: path and name end with NUL, and the buffer is as long as is said.
            let value = sized(|buffer| unsafe {
                libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
            });
            format!("attribute {} of {shown} is {}", name.to_string_lossy(), value_in_words(&value))
        })
        .collect()
}

/// What a call writes that says first, to an empty buffer, how much that will be; nothing where it fails.
fn sized(call: impl Fn(&mut [u8]) -> isize) -> Vec<u8> {
    let length = usize::try_from(call(&mut [])).unwrap_or(0).min(ATTRIBUTE_BYTES);
    let mut bytes = vec![0; length];
    if length > 0 {
        let written = call(&mut bytes);
        bytes.truncate(usize::try_from(written).unwrap_or(0));
    }
    bytes
}

/// Enough of a value to tell it from others.
fn value_in_words(value: &[u8]) -> String {
    if value.len() <= SHOWN_BYTES {
        return format!("\"{}\"", value.escape_ascii());
    }
    // With the same keys each time.
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    format!("{} bytes with hash {:016x}", value.len(), hasher.finish())
}

/// Ends what has become our child because its parent, a test, has ended without waiting for it.
fn orphans() -> Vec<Pid> {
    let mut orphans = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            // It had ended by itself.
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {}
            Ok(WaitStatus::StillAlive) => {
                let alive = children();
                if alive.is_empty() {
                    return orphans;
                }
                for pid in &alive {
                    let _ = kill(*pid, Signal::SIGKILL);
                    let _ = waitpid(*pid, None);
                }
                orphans.extend(alive);
            }
            _ => return orphans,
        }
    }
}

/// Our children, alive or not waited for. The list that the kernel keeps of them is there only with CONFIG_PROC_CHILDREN.
fn children() -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    numbers.filter(|pid| parent(*pid) == Some(getpid())).collect()
}

/// The parent of a process; proc_pid_stat(5). The name before it may have any byte in it.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit(|byte| *byte == b')').next()?;
    let parent = std::str::from_utf8(after_name).ok()?.split_whitespace().nth(1)?;
    parent.parse().ok().map(Pid::from_raw)
}

/// A kind of BPF object, and the call that gives the number of the next one.
struct Kind {
    name: &'static str,
    next: unsafe extern "C" fn(u32, *mut u32) -> i32,
}

const KINDS: &[Kind] = &[
    Kind { name: "program", next: sys::bpf_prog_get_next_id },
    Kind { name: "map", next: sys::bpf_map_get_next_id },
    Kind { name: "link", next: sys::bpf_link_get_next_id },
];

/// Where the kernel shows its keys, and how those are called that it makes for itself and for users.
const KEYS: &str = "/proc/keys";
const OWN_KEYS: [&str; 2] = [".", "_uid"];

/// Something that the kernel frees some time after its last user has gone: a BPF object, or a key.
type Object = (&'static str, u32);

/// The BPF objects and keys of the machine: those that were there, and those that tests made.
pub struct Objects {
    known: BTreeSet<Object>,
    made: Vec<(Object, String, String)>,
}

impl Objects {
    /// What there is now is nobody's fault.
    pub fn now() -> Self {
        Self { known: all().into_keys().collect(), made: Vec::new() }
    }

    /// What is there for the first time was made by this test.
    pub fn note(&mut self, test: &str) {
        for (object, name) in all() {
            if self.known.insert(object) {
                self.made.push((object, name, test.to_owned()));
            }
        }
    }

    /// What is still there when the kernel has had time to free it: a line for each.
    pub fn left(&mut self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        while !self.made.is_empty() {
            let there = all();
            self.made.retain(|(object, ..)| there.contains_key(object));
            if Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.made.iter().map(|(_, name, test)| format!("{test} left behind: {name}")).collect()
    }
}

/// All objects with their names.
fn all() -> BTreeMap<Object, String> {
    let mut objects = BTreeMap::new();
    for Kind { name, next } in KINDS {
        let mut id = 0;
        // SAFETY: the call reads one number and writes another.
        while unsafe { next(id, &raw mut id) } == 0 {
            objects.insert((*name, id), format!("BPF {name} {id}"));
        }
    }
    let keys = fs::read_to_string(KEYS).unwrap_or_default();
    objects.extend(keys.lines().filter_map(key).map(|(id, name)| (("key", id), name)));
    objects
}

/// A key by its line, if tests could have made it: number, flags, uses, time, rights, user, group, type, and what it is
/// called.
fn key(line: &str) -> Option<(u32, String)> {
    let mut fields = line.split_whitespace();
    let id = u32::from_str_radix(fields.next()?, 16).ok()?;
    let kind = fields.nth(6)?;
    let name = fields.next()?.trim_end_matches(':');
    let is_own = OWN_KEYS.iter().any(|own| name.starts_with(own));
    (!is_own).then(|| (id, format!("key {id} ({kind} {name})")))
}

/// What the search costs each test, in words.
#[cfg(feature = "selftests")]
pub fn cost() -> String {
    let traces = best(|| drop(Traces::now()));
    let objects = best(|| drop(all()));
    let state = best(|| {
        drop(settings().chain(ATTRIBUTED.iter().flat_map(|path| attributes(path))).collect::<Vec<_>>());
    });
    let keys = best(|| drop(fs::read(KEYS)));
    format!(
        "a search takes {} us: {traces} for traces, of these {state} for settings and attributes; {objects} for objects, of these \
         {keys} for keys",
        traces + objects
    )
}

/// Microseconds, the best of some: others use the machine as well.
#[cfg(feature = "selftests")]
fn best(mut work: impl FnMut()) -> u128 {
    let time = |_| {
        let begin = Instant::now();
        work();
        begin.elapsed().as_micros()
    };
    (0..50).map(time).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_kernels_own_are_no_leaks() {
        let ours = "319a7de7 I--Q---     2 perm 3f010000     0     0 user      kvet-leak: 4";
        assert_eq!(key(ours), Some((0x319a_7de7, "key 832208359 (user kvet-leak)".into())));
        let process = "00cad4b3 I------     1 perm 3f030000     0     0 keyring   _pid: 1";
        assert!(key(process).is_some_and(|it| it.1.ends_with("(keyring _pid)")));
        for own in [
            "00cad4b3 I------     1 perm 1f0f0000     0     0 keyring   .secondary_trusted_keys: 2",
            "36cbc42d I--Q---     2 perm 1f3f0000     0 65534 keyring   _uid.0: empty",
            "",
        ] {
            assert_eq!(key(own), None, "{own}");
        }
    }

    #[test]
    fn a_child_of_ours_is_found_and_a_process_of_others_is_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let found = children();
        child.kill().and_then(|()| child.wait()).unwrap();
        assert!(found.contains(&pid), "{pid} in {found:?}");
        assert!(!found.contains(&getpid()) && !found.contains(&Pid::from_raw(1)), "{found:?}");
        assert_eq!(parent(getpid()), Some(nix::unistd::getppid()));
        assert_eq!(parent(pid), None, "it has gone");
    }

    #[test]
    fn a_value_is_told_from_others_however_long_it_is() {
        assert_eq!(value_in_words(b"left\n\xff"), r#""left\n\xff""#);
        assert_ne!(value_in_words(b"left"), value_in_words(b"Left"));
        let long = vec![7; ATTRIBUTE_BYTES];
        let mut other = long.clone();
        other[ATTRIBUTE_BYTES - 1] = 8;
        let words = value_in_words(&long);
        assert!(words.starts_with("65536 bytes with hash ") && words.len() < 64, "{words}");
        assert_ne!(words, value_in_words(&other));
        assert_eq!(words, value_in_words(&long));
    }

    #[test]
    fn what_a_call_says_about_its_length_is_not_believed_beyond_the_limit() {
        let huge = |buffer: &mut [u8]| if buffer.is_empty() { isize::MAX } else { buffer.len() as isize };
        assert_eq!(sized(huge).len(), ATTRIBUTE_BYTES);
        assert!(sized(|_| -1).is_empty());
        // It has become longer since, and does not fit.
        assert!(sized(|buffer| if buffer.is_empty() { 4 } else { -1 }).is_empty());
        assert_eq!(sized(|buffer| if buffer.is_empty() { 4 } else { 2 }).len(), 2);
    }

    #[test]
    fn every_setting_that_the_harness_writes_is_looked_at() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("sources").map(|it| it.expect("an entry").path()) {
                if entry.is_dir() {
                    folders.push(entry);
                    continue;
                }
                let text = fs::read_to_string(&entry).expect("a source");
                // This way of writing it keeps this file from finding itself.
                for name in text.split(concat!("\"/proc", "/sys/")).skip(1) {
                    let name = name.split('"').next().unwrap_or_default();
                    let is_only_read = name == "kernel/ostype" || name.contains('{');
                    let is_ours = entry.ends_with("leak_selftest.rs") || SETTINGS.contains(&name);
                    assert!(is_only_read || is_ours, "{}: {name}", entry.display());
                    if SETTINGS.contains(&name) {
                        found.insert(name.to_owned());
                    }
                }
            }
        }
        let written = ["kernel/bpf_stats_enabled", "kernel/unprivileged_bpf_disabled"];
        let written: Vec<&str> =
            SETTINGS.iter().copied().filter(|it| it.starts_with("net/ipv") || written.contains(it)).collect();
        assert!(found.iter().eq(written.iter()), "{found:?}");
    }

    #[test]
    fn finds_what_a_test_left_in_a_folder() {
        let folder = std::env::temp_dir().join(format!("kvet-leak-{}", std::process::id()));
        let before = Traces::now();
        fs::create_dir(&folder).expect("a folder");
        // Processes are those of other tests.
        let left = before.left_in_place();
        fs::remove_dir(&folder).expect("it is there");
        if std::env::temp_dir() == Path::new("/tmp") {
            let name = format!("left behind: {}", folder.display());
            assert!(left.contains(&name), "{left:?}");
        }
        assert!(!before.left_in_place().iter().any(|line| line.contains("kvet-leak")));
    }
}
