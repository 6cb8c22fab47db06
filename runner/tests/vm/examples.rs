//! What users are told to copy: the suites and the matrix of `examples/`, and the suite of `docs/guide/write-a-suite.md`.

use std::fs;
use std::path::{Path, PathBuf};

use kvet::event::{Outcome, RunReport};

use crate::support::{Kvet, have};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn example(name: &str) -> String {
    top().join("examples").join(name).to_str().unwrap().to_owned()
}

#[test]
fn the_example_matrix_passes() {
    have("6.1", "x86_64");
    have("7.2", "x86_64");
    // The architecture of the file is the host's; these tests have the kernels of one.
    let text = fs::read_to_string(example("matrix.yaml")).unwrap() + "archs: [x86_64]\n";
    let text =
        text.replace("ktap-suite/", &example("ktap-suite/")).replace("exit-suite/", &example("exit-suite/"));
    let ended = Kvet::new(["matrix", "m.yaml"]).file("m.yaml", &text).end().code(0);
    let report = fs::read_to_string(ended.path("results/latest/report.json")).unwrap();
    let report: RunReport = serde_json::from_str(&report).unwrap();
    let counted: Vec<(usize, usize)> =
        report.cells.iter().map(|cell| (cell.counts.passed, cell.counts.skipped)).collect();
    let mut sorted = counted.clone();
    sorted.sort_unstable();
    // On 6.1 one test of the KTAP suite does not apply.
    assert_eq!(sorted, [(1, 0), (1, 0), (2, 1), (3, 0)], "{counted:?}");
    let written = report.cells.iter().filter(|cell| cell.dir.join("files/tun.txt").is_file()).count();
    assert_eq!(written, 2, "the other suite leaves a file");
}

#[test]
fn the_example_suite_runs_one_test() {
    let suite = example("ktap-suite/suite.yaml");
    let ended = Kvet::run_on("7.2", "x86_64").args(["--suite", &suite, "-t", "kernel/*"]).end().code(0);
    assert_eq!(ended.cases(), ["kernel/newer Pass"]);
}

/// The first block of a kind in a page.
fn block(page: &str, kind: &str) -> String {
    let (_, rest) = page.split_once(&format!("```{kind}\n")).expect("the block is there");
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_suite_of_the_guide_passes() {
    let page = fs::read_to_string(top().join("docs/guide/write-a-suite.md")).unwrap();
    let call = Kvet::run_on("7.2", "x86_64").args(["--suite", "./suite.yaml"]);
    let call = call.file("suite.yaml", &block(&page, "yaml")).file("tests.sh", &block(&page, "sh"));
    let ended = call.executable("tests.sh").end().code(0);
    assert_eq!(ended.cases(), ["btf Pass", "bpffs Pass"]);
    assert!(ended.cell().cases.iter().all(|case| case.outcome == Outcome::Pass));
}
