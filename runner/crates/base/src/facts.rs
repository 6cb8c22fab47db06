//! What is known about a kernel: which it is, how it was built, and how long that took.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::seconds;

/// What is known about the kernel of a cell once it is there. Goes into `run.yaml` and every report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelFacts {
    /// The spec that named it.
    pub spec: String,
    /// `uname -r`, as read from the image: `7.2.12+deb13-amd64`.
    pub release: String,
    /// The upstream version, `7.2.12`.
    pub version: String,
    /// Where it came from, in one line for people: `linux-image-… 6.12.107-1 (trixie)`.
    pub origin: String,
    /// SHA-256 of the image, hexadecimal.
    pub image_sha256: String,
    /// Package files it was unpacked from, with their SHA-256.
    #[serde(default)]
    pub packages: Vec<PackageFacts>,
    /// Some kconfig options that matter to a reader of the report, `CONFIG_X` → value.
    #[serde(default)]
    pub config: std::collections::BTreeMap<String, String>,
    /// How it was built, where kvet built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<Box<BuiltFacts>>,
}

impl KernelFacts {
    /// What is the same for the same kernel: of one that was built that of its config and code, else that of its image.
    pub fn signature(&self) -> &str {
        self.built.as_ref().map_or(&self.image_sha256, |built| &built.signature)
    }
}

/// How a kernel was built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuiltFacts {
    /// The source as it was asked for, `tree:/home/you/linux`.
    pub source: String,
    /// Which state of it: the nearest tag and the commit, or the package.
    pub describe: Option<String>,
    /// Whether there were changes that are not committed.
    pub dirty: bool,
    /// Another one when anything in the source is another.
    pub identity: String,
    /// The compiler's, the linker's and pahole's versions.
    pub toolchain: String,
    /// Config fragments beside those of every kernel.
    #[serde(default)]
    pub fragments: Vec<String>,
    /// SHA-256 of the config and of vmlinux without debug information and build id: the same for the same kernel.
    pub signature: String,
    /// Its BTF.
    pub btf: BtfFacts,
    /// How many objects the build compiled, after what was there already.
    pub objects: u64,
    /// How long it took.
    pub seconds: f64,
    /// Bytes of vmlinux with its debug information.
    pub vmlinux_bytes: u64,
    /// Where it was built, with the log.
    pub folder: PathBuf,
}

/// What is known of a kernel's BTF.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BtfFacts {
    /// Bytes of all of it; 0 where there is none.
    pub bytes: u64,
    /// How many types there are of each kind.
    pub kinds: std::collections::BTreeMap<String, u64>,
    /// Whether kernel functions for BPF are marked as such, which needs pahole 1.26 or later.
    pub kfuncs_marked: bool,
}

/// One package a kernel was unpacked from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFacts {
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
    /// The suite it was found in.
    pub suite: String,
    /// SHA-256 of the .deb, hexadecimal, as the signed index states it and as it was checked.
    pub sha256: String,
}

/// What building a kernel consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Checking a revision out.
    Checkout,
    /// Making the config and proving it.
    Configure,
    /// What make itself takes to compile and link what changed.
    Make,
    /// Taking out what a guest needs, under the name of its signature.
    Publish,
}

/// One part of a build and its wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkTime {
    /// Which part.
    pub work: Work,
    /// Its wall time.
    #[serde(with = "seconds")]
    pub wall: Duration,
}
