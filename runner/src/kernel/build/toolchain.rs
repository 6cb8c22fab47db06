//! The compilers and tools that build a kernel: found, or named with the packages that bring them.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::spec::arch::BuildFacts;
use kvet_host::process;

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
    /// The same of the linker.
    pub linker: String,
    /// The same of the assembler and of objcopy.
    pub others: Vec<String>,
    /// pahole's: `v1.24`.
    pub pahole: String,
    /// Whether ccache is in front of the compiler.
    pub ccache: bool,
    /// The objcopy that knows the architecture.
    pub objcopy: PathBuf,
}

/// Programs that every build runs, and headers that it includes, each with its Debian package.
const PROGRAMS: [(&str, &str); 7] = [
    ("make", "make"),
    // With LLVM, too: clang links objtool with it.
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

/// What a toolchain consists of.
struct Parts {
    /// All programs, with their packages.
    needed: Vec<(String, String)>,
    /// Of these, the ones that decide about the bytes of a kernel.
    compiler: String,
    linker: String,
    /// None where the compiler assembles by itself.
    assembler: Option<String>,
    objcopy: String,
}

/// Finds everything.
///
/// # Errors
/// The host's: programs are missing; all of them are named, with the packages.
pub(super) fn find(wanted: Toolchain, arch: Arch, facts: &BuildFacts, cancel: &Cancel) -> Result<Found> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let which =
        |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let cross = if arch == Arch::host()? { String::new() } else { format!("{}-", facts.triplet) };
    let parts = parts(wanted, &cross, &facts.cross_package);
    let mut lacking: Vec<_> = PROGRAMS.map(|(name, package)| (name.to_string(), package.to_string())).into();
    lacking.extend(parts.needed);
    // A native gcc compiles the kernel and the programs of the build.
    let mut seen = HashSet::new();
    lacking.retain(|(program, _)| which(program).is_none() && seen.insert(program.clone()));
    let headers = HEADERS.iter().filter(|(header, _)| !Path::new(header).is_file());
    lacking.extend(headers.map(|&(header, package)| (header.to_string(), package.to_string())));
    if !lacking.is_empty() {
        return Err(missing(&lacking, wanted, arch));
    }
    let ccache = which("ccache").is_some();
    let arguments = arguments(wanted, &cross, &parts.compiler, ccache);
    let version = |program: &str| version_of(program, cancel);
    let others = parts.assembler.iter().chain([&parts.objcopy]);
    Ok(Found {
        make: PathBuf::from("make"),
        arguments,
        compiler: version(&parts.compiler)?,
        linker: version(&parts.linker)?,
        others: others.map(|program| version(program)).collect::<Result<_>>()?,
        pahole: version("pahole")?,
        ccache,
        objcopy: which(&parts.objcopy).unwrap_or_else(|| PathBuf::from(&parts.objcopy)),
    })
}

/// What make is told.
fn arguments(wanted: Toolchain, cross: &str, compiler: &str, ccache: bool) -> Vec<String> {
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
    arguments
}

impl Found {
    /// The compiler's, the linker's and pahole's versions, in one line, for people.
    pub fn version(&self) -> String {
        format!("{}, {}, pahole {}", self.compiler, self.linker, self.pahole)
    }

    /// The versions of everything that decides about the bytes of a kernel, to tell builds apart.
    pub fn decisive(&self) -> String {
        format!("{}\n{}", self.version(), self.others.join("\n"))
    }
}

