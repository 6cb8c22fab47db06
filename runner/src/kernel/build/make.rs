//! Runs kbuild: what it is told, what it says, and how it is stopped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use kvet_host::disk;

use super::super::Progress;
use super::failure::{Failure, Trouble, diagnose, headline, is_step};
use kvet_host::process::{ProcessGroup, with_clean_env};

/// How long a cancel may go unnoticed.
const TICK: Duration = Duration::from_millis(50);
/// How often progress is told at most.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// Lines of the log that are looked through for the first error. A build stops soon after it.
const KEPT_LINES: usize = 20_000;
/// So many objects more than were counted are no surprise: the tables of symbols are compiled while vmlinux is linked.
const FEW: u64 = 8;
/// Longest line that is kept, in bytes: make quotes whole link commands.
const MAX_LINE: usize = 64 << 10;

/// One tree, one output folder, one toolchain.
pub(super) struct Make<'a> {
    /// The program.
    pub program: &'a Path,
    pub tree: &'a Path,
    pub out: &'a Path,
    /// ARCH=, CROSS_COMPILE=, LLVM=, CC=.
    pub arguments: Vec<String>,
    pub jobs: usize,
    /// Everything that kbuild says goes there, too.
    pub log: PathBuf,
    pub cancel: &'a Cancel,
}

/// What make's output is counted for.
pub(super) struct Count {
    /// What people call it.
    what: String,
    /// Objects in the end; 0 where unknown.
    total: u64,
    /// Objects so far.
    pub done: u64,
    /// When that was told.
    told: Option<Instant>,
}

impl Make<'_> {
    /// The command line, for showing and for running.
    pub fn command(&self, targets: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.arg("-C").arg(self.tree).arg(format!("O={}", self.out.display()));
        command.args(&self.arguments).arg(format!("-j{}", self.jobs)).args(targets);
        with_clean_env(&mut command);
        // Reproducible: the same source and config make the same kernel (Documentation/kbuild/reproducible-builds.rst).
        command
            .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
            .env("KBUILD_BUILD_USER", "kvet")
            .env("KBUILD_BUILD_HOST", "kvet")
            .env("KBUILD_BUILD_VERSION", "1")
            // Set, even empty, it keeps scripts/setlocalversion from adding a `+` for every commit after a tag.
            .env("LOCALVERSION", "")
            .env("CCACHE_NOHASHDIR", "1");
        command
    }

    /// Runs it, and shows each line to `watch`.
    ///
    /// # Errors
    /// The kernel's: it cannot be built, with the first error. The host's: the disk is full, make cannot be run. Interrupted.
    pub fn run(&self, command: &mut Command, watch: &mut dyn FnMut(&str)) -> Result<()> {
        let mut log = Log::open(&self.log)?;
        let run = self.each_line(command, &mut |line| {
            log.line(&line)?;
            watch(&line);
            Ok(())
        });
        let flushed = log.flush();
        match run {
            Err(e) => Err(e),
            Ok(status) if status.success() => flushed,
            Ok(status) => Err(self.failed(&log, status)),
        }
    }

    /// How many objects the targets would compile now. Kbuild's dry run tells once `prepare` has been made.
    pub fn dry_run(&self, targets: &[&str], watch: &mut dyn FnMut(u64)) -> Result<u64> {
        let mut command = self.command(&["-n", "-k"]);
        command.args(targets);
        let mut objects = 0;
        // It fails: what it would link is not there. The objects have been named by then.
        self.each_line(&mut command, &mut |line| {
            if line.contains("echo") && ["'  CC  ", "'  AS  "].iter().any(|step| line.contains(step)) {
                objects += 1;
                watch(objects);
            }
            Ok(())
        })?;
        Ok(objects)
    }

    /// How it ended.
    fn each_line(
        &self,
        command: &mut Command,
        each: &mut dyn FnMut(String) -> Result<()>,
    ) -> Result<ExitStatus> {
        let (reader, writer) = std::io::pipe().host("make a pipe")?;
        let other = writer.try_clone().host("make a pipe")?;
        command.stdout(writer).stderr(other);
        let mut group = ProcessGroup::start(command, "make")?;
        // Our own ends of the pipe: the reader must see its end when make is gone.
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let (send, lines) = sync_channel::<String>(1024);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            // A line that cannot be read ends the reading; make's exit status tells the rest.
            while let Ok(n) = reader.read_until(b'\n', &mut line) {
                line.truncate(MAX_LINE);
                if n == 0 || send.send(String::from_utf8_lossy(&line).trim_end().to_string()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => each(line)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.cancel.requested() {
                // Orderly: make removes what is half made.
                group.terminate();
                return Err(Error::interrupted());
            }
        }
        group.wait(self.cancel)
    }

    fn failed(&self, log: &Log, status: ExitStatus) -> Error {
        let place = format!("the whole log is {}", self.log.display());
        let failure = match Trouble::of(status) {
            Some(trouble) => Failure::Host(trouble),
            None => diagnose(log.kept.iter().map(String::as_str)),
        };
        match failure {
            Failure::Host(Trouble { why, remedy }) => {
                let free =
                    disk::free(self.out).map_or(String::new(), |free| format!(" ({} MiB free)", free >> 20));
                Error::host(format!("the build in {} was broken off: {why}{free}", self.out.display()))
                    .hint(format!("{remedy}the next build goes on from there; {place}"))
            }
            Failure::Source(lines) => {
                let first = headline(&lines).to_string();
                let mut text = format!("unbuildable: {first}");
                for line in lines {
                    text.push_str("\n  ");
                    text.push_str(&line);
                }
                Error::kernel(text).hint(place)
            }
        }
    }
}

