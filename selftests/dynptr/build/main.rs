// SPDX-License-Identifier: GPL-2.0-only
//! Builds the BPF object and the tables of tests that the harness carries.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod bpf;
mod calls;
mod libelf;
mod rejections;
// The tests of both are run with the harness' own.
#[path = "../src/release.rs"]
#[expect(dead_code, reason = "the harness uses more of it")]
mod release;
mod survivors;
mod table;
mod yaml;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/release.rs");
    // What src/isolate.rs, src/loader.rs and src/types.rs do instead of these.
    let types = ["btf__load_vmlinux_btf", "btf__free", "btf__find_by_name_kind"];
    for function in ["free", "bpf_prog_load", "bpf_prog_bind_map"].iter().chain(&types) {
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
    libelf::complete()?;

    let object = out_dir.join("suite.bpf.o");
    let built = bpf::build(&root.join("bpf"), &out_dir, &object)?;
    let (path, text) = read(&root, "expectations.yaml")?;
    let at = |err| format!("{path}: {err}");
    let file = table::parse(&text).map_err(at)?;
    let mut programs = table::Programs { sources: built.programs, ..Default::default() };
    for (program, uses) in calls::of_programs(&object, &file.helpers())? {
        programs.sections.insert(program.clone(), uses.section);
        programs.calls.insert(program.clone(), uses.calls);
        programs.maps.insert(program, uses.maps);
    }
    let mut tables = file.generate(&programs).map_err(at)?;
    let (path, text) = read(&root, "suite.yaml")?;
    file.check_manifest(&text).map_err(|err| format!("{path}: {err}"))?;

    let (path, text) = read(&root, "coverage.yaml")?;
    tables += &table::coverage::Coverage::parse(&text).map_err(|err| format!("{path}: {err}"))?.generate();
    let (path, text) = read(&root, "rejections.yaml")?;
    let rejections = rejections::Rejections::parse(&text).and_then(|it| it.generate());
    tables += &rejections.map_err(|err| format!("{path}: {err}"))?;
    let (path, text) = read(&root, "survivors.yaml")?;
    let survivors = survivors::Survivors::parse(&text).and_then(|it| it.generate());
    tables += &survivors.map_err(|err| format!("{path}: {err}"))?;

    tables += "\n/// The sources of the programs, by name.\npub static SOURCES: &[(&str, &str)] = &[\n";
    for (name, path) in &built.sources {
        let _ = writeln!(tables, "({name:?}, include_str!({path:?})),");
    }
    tables += "];\n";
    let tables_path = out_dir.join("tables.rs");
    fs::write(&tables_path, tables).map_err(|err| format!("cannot write {}: {err}", tables_path.display()))
}

/// A file of data, and its path: cargo is told that what is built depends on it.
fn read(root: &Path, name: &str) -> Result<(String, String), String> {
    let path = root.join(name).display().to_string();
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(&path).map_err(|err| format!("cannot read {path}: {err}"))?;
    Ok((path, text))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|err| format!("{name}: {err}"))
}
