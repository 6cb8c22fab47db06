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
    options: BTreeMap<String, OptionSpec>,
    /// What programs in a section need: the part of its name before the first `/` or `.`.
    sections: BTreeMap<String, Vec<String>>,
    /// What ways of running need.
    runs: BTreeMap<RunSpec, Vec<String>>,
    functions: BTreeMap<String, FunctionSpec>,
    features: BTreeMap<String, FunctionSpec>,
    points: BTreeMap<String, PointSpec>,
    bugs: BTreeMap<String, BugSpec>,
    messages: BTreeMap<String, Vec<Words>>,
    groups: Vec<GroupSpec>,
}

/// What the BPF sources have.
#[derive(Default)]
pub struct Programs {
    /// Program → the name of its source.
    pub sources: BTreeMap<String, String>,
    /// Program → its section.
    pub sections: BTreeMap<String, String>,
    /// Program → the functions of the kernel that it calls.
    pub calls: BTreeMap<String, BTreeSet<String>>,
    /// Program → the maps that it uses.
    pub maps: BTreeMap<String, BTreeSet<String>>,
}

/// An option that kernels can be built without.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OptionSpec {
    /// The modules that it may be; any of them will do.
    modules: Vec<String>,
    /// The value is a list with commas, and this has to be in it.
    has: Option<String>,
    /// A type that only kernels have that were built with it.
    #[serde(rename = "type")]
    shows: Option<String>,
}

/// What of a manifest has to agree with the options.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    tell: BTreeMap<String, Vec<String>>,
}

/// A release of the main line, with those of stable branches.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "PointText")]
struct PointSpec {
    mainline: Release,
    backports: Vec<Release>,
    /// Branches that may have taken the change over, nobody here knows with which release.
    unsure: Vec<Release>,
}

/// How a point is written. Releases are strings: as a number, 6.10 would be 6.1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointText {
    since: String,
    #[serde(default)]
    backports: Vec<String>,
    #[serde(default)]
    unsure: Vec<String>,
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
        let unsure = text.unsure.iter().map(|it| release(it)).collect::<Result<Vec<_>, _>>()?;
        for branch in &unsure {
            if branch.patch > 0 || *branch >= mainline || backports.iter().any(|it| it.same_branch(*branch)) {
                return Err(format!("unsure {branch}: expected an older branch of which nothing is known"));
            }
        }
        Ok(Self { mainline, backports, unsure })
    }
}

/// A function of the kernel, or another feature that tests depend on.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "FunctionText")]
struct FunctionSpec {
    since: PointSpec,
    /// The number by which programs call it, where it has one.
    helper: Option<i32>,
    /// Since when it is there on arm64, where that is later.
    arm64: Option<PointSpec>,
    /// The options that it needs.
    config: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionText {
    since: String,
    #[serde(default)]
    backports: Vec<String>,
    helper: Option<i32>,
    arm64: Option<String>,
    #[serde(default)]
    config: Vec<String>,
}

impl TryFrom<FunctionText> for FunctionSpec {
    type Error = String;

    fn try_from(text: FunctionText) -> Result<Self, String> {
        let FunctionText { since, backports, helper, arm64, config } = text;
        let point =
            |since, backports| PointSpec::try_from(PointText { since, backports, unsure: Vec::new() });
        let arm64 = arm64.map(|since| point(since, Vec::new())).transpose()?;
        Ok(Self { since: point(since, backports)?, helper, arm64, config })
    }
}

fn release(text: &str) -> Result<Release, String> {
    Release::parse(text)
        .filter(|it| it.to_string() == text)
        .ok_or_else(|| format!("{text:?} is no release: expected the form 6.4 or 6.12.8"))
}

/// A mistake of the kernel's that tests run into.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BugSpec {
    what: String,
    introduced: PointSpec,
    fixed: PointSpec,
    /// The commit of the main line that fixed it.
    commit: String,
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
    /// A program that is loaded along with it.
    with: Option<String>,
    /// A third one.
    also: Option<String>,
    /// The structure of operations (`struct_ops`) that the program is part of.
    ops: Option<OpsSpec>,
    /// The rights of who loads it.
    #[serde(default)]
    rights: RightsSpec,
    /// Features beside the functions that the programs call.
    #[serde(default)]
    needs: Vec<String>,
    /// Options beside those of its programs, their functions, its features and its way of running.
    #[serde(default)]
    config: Vec<String>,
    run: Option<RunSpec>,
    /// Length of the packet.
    bytes: Option<usize>,
    /// The type that the frame says it has.
    protocol: Option<u16>,
    /// How much of it is in one piece.
    linear: Option<usize>,
    bug: Option<BugUse>,
    /// A point; kernels that have reached it do something else, and the program is told so.
    era: Option<String>,
    #[serde(default)]
    rejected: Vec<RejectedSpec>,
}

