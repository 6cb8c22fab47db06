//! What a report prints in the log of a CI job.

use super::*;

#[test]
fn what_a_guest_said_is_no_command_in_the_log_of_a_job() {
    let (hostile, hidden) = ("::add-mask::t", "a ##[endgroup]");
    let run = |outcome| {
        stored(vec![cell(KERNEL, &[(hostile, outcome, "::stop-commands::x"), (hidden, outcome, "")])])
    };
    let (before, after) = (run(Pass), run(Fail));
    let [before, after] = [&before, &after].map(|run| run.path().to_str().unwrap());
    for (args, code) in [(&["--diff", before, after][..], 1), (&[after], 0)] {
        let job = Kvet::new(["report"]).args(args).env("GITHUB_ACTIONS", Path::new("true"));
        let said = job.without_guest().end().code(code).stdout;
        assert!(said.contains("add-mask::t") && said.contains("endgroup"), "{said}");
        assert!(
            !said.lines().any(|line| line.trim_start().starts_with("::")) && !said.contains("##["),
            "{said}"
        );
        assert!(report(args).code(code).stdout.contains("##["), "elsewhere it is what it is");
    }
}
