// SPDX-License-Identifier: GPL-2.0-only
//! Another process, with other memory at the same addresses.

use std::io::{self, Read, Write};

use libbpf_rs::ProgramInput;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::{NotRun, STRING_AT};
use crate::report::Config;
use crate::suite::Programs;
use dynptr_spec::Test;

/// What it has where we have another string, and a byte that differs; `bpf/user.bpf.c` knows both.
const STRING: &[u8] = b"kvet reads others\0";
const BYTE_AT: usize = 100;
const BYTE: u8 = 201;

/// A child of ours, that waits. It is killed with this.
struct Other(Pid);

impl Other {
    fn begin(memory: u64) -> io::Result<Self> {
        let (mut reader, mut writer) = io::pipe()?;
        // SAFETY: a test's process has one thread, so the child may do what the parent may.
        match unsafe { fork() }? {
            ForkResult::Child => {
                // A child without its parent has nothing to wait for.
                let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
                drop(reader);
                change(memory);
                let _ = writer.write_all(b"!");
                loop {
                    nix::unistd::pause();
                }
            }
            ForkResult::Parent { child } => {
                drop(writer);
                let other = Self(child);
                reader.read_exact(&mut [0]).map(|()| other)
            }
        }
    }
}

/// Writes into this process' copy of the memory.
fn change(memory: u64) {
    let start = memory as *mut u8;
    // SAFETY: the memory is longer, and nobody else of this process uses it.
    unsafe {
        start.add(STRING_AT).copy_from_nonoverlapping(STRING.as_ptr(), STRING.len());
        start.add(BYTE_AT).write(BYTE);
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // What could not be killed is seen by the search for what tests leave behind.
        if kill(self.0, Signal::SIGKILL).is_ok() {
            let _ = waitpid(self.0, None);
        }
    }
}

/// Tells the program of the other process, and has the kernel run it.
pub fn run(test: &Test, programs: &Programs, config: Config) -> Result<(), NotRun> {
    let other = Other::begin(config.user).map_err(|err| format!("cannot have another process: {err}"))?;
    let pid = u32::try_from(other.0.as_raw()).map_err(|err| err.to_string())?;
    programs.configure(Config { other: pid, ..config })?;
    programs
        .get(test.program)?
        .test_run(ProgramInput::default())
        .map_err(|err| format!("cannot test-run: {err}"))?;
    Ok(())
}
