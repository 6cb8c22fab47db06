//! What a suite's program is told about the kernel that it runs on: how it was built, and which modules there are.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::initramfs::modules::{ModuleTree, Place};
use crate::kernel::{Kernel, KernelConfig};
use crate::spec::suite::{TOLD_MODULES, TOLD_OPTIONS};

/// No value that means something to a test is longer, in bytes.
const MAX_VALUE: usize = 1024;

/// The environment variables that tell it. `carried` are the modules that are put into the initramfs, with what they need.
///
/// # Errors
/// The kernel's: a value of its config is too long to be told, or a module is damaged.
pub fn about(
    tell: &BTreeMap<String, Vec<String>>,
    kernel: &Kernel,
    tree: &ModuleTree,
    share_9p: bool,
    carried: &[&str],
) -> Result<Vec<(String, String)>> {
    if tell.is_empty() {
        return Ok(Vec::new());
    }
    let mut told = Vec::new();
    if let Some(config) = &kernel.config {
        told.push((TOLD_OPTIONS.to_owned(), options(tell, config)?));
    }
    let modules = modules(tell, tree, share_9p, carried)?;
    told.push((TOLD_MODULES.to_owned(), modules.join(" ")));
    Ok(told)
}

/// A line for each option.
fn options(tell: &BTreeMap<String, Vec<String>>, config: &KernelConfig) -> Result<String> {
    let mut lines = String::new();
    for option in tell.keys() {
        let value = config.get(option).unwrap_or("n");
        if value.len() > MAX_VALUE {
            let length = value.len();
            return Err(Error::kernel(format!(
                "{option} of the kernel's config has {length} bytes; the suite can be told at most {MAX_VALUE}"
            )));
        }
        lines += &format!("{option}={value}\n");
    }
    Ok(lines)
}

/// Those of the modules that the guest can load: all of the kernel's that are shared with it, or else what is carried.
fn modules(
    tell: &BTreeMap<String, Vec<String>>,
    tree: &ModuleTree,
    share_9p: bool,
    carried: &[&str],
) -> Result<Vec<String>> {
    let carried: Vec<String> = match share_9p {
        true => Vec::new(),
        false => tree.closure(carried)?.load.into_iter().map(|module| module.name).collect(),
    };
    let mut found = Vec::new();
    for name in tell.values().flatten() {
        let is_there = match share_9p {
            true => matches!(tree.find(name)?, Some(Place::File(_))),
            false => carried.contains(name),
        };
        if is_there && !found.contains(name) {
            found.push(name.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tell() -> BTreeMap<String, Vec<String>> {
        let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        [
            ("CONFIG_TUN", names(&["tun"])),
            ("CONFIG_AES", names(&["aes_generic", "aes"])),
            ("CONFIG_LSM", names(&[])),
        ]
        .map(|(option, modules)| (option.to_owned(), modules))
        .into()
    }

    #[test]
    fn every_option_has_a_line_and_what_is_not_set_is_n() {
        let config = KernelConfig::parse("CONFIG_TUN=m\nCONFIG_LSM=\"yama,bpf\"\nCONFIG_OTHER=y\n");
        assert_eq!(options(&tell(), &config).unwrap(), "CONFIG_AES=n\nCONFIG_LSM=yama,bpf\nCONFIG_TUN=m\n");
        let long = KernelConfig::parse(&format!("CONFIG_LSM=\"{}\"\n", "x".repeat(1025)));
        let error = options(&tell(), &long).unwrap_err().to_string();
        assert!(error.contains("CONFIG_LSM") && error.contains("1025 bytes"), "{error}");
    }

    #[test]
    fn modules_are_told_where_they_can_be_loaded() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tun", "aes", "veth"] {
            fs::write(dir.path().join(format!("{name}.ko")), "").unwrap();
        }
        fs::write(dir.path().join("modules.dep"), "tun.ko:\naes.ko:\nveth.ko:\n").unwrap();
        let tree = ModuleTree::open(dir.path()).unwrap();
        assert_eq!(modules(&tell(), &tree, true, &["tun"]).unwrap(), ["aes", "tun"]);
        assert_eq!(modules(&tell(), &ModuleTree::none(), true, &["tun"]).unwrap(), [""; 0]);
        assert_eq!(modules(&tell(), &ModuleTree::none(), false, &["tun"]).unwrap(), [""; 0]);
    }
}
