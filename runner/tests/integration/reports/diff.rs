//! What `kvet report --diff` says, and when its gate closes.

use kvet::event::CellEnd;

use super::*;

/// Compares two runs in all forms, which have the same exit code. Gives the text, the Markdown and the JSON.
#[track_caller]
fn diff(before: Vec<CellReport>, after: Vec<CellReport>, code: i32) -> (String, String, serde_json::Value) {
    let (before, after) = (stored(before), stored(after));
    let in_form = |form: &str| {
        let runs = [before.path().to_str().unwrap(), after.path().to_str().unwrap()];
        report(&[&["--diff", "--format", form], &runs[..]].concat()).code(code).stdout
    };
    let (text, markdown, json) = (in_form("table"), in_form("md"), in_form("json"));
    (text, markdown, serde_json::from_str(&json).unwrap())
}

#[test]
fn only_what_newly_fails_closes_the_gate() {
    for (before, after, code, title) in [
        (Some(Pass), Some(Pass), 0, None),
        (Some(Fail), Some(Fail), 0, None),
        (Some(Pass), Some(Fail), 1, Some("newly fails")),
        (Some(Pass), Some(Error), 1, Some("newly fails")),
        (Some(Skip), Some(Fail), 1, Some("newly fails")),
        (Some(Xfail), Some(Fail), 1, Some("newly fails")),
        (None, Some(Fail), 1, Some("newly fails")),
        (Some(Pass), Some(NotRun), 1, Some("not run any more")),
        (Some(Fail), Some(Pass), 0, Some("fixed")),
        (None, Some(Pass), 0, Some("appears")),
        (Some(Pass), None, 0, Some("vanishes")),
        (Some(Fail), None, 0, Some("vanishes")),
        (Some(Pass), Some(Skip), 0, Some("differs")),
    ] {
        let one = |outcome: Option<Outcome>| {
            let test = outcome.map(|outcome| ("g/t", outcome, "because"));
            vec![cell(KERNEL, &[("g/steady", Pass, "")].into_iter().chain(test).collect::<Vec<_>>())]
        };
        let (text, markdown, json) = diff(one(before), one(after), code);
        let context = format!("{before:?} {after:?}\n{text}\n{markdown}\n{json}");
        let Some(title) = title else {
            assert_eq!(text, "2 as before\n");
            assert_eq!(markdown, "**2 as before**\n");
            continue;
        };
        let id = format!("g/t  {KERNEL} x86_64 {}  ", crate::fixtures::SUITE);
        assert!(text.starts_with(&format!("{title} (1):\n  {id}")), "{context}");
        assert!(text.ends_with(&format!("\n1 {title}, 1 as before\n")), "{context}");
        assert!(
            markdown.starts_with(&format!("**1 {title}, 1 as before**\n\n{title} (1):\n\n- `{id}")),
            "{context}"
        );
        assert!(text.contains("  because\n") && markdown.contains("  because`\n"), "{context}");
        assert_eq!(json["changes"].as_array().map(Vec::len), Some(1), "{context}");
        assert_eq!(json["same"], 1, "{context}");
    }
}

#[test]
fn cells_that_come_and_go_and_kernels_that_do_not_boot_any_more() {
    let good = |kernel| cell(kernel, &[("t", Pass, "")]);
    let (text, markdown, _) =
        diff(vec![good("debian:7.1"), good(KERNEL)], vec![good(KERNEL), good("debian:7.3")], 0);
    let ids = ["7.1", "7.3"].map(|version| format!("debian:{version} x86_64 {}", crate::fixtures::SUITE));
    assert!(text.contains(&format!("only before: {}\nonly after: {}\n", ids[0], ids[1])), "{text}");
    assert!(
        markdown.contains(&format!("\nonly before: `{}`\n\nonly after: `{}`\n", ids[0], ids[1])),
        "{markdown}"
    );
    assert!(text.ends_with("\n1 as before\n") && !text.contains("appears"), "a cell is one line: {text}");
    // What is new has no past that would excuse it.
    let bad = cell("debian:7.3", &[("fails", Fail, "x"), ("passes", Pass, ""), ("lost", NotRun, "y")]);
    let (text, _, json) = diff(vec![good(KERNEL)], vec![good(KERNEL), bad], 1);
    assert!(
        text.contains("newly fails (1):\n  fails ") && text.contains("not run any more (1):\n  lost "),
        "{text}"
    );
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(2), "{text}");
    // Neither a cell nor a test that is gone closes the gate.
    diff(vec![good(KERNEL), good("debian:7.3")], vec![cell(KERNEL, &[("other", Pass, "")])], 0);
    let dead = CellReport {
        end: CellEnd::Unbootable { reason: "no console".into(), detail: String::new() },
        ..cell(KERNEL, &[])
    };
    let (text, markdown, _) = diff(vec![good(KERNEL)], vec![dead.clone()], 1);
    assert!(text.contains("kvet/boot") && markdown.contains("no console"), "{text}\n{markdown}");
    let (text, ..) = diff(vec![dead], vec![good(KERNEL)], 0);
    assert!(text.starts_with("fixed (1):\n  kvet/boot"), "{text}");
    // Two point releases are one kernel that went on.
    let (text, markdown, _) = diff(vec![good("debian:7.2.6")], vec![good("debian:7.2.9")], 0);
    assert!(text.starts_with("comparing debian:7.2.6 "), "{text}");
    assert!(markdown.contains("\ncomparing `debian:7.2.6 "), "{markdown}");
}

#[test]
fn what_is_left_out_of_a_long_list_is_counted() {
    let names: Vec<String> = (0..203).map(|number| format!("t{number}")).collect();
    let all = |outcome| {
        vec![cell(KERNEL, &names.iter().map(|name| (name.as_str(), outcome, "")).collect::<Vec<_>>())]
    };
    let (text, markdown, json) = diff(all(Pass), all(Fail), 1);
    assert!(text.contains("newly fails (203):\n") && text.contains("\n  … and 3 more\n"), "{text}");
    assert!(
        markdown.contains("newly fails (203):\n") && markdown.contains("\n- … and 3 more\n"),
        "{markdown}"
    );
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(203));
}

#[test]
fn what_is_no_comparison_is_refused() {
    let run = stored(vec![cell(KERNEL, &[("t", Pass, "")])]);
    let run = run.path().to_str().unwrap();
    for (args, said) in [
        (&["--diff", run][..], "--diff compares two runs, and 1 were given"),
        (&["--diff", run, run, run], "and 3 were given"),
        (&["--diff", run, run, "--format", "html"], "--diff has the formats table, md and json"),
        (&["--diff", run, "/no/such/run"], "/no/such/run"),
    ] {
        let ended = report(args).code(2);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(said), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}
