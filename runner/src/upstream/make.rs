//! Runs make, tells how far it is, and finds what went wrong in what it says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::kernel::{Progress, Trouble, trouble};
use crate::parse::clean;
use kvet_host::process::{ProcessGroup, with_clean_env};

/// How often a cancel is looked for.
const TICK: Duration = Duration::from_millis(50);
/// Lines that are kept of what make says, for the log and for errors.
const MAX_LINES: usize = 200_000;
/// Longest line that is kept, in bytes.
const MAX_LINE: u64 = 8 << 10;
/// Lines of an error message.
const SHOWN: usize = 12;

/// One call of make.
pub(super) struct Make<'a> {
    /// Where.
    pub dir: &'a Path,
    /// What.
    pub target: &'a str,
    /// Variables, on the command line: they override those of the Makefile.
    pub variables: &'a BTreeMap<String, String>,
    /// Whether it goes on after an error.
    pub keep_going: bool,
    /// What it is called to people.
    pub what: &'a str,
    /// How many steps it probably takes; 0: nobody knows.
    pub expected: u64,
    /// Where everything it says goes.
    pub log: &'a Path,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Whether everything was made.
    pub succeeded: bool,
    /// How many steps it took: files that were compiled, linked or generated.
    pub steps: u64,
    /// What it said, line by line.
    pub lines: Vec<String>,
}

impl Make<'_> {
    /// The command line, for the log.
    pub fn argv(&self) -> Vec<String> {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut argv = vec![format!("-j{jobs}"), "-C".into(), self.dir.display().to_string()];
        argv.extend(self.keep_going.then(|| "-k".to_owned()));
        argv.extend(self.variables.iter().map(|(name, value)| format!("{name}={value}")));
        argv.extend(Some(self.target.to_owned()).filter(|target| !target.is_empty()));
        argv
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The host's: it cannot be run, or the disk is full. Interrupted. What does not compile is no error here.
    pub fn run(&self, progress: &mut dyn FnMut(Progress), cancel: &Cancel) -> Result<Made> {
        // A compiler that crashes leaves megabytes behind for its developers.
        let scratch =
            tempfile::tempdir_in(self.dir).host(format!("make a folder in {}", self.dir.display()))?;
        let mut command = Command::new("make");
        with_clean_env(command.args(self.argv())).env("HOME", self.dir).env("TMPDIR", scratch.path());
        let mut made = Made::default();
        let status = self.watch(&mut command, &mut made, progress, cancel)?;
        made.succeeded = status.success();
        if made.succeeded && made.steps > 0 {
            let (what, done) = (self.what.to_owned(), made.steps);
            progress(Progress::Steps { what, done, total: done, current: String::new() });
        }
        match Trouble::of(status).or_else(|| made.lines.iter().find_map(|line| trouble(line))) {
            Some(Trouble { why, remedy }) if !made.succeeded => {
                Err(Error::host(format!("{}: {why}", self.what))
                    .hint(format!("{remedy}make's log is {}", self.log.display())))
            }
            _ => Ok(made),
        }
    }

    /// Starts it, logs, keeps and counts what it says, and tells how it ended.
    fn watch(
        &self,
        command: &mut Command,
        made: &mut Made,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<ExitStatus> {
        let action = || format!("write {}", self.log.display());
        let mut log = File::options().create(true).append(true).open(self.log).host(action())?;
        writeln!(log, "make {}", crate::quote::command(&self.argv())).host(action())?;
        let mut group = ProcessGroup::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()), "make")?;
        let (sender, lines) = channel();
        let readers = [
            read_lines(group.child().stdout.take(), sender.clone()),
            read_lines(group.child().stderr.take(), sender),
        ];
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    writeln!(log, "{line}").host(action())?;
                    self.count(&line, made, progress);
                    if made.lines.len() < MAX_LINES {
                        made.lines.push(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if cancel.requested() {
                // Orderly: make removes what is half made.
                group.terminate();
                return Err(Error::interrupted());
            }
        }
        for reader in readers {
            let _ = reader.join();
        }
        group.wait(cancel)
    }

    fn count(&self, line: &str, made: &mut Made, progress: &mut dyn FnMut(Progress)) {
        if is_step(line) {
            made.steps += 1;
            // An estimate that was too low is not exceeded, and the end is told once.
            let total = if self.expected == 0 { 0 } else { self.expected.max(made.steps + 1) };
            progress(Progress::Steps {
                what: self.what.to_owned(),
                done: made.steps,
                total,
                current: step_of(line).to_owned(),
            });
        }
    }
}

fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    sender: Sender<String>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        // A line without end is cut, and the rest of it is the next line.
        while let Ok(1..) = pipe.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(clean::one_line(text.trim_end_matches('\n'))).is_err() {
                return;
            }
            line.clear();
        }
    })
}

