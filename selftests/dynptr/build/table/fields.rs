// SPDX-License-Identifier: GPL-2.0-only
//! Fields of a test that would have no effect are refused: whoever wrote one thinks that it has.

use super::run::{FIELDS, RunSpec};
use super::spec::TestSpec;
use super::{EXPERIMENTAL, PACKET_BYTES};

/// Is everything that the test says of some effect?
///
/// # Errors
/// The field that is not, and what would be right.
pub(super) fn check(test: &TestSpec) -> Result<(), String> {
    if test.program.as_ref() == Some(&test.name) {
        return Err(format!("`program: {}` is the test's name anyway: leave it out", test.name));
    }
    if test.bug.as_ref().is_some_and(|bug| bug.fails.trim().is_empty()) {
        return Err("`bug: fails` is in every failure: expected words of the one that the bug causes".into());
    }
    match (test.run, test.rejected.is_empty()) {
        (Some(run), true) => of_run(test, run),
        (None, false) => of_refused(test),
        (Some(_), false) => Err("expected either `run` or `rejected`, and not both".into()),
        (None, true) => Err("expected either `run` or `rejected`".into()),
    }
}

fn of_run(test: &TestSpec, run: RunSpec) -> Result<(), String> {
    if let Some(field) = FIELDS.iter().find(|field| (field.is_in)(test) && !field.goes_with(run)) {
        let (name, run) = (field.name, run.name());
        return Err(format!("`{name}` has no effect with `run: {run}`: it goes with {}", field.runs()));
    }
    if run.needs_company() && test.with.is_none() {
        return Err(format!("`run: {}` wants another program, `with`", run.name()));
    }
    let bytes = test.bytes.unwrap_or(PACKET_BYTES);
    match (test.bytes, test.protocol, test.linear) {
        (Some(PACKET_BYTES), ..) => {
            Err(format!("`bytes: {PACKET_BYTES}` is what packets have anyway: leave it out"))
        }
        (_, Some(EXPERIMENTAL), _) => {
            Err(format!("`protocol: {EXPERIMENTAL}` is what frames have anyway: leave it out"))
        }
        (.., Some(linear)) if linear >= bytes => Err(format!(
            "`linear: {linear}` leaves no other piece of a packet of {bytes} bytes: expected less, or other `bytes`"
        )),
        _ => Ok(()),
    }
}

/// What is refused never runs. Its structure of operations is needed to load it.
fn of_refused(test: &TestSpec) -> Result<(), String> {
    let fields = FIELDS.iter().filter(|field| field.name != "ops" && (field.is_in)(test)).map(|it| it.name);
    let era = test.era.iter().map(|_| "era");
    let beside = test.ops.iter().filter(|ops| !ops.programs.is_empty()).map(|_| "ops: programs");
    match fields.chain(era).chain(beside).next() {
        Some(field) => Err(format!(
            "`{field}` has no effect on a program that is refused, and never runs: leave it out, or say how it is `run`"
        )),
        None => Ok(()),
    }
}
