//! What changed from one run to another: the gate that a CI job wants.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde::Serialize;

use super::table::sign;
use super::{OWN, all_cases, nothing_ran};
use crate::event::{CellId, CellReport, Counts, Outcome, RunReport};
use crate::parse::clean::one_line;

/// How the result of a test differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It fails or crashes now, and did not before; or it is new, and does.
    Fails,
    /// It was not run now, and had a result before.
    Lost,
    /// It passes now, and failed before.
    Fixed,
    /// It is new in a cell that is not, and does not fail.
    Appears,
    /// It is not there any more.
    Vanishes,
    /// Anything else: a pass that is a skip now.
    Differs,
}

impl Kind {
    /// All of them, the worst first.
    const ALL: [Kind; 6] =
        [Kind::Fails, Kind::Lost, Kind::Fixed, Kind::Appears, Kind::Vanishes, Kind::Differs];

    fn title(self) -> &'static str {
        match self {
            Kind::Fails => "newly fails",
            Kind::Lost => "not run any more",
            Kind::Fixed => "fixed",
            Kind::Appears => "appears",
            Kind::Vanishes => "vanishes",
            Kind::Differs => "differs",
        }
    }
}

/// One test that came out differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// In which cell, as the later run names it.
    pub cell: CellId,
    /// The test.
    pub test: String,
    /// How.
    pub kind: Kind,
    /// What it was.
    pub before: Option<Outcome>,
    /// What it is.
    pub after: Option<Outcome>,
    /// The message of the later result, or of the earlier where there is no later one.
    pub message: String,
}

/// All that is different.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// The worst first.
    pub changes: Vec<Change>,
    /// Cells that only the earlier run has.
    pub only_before: Vec<CellId>,
    /// Cells that only the later run has.
    pub only_after: Vec<CellId>,
    /// Pairs of kernels that were compared although they were asked for by different names.
    pub paired: Vec<(CellId, CellId)>,
    /// Tests that came out as before.
    pub same: usize,
}

impl Diff {
    /// Compares two runs, cell by cell. Where both have one kernel of an architecture and a suite, those are compared, whatever
    /// they are called.
    pub fn of(before: &RunReport, after: &RunReport) -> Self {
        let mut diff = Diff::default();
        let mut partners: Vec<(&CellReport, &CellReport)> = Vec::new();
        for cell in &after.cells {
            match partner(cell, before, after) {
                Some(other) => partners.push((other, cell)),
                None => diff.only_after.push(cell.id.clone()),
            }
        }
        for cell in &before.cells {
            if !partners.iter().any(|(other, _)| other.id == cell.id) {
                diff.only_before.push(cell.id.clone());
            }
        }
        for (before, after) in partners {
            if before.id != after.id {
                diff.paired.push((before.id.clone(), after.id.clone()));
            }
            diff.compare(before, after);
        }
        // A cell that was not there before has no past to excuse its failures.
        for cell in after.cells.iter().filter(|cell| is_new(cell, before, after)) {
            let mut worse = results(cell);
            // That the others appear is said by the cell's own line.
            worse.retain(|_, (outcome, _)| kind(None, Some(*outcome)) != Some(Kind::Appears));
            diff.compare_results(&BTreeMap::new(), &worse, &cell.id);
        }
        diff.changes.sort_by_key(|change| change.kind);
        diff
    }

    /// Whether something fails that did not.
    pub fn is_worse(&self) -> bool {
        self.changes.iter().any(|change| matches!(change.kind, Kind::Fails | Kind::Lost))
    }

    fn compare(&mut self, before: &CellReport, after: &CellReport) {
        let mut old = results(before);
        let new = results(after);
        // kvet's own complaints about a cell (`kvet/boot`) are no tests: what is not complained of any more is mended.
        let mended: Vec<String> =
            old.keys().filter(|name| name.starts_with(OWN) && !new.contains_key(*name)).cloned().collect();
        for name in mended {
            if let Some((outcome, message)) = old.remove(&name) {
                self.push(&after.id, &name, Kind::Fixed, Some(outcome), None, &message);
            }
        }
        // Tests that are skipped differ, each of them; but if that are all, the kernel is not tested any more.
        let ran = |cell: &CellReport| Counts::of(&cell.cases).ran() > 0;
        if ran(before) && nothing_ran(after) && !after.must_run {
            self.push(
                &after.id,
                &format!("{OWN}nothing-ran"),
                Kind::Lost,
                None,
                Some(Outcome::NotRun),
                "every test is skipped now",
            );
        }
        self.compare_results(&old, &new, &after.id);
    }

