//! What `kvet report` and `kvet matrix` do without a guest: the gate of `--diff`, shards, and the jobs for CI systems.

#[path = "vm/kvet.rs"]
#[allow(dead_code, reason = "no guest is started here")]
mod kvet_command;
mod made_up;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use Outcome::{Error, Fail, NotRun, Pass, Skip, Xfail};
use kvet::event::{CellEnd, CellReport, Outcome, Phase, PhaseTime, RunReport};
use kvet::report::store::store_report;
use kvet_command::{Ended, Kvet};
use made_up::cell;

/// A run in a folder.
fn stored(cells: Vec<CellReport>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    store_report(dir.path(), &made_up::run(cells)).unwrap();
    dir
}

fn report(args: &[&str]) -> Ended {
    Kvet::new(["report"]).args(args).without_guest().end()
}

// --- what changed -----------------------------------------------------------------------------------------------

const KERNEL: &str = "debian:7.2";

/// Compares two runs in all forms, which have the same exit code. Gives the text, the Markdown and the JSON.
#[track_caller]
fn diff(before: Vec<CellReport>, after: Vec<CellReport>, code: i32) -> (String, String, serde_json::Value) {
    let (before, after) = (stored(before), stored(after));
    let in_form = |form: &str| {
        let runs = [before.path().to_str().unwrap(), after.path().to_str().unwrap()];
        report(&[&["--diff", "--format", form], &runs[..]].concat()).code(code).stdout
    };
    let (text, markdown, json) = (in_form("table"), in_form("md"), in_form("json"));
    (text, markdown, serde_json::from_str(&json).unwrap())
}

#[test]
fn only_what_newly_fails_closes_the_gate() {
    for (before, after, code, title) in [
        (Some(Pass), Some(Pass), 0, None),
        (Some(Fail), Some(Fail), 0, None),
        (Some(Pass), Some(Fail), 1, Some("newly fails")),
        (Some(Pass), Some(Error), 1, Some("newly fails")),
        (Some(Skip), Some(Fail), 1, Some("newly fails")),
        (Some(Xfail), Some(Fail), 1, Some("newly fails")),
        (None, Some(Fail), 1, Some("newly fails")),
        (Some(Pass), Some(NotRun), 1, Some("not run any more")),
        (Some(Fail), Some(Pass), 0, Some("fixed")),
        (None, Some(Pass), 0, Some("appears")),
        (Some(Pass), None, 0, Some("vanishes")),
        (Some(Fail), None, 0, Some("vanishes")),
        (Some(Pass), Some(Skip), 0, Some("differs")),
    ] {
        let one = |outcome: Option<Outcome>| {
            let test = outcome.map(|outcome| ("g/t", outcome, "because"));
            vec![cell(KERNEL, &[("g/steady", Pass, "")].into_iter().chain(test).collect::<Vec<_>>())]
        };
        let (text, markdown, json) = diff(one(before), one(after), code);
        let context = format!("{before:?} {after:?}\n{text}\n{markdown}\n{json}");
        let Some(title) = title else {
            assert_eq!(text, "2 as before\n");
            assert_eq!(markdown, "**2 as before**\n");
            continue;
        };
        let id = format!("g/t  {KERNEL} x86_64 {}  ", made_up::SUITE);
        assert!(text.starts_with(&format!("{title} (1):\n  {id}")), "{context}");
        assert!(text.ends_with(&format!("\n1 {title}, 1 as before\n")), "{context}");
        assert!(
            markdown.starts_with(&format!("**1 {title}, 1 as before**\n\n{title} (1):\n\n- `{id}")),
            "{context}"
        );
        assert!(text.contains("  because\n") && markdown.contains("  because`\n"), "{context}");
        assert_eq!(json["changes"].as_array().map(Vec::len), Some(1), "{context}");
        assert_eq!(json["same"], 1, "{context}");
    }
}