/// `  CLNG-BPF [test_progs] dynptr_fail.bpf.o`: a short word in capitals, then what is made.
fn is_step(line: &str) -> bool {
    let word = line.strip_prefix("  ").and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let capital = |c: char| c.is_ascii_uppercase() || c == '-';
    word.len() >= 2 && word.chars().all(capital) && !["INSTALL", "MKDIR", "SKIP-BPF"].contains(&word)
}

/// What a step makes: `dynptr_fail.bpf.o`.
fn step_of(line: &str) -> &str {
    line.rsplit([' ', '/']).next().unwrap_or_default()
}

/// The objects that could not be made, by name: `dynptr_fail.bpf.o`.
pub(super) fn failed_targets(lines: &[String]) -> Vec<String> {
    let target = |line: &String| {
        let inside = line.split_once("*** [")?.1.split_once("] Error")?.0;
        // `Makefile:772: /path/name.bpf.o`
        let path = inside.rsplit(": ").next()?;
        Some(path.rsplit('/').next()?.to_owned())
    };
    lines.iter().filter_map(target).collect()
}

/// The first error, with the lines that explain it.
pub(super) fn first_error(lines: &[String]) -> String {
    let is_error = |line: &&String| {
        line.contains("error:") || line.contains("undefined reference") || line.contains(": not found")
    };
    let at = lines.iter().position(|line| is_error(&line));
    let at = at.or_else(|| lines.iter().position(|line| line.contains("*** "))).unwrap_or(0);
    // Up to make's own words, or the first of these where there is nothing else.
    let rest = lines[at.min(lines.len())..].iter().filter(|line| !is_step(line));
    let rest =
        rest.enumerate().take_while(|(n, line)| *n == 0 || !line.starts_with("make")).map(|(_, line)| line);
    rest.take(SHOWN).cloned().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const FAILED: &str = "  CLNG-BPF [test_progs] a.bpf.o\n  TEST-OBJ [test_progs] b.test.o\n\
        progs/a.c:12:3: error: use of undeclared identifier 'nonsense'\n   12 |         nonsense;\n      |         ^\n\
        1 error generated.\nmake: *** [Makefile:772: /c/tree/x/a.bpf.o] Error 1\n\
        make[1]: *** [Makefile:15: all] Error 2\nmake: *** Waiting for unfinished jobs....\n";

    #[test]
    fn steps_errors_and_targets_are_found() {
        let lines = lines(FAILED);
        assert_eq!(lines.iter().filter(|line| is_step(line)).count(), 2);
        assert_eq!(failed_targets(&lines), ["a.bpf.o", "all"]);
        let error = first_error(&lines);
        assert!(
            error.starts_with("progs/a.c:12:3: error: use of") && error.ends_with("generated."),
            "{error}"
        );
        assert_eq!(first_error(&[]), "");
    }

    fn make<'a>(dir: &'a Path, log: &'a Path, variables: &'a BTreeMap<String, String>) -> Make<'a> {
        Make { dir, target: "", variables, keep_going: false, what: "building", expected: 1, log }
    }

    #[test]
    fn it_runs_counts_and_logs() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("Makefile"),
            "all:\n\t@echo '  CC      x.o'; echo $(WHO) >&2; exit $(END)\n",
        )
        .unwrap();
        let (cancel, log) = (Cancel::new().unwrap(), dir.path().join("log"));
        let variables = [("WHO", "me you"), ("END", "0")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let mut told = Vec::new();
        let made = make(dir.path(), &log, &variables).run(&mut |p| told.push(p), &cancel).unwrap();
        assert!(made.succeeded && made.steps == 1);
        let steps = |total, current: &str| Progress::Steps {
            what: "building".into(),
            done: 1,
            total,
            current: current.into(),
        };
        assert_eq!(told, [steps(2, "x.o"), steps(1, "")]);
        let log_text = std::fs::read_to_string(&log).unwrap();
        assert!(log_text.starts_with("make -j") && log_text.contains("me you"), "{log_text}");
        let variables = [("END".to_owned(), "1".to_owned())].into();
        assert!(!make(dir.path(), &log, &variables).run(&mut |_| {}, &cancel).unwrap().succeeded);
    }

    #[test]
    fn a_full_disk_is_the_hosts_and_a_cancel_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let (cancel, log) = (Cancel::new().unwrap(), dir.path().join("log"));
        std::fs::write(dir.path().join("Makefile"), "all:\n\t@echo 'x: No space left on device'; exit 1\n")
            .unwrap();
        let none = BTreeMap::new();
        let e = make(dir.path(), &log, &none).run(&mut |_| {}, &cancel).unwrap_err();
        assert_eq!(e.fault(), crate::error::Fault::Host);
        std::fs::write(dir.path().join("Makefile"), "all:\n\t@sleep 60\n").unwrap();
        let later = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            later.request();
        });
        let started = std::time::Instant::now();
        let e = make(dir.path(), &log, &none).run(&mut |_| {}, &cancel).unwrap_err();
        assert_eq!(e.fault(), crate::error::Fault::Interrupted);
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
