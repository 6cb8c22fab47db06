//! What a bisection knows: a file that is written after every verdict.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::symptom::Symptom;
use super::{Find, Subject};
use crate::error::{Error, IoContext, Result};
use crate::event::{CellReport, Phase, Work, WorkTime};
use crate::parse::clean::one_line;
use kvet_host::fs::write_atomic;

/// The format of the file.
const FORMAT: u32 = 2;

/// The folder of a bisection that has its runs.
pub const STEPS: &str = "steps";

/// What a kernel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The symptom is not there.
    Good,
    /// It is.
    Bad,
    /// It cannot be told: not built, not booted, an unrelated crash, no such test.
    Skip,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Skip => "skip",
        })
    }
}

/// One verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The kernel's spec.
    pub kernel: String,
    /// The kernel for people.
    pub shown: String,
    /// What it is.
    pub verdict: Verdict,
    /// Why: the message of the failing test, or what kept it from being judged.
    pub reason: String,
    /// `uname -r`.
    pub release: Option<String>,
    /// What tells the kernel from others.
    pub signature: Option<String>,
    /// How long it took, with fetching or building.
    pub seconds: f64,
    /// What of it went where.
    #[serde(default)]
    pub parts: Parts,
    /// How often it was booted.
    pub runs: usize,
    /// How often the symptom was there.
    pub failed_runs: usize,
    /// The folders of its runs. The last one shows what the kernel is: of a flaky one that is bad, one in which it failed.
    pub dirs: Vec<PathBuf>,
}

impl Step {
    /// One without a run.
    pub(super) fn unseen(subject: &Subject, verdict: Verdict, reason: String, parts: Parts) -> Self {
        Self {
            kernel: subject.kernel.clone(),
            shown: subject.shown.clone(),
            verdict,
            reason,
            release: None,
            signature: None,
            seconds: parts.sum(),
            parts,
            runs: 0,
            failed_runs: 0,
            dirs: Vec::new(),
        }
    }

    /// The folder of the run that shows what it is, below the bisection's; none if it was not run here.
    pub fn folder(&self) -> Option<String> {
        let run = self.dirs.last()?.parent()?.file_name()?;
        Some(format!("{STEPS}/{}", one_line(&run.to_string_lossy())))
    }
}

/// Where a step's time went, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Checking the commit out.
    pub checkout: f64,
    /// Making the config and proving it.
    pub configure: f64,
    /// What make itself took to compile and link what changed.
    pub make: f64,
    /// Taking the kernel out of the build and finding its signature.
    pub publish: f64,
    /// From QEMU's start until init was ready, in all runs.
    pub boot: f64,
    /// From then until the tests were over.
    pub tests: f64,
    /// What is left of the step: git's own work, downloads, what make's caller does before and after it, the suite's build, what a
    /// guest is prepared with (initramfs, image, BTF), QEMU's end, what is written of it all, waiting for others and for another try.
    pub rest: f64,
}

impl Parts {
    /// Of a step that took so long: what building its kernel took, and its runs.
    pub fn of(seconds: f64, work: &[WorkTime], runs: &[CellReport]) -> Self {
        let worked = |part: Work| sum(work.iter().filter(|time| time.work == part).map(|time| time.wall));
        let times = || runs.iter().flat_map(|run| &run.times);
        let spent = |phase: Phase| sum(times().filter(|time| time.phase == phase).map(|time| time.wall));
        let mut parts = Self {
            checkout: worked(Work::Checkout),
            configure: worked(Work::Configure),
            make: worked(Work::Make),
            publish: worked(Work::Publish),
            boot: spent(Phase::Boot),
            tests: spent(Phase::Tests),
            rest: 0.0,
        };
        parts.rest = (seconds - parts.sum()).max(0.0);
        parts
    }

    /// All of it.
    pub fn sum(&self) -> f64 {
        self.named().iter().map(|(_, seconds)| seconds).sum()
    }

    /// What a bisection costs beside make's own time and the boot.
    pub fn overhead(&self) -> f64 {
        self.sum() - self.make - self.boot
    }

    /// Each part with its name, in the order in which they come.
    pub fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("checkout", self.checkout),
            ("configure", self.configure),
            ("make", self.make),
            ("publish", self.publish),
            ("boot", self.boot),
            ("tests", self.tests),
            ("rest", self.rest),
        ]
    }
}

impl std::ops::AddAssign for Parts {
    fn add_assign(&mut self, more: Self) {
        self.checkout += more.checkout;
        self.configure += more.configure;
        self.make += more.make;
        self.publish += more.publish;
        self.boot += more.boot;
        self.tests += more.tests;
        self.rest += more.rest;
    }
}

