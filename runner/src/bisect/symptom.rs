//! What tells the bad end from the good one: named tests, and how they fail.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::state::Verdict;
use crate::error::{Error, Result};
use crate::event::{Cause, CellEnd, CellReport, Outcome, TestCase};
use crate::report::trouble;

/// How a test fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It says so itself, as a known bug or not.
    Fails,
    /// The kernel crashed or complained while it ran.
    Crashes,
    /// It passed a limit of time.
    TimesOut,
}

/// One test of a symptom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The test.
    pub test: String,
    /// How it fails.
    pub failure: Failure,
    /// Its message on the bad end.
    pub message: String,
}

/// What is sought. Everything else that goes wrong with a kernel says nothing about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symptom {
    /// The tests.
    pub signs: Vec<Sign>,
    /// What their message must match.
    pub matching: Option<String>,
}

/// What a run says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The symptom is not there: every test of it passes.
    Good,
    /// It is there; the message of the failing test.
    Bad(String),
    /// It cannot be told, and why.
    Unknown(String),
}

impl Finding {
    /// The verdict of this run alone.
    pub fn verdict(&self) -> Verdict {
        match self {
            Finding::Good => Verdict::Good,
            Finding::Bad(_) => Verdict::Bad,
            Finding::Unknown(_) => Verdict::Skip,
        }
    }
}

impl Symptom {
    /// The tests that fail on the bad end and pass on the good one.
    ///
    /// # Errors
    /// The caller's: there is none, and why not; or the pattern is none. The kernel's: an end could not be tested.
    pub fn between(bad: &[CellReport], good: &[CellReport], matching: Option<&str>) -> Result<Self> {
        let pattern = compile(matching)?;
        for (runs, which) in [(bad, "bad"), (good, "good")] {
            let nothing = |run: &&CellReport| !run.cases.iter().any(|case| case.outcome != Outcome::NotRun);
            if let Some(run) = runs.iter().find(nothing) {
                let why = trouble(run).unwrap_or_else(|| "no test was run".to_owned());
                let said = format!("the {which} end {} cannot be judged: {why}", run.id.kernel);
                return Err(match run.end {
                    CellEnd::Completed | CellEnd::NotStarted { .. } => Error::caller(said),
                    _ => Error::kernel(said),
                });
            }
        }
        let signs = failing(bad, &pattern);
        if signs.is_empty() {
            let what = matching.map_or(String::new(), |m| format!(" with a message that matches '{m}'"));
            let names = [&bad[0].id.kernel, &good[0].id.kernel];
            let said = format!("{} was said to be bad, but no selected test fails{what}", names[0]);
            let other_way = failing(good, &pattern).into_iter().find(|sign| passes(sign, bad));
            return Err(match other_way {
                Some(Sign { test, .. }) => Error::caller(said).hint(format!(
                    "{test} fails on {} and passes here: --good and --bad are swapped",
                    names[1]
                )),
                None => Error::caller(said),
            });
        }
        let (kept, lost): (Vec<Sign>, Vec<Sign>) = signs.into_iter().partition(|sign| passes(sign, good));
        if kept.is_empty() {
            return Err(not_good(&lost, good));
        }
        Ok(Self { signs: kept, matching: matching.map(String::from) })
    }

    /// The tests' names.
    pub fn names(&self) -> Vec<String> {
        self.signs.iter().map(|sign| sign.test.clone()).collect()
    }

    /// Looks for it in a run.
    pub fn find_in(&self, run: &CellReport) -> Finding {
        // Checked when it was made.
        let pattern = compile(self.matching.as_deref()).unwrap_or(None);
        let mut unknown = None;
        for sign in &self.signs {
            let case = run.cases.iter().find(|case| case.name == sign.test);
            match case {
                Some(case) if failure(case) == Some(sign.failure) && pattern_fits(&pattern, case) => {
                    return Finding::Bad(case.message.clone());
                }
                Some(case) if case.outcome == Outcome::Pass => {}
                Some(case) => {
                    unknown.get_or_insert_with(|| other_way(case));
                }
                None => {
                    let end = trouble(run).unwrap_or_else(|| format!("there is no test {}", sign.test));
                    unknown.get_or_insert(end);
                }
            }
        }
        match unknown {
            None => Finding::Good,
            // One test that passes where another cannot be judged proves nothing.
            Some(reason) => Finding::Unknown(reason),
        }
    }
}

/// The tests that fail in any of these runs, each once.
fn failing(runs: &[CellReport], pattern: &Option<Regex>) -> Vec<Sign> {
    let mut signs: Vec<Sign> = Vec::new();
    for case in runs.iter().flat_map(|run| &run.cases).filter(|case| pattern_fits(pattern, case)) {
        if let Some(failure) = failure(case)
            && !signs.iter().any(|known| known.test == case.name)
        {
            signs.push(Sign { test: case.name.clone(), failure, message: case.message.clone() });
        }
    }
    signs
}

/// Whether a test passes in all of these runs.
fn passes(sign: &Sign, runs: &[CellReport]) -> bool {
    let passes = |case: &TestCase| case.name == sign.test && case.outcome == Outcome::Pass;
    runs.iter().all(|run| run.cases.iter().any(passes))
}

/// Whether a pattern is one.
///
/// # Errors
/// The caller's: it is not.
pub fn check_pattern(matching: Option<&str>) -> Result<()> {
    compile(matching).map(drop)
}

fn compile(matching: Option<&str>) -> Result<Option<Regex>> {
    matching
        .map(|text| {
            Regex::new(text).map_err(|e| {
                // Its other lines point at the place with blanks.
                let said = e.to_string();
                let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Error::caller(format!("--match '{text}' is no pattern: {why}"))
            })
        })
        .transpose()
}

