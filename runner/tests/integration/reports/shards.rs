//! Shards of a matrix, and the jobs of CI systems that run them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use kvet::event::{Phase, PhaseTime, RunReport};

use super::*;

/// Kernels and how long each took; of the last one nothing is known.
const TIMES: [(&str, u64); 8] = [
    ("debian:5.10", 50),
    ("debian:6.1", 40),
    ("debian:6.12", 30),
    ("debian:6.16", 20),
    ("debian:6.17", 10),
    ("debian:6.18", 9),
    ("debian:7.2.6", 8),
    ("debian:7.2", 7),
];
const UNKNOWN: &str = "debian:7.3";

/// A run in which each of them took so long.
fn recorded() -> tempfile::TempDir {
    let cells = TIMES.map(|(kernel, seconds)| {
        let wall = Duration::from_secs(seconds);
        // How long the download took is no matter for another run.
        let fetch = PhaseTime { phase: Phase::Fetch, wall: Duration::from_secs(1000 - seconds) };
        CellReport {
            times: vec![fetch, PhaseTime { phase: Phase::Tests, wall }],
            ..cell(kernel, &[("t", Pass, "")])
        }
    });
    stored(cells.to_vec())
}

/// `kvet matrix` on another machine: with a cache of its own, in which other times are recorded.
fn matrix(machine: u64, args: &[&str]) -> Ended {
    let cache = tempfile::tempdir().unwrap();
    let id = |kernel: &str| format!("{kernel} x86_64 {}", crate::fixtures::SUITE);
    let times: BTreeMap<String, u64> =
        TIMES.iter().map(|(kernel, s)| (id(kernel), s * machine % 37)).collect();
    fs::write(cache.path().join("times.json"), serde_json::to_vec(&times).unwrap()).unwrap();
    let kernels: Vec<&str> = TIMES.iter().map(|(kernel, _)| *kernel).chain([UNKNOWN]).collect();
    let text =
        format!("kernels: [{}]\narchs: [x86_64]\nsuites: [{}]\n", kernels.join(", "), crate::fixtures::SUITE);
    let kvet =
        Kvet::new(["matrix", "m.yaml"]).args(args).file("m.yaml", &text).env("KVET_CACHE", cache.path());
    kvet.without_guest().end().code(0)
}

