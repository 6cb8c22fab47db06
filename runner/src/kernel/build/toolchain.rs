//! The compilers and tools that build a kernel: found, or named with the packages that bring them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::spec::arch::BuildFacts;

use super::super::child;

/// Which compiler builds a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Toolchain {
    /// `gcc`, or one of a version: `gcc-12`.
    Gcc(Option<u32>),
    /// `clang` and the rest of LLVM, or of a version: `clang-19`.
    Clang(Option<u32>),
}

impl Default for Toolchain {
    fn default() -> Self {
        Self::Gcc(None)
    }
}

impl FromStr for Toolchain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || Error::caller(format!("unknown toolchain '{text}'; known: gcc, gcc-12, clang, clang-19"));
        let (name, version) = match text.split_once('-') {
            Some((name, version)) => (name, Some(version.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match name {
            "gcc" => Ok(Self::Gcc(version)),
            "clang" => Ok(Self::Clang(version)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = match self {
            Self::Gcc(version) => ("gcc", version),
            Self::Clang(version) => ("clang", version),
        };
        match version {
            Some(version) => write!(f, "{name}-{version}"),
            None => f.write_str(name),
        }
    }
}

/// A toolchain that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// make itself.
    pub make: PathBuf,
    /// What make is told: `LLVM=-19`, `CROSS_COMPILE=…`, `CC=…`.
    pub arguments: Vec<String>,
    /// The compiler's version, in one line.
    pub compiler: String,
    /// pahole's: `v1.24`.
    pub pahole: String,
    /// Whether ccache is in front of the compiler.
    pub ccache: bool,
    /// The objcopy that knows the architecture.
    pub objcopy: PathBuf,
}

/// Programs that every build runs, and headers that it includes, each with its Debian package.
const PROGRAMS: [(&str, &str); 8] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl-base"),
    // BTF is made by it.
    ("pahole", "pahole"),
];
const HEADERS: [(&str, &str); 2] =
    [("/usr/include/libelf.h", "libelf-dev"), ("/usr/include/openssl/opensslv.h", "libssl-dev")];

/// Finds everything.
///
/// # Errors
/// The host's: programs are missing; all of them are named, with the packages.
pub(super) fn find(wanted: Toolchain, arch: Arch, facts: &BuildFacts, cancel: &Cancel) -> Result<Found> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let which =
        |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let cross = if arch == Arch::host()? { String::new() } else { format!("{}-", facts.triplet) };
    let (needed, compiler, objcopy) = needed(wanted, &cross, &facts.cross_package);
    let mut lacking: Vec<(String, String)> = Vec::new();
    for (program, package) in PROGRAMS.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).chain(needed)
    {
        if which(&program).is_none() {
            lacking.push((program, package));
        }
    }
    for (header, package) in HEADERS {
        if !Path::new(header).is_file() {
            lacking.push((header.to_string(), package.to_string()));
        }
    }
    if !lacking.is_empty() {
        return Err(missing(&lacking, wanted, arch));
    }
    let ccache = which("ccache").is_some();
    let mut arguments = Vec::new();
    match wanted {
        Toolchain::Clang(None) => arguments.push("LLVM=1".to_string()),
        Toolchain::Clang(Some(version)) => arguments.push(format!("LLVM=-{version}")),
        Toolchain::Gcc(_) if !cross.is_empty() => arguments.push(format!("CROSS_COMPILE={cross}")),
        Toolchain::Gcc(_) => {}
    }
    if ccache {
        arguments.push(format!("CC=ccache {compiler}"));
    } else if matches!(wanted, Toolchain::Gcc(Some(_))) {
        arguments.push(format!("CC={compiler}"));
    }
    let (compiler, pahole) = (version_of(&compiler, cancel)?, version_of("pahole", cancel)?);
    let objcopy = which(&objcopy).unwrap_or_else(|| PathBuf::from(&objcopy));
    Ok(Found { make: PathBuf::from("make"), arguments, compiler, pahole, ccache, objcopy })
}

