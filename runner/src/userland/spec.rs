//! `images/userland.yaml`: what the guest's userland is made of.

use std::path::{Component, Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::spec::{self, home::Home};

/// Changes when the same specification is made into something else.
const FORMAT: u32 = 2;
/// The file, below `images/`.
const FILE: &str = "userland.yaml";

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserlandSpec {
    /// What is asked for; dependencies come by themselves.
    pub packages: Vec<PackageSpec>,
    /// What is done without, whoever depends on it.
    #[serde(default)]
    pub left_out: Vec<Reasoned>,
    /// What is not unpacked.
    #[serde(default)]
    pub skipped: Vec<SkippedSpec>,
    /// Links that no package has.
    #[serde(default)]
    pub links: Vec<LinkSpec>,
    /// Files that no package has.
    #[serde(default)]
    pub files: Vec<FileSpec>,
}

/// A package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub why: String,
    /// The architectures that it is for; none named: all.
    #[serde(default)]
    pub archs: Vec<Arch>,
}

/// A package, and a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reasoned {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// A path that is not unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkippedSpec {
    /// Relative to the root; `*` stands for a part of one name. What is below it goes with it.
    pub path: String,
    /// Why.
    pub why: String,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Where, relative to the root.
    pub path: String,
    /// Where it leads, relative to the folder that it is in.
    pub to: String,
    /// Why.
    pub why: String,
}

/// A text file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Where, relative to the root.
    pub path: String,
    /// Why.
    pub why: String,
    /// What it holds.
    pub text: String,
}

impl UserlandSpec {
    /// Reads it.
    ///
    /// # Errors
    /// The caller's: the file is not what it should be.
    pub fn load(home: &Home) -> Result<Self> {
        let path = home.images().join(FILE);
        let spec: Self = spec::load(&path)?;
        spec.check().map_err(|e| e.context(path.display()))?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::caller(what));
        if self.packages.is_empty() {
            return wrong("packages: there is none".into());
        }
        let named = self.packages.iter().map(|p| (&p.name, &p.why));
        let mut seen: Vec<&String> = Vec::new();
        for (name, why) in named.chain(self.left_out.iter().map(|p| (&p.name, &p.why))) {
            if seen.contains(&name) {
                return wrong(format!("package '{name}' is named twice"));
            }
            seen.push(name);
            if !is_package(name) {
                return wrong(format!("'{name}' is no name of a package"));
            }
            reasoned(name, why)?;
        }
        for SkippedSpec { path, why } in &self.skipped {
            inside(path)?;
            reasoned(path, why)?;
        }
        for LinkSpec { path, to, why } in &self.links {
            inside(path)?;
            reasoned(path, why)?;
            // Where it is decides how far it may climb.
            let depth = Path::new(path).components().count() as isize - 1;
            let steps = Path::new(to).components().map(|part| match part {
                Component::Normal(_) => Some(1),
                Component::CurDir => Some(0),
                Component::ParentDir => Some(-1),
                Component::RootDir | Component::Prefix(_) => None,
            });
            let end = steps.into_iter().try_fold(depth, |at, step| Some(at + step?).filter(|at| *at >= 0));
            if end.is_none() || to.is_empty() {
                return wrong(format!(
                    "link '{path}' to '{to}': it must be relative and stay below the root"
                ));
            }
        }
        self.files
            .iter()
            .try_for_each(|file| inside(&file.path).and_then(|()| reasoned(&file.path, &file.why)))
    }

    /// The packages asked for on an architecture.
    pub(super) fn names(&self, arch: Arch) -> Vec<String> {
        let meant = |package: &&PackageSpec| package.archs.is_empty() || package.archs.contains(&arch);
        self.packages.iter().filter(meant).map(|package| package.name.clone()).collect()
    }

    /// Matches what is not unpacked, without what is below it.
    pub(super) fn skipped(&self) -> Result<GlobSet> {
        let wrong = |e| Error::caller("images/userland.yaml: skipped").because(e);
        let mut set = GlobSetBuilder::new();
        for skipped in &self.skipped {
            set.add(GlobBuilder::new(&skipped.path).literal_separator(true).build().map_err(wrong)?);
        }
        set.build().map_err(wrong)
    }

    /// Something that differs when the tree does, for the same packages. The reasons do not count.
    pub(super) fn identity(&self) -> Result<String> {
        let skipped: Vec<&str> = self.skipped.iter().map(|s| s.path.as_str()).collect();
        let links: Vec<[&str; 2]> = self.links.iter().map(|l| [l.path.as_str(), l.to.as_str()]).collect();
        let files: Vec<[&str; 2]> = self.files.iter().map(|f| [f.path.as_str(), f.text.as_str()]).collect();
        serde_json::to_string(&(FORMAT, skipped, links, files))
            .map_err(|e| Error::host("cannot describe the userland").because(e))
    }
}

