//! Output that is no TAP: which tool printed it, and whether that says that something failed.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A tool with a format of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Perl's `prove`, which reads TAP and prints a summary.
    Prove,
    /// `bats` on a terminal.
    Bats,
    /// busybox's testsuite and DejaGnu.
    Busybox,
    /// The Linux Test Project.
    Ltp,
    /// `kunit.py`.
    KunitPy,
    /// GoogleTest, whose form old kselftests had.
    GoogleTest,
    /// test_progs of the BPF selftests.
    TestProgs,
    /// Python's unittest.
    Unittest,
    /// Rust's libtest.
    Libtest,
}

impl Dialect {
    /// What prints it, and how kvet can read it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Dialect::Prove => {
                "it looks like prove's summary (hint: `prove -v` shows the TAP, or run the tests without prove)"
            }
            Dialect::Bats => "it looks like bats' pretty output (hint: `bats --tap`)",
            Dialect::Busybox => {
                "it looks like busybox's or DejaGnu's PASS/FAIL lines (hint: `format: exit`, or print TAP)"
            }
            Dialect::Ltp => "it looks like LTP's output (hint: `format: exit`, or print TAP)",
            Dialect::KunitPy => "it looks like kunit.py's output (hint: `kunit.py run --raw_output`)",
            Dialect::GoogleTest => "it looks like GoogleTest's output (hint: `format: exit`, or print TAP)",
            Dialect::TestProgs => "it looks like test_progs' output (hint: `format: test_progs`)",
            Dialect::Libtest => "it looks like Rust's libtest (hint: `format: exit`, or print TAP)",
            Dialect::Unittest => "it looks like Python's unittest (hint: `format: exit`, or print TAP)",
        }
    }
}

/// What a line of another format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) dialect: Dialect,
    /// Whether it sums up that something failed. A single `FAIL: …` may be about an attempt that was repeated.
    pub(super) failed: bool,
}

/// Reads a line that is neither KTAP nor a diagnostic.
pub(super) fn read(line: &str) -> Option<Foreign> {
    let text = line.trim();
    let says = |dialect, failed| Some(Foreign { dialect, failed });
    let starts = |word: &str| text.starts_with(word);
    match text.as_bytes().first()? {
        b'R' if starts("Result: ") => says(Dialect::Prove, text == "Result: FAIL"),
        b'A' if text == "All tests successful." => says(Dialect::Prove, false),
        b'F' if starts("FAILED (failures=") || starts("FAILED (errors=") => says(Dialect::Unittest, true),
        b'F' if starts("Failed ")
            && text.contains('/')
            && (text.contains(" subtest") || text.contains(" test")) =>
        {
            says(Dialect::Prove, text[7..].starts_with(|c: char| c.is_ascii_digit() && c != '0'))
        }
        b't' if starts("test result: ") => says(Dialect::Libtest, starts("test result: FAILED")),
        b'F' if starts("FAIL: ") => says(Dialect::Busybox, false),
        b'P' if starts("PASS: ") => says(Dialect::Busybox, false),
        b'U' if starts("UNTESTED: ") => says(Dialect::Busybox, false),
        b'T' if starts("Testing complete. ") => says(Dialect::KunitPy, counts_failures(text)),
        b'S' if starts("Summary: ") && text.ends_with(" FAILED") => {
            says(Dialect::TestProgs, !text.ends_with(" 0 FAILED"))
        }
        b'[' if starts("[  FAILED  ]") || starts("[       OK ]") || starts("[  PASSED  ]") => {
            says(Dialect::GoogleTest, text.ends_with("FAILED TEST") || text.ends_with("FAILED TESTS"))
        }
        b'[' if text.contains("] [FAILED] ") || text.contains("] [PASSED] ") => says(Dialect::KunitPy, false),
        b'[' if text.contains("] Testing complete. ") => says(Dialect::KunitPy, counts_failures(text)),
        0xe2 if starts("\u{2713} ") || starts("\u{2717} ") => says(Dialect::Bats, false),
        first if first.is_ascii_digit() && text.contains(" tests, ") && text.contains(" failure") => {
            says(Dialect::Bats, !text.contains(" 0 failure"))
        }
        _ => ltp(text),
    }
}

/// `foo01.c:42: TFAIL: …` and `foo01  1  TFAIL  :  …`.
fn ltp(text: &str) -> Option<Foreign> {
    const WORDS: [(&str, bool); 4] = [("FAIL", true), ("BROK", true), ("PASS", false), ("CONF", false)];
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(" T"));
    let at = WORD.find(text.as_bytes())?;
    let rest = &text[at + 2..];
    let (_, failed) = WORDS
        .into_iter()
        .find(|(word, _)| rest.strip_prefix(word).is_some_and(|r| r.trim_start().starts_with(':')))?;
    Some(Foreign { dialect: Dialect::Ltp, failed })
}

/// `failed: 1` or `crashed: 2` in kunit.py's last line.
fn counts_failures(text: &str) -> bool {
    ["failed: ", "crashed: ", "errors: "].iter().any(|word| count_after(text, word) > 0)
}