impl Found {
    /// The compiler's and pahole's versions, in one line: for people, and to tell builds apart.
    pub fn version(&self) -> String {
        format!("{}, pahole {}", self.compiler, self.pahole)
    }
}

/// What a toolchain consists of, with packages; its compiler; its objcopy.
fn needed(wanted: Toolchain, cross: &str, cross_package: &str) -> (Vec<(String, String)>, String, String) {
    match wanted {
        Toolchain::Gcc(version) => {
            let suffix = version.map_or(String::new(), |v| format!("-{v}"));
            let compiler = format!("{cross}gcc{suffix}");
            let package =
                |package: String| if cross.is_empty() { package } else { cross_package.to_string() };
            let all = vec![
                (compiler.clone(), package(format!("gcc{suffix}"))),
                (format!("{cross}ld"), package("binutils".into())),
            ];
            (all, compiler, format!("{cross}objcopy"))
        }
        Toolchain::Clang(version) => {
            let suffix = version.map_or(String::new(), |v| format!("-{v}"));
            let all = [("clang", "clang"), ("ld.lld", "lld"), ("llvm-ar", "llvm"), ("llvm-objcopy", "llvm")];
            let all = all.iter().map(|(a, b)| (format!("{a}{suffix}"), format!("{b}{suffix}"))).collect();
            (all, format!("clang{suffix}"), format!("llvm-objcopy{suffix}"))
        }
    }
}

fn missing(lacking: &[(String, String)], wanted: Toolchain, arch: Arch) -> Error {
    let names: Vec<&str> = lacking.iter().map(|(name, _)| name.as_str()).collect();
    let mut packages: Vec<&str> = lacking.iter().map(|(_, package)| package.as_str()).collect();
    packages.sort_unstable();
    packages.dedup();
    Error::host(format!(
        "building a kernel for {arch} with {wanted} needs {}: not installed",
        names.join(", ")
    ))
    .hint(format!("apt-get install {}", packages.join(" ")))
}

/// The first line of what `--version` says.
pub(super) fn version_of(program: &str, cancel: &Cancel) -> Result<String> {
    let done = child::run(Command::new(program).arg("--version").env("LC_ALL", "C"), program, cancel)?;
    let text = String::from_utf8_lossy(&done.stdout);
    let line: String =
        text.lines().next().unwrap_or("").chars().filter(|c| !c.is_control()).take(120).collect();
    if done.status.success() && !line.is_empty() {
        return Ok(line);
    }
    Err(Error::host(format!(
        "{program} --version does not work: {}",
        done.stderr.lines().next().unwrap_or("")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_unknown_ones_list_the_known() {
        for text in ["gcc", "gcc-12", "clang", "clang-19"] {
            assert_eq!(text.parse::<Toolchain>().unwrap().to_string(), text);
        }
        for bad in ["tcc", "clang-", "clang-new", ""] {
            let error = bad.parse::<Toolchain>().unwrap_err().to_string();
            assert!(error.contains("known: gcc") && error.contains(&format!("'{bad}'")), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_packages() {
        let (needed, compiler, objcopy) =
            needed(Toolchain::Gcc(None), "aarch64-linux-gnu-", "gcc-aarch64-linux-gnu");
        assert_eq!(
            (compiler.as_str(), objcopy.as_str()),
            ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objcopy")
        );
        let error = missing(&needed, Toolchain::Gcc(None), Arch::Arm64);
        assert_eq!(error.fault(), crate::error::Fault::Host);
        assert!(error.to_string().contains("aarch64-linux-gnu-gcc, aarch64-linux-gnu-ld"), "{error}");
        assert_eq!(error.hint_text(), Some("apt-get install gcc-aarch64-linux-gnu"));
    }

    #[test]
    fn the_whole_of_llvm_has_one_suffix() {
        let (all, compiler, _) = needed(Toolchain::Clang(Some(19)), "aarch64-linux-gnu-", "unused");
        assert_eq!(compiler, "clang-19");
        assert!(all.contains(&("ld.lld-19".to_string(), "lld-19".to_string())), "{all:?}");
    }
}
