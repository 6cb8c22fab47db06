//! Headers and libraries of the guest's architecture: Debian packages, one over the other.
//!
//! With them a build is the same whatever the build machine has, and both architectures go the same way.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::kernel::{Cache, Entry, Package, Progress, Sha256Hex, Sources, acquire_packages};

use super::toolchain::triplet;

/// What elfutils left out of its static library: the dynptr suite has the same gap to fill.
const GAP: &str = include_str!("../../../selftests/dynptr/build/libelf_gap.c");
/// Answers the few questions that the selftests' Makefiles ask pkg-config, for static linking.
const PKG_CONFIG: &str = "#!/bin/sh\n\
    # Made by kvet. The sysroot holds everything in the places where compilers look by themselves.\n\
    case \"$*\" in\n\
    *--cflags*libelf* | *--cflags*libcrypto*) ;;\n\
    *--libs*libelf*) echo -lelf -lz -lzstd ;;\n\
    *--libs*libcrypto*) echo -static -lcrypto -lz -lzstd ;;\n\
    *) exit 1 ;;\n\
    esac\n";

/// A sysroot in the cache. While it lives, nobody prunes it.
#[derive(Debug)]
pub(super) struct Sysroot {
    /// The folder that stands for `/`.
    pub root: PathBuf,
    /// Something that differs when its content does.
    pub id: String,
    _entry: Entry,
}

impl Sysroot {
    /// Finds or makes it.
    ///
    /// # Errors
    /// As [`acquire_packages`]; the host's: files cannot be linked or compiled.
    pub fn ensure(
        packages: &[String],
        arch: Arch,
        cache: &Cache,
        sources: &Sources,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Self> {
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        let packages = acquire_packages(&names, arch, cache, sources, progress, cancel)?;
        let hashes: Vec<&str> = packages.iter().map(|package| package.facts.sha256.as_str()).collect();
        let key = Sha256Hex::of(format!("{}\n{GAP}{PKG_CONFIG}", hashes.join("\n")).as_bytes());
        let id = format!("sysroot-{arch}-{}", &key.as_str()[..12]);
        let entry = cache.ensure_suite(&id, progress, cancel, &mut |into, _| make(&packages, arch, into))?;
        Ok(Self { root: entry.dir.join("root"), id, _entry: entry })
    }

    /// The object file that fills the gap.
    pub fn gap(&self) -> PathBuf {
        self.root.join("libelf_gap.o")
    }
}

fn make(packages: &[Package], arch: Arch, into: &Path) -> Result<()> {
    let root = into.join("root");
    for dir in ["usr/lib", "usr/lib64"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).host(format!("make {}", dir.display()))?;
    }
    for dir in ["lib", "lib64"] {
        // As in Debian, where the linker's scripts name files below /lib.
        symlink(format!("usr/{dir}"), root.join(dir)).host("make a link in the sysroot")?;
    }
    for package in packages {
        merge(&package.root, &root)?;
    }
    write_executable(&root.join("pkg-config"), PKG_CONFIG)?;
    let source = root.join("libelf_gap.c");
    fs::write(&source, GAP).host(format!("write {}", source.display()))?;
    let compiler = format!("{}-gcc", triplet(arch));
    let mut command = Command::new(&compiler);
    command.arg("-O2").arg("-c").arg(&source).arg("-o").arg(root.join("libelf_gap.o"));
    match command.output().host(format!("run {compiler}"))? {
        output if output.status.success() => Ok(()),
        output => Err(Error::host(format!(
            "{compiler} cannot compile: {}",
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default()
        ))),
    }
}

fn write_executable(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(path)
        .host(format!("write {}", path.display()))?;
    file.write_all(text.as_bytes()).host(format!("write {}", path.display()))
}

/// Puts a package's files into a tree, without copying them.
fn merge(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).host(format!("read {}", from.display()))? {
        let entry = entry.host(format!("read {}", from.display()))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let action = || format!("put {} into the sysroot", path.display());
        let kind = entry.file_type().host(action())?;
        if kind.is_dir() {
            fs::create_dir_all(&target).host(action())?;
            merge(&path, &target)?;
        } else if !target.exists() {
            // A link to a link is a link: what it points to comes with some package.
            let placed = fs::hard_link(&path, &target);
            placed.or_else(|_| fs::copy(&path, &target).map(drop)).host(action())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_laid_over_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/usr/lib/x/liba.so.1", "a");
        symlink("liba.so.1", dir.path().join("a/usr/lib/x/liba.so")).unwrap();
        write("b/usr/lib/x/libb.a", "b");
        write("b/lib/ld.so", "loader");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        merge(&dir.path().join("a"), &root).unwrap();
        merge(&dir.path().join("b"), &root).unwrap();
        assert_eq!(fs::read_to_string(root.join("usr/lib/x/liba.so")).unwrap(), "a");
        assert!(root.join("usr/lib/x/libb.a").is_file());
        assert_eq!(fs::read_to_string(root.join("usr/lib/ld.so")).unwrap(), "loader");
    }
}