fn sum(times: impl Iterator<Item = Duration>) -> f64 {
    // Of nothing it would be -0.
    times.map(|time| time.as_secs_f64()).fold(0.0, |all, time| all + time)
}

/// The runs of an end while it is not yet known what they have to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Its kernel.
    pub kernel: String,
    /// Their folders.
    pub dirs: Vec<PathBuf>,
    /// Where their time went.
    pub parts: Parts,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The format of this description.
    pub format: u32,
    /// The command line that began it, without the program's name.
    pub command: Vec<String>,
    /// The folder in which that was said, and from which its paths go on.
    #[serde(default)]
    pub cwd: PathBuf,
    /// What is looked for.
    pub find: Find,
    /// The older and the newer end as they were when it began: branches move, and so do the newest releases of a series.
    #[serde(default)]
    pub ends: Option<(String, String)>,
    /// The source of the selftests that are run on all kernels, where one was settled.
    #[serde(default)]
    pub selftests: Option<String>,
    /// What was done before the first step, each time that it was gone on: looking for the ends, and for those selftests.
    #[serde(default)]
    pub prepared: Parts,
    /// The ends of which nothing is known but their runs.
    #[serde(default)]
    pub observed: Vec<Observed>,
    /// `--match`.
    pub matching: Option<String>,
    /// How often a kernel is booted before it is good.
    pub runs: usize,
    /// What both ends showed.
    pub symptom: Option<Symptom>,
    /// How often the symptom was there on the bad end, of all its runs.
    pub failure_rate: f64,
    /// The verdicts, in order.
    pub steps: Vec<Step>,
    /// The end.
    pub answer: Option<Answer>,
    /// The search over releases whose neighbours are the ends of this one. It has a file of its own and is put in here to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releases: Option<Box<State>>,
}

impl State {
    /// One that knows nothing.
    pub fn new(command: Vec<String>, find: Find, matching: Option<String>, runs: usize) -> Self {
        Self {
            format: FORMAT,
            command,
            cwd: PathBuf::new(),
            find,
            ends: None,
            selftests: None,
            prepared: Parts::default(),
            observed: Vec::new(),
            matching,
            runs,
            symptom: None,
            failure_rate: 1.0,
            steps: Vec::new(),
            answer: None,
            releases: None,
        }
    }

    /// The searches of this bisection: over releases, where there was one before, and this one.
    pub fn levels(&self) -> impl Iterator<Item = &State> {
        self.releases.as_deref().into_iter().chain(std::iter::once(self))
    }

    /// How long all of it took, in seconds, and where the time went: before the first step of each search, and in the steps.
    pub fn time(&self) -> (Parts, Parts) {
        let (mut before, mut steps) = (Parts::default(), Parts::default());
        for level in self.levels() {
            before += level.prepared;
            level.steps.iter().for_each(|step| steps += step.parts);
        }
        (before, steps)
    }

    /// The verdict on a kernel.
    pub fn of(&self, kernel: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.kernel == kernel)
    }

    /// The verdict on a kernel of the same signature that was booted.
    pub fn of_signature(&self, signature: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.runs > 0 && step.signature.as_deref() == Some(signature))
    }

    /// How sure a `good` is, 0 to 1: the chance that a bad kernel would have shown itself in that many runs.
    pub fn confidence(&self, runs: usize) -> f64 {
        1.0 - (1.0 - self.failure_rate).powi(i32::try_from(runs).unwrap_or(i32::MAX))
    }

    /// Only the verdicts on kernels of one kind, named by the beginning of their specs.
    pub fn keep(steps: Vec<Step>, scheme: &str) -> Vec<Step> {
        steps.into_iter().filter(|step| step.kernel.starts_with(scheme)).collect()
    }

    /// Reads it.
    ///
    /// # Errors
    /// The caller's: there is none, or not one of ours.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).given(format!("read the bisection {}", path.display()))?;
        let state: Self = serde_json::from_slice(&text)
            .map_err(|e| Error::caller(format!("{} is no bisection of kvet's", path.display())).because(e))?;
        if state.format != FORMAT {
            return Err(Error::caller(format!(
                "{} has format {}, this kvet knows {FORMAT}",
                path.display(),
                state.format
            )));
        }
        Ok(state)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The host's: it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::host("cannot turn the bisection into JSON").because(e))?;
        write_atomic(path, &bytes)
    }

    /// The verdicts of all searches as text, for [`replay`].
    pub fn log(&self) -> String {
        let mut text = format!("# kvet {}\n", crate::quote::command(&self.command));
        for step in self.levels().flat_map(|level| &level.steps) {
            let reason = one_line(&step.reason);
            let comment = if reason.is_empty() { String::new() } else { format!("  # {reason}") };
            let _ = writeln!(text, "{} {}{comment}", step.verdict, step.kernel);
        }
        text
    }
}

