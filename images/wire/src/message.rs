//! Messages: what the frames say.

use serde::{Deserialize, Serialize};

use crate::frame::{Frame, FrameError, Kind, MAX_ORDER, MAX_PAYLOAD};

/// What the guest's init tells the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromGuest {
    /// Init is up, its transport works, nothing is mounted over 9p yet. Sent once, first.
    Ready {
        /// [`crate::PROTOCOL`] of the init.
        protocol: u32,
        /// `uname -r`.
        release: String,
        /// `uname -m`.
        machine: String,
        /// CLOCK_BOOTTIME, microseconds.
        boottime_us: u64,
        /// When init itself began, CLOCK_BOOTTIME, microseconds.
        init_us: u64,
        /// Mounts and modules that did not work; a kernel without tracefs can still run most tests.
        problems: Vec<String>,
    },
    /// A job's process is started.
    JobStarted {
        /// Which job.
        job: u32,
        /// CLOCK_BOOTTIME, microseconds.
        boottime_us: u64,
        /// Modules the job asked for that could not be loaded.
        modules: Vec<ModuleProblem>,
    },
    /// A job is over; all its output was sent before.
    JobDone {
        /// Which job.
        job: u32,
        /// CLOCK_BOOTTIME, microseconds.
        boottime_us: u64,
        /// How it ended.
        status: JobStatus,
        /// The process that still held the output open when init stopped waiting for it: the end of the output is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_by: Option<String>,
    },
    /// Sent every second: init is alive and gets CPU time.
    Beat {
        /// CLOCK_BOOTTIME, microseconds.
        boottime_us: u64,
    },
    /// Shares are unmounted and the guest is about to power off, as it was told.
    Bye {
        /// CLOCK_BOOTTIME, microseconds.
        boottime_us: u64,
    },
    /// Init ends by its own fault; the text says why.
    LastWords {
        /// Why.
        text: String,
    },
}

/// A module that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleProblem {
    /// Its name.
    pub name: String,
    /// Why not.
    pub error: String,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case", deny_unknown_fields)]
pub enum JobStatus {
    /// `exit(code)`.
    Exited {
        /// 0–255.
        code: i32,
    },
    /// Killed by a signal.
    Signaled {
        /// Its number.
        signal: i32,
    },
    /// Killed by init at the job's own deadline.
    DeadlinePassed,
    /// Never started: a share could not be mounted, the program is not there. Not the test's fault.
    NotStarted {
        /// What init was doing: `mount kvet.tests on /kvet/tests`.
        stage: String,
        /// The error.
        error: String,
    },
}

/// What the host tells init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToGuest {
    /// Run this.
    Run(Box<Job>),
    /// Kill the job's processes; JobDone follows.
    Kill {
        /// Which job.
        job: u32,
    },
    /// The terminal of a job changed its size.
    Resize {
        /// Which job.
        job: u32,
        /// Its new size.
        size: Tty,
    },
    /// Ask the kernel for a dump of blocked tasks and of every CPU's stack on the console
    /// (sysrq `w` and `l`, Documentation/admin-guide/sysrq.rst).
    Dump,
    /// Unmount, say Bye, power off.
    PowerOff,
}

/// One program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Numbers the jobs of one guest.
    pub id: u32,
    /// 9p shares to mount first, unless they are mounted already.
    pub shares: Vec<Share>,
    /// What the job has as its root; none: the initramfs, which has nothing but what init and kvet need.
    pub root: Option<JobRoot>,
    /// What the program is, where a link of a share would lead nowhere.
    pub stand_in: Option<StandIn>,
    /// Modules to load first, by name. Builtin ones are fine.
    pub modules: Vec<String>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// Init kills the job after this many milliseconds; 0 means never.
    pub deadline_ms: u64,
    /// For so many milliseconds after the program's end init reads on while a process that it left behind holds its output open.
    pub drain_ms: u64,
    /// The host's time, nanoseconds since the Unix epoch: the guest's clock is set to it.
    pub unix_time_ns: u64,
    /// Hexadecimal bytes for the kernel's random pool (RNDADDENTROPY, random(4)).
    pub seed: String,
    /// Give the job a terminal of this size; its output is then one stream.
    pub tty: Option<Tty>,
    /// Without a terminal: give the job a pipe as its standard input, fed by input frames and closed by an empty one.
    pub stdin: bool,
}

/// A root of a job's own: a tree of the host, never written to, with an overlay in memory above it. In it are `/proc`,
/// `/sys`, `/dev`, `/tmp` and `/run` as init has them, the shares that are mounted below `/kvet`, the kernel's modules in
/// `/lib/modules`, its config in `/boot`, and kvet's `modprobe`. It is made for the first job that asks for it and is the guest's until its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRoot {
    /// The virtio-9p mount tag of the tree.
    pub tag: String,
}

/// A file of the initramfs that is mounted over a symbolic link of a read-only share. The link leads out of the shared folder, where
/// the guest has nothing; whoever follows it finds the file, under the link's own name and in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandIn {
    /// The file.
    pub from: String,
    /// The link.
    pub to: String,
}