/// What TAP producers say at their end: git's test-lib (`failed 1 among 2 test(s)`), Test::More (`Looks like you failed 1 test of
/// 2.`), node's test runner and tape (`fail 1`, `cancelled 1`), node-tap (`failed 1 test`, `failed 1 of 2 tests`), automake
/// (`FAIL:  1`, `ERROR: 1`).
fn closing_words(text: &str) -> bool {
    let counted = |word: &str| {
        let rest = text.strip_prefix(word)?.strip_prefix(' ')?.trim_start();
        let (count, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        Some((count.parse::<u64>().is_ok_and(|count| count > 0), rest))
    };
    match text.as_bytes().first() {
        // kselftest.h, where the plan itself may be lost.
        Some(b'P') => text.starts_with("Planned tests != run tests ("),
        Some(b'L') => text.starts_with("Looks like you") && !text.ends_with("but ran 0."),
        Some(b'f') => {
            let failed = counted("failed").is_some_and(|(some, rest)| {
                some && (rest.starts_with(" among ")
                    || rest.starts_with(" of ")
                    || [" test", " tests"].contains(&rest))
            });
            failed || counted("fail").is_some_and(|(some, rest)| some && rest.is_empty())
        }
        Some(b'F' | b'E') => ["FAIL:", "ERROR:"]
            .iter()
            .any(|word| counted(word).is_some_and(|(some, rest)| some && rest.is_empty())),
        Some(b'c') => counted("cancelled").is_some_and(|(some, rest)| some && rest.is_empty()),
        _ => false,
    }
}

/// The totals of kselftest.h and KUnit: `Totals: pass:1 fail:1 …`, `name: pass:1 fail:1 skip:0 total:2`; the last line of
/// kselftest_harness.h: `FAILED: 1 / 2 tests passed.` Gives whether they count failures.
pub(super) fn totals_failed(diagnostic: &str) -> bool {
    if closing_words(diagnostic) {
        return true;
    }
    // Nearly every line is something else, which its last byte shows.
    match diagnostic.as_bytes().last() {
        Some(b'.') => {
            let text = diagnostic.trim_start();
            return text.starts_with("FAILED: ") && text.ends_with(" tests passed.");
        }
        Some(b'0'..=b'9') => {}
        _ => return false,
    }
    static FAIL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(" fail:"));
    if FAIL.find(diagnostic.as_bytes()).is_none() {
        return false;
    }
    let totals = diagnostic.find("pass:").is_some_and(|at| diagnostic[..at].ends_with(": "));
    totals && (count_after(diagnostic, " fail:") > 0 || count_after(diagnostic, " error:") > 0)
}

fn count_after(text: &str, word: &str) -> u64 {
    let Some((_, rest)) = text.split_once(word) else { return 0 };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_that_count_failures() {
        for (text, dialect, failed) in [
            ("Result: FAIL", Dialect::Prove, true),
            ("Result: PASS", Dialect::Prove, false),
            ("FAIL: cp-dir", Dialect::Busybox, false),
            ("foo01.c:42: TFAIL: open() succeeded", Dialect::Ltp, true),
            ("foo01     1  TBROK  :  no loop device", Dialect::Ltp, true),
            ("foo01.c:42: TPASS: opened", Dialect::Ltp, false),
            ("Testing complete. Ran 3 tests: passed: 2, failed: 1", Dialect::KunitPy, true),
            ("[08:00:00] Testing complete. Ran 3 tests: passed: 3", Dialect::KunitPy, false),
            ("[08:00:00] [FAILED] list_del", Dialect::KunitPy, false),
            ("3 tests, 1 failure", Dialect::Bats, true),
            ("3 tests, 0 failures", Dialect::Bats, false),
            (" \u{2717} mounts", Dialect::Bats, false),
            ("FAILED (failures=1)", Dialect::Unittest, true),
            ("Summary: 1/2 PASSED, 0 SKIPPED, 1 FAILED", Dialect::TestProgs, true),
            ("[  FAILED  ] 2 FAILED TESTS", Dialect::GoogleTest, true),
        ] {
            assert_eq!(read(text), Some(Foreign { dialect, failed }), "{text}");
        }
        for text in ["", "hello", "failed: 1", "the TFAIL: is not one", "Results: FAIL", "FAILED"] {
            assert!(read(text).is_none_or(|f| f.dialect == Dialect::Ltp), "{text}");
        }
    }

    #[test]
    fn totals_of_the_kernels_own_helpers() {
        for text in [
            "Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0",
            "list: pass:1 fail:2 skip:0 total:3",
            "FAILED: 1 / 2 tests passed.",
        ] {
            assert!(totals_failed(text), "{text}");
        }
        for text in
            ["Totals: pass:1 fail:0 xfail:1 xpass:0 skip:0 error:0", "PASSED: 2 / 2 tests passed.", "fail:1"]
        {
            assert!(!totals_failed(text), "{text}");
        }
    }
}
