//! Output format `ktap`: the kernel's own test format and TAP 12 – 14, as specified and as met.
//!
//! Sources: Documentation/dev-tools/ktap.rst, the specifications of TAP 13 and 14, and the output of kselftest programs, of
//! kselftest's runner (which puts `# ` before a program's own lines), of KUnit and of bats.
//!
//! # The accounting rule
//!
//! Every line that a program may have meant as a result is either a test case or an error that names the line. A line that may
//! be meant as a failure is never skipped. A line that may be meant as a pass and is not a valid result is text: numbers and
//! plans tell that a pass is missing, and a missing pass hides no failure. A contradiction is a failure of its own with its
//! reason, never a remark inside a pass; each is one variant of [`rule::Rule`].
//!
//! | Input | Reading | Verdict |
//! |---|---|---|
//! | `ok 3 x`, `not ok 3 - x` | result 3 | pass, fail |
//! | `not ok`, `not ok x` | a result that takes the next number | fail |
//! | `ok`, `ok x` | the same in TAP, after a header, a plan or another of its kind; else text: KTAP demands a number | pass; – |
//! | `ok - x`, `ok # SKIP x` under a KTAP header, or among numbered results | a result without its number | pass, and an error |
//! | `NOT OK`, `not ok3`, ` not ok 3`, `#  not ok 3` | maybe a failure | error |
//! | `OK 3`, `ok3`, `okay`, full-width letters | text | – |
//! | `1..4` and 3 results; results 1 and 3 | number 4, or 2, has no result | error; not run after a crash or `Bail out!` |
//! | `1..2` and 3 results, two plans, a plan between results, a number twice | contradiction | error |
//! | results out of order | allowed in TAP, not in KTAP | –; error |
//! | a TAP 14 document or subtest without a plan | TAP 14 demands one | error |
//! | `1..two`, `0..3` alone on a line | maybe a plan | error |
//! | text after `pragma +strict` in TAP 14 | forbidden | error |
//! | results without numbers, header and plan | maybe prose | error |
//! | `1..0 # SKIP x`; in TAP 14 every `1..0` | nothing to run | skip; error with results |
//! | a second header on the same level | the document before is complete, and accounted for | |
//! | `text not ok 3 x` where 3 comes next | result 3 behind other text, unless 3 still comes | error |
//! | `text not ok - x`; `text not ok`, `textBail out!` without a plan | a failure behind other text | error |
//! | `not ok 3 xok 4 y # SKIP z` | result 3; the directive may be that of 4 | fail |
//! | `not ok 3 x` on stderr | a result in the wrong place | error |
//! | an indented document, or one behind `# ` | the tests inside of the result that follows | as they are |
//! | `# ok 1 x`, `# not ok 2 x` | the same without a header; a comment in TAP 14 and after a failure in TAP | as they are |
//! | a group `ok`, `# SKIP` or `# XFAIL` with a failure inside | contradiction | error on the group |
//! | a group `not ok` with none inside | contradiction | fail on the group |
//! | a group without a result of its own | its result is missing | error |
//! | a group that a header or an indented `# Subtest:` announced, `ok`, with nothing in it | its results are missing | error on the group |
//! | a TAP 14 subtest `# Subtest: a` that ends with the result of another test | contradiction | error |
//! | a second header with nothing behind it | a program died before its first result | error |
//! | more levels than [`Limits::depth`] | not read | error |
//! | `# SKIP`, `# TODO`, `# XFAIL`, `# TIMEOUT`, `# ERROR` | directives: whole words behind ` #` ([`comment`]) | skip, xfail, error |
//! | other words there | text | – |
//! | a block from `---` to `...`, indented, after a result | text of that test; an error if it has no end and a result in it | – |
//! | `#` lines | about the next result in KTAP, the one before in TAP, nobody's where that is not known | – |
//! | `Bail out!` | the program gave up | error on what was running, or on the job |
//! | `#  RUN  x ...` without a result | x has none | error |
//! | a passing result whose line was cut | a directive may be missing | error |
//! | output is missing ([`OutputParser::cut`]), or another line was cut | the plan tells whether a result is missing | error without a plan |
//! | `[    4.1] `, `<6>[    4.1][    T1] ` before a line | printk's prefix, taken off | – |
//! | totals of kselftest, KUnit, prove, bats, LTP, kunit.py, git, Test::More, node or tape that count failures, and no result failed | contradiction | error |
//! | no result at all | the dialect is named where it is known | error; skip with status 4 |
//! | exit status other than 0, and nothing failed; 129 to 159 in any case | contradiction; a signal, as a shell tells it | error |
//!
//! The parser knows nothing of files or guests; it takes clean lines and gives test cases as they complete.

mod comment;
mod emit;
mod end;
mod foreign;
mod group;
mod line;
mod numbers;
mod place;
mod printk;
mod results;
mod rule;
mod talk;

use std::time::Duration;

use self::emit::Draft;
use self::foreign::Dialect;
use self::group::Group;
use self::line::Format;
use self::place::Yaml;
use self::rule::Rules;
use self::talk::Talk;
use super::names::Names;
use super::text::{MAX_DETAIL_BYTES, shorten, shorten_middle};
use super::{JobEnd, OutputParser, TestEvent};
use kvet_base::event::{Cause, Outcome, Stream, TestCase};

