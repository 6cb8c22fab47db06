//! Bisections whose kernels are made up and whose search is real: histories with branches and merges, judged by git itself, and
//! symptoms that come and go.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use kvet::bisect::answer::{self, Answer};
use kvet::bisect::git::Commits;
use kvet::bisect::releases::Row;
use kvet::bisect::state::{State, Verdict};
use kvet::bisect::{Bisection, Find, Lab, News, Search, Subject};
use kvet::error::{Error, Fault, Result};
use kvet::event::{CellReport, Outcome};

/// What a run of the only test came to.
fn report(kernel: &str, outcome: Outcome) -> CellReport {
    crate::fixtures::cell(kernel, &[("t", outcome, "")])
}

// --- histories --------------------------------------------------------------------------------------------------

/// What a made-up kernel is.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    Good,
    Bad,
    /// It does not compile.
    Broken,
}

/// ```text
/// base - a1 - a2 - - - - - join1 - a3 - a4 - join2 - a5 - end
///          \   \ \         /                 /
///           \   \ s1 - s2 - s3              /
///            \   t1 - - - - - - - - - - - t2
///             u1 - u2
/// ```
/// A commit is named by its subject, and touches a file that is named by its first letter.
struct History {
    dir: tempfile::TempDir,
}

/// What git and kvet came to.
struct Found {
    answer: Answer,
    state: State,
    steps: Vec<Asked>,
}

/// What was told when a commit was going to be tested.
#[derive(Debug)]
struct Asked {
    name: String,
    left: usize,
    steps: usize,
    older: String,
    newer: String,
}

/// The commits from `base` to `end`, without those of the branch that is not merged.
const MAIN: [&str; 14] =
    ["base", "a1", "a2", "s1", "s2", "s3", "t1", "join1", "a3", "a4", "t2", "join2", "a5", "end"];

impl History {
    fn new() -> Self {
        let history = Self { dir: tempfile::tempdir().unwrap() };
        history.git(&["init", "--quiet", "--initial-branch=main"]);
        for name in ["base", "a1", "a2"] {
            history.commit(name);
        }
        history.branch("s", "a2", &["s1", "s2", "s3"]);
        history.branch("t", "a2", &["t1"]);
        history.branch("u", "a1", &["u1", "u2"]);
        history.git(&["switch", "--quiet", "main"]);
        history.merge("s", "join1");
        for name in ["a3", "a4"] {
            history.commit(name);
        }
        history.git(&["switch", "--quiet", "t"]);
        history.commit("t2");
        history.git(&["switch", "--quiet", "main"]);
        history.merge("t", "join2");
        for name in ["a5", "end"] {
            history.commit(name);
        }
        history
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = kvet::git::command(self.dir.path());
        // Each a second later than the last one, so that the same history has the same hashes.
        let commits = self.dir.path().join(".git/refs/tags").read_dir().map_or(0, Iterator::count);
        let date = format!("{} +0000", 1_700_000_000 + commits);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "T").env(format!("GIT_{who}_EMAIL"), "t@example");
            command.env(format!("GIT_{who}_DATE"), &date);
        }
        command.args(arguments).output().unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let done = self.output(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, name: &str) {
        let file = &name[..1];
        std::fs::write(self.dir.path().join(file), name).unwrap();
        self.git(&["add", file]);
        self.git(&["commit", "--quiet", "-m", name]);
        self.git(&["tag", name]);
    }

    fn branch(&self, branch: &str, from: &str, commits: &[&str]) {
        self.git(&["switch", "--quiet", "-c", branch, from]);
        for name in commits {
            self.commit(name);
        }
    }

    fn merge(&self, branch: &str, name: &str) {
        self.git(&["merge", "--quiet", "--no-ff", "-m", name, branch]);
        self.git(&["tag", name]);
    }

    /// Whether a commit is in the history of another one.
    fn has(&self, commit: &str, other: &str) -> bool {
        self.output(&["merge-base", "--is-ancestor", other, commit]).status.success()
    }

    fn search(&self, ends: (&str, &str), paths: &[&str]) -> Result<(Commits, tempfile::TempDir)> {
        let scratch = tempfile::tempdir().unwrap();
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let search = Commits::begin(self.dir.path(), &scratch.path().join("git"), ends.0, ends.1, &paths)?;
        Ok((search, scratch))
    }

    fn find(&self, find: Find, ends: (&str, &str), paths: &[&str], is: &dyn Fn(&str) -> Is) -> Result<Found> {
        let (mut search, _scratch) = self.search(ends, paths)?;
        let mut steps = Vec::new();
        let mut bisection = Bisection {
            state: State::new(vec!["bisect".into()], find, None, 1),
            search: &mut search,
            lab: &mut MadeUp { is },
            save: &mut |_| Ok(()),
            tell: &mut |news| {
                if let News::Begin(subject, Some(progress)) = news {
                    let (older, newer) = &progress.between;
                    steps.push(Asked {
                        name: name(subject),
                        left: progress.left,
                        steps: progress.steps,
                        older: name(older),
                        newer: name(newer),
                    });
                }
            },
        };
        let answer = bisection.run()?;
        let state = bisection.state;
        Ok(Found { answer, state, steps })
    }

    /// The same from `base` to `end` where everything that has a commit is bad, or is good again.
    fn since(&self, find: Find, first: &str, paths: &[&str]) -> Result<Found> {
        self.find(find, ("base", "end"), paths, &|commit| self.is(find, commit, first))
    }

    /// What the answer is compared with is of the older side, and no other commit that was judged to be is nearer.
    fn nothing_is_nearer(&self, found: &Found, find: Find) {
        let (first, before) = (name(&found.answer.first), name(&found.answer.before));
        let apart = |older: &str| -> usize {
            self.git(&["rev-list", "--count", &format!("{older}...{first}")]).parse().unwrap()
        };
        let side = if find == Find::Bug { Verdict::Good } else { Verdict::Bad };
        let older = found.state.steps.iter().filter(|step| step.verdict == side);
        let older: Vec<&str> = older.map(|step| step.shown.rsplit(' ').next().unwrap()).collect();
        assert!(older.contains(&before.as_str()), "{first}: {before} of {older:?}");
        assert!(older.iter().all(|other| apart(other) >= apart(&before)), "{first}: {before} of {older:?}");
    }

    fn is(&self, find: Find, commit: &str, first: &str) -> Is {
        match (find, self.has(commit, first)) {
            (Find::Bug, true) | (Find::Fix, false) => Is::Bad,
            _ => Is::Good,
        }
    }
}

