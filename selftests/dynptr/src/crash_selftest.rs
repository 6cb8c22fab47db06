// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the processes that tests run in: whatever becomes of one, the harness goes on, and says what it was. They are run where
//! the harness has one thread, and a panic ends the process.

use std::io::{self, Write};
use std::time::Instant;

use crate::isolate::{Verdict, run as run_fork, run_vfork};
use crate::ktap::{Outcome, Writer};
use crate::session::{mark_console, of_group};
use crate::suite::with_log;

const GROUP: &str = "crashes";

type Way = fn() -> io::Result<Verdict>;

/// A way to crash, and what has to be said of it. Each meets what those before it may have left.
const CRASHES: &[(&str, Way, &[&str])] = &[
    ("panic_in_vfork", || run_vfork(panicked), &["killed by SIGABRT", "died on purpose"]),
    ("panic_in_fork", || run_fork(panicked), &["killed by SIGABRT", "died on purpose"]),
    ("overflow_in_vfork", || run_vfork(overflowed), &["killed by SIGSEGV"]),
    ("kill_in_vfork", || run_vfork(killed), &["killed by SIGKILL"]),
    ("kill_in_the_verifier", || run_vfork(|| with_log(1, |_| killed())), &["killed by SIGKILL"]),
    ("kill_in_fork", || run_fork(killed), &["killed by SIGKILL"]),
    ("panic_in_vfork_again", || run_vfork(panicked), &["killed by SIGABRT", "died on purpose"]),
];

/// Runs each, and after each a test that passes.
///
/// # Errors
/// Where the results cannot be written, or no process can be had.
pub fn run<W: Write>(out: &mut Writer<W>) -> io::Result<Outcome> {
    out.begin_group(GROUP, CRASHES.len())?;
    let mut outcomes = Vec::new();
    for (name, die, words) in CRASHES {
        mark_console(GROUP, name);
        out.begin_test(name)?;
        let begin = Instant::now();
        let mut wrong = unsaid(die()?, words);
        for after in [run_fork(|| Verdict::Pass)?, run_vfork(|| with_log(1, |_| Verdict::Pass))?] {
            if after != Verdict::Pass {
                wrong.push(format!("afterwards: {after:?}"));
            }
        }
        let outcome = if wrong.is_empty() { Outcome::Pass } else { Outcome::Fail };
        out.end_test(name, &outcome, begin.elapsed(), wrong.iter().map(String::as_str))?;
        outcomes.push(outcome);
    }
    let outcome = of_group(&outcomes);
    out.end_group(GROUP, &outcome, [])?;
    Ok(outcome)
}

fn unsaid(verdict: Verdict, words: &[&str]) -> Vec<String> {
    let Verdict::Fail(lines) = verdict else { return vec![format!("expected a failure, got {verdict:?}")] };
    let said = lines.join("\n");
    words.iter().filter(|it| !said.contains(**it)).map(|it| format!("expected {it:?} in {said:?}")).collect()
}

fn panicked() -> Verdict {
    panic!("died on purpose")
}

fn killed() -> Verdict {
    // SAFETY: it ends this process, which holds nothing.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    Verdict::Pass
}

/// Needs more than the stack has.
fn overflowed() -> Verdict {
    fn deeper(depth: u64) -> u64 {
        let filled = std::hint::black_box([depth; 512]);
        if depth == 0 { filled[0] } else { deeper(depth - 1) + std::hint::black_box(filled)[7] }
    }
    if deeper(1 << 20) == 0 { Verdict::Pass } else { Verdict::Refused(Vec::new()) }
}
