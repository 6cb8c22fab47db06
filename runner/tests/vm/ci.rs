//! `kvet matrix` in a job of a CI system: what its log looks like, and what becomes of the other cells when one fails.

use std::fs;
use std::time::{Duration, Instant};

use kvet::event::{CellEnd, CellReport, Outcome, Phase, RunReport};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Ended, Kvet, Running, have, processes, when};

/// Fails, says what a log must not heed, and takes the kernel down. A cell that crashes leaves no time behind by which the next
/// run would be ordered.
const HOSTILE: &str = r##"#!/bin/sh
echo 'KTAP version 1'
echo '1..2'
echo '# ::endgroup::'
echo '# ##[group]a group of its own'
echo 'not ok 1 ::add-mask::x86_64'
sleep 1
echo c > /proc/sysrq-trigger
sleep 60
"##;

/// A matrix of 7.2 and these suites, in a job whose log has both streams, as it does where it is shown.
fn job(system: &str, suites: &[&str], args: &[&str]) -> Kvet {
    have("7.2", "x86_64");
    let suites: Vec<String> = suites.iter().map(|name| format!("./{name}.yaml")).collect();
    let text = format!("kernels: [debian:7.2]\narchs: [x86_64]\nsuites: [{}]\n", suites.join(", "));
    let shell = format!("unset GITHUB_ACTIONS GITLAB_CI; export {system}=true; exec 2>&1");
    Kvet::under(&shell, ["matrix", "m.yaml"]).args(args).file("m.yaml", &text)
}

fn cells(ended: &Ended) -> Vec<CellReport> {
    let text = fs::read_to_string(ended.path("results/latest/report.json")).unwrap();
    serde_json::from_str::<RunReport>(&text).unwrap().cells
}

fn outcomes(cell: &CellReport) -> Vec<Outcome> {
    cell.cases.iter().map(|case| case.outcome).collect()
}

/// A part of a log that is folded away: its title, and the lines in it.
type Group = (String, Vec<String>);

/// The parts of a log, and the lines outside. `begin` and `end` take a line apart as the system does: the name of the part and,
/// where it begins, its title.
fn folded(
    log: &str,
    begin: &dyn Fn(&str) -> Option<(String, String)>,
    end: &dyn Fn(&str) -> Option<String>,
) -> (Vec<Group>, Vec<String>) {
    let (mut groups, mut outside, mut open): (Vec<Group>, Vec<String>, Option<String>) = Default::default();
    let mut names = Vec::new();
    for line in log.lines() {
        if let Some((name, title)) = begin(line) {
            assert_eq!(open, None, "a part in a part: {line}");
            assert!(name.is_empty() || !names.contains(&name), "{name} is there twice");
            names.push(name.clone());
            open = Some(name);
            groups.push((title, Vec::new()));
        } else if let Some(name) = end(line) {
            assert_eq!(open.take(), Some(name), "what ends is what was begun: {line}");
        } else if open.is_some() {
            groups.last_mut().unwrap().1.push(line.to_owned());
        } else {
            outside.push(line.to_owned());
        }
    }
    assert_eq!(open, None, "a part that is not ended");
    (groups, outside)
}

/// The log of a job on GitHub, whose runner heeds lines that begin with `::` and, anywhere, `##[`.
fn on_github(log: &str) -> (Vec<Group>, Vec<String>) {
    assert!(!log.contains("##["), "{log}");
    let begin = |line: &str| Some((String::new(), line.trim_start().strip_prefix("::group::")?.to_owned()));
    let end = |line: &str| (line.trim_start() == "::endgroup::").then(String::new);
    let (groups, outside) = folded(log, &begin, &end);
    let commands = outside.iter().chain(groups.iter().flat_map(|(_, lines)| lines));
    let commands: Vec<_> = commands.filter(|line| line.trim_start().starts_with("::")).collect();
    assert_eq!(commands, Vec::<&String>::new(), "{log}");
    (groups, outside)
}

