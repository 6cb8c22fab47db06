//! What one line says, apart from its place among the others.
//!
//! Sources: Documentation/dev-tools/ktap.rst of the kernel, the specifications of TAP 13 and 14, and what kselftest.h,
//! kselftest_harness.h and kselftest's runner print.

use std::time::Duration;

/// Which specification a document follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `KTAP version N`.
    Ktap,
    /// `TAP version N`; 12 where there is no header.
    Tap(u32),
}

/// A line of KTAP or TAP, its group's indentation removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `KTAP version 1`, `TAP version 13`.
    Version(Format),
    /// `1..5`, `1..0 # SKIP reason`: the count and what follows the `#`.
    Plan { count: u64, comment: Option<&'a str> },
    /// `ok 1 name`, `not ok - name # SKIP reason`.
    Result(TestResult<'a>),
    /// `# Subtest: name`.
    Subtest(&'a str),
    /// `# selftests: collection: name`, with which kselftest's runner starts a program.
    Program(&'a str),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TestResult<'a> {
    pub(super) ok: bool,
    /// None where the program leaves counting to the reader.
    pub(super) number: Option<u64>,
    /// Whether a number, a ` - ` or a `#` shows that it is meant as a result: `ok then` may be prose.
    pub(super) sure: bool,
    /// Name and comment.
    pub(super) rest: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn parse(text: &'a str) -> Line<'a> {
        let text = text.trim_end();
        match text.as_bytes().first() {
            Some(b'#') => diagnostic(&text[1..]),
            Some(b'o' | b'n') => result(text).map_or(Line::Noise(text), Line::Result),
            Some(b'1') => plan(text).unwrap_or(Line::Noise(text)),
            Some(b'K' | b'T') => version(text).map_or(Line::Noise(text), Line::Version),
            Some(b'B' | b'b') => bail_out(text).map_or(Line::Noise(text), Line::BailOut),
            _ => Line::Noise(text),
        }
    }

    /// Whether it may open a group when it is indented: what merely looks like prose may not.
    pub(super) fn is_structure(&self) -> bool {
        match self {
            Line::Diagnostic(_) | Line::Noise(_) | Line::Took(_) => false,
            Line::Result(result) => result.sure || !result.ok,
            _ => true,
        }
    }

    /// Whether it is a result that a program must have meant as one.
    pub(super) fn is_sure_result(&self) -> bool {
        matches!(self, Line::Result(result) if result.sure)
    }
}

fn version(text: &str) -> Option<Format> {
    let number = |prefix: &str| {
        let digits = text.strip_prefix(prefix)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
    };
    number("KTAP version ").map(|_| Format::Ktap).or_else(|| number("TAP version ").map(Format::Tap))
}

/// TAP 14 does not distinguish upper and lower case here.
fn bail_out(text: &str) -> Option<&str> {
    const WORDS: &str = "bail out!";
    let (words, reason) = text.split_at_checked(WORDS.len())?;
    words.eq_ignore_ascii_case(WORDS).then(|| reason.trim())
}

/// Text after the number does not make it less of a plan: the stricter reading is the safe one.
fn plan(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("1..")?;
    let (count, rest) = number(rest)?;
    // A result may be glued to it.
    if !(ends_word(rest) || ["#", "ok", "not ok"].iter().any(|next| rest.starts_with(next))) {
        return None;
    }
    let comment = rest.trim_start().strip_prefix('#').map(str::trim);
    Some(Line::Plan { count, comment })
}

/// The digits at the beginning as a number, and what follows. One that does not fit is as large as can be.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    (digits > 0).then(|| (number.parse().unwrap_or(u64::MAX), rest))
}

fn ends_word(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([' ', '\t'])
}

/// TAP wants no more than `ok` or `not ok`, KTAP a number as well.
fn result(text: &str) -> Option<TestResult<'_>> {
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    if !ends_word(rest) {
        return None;
    }
    let rest = rest.trim_start();
    let (number, rest) = match number(rest) {
        Some((number, after)) if ends_word(after) => (Some(number), after.trim_start()),
        _ => (None, rest),
    };
    let named = if rest == "-" { Some("") } else { rest.strip_prefix("- ").map(str::trim_start) };
    let sure = number.is_some() || named.is_some() || rest.starts_with('#');
    Some(TestResult { ok, number, sure, rest: named.unwrap_or(rest) })
}

/// What follows a `#`.
fn diagnostic(rest: &str) -> Line<'_> {
    let body = rest.trim();
    let parsed = match body.as_bytes().first() {
        Some(b'S') => body.strip_prefix("Subtest:").map(|name| Line::Subtest(name.trim())),
        Some(b's') => program(body).map(Line::Program),
        Some(b'R') => {
            body.strip_prefix("RUN ").and_then(|r| r.strip_suffix("...")).map(|name| Line::Run(name.trim()))
        }
        Some(b'd') => {
            let took = body.strip_prefix("duration_us:").and_then(|us| us.trim().parse().ok());
            took.map(|us| Line::Took(Duration::from_micros(us)))
        }
        _ => None,
    };
    parsed.unwrap_or(Line::Diagnostic(rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `selftests: net/forwarding: bridge.sh`, as kselftest's runner calls a program.
pub(super) fn program(text: &str) -> Option<&str> {
    let text = text.trim_end();
    let (folder, name) = text.strip_prefix("selftests: ")?.split_once(": ")?;
    let word = |part: &str| !part.is_empty() && !part.contains([' ', '\t', ':']);
    (word(folder) && word(name)).then_some(text)
}

/// Whether a line that is no result may be meant as one that failed: another case, no blank, or several, before the number, or
/// a `not ` whose `ok` another line took away. What may be meant as a pass is left to the numbers and the plan: a pass that is
/// missing hides no failure.
pub(super) fn may_be_failure(text: &str) -> bool {
    let text = text.trim_start();
    let starts =
        |text: &str, word: &str| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    if !starts(text, "not") {
        return false;
    }
    if text.trim_end().eq_ignore_ascii_case("not o") {
        return true;
    }
    let blank = |c: char| c.is_whitespace() || is_invisible(c);
    let rest = &text[3..];
    let torn = rest.trim_start_matches(blank);
    if torn.is_empty() || torn.len() < rest.len() && torn.starts_with(['#', '[']) {
        return true;
    }
    let rest = rest.trim_start_matches(|c: char| blank(c) || matches!(c, '_' | '-'));
    starts(rest, "ok") && !rest[2..].starts_with(|c: char| c.is_alphabetic() || c == '\'')
}

/// Whether a line that is no plan may be meant as one: `1..two`, `1..`, `0..3`.
pub(super) fn may_be_plan(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && text[digits..].starts_with("..") && !text[digits + 2..].contains([' ', '\t', '.'])
}

/// Characters that take no room, with which a line may begin and look as if it did not.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{ad}' | '\u{61c}')
}

/// What LineSplitter puts at the end of a line that it cut.
pub(super) fn is_cut(text: &str) -> bool {
    text.ends_with(']') && text.ends_with(" bytes cut]") && text.contains(" …[")
}

/// Whether a diagnostic shows that the output is that of the kernel's own tools, which explain a result before it even under a
/// header of TAP: kselftest's runner and harness, KUnit.
pub(super) fn is_kernels(diagnostic: &str) -> bool {
    let text = diagnostic.trim_start();
    text.starts_with("timeout set to ")
        || text.starts_with("overriding timeout to ")
        || text.starts_with("Starting ") && text.ends_with(" test cases.")
        || text.contains(": EXPECTATION FAILED at ")
        || text.contains(": ASSERTION FAILED at ")
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
        || text.starts_with("timeout set to ")
        || text.starts_with("overriding timeout to "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn res(ok: bool, number: Option<u64>, sure: bool, rest: &str) -> Line<'_> {
        Line::Result(TestResult { ok, number, sure, rest })
    }

    #[test]
    fn result_lines_as_they_are_met() {
        let table = [
            ("ok 1 a", res(true, Some(1), true, "a")),
            ("ok 1 - a b", res(true, Some(1), true, "a b")),
            ("not ok 12 a # exit=1", res(false, Some(12), true, "a # exit=1")),
            ("ok 3 # SKIP not here", res(true, Some(3), true, "# SKIP not here")),
            ("ok 99999999999999999999 big", res(true, Some(u64::MAX), true, "big")),
            ("ok 5", res(true, Some(5), true, "")),
            ("ok 5 -", res(true, Some(5), true, "")),
            ("ok - a", res(true, None, true, "a")),
            ("not ok", res(false, None, false, "")),
            ("not ok\t3  x", res(false, Some(3), true, "x")),
            ("not ok to proceed?", res(false, None, false, "to proceed?")),
            ("ok then", res(true, None, false, "then")),
            ("ok 2nd try", res(true, None, false, "2nd try")),
            ("not ok # TODO x", res(false, None, true, "# TODO x")),
        ];
        for (text, expected) in table {
            assert_eq!(Line::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn prose_is_no_result() {
        for text in [
            "okay 1",
            "ok, then",
            "ok1",
            "OK 1 x",
            "not okay",
            "notok 3",
            "1.. 5",
            "1...5",
            "1..5x",
            "1..",
            "TAP version",
            "KTAP version x",
            "TAP version 13.5",
            "\u{ff4f}\u{ff4b} 1 wide",
        ] {
            assert_eq!(Line::parse(text), Line::Noise(text));
        }
    }

    #[test]
    fn what_may_be_meant_as_a_failure() {
        for text in [
            "NOT OK",
            "Not ok 3",
            "not ok3",
            "notok 3",
            "not  ok 3",
            " not ok 3 x",
            "not_ok 1",
            "not ok: x",
            "not",
            "not # warning",
            "not [    4.1] x",
            "not o",
            "not\u{a0}ok 3",
            "NOT OK!",
        ] {
            assert!(may_be_failure(text), "{text}");
        }
        for text in
            ["not okay", "note: ok", "not root", "nothing", "OK 3", "knot ok 3", "not oköy", "not ok'ed"]
        {
            assert!(!may_be_failure(text), "{text}");
        }
    }

    #[test]
    fn what_may_be_meant_as_a_plan() {
        for text in ["1..two", "1..", "0..3", "2..4", " 1..N "] {
            assert!(may_be_plan(text), "{text}");
        }
        for text in ["1...5", "1.. apples", "1..5x faster", "..3", "a1..3", "1.5"] {
            assert!(!may_be_plan(text), "{text}");
        }
    }

    #[test]
    fn the_other_lines() {
        assert_eq!(Line::parse("KTAP version 1"), Line::Version(Format::Ktap));
        assert_eq!(Line::parse("TAP version 13 "), Line::Version(Format::Tap(13)));
        assert_eq!(Line::parse("1..7"), Line::Plan { count: 7, comment: None });
        assert_eq!(Line::parse("1..7ok 1 a"), Line::Plan { count: 7, comment: None });
        assert_eq!(Line::parse("1..7 apples"), Line::Plan { count: 7, comment: None });
        assert_eq!(Line::parse("1..0 # SKIP no bpf"), Line::Plan { count: 0, comment: Some("SKIP no bpf") });
        assert_eq!(Line::parse("# Subtest: dynptr"), Line::Subtest("dynptr"));
        assert_eq!(Line::parse("# selftests: bpf: test_progs"), Line::Program("selftests: bpf: test_progs"));
        assert_eq!(Line::parse("# selftests: a b: c"), Line::Diagnostic("selftests: a b: c"));
        assert_eq!(Line::parse("#  RUN           global.read ..."), Line::Run("global.read"));
        assert_eq!(Line::parse("# duration_us: 1500"), Line::Took(Duration::from_micros(1500)));
        assert_eq!(Line::parse("# duration_us: soon"), Line::Diagnostic("duration_us: soon"));
        assert_eq!(Line::parse("Bail out! no memory"), Line::BailOut("no memory"));
        assert_eq!(Line::parse("BAIL OUT!"), Line::BailOut(""));
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

    #[test]
    fn cut_lines_are_known() {
        assert!(is_cut("ok 1 aaa …[12 bytes cut]"));
        assert!(!is_cut("ok 1 aaa …"));
    }
}
