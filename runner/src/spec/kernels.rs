//! `configs/kernels.yaml`: which kernel is the default, and where kernels are looked for.

use serde::Deserialize;

use crate::error::Result;
use crate::kernel::DebianSuites;
use crate::spec::home::Home;

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
        super::load(&home.config("kernels.yaml"))
    }
}