    fn compare_results(&mut self, old: &Results, new: &Results, cell: &CellId) {
        for (name, (outcome, message)) in new {
            let past = old.get(name).map(|(outcome, _)| *outcome);
            match kind(past, Some(*outcome)) {
                Some(kind) => self.push(cell, name, kind, past, Some(*outcome), message),
                None => self.same += 1,
            }
        }
        for (name, (outcome, message)) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            self.push(cell, name, Kind::Vanishes, Some(*outcome), None, message);
        }
    }

    fn push(
        &mut self,
        cell: &CellId,
        test: &str,
        kind: Kind,
        before: Option<Outcome>,
        after: Option<Outcome>,
        message: &str,
    ) {
        let (test, message) = (one_line(test), one_line(message));
        self.changes.push(Change { cell: cell.clone(), test, kind, before, after, message });
    }
}

/// The results of a cell by name: what became of it, and the message.
type Results = BTreeMap<String, (Outcome, String)>;

fn is_new(cell: &CellReport, before: &RunReport, after: &RunReport) -> bool {
    partner(cell, before, after).is_none()
}

fn partner<'a>(cell: &CellReport, before: &'a RunReport, after: &RunReport) -> Option<&'a CellReport> {
    if let Some(same) = before.cells.iter().find(|other| other.id == cell.id) {
        return Some(same);
    }
    let alike = |other: &&CellReport| other.id.arch == cell.id.arch && other.id.suite == cell.id.suite;
    let mut candidates = before.cells.iter().filter(alike);
    match (candidates.next(), candidates.next(), after.cells.iter().filter(alike).count()) {
        (Some(only), None, 1) => Some(only),
        _ => None,
    }
}

fn results(cell: &CellReport) -> Results {
    let mut results = Results::new();
    for case in all_cases(cell) {
        // Of two with one name, which kvet does not write, the bad one counts.
        match results.get(&case.name) {
            Some((outcome, _)) if outcome.is_bad() => {}
            _ => drop(results.insert(case.name, (case.outcome, case.message))),
        }
    }
    results
}

fn kind(before: Option<Outcome>, after: Option<Outcome>) -> Option<Kind> {
    let bad = |o: Outcome| o.is_bad();
    match (before, after) {
        (a, b) if a == b => None,
        (Some(a), Some(Outcome::NotRun)) if !bad(a) => Some(Kind::Lost),
        (None, Some(Outcome::NotRun)) => Some(Kind::Lost),
        (Some(a), Some(b)) if !bad(a) && bad(b) => Some(Kind::Fails),
        (None, Some(b)) if bad(b) => Some(Kind::Fails),
        (Some(a), Some(Outcome::Pass)) if bad(a) => Some(Kind::Fixed),
        // What never ran has not been seen to fail: it counts when it does.
        (Some(Outcome::NotRun), Some(b)) if bad(b) => Some(Kind::Fails),
        (None, Some(_)) => Some(Kind::Appears),
        (Some(_), None) => Some(Kind::Vanishes),
        _ => Some(Kind::Differs),
    }
}

/// Changes of one kind that are written out; the rest are counted.
const MAX_SHOWN: usize = 200;

/// The difference for people.
pub fn text(diff: &Diff) -> String {
    let mut text = String::new();
    for (before, after) in &diff.paired {
        let _ = writeln!(
            text,
            "comparing {} with {}",
            one_line(&before.to_string()),
            one_line(&after.to_string())
        );
    }
    for kind in Kind::ALL {
        let changes: Vec<&Change> = diff.changes.iter().filter(|change| change.kind == kind).collect();
        if changes.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{} ({}):", kind.title(), changes.len());
        for change in changes.iter().take(MAX_SHOWN) {
            let _ = writeln!(text, "  {}", line(change));
        }
        if changes.len() > MAX_SHOWN {
            let _ = writeln!(text, "  … and {} more", changes.len() - MAX_SHOWN);
        }
    }
    for (cells, which) in [(&diff.only_before, "before"), (&diff.only_after, "after")] {
        for cell in cells {
            let _ = writeln!(text, "only {which}: {}", one_line(&cell.to_string()));
        }
    }
    let _ = writeln!(text, "{}", total(diff));
    text
}

