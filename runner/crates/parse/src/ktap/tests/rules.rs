//! Each cross-check is needed: with it switched off, contradictory output is green.

use super::super::rule::Rule;
use super::*;

/// Output that only one rule objects to, and how the job ended.
fn contradiction(rule: Rule) -> (String, JobEnd) {
    let text = match rule {
        Rule::Missing => "1..2\nok 1 a\n",
        Rule::Surplus => "1..1\nok 1 a\nok 2 b\n",
        Rule::TwoPlans => "1..1\nok 1 a\n1..1\n",
        Rule::LatePlan => "ok 1 a\n1..2\nok 2 b\n",
        Rule::NoPlan => "TAP version 14\nok 1 a\n",
        Rule::Repeated => "ok 1 a\nok 1 b\n",
        Rule::Disorder => "KTAP version 1\n1..2\nok 2 b\nok 1 a\n",
        Rule::Unnumbered => "TAP version 13\nok 1 a\nok - b\n",
        Rule::Frameless => "ok - a\n",
        Rule::Malformed => "1..1\nok 1 a\nNot ok 2 b\n",
        Rule::Glued => "ok 1 a\nleakednot ok 2 b\n",
        Rule::Strict => "TAP version 14\npragma +strict\n1..1\nok 1 a\nhello\n",
        Rule::Stderr => "1..1\nok 1 a\n2>not ok 2 b\n",
        Rule::TooDeep => return (too_deep(), OK),
        Rule::CutLine => "1..1\nok 1 a …[9 bytes cut]\n",
        Rule::CutOutput => "ok 1 a\n!cut the output passed 64 MiB\nok 2 b\n",
        Rule::ParentOk => "1..1\n    1..1\n    not ok 1 a\nok 1 b\n",
        Rule::ParentNotOk => "1..1\n    1..1\n    ok 1 a\nnot ok 1 b\n",
        Rule::NoParentResult => "KTAP version 1\n    1..1\n    ok 1 a\n",
        Rule::Hollow => "KTAP version 1\n1..1\n  KTAP version 1\nok 1 a\n",
        Rule::Mismatch => "TAP version 14\n1..1\n# Subtest: a\n    1..1\n    ok 1 x\nok 1 b\n",
        Rule::Yaml => "1..1\nok 1 a\n  ---\n  not ok 2 b\n",
        Rule::Unfinished => "ok 1 a\n#  RUN           b ...\n",
        Rule::BailOut => "1..1\nok 1 a\nBail out!\n",
        Rule::Summary => "1..1\nok 1 a\n# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0\n",
        Rule::ExitStatus => return ("1..1\nok 1 a\n".into(), JobEnd::Exited(3)),
        Rule::NoResult => "hello\n",
        Rule::TooMany => return ((1..=11).map(|n| format!("ok {n} t{n}\n")).collect(), OK),
    };
    (text.into(), OK)
}

/// Passing groups in each other, and a failure one level below the last that is read.
fn too_deep() -> String {
    let indent = |depth: usize| "  ".repeat(depth);
    let levels = 0..Limits::default().depth;
    let mut text: String = levels.clone().map(|d| format!("{}KTAP version 1\n", indent(d))).collect();
    text.push_str(&format!("{}not ok 1 a\n", indent(levels.end)));
    text.extend(levels.rev().map(|d| format!("{}ok 1 level{d}\n", indent(d))));
    text
}

/// The bad cases, with one rule off.
fn bad(text: &str, end: &JobEnd, off: Option<Rule>) -> Vec<String> {
    let mut parser = KtapParser::with_limits("suite", Limits { cases: 10, ..Limits::default() });
    parser.rules.off = off;
    let events = cases(&mut parser, text, end);
    events
        .iter()
        .filter(|e| matches!(e, TestEvent::Finished { case, .. } if case.outcome.is_bad()))
        .map(show)
        .collect()
}

#[test]
fn each_rule_finds_its_contradiction() {
    for rule in Rule::ALL {
        let (text, end) = contradiction(rule);
        let found = bad(&text, &end, None);
        // The failure inside of a group speaks for itself.
        let own = usize::from(rule == Rule::ParentOk);
        assert_eq!(found.len(), 1 + own, "{rule:?}: {found:?}");
        assert_eq!(bad(&text, &end, Some(rule)).len(), own, "{rule:?} is not what objects");
    }
}

#[test]
fn no_rule_objects_to_clean_output() {
    for text in [
        "1..2\nok 1 a\nok 2 b\n",
        "TAP version 14\nok - a\nok - b\n1..2\n",
        "TAP version 14\n1..3\nok 2\nok 3\nok 1\n",
        "TAP version 13\n1..2\nok\nok\n",
        "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\nok 1 b\n",
        "ok 1 a\nok 2 b\n",
        "1..0 # SKIP x\n",
    ] {
        assert_eq!(bad(text, &OK, None), Vec::<String>::new(), "{text}");
    }
}
