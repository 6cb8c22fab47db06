// SPDX-License-Identifier: GPL-2.0-only
//! Builds the BPF object and the tables of tests that the harness carries.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

mod bpf;
mod calls;
mod libelf;
// The tests of both are run with the harness' own.
#[path = "../src/release.rs"]
#[expect(dead_code, reason = "the harness uses more of it")]
mod release;
mod survivors;
mod table;

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
    let path = root.join("expectations.yaml");
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let at = |err| format!("{}: {err}", path.display());
    let file = table::parse(&text).map_err(at)?;
    let mut programs =
        table::Programs { sources: built.programs, calls: BTreeMap::new(), maps: BTreeMap::new() };
    for (program, uses) in calls::of_programs(&object, &file.helpers())? {
        programs.calls.insert(program.clone(), uses.calls);
        programs.maps.insert(program, uses.maps);
    }
    let mut tables = file.generate(&programs).map_err(at)?;

    let path = root.join("coverage.yaml");
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let at = |err| format!("{}: {err}", path.display());
    tables += &table::Coverage::parse(&text).map_err(at)?.generate();

    let path = root.join("survivors.yaml");
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let at = |err| format!("{}: {err}", path.display());
    tables += &survivors::Survivors::parse(&text).and_then(|it| it.generate()).map_err(at)?;

    tables += "\n/// The sources of the programs, by name.\npub static SOURCES: &[(&str, &str)] = &[\n";
    for (name, path) in &built.sources {
        let _ = writeln!(tables, "({name:?}, include_str!({path:?})),");
    }
    tables += "];\n";
    let tables_path = out_dir.join("tables.rs");
    fs::write(&tables_path, tables).map_err(|err| format!("cannot write {}: {err}", tables_path.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|err| format!("{name}: {err}"))
}
