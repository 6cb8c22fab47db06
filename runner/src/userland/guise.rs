//! How a tree looks to a guest: everything belongs to root, and links are links.
//!
//! The tree belongs to whoever runs kvet. QEMU's `mapped-file` model (see [`kvet_vm::machine`]) takes owner and mode of
//! `NAME` from `.virtfs_metadata/NAME` beside it, and what is said to be a symbolic link there from a plain file that holds
//! the target. So the host has no link at all: none of a hostile package can lead anything out of the tree.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, IoContext, Result};

/// Where QEMU looks (hw/9pfs/9p-local.c).
const FOLDER: &str = ".virtfs_metadata";
/// The same for the shared folder itself.
const ROOT: &str = ".virtfs_metadata_root";
/// Folders that everybody may write to, and only the owner of a file may remove it from.
const STICKY: [&str; 2] = ["tmp", "var/tmp"];
/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What a file is to the guest. Its mode does not depend on the umask of whoever made the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Folder,
    Sticky,
    Program,
    Plain,
    Link,
}

impl Kind {
    fn of(file: &Metadata, path: &Path) -> Self {
        match file.file_type() {
            kind if kind.is_symlink() => Self::Link,
            kind if kind.is_dir() && STICKY.iter().any(|sticky| path == Path::new(sticky)) => Self::Sticky,
            kind if kind.is_dir() => Self::Folder,
            _ if file.permissions().mode() & 0o100 != 0 => Self::Program,
            _ => Self::Plain,
        }
    }

    /// The note about it; QEMU reads decimal numbers.
    fn note(self) -> String {
        let mode = match self {
            Self::Folder => libc::S_IFDIR | 0o755,
            Self::Sticky => libc::S_IFDIR | 0o1777,
            Self::Program => libc::S_IFREG | 0o755,
            Self::Plain => libc::S_IFREG | 0o644,
            Self::Link => libc::S_IFLNK | 0o777,
        };
        format!("virtfs.uid=0\nvirtfs.gid=0\nvirtfs.mode={mode}\n")
    }
}

/// Writes down for every file below `root` that it is root's, with its mode, and turns links into files.
pub(super) fn dress(root: &Path) -> Result<()> {
    let path = root.join(ROOT);
    let mut written = BTreeMap::new();
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
            let data = entry.metadata().host(reading())?;
            let kind = Kind::of(&data, entry.path().strip_prefix(root).unwrap_or(root));
            if entry.file_name() == ROOT {
                return Err(unlike(io::ErrorKind::AlreadyExists.into(), &entry.path()));
            }
            let note = notes.join(entry.file_name());
            if kind == Kind::Link {
                let path = entry.path();
                let turned = fs::read_link(&path).and_then(|target| {
                    fs::remove_file(&path)?;
                    fs::write(&path, target.as_os_str().as_bytes())
                });
                turned.host(format_args!("write down the link {}", path.display()))?;
            }
            write(kind, &note, &mut written)?;
            if data.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    write(Kind::Folder, &path, &mut written)
}

/// A package that has such a name means harm: it could give its files any owner and mode.
fn unlike(e: io::Error, path: &Path) -> Error {
    if e.kind() == io::ErrorKind::AlreadyExists {
        return Error::host(format!("a package is refused: it has a file {}", path.display()));
    }
    Error::host(format!("cannot make {}", path.display())).because(e)
}

/// Thousands of files with the same few bytes: each is one more name of the last one, as far as the file system allows.
fn write(kind: Kind, path: &Path, written: &mut BTreeMap<Kind, PathBuf>) -> Result<()> {
    if written.get(&kind).is_some_and(|last| fs::hard_link(last, path).is_ok()) {
        return Ok(());
    }
    fs::write(path, kind.note()).host(format_args!("write {}", path.display()))?;
    written.insert(kind, path.to_owned());
    Ok(())
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
    if note != Kind::Link.note() {
        return None;
    }
    fs::read(folder.join(name)).ok().map(|target| PathBuf::from(OsStr::from_bytes(&target)))
}
