//! What has to be installed for a build, and which of it is used.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::spec::arch::BuildFacts;
use kvet_host::process::with_clean_env;

use super::manifest::ClangSpec;

/// The compilers of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Toolchain {
    /// Clang's program, `clang-19`.
    pub clang: String,
    /// The first line of what it says of itself.
    pub clang_version: String,
    /// The same of gcc for the guest.
    pub gcc_version: String,
    /// The same of gcc for this machine.
    pub hostcc_version: String,
}

impl Toolchain {
    /// Finds it.
    ///
    /// # Errors
    /// The host's: something is not installed; all that is missing is named with the packages that bring it.
    pub fn find(arch: Arch, facts: &BuildFacts, clang: &ClangSpec) -> Result<Self> {
        let gcc = format!("{}-gcc", facts.triplet);
        let native = Arch::host().is_ok_and(|host| host == arch);
        let cross = if native { "gcc" } else { facts.cross_package.as_str() };
        let mut missing = Vec::new();
        let mut versions = |program: &str, package: &str| {
            let version = version(program);
            if version.is_none() {
                missing.push((program.to_owned(), package.to_owned()));
            }
            version.unwrap_or_default()
        };
        let gcc_version = versions(&gcc, cross);
        let hostcc_version = versions("gcc", "gcc");
        for (program, package) in [("make", "make"), ("python3", "python3"), ("openssl", "openssl")] {
            versions(program, package);
        }
        if !hostcc_version.is_empty() && !compiles("libelf.h") {
            missing.push(("libelf.h".into(), "libelf-dev".into()));
        }
        if !hostcc_version.is_empty() && !compiles("zlib.h") {
            missing.push(("zlib.h".into(), "zlib1g-dev".into()));
        }
        let found = find_clang(clang, &version);
        if let Err(Wrong::Missing) = &found {
            missing.push((format!("clang {} or newer", clang.oldest), clang.package.clone()));
        }
        if !missing.is_empty() {
            let (names, mut packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
            packages.dedup();
            return Err(Error::host(format!(
                "building selftests needs {}, which is missing",
                names.join(", ")
            ))
            .hint(format!("apt-get install {}", packages.join(" "))));
        }
        let (clang, clang_version) = found.map_err(|wrong| wrong.explain(clang))?;
        Ok(Self { clang, clang_version, gcc_version, hostcc_version })
    }
}

/// Why there is no clang to use.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    TooOld(String),
}

impl Wrong {
    fn explain(self, spec: &ClangSpec) -> Error {
        match self {
            Wrong::Missing => Error::host(format!("there is no clang {} or newer", spec.oldest)),
            Wrong::TooOld(version) => Error::host(format!(
                "the selftests need clang {} or newer, and there is only '{version}'",
                spec.oldest
            )),
        }
        .hint(format!("apt-get install {}", spec.package))
    }
}

/// The clang to use: the one that the package brings, which was tried, else the newest.
fn find_clang(
    spec: &ClangSpec,
    version: &dyn Fn(&str) -> Option<String>,
) -> std::result::Result<(String, String), Wrong> {
    let numbered = (spec.oldest..=spec.newest).rev().map(|number| format!("clang-{number}"));
    let mut old = None;
    for name in std::iter::once(spec.package.clone()).chain(numbered).chain(["clang".to_owned()]) {
        let Some(says) = version(&name) else { continue };
        match major(&says) {
            Some(major) if major >= spec.oldest => return Ok((name, says)),
            _ => old = Some(says),
        }
    }
    Err(old.map_or(Wrong::Missing, Wrong::TooOld))
}

/// The major version in `Debian clang version 19.1.7 (3~deb12u1)`.
fn major(says: &str) -> Option<u32> {
    says.split_once("clang version ")?.1.split('.').next()?.parse().ok()
}

/// The first line of what a program says of its version; none where it cannot be run.
fn version(program: &str) -> Option<String> {
    // openssl's is a subcommand, which the others do not know.
    let argument = if program == "openssl" { "version" } else { "--version" };
    let mut command = Command::new(find(program)?);
    let output = with_clean_env(command.arg(argument)).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next().unwrap_or_default().trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file: &PathBuf| Path::is_file(file))
}

/// Whether gcc finds a header for programs that run here.
fn compiles(header: &str) -> bool {
    let mut command = Command::new("gcc");
    command.args(["-include", header, "-fsyntax-only", "-x", "c", "/dev/null"]);
    let quiet = with_clean_env(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ClangSpec {
        ClangSpec { oldest: 17, newest: 22, package: "clang-19".into() }
    }

    #[test]
    fn the_tried_clang_goes_first_then_the_newest() {
        let with = |there: &'static [(&str, &str)]| {
            find_clang(&spec(), &|name| there.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string()))
        };
        let all = &[
            ("clang", "clang version 22.1.0"),
            ("clang-18", "Debian clang version 18.1.8 (1)"),
            ("clang-19", "Debian clang version 19.1.7 (3~deb12u1)"),
        ];
        assert_eq!(with(all).unwrap().0, "clang-19");
        assert_eq!(
            with(&[("clang-18", "clang version 18.1"), ("clang-20", "clang version 20.1")]).unwrap().0,
            "clang-20"
        );
        assert_eq!(with(&[("clang", "Apple clang version 21.0.0 (x)")]).unwrap().0, "clang");
        assert_eq!(with(&[]), Err(Wrong::Missing));
        let e = with(&[("clang", "Debian clang version 14.0.6")]).unwrap_err().explain(&spec());
        assert!(e.to_string().contains("14.0.6") && e.to_string().contains("clang 17"), "{e}");
        assert!(e.hint_text().unwrap().contains("clang-19"));
    }
}
