//! The kernel's log, from its beginning. On a busy machine the serial console loses lines of it, above all early ones.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use kvet_wire::MAX_KERNEL_LOG;

/// Bytes that are read before something else gets its turn.
const PIECE: usize = 32 * 1024;
/// No record with its dictionary is longer (CONSOLE_EXT_LOG_MAX in the kernel).
const MAX_RECORD: usize = 8 * 1024;

/// What is left to be read.
pub struct KernelLog {
    file: Option<File>,
    left: usize,
}

impl KernelLog {
    /// Begins at the oldest record that the kernel still has. A kernel without CONFIG_PRINTK has none.
    pub fn open() -> Self {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
        Self { file: file.ok(), left: MAX_KERNEL_LOG }
    }

    /// The descriptor that has more, as long as more is wanted.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// The next records, each with a newline. None: nothing is there now, or enough was read.
    pub fn read(&mut self) -> Option<Vec<u8>> {
        let file = self.file.as_mut()?;
        let mut piece = Vec::new();
        let mut record = [0; MAX_RECORD];
        let mut ended = false;
        while piece.len() + MAX_RECORD <= PIECE {
            match file.read(&mut record) {
                Ok(length @ 1..) => piece.extend(line(&record[..length])),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // Older ones were overwritten before they were read; their numbers are missing, which the host sees.
                Err(e) if e.kind() == ErrorKind::BrokenPipe || e.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        self.left = self.left.saturating_sub(piece.len());
        if ended || self.left == 0 {
            self.file = None;
        }
        (!piece.is_empty()).then_some(piece)
    }
}

/// A record without its dictionary, which stands behind the first newline. The text has none: the kernel escapes it.
fn line(record: &[u8]) -> impl Iterator<Item = u8> {
    let text = record.split(|byte| *byte == b'\n').next().unwrap_or_default();
    text.iter().copied().chain([b'\n'])
}
