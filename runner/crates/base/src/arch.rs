//! The architectures a guest can have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An architecture kernels are vetted on. Its facts (QEMU binary, machine, console) are in `configs/arch/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "arm64")]
    Arm64,
}

impl Arch {
    /// Every architecture, in the order they are listed to people.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Arm64];

    /// The architecture this process runs on.
    ///
    /// # Errors
    /// The host is of an architecture that kvet does not know.
    pub fn host() -> Result<Arch> {
        std::env::consts::ARCH.parse().map_err(|_| {
            Error::host(format!("this machine is {}; kvet knows x86_64 and arm64", std::env::consts::ARCH))
        })
    }

    /// The kernel's name for it (`ARCH=` in kbuild, except that x86_64 is spelled so).
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// Debian's name for it (`dpkg --print-architecture`).
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The ELF machine number (`e_machine`, System V ABI).
    pub fn elf_machine(self) -> u16 {
        match self {
            Arch::X86_64 => 62,
            Arch::Arm64 => 183,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Arch {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "x86_64" | "amd64" | "x86-64" => Ok(Arch::X86_64),
            "arm64" | "aarch64" => Ok(Arch::Arm64),
            _ => Err(Error::caller(format!(
                "unknown architecture '{s}'; known: x86_64 (amd64), arm64 (aarch64)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_unknown_names() {
        assert_eq!("amd64".parse::<Arch>().unwrap(), Arch::X86_64);
        assert_eq!("aarch64".parse::<Arch>().unwrap(), Arch::Arm64);
        let e = "riscv".parse::<Arch>().unwrap_err().to_string();
        assert!(e.contains("'riscv'") && e.contains("arm64"), "{e}");
    }
}
