//! A job's own root: a tree of the host, read-only, under an overlay in memory.
//!
//! Init itself stays in its initramfs. The job gets a mount namespace of its own, in which the tree is moved over the
//! initramfs: so it is no chroot(2), in which user namespaces and pivot_root(2) would fail. The kernel's helper
//! (`/sbin/modprobe`) is init's, whatever the tree has there.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kvet_wire::{JobRoot, Share, paths};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, chroot};

use crate::shares;

/// What the job sees as init has it, with everything that is mounted below.
const AS_IT_IS: [&str; 5] = ["/proc", "/sys", "/dev", "/tmp", "/run"];

/// The major number of misc devices (Documentation/admin-guide/devices.txt).
const MISC_MAJOR: u64 = 10;

/// Devices whose modules the kernel loads when somebody opens them (kmod-static-nodes(8)): path, minor of the misc devices.
const LOADED_ON_OPEN: [(&str, u64); 3] =
    [("/dev/loop-control", 237), ("/dev/net/tun", 200), ("/dev/fuse", 229)];

/// What could not be done, and why.
type Failed = (String, String);

/// The tag of the tree that the guest's root is made of.
static BUILT: Mutex<Option<String>> = Mutex::new(None);

/// Makes the root, unless it is made.
pub fn build(root: &JobRoot) -> Result<(), Failed> {
    let stage = || "make the job's root".to_owned();
    let mut built = BUILT.lock().map_err(|e| (stage(), e.to_string()))?;
    match built.as_deref() {
        Some(tag) if tag == root.tag => return Ok(()),
        Some(tag) => return Err((stage(), format!("it is made of {tag}, and the job wants {}", root.tag))),
        None => {}
    }
    let tree = Share { tag: root.tag.clone(), path: paths::ROOT_TREE.into(), readonly: true };
    shares::mount_share(&tree).map_err(|e| (format!("mount {} on {}", tree.tag, tree.path), e))?;
    let modules = Share { tag: paths::MODULES_TAG.into(), path: paths::MODULES.into(), readonly: true };
    if shares::is_offered(&modules.tag) {
        shares::mount_share(&modules)
            .map_err(|e| (format!("mount {} on {}", modules.tag, modules.path), e))?;
    }
    let seen = shares::mounted();
    overlay().map_err(|e| (format!("mount an overlay of {} on {}", paths::ROOT_TREE, paths::ROOT), e))?;
    furnish(&seen)?;
    *built = Some(root.tag.clone());
    Ok(())
}

/// The tree below, memory above.
fn overlay() -> Result<(), String> {
    let in_layers = |name: &str| format!("{}/{name}", paths::ROOT_LAYERS);
    let text = |e: io::Error| e.to_string();
    fs::create_dir_all(paths::ROOT).map_err(text)?;
    fs::create_dir_all(paths::ROOT_LAYERS).map_err(text)?;
    let (none, layers) = (MsFlags::empty(), paths::ROOT_LAYERS);
    mount(Some("tmpfs"), layers, Some("tmpfs"), none, Some("mode=0755"))
        .map_err(|e| format!("tmpfs: {e}"))?;
    shares::remember(layers);
    for name in ["upper", "work"] {
        fs::create_dir(in_layers(name)).map_err(text)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        paths::ROOT_TREE,
        in_layers("upper"),
        in_layers("work")
    );
    mount(Some("overlay"), paths::ROOT, Some("overlay"), none, Some(options.as_str()))
        .map_err(|e| format!("{e} ({options})"))?;
    shares::remember(paths::ROOT);
    Ok(())
}

/// Puts into the root what is not of the tree. `shares` are the mount points of shares, as init sees them.
fn furnish(shares: &[String]) -> Result<(), Failed> {
    for (path, minor) in LOADED_ON_OPEN {
        node(path, minor).map_err(|e| (format!("make {path}"), e))?;
    }
    for path in AS_IT_IS {
        bind(path, &inside(path)).map_err(|e| (format!("show {path} to the job"), e))?;
    }
    let shown = shares.iter().filter(|path| *path != paths::ROOT_TREE);
    for path in shown {
        bind(path, &inside(path)).map_err(|e| (format!("show {path} to the job"), e))?;
    }
    if Path::new(paths::MODULES).join("kernel").exists() {
        let to = modules_folder().map_err(|e| ("find a place for the kernel's modules".into(), e))?;
        bind(paths::MODULES, &to)
            .map_err(|e| (format!("show the kernel's modules in {}", to.display()), e))?;
    }
    if Path::new(paths::TREE_INDEX).exists() {
        let folder = Path::new(paths::TREE_INDEX).parent().unwrap_or(Path::new("/")).display().to_string();
        bind(&folder, &inside(&folder)).map_err(|e| (format!("show {folder} to the job"), e))?;
    }
    config().map_err(|e| ("put the kernel's config into the job's root".into(), e))?;
    modprobe().map_err(|e| ("put kvet's modprobe into the job's root".into(), e))
}

