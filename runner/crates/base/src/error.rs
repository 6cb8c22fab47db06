//! The one error type of the runner: what went wrong, and whose fault it was.
//!
//! A crashing kernel or a failing test is a *result* and never an [`Error`]; errors are what keeps a cell from
//! having a result. Messages are lowercase fragments that name the value and the place; what the reader can do
//! about it goes into the hint.

use std::fmt;

/// Whose fault an error is. It decides the exit code and what `git bisect` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The person who called: a wrong flag, a config file that does not parse, a kernel of the wrong architecture.
    Caller,
    /// The machine we run on: no QEMU, no mirror, disk full.
    Host,
    /// The kernel under test, which cannot be built or cannot be booted.
    Kernel,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// An error with its context, its fault, and an optional hint.
#[derive(Debug)]
pub struct Error {
    fault: Fault,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result type of the runner.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the given fault.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None, source: None }
    }

    /// The caller asked for something that cannot be: exit code 2.
    pub fn caller(message: impl Into<String>) -> Self {
        Self::new(Fault::Caller, message)
    }

    /// The host is in trouble: exit code 3.
    pub fn host(message: impl Into<String>) -> Self {
        Self::new(Fault::Host, message)
    }

    /// The kernel under test cannot be built or booted: exit code 1.
    pub fn kernel(message: impl Into<String>) -> Self {
        Self::new(Fault::Kernel, message)
    }

    /// The user interrupted: exit code 130.
    pub fn interrupted() -> Self {
        Self::new(Fault::Interrupted, "interrupted")
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts a place or an action in front of the message: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The same, unless the user interrupted: that is not about the thing that was being worked on.
    #[must_use]
    pub fn concerning(self, context: impl fmt::Display) -> Self {
        if self.fault == Fault::Interrupted { self } else { self.context(context) }
    }

    /// Whose fault it was.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut source = self.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns an I/O failure into an [`Error`] of the host, naming what was being done.
pub trait IoContext<T> {
    /// `action` reads like "read /path/to/file".
    fn host(self, action: impl fmt::Display) -> Result<T>;
    /// The same where the path came from the caller: a missing file is the caller's fault, the rest the host's.
    fn given(self, action: impl fmt::Display) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn host(self, action: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::host(format!("cannot {action}")).because(e))
    }

    fn given(self, action: impl fmt::Display) -> Result<T> {
        use std::io::ErrorKind as Kind;
        self.map_err(|e| {
            let fault = match e.kind() {
                Kind::NotFound
                | Kind::NotADirectory
                | Kind::IsADirectory
                | Kind::AlreadyExists
                | Kind::PermissionDenied => Fault::Caller,
                _ => Fault::Host,
            };
            Error::new(fault, format!("cannot {action}")).because(e)
        })
    }
}

/// What a process of ours tells its caller. These numbers are an interface: see `kvet --help`.
pub mod exit {
    /// Every selected test passed or was skipped with a reason.
    pub const PASSED: u8 = 0;
    /// A test failed, or the kernel under test crashed, hung, or could not be built or booted.
    pub const FAILED: u8 = 1;
    /// Wrong usage or configuration: nothing was started.
    pub const USAGE: u8 = 2;
    /// Trouble of the host: no verdict about the kernel.
    pub const HOST: u8 = 3;
    /// Interrupted; what had finished is written.
    pub const INTERRUPTED: u8 = 130;
    /// `--git-bisect`: this revision cannot be judged (`git bisect skip`).
    pub const BISECT_SKIP: u8 = 125;
    /// `--git-bisect`: stop the bisection (git treats 128 and above so).
    pub const BISECT_ABORT: u8 = 128;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_context_and_source_read_as_one_sentence() {
        let io = std::io::Error::from_raw_os_error(2);
        let e = Error::host("cannot read x").because(io).context("kernel debian:7.2");
        assert_eq!(e.to_string(), "kernel debian:7.2: cannot read x: No such file or directory (os error 2)");
        assert_eq!(e.fault(), Fault::Host);
    }

    #[test]
    fn a_missing_file_the_caller_named_is_the_callers_fault() {
        let missing: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(2));
        assert_eq!(missing.given("open ./bzImage").unwrap_err().fault(), Fault::Caller);
        let full: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(28));
        assert_eq!(full.given("open ./bzImage").unwrap_err().fault(), Fault::Host);
    }
}
