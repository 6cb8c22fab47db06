//! `modprobe`, as the kernel calls it: `modprobe -q -- NAME` (kernel/module/kmod.c calls what
//! /proc/sys/kernel/modprobe names).

use std::process::ExitCode;

/// Loads the module the kernel asks for. Exit status 1 where there is none: the kernel goes on without.
pub fn main(_args: impl Iterator<Item = String>) -> ExitCode {
    ExitCode::from(1)
}
