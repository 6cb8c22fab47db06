mod marks;

use super::*;
use kvet_base::error::Fault;

/// Runs a text through a parser, one millisecond per line, and gives what came out, one line per event.
fn parse(text: &str, end: &JobEnd) -> Vec<String> {
    events(&mut TestProgsParser::new("suite", false), text, end).iter().filter_map(show).collect()
}

fn events(parser: &mut TestProgsParser, text: &str, end: &JobEnd) -> Vec<TestEvent> {
    let mut at = Duration::from_secs(1);
    let mut events = parser.start(at);
    for line in text.lines() {
        at += Duration::from_millis(1);
        events.extend(match (line.strip_prefix("2>"), line.strip_prefix("mark>")) {
            (Some(line), _) => parser.line(Stream::Stderr, at, line),
            (_, Some(name)) => parser.marked(at, name),
            _ => parser.line(Stream::Stdout, at, line),
        });
    }
    events.extend(parser.finish(end, at + Duration::from_millis(1)));
    events
}

/// Everything but starts.
fn show(event: &TestEvent) -> Option<String> {
    Some(match event {
        TestEvent::Started { .. } => return None,
        TestEvent::Finished { case, .. } if case.message.is_empty() => {
            format!("{:?} {}", case.outcome, case.name)
        }
        TestEvent::Finished { case, .. } => format!("{:?} {}: {}", case.outcome, case.name, case.message),
        TestEvent::NoVerdict { fault, reason } => format!("{fault:?}! {reason}"),
        TestEvent::Note(text) => format!("note: {text}"),
        TestEvent::Progress => return None,
    })
}

fn finished(events: &[TestEvent]) -> Vec<&TestCase> {
    let case = |e: &'_ TestEvent| matches!(e, TestEvent::Finished { .. });
    let found = events.iter().filter(|e| case(e));
    found
        .map(|e| match e {
            TestEvent::Finished { case, .. } => case,
            other => panic!("{other:?}"),
        })
        .collect()
}

const OK: JobEnd = JobEnd::Exited(0);
const FAILED: JobEnd = JobEnd::Exited(1);

/// One failure among others, as 6.12 and 7.2 print it; the log of a failure stands before its result.
const ONE_FAILS: &str = "\
#1/1     dynptr/test_a:OK
test_b:FAIL:got 3 unexpected got: actual 3 != expected 4
#1/2     dynptr/test_b:FAIL
#1/3     dynptr/with blanks: and more @unpriv:OK
#1/4     dynptr/test_a:SKIP
#1       dynptr:FAIL
#2       plain:OK

All error logs:
test_b:FAIL:got 3 unexpected got: actual 3 != expected 4
#1/2     dynptr/test_b:FAIL
#1       dynptr:FAIL
Summary: 1/2 PASSED, 1 SKIPPED, 1 FAILED
";

#[test]
fn subtests_are_cases_names_are_kept_apart_and_nothing_is_told_twice() {
    let expected = [
        "Pass dynptr/test_a",
        "Fail dynptr/test_b: test_b:FAIL:got 3 unexpected got: actual 3 != expected 4",
        "Pass dynptr/with blanks: and more @unpriv",
        "Skip dynptr/test_a#2: skipped, and no reason given",
        "Pass plain",
    ];
    assert_eq!(parse(ONE_FAILS, &FAILED), expected);
    let newest = ONE_FAILS.replace("1 SKIPPED, 1 FAILED", "1 SKIPPED, 1/1 FAILED");
    assert_eq!(parse(&newest, &FAILED), expected, "7.3 counts subtests that failed");
}

#[test]
fn the_log_goes_to_the_subtest_that_failed_and_to_no_other() {
    let events = events(&mut TestProgsParser::new("s", true), ONE_FAILS, &FAILED);
    let cases = finished(&events);
    assert_eq!(cases[1].detail, "test_b:FAIL:got 3 unexpected got: actual 3 != expected 4");
    assert!(cases.iter().filter(|c| c.name != "dynptr/test_b").all(|c| c.detail.is_empty()));
}

