// SPDX-License-Identifier: GPL-2.0-only
//! What the dynptr selftests are, for the two programs that have to agree on it.
//!
//! - The harness embeds the tables of tests. It uses the types here, and [`Release`] to compare
//!   kernels.
//! - The harness' build script reads the YAML files with `load` (a feature), which checks them and
//!   returns the same types. They write themselves as Rust constants, so embedded tables need no
//!   parsing.

#[cfg(feature = "load")]
pub mod load;
mod model;
mod release;

pub use model::{
    Bug, Expectation, Group, Need, Ops, Rejection, Rights, Run, Survivor, Test, Trigger, Upstream, Wanted,
};
pub use release::{Has, Point, Release, Running};
