//! `configs/kernels.yaml`: which kernel is the default, and where kernels are looked for.

use serde::Deserialize;

use crate::error::Result;
use crate::kernel::DebianSuites;
use crate::spec::{self, home::Home};

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelsConfig {
    /// The kernel that `kvet run` takes without `-k`.
    pub default: String,
    /// The suite that `kvet run` takes without `--suite`.
    pub suite: String,
    /// The Debian archive.
    pub debian: DebianSuites,
}

impl KernelsConfig {
    /// Reads it.
    ///
    /// # Errors
    /// The caller's: the file is not what it should be.
    pub fn load(home: &Home) -> Result<Self> {
        spec::load(&home.config("kernels.yaml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_we_ship_is_right_and_typos_are_not() {
        let text = include_str!("../../../configs/kernels.yaml");
        let config: KernelsConfig = spec::parse(text).unwrap();
        config.default.parse::<crate::kernel::KernelSpec>().unwrap();
        assert!(config.debian.suites.iter().any(|suite| suite.name == config.debian.packages_suite));
        let e =
            spec::parse::<KernelsConfig>(&text.replace("archived:", "archive_d:")).unwrap_err().to_string();
        assert!(e.contains("archive_d") && e.contains("line"), "{e}");
    }
}
