//! Where did it begin? A state machine over "is this kernel good?", which knows nothing of how a kernel is had or run.
//!
//! A [`Search`] says which kernel to look at next and a [`Lab`] looks at it; between them stands [`Bisection`], which confirms
//! both ends, fixes the [`Symptom`], and writes the [`State`] after every verdict. A bisection that was killed goes on
//! by being begun again: what the state knows is not looked at twice.

pub mod answer;
pub mod git;
pub mod releases;
pub mod state;
pub mod symptom;

use std::path::Path;
use std::time::Instant;

use crate::error::{Error, Fault, Result};
use crate::event::{CellEnd, CellReport, WorkTime};

use answer::Answer;
use state::{Parts, State, Step, Verdict};
use symptom::{Finding, Symptom};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Find {
    /// The first kernel that is bad: the older end is good.
    Bug,
    /// The first kernel that is good again: the older end is bad.
    Fix,
}

impl Find {
    /// `bad` or `fixed`.
    pub fn word(self) -> &'static str {
        match self {
            Find::Bug => "bad",
            Find::Fix => "fixed",
        }
    }

    /// What a kernel of the newer side is.
    fn newer(self) -> Verdict {
        match self {
            Find::Bug => Verdict::Bad,
            Find::Fix => Verdict::Good,
        }
    }
}

/// One kernel of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// A kernel spec, which also names it in the state.
    pub kernel: String,
    /// For people: a version, or a commit and its subject.
    pub shown: String,
}

/// What a search wants next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// A verdict.
    Test {
        /// On this.
        subject: Subject,
        /// Kernels that are left to be told apart after it.
        left: usize,
        /// About how many more verdicts that takes.
        steps: usize,
    },
    /// Nothing more.
    Done(Answer),
}

/// Where a search is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Kernels that are left to be told apart after the next one.
    pub left: usize,
    /// About how many more verdicts that takes.
    pub steps: usize,
    /// What is known to be older and what is known to be newer, as near as that is known.
    pub between: (Subject, Subject),
}

/// Says where to look.
pub trait Search {
    /// The older end and the newer end.
    fn ends(&self) -> (Subject, Subject);

    /// What was judged last on each side; the ends where nothing was.
    fn between(&self) -> (Subject, Subject);

    /// The next kernel, after the verdict on the last one.
    ///
    /// # Errors
    /// The host's: the engine failed.
    fn next(&mut self) -> Result<Next>;

    /// Takes the verdict on the kernel that was asked for. `newer` is none where it cannot be judged.
    ///
    /// # Errors
    /// The host's: the engine failed.
    fn tell(&mut self, subject: &Subject, newer: Option<bool>) -> Result<()>;

    /// What would be asked for after this kernel: if it is of the newer side, and if it is of the older. Nothing where that is not
    /// worth knowing.
    ///
    /// # Errors
    /// The host's: the engine failed.
    fn after(&self, _subject: &Subject) -> Result<Vec<Subject>> {
        Ok(Vec::new())
    }
}

/// Has kernels and runs tests on them.
pub trait Lab {
    /// Gets or builds a kernel and gives what tells it from others.
    ///
    /// # Errors
    /// The kernel's: it cannot be built. Anything else stops the bisection.
    fn signature(&mut self, subject: &Subject) -> Result<String>;

    /// What building kernels took since this was asked last.
    fn worked(&mut self) -> Vec<WorkTime> {
        Vec::new()
    }

    /// Runs the tests on it once.
    ///
    /// # Errors
    /// Anything but the kernel's fault, which is in the report.
    fn run(&mut self, subject: &Subject, tests: Option<&[String]>) -> Result<CellReport>;

    /// Whether it makes use of [`Lab::foresee`].
    fn looks_ahead(&self) -> bool {
        false
    }

    /// These kernels may be asked for next: there is time for them while the next run goes on.
    fn foresee(&mut self, _likely: Vec<Subject>) {}

    /// The report of a run that was finished before kvet was killed, by its folder; none if it cannot be had any more.
    fn recall(&mut self, dir: &Path) -> Option<CellReport>;
}

/// What is told while a bisection goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum News<'a> {
    /// A kernel is going to be looked at; nothing of the search for the ends.
    Begin(&'a Subject, Option<&'a Progress>),
    /// A verdict, and all that was known before it.
    Judged(&'a Step, &'a State),
    /// Both ends are what they were said to be, and these tests tell them apart.
    Confirmed(&'a Symptom),
    /// Something to know.
    Note(String),
}

/// A kernel is good before all its runs are over where a bad one would hardly have passed so often.
const SURE: f64 = 0.99;

/// How often trouble of the host is met with another try.
const TRIES: u32 = 3;

/// A bisection under way.
pub struct Bisection<'a> {
    /// What it does and what it knows.
    pub state: State,
    /// Where to look.
    pub search: &'a mut dyn Search,
    /// Who looks.
    pub lab: &'a mut dyn Lab,
    /// Keeps the state; after it returns, what is known survives anything.
    pub save: &'a mut dyn FnMut(&State) -> Result<()>,
    /// Tells people.
    pub tell: &'a mut dyn FnMut(News),
}

