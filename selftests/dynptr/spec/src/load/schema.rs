// SPDX-License-Identifier: GPL-2.0-only
//! The closed types of `expectations.yaml`, as it is written. `point.rs` has those of releases.

use serde::Deserialize;

use super::point::PointSpec;
use crate::{Rights, Trigger};

/// An option that kernels can be built without.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OptionSpec {
    /// The modules that it may be; any of them will do.
    pub(super) modules: Vec<String>,
    /// The value is a list with commas, and this has to be in it.
    pub(super) has: Option<String>,
    /// A type that only kernels have that were built with it.
    #[serde(rename = "type")]
    pub(super) shows: Option<String>,
}

/// A mistake of the kernel's that tests run into.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BugSpec {
    pub(super) what: String,
    pub(super) introduced: PointSpec,
    pub(super) fixed: PointSpec,
    /// The commit of the main line that fixed it.
    pub(super) commit: String,
}

/// What the verifier says, in a range of kernels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupSpec {
    pub(super) name: String,
    pub(super) tests: Vec<TestSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestSpec {
    pub(super) name: String,
    pub(super) program: Option<String>,
    /// A program that is loaded along with it.
    pub(super) with: Option<String>,
    /// A third one.
    pub(super) also: Option<String>,
    /// The structure of operations (`struct_ops`) that the program is part of.
    pub(super) ops: Option<OpsSpec>,
    /// The rights of who loads it.
    #[serde(default)]
    pub(super) rights: Rights,
    /// Features beside the functions that the programs call.
    #[serde(default)]
    pub(super) needs: Vec<String>,
    /// Options beside those of its programs, their functions, its features and its way of running.
    #[serde(default)]
    pub(super) config: Vec<String>,
    pub(super) run: Option<Trigger>,
    /// Length of the packet.
    pub(super) bytes: Option<usize>,
    /// The type that the frame says it has.
    pub(super) protocol: Option<u16>,
    /// How much of it is in one piece.
    pub(super) linear: Option<usize>,
    pub(super) bug: Option<BugUse>,
    /// A point: the program is told whether the kernel has reached it.
    pub(super) release_window: Option<String>,
    #[serde(default)]
    pub(super) rejected: Vec<RejectedSpec>,
}

/// A structure of operations: its map, and the programs that are loaded beside the one under test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpsSpec {
    pub(super) map: String,
    #[serde(default)]
    pub(super) programs: Vec<String>,
}

/// How a known bug shows in a test: what its first line of diagnostics has in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BugUse {
    pub(super) name: String,
    pub(super) fails: String,
}

/// The name of a message, in a range of kernels; or the verifier takes the program there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RejectedSpec {
    pub(super) says: Option<String>,
    #[serde(default)]
    pub(super) taken: bool,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
}
