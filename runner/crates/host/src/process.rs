//! Programs of the host that work for us: ended with us, and by a cancel.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use kvet_base::cancel::Cancel;
use kvet_base::error::{Error, Result};

/// How long a cancel or an end may go unnoticed.
const TICK: Duration = Duration::from_millis(20);
/// Most bytes of a program's output that are kept.
const MAX_OUTPUT: u64 = 64 << 20;

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, bounded.
    pub stdout: Vec<u8>,
    /// Its standard error, bounded.
    pub stderr: String,
}

/// What compilers get of our caller's environment: where programs and temporary files are, and what is ccache's.
const PASSED_ON: [&str; 15] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "CCACHE_COMPRESS",
    "CCACHE_COMPRESSLEVEL",
    "CCACHE_CONFIGPATH",
    "CCACHE_DIR",
    "CCACHE_DISABLE",
    "CCACHE_LOGFILE",
    "CCACHE_MAXSIZE",
    "CCACHE_REMOTE_STORAGE",
    "CCACHE_TEMPDIR",
    "CCACHE_UMASK",
];

/// Leaves of our caller's environment what says where things are, and nothing that could change what is built: make takes every
/// variable for one of its own, compilers look for headers where some say, and some are flags.
pub fn with_clean_env(command: &mut Command) -> &mut Command {
    command.env_clear().env("LC_ALL", "C");
    // A terminal's ^C is for kvet, which ends what it waits for: a compiler that dies of it would look like one that fails.
    command.process_group(0);
    command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
}

/// How long a program may take to tidy up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program in a process group of its own, which is killed when this is dropped before its end. When our thread ends, however
/// that comes, the kernel asks it to end (prctl(2), PR_SET_PDEATHSIG): make then removes what is half made, and its
/// children go with it.
pub struct ProcessGroup {
    child: Child,
    over: bool,
}

impl ProcessGroup {
    /// Starts it. Messages name it by `program`, and `package` is what brings it.
    pub fn start(command: &mut Command, package: &str) -> Result<Self> {
        command.process_group(0).stdin(Stdio::null());
        // SAFETY: prctl(2) is async-signal-safe, and nothing else is called between fork and exec.
        unsafe {
            command
                .pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from));
        }
        let child = command.spawn().map_err(|e| {
            let program = command.get_program().to_string_lossy();
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let error = Error::host(format!("cannot run {program}")).because(e);
            if missing { error.hint(format!("apt-get install {package}")) } else { error }
        })?;
        Ok(Self { child, over: false })
    }

    /// The process, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has ended, and how.
    pub fn poll(&mut self) -> Result<Option<ExitStatus>> {
        let status =
            self.child.try_wait().map_err(|e| Error::host("cannot wait for a program").because(e))?;
        self.over |= status.is_some();
        Ok(status)
    }

    /// Asks all of it to end, and waits until it has, or for some seconds.
    pub fn terminate(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && matches!(self.poll(), Ok(None)) {
            std::thread::sleep(TICK);
        }
    }

    /// Waits for its end. A cancel kills it.
    pub fn wait(&mut self, cancel: &Cancel) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            cancel.check()?;
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.over {
            // Its children too: make has many. It may be gone by now.
            let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end and keeps what it says.
///
/// # Errors
/// The host's: it cannot be run. Interrupted.
pub fn run(command: &mut Command, package: &str, cancel: &Cancel) -> Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = ProcessGroup::start(command, package)?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let out = std::thread::spawn(move || read(out));
    let err = std::thread::spawn(move || read(err));
    let status = group.wait(cancel)?;
    // No output at all and none that could be read are not the same.
    let [stdout, stderr] = [out, err]
        .map(|thread| thread.join().map_err(|_| Error::host("a thread that reads output has died")));
    Ok(Output { status, stdout: stdout?, stderr: String::from_utf8_lossy(&stderr?).into_owned() })
}

fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What could be read before a failure is what there is; the exit status tells of the failure.
        let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept_and_what_is_missing_is_named() {
        let cancel = Cancel::new().unwrap();
        let done =
            run(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]), "dash", &cancel).unwrap();
        assert_eq!((done.stdout.as_slice(), done.stderr.as_str()), (&b"a\n"[..], "b\n"));
        assert_eq!(done.status.code(), Some(3));
        let error = run(&mut Command::new("kvet-no-such-program"), "some-package", &cancel).unwrap_err();
        assert!(error.hint_text().unwrap().contains("some-package"), "{error}");
    }

    #[test]
    fn a_cancel_kills_the_whole_group() {
        let cancel = Cancel::new().unwrap();
        let later = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            later.request();
        });
        let started = Instant::now();
        let error = run(Command::new("sh").args(["-c", "sleep 60 & wait"]), "dash", &cancel).unwrap_err();
        assert_eq!(error.fault(), kvet_base::error::Fault::Interrupted);
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
