//! Where did it begin? A state machine over "is this kernel good?", which knows nothing of how a kernel is had or run.
//!
//! A [`Search`] says which kernel to look at next and a [`Lab`] looks at it; between them stands [`Bisection`], which confirms
//! both ends, fixes the [`Symptom`], and writes the [`State`] after every verdict. A bisection that was killed goes on
//! by being begun again: what the state knows is not looked at twice.

pub mod answer;
pub mod git;
mod judgement;
pub mod releases;
pub mod state;
pub mod symptom;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Fault, Result};
use crate::event::{CellEnd, CellReport, WorkTime};

use answer::Answer;
use judgement::Judgement;
use state::{Observed, Parts, State, Step, Verdict};
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

    /// Whether a kernel may be asked for.
    fn has(&self, _kernel: &str) -> bool {
        true
    }

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

/// Has kernels and runs tests on them. What it reports as the host's trouble is tried again.
pub trait Lab {
    /// Settles which selftests are run on all kernels, if that is not `known` from an earlier beginning, and gives their source.
    ///
    /// # Errors
    /// The caller's or the host's.
    fn prepare(&mut self, _newest: &Subject, _known: Option<&str>) -> Result<Option<String>> {
        Ok(None)
    }

    /// Looks whether an end can be tested at all, as far as that shows without a boot.
    ///
    /// # Errors
    /// The caller's, or the kernel's: it cannot be.
    fn rehearse(&mut self, _end: &Subject) -> Result<()> {
        Ok(())
    }

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

    /// These kernels may be asked for next: there is time for them while the next run goes on, which is the last of its kernel.
    fn foresee(&mut self, _likely: Vec<Subject>) {}

    /// Waits before another try.
    ///
    /// # Errors
    /// Interrupted.
    fn pause(&mut self, _time: Duration) -> Result<()> {
        Ok(())
    }

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
/// How long it is waited for before that: long enough for a mirror to come back, or for others to make room.
const PAUSE: Duration = Duration::from_secs(5);

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
        let (older, newer) = self.search.ends();
        self.state.ends = Some((older.kernel, newer.kernel.clone()));
        (self.save)(&self.state)?;
        self.prepare(&newer)?;
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

    /// What comes before the first step takes its time as well, which is no step's.
    fn prepare(&mut self, newest: &Subject) -> Result<()> {
        let started = Instant::now();
        let known = self.state.selftests.clone();
        self.state.selftests = self.patiently(|lab| lab.prepare(newest, known.as_deref()))?;
        let parts = self.spent(started, &[]);
        if self.state.answer.is_none() {
            self.state.prepared += parts;
        }
        (self.save)(&self.state)
    }

    /// Both ends, before anything else: a bisection between two kernels that do not differ finds nonsense.
    fn confirm(&mut self) -> Result<Symptom> {
        let (older, newer) = self.search.ends();
        let (good, bad) = match self.state.find {
            Find::Bug => (older, newer),
            Find::Fix => (newer, older),
        };
        if self.state.observed.is_empty() {
            for (end, which) in [(&bad, "bad"), (&good, "good")] {
                self.patiently(|lab| lab.rehearse(end)).map_err(|e| cannot_be_tested(e, which, end))?;
            }
        }
        let (bad_runs, bad_parts) = self.end(&bad)?;
        let (good_runs, good_parts) = self.end(&good)?;
        let symptom = Symptom::between(&bad_runs, &good_runs, self.state.matching.as_deref())?;
        let of_bad = Judgement::of(&symptom, &bad_runs);
        let of_good = Judgement::of(&symptom, &good_runs);
        self.state.failure_rate = of_bad.rate();
        self.record(of_bad.step(&bad, &bad_runs, bad_parts))?;
        self.record(of_good.step(&good, &good_runs, good_parts))?;
        self.state.symptom = Some(symptom.clone());
        self.state.observed.clear();
        (self.save)(&self.state)?;
        (self.tell)(News::Confirmed(&symptom));
        Ok(symptom)
    }

    /// The runs of an end, which have to be kept until the other end's are there, too, and where their time went.
    fn end(&mut self, subject: &Subject) -> Result<(Vec<CellReport>, Parts)> {
        let observed = self.state.observed.iter().find(|known| known.kernel == subject.kernel).cloned();
        if let Some(Observed { dirs, parts, .. }) = observed
            && let Some(runs) = dirs.iter().map(|dir| self.lab.recall(dir)).collect()
        {
            return Ok((runs, parts));
        }
        (self.tell)(News::Begin(subject, None));
        let started = Instant::now();
        let runs = self.observe(subject, None)?;
        let parts = self.spent(started, &runs);
        self.state.observed.retain(|known| known.kernel != subject.kernel);
        let dirs = runs.iter().map(|run| run.dir.clone()).collect();
        self.state.observed.push(Observed { kernel: subject.kernel.clone(), dirs, parts });
        (self.save)(&self.state)?;
        Ok((runs, parts))
    }

