//! The library behind the `kvet` command: everything that happens on the host.
//!
//! `ARCHITECTURE.md` at the top of the repository shows how the modules hang together.

// A lost or full terminal must not end kvet: `print!` and its kin panic there.
#![deny(clippy::print_stdout, clippy::print_stderr)]

/// Tells the user something on standard error ([`cmd::say::tell`]).
macro_rules! tell {
    ($($arg:tt)*) => {
        $crate::cmd::say::tell(format_args!($($arg)*))
    };
}

pub use kvet_base::{arch, cancel, error, event, pattern, progress, quote, version};
pub use kvet_parse as parse;
pub use kvet_spec as spec;
pub use kvet_vm as vm;
pub use kvet_vm::session as guest;

pub mod bisect;
pub mod cell;
pub mod cmd;
pub mod initramfs;
pub mod kernel;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod upstream;
pub mod userland;
