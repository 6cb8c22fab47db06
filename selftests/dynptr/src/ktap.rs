// SPDX-License-Identifier: GPL-2.0-only
//! KTAP, version 1: the form in which results are written.
//! <https://docs.kernel.org/dev-tools/ktap.html>
//!
//! A test is announced before it is run, so that a reader knows which test the kernel did not survive, and its result goes
//! out as soon as it is known, or with the announcement of the next test where that comes at once.

use std::io::{self, Write};
use std::time::Duration;

/// How far the lines of a group are indented.
const INDENT: &str = "    ";
/// A line of diagnostics is cut behind this many characters.
const LINE_CHARS: usize = 500;

/// What became of a test or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Pass,
    /// Not as expected; the diagnostics say why.
    Fail,
    /// Not as expected, of a mistake that this kernel is known to have.
    Xfail(String),
    /// Not run, and why.
    Skip(String),
}

/// Writes a KTAP document, one group after the other.
pub struct Writer<W: Write> {
    out: W,
    group: usize,
    test: usize,
    /// A result that goes out with what comes next.
    held: String,
}

impl<W: Write> Writer<W> {
    /// Begins a document that has `groups` groups.
    pub fn new(out: W, groups: usize) -> io::Result<Self> {
        let mut writer = Self { out, group: 0, test: 0, held: String::new() };
        writer.write(&format!("KTAP version 1\n1..{groups}\n"))?;
        Ok(writer)
    }

    /// Begins a group of `tests` tests.
    pub fn begin_group(&mut self, name: &str, tests: usize) -> io::Result<()> {
        self.test = 0;
        let lines = [format!("# Subtest: {name}"), "KTAP version 1".into(), format!("1..{tests}")];
        self.write(&lines.map(|line| indented(INDENT, &line)).concat())
    }

    /// Says that a test is about to run.
    pub fn begin_test(&mut self, name: &str) -> io::Result<()> {
        self.write(&indented(INDENT, &format!("#  RUN           {name} ...")))
    }

    /// Ends the test that was begun last. `diagnostics` may have several lines each.
    pub fn end_test<'a>(
        &mut self,
        name: &str,
        outcome: &Outcome,
        duration: Duration,
        diagnostics: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<()> {
        self.hold_test(name, outcome, duration, diagnostics);
        self.write("")
    }

    /// The same where the next test begins at once: the result goes out with its announcement. Every write wakes those
    /// who read it, which takes an emulated guest about a millisecond.
    pub fn hold_test<'a>(
        &mut self,
        name: &str,
        outcome: &Outcome,
        duration: Duration,
        diagnostics: impl IntoIterator<Item = &'a str>,
    ) {
        self.test += 1;
        self.held += &comments(INDENT, diagnostics);
        self.held += &indented(INDENT, &format!("# duration_us: {}", duration.as_micros()));
        self.held += &result(INDENT, self.test, name, outcome);
    }

    /// Ends a group. `diagnostics` say what is wrong with the group as a whole.
    pub fn end_group<'a>(
        &mut self,
        name: &str,
        outcome: &Outcome,
        diagnostics: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<()> {
        self.group += 1;
        let text = comments("", diagnostics) + &result("", self.group, name, outcome);
        self.write(&text)
    }

    /// Writes what was held back, and lines, and has all go out.
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.held += text;
        self.out.write_all(self.held.as_bytes())?;
        self.held.clear();
        self.out.flush()
    }
}

fn indented(indent: &str, text: &str) -> String {
    format!("{indent}{}\n", text.trim_end())
}

fn comments<'a>(indent: &str, diagnostics: impl IntoIterator<Item = &'a str>) -> String {
    let lines = diagnostics.into_iter().flat_map(str::lines);
    lines.map(|line| indented(indent, &format!("# {}", clean(line)))).collect()
}

fn result(indent: &str, number: usize, name: &str, outcome: &Outcome) -> String {
    let line = match outcome {
        Outcome::Pass => format!("ok {number} {name}"),
        Outcome::Fail => format!("not ok {number} {name}"),
        Outcome::Xfail(reason) => format!("not ok {number} {name} # XFAIL {}", clean(reason)),
        Outcome::Skip(reason) => format!("ok {number} {name} # SKIP {}", clean(reason)),
    };
    indented(indent, &line)
}