#[test]
fn cells_that_come_and_go_and_kernels_that_do_not_boot_any_more() {
    let good = |kernel| cell(kernel, &[("t", Pass, "")]);
    let (text, markdown, _) =
        diff(vec![good("debian:7.1"), good(KERNEL)], vec![good(KERNEL), good("debian:7.3")], 0);
    let ids = ["7.1", "7.3"].map(|version| format!("debian:{version} x86_64 {}", made_up::SUITE));
    assert!(text.contains(&format!("only before: {}\nonly after: {}\n", ids[0], ids[1])), "{text}");
    assert!(
        markdown.contains(&format!("\nonly before: `{}`\n\nonly after: `{}`\n", ids[0], ids[1])),
        "{markdown}"
    );
    assert!(text.ends_with("\n1 as before\n") && !text.contains("appears"), "a cell is one line: {text}");
    // What is new has no past that would excuse it.
    let bad = cell("debian:7.3", &[("fails", Fail, "x"), ("passes", Pass, ""), ("lost", NotRun, "y")]);
    let (text, _, json) = diff(vec![good(KERNEL)], vec![good(KERNEL), bad], 1);
    assert!(
        text.contains("newly fails (1):\n  fails ") && text.contains("not run any more (1):\n  lost "),
        "{text}"
    );
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(2), "{text}");
    // Neither a cell nor a test that is gone closes the gate.
    diff(vec![good(KERNEL), good("debian:7.3")], vec![cell(KERNEL, &[("other", Pass, "")])], 0);
    let dead = CellReport {
        end: CellEnd::Unbootable { reason: "no console".into(), detail: String::new() },
        ..cell(KERNEL, &[])
    };
    let (text, markdown, _) = diff(vec![good(KERNEL)], vec![dead.clone()], 1);
    assert!(text.contains("kvet/boot") && markdown.contains("no console"), "{text}\n{markdown}");
    let (text, ..) = diff(vec![dead], vec![good(KERNEL)], 0);
    assert!(text.starts_with("fixed (1):\n  kvet/boot"), "{text}");
    // Two point releases are one kernel that went on.
    let (text, markdown, _) = diff(vec![good("debian:7.2.6")], vec![good("debian:7.2.9")], 0);
    assert!(text.starts_with("comparing debian:7.2.6 "), "{text}");
    assert!(markdown.contains("\ncomparing `debian:7.2.6 "), "{markdown}");
}

#[test]
fn what_is_left_out_of_a_long_list_is_counted() {
    let names: Vec<String> = (0..203).map(|number| format!("t{number}")).collect();
    let all = |outcome| {
        vec![cell(KERNEL, &names.iter().map(|name| (name.as_str(), outcome, "")).collect::<Vec<_>>())]
    };
    let (text, markdown, json) = diff(all(Pass), all(Fail), 1);
    assert!(text.contains("newly fails (203):\n") && text.contains("\n  … and 3 more\n"), "{text}");
    assert!(
        markdown.contains("newly fails (203):\n") && markdown.contains("\n- … and 3 more\n"),
        "{markdown}"
    );
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(203));
}

