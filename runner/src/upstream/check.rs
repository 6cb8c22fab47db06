//! What is wrong with a request, said before anything is built for it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::kernel::source::{self, Purpose, SourceSpec};
use crate::kernel::{KernelSpec, KernelVersion, Progress};
use crate::spec::arch::ArchFacts;
use crate::spec::home::Home;

use super::manifest::Manifest;
use super::select::Tree;
use super::toolchain::Toolchain;
use super::{Means, Request};

/// Looks for what a build needs, and gives the version of the compiler of BPF programs.
///
/// # Errors
/// The host's: programs are missing; all of them are named, with the packages.
pub fn check_tools(arch: Arch, home: &Home, manifest: &Manifest) -> Result<String> {
    let facts = ArchFacts::load(home, arch)?.build;
    Toolchain::find(arch, &facts, &manifest.clang).map(|found| found.clang_version)
}

/// Whether what is asked for is among the selftests of a tree of the caller's. Nothing is fetched for that: other sources are
/// looked at in [`check_source`], or in [`super::ensure`] where no kernel is built.
///
/// # Errors
/// As [`super::ensure`], for what shows so early.
pub fn check_available(request: &Request, kernel: &KernelSpec, arch: Arch, means: &Means) -> Result<()> {
    match source_of_tests(request, kernel) {
        Some(source @ SourceSpec::Tree(path)) => {
            let version = source::version_of_tree(path)?;
            check_tests(request, source, path, version, arch, means)
        }
        _ => Ok(()),
    }
}

/// The same, of any source that is named, which is fetched for it: building a kernel takes ten minutes, and then it would show.
///
/// # Errors
/// As [`super::ensure`], for what shows before a build; the host's: no compiler.
pub fn check_source(
    request: &Request,
    kernel: &KernelSpec,
    arch: Arch,
    means: &Means,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let Some(source) = source_of_tests(request, kernel) else { return Ok(()) };
    check_tools(arch, means.home, &request.manifest)?;
    // What there is to note is noted when the source is used.
    let mut quietly = |told: Progress| match told {
        Progress::Note(_) => {}
        told => progress(told),
    };
    let purpose = if request.source.is_some() { Purpose::Selftests } else { Purpose::Kernel };
    let tree = source::ensure(source, purpose, means.cache, means.sources, &mut quietly, means.cancel)?;
    check_tests(request, source, &tree.path, tree.version, arch, means)
}

/// The source of the selftests, where it can be told without the archive's being asked.
fn source_of_tests<'a>(request: &'a Request, kernel: &'a KernelSpec) -> Option<&'a SourceSpec> {
    match (&request.source, kernel) {
        (Some(source), _) | (None, KernelSpec::Source { source, .. }) => Some(source),
        _ => None,
    }
}

fn check_tests(
    request: &Request,
    source: &SourceSpec,
    path: &Path,
    version: KernelVersion,
    arch: Arch,
    means: &Means,
) -> Result<()> {
    let facts = ArchFacts::load(means.home, arch)?.build;
    let tree = Tree::open(path, &facts.source_arch, means.cancel)?;
    let (tests, _) = request.slices.select(&tree.tests()?, version)?;
    check_wanted(&tree, &tests, means).map_err(|e| e.concerning(format_args!("selftests of {source}")))
}

/// Asks whether any of the tests is meant. Where none is, another file of the source may have one that is.
pub(super) fn check_wanted(tree: &Tree, files: &BTreeSet<String>, means: &Means) -> Result<()> {
    let names = tree.names_in(files)?;
    // What cannot be read out of the sources is left to test_progs.
    if names.is_empty() {
        return Ok(());
    }
    let Err(error) = (means.wanted)(&names) else { return Ok(()) };
    for file in tree.tests()?.difference(files) {
        let others = tree.names_in(&BTreeSet::from([file.clone()]))?;
        if !others.is_empty() && (means.wanted)(&others).is_ok() {
            return Err(
                error.hint(format!("prog_tests/{file}.c has such a test: --slice mine={file} builds it"))
            );
        }
    }
    Err(error)
}

/// The cache's path goes through make and shells, which take some characters for something else.
pub(super) fn check_path(root: &Path) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match root.to_str() {
        Some(text) if text.chars().all(plain) => Ok(()),
        _ => Err(Error::caller(format!("selftests cannot be built below {}", root.display()))
            .hint("KVET_CACHE: a path of letters, digits and / . _ - +")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_make_would_split_is_refused() {
        check_path(Path::new("/home/me/.cache/kvet")).unwrap();
        for bad in ["/home/my self/kvet", "/a$b", "/a:b", "/a'b"] {
            assert!(check_path(Path::new(bad)).unwrap_err().to_string().contains(bad));
        }
    }
}
