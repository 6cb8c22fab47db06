//! What the runs on both sides of an answer say differently.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::bisect::Subject;
use crate::bisect::answer::{Answer, Compared, Evidence};
use crate::bisect::state::{State, Step, Verdict};
use crate::cell::{FILES, SHARE};
use crate::error::Result;
use crate::event::{CellReport, RunReport};
use crate::parse::clean::{LineSplitter, one_line};
use crate::parse::test_progs::verifier_said;
use crate::plan::ShareMode;
use crate::report::store::{self, safe_name};
use crate::spec::suite::{Format, SuiteSpec};

/// Of a log that a guest wrote, no more is read.
const MAX_LOG: u64 = 4 << 20;

/// What the output of a job is read of.
const MAX_OUTPUT: u64 = 64 << 20;

/// Compares the runs of the last kernel before and of the first one.
pub fn evidence(state: &State, found: &Answer, suite: &SuiteSpec) -> Evidence {
    let test = state.symptom.as_ref().and_then(|symptom| symptom.names().into_iter().next());
    let (test, before, after) = match (test, run_of(state, &found.before), run_of(state, &found.first)) {
        (Some(test), Ok(before), Ok(after)) => (test, before, after),
        (_, Err(why), _) | (_, _, Err(why)) => return nothing(why),
        (None, ..) => return nothing("there is no symptom".into()),
    };
    let case = |run: &CellReport| {
        let case = run.cases.iter().find(|case| case.name == test);
        case.map(|case| format!("{}\n{}", case.message, case.detail)).unwrap_or_default().trim().to_owned()
    };
    let console = |run: &CellReport, shown: &str| {
        let console = read(&run.dir.join("console.log"), MAX_LOG).unwrap_or_default();
        while_it_ran(&console, &test)
            .ok_or_else(|| format!("on {} it does not say when the test ran", one_line(shown)))
    };
    Evidence {
        reproduce: Vec::new(),
        before: case(&before),
        after: case(&after),
        console: Compared::of(console(&before, &found.before.shown), console(&after, &found.first.shown)),
        verifier: Compared::of(
            verifier(&before, &found.before.shown, &test, suite),
            verifier(&after, &found.first.shown, &test, suite),
        ),
        test,
    }
}

fn nothing(why: String) -> Evidence {
    let (console, verifier) = (Compared::No(why.clone()), Compared::No(why));
    let (test, before, after) = (String::new(), String::new(), String::new());
    Evidence { reproduce: Vec::new(), test, before, after, console, verifier }
}

/// The run that shows what a kernel is, which is its step's last. None if there was no run.
///
/// # Errors
/// The caller's: it is gone.
pub fn telling(step: &Step) -> Result<Option<RunReport>> {
    step.dirs.last().and_then(|dir| dir.parent()).map(store::load).transpose()
}

/// Whether the suite travelled in the initramfs.
fn is_without_9p(run: &CellReport) -> bool {
    run.provenance.get(SHARE) == Some(&ShareMode::Initramfs.to_string())
}

/// The telling run of a kernel, or why there is none.
fn run_of(state: &State, subject: &Subject) -> std::result::Result<CellReport, String> {
    let shown = one_line(&subject.shown);
    let step = state.of(&subject.kernel).ok_or_else(|| format!("{shown} was not tested"))?;
    if step.verdict == Verdict::Skip {
        return Err(format!("{shown} could not be judged"));
    }
    let run = telling(step).map_err(|e| format!("the run of {shown} is gone: {e}"))?;
    let run = run.ok_or_else(|| format!("{shown} was not run here: {}", one_line(&step.reason)))?;
    run.cells.into_iter().next().ok_or_else(|| format!("the run of {shown} is empty"))
}

/// Only what was said while the test ran: the boots of two kernels differ in everything. None if it is not known when it did.
fn while_it_ran(console: &str, test: &str) -> Option<String> {
    let begin = format!("kvet-test: RUN {test}");
    let mut from = console.lines().skip_while(|line| !line.ends_with(&begin));
    from.next()?;
    let is_over = |line: &str| line.contains("kvet-test: ") || line.contains("kvet-init: ");
    Some(from.take_while(|line| !is_over(line)).map(|line| format!("{line}\n")).collect())
}

/// What the verifier said of a test's programs, or why that is not known.
fn verifier(
    run: &CellReport,
    shown: &str,
    test: &str,
    suite: &SuiteSpec,
) -> std::result::Result<String, String> {
    let kernel = one_line(shown);
    if suite.format == Format::TestProgs {
        let output = read(&run.dir.join("stdout"), MAX_OUTPUT).unwrap_or_default();
        return match verifier_said(&output, test) {
            Some(said) if !said.is_empty() => Ok(said),
            Some(_) => Err(format!(
                "on {kernel} test_progs printed none of its logs, which it does for programs that do not load and for RUN_TESTS"
            )),
            None => Err(format!("on {kernel} the test has no result in the output of test_progs")),
        };
    }
    if suite.logs.is_none() {
        return Err(format!("suite {} does not keep its logs (`logs` in the manifest)", suite.name));
    }
    if is_without_9p(run) {
        return Err(format!(
            "{kernel} was run without 9p, its modules being gone from the archive, and its logs stayed in the guest"
        ));
    }
    read(&log_of(&run.dir, test), MAX_LOG).ok_or_else(|| format!("on {kernel} the test left no log of it"))
}

