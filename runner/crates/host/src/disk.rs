//! A full disk, said so that something can be done about it.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;

use kvet_base::error::{Error, Result};

/// Free space for us on the disk that holds `path`, in bytes. None where it cannot be told.
pub fn free(path: &Path) -> Option<u64> {
    let mut path = Some(path);
    while let Some(p) = path {
        if let Ok(stat) = nix::sys::statvfs::statvfs(p) {
            return Some(stat.blocks_available() * stat.fragment_size());
        }
        path = p.parent();
    }
    None
}

/// Turns a failure to write into an error: a full disk is named as such.
pub fn explain(e: io::Error, path: &Path, action: &str) -> Error {
    let errno = e.raw_os_error().map(Errno::from_raw);
    if matches!(errno, Some(Errno::ENOSPC | Errno::EDQUOT)) {
        let left = free(path).map_or(String::new(), |f| format!(" ({} free)", mib(f)));
        return full(format!("cannot {action} {}: no space left on its disk{left}", path.display()));
    }
    Error::host(format!("cannot {action} {}", path.display())).because(e)
}

/// Refuses to begin what would not fit.
pub fn require(path: &Path, needed: u64, what: &str) -> Result<()> {
    match free(path) {
        Some(free) if free < needed => Err(full(format!(
            "not enough space for {what}: it needs {}, {} are free on the disk of {}",
            mib(needed),
            mib(free),
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Bytes of the regular files below a folder. Symbolic links are not followed; what cannot be read counts nothing.
pub fn tree_size(dir: &Path) -> u64 {
    let mut size = 0;
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(t) if t.is_dir() => open.push(entry.path()),
                Ok(t) if t.is_file() => size += entry.metadata().map_or(0, |m| m.len()),
                _ => {}
            }
        }
    }
    size
}

fn full(message: String) -> Error {
    Error::host(message).hint("`kvet kernel prune` makes room; KVET_CACHE moves the cache to another disk")
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_its_path_and_other_trouble_is_not_called_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/yet/there");
        let error = explain(io::Error::from_raw_os_error(28), &path, "write").to_string();
        assert!(
            error.contains("no space left") && error.contains("not/yet/there") && error.contains("MiB free")
        );
        let error = explain(io::Error::from_raw_os_error(13), &path, "write").to_string();
        assert!(error.contains("Permission denied") && !error.contains("space"), "{error}");
        let error = require(&path, u64::MAX, "a kernel").unwrap_err();
        assert!(error.to_string().contains("not enough space for a kernel"), "{error}");
        require(&path, 1, "a kernel").unwrap();
    }
}
