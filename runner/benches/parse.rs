//! `make bench`: how many lines of output each parser reads in a second, on one core.
//!
//! A million is what it should be at least: the fastest guests print some ten thousand.

use std::time::{Duration, Instant};

use kvet::event::Stream;
use kvet::parse::ktap::KtapParser;
use kvet::parse::test_progs::TestProgsParser;
use kvet::parse::{JobEnd, OutputParser};

/// Lines of each measurement.
const LINES: usize = 1_000_000;
/// Each is measured as often; the best counts.
const ROUNDS: usize = 5;

fn main() {
    // `cargo test --benches` and `cargo clippy` call a benchmark too; it is only run when asked for.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let ktap = || Box::new(KtapParser::new("suite")) as Box<dyn OutputParser>;
    let test_progs = || Box::new(TestProgsParser::new("suite", true)) as Box<dyn OutputParser>;
    measure("ktap, 1 result in 5 lines", &results("KTAP version 1", 5), &ktap);
    measure("TAP 14, 1 result in 5 lines", &results("TAP version 14", 5), &ktap);
    measure("ktap, 1 result in 100 lines", &results("KTAP version 1", 100), &ktap);
    measure("ktap, nested", &nested(), &ktap);
    measure("ktap, verifier logs", &logs("# "), &ktap);
    measure("test_progs, 1 result in 10 lines", &progs(), &test_progs);
    measure("test_progs, verifier logs", &logs(""), &test_progs);
}

fn measure(what: &str, lines: &[String], parser: &dyn Fn() -> Box<dyn OutputParser>) {
    // `cargo bench --bench parse -- verifier` measures those two.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if !wanted.iter().all(|word| what.contains(word.as_str())) {
        return;
    }
    let best = (0..ROUNDS).map(|_| once(lines, parser())).min().unwrap_or_default();
    println!("{what:36} {:6.2} million lines/s", lines.len() as f64 / best.as_secs_f64() / 1e6);
}

fn once(lines: &[String], mut parser: Box<dyn OutputParser>) -> Duration {
    let began = Instant::now();
    let at = Duration::from_secs(1);
    let mut events = parser.start(at).len();
    for line in lines {
        events += parser.line(Stream::Stdout, at, line).len();
    }
    events += parser.finish(&JobEnd::Exited(0), at).len();
    assert!(events > 0, "something comes out");
    began.elapsed()
}

/// A flat document in which every `each`-th line is a result.
fn results(header: &str, each: usize) -> Vec<String> {
    let mut lines = vec![header.to_owned(), format!("1..{}", LINES / each)];
    for number in 1..=LINES / each {
        lines.push(format!("ok {number} - test_{number}"));
        lines.extend((1..each).map(|n| format!("# step {n} of test {number} took 3 ms and used 4096 bytes")));
    }
    lines
}

/// What the dynptr suite prints: groups of tests with their announcements.
fn nested() -> Vec<String> {
    let mut lines = vec!["KTAP version 1".to_owned()];
    for group in 1..=LINES / 404 {
        lines.extend([
            "    KTAP version 1".to_owned(),
            format!("    # Subtest: group_{group}"),
            "    1..100".to_owned(),
        ]);
        for number in 1..=100 {
            lines.push(format!("    #  RUN           test_{number} ..."));
            lines.push("    # duration_us: 10500".to_owned());
            lines.push("    # reads 16 bytes at offset 8".to_owned());
            lines.push(format!("    ok {number} test_{number}"));
        }
        lines.push(format!("ok {group} group_{group}"));
    }
    lines
}

/// What the verifier says of a long program.
fn logs(sign: &str) -> Vec<String> {
    (0..LINES)
        .map(|n| {
            format!("{sign}{n}: (79) r1 = *(u64 *)(r10 -8)         ; R1_w=scalar() R10=fp0 fp-8=mmmmmmmm")
        })
        .collect()
}

fn progs() -> Vec<String> {
    let mut lines = Vec::new();
    for test in 1..=LINES / 1010 {
        for sub in 1..=100 {
            lines.extend((1..10).map(|n| format!("run_subtest:PASS:step {n} 0 nsec")));
            lines.push(format!("#{test}/{sub}     group_{test}/test_{sub}:OK"));
        }
        lines.extend((1..10).map(|n| format!("group:PASS:step {n} 0 nsec")));
        lines.push(format!("#{test}       group_{test}:OK"));
    }
    lines
}
