//! One line of test_progs' output.
//!
//! Source: tools/testing/selftests/bpf/test_progs.c of 5.10, 6.1, 6.12, 7.2 and 7.3-rc7, and what they print.

use kvet_base::event::Outcome;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `#12/3    dynptr/test_x:OK`; 5.10 leaves the test's name out.
    Subtest { test: u32, number: u32, name: &'a str, verdict: Verdict },
    /// `#12      dynptr:OK`.
    Test { number: u32, name: &'a str, verdict: Verdict },
    /// `Summary: 1/5 PASSED, 0 SKIPPED, 0 FAILED`.
    Summary(Summary),
    /// `All error logs:`, after which failures are told once more.
    ErrorLogs,
    /// `WATCHDOG: test case dynptr/test_x executes for 10 seconds...`.
    Watchdog { name: &'a str, seconds: u32, killing: bool },
    /// `Caught signal #11!`.
    Caught(i32),
    /// Anything else.
    Text(&'a str),
}

/// A result as test_progs writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    Ok,
    Fail,
    Skip,
    /// `OK (SKIP: 1/5)`: of a test with subtests.
    OkWithSkips,
    /// `SKIP (not built)`.
    NotBuilt,
}

impl Verdict {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Verdict::Ok | Verdict::OkWithSkips => Outcome::Pass,
            Verdict::Fail => Outcome::Fail,
            Verdict::Skip | Verdict::NotBuilt => Outcome::Skip,
        }
    }
}

/// What test_progs counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    pub(super) passed: u64,
    pub(super) subtests_passed: u64,
    pub(super) failed: u64,
    /// Since 7.3.
    pub(super) subtests_failed: Option<u64>,
}

impl<'a> Line<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let text = text.trim_end();
        None.or_else(|| result(text))
            .or_else(|| summary(text))
            .or_else(|| watchdog(text))
            .or_else(|| caught(text))
            .unwrap_or(if text == "All error logs:" { Line::ErrorLogs } else { Line::Text(text) })
    }

    /// A result that stands behind text that ended without a newline: that text and the result.
    pub(super) fn glued(text: &'a str) -> Option<(&'a str, Self)> {
        let text = text.trim_end();
        split_verdict(text)?;
        let starts = text.match_indices('#').map(|(at, _)| at).filter(|at| *at > 0).take(16);
        starts.filter_map(|at| Some((&text[..at], result(&text[at..])?))).next()
    }
}

fn result(text: &str) -> Option<Line<'_>> {
    let (test, rest) = number(text.strip_prefix('#')?)?;
    let (subtest, rest) = match rest.strip_prefix('/') {
        Some(rest) => number(rest).map(|(subtest, rest)| (Some(subtest), rest))?,
        None => (None, rest),
    };
    if !rest.starts_with(' ') {
        return None;
    }
    let (name, verdict) = split_verdict(rest)?;
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    Some(match subtest {
        Some(number) => Line::Subtest { test, number, name, verdict },
        None => Line::Test { number: test, name, verdict },
    })
}

