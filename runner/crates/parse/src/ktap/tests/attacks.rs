//! Attempts to get a green run out of output with a failing or lost test, by people who know nothing but the specifications.

use super::*;

/// Whether anything is bad.
fn red(text: &str) -> bool {
    cases(&mut KtapParser::new("suite"), text, &OK)
        .iter()
        .any(|event| matches!(event, TestEvent::Finished { case, .. } if case.outcome.is_bad()))
}

/// Output that hides a failing or a lost test.
const HIDING: &[&str] = &[
    // Signs that cannot be seen, and blanks that are none.
    "\u{feff}not ok 1 a\n",
    "1..1\nok 1 a\n\u{200b}not ok 2 b\n",
    "1..1\nok 1 a\n\u{a0}not ok 2 b\n",
    "1..1\nok 1 a\nnot\u{a0}ok 2 b\n",
    "1..1\nok 1 a\nnot\tok 2 b\n",
    // `not ` and `ok` written by two calls, with another line between.
    "1..2\nok 1 a\nnot # warning: late\nok 2 b\n",
    "not\nok 1 a\n",
    // Directives that are none, or hide behind another comment.
    "KTAP version 1\n1..1\nnot ok 1 walk # skip list corrupt\n",
    "1..1\nnot ok 1 a # SKIPPED_FRAMES=3\n",
    "1..1\nnot ok 1 a # b # SKIP c\n",
    "1..1\nnot ok 1 a \\# SKIP c\n",
    "1..1\nnot ok 1 a# SKIP c\n",
    "1..1\nnot ok 1 a # TODO: later\n",
    "1..1\nnot ok 1 a # xfail\n",
    "1..1\nok 1 a # TIMEOUT\n",
    "1..1\nok 1 a # ERROR x\n",
    "not ok 1 aok 2 b # SKIP c\nok 2 b\n",
    // Plans.
    "1..2 # SKIP x\nok 1 a\n",
    "1..0\n",
    "1..0 # no network\n",
    "1..0 # SKIP x\n1..1\nok 1 a\n",
    "1..3 tests\nok 1 a\nok 2 b\n",
    "1..2ok 1 a\nok 2 b\n",
    "TAP version 14\nok 1 a\nok 2 b\n",
    "TAP version 14\n1..2\nok 2 b\nok 4 d\n",
    "1..18446744073709551616\nok 1 a\n",
    "ok 0 a\n",
    "ok 1 a\nok 18446744073709551615 b\n",
    // Documents that are lost behind others.
    "KTAP version 1\n1..1\nKTAP version 1\n1..1\nok 1 a\n",
    "1..1\nok 1 a\nTAP version 13\n1..2\nok 1 b\n",
    "TAP version 13\n1..2\nok 1 a\nTAP version 13\n1..0 # SKIP x\n",
    "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 b\n",
    "KTAP version 1\n1..2\n  KTAP version 1\n  1..1\n  ok 1 a\nok 2 b\n",
    "KTAP version 1\n  KTAP version 1\n  # Subtest: a\n  1..1\n  ok 1 x\n  KTAP version 1\n  # Subtest: b\n  1..1\n  ok 1 y\nok 1 b\n",
    // Failures inside of what passes.
    "1..1\n# not ok 1 a\nok 1 b\n",
    "1..1\n    # Subtest: b\n    not ok 1 a\nok 1 b # SKIP x\n",
    "KTAP version 1\n1..1\n\tKTAP version 1\n\t1..1\n\tnot ok 1 a\nok 1 b # XFAIL x\n",
    "KTAP version 1\n1..1\n   not ok 1 a\nok 1 b\n",
    "KTAP version 1\n1..1\n not ok 1 a\nok 1 b\n",
    "KTAP version 1\n1..1\n#  not ok 1 a\nok 1 b\n",
    "KTAP version 1\n1..1\n# # not ok 1 a\nok 1 b\n",
    "KTAP version 1\n1..1\n#not ok 1 a\nok 1 b\n",
    "1..1\nok 1 b\n# Bail out! no memory\n",
    "1..1\nok 1 b\nBAIL OUT!\n",
    // YAML that is not what it looks like.
    "1..1\nok 1 a\n  ---\nnot ok 2 b\n  ...\n",
    "1..1\nok 1 a\n---\n  not ok 2 b\n  ...\n",
    "1..2\n  ---\n  not ok 1 a\n  ...\nok 2 b\n",
    "TAP version 14\n1..1\nok 1 a\n  ---\n  x: |\n    not ok 2 b\n",
    // Where they do not belong.
    "1..1\nok 1 a\n2>not ok 2 b\n",
    "1..1\nok 1 a\n2>not ok\n",
    "1..1\nok 1 a\n2>Bail out! no memory\n",
    // Failures behind other text, whatever the plan and the numbers say.
    "ok 1\n1..1not ok 2 - b\n",
    "TAP version 14\n1..2\nok - a\nxnot ok - b\nok - c\n",
    "ok 1\nok 2\n...not ok 4\n",
    "ok 1 a\n..not ok - b\n1..1\n",
    "ok 1 a\nrunning b... not ok\n",
    "ok 1 a\nok 2 bBail out! x\n",
    "1..1\nnot ok 1 - a # TODO xnot ok 1 - a\n",
    "TAP version 13\nok 1 a\n  ---\n  a: b\n  ...not ok 2 b\n1..1\n",
    "TAP version 14not ok 1 - a\nok - b\n1..1\n",
    "ok 1 a\nnot o\n",
    // Plans that are none, directives that are none.
    "KTAP version 1\n1..two\nok 1 a\n",
    "1..1\nnot ok 1 a #\u{a0}SKIP x\n",
    "1..1\nnot ok 1 a # skipped\n",
    // Subtests and documents that are announced and lost.
    "TAP version 14\n1..1\n# Subtest: a\n    ok 1\nok 1 - a\n",
    "TAP version 14\n1..1\n# Subtest: a\nok 1 - a\n",
    "TAP version 14\n1..1\n# Subtest: a\n    1..1\n    ok 1\nok 1 - b\n",
    "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: a\nok 1 a\n",
    "TAP version 13\n1..1\n# selftests: a: b\n# TAP version 13\nok 1 selftests: a: b\n",
    "TAP version 14\n1..1\nok 1 a\nTAP version 14\n",
    // `pragma +strict`, which a subtest cannot switch off for its parent.
    "TAP version 14\npragma +strict\n1..1\nok 1 a\nhello\n",
    "TAP version 14\npragma +strict\n# Subtest: c\n    1..1\n    pragma -strict\n    ok 1\nok 1 - c\nhello\n1..1\n",
    // What producers sum up.
    "ok 1 a\n# failed 1 among 2 test(s)\n1..1\n",
    "ok 1 a\n1..1\n# Looks like you planned 3 tests but ran 1.\n",
    "TAP version 13\nok 1 a\n1..1\n# pass 1\n# fail 0\n# cancelled 1\n",
    "TAP version 13\nok 1 a\n1..1\n# fail  1\n",
    "TAP version 14\nok 1 a\n1..1\n# failed 1 of 2 tests\n",
    "1..1\nok 1 a\nFailed 3/6 subtests\n",
    "1..1\nok 1 a\ntest result: FAILED. 1 passed; 1 failed\n",
    "1..1\nok 1 a\n# FAIL:  1\n",
    "TAP version 13\nok 1 a\n# Planned tests != run tests (2 != 1)\n",
    // Prose that might be results, and nothing else.
    "ok then\n",
    "ok\nok\n",
    "ok - a\nok - b\n",
    "OK 1 a\nOK 2 b\n",
    "all tests passed\n",
    "PASS: a\nFAIL: b\n",
    "[    1.000000] no KUnit here\n",
];

