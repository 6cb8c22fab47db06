// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel has, as far as its types tell.

use libbpf_sys as sys;

use crate::tables::HELPERS;
use crate::types;
use dynptr_spec::Running;
use dynptr_spec::Test;

/// Those of these types that the kernel has.
///
/// # Errors
/// Where they cannot be read: what is not known is not missing.
pub fn present(names: &[&'static str]) -> Result<Vec<&'static str>, String> {
    types::read()?;
    Ok(names.iter().copied().filter(|name| types::number(name, sys::BTF_KIND_STRUCT).is_some()).collect())
}

/// The functions with a name that a test's program calls and this kernel does not have.
pub fn lacking(test: &Test) -> Vec<&'static str> {
    let has_number = |name: &&str| HELPERS.iter().any(|it| it.1 == *name);
    let is_there = |name: &&str| types::number(name, sys::BTF_KIND_FUNC).is_some();
    test.calls.iter().copied().filter(|name| !has_number(name) && !is_there(name)).collect()
}

/// The functions that these tests need, that this kernel may have by its name, and that it does not have.
pub fn absent<'a>(tests: impl Iterator<Item = &'a Test>, running: Running) -> Vec<&'static str> {
    let unknown = tests.flat_map(|test| test.unknown_in(running));
    let mut names: Vec<&str> = unknown.filter(|need| need.is_function()).map(|need| need.name).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| {
        // What has a number is in the list of numbers.
        let is_helper = HELPERS.iter().any(|it| it.1 == *name);
        let listed = if is_helper { name.replacen("bpf_", "BPF_FUNC_", 1) } else { (*name).to_owned() };
        !types::has_string(&listed)
    });
    names
}
