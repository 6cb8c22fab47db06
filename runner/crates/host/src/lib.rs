//! Everything of the operating system that more than one crate of kvet uses: atomic files, locks, disk space, child
//! processes, hashes and git.
//!
//! It knows nothing of kernels, guests or archives.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod disk;
pub mod fs;
pub mod git;
pub mod hash;
pub mod lock;
pub mod process;
