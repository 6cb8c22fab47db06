//! `kvet matrix`: what goes wrong in one cell is no concern of the others.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use kvet::event::{CellEnd, CellReport, Outcome, Phase, RunReport};
use nix::sys::signal::Signal;

use crate::support::{Ended, Kvet, Running, cache_with, have, when};

/// A matrix of 7.2 and these suites, one guest at a time.
fn matrix(suites: &[(&str, &[&str])], args: &[&str]) -> Kvet {
    with_suites(Kvet::new(["matrix", "m.yaml"]).args(args), suites)
}

fn with_suites(mut call: Kvet, suites: &[(&str, &[&str])]) -> Kvet {
    have("7.2", "x86_64");
    let mut text = "kernels: [debian:7.2]\narchs: [x86_64]\nsettings: {timeout: 5s}\nsuites:\n".to_owned();
    for (name, steps) in suites {
        text += &format!("  - ./{name}.yaml\n");
        call = call.fault_suite(name, steps);
    }
    call.file("m.yaml", &text)
}

pub fn cells(ended: &Ended) -> Vec<CellReport> {
    let text = fs::read_to_string(ended.path("results/latest/report.json")).unwrap();
    serde_json::from_str::<RunReport>(&text).unwrap().cells
}

pub fn outcomes(cell: &CellReport) -> Vec<Outcome> {
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
/// The guest's only CPU is taken from everything, the kernel's threads included.
const HANGS: (&str, &[&str]) = ("hangs", &["one=pass", "two=spin:0"]);

/// Only the test hangs. Of a name whose time nobody has recorded: what took long last time would be started first.
const STUCK: (&str, &[&str]) = ("stuck", &["one=pass", "two=hang"]);

#[test]
fn the_tests_of_every_cell_are_shuffled() {
    have("7.2", "x86_64");
    let run = |seed: &[&str]| {
        let args = ["matrix", "-k", "7.2", "-a", "x86_64", "-t", "crypto/*"];
        let ended = Kvet::new(args).args(seed).end().code(0);
        let names: Vec<String> = cells(&ended)[0].cases.iter().map(|case| case.name.clone()).collect();
        names
    };
    let (mut usual, mut shuffled) = (run(&[]), run(&["--shuffle", "4711"]));
    assert_ne!(usual, shuffled);
    usual.sort();
    shuffled.sort();
    assert_eq!(usual, shuffled);
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
    for (cell, kernel) in cells.iter().zip(["6.1", "7.2"]) {
        assert_eq!(cell.end, CellEnd::Completed);
        super::dynptr::not_passed_as_pinned(kernel, "x86_64", &cell.cases);
    }
    assert!(ended.path("j.xml").is_file() && ended.path("results/latest/report.html").is_file());
}

/// A report without what differs from run to run: times, folders, and when it was.
fn lasting(text: &str) -> String {
    let times = regex::Regex::new(
        r#"(?m)^time: .*\n|(time|timestamp)="[^"]*"|\d+\.\d+s|/tmp/[^ "<]*|results/[^ "<]*"#,
    )
    .unwrap();
    times.replace_all(text, "").into_owned()
}

#[test]
fn shards_that_were_run_apart_and_merged_are_the_run_of_the_whole() {
    let suites = [GOOD, ("fails", &["one=pass", "two=fail"][..]), ("third", &["one=pass"])];
    let whole = matrix(&suites, &["-j", "2"]).end().code(1);
    let shards = [("1/2", 2), ("2/2", 1)].map(|(shard, cells)| {
        let ended = matrix(&suites, &["-j", "2", "--shard", shard]).end();
        assert_eq!(self::cells(&ended).len(), cells, "{}", ended.stderr);
        ended
    });
    let latest = shards.each_ref().map(|ended| ended.path("results/latest"));
    let merge = |format| {
        let merge =
            Kvet::new(["report", "--merge"]).args(&latest).args(["--into", "all", "--format", format]);
        merge.end().code(1)
    };
    let of_whole = |format| {
        let whole = whole.path("results/latest");
        Kvet::new(["report", whole.to_str().unwrap(), "--format", format]).end().code(0).stdout
    };
    for format in ["table", "md", "junit"] {
        assert_eq!(lasting(&merge(format).stdout), lasting(&of_whole(format)), "{format}");
    }
    let merged = merge("json");
    let diff = Kvet::new(["report", "--diff"]).args([whole.path("results/latest"), merged.path("all")]);
    assert_eq!(diff.end().code(0).stdout.trim(), "5 as before");
    // Without one of them, a third of it is missing, which is the host's trouble.
    let lost = Kvet::new(["report", "--merge"]).args(&latest[..1]).args(["--into", "all"]).end().code(3);
    assert!(lost.stdout.contains("none of the merged runs has this cell"), "{}", lost.stdout);
}

#[test]
fn a_crash_a_hang_and_a_failure_stop_nobody_and_are_no_flakes() {
    let suites = [("fails", &["one=pass", "two=fail"][..]), ("panics", &["one=panic"]), HANGS, GOOD];
    let ended = matrix(&suites, &["-j", "2", "--retries", "1"]).end().code(1);
    let cells = cells(&ended);
    assert_eq!(outcomes(&cells[0]), [Outcome::Pass, Outcome::Fail]);
    assert!(matches!(cells[1].end, CellEnd::Crashed { .. }), "{:?}", cells[1].end);
    assert_eq!(outcomes(&cells[1]), [Outcome::Error]);
    let CellEnd::TimedOut { reason } = &cells[2].end else { panic!("{:?}", cells[2].end) };
    assert!(reason.contains("faults/two ran longer than 5 s"), "{reason}");
    assert_eq!(outcomes(&cells[2]), [Outcome::Pass, Outcome::Error]);
    assert_eq!((&cells[3].end, outcomes(&cells[3])), (&CellEnd::Completed, vec![Outcome::Pass; 2]));
    assert!(cells.iter().all(|cell| cell.flaky.is_empty()));
    let again = cells[0].dir.join("retries/faults_two");
    assert!(fs::read_dir(&again).unwrap().count() > 0, "the failing test was run again");
    assert!(!cells[3].dir.join("retries").exists());
}

#[test]
fn what_had_finished_before_a_ctrl_c_is_reported() {
    let running = matrix(&[GOOD, STUCK, ("never", &["one=pass"])], &["-j", "1", "--timeout", "100s"]).start();
    wait_for(&running, "stuck", "one");
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    let cells = cells(&ended);
    assert_eq!(outcomes(&cells[0]), [Outcome::Pass; 2], "{:?}\n{}", cells[0], ended.stdout);
    assert_eq!([&cells[1].end, &cells[2].end], [&CellEnd::Interrupted; 2]);
    let junit = fs::read_to_string(ended.path("results/latest/junit.xml")).unwrap();
    assert_eq!(junit.matches("<testsuite ").count(), 3);
    assert!(Path::new(&ended.path("results/latest/report.html")).is_file());
}

/// Two kernels of the archive's main part, of which the cache has only the first, and one suite.
fn two_kernels(call: Kvet, cache: &Path) -> Kvet {
    let text = "kernels: [debian:7.2, debian:6.17]\narchs: [x86_64]\nsuites: [./good.yaml]\n";
    call.fault_suite(GOOD.0, GOOD.1).file("m.yaml", text).env("KVET_CACHE", cache)
}

/// The first cell of two has passed, the second has met trouble of the host, and every form of the report has both.
fn one_passed_and_one_could_not(ended: &Ended, reason: &str) {
    let cells = cells(ended);
    assert_eq!((&cells[0].end, outcomes(&cells[0])), (&CellEnd::Completed, vec![Outcome::Pass; 2]));
    let CellEnd::Infra { reason: said } = &cells[1].end else { panic!("{:?}", cells[1].end) };
    assert!(said.contains(reason), "{said}");
    assert!(ended.stdout.contains(reason), "{}", ended.stdout);
    let junit = fs::read_to_string(ended.path("results/latest/junit.xml")).unwrap();
    assert!(junit.contains("name=\"host\"") && junit.contains(reason), "{junit}");
    let page = fs::read_to_string(ended.path("results/latest/report.html")).unwrap();
    assert!(page.contains(reason), "the page says it");
}

#[test]
fn a_kernel_that_cannot_be_downloaded_is_the_trouble_of_its_cell_and_of_no_guest_that_runs_meanwhile() {
    have("6.17", "x86_64");
    let cache = cache_with("7.2", "x86_64");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/debian", server.local_addr().unwrap());
    // Nobody is answered before the other cell's tests run.
    let (answer, wait) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        for mut client in server.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = wait.recv();
            let _ = client.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let call = Kvet::new(["matrix", "m.yaml", "-j", "2"]).env("KVET_MIRROR", Path::new(&mirror));
    let running = two_kernels(call, cache.path()).start();
    wait_for(&running, "good", "one");
    drop(answer);
    let ended = running.end().code(3);
    one_passed_and_one_could_not(&ended, "503");
    let (boot, fetch) = (when(&cells(&ended)[0], Phase::Boot), when(&cells(&ended)[1], Phase::Fetch));
    assert!(
        fetch.start < boot.start && boot.end < fetch.end,
        "a boot at {boot:?}, the other's fetch at {fetch:?}"
    );
}

#[test]
fn a_kernel_that_is_gone_stops_none_of_the_others() {
    let text = "kernels:\n  - tree:./gone\n  - debian:7.2\narchs: [x86_64]\nsuites: [./good.yaml]\n";
    let call = Kvet::new(["matrix", "m.yaml", "-j", "1"]).fault_suite(GOOD.0, GOOD.1).file("m.yaml", text);
    let ended = call.end().code(2);
    assert!(ended.stderr.starts_with("error: m.yaml:2: kernel tree:./gone: "), "{}", ended.stderr);
    let cells = cells(&ended);
    let CellEnd::Usage { reason } = &cells[0].end else { panic!("{:?}", cells[0].end) };
    assert!(reason.contains("./gone") && ended.stdout.contains(reason), "{}", ended.stdout);
    assert_eq!((&cells[1].end, outcomes(&cells[1])), (&CellEnd::Completed, vec![Outcome::Pass; 2]));
}

#[test]
fn a_full_disk_is_the_trouble_of_the_cell_that_needs_it() {
    have("6.17", "x86_64");
    let cache = cache_with("7.2", "x86_64");
    // Room for what is there, an initramfs and the uncompressed kernel, and for no other kernel.
    let shell = "had=$(du -sm \"$KVET_CACHE\" | cut -f1)\n\
                 mkdir \"$KVET_CACHE.full\"\n\
                 mount -t tmpfs -o size=$((had + 110))m kvet \"$KVET_CACHE.full\"\n\
                 cp -a \"$KVET_CACHE\"/* \"$KVET_CACHE.full\"\n\
                 KVET_CACHE=\"$KVET_CACHE.full\"\n";
    let ended =
        two_kernels(Kvet::unshared(shell, ["matrix", "m.yaml", "-j", "2"]), cache.path()).end().code(3);
    fs::remove_dir(cache.path().with_extension("full")).unwrap();
    one_passed_and_one_could_not(&ended, "MiB");
}

#[test]
fn a_result_that_cannot_be_written_is_said_and_the_others_are_written() {
    // Kernel and initramfs are made before files have to be small.
    matrix(&[GOOD], &["-j", "1"]).end().code(0);
    let shell = "trap '' XFSZ; ulimit -f 8192";
    let suites = [("floods", &["one=flood:6"][..]), GOOD];
    let call = Kvet::under(shell, ["matrix", "m.yaml", "-j", "1", "--retries", "1"]);
    let ended = with_suites(call, &suites).end().code(3);
    let said = |line: &str| line.contains("x86_64-floods/") && line.contains("File too large");
    assert!(ended.stderr.lines().any(said), "{}", ended.stderr);
    let cells = cells(&ended);
    assert_eq!((&cells[1].end, outcomes(&cells[1])), (&CellEnd::Completed, vec![Outcome::Pass; 2]));
    assert!(
        ended.path("results/latest/report.html").is_file()
            && ended.path("results/latest/junit.xml").is_file()
    );
}

#[test]
fn a_test_that_passes_when_it_is_run_again_is_flaky_everywhere() {
    let suites = [("flaky", &["one=pass", "two=alone"][..])];
    for (args, code, outcome) in [
        (&["--retries", "2"][..], 0, Outcome::Pass),
        (&["--retries", "2", "--flaky", "fail"], 1, Outcome::Fail),
    ] {
        let ended = matrix(&suites, args).end().code(code);
        let cells = cells(&ended);
        assert_eq!(outcomes(&cells[0]), [Outcome::Pass, outcome]);
        let flaky = &cells[0].flaky[..];
        assert!(flaky.len() == 1 && flaky[0].test == "faults/two" && flaky[0].run == 2, "{flaky:?}");
        let said = "flaky: passed in run 2, before: it is not alone";
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
        assert!(ended.stdout.contains("~  faults/two"), "the table has it: {}", ended.stdout);
        let run = ended.path("results/latest");
        for (format, text) in [
            ("md", "flaky in 7.2"),
            ("html", said),
            ("junit", said),
            ("json", "\"flaky\": true"),
            ("table", "~ flaky"),
        ] {
            let shown = Kvet::new(["report", run.to_str().unwrap(), "--format", format]).end().code(0);
            assert!(shown.stdout.contains(text), "{format}: {}", shown.stdout);
        }
        let page = fs::read_to_string(run.join("report.html")).unwrap();
        assert!(page.contains(said) && fs::read_to_string(run.join("junit.xml")).unwrap().contains(said));
        let again = run.join("debian-7.2-x86_64-flaky/retries/faults_two/debian-7.2-x86_64-flaky/stdout");
        assert!(fs::read_to_string(again).unwrap().contains("ok 1 two"));
    }
}
