//! The receiving end of a download.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::transfer::CHUNK;
use super::{Expected, TICK, Trouble};
use crate::error::{Error, IoContext, Result};
use crate::kernel::Progress;
use kvet_host::disk;
use kvet_host::hash::Sha256Hex;

/// The file that a download goes into, and the hash of what it holds.
pub(super) struct Sink<'a> {
    file: &'a mut File,
    at: &'a Path,
    what: String,
    expected: Expected<'a>,
    pub have: u64,
    hasher: Sha256,
    progress: &'a mut dyn FnMut(Progress),
    said: Option<Instant>,
}

impl<'a> Sink<'a> {
    /// Goes on with what `file`, found at `at`, holds already.
    pub fn open(
        file: &'a mut File,
        at: &'a Path,
        expected: Expected<'a>,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let what = format!("downloading {}", expected.what);
        let mut sink =
            Self { file, at, what, expected, have: 0, hasher: Sha256::new(), progress, said: None };
        let length = sink.file.metadata().host(format_args!("stat {}", at.display()))?.len();
        if length > expected.size {
            sink.empty()?;
        }
        sink.file.rewind().host(format_args!("read {}", at.display()))?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match sink.file.read(&mut buffer).host(format_args!("read {}", at.display()))? {
                0 => return Ok(sink),
                n => {
                    sink.hasher.update(&buffer[..n]);
                    sink.have += n as u64;
                }
            }
        }
    }

    /// Throws away what it holds.
    pub fn empty(&mut self) -> Result<()> {
        let action = || format!("empty {}", self.at.display());
        self.file.set_len(0).host(action())?;
        self.file.rewind().host(action())?;
        (self.have, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Writes what came from `place`.
    pub fn take(&mut self, place: &str, offset: u64, data: &[u8]) -> std::result::Result<(), Trouble> {
        if offset == 0 && self.have > 0 {
            // The server does not resume and sends everything again.
            self.empty()?;
        }
        if self.have + data.len() as u64 > self.expected.size {
            self.empty()?;
            return Err(Trouble::Fatal(Error::host(format!(
                "{place} is longer than the {} bytes that the signed index says; refused and deleted",
                self.expected.size
            ))));
        }
        if let Err(e) = self.file.write_all(data) {
            let error = disk::explain(e, self.at, "write");
            // Half a download is of no use to a full disk.
            let _ = self.file.set_len(0);
            return Err(Trouble::Fatal(error));
        }
        self.hasher.update(data);
        self.have += data.len() as u64;
        self.report(false);
        Ok(())
    }

    /// The hash of all that came; to be asked once.
    pub fn hash(&mut self) -> Sha256Hex {
        Sha256Hex::from_digest(&std::mem::take(&mut self.hasher).finalize())
    }

    /// Says how far it is: at most ten times a second, unless it is the last word.
    pub fn report(&mut self, last: bool) {
        if last || self.said.is_none_or(|said| said.elapsed() >= TICK) {
            self.said = Some(Instant::now());
            let (done, total) = (self.have, self.expected.size);
            (self.progress)(Progress::Bytes { what: self.what.clone(), done, total });
        }
    }
}