/// Verdicts out of a log: lines of a verdict and a kernel; `#` begins a comment.
///
/// # Errors
/// The caller's: a line is neither; the message has its number.
pub fn replay(text: &str, name: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split_once('#').map_or(line, |(words, _)| words).trim();
        if words.is_empty() {
            continue;
        }
        let verdict = |word: &str| match word {
            "good" => Some(Verdict::Good),
            "bad" => Some(Verdict::Bad),
            "skip" => Some(Verdict::Skip),
            _ => None,
        };
        let (verdict, kernel) = words
            .split_once(' ')
            .and_then(|(word, kernel)| Some((verdict(word)?, kernel.trim())))
            .ok_or_else(|| {
                Error::caller(format!(
                    "{name}:{}: '{}' should be 'good', 'bad' or 'skip' and a kernel",
                    number + 1,
                    one_line(words)
                ))
            })?;
        match steps.iter().find(|step| step.kernel == kernel) {
            Some(known) if known.verdict == verdict => continue,
            Some(known) => {
                return Err(Error::caller(format!(
                    "{name}:{}: '{}': further up it is {}",
                    number + 1,
                    one_line(words),
                    known.verdict
                )));
            }
            None => {}
        }
        let subject = Subject { kernel: kernel.to_owned(), shown: kernel.to_owned() };
        steps.push(Step::unseen(&subject, verdict, format!("said by {name}"), Parts::default()));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_back() {
        let command = ["bisect", "-t", "a b"].map(String::from).to_vec();
        let mut state = State::new(command, Find::Bug, None, 1);
        state.steps =
            replay("bad debian:7.2\n\n# x\ngood debian:6.1  # fine\nskip git:~/l@v6 # no\n", "f").unwrap();
        let log = state.log();
        assert!(log.starts_with("# kvet bisect -t 'a b'\nbad debian:7.2  # said by f\n"), "{log}");
        let twice = replay("bad k1\nbad k1\ngood k1 # is it?\n", "f").unwrap_err().to_string();
        assert_eq!(twice, "f:3: 'good k1': further up it is bad");
        assert_eq!(replay("bad k1\nbad k1\n", "f").unwrap().len(), 1);
        let again = replay(&log, "f").unwrap();
        assert_eq!(again, state.steps);
        assert_eq!(again[2].verdict, Verdict::Skip);
        for wrong in ["new debian:7.2", "good", "x"] {
            let e = replay(&format!("\n{wrong}"), "f").unwrap_err().to_string();
            assert!(e.starts_with(&format!("f:2: '{wrong}'")), "{e}");
        }
    }

    #[test]
    fn it_survives_and_foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let state = State::new(vec!["bisect".into()], Find::Fix, Some("x.*".into()), 3);
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"format\": 2", "\"format\": 9")).unwrap();
        assert!(State::load(&path).unwrap_err().to_string().contains("has format 9"));
        std::fs::write(&path, "{}").unwrap();
        assert!(State::load(&path).unwrap_err().to_string().contains("no bisection of kvet's"));
    }

    #[test]
    fn the_parts_of_a_step_are_all_of_it() {
        use crate::event::PhaseTime;
        let wall = Duration::from_millis;
        let mut run = crate::report::table::sample::cell("k", "7.2", &[]);
        run.times = vec![
            PhaseTime { phase: Phase::Fetch, wall: wall(10) },
            PhaseTime { phase: Phase::Boot, wall: wall(2000) },
            PhaseTime { phase: Phase::Tests, wall: wall(500) },
        ];
        let work = [(Work::Checkout, 100), (Work::Configure, 1000), (Work::Make, 20_000), (Work::Make, 5000)];
        let work = work.map(|(work, ms)| WorkTime { work, wall: wall(ms) });
        let parts = Parts::of(33.0, &work, &[run.clone(), run]);
        assert_eq!((parts.checkout, parts.configure, parts.make, parts.publish), (0.1, 1.0, 25.0, 0.0));
        assert_eq!((parts.boot, parts.tests), (4.0, 1.0));
        assert!((parts.rest - 1.9).abs() < 1e-9 && (parts.sum() - 33.0).abs() < 1e-9, "{parts:?}");
        assert!((parts.overhead() - 4.0).abs() < 1e-9, "{parts:?}");
        // Clocks that disagree make no negative times.
        assert_eq!(Parts::of(1.0, &work, &[]).rest, 0.0);
    }

    #[test]
    fn confidence_grows_with_the_runs() {
        let mut state = State::new(Vec::new(), Find::Bug, None, 4);
        state.failure_rate = 0.5;
        assert_eq!(state.confidence(2), 0.75);
        state.failure_rate = 1.0;
        assert_eq!(state.confidence(1), 1.0);
    }
}