/// The text without what a terminal or a parser might take for something else.
fn clean(text: &str) -> String {
    let mut clean: String =
        text.chars().take(LINE_CHARS).map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
    if text.chars().nth(LINE_CHARS).is_some() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<&mut Vec<u8>>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, 2).expect("memory");
        write(&mut writer).expect("memory");
        drop(writer);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn writes_a_document_of_two_groups() {
        let us = Duration::from_micros;
        let text = written(|it| {
            it.begin_group("first", 2)?;
            it.begin_test("good")?;
            it.end_test("good", &Outcome::Pass, us(1234), [])?;
            it.begin_test("bad")?;
            it.end_test("bad", &Outcome::Fail, us(5), ["one\ntwo", "three"])?;
            it.end_group("first", &Outcome::Fail, ["something was left"])?;
            it.begin_group("second", 2)?;
            it.begin_test("new")?;
            it.end_test("new", &Outcome::Skip("needs 9.9: x".into()), us(0), [])?;
            it.begin_test("known")?;
            it.end_test("known", &Outcome::Xfail("it leaks".into()), us(0), ["line 7"])?;
            it.end_group("second", &Outcome::Pass, [])
        });
        let expected = "\
KTAP version 1
1..2
    # Subtest: first
    KTAP version 1
    1..2
    #  RUN           good ...
    # duration_us: 1234
    ok 1 good
    #  RUN           bad ...
    # one
    # two
    # three
    # duration_us: 5
    not ok 2 bad
# something was left
not ok 1 first
    # Subtest: second
    KTAP version 1
    1..2
    #  RUN           new ...
    # duration_us: 0
    ok 1 new # SKIP needs 9.9: x
    #  RUN           known ...
    # line 7
    # duration_us: 0
    not ok 2 known # XFAIL it leaks
ok 2 second
";
        assert_eq!(text, expected);
    }

    #[test]
    fn diagnostics_cannot_look_like_results() {
        let hostile = format!("ok 9 forged\r\x1b[2J\n{}", "x".repeat(9000));
        let text = written(|it| {
            it.begin_group("g", 1)?;
            it.end_test("t", &Outcome::Fail, Duration::ZERO, [hostile.as_str()])
        });
        assert!(text.contains("    # ok 9 forged??[2J\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 600));
        assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("ok")).count(), 0);
    }

    #[test]
    fn what_is_known_goes_out_at_once_and_in_one_piece() {
        #[derive(Default)]
        struct Pieces(Vec<String>, usize);
        impl Write for Pieces {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(String::from_utf8_lossy(bytes).into_owned());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                self.1 += 1;
                assert_eq!(self.0.len(), self.1, "pieces and flushes");
                Ok(())
            }
        }
        let mut writer = Writer::new(Pieces::default(), 1).expect("no error");
        writer.begin_group("g", 1).expect("no error");
        writer.begin_test("t").expect("no error");
        writer.end_test("t", &Outcome::Fail, Duration::ZERO, ["one", "two"]).expect("no error");
        assert_eq!(writer.out.0.len(), 4);
        assert!(writer.out.0[2].contains("RUN           t"));
        assert!(writer.out.0[3].contains("# two\n") && writer.out.0[3].ends_with("not ok 1 t\n"));
        writer.begin_test("u").expect("no error");
        writer.hold_test("u", &Outcome::Pass, Duration::ZERO, []);
        assert_eq!(writer.out.0.len(), 5, "it is held");
        writer.begin_test("v").expect("no error");
        assert!(writer.out.0[5].contains("ok 2 u\n") && writer.out.0[5].contains("RUN           v"));
        writer.end_test("v", &Outcome::Pass, Duration::ZERO, []).expect("no error");
        writer.end_group("g", &Outcome::Fail, []).expect("no error");
        assert!(writer.out.0[6].contains("    ok 3 v\n") && writer.out.0[7] == "not ok 1 g\n");
    }
}