#[test]
fn times_are_those_between_results_where_these_come_one_by_one() {
    let times = |live| {
        let events = events(&mut TestProgsParser::new("s", live), ONE_FAILS, &FAILED);
        let ms = |c: &&TestCase| c.duration.map(|d| d.as_millis());
        finished(&events).iter().map(ms).collect::<Vec<_>>()
    };
    assert_eq!(times(true), [Some(1), Some(2), Some(1), Some(1), Some(1)]);
    assert_eq!(times(false), [None, None, None, None, Some(1)], "they come all at once there");
}

#[test]
fn a_test_of_5_10_names_its_subtests_after_them() {
    let text =
        "#1/1 one:OK\n#1/2 two:FAIL\n#1 old:FAIL\n#2 next:OK\nSummary: 1/1 PASSED, 0 SKIPPED, 1 FAILED\n";
    assert_eq!(
        parse(text, &FAILED),
        ["Pass old/one", "Fail old/two: failed, and nothing was said about it", "Pass next"]
    );
}

#[test]
fn a_test_that_fails_outside_of_its_subtests_is_a_case_that_no_filter_hides() {
    let text =
        "#1/1     d/a:OK\nsetup:FAIL:netns\n#1       d:FAIL\nSummary: 0/1 PASSED, 0 SKIPPED, 1 FAILED\n";
    let events = events(&mut TestProgsParser::new("s", true), text, &FAILED);
    let shown: Vec<_> = events.iter().filter_map(show).collect();
    assert_eq!(shown, ["Pass d/a", "Fail d: failed, though none of its subtests did: setup:FAIL:netns"]);
    assert!(matches!(events.last(), Some(TestEvent::Finished { about_job: true, .. })));
}

#[test]
fn a_program_that_did_not_load_is_named_in_every_test_it_failed_and_in_one_note() {
    let load = "libbpf: prog 'X': -- BEGIN PROG LOAD LOG --\n0: (85) call y\ny is not sleepable\n\
                -- END PROG LOAD LOG --\nlibbpf: prog 'X': failed to load: -22\n";
    let text = format!(
        "{load}#1/1     d/a:FAIL\n{load}#1/2     d/X:FAIL\n{load}#1/3     d/b:FAIL\n#1       d:FAIL\n\
         Summary: 0/0 PASSED, 0 SKIPPED, 1 FAILED\n"
    );
    assert_eq!(
        parse(&text, &FAILED),
        [
            "Fail d/a: prog 'X' failed to load, which is not this test's own: -22: y is not sleepable",
            "Fail d/X: prog 'X' failed to load: -22: y is not sleepable",
            "Fail d/b: prog 'X' failed to load, which is not this test's own: -22: y is not sleepable",
            "note: prog 'X' failed to load (-22: y is not sleepable) and failed 2 tests that are not about it: \
             d/a, d/b",
        ]
    );
}

#[test]
fn what_was_not_built_and_what_skipped_some_subtests() {
    let text = "#1       absent:SKIP (not built)\n#2/1     d/a:SKIP\n#2/2     d/b:OK\n#2       d:OK (SKIP: 1/2)\n\
                Summary: 1/1 PASSED, 2 SKIPPED (1 not built), 0 FAILED\n";
    assert_eq!(
        parse(text, &OK),
        ["Skip absent: it was not built", "Skip d/a: skipped, and no reason given", "Pass d/b"]
    );
}

/// `-v`, up to where a guest was lost.
const CUT: &str = "\
#1/1     dynptr/test_a:OK
test_b:PASS:skel_open 0 nsec
#1/2     dynptr/test_b:OK
";