fn node(path: &str, minor: u64) -> Result<(), String> {
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    match mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(MISC_MAJOR, minor)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

fn inside(path: &str) -> PathBuf {
    Path::new(paths::ROOT).join(path.trim_start_matches('/'))
}

fn folder(path: &Path) -> Result<(), String> {
    // A link would lead out of the root, as init sees it.
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("{} is no folder in the tree", path.display())),
        Err(_) => fs::create_dir_all(path).map_err(|e| format!("make {}: {e}", path.display())),
    }
}

fn bind(from: &str, to: &Path) -> Result<(), String> {
    folder(to)?;
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|e| e.to_string())
}

/// A config of the tree's own, of the host's kernel of the same release, is not this kernel's.
fn config() -> Result<(), String> {
    let uname = nix::sys::utsname::uname().map_err(|e| format!("uname: {e}"))?;
    let from = PathBuf::from(format!("{}{}", paths::CONFIG, uname.release().display()));
    if !from.exists() {
        return Ok(());
    }
    place_config(&from, &inside(&from.display().to_string()))
}

/// Copies a config to where it is looked for. A host's /boot may be a link to wherever its loader wants it: in the job's root, of
/// which nobody boots, a folder takes its place.
fn place_config(from: &Path, to: &Path) -> Result<(), String> {
    let boot = to.parent().unwrap_or(to);
    if fs::symlink_metadata(boot).is_ok_and(|found| !found.is_dir()) {
        make_way(boot)?;
    }
    folder(boot)?;
    make_way(to)?;
    fs::copy(from, to).map(drop).map_err(|e| format!("{}: {e}", to.display()))
}

/// What is there goes: to write through a link would lead out of the root, as init sees it.
fn make_way(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(format!("{}: {e}", path.display())),
        _ => Ok(()),
    }
}

/// `/usr/lib/modules/<release>`, where the tree has merged `/lib` into `/usr`.
fn modules_folder() -> Result<PathBuf, String> {
    let uname = nix::sys::utsname::uname().map_err(|e| format!("uname: {e}"))?;
    let merged = fs::symlink_metadata(inside("/lib")).is_ok_and(|found| found.is_symlink());
    let folder = inside(if merged { "/usr/lib/modules" } else { "/lib/modules" });
    Ok(folder.join(uname.release()))
}

/// The tree's own, where it has one, finds no modules.dep and so no modules. Ours knows the kernel's modules.
fn modprobe() -> Result<(), String> {
    let folder = ["/usr/sbin", "/sbin"].map(inside).into_iter().find(|path| path.is_dir());
    let path = folder.unwrap_or_else(|| inside("/usr/sbin")).join("modprobe");
    let text = |e: io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(text)?;
    make_way(&path)?;
    fs::write(&path, "").map_err(text)?;
    mount(Some("/init"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(|e| e.to_string())
}

/// In the child, before its program starts: makes the root its own. Only async-signal-safe calls.
pub fn enter(cwd: &CStr) -> io::Result<()> {
    // SAFETY: a system call on this process alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
        return Err(io::Error::last_os_error());
    }
    chdir(paths::ROOT)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir(cwd)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_goes_into_the_root_wherever_its_boot_leads() {
        let dir = std::env::temp_dir().join(format!("kvet-init-{}", std::process::id()));
        let at = |name: &str| dir.join(name);
        fs::create_dir_all(at("outside")).unwrap();
        fs::write(at("config"), "CONFIG_A=y\n").unwrap();
        for (root, target) in
            [("dangling", "/nowhere/boot"), ("out", "../outside"), ("folder", ""), ("none", "")]
        {
            fs::create_dir(at(root)).unwrap();
            let boot = at(root).join("boot");
            match root {
                "folder" => fs::create_dir(&boot).unwrap(),
                "none" => {}
                _ => std::os::unix::fs::symlink(target, &boot).unwrap(),
            }
            place_config(&at("config"), &boot.join("config-7.2")).unwrap();
            assert!(fs::symlink_metadata(&boot).unwrap().is_dir(), "{root}");
            assert_eq!(fs::read_to_string(boot.join("config-7.2")).unwrap(), "CONFIG_A=y\n");
        }
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0, "nothing was written through a link");
        fs::remove_dir_all(dir).unwrap();
    }
}
