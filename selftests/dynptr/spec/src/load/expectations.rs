// SPDX-License-Identifier: GPL-2.0-only
//! `expectations.yaml`, and its rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::point::{FunctionSpec, PointSpec};
use super::resolve::Resolver;
use super::schema::{BugSpec, GroupSpec, OptionSpec, Words};
use super::{list, text, yaml};
use crate::{Group, Need, Trigger};

/// The file as it was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    pub(super) options: BTreeMap<String, OptionSpec>,
    /// What programs in a section need: the part of its name before the first `/` or `.`.
    pub(super) sections: BTreeMap<String, Vec<String>>,
    /// What ways of running need.
    pub(super) runs: BTreeMap<Trigger, Vec<String>>,
    pub(super) functions: BTreeMap<String, FunctionSpec>,
    pub(super) features: BTreeMap<String, FunctionSpec>,
    pub(super) points: BTreeMap<String, PointSpec>,
    pub(super) bugs: BTreeMap<String, BugSpec>,
    pub(super) messages: BTreeMap<String, Vec<Words>>,
    groups: Vec<GroupSpec>,
}

/// What the BPF sources have.
#[derive(Debug, Default)]
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

/// The tables made of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// The functions that the suite is about.
    pub functions: &'static [Need],
    /// The functions that programs call by number.
    pub helpers: &'static [(i32, &'static str)],
    /// The types that show how a kernel was built.
    pub shown: &'static [&'static str],
    /// All tests, by group.
    pub groups: &'static [Group],
}

/// The part of a manifest that has to agree with the options.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    tell: BTreeMap<String, Vec<String>>,
}

impl Expectations {
    /// Reads the file.
    ///
    /// # Errors
    /// Where the file is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        yaml::parse(text)
    }

    /// The functions that programs call by number.
    pub fn helpers(&self) -> BTreeMap<i32, String> {
        let all = self.functions.iter().chain(&self.features);
        all.filter_map(|(name, it)| Some((it.helper?, name.clone()))).collect()
    }

    /// Checks the file against these programs, and returns its tables for a harness of an
    /// architecture (Rust's name).
    ///
    /// # Errors
    /// The test that does not fit, or what no test uses.
    pub fn tables(&self, programs: &Programs, arch: &str) -> Result<Tables, String> {
        let mut resolver = Resolver::new(self, programs, arch);
        let mut groups = Vec::new();
        for group in &self.groups {
            check_names(group)?;
            let mut tests = Vec::new();
            for test in &group.tests {
                let at = |err| format!("{}/{}: {err}", group.name, test.name);
                tests.push(resolver.test(test).map_err(at)?);
            }
            groups.push(Group { name: text(&group.name), tests: list(tests) });
        }
        resolver.finish()?;
        Ok(Tables {
            functions: list(self.functions.iter().map(|(name, it)| it.need(name, arch))),
            helpers: list(self.helpers().iter().map(|(number, name)| (*number, text(name)))),
            shown: list(self.options.values().filter_map(|it| it.shows.as_deref().map(text))),
            groups: list(groups),
        })
    }

    /// Does the suite's manifest have kvet pass the options that the tests have?
    ///
    /// # Errors
    /// What the manifest should have instead.
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
}

fn check_names(group: &GroupSpec) -> Result<(), String> {
    let sorted = group.tests.is_sorted_by(|a, b| a.name < b.name);
    let names = group.tests.iter().map(|test| test.name.as_str()).chain([group.name.as_str()]);
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(odd) = names.into_iter().find(|name| !plain(name)) {
        return Err(format!("{odd:?}: names are made of letters, digits and _"));
    }
    if !sorted {
        return Err(format!("{}: tests have to be sorted by name, each name once", group.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expectation, Point, Release, Run, Wanted};

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

    fn tables(tests: &str) -> Result<Tables, String> {
        let file = Expectations::parse(&format!("{HEAD}groups:\n  - name: g\n    tests: {tests}\n"))?;
        file.tables(&programs(), "x86_64")
    }

    #[test]
    fn makes_a_table_of_a_message_in_two_ranges() {
        let tables =
            tables(&format!("[{{ name: one, rejected: [{{ says: odd }}] }}, {REST}]")).expect("sound");
        let since = Point { mainline: Release::new(5, 19, 0), backports: &[], unsure: &[] };
        assert_eq!(tables.functions, [Need { name: "read", since }]);
        let test = &tables.groups[0].tests[0];
        assert_eq!((test.name, test.needs, test.calls), ("one", tables.functions, &["read"][..]));
        const NEW: &[Point] =
            &[Point { mainline: Release::new(6, 13, 0), backports: &[Release::new(6, 12, 8)], unsure: &[] }];
        let odd = Expectation { since: &[], until: NEW, text: Some("is odd") };
        let Run::Rejected(expectations) = test.run else { panic!("{test:?}") };
        assert_eq!(expectations, [odd, Expectation { since: NEW, until: &[], text: Some("is new") }]);
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
        let err = tables(tests).expect_err(tests);
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
            "release_window: new",
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
        let tables = tables(&tests).expect("sound");
        let a = Wanted { option: "CONFIG_A", modules: &[], has: None, shows: None };
        let lsm = Wanted { option: "CONFIG_LSM", has: Some("bpf"), ..a };
        let tun = Wanted { option: "CONFIG_TUN", modules: &["tun"], ..a };
        let config: Vec<&[Wanted]> = tables.groups[0].tests.iter().map(|test| test.config).collect();
        assert_eq!(config, [&[lsm, a][..], &[lsm, a, tun]]);
    }

    #[test]
    fn the_manifest_names_the_same_options() {
        let file = Expectations::parse(&format!("{HEAD}groups: []\n")).expect("sound");
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
        let tables = |branch| {
            let head = HEAD.replace("bugs: {}", &bug.replace("BRANCH", branch));
            Expectations::parse(&format!("{head}{tests}\n"))?.tables(&programs(), "x86_64")
        };
        let bug = tables("6.6").expect("sound").groups[0].tests[0].bug.expect("it has one");
        assert_eq!(bug.fixed.unsure, [Release::new(6, 6, 0)]);
        assert!(tables("6.12").expect_err("known").contains("unsure 6.12: expected an older branch"));
        assert!(tables("6.6.30").expect_err("no branch").contains("unsure 6.6.30"));
    }
}
