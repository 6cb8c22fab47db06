// SPDX-License-Identifier: GPL-2.0-only
//! What a static libelf needs that libbpf-sys does not know of.

use std::env;
use std::path::{Path, PathBuf};

/// The file in which that is, for the linker.
const GAP: &str = "build/libelf_gap.c";

/// Completes the libraries of a static binary; a dynamic one finds its own.
pub fn complete() -> Result<(), String> {
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !features.split(',').any(|feature| feature == "crt-static") {
        return Ok(());
    }
    cc::Build::new()
        .file(GAP)
        // libelf comes later on the command line: by then, nothing would be taken out of an archive any more.
        .link_lib_modifier("+whole-archive")
        .try_compile("libelf_gap")
        .map_err(|err| format!("cannot compile {GAP}: {err}"))?;
    // Since 0.190, libelf unpacks sections with zstd. An archive that nothing refers to does no harm.
    if let Some(zstd) = directories()?.iter().map(|dir| dir.join("libzstd.a")).find(|path| path.exists()) {
        println!("cargo::rustc-link-arg={}", zstd.display());
    }
    Ok(())
}

/// Where libbpf-sys looks for libelf, and where Debian has it.
fn directories() -> Result<Vec<PathBuf>, String> {
    let target = env::var("TARGET").map_err(|err| format!("TARGET: {err}"))?;
    let architecture = target.split('-').next().unwrap_or_default();
    let global = "LIBBPF_SYS_LIBRARY_PATH";
    let names =
        [format!("{global}_{target}"), format!("{global}_{}", target.replace('-', "_")), global.to_owned()];
    let mut directories = Vec::new();
    for name in names {
        println!("cargo::rerun-if-env-changed={name}");
        directories.extend(env::var_os(name).iter().flat_map(env::split_paths));
    }
    directories.push(Path::new("/usr/lib").join(format!("{architecture}-linux-gnu")));
    Ok(directories)
}