#[test]
fn output_that_breaks_off_is_no_pass() {
    let lost = JobEnd::Lost("kernel panic: x".into());
    let finished = ["Pass dynptr/test_a", "Pass dynptr/test_b"];
    let table = [
        (
            lost,
            "Error dynptr: ended without a result: the job was lost with its guest: kernel panic: x (in one of its \
             subtests, after dynptr/test_b)",
        ),
        (
            OK,
            "Error dynptr: the output ends without test_progs' summary (in one of its subtests, after dynptr/test_b)",
        ),
        (
            JobEnd::Exited(255),
            "Error dynptr: ended without a result: the job exited with status 255 (in one of its subtests, after \
             dynptr/test_b)",
        ),
    ];
    for (end, expected) in table {
        let got = parse(CUT, &end);
        assert_eq!((&got[..2], &got[2..]), (&finished.map(String::from)[..], &[expected.to_owned()][..]));
    }
    let between = parse("#1       plain:OK\n", &JobEnd::Signaled(6));
    assert_eq!(
        between,
        [
            "Pass plain",
            "Error unknown test: ended without a result: the job was killed by SIGABRT (after plain)"
        ]
    );
}

#[test]
fn a_mark_on_the_console_names_the_test_that_ran() {
    let lost = JobEnd::Lost("kernel panic: x".into());
    let text = format!("mark>dynptr/test_a\n{CUT}mark>dynptr/test_c\n");
    let events = events(&mut TestProgsParser::new("s", true), &text, &lost);
    assert_eq!(
        events.iter().filter_map(show).collect::<Vec<_>>(),
        [
            "Pass dynptr/test_a",
            "Pass dynptr/test_b",
            "Error dynptr/test_c: ended without a result: the job was lost with its guest: kernel panic: x"
        ]
    );
    let starts = |e: &&TestEvent| matches!(e, TestEvent::Started { .. });
    assert_eq!(events.iter().filter(starts).count(), 3, "each test starts once");
}

#[test]
fn the_watchdog_names_the_test_that_hangs() {
    let notified = format!("{CUT}2>WATCHDOG: test case dynptr/test_c executes for 10 seconds...\n");
    let killed = format!(
        "{notified}2>WATCHDOG: test case dynptr/test_c executes for 120 seconds, terminating with SIGSEGV\n\
         2>Caught signal #11!\n2>Stack trace:\n"
    );
    let last = |text: &str, end: &JobEnd| parse(text, end).pop().unwrap();
    for end in [JobEnd::Signaled(11), JobEnd::Exited(139)] {
        assert_eq!(last(&killed, &end), "Error dynptr/test_c: test_progs' watchdog ended it after 120 s");
    }
    let timeout = JobEnd::TimedOut("dynptr/test_c ran longer than 90 s".into());
    assert_eq!(
        last(&notified, &timeout),
        "Error dynptr/test_c: ended without a result: the job was ended by kvet: dynptr/test_c ran longer than 90 s"
    );
    let over = format!("{notified}#1/3     dynptr/test_c:OK\n#1       dynptr:OK\n");
    let got = last(&over, &timeout);
    assert!(got.starts_with("Error unknown test: ended without a result"), "it was over by then: {got}");
}

const NOTHING: &str =
    "Caller! no test of suite suite was selected (hint: `kvet suite show suite` lists what it has)";