/// The kernels that a dry run lists.
pub fn kernels(listing: &str) -> Vec<String> {
    let cells = listing.lines().filter(|line| line.contains("  x86_64  "));
    cells.map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

fn shard(machine: u64, shard: &str, times: &Path) -> Vec<String> {
    let times = times.to_str().unwrap();
    kernels(&matrix(machine, &["--shard", shard, "--times", times, "--dry-run"]).stdout)
}

/// Each kernel is in one of the parts, and no other is.
#[track_caller]
fn are_the_whole(parts: &[Vec<String>]) {
    let mut all = parts.concat();
    all.sort();
    let mut whole = kernels(&matrix(1, &["--dry-run"]).stdout);
    assert_eq!(whole.len(), TIMES.len() + 1);
    whole.sort();
    assert_eq!(all, whole);
}

#[test]
fn shards_are_the_same_on_every_machine_and_each_has_as_much_to_do() {
    let run = recorded();
    let names = ["1/3", "2/3", "3/3"];
    let parts = names.map(|name| shard(1, name, run.path()));
    assert_eq!(
        parts,
        names.map(|name| shard(5, name, run.path())),
        "what this machine has seen is no matter"
    );
    are_the_whole(&parts);
    let known: BTreeMap<&str, f64> =
        TIMES.iter().map(|(kernel, seconds)| (*kernel, *seconds as f64)).collect();
    let average = known.values().sum::<f64>() / known.len() as f64;
    let load =
        |part: &Vec<String>| part.iter().map(|k| known.get(k.as_str()).copied().unwrap_or(average)).sum();
    let loads: Vec<f64> = parts.iter().map(load).collect();
    let mean = loads.iter().sum::<f64>() / 3.0;
    // In the order of the file the first of three would have 1.2 times the mean.
    assert!(loads.iter().all(|load| *load < 1.1 * mean), "{loads:?}");
    // Without times each has as many cells.
    let plain = names.map(|name| kernels(&matrix(5, &["--shard", name, "--dry-run"]).stdout));
    are_the_whole(&plain);
    assert_eq!(plain.each_ref().map(Vec::len), [3; 3]);
    assert_ne!(plain, parts);
}

#[test]
fn the_jobs_for_github_are_the_whole_and_each_is_told_what_it_runs() {
    let run = recorded();
    let times = run.path().to_str().unwrap();
    for shards in [1, 3, 9] {
        let args = ["--emit", "github", "--shards", &shards.to_string(), "--times", times];
        let ended = matrix(7, &args);
        assert_eq!(ended.stdout.lines().count(), 1, "an output of a step is one line");
        let strategy: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let jobs = strategy["include"].as_array().unwrap();
        assert_eq!(jobs.len(), shards);
        let parts: Vec<Vec<String>> = jobs
            .iter()
            .map(|job| {
                let part = shard(3, job["shard"].as_str().unwrap(), run.path());
                let said: BTreeSet<&str> = job["cells"].as_str().unwrap().split(", ").collect();
                let is = part.iter().map(|kernel| format!("{kernel} x86_64 {}", crate::fixtures::SUITE));
                assert_eq!(said.iter().map(|cell| (*cell).to_owned()).collect::<BTreeSet<_>>(), is.collect());
                part
            })
            .collect();
        are_the_whole(&parts);
    }
    let each = matrix(1, &["--emit", "github"]).stdout;
    let each: serde_json::Value = serde_json::from_str(&each).unwrap();
    assert_eq!(each["include"].as_array().map(Vec::len), Some(TIMES.len() + 1), "a job for each cell");
}

#[test]
fn more_jobs_than_a_system_takes_are_refused() {
    let kernels: Vec<String> = (1..=256).map(|number| format!("debian:6.{number}")).collect();
    let text = format!("kernels: [{}]\narchs: [x86_64, arm64]\n", kernels.join(", "));
    for (system, shards, most) in [("github", "", 256), ("gitlab", "", 200), ("gitlab", "--shards=201", 200)]
    {
        let args =
            ["matrix", "m.yaml", "--emit", system].into_iter().chain((!shards.is_empty()).then_some(shards));
        let ended = Kvet::new(args).file("m.yaml", &text).without_guest().end().code(2);
        ended.refused(&format!(" takes, which is {most}"));
        assert!(ended.stderr.contains(&format!("hint: --shards {most}, or less")), "{}", ended.stderr);
    }
}

/// A folder in which the kvet under test is called so.
fn bin() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let kvet: PathBuf =
        std::env::var_os("KVET_TEST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_kvet").into(), PathBuf::from);
    symlink(kvet.canonicalize().unwrap(), dir.path().join("kvet")).unwrap();
    dir
}

#[test]
fn the_jobs_for_gitlab_are_the_whole_when_their_script_is_run() {
    let run = recorded();
    let args =
        ["--emit", "gitlab", "--shards", "3", "--times", run.path().to_str().unwrap(), "--retries", "2"];
    let ended = matrix(7, &args);
    let pipeline: serde_yaml::Value = serde_yaml::from_str(&ended.stdout).unwrap();
    let job = &pipeline["kvet"];
    let script = job["script"].as_sequence().unwrap();
    assert_eq!(script.len(), 1);
    assert_eq!(
        (job["artifacts"]["when"].as_str(), job["artifacts"]["paths"][0].as_str()),
        (Some("always"), Some("results/"))
    );
    assert_eq!(job["artifacts"]["reports"]["junit"].as_str(), Some("junit.xml"));
    let (bin, path) = (bin(), std::env::var("PATH").unwrap());
    let variables = job["parallel"]["matrix"].as_sequence().unwrap().iter().flat_map(|entry| {
        let values = entry["SHARD"].as_sequence().unwrap();
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    let parts: Vec<Vec<String>> = variables
        .map(|shard| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("{} --dry-run", script[0].as_str().unwrap()));
            shell.current_dir(ended.path("")).env("SHARD", &shard);
            let output = shell.env("PATH", format!("{}:{path}", bin.path().display())).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            kernels(&String::from_utf8(output.stdout).unwrap())
        })
        .collect();
    assert_eq!(parts.len(), 3);
    are_the_whole(&parts);
    assert_eq!(parts[0], shard(1, "1/3", run.path()), "the times are told to each job");
    assert!(script[0].as_str().unwrap().contains(" --retries 2 "), "and all else that was asked for");
}