/// The rights of who loads a program.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RightsSpec {
    /// All of them.
    #[default]
    All,
    /// CAP_BPF, and no other capability.
    Bpf,
    /// No capability.
    None,
}

/// A structure of operations: its map, and the programs that are loaded beside the one under test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpsSpec {
    map: String,
    #[serde(default)]
    programs: Vec<String>,
}

/// How a known bug shows in a test: what its first line of diagnostics has in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BugUse {
    name: String,
    fails: String,
}

/// How a test is triggered; src/model.rs says what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RunSpec {
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

impl RunSpec {
    fn has_packet(self) -> bool {
        matches!(
            self,
            Self::TestRun
                | Self::XdpContext
                | Self::Tap
                | Self::TapClone
                | Self::Veth
                | Self::Lwt
                | Self::Loopback
                | Self::Sockmap
                | Self::Netfilter
                | Self::Seg6Local
                | Self::Qdisc
        )
    }

    fn needs_company(self) -> bool {
        matches!(self, Self::Tap | Self::TapClone | Self::Veth | Self::Lwt)
    }
}

/// The name of a message, in a range of kernels; or the verifier takes the program there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectedSpec {
    says: Option<String>,
    #[serde(default)]
    taken: bool,
    since: Option<String>,
    until: Option<String>,
}

/// A type that is set aside for local experiments: frames have it unless a test says otherwise.
const EXPERIMENTAL: u16 = 0x88b5;
/// Packets are this long unless a test says otherwise.
const PACKET_BYTES: usize = 96;

/// Reads the file; the error says where it is wrong.
pub fn parse(text: &str) -> Result<File, String> {
    serde_yaml::from_str(text).map_err(|err| err.to_string())
}

impl File {
    /// The functions that programs call by number.
    pub fn helpers(&self) -> BTreeMap<i32, String> {
        let all = self.functions.iter().chain(&self.features);
        all.filter_map(|(name, it)| Some((it.helper?, name.clone()))).collect()
    }

