// SPDX-License-Identifier: GPL-2.0-only
//! What a test leaves behind. What outlives its process at once is looked for after each test; programs, maps and
//! links, which the kernel frees a grace period later, when the group is through.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use libbpf_sys as sys;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// So long the kernel may take to free what nobody uses any more; it takes some 50 ms.
const GRACE: Duration = Duration::from_secs(5);

/// Where tests could leave something, and how deep to look.
const PLACES: &[(&str, usize)] =
    &[("/sys/fs/bpf", 3), ("/sys/fs/cgroup", 3), ("/sys/class/net", 1), ("/run/netns", 1), ("/tmp", 1)];

/// The names of everything that tests could have left.
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// What there is now.
    pub fn now() -> Self {
        let mut names = BTreeSet::new();
        for (place, depth) in PLACES {
            collect(Path::new(place), *depth, &mut names);
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // The guest's init mounts modules below /kvet when the kernel asks for one.
        let places =
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|it| !it.starts_with("/kvet"));
        names.extend(places.map(|place| format!("mount {place}")));
        let bound = |number: &u32| Path::new(&format!("/sys/block/loop{number}/loop")).exists();
        names.extend((0..8).filter(bound).map(|number| format!("/dev/loop{number} in use")));
        Self(names)
    }

    /// What has come since then: a line for each. Processes that were left are ended.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            Self::now().0.difference(&self.0).map(|name| format!("left behind: {name}")).collect();
        left.extend(orphans().into_iter().map(|pid| format!("left behind: process {pid}")));
        left
    }
}

fn collect(folder: &Path, depth: usize, names: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
        // The kernel's own knobs come and go with what they belong to.
        if is_folder || !folder.starts_with("/sys/fs/cgroup") {
            names.insert(entry.path().display().to_string());
        }
        if is_folder && depth > 1 {
            collect(&entry.path(), depth - 1, names);
        }
    }
}

/// Ends what has become our child because its parent, a test, has ended without waiting for it.
fn orphans() -> Vec<Pid> {
    let mut orphans = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            // It had ended by itself.
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {}
            Ok(WaitStatus::StillAlive) => {
                let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
                let alive: Vec<Pid> =
                    children.split_whitespace().filter_map(|it| it.parse().ok()).map(Pid::from_raw).collect();
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

/// The BPF objects of the machine: those that were there, and those that tests made.
pub struct Objects {
    known: BTreeSet<(usize, u32)>,
    made: Vec<(usize, u32, String)>,
}

impl Objects {
    /// What there is now is nobody's fault.
    pub fn now() -> Self {
        Self { known: all(), made: Vec::new() }
    }

    /// What is there for the first time was made by this test.
    pub fn note(&mut self, test: &str) {
        for object in all() {
            if self.known.insert(object) {
                self.made.push((object.0, object.1, test.to_owned()));
            }
        }
    }

    /// What is still there when the kernel has had time to free it: a line for each.
    pub fn left(&mut self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        while !self.made.is_empty() {
            let there = all();
            self.made.retain(|(kind, id, _)| there.contains(&(*kind, *id)));
            if Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let line = |(kind, id, test): &(usize, u32, String)| {
            format!("{test} left behind: BPF {} {id}", KINDS[*kind].name)
        };
        self.made.iter().map(line).collect()
    }
}

fn all() -> BTreeSet<(usize, u32)> {
    let mut objects = BTreeSet::new();
    for (kind, Kind { next, .. }) in KINDS.iter().enumerate() {
        let mut id = 0;
        // SAFETY: the call reads one number and writes another.
        while unsafe { next(id, &raw mut id) } == 0 {
            objects.insert((kind, id));
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_test_left_in_a_folder() {
        let folder = std::env::temp_dir().join(format!("kvet-leak-{}", std::process::id()));
        let before = Traces::now();
        fs::create_dir(&folder).expect("a folder");
        let left = before.left();
        fs::remove_dir(&folder).expect("it is there");
        if std::env::temp_dir() == Path::new("/tmp") {
            let name = format!("left behind: {}", folder.display());
            assert!(left.contains(&name), "{left:?}");
        }
        assert!(!before.left().iter().any(|line| line.contains("kvet-leak")));
    }
}
