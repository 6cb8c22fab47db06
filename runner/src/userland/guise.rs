//! How a tree looks to a guest: everything belongs to root, and links are links.
//!
//! The tree belongs to whoever runs kvet. QEMU's `mapped-file` model (see [`crate::vm::machine`]) takes owner and mode of
//! `NAME` from `.virtfs_metadata/NAME` beside it, and what is said to be a symbolic link there from a plain file that holds
//! the target. So the host has no link at all: none of a hostile package can lead anything out of the tree.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, IoContext, Result};

/// Where QEMU looks (hw/9pfs/9p-local.c).
const FOLDER: &str = ".virtfs_metadata";
/// The same for the shared folder itself.
const ROOT: &str = ".virtfs_metadata_root";
/// Files and folders: the mode is the host's.
const OWNED: &str = "virtfs.uid=0\nvirtfs.gid=0\n";
/// Links: S_IFLNK | 0777, in decimal.
const LINK: &str = "virtfs.uid=0\nvirtfs.gid=0\nvirtfs.mode=41471\n";
/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Writes down for every file below `root` that it is root's, and turns links into files.
pub(super) fn dress(root: &Path) -> Result<()> {
    let path = root.join(ROOT);
    let mut owned = Note { text: OWNED, last: None };
    let mut link = Note { text: LINK, last: None };
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("read {}", folder.display());
        let entries =
            fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).host(reading())?;
        if entries.is_empty() {
            continue;
        }
        let notes = folder.join(FOLDER);
        fs::create_dir(&notes).map_err(|e| unlike(e, &notes))?;
        for entry in entries {
            let kind = entry.file_type().host(reading())?;
            if entry.file_name() == ROOT {
                return Err(unlike(io::ErrorKind::AlreadyExists.into(), &entry.path()));
            }
            let note = notes.join(entry.file_name());
            if kind.is_symlink() {
                let path = entry.path();
                let turned = fs::read_link(&path).and_then(|target| {
                    fs::remove_file(&path)?;
                    fs::write(&path, target.as_os_str().as_bytes())
                });
                turned.host(format_args!("write down the link {}", path.display()))?;
                link.write(&note)?;
            } else {
                owned.write(&note)?;
                if kind.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
    }
    owned.write(&path)
}

/// A package that has such a name means harm: it could give its files any owner and mode.
fn unlike(e: io::Error, path: &Path) -> Error {
    if e.kind() == io::ErrorKind::AlreadyExists {
        return Error::host(format!("a package is refused: it has a file {}", path.display()));
    }
    Error::host(format!("cannot make {}", path.display())).because(e)
}

/// Thousands of files of the same few bytes: each is one more name of one file, as far as the file system allows.
struct Note {
    text: &'static str,
    last: Option<PathBuf>,
}

impl Note {
    fn write(&mut self, path: &Path) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| fs::hard_link(last, path).is_ok()) {
            return Ok(());
        }
        fs::write(path, self.text).host(format_args!("write {}", path.display()))?;
        self.last = Some(path.to_owned());
        Ok(())
    }
}

/// Whether a guest finds something at an absolute path.
pub(super) fn has(root: &Path, path: &Path) -> bool {
    let names = |path: &Path| -> Vec<OsString> {
        let named =
            path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        named.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut open: VecDeque<OsString> = names(path).into();
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(name) = open.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        match link_at(&root.join(&at), &name) {
            Some(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return false;
                }
                if target.is_absolute() {
                    at.clear();
                }
                for name in names(&target).into_iter().rev() {
                    open.push_front(name);
                }
            }
            None => at.push(name),
        }
    }
    // Nothing of it is a link: there are none.
    fs::symlink_metadata(root.join(&at)).is_ok()
}

/// Where a file that is a link to the guest leads.
fn link_at(folder: &Path, name: &OsStr) -> Option<PathBuf> {
    let note = fs::read_to_string(folder.join(FOLDER).join(name)).ok()?;
    if note != LINK {
        return None;
    }
    fs::read(folder.join(name)).ok().map(|target| PathBuf::from(OsStr::from_bytes(&target)))
}
