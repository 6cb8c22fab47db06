//! Unpacking a Debian package (deb(5)): an ar archive that holds a compressed tar.
//!
//! Only a package whose checksum is that of the signed index gets here. Still nothing in it is trusted: paths stay
//! below the target, nothing is written through a link, devices are refused, sizes and counts are bounded.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use tar::EntryType;

use crate::cancel::Cancel;
use crate::error::{Error, Fault, Result};
use crate::parse::clean::one_line;
use kvet_host::disk;

use super::Progress;

/// The unpacked files of the largest kernel package have 300 MB.
const MAX_BYTES: u64 = 4 << 30;
/// The largest has 5,000 files.
const MAX_FILES: u64 = 200_000;
/// dpkg's strongest xz setting needs 65 MiB to unpack.
const MAX_XZ_MEMORY: u64 = 160 << 20;
/// The same bound for zstd: a window of 128 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Regular files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Unpacks into `dest`. `select` is given each path, clean and relative, and says where in `dest` it goes, if
/// anywhere.
///
/// # Errors
/// The host's: no space, or a package that is damaged or holds what must not be unpacked, which is named.
pub(super) fn unpack(
    deb: &Path,
    name: &str,
    dest: &Path,
    select: &dyn Fn(&Path) -> Option<PathBuf>,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Unpacked> {
    let damaged = |why: &str| Error::host(format!("package {name}: {why}"));
    let file = File::open(deb).map_err(|e| disk::explain(e, deb, "open"))?;
    let total = file.metadata().map_err(|e| disk::explain(e, deb, "stat"))?.len();
    let what = format!("unpacking {name}");
    let watched = Watched::file(file, total, what, progress, cancel);
    let unpacked = (|| {
        let mut archive = ar::Archive::new(watched);
        while let Some(member) = archive.next_entry() {
            let member = member.map_err(|e| damaged("is no ar archive").because(e))?;
            let id = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_string();
            if let Some(suffix) = id.strip_prefix("data.tar") {
                let tar = decoder(member, suffix).map_err(|e| damaged("cannot be unpacked").because(e))?;
                let whole = format!("package {name}");
                let mut target = Target::new(dest, &whole, Fault::Host);
                target.all(tar, select)?;
                return Ok(target.done);
            }
        }
        Err(damaged("holds no data.tar: it is no Debian package"))
    })();
    // A cancel surfaces as a failed read somewhere deep down.
    cancel.check()?;
    unpacked
}

/// The uncompressed bytes of something whose name ends so.
pub(super) fn decoder<'a>(member: impl Read + 'a, suffix: &str) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match suffix {
        "" => Box::new(member),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
        ".xz" => Box::new(liblzma::read::XzDecoder::new_stream(
            member,
            liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, liblzma::stream::CONCATENATED)?,
        )),
        ".zst" => {
            let mut decoder = zstd::stream::read::Decoder::new(member)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        other => return Err(io::Error::other(format!("its tar{other} is of an unknown compression"))),
    })
}

/// Where a tar is unpacked, and what it is called in messages.
pub(super) struct Target<'a> {
    dest: &'a Path,
    name: &'a str,
    /// Whose it is when it is not what it should be.
    fault: Fault,
    /// Folders below `dest` that are known to be real ones.
    known: HashSet<PathBuf>,
    done: Unpacked,
}

impl<'a> Target<'a> {
    /// `name` begins a sentence: `package linux-image-…`. `fault` is who gave it.
    pub fn new(dest: &'a Path, name: &'a str, fault: Fault) -> Self {
        Self { dest, name, fault, known: HashSet::new(), done: Unpacked::default() }
    }
}

