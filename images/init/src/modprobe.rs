//! `modprobe`, as the kernel calls it: `modprobe -q -- NAME` (kernel/module/kmod.c; the path is what
//! /proc/sys/kernel/modprobe names).
//!
//! Modules come from the tree that the host shares. It is mounted here, at the first request: most tests need none,
//! and a 9p mount costs an emulated guest some milliseconds.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use kvet_wire::{Share, modindex, paths};

use crate::{modules, shares};

/// Loads what the kernel asks for. Exit status 1 where that cannot be had: the kernel goes on without.
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for request in args.filter(|arg| !arg.starts_with('-')) {
        if let Err(why) = serve(&request) {
            // The kernel asks for much that nobody has (`-q`); who wonders reads the log (dmesg).
            let _ = fs::write("/dev/kmsg", format!("<7>kvet-init: modprobe {request}: {why}\n"));
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn serve(request: &str) -> Result<(), String> {
    let root = Path::new(paths::MODULES);
    let share = Share { tag: paths::MODULES_TAG.into(), path: paths::MODULES.into(), readonly: true };
    // The kernel asks for modules before init has mounted anything, and while 9p itself is being loaded: mounting a
    // share would then ask for 9p, and so for this helper, again.
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|line| line.split_whitespace().last() == Some("9p")) {
        return Err("9p is not there yet".into());
    }
    if !root.join("kernel").exists() {
        shares::mount_share(&share).map_err(|e| format!("mount {}: {e}", paths::MODULES))?;
    }
    // A tree that is not kvet's own has its index in the initramfs.
    let beside = root.join(modindex::FILE_NAME);
    let index = [beside.as_path(), Path::new(paths::TREE_INDEX)].into_iter().find(|path| path.exists());
    let index = index.ok_or("there is no module index")?;
    let text = fs::read_to_string(index).map_err(|e| format!("read {}: {e}", index.display()))?;
    modules::load_request(&text, root, request)
}