/// What stands before the verdict, which the line ends with.
fn split_verdict(text: &str) -> Option<(&str, Verdict)> {
    let plain = [
        (":OK", Verdict::Ok),
        (":FAIL", Verdict::Fail),
        (":SKIP", Verdict::Skip),
        (":SKIP (not built)", Verdict::NotBuilt),
    ];
    let found = plain.iter().find_map(|(end, verdict)| Some((text.strip_suffix(end)?, *verdict)));
    found.or_else(|| {
        let (name, counts) = text.strip_suffix(')')?.rsplit_once(":OK (SKIP: ")?;
        let (skipped, all) = counts.split_once('/')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (digits(skipped) && digits(all)).then_some((name, Verdict::OkWithSkips))
    })
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The two counts may each have one for subtests; between them may stand what was not built.
fn summary(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("Summary: ")?;
    let parts: Vec<&str> = rest.split(", ").collect();
    let [passed, skipped, failed] = parts[..] else { return None };
    let (passed, subtests_passed) = count(passed.strip_suffix(" PASSED")?)?;
    number(skipped)?.1.strip_prefix(" SKIPPED")?;
    let (failed, subtests_failed) = count(failed.strip_suffix(" FAILED")?)?;
    let subtests_passed = subtests_passed?;
    Some(Line::Summary(Summary { passed, subtests_passed, failed, subtests_failed }))
}

/// `1` or `1/5`.
fn count(text: &str) -> Option<(u64, Option<u64>)> {
    match text.split_once('/') {
        Some((tests, subtests)) => Some((tests.parse().ok()?, Some(subtests.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

fn watchdog(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("WATCHDOG: test case ")?;
    let (name, rest) = rest.rsplit_once(" executes for ")?;
    let (seconds, rest) = number(rest)?;
    let killing = rest.contains("terminating");
    (!name.is_empty()).then_some(Line::Watchdog { name, seconds, killing })
}

/// Behind it may stand the number of a worker: `[3]: Caught signal #11!`.
fn caught(text: &str) -> Option<Line<'_>> {
    let (before, rest) = text.split_once("Caught signal #")?;
    if !(before.is_empty() || before.starts_with('[')) {
        return None;
    }
    Some(Line::Caught(number(rest)?.0.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_releases() {
        use Verdict::*;
        let sub = |test, number, name, verdict| Line::Subtest { test, number, name, verdict };
        let test = |number, name, verdict| Line::Test { number, name, verdict };
        for (text, line) in [
            ("#12/3    dynptr/test_x:OK", sub(12, 3, "dynptr/test_x", Ok)),
            ("#12/3 test_x:FAIL", sub(12, 3, "test_x", Fail)),
            ("#1/128   dynptr/a b: c @unpriv:SKIP", sub(1, 128, "dynptr/a b: c @unpriv", Skip)),
            ("#4/1     x/y:OK:FAIL", sub(4, 1, "x/y:OK", Fail)),
            ("#12      dynptr:OK", test(12, "dynptr", Ok)),
            ("#12      dynptr:OK (SKIP: 1/5)", test(12, "dynptr", OkWithSkips)),
            ("#3       x:SKIP (not built)  ", test(3, "x", NotBuilt)),
        ] {
            assert_eq!(Line::parse(text), line, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_result() {
        for text in [
            "#12/3 dynptr/test_x",
            "#12/3dynptr/test_x:OK",
            "# 12 dynptr:OK",
            "#12:OK",
            "#12      :OK",
            "#99999999999 x:OK",
            "#12/ x:OK",
            "#1 x:OK (SKIP: a/b)",
            "; #12 in a source line:OKAY",
            "Summary: 1 PASSED, 0 SKIPPED, 0 FAILED",
            "Summary: 1/2 PASSED, 0 SKIPPED, 99999999999999999999999 FAILED",
            "WATCHDOG: test case  executes for x seconds",
        ] {
            assert!(matches!(Line::parse(text), Line::Text(_)), "{text}: {:?}", Line::parse(text));
        }
    }

    #[test]
    fn summaries_of_all_releases() {
        let counted = |text| match Line::parse(text) {
            Line::Summary(s) => (s.passed, s.subtests_passed, s.failed, s.subtests_failed),
            other => panic!("{other:?}"),
        };
        assert_eq!(counted("Summary: 1/5 PASSED, 0 SKIPPED, 0 FAILED"), (1, 5, 0, None));
        assert_eq!(counted("Summary: 1/5 PASSED, 2 SKIPPED (1 not built), 3 FAILED"), (1, 5, 3, None));
        assert_eq!(counted("Summary: 0/127 PASSED, 0 SKIPPED, 1/1 FAILED"), (0, 127, 1, Some(1)));
        assert_eq!(counted("Summary: 0/1 PASSED, 2 SKIPPED (1 not built), 1/5 FAILED"), (0, 1, 1, Some(5)));
    }

    #[test]
    fn trouble() {
        assert_eq!(
            Line::parse("WATCHDOG: test case dynptr/a b executes for 120 seconds, terminating with SIGSEGV"),
            Line::Watchdog { name: "dynptr/a b", seconds: 120, killing: true }
        );
        assert_eq!(
            Line::parse("WATCHDOG: test case dynptr executes for 10 seconds..."),
            Line::Watchdog { name: "dynptr", seconds: 10, killing: false }
        );
        assert_eq!(Line::parse("[3]: Caught signal #11!"), Line::Caught(11));
        assert_eq!(Line::parse("Caught signal #11!"), Line::Caught(11));
    }

    #[test]
    fn a_result_behind_text_without_a_newline() {
        let (text, line) = Line::glued("no newline here #x #12/3    d/test_x:OK").unwrap();
        assert_eq!(text, "no newline here #x ");
        assert!(matches!(line, Line::Subtest { test: 12, number: 3, name: "d/test_x", .. }));
        assert_eq!(Line::glued("#12/3    d/test_x:OK"), None, "nothing is before it");
        assert_eq!(Line::glued("see #12 d for more"), None);
    }
}