impl Bisection<'_> {
    /// To the end.
    ///
    /// # Errors
    /// The caller's: an end is not what it was said to be, or no test tells them apart. The host's: it could not be gone on; what
    /// is known is kept. Interrupted.
    pub fn run(&mut self) -> Result<Answer> {
        (self.save)(&self.state)?;
        let symptom = match self.state.symptom.clone() {
            Some(symptom) => symptom,
            None => self.confirm()?,
        };
        loop {
            match self.search.next()? {
                Next::Done(answer) => {
                    self.state.answer = Some(answer.clone());
                    (self.save)(&self.state)?;
                    return Ok(answer);
                }
                Next::Test { subject, left, steps } => {
                    let progress = Progress { left, steps, between: self.search.between() };
                    let verdict = self.verdict(&subject, &symptom, &progress)?;
                    let newer = match verdict {
                        Verdict::Skip => None,
                        verdict => Some(verdict == self.state.find.newer()),
                    };
                    self.search.tell(&subject, newer)?;
                }
            }
        }
    }

    /// Both ends, before anything else: a bisection between two kernels that do not differ finds nonsense.
    fn confirm(&mut self) -> Result<Symptom> {
        let (older, newer) = self.search.ends();
        self.state.ends = Some((older.kernel.clone(), newer.kernel.clone()));
        (self.save)(&self.state)?;
        let (good, bad) = match self.state.find {
            Find::Bug => (older, newer),
            Find::Fix => (newer, older),
        };
        let bad_runs = self.end(&bad)?;
        let good_runs = self.end(&good)?;
        let symptom = Symptom::between(&bad_runs, &good_runs, self.state.matching.as_deref())?;
        let of_bad = Judgement::of(&symptom, &bad_runs);
        let of_good = Judgement::of(&symptom, &good_runs);
        self.state.failure_rate = of_bad.rate();
        self.keep(&bad, &of_bad, &bad_runs, None)?;
        self.keep(&good, &of_good, &good_runs, None)?;
        self.state.symptom = Some(symptom.clone());
        self.state.observed.clear();
        (self.save)(&self.state)?;
        (self.tell)(News::Confirmed(&symptom));
        Ok(symptom)
    }

    /// The runs of an end, which have to be kept until the other end's are there, too.
    fn end(&mut self, subject: &Subject) -> Result<Vec<CellReport>> {
        let observed = self.state.observed.iter().find(|(kernel, _)| *kernel == subject.kernel).cloned();
        if let Some((_, dirs)) = observed
            && let Some(runs) = dirs.iter().map(|dir| self.lab.recall(dir)).collect()
        {
            return Ok(runs);
        }
        (self.tell)(News::Begin(subject, None));
        let runs = self.observe(subject, None)?;
        self.state.observed.retain(|(kernel, _)| *kernel != subject.kernel);
        self.state.observed.push((subject.kernel.clone(), runs.iter().map(|run| run.dir.clone()).collect()));
        (self.save)(&self.state)?;
        Ok(runs)
    }

    fn verdict(&mut self, subject: &Subject, symptom: &Symptom, progress: &Progress) -> Result<Verdict> {
        if let Some(step) = self.state.of(&subject.kernel) {
            return Ok(step.verdict);
        }
        (self.tell)(News::Begin(subject, Some(progress)));
        // What was built before is none of this step's.
        drop(self.lab.worked());
        let started = Instant::now();
        let signature = match self.lab.signature(subject) {
            Ok(signature) => signature,
            Err(error) if error.fault() == Fault::Kernel => {
                // What follows the first line is the compiler's, and is in the log of the build.
                let text = error.to_string();
                let line = text.lines().next().unwrap_or_default();
                let named = format!("kernel {}: ", subject.kernel);
                let reason = line.strip_prefix(&named).unwrap_or(line).to_owned();
                return self.skip(subject, reason, started);
            }
            Err(error) => return Err(error),
        };
        if let Some(same) = self.state.of_signature(&signature) {
            let reason = format!("the same kernel as {}", same.shown);
            let same = same.clone();
            let (seconds, parts) = self.spent(started, &[]);
            let step = Step {
                kernel: subject.kernel.clone(),
                shown: subject.shown.clone(),
                reason,
                seconds,
                parts,
                runs: 0,
                ..same
            };
            return self.record(step);
        }
        if self.lab.looks_ahead() {
            let mut likely = self.search.after(subject)?;
            likely.retain(|next| self.state.of(&next.kernel).is_none());
            self.lab.foresee(likely);
        }
        let runs = self.observe(subject, Some(symptom))?;
        let judgement = Judgement::of(symptom, &runs);
        self.keep(subject, &judgement, &runs, Some((&signature, started)))
    }

    /// How long a step took until now, and where the time went.
    fn spent(&mut self, started: Instant, runs: &[CellReport]) -> (f64, Parts) {
        let work = self.lab.worked();
        let seconds = started.elapsed().as_secs_f64();
        (seconds, Parts::of(seconds, &work, runs))
    }

    fn skip(&mut self, subject: &Subject, reason: String, started: Instant) -> Result<Verdict> {
        let (seconds, parts) = self.spent(started, &[]);
        self.record(Step {
            kernel: subject.kernel.clone(),
            shown: subject.shown.clone(),
            verdict: Verdict::Skip,
            reason,
            release: None,
            signature: None,
            seconds,
            parts,
            runs: 0,
            failed_runs: 0,
            dirs: Vec::new(),
        })
    }

    fn record(&mut self, step: Step) -> Result<Verdict> {
        let verdict = step.verdict;
        // What was said of an end is replaced by what was seen.
        self.state.steps.retain(|known| known.kernel != step.kernel);
        (self.tell)(News::Judged(&step, &self.state));
        self.state.steps.push(step);
        (self.save)(&self.state)?;
        Ok(verdict)
    }

    fn keep(
        &mut self,
        subject: &Subject,
        judgement: &Judgement,
        runs: &[CellReport],
        known: Option<(&str, Instant)>,
    ) -> Result<Verdict> {
        let (seconds, parts) = match known {
            Some((_, started)) => self.spent(started, runs),
            None => of_end(runs),
        };
        let kernel = runs.iter().find_map(|run| run.kernel.as_ref());
        self.record(Step {
            kernel: subject.kernel.clone(),
            shown: subject.shown.clone(),
            verdict: judgement.verdict,
            reason: judgement.reason.clone(),
            release: kernel.map(|kernel| kernel.release.clone()),
            signature: match known {
                Some((signature, _)) => Some(signature.to_owned()),
                None => kernel.map(|kernel| kernel.signature().to_owned()),
            },
            seconds,
            parts,
            runs: runs.len(),
            failed_runs: judgement.failed,
            dirs: runs.iter().map(|run| run.dir.clone()).collect(),
        })
    }

    /// Runs the tests, as often as it takes: until the symptom is seen, or often enough without it.
    fn observe(&mut self, subject: &Subject, symptom: Option<&Symptom>) -> Result<Vec<CellReport>> {
        let tests = symptom.map(Symptom::names);
        let mut runs = Vec::new();
        while runs.len() < self.state.runs.max(1) {
            let run = self.run_once(subject, tests.as_deref())?;
            let seen = symptom.map(|symptom| symptom.find_in(&run));
            runs.push(run);
            match seen {
                Some(Finding::Bad(_) | Finding::Unknown(_)) => break,
                Some(Finding::Good) if self.state.confidence(runs.len()) >= SURE => break,
                _ => {}
            }
        }
        Ok(runs)
    }

    /// One run. What went wrong on the host is tried again, and then stops the bisection: it is no verdict.
    fn run_once(&mut self, subject: &Subject, tests: Option<&[String]>) -> Result<CellReport> {
        for left in (0..TRIES).rev() {
            let report = self.lab.run(subject, tests)?;
            match &report.end {
                CellEnd::Infra { reason } if left > 0 => {
                    (self.tell)(News::Note(format!("{}: {reason}; once more", subject.shown)));
                }
                CellEnd::Infra { reason } => {
                    return Err(Error::host(format!("{}: {reason}", subject.shown))
                        .hint("what is known is kept: `kvet bisect --resume` goes on"));
                }
                CellEnd::Interrupted => return Err(Error::interrupted()),
                CellEnd::Usage { reason } => return Err(Error::caller(reason.clone())),
                _ => return Ok(report),
            }
        }
        Err(Error::host(format!("{}: no run", subject.shown)))
    }
}