#[test]
fn every_exit_status_has_its_meaning() {
    let pass = "#1       a:OK\nSummary: 1/0 PASSED, 0 SKIPPED, 0 FAILED\n";
    let fail = "#1       a:FAIL\nSummary: 0/0 PASSED, 0 SKIPPED, 1 FAILED\n";
    let table: &[(&str, i32, &[&str])] = &[
        (pass, 0, &["Pass a"]),
        (fail, 1, &["Fail a: failed, and nothing was said about it"]),
        (pass, 1, &["Pass a", "Error exit status: exit status 1 though no test failed"]),
        ("Summary: 0/0 PASSED, 0 SKIPPED, 0 FAILED\n", 2, &[NOTHING]),
        ("", 2, &[NOTHING]),
        (
            "2>Failed to reset process affinity: -1!\n",
            3,
            &["Host! test_progs could not set up what its tests need: Failed to reset process affinity: -1!"],
        ),
        (
            "2>x: unrecognized option '-w'\n",
            64,
            &["Caller! test_progs does not take its arguments (status 64): x: unrecognized option '-w'"],
        ),
        ("", 234, &["Caller! test_progs does not take its arguments (status 234)"]),
        (
            "Failed to get number of CPUs: -2!\n",
            255,
            &["Host! test_progs ended with 255 before its first test: Failed to get number of CPUs: -2!"],
        ),
        ("hello\n", 0, &["Error suite: no test result in the output: the job exited with status 0"]),
        (
            "#1       a:OK\n",
            3,
            &[
                "Pass a",
                "Host! test_progs could not set up what its tests need",
                "Error unknown test: ended without a result: the job exited with status 3 (after a)",
            ],
        ),
    ];
    for (text, status, expected) in table {
        assert_eq!(parse(text, &JobEnd::Exited(*status)), *expected, "{status}: {text}");
    }
    let silent = parse("", &JobEnd::Exited(255));
    assert!(silent[0].starts_with("Host! ") && silent[0].contains("add_key"), "{silent:?}");
}

#[test]
fn counts_that_differ_from_what_was_read_are_an_error() {
    let text = ONE_FAILS.replace("Summary: 1/2", "Summary: 1/3");
    assert_eq!(
        parse(&text, &FAILED).last().unwrap(),
        "Error summary: test_progs counted 1/3 passed, 1 failed, and its output shows 1/2 passed, 1 failed"
    );
    let spoofed = ONE_FAILS.replace("#1/2     dynptr/test_b:FAIL", "#1/2     dynptr/test_b:OK");
    let got = parse(&spoofed, &FAILED);
    assert!(got.iter().any(|line| line.starts_with("Fail dynptr: failed, though none")), "{got:?}");
}

#[test]
fn a_test_that_prints_the_heading_of_the_logs_hides_no_result() {
    let text = "All error logs:\n#1/1     d/a:OK\n#1/2     d/b:FAIL\n#1       d:FAIL\n\
                Summary: 0/1 PASSED, 0 SKIPPED, 1 FAILED\n";
    assert_eq!(parse(text, &FAILED), ["Pass d/a", "Fail d/b: failed, and nothing was said about it"]);
    let other = "#1/1     d/a:OK\nAll error logs:\n#1/1     d/a:FAIL\n#1       d:FAIL\n";
    let got = parse(other, &FAILED);
    assert_eq!(got[..2], ["Pass d/a", "Fail d/a#2: failed, and nothing was said about it"]);
}

#[test]
fn results_behind_text_and_results_on_standard_error() {
    let text = "half a line#1/1     d/a:OK\nsee #7 x:OK\n2>#1/2     d/b:OK\n#1       d:OK\n\
                Summary: 1/1 PASSED, 0 SKIPPED, 0 FAILED\n";
    assert_eq!(parse(text, &OK), ["Pass d/a"]);
}

#[test]
fn a_second_run_in_one_job_counts_anew() {
    let once = "#1/1     d/a:OK\n#1       d:OK\nSummary: 1/1 PASSED, 0 SKIPPED, 0 FAILED\n";
    assert_eq!(parse(&format!("{once}{once}"), &OK), ["Pass d/a", "Pass d/a#2"]);
    let cut = format!("{once}#1/1     d/a:OK\n");
    assert!(parse(&cut, &OK)[2].starts_with("Error d: the output ends without"), "the second one is cut");
}

#[test]
fn a_test_without_its_own_result_is_an_error() {
    let text = "#1/1     d/a:OK\n#2       e:OK\nSummary: 1/1 PASSED, 0 SKIPPED, 0 FAILED\n";
    assert_eq!(
        parse(text, &OK),
        ["Pass d/a", "Error d: it has no result of its own, and another test went on", "Pass e"]
    );
}