impl Count {
    /// Nothing is done, and how much there is to do is not known.
    pub fn new(what: String) -> Self {
        Self { what, total: 0, done: 0, told: None }
    }

    /// So many there are.
    pub fn expect(&mut self, total: u64) {
        (self.total, self.told) = (total, None);
    }

    /// A line of make's before anything is counted: what it is at.
    pub fn preparing(&mut self, line: &str, progress: &mut dyn FnMut(Progress)) {
        if let Some((_, name)) = step(line) {
            self.tell(&format!("preparing: {name}"), progress);
        }
    }

    /// A line of make's.
    pub fn line(&mut self, line: &str, progress: &mut dyn FnMut(Progress)) {
        if let Some((object, name)) = step(line) {
            self.done += u64::from(object);
            self.tell(&name, progress);
        }
    }

    /// How far it is and what it is at, unless that was told just now.
    pub fn tell(&mut self, current: &str, progress: &mut dyn FnMut(Progress)) {
        if self.told.is_some_and(|last| last.elapsed() < REPORT_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        progress(Progress::Steps {
            what: self.what.clone(),
            done: self.done,
            total: match self.total {
                0 => 0,
                // It was counted too low, as where the tools' own change makes everything anew.
                total if self.done > total + FEW => 0,
                // More is to come until all is done, whatever was counted: linking, BTF.
                total => total.max(self.done + 1),
            },
            current: current.to_string(),
        });
    }

    /// All is done, if there was anything.
    pub fn over(self, progress: &mut dyn FnMut(Progress)) {
        if self.done > 0 {
            let (what, done) = (self.what, self.done);
            progress(Progress::Steps { what, done, total: done, current: String::new() });
        }
    }
}

/// The log on disk, and what of it may be needed.
struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    kept: VecDeque<String>,
}

impl Log {
    fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = BufWriter::new(file.map_err(|e| disk::explain(e, path, "write"))?);
        Ok(Self { path: path.to_path_buf(), file, kept: VecDeque::new() })
    }

    fn line(&mut self, line: &str) -> Result<()> {
        // Of compiled files there is nothing to tell.
        if !is_step(line) {
            if self.kept.len() == KEPT_LINES {
                self.kept.pop_front();
            }
            self.kept.push_back(line.to_string());
        } else if self.kept.back().is_some_and(|last| !is_step(last)) {
            self.kept.push_back(line.to_string());
        }
        // At once: its time tells when a build that was killed was last alive.
        writeln!(self.file, "{line}")
            .and_then(|()| self.file.flush())
            .map_err(|e| disk::explain(e, &self.path, "write"))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| disk::explain(e, &self.path, "write"))
    }
}

