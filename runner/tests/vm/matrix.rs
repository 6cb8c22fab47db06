//! `kvet matrix`: what goes wrong in one cell is no concern of the others.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kvet::event::{CellEnd, CellReport, Outcome, RunReport};
use nix::sys::signal::{Signal, kill};

use crate::kvet_command::{Ended, Kvet, Running, have};

/// A matrix of 7.2 and these suites, one guest at a time.
fn matrix(suites: &[(&str, &[&str])], args: &[&str]) -> Kvet {
    have("7.2", "x86_64");
    let mut call = Kvet::new(["matrix", "m.yaml"]).args(args);
    let mut text = "kernels: [debian:7.2]\narchs: [x86_64]\nsettings: {timeout: 5s}\nsuites:\n".to_owned();
    for (name, steps) in suites {
        text += &format!("  - ./{name}.yaml\n");
        call = call.fault_suite(name, steps);
    }
    call.file("m.yaml", &text)
}

fn cells(ended: &Ended) -> Vec<CellReport> {
    let text = fs::read_to_string(ended.path("results/latest/report.json")).unwrap();
    serde_json::from_str::<RunReport>(&text).unwrap().cells
}

fn outcomes(cell: &CellReport) -> Vec<Outcome> {
    cell.cases.iter().map(|case| case.outcome).collect()
}

/// Waits until a cell's job has said something.
fn wait_for(running: &Running, cell: &str, text: &str) {
    let path = running.path(&format!("results/latest/debian-7.2-x86_64-{cell}/stdout"));
    let patience = Instant::now() + Duration::from_secs(120);
    while !fs::read_to_string(&path).is_ok_and(|said| said.contains(text)) {
        assert!(Instant::now() < patience, "no '{text}' in {}", path.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

const GOOD: (&str, &[&str]) = ("good", &["one=pass", "two=pass"]);
const HANGS: (&str, &[&str]) = ("hangs", &["one=pass", "two=hang"]);

/// The same, of a name whose time nobody has recorded: what took long last time would be started first.
const STUCK: (&str, &[&str]) = ("stuck", HANGS.1);

#[test]
fn the_tests_of_every_cell_are_shuffled() {
    have("7.2", "x86_64");
    let run = |seed: &[&str]| {
        let args = ["matrix", "-k", "7.2", "-a", "x86_64", "-t", "crypto/*"];
        let ended = Kvet::new(args).args(seed).end().code(0);
        let names: Vec<String> = cells(&ended)[0].cases.iter().map(|case| case.name.clone()).collect();
        names
    };
    let (sorted, shuffled) = (run(&[]), run(&["--shuffle", "4711"]));
    assert!(sorted.is_sorted() && !shuffled.is_sorted(), "{shuffled:?}");
    let mut again = shuffled;
    again.sort();
    assert_eq!(again, sorted);
}

#[test]
fn an_order_is_for_cells_whose_suite_can_be_run_in_another() {
    let ended = matrix(&[GOOD], &["--shuffle", "1", "--dry-run"]).end().code(2);
    ended.refused("suite good has an order of its own");
}

#[test]
fn smoke_two_at_a_time() {
    have("6.1", "x86_64");
    have("7.2", "x86_64");
    let ended = Kvet::new(["matrix", "smoke", "-j", "2", "--junit", "j.xml"]).end().code(0);
    let cells = cells(&ended);
    assert_eq!(cells.len(), 2);
    assert!(cells.iter().all(|cell| cell.end == CellEnd::Completed && cell.counts.passed > 100));
    assert!(ended.path("j.xml").is_file() && ended.path("results/latest/report.html").is_file());
}

#[test]
fn a_crash_a_hang_and_a_failure_stop_nobody_and_are_no_flakes() {
    let suites = [("fails", &["one=pass", "two=fail"][..]), ("panics", &["one=panic"]), HANGS, GOOD];
    let ended = matrix(&suites, &["-j", "2", "--retries", "1"]).end().code(1);
    let cells = cells(&ended);
    assert_eq!(outcomes(&cells[0]), [Outcome::Pass, Outcome::Fail]);
    assert!(matches!(cells[1].end, CellEnd::Crashed { .. }), "{:?}", cells[1].end);
    assert_eq!(outcomes(&cells[1]), [Outcome::Error]);
    assert_eq!(outcomes(&cells[2]), [Outcome::Pass, Outcome::Error]);
    assert_eq!((&cells[3].end, outcomes(&cells[3])), (&CellEnd::Completed, vec![Outcome::Pass; 2]));
    assert!(cells.iter().all(|cell| cell.flaky.is_empty()));
    let again = cells[0].dir.join("retries/faults_two");
    assert!(fs::read_dir(&again).unwrap().count() > 0, "the failing test was run again");
    assert!(!cells[3].dir.join("retries").exists());
}

#[test]
fn a_killed_qemu_is_the_trouble_of_its_cell() {
    let running = matrix(&[HANGS, GOOD], &["-j", "1", "--timeout", "100s"]).start();
    wait_for(&running, "hangs", "one");
    kill(running.qemu(), Signal::SIGKILL).unwrap();
    let ended = running.end().code(3);
    let cells = cells(&ended);
    assert!(matches!(cells[0].end, CellEnd::Infra { .. }), "{:?}", cells[0].end);
    assert_eq!(outcomes(&cells[1]), [Outcome::Pass; 2]);
}

#[test]
fn what_had_finished_before_a_ctrl_c_is_reported() {
    let running = matrix(&[GOOD, STUCK, ("never", &["one=pass"])], &["-j", "1", "--timeout", "100s"]).start();
    wait_for(&running, "stuck", "one");
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    let cells = cells(&ended);
    assert_eq!(outcomes(&cells[0]), [Outcome::Pass; 2]);
    assert_eq!([&cells[1].end, &cells[2].end], [&CellEnd::Interrupted; 2]);
    let junit = fs::read_to_string(ended.path("results/latest/junit.xml")).unwrap();
    assert_eq!(junit.matches("<testsuite ").count(), 3);
    assert!(Path::new(&ended.path("results/latest/report.html")).is_file());
}
