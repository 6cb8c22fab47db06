//! What `-t` and expectations select, where the program is not told, or has nothing to run.

use kvet::event::Outcome;

use super::matrix::outcomes;
use crate::support::Kvet;

const MANIFEST: &str = "name: mine\ntitle: t\nprogram: ./t.sh\nformat: ktap\n";

/// Two tests; the second one provokes a warning.
const SCRIPT: &str = "#!/bin/sh
printf 'KTAP version 1\\n1..2\\nok 1 quiet\\n#  RUN           racy ...\\n'
sleep 0.1
echo '<4>WARNING: CPU: 0 PID: 1 at kernel/fake.c:1 racy+0x1/0x2' > /dev/kmsg
sleep 0.1
echo 'ok 2 racy'
";

fn script(call: Kvet) -> Kvet {
    call.file("suite.yaml", MANIFEST).file("t.sh", SCRIPT).executable("t.sh").args(["-s", "./suite.yaml"])
}

#[test]
fn a_splat_is_not_blamed_on_the_test_that_was_asked_for() {
    let call = script(Kvet::run_on("7.2", "x86_64"));
    let ended = call.args(["-t", "quiet", "-t", "lost", "-t", "z*"]).end().code(1);
    let cell = ended.cell();
    let cases: Vec<(&str, Outcome)> =
        cell.cases.iter().map(|case| (case.name.as_str(), case.outcome)).collect();
    assert_eq!(cases, [("quiet", Outcome::Pass), ("lost", Outcome::Error)]);
    assert_eq!(cell.cases[1].message, "asked for with -t, but the suite printed no result for it");
    let [splat] = &cell.splats[..] else { panic!("{:?}", cell.splats) };
    assert_eq!((splat.during.as_deref(), splat.test.as_deref()), (Some("racy"), None));
    assert!(
        cell.notes.iter().any(|note| note == "-t 'z*' matches no test of this suite"),
        "{:?}",
        cell.notes
    );
    // Whoever reads one of the reports sees it as well.
    let junit = std::fs::read_to_string(ended.path("results/latest/junit.xml")).unwrap();
    assert!(junit.contains("racy+0x1/0x2"), "{junit}");
    assert!(ended.stdout.contains("racy"), "{}", ended.stdout);
}

#[test]
fn a_selection_of_which_nothing_is_left_boots_nothing() {
    let skip = "- {test: 'faults/two', as: skip, reason: it eats the disk}\n";
    let call = Kvet::run_on("7.2", "x86_64").fault_suite("faults", &["one=pass", "two=fail"]);
    let call = call.append("faults.yaml", "expectations: e.yaml\n").file("e.yaml", skip);
    let ended = call.args(["-s", "./faults.yaml", "-t", "faults/two"]).without_guest().end().code(1);
    let cell = ended.cell();
    assert_eq!(outcomes(&cell), [Outcome::Skip]);
    assert_eq!(cell.cases[0].message, "it eats the disk");
    assert!(
        cell.notes.iter().any(|note| note.starts_with("nothing was booted: every test")),
        "{:?}",
        cell.notes
    );
    assert!(!ended.cell_dir().join("qemu.argv").exists());
    assert!(ended.stdout.contains("nothing ran"), "{}", ended.stdout);
}
