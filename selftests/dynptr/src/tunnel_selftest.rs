// SPDX-License-Identifier: GPL-2.0-only
//! A test of the tests of tunnels: where the route leads past the tunnel, each has to fail. Nothing in their programs could be
//! changed to show that: what wraps the packet is the route.

use std::io::{self, Write};
use std::time::Instant;

use crate::cli::Options;
use crate::isolate::{self, Verdict};
use crate::ktap::{Outcome, Writer};
use crate::run as test_run;
use crate::session::{Session, mark_console, of_group};
use crate::tables::GROUPS;
use crate::trigger;
use dynptr_spec::{Group, Run, Test, Trigger};

const GROUP: &str = "tunnels";
/// What is expected first of a packet from a tunnel, as the program has it.
const LONGER: &str = "config.bytes + overhead";

/// The tests that send a packet through a tunnel.
fn tests() -> Vec<(&'static Group, &'static Test)> {
    let of_group = |group: &'static Group| group.tests.iter().map(move |test| (group, test));
    let all = GROUPS.iter().flat_map(of_group);
    all.filter(|(_, test)| matches!(test.run, Run::Trigger(Trigger::Lwt))).collect()
}

/// Runs each of them without its tunnel.
///
/// # Errors
/// Where the results cannot be written, no process can be had, or this machine cannot run the tests.
pub fn run<W: Write>(out: &mut Writer<W>) -> io::Result<Outcome> {
    let tests = tests();
    let names = tests.iter().map(|(group, test)| format!("{}/{}", group.name, test.name)).collect();
    let session = Session::new(&Options { tests: names, ..Options::default() }).map_err(io::Error::other)?;
    out.begin_group(GROUP, tests.len())?;
    let mut outcomes = Vec::new();
    for (_, test) in tests {
        mark_console(GROUP, test.name);
        out.begin_test(test.name)?;
        let begin = Instant::now();
        let (outcome, lines) = without(&session, test)?;
        out.end_test(test.name, &outcome, begin.elapsed(), lines.iter().map(String::as_str))?;
        outcomes.push(outcome);
    }
    let outcome = of_group(&outcomes);
    out.end_group(GROUP, &outcome, [])?;
    Ok(outcome)
}

fn without(session: &Session, test: &'static Test) -> io::Result<(Outcome, Vec<String>)> {
    let skipped = |why: String| Ok((Outcome::Skip(why), Vec::new()));
    if let Some(reason) = session.too_old(test) {
        return skipped(reason);
    }
    let Some(suite) = &session.suite else { return skipped("nothing can be run here".into()) };
    let verdict = isolate::run(|| {
        trigger::lead_past_tunnels();
        test_run::run(test, suite, session.release)
    })?;
    Ok(match verdict {
        Verdict::Missing(missing) => (Outcome::Skip(missing.to_string()), Vec::new()),
        Verdict::Fail(lines) if lines.first().is_some_and(|it| it.contains(LONGER)) => (Outcome::Pass, lines),
        Verdict::Fail(lines) | Verdict::Refused(lines) => (Outcome::Fail, lines),
        Verdict::Pass => (Outcome::Fail, vec!["it passes without a tunnel".into()]),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_are_tests_of_tunnels() {
        let names: Vec<&str> = super::tests().iter().map(|(_, test)| test.name).collect();
        assert_eq!(names, ["lwt_bpf_encap", "lwt_ioam6_encap", "lwt_mpls_encap", "lwt_seg6_encap"]);
    }
}