/// The log of a job on GitLab: `section_start:TIME:NAME[OPTIONS]` and `section_end:TIME:NAME` between two escapes.
fn on_gitlab(log: &str) -> (Vec<Group>, Vec<String>) {
    let begin = regex::Regex::new(
        "^\x1b\\[0Ksection_start:[0-9]{10}:([A-Za-z0-9_.-]+)\\[collapsed=true\\]\r\x1b\\[0K(.*)$",
    );
    let end = regex::Regex::new("^\x1b\\[0Ksection_end:[0-9]{10}:([A-Za-z0-9_.-]+)\r\x1b\\[0K$");
    let (begin, end) = (begin.unwrap(), end.unwrap());
    let begin = |line: &str| begin.captures(line).map(|found| (found[1].to_owned(), found[2].to_owned()));
    let (groups, outside) = folded(log, &begin, &|line| end.captures(line).map(|found| found[1].to_owned()));
    let all = outside.iter().chain(groups.iter().flat_map(|(_, lines)| lines));
    assert!(!all.into_iter().any(|line| line.contains("section_")), "{log}");
    (groups, outside)
}

#[test]
fn after_a_failure_no_guest_is_started_and_github_shows_who_failed_and_who_did_not_run() {
    let suite = "name: hostile\ntitle: t\nprogram: ./hostile.sh\nformat: ktap\nmemory: 256M\n";
    let call = job("GITHUB_ACTIONS", &["hostile", "slow", "other", "idle"], &["-j", "2", "--fail-fast"])
        .file("hostile.yaml", suite)
        .file("hostile.sh", HOSTILE)
        .executable("hostile.sh")
        .fault_suite("slow", &["one=pass", "two=sleep:12000"])
        .fault_suite("other", &["one=pass", "two=pass"])
        .fault_suite("idle", &["one=pass"]);
    let ended = call.end().code(1);
    let cells = cells(&ended);
    assert!(matches!(cells[0].end, CellEnd::Crashed { .. }), "{:?}", cells[0].end);
    let crash = when(&cells[0], Phase::Tests).end;
    // Which two got the first slots is chance, and decided by earlier runs; one at least is prepared then, and waits.
    let reason = "debian:7.2 x86_64 hostile failed";
    for cell in &cells[1..] {
        if cell.end == CellEnd::Completed {
            assert!(when(cell, Phase::Boot).start < crash, "no guest is started any more: {cell:?}");
            assert_eq!(cell.counts.passed, cell.cases.len(), "one that runs goes on");
            continue;
        }
        assert_eq!(cell.end, CellEnd::NotStarted { reason: reason.into() });
        assert_eq!(cell.counts.not_run, cell.cases.len());
        assert!(
            cell.cases.iter().all(|case| case.message == format!("not run: {reason}")),
            "{:?}",
            cell.cases
        );
        assert!(!cell.dir.join("qemu.argv").exists(), "no guest was started");
    }
    let not_started = cells.iter().filter(|cell| matches!(cell.end, CellEnd::NotStarted { .. })).count();
    assert!((1..=2).contains(&not_started), "one guest beside the other may have run before: {cells:?}");
    not_run_in_junit(&ended, &cells, reason);
    let (groups, outside) = on_github(&ended.stdout);
    let titles: Vec<&str> = groups.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(titles.len(), 4, "{titles:#?}");
    for cell in &cells {
        // What comes after the name may name another cell: the one that failed.
        let name = |shown: &str| shown.split(" · ").next().unwrap_or_default().to_owned();
        let found = titles.iter().find(|shown| name(shown).contains(&format!(" {}", cell.id)));
        let found = found.unwrap_or_else(|| panic!("{}: {titles:#?}", cell.id));
        let tests = cell.cases.len();
        let part = match &cell.end {
            CellEnd::Completed => format!(" · {tests} passed, 0 failed, 0 skipped · "),
            CellEnd::NotStarted { .. } => format!(", {tests} not run · not started: {reason} · "),
            _ => " · crashed: Kernel panic - not syncing: sysrq triggered crash · ".into(),
        };
        assert!(found.contains(&part), "{part}: {found}");
    }
    let ran = cells.iter().find(|cell| cell.end == CellEnd::Completed).unwrap();
    let tests = &groups.iter().find(|(title, _)| title.contains(&ran.id.to_string())).unwrap().1;
    assert!(
        tests.len() == ran.cases.len() && tests[0].starts_with("✓ faults/one"),
        "only its tests: {tests:?}"
    );
    // Failures are seen without unfolding anything: when they happen, and in the end.
    let seen = |text: &str| outside.iter().any(|line| line.contains(text));
    assert!(seen("[debian:7.2 x86_64 hostile] ✗ ::add-mask::x86_64"), "{outside:#?}");
    assert!(seen("failures:") && seen(r"    \::endgroup::"), "{outside:#?}");
    assert!(seen("   ?  kvet/not-started  in "), "the table has them: {outside:#?}");
}

