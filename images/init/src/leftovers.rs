//! Processes that a program leaves behind with its output in their hands: a filter that is still at work
//! (`exec > >(tee log)`), or a daemon that never closed what it inherited.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::unistd::Pid;

/// Descriptors that are looked at in one search, however many a guest has.
const MAX_LOOKS: usize = 20_000;

/// A process that holds an output open.
pub struct Holder {
    /// What the kernel calls it: at most 15 bytes.
    pub name: String,
    /// It is in the session that the job began in.
    pub in_session: bool,
}

/// What /proc calls the pipes that are read here; both ends of a pipe have one name.
pub fn pipes(outputs: &[Option<File>; 2]) -> Vec<String> {
    let name = |file: &File| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
    outputs
        .iter()
        .flatten()
        .filter_map(name)
        .filter_map(|name| name.into_os_string().into_string().ok())
        .collect()
}

/// A process other than this one that holds one of the pipes; one of the job's own session before others.
pub fn holder(pipes: &[String], session: Pid) -> Option<Holder> {
    let mut looks = MAX_LOOKS;
    let mut found: Option<Holder> = None;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let process = entry.path();
        let is_other = entry.file_name().to_str().is_some_and(|pid| pid != "1" && pid.parse::<u32>().is_ok());
        if !is_other || !holds(&process, pipes, &mut looks) {
            continue;
        }
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned();
        let in_session = session_of(&process) == Some(session.as_raw());
        if in_session {
            return Some(Holder { name, in_session });
        }
        found.get_or_insert(Holder { name, in_session });
    }
    found
}

fn holds(process: &Path, pipes: &[String], looks: &mut usize) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        *looks = looks.saturating_sub(1);
        *looks > 0
            && fs::read_link(descriptor.path())
                .is_ok_and(|target| pipes.iter().any(|pipe| target.as_os_str() == pipe.as_str()))
    })
}

/// The sixth field of /proc/PID/stat; the second, in parentheses, may hold anything (proc_pid_stat(5)).
fn session_of(process: &Path) -> Option<i32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(3)?.parse().ok()
}
