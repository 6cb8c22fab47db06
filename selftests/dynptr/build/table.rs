// SPDX-License-Identifier: GPL-2.0-only
//! `expectations.yaml` as closed types, its rules, and the Rust tables made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use crate::release::Release;

/// The file as it was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    features: BTreeMap<String, PointSpec>,
    points: BTreeMap<String, PointSpec>,
    messages: BTreeMap<String, Vec<Words>>,
    groups: Vec<GroupSpec>,
}

/// `"6.4"`, or a release of the main line with those of stable branches.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "PointText")]
struct PointSpec {
    mainline: Release,
    backports: Vec<Release>,
}

/// Both ways to write a point. Releases are strings: as a number, 6.10 would be 6.1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointText {
    since: String,
    #[serde(default)]
    backports: Vec<String>,
}

impl TryFrom<PointText> for PointSpec {
    type Error = String;

    fn try_from(text: PointText) -> Result<Self, String> {
        let mainline = release(&text.since)?;
        let backports = text.backports.iter().map(|it| release(it)).collect::<Result<Vec<_>, _>>()?;
        for backport in &backports {
            if *backport >= mainline {
                return Err(format!("backport {backport} is not older than the main line's {mainline}"));
            }
        }
        Ok(Self { mainline, backports })
    }
}

fn release(text: &str) -> Result<Release, String> {
    Release::parse(text)
        .filter(|it| it.to_string() == text)
        .ok_or_else(|| format!("{text:?} is no release: expected the form 6.4 or 6.12.8"))
}

/// What the verifier says, in a range of kernels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    text: String,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupSpec {
    name: String,
    tests: Vec<TestSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestSpec {
    name: String,
    program: Option<String>,
    needs: Vec<String>,
    run: Option<RunSpec>,
    bytes: Option<usize>,
    xdp: Option<String>,
    #[serde(default)]
    rejected: Vec<RejectedSpec>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RunSpec {
    Nanosleep,
    TestRun,
    Tap,
}

/// The name of a message, in a range of kernels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectedSpec {
    says: String,
    since: Option<String>,
    until: Option<String>,
}

/// Packets are this long unless a test says otherwise.
const PACKET_BYTES: usize = 96;

/// Reads the file; the error says where it is wrong.
pub fn parse(text: &str) -> Result<File, String> {
    serde_yaml::from_str(text).map_err(|err| err.to_string())
}

impl File {
    /// The Rust source of the table `GROUPS`. `programs` is what the BPF sources have: program → source.
    pub fn generate(&self, programs: &BTreeMap<String, String>) -> Result<String, String> {
        let mut out = String::from("/// All tests, by group.\npub static GROUPS: &[Group] = &[\n");
        let mut used = Used::default();
        for group in &self.groups {
            self.check_group(group)?;
            let _ = writeln!(out, "Group {{ name: {:?}, tests: &[", group.name);
            for test in &group.tests {
                let at = |err| format!("{}/{}: {err}", group.name, test.name);
                out += &self.test(test, programs, &mut used).map_err(at)?;
            }
            out += "] },\n";
        }
        out += "];\n";
        self.check_used(&used, programs)?;
        Ok(out)
    }

    fn check_group(&self, group: &GroupSpec) -> Result<(), String> {
        let sorted = group.tests.is_sorted_by(|a, b| a.name < b.name);
        let names = group.tests.iter().map(|test| test.name.as_str()).chain([group.name.as_str()]);
        let plain =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if let Some(odd) = names.into_iter().find(|name| !plain(name)) {
            return Err(format!("{odd:?}: names are made of letters, digits and _"));
        }
        if !sorted {
            return Err(format!("{}: tests have to be sorted by name, each name once", group.name));
        }
        Ok(())
    }

    /// What nothing refers to is a mistake: a test that was forgotten, or data that says nothing.
    fn check_used(&self, used: &Used, programs: &BTreeMap<String, String>) -> Result<(), String> {
        let unused = |what, all: Vec<&String>, used: &BTreeSet<String>| match all
            .iter()
            .find(|it| !used.contains(**it))
        {
            Some(name) => Err(format!("{what} {name} is used by no test")),
            None => Ok(()),
        };
        unused("program", programs.keys().collect(), &used.programs)?;
        unused("feature", self.features.keys().collect(), &used.features)?;
        unused("message", self.messages.keys().collect(), &used.messages)?;
        unused("point", self.points.keys().collect(), &used.points)
    }

    fn test(
        &self,
        test: &TestSpec,
        programs: &BTreeMap<String, String>,
        used: &mut Used,
    ) -> Result<String, String> {
        let program = test.program.as_ref().unwrap_or(&test.name);
        let mut source_of = |program: &String| {
            used.programs.insert(program.clone());
            programs.get(program).ok_or_else(|| format!("no file of bpf/ has a program {program}"))
        };
        let source = source_of(program)?;
        if let Some(xdp) = &test.xdp {
            source_of(xdp)?;
        }
        let mut needs = String::new();
        for name in &test.needs {
            let feature =
                self.features.get(name).ok_or_else(|| format!("{name} is not among the features"))?;
            used.features.insert(name.clone());
            let _ = write!(needs, "Need {{ name: {name:?}, since: {} }}, ", feature.code());
        }
        let run = self.run(test, used)?;
        Ok(format!(
            "Test {{ name: {:?}, program: {program:?}, source: {source:?}, needs: &[{needs}], run: {run} }},\n",
            test.name
        ))
    }

