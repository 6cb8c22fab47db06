//! Outputs in `tests/data/ktap/`, each with the cases that it must give.

use std::path::Path;

use super::*;

/// What is expected of one file: how the job ended, and a line for each event.
fn expected(text: &str) -> (JobEnd, Vec<&str>) {
    let mut lines = text.lines();
    let end = match lines.next().and_then(|line| line.split_once(' ')) {
        Some(("exited", status)) => JobEnd::Exited(status.parse().expect("a status")),
        Some(("killed", signal)) => JobEnd::Signaled(signal.parse().expect("a signal")),
        Some(("lost", how)) => JobEnd::Lost(how.to_owned()),
        other => panic!("no end: {other:?}"),
    };
    (end, lines.collect())
}

/// One event with its detail, if it is a failure.
fn in_full(event: &TestEvent) -> Vec<String> {
    let detail = match event {
        TestEvent::Finished { case, .. } if !case.detail.is_empty() => case.detail.as_str(),
        _ => "",
    };
    std::iter::once(show(event)).chain(detail.lines().map(|line| format!("    | {line}"))).collect()
}

#[test]
fn every_dialect_gives_its_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ktap");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "only {} files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("an output");
        let wanted = std::fs::read_to_string(file.with_extension("expected")).expect("what is expected");
        let (end, wanted) = expected(&wanted);
        let got: Vec<String> =
            cases(&mut KtapParser::new("suite"), &text, &end).iter().flat_map(in_full).collect();
        assert_eq!(got, wanted, "{}", file.display());
    }
}
