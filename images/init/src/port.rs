//! The guest's end of the wire: a virtio-serial port.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use kvet_wire::{Decoder, Frame, PORT_NAME};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The open port.
pub struct Port {
    file: File,
    decoder: Decoder,
}

/// Devices of virtio appear asynchronously; this is how long they may take after their driver was loaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Finds the port by its name and opens it.
pub fn open() -> Result<Port, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(device) = find() {
            let path = format!("/dev/{device}");
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
                .open(&path)
                .map_err(|e| format!("open {path}: {e}"))?;
            return Ok(Port { file, decoder: Decoder::of_orders() });
        }
        if Instant::now() > deadline {
            return Err(format!(
                "no virtio-serial port named {PORT_NAME}; ports seen: [{}]; does the kernel have virtio_pci and \
                 virtio_console?",
                names().join(", ")
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ports() -> impl Iterator<Item = (String, String)> {
    fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten().filter_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        Some((entry.file_name().into_string().ok()?, name.trim().to_owned()))
    })
}

fn find() -> Option<String> {
    ports().find(|(_, name)| name == PORT_NAME).map(|(device, _)| device)
}

fn names() -> Vec<String> {
    ports().map(|(_, name)| name).collect()
}

impl Port {
    /// Sends a frame whole; waits where the host is slow to read.
    pub fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = frame.to_bytes();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait_writable()?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn wait_writable(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::from(1000u16)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads what is there; the frames come out of [`Port::next_frame`].
    pub fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.file.read(&mut buffer) {
            // The host has closed its end for the moment; virtio-serial reads 0 then.
            Ok(0) => Ok(()),
            Ok(n) => {
                self.decoder.push(&buffer[..n]);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The next complete frame that the host sent.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        self.decoder.next_frame().map_err(|e| format!("the host sent garbage: {e}"))
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
