//! A run in one number.

use super::unblamed;
use crate::error::exit;
use crate::event::{CellEnd, CellReport, Counts, Outcome, RunReport};

/// The exit code of a run, from `DESIGN.md`'s table. The worst of its cells decides, in this order:
///
/// 1. interrupted ([`exit::INTERRUPTED`]): whatever else there is, it is not all there is;
/// 2. the caller's mistake ([`exit::USAGE`]): to be corrected before anything else is worth looking at;
/// 3. the host's trouble ([`exit::HOST`]): a cell has no verdict, so a failure beside it does not tell the whole;
/// 4. a failure of a test or of the kernel under test ([`exit::FAILED`]), which includes a splat that no test was
///    blamed for and no entry of the allow-list covers;
/// 5. passed or skipped with a reason ([`exit::PASSED`]).
///
/// A run of no cells, and a cell that completed without a single test, have not passed. A cell whose tests were all skipped
/// has, unless it was to run some ([`CellReport::must_run`]).
pub fn verdict(run: &RunReport) -> u8 {
    worst_code(run.cells.iter().map(cell_code)).unwrap_or(exit::USAGE)
}

/// The worst of several exit codes; none of none. One that is not ours is worse than any.
pub(super) fn worst_code(codes: impl IntoIterator<Item = u8>) -> Option<u8> {
    let rank = |code: &u8| match *code {
        exit::PASSED => 0,
        exit::FAILED => 1,
        exit::HOST => 2,
        exit::USAGE => 3,
        exit::INTERRUPTED => 4,
        _ => 5,
    };
    codes.into_iter().max_by_key(rank)
}

/// The exit code of a run of this cell alone.
pub fn cell_code(cell: &CellReport) -> u8 {
    match cell.end {
        CellEnd::Interrupted => exit::INTERRUPTED,
        CellEnd::Usage { .. } => exit::USAGE,
        CellEnd::Infra { .. } => exit::HOST,
        // It was not begun because another one failed, which then decides.
        CellEnd::Crashed { .. }
        | CellEnd::TimedOut { .. }
        | CellEnd::Unbootable { .. }
        | CellEnd::NotStarted { .. } => exit::FAILED,
        CellEnd::Completed if cell.cases.is_empty() => exit::FAILED,
        CellEnd::Completed if cell.cases.iter().any(|c| c.outcome.is_bad()) => exit::FAILED,
        CellEnd::Completed if unblamed(cell).next().is_some() => exit::FAILED,
        CellEnd::Completed if cell.must_run && nothing_ran(cell) => exit::FAILED,
        CellEnd::Completed => exit::PASSED,
    }
}

/// Whether a cell came to its end and none of its tests ran: what it says about the kernel is nothing.
pub fn nothing_ran(cell: &CellReport) -> bool {
    cell.end == CellEnd::Completed && Counts::of(&cell.cases).ran() == 0
}

/// What `git bisect run` is told: 0 good, 1 bad, 125 cannot be judged, 128 stop.
///
/// A cell is bad if a test failed. A crash, a hang and a splat are bad if `crash_is_bad`, that is, if the crash is what
/// is sought; else the revision cannot be judged, because an unrelated crash would lead the
/// bisection astray. Neither can one that does not boot, or on which every test was skipped. Trouble of the host, a
/// caller's mistake and an interrupt stop the bisection. Of several cells, stop goes before bad, bad before
/// cannot-be-judged, and that before good.
pub fn bisect_code(run: &RunReport, crash_is_bad: bool) -> u8 {
    let worst = |code: u8| match code {
        exit::BISECT_ABORT => 3,
        exit::FAILED => 2,
        exit::BISECT_SKIP => 1,
        _ => 0,
    };
    run.cells
        .iter()
        .map(|c| bisect_cell(c, crash_is_bad))
        .max_by_key(|c| worst(*c))
        .unwrap_or(exit::BISECT_ABORT)
}

