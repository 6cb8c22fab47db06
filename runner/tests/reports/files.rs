//! Where a report is written.

use super::*;

#[test]
fn the_folder_of_a_report_is_made_and_one_that_cannot_be_is_the_callers_mistake() {
    let run = stored(vec![cell(KERNEL, &[("t", Pass, "")])]);
    let run = run.path().to_str().unwrap();
    let ended = report(&[run, "--format", "html", "-o", "new/er/x.html"]).code(0);
    assert!(ended.path("new/er/x.html").is_file());
    let ended = report(&[run, "-o", "/dev/null/x.html"]).code(2);
    assert!(ended.stderr.contains("cannot make /dev/null for /dev/null/x.html"), "{}", ended.stderr);
    let ended = report(&[run, "-o", "/proc/x.html"]).code(3);
    assert!(ended.stderr.contains("/proc/x.html") && !ended.stderr.contains(".kvet-"), "{}", ended.stderr);
}
