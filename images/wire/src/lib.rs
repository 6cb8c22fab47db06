//! What kvet (the host) and init (the guest) say to each other over a virtio-serial port.
//!
//! A frame is a header of eight bytes and a payload:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0–1 | the magic `KV` |
//! | 2 | kind: [`Kind`] |
//! | 3 | zero |
//! | 4–7 | length of the payload, little endian, at most [`MAX_PAYLOAD`], or [`MAX_ORDER`] from the host |
//!
//! Control messages are JSON, so that a log of the wire can be read; a job's output and input are raw bytes
//! behind a small binary head, because they are most of the traffic. Both ends refuse what does not fit: the
//! host because a guest is hostile, the guest because a misunderstood job would give a wrong verdict.

pub mod frame;
pub mod message;
pub mod modindex;

pub use frame::{Decoder, Frame, FrameError, Kind, MAX_KERNEL_LOG, MAX_ORDER, MAX_PAYLOAD};
pub use message::{FromGuest, Job, JobRoot, JobStatus, ModuleProblem, Share, StandIn, ToGuest, Tty};

/// The version of everything in this crate; both ends must agree.
pub const PROTOCOL: u32 = 5;

/// Name of the virtio-serial port that carries the wire (`/sys/class/virtio-ports/*/name`).
pub const PORT_NAME: &str = "kvet.wire";

/// Init writes this to /dev/kmsg at Ready, followed by its boottime in microseconds. The printk stamp that the
/// line gets on the console tells the host how far apart the two clocks are.
pub const SYNC_MARK: &str = "kvet-init: boottime_us=";

/// Init writes this to /dev/kmsg before Bye: once it is on the console, so is everything the kernel had to say.
pub const BYE_MARK: &str = "kvet-init: bye";

/// A test harness writes this and the test's name to /dev/kmsg when it starts a test. The kernel's complaints then
/// stand on the console behind the name of the test that provoked them, whatever the clocks say.
pub const RUN_MARK: &str = "kvet-test: RUN ";

/// What init says on the console before it ends because the kernel lacks something that it cannot do without.
pub const LACKS_MARK: &str = "kvet-init: the kernel lacks: ";

/// What init says on the console before it ends by its own fault. Once the wire is open it is said there, where no test
/// can say it.
pub const LAST_WORDS_MARK: &str = "kvet-init: last words: ";

/// Where the guest mounts what the host shares.
pub mod paths {
    /// Read-only: the folder of the test binaries.
    pub const TESTS: &str = "/kvet/tests";
    /// Writable: what tests leave for the host.
    pub const RESULTS: &str = "/kvet/results";
    /// In the initramfs: the program, where a link of [`TESTS`] would lead nowhere.
    pub const PROGRAM: &str = "/kvet/program";
    /// Read-only: the kernel's module tree, as unpacked on the host.
    pub const MODULES: &str = "/kvet/modules";
    /// Read-only: tools for `kvet shell`.
    pub const TOOLS: &str = "/kvet/tools";
    /// Read-only: what a job has as its root, without what is mounted in it.
    pub const ROOT_TREE: &str = "/kvet/tree";
    /// Memory: what jobs write into their root.
    pub const ROOT_LAYERS: &str = "/kvet/layers";
    /// A job's root, as init sees it.
    pub const ROOT: &str = "/kvet/root";
    /// In the initramfs: modules of the transport, loaded before Ready.
    pub const BOOT_MODULES: &str = "/modules/load";
    /// In the initramfs: the index of the modules that jobs ask for, beside them.
    pub const JOB_MODULES: &str = "/modules/index";
    /// In the initramfs: the index of [`MODULES`], where the tree does not hold it itself.
    pub const TREE_INDEX: &str = "/modules/tree-index";

    /// Before a kernel's release: its config, in the initramfs and in a job's root, where the host knows it.
    pub const CONFIG: &str = "/boot/config-";

    /// 9p mount tag of [`TESTS`].
    pub const TESTS_TAG: &str = "kvet.tests";
    /// 9p mount tag of [`RESULTS`].
    pub const RESULTS_TAG: &str = "kvet.results";
    /// 9p mount tag of [`MODULES`].
    pub const MODULES_TAG: &str = "kvet.modules";
    /// 9p mount tag of [`TOOLS`].
    pub const TOOLS_TAG: &str = "kvet.tools";
    /// 9p mount tag of [`ROOT_TREE`].
    pub const ROOT_TAG: &str = "kvet.root";
}
