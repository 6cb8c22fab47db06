//! Headers and libraries of the guest's architecture: Debian packages with what they depend on, as a tree of the cache.
//!
//! With them a build is the same whatever the build machine has, and both architectures go the same way.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::kernel::{self, Cache, Progress, Sha256Hex, Sources, Tree, TreeSpec, tree};
use kvet_host::process::with_clean_env;

use super::manifest::SysrootSpec;

/// The first word of its name in the cache.
const NAME: &str = "sysroot";
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
    /// Its packages with their versions, in one line.
    pub packages: String,
    _lock: Tree,
}

impl Sysroot {
    /// Finds or makes it. `triplet` is the one of the architecture.
    ///
    /// # Errors
    /// As [`kernel::acquire_tree`]; the host's: files cannot be linked or compiled.
    pub fn ensure(
        spec: &SysrootSpec,
        arch: Arch,
        triplet: &str,
        cache: &Cache,
        sources: &Sources,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Self> {
        let identity = Sha256Hex::of(format!("{GAP}{PKG_CONFIG}").as_bytes());
        let spec = TreeSpec {
            name: NAME,
            names: &spec.packages,
            left_out: &spec.left_out,
            identity: identity.as_str(),
            place: &|path: &Path| tree::merged(path).filter(|to| is_wanted(to)),
            finish: &|root: &Path| finish(root, triplet),
        };
        let tree = kernel::acquire_tree(&spec, arch, cache, sources, progress, cancel)?;
        let packages = tree.info.packages_line();
        Ok(Self { root: tree.root.clone(), id: tree.info.id.clone(), packages, _lock: tree })
    }

    /// The object file that fills the gap.
    pub fn gap(&self) -> PathBuf {
        self.root.join("libelf_gap.o")
    }
}

/// Compilers read headers and libraries, nothing else.
fn is_wanted(path: &Path) -> bool {
    ["usr/include", "usr/lib", "usr/lib64"].iter().any(|dir| path.starts_with(dir))
}

fn finish(root: &Path, triplet: &str) -> Result<()> {
    // As in Debian, where the linker's scripts name files below /lib.
    tree::link_merged(root)?;
    write_new(&root.join("pkg-config"), PKG_CONFIG, 0o755)?;
    let source = root.join("libelf_gap.c");
    write_new(&source, GAP, 0o644)?;
    let compiler = format!("{triplet}-gcc");
    let mut command = Command::new(&compiler);
    command.arg("-O2").arg("-c").arg(&source).arg("-o").arg(root.join("libelf_gap.o"));
    match with_clean_env(&mut command).output().host(format!("run {compiler}"))? {
        output if output.status.success() => Ok(()),
        output => Err(Error::host(format!(
            "{compiler} cannot compile: {}",
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default()
        ))),
    }
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let options = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = options.host(format!("write {}", path.display()))?;
    file.write_all(text.as_bytes()).host(format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_compilers_read_is_unpacked_where_links_lead() {
        let to = |path: &str| tree::merged(Path::new(path)).filter(|to| is_wanted(to));
        let same = |path: &str| Some(PathBuf::from(path));
        assert_eq!(to("usr/include/elf.h"), same("usr/include/elf.h"));
        assert_eq!(to("lib/x/libz.so.1"), same("usr/lib/x/libz.so.1"));
        assert_eq!(to("lib64/ld-linux-x86-64.so.2"), same("usr/lib64/ld-linux-x86-64.so.2"));
        for path in ["lib", "usr/bin/gencat", "bin/sh", "usr/share/doc/x", "etc/ld.so.conf"] {
            assert_eq!(to(path), None, "{path}");
        }
    }

    #[test]
    fn it_is_finished_with_links_and_the_gap() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/lib/x")).unwrap();
        fs::write(dir.path().join("usr/lib/x/liba.so"), "a").unwrap();
        finish(dir.path(), &format!("{}-linux-gnu", std::env::consts::ARCH)).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("lib/x/liba.so")).unwrap(), "a");
        assert!(!dir.path().join("lib64").exists());
        assert!(dir.path().join("libelf_gap.o").is_file() && dir.path().join("pkg-config").is_file());
        // A package that brings a file of that name, or a link that leads elsewhere, is not written through.
        let e = write_new(&dir.path().join("pkg-config"), "", 0o644).unwrap_err();
        assert_eq!(e.fault(), crate::error::Fault::Host);
    }
}