/// Where a suite keeps what the verifier said of a test (`logs` in its manifest). The test's name is the guest's.
fn log_of(cell: &Path, test: &str) -> PathBuf {
    cell.join(FILES).join("verifier").join(safe_name(&format!("{}.log", test.replace('/', "."))))
}

/// The beginning of a file of a run, if it is there. A guest wrote it: it is bounded, cleaned, and no link is followed.
fn read(path: &Path, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = opened.ok()?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    file.take(most).read_to_end(&mut bytes).ok()?;
    let mut lines = LineSplitter::new(MAX_LINE);
    let mut text = String::new();
    for line in lines.push(&bytes).into_iter().chain(lines.finish()) {
        text += &line;
        text.push('\n');
    }
    Some(text)
}

/// A longer line of a log is cut.
const MAX_LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bisect::git::{Commits, tests::history};
    use crate::bisect::{Bisection, Find, Lab};
    use crate::event::{CellEnd, Outcome};
    use crate::report::store::store_report;
    use crate::report::table::sample::{self, cell};

    /// Runs that are kept as those of guests are. From commit 6 on the test fails every other time.
    struct Kept {
        steps: PathBuf,
        runs: usize,
    }

    impl Lab for Kept {
        fn signature(&mut self, subject: &Subject) -> Result<String> {
            Ok(subject.kernel.clone())
        }

        fn run(&mut self, subject: &Subject, _: Option<&[String]>) -> Result<CellReport> {
            let fails = subject.shown.ends_with(" commit 6") && self.runs.is_multiple_of(2);
            let outcome = if fails { ("t", Outcome::Fail, "expected 3") } else { ("t", Outcome::Pass, "") };
            let dir = self.steps.join(self.runs.to_string());
            self.runs += 1;
            let cell = CellReport {
                dir: dir.join("cell"),
                end: CellEnd::Completed,
                ..cell(&subject.kernel, "7.2", &[outcome])
            };
            store_report(&dir, &RunReport { cells: vec![cell.clone()], ..sample::run() })?;
            Ok(cell)
        }

        fn recall(&mut self, _: &Path) -> Option<CellReport> {
            None
        }
    }

    #[test]
    fn of_paths_and_a_flaky_symptom_the_judged_neighbour_and_the_failing_run_are_compared() {
        let repository = history(&["file", "other", "file", "other", "file", "other", "file"]);
        let dir = tempfile::tempdir().unwrap();
        let paths = ["file".to_owned()];
        let at = dir.path().join("git");
        let mut search = Commits::begin(repository.path(), &at, "HEAD~6", "HEAD", &paths).unwrap();
        let mut bisection = Bisection {
            state: State::new(vec!["bisect".into()], Find::Bug, None, 2),
            search: &mut search,
            lab: &mut Kept { steps: dir.path().join("steps"), runs: 0 },
            save: &mut |_| Ok(()),
            tell: &mut |_| {},
        };
        let answer = bisection.run().unwrap();
        let state = bisection.state;
        assert!(answer.first.shown.ends_with(" commit 6"), "{answer:?}");
        assert!(answer.before.shown.ends_with(" commit 4"), "5 does not touch the path: {answer:?}");
        let first = state.of(&answer.first.kernel).unwrap();
        assert_eq!((first.runs, first.failed_runs, first.folder().as_deref()), (2, 1, Some("steps/0")));
        let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/dynptr/suite.yaml");
        let suite = SuiteSpec::load(&suite).unwrap();
        let evidence = evidence(&state, &answer, &suite);
        assert_eq!((evidence.test.as_str(), evidence.before.as_str()), ("t", ""));
        assert_eq!(evidence.after, "expected 3", "the last run of that commit passed");
    }

    #[test]
    fn of_the_console_only_the_tests_own_part_counts() {
        let console = "[ 1.0] kvet-test: RUN a/b2\nx\n[ 1.1] kvet-test: RUN a/b\ny\nz\n[ 1.2] kvet-test: RUN a/c\nw\n\
             [ 1.3] kvet-init: bye\n[ 1.4] reboot: Power down\n";
        assert_eq!(while_it_ran(console, "a/b").unwrap(), "y\nz\n");
        assert_eq!(while_it_ran(console, "a/c").unwrap(), "w\n");
        assert_eq!(while_it_ran(console, "a/none"), None);
    }

    #[test]
    fn a_log_is_a_plain_file_of_the_run_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = log_of(dir.path(), "group/test");
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        assert!(place.ends_with("files/verifier/group.test.log"));
        assert_eq!(read(&place, MAX_LOG), None);
        std::fs::write(&place, "0: (b7) r0 = 0\x1b[31m\n1: (95) exit").unwrap();
        let said = read(&place, MAX_LOG).unwrap();
        assert!(
            said.starts_with("0: (b7) r0 = 0") && !said.contains('\x1b') && said.ends_with("exit\n"),
            "{said:?}"
        );
        let link = log_of(dir.path(), "group/link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert_eq!(read(&link, MAX_LOG), None);
        assert_eq!(read(&place, 4).unwrap(), "0: (\n");
        // Whatever a test is called, it names nothing outside.
        assert_eq!(log_of(dir.path(), "../../x").parent(), place.parent());
    }
}
