// SPDX-License-Identifier: GPL-2.0-only
//! Files on a small file system in a loop device: one that fs-verity protects, and one whose contents are not in memory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore, MapFlags};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

use super::{NotRun, attach};
use crate::suite::Programs;
use dynptr_spec::Test;

/// An empty ext4, as runs of what is not zero; `data/README.md` says how it was made.
const IMAGE: &[u8] = include_bytes!("../../data/ext4.runs");
const IMAGE_BYTES: u64 = 512 << 10;

const LOOP_CONTROL: &str = "/dev/loop-control";
const LOOP_SET_FD: libc::Ioctl = 0x4c00;
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
/// `_IOW('f', 133, struct fsverity_enable_arg)`, which has 128 bytes.
const ENABLE_VERITY: libc::Ioctl = 0x4080_6685;
/// `_IOWR('f', 134, struct fsverity_digest)`: two numbers of 16 bits, then the digest.
const MEASURE_VERITY: libc::Ioctl = 0xc004_6686_u32 as libc::Ioctl;
/// SHA-256, whose digest has 32 bytes.
const SHA256: u32 = 1;
const DIGEST_BYTES: usize = 32;

/// The map whose value 1 tells the program the digest.
const MAP: &str = "values";
const VALUE_BYTES: usize = 256;

/// Makes the file, tells the program its digest, attaches the program, and opens the file.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let system = FileSystem::mount()?;
    let path = system.folder.join("protected");
    let failed =
        |what: &str, err: &dyn std::fmt::Display| format!("{}: cannot {what}: {err}", path.display());
    fs::write(&path, [0x5a; 5000]).map_err(|err| failed("write", &err))?;
    let digest = protect(&path)?;
    let mut value = digest.to_vec();
    value.resize(VALUE_BYTES, 0);
    programs
        .map(MAP)?
        .update(&1u32.to_ne_bytes(), &value, MapFlags::ANY)
        .map_err(|err| failed("tell the program its digest", &err))?;
    let link = attach(test, programs)?;
    drop(File::open(&path));
    drop(link);
    Ok(())
}

/// Makes the file, has its contents leave memory, attaches the program, and asks for something about the file.
pub fn cold(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let system = FileSystem::mount()?;
    let path = system.folder.join("cold");
    let failed =
        |what: &str, err: &dyn std::fmt::Display| format!("{}: cannot {what}: {err}", path.display());
    fs::write(&path, super::file::contents()).map_err(|err| failed("write", &err))?;
    let file = File::open(&path).map_err(|err| failed("open", &err))?;
    file.sync_all().map_err(|err| failed("sync", &err))?;
    // SAFETY: the call takes numbers.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    if result != 0 {
        return Err(failed("forget", &io::Error::from_raw_os_error(result)).into());
    }
    let link = attach(test, programs)?;
    super::file::ask(&file);
    drop(link);
    Ok(())
}

/// Protects the file, and returns what the kernel says its digest is: algorithm, length, and the digest.
fn protect(path: &Path) -> Result<[u8; 4 + DIGEST_BYTES], NotRun> {
    let file = File::open(path).map_err(|err| format!("cannot open {}: {err}", path.display()))?;
    let mut argument = [0u32; 32];
    argument[..3].copy_from_slice(&[1, SHA256, 4096]);
    // SAFETY: the argument has the size that the call reads.
    if unsafe { libc::ioctl(file.as_raw_fd(), ENABLE_VERITY, argument.as_ptr()) } < 0 {
        let what = format!("cannot protect {}", path.display());
        return Err(NotRun::of(&io::Error::last_os_error(), &[libc::EOPNOTSUPP], &what));
    }
    let mut digest = [0u8; 4 + DIGEST_BYTES];
    digest[2..4].copy_from_slice(&(DIGEST_BYTES as u16).to_ne_bytes());
    // SAFETY: the buffer has room for as long a digest as it says.
    if unsafe { libc::ioctl(file.as_raw_fd(), MEASURE_VERITY, digest.as_mut_ptr()) } < 0 {
        return Err(format!("cannot ask for the digest: {}", io::Error::last_os_error()).into());
    }
    Ok(digest)
}

/// A file system in a loop device, in a mount namespace of its own. It is taken apart with this.
struct FileSystem {
    folder: PathBuf,
    image: PathBuf,
    device: File,
}

impl FileSystem {
    fn mount() -> Result<Self, NotRun> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|err| format!("cannot make a mount namespace: {err}"))?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(|err| format!("cannot keep mounts to ourselves: {err}"))?;
        let name = format!("kvet-verity-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let image = folder.with_extension("ext4");
        let backing = image_file(&image).map_err(|err| format!("cannot write {}: {err}", image.display()))?;
        let device = loop_device(&backing).inspect_err(|_| drop(fs::remove_file(&image)))?;
        let this = Self { folder, image, device: device.1 };
        fs::create_dir(&this.folder)
            .map_err(|err| format!("cannot make {}: {err}", this.folder.display()))?;
        match mount(Some(device.0.as_str()), &this.folder, Some("ext4"), MsFlags::empty(), None::<&str>) {
            Ok(()) => Ok(this),
            Err(err) => Err(NotRun::of(&err.into(), &[libc::ENODEV], "cannot mount an ext4")),
        }
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // What could not be taken apart is seen by the search for what tests leave behind.
        let _ = umount(&self.folder);
        let _ = fs::remove_dir(&self.folder);
        release_loop_device(&self.device);
        let _ = fs::remove_file(&self.image);
    }
}

/// Takes its file out of a loop device.
pub fn release_loop_device(device: &File) {
    // SAFETY: the call takes nothing.
    unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0) };
}

/// The image as a file.
fn image_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::FileExt;

    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.set_len(IMAGE_BYTES)?;
    let mut rest = IMAGE;
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let Some((bytes, after)) = tail.split_at_checked(word(4) as usize) else { break };
        file.write_all_at(bytes, u64::from(word(0)))?;
        rest = after;
    }
    Ok(file)
}

/// Puts the file into a loop device; its name, and the device.
pub fn loop_device(backing: &File) -> Result<(String, File), NotRun> {
    // Without the module there is no such device (ENODEV where only its node is there); anything else is no reason to skip.
    let what = format!("cannot open {LOOP_CONTROL}");
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(LOOP_CONTROL)
        .map_err(|err| NotRun::of(&err, &[libc::ENOENT, libc::ENODEV, libc::ENXIO], &what))?;
    // SAFETY: the call takes nothing.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    if number < 0 {
        return Err(format!("cannot have a loop device: {}", io::Error::last_os_error()).into());
    }
    let name = format!("/dev/loop{number}");
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(&name)
        .map_err(|err| format!("cannot open {name}: {err}"))?;
    // SAFETY: the call takes a descriptor.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD, backing.as_raw_fd()) } < 0 {
        return Err(format!("cannot set {name} up: {}", io::Error::last_os_error()).into());
    }
    Ok((name, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_an_ext4() {
        let path = std::env::temp_dir().join(format!("kvet-image-{}", std::process::id()));
        drop(image_file(&path).expect("a file"));
        let bytes = fs::read(&path).expect("the file");
        fs::remove_file(&path).expect("it is there");
        assert_eq!(bytes.len() as u64, IMAGE_BYTES);
        // The magic number of the superblock.
        assert_eq!(bytes[1024 + 56..1024 + 58], [0x53, 0xef]);
    }
}
