//! How much memory guests may have: what the machine has, or what the control group that kvet is in allows.
//!
//! A container or a systemd unit with a limit sees all of the machine's memory in /proc/meminfo; a QEMU that goes past
//! the limit is killed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};

/// Memory, and what bounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// MiB.
    pub mib: u64,
    /// What sets the bound, for messages: `this machine`, or the file of the control group.
    pub bound: String,
}

/// All that one guest could have: memory and swap of the machine, or the limit of a control group.
///
/// # Errors
/// The host's: /proc/meminfo cannot be read.
pub fn total() -> Result<Memory> {
    let all = meminfo("MemTotal")? + meminfo("SwapTotal")?;
    Ok(smaller(
        all,
        "this machine, swap included",
        groups(Path::new("/")).into_iter().map(|group| (group.limit, group.file)),
    ))
}

/// What is free for guests now.
///
/// # Errors
/// As [`total`].
pub fn available() -> Result<Memory> {
    let free = meminfo("MemAvailable")?;
    let groups = groups(Path::new("/")).into_iter();
    Ok(smaller(
        free,
        "this machine",
        groups.map(|group| (group.limit.saturating_sub(group.used), group.file)),
    ))
}

fn smaller(mib: u64, bound: &str, groups: impl Iterator<Item = (u64, PathBuf)>) -> Memory {
    let machine = Memory { mib, bound: bound.to_owned() };
    let groups = groups.map(|(bytes, file)| Memory { mib: bytes >> 20, bound: file.display().to_string() });
    groups.chain([machine]).min_by_key(|memory| memory.mib).unwrap_or(Memory { mib, bound: bound.to_owned() })
}

/// A control group with a limit, bytes.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    limit: u64,
    used: u64,
    file: PathBuf,
}

/// The limits of the control group of this process and of all above it (Documentation/admin-guide/cgroup-v2.rst and
/// cgroup-v1/memory.rst). Groups that cannot be read set none.
fn groups(root: &Path) -> Vec<Group> {
    let listed = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in listed.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (top, limits, usage): (_, &[&str], _) = if number == "0" && controllers.is_empty() {
            (root.join("sys/fs/cgroup"), &["memory.max", "memory.high"], "memory.current")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("sys/fs/cgroup/memory"), &["memory.limit_in_bytes"], "memory.usage_in_bytes")
        } else {
            continue;
        };
        let own = top.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&top)) {
            let used = number_in(&folder.join(usage)).unwrap_or(0);
            for name in limits {
                let file = folder.join(name);
                // "max" is no limit, and version 1 has a number that no machine reaches.
                found.extend(number_in(&file).map(|limit| Group { limit, used, file }));
            }
        }
    }
    found
}

fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A line of /proc/meminfo, MiB (proc_meminfo(5)).
fn meminfo(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").host("read /proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib / 1024).ok_or_else(|| Error::host(format!("/proc/meminfo has no {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn bound(root: &tempfile::TempDir) -> (u64, String) {
        let groups = groups(root.path()).into_iter();
        let memory =
            smaller(4096, "this machine", groups.map(|group| (group.limit - group.used, group.file)));
        (memory.mib, memory.bound.replace(&root.path().display().to_string(), ""))
    }

    #[test]
    fn a_group_above_may_set_the_limit() {
        let root = root(&[
            ("proc/self/cgroup", "0::/ci/job\n"),
            ("sys/fs/cgroup/ci/memory.max", "471859200\n"),
            ("sys/fs/cgroup/ci/memory.current", "52428800\n"),
            ("sys/fs/cgroup/ci/job/memory.max", "max\n"),
            ("sys/fs/cgroup/ci/job/memory.high", "1073741824\n"),
        ]);
        assert_eq!(bound(&root), (400, "/sys/fs/cgroup/ci/memory.max".into()));
    }

    #[test]
    fn version_one_counts_as_well() {
        let root = root(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n3:memory:/docker/1\n0::/\n"),
            ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(bound(&root), (100, "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes".into()));
    }

    #[test]
    fn without_a_limit_the_machine_bounds() {
        let root =
            root(&[("proc/self/cgroup", "0::/a\nnonsense\n"), ("sys/fs/cgroup/a/memory.max", "max\n")]);
        assert_eq!(bound(&root), (4096, "this machine".into()));
        assert!(total().unwrap().mib > 0 && available().unwrap().mib <= total().unwrap().mib);
    }
}
