//! What kbuild would refuse, or fail for want of, said before it is started.

use std::path::Path;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::spec::arch::{ArchFacts, BuildFacts};
use crate::spec::home::Home;

use super::super::source::{self, SourceSpec};
use super::super::suites::Sources;
use super::{Recipe, Toolchain, pahole, toolchain};

/// Whether a build could begin, as far as that shows without a source being fetched.
pub(in crate::kernel) fn check_available(
    source: &SourceSpec,
    recipe: &Recipe,
    arch: Arch,
    sources: &Sources,
    cancel: &Cancel,
) -> Result<()> {
    let workshop = sources.workshop()?;
    recipe.check(&workshop.home)?;
    let facts = ArchFacts::load(&workshop.home, arch)?.build;
    check_callers_tree(source, &facts, &workshop.home)?;
    toolchain::find(recipe.toolchain, arch, &facts, cancel).map(drop)
}

/// Whether a tree of the caller's is there and can be built. Other sources are not there yet.
pub(super) fn check_callers_tree(source: &SourceSpec, facts: &BuildFacts, home: &Home) -> Result<()> {
    let SourceSpec::Tree(path) = source else { return Ok(()) };
    let path = path.canonicalize().given(format_args!("open the source tree {}", path.display()))?;
    source::version_of_tree(&path)?;
    check_tree(&path, facts, home)
}

/// Looks for what a build needs, and gives the versions of what is there.
///
/// # Errors
/// The host's: programs are missing; all of them are named, with the packages.
pub fn check_tools(toolchain: Toolchain, arch: Arch, home: &Home, cancel: &Cancel) -> Result<String> {
    let found = toolchain::find(toolchain, arch, &ArchFacts::load(home, arch)?.build, cancel)?;
    let newer = if pahole::is_new_enough(&found.pahole) { "" } else { " (a newer one is fetched)" };
    let ccache = if found.ccache { "with ccache" } else { "without ccache, which is not installed" };
    Ok(format!("{}{newer}, {ccache}", found.version()))
}

/// Whether a tree is one of this architecture, and kbuild can build it elsewhere.
pub(super) fn check_tree(path: &Path, facts: &BuildFacts, home: &Home) -> Result<()> {
    let has = |facts: &BuildFacts| path.join("arch").join(&facts.source_arch).is_dir();
    if has(facts) {
        return clean_of_products(path, facts);
    }
    let mut others = Vec::new();
    for arch in Arch::ALL {
        let facts = ArchFacts::load(home, arch)?.build;
        if has(&facts) {
            others.push(format!("arch/{}: -a {arch}", facts.source_arch));
        }
    }
    let hint = match &others[..] {
        // A sparse checkout, an archive of some folders.
        [] => format!("is all of it checked out? kvet builds {}", Arch::ALL.map(Arch::name).join(" and ")),
        others => format!("it has {}", others.join(", ")),
    };
    Err(Error::caller(format!("{} has no arch/{}", path.display(), facts.source_arch)).hint(hint))
}

fn clean_of_products(tree: &Path, facts: &BuildFacts) -> Result<()> {
    let products =
        [".config".into(), "include/config".into(), format!("arch/{}/include/generated", facts.source_arch)];
    if let Some(product) = products.iter().find(|p| tree.join(p).exists()) {
        return Err(Error::caller(format!(
            "{} was built in ({product} is there): kbuild cannot build it elsewhere then",
            tree.display()
        ))
        .hint(format!("make -C {} mrproper", tree.display())));
    }
    Ok(())
}

/// Kbuild splits paths at spaces and colons.
pub(super) fn usable_path(path: &Path) -> Result<()> {
    match path.to_str() {
        Some(text) if !text.contains([' ', ':', '\t', '\n', '#', '%', '$', '\\']) => Ok(()),
        _ => Err(Error::caller(format!(
            "kbuild cannot handle the path {}: it has a special character",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    #[test]
    fn a_tree_that_was_built_in_says_how_to_clean_it() {
        let dir = tempfile::tempdir().unwrap();
        let facts = super::super::tests::facts();
        clean_of_products(dir.path(), &facts).unwrap();
        std::fs::create_dir_all(dir.path().join("include/config")).unwrap();
        let error = clean_of_products(dir.path(), &facts).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert!(error.hint_text().unwrap().ends_with(" mrproper"), "{error}");
        assert!(usable_path(Path::new("/a b")).is_err() && usable_path(Path::new("/a/b-c_d.e")).is_ok());
    }
}
