//! One transfer, on a thread of its own: a read that hangs must not keep a cancel waiting. The thread ends by
//! itself, when nobody listens any more or when the read times out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::{CONNECT, Trouble};
use crate::error::Error;

/// Bytes handed over at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// What a transfer sends.
pub(super) enum Part {
    /// The answer begins: the offset of its first byte, and its length where that is told.
    Begins { at: u64, length: Option<u64> },
    /// The next bytes.
    Data(Vec<u8>),
    /// All was sent.
    End,
    /// There will be no more.
    Failed(Failure),
}

/// Why a transfer ended before its end.
pub(super) enum Failure {
    /// The server answered with this HTTP status.
    Status(u16),
    /// The connection or the file broke, as somebody else says it.
    Broken(String),
}

/// What connections are made with. `proxy` is used where the environment names none; a server that is silent for
/// `stall` is given up.
pub(super) fn agent(proxy: Option<&str>, stall: Duration) -> ureq::Agent {
    let proxy = ureq::Proxy::try_from_env().or_else(|| proxy.and_then(|proxy| ureq::Proxy::new(proxy).ok()));
    ureq::Agent::config_builder()
        .proxy(proxy)
        .user_agent(concat!("kvet/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_resolve(Some(CONNECT))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
        .build()
        .new_agent()
}

/// Starts to fetch `url`, from byte `from` on.
pub(super) fn from_server(agent: &ureq::Agent, url: String, from: u64) -> Receiver<Part> {
    let (send, parts) = sync_channel(4);
    let agent = agent.clone();
    std::thread::spawn(move || {
        if let Err(failure) = transfer(&agent, &url, from, &send) {
            // Nobody listens after a cancel.
            let _ = send.send(Part::Failed(failure));
        }
    });
    parts
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

/// Starts reading a file of a mirror on this machine, as [`from_server`] does.
pub(super) fn from_file(path: &Path, from: u64) -> std::result::Result<Receiver<Part>, Trouble> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_ranges_are_recognised() {
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