/// How long an end took, and where the time went. Its kernel was had by its runs, some of which may be an earlier kvet's.
fn of_end(runs: &[CellReport]) -> (f64, Parts) {
    let seconds = runs.iter().flat_map(|run| &run.times).map(|time| time.wall.as_secs_f64()).sum();
    let work: Vec<WorkTime> = runs.iter().flat_map(|run| run.work.iter().copied()).collect();
    (seconds, Parts::of(seconds, &work, runs))
}

/// What several runs of a kernel amount to.
struct Judgement {
    verdict: Verdict,
    reason: String,
    failed: usize,
    of: usize,
}

impl Judgement {
    fn of(symptom: &Symptom, runs: &[CellReport]) -> Self {
        let findings: Vec<Finding> = runs.iter().map(|run| symptom.find_in(run)).collect();
        let failed = findings.iter().filter(|f| matches!(f, Finding::Bad(_))).count();
        let bad = findings.iter().find(|f| matches!(f, Finding::Bad(_)));
        let unknown = findings.iter().find(|f| matches!(f, Finding::Unknown(_)));
        let (verdict, reason) = match (bad, unknown) {
            // Seen once is there.
            (Some(Finding::Bad(message)), _) => (Verdict::Bad, message.clone()),
            (_, Some(Finding::Unknown(reason))) => (Verdict::Skip, reason.clone()),
            _ => (Verdict::Good, String::new()),
        };
        Self { verdict, reason, failed, of: runs.len() }
    }

    /// How likely one more run of this kernel shows the symptom (Laplace's rule of succession: a few runs that all failed are no
    /// certainty).
    fn rate(&self) -> f64 {
        (self.failed + 1) as f64 / (self.of + 2) as f64
    }
}

#[cfg(test)]
mod tests;
