//! What is mounted before the first job.

use std::fs;
use std::io::ErrorKind;

use kvet_wire::paths;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// One line of the mount table.
struct Mount {
    kind: &'static str,
    target: &'static str,
    data: &'static str,
    /// Init cannot do its work without it.
    vital: bool,
}

const fn vital(kind: &'static str, target: &'static str, data: &'static str) -> Mount {
    Mount { kind, target, data, vital: true }
}

const fn useful(kind: &'static str, target: &'static str, data: &'static str) -> Mount {
    Mount { kind, target, data, vital: false }
}

/// In order: later ones are mounted inside earlier ones.
const TABLE: &[Mount] = &[
    vital("proc", "/proc", ""),
    vital("sysfs", "/sys", ""),
    vital("devtmpfs", "/dev", "mode=0755"),
    useful("devpts", "/dev/pts", "mode=0620,ptmxmode=0666"),
    useful("tmpfs", "/dev/shm", "mode=1777"),
    useful("tmpfs", "/tmp", "mode=1777"),
    useful("tmpfs", "/run", "mode=0755"),
    useful("bpf", "/sys/fs/bpf", "mode=0700"),
    useful("tracefs", "/sys/kernel/tracing", ""),
    useful("debugfs", "/sys/kernel/debug", ""),
    useful("securityfs", "/sys/kernel/security", ""),
    useful("cgroup2", "/sys/fs/cgroup", ""),
];

/// Folders that programs expect.
const FOLDERS: &[&str] = &["/root", "/run/netns", "/run/lock", "/var", "/etc", paths::TESTS, paths::RESULTS];

/// Mounts the table. Returns the mounts that did not work and that init can live without.
pub fn mount_all() -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for entry in TABLE {
        if let Err(why) = mount_one(entry) {
            let line = format!("mount {} on {}: {why}", entry.kind, entry.target);
            if entry.vital {
                return Err(line);
            }
            problems.push(line);
        }
    }
    for folder in FOLDERS {
        if let Err(e) = fs::create_dir_all(folder) {
            problems.push(format!("create {folder}: {e}"));
        }
    }
    for (target, link) in [("/run", "/var/run"), ("/proc/self/fd", "/dev/fd"), ("/proc/mounts", "/etc/mtab")]
    {
        match std::os::unix::fs::symlink(target, link) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => problems.push(format!("link {link}: {e}")),
            _ => {}
        }
    }
    Ok(problems)
}

fn mount_one(entry: &Mount) -> Result<(), String> {
    // Below /sys the kernel makes the mount points; where one is missing, so is the feature.
    if !entry.target.starts_with("/sys/") {
        fs::create_dir_all(entry.target).map_err(|e| format!("create the folder: {e}"))?;
    }
    match mount(Some(entry.kind), entry.target, Some(entry.kind), MsFlags::empty(), Some(entry.data)) {
        // CONFIG_DEVTMPFS_MOUNT does not cover an initramfs, but a kernel may have mounted it all the same.
        Err(Errno::EBUSY) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.to_string()),
    }
}
