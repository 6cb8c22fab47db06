//! The files of an answer.

use std::path::Path;
use std::time::Duration;

use super::evidence;
use crate::bisect::answer::{self, Answer, Evidence};
use crate::bisect::state::State;
use crate::error::Result;
use crate::event::{CellReport, RunReport};
use crate::report::store;
use kvet_host::fs::write_atomic;

/// Writes everything that is written of an answer. What an earlier kvet has left of it is replaced: it may have been killed
/// between two files.
///
/// # Errors
/// The host's: disk full.
pub fn write(folder: &Path, state: &State, found: &Answer, evidence: &Evidence) -> Result<()> {
    write_atomic(&folder.join("answer.md"), answer::markdown(state, found, evidence).as_bytes())?;
    write_atomic(&folder.join("answer.json"), &answer::json(state, evidence)?)?;
    write_atomic(&folder.join("log"), state.log().as_bytes())?;
    let cells = cells(state);
    if cells.is_empty() { Ok(()) } else { store::write_reports(folder, &run_report(folder, state, cells)) }
}

/// The telling run of each step of all searches, as it was stored.
fn cells(state: &State) -> Vec<CellReport> {
    let mut cells: Vec<CellReport> = Vec::new();
    for step in state.levels().flat_map(|level| &level.steps).filter(|step| step.runs > 0) {
        let run = evidence::telling(step).ok().flatten();
        for cell in run.into_iter().flat_map(|run| run.cells) {
            if !cells.iter().any(|known| known.id == cell.id) {
                cells.push(cell);
            }
        }
    }
    cells
}

fn run_report(folder: &Path, state: &State, cells: Vec<CellReport>) -> RunReport {
    let (before, steps) = state.time();
    let mut report = RunReport {
        run_id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        dir: folder.to_owned(),
        command: state.command.clone(),
        kvet: env!("CARGO_PKG_VERSION").to_owned(),
        planned: cells.iter().map(|cell| cell.id.clone()).collect(),
        cells,
        wall: Duration::from_secs_f64(before.sum() + steps.sum()),
        exit_code: 0,
    };
    report.exit_code = crate::report::verdict(&report);
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bisect::answer::Compared;
    use crate::bisect::state::replay;
    use crate::bisect::{Find, Subject};
    use crate::event::Outcome;
    use crate::report::table::sample::{self, cell};

    /// One search whose every step has a run that was stored.
    fn level(steps: &Path, log: &str) -> (State, Answer) {
        let mut state = State::new(vec!["bisect".into()], Find::Bug, None, 1);
        state.steps = replay(log, "log").unwrap();
        for step in &mut state.steps {
            let dir = steps.join(store::safe_name(&step.kernel));
            let run = CellReport {
                dir: dir.join("cell"),
                ..cell(&step.kernel, "7.2", &[("t", Outcome::Pass, "")])
            };
            (step.runs, step.dirs) = (1, vec![run.dir.clone()]);
            store::store_report(&dir, &RunReport { cells: vec![run], ..sample::run() }).unwrap();
        }
        let subject = |i: usize| Subject { kernel: state.steps[i].kernel.clone(), shown: "k".into() };
        let answer = Answer { first: subject(1), before: subject(0), doubtful: Vec::new(), commit: None };
        state.answer = Some(answer.clone());
        (state, answer)
    }

    #[test]
    fn whatever_an_earlier_kvet_left_everything_is_written_of_both_searches() {
        let dir = tempfile::tempdir().unwrap();
        let (releases, _) = level(&dir.path().join("steps"), "good debian:7.2.6\nbad debian:7.2.9\n");
        let (commits, answer) =
            level(&dir.path().join("steps"), "good git:/l@1\nbad git:/l@2\nbad git:/l@3\n");
        let state = State { releases: Some(Box::new(releases)), ..commits };
        let evidence = Evidence {
            reproduce: Vec::new(),
            test: String::new(),
            before: String::new(),
            after: String::new(),
            console: Compared::No("x".into()),
            verifier: Compared::No("x".into()),
        };
        let files = ["answer.md", "answer.json", "log", "report.json", "junit.xml", "report.html"];
        let written = || {
            write(dir.path(), &state, &answer, &evidence).unwrap();
            files.map(|name| std::fs::read_to_string(dir.path().join(name)).unwrap())
        };
        let all = written();
        // Killed between any two of them, with the others of an older kvet.
        for (name, whole) in files.iter().zip(&all) {
            std::fs::remove_file(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join("report.html"), "old").unwrap();
            let again = written();
            assert!(again.contains(whole) && again == all, "{name}");
        }
        let report = store::load(dir.path()).unwrap();
        let kernels: Vec<&str> = report.cells.iter().map(|cell| cell.id.kernel.as_str()).collect();
        assert_eq!(kernels, ["debian:7.2.6", "debian:7.2.9", "git:/l@1", "git:/l@2", "git:/l@3"]);
        for kernel in kernels {
            assert!(
                all[4].contains(kernel) && all[5].contains(kernel),
                "{kernel} in junit.xml and report.html"
            );
        }
    }
}
