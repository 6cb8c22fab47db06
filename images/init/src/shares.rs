//! 9p shares: mounted when a job asks for them.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

use kvet_wire::{Share, StandIn};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mount points in the order they were mounted.
static MOUNTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Mounts a share, unless it is mounted.
///
/// Options are those of Documentation/filesystems/9p.rst: `msize` is what one request may carry (QEMU warns
/// below 128 KiB, virtio's ring allows 500 KiB). A read-only share does not change under the guest, so its
/// pages may be cached; a writable one is written through at once, because the guest can die at any time. `cache=mmap` would let
/// programs map files for shared writing, and since 6.4 keeps what a program writes to an open file in the guest: a panic lost it.
pub fn mount_share(share: &Share) -> Result<(), String> {
    let mut mounted = MOUNTED.lock().map_err(|e| e.to_string())?;
    if mounted.contains(&share.path) {
        return Ok(());
    }
    fs::create_dir_all(&share.path).map_err(|e| e.to_string())?;
    let (flags, cache) =
        if share.readonly { (MsFlags::MS_RDONLY, "loose") } else { (MsFlags::empty(), "none") };
    let options = format!("trans=virtio,version=9p2000.L,msize=262144,cache={cache}");
    mount(Some(share.tag.as_str()), share.path.as_str(), Some("9p"), flags, Some(options.as_str()))
        .map_err(|e| format!("{e} (9p, {options})"))?;
    mounted.push(share.path.clone());
    Ok(())
}

/// Mounts a file over a symbolic link, unless one is. Mount(2) would follow the link; move_mount(2), since Linux 5.2, does not.
pub fn put_over_link(stand_in: &StandIn) -> Result<(), String> {
    let found = fs::symlink_metadata(&stand_in.to).map_err(|e| format!("{}: {e}", stand_in.to))?;
    if !found.is_symlink() {
        return Ok(());
    }
    let text = |e: io::Error| e.to_string();
    let path = |text: &str| CString::new(text).map_err(|e| e.to_string());
    let (from, to) = (path(&stand_in.from)?, path(&stand_in.to)?);
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the arguments are those of open_tree(2), and the path lives across the call.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), flags) };
    if tree < 0 {
        return Err(text(io::Error::last_os_error()));
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    let tree = unsafe { OwnedFd::from_raw_fd(tree as i32) };
    let (here, flags) = (c"".as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: the arguments are those of move_mount(2), and both paths live across the call.
    let moved = unsafe {
        libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), here, libc::AT_FDCWD, to.as_ptr(), flags)
    };
    if moved < 0 { Err(text(io::Error::last_os_error())) } else { Ok(()) }
}

/// Whether QEMU offers a share of this tag (Documentation/ABI: the driver's `mount_tag`, which ends with a NUL).
pub fn is_offered(tag: &str) -> bool {
    let devices = fs::read_dir("/sys/bus/virtio/drivers/9pnet_virtio").into_iter().flatten().flatten();
    let mut tags = devices.filter_map(|device| fs::read_to_string(device.path().join("mount_tag")).ok());
    tags.any(|found| found.trim_end_matches(['\0', '\n']) == tag)
}

/// The mount points of the shares that are mounted.
pub fn mounted() -> Vec<String> {
    MOUNTED.lock().map(|mounted| mounted.clone()).unwrap_or_default()
}

/// Takes note of a mount that is to be unmounted before those that came first.
pub fn remember(path: &str) {
    if let Ok(mut mounted) = MOUNTED.lock() {
        mounted.push(path.to_owned());
    }
}

/// Unmounts every share, the newest first. What is busy is detached: everything written is on the host already.
pub fn unmount_all() {
    let Ok(mut mounted) = MOUNTED.lock() else { return };
    while let Some(path) = mounted.pop() {
        let _ = umount2(path.as_str(), MntFlags::MNT_DETACH);
    }
}
