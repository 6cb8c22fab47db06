//! Bytes from the guest to test cases and splats. Nothing here does I/O, and nothing here trusts its input.
//!
//! It runs no guest and knows no suite: whoever uses it says which bytes came, when, and how the job ended.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod clean;
pub mod exit;
pub mod kmsg;
pub mod ktap;
mod names;
pub mod splat;
pub mod test_progs;
mod text;

use std::fmt;
use std::time::Duration;

use kvet_base::error::Fault;
use kvet_base::event::{Stream, TestCase};

/// What a parser understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestEvent {
    /// A test announced that it starts.
    Started {
        /// Suite-local name.
        name: String,
        /// Guest time since boot.
        at: Duration,
    },
    /// A test has its result.
    Finished {
        /// The result.
        case: TestCase,
        /// Whether it says something of the job as a whole (a plan that was not met, an exit status), and is no
        /// test's own result: then no filter leaves it out.
        about_job: bool,
        /// Guest time since boot.
        at: Duration,
    },
    /// The job says itself that it could not test anything: nothing was selected, or what it needs is not there. What
    /// had a result keeps it.
    NoVerdict {
        /// Whose fault that is: the caller's or the host's.
        fault: Fault,
        /// In one line.
        reason: String,
    },
    /// A test ended, or another sign that the job goes on. Its result comes later, or is one of too many.
    Progress,
    /// Something that concerns several tests.
    Note(String),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// The process exited with this status.
    Exited(i32),
    /// A signal killed it.
    Signaled(i32),
    /// kvet killed it: the text says which limit it ran into (`test x/y ran longer than 90s`).
    TimedOut(String),
    /// The guest was lost under it: the text says how (`kernel panic: …`).
    Lost(String),
}

impl fmt::Display for JobEnd {
    /// Reads after "it": `exited with status 3`, `was killed by SIGSEGV`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobEnd::Exited(status) => write!(f, "exited with status {status}"),
            JobEnd::Signaled(number) => write!(f, "was killed by {}", signal_name(*number)),
            JobEnd::TimedOut(limit) => write!(f, "was ended by kvet: {limit}"),
            JobEnd::Lost(how) => write!(f, "was lost with its guest: {how}"),
        }
    }
}

/// `SIGSEGV` for 11; real-time and unknown numbers become `signal 40`.
fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {number}"),
    }
}

/// Turns a job's output into test cases as it comes.
pub trait OutputParser: Send {
    /// The job was started. The parser may announce a test here, and measures from here.
    fn start(&mut self, at: Duration) -> Vec<TestEvent>;
    /// Takes one complete line (cleaned, without its newline) and the guest time at which init read it.
    fn line(&mut self, stream: Stream, at: Duration, line: &str) -> Vec<TestEvent>;
    /// A mark on the console says that a test starts. `at` is the newest guest time that is known. Of use where the
    /// output itself does not announce tests.
    fn marked(&mut self, _at: Duration, _name: &str) -> Vec<TestEvent> {
        Vec::new()
    }
    /// A part of the output is missing between the line before and the next one. `why` reads as a sentence of its own:
    /// `the output passed 64 MiB`. A parser that cannot tell that no result was lost makes an error of it.
    fn cut(&mut self, _at: Duration, _why: &str) -> Vec<TestEvent> {
        Vec::new()
    }
    /// The output is complete. Whatever was announced and has no result becomes an error here.
    fn finish(&mut self, end: &JobEnd, at: Duration) -> Vec<TestEvent>;
}