/// What a hostile or broken job can make the parser keep at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Test cases of a job; further ones are counted, and reported as one error.
    pub cases: usize,
    /// Bytes of detail of one test; the middle is left out of longer ones.
    pub detail: usize,
    /// Bytes of detail of all tests together; once used up, each test keeps [`Limits::spare_detail`].
    pub total_detail: usize,
    /// Bytes of detail each test has left when the total is used up.
    pub spare_detail: usize,
    /// Bytes of one name between two slashes.
    pub name: usize,
    /// Bytes of a whole name.
    pub path: usize,
    /// Bytes of all names together; what comes then is as one case too many.
    pub names: usize,
    /// Announced tests without a result yet, and missing tests reported one by one, per group.
    pub open: usize,
    /// Levels of groups; a result in deeper ones is an error.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cases: 100_000,
            detail: MAX_DETAIL_BYTES,
            total_detail: 16 << 20,
            spare_detail: 1 << 10,
            name: 256,
            path: 512,
            names: 8 << 20,
            open: 64,
            depth: 16,
        }
    }
}

/// The KTAP parser.
#[derive(Debug)]
pub struct KtapParser {
    suite: String,
    limits: Limits,
    rules: Rules,
    /// The lines of stdout so far, and of stderr.
    line: u64,
    err_line: u64,
    /// The groups that are open; the first is the job itself and has no name.
    groups: Vec<Group>,
    /// Whether the output is that of the kernel's own tools.
    kernel: bool,
    /// What is said of the test that is next, or that is held.
    talk: Talk,
    /// What is said of nobody.
    loose: Talk,
    /// A result that waits for what is said of it.
    held: Option<Draft>,
    /// The level of the result that stood last, if nothing with structure came since.
    after_result: Option<usize>,
    yaml: Option<Yaml>,
    names: Names,
    names_left: usize,
    /// When the last result came, or the job started: where an unannounced test is taken to have begun.
    last_at: Duration,
    bailed: Option<String>,
    /// A summary that counts failures: its line and words.
    failing_total: Option<(u64, String)>,
    /// What else the output looks like.
    foreign: Option<Dialect>,
    /// Whether a line was nested too deeply.
    deep: bool,
    made: usize,
    dropped: usize,
    only_skips: bool,
    detail_left: usize,
}

impl KtapParser {
    /// A parser for one job. What concerns the job as a whole (no result at all, everything skipped) becomes a case
    /// with the suite's name.
    pub fn new(suite: impl Into<String>) -> Self {
        Self::with_limits(suite, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(suite: impl Into<String>, limits: Limits) -> Self {
        Self {
            suite: suite.into(),
            limits,
            rules: Rules::default(),
            line: 0,
            err_line: 0,
            groups: vec![Group::default()],
            kernel: false,
            talk: Talk::new(limits.detail),
            loose: Talk::new(limits.detail),
            held: None,
            after_result: None,
            yaml: None,
            names: Names::default(),
            names_left: limits.names,
            last_at: Duration::ZERO,
            bailed: None,
            failing_total: None,
            foreign: None,
            deep: false,
            made: 0,
            dropped: 0,
            only_skips: true,
            detail_left: limits.total_detail,
        }
    }

    /// A line of stdout.
    fn stdout(&mut self, at: Duration, line: &str, out: &mut Vec<TestEvent>) {
        self.line += 1;
        // A byte order mark, for one.
        let line = line.trim_start_matches(line::is_invisible);
        let text = printk::without_prefix(line).unwrap_or(line);
        if self.in_yaml(text, out) {
            return;
        }
        let place = self.locate(text);
        if place.too_deep {
            self.too_deep(out);
            return;
        }
        let structure = place.line.is_structure();
        if structure {
            self.release(out);
            // The log of the kernel can have results in it only if they are KUnit's.
            self.kernel |= text.len() < line.len();
        }
        if let Some(prefix) = place.opens {
            self.open_at(place.depth, &prefix, out);
        }
        if structure {
            let result = matches!(place.line, line::Line::Result(_));
            self.after_result = result.then_some(place.depth);
        }
        self.understood((place.depth, place.line), at, text, out);
    }
}

impl OutputParser for KtapParser {
    fn start(&mut self, at: Duration) -> Vec<TestEvent> {
        self.last_at = at;
        Vec::new()
    }

    fn line(&mut self, stream: Stream, at: Duration, text: &str) -> Vec<TestEvent> {
        let mut out = Vec::new();
        match stream {
            Stream::Stdout => self.stdout(at, text, &mut out),
            Stream::Stderr => {
                self.err_line += 1;
                self.stderr(text, &mut out);
            }
        }
        out
    }

    fn cut(&mut self, at: Duration, why: &str) -> Vec<TestEvent> {
        let mut out = Vec::new();
        self.last_at = at.max(self.last_at);
        self.end_yaml(&mut out);
        self.release(&mut out);
        self.output_was_cut(why);
        out
    }

    fn finish(&mut self, end: &JobEnd, at: Duration) -> Vec<TestEvent> {
        let mut out = Vec::new();
        self.end_yaml(&mut out);
        self.release(&mut out);
        let blamed = self.groups.iter().any(|g| !g.running.is_empty());
        self.last_at = at;
        self.abandon(0, Some(end), &mut out);
        self.settle(0, Some(end), &mut out);
        self.conclude(end, blamed, &mut out);
        if self.dropped > 0 {
            out.push(TestEvent::Note(format!("{} test cases were too many and are not kept", self.dropped)));
        }
        out
    }
}

#[cfg(test)]
mod tests;
