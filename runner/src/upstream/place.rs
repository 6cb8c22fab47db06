//! The copy that is built in: only what changed is written, so that make builds only what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::kernel::Sha256Hex;

use super::select::SELFTESTS;

/// The list of what was copied the last time, in the workshop.
const LIST: &str = "copied";

/// The contents of a selection: the hash of every file, by its path in the tree.
pub(super) fn hashes(
    files: &BTreeMap<String, PathBuf>,
    cancel: &Cancel,
) -> Result<BTreeMap<String, Sha256Hex>> {
    let mut hashes = BTreeMap::new();
    for (name, path) in files {
        cancel.check()?;
        let bytes = fs::read(path).given(format!("read {}", path.display()))?;
        let mut hash = Sha256Hex::of(&bytes).as_str().to_owned();
        // A script that may not be run is another file.
        hash.push(if executable(path)? { 'x' } else { '-' });
        hashes.insert(name.clone(), Sha256Hex::of(hash.as_bytes()));
    }
    Ok(hashes)
}

/// Makes `tree` in a workshop hold exactly these sources, besides what was built from them. Gives how many files changed.
///
/// # Errors
/// The host's: no space, files cannot be written. The caller's: a source cannot be read. Interrupted.
pub(super) fn sync(shop: &Path, files: &BTreeMap<String, PathBuf>, cancel: &Cancel) -> Result<usize> {
    let tree = shop.join("tree");
    let before = read_list(shop)?;
    let now: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    // Written before the files are: what is copied and then forgotten could never be removed again.
    let all: BTreeSet<&str> = before.iter().map(String::as_str).chain(now.iter().copied()).collect();
    write_list(shop, &all)?;
    let gone: Vec<&String> = before.iter().filter(|name| !now.contains(name.as_str())).collect();
    for name in &gone {
        remove(&tree.join(name))?;
    }
    let mut changed = 0;
    let mut appeared = !gone.is_empty();
    for (name, from) in files {
        cancel.check()?;
        appeared |= !before.contains(name);
        changed += usize::from(place(from, &tree.join(name))?);
    }
    if appeared {
        // Make sees what is newer, not what is missing: these are made of whatever there is.
        for made in ["prog_tests/tests.h", "test_progs"] {
            remove(&tree.join(SELFTESTS).join(made))?;
        }
    }
    write_list(shop, &now)?;
    Ok(changed + gone.len())
}

/// Copies a file, unless the same is there already. Gives whether it was not.
pub(super) fn place(from: &Path, to: &Path) -> Result<bool> {
    let bytes = fs::read(from).given(format!("read {}", from.display()))?;
    let mode = if executable(from)? { 0o755 } else { 0o644 };
    let same_mode = fs::metadata(to).is_ok_and(|m| m.permissions().mode() & 0o777 == mode);
    if same_mode && fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).host(format!("make {}", dir.display()))?;
    }
    fs::write(to, bytes).host(format!("write {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).host(format!("write {}", to.display()))?;
    Ok(true)
}

fn executable(path: &Path) -> Result<bool> {
    let metadata = fs::metadata(path).given(format!("read {}", path.display()))?;
    Ok(metadata.permissions().mode() & 0o100 != 0)
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::host(format!("cannot remove {}", path.display())).because(e))
        }
        _ => Ok(()),
    }
}

fn read_list(shop: &Path) -> Result<BTreeSet<String>> {
    match fs::read_to_string(shop.join(LIST)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(e) => Err(Error::host(format!("cannot read {}", shop.join(LIST).display())).because(e)),
    }
}

fn write_list(shop: &Path, names: &BTreeSet<&str>) -> Result<()> {
    let path = shop.join(LIST);
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    fs::write(&path, text).host(format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written_and_what_went_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (src, shop) = (dir.path().join("src"), dir.path().join("shop"));
        fs::create_dir_all(&src).unwrap();
        fs::create_dir_all(&shop).unwrap();
        let cancel = Cancel::new().unwrap();
        let mut files = BTreeMap::new();
        for name in ["a.c", "b.c", "run.sh"] {
            fs::write(src.join(name), name).unwrap();
            files.insert(format!("deep/{name}"), src.join(name));
        }
        assert_eq!(sync(&shop, &files, &cancel).unwrap(), 3);
        assert_eq!(sync(&shop, &files, &cancel).unwrap(), 0);
        let before = hashes(&files, &cancel).unwrap();
        let old = |name: &str| fs::metadata(shop.join("tree/deep").join(name)).unwrap().modified().unwrap();
        let untouched = old("b.c");
        fs::write(src.join("a.c"), "new").unwrap();
        fs::set_permissions(src.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(sync(&shop, &files, &cancel).unwrap(), 2);
        assert_eq!(old("b.c"), untouched);
        let after = hashes(&files, &cancel).unwrap();
        let differ: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
        assert_eq!(differ, ["deep/a.c", "deep/run.sh"]);
        // Something that was built stays, unless it was made of all there is.
        let bpf = shop.join("tree").join(SELFTESTS);
        fs::create_dir_all(bpf.join("prog_tests")).unwrap();
        for name in ["x.bpf.o", "prog_tests/tests.h", "test_progs"] {
            fs::write(bpf.join(name), "").unwrap();
        }
        files.remove("deep/b.c");
        assert_eq!(sync(&shop, &files, &cancel).unwrap(), 1);
        assert!(!shop.join("tree/deep/b.c").exists());
        assert!(bpf.join("x.bpf.o").exists() && !bpf.join("prog_tests/tests.h").exists());
        assert!(!bpf.join("test_progs").exists());
    }
}
