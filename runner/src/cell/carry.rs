//! A suite that travels in the initramfs: its folder, as it is, for kernels without 9p.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kvet_wire::paths;

use crate::error::{Error, IoContext, Result};
use crate::initramfs::{Content, ExtraFile};

/// Largest suite that travels in an initramfs, in bytes: the guest holds it in memory twice while it unpacks.
const MAX_BYTES: u64 = 64 << 20;
/// Most files, folders and links: each costs the emulated guest time before it says a word.
const MAX_ENTRIES: usize = 20_000;

/// Everything in a suite's folder, for the initramfs: files with their modes, folders with theirs, links as they stand. A hard
/// link becomes a file of its own, as it is for whoever only reads. `results` is kvet's own folder of results: where it is below
/// the suite's it stays behind, because it grows with every run.
///
/// # Errors
/// The caller's: there is something that cannot travel, or too much of it. The host's: it cannot be read.
pub fn folder(share: &Path, results: Option<&Path>) -> Result<Vec<ExtraFile>> {
    let mut found = Found { share, entries: Vec::new(), left: MAX_BYTES };
    let mut folders = vec![share.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).host(format!("read {}", folder.display()))? {
            let path = entry.host(format!("read {}", folder.display()))?.path();
            if results == Some(path.as_path()) {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).host(format!("read {}", path.display()))?;
            found.add(&path, &metadata)?;
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    // The same files make the same archive, whatever order the folder lists them in; a folder comes before what is in it.
    found.entries.sort_by(|a, b| a.guest.cmp(&b.guest));
    Ok(found.entries)
}

struct Found<'a> {
    share: &'a Path,
    entries: Vec<ExtraFile>,
    left: u64,
}

impl Found<'_> {
    fn add(&mut self, path: &Path, metadata: &Metadata) -> Result<()> {
        let inside = path.strip_prefix(self.share).unwrap_or(path);
        let name = inside.to_str().filter(|name| !name.contains(|c: char| c.is_control()));
        let name = name.ok_or_else(|| {
            cannot(path, "its name is not UTF-8, or has control characters").hint("rename it")
        })?;
        if self.entries.len() >= MAX_ENTRIES {
            return Err(self.too_much(&format!("{MAX_ENTRIES} files")));
        }
        let content = self.content(path, metadata)?;
        let guest = format!("{}/{name}", paths::TESTS);
        self.entries.push(ExtraFile { guest, content, mode: metadata.mode() & 0o7777 });
        Ok(())
    }

    fn content(&mut self, path: &Path, metadata: &Metadata) -> Result<Content> {
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Ok(Content::Folder);
        }
        if kind.is_symlink() {
            let target = fs::read_link(path).host(format!("read the link {}", path.display()))?;
            return target
                .into_os_string()
                .into_string()
                .map(Content::Link)
                .map_err(|_| cannot(path, "the target of this link is not UTF-8").hint("rename the target"));
        }
        if kind.is_file() {
            let left = self.left.checked_sub(metadata.len());
            self.left = left.ok_or_else(|| self.too_much(&format!("{} MiB", MAX_BYTES >> 20)))?;
            return Ok(Content::Of(path.to_owned()));
        }
        let what = match kind {
            kind if kind.is_socket() => "a socket",
            kind if kind.is_fifo() => "a FIFO",
            _ => "a device",
        };
        Err(cannot(path, &format!("it is {what}"))
            .hint("remove it, or put the suite into a folder of its own"))
    }

    fn too_much(&self, limit: &str) -> Error {
        let share = self.share.display();
        Error::caller(format!("{share} has more than the {limit} that can travel in the initramfs"))
            .hint("put the suite into a folder of its own, or use a kernel with 9p, which has no such limit")
    }
}

fn cannot(path: &Path, why: &str) -> Error {
    // A name may hold anything.
    Error::caller(format!("{path:?} cannot travel in the initramfs: {why}"))
}

/// One file of the host, at a place of the guest.
pub fn program(guest: String, file: PathBuf) -> ExtraFile {
    ExtraFile { guest, content: Content::Of(file), mode: 0o755 }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::error::Fault;

    fn listed(share: &Path) -> Vec<(String, Content, u32)> {
        let files = folder(share, Some(&share.join("results"))).unwrap();
        let short = |guest: &str| guest.strip_prefix("/kvet/tests/").unwrap().to_owned();
        files.into_iter().map(|file| (short(&file.guest), file.content, file.mode)).collect()
    }

    #[test]
    fn links_and_empty_folders_travel_too() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/empty")).unwrap();
        fs::create_dir_all(at("results/latest")).unwrap();
        fs::set_permissions(at("a/empty"), fs::Permissions::from_mode(0o1750)).unwrap();
        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(at("ü b"), "x").unwrap();
        fs::set_permissions(at("ü b"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::hard_link(at("ü b"), at("twin")).unwrap();
        symlink("../elsewhere", at("out")).unwrap();
        symlink("nowhere", at("a/dangling")).unwrap();
        let link = |target: &str| Content::Link(target.into());
        assert_eq!(
            listed(dir.path()),
            [
                ("a".to_owned(), Content::Folder, 0o755),
                ("a/dangling".to_owned(), link("nowhere"), 0o777),
                ("a/empty".to_owned(), Content::Folder, 0o1750),
                ("out".to_owned(), link("../elsewhere"), 0o777),
                ("twin".to_owned(), Content::Of(at("twin")), 0o4711),
                ("ü b".to_owned(), Content::Of(at("ü b")), 0o4711),
            ]
        );
    }

    fn refused(make: impl FnOnce(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let error = folder(dir.path(), None).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        error.to_string()
    }

    #[test]
    fn what_cannot_travel_is_named() {
        use std::os::unix::ffi::OsStrExt;
        let socket = refused(|dir| drop(UnixListener::bind(dir.join("s")).unwrap()));
        assert!(socket.contains("/s\"") && socket.contains("a socket"), "{socket}");
        let fifo = refused(|dir| nix::unistd::mkfifo(&dir.join("f"), nix::sys::stat::Mode::S_IRWXU).unwrap());
        assert!(fifo.contains("/f\"") && fifo.contains("a FIFO"), "{fifo}");
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        let odd = refused(|dir| fs::write(dir.join(name), "").unwrap());
        assert!(odd.contains(r"\xFF") && odd.contains("not UTF-8"), "{odd}");
        let line = refused(|dir| fs::write(dir.join("a\nb"), "").unwrap());
        assert!(line.contains(r"a\nb") && !line.contains('\n'), "{line}");
        let target = refused(|dir| symlink(name, dir.join("l")).unwrap());
        assert!(target.contains("/l\"") && target.contains("target"), "{target}");
        let large = refused(|dir| {
            fs::File::create(dir.join("big")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        });
        assert!(large.contains("more than the 64 MiB"), "{large}");
    }
}
