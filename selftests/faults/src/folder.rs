// SPDX-License-Identifier: GPL-2.0-only
//! What can be done in a folder: a line for each, `NAME: works` or `NAME: WHY NOT`.
//!
//! Programs take for granted that files can be mapped, locked and removed while they are open. In a folder that a guest shares with
//! its host not all of it can be done.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

type Tried = io::Result<()>;
/// A name, and what is done in a folder of its own.
type Trial = (&'static str, fn(&Path) -> Tried);

const TRIALS: &[Trial] = &[
    ("append", append),
    ("chmod and chown", modes),
    ("copy_file_range", |dir| copied(dir, copy_range)),
    ("device node", device),
    ("exclusive creation", exclusive),
    ("execution", execution),
    ("fallocate", fallocate),
    ("fcntl lock, other process", |dir| refused_to_other(dir, posix_lock)),
    ("FIFO", fifo),
    ("flock, other process", |dir| refused_to_other(dir, flock)),
    ("fsync of file and folder", sync),
    ("hard link", hard_link),
    ("mmap, private", private_map),
    ("mmap, shared and written", shared_map),
    ("name of 255 bytes", long_name),
    ("O_DIRECT", direct),
    ("O_TMPFILE", unnamed),
    ("rename over a file", rename),
    ("sendfile", |dir| copied(dir, send)),
    ("symbolic link", symbolic_link),
    ("times", times),
    ("truncate and holes", truncate),
    ("unlinked and open: fstat", |dir| unlinked(dir, |file| file.metadata().map(drop))),
    ("unlinked and open: ftruncate", |dir| unlinked(dir, |file| file.set_len(1))),
    ("unlinked and open: read and write", |dir| unlinked(dir, read_and_write)),
    ("Unix socket", socket),
    ("user xattr", attribute),
];

/// Tries all of it below `dir`, or makes and removes a number of files there.
pub fn run(dir: &Path, files: Option<u32>) -> ExitCode {
    if let Some(count) = files {
        return match many(dir, count) {
            Ok((made, listed, removed)) => {
                println!(
                    "{count} files: made in {made:.1?}, listed in {listed:.1?}, removed in {removed:.1?}"
                );
                ExitCode::SUCCESS
            }
            Err(e) => {
                println!("{count} files: {e}");
                ExitCode::FAILURE
            }
        };
    }
    for (number, (name, trial)) in TRIALS.iter().enumerate() {
        let own = dir.join(format!("trial-{number}"));
        match fs::create_dir(&own).and_then(|()| trial(&own)) {
            Ok(()) => println!("{name}: works"),
            Err(e) => println!("{name}: {e}"),
        }
        // What is left of a trial that failed is no part of what is asked.
        let _ = fs::remove_dir_all(&own);
    }
    ExitCode::SUCCESS
}

fn many(dir: &Path, count: u32) -> io::Result<(Duration, Duration, Duration)> {
    let own = dir.join("many");
    fs::create_dir(&own)?;
    let started = Instant::now();
    for number in 0..count {
        fs::write(own.join(number.to_string()), "x")?;
    }
    let made = started.elapsed();
    let seen = fs::read_dir(&own)?.count();
    let listed = started.elapsed();
    fs::remove_dir_all(&own)?;
    ensure(seen == count as usize, &format!("{seen} of them are listed"))?;
    Ok((made, listed - made, started.elapsed() - listed))
}

fn ensure(holds: bool, what: &str) -> Tried {
    if holds { Ok(()) } else { Err(io::Error::other(what.to_owned())) }
}

/// The result of a system call.
fn call(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

fn path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn append(dir: &Path) -> Tried {
    let open = || OpenOptions::new().append(true).create(true).open(dir.join("f"));
    let (mut one, mut two) = (open()?, open()?);
    one.write_all(b"a")?;
    two.write_all(b"b")?;
    one.write_all(b"c")?;
    ensure(fs::read(dir.join("f"))? == b"abc", "writes went over each other")
}

fn modes(dir: &Path) -> Tried {
    let file = dir.join("f");
    fs::write(&file, "x")?;
    fs::set_permissions(&file, Permissions::from_mode(0o4751))?;
    std::os::unix::fs::chown(&file, Some(12), Some(34))?;
    let found = fs::metadata(&file)?;
    ensure((found.uid(), found.gid()) == (12, 34), "the owner was not kept")?;
    // A change of owner takes the set-uid bit.
    fs::set_permissions(&file, Permissions::from_mode(0o4751))?;
    ensure(fs::metadata(&file)?.mode() & 0o7777 == 0o4751, "the mode was not kept")
}

/// A file of 64 KiB, copied by a system call.
fn copied(dir: &Path, copy: fn(&File, &File, usize) -> io::Result<i64>) -> Tried {
    let bytes: Vec<u8> = (0..1 << 16).map(|n: u32| n as u8).collect();
    fs::write(dir.join("from"), &bytes)?;
    let (from, to) = (File::open(dir.join("from"))?, open(&dir.join("to"))?);
    let mut left = bytes.len();
    while left > 0 {
        let done = copy(&from, &to, left)?;
        ensure(done > 0, "it ends early")?;
        left -= done as usize;
    }
    ensure(fs::read(dir.join("to"))? == bytes, "the copy differs")
}

fn copy_range(from: &File, to: &File, left: usize) -> io::Result<i64> {
    let none = std::ptr::null_mut;
    // SAFETY: both descriptors are open, and no offsets are given.
    call(unsafe { libc::copy_file_range(from.as_raw_fd(), none(), to.as_raw_fd(), none(), left, 0) } as i64)
}

fn send(from: &File, to: &File, left: usize) -> io::Result<i64> {
    // SAFETY: both descriptors are open, and no offset is given.
    call(unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), std::ptr::null_mut(), left) } as i64)
}

