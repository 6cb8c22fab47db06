//! What is wrong with a matrix, without a guest.

use kvet::event::CellEnd;

use super::shards::kernels;
use super::*;

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
        crate::fixtures::SUITE
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
    let tail = format!("archs: [x86_64]\nsuites: [{}]\n", crate::fixtures::SUITE);
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
    let suite = crate::fixtures::SUITE;
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
        let suite = crate::fixtures::SUITE;
        format!(
            "kernels: [file:./a, file:./b]\nsuites: [{suite}]\nsettings:\n  memory: {memory}\narchs: [x86_64]\n"
        )
    };
    let ended = hopeless(&text("999G")).code(2);
    assert!(
        ended.stderr.contains("m.yaml:4: a guest of 1022976 MiB: there are at most "),
        "{}",
        ended.stderr
    );
    assert!(!ended.path("results").exists());
    let args = ["run", "-k", "7.2", "-a", "x86_64", "--memory", "999G"];
    let ended = Kvet::new(args).without_guest().end().code(2);
    let said = "debian:7.2 x86_64 dynptr: a guest of 1022976 MiB: there are at most ";
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(said), "{}", ended.stderr);
    // With less it gets as far as the kernels, which are not there.
    assert!(hopeless(&text("256M")).code(2).stderr.contains("file:./b"));
}
