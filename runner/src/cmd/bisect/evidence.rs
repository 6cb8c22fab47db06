//! What the runs on both sides of an answer say differently.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::bisect::answer::{self, Answer, Evidence};
use crate::bisect::state::{State, Verdict};
use crate::cell::FILES;
use crate::event::CellReport;
use crate::parse::clean::LineSplitter;
use crate::report::store::{self, safe_name};

/// Of a log that a guest wrote, no more is read.
const MAX_LOG: u64 = 4 << 20;

/// Compares the runs of the last kernel before and of the first one.
pub fn evidence(state: &State, found: &Answer) -> Evidence {
    let run = |kernel: &str| -> Option<CellReport> {
        let step = state.of(kernel).filter(|step| step.verdict != Verdict::Skip)?;
        store::load(step.dirs.last()?.parent()?).ok()?.cells.into_iter().next()
    };
    let (Some(before), Some(after)) = (run(&found.before.kernel), run(&found.first.kernel)) else {
        return Evidence::default();
    };
    let Some(test) = state.symptom.as_ref().and_then(|s| s.names().into_iter().next()) else {
        return Evidence::default();
    };
    let case = |run: &CellReport| {
        let case = run.cases.iter().find(|case| case.name == test);
        case.map(|case| format!("{}\n{}", case.message, case.detail)).unwrap_or_default().trim().to_owned()
    };
    let console = |run: &CellReport| while_it_ran(&read(&run.dir.join("console.log")), &test);
    let verifier = |run: &CellReport| read(&log_of(&run.dir, &test));
    Evidence {
        before: case(&before),
        after: case(&after),
        console: answer::difference(&console(&before), &console(&after)),
        verifier: answer::difference(&verifier(&before), &verifier(&after)),
        test,
    }
}

/// Only what was said while the test ran: the boots of two kernels differ in everything.
fn while_it_ran(console: &str, test: &str) -> String {
    let begin = format!("kvet-test: RUN {test}");
    let from = console.lines().skip_while(|line| !line.ends_with(&begin)).skip(1);
    let is_over = |line: &str| line.contains("kvet-test: ") || line.contains("kvet-init: ");
    from.take_while(|line| !is_over(line)).map(|line| format!("{line}\n")).collect()
}

/// Where a suite keeps what the verifier said of a test (`logs` in its manifest). The test's name is the guest's.
fn log_of(cell: &Path, test: &str) -> PathBuf {
    cell.join(FILES).join("verifier").join(safe_name(&format!("{}.log", test.replace('/', "."))))
}

/// A file of a run, or nothing. A guest wrote it: it is bounded, cleaned, and no link is followed.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let Ok(file) = opened else { return String::new() };
    if !file.metadata().is_ok_and(|meta| meta.is_file())
        || file.take(MAX_LOG).read_to_end(&mut bytes).is_err()
    {
        return String::new();
    }
    let mut lines = LineSplitter::new(MAX_LINE);
    let mut text = String::new();
    for line in lines.push(&bytes).into_iter().chain(lines.finish()) {
        text += &line;
        text.push('\n');
    }
    text
}

/// A longer line of a log is cut.
const MAX_LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_console_only_the_tests_own_part_counts() {
        let console = "[ 1.0] kvet-test: RUN a/b2\nx\n[ 1.1] kvet-test: RUN a/b\ny\nz\n[ 1.2] kvet-test: RUN a/c\nw\n\
             [ 1.3] kvet-init: bye\n[ 1.4] reboot: Power down\n";
        assert_eq!(while_it_ran(console, "a/b"), "y\nz\n");
        assert_eq!(while_it_ran(console, "a/c"), "w\n");
        assert_eq!(while_it_ran(console, "a/none"), "");
    }

    #[test]
    fn a_log_is_a_plain_file_of_the_run_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = log_of(dir.path(), "group/test");
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        assert!(place.ends_with("files/verifier/group.test.log"));
        assert_eq!(read(&place), "");
        std::fs::write(&place, "0: (b7) r0 = 0\x1b[31m\n1: (95) exit").unwrap();
        let said = read(&place);
        assert!(
            said.starts_with("0: (b7) r0 = 0") && !said.contains('\x1b') && said.ends_with("exit\n"),
            "{said:?}"
        );
        let link = log_of(dir.path(), "group/link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert_eq!(read(&link), "");
        // Whatever a test is called, it names nothing outside.
        assert_eq!(log_of(dir.path(), "../../x").parent(), place.parent());
    }
}
