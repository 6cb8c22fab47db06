//! The documentation: its links, its form, and the CI jobs of `examples/`. That its commands parse is a unit test of
//! `cmd::args`; the example suites run in `tests/vm/examples.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvet::event::Outcome::{Fail, Pass};
use kvet::report::store::store_report;

use crate::fixtures::{cell, run};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The Markdown pages below a folder.
fn below(folder: &str) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(top().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(below(path.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

fn pages() -> Vec<PathBuf> {
    let single = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| top().join(name));
    single.into_iter().chain(below("docs")).chain(below("examples")).collect()
}

/// The lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.map(|(number, line)| (number + 1, line)).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter_map(|(_, line)| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// The targets of a page's links.
fn links(text: &str) -> Vec<String> {
    let prose: String = prose(text).into_iter().flat_map(|(_, line)| [line, "\n"]).collect();
    let ends = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(target, _)| target.trim().to_owned()).collect()
}

#[test]
fn links_resolve() {
    let (mut checked, mut broken) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).iter().filter(|link| !link.starts_with("http")) {
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let found = target.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(checked > 100, "{checked} links were found");
}

#[test]
fn prose_has_at_most_100_columns() {
    let mut long = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (number, line) in prose(&text) {
            // A row of a table cannot be wrapped.
            if line.chars().count() > 100 && !line.starts_with('|') {
                long.push(format!("{}:{number}", page.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_summary_has_every_page() {
    let docs = top().join("docs");
    let summary = links(&fs::read_to_string(docs.join("SUMMARY.md")).unwrap());
    let listed: BTreeSet<PathBuf> = summary.iter().map(|link| docs.join(link)).collect();
    let present: BTreeSet<PathBuf> =
        below("docs").into_iter().filter(|page| !page.ends_with("SUMMARY.md")).collect();
    assert_eq!(listed, present);
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(top().join("README.md")).unwrap().lines().count();
    assert!(lines <= 90, "{lines} lines");
}

#[test]
fn ignored_vm_tests_are_listed() {
    let text = fs::read_to_string(top().join("CONTRIBUTING.md")).unwrap();
    let mut missing = Vec::new();
    for entry in fs::read_dir(top().join("runner/tests/vm")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(source) = fs::read_to_string(&path) else { continue };
        let ignored = source.matches("#[ignore").count();
        let row = format!("| `{}` | {ignored} |", path.file_name().unwrap().to_string_lossy());
        if ignored > 0 && !text.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "CONTRIBUTING.md should list ignored tests as {missing:#?}");
}

/// A folder with the examples, and with a `kvet` that starts nothing: `kvet matrix` there only lists cells.
fn job() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    symlink(top().join("examples"), dir.path().join("examples")).unwrap();
    let kvet = std::env::var_os("KVET_TEST_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_kvet").into());
    let kvet = PathBuf::from(kvet).canonicalize().unwrap();
    let wrapper = format!(
        "#!/bin/sh\n[ \"$1\" != matrix ] || set -- \"$@\" --dry-run\nexec '{}' \"$@\"\n",
        kvet.display()
    );
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::write(dir.path().join("bin/kvet"), wrapper).unwrap();
    let executable = Command::new("chmod").arg("+x").arg(dir.path().join("bin/kvet")).status().unwrap();
    assert!(executable.success());
    dir
}

/// Runs a script as a CI runner does; gives its exit code and what it printed.
fn script(dir: &Path, text: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-e", "-c", text]).current_dir(dir).env("PATH", path).envs(variables.iter().copied());
    let output = shell.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

/// The cells in a listing.
fn cells(listing: &str) -> Vec<String> {
    let listed = listing.lines().filter(|line| line.contains(" cpu"));
    listed.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect()
}

/// Checks that four shards have each cell of the example matrix once.
fn are_the_whole(mut shards: Vec<String>) {
    shards.sort();
    let kernels = ["debian:6.1", "debian:7.2"];
    let suites = ["exit-example", "ktap-example"];
    let names: Vec<String> =
        shards.iter().map(|cell| cell.split(' ').step_by(2).collect::<Vec<_>>().join(" ")).collect();
    let all = kernels.iter().flat_map(|kernel| suites.iter().map(move |suite| format!("{kernel} {suite}")));
    assert_eq!(names, all.collect::<Vec<_>>());
}

/// What shard jobs leave: a run of one cell in each.
fn store_shards(dir: &Path, folder: impl Fn(usize) -> String, outcome: kvet::event::Outcome) {
    let kernels = ["debian:6.1", "debian:6.12", "debian:7.1", "debian:7.2"];
    let of = |kernel: &str| run(vec![cell(kernel, &[("t", outcome, "said")])]);
    let whole = run(kernels.iter().map(|kernel| cell(kernel, &[("t", outcome, "said")])).collect()).planned;
    for (number, kernel) in kernels.iter().enumerate() {
        let part = kvet::event::RunReport { planned: whole.clone(), ..of(kernel) };
        store_report(&dir.join(folder(number)), &part).unwrap();
    }
}

fn yaml(name: &str) -> serde_yaml::Value {
    serde_yaml::from_str(&fs::read_to_string(top().join(name)).unwrap()).unwrap()
}

/// The scripts of a GitHub job that call kvet, with these expressions in them.
fn steps(workflow: &serde_yaml::Value, job: &str) -> Vec<String> {
    let steps = workflow["jobs"][job]["steps"].as_sequence().unwrap();
    let scripts = steps.iter().filter_map(|step| step["run"].as_str());
    scripts.filter(|script| script.contains("kvet ")).map(str::to_owned).collect()
}

#[test]
fn the_github_example_gates_on_new_failures() {
    let workflow = yaml("examples/github-workflow.yml");
    let dir = job();
    let listed = workflow["jobs"]["test"]["strategy"]["matrix"]["shard"].as_sequence().unwrap().iter();
    let mut found = Vec::new();
    for shard in listed.map(|shard| shard.as_str().unwrap()) {
        let step = steps(&workflow, "test")[0].replace("${{ matrix.shard }}", shard);
        let (code, listing) = script(dir.path(), &step, &[]);
        assert_eq!(code, Some(0), "{listing}");
        found.extend(cells(&listing));
    }
    are_the_whole(found);
    let gate = steps(&workflow, "gate");
    assert_eq!(gate.len(), 2, "{gate:?}");
    let summary = dir.path().join("summary");
    let variables = [("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())];
    store_shards(dir.path(), |number| format!("shards/results-{number}/20261201-12000{number}"), Fail);
    let (code, said) = script(dir.path(), &gate[0], &variables);
    assert_eq!(code, Some(0), "a failing test is for the gate to judge: {said}");
    assert!(fs::read_to_string(&summary).unwrap().contains("debian:7.1"));
    assert_eq!(script(dir.path(), &gate[1], &[]).0, Some(0), "the first run has no baseline");
    // With a baseline in which the test passes, the failures are new.
    store_report(&dir.path().join("baseline"), &run(vec![cell("debian:7.2", &[("t", Pass, "")])])).unwrap();
    let (code, said) = script(dir.path(), &gate[1], &[]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn the_gitlab_example_merges_its_shards() {
    let pipeline = yaml("examples/gitlab-ci.yml");
    let dir = job();
    let line = |job: &str| pipeline[job]["script"][0].as_str().unwrap().to_owned();
    let jobs = pipeline["kernels"]["parallel"].as_u64().unwrap();
    let mut found = Vec::new();
    for index in 1..=jobs {
        let (index, total) = (index.to_string(), jobs.to_string());
        let variables = [("CI_NODE_INDEX", index.as_str()), ("CI_NODE_TOTAL", total.as_str())];
        let (code, listing) = script(dir.path(), &line("kernels"), &variables);
        assert_eq!(code, Some(0), "{listing}");
        found.extend(cells(&listing));
    }
    are_the_whole(found);
    store_shards(dir.path(), |number| format!("shard-{number}/20261201-12000{number}"), Pass);
    let (code, said) = script(dir.path(), &line("table"), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(dir.path().join("results/all/report.html").is_file());
}

#[test]
fn the_project_runs_the_same_as_its_ci() {
    let workflow = yaml(".github/workflows/ci.yml");
    let steps = workflow["jobs"]["test"]["steps"].as_sequence().unwrap();
    assert_eq!(steps.last().unwrap()["run"].as_str(), Some(".ci/run"));
}