    /// The Rust source of the tables `FUNCTIONS` and `GROUPS`.
    pub fn generate(&self, programs: &Programs) -> Result<String, String> {
        let mut out =
            String::from("/// The functions that the suite is about.\npub static FUNCTIONS: &[Need] = &[\n");
        for (name, function) in &self.functions {
            let _ = writeln!(out, "{},", function.need(name));
        }
        out += "];\n\n/// The functions that programs call by number.\npub static HELPERS: &[(i32, &str)] = &[\n";
        for (number, name) in self.helpers() {
            let _ = writeln!(out, "({number}, {name:?}),");
        }
        out += "];\n\n/// The types that show how a kernel was built.\npub static SHOWN: &[&str] = &[\n";
        for name in self.options.values().filter_map(|it| it.shows.as_ref()) {
            let _ = writeln!(out, "{name:?},");
        }
        out += "];\n\n/// All tests, by group.\npub static GROUPS: &[Group] = &[\n";
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

    /// Has the suite's manifest kvet tell it of the options that the tests have?
    pub fn check_manifest(&self, text: &str) -> Result<(), String> {
        let manifest: Manifest = serde_yaml::from_str(text).map_err(|err| err.to_string())?;
        let wanted: BTreeMap<_, _> = self.options.iter().map(|(name, it)| (name, &it.modules)).collect();
        if manifest.tell.iter().eq(wanted.iter().map(|(name, modules)| (*name, *modules))) {
            return Ok(());
        }
        let lines: String =
            wanted.iter().map(|(name, modules)| format!("  {name}: [{}]\n", modules.join(", "))).collect();
        Err(format!("`tell` has to name the options of expectations.yaml:\ntell:\n{lines}"))
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
    fn check_used(&self, used: &Used, programs: &Programs) -> Result<(), String> {
        let unused = |what, all: Vec<&String>, used: &BTreeSet<String>| match all
            .iter()
            .find(|it| !used.contains(**it))
        {
            Some(name) => Err(format!("{what} {name} is used by no test")),
            None => Ok(()),
        };
        unused("program", programs.sources.keys().collect(), &used.programs)?;
        unused("function", self.functions.keys().collect(), &used.features)?;
        unused("feature", self.features.keys().collect(), &used.features)?;
        unused("message", self.messages.keys().collect(), &used.messages)?;
        unused("bug", self.bugs.keys().collect(), &used.bugs)?;
        unused("option", self.options.keys().collect(), &used.options)?;
        unused("section", self.sections.keys().collect(), &used.sections)?;
        if let Some(run) = self.runs.keys().find(|it| !used.runs.contains(it)) {
            return Err(format!("run {run:?} is used by no test"));
        }
        unused("point", self.points.keys().collect(), &used.points)
    }

    fn test(&self, test: &TestSpec, programs: &Programs, used: &mut Used) -> Result<String, String> {
        let program = test.program.as_ref().unwrap_or(&test.name);
        let mut calls = BTreeSet::new();
        let mut options = Vec::new();
        let beside = test.ops.iter().flat_map(|ops| &ops.programs);
        for name in [program].into_iter().chain(&test.with).chain(&test.also).chain(beside) {
            used.programs.insert(name.clone());
            if !programs.sources.contains_key(name) {
                return Err(format!("no file of bpf/ has a program {name}"));
            }
            calls.extend(programs.calls.get(name).into_iter().flatten().cloned());
            let section =
                programs.sections.get(name).map_or("", |it| it.split(['/', '.']).next().unwrap_or(it));
            if let Some(needed) = self.sections.get(section) {
                used.sections.insert(section.to_owned());
                options.extend(needed);
            }
        }
        let mut needs = String::new();
        for name in calls.iter().chain(test.needs.iter().filter(|it| !calls.contains(*it))) {
            let feature = self.functions.get(name).or_else(|| self.features.get(name));
            let feature =
                feature.ok_or_else(|| format!("{name} is neither among the functions nor the features"))?;
            used.features.insert(name.clone());
            needs += &feature.need(name);
            needs += ", ";
            options.extend(&feature.config);
        }
        if let Some((run, needed)) = test.run.and_then(|run| self.runs.get_key_value(&run)) {
            used.runs.insert(*run);
            options.extend(needed);
        }
        options.extend(&test.config);
        let config = self.config(&options, used)?;
        let name = &test.name;
        let source = &programs.sources[program];
        let (with, also) = (&test.with, &test.also);
        let own: Vec<&String> = programs.calls.get(program).into_iter().flatten().collect();
        let beside = test.ops.iter().flat_map(|ops| &ops.programs);
        let maps: BTreeSet<&String> = [program]
            .into_iter()
            .chain(&test.with)
            .chain(&test.also)
            .chain(beside)
            .filter_map(|it| programs.maps.get(it))
            .flatten()
            .chain(test.ops.iter().map(|ops| &ops.map))
            .collect();
        let maps: Vec<_> = maps.into_iter().collect();
        let linear = test.linear;
        let bytes = test.bytes.unwrap_or(PACKET_BYTES);
        let protocol = test.protocol.unwrap_or(EXPERIMENTAL);
        let run = self.run(test, used)?;
        let ops = match &test.ops {
            Some(OpsSpec { map, programs }) => {
                format!("Some(Ops {{ map: {map:?}, programs: &{programs:?} }})")
            }
            None => "None".into(),
        };
        let rights = test.rights;
        let bug = self.bug(test, used)?;
        let era = match &test.era {
            Some(_) => format!("Some({})", self.points([&test.era, &None], used)?.trim_end_matches(", ")),
            None => "None".into(),
        };
        Ok(format!(
            "Test {{ name: {name:?}, program: {program:?}, source: {source:?}, with: {with:?}, also: {also:?}, ops: {ops}, rights: Rights::{rights:?}, \
             needs: &[{needs}], config: &[{config}], calls: &{own:?}, maps: &{maps:?}, bytes: {bytes}, protocol: {protocol}, linear: {linear:?}, era: {era}, bug: {bug}, \
             run: {run} }},\n"
        ))
    }

    /// Each option once, as the table has it.
    fn config(&self, names: &[&String], used: &mut Used) -> Result<String, String> {
        let mut out = String::new();
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| seen.insert(name.as_str())) {
            let OptionSpec { modules, has, shows } =
                self.options.get(*name).ok_or_else(|| format!("{name} is not among the options"))?;
            used.options.insert((*name).clone());
            let _ = write!(
                out,
                "Wanted {{ option: {name:?}, modules: &{modules:?}, has: {has:?}, shows: {shows:?} }}, "
            );
        }
        Ok(out)
    }

    fn run(&self, test: &TestSpec, used: &mut Used) -> Result<String, String> {
        match (test.run, test.rejected.as_slice()) {
            (Some(run), []) => {
                if test.bytes.is_some() && !run.has_packet() {
                    return Err(format!("`run: {run:?}` has no packet whose `bytes` could be chosen"));
                }
                if test.linear.is_some() && !matches!(run, RunSpec::TestRun) {
                    return Err(format!("`run: {run:?}` has no packet whose `linear` part could be chosen"));
                }
                if run.needs_company() && test.with.is_none() {
                    return Err(format!("`run: {run:?}` wants another program, `with`"));
                }
                Ok(format!("Run::Trigger(Trigger::{run:?})"))
            }
            (None, rejected @ [_, ..]) if test.bytes.is_none() && test.with.is_none() => {
                self.rejected(rejected, used)
            }
            _ => Err("expected either `run` or `rejected`".into()),
        }
    }

    fn bug(&self, test: &TestSpec, used: &mut Used) -> Result<String, String> {
        let Some(bug) = &test.bug else { return Ok("None".into()) };
        let spec = self.bugs.get(&bug.name).ok_or_else(|| format!("no bug {}", bug.name))?;
        used.bugs.insert(bug.name.clone());
        let BugSpec { what, introduced, fixed, commit } = spec;
        if commit.len() < 12 || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("bug {}: {commit:?} is no commit of at least 12 digits", bug.name));
        }
        Ok(format!(
            "Some(Bug {{ what: {what:?}, commit: {commit:?}, introduced: {}, fixed: {}, fails: {:?} }})",
            introduced.code(),
            fixed.code(),
            bug.fails
        ))
    }

    fn rejected(&self, rejected: &[RejectedSpec], used: &mut Used) -> Result<String, String> {
        let mut out = String::from("Run::Rejected(&[");
        let taken = [Words { text: String::new(), since: None, until: None }];
        for row in rejected {
            let message = match (&row.says, row.taken) {
                (Some(name), false) => {
                    used.messages.insert(name.clone());
                    self.messages.get(name).ok_or_else(|| format!("no message {name}"))?.as_slice()
                }
                (None, true) => &taken,
                _ => return Err("expected either `says` or `taken: true`".into()),
            };
            for words in message {
                let since = self.points([&row.since, &words.since], used)?;
                let until = self.points([&row.until, &words.until], used)?;
                let text = (!row.taken).then_some(&words.text);
                let _ =
                    write!(out, "Expectation {{ since: &[{since}], until: &[{until}], text: {text:?} }}, ");
            }
        }
        if rejected.iter().all(|row| row.taken) {
            return Err("a program that no kernel refuses has to be run".into());
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

/// `coverage.yaml`: suite of upstream's → subtest → the tests of ours that check the same.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Coverage(BTreeMap<String, BTreeMap<String, CoveredBy>>);

/// At least one of the two is said; a hole beside tests is what they leave out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoveredBy {
    #[serde(default)]
    by: Vec<String>,
    hole: Option<String>,
}

impl Coverage {
    /// Reads the file; the error says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_yaml::from_str(text).map_err(|err| err.to_string())
    }

    /// The Rust source of the table `UPSTREAM`.
    pub fn generate(&self) -> String {
        let mut out =
            String::from("\n/// Upstream's subtests, and ours.\npub static UPSTREAM: &[Upstream] = &[\n");
        for (suite, subtests) in &self.0 {
            for (name, CoveredBy { by, hole }) in subtests {
                let _ = writeln!(
                    out,
                    "Upstream {{ suite: {suite:?}, name: {name:?}, by: &{by:?}, hole: {hole:?} }},"
                );
            }
        }
        out + "];\n"
    }
}

