mod patience;

use std::collections::HashMap;
use std::path::PathBuf;

use super::releases::Row;
use super::*;
use crate::event::{KernelFacts, Outcome};
use crate::report::table::sample::cell;

/// What the fake kernels are. `k0` is the older end.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    Good,
    Bad,
    Unbuildable,
    Crash,
    Flaky(usize),
    SameAs(usize),
    Killed,
}

struct Fake {
    kernels: Vec<Is>,
    boots: HashMap<String, usize>,
    trouble: usize,
}

impl Fake {
    fn of(&self, subject: &Subject) -> (usize, Is) {
        let number = subject.shown.parse().unwrap();
        (number, self.kernels[number])
    }
}

impl Lab for Fake {
    fn signature(&mut self, subject: &Subject) -> Result<String> {
        match self.of(subject) {
            (_, Is::Unbuildable) => Err(Error::kernel("kernel/bpf/helpers.c:1: error: x")),
            (_, Is::SameAs(other)) => Ok(format!("signature {other}")),
            (number, _) => Ok(format!("signature {number}")),
        }
    }

    fn run(&mut self, subject: &Subject, _: Option<&[String]>) -> Result<CellReport> {
        let boots = self.boots.entry(subject.kernel.clone()).or_default();
        *boots += 1;
        let boots = *boots;
        let (number, is) = self.of(subject);
        let mut report = match is {
            Is::Good | Is::SameAs(_) => cell(&subject.kernel, "7.2", &[("t", Outcome::Pass, "")]),
            Is::Bad => cell(&subject.kernel, "7.2", &[("t", Outcome::Fail, "expected 3")]),
            Is::Flaky(every) if boots.is_multiple_of(every) => {
                cell(&subject.kernel, "7.2", &[("t", Outcome::Fail, "expected 3")])
            }
            Is::Flaky(_) => cell(&subject.kernel, "7.2", &[("t", Outcome::Pass, "")]),
            Is::Killed => return Err(Error::interrupted()),
            _ => cell(&subject.kernel, "7.2", &[("t", Outcome::Error, "kernel panic")]),
        };
        if self.trouble > 0 {
            self.trouble -= 1;
            report.end = CellEnd::Infra { reason: "disk full".into() };
        }
        report.dir = format!("k{number}").into();
        let facts = report.kernel.take().unwrap();
        report.kernel = Some(KernelFacts { image_sha256: format!("signature {number}"), ..facts });
        Ok(report)
    }

    fn recall(&mut self, dir: &Path) -> Option<CellReport> {
        let number: usize = dir.to_str()?.strip_prefix('k')?.parse().ok()?;
        let mut report = match self.kernels[number] {
            Is::Bad => cell(dir.to_str()?, "7.2", &[("t", Outcome::Fail, "expected 3")]),
            _ => cell(dir.to_str()?, "7.2", &[("t", Outcome::Pass, "")]),
        };
        report.dir = dir.to_owned();
        Some(report)
    }
}

/// Runs that a killed kvet left are where they were, unless their folder is called so.
const LOST: &str = "lost";

struct Outcomes {
    answer: Result<Answer>,
    state: State,
    boots: HashMap<String, usize>,
    told: Vec<String>,
}

fn bisect_from(state: State, kernels: &[Is], trouble: usize) -> Outcomes {
    let subject = |i: usize| Subject { kernel: format!("k{i}"), shown: i.to_string() };
    let mut row = Row::new((0..kernels.len()).map(subject).collect());
    let mut lab = Fake { kernels: kernels.to_vec(), boots: HashMap::new(), trouble };
    let (mut saved, mut told) = (None, Vec::new());
    let answer = Bisection {
        state,
        search: &mut row,
        lab: &mut lab,
        save: &mut |state| {
            saved = Some(state.clone());
            Ok(())
        },
        tell: &mut |news| {
            told.push(match news {
                News::Judged(step, _) => format!("{} {} {}", step.shown, step.verdict, step.reason),
                News::Note(text) => text,
                News::Begin(..) | News::Confirmed(_) => return,
            });
        },
    }
    .run();
    Outcomes { answer, state: saved.unwrap(), boots: lab.boots, told }
}

fn fresh(find: Find, runs: usize) -> State {
    State::new(vec!["bisect".into()], find, None, runs)
}

#[test]
fn the_first_bad_one_is_found_around_what_cannot_be_judged() {
    use Is::{Bad, Crash, Good, Unbuildable};
    let kernels = [Good, Good, Good, Unbuildable, Crash, Good, Bad, Bad, Bad, Crash, Bad];
    let all = bisect_from(fresh(Find::Bug, 1), &kernels, 0);
    let answer = all.answer.unwrap();
    assert_eq!((answer.first.shown.as_str(), answer.before.shown.as_str()), ("6", "5"));
    assert!(answer.doubtful.is_empty());
    assert_eq!(all.told[..2], ["10 bad expected 3", "0 good "], "the ends come first");
    assert_eq!(all.state.answer, Some(answer));
}

#[test]
fn the_fix_is_found_the_same_way() {
    use Is::{Bad, Good};
    let answer = bisect_from(fresh(Find::Fix, 1), &[Bad, Bad, Bad, Bad, Good, Good], 0).answer.unwrap();
    assert_eq!(answer.first.shown, "4");
}