/// The subject of a commit.
fn name(subject: &Subject) -> String {
    subject.shown.rsplit(' ').next().unwrap().to_owned()
}

fn names(subjects: &[Subject]) -> BTreeSet<String> {
    subjects.iter().map(name).collect()
}

/// Kernels of which a rule says what they are.
struct MadeUp<'a> {
    is: &'a dyn Fn(&str) -> Is,
}

impl Lab for MadeUp<'_> {
    fn signature(&mut self, subject: &Subject) -> Result<String> {
        match (self.is)(&name(subject)) {
            Is::Broken => Err(Error::kernel("it does not compile")),
            _ => Ok(subject.kernel.clone()),
        }
    }

    fn run(&mut self, subject: &Subject, _: Option<&[String]>) -> Result<CellReport> {
        let bad = (self.is)(&name(subject)) == Is::Bad;
        Ok(report(&subject.kernel, if bad { Outcome::Fail } else { Outcome::Pass }))
    }

    fn recall(&mut self, _: &Path) -> Option<CellReport> {
        None
    }
}

#[test]
fn wherever_it_is_in_a_history_with_merges_it_is_found_and_the_range_closes_in_on_it() {
    let history = History::new();
    for find in [Find::Bug, Find::Fix] {
        for first in &MAIN[1..] {
            let found = history.since(find, first, &[]).unwrap();
            assert_eq!(name(&found.answer.first), *first);
            assert!(found.answer.doubtful.is_empty(), "{first}: {:?}", found.answer);
            history.nothing_is_nearer(&found, find);
            the_range_closes_in(&history, first, &found.steps);
        }
    }
}

/// What is said before each step is true, and gets less.
fn the_range_closes_in(history: &History, first: &str, steps: &[Asked]) {
    for (number, step) in steps.iter().enumerate() {
        let context = format!("{first}: {step:?} of {steps:?}");
        assert!(history.has(&step.newer, first) && !history.has(&step.older, first), "{context}");
        assert!(history.has(&step.newer, &step.older), "a range is of one line: {context}");
        assert!(history.has(&step.newer, &step.name) && step.name != step.newer, "within it: {context}");
        assert!(!history.has(&step.older, &step.name), "within it: {context}");
        let to_come = steps.len() - number - 1;
        // Merges cannot always be halved; who is lucky is done sooner.
        assert!(to_come <= step.steps + 1 && 1 << step.steps <= 2 * step.left.max(1), "{context}");
        if let Some(last) = number.checked_sub(1).map(|last| &steps[last]) {
            assert!(step.left < last.left, "{context}");
        }
    }
}

