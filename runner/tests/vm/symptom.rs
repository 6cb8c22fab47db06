//! `kvet bisect` where the symptom is not the only trouble: it comes and goes, and kernels beside it fail in another way.

use std::fs;
use std::path::PathBuf;

use kvet::bisect::state::{State, Verdict};

use crate::support::{Ended, Kvet, have};

const BAD: &str = "debian:6.12.107";
const GOOD: &str = "debian:6.12.95";
/// Fails otherwise than what is looked for.
const OTHER: &str = "6.12.101";
const FIRST: &str = "6.12.105";

/// From 6.12.105 on it fails in every other boot.
const TEST: &str = r##"#!/bin/sh
boot=$(cat /sys/class/dmi/id/product_serial)
why=
case $(uname -r) in
6.12.101*) why='cannot allocate memory' ;;
6.12.105* | 6.12.107*) [ $((boot % 2)) = 0 ] || why='expected 3, got 4' ;;
esac
echo 'KTAP version 1'
echo '1..1'
[ -z "$why" ] || echo "# $why"
if [ -z "$why" ]; then echo 'ok 1 symptom'; else echo 'not ok 1 symptom'; fi
"##;

/// A QEMU whose guests know which one they are, from 1: by their serial number.
const QEMU: &str = r#"#!/bin/sh
count="$(dirname "$0")/boots"
boots=$(cat "$count" 2> /dev/null || echo 0)
case " $* " in *' -kernel '*) boots=$((boots + 1)) && echo $boots > "$count" ;; esac
PATH=${PATH#*:}
exec qemu-system-x86_64 "$@" -smbios "type=1,serial=$boots"
"#;

const SUITE: &str = "name: other\ntitle: t\nprogram: ./test.sh\nformat: ktap\nmemory: 256M\n";

/// The folder of the only bisection.
fn folder(ended: &Ended) -> PathBuf {
    let found: Vec<PathBuf> =
        fs::read_dir(ended.path("results")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_flaky_symptom_is_found_around_a_kernel_that_fails_otherwise() {
    have(BAD, "x86_64");
    have(GOOD, "x86_64");
    let args =
        ["bisect", "-a", "x86_64", "-s", "./suite.yaml", "-t", "symptom", "--bad", BAD, "--good", GOOD];
    let ended = Kvet::under("export PATH=\"$PWD:$PATH\"", args)
        .args(["--match", "^expected [0-9]", "--runs", "2"])
        .file("suite.yaml", SUITE)
        .file("test.sh", TEST)
        .executable("test.sh")
        .file("qemu-system-x86_64", QEMU)
        .executable("qemu-system-x86_64")
        .end()
        .code(0);
    assert_eq!(ended.stdout.lines().last(), Some(format!("first bad: {FIRST}").as_str()));
    let folder = folder(&ended);
    let state = State::load(&folder.join("state.json")).unwrap();
    let step = |kernel: &str| state.steps.iter().find(|step| step.shown == kernel).unwrap();
    let seen = |kernel: &str| (step(kernel).verdict, step(kernel).runs, step(kernel).failed_runs);
    // The bad end failed in one of its runs, so that nothing is sure after two.
    assert_eq!(seen("6.12.107"), (Verdict::Bad, 2, 1));
    assert_eq!(state.failure_rate, 0.5);
    assert_eq!(seen("6.12.95"), (Verdict::Good, 2, 0));
    // One run shows that it fails otherwise, whatever else it may do.
    assert_eq!(seen(OTHER), (Verdict::Skip, 1, 0));
    let why = "symptom: fail, which is not the symptom: cannot allocate memory";
    assert_eq!(step(OTHER).reason, why);
    // It passed first.
    assert_eq!(seen(FIRST), (Verdict::Bad, 2, 1));
    assert_eq!(step(FIRST).reason, "expected 3, got 4");

    // Everything that is not certain is said, wherever the answer is told.
    let mail = fs::read_to_string(folder.join("answer.md")).unwrap();
    for told in [&ended.stdout, &mail] {
        for words in [
            &format!("could not be judged, and may be the first as well: {OTHER}\n"),
            why,
            "0 of 2 runs failed (75 % sure)",
            "1 of 2 runs failed",
            "expected 3, got 4",
        ] {
            assert!(told.contains(words), "{words} in {told}");
        }
    }
    let json = fs::read_to_string(folder.join("answer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["answer"]["doubtful"][0][1], OTHER, "{json}");
    assert_eq!(json["answer"]["doubtful"].as_array().map(Vec::len), Some(1), "{json}");
}
