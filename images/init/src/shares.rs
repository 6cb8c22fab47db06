//! 9p shares: mounted when a job asks for them.

use std::fs;
use std::sync::Mutex;

use kvet_wire::Share;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mount points in the order they were mounted.
static MOUNTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Mounts a share, unless it is mounted.
///
/// Options are those of Documentation/filesystems/9p.rst: `msize` is what one request may carry (QEMU warns
/// below 128 KiB, virtio's ring allows 500 KiB). A read-only share does not change under the guest, so its
/// pages may be cached; a writable one is written through at once, because the guest can die at any time.
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
