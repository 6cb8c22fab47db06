//! Frames: how messages are cut out of a byte stream.

use std::fmt;

/// Longest payload of a frame from the guest, in bytes. Larger messages are refused, larger outputs are sent in pieces.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Longest payload of a frame from the host, in bytes: a job has the arguments of a program in it, of which Linux takes 2 MiB, and
/// JSON may take six bytes for one.
pub const MAX_ORDER: usize = 16 << 20;

/// Most bytes of the kernel's log that a guest sends.
pub const MAX_KERNEL_LOG: usize = 16 << 20;

const MAGIC: [u8; 2] = *b"KV";
const HEADER: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`crate::FromGuest`] or [`crate::ToGuest`] in JSON.
    Control = 1,
    /// Output of a job: see [`crate::message::Output`].
    Output = 2,
    /// Input for a job with a terminal: job number (u32, little endian) and bytes.
    Input = 3,
    /// Records of the kernel's log: see [`crate::message::kernel_log`].
    KernelLog = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Control, Kind::Output, Kind::Input, Kind::KernelLog]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Why a byte stream is not a sequence of frames. There is no way to go on after it: the stream has no
/// redundancy to find the next frame by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// The magic is missing; these bytes stood there.
    Magic([u8; 2]),
    /// The kind is unknown.
    Kind(u8),
    /// The reserved byte is not zero.
    Reserved(u8),
    /// The announced length is over [`MAX_PAYLOAD`], or over [`MAX_ORDER`] where it is the host's.
    TooLong(usize),
    /// The payload is not what its kind says; the text says how.
    Payload(String),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Magic(found) => {
                write!(f, "no frame begins with bytes {:02x} {:02x}", found[0], found[1])
            }
            FrameError::Kind(kind) => write!(f, "unknown frame kind {kind}"),
            FrameError::Reserved(byte) => write!(f, "reserved header byte is {byte}, not 0"),
            FrameError::TooLong(len) => write!(f, "a frame of {len} bytes is longer than is allowed"),
            FrameError::Payload(why) => write!(f, "bad payload: {why}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame {
    /// The bytes of this frame.
    ///
    /// # Panics
    /// The payload is longer than [`MAX_ORDER`]; constructors of messages bound it.
    pub fn to_bytes(&self) -> Vec<u8> {
        assert!(self.payload.len() <= MAX_ORDER, "frame of {} bytes", self.payload.len());
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.push(self.kind as u8);
        bytes.push(0);
        bytes.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Cuts a byte stream into frames. Holds at most one incomplete frame plus what was pushed last.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    limit: usize,
}

impl Default for Decoder {
    /// For what a guest sends.
    fn default() -> Self {
        Self { buffer: Vec::new(), start: 0, limit: MAX_PAYLOAD }
    }
}

impl Decoder {
    /// For what the host sends.
    #[must_use]
    pub fn of_orders() -> Self {
        Self { limit: MAX_ORDER, ..Self::default() }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, or `None` until more bytes come.
    ///
    /// # Errors
    /// The stream is no sequence of frames. Every later call gives the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let pending = &self.buffer[self.start..];
        let Some(header) = pending.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if header[..2] != MAGIC {
            return Err(FrameError::Magic([header[0], header[1]]));
        }
        let kind = Kind::from_byte(header[2]).ok_or(FrameError::Kind(header[2]))?;
        if header[3] != 0 {
            return Err(FrameError::Reserved(header[3]));
        }
        let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if len > self.limit {
            return Err(FrameError::TooLong(len));
        }
        let Some(payload) = pending.get(HEADER..HEADER + len) else {
            return Ok(None);
        };
        let frame = Frame { kind, payload: payload.to_vec() };
        self.start += HEADER + len;
        Ok(Some(frame))
    }

    /// How many bytes wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(payload: &[u8]) -> Frame {
        Frame { kind: Kind::Control, payload: payload.to_vec() }
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let frames = [control(b"{}"), control(b""), Frame { kind: Kind::Output, payload: vec![7; 300] }];
        let stream: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        for step in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in stream.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, frames, "cut every {step} bytes");
            assert_eq!(decoder.pending(), 0);
        }
    }

    #[test]
    fn garbage_is_refused_and_stays_refused() {
        for (bytes, error) in [
            (&b"\0\0\x01\0\0\0\0\0"[..], FrameError::Magic([0, 0])),
            (b"KV\x63\0\0\0\0\0", FrameError::Kind(0x63)),
            (b"KV\x01\x05\0\0\0\0", FrameError::Reserved(5)),
            (b"KV\x01\0\xff\xff\xff\xff", FrameError::TooLong(0xffff_ffff)),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.next_frame(), Err(error.clone()));
            decoder.push(&control(b"{}").to_bytes());
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }

    #[test]
    fn only_the_host_may_be_lengthy() {
        let long = Frame { kind: Kind::Control, payload: vec![b'x'; MAX_PAYLOAD + 1] };
        let mut guests = Decoder::default();
        guests.push(&long.to_bytes());
        assert_eq!(guests.next_frame(), Err(FrameError::TooLong(MAX_PAYLOAD + 1)));
        let mut orders = Decoder::of_orders();
        orders.push(&long.to_bytes());
        assert_eq!(orders.next_frame().unwrap().unwrap(), long);
    }
}
