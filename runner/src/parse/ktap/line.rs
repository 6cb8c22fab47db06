//! What one line of KTAP says, apart from its place among the others.
//!
//! Source: Documentation/dev-tools/ktap.rst of the kernel, and what kselftest.h and kselftest_harness.h print.

use std::time::Duration;

use crate::event::Outcome;

/// A line of KTAP, its group's indentation removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `KTAP version 1`, `TAP version 13`.
    Version,
    /// `1..5`, `1..0 # SKIP reason`.
    Plan { count: u64, skip: Option<&'a str> },
    /// `ok 1 name`, `not ok 2 - name # SKIP reason`.
    Result(TestResult<'a>),
    /// `# Subtest: name`, or the `# selftests: collection: name` with which kselftest's runner starts a program.
    Subtest(&'a str),
    /// `#  RUN           name ...`.
    Run(&'a str),
    /// `# duration_us: 1234`.
    Took(Duration),
    /// `Bail out! reason`.
    BailOut(&'a str),
    /// Another `# …`, with the sign and one space removed.
    Diagnostic(&'a str),
    /// Anything else.
    Noise(&'a str),
}

/// A result line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestResult<'a> {
    pub ok: bool,
    pub number: u64,
    pub name: &'a str,
    pub directive: Option<Directive>,
    /// What follows the directive, or the `#` if there is no directive that we know.
    pub comment: &'a str,
}

/// What may follow a name, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directive {
    Skip,
    Todo,
    Xfail,
    Timeout,
    Error,
}

impl<'a> Line<'a> {
    pub(super) fn parse(text: &'a str) -> Line<'a> {
        let text = text.trim_end();
        if let Some(rest) = text.strip_prefix('#') {
            return diagnostic(rest);
        }
        if let Some(reason) = text.strip_prefix("Bail out!") {
            return Line::BailOut(reason.trim());
        }
        if is_version(text) {
            return Line::Version;
        }
        if let Some(plan) = plan(text) {
            return plan;
        }
        result(text).map_or(Line::Noise(text), Line::Result)
    }

    /// Whether it may open a group when it is indented: what merely looks like prose may not.
    pub(super) fn is_structure(&self) -> bool {
        !matches!(self, Line::Diagnostic(_) | Line::Noise(_) | Line::Took(_))
    }

    /// Whether it may open a group behind a `# `, where diagnostics can look like anything: only a header may.
    pub(super) fn is_header(&self) -> bool {
        matches!(self, Line::Version | Line::Plan { .. })
    }
}

impl TestResult<'_> {
    /// What a result line amounts to. A skip counts whichever way its line begins; a test that is expected to
    /// fail and does not has passed.
    pub(super) fn outcome(&self) -> Outcome {
        match (self.directive, self.ok) {
            (Some(Directive::Skip), _) => Outcome::Skip,
            (Some(Directive::Timeout | Directive::Error), _) => Outcome::Error,
            (Some(Directive::Xfail), _) | (Some(Directive::Todo), false) => Outcome::Xfail,
            (Some(Directive::Todo) | None, true) => Outcome::Pass,
            (None, false) => Outcome::Fail,
        }
    }
}

fn is_version(text: &str) -> bool {
    ["KTAP version ", "TAP version "].iter().any(|prefix| {
        text.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn plan(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("1..")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let count = number(&rest[..digits])?;
    let tail = rest[digits..].trim_start();
    let comment = match tail.strip_prefix('#') {
        Some(comment) => comment.trim_start(),
        None if tail.is_empty() => return Some(Line::Plan { count, skip: None }),
        None => return None,
    };
    let skip = match directive(comment) {
        Some((Directive::Skip, reason)) => Some(reason),
        _ => None,
    };
    Some(Line::Plan { count, skip })
}

/// Digits as a number; one that does not fit is as large as can be.
fn number(digits: &str) -> Option<u64> {
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX))
}

fn result(text: &str) -> Option<TestResult<'_>> {
    let (ok, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = number(&rest[..digits])?;
    let rest = &rest[digits..];
    if !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("- ").map_or(rest, str::trim_start);
    let (name, directive, comment) = split_comment(if rest == "-" { "" } else { rest });
    Some(TestResult { ok, number, name, directive, comment })
}

/// `name # SKIP reason` to its three parts. The first `#` after a blank (or at the start) counts.
fn split_comment(text: &str) -> (&str, Option<Directive>, &str) {
    let at = text
        .char_indices()
        .find(|(i, c)| *c == '#' && (*i == 0 || text[..*i].ends_with([' ', '\t'])))
        .map(|(i, _)| i);
    let Some(at) = at else { return (text.trim_end(), None, "") };
    let (name, comment) = (text[..at].trim_end(), text[at + 1..].trim());
    match directive(comment) {
        Some((directive, reason)) => (name, Some(directive), reason),
        None => (name, None, comment),
    }
}

/// The directive at the start of a comment, and its reason. `Skipped:` is understood as TAP 13 wants it.
fn directive(comment: &str) -> Option<(Directive, &str)> {
    let end = comment.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(comment.len());
    let word = comment[..end].to_ascii_lowercase();
    let directive = match word.as_str() {
        "todo" => Directive::Todo,
        "xfail" => Directive::Xfail,
        "timeout" => Directive::Timeout,
        "error" => Directive::Error,
        w if w.starts_with("skip") => Directive::Skip,
        _ => return None,
    };
    Some((directive, comment[end..].trim_start_matches([':', ' ', '\t', '-']).trim_end()))
}

/// What follows a `#`.
fn diagnostic(rest: &str) -> Line<'_> {
    let body = rest.trim();
    if let Some(name) = body.strip_prefix("Subtest:") {
        return Line::Subtest(name.trim());
    }
    if body.strip_prefix("selftests: ").is_some_and(|r| r.contains(": ")) {
        return Line::Subtest(body);
    }
    if let Some(name) = body.strip_prefix("RUN ").and_then(|r| r.strip_suffix("...")) {
        return Line::Run(name.trim());
    }
    if let Some(us) = body.strip_prefix("duration_us:").and_then(|us| us.trim().parse().ok()) {
        return Line::Took(Duration::from_micros(us));
    }
    Line::Diagnostic(rest.strip_prefix(' ').unwrap_or(rest))
}

/// Whether a diagnostic says something about its test, and is not just the frame kselftest_harness.h puts around.
pub(super) fn is_meaningful(diagnostic: &str) -> bool {
    let text = diagnostic.trim();
    let framed = |word: &str| text.strip_prefix(word).is_some_and(|r| r.starts_with("  ") || r.is_empty());
    let count = |word: &str, ends: &str| text.starts_with(word) && text.ends_with(ends);
    !(text.is_empty()
        || framed("OK")
        || framed("FAIL")
        || text.chars().all(|c| c.is_ascii_punctuation())
        || count("Starting ", "test cases.")
        || count("FAILED: ", "tests passed.")
        || count("PASSED: ", "tests passed.")
        || text.starts_with("Totals: pass:")
        || text.starts_with("timeout set to "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn res(ok: bool, number: u64, name: &str, directive: Option<Directive>, comment: &'static str) -> String {
        format!("{:?}", Line::Result(TestResult { ok, number, name, directive, comment }))
    }

    #[test]
    fn result_lines_as_they_are_met() {
        use Directive::*;
        let table = [
            ("ok 1 a", res(true, 1, "a", None, "")),
            ("ok 1 - a b", res(true, 1, "a b", None, "")),
            ("not ok 12 a # exit=1", res(false, 12, "a", None, "exit=1")),
            ("ok 3 # SKIP not here", res(true, 3, "", Some(Skip), "not here")),
            ("ok 3 x # skip", res(true, 3, "x", Some(Skip), "")),
            ("ok 3 x #Skipped: why not", res(true, 3, "x", Some(Skip), "why not")),
            ("not ok 4 y # TODO later", res(false, 4, "y", Some(Todo), "later")),
            ("ok 4 y # XFAIL known", res(true, 4, "y", Some(Xfail), "known")),
            (
                "not ok 1 selftests: bpf: t # TIMEOUT 45 seconds",
                res(false, 1, "selftests: bpf: t", Some(Timeout), "45 seconds"),
            ),
            ("not ok 1 e # error no memory", res(false, 1, "e", Some(Error), "no memory")),
            ("ok 1 a#b", res(true, 1, "a#b", None, "")),
            ("ok 99999999999999999999 big", res(true, u64::MAX, "big", None, "")),
            ("ok 5", res(true, 5, "", None, "")),
            ("ok 5 -", res(true, 5, "", None, "")),
        ];
        for (text, expected) in table {
            assert_eq!(format!("{:?}", Line::parse(text)), expected, "{text}");
        }
    }

    #[test]
    fn prose_is_no_result() {
        for text in [
            "ok then",
            "okay 1",
            "not ok",
            "ok 1a",
            "ok",
            "1.. 5",
            "1..5 apples",
            "1..",
            "TAP version",
            "KTAP version x",
        ] {
            assert_eq!(Line::parse(text), Line::Noise(text));
        }
    }

    #[test]
    fn the_other_lines() {
        assert_eq!(Line::parse("KTAP version 1"), Line::Version);
        assert_eq!(Line::parse("TAP version 13 "), Line::Version);
        assert_eq!(Line::parse("1..7"), Line::Plan { count: 7, skip: None });
        assert_eq!(Line::parse("1..0 # SKIP no bpf"), Line::Plan { count: 0, skip: Some("no bpf") });
        assert_eq!(Line::parse("# Subtest: dynptr"), Line::Subtest("dynptr"));
        assert_eq!(Line::parse("# selftests: bpf: test_progs"), Line::Subtest("selftests: bpf: test_progs"));
        assert_eq!(Line::parse("#  RUN           global.read ..."), Line::Run("global.read"));
        assert_eq!(Line::parse("# duration_us: 1500"), Line::Took(Duration::from_micros(1500)));
        assert_eq!(Line::parse("# duration_us: soon"), Line::Diagnostic("duration_us: soon"));
        assert_eq!(Line::parse("Bail out! no memory"), Line::BailOut("no memory"));
        assert_eq!(Line::parse("#   deep"), Line::Diagnostic("  deep"));
    }

    #[test]
    fn frames_are_not_meaningful() {
        for text in [
            "",
            "  ",
            "            OK  global.x",
            "          FAIL  global.x",
            "-----",
            "Starting 3 tests from 1 test cases.",
            "Totals: pass:1 fail:0",
        ] {
            assert!(!is_meaningful(text), "{text:?}");
        }
        for text in ["x.c:12: expected 3, got 4", "FAIL: expected 3", "OK, so what"] {
            assert!(is_meaningful(text), "{text:?}");
        }
    }
}
