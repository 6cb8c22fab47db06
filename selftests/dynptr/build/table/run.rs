// SPDX-License-Identifier: GPL-2.0-only
//! Ways of running a test, and the fields of tests that they look at.

use serde::Deserialize;

use super::spec::TestSpec;

/// How a test is triggered; src/model.rs says what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunSpec {
    Nanosleep,
    Call,
    OtherTask,
    Ringbuf,
    TestRun,
    XdpContext,
    Tap,
    TapClone,
    Veth,
    Lwt,
    Loopback,
    Open,
    Verity,
    Cold,
    Bpf,
    Connect,
    UserRingbuf,
    Drop,
    Sockmap,
    Netfilter,
    Seg6Local,
    Qdisc,
    Cgroup,
    SocketLookup,
    Reuseport,
    Perf,
    Tracepoint,
}

/// A field that some ways of running look at, and no other.
pub(super) struct Field {
    /// As it is written.
    pub(super) name: &'static str,
    /// Has the test got it?
    pub(super) is_in: fn(&TestSpec) -> bool,
    /// Those ways; src/trigger/ is where they do.
    runs: &'static [RunSpec],
}

/// The fields whose effect depends on the way of running.
pub(super) const FIELDS: &[Field] = &[
    Field { name: "with", is_in: |it| it.with.is_some(), runs: WITH },
    Field { name: "also", is_in: |it| it.also.is_some(), runs: &[RunSpec::Lwt] },
    Field { name: "ops", is_in: |it| it.ops.is_some(), runs: &[RunSpec::Qdisc] },
    Field { name: "bytes", is_in: |it| it.bytes.is_some(), runs: BYTES },
    Field { name: "protocol", is_in: |it| it.protocol.is_some(), runs: PROTOCOL },
    Field { name: "linear", is_in: |it| it.linear.is_some(), runs: &[RunSpec::TestRun] },
];

const WITH: &[RunSpec] =
    &[RunSpec::Call, RunSpec::TestRun, RunSpec::Tap, RunSpec::TapClone, RunSpec::Veth, RunSpec::Lwt];

/// They send a packet, or a datagram.
const BYTES: &[RunSpec] = &[
    RunSpec::TestRun,
    RunSpec::XdpContext,
    RunSpec::Tap,
    RunSpec::TapClone,
    RunSpec::Veth,
    RunSpec::Lwt,
    RunSpec::Loopback,
    RunSpec::Sockmap,
    RunSpec::Netfilter,
    RunSpec::Seg6Local,
    RunSpec::Qdisc,
    RunSpec::SocketLookup,
    RunSpec::Reuseport,
];

/// They send the harness' own frame, with a header of Ethernet's.
const PROTOCOL: &[RunSpec] = &[RunSpec::TestRun, RunSpec::Tap, RunSpec::TapClone, RunSpec::Veth];

impl RunSpec {
    /// As it is written.
    pub(super) fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Does it take another program?
    pub(super) fn needs_company(self) -> bool {
        matches!(self, Self::Tap | Self::TapClone | Self::Veth | Self::Lwt)
    }
}

impl Field {
    /// Does this way of running look at it?
    pub(super) fn goes_with(&self, run: RunSpec) -> bool {
        self.runs.contains(&run)
    }

    /// The ways that do, for people.
    pub(super) fn runs(&self) -> String {
        self.runs.iter().map(|run| run.name()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of README.md's table of fields.
    fn documented() -> Vec<&'static str> {
        let rows = include_str!("../../README.md").lines().skip_while(|line| !line.starts_with("| Field | "));
        rows.skip(2).take_while(|line| line.starts_with("| ")).collect()
    }

    #[test]
    fn the_readme_has_all_fields_of_a_test() {
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
    fn the_readme_says_what_goes_with_what() {
        for field in FIELDS {
            let row = documented().into_iter().find(|row| row.starts_with(&format!("| `{}` |", field.name)));
            let last = row.and_then(|row| row.rsplit(" | ").next()).unwrap_or_default();
            let said: Vec<&str> =
                last.split('`').skip(1).step_by(2).map(|it| it.trim_start_matches("run: ")).collect();
            let known: Vec<String> = field.runs.iter().map(|run| run.name()).collect();
            let said: Vec<&str> =
                said.into_iter().filter(|it| !["struct_ops", "programs"].contains(it)).collect();
            assert_eq!(said, known, "{} in README.md", field.name);
        }
    }

    #[test]
    fn a_run_is_called_as_it_is_written() {
        for run in BYTES.iter().chain(WITH) {
            assert_eq!(serde_yaml::from_str::<RunSpec>(&run.name()).ok(), Some(*run));
        }
    }
}
