// SPDX-License-Identifier: GPL-2.0-only
//! `expectations.yaml`, its rules, and the Rust tables made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

pub mod coverage;
mod fields;
mod point;
mod run;
mod spec;
mod test;

use point::{FunctionSpec, PointSpec};
use run::RunSpec;
use spec::{BugSpec, GroupSpec, OptionSpec, Words};

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

/// What of a manifest has to agree with the options.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    tell: BTreeMap<String, Vec<String>>,
}

/// A type that is set aside for local experiments: frames have it unless a test says otherwise.
const EXPERIMENTAL: u16 = 0x88b5;
/// Packets are this long unless a test says otherwise.
const PACKET_BYTES: usize = 96;

/// Reads the file; the error says where it is wrong.
pub fn parse(text: &str) -> Result<File, String> {
    crate::yaml::parse(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "options: { CONFIG_TUN: { modules: [tun] }, CONFIG_LSM: { has: bpf }, CONFIG_A: {} }\n\
                        sections: { lsm: [CONFIG_LSM] }\nruns: { tap: [CONFIG_TUN] }\n\
                        functions: { read: { since: '5.19', config: [CONFIG_A] } }\nfeatures: {}\nbugs: {}\npoints: { new: { since: '6.13', backports: ['6.12.8'] } }\n\
                        messages: { odd: [{ text: is odd, until: new }, { text: is new, since: new }] }\n";

    fn programs() -> Programs {
        let sources = ["one", "other"].map(|name| (name.to_owned(), "local".to_owned())).into();
        let sections = [("one", "lsm.s/file_open"), ("other", "struct_ops/enqueue")];
        let sections = sections.map(|(name, section)| (name.to_owned(), section.to_owned())).into();
        let calls = [("one".to_owned(), BTreeSet::from(["read".to_owned()]))].into();
        Programs { sources, sections, calls, maps: BTreeMap::new() }
    }

    /// A test that uses what the others do not.
    const REST: &str = "{ name: zz, program: one, with: other, run: tap }";

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
            ("[{ name: one, run: nanosleep, bug: { name: odd, fails: x } }]", "no bug odd"),
            ("[{ name: one, rejected: [{ taken: true }] }]", "has to be run"),
            ("[{ name: one, rejected: [{ says: odd, taken: true }] }]", "expected either `says`"),
            ("[{ name: one, rejected: [{ since: new }] }]", "expected either `says`"),
            ("[{ name: one }]", "expected either `run` or `rejected`"),
            ("[{ name: one, run: call, rejected: [{ says: odd }] }]", "`rejected`, and not both"),
            ("[{ name: one, run: tap }]", "`run: tap` wants another program"),
            ("[{ name: one, run: sleep }]", "unknown variant"),
            ("[{ name: one, runs: nanosleep }]", "unknown field"),
            ("[{ name: 'a b', program: one, run: nanosleep }]", "names are made of"),
            (
                "[{ name: b, program: one, run: nanosleep }, \
                 { name: a, program: one, run: nanosleep }]",
                "sorted",
            ),
            ("[{ name: one, run: call, with: other }]", "message odd is used by no test"),
            (
                "[{ name: one, run: tap, with: other, config: [CONFIG_TAP] }]",
                "CONFIG_TAP is not among the options",
            ),
            (
                "[{ name: one, rejected: [{ says: odd }] }, { name: two, program: one, run: call, with: other }]",
                "option CONFIG_TUN is used by no test",
            ),
            ("[{ name: one, run: call, with: one }]", "program one is loaded twice"),
            ("[{ name: other, run: qdisc }]", "other is in section struct_ops: expected `ops`"),
        ] {
            refuses(tests, complaint);
        }
    }

    /// Such tests are refused, with this complaint about the last of them.
    fn refuses(tests: &str, complaint: &str) {
        let err = generated(tests).expect_err(tests);
        assert!(err.contains(complaint), "{tests}: {err}");
    }

    #[test]
    fn refuses_fields_without_effect_and_says_where_they_have_one() {
        for (tests, complaint) in [
            (
                "run: nanosleep, bytes: 3",
                "g/one: `bytes` has no effect with `run: nanosleep`: it goes with test_run, ",
            ),
            (
                "run: call, protocol: 3",
                "`protocol` has no effect with `run: call`: it goes with test_run, tap, ",
            ),
            ("run: xdp_context, protocol: 3", "`protocol` has no effect with `run: xdp_context`"),
            (
                "run: loopback, linear: 3",
                "`linear` has no effect with `run: loopback`: it goes with test_run",
            ),
            ("run: tap, with: other, also: one", "`also` has no effect with `run: tap`: it goes with lwt"),
            (
                "run: user_ringbuf, with: other",
                "`with` has no effect with `run: user_ringbuf`: it goes with call, ",
            ),
            ("run: call, ops: { map: m }", "`ops` has no effect with `run: call`: it goes with qdisc"),
            ("run: qdisc, ops: { map: m }", "in section lsm: it goes with struct_ops"),
            ("run: test_run, bytes: 96", "`bytes: 96` is what packets have anyway: leave it out"),
            ("run: test_run, protocol: 34997", "`protocol: 34997` is what frames have anyway"),
            ("run: test_run, linear: 96", "`linear: 96` leaves no other piece of a packet of 96 bytes"),
            (
                "run: test_run, bytes: 300, linear: 301",
                "`linear: 301` leaves no other piece of a packet of 300 bytes",
            ),
            ("run: call, program: one", "`program: one` is the test's name anyway"),
            ("run: call, needs: [read]", "`needs: read` is known without it, from what its programs call"),
            ("run: call, bug: { name: odd, fails: '' }", "`bug: fails` is in every failure"),
            ("run: call, config: [CONFIG_A]", "`config: CONFIG_A` is known without it, from its programs"),
            ("run: call, config: [CONFIG_TUN, CONFIG_TUN]", "`config: CONFIG_TUN` is known without it"),
        ] {
            refuses(&format!("[{{ name: one, {tests} }}]"), complaint);
        }
        for field in [
            "bytes: 3",
            "with: other",
            "also: other",
            "protocol: 3",
            "linear: 3",
            "era: new",
            "ops: { map: m, programs: [other] }",
        ] {
            let name =
                if field.starts_with("ops") { "ops: programs" } else { field.split(':').next().unwrap() };
            let complaint = format!("g/one: `{name}` has no effect on a program that is refused");
            refuses(&format!("[{{ name: one, rejected: [{{ says: odd }}], {field} }}]"), &complaint);
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
                     { name: zz, program: one, with: other, run: tap }] }]";
        let generated = |branch| {
            let head = HEAD.replace("bugs: {}", &bug.replace("BRANCH", branch));
            parse(&format!("{head}{tests}\n"))?.generate(&programs())
        };
        assert!(generated("6.6").expect("sound").contains("unsure: &[Release::new(6, 6, 0), ]"));
        assert!(generated("6.12").expect_err("known").contains("unsure 6.12: expected an older branch"));
        assert!(generated("6.6.30").expect_err("no branch").contains("unsure 6.6.30"));
    }
}