fn reasoned(what: &str, why: &str) -> Result<()> {
    if why.trim().is_empty() {
        return Err(Error::caller(format!("'{what}' has no reason: `why` is empty")));
    }
    Ok(())
}

/// Debian Policy 5.6.1.
fn is_package(text: &str) -> bool {
    text.len() >= 2
        && text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c))
}

fn inside(path: &str) -> Result<()> {
    let plain = |part: Component| matches!(part, Component::Normal(_));
    if path.is_empty() || path.ends_with('/') || !Path::new(path).components().all(plain) {
        return Err(Error::caller(format!("'{path}' is no path relative to the root, such as usr/bin/awk")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../images/userland.yaml");

    fn checked(text: &str) -> Result<UserlandSpec> {
        let spec: UserlandSpec = spec::parse(text)?;
        spec.check().map(|()| spec)
    }

    #[test]
    fn the_file_we_ship_is_right() {
        let spec = checked(SHIPPED).unwrap();
        let skipped = spec.skipped().unwrap();
        assert!(skipped.is_match("usr/lib/x86_64-linux-gnu/gconv") && !skipped.is_match("usr/lib/gconv"));
        assert_eq!(spec.names(Arch::X86_64), spec.names(Arch::Arm64));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, said) in [
            ("name: dash", "name: ../dash", "'../dash' is no name"),
            ("name: dash", "name: bash", "'bash' is named twice"),
            ("why: it is /bin/sh", "why: ''", "'dash' has no reason"),
            ("path: usr/bin/awk", "path: /usr/bin/awk", "'/usr/bin/awk' is no path"),
            ("path: etc/passwd", "path: etc/../../passwd", "'etc/../../passwd' is no path"),
            ("to: mawk", "to: ../../../etc", "link 'usr/bin/awk' to '../../../etc'"),
            ("to: mawk", "to: /usr/bin/mawk", "must be relative"),
            ("to: mawk", "too: mawk", "unknown field `too`"),
            ("packages:", "package:", "unknown field `package`"),
        ] {
            let text = SHIPPED.replacen(from, to, 1);
            assert_ne!(text, SHIPPED, "{from}");
            let error = checked(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{from} → {to}: {error}");
        }
    }

    #[test]
    fn packages_can_be_for_one_architecture_and_reasons_do_not_count() {
        let only = SHIPPED.replacen("name: dash\n", "name: dash\n    archs: [arm64]\n", 1);
        let spec = checked(&only).unwrap();
        assert!(!spec.names(Arch::X86_64).contains(&"dash".into()));
        assert!(spec.names(Arch::Arm64).contains(&"dash".into()));
        let other = checked(&SHIPPED.replace("why: as above", "why: because")).unwrap();
        assert_eq!(other.identity().unwrap(), checked(SHIPPED).unwrap().identity().unwrap());
        let other = checked(&SHIPPED.replace("127.0.0.1", "127.0.0.2")).unwrap();
        assert_ne!(other.identity().unwrap(), checked(SHIPPED).unwrap().identity().unwrap());
    }
}
