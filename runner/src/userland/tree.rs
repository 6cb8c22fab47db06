//! Where the files of packages go, and what is added to them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use globset::GlobSet;

use crate::error::{Error, IoContext, Result};
use crate::kernel::tree::{link_merged, merged};

use super::spec::UserlandSpec;

/// Folders that a guest mounts something on, or that programs expect.
const FOLDERS: [&str; 14] = [
    "dev",
    "etc",
    "home",
    "kvet",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/lib/modules",
    "var/lib",
    "var/tmp",
];

/// Where a file of a package goes, if anywhere.
pub(super) fn place(path: &Path, skipped: &GlobSet) -> Option<PathBuf> {
    let to = merged(path)?;
    if to.ancestors().any(|above| skipped.is_match(above)) {
        return None;
    }
    Some(to)
}

/// Adds folders, links and files. Nothing is written through a link, or over what a package has.
pub(super) fn complete(root: &Path, spec: &UserlandSpec) -> Result<()> {
    for folder in FOLDERS {
        let made = folder_at(root, Path::new(folder))?;
        debug_assert!(made.starts_with(root));
    }
    link_merged(root)?;
    for link in &spec.links {
        let path = new_at(root, &link.path)?;
        // A folder that a package ships for its maintainer script to replace: /var/run.
        let _ = fs::remove_dir(&path);
        symlink(&link.to, &path).map_err(|e| taken(e, &link.path))?;
    }
    for file in &spec.files {
        let path = new_at(root, &file.path)?;
        let written = OpenOptions::new().write(true).create_new(true).open(&path);
        written.and_then(|mut to| to.write_all(file.text.as_bytes())).map_err(|e| taken(e, &file.path))?;
    }
    Ok(())
}

fn taken(e: io::Error, path: &str) -> Error {
    if e.kind() == io::ErrorKind::AlreadyExists {
        return Error::caller(format!("images/userland.yaml: a package has {path} already"));
    }
    Error::host(format!("cannot write {path} into the userland")).because(e)
}

/// Where something new goes; its folder is made.
fn new_at(root: &Path, path: &str) -> Result<PathBuf> {
    let path = Path::new(path);
    let folder = folder_at(root, path.parent().unwrap_or(Path::new("")))?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

/// A folder below the root. Each on the way must be a real one: a link of a package could lead anywhere.
fn folder_at(root: &Path, folder: &Path) -> Result<PathBuf> {
    let mut at = root.to_owned();
    for part in folder.components() {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let folder = folder.display();
                return Err(Error::host(format!(
                    "a package has something else where the folder {folder} must be"
                )));
            }
            Err(_) => fs::create_dir(&at).host(format_args!("make {}", at.display()))?,
        }
    }
    Ok(at)
}