fn device(dir: &Path) -> Tried {
    let name = path(&dir.join("zero"))?;
    // SAFETY: the path lives across the call.
    call(unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 5)) })?;
    let mut byte = [1];
    File::open(dir.join("zero"))?.read_exact(&mut byte)?;
    ensure(byte == [0], "it is another device")
}

fn exclusive(dir: &Path) -> Tried {
    let create = || OpenOptions::new().write(true).create_new(true).open(dir.join("f"));
    create()?;
    ensure(create().is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists), "it was created twice")
}

fn execution(dir: &Path) -> Tried {
    let copy = dir.join("copy");
    fs::copy("/proc/self/exe", &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    let output = Command::new(&copy).arg("--help").output()?;
    ensure(output.status.success(), "it did not run")
}

fn fallocate(dir: &Path) -> Tried {
    let file = open(&dir.join("f"))?;
    // SAFETY: a call on an open descriptor.
    call(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, 1 << 16) })?;
    ensure(file.metadata()?.len() == 1 << 16, "the file did not grow")
}

fn flock(file: &File) -> io::Result<i64> {
    // SAFETY: a call on an open descriptor.
    call(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
}

fn posix_lock(file: &File) -> io::Result<i64> {
    // SAFETY: all-zero is a valid value of this plain struct: the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: the struct lives across the call.
    call(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) })
}