#[test]
fn with_paths_only_commits_that_touch_them_are_tested() {
    let history = History::new();
    for (paths, commits) in [
        (&["s"][..], &["s1", "s2", "s3"][..]),
        (&["t"], &["t1", "t2"]),
        (&["s", "t"], &["s1", "s2", "s3", "t1", "t2"]),
        (&["a"], &["a1", "a2", "a3", "a4", "a5"]),
    ] {
        for first in commits {
            let found = history.since(Find::Bug, first, paths).unwrap();
            assert_eq!(name(&found.answer.first), *first, "{paths:?}");
            history.nothing_is_nearer(&found, Find::Bug);
            let asked: Vec<&str> = found.steps.iter().map(|step| step.name.as_str()).collect();
            assert!(asked.iter().all(|name| commits.contains(name)), "{paths:?}: {asked:?}");
            the_range_closes_in(&history, first, &found.steps);
        }
    }
}

#[test]
fn that_the_paths_leave_out_what_is_looked_for_is_said() {
    let history = History::new();
    let Err(error) = history.since(Find::Bug, "a3", &["s"]) else { panic!("nothing that touches s is bad") };
    assert_eq!(error.fault(), Fault::Caller);
    let said = error.to_string();
    assert!(said.contains("--paths s: every commit that touches it is like the older end"), "{said}");
    assert!(error.hint_text().unwrap().contains("--replay"), "{:?}", error.hint_text());
    // Where nothing at all is between the ends it is another matter.
    let Err(error) = history.find(Find::Bug, ("a3", "a4"), &["s"], &|_| Is::Good) else { panic!() };
    assert!(error.to_string().contains("no commit between the two ends touches"), "{error}");
}

#[test]
fn commits_around_the_answer_that_cannot_be_judged_are_all_named() {
    let history = History::new();
    for (first, broken, certain, may_be, before) in [
        ("a4", &["a3", "a4"][..], "join2", &["a3", "a4"][..], "join1"),
        // A merge as well, and what is on the branch that it merged.
        ("s2", &["s2", "s3", "join1"], "a3", &["s2", "s3", "join1"], "s1"),
        ("join1", &["join1"], "a3", &["join1"], "s3"),
        // What is broken elsewhere is gone around.
        ("t2", &["s2", "a3"], "t2", &[], "t1"),
    ] {
        let is = |commit: &str| match broken.contains(&commit) {
            true => Is::Broken,
            false => history.is(Find::Bug, commit, first),
        };
        let found = history.find(Find::Bug, ("base", "end"), &[], &is).unwrap();
        let may_be: BTreeSet<String> = may_be.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(name(&found.answer.first), certain, "{first}");
        assert_eq!(names(&found.answer.doubtful), may_be, "{first}");
        assert_eq!(name(&found.answer.before), before, "{first}");
        let skipped = found.state.steps.iter().filter(|step| step.verdict == Verdict::Skip);
        let skipped: Vec<&str> = skipped.map(|step| step.reason.as_str()).collect();
        assert!(skipped.len() >= may_be.len() && skipped.iter().all(|why| *why == "it does not compile"));
    }
}

#[test]
fn two_branches_are_told_how_much_there_is_to_do_and_what_their_base_says() {
    let history = History::new();
    let find = |first: &str| {
        let order = ["u2", "a1", "a2", "a3"];
        let at = |commit: &str| order.iter().position(|name| *name == commit);
        let is = |commit: &str| if commit != "u2" && at(commit) >= at(first) { Is::Bad } else { Is::Good };
        history.find(Find::Bug, ("u2", "a3"), &["a"], &is)
    };
    // The merge base is a1, which has to be judged first; then a2 is left, as a3 is known.
    let found = find("a3").unwrap();
    assert_eq!(name(&found.answer.first), "a3");
    let first = &found.steps[0];
    assert_eq!((first.name.as_str(), first.left, first.steps), ("a1", 1, 1), "{:?}", found.steps);
    // What is bad on both branches was not broken between their ends.
    let Err(error) = find("a1") else { panic!("the merge base is bad") };
    assert_eq!(error.fault(), Fault::Caller);
    assert!(error.hint_text().unwrap().contains("different branches"), "{error} {:?}", error.hint_text());
}

// --- symptoms that come and go ----------------------------------------------------------------------------------

/// Kernels in a row; of each the runs in which the test fails, from 1.
struct Flaky<'a> {
    fails: &'a dyn Fn(usize, usize) -> bool,
    runs: RefCell<BTreeMap<usize, usize>>,
}