#[test]
fn whatever_comes_memory_is_bounded_and_nothing_panics() {
    let limits = Limits {
        cases: 50,
        detail: 4096,
        total_detail: 8192,
        spare_detail: 64,
        open: 4,
        ..Limits::default()
    };
    let mut parser = TestProgsParser::with_limits("s", true, limits);
    let mut text = String::new();
    for i in 0..500 {
        text += &format!("mark>t/{i}\nlibbpf: prog 'p{i}': failed to load: -22\n{}\n", "x".repeat(400));
        text += &format!("#{i}/1    t{i}/{}:FAIL\n#{i}/2    bare:FAIL\n", "n".repeat(600));
    }
    let events = events(&mut parser, &text, &FAILED);
    let cases = finished(&events);
    assert!(cases.len() <= 52, "{}", cases.len());
    assert!(cases.iter().all(|c| c.name.len() < 600 && c.message.len() < 2000));
    assert!(cases.iter().map(|c| c.detail.len()).sum::<usize>() < 8192 + 52 * 70);
    assert!(cases.iter().any(|c| c.name == "too many tests"));
    let starts = events.iter().filter(|e| matches!(e, TestEvent::Started { .. })).count();
    assert!(starts <= 101, "{starts}");
    assert!(events.iter().filter(|e| matches!(e, TestEvent::Note(_))).count() <= 4);
}

#[test]
fn any_cut_of_any_output_is_read_without_a_false_pass() {
    for end in 0..ONE_FAILS.len() - 1 {
        let got = parse(&ONE_FAILS[..end], &OK);
        let complete = ONE_FAILS[..end].lines().any(|l| l == "Summary: 1/2 PASSED, 1 SKIPPED, 1 FAILED");
        assert!(complete || got.iter().any(|l| l.starts_with("Error")), "cut at {end}: {got:?}");
    }
    assert!(matches!(
        TestProgsParser::new("s", true).finish(&JobEnd::Exited(255), Duration::ZERO)[..],
        [TestEvent::NoVerdict { fault: Fault::Host, .. }]
    ));
}

// --- saved outputs ----------------------------------------------------------------------------------------------

/// Name, result and log of a real run. See the README beside the files.
fn saved(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/test_progs/");
    std::fs::read_to_string(format!("{path}{name}.txt")).unwrap()
}

/// What a person reads in the output: the result of each subtest, and of each test without any. Written in another
/// way than the parser, on purpose.
fn by_hand(text: &str) -> Vec<(String, Outcome)> {
    let first = text.split("\nAll error logs:\n").next().unwrap();
    let pattern = regex::Regex::new(r"(?m)^#(\d+)(/\d+)? +(.+?):(OK|FAIL|SKIP)(?: \(.*\))?$").unwrap();
    let lines: Vec<regex::Captures<'_>> = pattern.captures_iter(first).collect();
    let is_group = |c: &regex::Captures<'_>| {
        c.get(2).is_none() && lines.iter().any(|other| other.get(2).is_some() && other[1] == c[1])
    };
    let outcome = |word: &str| match word {
        "OK" => Outcome::Pass,
        "FAIL" => Outcome::Fail,
        _ => Outcome::Skip,
    };
    let shown = lines.iter().filter(|c| !is_group(c));
    shown.map(|c| (c[3].to_owned(), outcome(&c[4]))).collect()
}

