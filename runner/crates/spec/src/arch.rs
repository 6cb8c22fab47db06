//! `configs/arch/*.yaml`: how guests of an architecture are run.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::home::Home;
use kvet_base::arch::Arch;
use kvet_base::error::{Error, Result};
use kvet_base::event::Accel;

/// The facts about one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchFacts {
    /// QEMU's binary.
    pub qemu: String,
    /// The Debian package that has it.
    pub package: String,
    /// `-machine` by accelerator.
    pub machine: ByAccel,
    /// `-cpu` by accelerator.
    pub cpu: ByAccel,
    /// `-cpu` under TCG for kernels with pages of so many KiB; [`ArchFacts::cpu`] is for those with 4 KiB.
    #[serde(default)]
    pub cpu_for_pages: BTreeMap<u32, String>,
    /// The serial console.
    pub console: Console,
    /// Additional kernel arguments.
    pub cmdline: Vec<String>,
    /// How kernels and programs of it are built.
    pub build: BuildFacts,
}

/// How kernels and programs of an architecture are built.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildFacts {
    /// Its folder below `arch/` in the kernel's source.
    pub source_arch: String,
    /// What its tools and its folder of libraries are called: `aarch64-linux-gnu`.
    pub triplet: String,
    /// The dynamic loader of its C library.
    pub loader: String,
    /// The Debian package with its compiler, for hosts of another architecture.
    pub cross_package: String,
    /// What can be booted, best first.
    pub images: Vec<BuiltImage>,
}

/// A form of image that make makes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltImage {
    /// An option that it needs built in.
    #[serde(default)]
    pub needs: Option<String>,
    /// Make's target.
    pub target: String,
    /// The file, in make's output folder.
    pub image: String,
}

impl BuildFacts {
    /// The best image that a config allows.
    ///
    /// # Errors
    /// The caller's: it allows none.
    pub fn plan(&self, is_builtin: impl Fn(&str) -> bool) -> Result<&BuiltImage> {
        let fit = self.images.iter().find(|image| image.needs.as_deref().is_none_or(&is_builtin));
        fit.ok_or_else(|| {
            let needs: Vec<&str> = self.images.iter().filter_map(|image| image.needs.as_deref()).collect();
            Error::caller(format!(
                "this config makes no image that can be booted: {} is needed",
                needs.join(" or ")
            ))
        })
    }
}

/// A value for each accelerator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByAccel {
    /// Under KVM.
    pub kvm: String,
    /// Under TCG.
    pub tcg: String,
}

impl ByAccel {
    /// The value for one of them.
    pub fn get(&self, accel: Accel) -> &str {
        match accel {
            Accel::Kvm => &self.kvm,
            Accel::Tcg => &self.tcg,
        }
    }
}

/// The serial console of an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// The kernel's name for it.
    pub device: String,
    /// What the kernel needs built in for it.
    pub kconfig: Vec<String>,
}

impl ArchFacts {
    /// `-cpu` for a kernel with pages of so many KiB, where that is known. KVM has the host's CPU and no choice.
    ///
    /// # Errors
    /// The kernel's: no CPU is known to have such pages. On one that has not, it hangs without a word.
    pub fn cpu_for(&self, accel: Accel, page_kib: Option<u32>) -> Result<&str> {
        match (accel, page_kib) {
            (Accel::Kvm, _) | (Accel::Tcg, None | Some(4)) => Ok(self.cpu.get(accel)),
            (Accel::Tcg, Some(size)) => self.cpu_for_pages.get(&size).map(String::as_str).ok_or_else(|| {
                Error::kernel(format!(
                    "the kernel has pages of {size} KiB, and no CPU to emulate is known to have them"
                ))
                .hint("`cpu_for_pages` in configs/arch/ names one")
            }),
        }
    }

    /// Reads the facts about an architecture.
    ///
    /// # Errors
    /// The caller's: the file is not what it should be.
    pub fn load(home: &Home, arch: Arch) -> Result<Self> {
        super::load(&home.config(&format!("arch/{arch}.yaml")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_suits_the_pages() {
        let mut facts: ArchFacts = crate::parse(include_str!("../../../../configs/arch/arm64.yaml")).unwrap();
        let cpu = |facts: &ArchFacts, accel, pages| facts.cpu_for(accel, pages).map(str::to_owned);
        let usual = facts.cpu.tcg.clone();
        for pages in [None, Some(4)] {
            assert_eq!(cpu(&facts, Accel::Tcg, pages).unwrap(), usual);
        }
        assert_ne!(cpu(&facts, Accel::Tcg, Some(16)).unwrap(), usual, "a cortex-a57 has no pages of 16 KiB");
        assert_eq!(cpu(&facts, Accel::Kvm, Some(16)).unwrap(), "host");
        facts.cpu_for_pages.clear();
        let error = cpu(&facts, Accel::Tcg, Some(16)).unwrap_err();
        assert_eq!(error.fault(), kvet_base::error::Fault::Kernel);
        assert!(error.to_string().contains("16 KiB"), "{error}");
    }

    #[test]
    fn the_files_we_ship_are_right_and_typos_are_not() {
        for text in [
            include_str!("../../../../configs/arch/x86_64.yaml"),
            include_str!("../../../../configs/arch/arm64.yaml"),
        ] {
            let facts: ArchFacts = crate::parse(text).unwrap();
            assert!(facts.qemu.starts_with("qemu-system-"));
            let typo = text.replace("package:", "pakage:");
            let e = crate::parse::<ArchFacts>(&typo).unwrap_err().to_string();
            assert!(e.contains("pakage") && e.contains("line"), "{e}");
        }
    }
}
