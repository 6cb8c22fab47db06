//! What hostile output can do: not much.

use super::*;

#[test]
fn floods_are_bounded() {
    let limits =
        Limits { cases: 10, detail: 1000, total_detail: 1500, spare_detail: 100, ..Limits::default() };
    let mut parser = KtapParser::with_limits("suite", limits);
    let mut text = String::new();
    for i in 1..=1000 {
        for j in 0..100 {
            text.push_str(&format!("# line {j} of {i}\n"));
        }
        text.push_str(&format!("not ok {i} t{i}\n"));
    }
    text.push_str(&"#  RUN  again ...\n".repeat(500));
    text.push_str(&format!("{}KTAP version 1\n", "    ".repeat(1000)));
    let events = cases(&mut parser, &text, &OK);
    assert_eq!(events.len(), 12);
    assert!(
        show(&events[10]).starts_with("Error too many tests: more than 10 test cases"),
        "{}",
        show(&events[10])
    );
    assert_eq!(show(&events[11]), "Note(\"1491 test cases were too many and are not kept\")");
    let detail: usize = events
        .iter()
        .map(|e| match e {
            TestEvent::Finished { case, .. } => case.detail.len(),
            _ => 0,
        })
        .sum();
    assert!(detail < 1500 + 10 * 110, "{detail}");
}

#[test]
fn hostile_lines_never_panic() {
    let pieces = [
        "ok ",
        "not ok ",
        "1",
        "..",
        " # ",
        "SKIP",
        "    ",
        "\t",
        "# ",
        "KTAP version 1",
        "1..2",
        "#  RUN  ",
        " ...",
        "Subtest: ",
        "é",
        "Bail out!",
        "-",
        "99999999999999999999",
        "x",
    ];
    let mut x: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |n: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 16) as usize % n
    };
    for _ in 0..300 {
        let mut text = String::new();
        for _ in 0..60 {
            for _ in 0..next(7) {
                text.push_str(pieces[next(pieces.len())]);
            }
            text.push('\n');
        }
        assert!(!parse(&text, &JobEnd::Exited(1)).is_empty(), "something is always reported: {text}");
    }
}

#[test]
fn names_are_bounded_in_total() {
    let limits = Limits { names: 1 << 20, ..Limits::default() };
    let mut parser = KtapParser::with_limits("suite", limits);
    let long = "n".repeat(200);
    let mut text: String = (0..14)
        .map(|depth| format!("{0}KTAP version 1\n{0}# Subtest: {long}\n", "  ".repeat(depth)))
        .collect();
    text.extend((1..=5000).map(|number| format!("{}ok {number} {long}{number}\n", "  ".repeat(13))));
    let events = cases(&mut parser, &text, &OK);
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            TestEvent::Finished { case, .. } => Some(case.name.as_str()),
            _ => None,
        })
        .collect();
    assert!(names.iter().all(|name| name.len() < 530), "a name is too long");
    let bytes: usize = names.iter().map(|name| name.len()).sum();
    // `#123`, which keeps equal names apart, is not counted.
    assert!(bytes < (1 << 20) + 8 * names.len(), "{bytes} bytes of {} names", names.len());
    assert!(names[0].ends_with("nnn1"), "the end of a long name is kept");
    assert!(names.contains(&"too many tests"), "and it is said");
}
