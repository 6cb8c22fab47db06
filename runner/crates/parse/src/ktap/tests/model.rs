//! Random runs, printed in every dialect, broken in every way, and read again.
//!
//! A run knows what really happened. Whatever becomes of its output, no run with a failing or lost test may be green, and a
//! run that was printed whole gives exactly its tests.
//!
//! `KVET_MODEL_CASES` is the number of runs; 10,000 by default.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// What a test does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Pass,
    Fail,
    Skip,
    Todo,
}

/// A test, and the tests in it.
#[derive(Debug, Clone)]
struct Test {
    name: String,
    deed: Deed,
    inside: Vec<Test>,
    /// What it says, before or after its result as the dialect has it.
    says: u8,
}

/// Who prints the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Printing {
    Ktap,
    /// The same in the kernel's log.
    Printk,
    Tap12,
    Tap13,
    Tap14,
    /// kselftest's runner; programs print a header.
    Runner,
    /// The same without headers.
    BareRunner,
    /// kselftest_harness.h.
    Harness,
    /// TAP whose results have no numbers.
    Unnumbered,
}

const PRINTINGS: [Printing; 9] = [
    Printing::Ktap,
    Printing::Printk,
    Printing::Tap12,
    Printing::Tap13,
    Printing::Tap14,
    Printing::Runner,
    Printing::BareRunner,
    Printing::Harness,
    Printing::Unnumbered,
];

/// Where the plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    First,
    Last,
    None,
}

/// What goes wrong with the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Nothing,
    /// The guest is lost after so many lines.
    Crash,
    /// The program ends there, with status 0.
    Stop,
    /// The newline of a line is missing, so that the next one is glued to it.
    Glue,
    /// Lines are printed twice, as after a fork.
    Twice,
    /// A line is lost, and kvet knows that output was cut.
    Cut,
    /// A line is longer than what is kept of it.
    Long,
    /// A group says that it is ok.
    Lie,
}

const HARMS: [Harm; 8] =
    [Harm::Nothing, Harm::Crash, Harm::Stop, Harm::Glue, Harm::Twice, Harm::Cut, Harm::Long, Harm::Lie];

#[derive(Debug, Clone)]
struct Run {
    printing: Printing,
    plan: Plan,
    tests: Vec<Test>,
    harm: Harm,
    /// Where, out of 1000.
    place: usize,
    noise: Vec<(usize, u8)>,
}

/// Prose that is no result in any dialect.
const NOISE: [&str; 12] = [
    "okay",
    "[   12.345678] random: crng init done",
    "it was not ok before",
    "<6>hello",
    "",
    "   indented prose",
    "2>on stderr",
    "FAIL: first attempt, again",
    "OK 3 of 5",
    "Result: PASS",
    "1.. 5",
    "TAP",
];

fn test(depth: u32) -> BoxedStrategy<Test> {
    let deed = prop_oneof![6 => Just(Deed::Pass), 1 => Just(Deed::Fail), 1 => Just(Deed::Skip), 1 => Just(Deed::Todo)];
    let name = prop_oneof![4 => "[a-z]{1,6}", 1 => "[a-z]{1,3} #[0-9]", 1 => "[a-z]{1,3}\\.[a-z]{1,3}", 1 => "[a-z]{2} [0-9]"];
    // `not ok 1 - aok 2 # TODO` may be two results, the first without its newline; it is read as a failure.
    let name = name.prop_map(|name| name.replace("ok ", "oj "));
    let inside = if depth == 0 {
        Just(Vec::new()).boxed()
    } else {
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(test(depth - 1), 1..4)].boxed()
    };
    (name, deed, inside, 0u8..6)
        .prop_map(|(name, deed, inside, says)| Test { name, deed, inside, says })
        .boxed()
}

