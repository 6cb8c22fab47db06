//! What the tests of this room share: packages made on the fly, and an archive's server that misbehaves to order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Writes a tar, hostile ones too: paths go into the header as they are.
pub struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn add(&mut self, path: &str, kind: tar::EntryType, link: &str, data: &[u8], mode: u32) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
    }

    pub fn file(&mut self, path: &str, data: &[u8], mode: u32) {
        self.add(path, tar::EntryType::Regular, "", data, mode);
    }

    pub fn dir(&mut self, path: &str) {
        self.add(path, tar::EntryType::Directory, "", b"", 0o755);
    }

    pub fn symlink(&mut self, path: &str, to: &str) {
        self.add(path, tar::EntryType::Symlink, to, b"", 0o777);
    }

    pub fn hardlink(&mut self, path: &str, to: &str) {
        self.add(path, tar::EntryType::Link, to, b"", 0o644);
    }

    pub fn device(&mut self, path: &str) {
        self.add(path, tar::EntryType::Char, "", b"", 0o644);
    }
}

/// A package with these files.
pub fn deb(compression: &str, fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut tar = Tar(tar::Builder::new(Vec::new()));
    fill(&mut tar);
    let tar = tar.0.into_inner().unwrap();
    let mut data = Vec::new();
    match compression {
        "" => data = tar,
        ".gz" => {
            let mut gz = flate2::write::GzEncoder::new(&mut data, flate2::Compression::fast());
            gz.write_all(&tar).unwrap();
            gz.finish().unwrap();
        }
        ".xz" => drop(liblzma::read::XzEncoder::new(tar.as_slice(), 1).read_to_end(&mut data).unwrap()),
        ".zst" => data = zstd::encode_all(tar.as_slice(), 1).unwrap(),
        _ => unreachable!(),
    }
    let mut deb = ar::Builder::new(Vec::new());
    let name = format!("data.tar{compression}").into_bytes();
    for (name, bytes) in [(b"debian-binary".to_vec(), b"2.0\n".to_vec()), (name, data)] {
        deb.append(&ar::Header::new(name, bytes.len() as u64), bytes.as_slice()).unwrap();
    }
    deb.into_inner().unwrap()
}

/// How the server misbehaves. The numbers are offsets in the body it sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// Sends the whole file to whoever asks for a part.
    pub no_ranges: bool,
    /// Closes the connection there.
    pub cut_at: Option<usize>,
    /// Sends nothing more from there on, for two seconds.
    pub stall_at: Option<usize>,
    /// How often it does so; then it behaves.
    pub cuts: usize,
    /// Sends this many bytes and then rests for a millisecond.
    pub slow: Option<usize>,
}

/// An HTTP server on a port of its own.
pub struct Server {
    port: u16,
    state: Arc<State>,
}

struct State {
    root: PathBuf,
    behaviour: Behaviour,
    misdeeds: Mutex<usize>,
    seen: Mutex<Vec<(String, Option<u64>)>>,
    over: AtomicBool,
}

impl Server {
    pub fn start(root: &Path, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            root: root.to_path_buf(),
            behaviour,
            misdeeds: Mutex::new(0),
            seen: Mutex::new(Vec::new()),
            over: AtomicBool::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = shared.clone();
                // A client that hangs up is none of the server's business.
                std::thread::spawn(move || shared.serve(stream).ok());
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The starts of the ranges asked for, in order.
    pub fn ranges(&self) -> Vec<Option<u64>> {
        self.state.seen.lock().unwrap().iter().map(|(_, from)| *from).collect()
    }

    /// How many requests there were for paths that end so.
    pub fn asked(&self, suffix: &str) -> usize {
        self.state.seen.lock().unwrap().iter().filter(|(path, _)| path.ends_with(suffix)).count()
    }

    pub fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut out = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        loop {
            let Some(request) = lines.next().transpose()? else { return Ok(()) };
            let mut from = None;
            while let Some(line) = lines.next().transpose()?.filter(|l| !l.is_empty()) {
                if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse::<u64>().ok();
                }
            }
            let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_string();
            self.seen.lock().unwrap().push((path.clone(), from));
            if !self.answer(&mut out, &path, from)? {
                return Ok(());
            }
        }
    }

    fn answer(&self, out: &mut TcpStream, path: &str, from: Option<u64>) -> std::io::Result<bool> {
        let Ok(body) = std::fs::read(self.root.join(path)) else {
            out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        };
        let size = body.len();
        let from = from.filter(|_| !self.behaviour.no_ranges).map(|f| f as usize);
        let (head, body) = match from {
            None => ("200 OK".to_string(), &body[..]),
            Some(from) if from < size => (
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}", size - 1),
                &body[from..],
            ),
            Some(_) => ("416 Range Not Satisfiable".to_string(), &body[..0]),
        };
        write!(out, "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len())?;
        let stop = self.behaviour.cut_at.or(self.behaviour.stall_at).filter(|at| *at < body.len());
        if let Some(stop) = stop
            && self.misbehave()
        {
            out.write_all(&body[..stop])?;
            if self.behaviour.stall_at.is_some() {
                std::thread::sleep(Duration::from_secs(2));
            }
            return Ok(false);
        }
        for piece in body.chunks(self.behaviour.slow.unwrap_or(usize::MAX)) {
            out.write_all(piece)?;
            if self.behaviour.slow.is_some() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(true)
    }

    fn misbehave(&self) -> bool {
        let mut done = self.misdeeds.lock().unwrap();
        *done += 1;
        *done <= self.behaviour.cuts
    }
}
