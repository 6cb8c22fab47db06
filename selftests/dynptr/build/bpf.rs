// SPDX-License-Identifier: GPL-2.0-only
//! Compiles `bpf/*.bpf.c` and links them into one object, so that the harness reads the kernel's BTF once.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libbpf_cargo::SkeletonBuilder;
use libbpf_rs::{Linker, ObjectBuilder};

/// The source that defines what the others share.
const DEFINITIONS: &str = "common";

/// What was built.
pub struct Built {
    /// Program → the name of the source that has it.
    pub programs: BTreeMap<String, String>,
    /// The names of the sources, and where they are.
    pub sources: Vec<(String, PathBuf)>,
}

/// Builds `out` from all of `dir`'s sources.
pub fn build(dir: &Path, out_dir: &Path, out: &Path) -> Result<Built, String> {
    let clang = clang()?;
    let args = arguments()?;
    let sources = sources(dir)?;
    let mut linker = Linker::new(out).map_err(|err| format!("cannot link to {}: {err:#}", out.display()))?;
    for (name, path) in &sources {
        let object = out_dir.join(format!("{name}.bpf.o"));
        SkeletonBuilder::new()
            .source(path)
            .obj(&object)
            .clang(&clang)
            .clang_args(&args)
            .build()
            .map_err(|err| format!("{err:#}"))?;
        linker.add_file(&object).map_err(|err| format!("cannot link {}: {err:#}", object.display()))?;
    }
    linker.link().map_err(|err| format!("cannot link {}: {err:#}", out.display()))?;
    Ok(Built { programs: programs_of(out, &sources)?, sources })
}

/// `$CLANG`, or the version that the programs are known to be right with: older ones make code that old verifiers
/// understand less well.
fn clang() -> Result<PathBuf, String> {
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang-19".into());
    let works = Command::new(&clang).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match works {
        Ok(status) if status.success() => Ok(clang.into()),
        _ => Err(format!(
            "cannot run {}, which compiles the BPF programs. hint: apt install clang-19, or set CLANG to another",
            clang.display()
        )),
    }
}

/// clang's arguments: warnings are errors, and the instructions are those of every kernel that has dynptrs.
fn arguments() -> Result<Vec<OsString>, String> {
    let host = env::var("HOST").map_err(|err| format!("HOST: {err}"))?;
    let architecture = host.split('-').next().unwrap_or_default();
    // The kernel's headers have an architecture-dependent part, where clang does not look for BPF. Which one it is
    // does not matter to what the programs use of it.
    let headers = PathBuf::from(format!("/usr/include/{architecture}-linux-gnu"));
    if !headers.join("asm/types.h").exists() {
        return Err(format!("no asm/types.h in {}. hint: apt install linux-libc-dev", headers.display()));
    }
    Ok(["-mcpu=v3".into(), "-Wall".into(), "-Werror".into(), "-idirafter".into(), headers.into()].into())
}

fn sources(dir: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let entries = fs::read_dir(dir).map_err(|err| format!("cannot read {}: {err}", dir.display()))?;
    let mut sources = Vec::new();
    for entry in entries {
        let path = entry.map_err(|err| format!("cannot read {}: {err}", dir.display()))?.path();
        println!("cargo::rerun-if-changed={}", path.display());
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".bpf.c"));
        if let Some(name) = name {
            sources.push((name.to_owned(), path.clone()));
        }
    }
    // libbpf's linker loses the offsets of maps that it comes to know before their definition.
    sources.sort_by_key(|(name, _)| (name != DEFINITIONS, name.clone()));
    Ok(sources)
}

/// The programs of the linked object, and which source each is from: the names are unique, or it would not link.
fn programs_of(object: &Path, sources: &[(String, PathBuf)]) -> Result<BTreeMap<String, String>, String> {
    let opened = ObjectBuilder::default()
        .open_file(object)
        .map_err(|err| format!("cannot open {}: {err:#}", object.display()))?;
    let mut programs = BTreeMap::new();
    for (name, path) in sources {
        let text =
            fs::read_to_string(path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
        for program in opened.progs() {
            let program = program.name().to_string_lossy().into_owned();
            // The macro is libbpf's, for programs whose arguments have types.
            let [plain, typed] = [format!("\nint {program}("), format!("\nint BPF_PROG({program},")];
            if text.contains(&plain) || text.contains(&typed) {
                programs.insert(program, name.clone());
            }
        }
    }
    match opened.progs().find(|program| !programs.contains_key(&*program.name().to_string_lossy())) {
        Some(lost) => Err(format!("program {:?}: no source has it at the beginning of a line", lost.name())),
        None => Ok(programs),
    }
}
