//! How a kernel is to be built, as it was asked for; and the fragments that this means.

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::spec::home::Home;

use super::fragment::{self, Request};
use super::toolchain::Toolchain;

/// What every kernel of ours has, in order. The architecture's own comes after them.
const SHIPPED: [&str; 5] = ["base", "9p", "bpf", "net", "selftests"];

/// How a kernel is to be built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// What options are taken where nobody asks for any.
    pub base: Base,
    /// Further fragments: `debug` and others in `configs/kconfig` by name, `tree:PATH` below the source, else a file.
    pub fragments: Vec<PathBuf>,
    /// The compiler.
    pub toolchain: Toolchain,
}

/// Where a config begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Base {
    /// Nothing that nobody asks for (allnoconfig).
    #[default]
    Tiny,
    /// The architecture's own defconfig.
    Defconfig,
}

impl Base {
    /// Make's target.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::Tiny => "allnoconfig",
            Self::Defconfig => "defconfig",
        }
    }

    /// What is asked for besides on this base.
    fn fragment(self) -> Option<String> {
        match self {
            Self::Tiny => None,
            Self::Defconfig => Some("kconfig/defconfig.config".into()),
        }
    }
}

impl Recipe {
    /// Reads all fragments that go into the config, in order. `tree` is the source.
    ///
    /// # Errors
    /// The caller's: one is not there, or not what it should be.
    pub(super) fn fragments(&self, home: &Home, arch: Arch, tree: &Path) -> Result<Vec<Vec<Request>>> {
        let shipped = SHIPPED.iter().map(|name| format!("kconfig/{name}.config"));
        let shipped = shipped.chain([format!("kconfig/arch/{arch}.config")]);
        let shipped = shipped.chain(self.base.fragment());
        let mut all = shipped.map(|name| fragment::load(&home.config(&name))).collect::<Result<Vec<_>>>()?;
        for given in &self.fragments {
            all.push(fragment::load(&find(given, home, tree)?)?);
        }
        Ok(all)
    }

    /// What can be said against the fragments without a source.
    ///
    /// # Errors
    /// The caller's: one is not there, or not what it should be.
    pub(super) fn check(&self, home: &Home) -> Result<()> {
        self.fragments.iter().try_for_each(|given| check_fragment(given, home))
    }
}

/// See [`super::super::check_fragment`].
pub(in crate::kernel) fn check_fragment(given: &Path, home: &Home) -> Result<()> {
    if below_tree(given).is_some() {
        return Ok(());
    }
    fragment::load(&find(given, home, Path::new("/"))?).map(drop)
}

fn below_tree(given: &Path) -> Option<&str> {
    given.to_str()?.strip_prefix("tree:")
}

fn find(given: &Path, home: &Home, tree: &Path) -> Result<PathBuf> {
    if let Some(rest) = below_tree(given) {
        if Path::new(rest).components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
            return Err(Error::caller(format!(
                "config fragment tree:{rest} does not lead below the source tree"
            )));
        }
        return Ok(tree.join(rest));
    }
    // A word is one of ours; whatever has a slash or a dot is a file.
    match given.to_str() {
        Some(name) if !name.contains(['/', '.']) => {
            let path = home.config(&format!("kconfig/{name}.config"));
            if path.is_file() || given.is_file() {
                return Ok(if path.is_file() { path } else { given.to_path_buf() });
            }
            Err(Error::caller(format!("unknown config fragment '{name}'; known: {}", known(home).join(", ")))
                .hint("a file of your own is named by its path: ./my.config"))
        }
        _ => std::path::absolute(given)
            .map_err(|e| Error::host("cannot find the current directory").because(e)),
    }
}

fn known(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.config("kconfig")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|e| e.file_name().to_str()?.strip_suffix(".config").map(str::to_owned)).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KernelVersion;

    fn home() -> Home {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        Home::find(Some(root.into()), Path::new("/x")).unwrap()
    }

    #[test]
    fn what_we_ship_is_well_formed_says_why_and_does_not_contradict_itself() {
        let home = home();
        for arch in Arch::ALL {
            for (base, extra) in
                [(Base::Tiny, vec![]), (Base::Tiny, vec![PathBuf::from("debug")]), (Base::Defconfig, vec![])]
            {
                let recipe = Recipe { base, fragments: extra, ..Recipe::default() };
                let fragments = recipe.fragments(&home, arch, Path::new("/")).unwrap();
                let merged = super::super::merge::merge(fragments, KernelVersion::new(7, 2, 0)).unwrap();
                assert!(merged.requests.len() > 100);
            }
        }
        for name in known(&home).into_iter().chain(["arch/x86_64".into(), "arch/arm64".into()]) {
            let path = home.config(&format!("kconfig/{name}.config"));
            let text = std::fs::read_to_string(&path).unwrap();
            let mut why = false;
            for (number, line) in text.lines().enumerate() {
                let option = line.starts_with("CONFIG_") || line.ends_with("is not set");
                assert!(!option || why, "{name}:{}: {line} has no reason above it", number + 1);
                why = line.starts_with('#') && !option && (why || !line.starts_with("#@"));
            }
        }
    }

    #[test]
    fn fragments_are_found_by_name_below_the_tree_and_by_path() {
        let home = home();
        let tree = Path::new("/src/linux");
        let at = |text: &str| find(Path::new(text), &home, tree).map(|p| p.display().to_string());
        assert!(at("debug").unwrap().ends_with("configs/kconfig/debug.config"));
        assert_eq!(
            at("tree:kernel/configs/kvm_guest.config").unwrap(),
            "/src/linux/kernel/configs/kvm_guest.config"
        );
        assert!(at("./x.config").unwrap().ends_with("/x.config"));
        let error = at("debgu").unwrap_err().to_string();
        assert!(
            error.contains("'debgu'") && error.contains("known: 9p, base, bpf, debug, defconfig, menus"),
            "{error}"
        );
        assert!(at("tree:../x").is_err() && at("tree:/etc/x").is_err());
    }
}
