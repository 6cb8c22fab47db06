//! Files that are there whole or not at all, and what is no plain file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kvet_base::error::{IoContext, Result};

/// Links that are followed one after the other, as Linux does (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Writes a file so that it is there whole or not at all, replacing one of that name. A link stays one: the file that it leads to
/// is written. What is no plain file, such as a FIFO, a device or a descriptor (`/dev/stdout`, `>(cat)` of a shell), is
/// written through.
///
/// # Errors
/// The host's: disk full, folder gone. Nothing is left behind then, and a plain file is what it was.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let action = format!("write {}", path.display());
    match target(path).host(&action)? {
        Target::Descriptor(number) => write_descriptor(number, bytes),
        Target::Special(path) => {
            File::options().write(true).open(path).and_then(|mut to| to.write_all(bytes))
        }
        Target::Plain(path) => replace(&path, bytes),
    }
    .host(&action)
}

/// When a file was changed last; the epoch where that cannot be told.
pub fn modified(path: &Path) -> SystemTime {
    path.metadata().and_then(|m| m.modified()).unwrap_or(UNIX_EPOCH)
}

/// Seconds since the epoch; 0 before it.
pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a path leads to.
enum Target {
    /// A plain file, or nothing yet.
    Plain(PathBuf),
    /// A FIFO, a device or a socket.
    Special(PathBuf),
    /// A descriptor of this process, by a path in /proc.
    Descriptor(i32),
}

fn target(path: &Path) -> io::Result<Target> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Some(number) = descriptor(&path) {
            return Ok(Target::Descriptor(number));
        }
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => path = folder(&path).join(fs::read_link(&path)?),
            Ok(found) if found.is_file() || found.is_dir() => return Ok(Target::Plain(path)),
            Ok(_) => return Ok(Target::Special(path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Target::Plain(path)),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// The number of one of our own descriptors. Its links lead to what was opened, but a file that is opened again by them
/// would be written from its beginning, whatever was written before.
fn descriptor(path: &Path) -> Option<i32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let folder = folder(path).canonicalize().ok()?;
    (folder == Path::new("/proc").join(std::process::id().to_string()).join("fd")).then_some(number)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn write_descriptor(number: i32, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the descriptor is only borrowed to be duplicated, and fcntl(2) says so if it is not open.
    let ours = unsafe { BorrowedFd::borrow_raw(number) };
    File::from(ours.try_clone_to_owned()?).write_all(bytes)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path).map_or(0o644, |found| found.permissions().mode() & 0o777);
    let mut file = tempfile::Builder::new()
        .prefix(".kvet-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder(path))
        // Its own words name the scratch file, which nobody asked for.
        .map_err(|e| e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error))?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_stays_and_leads_to_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/real"), "old").unwrap();
        fs::set_permissions(at("sub/real"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("sub/middle", at("link")).unwrap();
        symlink("real", at("sub/middle")).unwrap();
        symlink(at("sub/new"), at("dangling")).unwrap();
        for (link, real) in [("link", "sub/real"), ("dangling", "sub/new")] {
            write_atomic(&at(link), b"x").unwrap();
            assert!(at(link).is_symlink() && !at(real).is_symlink());
            assert_eq!(fs::read_to_string(at(real)).unwrap(), "x");
        }
        assert_eq!(fs::metadata(at("sub/real")).unwrap().permissions().mode() & 0o777, 0o600);
        symlink("round", at("round")).unwrap();
        assert!(write_atomic(&at("round"), b"x").unwrap_err().to_string().contains("symbolic links"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "no scratch file is left");
    }

    #[test]
    fn what_is_no_plain_file_is_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let from = fifo.clone();
        let reader = std::thread::spawn(move || fs::read_to_string(from).unwrap());
        write_atomic(&fifo, b"x").unwrap();
        assert_eq!(reader.join().unwrap(), "x");
        use std::os::unix::fs::FileTypeExt;
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
        write_atomic(Path::new("/dev/null"), b"x").unwrap();
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        let error = write_atomic(Path::new("/dev/full"), b"x").unwrap_err();
        assert!(error.to_string().starts_with("cannot write /dev/full: No space left"), "{error}");
    }

    #[test]
    fn a_descriptor_goes_on_where_it_is() {
        use std::os::fd::AsRawFd;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before ").unwrap();
        write_atomic(&PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd())), b"x").unwrap();
        let (mut again, mut text) = (file.try_clone().unwrap(), String::new());
        io::Seek::rewind(&mut again).unwrap();
        again.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before x");
        let error = write_atomic(Path::new("/proc/self/fd/987"), b"x").unwrap_err();
        assert!(error.to_string().contains("Bad file descriptor"), "{error}");
    }
}