#[test]
fn what_is_no_comparison_is_refused() {
    let run = stored(vec![cell(KERNEL, &[("t", Pass, "")])]);
    let run = run.path().to_str().unwrap();
    for (args, said) in [
        (&["--diff", run][..], "--diff compares two runs, and 1 were given"),
        (&["--diff", run, run, run], "and 3 were given"),
        (&["--diff", run, run, "--format", "html"], "--diff has the formats table, md and json"),
        (&["--diff", run, "/no/such/run"], "/no/such/run"),
    ] {
        let ended = report(args).code(2);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(said), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

// --- shards and jobs --------------------------------------------------------------------------------------------

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
    let id = |kernel: &str| format!("{kernel} x86_64 {}", made_up::SUITE);
    let times: BTreeMap<String, u64> =
        TIMES.iter().map(|(kernel, s)| (id(kernel), s * machine % 37)).collect();
    fs::write(cache.path().join("times.json"), serde_json::to_vec(&times).unwrap()).unwrap();
    let kernels: Vec<&str> = TIMES.iter().map(|(kernel, _)| *kernel).chain([UNKNOWN]).collect();
    let text = format!("kernels: [{}]\narchs: [x86_64]\nsuites: [{}]\n", kernels.join(", "), made_up::SUITE);
    let kvet =
        Kvet::new(["matrix", "m.yaml"]).args(args).file("m.yaml", &text).env("KVET_CACHE", cache.path());
    kvet.without_guest().end().code(0)
}

/// The kernels that a dry run lists.
fn kernels(listing: &str) -> Vec<String> {
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
                let is = part.iter().map(|kernel| format!("{kernel} x86_64 {}", made_up::SUITE));
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
        made_up::run(cells.iter().map(made).collect())
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

// --- what is wrong with a matrix --------------------------------------------------------------------------------

/// `kvet matrix m.yaml` with a cache of its own. None of its kernels can be had.
fn hopeless(text: &str) -> Ended {
    let cache = tempfile::tempdir().unwrap();
    let kvet = Kvet::new(["matrix", "m.yaml", "--junit", "j.xml"]).file("m.yaml", text);
    kvet.env("KVET_CACHE", cache.path()).without_guest().end()
}

#[test]
fn a_kernel_that_is_not_there_is_told_at_once_and_is_the_trouble_of_its_cell() {
    let text = format!(
        "kernels:\n  - tree:./gone\n  - file:./bzImage\narchs: [x86_64]\nsuites: [{}]\n",
        made_up::SUITE
    );
    let ended = hopeless(&text).code(2);
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 2, "{}", ended.stderr);
    assert!(errors[0].contains("m.yaml:2: kernel tree:./gone: "), "{errors:?}");
    assert!(errors[1].contains("m.yaml:3: kernel file:./bzImage: "), "{errors:?}");
    let report = fs::read_to_string(ended.path("results/latest/report.json")).unwrap();
    let run: kvet::event::RunReport = serde_json::from_str(&report).unwrap();
    let reasons: Vec<&str> = run
        .cells
        .iter()
        .map(|cell| match &cell.end {
            CellEnd::Usage { reason } => reason.as_str(),
            end => panic!("{end:?}"),
        })
        .collect();
    assert!(reasons[0].contains("./gone") && reasons[1].contains("/bzImage"), "{reasons:?}");
    assert!(fs::read_to_string(ended.path("j.xml")).unwrap().contains("./gone"));
    // With nothing beside it there is nothing to run.
    let ended = hopeless(&text.replace("  - file:./bzImage\n", "")).code(2);
    assert!(ended.stderr.contains("m.yaml:2: kernel tree:./gone: "), "{}", ended.stderr);
    assert!(!ended.path("results").exists());
}

#[test]
fn what_a_matrix_file_says_wrong_stops_everything() {
    let tail = format!("archs: [x86_64]\nsuites: [{}]\n", made_up::SUITE);
    for (list, said) in [
        ("suites:\n  - nosuch\n", "m.yaml:3: unknown suite 'nosuch'"),
        ("suites: [dynptr,\n  ./no.yaml]\n", "m.yaml:3: cannot read"),
        ("include:\n  - kernel: debian:7.2\n    suite: nosuch\n", "m.yaml:4: unknown suite 'nosuch'"),
    ] {
        let ended = hopeless(&format!("kernels: [debian:7.2]\n{list}")).code(2);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(said), "{}", ended.stderr);
    }
    for (kernels, said) in [
        ("kernels:\n  - tree:./gone\n  - svn:x\n", "m.yaml:3: unknown kernel source 'svn:'"),
        (
            "kernels:\n  - file:./bzImage\n  - tree:./gone\n\
             include:\n  - {kernel: tree:./gone, settings: {config: [nosuch]}}\n",
            "m.yaml:5: unknown config fragment 'nosuch'",
        ),
        (
            "settings:\n  config: [debug]\nkernels: [debian:7.2]\n",
            "m.yaml:2: a config cannot be given for debian:7.2",
        ),
    ] {
        let ended = hopeless(&format!("{kernels}{tail}")).code(2);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(said), "{}", ended.stderr);
        assert!(!ended.path("results").exists());
    }
}