/// Each test of a cell that was not started is an error with the reason, and there is one for the cell as a whole.
fn not_run_in_junit(ended: &Ended, cells: &[CellReport], reason: &str) {
    let text = fs::read_to_string(ended.path("results/latest/junit.xml")).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let suites = document.descendants().filter(|node| node.has_tag_name("testsuite"));
    let ran: Vec<(usize, usize)> = suites
        .map(|suite| {
            let errors = suite.descendants().filter(|node| {
                let why = node.attribute("message").unwrap_or_default();
                node.has_tag_name("error") && why == format!("not run: {reason}")
            });
            (suite.attribute("tests").unwrap().parse().unwrap(), errors.count())
        })
        .collect();
    let expected = cells[1..].iter().map(|cell| match cell.end {
        CellEnd::Completed => (cell.cases.len(), 0),
        _ => (cell.cases.len() + 1, cell.cases.len()),
    });
    assert_eq!(ran[1..], expected.collect::<Vec<_>>(), "{text}");
}

/// The QEMU of a cell.
fn qemu(running: &Running, cell: &str) -> Pid {
    let folder = running.path("results").canonicalize().unwrap().display().to_string();
    let found = processes(|command| {
        let program = command.split('\0').next().unwrap_or_default();
        program.contains("qemu-system-") && command.contains(&folder) && command.contains(cell)
    });
    assert_eq!(found.len(), 1, "{cell} has one guest");
    Pid::from_raw(found[0])
}

#[test]
fn a_qemu_that_is_killed_beside_another_one_leaves_it_alone_and_gitlab_shows_both() {
    let call = job("GITLAB_CI", &["killed", "spared"], &["-j", "2"])
        .fault_suite("killed", &["one=pass", "two=hang"])
        .fault_suite("spared", &["one=pass", "two=sleep:4000", "three=pass"]);
    let running = call.start();
    let patience = Instant::now() + Duration::from_secs(120);
    let both = || {
        ["killed", "spared"].iter().all(|cell| {
            let path = running.path(&format!("results/latest/debian-7.2-x86_64-{cell}/stdout"));
            fs::read_to_string(path).is_ok_and(|said| said.contains("RUN           two"))
        })
    };
    while !both() {
        assert!(Instant::now() < patience, "both guests run their second test");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(qemu(&running, "x86_64-killed"), Signal::SIGKILL).unwrap();
    let ended = running.end().code(3);
    let cells = cells(&ended);
    let CellEnd::Infra { reason } = &cells[0].end else { panic!("{:?}", cells[0].end) };
    assert!(reason.contains("SIGKILL"), "{reason}");
    assert_eq!(outcomes(&cells[0]), [Outcome::Pass, Outcome::Error]);
    assert_eq!((&cells[1].end, outcomes(&cells[1])), (&CellEnd::Completed, vec![Outcome::Pass; 3]));
    let (groups, outside) = on_gitlab(&ended.stdout);
    let titles: Vec<&str> = groups.iter().map(|(title, _)| title.as_str()).collect();
    // The one that was killed was finished first.
    assert!(titles.len() == 2 && titles[0].contains("killed") && titles[0].contains("SIGKILL"), "{titles:?}");
    assert!(titles[1].contains(" · 3 passed, 0 failed, 0 skipped · "), "{titles:?}");
    assert_eq!(groups[1].1.len(), 3, "{groups:?}");
    assert!(
        outside.iter().any(|line| line.contains("kvet/host") && line.contains("SIGKILL")),
        "{outside:#?}"
    );
    assert!(outside.last().unwrap().starts_with("no verdict in "), "{outside:#?}");
}
