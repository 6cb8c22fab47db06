//! A cpio archive of the kind the kernel unpacks (`newc`, Documentation/driver-api/early-userspace/buffer-format),
//! the same bytes for the same contents: no times, no owners, inode numbers by position.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Component, Path};

use cpio::newc::Builder;

use crate::error::{Error, IoContext, Result};

/// The largest archive, in bytes: all of it is unpacked into the guest's memory, of which there may be 1 GiB.
const MAX_BYTES: u64 = 512 << 20;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_000;

/// An archive that is being written. Names are relative, without a leading slash.
pub(super) struct Archive<'a, W> {
    out: W,
    /// Where it is written to, for messages.
    path: &'a Path,
    /// What is in it, and whether it is a folder.
    names: BTreeMap<String, bool>,
    bytes: u64,
}

impl<'a, W: Write> Archive<'a, W> {
    pub fn new(out: W, path: &'a Path) -> Self {
        Self { out, path, names: BTreeMap::new(), bytes: 0 }
    }

    pub fn directory(&mut self, name: &str, permissions: u32) -> Result<()> {
        self.add(name, DIRECTORY | permissions, (0, 0), &[])
    }

    pub fn file(&mut self, name: &str, permissions: u32, bytes: &[u8]) -> Result<()> {
        self.add(name, FILE | permissions, (0, 0), bytes)
    }

    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.add(name, LINK, (0, 0), target.as_bytes())
    }

    /// A character device with these permissions and numbers.
    pub fn device(&mut self, name: &str, permissions: u32, major: u32, minor: u32) -> Result<()> {
        self.add(name, DEVICE | permissions, (major, minor), &[])
    }

    /// Makes the folders of a path that the caller chose, and returns its name in the archive.
    pub fn make_room_for<'p>(&mut self, guest: &'p str) -> Result<&'p str> {
        let bad =
            |why: &str| Error::caller(format!("cannot put a file at '{guest}' in the initramfs: {why}"));
        let name = guest.strip_prefix('/').ok_or_else(|| bad("the path is not absolute"))?;
        let plain = |part: Component| matches!(part, Component::Normal(_));
        // Comparing with what the path is made of also finds doubled and trailing slashes.
        let parts: Vec<_> = Path::new(name).components().collect();
        let rebuilt = parts.iter().collect::<std::path::PathBuf>();
        if !parts.iter().all(|&part| plain(part)) || rebuilt.as_os_str() != name || name.is_empty() {
            return Err(bad("write it without '.', '..' and empty parts"));
        }
        if name.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(bad("it has control characters"));
        }
        for (at, _) in name.match_indices('/') {
            match self.names.get(&name[..at]) {
                Some(true) => {}
                Some(false) => return Err(bad(&format!("/{} is no folder", &name[..at]))),
                None => self.directory(&name[..at], 0o755)?,
            }
        }
        Ok(name)
    }

    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), bytes: &[u8]) -> Result<()> {
        if self.names.insert(name.to_owned(), mode & 0o170_000 == DIRECTORY).is_some() {
            return Err(Error::caller(format!("/{name} would be in the initramfs twice")));
        }
        self.bytes += bytes.len() as u64;
        // Below the limit, every size fits the format's 32 bits.
        let size = u32::try_from(bytes.len()).ok().filter(|_| self.bytes <= MAX_BYTES).ok_or_else(|| {
            let limit = MAX_BYTES >> 20;
            Error::caller(format!("the initramfs would be larger than {limit} MiB at /{name}"))
        })?;
        let builder = Builder::new(name)
            .ino(u32::try_from(self.names.len()).unwrap_or(u32::MAX))
            .mode(mode)
            .rdev_major(device.0)
            .rdev_minor(device.1);
        let path = self.path;
        let mut entry = builder.write(&mut self.out, size);
        entry
            .write_all(bytes)
            .and_then(|()| entry.finish().map(drop))
            .host(format!("write {}", path.display()))
    }

    /// Writes the end of the archive.
    pub fn finish(mut self) -> Result<()> {
        cpio::newc::trailer(&mut self.out)
            .and_then(std::io::Write::flush)
            .host(format!("write {}", self.path.display()))
    }
}