#[test]
fn a_cell_is_there_once_however_it_is_written() {
    let suite = made_up::SUITE;
    let own = |folder: &str| {
        let text = format!("name: mine\ntitle: {folder}\nprogram: ./run\nformat: ktap\n");
        (format!("{folder}.yaml"), text)
    };
    let refused = |text: &str| {
        let mut kvet = Kvet::new(["matrix", "m.yaml", "--dry-run"]).file("m.yaml", text);
        for (name, text) in ["a", "b"].map(own) {
            kvet = kvet.file(&name, &text);
        }
        kvet.file("run", "#!/bin/sh\n").executable("run").without_guest().end().code(2).stderr
    };
    for (text, said) in [
        (
            format!("kernels:\n  - debian:7.2\n  - 7.2\nsuites: [{suite}]\n"),
            format!(
                "m.yaml:3: debian:7.2 x86_64 {suite} is there twice, first in m.yaml:2\nhint: 'debian:7.2' and '7.2' are"
            ),
        ),
        (
            format!(
                "kernels: [debian:7.2]\nsuites: [{suite}]\ninclude:\n  - {{kernel: '7.2', settings: {{cpus: 2}}}}\n"
            ),
            format!("m.yaml:4: debian:7.2 x86_64 {suite} is there twice, first in m.yaml:1\nhint: "),
        ),
        (
            "kernels: [debian:7.2]\nsuites:\n  - ./a.yaml\n  - a.yaml\n".to_owned(),
            "m.yaml:4: debian:7.2 x86_64 mine is there twice, first in m.yaml:3".to_owned(),
        ),
        (
            "kernels: [debian:7.2]\nsuites: [./a.yaml, b.yaml]\n".to_owned(),
            "the suites ./a.yaml and b.yaml have one name".to_owned(),
        ),
    ] {
        let stderr = refused(&format!("{text}archs: [x86_64]\n"));
        assert!(stderr.contains(&said), "{text}\n{stderr}");
    }
    // Flags are put together by scripts: what they say twice is meant once.
    let words = ["matrix", "-k", "7.2", "-k", "debian:7.2", "-a", "x86_64", "-s", suite, "--dry-run"];
    assert_eq!(kernels(&Kvet::new(words).without_guest().end().code(0).stdout), ["debian:7.2"]);
}

#[test]
fn a_guest_that_is_larger_than_the_machine_is_refused_where_it_is_asked_for() {
    let text = |memory: &str| {
        let suite = made_up::SUITE;
        format!(
            "kernels: [file:./a, file:./b]\nsuites: [{suite}]\nsettings:\n  memory: {memory}\narchs: [x86_64]\n"
        )
    };
    let ended = hopeless(&text("999G")).code(2);
    assert!(ended.stderr.contains("m.yaml:4: a guest of 1022976 MiB: this machine has "), "{}", ended.stderr);
    assert!(!ended.path("results").exists());
    let args = ["run", "-k", "7.2", "-a", "x86_64", "--memory", "999G"];
    let ended = Kvet::new(args).without_guest().end().code(2);
    let said = "debian:7.2 x86_64 dynptr: a guest of 1022976 MiB: this machine has ";
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(said), "{}", ended.stderr);
    // With less it gets as far as the kernels, which are not there.
    assert!(hopeless(&text("256M")).code(2).stderr.contains("file:./b"));
}

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