/// What the tests refer to.
#[derive(Default)]
struct Used {
    programs: BTreeSet<String>,
    features: BTreeSet<String>,
    messages: BTreeSet<String>,
    points: BTreeSet<String>,
    bugs: BTreeSet<String>,
    options: BTreeSet<String>,
    sections: BTreeSet<String>,
    runs: BTreeSet<RunSpec>,
}

impl PointSpec {
    fn code(&self) -> String {
        let backports: String = self.backports.iter().map(|it| code(*it) + ", ").collect();
        let unsure: String = self.unsure.iter().map(|it| code(*it) + ", ").collect();
        format!(
            "Point {{ mainline: {}, backports: &[{backports}], unsure: &[{unsure}] }}",
            code(self.mainline)
        )
    }
}

impl FunctionSpec {
    fn need(&self, name: &str) -> String {
        // Of the machine that the harness is built for, not of the one that builds it.
        let target = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        let since = self.arm64.as_ref().filter(|_| target == "aarch64").unwrap_or(&self.since);
        format!("Need {{ name: {name:?}, since: {} }}", since.code())
    }
}

fn code(release: Release) -> String {
    format!("Release::new({}, {}, {})", release.major, release.minor, release.patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "options: { CONFIG_TUN: { modules: [tun] }, CONFIG_LSM: { has: bpf }, CONFIG_A: {} }\n\
                        sections: { lsm: [CONFIG_LSM] }\nruns: { tap: [CONFIG_TUN] }\n\
                        functions: { read: { since: '5.19', config: [CONFIG_A] } }\nfeatures: {}\nbugs: {}\npoints: { new: { since: '6.13', backports: ['6.12.8'] } }\n\
                        messages: { odd: [{ text: is odd, until: new }, { text: is new, since: new }] }\n";

    fn programs() -> Programs {
        let sources = [("one".to_owned(), "local".to_owned())].into();
        let sections = [("one".to_owned(), "lsm.s/file_open".to_owned())].into();
        let calls = [("one".to_owned(), BTreeSet::from(["read".to_owned()]))].into();
        Programs { sources, sections, calls, maps: BTreeMap::new() }
    }

    /// A test that uses what the others do not.
    const REST: &str = "{ name: zz, program: one, with: one, run: tap }";

    fn generated(tests: &str) -> Result<String, String> {
        let programs = programs();
        parse(&format!("{HEAD}groups:\n  - name: g\n    tests: {tests}\n"))?.generate(&programs)
    }

    #[test]
    fn makes_a_table_of_a_message_in_two_ranges() {
        let table =
            generated(&format!("[{{ name: one, rejected: [{{ says: odd }}] }}, {REST}]")).expect("sound");
        assert!(
            table.contains(r#"Need { name: "read", since: Point { mainline: Release::new(5, 19, 0)"#),
            "{table}"
        );
        assert!(table.contains("backports: &[Release::new(6, 12, 8), ]"), "{table}");
        assert!(table.contains(r#"text: Some("is odd")"#), "{table}");
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        for (tests, complaint) in [
            ("[{ name: one, rejected: [{ says: even }] }]", "no message even"),
            ("[{ name: one, needs: [write], run: nanosleep }]", "write is neither among"),
            ("[{ name: two, needs: [read], run: nanosleep }]", "no file of bpf/ has a program two"),
            ("[{ name: one, run: nanosleep, bytes: 3 }]", "has no packet"),
            ("[{ name: one, run: tap, linear: 3 }]", "has no packet whose `linear`"),
            ("[{ name: one, run: nanosleep, bug: { name: odd, fails: x } }]", "no bug odd"),
            ("[{ name: one, rejected: [{ taken: true }] }]", "has to be run"),
            ("[{ name: one, rejected: [{ says: odd, taken: true }] }]", "expected either `says`"),
            ("[{ name: one, rejected: [{ since: new }] }]", "expected either `says`"),
            ("[{ name: one }]", "expected either `run` or `rejected`"),
            ("[{ name: one, run: tap }]", "wants another program"),
            ("[{ name: one, run: sleep }]", "unknown variant"),
            ("[{ name: one, runs: nanosleep }]", "unknown field"),
            ("[{ name: 'a b', program: one, run: nanosleep }]", "names are made of"),
            (
                "[{ name: b, program: one, run: nanosleep }, \
                 { name: a, program: one, run: nanosleep }]",
                "sorted",
            ),
            ("[{ name: one, run: nanosleep }]", "message odd is used by no test"),
            (
                "[{ name: one, run: tap, with: one, config: [CONFIG_TAP] }]",
                "CONFIG_TAP is not among the options",
            ),
            ("[{ name: one, rejected: [{ says: odd }] }]", "option CONFIG_TUN is used by no test"),
        ] {
            let err = generated(tests).expect_err(tests);
            assert!(err.contains(complaint), "{tests}: {err}");
        }
    }

    #[test]
    fn a_test_needs_what_its_parts_need() {
        let tests = format!("[{{ name: one, rejected: [{{ says: odd }}] }}, {REST}]");
        let table = generated(&tests).expect("sound");
        let lsm = r#"Wanted { option: "CONFIG_LSM", modules: &[], has: Some("bpf"), shows: None }"#;
        let a = r#"Wanted { option: "CONFIG_A", modules: &[], has: None, shows: None }"#;
        let tun = r#"Wanted { option: "CONFIG_TUN", modules: &["tun"], has: None, shows: None }"#;
        assert!(table.contains(&format!("config: &[{lsm}, {a}, ]")), "{table}");
        assert!(table.contains(&format!("config: &[{lsm}, {a}, {tun}, ]")), "{table}");
    }

    #[test]
    fn the_manifest_names_the_same_options() {
        let file = parse(&format!("{HEAD}groups: []\n")).expect("sound");
        let right = "name: x\ntell: { CONFIG_A: [], CONFIG_LSM: [], CONFIG_TUN: [tun] }\n";
        assert_eq!(file.check_manifest(right), Ok(()));
        for wrong in
            ["name: x\n".to_owned(), right.replace("[tun]", "[tap]"), right.replace("CONFIG_A", "CONFIG_B")]
        {
            let err = file.check_manifest(&wrong).expect_err("wrong");
            assert!(err.contains("CONFIG_TUN: [tun]") && err.contains("CONFIG_A: []"), "{err}");
        }
    }

    #[test]
    fn a_branch_whose_fix_is_known_is_not_unsure() {
        let bug = "bugs: { leak: { what: x, introduced: { since: '6.1' }, fixed: { since: '6.13', backports: ['6.12.8'], \
                   unsure: ['BRANCH'] }, commit: 0123456789ab } }";
        let tests = "groups: [{ name: g, tests: [{ name: one, rejected: [{ says: odd }], bug: { name: leak, fails: x } }, \
                     { name: zz, program: one, with: one, run: tap }] }]";
        let generated = |branch| {
            let head = HEAD.replace("bugs: {}", &bug.replace("BRANCH", branch));
            parse(&format!("{head}{tests}\n"))?.generate(&programs())
        };
        assert!(generated("6.6").expect("sound").contains("unsure: &[Release::new(6, 6, 0), ]"));
        assert!(generated("6.12").expect_err("known").contains("unsure 6.12: expected an older branch"));
        assert!(generated("6.6.30").expect_err("no branch").contains("unsure 6.6.30"));
    }

    #[test]
    fn coverage_names_tests_or_says_why_there_are_none() {
        let text = "suite: { one: { by: [a/b] }, two: { hole: there is no such thing } }";
        let table = Coverage::parse(text).expect("sound").generate();
        assert!(table.contains(r#"suite: "suite", name: "one", by: &["a/b"], hole: None"#), "{table}");
        assert!(table.contains(r#"name: "two", by: &[], hole: Some("there is no such thing")"#), "{table}");
        assert!(Coverage::parse("suite: { one: { tests: [] } }").is_err());
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
