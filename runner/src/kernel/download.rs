//! Getting files from an archive: bounded, resumed, checked, and ended at once by a cancel.

mod sink;
mod transfer;

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use kvet_host::disk;

use super::Progress;
use super::apt::Base;
use kvet_host::hash::Sha256Hex;
use sink::Sink;
use transfer::{Failure, Part};

/// A connection that does not come about within this time will not.
const CONNECT: Duration = Duration::from_secs(15);
/// A transfer without a byte for so long is stalled; it is tried again.
const STALL: Duration = Duration::from_secs(30);
/// How long a cancel may go unnoticed.
const TICK: Duration = Duration::from_millis(100);
/// One try and two more. A try that brought something new does not count.
const TRIES: u32 = 3;

/// Why a file could not be had.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The archive does not have it.
    Missing(Error),
    /// The archive cannot be reached, or not be read to the end.
    Away(Error),
    /// It came and is not what it must be, or there is no going on.
    Fatal(Error),
}

impl Trouble {
    /// The error, whatever may be thought of it.
    pub fn into_error(self) -> Error {
        match self {
            Trouble::Missing(e) | Trouble::Away(e) | Trouble::Fatal(e) => e,
        }
    }
}

impl From<Error> for Trouble {
    fn from(e: Error) -> Self {
        Trouble::Fatal(e)
    }
}

/// What a file must be, as a signed index says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// What people call it.
    pub what: &'a str,
    /// Bytes.
    pub size: u64,
    /// Hash of all of it.
    pub sha256: &'a Sha256Hex,
}

/// Takes the bytes of an answer: their offset in the file, and themselves.
type Each<'a> = dyn FnMut(u64, &[u8]) -> std::result::Result<(), Trouble> + 'a;

/// Fetches files. Connections are kept open between them.
#[derive(Debug)]
pub(super) struct Fetcher {
    proxy: Option<String>,
    stall: Duration,
    pause: Duration,
    agent: OnceLock<ureq::Agent>,
}

impl Fetcher {
    /// `proxy` is used where the environment names none.
    pub fn new(proxy: Option<String>) -> Self {
        Self { proxy, stall: STALL, pause: Duration::from_millis(500), agent: OnceLock::new() }
    }

    #[cfg(test)]
    pub fn impatient(stall: Duration) -> Self {
        Self { stall, pause: Duration::from_millis(1), ..Self::new(None) }
    }

