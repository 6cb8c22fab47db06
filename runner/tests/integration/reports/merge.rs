//! What `kvet report --merge` makes of runs, and how it exits.

use kvet::event::{CellEnd, RunReport};

use super::*;

/// Parts of one run, each in a folder: of these kernels, with what came of each.
fn parts(planned: &[&str], parts: &[&[(&str, Outcome)]]) -> Vec<tempfile::TempDir> {
    let planned: Vec<_> = planned.iter().map(|kernel| cell(kernel, &[]).id).collect();
    let stored = |part: &&[(&str, Outcome)]| {
        let dir = tempfile::tempdir().unwrap();
        let cells = part.iter().map(|(kernel, outcome)| cell(kernel, &[("t", *outcome, "why")])).collect();
        let run = RunReport { planned: planned.clone(), ..crate::fixtures::run(cells) };
        store_report(dir.path(), &run).unwrap();
        dir
    };
    parts.iter().map(stored).collect()
}

fn merge(parts: &[tempfile::TempDir]) -> Ended {
    let paths: Vec<&str> = parts.iter().map(|part| part.path().to_str().unwrap()).collect();
    report(&[&["--merge"], &paths[..]].concat())
}

#[test]
fn merged_parts_exit_as_the_whole() {
    let kernels = ["debian:6.1", "debian:7.2"];
    let green = parts(&kernels, &[&[("debian:6.1", Pass)], &[("debian:7.2", Pass)]]);
    merge(&green).code(0);
    let red = parts(&kernels, &[&[("debian:6.1", Pass)], &[("debian:7.2", Fail)]]);
    merge(&red).code(1);
    // A part that is not there is not green.
    let ended = merge(&green[..1]).code(3);
    assert!(ended.stdout.contains("none of the merged runs has this cell"), "{}", ended.stdout);
}

#[test]
fn two_results_of_a_cell_are_refused() {
    for (one, other) in [(Fail, Pass), (Pass, Fail), (Pass, Pass)] {
        let runs = parts(&[KERNEL], &[&[(KERNEL, one)], &[(KERNEL, other)]]);
        let ended = merge(&runs).code(2);
        assert!(ended.stderr.contains("is in two of the runs: "), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_report_that_was_changed_is_not_merged() {
    let parts = parts(&["debian:6.12"], &[&[("debian:6.12", Fail)]]);
    let path = parts[0].path().join("report.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"fail\""), "{text}");
    fs::write(&path, text.replace("\"fail\"", "\"xfail\"")).unwrap();
    merge(&parts).code(2).refused("counts other results of debian:6.12");
}

#[test]
fn what_cannot_be_read_is_not_merged() {
    let kernels = ["debian:6.1", "debian:7.2"];
    let runs = parts(&kernels, &[&[("debian:6.1", Pass)], &[("debian:7.2", Pass)]]);
    let file = runs[1].path().join("report.json");
    let whole = fs::read_to_string(&file).unwrap();
    for (text, said) in [
        (whole[..whole.len() / 2].to_owned(), "report.json ends in the middle"),
        (whole.replace("\"pass\"", "\"blessed\""), "unknown variant `blessed`"),
        (String::new(), "report.json ends in the middle"),
    ] {
        fs::write(&file, text).unwrap();
        let ended = merge(&runs).code(2);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    fs::remove_file(&file).unwrap();
    assert!(merge(&runs).code(2).stderr.contains("report.json"));
}

#[test]
fn nothing_ran_stays_what_it_was() {
    for (must_run, code) in [(false, 0), (true, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let skipped = CellReport { must_run, ..cell(KERNEL, &[("t", Skip, "needs 6.12")]) };
        store_report(dir.path(), &crate::fixtures::run(vec![skipped])).unwrap();
        let ended = merge(&[dir]).code(code);
        assert!(ended.stdout.contains("1 skip · nothing ran"), "{}", ended.stdout);
        assert_eq!(ended.stdout.contains("kvet/nothing-ran"), must_run, "{}", ended.stdout);
    }
}

#[test]
fn an_interrupted_part_is_no_verdict() {
    let runs = parts(&[KERNEL], &[&[(KERNEL, Pass)]]);
    let mut run: RunReport =
        serde_json::from_slice(&fs::read(runs[0].path().join("report.json")).unwrap()).unwrap();
    run.cells[0].end = CellEnd::Interrupted;
    fs::write(runs[0].path().join("report.json"), serde_json::to_vec(&run).unwrap()).unwrap();
    merge(&runs).code(130);
}
