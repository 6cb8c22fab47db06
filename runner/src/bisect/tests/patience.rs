//! Trouble of the host wherever a lab can have it, and where the time goes.

use super::*;
use crate::event::Work;

/// Where it goes wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
enum At {
    Rehearse,
    Prepare,
    Signature,
    Run,
}

/// Five kernels of which the fourth is the first bad one, in a lab in which something goes wrong for a while.
struct Ailing {
    trouble: Option<(At, Fault)>,
    /// How often it still does.
    times: usize,
    pauses: usize,
    /// Whether somebody stops it while it waits.
    stopped: bool,
    /// How often a kernel fails, by its number and that of its run.
    fails: fn(usize, usize) -> bool,
    runs: Vec<usize>,
    worked: Vec<WorkTime>,
}

impl Ailing {
    fn new(trouble: Option<(At, Fault)>, times: usize) -> Self {
        let fails = |kernel: usize, _| kernel >= 3;
        Self { trouble, times, pauses: 0, stopped: false, fails, runs: vec![0; 5], worked: Vec::new() }
    }

    fn meet(&mut self, here: At) -> Result<()> {
        match self.trouble {
            Some((at, fault)) if at == here && self.times > 0 => {
                self.times -= 1;
                Err(Error::new(fault, "no mirror").hint("try later"))
            }
            _ => Ok(()),
        }
    }

    fn work(&mut self, seconds: u64) {
        self.worked.push(WorkTime { work: Work::Make, wall: Duration::from_secs(seconds) });
    }
}

impl Lab for Ailing {
    fn prepare(&mut self, newest: &Subject, known: Option<&str>) -> Result<Option<String>> {
        self.meet(At::Prepare)?;
        self.work(1000);
        Ok(Some(known.map_or(format!("selftests of {}", newest.shown), str::to_owned)))
    }

    fn rehearse(&mut self, _: &Subject) -> Result<()> {
        self.meet(At::Rehearse)
    }

    fn signature(&mut self, subject: &Subject) -> Result<String> {
        self.meet(At::Signature)?;
        self.work(10);
        Ok(subject.kernel.clone())
    }

    fn run(&mut self, subject: &Subject, _: Option<&[String]>) -> Result<CellReport> {
        self.meet(At::Run)?;
        let number: usize = subject.shown.parse().unwrap();
        let run = self.runs[number];
        self.runs[number] += 1;
        let fails = (self.fails)(number, run);
        let outcome = if fails { ("t", Outcome::Fail, "expected 3") } else { ("t", Outcome::Pass, "") };
        let (times, work) =
            (Vec::new(), vec![WorkTime { work: Work::Publish, wall: Duration::from_secs(1) }]);
        let dir = format!("steps/{number}-{run}/cell").into();
        Ok(CellReport { dir, times, work, ..cell(&subject.kernel, "7.2", &[outcome]) })
    }

    fn worked(&mut self) -> Vec<WorkTime> {
        std::mem::take(&mut self.worked)
    }

    fn pause(&mut self, time: Duration) -> Result<()> {
        assert!(!time.is_zero());
        self.pauses += 1;
        if self.stopped { Err(Error::interrupted()) } else { Ok(()) }
    }

    fn recall(&mut self, _: &Path) -> Option<CellReport> {
        None
    }
}

/// The end, the state as it was saved last, and what was noted.
fn bisected(state: State, lab: &mut Ailing) -> (Result<Answer>, State, Vec<String>) {
    let subject = |i: usize| Subject { kernel: format!("k{i}"), shown: i.to_string() };
    let mut row = Row::new((0..5).map(subject).collect());
    let (mut saved, mut notes) = (None, Vec::new());
    let answer = Bisection {
        state,
        search: &mut row,
        lab,
        save: &mut |state| {
            saved = Some(state.clone());
            Ok(())
        },
        tell: &mut |news| {
            if let News::Note(text) = news {
                notes.push(text);
            }
        },
    }
    .run();
    (answer, saved.unwrap(), notes)
}

#[test]
fn what_goes_wrong_on_the_host_is_tried_again_wherever_it_does() {
    for at in [At::Prepare, At::Rehearse, At::Signature, At::Run] {
        let mut lab = Ailing::new(Some((at, Fault::Host)), 2);
        let (answer, _, notes) = bisected(fresh(Find::Bug, 1), &mut lab);
        assert_eq!(answer.unwrap().first.shown, "3", "{at:?}");
        assert_eq!(lab.pauses, 2, "{at:?}");
        assert_eq!(notes, ["no mirror; once more in 5s"; 2], "{at:?}");
    }
}