/// A 9p share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The virtio-9p mount tag.
    pub tag: String,
    /// Where to mount it; created if missing.
    pub path: String,
    /// Whether the guest may only read.
    pub readonly: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tty {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// A piece of a job's output, as it stands in a frame: job (u32), stream (u8: 1 or 2), CLOCK_BOOTTIME in
/// microseconds (u64), all little endian, then the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Which job.
    pub job: u32,
    /// 1 is standard output, 2 standard error.
    pub stream: u8,
    /// When init read it.
    pub boottime_us: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Output {
    const HEAD: usize = 13;
    /// Most bytes that fit into one frame.
    pub const MAX: usize = MAX_PAYLOAD - Self::HEAD;

    /// As a frame. Bytes past [`Output::MAX`] are refused by [`Frame::to_bytes`].
    pub fn to_frame(&self) -> Frame {
        let mut payload = Vec::with_capacity(Self::HEAD + self.bytes.len());
        payload.extend_from_slice(&self.job.to_le_bytes());
        payload.push(self.stream);
        payload.extend_from_slice(&self.boottime_us.to_le_bytes());
        payload.extend_from_slice(&self.bytes);
        Frame { kind: Kind::Output, payload }
    }

    /// From a frame's payload.
    ///
    /// # Errors
    /// It is shorter than its head, or names a stream other than 1 and 2.
    pub fn parse(payload: &[u8]) -> Result<Output, FrameError> {
        let Some((head, bytes)) = payload.split_first_chunk::<{ Self::HEAD }>() else {
            return Err(FrameError::Payload(format!("output of {} bytes", payload.len())));
        };
        let [j0, j1, j2, j3, stream, time @ ..] = *head;
        if !matches!(stream, 1 | 2) {
            return Err(FrameError::Payload(format!("output on stream {stream}")));
        }
        Ok(Output {
            job: u32::from_le_bytes([j0, j1, j2, j3]),
            stream,
            boottime_us: u64::from_le_bytes(time),
            bytes: bytes.to_vec(),
        })
    }
}

/// Input for a job: job (u32, little endian), then the bytes; none mean that there will be no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Which job.
    pub job: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Input {
    /// As a frame.
    pub fn to_frame(&self) -> Frame {
        let mut payload = self.job.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.bytes);
        Frame { kind: Kind::Input, payload }
    }

    /// From a frame's payload.
    ///
    /// # Errors
    /// It is shorter than its head.
    pub fn parse(payload: &[u8]) -> Result<Input, FrameError> {
        let Some((job, bytes)) = payload.split_first_chunk::<4>() else {
            return Err(FrameError::Payload(format!("input of {} bytes", payload.len())));
        };
        Ok(Input { job: u32::from_le_bytes(*job), bytes: bytes.to_vec() })
    }
}

/// A piece of the kernel's log: records as they are read from /dev/kmsg, each with a newline at its end and without its
/// dictionary (`6,339,5140900,-;text`; Documentation/ABI/testing/dev-kmsg of the kernel).
pub fn kernel_log(records: Vec<u8>) -> Frame {
    Frame { kind: Kind::KernelLog, payload: records }
}

/// A guest's message as a control frame.
///
/// # Errors
/// It does not fit into one frame.
pub fn control(message: &FromGuest) -> Result<Frame, FrameError> {
    framed(message, MAX_PAYLOAD)
}

/// A message of the host's as a control frame.
///
/// # Errors
/// It does not fit into one frame.
pub fn order(message: &ToGuest) -> Result<Frame, FrameError> {
    framed(message, MAX_ORDER)
}

fn framed<T: Serialize>(message: &T, limit: usize) -> Result<Frame, FrameError> {
    let payload = serde_json::to_vec(message).map_err(|e| FrameError::Payload(e.to_string()))?;
    if payload.len() > limit {
        return Err(FrameError::TooLong(payload.len()));
    }
    Ok(Frame { kind: Kind::Control, payload })
}

/// A control frame's message.
///
/// # Errors
/// It is not JSON of the expected type.
pub fn parse_control<T: for<'de> Deserialize<'de>>(payload: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(|e| FrameError::Payload(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let job = Job {
            id: 3,
            shares: vec![Share { tag: "kvet.tests".into(), path: "/kvet/tests".into(), readonly: true }],
            root: Some(JobRoot { tag: "kvet.root".into() }),
            stand_in: Some(StandIn { from: "/kvet/program".into(), to: "/kvet/tests/t".into() }),
            modules: vec!["tun".into()],
            argv: vec!["/kvet/tests/t".into(), "ünï".into()],
            env: vec![("A".into(), "b c".into())],
            cwd: "/".into(),
            deadline_ms: 1,
            drain_ms: 1,
            unix_time_ns: u64::MAX,
            seed: "00ff".into(),
            tty: Some(Tty { cols: 80, rows: 24 }),
            stdin: false,
        };
        let without = Job { root: None, ..job.clone() };
        let message = ToGuest::Run(without.into());
        assert_eq!(parse_control::<ToGuest>(&order(&message).unwrap().payload).unwrap(), message);
        let message = ToGuest::Run(job.into());
        assert_eq!(parse_control::<ToGuest>(&order(&message).unwrap().payload).unwrap(), message);
        let output = Output { job: 1, stream: 2, boottime_us: 5, bytes: b"\0\xff".to_vec() };
        assert_eq!(Output::parse(&output.to_frame().payload).unwrap(), output);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Output::parse(b"short").is_err());
        let bad_stream = Output { job: 1, stream: 3, boottime_us: 0, bytes: vec![] };
        assert!(Output::parse(&bad_stream.to_frame().payload).is_err());
        assert!(Input::parse(b"abc").is_err());
        assert!(parse_control::<FromGuest>(br#"{"type":"beat","boottime_us":1,"more":2}"#).is_err());
        assert!(parse_control::<FromGuest>(br#"{"type":"explode"}"#).is_err());
        let long = FromGuest::LastWords { text: "x".repeat(MAX_PAYLOAD) };
        assert!(matches!(control(&long), Err(FrameError::TooLong(_))));
    }
}
