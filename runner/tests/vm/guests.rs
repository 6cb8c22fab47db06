//! What only the tests with real guests have of a call of kvet: suites of the fault program, and checks of what a run leaves.

use std::fs;
use std::path::{Path, PathBuf};

use kvet::event::{CellEnd, CellReport, Outcome};

use nix::unistd::Pid;

use crate::support::{Ended, Kvet, Running, first_cell, have, qemus, wait};

impl Kvet {
    /// `kvet run -k KERNEL -a ARCH`; both are in the cache afterwards.
    pub fn run_on(kernel: &str, arch: &str) -> Self {
        have(kernel, arch);
        Self::new(["run", "-k", kernel, "-a", arch])
    }

    /// A suite of the program kvet-faults that prints as test_progs does: `test/subtest=action`. Its expectations are in
    /// expected.yaml.
    pub fn test_progs(self, steps: &[&str]) -> Self {
        let suite = format!(
            "name: faults\ntitle: Trouble\nprogram: '{{guest}}/faults/kvet-faults'\n\
             args: [--test-progs, {}]\nformat: test_progs\nexpectations: expected.yaml\nmemory: 256M\n",
            steps.join(", ")
        );
        self.file("suite.yaml", &suite).file("expected.yaml", "[]\n").args(["--suite", "./suite.yaml"])
    }

    /// A suite of the program kvet-faults, with these tests: `name=action`. They are faults/name.
    pub fn faults(self, steps: &[&str]) -> Self {
        self.fault_suite("faults", steps).args(["--suite", "./faults.yaml"])
    }

    /// Adds to a file of the folder.
    pub fn append(self, name: &str, text: &str) -> Self {
        let before = fs::read_to_string(self.dir.path().join(name)).unwrap();
        self.file(name, &(before + text))
    }
}

impl Running {
    /// Waits until a file of the only cell holds a text.
    pub fn wait_for(&self, file: &str, text: &str) {
        wait(&format!("'{text}' in {file}"), || {
            let cell = first_cell(&self.path("results/latest"));
            let found = cell.and_then(|cell| fs::read_to_string(cell.join(file)).ok());
            found.is_some_and(|found| found.contains(text))
        });
    }

    /// The only QEMU of it.
    pub fn qemu(&self) -> Pid {
        let found = qemus(&self.path(""));
        assert_eq!(found.len(), 1, "one guest runs");
        Pid::from_raw(found[0])
    }
}

impl Ended {
    /// `name outcome` of the cases, without `faults/`.
    pub fn cases(&self) -> Vec<String> {
        let short = |name: &str| name.trim_start_matches("faults/").to_owned();
        self.cell().cases.iter().map(|c| format!("{} {:?}", short(&c.name), c.outcome)).collect()
    }

    /// The message and detail of a case.
    pub fn case(&self, name: &str) -> (String, String) {
        let cases = self.cell().cases;
        let case = cases.into_iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no case {name}"));
        (case.message, case.detail)
    }

    /// Checks everything that a completed cell leaves behind.
    pub fn check_files(&self) {
        let cell = self.cell();
        assert_eq!(cell.end, CellEnd::Completed);
        assert!(self.cell_file("console.log").contains("Linux version"));
        assert!(self.cell_file("qemu.argv").contains("-nodefaults"));
        assert!(self.cell_file("stdout").contains("KTAP version 1"));
        let wire = self.cell_file("wire.jsonl");
        let messages: Vec<serde_json::Value> =
            wire.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(messages[0]["from_guest"]["type"], "ready");
        let yaml: serde_yaml::Value = serde_yaml::from_str(&self.cell_file("run.yaml")).unwrap();
        let kernel = cell.kernel.as_ref().unwrap();
        assert_eq!(yaml["kernel"]["release"], kernel.release.as_str());
        assert_eq!(yaml["kernel"]["image_sha256"].as_str().map(str::len), Some(64));
        let passed = cell.cases.iter().filter(|c| c.outcome == Outcome::Pass).count() as u64;
        assert_eq!(yaml["counts"]["passed"].as_u64(), Some(passed));
        check_junit(&self.path("results/latest/junit.xml"), &cell);
    }
}

/// Parses a JUnit file strictly and compares it with the report of its only cell.
pub fn check_junit(path: &Path, cell: &CellReport) {
    let text = fs::read_to_string(path).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let named = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    let attribute = |name: &str| suite.attribute(name).unwrap_or("0").parse::<usize>().unwrap();
    assert_eq!(attribute("tests"), named("testcase"));
    assert_eq!(attribute("failures"), named("failure"));
    assert_eq!(attribute("errors"), named("error"));
    let count = |wanted: &[Outcome]| cell.cases.iter().filter(|c| wanted.contains(&c.outcome)).count();
    assert_eq!(named("failure"), count(&[Outcome::Fail]));
    // What an interrupt kept from running is no error of a test's.
    let interrupted = if cell.end == CellEnd::Interrupted { count(&[Outcome::NotRun]) } else { 0 };
    assert_eq!(named("skipped"), count(&[Outcome::Skip, Outcome::Xfail]) + interrupted);
    assert!(named("error") >= count(&[Outcome::Error, Outcome::NotRun]) - interrupted);
    assert!(named("testcase") >= cell.cases.len());
}

/// The fault program for guests of an architecture.
pub fn faults(arch: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("target/guests").join(arch).join("faults/kvet-faults");
    assert!(path.is_file(), "{} is missing: `make build` makes it", path.display());
    path.to_str().unwrap().to_owned()
}

/// The cache that kvet uses here.
pub fn cache() -> PathBuf {
    let home = || format!("{}/.cache/kvet", std::env::var("HOME").unwrap());
    std::env::var("KVET_CACHE").unwrap_or_else(|_| home()).into()
}