#[test]
fn ends_that_do_not_differ_are_no_bisection() {
    use Is::{Bad, Crash, Good};
    for (kernels, said) in [
        ([Good, Good, Good], "was said to be bad"),
        ([Bad, Good, Bad], "was said to be good"),
        ([Crash, Good, Bad], "was said to be good"),
    ] {
        let e = bisect_from(fresh(Find::Bug, 1), &kernels, 0).answer.unwrap_err();
        assert_eq!(e.fault(), Fault::Caller);
        assert!(e.to_string().contains(said), "{e}");
    }
}

#[test]
fn a_kernel_that_is_known_is_not_booted_again() {
    use Is::{Bad, Good, SameAs};
    let all = bisect_from(fresh(Find::Bug, 1), &[Good, SameAs(0), SameAs(0), SameAs(4), Bad], 0);
    assert_eq!(all.answer.unwrap().first.shown, "3");
    assert_eq!(all.boots.len(), 2, "{:?}", all.boots);
    assert!(all.told.iter().any(|t| t == "2 good the same kernel as 0"), "{:?}", all.told);
}

#[test]
fn trouble_of_the_host_is_no_verdict() {
    use Is::{Bad, Good};
    let all = bisect_from(fresh(Find::Bug, 1), &[Good, Good, Bad], 2);
    assert_eq!(all.answer.unwrap().first.shown, "2");
    assert!(all.told[0].contains("disk full; once more"), "{:?}", all.told);
    let all = bisect_from(fresh(Find::Bug, 1), &[Good, Good, Bad], 3);
    let e = all.answer.unwrap_err();
    assert_eq!((e.fault(), e.to_string()), (Fault::Host, "2: disk full".into()));
}

#[test]
fn what_was_killed_goes_on_where_it_was() {
    use Is::{Bad, Good, Killed};
    let first = bisect_from(fresh(Find::Bug, 1), &[Good, Good, Killed, Bad, Bad], 0);
    assert_eq!(first.answer.unwrap_err().fault(), Fault::Interrupted);
    let second = bisect_from(first.state, &[Good, Good, Good, Bad, Bad], 0);
    assert_eq!(second.answer.unwrap().first.shown, "3");
    assert!(!second.boots.contains_key("k0") && !second.boots.contains_key("k4"), "{:?}", second.boots);
    // And from the end nothing is left to do.
    let third = bisect_from(second.state, &[Good, Good, Good, Bad, Bad], 0);
    assert_eq!(third.answer.unwrap().first.shown, "3");
    assert!(third.boots.is_empty());
}

#[test]
fn what_was_killed_between_the_ends_goes_on_with_the_second_one() {
    use Is::{Bad, Good, Killed};
    let first = bisect_from(fresh(Find::Bug, 1), &[Killed, Good, Bad], 0);
    assert_eq!(first.answer.unwrap_err().fault(), Fault::Interrupted);
    assert_eq!(first.state.ends, Some(("k0".into(), "k2".into())));
    let observed: Vec<_> = first.state.observed.iter().map(|end| (end.kernel.as_str(), &end.dirs)).collect();
    assert_eq!(observed, [("k2", &vec![PathBuf::from("k2")])]);
    let mut lost = first.state.clone();
    let second = bisect_from(first.state, &[Good, Good, Bad], 0);
    assert_eq!(second.answer.unwrap().first.shown, "2");
    assert!(!second.boots.contains_key("k2"), "{:?}", second.boots);
    assert_eq!(second.state.steps.len(), 3);
    // A folder that was removed meanwhile only costs another boot.
    lost.observed[0].dirs = vec![LOST.into()];
    let third = bisect_from(lost, &[Good, Good, Bad], 0);
    assert_eq!((third.answer.unwrap().first.shown.as_str(), third.boots["k2"]), ("2", 1));
}

#[test]
fn what_was_said_of_an_end_gives_way_to_what_is_seen() {
    use Is::{Bad, Good};
    let mut state = fresh(Find::Bug, 1);
    state.steps = state::replay("bad k2\ngood k1\n", "log").unwrap();
    let all = bisect_from(state, &[Good, Bad, Bad], 0);
    assert_eq!(all.answer.unwrap().first.shown, "2", "what the log says of others is believed");
    let ends: Vec<_> = all.state.steps.iter().filter(|step| step.kernel == "k2").collect();
    assert_eq!((ends.len(), ends[0].runs), (1, 1));
}

#[test]
fn a_flaky_symptom_needs_several_runs_to_be_absent_and_one_to_be_there() {
    use Is::{Flaky, Good};
    let all = bisect_from(fresh(Find::Bug, 4), &[Good, Good, Flaky(2), Flaky(2), Flaky(2)], 0);
    assert_eq!(all.answer.unwrap().first.shown, "2");
    assert_eq!(all.boots["k2"], 2, "seen once is there");
    assert_eq!(all.boots["k1"], 4);
    assert_eq!(all.state.failure_rate, 0.5, "two of four runs of the bad end");
    assert_eq!(all.state.confidence(4), 1.0 - 0.5_f64.powi(4));
}

#[test]
fn a_symptom_that_was_always_there_is_soon_known_to_be_absent() {
    use Is::{Bad, Good};
    let all = bisect_from(fresh(Find::Bug, 10), &[Good, Good, Good, Bad, Bad], 0);
    assert_eq!(all.answer.unwrap().first.shown, "3");
    assert_eq!((all.boots["k0"], all.boots["k4"]), (10, 10), "the ends are run as often as was asked for");
    assert_eq!((all.boots["k2"], all.boots["k3"]), (2, 1));
    assert!(all.state.confidence(2) > 0.99 && all.state.confidence(1) < 0.99);
}
