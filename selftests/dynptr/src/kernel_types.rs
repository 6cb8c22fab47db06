// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel was built with, as far as its types tell. Where a kind of program is left out of a kernel, libbpf or
//! the verifier would only say that something is invalid.

use std::fs;
use std::sync::OnceLock;

use crate::environment::VMLINUX_BTF;
use crate::isolate::Missing;
use crate::model::{HELPERS, Test, Trigger};
use crate::release::Running;

/// How a test's programs are run, a type that only kernels have which can, and the option that gives it to them.
const KINDS: &[(Trigger, &str, &str)] = &[
    (Trigger::Netfilter, "bpf_nf_link", "NETFILTER_BPF_LINK"),
    (Trigger::Qdisc, "bpf_struct_ops_Qdisc_ops", "NET_SCH_BPF"),
];
/// The option that queueing disciplines need, also where one only has to be refused.
const QDISC_OPTION: usize = 1;

/// Which of [`KINDS`] the kernel has.
static PRESENT: OnceLock<Vec<bool>> = OnceLock::new();

/// The option that the kernel lacks for this test; nothing where its types could not be read, which [`read`] has said.
pub fn missing(test: &Test) -> Option<Missing> {
    let index = match &test.run {
        _ if test.ops.is_some() => QDISC_OPTION,
        crate::model::Run::Trigger(kind) => KINDS.iter().position(|it| it.0 == *kind)?,
        crate::model::Run::Rejected(_) => return None,
    };
    let present = PRESENT.get()?;
    (!present[index]).then(|| Missing::Config(KINDS[index].2.into()))
}

/// Reads the kernel's types, before processes part.
///
/// # Errors
/// Where they cannot be read: what is not known is not missing.
pub fn read() -> Result<(), String> {
    let btf = types()?;
    PRESENT.get_or_init(|| KINDS.iter().map(|(_, name, _)| has_name(&btf, name)).collect());
    Ok(())
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
