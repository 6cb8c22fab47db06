//! What kvet does without a real kernel in a guest: searches, builds of a small tree, reports, the monitor before a fake QEMU.

mod bisect_search;
mod builds;
mod documents;
mod fake_qemu;
mod fixtures;
mod kernels;
mod monitor;
mod reports;
mod slices;
#[path = "../support/kvet.rs"]
mod support;
