//! The vocabulary that every crate of kvet shares: errors, events, facts, architectures, kernel versions, progress
//! and cancellation.
//!
//! It reads no files, starts no processes and knows no other crate of kvet.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod arch;
pub mod cancel;
pub mod error;
pub mod event;
pub mod facts;
pub mod pattern;
pub mod progress;
pub mod quote;
pub mod seconds;
pub mod version;