    fn verdict(&mut self, subject: &Subject, symptom: &Symptom, progress: &Progress) -> Result<Verdict> {
        if let Some(step) = self.state.of(&subject.kernel) {
            return Ok(step.verdict);
        }
        (self.tell)(News::Begin(subject, Some(progress)));
        let started = Instant::now();
        let signature = match self.patiently(|lab| lab.signature(subject)) {
            Ok(signature) => signature,
            Err(error) if error.fault() == Fault::Kernel => {
                // What follows the first line is the compiler's, and is in the log of the build.
                let text = error.to_string();
                let line = text.lines().next().unwrap_or_default();
                let named = format!("kernel {}: ", subject.kernel);
                let reason = line.strip_prefix(&named).unwrap_or(line).to_owned();
                let parts = self.spent(started, &[]);
                return self.record(Step::unseen(subject, Verdict::Skip, reason, parts));
            }
            Err(error) => return Err(error),
        };
        if let Some(same) = self.state.of_signature(&signature) {
            let reason = format!("the same kernel as {}", same.shown);
            let (verdict, same) = (same.verdict, same.clone());
            let parts = self.spent(started, &[]);
            let Step { release, signature, failed_runs, dirs, .. } = same;
            let step = Step::unseen(subject, verdict, reason, parts);
            return self.record(Step { release, signature, failed_runs, dirs, ..step });
        }
        let runs = self.observe(subject, Some(symptom))?;
        let judgement = Judgement::of(symptom, &runs);
        let parts = self.spent(started, &runs);
        self.record(Step { signature: Some(signature), ..judgement.step(subject, &runs, parts) })
    }

    /// Where the time went since then: what building took, and the runs.
    fn spent(&mut self, started: Instant, runs: &[CellReport]) -> Parts {
        let mut work = self.lab.worked();
        work.extend(runs.iter().flat_map(|run| &run.work));
        Parts::of(started.elapsed().as_secs_f64(), &work, runs)
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

    /// Runs the tests, as often as it takes: until the symptom is seen, or often enough without it.
    fn observe(&mut self, subject: &Subject, symptom: Option<&Symptom>) -> Result<Vec<CellReport>> {
        let tests = symptom.map(Symptom::names);
        let most = self.state.runs.max(1);
        let mut runs = Vec::new();
        while runs.len() < most {
            let sure_after_it = self.state.confidence(runs.len() + 1) >= SURE;
            // Whatever the last one says, another kernel is asked for then.
            if symptom.is_some() && (sure_after_it || runs.len() + 1 == most) {
                self.look_ahead(subject);
            }
            let run = self.run_once(subject, tests.as_deref())?;
            let seen = symptom.map(|symptom| symptom.find_in(&run));
            runs.push(run);
            match seen {
                Some(Finding::Bad(_) | Finding::Unknown(_)) => break,
                Some(Finding::Good) if sure_after_it => break,
                _ => {}
            }
        }
        Ok(runs)
    }

    /// Tells the lab what may be asked for after this kernel. That saves time, and nothing depends on it.
    fn look_ahead(&mut self, subject: &Subject) {
        if !self.lab.looks_ahead() {
            return;
        }
        match self.search.after(subject) {
            Ok(mut likely) => {
                likely.retain(|next| self.state.of(&next.kernel).is_none());
                self.lab.foresee(likely);
            }
            Err(error) => (self.tell)(News::Note(format!("nothing is built ahead: {error}"))),
        }
    }

    /// One run.
    fn run_once(&mut self, subject: &Subject, tests: Option<&[String]>) -> Result<CellReport> {
        self.patiently(|lab| {
            let report = lab.run(subject, tests)?;
            match &report.end {
                CellEnd::Infra { reason } => Err(Error::host(format!("{}: {reason}", subject.shown))),
                CellEnd::Interrupted => Err(Error::interrupted()),
                CellEnd::Usage { reason } => Err(Error::caller(reason.clone())),
                _ => Ok(report),
            }
        })
    }

    /// Does something in the lab. What goes wrong on the host is tried again, and then stops the bisection: it is no verdict.
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut dyn Lab) -> Result<T>) -> Result<T> {
        for _ in 1..TRIES {
            match attempt(&mut *self.lab) {
                Err(error) if error.fault() == Fault::Host => {
                    (self.tell)(News::Note(format!("{error}; once more in {PAUSE:?}")));
                    self.lab.pause(PAUSE)?;
                }
                done => return done,
            }
        }
        attempt(&mut *self.lab)
    }
}

/// What keeps an end from being tested, where that is the kernel's fault, in the words of [`Symptom::between`].
fn cannot_be_tested(error: Error, which: &str, end: &Subject) -> Error {
    match error.fault() {
        Fault::Kernel => error.context(format!("the {which} end {} cannot be judged", end.kernel)),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