#[test]
fn what_does_not_pass_stops_it_and_what_is_known_is_kept() {
    for (at, ends) in [(At::Prepare, 0), (At::Signature, 2), (At::Run, 0)] {
        let mut lab = Ailing::new(Some((at, Fault::Host)), 3);
        let (answer, kept, _) = bisected(fresh(Find::Bug, 1), &mut lab);
        let e = answer.unwrap_err();
        assert_eq!((e.fault(), e.hint_text()), (Fault::Host, Some("try later")), "{at:?}");
        assert_eq!((lab.pauses, kept.steps.len()), (2, ends), "{at:?}");
        assert_eq!(kept.ends, Some(("k0".into(), "k4".into())));
        let (answer, ..) = bisected(kept, &mut lab);
        assert_eq!(answer.unwrap().first.shown, "3", "it goes on: {at:?}");
        assert_eq!((lab.runs[0], lab.runs[4]), (1, 1), "{at:?}");
    }
}

#[test]
fn nobody_elses_fault_is_tried_again_and_nobody_waits_who_was_stopped() {
    for at in [At::Prepare, At::Rehearse, At::Signature, At::Run] {
        let mut lab = Ailing::new(Some((at, Fault::Caller)), 1);
        let (answer, ..) = bisected(fresh(Find::Bug, 1), &mut lab);
        assert_eq!((answer.unwrap_err().fault(), lab.pauses), (Fault::Caller, 0), "{at:?}");
        let mut lab = Ailing { stopped: true, ..Ailing::new(Some((at, Fault::Host)), 1) };
        let (answer, ..) = bisected(fresh(Find::Bug, 1), &mut lab);
        assert_eq!((answer.unwrap_err().fault(), lab.pauses), (Fault::Interrupted, 1), "{at:?}");
    }
    // A kernel that cannot be built is a verdict.
    let mut lab = Ailing::new(Some((At::Signature, Fault::Kernel)), 1);
    let (answer, state, _) = bisected(fresh(Find::Bug, 1), &mut lab);
    assert_eq!((answer.unwrap().first.shown.as_str(), lab.pauses), ("3", 0));
    assert_eq!((state.steps[2].verdict, state.steps[2].reason.as_str()), (Verdict::Skip, "no mirror"));
}

#[test]
fn an_end_that_cannot_be_tested_is_told_before_anything_boots() {
    let mut lab = Ailing::new(Some((At::Rehearse, Fault::Kernel)), 1);
    let (answer, state, _) = bisected(fresh(Find::Bug, 1), &mut lab);
    let error = answer.unwrap_err();
    assert_eq!(error.fault(), Fault::Kernel);
    assert_eq!(error.to_string(), "the bad end k4 cannot be judged: no mirror");
    assert_eq!(error.hint_text(), Some("try later"));
    assert_eq!((lab.runs.iter().sum::<usize>(), state.steps.len()), (0, 0));
}

#[test]
fn all_time_is_somebodys() {
    let mut lab = Ailing::new(None, 0);
    let (_, state, _) = bisected(fresh(Find::Bug, 1), &mut lab);
    assert_eq!(state.prepared.make, 1000.0, "what was built for all is no step's");
    let parts: Vec<_> = state.steps.iter().map(|step| (step.parts.make, step.parts.publish)).collect();
    assert_eq!(parts, [(0.0, 1.0), (0.0, 1.0), (10.0, 1.0), (10.0, 1.0)], "the ends are had by their runs");
    assert!(state.steps.iter().all(|step| step.seconds == step.parts.sum()), "{:?}", state.steps);
    let line = answer::time_line(&state);
    assert_eq!(
        line,
        "4 verdicts in 24.0s: make 20.0s, publish 4.0s; before the first step 1000.0s: make 1000.0s"
    );
}

#[test]
fn the_selftests_stay_what_they_were() {
    let mut lab = Ailing::new(Some((At::Signature, Fault::Host)), 3);
    let (_, mut kept, _) = bisected(fresh(Find::Bug, 1), &mut lab);
    assert_eq!(kept.selftests.as_deref(), Some("selftests of 4"));
    kept.selftests = Some("those of then".into());
    let (_, state, _) = bisected(kept, &mut lab);
    assert_eq!(state.selftests.as_deref(), Some("those of then"));
}

#[test]
fn of_a_flaky_end_the_run_that_failed_is_shown() {
    let fails = |kernel: usize, run: usize| kernel >= 3 && run == 1;
    let mut lab = Ailing { fails, ..Ailing::new(None, 0) };
    let (answer, state, _) = bisected(fresh(Find::Bug, 3), &mut lab);
    answer.unwrap();
    let end = state.of("k4").unwrap();
    assert_eq!((end.runs, end.failed_runs, end.dirs.len()), (3, 1, 3));
    assert_eq!(end.folder().as_deref(), Some("steps/4-1"), "the second of three: {:?}", end.dirs);
    assert_eq!(state.of("k0").unwrap().folder().as_deref(), Some("steps/0-2"), "the last that passed");
}