fn parts(wanted: Toolchain, cross: &str, cross_package: &str) -> Parts {
    let suffixed = |version: Option<u32>| version.map_or(String::new(), |v| format!("-{v}"));
    match wanted {
        Toolchain::Gcc(version) => {
            let suffix = suffixed(version);
            let package = |package: &str| {
                if cross.is_empty() { package.to_string() } else { cross_package.to_string() }
            };
            let binutils = |name: &str| (format!("{cross}{name}"), package("binutils"));
            let compiler = format!("{cross}gcc{suffix}");
            let needed = vec![
                // The programs of the build itself are compiled by it.
                ("gcc".into(), "gcc".into()),
                (compiler.clone(), package(&format!("gcc{suffix}"))),
                binutils("ld"),
                binutils("as"),
                binutils("objcopy"),
            ];
            Parts {
                needed,
                compiler,
                linker: format!("{cross}ld"),
                assembler: Some(format!("{cross}as")),
                objcopy: format!("{cross}objcopy"),
            }
        }
        Toolchain::Clang(version) => {
            let suffix = suffixed(version);
            let all = [("clang", "clang"), ("ld.lld", "lld"), ("llvm-ar", "llvm"), ("llvm-objcopy", "llvm")];
            let needed = all.iter().map(|(a, b)| (format!("{a}{suffix}"), format!("{b}{suffix}"))).collect();
            Parts {
                needed,
                compiler: format!("clang{suffix}"),
                linker: format!("ld.lld{suffix}"),
                assembler: None,
                objcopy: format!("llvm-objcopy{suffix}"),
            }
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
    // As make will run it.
    let mut command = Command::new(program);
    let done = process::run(process::with_clean_env(command.arg("--version")), program, cancel)?;
    let text = String::from_utf8_lossy(&done.stdout);
    // LLVM's tools say first what they stand for.
    let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit())).unwrap_or("");
    let line: String = line.trim().chars().filter(|c| !c.is_control()).take(120).collect();
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
        let parts = parts(Toolchain::Gcc(None), "aarch64-linux-gnu-", "gcc-aarch64-linux-gnu");
        assert_eq!(
            (parts.compiler.as_str(), parts.objcopy.as_str()),
            ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objcopy")
        );
        let needed: Vec<_> = parts.needed.into_iter().filter(|(name, _)| name != "gcc").collect();
        let error = missing(&needed, Toolchain::Gcc(None), Arch::Arm64);
        assert_eq!(error.fault(), crate::error::Fault::Host);
        assert!(error.to_string().contains("aarch64-linux-gnu-gcc, aarch64-linux-gnu-ld"), "{error}");
        assert_eq!(error.hint_text(), Some("apt-get install gcc-aarch64-linux-gnu"));
    }

    #[test]
    fn the_whole_of_llvm_has_one_suffix() {
        let parts = parts(Toolchain::Clang(Some(19)), "aarch64-linux-gnu-", "unused");
        assert_eq!((parts.compiler.as_str(), parts.linker.as_str()), ("clang-19", "ld.lld-19"));
        let all = parts.needed;
        assert!(all.contains(&("ld.lld-19".to_string(), "lld-19".to_string())), "{all:?}");
        assert!(all.iter().all(|(name, _)| name.ends_with("-19")), "no gcc: {all:?}");
    }

    #[test]
    fn the_linker_and_the_assembler_tell_builds_apart() {
        let found = Found {
            make: "make".into(),
            arguments: vec![],
            compiler: "gcc 12".into(),
            linker: "GNU ld 2.40".into(),
            others: vec!["GNU assembler 2.40".into(), "GNU objcopy 2.40".into()],
            pahole: "v1.30".into(),
            ccache: false,
            objcopy: "objcopy".into(),
        };
        assert_eq!(found.version(), "gcc 12, GNU ld 2.40, pahole v1.30");
        let newer = |others: [&str; 2]| Found { others: others.map(str::to_owned).into(), ..found.clone() };
        assert_ne!(newer(["GNU assembler 2.41", "GNU objcopy 2.40"]).decisive(), found.decisive());
        assert_ne!(newer(["GNU assembler 2.40", "GNU objcopy 2.41"]).decisive(), found.decisive());
        assert_ne!(Found { linker: "GNU ld 2.41".into(), ..found.clone() }.decisive(), found.decisive());
    }
}
