//! What kvet (the host) and init (the guest) say to each other over a virtio-serial port.
//!
//! A frame is a header of eight bytes and a payload:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0–1 | the magic `KV` |
//! | 2 | kind: [`Kind`] |
//! | 3 | zero |
//! | 4–7 | length of the payload, little endian, at most [`MAX_PAYLOAD`] |
//!
//! Control messages are JSON, so that a log of the wire can be read; a job's output and input are raw bytes
//! behind a small binary head, because they are most of the traffic. Both ends refuse what does not fit: the
//! host because a guest is hostile, the guest because a misunderstood job would give a wrong verdict.

pub mod frame;
pub mod message;
pub mod modindex;

pub use frame::{Decoder, Frame, FrameError, Kind, MAX_PAYLOAD};
pub use message::{FromGuest, Job, JobStatus, ModuleProblem, Share, ToGuest, Tty};

/// The version of everything in this crate; both ends must agree.
pub const PROTOCOL: u32 = 1;

/// Name of the virtio-serial port that carries the wire (`/sys/class/virtio-ports/*/name`).
pub const PORT_NAME: &str = "kvet.wire";

/// Init writes this to /dev/kmsg at Ready, followed by its boottime in microseconds. The printk stamp that the
/// line gets on the console tells the host how far apart the two clocks are.
pub const SYNC_MARK: &str = "kvet-init: boottime_us=";

/// What init says on the console before it ends by its own fault.
pub const LAST_WORDS_MARK: &str = "kvet-init: last words: ";

/// Where the guest mounts what the host shares.
pub mod paths {
    /// Read-only: the folder of the test binaries.
    pub const TESTS: &str = "/kvet/tests";
    /// Writable: what tests leave for the host.
    pub const RESULTS: &str = "/kvet/results";
    /// Read-only: the kernel's module tree, as unpacked on the host.
    pub const MODULES: &str = "/kvet/modules";
    /// Read-only: tools for `kvet shell`.
    pub const TOOLS: &str = "/kvet/tools";
    /// In the initramfs: modules of the transport, loaded before Ready.
    pub const BOOT_MODULES: &str = "/modules/load";
}