fn run() -> impl Strategy<Value = Run> {
    (
        prop::sample::select(&PRINTINGS[..]),
        prop_oneof![3 => Just(Plan::First), 1 => Just(Plan::Last), 1 => Just(Plan::None)],
        prop::collection::vec(test(2), 1..6),
        prop_oneof![1 => Just(Harm::Nothing), 1 => prop::sample::select(&HARMS[..])],
        0usize..1000,
        prop::collection::vec((0usize..1000, 0u8..NOISE.len() as u8), 0..4),
    )
        .prop_map(|(printing, plan, tests, harm, place, noise)| Run {
            printing,
            plan,
            tests,
            harm,
            place,
            noise,
        })
}

impl Test {
    /// What it amounts to, with the tests in it.
    fn outcome(&self) -> Outcome {
        if self.inside.iter().any(|test| test.outcome().is_bad()) {
            return Outcome::Fail;
        }
        match self.deed {
            _ if !self.inside.is_empty() => Outcome::Pass,
            Deed::Pass => Outcome::Pass,
            Deed::Fail => Outcome::Fail,
            Deed::Skip => Outcome::Skip,
            Deed::Todo => Outcome::Xfail,
        }
    }

    /// Its leaves, with full names.
    fn leaves(&self, before: &str, out: &mut Vec<(String, Outcome)>) {
        let name = format!("{before}{}", self.name);
        if self.inside.is_empty() {
            out.push((name.clone(), self.outcome()));
        }
        for test in &self.inside {
            test.leaves(&format!("{name}/"), out);
        }
    }
}

/// A line, and whether it is the result of a test.
#[derive(Debug, Clone)]
struct Printed {
    text: String,
    result: Option<Outcome>,
    group: bool,
}

/// Prints a run.
struct Printer {
    printing: Printing,
    plan: Plan,
    lines: Vec<Printed>,
}

impl Printer {
    fn line(&mut self, indent: &str, text: &str) {
        self.lines.push(Printed { text: format!("{indent}{text}"), result: None, group: false });
    }

    fn document(&mut self, indent: &str, tests: &[Test], nested: bool) {
        use Printing::*;
        let header = match self.printing {
            Ktap | Printk => Some("KTAP version 1"),
            Tap13 | Unnumbered | Harness => Some("TAP version 13"),
            Tap14 if !nested => Some("TAP version 14"),
            Runner => Some("TAP version 13"),
            BareRunner if !nested => Some("TAP version 13"),
            _ => None,
        };
        if let Some(header) = header {
            self.line(indent, header);
        }
        let bare = self.printing == BareRunner && nested;
        // A document of TAP 14 has a plan, and results without numbers are not told from prose otherwise.
        let plan = match (self.plan, self.printing) {
            _ if bare => Plan::None,
            (Plan::None, Tap14 | Unnumbered) => Plan::Last,
            (plan, _) => plan,
        };
        let planned = format!("1..{}", tests.len());
        if plan == Plan::First {
            self.line(indent, &planned);
        }
        for (index, test) in tests.iter().enumerate() {
            self.test(indent, index + 1, test);
        }
        if plan == Plan::Last {
            self.line(indent, &planned);
        }
    }

    fn test(&mut self, indent: &str, number: usize, test: &Test) {
        use Printing::*;
        let runner = matches!(self.printing, Runner | BareRunner);
        if runner && indent.is_empty() {
            self.line(indent, "# timeout set to 45");
            self.line(indent, &format!("# {}", test.name));
        }
        if self.printing == Harness && test.inside.is_empty() {
            self.line(indent, &format!("#  RUN           {} ...", test.name));
        }
        if !test.inside.is_empty() {
            if self.printing == Tap14 {
                self.line(indent, &format!("# Subtest: {}", test.name));
            }
            let deeper = if runner { format!("{indent}# ") } else { format!("{indent}    ") };
            self.document(&deeper, &test.inside, true);
        }
        let before = matches!(self.printing, Ktap | Printk | Runner | BareRunner | Harness);
        if before {
            self.says(indent, test);
        }
        let outcome = test.outcome();
        let ok = !outcome.is_bad() && outcome != Outcome::Xfail;
        let number = if self.printing == Unnumbered { String::new() } else { format!("{number} ") };
        let comment = match outcome {
            Outcome::Skip => " # SKIP not here",
            Outcome::Xfail => " # TODO later",
            Outcome::Fail if test.says == 5 => " # skiplist corrupt",
            _ => "",
        };
        let result = if ok { "ok" } else { "not ok" };
        self.lines.push(Printed {
            text: format!("{indent}{result} {number}- {}{comment}", test.name),
            result: Some(outcome),
            group: !test.inside.is_empty(),
        });
        if !before {
            self.says(indent, test);
        }
    }