#[test]
fn no_hidden_failure_is_green() {
    for text in HIDING {
        assert!(red(text), "{text}");
    }
}

#[test]
fn valid_output_is_green() {
    for text in [
        "TAP version 14\n1..3\nok 2\nok 3\nok 1\n",
        "TAP version 14\n1..0\n",
        "TAP version 14\n1..0 # no network\n",
        "TAP version 14\n1..2\nok 1 - a\n  ---\n  got: 1\n  ...\n\nok 2 - b # SKIP no\n",
        "TAP version 14\npragma +bail\n1..1\n# not ok 1 quoted\nok 1\n",
        "TAP version 13\nok\nok\nok\n1..3\n",
        "1..2\nok 1 # skip x\nnot ok 2 # TODO x\n",
        "KTAP version 1\n1..1\nok 1 a # SKIP\n",
        "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n    KTAP version 1\n    1..1\n    ok 1 x\n  ok 1 y\n  ok 2 z # SKIP\nok 1 w\n",
        "KTAP version 1\n1..2\nok 1 a # rcode=0\nrandom: crng init done\n    indented: prose\nnot yet\nnote: ok\nok 2 b\n",
        "    KTAP version 1\n    1..1\n    ok 1 a\n",
        "# TAP version 13\n# 1..1\n# ok 1 a\n",
        "\u{feff}TAP version 14\r\n1..1\r\nok 1 a\r\n",
        "1..1\nok 1 a\nResult: PASS\n",
        "1..1\nnot root, so slow\nok 1 a\n",
        "TAP version 13\n# Subtest: t\nok 1 - t\n1..1\n# tests 1\n# pass 1\n# fail 0\n",
        "KTAP version 1\n1..2\n# waiting 3 not ok 7 times\nok 1 a\nthe attempt was not ok\nok 2 b\n",
        "KTAP version 1\nKTAP version 1\n1..1\nok 1 a\n",
    ] {
        let text = text.replace('\r', "");
        let events = cases(&mut KtapParser::new("suite"), &text, &OK);
        let shown: Vec<String> = events.iter().map(show).collect();
        assert!(!red(&text), "{text}{shown:#?}");
    }
}