impl Target<'_> {
    fn refuse(&self, path: &Path, why: &str) -> Error {
        let path = one_line(&path.display().to_string());
        Error::new(self.fault, format!("{} is refused: its file '{path}' {why}", self.name))
    }

    /// What cannot be read as what it should be. The reason may hold bytes of it.
    fn unreadable(&self, what: &str, e: &io::Error) -> Error {
        let fault = if is_of_the_system(e) { Fault::Host } else { self.fault };
        Error::new(fault, format!("{} {what}: {}", self.name, one_line(&e.to_string())))
    }

    fn damaged(&self, e: &io::Error) -> Error {
        self.unreadable("is damaged", e)
    }

    /// Unpacks what `select` wants of an uncompressed tar.
    pub fn all(&mut self, tar: impl Read, select: &dyn Fn(&Path) -> Option<PathBuf>) -> Result<()> {
        let mut archive = tar::Archive::new(tar.take(MAX_BYTES));
        let mut seen = 0;
        for entry in archive.entries().map_err(|e| self.damaged(&e))? {
            let what = if seen == 0 { "is no tar archive" } else { "is damaged" };
            let mut entry = entry.map_err(|e| self.unreadable(what, &e))?;
            seen += 1;
            if seen > MAX_FILES {
                return Err(self.refuse(Path::new("*"), "is one of too many"));
            }
            let raw = entry.path().map_err(|e| self.damaged(&e))?.into_owned();
            let path = clean(&raw).ok_or_else(|| self.refuse(&raw, "leads out of the package"))?;
            if path.as_os_str().is_empty() {
                continue;
            }
            // `git archive` begins with one: the commit, as a comment.
            if entry.header().entry_type() == EntryType::XGlobalHeader {
                continue;
            }
            if let Some(to) = select(&path) {
                self.one(&mut entry, &path, &to, select)?;
            }
        }
        Ok(())
    }

    fn one<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &Path,
        to: &Path,
        select: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            return self.folder(to, path);
        }
        self.folder(to.parent().unwrap_or(Path::new("")), path)?;
        let link = entry.link_name().map_err(|e| self.damaged(&e))?.map(std::borrow::Cow::into_owned);
        match (kind, link) {
            (EntryType::Regular | EntryType::Continuous, _) => self.file(entry, path, to),
            (EntryType::Symlink, Some(link)) => {
                let link =
                    inside(to, &link).ok_or_else(|| self.refuse(path, "is a link out of the package"))?;
                symlink(link, self.dest.join(to)).map_err(|e| self.written(e, path, to))
            }
            (EntryType::Link, Some(link)) => {
                let first = clean(&link).and_then(|link| select(&link));
                let first = first.ok_or_else(|| self.refuse(path, "is a link out of the package"))?;
                self.folder(first.parent().unwrap_or(Path::new("")), path)?;
                let first = self.dest.join(first);
                if !fs::symlink_metadata(&first).is_ok_and(|m| m.is_file()) {
                    return Err(self.refuse(path, "is a hard link to what is no file before it"));
                }
                fs::hard_link(first, self.dest.join(to)).map_err(|e| self.written(e, path, to))
            }
            _ => Err(self.refuse(path, "is neither a file nor a folder nor a link")),
        }
    }

    fn file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &Path, to: &Path) -> Result<()> {
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        // create_new follows no link and replaces nothing: a path that comes twice is an attack or a mistake.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if executable { 0o755 } else { 0o644 })
            .open(self.dest.join(to))
            .map_err(|e| self.written(e, path, to))?;
        self.done.bytes += io::copy(entry, &mut file).map_err(|e| self.written(e, path, to))?;
        self.done.files += 1;
        Ok(())
    }

    /// An I/O error with a number came from writing; one without came from unpacking.
    fn written(&self, e: io::Error, path: &Path, to: &Path) -> Error {
        match e.kind() {
            io::ErrorKind::AlreadyExists => self.refuse(path, "comes twice"),
            _ if e.raw_os_error().is_some() => disk::explain(e, &self.dest.join(to), "write"),
            _ => self.damaged(&e),
        }
    }

    /// Makes a folder and those above it. Each must be a real one: a link among them could lead anywhere.
    fn folder(&mut self, to: &Path, path: &Path) -> Result<()> {
        if self.known.contains(to) {
            return Ok(());
        }
        let mut at = PathBuf::new();
        for part in to.components() {
            at.push(part);
            if self.known.contains(&at) {
                continue;
            }
            let full = self.dest.join(&at);
            match fs::symlink_metadata(&full) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(self.refuse(path, "goes through a link or a file")),
                Err(_) => fs::create_dir(&full).map_err(|e| disk::explain(e, &full, "make"))?,
            }
            self.known.insert(at.clone());
        }
        Ok(())
    }
}

/// Whether it comes from reading the disk, however deep it is wrapped: those have a number.
fn is_of_the_system(e: &io::Error) -> bool {
    let inner = e.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    let mut causes = std::iter::successors(inner, |error| error.source());
    e.raw_os_error().is_some()
        || causes.any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_of_the_system))
}

/// A path of a package without `.`; none when it is absolute or goes up.
fn clean(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// The target of a symbolic link at `at`, made relative, so that it means the same on the host, below the folder
/// of the package, as it does in a guest whose root that folder is. None when it climbs above the root.
fn inside(at: &Path, link: &Path) -> Option<PathBuf> {
    let depth = at.components().count() - 1;
    let mut below = if link.is_absolute() { 0 } else { depth };
    for part in link.components() {
        match part {
            Component::Normal(_) => below += 1,
            Component::ParentDir => below = below.checked_sub(1)?,
            Component::CurDir | Component::RootDir => {}
            Component::Prefix(_) => return None,
        }
    }
    match link.strip_prefix("/") {
        Ok(rest) => Some(std::iter::repeat_n("..", depth).collect::<PathBuf>().join(rest)),
        Err(_) => Some(link.to_path_buf()),
    }
}

/// A reader that tells how far it got and stops when cancelled.
pub(super) struct Watched<'a, R> {
    inner: R,
    done: u64,
    total: u64,
    what: String,
    progress: &'a mut dyn FnMut(Progress),
    cancel: &'a Cancel,
    said: Option<Instant>,
}