    fn says(&mut self, indent: &str, test: &Test) {
        let yaml = matches!(self.printing, Printing::Tap13 | Printing::Tap14);
        match test.says {
            1 => self.line(indent, "# expected 3, got 4"),
            2 if test.outcome().is_bad() => self.line(indent, "# and then it failed"),
            3 if yaml => {
                for text in ["  ---", "  quoted: |", "    not ok 3 quoted", "  ..."] {
                    self.line(indent, text);
                }
            }
            _ => {}
        }
    }
}

impl Run {
    /// Programs of the runner have the names that it gives them.
    fn named(mut self) -> Self {
        if matches!(self.printing, Printing::Runner | Printing::BareRunner) {
            for test in &mut self.tests {
                test.name = format!("selftests: demo: {}", test.name.replace([' ', '#', '.'], "_"));
            }
        }
        self
    }

    fn print(&self) -> Vec<Printed> {
        let mut printer = Printer { printing: self.printing, plan: self.plan, lines: Vec::new() };
        printer.document("", &self.tests, false);
        printer.lines
    }

    /// The names and outcomes of the whole run, as kvet keeps names apart.
    fn truth(&self) -> Vec<(String, Outcome)> {
        let mut leaves = Vec::new();
        self.tests.iter().for_each(|test| test.leaves("", &mut leaves));
        leaves
    }

    /// The output after what went wrong, how the job ended, and whether that must not be green.
    fn harmed(&self) -> (Vec<String>, JobEnd, bool) {
        let lines = self.print();
        let at = self.place * lines.len() / 1000;
        let failed = |range: &[Printed]| range.iter().any(|line| line.result.is_some_and(Outcome::is_bad));
        let has_result = |range: &[Printed]| range.iter().any(|line| line.result.is_some());
        let mut text: Vec<String> = lines.iter().map(|line| line.text.clone()).collect();
        let bad = failed(&lines);
        match self.harm {
            // What had failed before is seen; otherwise the cell says that the guest was lost.
            Harm::Crash => {
                text.truncate(at);
                return (text, JobEnd::Lost("kernel panic".into()), failed(&lines[..at]));
            }
            // A program that ends early and promised nothing cannot be told from one that is done.
            Harm::Stop => {
                text.truncate(at);
                let promised =
                    self.plan == Plan::First && lines[..at].iter().any(|l| l.text.starts_with("1.."));
                let lost = has_result(&lines[at..]) && (promised || !has_result(&lines[..at]));
                return (text, OK, failed(&lines[..at]) || lost);
            }
            Harm::Glue if at + 1 < text.len() && !is_runners(&lines[at]) => {
                let next = text.remove(at + 1);
                text[at].push_str(next.trim_start());
                let lost = lines[at + 1].result.is_some() && self.is_vouched_for(&lines, at + 1);
                return (text, OK, bad || lost);
            }
            Harm::Twice => {
                let again: Vec<String> = text[at..].iter().take(3).cloned().collect();
                text.splice(at..at, again);
            }
            Harm::Cut => {
                text[at] = "!cut the output passed 64 MiB".into();
                let planned = lines.iter().any(|line| line.text.starts_with("1.."));
                let lost = lines[at].result.is_some() && self.is_vouched_for(&lines, at);
                return (text, OK, lost || !planned || failed(&lines[..at]) || failed(&lines[at + 1..]));
            }
            Harm::Long => {
                let kept: String = text[at].chars().take(12).collect();
                text[at] = format!("{kept}xxxxxxxx …[99 bytes cut]");
                return (text, OK, bad || lines[at].result.is_some());
            }
            Harm::Lie => {
                if let Some(line) = lines.iter().position(|l| l.group && l.result == Some(Outcome::Fail)) {
                    text[line] = text[line].replacen("not ok", "ok", 1);
                }
            }
            Harm::Glue | Harm::Nothing => {}
        }
        (text, OK, bad)
    }

