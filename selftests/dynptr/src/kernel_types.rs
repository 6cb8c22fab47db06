// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel has, as far as its types tell.

use std::fs;

use crate::environment::VMLINUX_BTF;
use crate::model::{HELPERS, Test};
use crate::release::Running;

/// Those of these types that the kernel has.
///
/// # Errors
/// Where its types cannot be read.
pub fn present(names: &[&'static str]) -> Result<Vec<&'static str>, String> {
    let btf = types()?;
    Ok(names.iter().copied().filter(|name| has_name(&btf, name)).collect())
}

fn types() -> Result<Vec<u8>, String> {
    fs::read(VMLINUX_BTF).map_err(|err| format!("cannot read {VMLINUX_BTF}: {err}"))
}

/// The functions that these tests need, that this kernel may have by its name, and that it does not have.
///
/// # Errors
/// Where the kernel's types cannot be read.
pub fn absent<'a>(
    tests: impl Iterator<Item = &'a Test>,
    running: Running,
) -> Result<Vec<&'static str>, String> {
    let mut names: Vec<&str> =
        tests.flat_map(|test| test.unknown_in(running)).map(|need| need.name).collect();
    names.retain(|name| name.starts_with("bpf_"));
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(names);
    }
    let btf = types()?;
    names.retain(|name| {
        // What has a number is in the list of numbers.
        let is_helper = HELPERS.iter().any(|it| it.1 == *name);
        let listed = if is_helper { name.replacen("bpf_", "BPF_FUNC_", 1) } else { (*name).to_owned() };
        !has_name(&btf, &listed)
    });
    Ok(names)
}

/// Is there a string that is just this? Types are not told from other things with names: the names here are too odd.
fn has_name(btf: &[u8], name: &str) -> bool {
    let needle = format!("\0{name}\0");
    // SAFETY: both are as long as is said.
    let found = unsafe { libc::memmem(btf.as_ptr().cast(), btf.len(), needle.as_ptr().cast(), needle.len()) };
    !found.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_names_only() {
        let btf = b"\0int\0bpf_nf_link\0bpf_nf_link_ops\0";
        assert!(has_name(btf, "bpf_nf_link"));
        assert!(has_name(btf, "int"));
        assert!(!has_name(btf, "bpf_nf"));
        assert!(!has_name(btf, "nf_link"));
        assert!(!has_name(b"", "int"));
    }
}