fn bisect_cell(cell: &CellReport, crash_is_bad: bool) -> u8 {
    let crash = if crash_is_bad { exit::FAILED } else { exit::BISECT_SKIP };
    let has = |outcome: Outcome| cell.cases.iter().any(|c| c.outcome == outcome);
    match cell.end {
        CellEnd::Interrupted | CellEnd::Usage { .. } | CellEnd::Infra { .. } => exit::BISECT_ABORT,
        CellEnd::Unbootable { .. } | CellEnd::NotStarted { .. } => exit::BISECT_SKIP,
        _ if has(Outcome::Fail) => exit::FAILED,
        CellEnd::Crashed { .. } | CellEnd::TimedOut { .. } => crash,
        CellEnd::Completed if has(Outcome::Error) || has(Outcome::NotRun) => crash,
        CellEnd::Completed if unblamed(cell).next().is_some() => crash,
        CellEnd::Completed if has(Outcome::Pass) || has(Outcome::Xfail) => exit::PASSED,
        CellEnd::Completed => exit::BISECT_SKIP,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn cell(end: CellEnd, outcomes: &[Outcome]) -> CellReport {
        let cases = outcomes.iter().map(|o| sample::case("t", *o, 1, "", "")).collect();
        CellReport { end, cases, splats: Vec::new(), ..sample::run().cells.remove(0) }
    }

    fn run(cells: Vec<CellReport>) -> RunReport {
        RunReport { cells, ..sample::run() }
    }

    fn text() -> String {
        "x".into()
    }

    #[test]
    fn one_cell() {
        use Outcome::*;
        let crashed = || CellEnd::Crashed { reason: text() };
        let late = || CellEnd::TimedOut { reason: text() };
        let unbootable = || CellEnd::Unbootable { reason: text(), detail: text() };
        // The end, the outcomes, the exit code, bisect's code, bisect's code if the crash is sought.
        let table: Vec<(CellEnd, &[Outcome], u8, u8, u8)> = vec![
            (CellEnd::Completed, &[Pass, Skip], 0, 0, 0),
            (CellEnd::Completed, &[Pass, Xfail], 0, 0, 0),
            (CellEnd::Completed, &[Skip, Skip], 0, 125, 125),
            (CellEnd::Completed, &[], 1, 125, 125),
            (CellEnd::Completed, &[Pass, Fail], 1, 1, 1),
            (CellEnd::Completed, &[Pass, Error], 1, 125, 1),
            (CellEnd::Completed, &[Pass, NotRun], 1, 125, 1),
            (crashed(), &[Pass, Error, NotRun], 1, 125, 1),
            (crashed(), &[Fail, Error], 1, 1, 1),
            (crashed(), &[Pass], 1, 125, 1),
            (late(), &[Pass], 1, 125, 1),
            (late(), &[Fail, Error], 1, 1, 1),
            (unbootable(), &[], 1, 125, 125),
            (CellEnd::Infra { reason: text() }, &[Fail], 3, 128, 128),
            (CellEnd::Usage { reason: text() }, &[], 2, 128, 128),
            (CellEnd::Interrupted, &[Fail], 130, 128, 128),
        ];
        for (end, outcomes, code, bisect, sought) in table {
            let story = format!("{end:?} {outcomes:?}");
            let run = run(vec![cell(end, outcomes)]);
            assert_eq!(verdict(&run), code, "{story}");
            assert_eq!(bisect_code(&run, false), bisect, "{story}");
            assert_eq!(bisect_code(&run, true), sought, "{story}");
        }
    }

    #[test]
    fn nothing_ran_fails_only_where_it_must_not() {
        use Outcome::*;
        for (outcomes, idle) in [(&[Skip, Skip][..], true), (&[Skip, Xfail], false), (&[Skip, Pass], false)] {
            let mut c = cell(CellEnd::Completed, outcomes);
            assert_eq!((nothing_ran(&c), verdict(&run(vec![c.clone()]))), (idle, 0));
            c.must_run = true;
            assert_eq!(verdict(&run(vec![c.clone()])), u8::from(idle));
            assert_eq!(bisect_code(&run(vec![c]), true), if idle { 125 } else { 0 });
        }
    }

    #[test]
    fn a_splat_without_a_test_fails_the_run_unless_it_is_allowed() {
        let mut c = cell(CellEnd::Completed, &[Outcome::Pass]);
        c.splats = sample::run().cells.remove(0).splats;
        assert_eq!(verdict(&run(vec![c.clone()])), 1);
        assert_eq!(bisect_code(&run(vec![c.clone()]), false), 125);
        assert_eq!(bisect_code(&run(vec![c.clone()]), true), 1);
        c.splats[0].allowed = Some(text());
        assert_eq!((verdict(&run(vec![c.clone()])), bisect_code(&run(vec![c]), true)), (0, 0));
    }

    #[test]
    fn the_worst_of_several_cells_decides() {
        let pass = || cell(CellEnd::Completed, &[Outcome::Pass]);
        let fail = || cell(CellEnd::Completed, &[Outcome::Fail]);
        let host = || cell(CellEnd::Infra { reason: text() }, &[]);
        let usage = || cell(CellEnd::Usage { reason: text() }, &[]);
        let stop = || cell(CellEnd::Interrupted, &[]);
        let boot = || cell(CellEnd::Unbootable { reason: text(), detail: text() }, &[]);
        let table: Vec<(Vec<CellReport>, u8, u8)> = vec![
            (vec![pass(), pass()], 0, 0),
            (vec![pass(), boot()], 1, 125),
            (vec![boot(), fail(), pass()], 1, 1),
            (vec![fail(), host()], 3, 128),
            (vec![host(), usage()], 2, 128),
            (vec![usage(), stop(), fail()], 130, 128),
            (vec![], 2, 128),
        ];
        for (cells, code, bisect) in table {
            let ends: Vec<_> = cells.iter().map(|c| c.end.clone()).collect();
            let run = run(cells);
            assert_eq!((verdict(&run), bisect_code(&run, false)), (code, bisect), "{ends:?}");
        }
    }
}