    /// Whether something besides its own line promises a result: a plan, or other lines on its level. A document inside of a
    /// test that has neither a header nor a plan shows only by its first line that it is there.
    fn is_vouched_for(&self, lines: &[Printed], at: usize) -> bool {
        let indent = |line: &Printed| line.text.len() - line.text.trim_start_matches([' ', '#']).len();
        let own = indent(&lines[at]);
        let planned = self.plan != Plan::None && self.printing != Printing::BareRunner;
        let known = |line: &Printed| indent(line) == own && line.result.is_some();
        own == 0 || planned || lines[..at].iter().rev().take_while(|line| indent(line) >= own).any(known)
    }

    fn noisy(&self, mut text: Vec<String>) -> String {
        for (place, noise) in &self.noise {
            let at = place * (text.len() + 1) / 1000;
            // A YAML block is not interrupted: what is less indented ends it.
            if text.get(at).is_none_or(|line| !line.contains("quoted") && !line.trim_end().ends_with("...")) {
                text.insert(at, NOISE[*noise as usize].into());
            }
        }
        let prefix = if self.printing == Printing::Printk { "[    4.101001] " } else { "" };
        text.iter()
            .map(|line| {
                let plain = line.starts_with("2>") || line.starts_with('!') || line.starts_with('[');
                format!("{}{line}\n", if plain { "" } else { prefix })
            })
            .collect()
    }
}

/// Whether a line is the runner's own, which ends it.
fn is_runners(line: &Printed) -> bool {
    line.text.starts_with("# selftests: ") || line.text.starts_with("# timeout ")
}

fn check(run: Run) -> Result<(), TestCaseError> {
    let run = run.named();
    let (lines, end, must_be_red) = run.harmed();
    let text = run.noisy(lines);
    let events = cases(&mut KtapParser::new("suite"), &text, &end);
    let finished: Vec<&TestCase> = events
        .iter()
        .filter_map(|event| match event {
            TestEvent::Finished { case, .. } => Some(case),
            _ => None,
        })
        .collect();
    let red = finished.iter().any(|case| case.outcome.is_bad());
    prop_assert!(red || !must_be_red, "green, and must not be:\n{text}\n{events:#?}");
    if run.harm == Harm::Nothing {
        let got: Vec<(String, Outcome)> =
            finished.iter().map(|case| (plain(&case.name), case.outcome)).collect();
        prop_assert_eq!(got, run.truth(), "\n{}", text);
    }
    let passes_speak = finished.iter().any(|case| {
        case.outcome == Outcome::Pass
            && (!case.message.is_empty() || case.detail.contains("and then it failed"))
    });
    prop_assert!(!passes_speak || run.harm != Harm::Nothing, "a pass has the words of a failure:\n{text}");
    Ok(())
}

/// A name without what keeps it apart from others.
fn plain(name: &str) -> String {
    match name.rsplit_once('#') {
        Some((plain, n)) if !plain.ends_with(' ') && n.bytes().all(|b| b.is_ascii_digit()) => {
            plain.to_owned()
        }
        _ => name.to_owned(),
    }
}

#[test]
fn no_lost_or_failing_test_is_green() {
    let cases = std::env::var("KVET_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    TestRunner::new(config).run(&run(), check).unwrap_or_else(|error| panic!("{error}"));
}
