//! The pahole that makes a kernel's BTF.
//!
//! Before 1.26 it does not mark the kernel's functions for BPF, and without the marks bpftool declares none of them: the kernel's own
//! selftests do not compile. Where the machine's is older, Debian's newer one is fetched, verified like a kernel, with the libraries
//! that it needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{IoContext, Result};

use super::super::Progress;
use super::super::cache::Cache;
use super::super::suites::Sources;
use super::super::tree::{Tree, TreeSpec, acquire_tree};
use super::toolchain::{Found, version_of};
use crate::spec::arch::BuildFacts;

/// The first version that marks the kernel's functions (`decl_tag_kfuncs`, dwarves' changes-v1.26).
const OLDEST: (u32, u32) = (1, 26);
/// Runs the program of a tree with the libraries of that tree, wherever the tree is.
const WRAPPER: &str = "run-pahole";

/// Sees to a pahole that is new enough, and tells make of it. What is returned keeps it from being pruned. `facts` are those of this
/// machine.
///
/// # Errors
/// As [`acquire_tree`]; the host's: what was fetched does not run.
pub(super) fn ensure(
    tools: &mut Found,
    facts: &BuildFacts,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Option<Tree>> {
    if is_new_enough(&tools.pahole) {
        return Ok(None);
    }
    let host = Arch::host()?;
    let finish = |root: &Path| write_wrapper(root, facts);
    let spec = TreeSpec {
        name: "pahole",
        names: &["pahole".into()],
        left_out: &[],
        identity: &wrapper(facts),
        place: &|path| Some(PathBuf::from(path)),
        finish: &finish,
    };
    let action = format!("fetch a pahole newer than {}", tools.pahole);
    let tree = acquire_tree(&spec, host, cache, sources, progress, cancel)
        .map_err(|e| e.context(action).hint("with pahole 1.26 or newer installed nothing is fetched"))?;
    let program = tree.root.join(WRAPPER);
    tools.pahole = version_of(&program.display().to_string(), cancel)?;
    tools.arguments.push(format!("PAHOLE={}", program.display()));
    Ok(Some(tree))
}

/// Whether what `pahole --version` says, `v1.24`, is new enough. What cannot be read is left to kbuild.
pub(super) fn is_new_enough(version: &str) -> bool {
    let numbers = version.trim_start_matches('v').split_once('.');
    let numbers = numbers.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.is_none_or(|version: (u32, u32)| version >= OLDEST)
}

fn wrapper(BuildFacts { triplet, loader, .. }: &BuildFacts) -> String {
    format!(
        "#!/bin/sh\n# Made by kvet.\nroot=${{0%/*}}\nlib=$root/usr/lib/{triplet}\n\
         exec \"$lib/{loader}\" --library-path \"$lib\" \"$root/usr/bin/pahole\" \"$@\"\n"
    )
}

fn write_wrapper(root: &Path, facts: &BuildFacts) -> Result<()> {
    let path = root.join(WRAPPER);
    fs::write(&path, wrapper(facts)).host(format_args!("write {}", path.display()))?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, executable).host(format_args!("make {} executable", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use kvet_host::process;

    use super::*;

    #[test]
    fn versions_that_mark_functions() {
        for (version, enough) in [
            ("v1.24", false),
            ("v1.25", false),
            ("v1.26", true),
            ("v1.30", true),
            ("v2.0", true),
            ("odd", true),
        ] {
            assert_eq!(is_new_enough(version), enough, "{version}");
        }
    }

    #[test]
    fn the_wrapper_runs_what_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&lib).unwrap();
        let loader = lib.join("ld-linux-x86-64.so.2");
        fs::write(&loader, "#!/bin/sh\necho \"$@\"\n").unwrap();
        fs::set_permissions(&loader, fs::Permissions::from_mode(0o755)).unwrap();
        let facts = BuildFacts {
            source_arch: "x86".into(),
            triplet: "x86_64-linux-gnu".into(),
            loader: "ld-linux-x86-64.so.2".into(),
            cross_package: String::new(),
            images: Vec::new(),
        };
        write_wrapper(dir.path(), &facts).unwrap();
        let mut command = Command::new(dir.path().join(WRAPPER));
        let done = process::run(command.args(["-J", "a b"]), "dash", &Cancel::new().unwrap()).unwrap();
        let root = dir.path().display();
        let said = format!("--library-path {root}/usr/lib/x86_64-linux-gnu {root}/usr/bin/pahole -J a b\n");
        assert_eq!(String::from_utf8_lossy(&done.stdout), said);
    }
}