/// Whether a line tells that an object is compiled, and what kbuild is at.
fn step(line: &str) -> Option<(bool, String)> {
    if !is_step(line) {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    let tool = words.next()?;
    let file = words.next_back().unwrap_or("");
    let object = matches!(tool, "CC" | "AS");
    Some((object, if object { file.to_string() } else { format!("{tool} {file}") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    struct World {
        dir: tempfile::TempDir,
        cancel: Cancel,
    }

    impl World {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), cancel: Cancel::new().unwrap() }
        }

        fn make(&self) -> Make<'_> {
            let (tree, out) = (self.dir.path(), self.dir.path());
            let program = Path::new("make");
            Make {
                program,
                tree,
                out,
                arguments: vec![],
                jobs: 1,
                log: out.join("build.log"),
                cancel: &self.cancel,
            }
        }

        /// Instead of make, a shell that says these things.
        fn run(&self, script: &str) -> (Result<()>, Vec<Progress>) {
            let mut seen = Vec::new();
            let mut count = Count::new("building".into());
            count.expect(3);
            let mut tell = |p| seen.push(p);
            let mut command = Command::new("sh");
            let done = self.make().run(command.args(["-c", script]), &mut |line| count.line(line, &mut tell));
            if done.is_ok() {
                count.over(&mut tell);
            }
            (done, seen)
        }
    }

    #[test]
    fn objects_are_counted_and_the_file_at_hand_is_told() {
        let world = World::new();
        let (done, seen) = world.run(
            "echo '  CC      init/main.o'; sleep 0.15; echo '  AS [M]  a/b.o'; echo '  BTF     vmlinux'",
        );
        done.unwrap();
        let steps = |done, total, current: &str| Progress::Steps {
            what: "building".into(),
            done,
            total,
            current: current.into(),
        };
        assert_eq!(seen.first(), Some(&steps(1, 3, "init/main.o")));
        assert_eq!(seen.last(), Some(&steps(2, 2, "")));
        let log = std::fs::read_to_string(world.dir.path().join("build.log")).unwrap();
        assert_eq!(log.lines().count(), 3, "{log}");
        assert_eq!(step("  LD [M]  a.ko"), Some((false, "LD a.ko".into())));
        assert_eq!(step("make[1]: x"), None);
    }

    #[test]
    fn a_count_that_proves_too_low_is_given_up() {
        let total = |expected, done| {
            let mut count = Count { done, ..Count::new("building".into()) };
            count.expect(expected);
            let mut told = None;
            count.tell("a.o", &mut |p| told = Some(p));
            let Some(Progress::Steps { total, .. }) = told else { panic!("{told:?}") };
            total
        };
        assert_eq!((total(100, 99), total(100, 102)), (100, 103));
        assert_eq!((total(100, 120), total(0, 0), total(0, 50)), (0, 0, 0));
    }

    #[test]
    fn a_failure_is_the_kernels_and_a_full_disk_is_not() {
        let world = World::new();
        let (done, _) = world.run("echo '  CC      a.o'; echo 'a.c:3:1: error: expected x' >&2; exit 2");
        let error = done.unwrap_err();
        assert_eq!(error.fault(), Fault::Kernel);
        assert!(error.to_string().starts_with("unbuildable: a.c:3:1: error: expected x"), "{error}");
        assert!(error.hint_text().unwrap().contains("build.log"));
        let (done, _) = world.run("echo 'as: cannot write x: No space left on device'; exit 2");
        assert_eq!(done.unwrap_err().fault(), Fault::Host);
    }

    #[test]
    fn a_cancel_lets_make_tidy_up() {
        let world = World::new();
        let later = world.cancel.clone();
        let tidied = world.dir.path().join("tidied");
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            later.request();
        });
        let script = format!("trap 'touch {}; exit 2' TERM; while :; do sleep 0.05; done", tidied.display());
        let (done, _) = world.run(&script);
        assert_eq!(done.unwrap_err().fault(), Fault::Interrupted);
        assert!(tidied.exists());
    }

    #[test]
    fn the_stamps_are_fixed() {
        let world = World::new();
        let make = world.make();
        let command = make.command(&["vmlinux"]);
        assert!(command.get_envs().any(|(k, v)| k == "LOCALVERSION" && v == Some("".as_ref())));
        assert!(command.get_args().any(|a| a == "-j1"));
    }
}
