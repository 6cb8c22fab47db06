mod attacks;
mod limits;
mod model;
mod rules;
mod table;

use super::*;

/// Runs a text through a parser, one millisecond per line, and gives what came out, one line per event.
fn parse(text: &str, end: &JobEnd) -> Vec<String> {
    let mut parser = KtapParser::new("suite");
    cases(&mut parser, text, end).iter().map(show).collect()
}

fn cases(parser: &mut KtapParser, text: &str, end: &JobEnd) -> Vec<TestEvent> {
    let mut at = Duration::from_secs(1);
    let mut events = parser.start(at);
    for line in text.lines() {
        at += Duration::from_millis(1);
        events.extend(if let Some(line) = line.strip_prefix("2>") {
            parser.line(Stream::Stderr, at, line)
        } else if let Some(why) = line.strip_prefix("!cut ") {
            parser.cut(at, why)
        } else {
            parser.line(Stream::Stdout, at, line)
        });
    }
    events.extend(parser.finish(end, at + Duration::from_millis(1)));
    events.retain(|event| *event != TestEvent::Progress);
    events
}

fn show(event: &TestEvent) -> String {
    match event {
        TestEvent::Started { name, .. } => format!("> {name}"),
        TestEvent::Finished { case, .. } if case.message.is_empty() => {
            format!("{:?} {}", case.outcome, case.name)
        }
        TestEvent::Finished { case, .. } => format!("{:?} {}: {}", case.outcome, case.name, case.message),
        TestEvent::NoVerdict { .. } | TestEvent::Note(_) | TestEvent::Progress => format!("{event:?}"),
    }
}

const OK: JobEnd = JobEnd::Exited(0);

/// What the dynptr harness prints.
const OURS: &str = "\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: dynptr_success
    1..3
    #  RUN           test_read_write ...
    # duration_us: 10500
    ok 1 test_read_write
    #  RUN           test_clone ...
    # expected 3, got 4
    # a second line
    not ok 2 test_clone
    #  RUN           test_old ...
    ok 3 test_old # SKIP needs 6.12, this is 6.1
not ok 1 dynptr_success
    KTAP version 1
    # Subtest: dynptr_fail
    1..1
    #  RUN           missing_release ...
    ok 1 missing_release
ok 2 dynptr_fail
";

#[test]
fn our_own_format() {
    let expected = [
        "> dynptr_success/test_read_write",
        "Pass dynptr_success/test_read_write",
        "> dynptr_success/test_clone",
        "Fail dynptr_success/test_clone: expected 3, got 4",
        "> dynptr_success/test_old",
        "Skip dynptr_success/test_old: needs 6.12, this is 6.1",
        "> dynptr_fail/missing_release",
        "Pass dynptr_fail/missing_release",
    ];
    assert_eq!(parse(OURS, &JobEnd::Exited(1)), expected);
    assert_eq!(parse(OURS, &OK), expected, "results count, whatever the exit status says");
}

#[test]
fn durations_and_details() {
    let events = cases(&mut KtapParser::new("suite"), OURS, &JobEnd::Exited(1));
    let finished: Vec<&TestCase> = events
        .iter()
        .filter_map(|e| match e {
            TestEvent::Finished { case, .. } => Some(case),
            _ => None,
        })
        .collect();
    assert_eq!(finished[0].duration, Some(Duration::from_micros(10_500)), "as the test itself says");
    assert_eq!(finished[1].duration, Some(Duration::from_millis(3)), "from the announcement to the result");
    assert_eq!(finished[1].detail, "expected 3, got 4\na second line");
    assert_eq!(finished[0].detail, "");
}

#[test]
fn a_crash_loses_nothing_that_had_finished() {
    let cut: String = OURS.lines().take(11).map(|l| format!("{l}\n")).collect();
    let got = parse(&cut, &JobEnd::Lost("kernel panic: sysrq triggered crash".into()));
    assert_eq!(
        got,
        [
            "> dynptr_success/test_read_write",
            "Pass dynptr_success/test_read_write",
            "> dynptr_success/test_clone",
            "Error dynptr_success/test_clone: ended without a result: the job was lost with its guest: kernel panic: sysrq triggered crash",
            "NotRun dynptr_success/test 3: planned as number 3 of 3; not run: the job was lost with its guest: kernel panic: sysrq triggered crash",
            "NotRun test 2: planned as number 2 of 2; not run: the job was lost with its guest: kernel panic: sysrq triggered crash",
        ]
    );
}

