// SPDX-License-Identifier: GPL-2.0-only
//! Which fields of a test have an effect with which way of running. One without effect is an error:
//! its author expects one.

use super::schema::TestSpec;
use crate::Trigger;

/// The type of frames unless a test says otherwise: it is reserved for local experiments.
pub(super) const EXPERIMENTAL: u16 = 0x88b5;
/// The length of packets unless a test says otherwise.
pub(super) const PACKET_BYTES: usize = 96;

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

fn of_run(test: &TestSpec, run: Trigger) -> Result<(), String> {
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
    let release_window = test.release_window.iter().map(|_| "release_window");
    let beside = test.ops.iter().filter(|ops| !ops.programs.is_empty()).map(|_| "ops: programs");
    match fields.chain(release_window).chain(beside).next() {
        Some(field) => Err(format!(
            "`{field}` has no effect on a program that is refused, and never runs: leave it out, or say how it is `run`"
        )),
        None => Ok(()),
    }
}

/// A field that some ways of running look at, and no other.
struct Field {
    /// As it is written.
    name: &'static str,
    /// Has the test got it?
    is_in: fn(&TestSpec) -> bool,
    /// Those ways; src/trigger/ is where they do.
    runs: &'static [Trigger],
}

/// The fields whose effect depends on the way of running.
const FIELDS: &[Field] = &[
    Field { name: "with", is_in: |it| it.with.is_some(), runs: WITH },
    Field { name: "also", is_in: |it| it.also.is_some(), runs: &[Trigger::Lwt] },
    Field { name: "ops", is_in: |it| it.ops.is_some(), runs: &[Trigger::Qdisc] },
    Field { name: "bytes", is_in: |it| it.bytes.is_some(), runs: BYTES },
    Field { name: "protocol", is_in: |it| it.protocol.is_some(), runs: PROTOCOL },
    Field { name: "linear", is_in: |it| it.linear.is_some(), runs: &[Trigger::TestRun] },
];

const WITH: &[Trigger] =
    &[Trigger::Call, Trigger::TestRun, Trigger::Tap, Trigger::TapClone, Trigger::Veth, Trigger::Lwt];

/// They send a packet, or a datagram.
const BYTES: &[Trigger] = &[
    Trigger::TestRun,
    Trigger::XdpContext,
    Trigger::Tap,
    Trigger::TapClone,
    Trigger::Veth,
    Trigger::Lwt,
    Trigger::Loopback,
    Trigger::Sockmap,
    Trigger::Netfilter,
    Trigger::Seg6Local,
    Trigger::Qdisc,
    Trigger::SocketLookup,
    Trigger::Reuseport,
];

/// They send the harness' own frame, with a header of Ethernet's.
const PROTOCOL: &[Trigger] = &[Trigger::TestRun, Trigger::Tap, Trigger::TapClone, Trigger::Veth];

impl Trigger {
    /// Its name in YAML.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Does it need another program?
    fn needs_company(self) -> bool {
        matches!(self, Self::Tap | Self::TapClone | Self::Veth | Self::Lwt)
    }
}

impl Field {
    /// Does this way of running look at it?
    fn goes_with(&self, run: Trigger) -> bool {
        self.runs.contains(&run)
    }

    /// The ways that do, for people.
    fn runs(&self) -> String {
        self.runs.iter().map(|run| run.name()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table of fields in docs/AUTHORS.md.
    fn documented() -> Vec<&'static str> {
        let rows = include_str!("../../../docs/AUTHORS.md")
            .lines()
            .skip_while(|line| !line.starts_with("| Field | "));
        rows.skip(2).take_while(|line| line.starts_with("| ")).collect()
    }

    #[test]
    fn the_docs_have_all_fields_of_a_test() {
        let err = serde_yaml::from_str::<TestSpec>("no_field: 1").expect_err("there is none");
        let names = err.to_string();
        let (_, names) = names.split_once("expected one of ").expect("it names those that there are");
        let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        let rows: Vec<&str> = documented().iter().filter_map(|row| row.split('`').nth(1)).collect();
        for name in &names {
            assert!(rows.contains(name), "{name} is not in {rows:?}");
        }
        assert_eq!(rows.len(), names.len(), "{rows:?}");
    }

    #[test]
    fn the_docs_say_what_goes_with_what() {
        for field in FIELDS {
            let row = documented().into_iter().find(|row| row.starts_with(&format!("| `{}` |", field.name)));
            let last = row.and_then(|row| row.rsplit(" | ").next()).unwrap_or_default();
            let said: Vec<&str> =
                last.split('`').skip(1).step_by(2).map(|it| it.trim_start_matches("run: ")).collect();
            let known: Vec<String> = field.runs.iter().map(|run| run.name()).collect();
            let said: Vec<&str> =
                said.into_iter().filter(|it| !["struct_ops", "programs"].contains(it)).collect();
            assert_eq!(said, known, "{} in docs/AUTHORS.md", field.name);
        }
    }

    #[test]
    fn a_run_is_called_as_it_is_written() {
        for run in BYTES.iter().chain(WITH) {
            assert_eq!(serde_yaml::from_str::<Trigger>(&run.name()).ok(), Some(*run));
        }
    }
}
