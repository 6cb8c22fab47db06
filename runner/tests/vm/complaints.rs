//! Complaints that users of other runners made in public, in real guests: what a kernel says where it is hard to see, and what
//! programs do at their end. One matrix has them all, one suite for each.

use kvet::event::{CellEnd, CellReport, Outcome};

use super::matrix::{cells, outcomes};
use crate::support::{Kvet, have};

/// A suite: its name, what its manifest has besides, and its script.
const SUITES: [(&str, &str, &str); 7] = [
    // Both run in `racy`'s time. Run again the test would be silent: a race that is lost once.
    (
        "retried",
        "tests: retried.tests\nselect: --test\n",
        "[ \"$1\" = --test ] && { printf 'KTAP version 1\\n1..1\\nok 1 racy\\n'; exit; }
         printf 'KTAP version 1\\n1..1\\n#  RUN           racy ...\\n'; sleep 0.2
         echo '<4>WARNING: CPU: 0 PID: 77 at net/demo/refs.c:41 demo_put+0x11/0x20' > /dev/kmsg
         sleep 0.2; echo 'not ok 1 racy'",
    ),
    (
        "intended",
        "allowed_splats:\n- {pattern: demo_put, reason: the test provokes it}\n",
        "printf 'KTAP version 1\\n1..1\\n'; sleep 0.2
         echo '<4>WARNING: CPU: 0 PID: 77 at net/demo/refs.c:41 demo_put+0x11/0x20' > /dev/kmsg
         sleep 0.2; echo 'ok 1 provokes'",
    ),
    (
        "unknown",
        "",
        "printf '<3>Call Trace:\\n' > /dev/kmsg; printf '<3> demo_dump+0x5d/0x80\\n' > /dev/kmsg
         sleep 0.2; printf 'KTAP version 1\\n1..1\\nok 1 a\\n'",
    ),
    // The console has an open line, so that the kernel's words do not begin one.
    (
        "glued",
        "",
        "printf 'progress: 40%%' > /dev/console; sleep 0.2
         echo '<3>BUG: sleeping function called from invalid context at kernel/demo/mutex.c:58' > /dev/kmsg
         sleep 0.2; echo > /dev/console; printf 'KTAP version 1\\n1..1\\nok 1 a\\n'",
    ),
    ("banner", "", "cat /proc/version > /dev/kmsg; sleep 0.2; printf 'KTAP version 1\\n1..1\\nok 1 a\\n'"),
    (
        "signal",
        "",
        "for s in ABRT SEGV BUS ILL FPE; do kill -$s 1; done; sleep 0.2
         printf 'KTAP version 1\\n1..1\\nok 1 a\\n'",
    ),
    // The last result is on its way when the program ends.
    ("late", "", "printf 'KTAP version 1\\n1..2\\nok 1 early\\n'; (sleep 2; echo 'not ok 2 late') & exit 0"),
];

fn matrix() -> Vec<CellReport> {
    have("7.2", "x86_64");
    let mut call =
        Kvet::new(["matrix", "m.yaml", "-j", "2", "--retries", "1"]).file("retried.tests", "racy\n");
    let mut matrix = "kernels: [debian:7.2]\narchs: [x86_64]\nsuites:\n".to_owned();
    for (name, more, script) in SUITES {
        matrix += &format!("  - ./{name}.yaml\n");
        let manifest =
            format!("name: {name}\ntitle: t\nprogram: ./{name}.sh\nformat: ktap\nmemory: 256M\n{more}");
        let file = format!("{name}.sh");
        call = call.file(&format!("{name}.yaml"), &manifest);
        call = call.file(&file, &format!("#!/bin/sh\n{script}\n")).executable(&file);
    }
    let ended = call.file("m.yaml", &matrix).end().code(1);
    assert!(
        !ended.path("results/latest/debian-7.2-x86_64-retried/retries").exists(),
        "a splat is not retried"
    );
    cells(&ended)
}

#[test]
fn complaints_of_users_get_the_right_verdict() {
    use Outcome::{Error, Fail, Pass};
    let cells = matrix();
    let cell = |name: &str| cells.iter().find(|cell| cell.id.suite == name).unwrap();
    let right: [(&str, &[Outcome]); 7] = [
        ("retried", &[Error]),
        ("intended", &[Pass]),
        ("unknown", &[Pass]),
        ("glued", &[Pass]),
        ("banner", &[Pass]),
        ("signal", &[Pass]),
        ("late", &[Pass, Fail]),
    ];
    for (name, right) in right {
        let cell = cell(name);
        assert_eq!((&cell.end, &outcomes(cell)[..]), (&CellEnd::Completed, right), "{name}: {cell:?}");
    }
    let [splat] = &cell("retried").splats[..] else { panic!("{:?}", cell("retried")) };
    assert_eq!(splat.test.as_deref(), Some("racy"));
    let [splat] = &cell("intended").splats[..] else { panic!("{:?}", cell("intended")) };
    assert_eq!(splat.allowed.as_deref(), Some("the test provokes it"));
    let unknown = &cell("unknown").notes;
    assert!(unknown.iter().any(|note| note.contains("that kvet has no kind for")), "{unknown:?}");
    // Nothing says when the only test of it began: the complaint is nobody's, and a failure of the cell.
    let [splat] = &cell("glued").splats[..] else { panic!("{:?}", cell("glued")) };
    assert_eq!((splat.kind.as_str(), &splat.test), ("atomic_sleep", &None));
    assert_eq!(kvet::report::cell_code(cell("glued")), 1);
}
