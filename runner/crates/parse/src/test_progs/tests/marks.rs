//! Marks on the console, and output that is missing.

use super::*;

#[test]
fn marks_give_the_times_and_those_that_come_late_are_of_no_harm() {
    let text = "mark>d\nsetup\nmark>d/a\n#1/1     d/a:OK\n#1/2     d/b:OK\nmark>d/b\nmark>d/a\nx\n\
                #1/3     d/a:OK\n#1       d:OK\nmark>plain\nx\ny\n#2       plain:OK\n\
                Summary: 2/3 PASSED, 0 SKIPPED, 0 FAILED\n";
    let events = events(&mut TestProgsParser::new("s", true), text, &OK);
    let shown: Vec<_> = events.iter().filter_map(show).collect();
    assert_eq!(shown, ["Pass d/a", "Pass d/b", "Pass d/a#2", "Pass plain"]);
    let times: Vec<_> = finished(&events).iter().map(|c| c.duration.unwrap().as_millis()).collect();
    assert_eq!(times, [1, 1, 2, 3]);
    let starts = events.iter().filter(|e| matches!(e, TestEvent::Started { .. })).count();
    assert_eq!(starts, 5, "the group and each once");
}

#[test]
fn a_crash_is_blamed_on_what_was_marked_last_and_has_no_result() {
    let lost = JobEnd::Lost("panic".into());
    let error = |name: &str, where_: &str| {
        format!("Error {name}: ended without a result: the job was lost with its guest: panic{where_}")
    };
    for (text, last) in [
        ("mark>plain\n", error("plain", "")),
        ("#1       old:OK\nmark>plain\n", error("plain", "")),
        ("mark>d\nmark>d/a\n#1/1     d/a:OK\nmark>d/b\n", error("d/b", "")),
        ("mark>d\nmark>d/a\n#1/1     d/a:OK\n", error("d", " (outside of its subtests, after d/a)")),
        ("mark>d\nmark>d/a\n#1/1     d/a:OK\n#1       d:OK\nmark>e\n", error("e", "")),
        // The console is behind: what it says last is over.
        ("#1/1     d/a:OK\nmark>d\nmark>d/a\n", error("d", " (outside of its subtests, after d/a)")),
    ] {
        let mut parser = TestProgsParser::new("s", true);
        let events = events(&mut parser, text, &lost);
        assert_eq!(events.iter().filter_map(show).next_back(), Some(last), "{text}");
        let whole = matches!(events.last(), Some(TestEvent::Finished { case, about_job: true, .. })
            if !case.name.contains('/'));
        assert_eq!(whole, !text.ends_with("d/b\n"), "{text}");
    }
}

#[test]
fn missing_output_is_found_by_the_summary() {
    let (head, tail) = ("#1/1     d/a:OK\n", "#1       d:OK\nSummary: 1/2 PASSED, 0 SKIPPED, 0 FAILED\n");
    let mut parser = TestProgsParser::new("s", true);
    let mut got = events_of(&mut parser, head);
    got.extend(parser.cut(Duration::from_secs(2), "the pipe stayed open"));
    got.extend(events_of(&mut parser, tail));
    got.extend(parser.finish(&OK, Duration::from_secs(3)));
    assert_eq!(
        got.iter().filter_map(show).next_back().unwrap(),
        "Error summary: test_progs counted 1/2 passed, 0 failed, and its output shows 1/1 passed, 0 failed \
         (output is missing: the pipe stayed open)"
    );
}

fn events_of(parser: &mut TestProgsParser, text: &str) -> Vec<TestEvent> {
    text.lines().flat_map(|line| parser.line(Stream::Stdout, Duration::from_secs(1), line)).collect()
}
