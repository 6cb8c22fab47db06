//! Bytes from the guest to test cases and splats. Nothing here does I/O, and nothing here trusts its input.

use std::time::Duration;

use crate::event::{Stream, TestCase};

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
        /// Guest time since boot.
        at: Duration,
    },
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

/// Turns a job's output into test cases as it comes.
pub trait OutputParser: Send {
    /// Takes one complete line (cleaned, without its newline) and the guest time at which init read it.
    fn line(&mut self, stream: Stream, at: Duration, line: &str) -> Vec<TestEvent>;
    /// The output is complete. Whatever was announced and has no result becomes an error here.
    fn finish(&mut self, end: &JobEnd, at: Duration) -> Vec<TestEvent>;
}