    fn run(&self, test: &TestSpec, used: &mut Used) -> Result<String, String> {
        let bytes = test.bytes.unwrap_or(PACKET_BYTES);
        match (test.run, test.bytes, &test.xdp, test.rejected.as_slice()) {
            (Some(RunSpec::Nanosleep), None, None, []) => Ok("Run::Nanosleep".into()),
            (Some(RunSpec::TestRun), _, None, []) => Ok(format!("Run::Packet {{ bytes: {bytes} }}")),
            (Some(RunSpec::Tap), _, Some(xdp), []) => {
                Ok(format!("Run::Tap {{ xdp: {xdp:?}, bytes: {bytes} }}"))
            }
            (None, None, None, rejected @ [_, ..]) => self.rejected(rejected, used),
            _ => {
                Err("expected `run: nanosleep`, `run: test_run` [`bytes`], `run: tap` with `xdp` [`bytes`], \
                      or `rejected`"
                    .into())
            }
        }
    }

    fn rejected(&self, rejected: &[RejectedSpec], used: &mut Used) -> Result<String, String> {
        let mut out = String::from("Run::Rejected(&[");
        for row in rejected {
            let message = self.messages.get(&row.says).ok_or_else(|| format!("no message {}", row.says))?;
            used.messages.insert(row.says.clone());
            for words in message {
                let since = self.points([&row.since, &words.since], used)?;
                let until = self.points([&row.until, &words.until], used)?;
                let text = &words.text;
                let _ =
                    write!(out, "Expectation {{ since: &[{since}], until: &[{until}], text: {text:?} }}, ");
            }
        }
        Ok(out + "])")
    }

    fn points(&self, names: [&Option<String>; 2], used: &mut Used) -> Result<String, String> {
        let mut out = String::new();
        for name in names.into_iter().flatten() {
            let point = self.points.get(name).ok_or_else(|| format!("no point {name}"))?;
            used.points.insert(name.clone());
            out += &point.code();
            out += ", ";
        }
        Ok(out)
    }
}

/// What the tests refer to.
#[derive(Default)]
struct Used {
    programs: BTreeSet<String>,
    features: BTreeSet<String>,
    messages: BTreeSet<String>,
    points: BTreeSet<String>,
}

impl PointSpec {
    fn code(&self) -> String {
        let backports: String = self.backports.iter().map(|it| code(*it) + ", ").collect();
        format!("Point {{ mainline: {}, backports: &[{backports}] }}", code(self.mainline))
    }
}

fn code(release: Release) -> String {
    format!("Release::new({}, {}, {})", release.major, release.minor, release.patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "features: { read: { since: '5.19' } }\npoints: { new: { since: '6.13', backports: ['6.12.8'] } }\n\
                        messages: { odd: [{ text: is odd, until: new }, { text: is new, since: new }] }\n";

    fn generated(tests: &str) -> Result<String, String> {
        let programs = [("one".to_owned(), "local".to_owned())].into();
        parse(&format!("{HEAD}groups:\n  - name: g\n    tests: {tests}\n"))?.generate(&programs)
    }

    #[test]
    fn makes_a_table_of_a_message_in_two_ranges() {
        let table = generated("[{ name: one, needs: [read], rejected: [{ says: odd }] }]").expect("sound");
        assert!(
            table.contains(r#"Need { name: "read", since: Point { mainline: Release::new(5, 19, 0)"#),
            "{table}"
        );
        assert!(table.contains("backports: &[Release::new(6, 12, 8), ]"), "{table}");
        assert!(table.contains(r#"text: "is odd""#), "{table}");
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        for (tests, complaint) in [
            ("[{ name: one, needs: [], rejected: [{ says: even }] }]", "no message even"),
            ("[{ name: one, needs: [write], run: nanosleep }]", "write is not among the features"),
            ("[{ name: two, needs: [read], run: nanosleep }]", "no file of bpf/ has a program two"),
            ("[{ name: one, needs: [read], run: nanosleep, bytes: 3 }]", "expected `run: nanosleep`"),
            ("[{ name: one, needs: [read] }]", "expected `run: nanosleep`"),
            ("[{ name: one, needs: [read], run: tap }]", "expected `run: nanosleep`"),
            ("[{ name: one, needs: [read], run: sleep }]", "unknown variant"),
            ("[{ name: one, needs: [read], runs: nanosleep }]", "unknown field"),
            ("[{ name: 'a b', program: one, needs: [read], run: nanosleep }]", "names are made of"),
            (
                "[{ name: b, program: one, needs: [read], run: nanosleep }, \
                 { name: a, program: one, needs: [read], run: nanosleep }]",
                "sorted",
            ),
            ("[{ name: one, needs: [read], run: nanosleep }]", "message odd is used by no test"),
        ] {
            let err = generated(tests).expect_err(tests);
            assert!(err.contains(complaint), "{tests}: {err}");
        }
    }

    #[test]
    fn a_release_is_a_string_in_its_shortest_form() {
        for (text, sound) in
            [("6.10", true), ("6.12.8", true), ("6.12.0", false), ("6", false), ("6.1x", false)]
        {
            assert_eq!(release(text).is_ok(), sound, "{text}");
        }
    }
}