#[test]
fn kselftest_runner_with_a_harness_program_inside() {
    let text = "\
TAP version 13
1..3
# timeout set to 45
# selftests: bpf: test_maps
# TAP version 13
# 1..2
# # Starting 2 tests from 1 test cases.
# #  RUN           global.one ...
# #            OK  global.one
# ok 1 global.one
# #  RUN           global.two ...
# # maps.c:12:two:Expected 1 (1) == 2 (2)
# # two: Test terminated by assertion
# #          FAIL  global.two
# not ok 2 global.two
# # FAILED: 1 / 2 tests passed.
# # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0
not ok 1 selftests: bpf: test_maps # exit=1
# selftests: bpf: plain.sh
# hello from a script
ok 2 selftests: bpf: plain.sh
# selftests: bpf: slow.sh
not ok 3 selftests: bpf: slow.sh # TIMEOUT 45 seconds
";
    assert_eq!(
        parse(text, &OK),
        [
            "> selftests: bpf: test_maps/global.one",
            "Pass selftests: bpf: test_maps/global.one",
            "> selftests: bpf: test_maps/global.two",
            "Fail selftests: bpf: test_maps/global.two: maps.c:12:two:Expected 1 (1) == 2 (2)",
            "Pass selftests: bpf: plain.sh",
            "Error selftests: bpf: slow.sh: timed out: 45 seconds",
        ]
    );
}

#[test]
fn groups_named_only_by_their_result_and_nested_twice() {
    let text = "\
KTAP version 1
1..1
  KTAP version 1
  1..2
    KTAP version 1
    1..1
    ok 1 deepest
  ok 1 inner
  ok 2 plain
ok 1 outer
";
    assert_eq!(parse(text, &OK), ["Pass outer/inner/deepest", "Pass outer/plain"]);
    let cut: String = text.lines().take(7).map(|l| format!("{l}\n")).collect();
    let got = parse(&cut, &JobEnd::Signaled(9));
    assert_eq!(got[0], "Pass deepest", "what finished is told even if its group's name never came");
    assert_eq!(
        got[1..],
        [
            "Error test 1: its tests have results and the group itself has none: the job was killed by SIGKILL",
            "NotRun test 2: planned as number 2 of 2; not run: the job was killed by SIGKILL",
            "Error exit status: the job was killed by SIGKILL, between tests"
        ]
    );
}

#[test]
fn directives() {
    let text = "\
1..8
ok 1 a # SKIP not here
not ok 2 b # skip either way
not ok 3 c # TODO later
ok 4 d # TODO done
ok 5 e # XFAIL known bug
not ok 6 f # ERROR no memory
not ok 7 g # exit=9
ok 8 - h # SKIP
";
    assert_eq!(
        parse(text, &JobEnd::Exited(1)),
        [
            "Skip a: not here",
            "Skip b: either way",
            "Xfail c: later",
            "Pass d",
            "Xfail e: known bug",
            "Error f: no memory",
            "Fail g: exit=9",
            "Skip h: no reason given",
        ]
    );
}

#[test]
fn plans_that_do_not_fit() {
    assert_eq!(
        parse("1..4\nok 1 a\nok 3 c\n", &OK),
        [
            "Pass a",
            "Pass c",
            "Error test 2: planned as number 2 of 4; it has no result",
            "Error test 4: planned as number 4 of 4; it has no result"
        ]
    );
    assert_eq!(
        parse("ok 1 a\nok 2 b\n1..1\n", &OK),
        ["Pass a", "Pass b", "Error plan: 2 results where 1 were planned (line 3)"]
    );
    assert_eq!(
        parse("1..1\nok 1 a\n1..2\n", &OK),
        ["Pass a", "Error plan: two plans: 1..1 on line 1 and 1..2 on line 3"]
    );
    assert_eq!(parse("ok 1 a\n1..1\n", &OK), ["Pass a"], "a plan may come last");
    let huge = parse("1..18446744073709551615\nok 1 a\n", &OK);
    assert_eq!(huge.len(), 1 + 64 + 1, "a hostile plan makes no hostile report");
    assert!(huge[65].starts_with("Error missing tests: 18446744073709551550 more"), "{}", huge[65]);
}

#[test]
fn no_result_is_an_error_and_says_how_the_job_ended() {
    assert_eq!(parse("", &OK), ["Error suite: no test result in the output: the job exited with status 0"]);
    assert_eq!(
        parse("2>cannot load\n", &JobEnd::Signaled(11)),
        ["Error suite: no test result in the output: the job was killed by SIGSEGV"]
    );
    assert_eq!(parse("1..0 # SKIP no bpf here\n", &OK), ["Skip suite: no bpf here"]);
    assert_eq!(parse("needs root\n", &JobEnd::Exited(4)), ["Skip suite: needs root"]);
    assert_eq!(
        parse("KTAP version 1\n1..0\n", &OK),
        ["Error suite: no test result in the output: the job exited with status 0"]
    );
}

#[test]
fn exit_status_against_results() {
    assert_eq!(
        parse("1..1\nok 1 a\n", &JobEnd::Exited(3)),
        ["Pass a", "Error exit status: exit status 3 though no test failed"]
    );
    assert_eq!(parse("1..1\nok 1 a # SKIP x\n", &JobEnd::Exited(4)), ["Skip a: x"]);
    assert_eq!(
        parse("1..1\nok 1 a\n", &JobEnd::TimedOut("the job ran longer than 90s".into())),
        [
            "Pass a",
            "Error exit status: the job was ended by kvet: the job ran longer than 90s, between tests"
        ]
    );
    assert_eq!(
        parse("1..1\n#  RUN  a ...\n", &JobEnd::Signaled(11)),
        ["> a", "Error a: ended without a result: the job was killed by SIGSEGV"],
        "the running test takes the blame, once"
    );
}

