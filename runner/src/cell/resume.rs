//! One cell in several boots: what is kept of each, and what the next one leaves out.

use std::collections::HashSet;

use crate::cell::watch::Watched;
use crate::event::{CellEnd, Outcome};

/// What the boots so far amounted to.
#[derive(Debug)]
pub struct SoFar {
    /// All of them as one.
    pub watched: Watched,
    /// How many there were.
    pub boots: u32,
    /// Tests that need not run again.
    done: Vec<String>,
}

/// Whether it is worth booting again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The tests are over, or nothing can be resumed.
    Over,
    /// The job was cut short for this reason, and there was progress.
    Again(String),
    /// The same, but the last boot brought nothing new that could be left out.
    Stuck,
}

impl SoFar {
    /// After the first boot.
    pub fn new(watched: Watched) -> Self {
        let done = names(&watched);
        Self { watched, boots: 1, done }
    }

    /// Names of tests that are done or that crashed.
    pub fn done(&self) -> &[String] {
        &self.done
    }

    /// What to do now. `grown` says whether the last boot brought anything new.
    pub fn next(&self, grown: bool) -> Next {
        use CellEnd::*;
        if !matches!(self.watched.end, Completed | Crashed { .. } | TimedOut { .. }) {
            return Next::Over;
        }
        match &self.watched.cut {
            Some(_) if !grown => Next::Stuck,
            Some(reason) => Next::Again(reason.clone()),
            None => Next::Over,
        }
    }

    /// Adds a further boot. Gives whether it brought tests that were not known before.
    pub fn add(&mut self, next: Watched) -> bool {
        let before = self.done.len();
        let known: HashSet<String> = self.done.iter().cloned().collect();
        self.done.extend(names(&next).into_iter().filter(|name| !known.contains(name)));
        let all = &mut self.watched;
        // What never ran is known after the last boot only.
        all.cases.retain(|case| case.outcome != Outcome::NotRun);
        let seen: HashSet<String> = all.cases.iter().map(|case| case.name.clone()).collect();
        let group = |name: &str| {
            let prefix = format!("{name}/");
            seen.iter().any(|other| other.starts_with(&prefix))
        };
        // A test whose subtests are all done has nothing to run and passes; that is no result.
        let empty = |outcome, name: &str| matches!(outcome, Outcome::Pass | Outcome::Skip) && group(name);
        all.cases.extend(
            next.cases
                .into_iter()
                .filter(|case| !seen.contains(&case.name) && !empty(case.outcome, &case.name)),
        );
        all.about_job.extend(next.about_job);
        all.splats.extend(next.splats);
        all.notes.extend(next.notes);
        all.cut = next.cut;
        all.end = end_of(std::mem::replace(&mut all.end, CellEnd::Completed), next.end);
        self.boots += 1;
        self.done.len() > before
    }
}

/// A crash stays one, whatever came after it, and a time-out unless a crash came after it. An infrastructure failure or an
/// interrupt leaves tests without a verdict. Each test keeps the cause of its own boot.
fn end_of(before: CellEnd, after: CellEnd) -> CellEnd {
    use CellEnd::*;
    match (before, after) {
        // Everything was left out.
        (before, Usage { .. }) => before,
        (crash @ Crashed { .. }, Completed | Crashed { .. } | TimedOut { .. } | Unbootable { .. }) => crash,
        (late @ TimedOut { .. }, Completed | TimedOut { .. } | Unbootable { .. }) => late,
        (_, after) => after,
    }
}

fn names(watched: &Watched) -> Vec<String> {
    let ran = watched.cases.iter().filter(|case| case.outcome != Outcome::NotRun);
    ran.map(|case| case.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TestCase;

    fn watched(cases: &[(&str, Outcome)], end: CellEnd, cut: Option<&str>) -> Watched {
        let case = |(name, outcome): &(&str, Outcome)| TestCase {
            name: (*name).to_owned(),
            outcome: *outcome,
            duration: None,
            message: String::new(),
            detail: String::new(),
            cause: None,
        };
        Watched { cases: cases.iter().map(case).collect(), cut: cut.map(Into::into), ..Watched::new(end) }
    }

    fn crash(reason: &str) -> CellEnd {
        CellEnd::Crashed { reason: reason.into() }
    }

    #[test]
    fn results_of_several_boots_are_one_and_a_crash_stays_a_crash() {
        use Outcome::*;
        let mut all = SoFar::new(watched(
            &[("t/a", Pass), ("t/b", Error), ("test 3", NotRun)],
            crash("panic"),
            Some("panic"),
        ));
        assert_eq!(all.done(), ["t/a", "t/b"]);
        assert_eq!(all.next(true), Next::Again("panic".into()));
        let grown =
            all.add(watched(&[("t/c", Fail), ("t", Pass), ("plain", Pass)], CellEnd::Completed, None));
        let cases: Vec<_> = all.watched.cases.iter().map(|c| (c.name.as_str(), c.outcome)).collect();
        assert_eq!(cases, [("t/a", Pass), ("t/b", Error), ("t/c", Fail), ("plain", Pass)]);
        assert_eq!((all.next(grown), all.boots), (Next::Over, 2));
        assert_eq!(all.watched.end, crash("panic"));
    }

    #[test]
    fn a_boot_that_brings_nothing_new_is_the_last() {
        let first = watched(&[("a", Outcome::Pass), ("unknown test", Outcome::Error)], crash("x"), Some("x"));
        let mut all = SoFar::new(first);
        let grown = all.add(watched(&[("unknown test", Outcome::Error)], crash("x"), Some("x")));
        assert_eq!(all.next(grown), Next::Stuck);
        assert_eq!(all.watched.cases.len(), 2);
    }

    #[test]
    fn the_ends_of_boots_make_one_end() {
        let infra = || CellEnd::Infra { reason: "disk".into() };
        let late = || CellEnd::TimedOut { reason: "a ran longer than 1 s".into() };
        let usage = || CellEnd::Usage { reason: "nothing".into() };
        for (before, after, expected) in [
            (crash("a"), CellEnd::Completed, crash("a")),
            (crash("a"), crash("b"), crash("a")),
            (crash("a"), infra(), infra()),
            (crash("a"), CellEnd::Interrupted, CellEnd::Interrupted),
            (crash("a"), usage(), crash("a")),
            (CellEnd::Completed, usage(), CellEnd::Completed),
            (CellEnd::Completed, crash("b"), crash("b")),
            (crash("a"), late(), crash("a")),
            (late(), crash("b"), crash("b")),
            (late(), CellEnd::Completed, late()),
            (CellEnd::Completed, late(), late()),
            (late(), infra(), infra()),
        ] {
            assert_eq!(end_of(before, after), expected);
        }
    }
}
