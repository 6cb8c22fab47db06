// SPDX-License-Identifier: GPL-2.0-only
//! A file with contents and extended attributes, for programs at hooks of the security modules.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{NotRun, attach};
use crate::suite::Programs;
use dynptr_spec::Test;

/// Length of the file: more than two pages, and no whole number of them. Each byte is its own offset.
const FILE_BYTES: usize = 10_000;
/// What one test's file has more, behind a hole: where it begins, and each byte less its offset there.
const FAR: u64 = 1 << 32;
const FAR_BYTES: u8 = 16;
const FAR_FIRST: u8 = 0xa0;
/// Its attributes; `bpf/file.bpf.c` knows them.
const ATTRIBUTES: &[(&str, &str)] = &[("user.kvet", "value of kvet"), ("security.bpf.kvet", "sealed")];
/// One that it gets while the program is attached.
const OTHER_ATTRIBUTE: (&str, &str) = ("user.other", "value");
/// The size of the file system's blocks, `_IO(0, 2)`: an ioctl that every file takes.
const FIGETBSZ: libc::Ioctl = 2;
/// Where control groups are, whose root gets an attribute, too.
pub const CGROUP: &str = "/sys/fs/cgroup";
const CGROUP_ATTRIBUTE: (&str, &str) = ("user.kvet", "group of kvet");

/// Attaches the program, opens the file, asks for something about it, reads one of its attributes, and sets
/// another.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let attributed = Attributed::new()?;
    if test.name == "file_beyond_4g" {
        lengthen(&attributed.path).map_err(|err| format!("cannot make a file of 4 GiB: {err}"))?;
    }
    let _link = attach(test, programs)?;
    // Programs may refuse any of it; whether they should have is for them to say.
    if let Ok(file) = File::open(&attributed.path) {
        ask(&file);
    }
    let _ = get_attribute(&attributed.path, ATTRIBUTES[0].0);
    let _ = set_attribute(&attributed.path, OTHER_ATTRIBUTE.0, OTHER_ATTRIBUTE.1);
    Ok(())
}

/// Writes behind a hole: it takes no memory.
fn lengthen(path: &Path) -> io::Result<()> {
    let bytes: Vec<u8> = (0..FAR_BYTES).map(|offset| FAR_FIRST + offset).collect();
    File::options().write(true).open(path)?.write_all_at(&bytes, FAR)
}

/// Asks for something about a file.
pub fn ask(file: &File) {
    let mut block = 0i32;
    // SAFETY: the call writes a number.
    unsafe { libc::ioctl(file.as_raw_fd(), FIGETBSZ, &raw mut block) };
}

/// What is in the file.
pub fn contents() -> Vec<u8> {
    (0..FILE_BYTES).map(|offset| offset.to_le_bytes()[0]).collect()
}

/// The file; it is removed with this.
struct Attributed {
    path: PathBuf,
    group: bool,
}

impl Attributed {
    fn new() -> Result<Self, NotRun> {
        let path = std::env::temp_dir().join(format!("kvet-dynptr-{}", std::process::id()));
        fs::write(&path, contents()).map_err(|err| format!("cannot write {}: {err}", path.display()))?;
        let mut this = Self { path, group: false };
        for (name, value) in ATTRIBUTES {
            set_attribute(&this.path, name, value)?;
        }
        let group = Path::new(CGROUP);
        if group.join("cgroup.procs").exists() {
            set_attribute(group, CGROUP_ATTRIBUTE.0, CGROUP_ATTRIBUTE.1)?;
            this.group = true;
        }
        Ok(this)
    }
}

impl Drop for Attributed {
    fn drop(&mut self) {
        // What could not be removed is seen by the search for what tests leave behind.
        let _ = fs::remove_file(&self.path);
        if self.group {
            let _ = remove_attribute(Path::new(CGROUP), CGROUP_ATTRIBUTE.0);
        }
    }
}

/// Gives a file an attribute.
///
/// # Errors
/// Where it cannot have it.
pub fn set_attribute(path: &Path, name: &str, value: &str) -> Result<(), NotRun> {
    let (c_path, c_name) = (c_string(path)?, CString::new(name).map_err(|err| err.to_string())?);
    // SAFETY: the strings end with NUL, and the value is as long as is said.
    let result =
        unsafe { libc::setxattr(c_path.as_ptr(), c_name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        err if err.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Err(NotRun::Unsupported(format!("cannot set {name} of {}: {err}", path.display())))
        }
        err => Err(NotRun::Failed(format!("cannot set {name} of {}: {err}", path.display()))),
    }
}

/// Takes an attribute from a file.
///
/// # Errors
/// Where a name cannot be one. Whether it was there does not matter.
pub fn remove_attribute(path: &Path, name: &str) -> Result<(), String> {
    let (path, name) = (c_string(path)?, CString::new(name).map_err(|err| err.to_string())?);
    // SAFETY: both strings end with NUL.
    unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
    Ok(())
}

fn get_attribute(path: &Path, name: &str) -> Result<(), NotRun> {
    let (c_path, c_name) = (c_string(path)?, CString::new(name).map_err(|err| err.to_string())?);
    let mut value = [0u8; 64];
    // SAFETY: the strings end with NUL, and the buffer is as long as is said.
    unsafe { libc::getxattr(c_path.as_ptr(), c_name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    Ok(())
}

fn c_string(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|err| err.to_string())
}
