//! A folder with a kernel's source in it: what it is, and in which state.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};

use super::super::Progress;
use super::super::version::KernelVersion;
use super::SourceTree;
use super::git::Git;
use kvet_host::hash::Sha256Hex;

/// Bytes of the top Makefile that are looked at; the version stands in its first lines.
const MAX_MAKEFILE: u64 = 1 << 20;

/// A tree of the caller's. Only read: `git status` would refresh the index, and is told not to.
pub(super) fn open(given: &Path, progress: &mut dyn FnMut(Progress), cancel: &Cancel) -> Result<SourceTree> {
    let path = given.canonicalize().given(format_args!("open the source tree {}", given.display()))?;
    let version = version(&path)?;
    let state = match Git::of_tree(&path, cancel)? {
        Ok(git) => git.state(cancel)?,
        Err(why) => {
            if let Some(why) = why {
                progress(Progress::Note(format!("{}: git is not asked: {why}", path.display())));
            }
            State { identity: fingerprint(&path, cancel)?, describe: None, dirty: false }
        }
    };
    if state.dirty {
        let describe = state.describe.as_deref().unwrap_or("?");
        progress(Progress::Note(format!(
            "{} has changes that are not committed ({describe})",
            path.display()
        )));
    }
    Ok(SourceTree {
        path,
        version,
        describe: state.describe,
        dirty: state.dirty,
        identity: state.identity,
        settled: false,
        lock: None,
    })
}

/// What a tree holds at the moment.
pub(super) struct State {
    pub identity: String,
    pub describe: Option<String>,
    pub dirty: bool,
}

/// The version that the top Makefile states.
///
/// # Errors
/// The caller's: this is no kernel's source.
pub(super) fn version(tree: &Path) -> Result<KernelVersion> {
    let none = |why: &str| Error::caller(format!("{} is no kernel source tree: {why}", tree.display()));
    if !tree.is_dir() {
        return Err(none("it is no folder"));
    }
    for part in ["Kconfig", "arch", "scripts/Makefile.build"] {
        if !tree.join(part).exists() {
            return Err(none(&format!("it has no {part}")));
        }
    }
    let makefile = tree.join("Makefile");
    let size = fs::metadata(&makefile).map_err(|_| none("it has no Makefile"))?.len();
    if size > MAX_MAKEFILE {
        return Err(none("its Makefile is too large"));
    }
    let text = fs::read(&makefile).given(format_args!("read {}", makefile.display()))?;
    version_of(&String::from_utf8_lossy(&text)).ok_or_else(|| none("its Makefile states no version"))
}

fn version_of(makefile: &str) -> Option<KernelVersion> {
    let field = |name: &str| {
        makefile.lines().take(40).find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim_end() == name).then(|| value.trim())
        })
    };
    let (major, minor) = (field("VERSION")?, field("PATCHLEVEL")?);
    let text = format!(
        "{major}.{minor}.{}{}",
        field("SUBLEVEL").unwrap_or("0"),
        field("EXTRAVERSION").unwrap_or("")
    );
    KernelVersion::parse_prefix(&text).map(|(version, _)| version)
}

/// Something that differs when a file of a tree without git does: names, sizes and times of all of them.
fn fingerprint(tree: &Path, cancel: &Cancel) -> Result<String> {
    let mut lines = Vec::new();
    let mut open = vec![tree.to_path_buf()];
    while let Some(dir) = open.pop() {
        cancel.check()?;
        let action = || format!("read {}", dir.display());
        if fs::read(dir.join(".gitignore")).is_ok_and(|text| text == crate::event::RESULTS_IGNORE.as_bytes())
        {
            continue;
        }
        for entry in fs::read_dir(&dir).given(action())? {
            let entry = entry.host(action())?;
            let meta = entry.metadata().host(action())?;
            if meta.is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path();
                let name = name.strip_prefix(tree).unwrap_or(&name).as_os_str().as_encoded_bytes().to_vec();
                lines.push((name, meta.len(), meta.mtime(), meta.mtime_nsec()));
            }
        }
    }
    lines.sort();
    let mut hash = Sha256::new();
    for (name, size, seconds, nanoseconds) in lines {
        hash.update(name);
        hash.update([0]);
        hash.update(size.to_le_bytes());
        hash.update(seconds.to_le_bytes());
        hash.update(nanoseconds.to_le_bytes());
    }
    Ok(format!("files-{}", &Sha256Hex::from_digest(&hash.finalize()).as_str()[..24]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_makefiles() {
        for (text, shown) in [
            ("VERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 13\nEXTRAVERSION =\nNAME = x\n", "7.2.13"),
            ("# c\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\nEXTRAVERSION = -rc7\n", "7.3-rc7"),
            ("VERSION = 6\nPATCHLEVEL = 12\n", "6.12"),
        ] {
            assert_eq!(version_of(text).unwrap().to_string(), shown);
        }
        assert!(version_of("all:\n\techo VERSION = 7\n").is_none());
    }

    #[test]
    fn what_is_no_source_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| version(path).unwrap_err().to_string();
        assert!(said(&dir.path().join("nowhere")).contains("no folder"));
        assert!(said(dir.path()).contains("it has no Kconfig"));
        super::super::tests::tree(dir.path(), "7.2.1");
        assert_eq!(version(dir.path()).unwrap().to_string(), "7.2.1");
        fs::write(dir.path().join("Makefile"), "all:\n").unwrap();
        assert!(said(dir.path()).contains("states no version"));
    }

    #[test]
    fn a_tree_without_git_is_known_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        super::super::tests::tree(dir.path(), "7.2.1");
        let cancel = Cancel::new().unwrap();
        let mut notes = Vec::new();
        let mut state = || open(dir.path(), &mut |p| notes.push(p), &cancel).unwrap().identity;
        let first = state();
        assert_eq!(first, state());
        fs::write(dir.path().join("init.c"), "int x;\n").unwrap();
        assert_ne!(first, state());
        assert!(notes.is_empty(), "{notes:?}");
    }
}