/// What a job of the workflow does with kvet: the script of its step, run as a runner does it.
fn step(
    workflow: &serde_yaml::Value,
    job: &str,
    at: &Path,
    more: &str,
    variables: &[(&str, &str)],
) -> String {
    let steps = workflow["jobs"][job]["steps"].as_sequence().unwrap();
    let scripts: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    let ours: Vec<&&str> = scripts.iter().filter(|script| script.contains("target/release/kvet")).collect();
    assert_eq!(ours.len(), 1, "{job}: {scripts:?}");
    let mut shell = Command::new("bash");
    shell.args(["-e", "-c", &format!("{}{more}", ours[0].trim_end())]).current_dir(at);
    let output = shell.envs(variables.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{job}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_jobs_of_the_workflow_for_github_make_one_run_of_the_whole() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(top.join(".github/workflows/matrix.yml")).unwrap();
    let workflow: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let default = workflow["on"]["workflow_dispatch"]["inputs"]["matrix"]["default"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bin = bin();
    fs::create_dir_all(dir.path().join("target")).unwrap();
    symlink(bin.path(), dir.path().join("target/release")).unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();

    // The plan is an output of its job, in one line.
    step(&workflow, "plan", dir.path(), "", &[("MATRIX", default), ("GITHUB_OUTPUT", &at("output"))]);
    let output = fs::read_to_string(at("output")).unwrap();
    let jobs: serde_json::Value = serde_json::from_str(output.strip_prefix("jobs=").unwrap()).unwrap();

    // Each job runs what its part of the plan says, and leaves a run.
    let mut planned = Vec::new();
    let parts: Vec<Vec<String>> = jobs["include"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| {
            let shard = job["shard"].as_str().unwrap();
            let cells: Vec<String> = job["cells"].as_str().unwrap().split(", ").map(String::from).collect();
            let listing =
                step(&workflow, "test", dir.path(), " --dry-run", &[("MATRIX", default), ("SHARD", shard)]);
            let listed = listing.lines().filter(|line| line.contains(" cpu"));
            let words = listed.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
            assert_eq!(words.collect::<BTreeSet<_>>(), cells.iter().cloned().collect(), "{shard}");
            planned.extend(cells.clone());
            cells
        })
        .collect();
    let run_of = |cells: &[String]| {
        let made = |id: &String| {
            let words: Vec<&str> = id.split(' ').collect();
            let mut cell = cell(words[0], &[("t", Pass, "")]);
            cell.id.arch = words[1].parse().unwrap();
            cell
        };
        crate::fixtures::run(cells.iter().map(made).collect())
    };
    let whole = run_of(&planned).planned;
    for (number, cells) in parts.iter().enumerate() {
        let run = RunReport { planned: whole.clone(), ..run_of(cells) };
        let folder = dir.path().join(format!("shards/results-{number}/20261121-14305{number}"));
        store_report(&folder, &run).unwrap();
    }

    // The last one puts them together, for its page and as an artifact.
    step(&workflow, "report", dir.path(), "", &[("GITHUB_STEP_SUMMARY", &at("summary"))]);
    let summary = fs::read_to_string(at("summary")).unwrap();
    assert!(whole.iter().all(|id| summary.contains(&format!("| {} |", id.kernel))), "{summary}");
    let merged: RunReport =
        serde_json::from_str(&fs::read_to_string(at("results/all/report.json")).unwrap()).unwrap();
    assert_eq!((merged.cells.len(), merged.exit_code), (whole.len(), 0));
    assert!(dir.path().join("results/all/report.html").is_file());
}
