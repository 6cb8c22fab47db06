//! Getting files from an archive: bounded, resumed, checked, and ended at once by a cancel.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};

use super::Progress;
use super::apt::Base;
use super::hash::Sha256Hex;
use super::space;

/// A connection that does not come about within this time will not.
const CONNECT: Duration = Duration::from_secs(15);
/// A transfer without a byte for so long is stalled; it is tried again.
const STALL: Duration = Duration::from_secs(30);
/// How long a cancel may go unnoticed.
const TICK: Duration = Duration::from_millis(100);
/// One try and two more. A try that brought something new does not count.
const TRIES: u32 = 3;
/// Bytes handed over at a time.
const CHUNK: usize = 64 << 10;

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

enum Part {
    /// The answer begins: the offset of its first byte, and its length where that is told.
    Begins {
        at: u64,
        length: Option<u64>,
    },
    Data(Vec<u8>),
    End,
    Failed(Failure),
}

enum Failure {
    Status(u16),
    Broken(String),
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
                sink.restart(0)?;
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
                file.write_all(data).map_err(|e| space::explain(e, at, "write"))?;
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
            Base::Dir(dir) => read_local(&dir.join(path), from)?,
            Base::Http(url) => self.request(format!("{url}/{}", escape(path)), from),
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

    /// Starts a transfer on a thread of its own: a read that hangs must not keep a cancel waiting. The thread
    /// ends by itself, when nobody listens any more or when the read times out.
    fn request(&self, url: String, from: u64) -> Receiver<Part> {
        let (send, parts) = sync_channel(4);
        let agent = self.agent().clone();
        std::thread::spawn(move || {
            if let Err(failure) = transfer(&agent, &url, from, &send) {
                // Nobody listens after a cancel.
                let _ = send.send(Part::Failed(failure));
            }
        });
        parts
    }