#[test]
fn saved_outputs_have_the_names_and_results_that_stand_in_them() {
    for (name, dynptr, failed) in [
        ("6.1", 31, 1),
        ("6.1-v", 31, 1),
        ("6.12", 88, 2),
        ("6.12-v", 88, 2),
        ("7.2", 128, 5),
        ("7.2-v", 128, 5),
        ("7.3", 129, 5),
        ("7.3-v", 129, 5),
        ("6.12-on-7.2", 88, 26),
    ] {
        let text = saved(name);
        let live = name.ends_with("-v");
        let events = events(&mut TestProgsParser::new("s", live), &text, &FAILED);
        let plain = |name: &str| match name.rsplit_once('#') {
            Some((base, _)) => base.to_owned(),
            None => name.to_owned(),
        };
        let cases = finished(&events);
        let read: Vec<_> = cases.iter().map(|c| (plain(&c.name), c.outcome)).collect();
        assert_eq!(read, by_hand(&text), "{name}");
        assert_eq!(read.iter().filter(|(n, _)| n.starts_with("dynptr/")).count(), dynptr, "{name}");
        assert_eq!(read.iter().filter(|(_, o)| *o == Outcome::Fail).count(), failed, "{name}");
        let names: std::collections::HashSet<_> = cases.iter().map(|c| &c.name).collect();
        assert_eq!(names.len(), cases.len(), "{name}: no name twice");
        assert!(cases.iter().all(|c| c.duration.is_some() || !live), "{name}");
        assert!(!events.iter().any(|e| matches!(e, TestEvent::NoVerdict { .. })), "{name}");
        let wordless =
            cases.iter().find(|c| c.outcome == Outcome::Fail && c.message.contains("nothing was said"));
        assert_eq!(wordless, None, "{name}");
    }
}

#[test]
fn verbose_and_quiet_runs_of_one_release_tell_the_same() {
    for release in ["6.1", "6.12", "7.2", "7.3"] {
        let of = |name: &str, live| {
            let events = events(&mut TestProgsParser::new("s", live), &saved(name), &FAILED);
            let mut cases: Vec<_> = finished(&events).iter().map(|c| (c.name.clone(), c.outcome)).collect();
            cases.sort_by(|a, b| a.0.cmp(&b.0));
            cases
        };
        assert_eq!(of(release, false), of(&format!("{release}-v"), true));
    }
}

#[test]
fn the_words_of_saved_failures() {
    let events = events(&mut TestProgsParser::new("s", false), &saved("6.12-on-7.2"), &FAILED);
    let cases = finished(&events);
    let case = |name: &str| cases.iter().find(|c| c.name == name).unwrap();
    let refused = case("dynptr/ringbuf_missing_release1");
    assert_eq!(
        refused.message,
        "validate_msgs:FAIL:695 expect_msg; EXPECTED   SUBSTR: 'Unreleased reference id=2'; the verifier said: \
         BPF_EXIT instruction in main prog would lead to reference leak"
    );
    assert!(refused.detail.starts_with("run_subtest:PASS:obj_open_mem"), "{}", refused.detail);
    assert!(refused.detail.ends_with("EXPECTED   SUBSTR: 'Unreleased reference id=2'"), "{}", refused.detail);
    assert!(case("dynptr/test_ringbuf").detail.is_empty());
}

#[test]
fn every_cut_of_a_saved_output_lacks_what_comes_after_it_and_says_so() {
    let text = saved("7.2-v");
    let lines: Vec<&str> = text.lines().collect();
    let summary = lines.iter().position(|line| line.starts_with("Summary:")).unwrap();
    for end in (0..summary).step_by(97) {
        let lost = JobEnd::Lost("kernel panic: x".into());
        let cut = lines[..end].join("\n");
        let events = events(&mut TestProgsParser::new("s", true), &cut, &lost);
        let cases = finished(&events);
        let results = by_hand(&cut).len();
        let kept = cases.iter().filter(|c| c.outcome != Outcome::Error).count();
        // A test that is cut before its own result may look like one without subtests to the hand.
        assert!(kept == results, "cut at {end}: {kept} of {results}");
        assert_eq!(cases.iter().filter(|c| c.outcome == Outcome::Error).count(), 1, "cut at {end}");
    }
}
