// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel was built with, as far as its types tell. Where a kind of program is left out of a kernel, libbpf or
//! the verifier would only say that something is invalid.

use std::sync::OnceLock;

use libbpf_sys as sys;

use crate::isolate::Missing;
use crate::model::{HELPERS, Test, Trigger};
use crate::release::Running;
use crate::types;

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
    types::read()?;
    let has = |name| types::number(name, sys::BTF_KIND_STRUCT).is_some();
    PRESENT.get_or_init(|| KINDS.iter().map(|(_, name, _)| has(name)).collect());
    Ok(())
}

/// The functions with a name that a test's program calls and this kernel does not have.
pub fn lacking(test: &Test) -> Vec<&'static str> {
    let has_number = |name: &&str| HELPERS.iter().any(|it| it.1 == *name);
    let is_there = |name: &&str| types::number(name, sys::BTF_KIND_FUNC).is_some();
    test.calls.iter().copied().filter(|name| !has_number(name) && !is_there(name)).collect()
}

/// The functions that these tests need, that this kernel may have by its name, and that it does not have.
pub fn absent<'a>(tests: impl Iterator<Item = &'a Test>, running: Running) -> Vec<&'static str> {
    let mut names: Vec<&str> =
        tests.flat_map(|test| test.unknown_in(running)).map(|need| need.name).collect();
    names.retain(|name| name.starts_with("bpf_"));
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
