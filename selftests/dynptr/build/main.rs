// SPDX-License-Identifier: GPL-2.0-only
//! Builds the BPF object, and the tables of tests that the harness carries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use databake::{Bake, CrateEnv, quote};
use dynptr_spec::load::{Coverage, Expectations, Programs, Rejections, Survivors};

mod bpf;
mod calls;
mod libelf;

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
    // What src/isolate.rs, src/loader.rs and src/types.rs do instead of these.
    let types = ["btf__load_vmlinux_btf", "btf__free", "btf__find_by_name_kind"];
    for function in ["free", "bpf_prog_load", "bpf_prog_bind_map"].iter().chain(&types) {
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
    libelf::complete()?;

    let object = out_dir.join("suite.bpf.o");
    let built = bpf::build(&root.join("bpf"), &out_dir, &object)?;
    let tables = tables(&root, &object, &built)?;
    let path = out_dir.join("tables.rs");
    fs::write(&path, tables).map_err(|err| format!("cannot write {}: {err}", path.display()))
}

/// Loads and checks the YAML files, and writes what they say as Rust constants.
fn tables(root: &Path, object: &Path, built: &bpf::Built) -> Result<String, String> {
    let expectations = load(root, "expectations.yaml", Expectations::parse)?;
    load(root, "suite.yaml", |text| expectations.check_manifest(text))?;
    let programs = programs(object, built, &expectations)?;
    // Of the machine that the harness is built for, not of the one that builds it.
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let tables = expectations
        .tables(&programs, &arch)
        .map_err(|err| format!("{}: {err}", root.join("expectations.yaml").display()))?;
    let upstream = load(root, "coverage.yaml", Coverage::parse)?.table();
    let rejected = load(root, "rejections.yaml", |text| Rejections::parse(text)?.tables())?;
    let survivors = load(root, "survivors.yaml", |text| Survivors::parse(text)?.table())?;

    let env = CrateEnv::default();
    let [functions, helpers] = [tables.functions.bake(&env), tables.helpers.bake(&env)];
    let [shown, groups] = [tables.shown.bake(&env), tables.groups.bake(&env)];
    let [rules, reasons] = [rejected.rules.bake(&env), rejected.reasons.bake(&env)];
    let [rejections, upstream] = [rejected.rejections.bake(&env), upstream.bake(&env)];
    let survivors = survivors.bake(&env);
    let (names, paths): (Vec<_>, Vec<_>) =
        built.sources.iter().map(|(name, path)| (name, path.display().to_string())).unzip();
    let code = quote! {
        /// The functions that the suite is about.
        pub static FUNCTIONS: &[dynptr_spec::Need] = #functions;
        /// The functions that programs call by number.
        pub static HELPERS: &[(i32, &str)] = #helpers;
        /// The types that show how a kernel was built.
        pub static SHOWN: &[&str] = #shown;
        /// All tests, by group.
        pub static GROUPS: &[dynptr_spec::Group] = #groups;
        /// Upstream's subtests, and ours.
        pub static UPSTREAM: &[dynptr_spec::Upstream] = #upstream;
        /// The ways in which a call can be wrong.
        pub static RULES: &[(&str, &str)] = #rules;
        /// Why the verifier may refuse nothing.
        pub static REASONS: &[(&str, &str)] = #reasons;
        /// What it refuses of each function.
        pub static REJECTIONS: &[dynptr_spec::Rejection] = #rejections;
        /// Mutants that are not noticed, or not run.
        #[cfg(feature = "selftests")]
        pub static SURVIVORS: &[dynptr_spec::Survivor] = #survivors;
        /// The sources of the programs, by name.
        pub static SOURCES: &[(&str, &str)] = &[#((#names, include_str!(#paths))),*];
    };
    Ok(code.to_string())
}

/// What the programs are, by their sources and the linked object.
fn programs(object: &Path, built: &bpf::Built, expectations: &Expectations) -> Result<Programs, String> {
    let mut programs = Programs { sources: built.programs.clone(), ..Programs::default() };
    for (program, uses) in calls::of_programs(object, &expectations.helpers())? {
        programs.sections.insert(program.clone(), uses.section);
        programs.calls.insert(program.clone(), uses.calls);
        programs.maps.insert(program, uses.maps);
    }
    Ok(programs)
}

/// Reads a file of data. Cargo rebuilds when it changes; errors begin with its path.
fn load<T>(root: &Path, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    let path = root.join(name);
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    parse(&text).map_err(|err| format!("{}: {err}", path.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|err| format!("{name}: {err}"))
}