    /// A small file whole, in memory: at most `max` bytes.
    pub fn small(
        &self,
        base: &Base,
        path: &str,
        max: u64,
        cancel: &Cancel,
    ) -> std::result::Result<Vec<u8>, Trouble> {
        let place = place(base, path);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut got = Vec::new();
            let broken = match self.once(base, path, 0, cancel, &mut |_, data| {
                if got.len() as u64 + data.len() as u64 > max {
                    return Err(Trouble::Fatal(Error::host(format!(
                        "{place} is larger than {max} bytes: refused"
                    ))));
                }
                got.extend_from_slice(data);
                Ok(())
            })? {
                Ok(()) => return Ok(got),
                Err(broken) => broken,
            };
            if tries == TRIES {
                return Err(Trouble::Away(Error::host(format!("cannot fetch {place}: {broken}"))));
            }
            self.rest(tries, cancel)?;
        }
    }

    /// A file into `file`, which may hold the beginning of it. When this returns Ok, the file holds exactly what
    /// was expected, checked. After a refusal it is empty; after a break it holds what came, to go on from.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub fn file(
        &self,
        base: &Base,
        path: &str,
        file: &mut File,
        at: &Path,
        expected: Expected<'_>,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> std::result::Result<(), Trouble> {
        let place = place(base, path);
        let mut sink = Sink::open(file, at, expected, progress)?;
        let mut resumed = sink.have > 0;
        let mut tries = 0;
        loop {
            tries += 1;
            let before = sink.have;
            let ended = if sink.have == expected.size {
                Ok(())
            } else {
                self.once(base, path, sink.have, cancel, &mut |offset, data| sink.take(&place, offset, data))?
            };
            if sink.have == expected.size {
                let got = sink.hash();
                if &got == expected.sha256 {
                    sink.report(true);
                    return Ok(());
                }
                sink.empty()?;
                // What an earlier, broken-off download left may be to blame: once more, from the beginning.
                if std::mem::take(&mut resumed) {
                    continue;
                }
                return Err(Trouble::Fatal(
                    Error::host(format!(
                        "{place} is not what the signed index says: SHA-256 expected {}, got {got}; refused and deleted",
                        expected.sha256
                    ))
                    .hint("the mirror or something on the way to it changes files; try another one (KVET_MIRROR)"),
                ));
            }
            let why = match ended {
                Ok(()) => format!("it ended after {} of {} bytes", sink.have, expected.size),
                Err(broken) => broken,
            };
            resumed |= sink.have > 0;
            if sink.have > before {
                tries = 1;
            }
            if tries >= TRIES {
                return Err(Trouble::Away(Error::host(format!("cannot fetch {place}: {why}"))));
            }
            self.rest(tries, cancel)?;
        }
    }

    /// A file of unknown length into an empty `file`, at most `max` bytes. Nothing says what it should be: the caller
    /// checks it.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub fn whole(
        &self,
        base: &Base,
        path: &str,
        file: &mut File,
        at: &Path,
        max: u64,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> std::result::Result<(), Trouble> {
        let place = place(base, path);
        let what = format!("downloading {}", path.rsplit('/').next().unwrap_or(path));
        let (mut have, mut tries, mut said) = (0, 0, None::<Instant>);
        loop {
            tries += 1;
            let before = have;
            let ended = self.once(base, path, have, cancel, &mut |offset, data| {
                if offset == 0 && have > 0 {
                    // The server does not resume and sends everything again.
                    file.set_len(0)
                        .and_then(|()| file.rewind())
                        .host(format_args!("empty {}", at.display()))?;
                    have = 0;
                }
                have += data.len() as u64;
                if have > max {
                    return Err(Trouble::Fatal(Error::host(format!(
                        "{place} is larger than {max} bytes: refused"
                    ))));
                }
                file.write_all(data).map_err(|e| disk::explain(e, at, "write"))?;
                if said.is_none_or(|said| said.elapsed() >= TICK) {
                    said = Some(Instant::now());
                    progress(Progress::Bytes { what: what.clone(), done: have, total: 0 });
                }
                Ok(())
            })?;
            let Err(why) = ended else { return Ok(()) };
            if have > before {
                tries = 1;
            }
            if tries >= TRIES {
                return Err(Trouble::Away(Error::host(format!("cannot fetch {place}: {why}"))));
            }
            self.rest(tries, cancel)?;
        }
    }

    fn rest(&self, tries: u32, cancel: &Cancel) -> Result<()> {
        let until = Instant::now() + self.pause * tries;
        while Instant::now() < until {
            cancel.check()?;
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        cancel.check()
    }

    /// One request. `each` gets the offset in the file and the bytes. The inner Err is worth another try.
    fn once(
        &self,
        base: &Base,
        path: &str,
        from: u64,
        cancel: &Cancel,
        each: &mut Each<'_>,
    ) -> std::result::Result<std::result::Result<(), String>, Trouble> {
        let parts = match base {
            Base::Dir(dir) => transfer::from_file(&dir.join(path), from)?,
            Base::Http(url) => transfer::from_server(self.agent(), format!("{url}/{}", escape(path)), from),
        };
        let mut offset = 0;
        let mut last = Instant::now();
        loop {
            cancel.check()?;
            let part = match parts.recv_timeout(TICK) {
                Ok(part) => part,
                Err(RecvTimeoutError::Timeout) if last.elapsed() < self.stall + CONNECT => continue,
                Err(RecvTimeoutError::Timeout) => return Ok(Err(stalled(self.stall))),
                Err(RecvTimeoutError::Disconnected) => return Ok(Err("the transfer died".to_string())),
            };
            last = Instant::now();
            match part {
                Part::Begins { at, length: Some(length) }
                    if at.checked_add(length) == Some(from) && from > 0 =>
                {
                    return Ok(Ok(()));
                }
                Part::Begins { at, .. } => offset = at,
                Part::Data(data) => {
                    each(offset, &data)?;
                    offset += data.len() as u64;
                }
                Part::End => return Ok(Ok(())),
                Part::Failed(Failure::Broken(why)) => return Ok(Err(why)),
                Part::Failed(Failure::Status(status)) => match status {
                    404 | 410 => {
                        let e = Error::host(format!(
                            "{} does not exist (HTTP status {status})",
                            place(base, path)
                        ));
                        return Err(Trouble::Missing(e));
                    }
                    // Asked for more than there is: what we have is no beginning of it.
                    416 if from > 0 => return Ok(Err("the server refuses to go on".to_string())),
                    408 | 429 | 500..=599 => return Ok(Err(format!("HTTP status {status}"))),
                    _ => {
                        let e =
                            Error::host(format!("cannot fetch {}: HTTP status {status}", place(base, path)));
                        return Err(Trouble::Away(e));
                    }
                },
            }
        }
    }

    fn agent(&self) -> &ureq::Agent {
        self.agent.get_or_init(|| transfer::agent(self.proxy.as_deref(), self.stall))
    }
}

fn stalled(limit: Duration) -> String {
    format!("nothing came for {} s", limit.as_secs_f32())
}

fn place(base: &Base, path: &str) -> String {
    format!("{base}/{path}")
}

/// Debian's paths need no escaping but for what no path of theirs holds.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