fn pattern_fits(pattern: &Option<Regex>, case: &TestCase) -> bool {
    pattern.as_ref().is_none_or(|p| p.is_match(&case.message) || p.is_match(&case.detail))
}

fn failure(case: &TestCase) -> Option<Failure> {
    match case.outcome {
        Outcome::Fail | Outcome::Xfail => Some(Failure::Fails),
        Outcome::Error if case.cause == Some(Cause::TimeOut) => Some(Failure::TimesOut),
        Outcome::Error => Some(Failure::Crashes),
        Outcome::Pass | Outcome::Skip | Outcome::NotRun => None,
    }
}

fn other_way(case: &TestCase) -> String {
    let words = crate::report::table::sign(Some(case.outcome)).1;
    format!("{}: {words}, which is not the symptom: {}", case.name, case.message)
}

/// Why no failing test passes on the good end.
fn not_good(signs: &[Sign], good: &[CellReport]) -> Error {
    let run = &good[0];
    let name = &run.id.kernel;
    let text = match signs.first() {
        Some(sign) => match run.cases.iter().find(|case| case.name == sign.test) {
            Some(case) => {
                let words = crate::report::table::sign(Some(case.outcome)).1;
                format!("{}: {words}: {}", sign.test, case.message)
            }
            None => trouble(run).unwrap_or_else(|| format!("it has no test {}", sign.test)),
        },
        None => String::new(),
    };
    let hint = match &run.end {
        CellEnd::Completed => "a kernel that is too old for a test cannot be the good end",
        _ => "the good end must at least boot",
    };
    Error::caller(format!("{name} was said to be good, but no failing test passes there ({text})")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::report::table::sample::cell;
    use Outcome::{Error as Crash, Fail, NotRun, Pass, Skip, Xfail};

    fn run(cases: &[(&str, Outcome, &str)]) -> CellReport {
        cell("debian:7.2", "7.2", cases)
    }

    fn symptom(matching: Option<&str>) -> Symptom {
        let bad = run(&[("a", Fail, "expected 3"), ("b", Fail, "both"), ("c", Pass, "")]);
        let good = run(&[("a", Pass, ""), ("b", Fail, "both"), ("c", Pass, "")]);
        Symptom::between(&[bad], &[good], matching).unwrap()
    }

    #[test]
    fn only_what_differs_is_the_symptom() {
        assert_eq!(symptom(None).names(), ["a"]);
        assert_eq!(symptom(Some("^expected")).names(), ["a"]);
    }

    #[test]
    fn what_a_run_says() {
        let symptom = symptom(None);
        for (case, expected) in [
            (("a", Pass, ""), "good"),
            (("a", Fail, "expected 3"), "bad expected 3"),
            (("a", Xfail, "known"), "bad known"),
            (("a", Crash, "panic"), "unknown a: error, which is not the symptom: panic"),
            (("a", Skip, "older"), "unknown a: skip, which is not the symptom: older"),
            (("a", NotRun, "crashed"), "unknown a: not run, which is not the symptom: crashed"),
            (("z", Pass, ""), "unknown there is no test a"),
        ] {
            let said = match symptom.find_in(&run(&[case])) {
                Finding::Good => "good".to_owned(),
                Finding::Bad(message) => format!("bad {message}"),
                Finding::Unknown(reason) => format!("unknown {reason}"),
            };
            assert_eq!(said, expected, "{case:?}");
        }
    }

    #[test]
    fn a_time_out_is_not_a_crash() {
        let (mut late, crash) = (run(&[("a", Crash, "x")]), run(&[("a", Crash, "x")]));
        late.cases[0].cause = Some(Cause::TimeOut);
        let good = run(&[("a", Pass, "")]);
        let symptom = Symptom::between(std::slice::from_ref(&late), &[good], None).unwrap();
        assert_eq!(symptom.find_in(&late), Finding::Bad("x".into()));
        assert!(matches!(symptom.find_in(&crash), Finding::Unknown(_)));
    }

    #[test]
    fn another_message_is_another_failure() {
        let symptom = symptom(Some("^expected"));
        let other = run(&[("a", Fail, "cannot open /proc")]);
        assert!(matches!(symptom.find_in(&other), Finding::Unknown(_)));
    }

    #[test]
    fn ends_that_are_not_what_they_were_said_to_be() {
        let (pass, fail) = (run(&[("a", Pass, "")]), run(&[("a", Fail, "x")]));
        let e = |bad: &CellReport, good: &CellReport, matching| {
            let e = Symptom::between(std::slice::from_ref(bad), std::slice::from_ref(good), matching)
                .unwrap_err();
            assert_eq!(e.fault(), Fault::Caller);
            e.to_string()
        };
        assert!(e(&pass, &pass, None).contains("was said to be bad, but no selected test fails"));
        let swapped =
            Symptom::between(std::slice::from_ref(&pass), std::slice::from_ref(&fail), None).unwrap_err();
        assert!(
            swapped.hint_text().unwrap().contains("a fails on debian:7.2 and passes here: --good and --bad")
        );
        assert!(
            e(&fail, &fail, None)
                .contains("was said to be good, but no failing test passes there (a: fail: x)")
        );
        assert!(e(&fail, &pass, Some("y")).contains("matches 'y'"));
        assert!(e(&fail, &pass, Some("(")).contains("'(' is no pattern"));
        let mut dead = run(&[]);
        dead.end = CellEnd::Unbootable { reason: "no 9p".into(), detail: String::new() };
        let dead = Symptom::between(&[fail], &[dead], None).unwrap_err();
        assert_eq!(dead.fault(), Fault::Kernel);
        assert!(
            dead.to_string().contains("the good end debian:7.2 cannot be judged: did not boot: no 9p"),
            "{dead}"
        );
    }
}