#[test]
fn groups_speak_for_themselves_only_when_they_contradict_or_are_empty() {
    let contradiction =
        "KTAP version 1\n1..1\n    # Subtest: g\n    1..1\n    ok 1 a\n# cleanup failed\nnot ok 1 g\n";
    assert_eq!(
        parse(contradiction, &OK),
        ["Pass g/a", "Fail g: the group is not ok though every test in it is: cleanup failed"]
    );
    let empty =
        "1..2\n    # Subtest: g\n    1..0 # SKIP no tun\nok 1 g\n    # Subtest: h\n    1..0\nnot ok 2 h\n";
    assert_eq!(parse(empty, &OK), ["Skip g: no tun", "Fail h: not ok, and nothing was said about it"]);
    let unreported = "1..2\n    # Subtest: g\n    1..2\n    #  RUN  a ...\n    #  RUN  b ...\n    ok 2 b\nok 1 g\nok 2 z\n";
    assert_eq!(
        parse(unreported, &OK),
        [
            "> g/a",
            "> g/b",
            "Pass g/b",
            "Error g/a: ended without a result",
            "Error g: it has no failure on line 7, and a test in it failed",
            "Pass z"
        ],
        "an ok group does not cover a test that was lost"
    );
}

#[test]
fn bail_out() {
    let text = "1..3\nok 1 a\n#  RUN  b ...\nBail out! no more memory\n";
    assert_eq!(
        parse(text, &JobEnd::Exited(1)),
        [
            "Pass a",
            "> b",
            "Error b: bail out: no more memory",
            "NotRun test 3: planned as number 3 of 3; not run: bail out: no more memory"
        ]
    );
    assert_eq!(parse("Bail out!\n", &JobEnd::Exited(1)), ["Error bail out: bail out: no reason given"]);
}

#[test]
fn same_names_are_kept_apart() {
    let text = "1..3\n#  RUN  x ...\nok 1 x\n#  RUN  x ...\nnot ok 2 x\nok 3 x#2\n";
    assert_eq!(
        parse(text, &OK),
        ["> x", "Pass x", "> x#2", "Fail x#2: not ok, and nothing was said about it", "Pass x#2#2"]
    );
}

#[test]
fn noise_between_the_lines_changes_nothing() {
    let noise = "[   12.345678] random: crng init done\n   indented prose\n# Subtest\nok\nnot okay at all\n# ok 7 quoted\n\t\n<6>hello\n";
    let noisy: String = OURS.lines().map(|l| format!("{noise}{l}\n")).collect();
    let quiet = parse(OURS, &OK);
    let names = |v: &[String]| -> Vec<String> {
        v.iter().map(|l| l.split(": ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&parse(&noisy, &OK)), names(&quiet));
}

#[test]
fn what_a_failure_says_first() {
    let table = [
        ("# \n# ----\n# first\n# second\nnot ok 1 a\n", "first"),
        ("printed\nnot ok 1 a\n", "printed"),
        ("2>complained\nnot ok 1 a\n", "complained"),
        ("2>complained\nprinted\n# meant\nnot ok 1 a\n", "meant"),
        ("not ok 1 a # exit=3\n", "exit=3"),
    ];
    for (text, message) in table {
        let text = format!("KTAP version 1\n{text}");
        assert_eq!(parse(&text, &OK), [format!("Fail a: {message}")], "{text}");
    }
}

#[test]
fn order_of_numbers() {
    let text = "1..3\nok 1 a\nok 3 c\nok 2 b\n";
    assert_eq!(parse(text, &OK), ["Pass a", "Pass c", "Pass b"], "TAP allows any order");
    assert_eq!(
        parse(&format!("KTAP version 1\n{text}"), &OK),
        ["Pass a", "Pass c", "Error numbers: number 2 stands on line 5, after higher ones", "Pass b"]
    );
}

#[test]
fn two_documents_in_one_output() {
    let text = "TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..2\nok 1 b\n";
    assert_eq!(
        parse(text, &OK),
        ["Pass a", "Pass b", "Error test 2: planned as number 2 of 2; it has no result"]
    );
}

#[test]
fn a_tap_result_waits_for_its_words() {
    let mut parser = KtapParser::new("suite");
    let at = Duration::from_secs(1);
    let mut line = |text| parser.line(Stream::Stdout, at, text);
    assert_eq!(line("not ok 1 a"), [TestEvent::Progress], "the clock of the test starts again");
    assert_eq!(line("# why"), []);
    let events = line("ok 2 b");
    assert_eq!(events.iter().map(show).collect::<Vec<_>>(), ["Fail a: why", "Progress"]);
    let left = parser.finish(&OK, at);
    assert_eq!(left.iter().map(show).collect::<Vec<_>>(), ["Pass b"]);
}