/// A lock that this process has is refused to another.
fn refused_to_other(dir: &Path, lock: fn(&File) -> io::Result<i64>) -> Tried {
    let file = open(&dir.join("f"))?;
    lock(&file)?;
    // SAFETY: the child makes system calls, and ends without what others have registered for it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = open(&dir.join("f")).is_ok_and(|file| lock(&file).is_err());
        // SAFETY: it does not return.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    call(child)?;
    let mut status = 0;
    // SAFETY: the status lives across the call.
    call(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
    ensure(status == 0, "another process got the lock, too")
}

fn fifo(dir: &Path) -> Tried {
    let name = path(&dir.join("fifo"))?;
    // SAFETY: the path lives across the call.
    call(unsafe { libc::mkfifo(name.as_ptr(), 0o600) })?;
    // Opened for both, it does not wait for the other end.
    let mut file = open(&dir.join("fifo"))?;
    file.write_all(b"x")?;
    let mut byte = [0];
    file.read_exact(&mut byte)
}

fn sync(dir: &Path) -> Tried {
    let mut file = open(&dir.join("f"))?;
    file.write_all(b"x")?;
    file.sync_data()?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

fn hard_link(dir: &Path) -> Tried {
    fs::write(dir.join("f"), "x")?;
    fs::hard_link(dir.join("f"), dir.join("twin"))?;
    ensure(fs::metadata(dir.join("f"))?.nlink() == 2, "the file has one name")
}

/// Maps a page of a file.
fn map(file: &File, protection: i32, how: i32) -> io::Result<*mut u8> {
    // SAFETY: a new mapping of an open descriptor.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, how, file.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

fn private_map(dir: &Path) -> Tried {
    fs::write(dir.join("f"), vec![7; 4096])?;
    let at = map(&File::open(dir.join("f"))?, libc::PROT_READ, libc::MAP_PRIVATE)?;
    // SAFETY: a page is mapped there, and the file is that long.
    ensure(unsafe { *at } == 7, "it shows something else")
}

fn shared_map(dir: &Path) -> Tried {
    fs::write(dir.join("f"), vec![0; 4096])?;
    let file = open(&dir.join("f"))?;
    let at = map(&file, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)?;
    // SAFETY: a page is mapped there for writing, and the file is that long.
    unsafe { *at = 7 };
    // SAFETY: the page is mapped.
    call(unsafe { libc::msync(at.cast(), 4096, libc::MS_SYNC) })?;
    ensure(fs::read(dir.join("f"))?.first() == Some(&7), "others do not see what was written")
}

fn long_name(dir: &Path) -> Tried {
    fs::write(dir.join("n".repeat(255)), "x")
}

fn direct(dir: &Path) -> Tried {
    fs::write(dir.join("f"), vec![7; 4096])?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(dir.join("f"))?;
    let mut room = vec![0u8; 8192];
    let aligned = room.as_ptr().align_offset(4096);
    file.read_exact_at(&mut room[aligned..aligned + 4096], 0)?;
    ensure(room[aligned] == 7, "it reads something else")
}

fn unnamed(dir: &Path) -> Tried {
    let name = path(dir)?;
    // SAFETY: the path lives across the call.
    let fd = call(unsafe { libc::open(name.as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600) })?;
    // SAFETY: the call has just made this descriptor.
    unsafe { File::from_raw_fd(fd as i32) }.write_all(b"x")
}

fn rename(dir: &Path) -> Tried {
    fs::write(dir.join("f"), "old")?;
    fs::write(dir.join("new"), "new")?;
    fs::rename(dir.join("new"), dir.join("f"))?;
    ensure(fs::read(dir.join("f"))? == b"new" && !dir.join("new").exists(), "it is not what was renamed")
}

fn symbolic_link(dir: &Path) -> Tried {
    fs::write(dir.join("f"), "x")?;
    std::os::unix::fs::symlink("f", dir.join("link"))?;
    ensure(fs::read(dir.join("link"))? == b"x", "it leads elsewhere")
}

fn times(dir: &Path) -> Tried {
    let file = open(&dir.join("f"))?;
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1000))?;
    ensure(file.metadata()?.mtime() == 1000, "the time was not kept")
}

fn truncate(dir: &Path) -> Tried {
    let mut file = open(&dir.join("f"))?;
    file.write_all(b"xyz")?;
    file.set_len(1)?;
    file.seek(SeekFrom::Start(1 << 20))?;
    file.write_all(b"z")?;
    let read = fs::read(dir.join("f"))?;
    ensure(read.len() == (1 << 20) + 1 && read[..3] == [b'x', 0, 0], "the hole has something in it")
}

/// Of a file without a name.
fn unlinked(dir: &Path, then: fn(&File) -> Tried) -> Tried {
    let mut file = open(&dir.join("f"))?;
    file.write_all(b"abc")?;
    fs::remove_file(dir.join("f"))?;
    then(&file)
}

fn read_and_write(file: &File) -> Tried {
    file.write_all_at(b"z", 1)?;
    let mut bytes = [0; 3];
    file.read_exact_at(&mut bytes, 0)?;
    ensure(bytes == *b"azc", "it reads something else")
}

fn socket(dir: &Path) -> Tried {
    let listener = UnixListener::bind(dir.join("s"))?;
    UnixStream::connect(dir.join("s"))?;
    listener.accept().map(drop)
}

fn attribute(dir: &Path) -> Tried {
    fs::write(dir.join("f"), "x")?;
    let (file, name, mut value) = (path(&dir.join("f"))?, c"user.kvet", [0u8; 4]);
    // SAFETY: all pointers live across the calls, and the lengths are theirs.
    unsafe {
        call(libc::setxattr(file.as_ptr(), name.as_ptr(), b"x".as_ptr().cast(), 1, 0))?;
        call(libc::getxattr(file.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), 4) as i64)?;
    }
    ensure(value[0] == b'x', "it says something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_works_in_an_ordinary_folder() {
        let dir = std::env::temp_dir().join(format!("kvet-faults-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        // Those that need root, a file system or a program that a test's folder may not have are not tried.
        let plain = |name: &str| {
            let special =
                ["chmod", "device", "execution", "O_DIRECT", "O_TMPFILE", "user xattr", "copy_file"];
            !special.iter().any(|special| name.starts_with(special))
        };
        for (number, (name, trial)) in TRIALS.iter().enumerate().filter(|(_, (name, _))| plain(name)) {
            let own = dir.join(number.to_string());
            fs::create_dir(&own).unwrap();
            trial(&own).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        many(&dir, 10).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