    fn agent(&self) -> &ureq::Agent {
        self.agent.get_or_init(|| {
            let proxy = ureq::Proxy::try_from_env()
                .or_else(|| self.proxy.as_deref().and_then(|proxy| ureq::Proxy::new(proxy).ok()));
            ureq::Agent::config_builder()
                .proxy(proxy)
                .user_agent(concat!("kvet/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT))
                .timeout_resolve(Some(CONNECT))
                .timeout_recv_response(Some(self.stall))
                .timeout_per_read(Some(self.stall))
                .build()
                .new_agent()
        })
    }
}

fn stalled(limit: Duration) -> String {
    format!("nothing came for {} s", limit.as_secs_f32())
}

fn transfer(
    agent: &ureq::Agent,
    url: &str,
    from: u64,
    send: &SyncSender<Part>,
) -> std::result::Result<(), Failure> {
    let broken = |e: &dyn std::fmt::Display| Failure::Broken(e.to_string());
    let mut request = agent.get(url);
    if is_loopback(url) {
        // No proxy leads back to this machine.
        request = request.config().proxy(None).build();
    }
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request.call().map_err(|e| broken(&e))?;
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
    let at = match status {
        200 => 0,
        206 => header("content-range").and_then(range_start).filter(|at| *at == from).ok_or_else(|| {
            broken(&format_args!(
                "the server answered with a range that was not asked for (from byte {from})"
            ))
        })?,
        _ => return Err(Failure::Status(status)),
    };
    let length = header("content-length").and_then(|v| v.parse().ok());
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
    if send.send(Part::Begins { at, length }).is_err() {
        return Ok(());
    }
    pump(&mut body, send).map_err(|e| broken(&e))
}

fn is_loopback(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("");
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

fn pump(source: &mut impl Read, send: &SyncSender<Part>) -> io::Result<()> {
    loop {
        let mut data = vec![0; CHUNK];
        let n = match source.read(&mut data) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        data.truncate(n);
        let part = if n == 0 { Part::End } else { Part::Data(data) };
        if send.send(part).is_err() || n == 0 {
            return Ok(());
        }
    }
}

/// `bytes 100-199/200` begins at 100.
fn range_start(header: &str) -> Option<u64> {
    header.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

fn read_local(path: &Path, from: u64) -> std::result::Result<Receiver<Part>, Trouble> {
    let mut file = File::open(path).map_err(|e| {
        let error = Error::host(format!("cannot read {}", path.display()));
        if e.kind() == io::ErrorKind::NotFound {
            Trouble::Missing(error.because(e))
        } else {
            Trouble::Away(error.because(e))
        }
    })?;
    let (send, parts) = sync_channel(4);
    std::thread::spawn(move || {
        let sent = file.seek(SeekFrom::Start(from)).and_then(|at| {
            let _ = send.send(Part::Begins { at, length: None });
            pump(&mut file, &send)
        });
        if let Err(e) = sent {
            let _ = send.send(Part::Failed(Failure::Broken(e.to_string())));
        }
    });
    Ok(parts)
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

/// The file that a download goes into, and the hash of what it holds.
struct Sink<'a> {
    file: &'a mut File,
    at: &'a Path,
    what: String,
    expected: Expected<'a>,
    have: u64,
    hasher: Sha256,
    progress: &'a mut dyn FnMut(Progress),
    said: Option<Instant>,
}

impl<'a> Sink<'a> {
    fn open(
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
            sink.restart(0)?;
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

    fn restart(&mut self, at: u64) -> Result<()> {
        let action = || format!("empty {}", self.at.display());
        self.file.set_len(at).host(action())?;
        self.file.seek(SeekFrom::Start(at)).host(action())?;
        (self.have, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    fn take(&mut self, place: &str, offset: u64, data: &[u8]) -> std::result::Result<(), Trouble> {
        if offset == 0 && self.have > 0 {
            // The server does not resume and sends everything again.
            self.restart(0)?;
        }
        if self.have + data.len() as u64 > self.expected.size {
            self.restart(0)?;
            return Err(Trouble::Fatal(Error::host(format!(
                "{place} is longer than the {} bytes that the signed index says; refused and deleted",
                self.expected.size
            ))));
        }
        if let Err(e) = self.file.write_all(data) {
            let error = space::explain(e, self.at, "write");
            // Half a download is of no use to a full disk.
            let _ = self.file.set_len(0);
            return Err(Trouble::Fatal(error));
        }
        self.hasher.update(data);
        self.have += data.len() as u64;
        self.report(false);
        Ok(())
    }

    fn hash(&mut self) -> Sha256Hex {
        Sha256Hex::from_digest(&std::mem::take(&mut self.hasher).finalize())
    }

    fn report(&mut self, last: bool) {
        if last || self.said.is_none_or(|said| said.elapsed() >= TICK) {
            self.said = Some(Instant::now());
            let (done, total) = (self.have, self.expected.size);
            (self.progress)(Progress::Bytes { what: self.what.clone(), done, total });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Behaviour, Server};
    use super::*;
    use std::fs::OpenOptions;

    struct Case {
        dir: tempfile::TempDir,
        server: Server,
        content: Vec<u8>,
    }

    fn case(behaviour: Behaviour) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::create_dir_all(dir.path().join("pool")).unwrap();
        std::fs::write(dir.path().join("pool/x.deb"), &content).unwrap();
        let server = Server::start(dir.path(), behaviour);
        Case { dir, server, content }
    }

    impl Case {
        fn fetch(&self, before: &[u8]) -> (std::result::Result<(), Trouble>, Vec<u8>, Vec<Progress>) {
            let path = self.dir.path().join("part");
            std::fs::write(&path, before).unwrap();
            let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let sha256 = Sha256Hex::of(&self.content);
            let expected = Expected { what: "x.deb", size: self.content.len() as u64, sha256: &sha256 };
            let fetcher = Fetcher::impatient(Duration::from_millis(300));
            let mut seen = Vec::new();
            let base = Base::parse(&self.server.url()).unwrap();
            let mut progress = |p| seen.push(p);
            let done = fetcher.file(
                &base,
                "pool/x.deb",
                &mut file,
                &path,
                expected,
                &mut progress,
                &Cancel::new().unwrap(),
            );
            (done, std::fs::read(&path).unwrap(), seen)
        }
    }

    #[test]
    fn a_whole_file_with_progress_to_the_end() {
        let case = case(Behaviour::default());
        let (done, got, seen) = case.fetch(b"");
        done.unwrap();
        assert_eq!(got, case.content);
        let total = case.content.len() as u64;
        let last = Progress::Bytes { what: "downloading x.deb".into(), done: total, total };
        assert_eq!(seen.last(), Some(&last));
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let case = case(Behaviour::default());
        let (done, got, _) = case.fetch(&case.content[..100_000]);
        done.unwrap();
        assert_eq!(got, case.content);
        assert_eq!(case.server.ranges(), [Some(100_000)]);
    }

    #[test]
    fn a_server_that_cannot_resume_sends_it_all_again() {
        let case = case(Behaviour { no_ranges: true, ..Default::default() });
        let (done, got, _) = case.fetch(&case.content[..100_000]);
        done.unwrap();
        assert_eq!(got, case.content);
    }

    #[test]
    fn a_wrong_beginning_costs_a_second_download_and_no_more() {
        let case = case(Behaviour::default());
        let (done, got, _) = case.fetch(&[7; 1000]);
        done.unwrap();
        assert_eq!(got, case.content);
        assert_eq!(case.server.ranges(), [Some(1000), None]);
    }

    #[test]
    fn a_transfer_that_breaks_off_goes_on_where_it_stopped() {
        let case = case(Behaviour { cut_at: Some(120_000), cuts: 2, ..Default::default() });
        let (done, got, _) = case.fetch(b"");
        done.unwrap();
        assert_eq!(got, case.content);
        assert!(case.server.ranges().len() == 3, "{:?}", case.server.ranges());
    }

    #[test]
    fn one_that_always_breaks_off_is_given_up_and_kept_for_later() {
        let case = case(Behaviour { cut_at: Some(0), cuts: usize::MAX, ..Default::default() });
        let (done, got, _) = case.fetch(&case.content[..5000]);
        let Err(Trouble::Away(error)) = done else { panic!("{done:?}") };
        assert!(error.to_string().contains("pool/x.deb"), "{error}");
        assert_eq!(got, case.content[..5000]);
    }

    #[test]
    fn a_file_that_ends_too_early_for_the_index_is_not_accepted() {
        let case = case(Behaviour::default());
        std::fs::write(case.dir.path().join("pool/x.deb"), &case.content[..250_000]).unwrap();
        let (done, ..) = case.fetch(b"");
        let error = done.unwrap_err().into_error().to_string();
        assert!(error.contains("250000 of 300000") || error.contains("refuses to go on"), "{error}");
    }

    #[test]
    fn changed_and_overlong_files_are_refused_and_deleted() {
        let case = case(Behaviour::default());
        let mut changed = case.content.clone();
        changed[299_999] ^= 1;
        std::fs::write(case.dir.path().join("pool/x.deb"), &changed).unwrap();
        let (done, got, _) = case.fetch(b"");
        let Err(Trouble::Fatal(error)) = done else { panic!("{done:?}") };
        let text = error.to_string();
        let (want, have) = (Sha256Hex::of(&case.content), Sha256Hex::of(&changed));
        assert!(
            text.contains(want.as_str()) && text.contains(have.as_str()) && text.contains("x.deb"),
            "{text}"
        );
        assert!(got.is_empty());
        changed.push(0);
        std::fs::write(case.dir.path().join("pool/x.deb"), &changed).unwrap();
        let (done, got, _) = case.fetch(b"");
        assert!(done.unwrap_err().into_error().to_string().contains("longer than the 300000 bytes"));
        assert!(got.is_empty());
    }

    #[test]
    fn a_stalled_transfer_is_tried_again_and_a_cancel_is_heard_at_once() {
        let case = case(Behaviour { stall_at: Some(100_000), cuts: 1, ..Default::default() });
        let (done, got, _) = case.fetch(b"");
        done.unwrap();
        assert_eq!(got, case.content);

        let server = Server::start(
            case.dir.path(),
            Behaviour { stall_at: Some(0), cuts: usize::MAX, ..Default::default() },
        );
        let cancel = Cancel::new().unwrap();
        let later = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            later.request();
        });
        let begun = Instant::now();
        let base = Base::parse(&server.url()).unwrap();
        let got = Fetcher::new(None).small(&base, "pool/x.deb", 1 << 20, &cancel);
        assert_eq!(got.unwrap_err().into_error().fault(), crate::error::Fault::Interrupted);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn small_files_are_bounded_and_missing_ones_are_missing() {
        let case = case(Behaviour::default());
        let fetcher = Fetcher::impatient(Duration::from_secs(1));
        for base in [Base::parse(&case.server.url()).unwrap(), Base::Dir(case.dir.path().into())] {
            let get = |path, max| fetcher.small(&base, path, max, &Cancel::new().unwrap());
            assert_eq!(get("pool/x.deb", 1 << 20).unwrap(), case.content);
            assert!(matches!(get("pool/x.deb", 299_999), Err(Trouble::Fatal(_))));
            assert!(matches!(get("pool/y.deb", 1 << 20), Err(Trouble::Missing(_))));
        }
        let nobody = Base::Http("http://127.0.0.1:1".into());
        assert!(matches!(fetcher.small(&nobody, "x", 1, &Cancel::new().unwrap()), Err(Trouble::Away(_))));
    }

    #[test]
    fn odd_characters_are_escaped() {
        assert_eq!(escape("pool/a_1:2+b~c #?.deb"), "pool/a_1:2+b~c%20%23%3F.deb");
        assert!(
            is_loopback("http://127.0.0.1:80/x")
                && is_loopback("http://[::1]:1/")
                && is_loopback("http://localhost/")
        );
        assert!(!is_loopback("http://mirror.example/127.0.0.1/"));
        assert_eq!(range_start("bytes 100-199/200"), Some(100));
        assert_eq!(range_start("bytes */200"), None);
    }
}