fn line(change: &Change) -> String {
    let word = |outcome| sign(outcome).1;
    let mut line = format!("{}  {}  ", change.test, one_line(&change.cell.to_string()));
    let _ = write!(line, "{} → {}", word(change.before), word(change.after));
    if !change.message.is_empty() {
        let _ = write!(line, "  {}", change.message);
    }
    line
}

fn total(diff: &Diff) -> String {
    let mut counts: HashMap<Kind, usize> = HashMap::new();
    for change in &diff.changes {
        *counts.entry(change.kind).or_default() += 1;
    }
    let mut parts: Vec<String> = Kind::ALL
        .into_iter()
        .filter_map(|kind| counts.get(&kind).map(|count| format!("{count} {}", kind.title())))
        .collect();
    parts.push(format!("{} as before", diff.same));
    parts.join(", ")
}

/// The difference as Markdown.
pub fn markdown(diff: &Diff) -> String {
    let mut text = format!("**{}**\n", total(diff));
    // A code span takes everything literally but a backtick.
    let code = |words: &str| format!("`{}`", words.replace('`', "'"));
    let cell = |id: &CellId| code(&one_line(&id.to_string()));
    for (before, after) in &diff.paired {
        let _ = write!(text, "\ncomparing {} with {}\n", cell(before), cell(after));
    }
    for kind in Kind::ALL {
        let changes: Vec<&Change> = diff.changes.iter().filter(|change| change.kind == kind).collect();
        if changes.is_empty() {
            continue;
        }
        let _ = write!(text, "\n{} ({}):\n\n", kind.title(), changes.len());
        for change in changes.iter().take(MAX_SHOWN) {
            let _ = writeln!(text, "- {}", code(&line(change)));
        }
        if changes.len() > MAX_SHOWN {
            let _ = writeln!(text, "- … and {} more", changes.len() - MAX_SHOWN);
        }
    }
    for (cells, which) in [(&diff.only_before, "before"), (&diff.only_after, "after")] {
        if !cells.is_empty() {
            let names: Vec<String> = cells.iter().map(cell).collect();
            let _ = write!(text, "\nonly {which}: {}\n", names.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::super::table::sample::cell;
    use super::*;
    use crate::event::CellEnd;
    use Outcome::{Error, Fail, NotRun, Pass, Skip, Xfail};

    fn run(cells: Vec<CellReport>) -> RunReport {
        RunReport { cells, ..sample::run() }
    }

    fn diff_of(before: &[(&str, Outcome, &str)], after: &[(&str, Outcome, &str)]) -> Diff {
        Diff::of(
            &run(vec![cell("debian:7.2", "7.2.6", before)]),
            &run(vec![cell("debian:7.2", "7.2.9", after)]),
        )
    }

    #[test]
    fn one_test_before_and_after() {
        for (before, after, expected, worse) in [
            (Some(Pass), Some(Pass), None, false),
            (Some(Fail), Some(Fail), None, false),
            (Some(Pass), Some(Fail), Some(Kind::Fails), true),
            (Some(Skip), Some(Fail), Some(Kind::Fails), true),
            (Some(Xfail), Some(Error), Some(Kind::Fails), true),
            (None, Some(Fail), Some(Kind::Fails), true),
            (Some(NotRun), Some(Fail), Some(Kind::Fails), true),
            (Some(Fail), Some(Error), Some(Kind::Differs), false),
            (Some(Pass), Some(NotRun), Some(Kind::Lost), true),
            (Some(Fail), Some(NotRun), Some(Kind::Differs), false),
            (Some(Fail), Some(Pass), Some(Kind::Fixed), false),
            (Some(NotRun), Some(Pass), Some(Kind::Fixed), false),
            (None, Some(Pass), Some(Kind::Appears), false),
            (None, Some(Skip), Some(Kind::Appears), false),
            (Some(Pass), None, Some(Kind::Vanishes), false),
            (Some(Pass), Some(Skip), Some(Kind::Differs), false),
        ] {
            let one = |outcome: Option<Outcome>| {
                [("always", Pass, "")].into_iter().chain(outcome.map(|o| ("t", o, "why"))).collect::<Vec<_>>()
            };
            let diff = diff_of(&one(before), &one(after));
            let kinds: Vec<Kind> = diff.changes.iter().map(|c| c.kind).collect();
            assert_eq!(kinds, Vec::from_iter(expected), "{before:?} {after:?}");
            assert_eq!(diff.is_worse(), worse, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_kernel_that_does_not_boot_any_more_is_worse_and_one_that_does_again_is_not() {
        let good = run(vec![cell("debian:7.2", "7.2.6", &[("t", Pass, "")])]);
        let mut bad = run(vec![cell("debian:7.2", "7.2.6", &[])]);
        bad.cells[0].end = CellEnd::Unbootable { reason: "no console".into(), detail: String::new() };
        let diff = Diff::of(&good, &bad);
        assert!(diff.is_worse());
        assert!(
            text(&diff).contains("kvet/boot  debian:7.2 x86_64 dynptr  no such test → error  no console")
        );
        let back = Diff::of(&bad, &good);
        assert!(!back.is_worse(), "{}", text(&back));
        assert!(text(&back).starts_with("fixed (1):\n  kvet/boot"), "{}", text(&back));
    }

    #[test]
    fn a_kernel_on_which_nothing_runs_is_worse() {
        let two = |outcome| [("a", outcome, "why"), ("b", Skip, "why")];
        let diff = diff_of(&two(Pass), &two(Skip));
        assert!(diff.is_worse());
        let said =
            "kvet/nothing-ran  debian:7.2 x86_64 dynptr  no such test → not run  every test is skipped now";
        assert!(text(&diff).contains(said), "{}", text(&diff));
        assert!(!diff_of(&two(Skip), &two(Skip)).is_worse(), "as before");
        assert!(!diff_of(&two(Skip), &two(Pass)).is_worse());
    }

    #[test]
    fn kernels_of_different_names_are_compared_when_there_is_no_choice() {
        let a = run(vec![cell("debian:7.2.6", "7.2.6", &[("t", Pass, "")])]);
        let b = run(vec![cell("debian:7.2.9", "7.2.9", &[("t", Fail, "x")])]);
        let diff = Diff::of(&a, &b);
        assert!(diff.is_worse());
        assert!(
            text(&diff).starts_with("comparing debian:7.2.6 x86_64 dynptr with debian:7.2.9"),
            "{}",
            text(&diff)
        );
        let two = run(vec![b.cells[0].clone(), cell("debian:7.3", "7.3", &[("t", Pass, "")])]);
        let diff = Diff::of(&a, &two);
        assert_eq!((diff.only_before.len(), diff.only_after.len()), (1, 2));
        assert!(diff.is_worse(), "a new kernel on which a test fails");
    }

    #[test]
    fn the_text_counts_everything() {
        let diff = diff_of(
            &[("a", Pass, ""), ("b", Fail, "1"), ("c", Pass, ""), ("d", Pass, "")],
            &[("a", Fail, "expected 3"), ("b", Pass, ""), ("c", Pass, ""), ("e", Skip, "old")],
        );
        assert_eq!(
            text(&diff),
            "newly fails (1):\n  a  debian:7.2 x86_64 dynptr  pass → fail  expected 3\n\
             fixed (1):\n  b  debian:7.2 x86_64 dynptr  fail → pass\n\
             appears (1):\n  e  debian:7.2 x86_64 dynptr  no such test → skip  old\n\
             vanishes (1):\n  d  debian:7.2 x86_64 dynptr  pass → no such test\n\
             1 newly fails, 1 fixed, 1 appears, 1 vanishes, 1 as before\n"
        );
        assert!(markdown(&diff).contains("- `a  debian:7.2 x86_64 dynptr  pass → fail  expected 3`"));
    }
}