impl<'a> Watched<'a, File> {
    /// Watches the reading of a file.
    pub fn file(
        file: File,
        total: u64,
        what: String,
        progress: &'a mut dyn FnMut(Progress),
        cancel: &'a Cancel,
    ) -> Self {
        Self { inner: file, done: 0, total, what, progress, cancel, said: None }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.cancel.requested() {
            return Err(io::Error::other("interrupted"));
        }
        let n = self.inner.read(buf)?;
        self.done += n as u64;
        if self.said.is_none_or(|said| said.elapsed() >= REPORT_EVERY) || self.done == self.total {
            self.said = Some(Instant::now());
            let (done, total) = (self.done, self.total);
            (self.progress)(Progress::Bytes { what: self.what.clone(), done, total });
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::deb;
    use super::*;
    use std::io::Write;

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<Unpacked>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.deb");
        fs::write(&path, bytes).unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let all = |path: &Path| Some(path.to_path_buf());
        let done = unpack(&path, "x", &root, &all, &mut |_| {}, &Cancel::new().unwrap());
        (dir, done)
    }

    #[test]
    fn every_compression_gives_the_same_files() {
        for compression in ["", ".gz", ".xz", ".zst"] {
            let bytes = deb(compression, |tar| {
                tar.dir("./usr/bin/");
                tar.file("./usr/bin/a", b"hello", 0o4755);
                tar.file("./usr/b", b"", 0o600);
                tar.symlink("./usr/bin/sh", "a");
                tar.symlink("./usr/bin/abs", "/usr/b");
                tar.hardlink("./usr/bin/hard", "./usr/bin/a");
            });
            let (dir, done) = unpacked(&bytes);
            assert_eq!(done.unwrap(), Unpacked { files: 2, bytes: 5 }, "{compression}");
            let root = dir.path().join("root");
            assert_eq!(fs::read(root.join("usr/bin/sh")).unwrap(), b"hello");
            assert_eq!(fs::read(root.join("usr/bin/hard")).unwrap(), b"hello");
            assert_eq!(fs::read_link(root.join("usr/bin/abs")).unwrap(), Path::new("../../usr/b"));
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(root.join("usr/bin/a")).unwrap().permissions().mode();
            assert_eq!(mode & 0o6000, 0, "no set-uid bit gets into the cache");
        }
    }

    #[test]
    fn nothing_gets_out_of_the_target() {
        type Make = fn(&mut super::super::testing::Tar);
        let cases: [(&str, Make); 9] = [
            ("leads out", |tar| tar.file("../evil", b"x", 0o644)),
            ("leads out", |tar| tar.file("./usr/../../evil", b"x", 0o644)),
            ("leads out", |tar| tar.file("/evil", b"x", 0o644)),
            ("link out", |tar| tar.symlink("./usr/l", "../../evil")),
            ("link out", |tar| tar.symlink("./usr/l", "/../evil")),
            ("link out", |tar| tar.hardlink("./usr/l", "../evil")),
            ("goes through a link", |tar| {
                tar.file("./b/x", b"x", 0o644);
                tar.symlink("./a", "b");
                tar.file("./a/x", b"x", 0o644);
            }),
            ("comes twice", |tar| {
                tar.symlink("./a", "b");
                tar.file("./a", b"x", 0o644);
            }),
            ("neither a file", |tar| tar.device("./dev")),
        ];
        for (said, make) in cases {
            let (dir, done) = unpacked(&deb(".xz", make));
            let error = done.unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("package x"), "{said}: {error}");
            assert!(!dir.path().join("evil").exists(), "{said}");
        }
    }

    #[test]
    fn a_hard_link_to_a_link_is_refused() {
        let (_dir, done) = unpacked(&deb("", |tar| {
            tar.symlink("./a", "b");
            tar.hardlink("./c", "./a");
        }));
        assert!(done.unwrap_err().to_string().contains("no file before it"));
    }

    #[test]
    fn damaged_and_foreign_files_are_named() {
        let whole = deb(".xz", |tar| tar.file("./a", &[7; 50_000], 0o644));
        let (_dir, done) = unpacked(&whole[..whole.len() - 40]);
        assert!(done.unwrap_err().to_string().contains("package x"));
        let (_dir, done) = unpacked(b"hello");
        assert!(done.is_err());
        let mut empty = ar::Builder::new(Vec::new());
        empty.append(&ar::Header::new(b"debian-binary".to_vec(), 4), &b"2.0\n"[..]).unwrap();
        let (_dir, done) = unpacked(&empty.into_inner().unwrap());
        assert!(done.unwrap_err().to_string().contains("no data.tar"));
        let mut odd = ar::Builder::new(Vec::new());
        odd.append(&ar::Header::new(b"data.tar.lz4".to_vec(), 1), &b"x"[..]).unwrap();
        let (_dir, done) = unpacked(&odd.into_inner().unwrap());
        assert!(done.unwrap_err().to_string().contains("tar.lz4"));
    }

    #[test]
    fn a_cancel_stops_it() {
        let bytes = deb(".xz", |tar| tar.file("./a", b"x", 0o644));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        cancel.request();
        let error =
            unpack(file.path(), "x", dir.path(), &|p| Some(p.into()), &mut |_| {}, &cancel).unwrap_err();
        assert_eq!(error.fault(), crate::error::Fault::Interrupted);
    }
}