impl Lab for Flaky<'_> {
    fn signature(&mut self, subject: &Subject) -> Result<String> {
        Ok(subject.kernel.clone())
    }

    fn run(&mut self, subject: &Subject, _: Option<&[String]>) -> Result<CellReport> {
        let kernel = subject.shown.parse().unwrap();
        let mut runs = self.runs.borrow_mut();
        let run = runs.entry(kernel).or_default();
        *run += 1;
        let fails = (self.fails)(kernel, *run);
        Ok(report(&subject.kernel, if fails { Outcome::Fail } else { Outcome::Pass }))
    }

    fn recall(&mut self, _: &Path) -> Option<CellReport> {
        None
    }
}

/// Bisects 0 to 4. Gives the answer, the state, and what was said of each verdict.
fn flaky(runs: usize, fails: &dyn Fn(usize, usize) -> bool) -> Result<(Answer, State, Vec<String>)> {
    let subject = |i: usize| Subject { kernel: format!("k{i}"), shown: i.to_string() };
    let mut row = Row::new((0..5).map(subject).collect());
    let mut said = Vec::new();
    let mut bisection = Bisection {
        state: State::new(vec!["bisect".into()], Find::Bug, None, runs),
        search: &mut row as &mut dyn Search,
        lab: &mut Flaky { fails, runs: RefCell::default() },
        save: &mut |_| Ok(()),
        tell: &mut |news| {
            if let News::Judged(step, state) = news {
                said.push(answer::step_line(step, 0, state));
            }
        },
    };
    let answer = bisection.run()?;
    let state = bisection.state;
    Ok((answer, state, said))
}

/// How sure it is, counted from the beginning: the bad end failed in so many of its runs, and another kernel in none of its own.
fn sure(failed: usize, of: usize, passed: usize) -> f64 {
    let rate = (failed + 1) as f64 / (of + 2) as f64;
    1.0 - (1.0 - rate).powi(passed as i32)
}

#[test]
fn no_kernel_is_good_before_it_is_sure_or_was_run_as_often_as_was_asked_for() {
    for runs in 1..=40 {
        for failed in 1..=runs {
            // The bad end fails in the last of its runs, 3 in its first one, and the others never.
            let fails = |kernel, run| (kernel == 4 && run > runs - failed) || (kernel == 3 && run == 1);
            let (answer, state, said) = flaky(runs, &fails).unwrap();
            assert_eq!((answer.first.shown.as_str(), answer.before.shown.as_str()), ("3", "2"));
            let step = |kernel: &str| state.of(kernel).unwrap();
            for end in ["k0", "k4"] {
                assert_eq!(step(end).runs, runs, "the ends are run to the last");
            }
            let taken = step("k2").runs;
            assert!(taken == runs || sure(failed, runs, taken) >= 0.99, "{taken} of {runs}, {failed} failed");
            assert!(taken == 1 || sure(failed, runs, taken - 1) < 0.99, "{taken} of {runs} are too many");
            if taken > 1 {
                let percent = (100.0 * sure(failed, runs, taken)).floor().min(99.0);
                let words = format!("  0 of {taken} runs failed ({percent} % sure)");
                assert!(
                    said.iter().any(|line| line.starts_with("good  2 ") && line.contains(&words)),
                    "{said:?}"
                );
            }
            assert!(!said.concat().contains("(100 %"), "nothing that was only seen is certain: {said:?}");
        }
    }
}

#[test]
fn what_shows_itself_in_the_last_run_alone_is_bad() {
    for runs in [2, 3, 5, 8] {
        // The bad end fails once, so that all runs are taken; so does 2, in its last one.
        let (answer, state, said) =
            flaky(runs, &|kernel, run| (kernel == 4 && run == 1) || (kernel >= 2 && run == runs)).unwrap();
        assert_eq!(answer.first.shown, "2", "{runs}");
        let found = state.of("k2").unwrap();
        assert_eq!((found.verdict, found.runs, found.failed_runs), (Verdict::Bad, runs, 1));
        assert!(said.iter().any(|line| line.contains(&format!("  1 of {runs} runs failed"))), "{said:?}");
    }
}

#[test]
fn an_end_that_is_flaky_on_the_wrong_side_is_no_end() {
    let good_fails_once = |kernel, run| kernel == 4 || (kernel == 0 && run == 3);
    let error = flaky(3, &good_fails_once).unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(error.to_string().contains("was said to be good"), "{error}");
    let bad_never_fails = |_, _| false;
    let error = flaky(3, &bad_never_fails).unwrap_err();
    assert!(error.to_string().contains("was said to be bad, but no selected test fails"), "{error}");
}
