//! Expectations: which tests of a suite cannot pass on which kernels, and why.
//!
//! A list of exceptions, each with its reason. An entry says when it applies (release, architecture, what the kernel's
//! config lacks) and what then becomes of the tests it names: they are not run (`skip`), they run and must fail
//! (`xfail`), so that an entry that is no longer true is found out, or they run and may fail (`flaky`).

use std::path::Path;

use globset::{Glob, GlobMatcher};
use serde::Deserialize;

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::event::{Accel, Outcome, TestCase};
use crate::kernel::KernelVersion;
use crate::spec;

/// One entry.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The tests: a glob over whole names, as for `-t`.
    pub test: String,
    matcher: GlobMatcher,
    /// Only on these kernels.
    pub kernel: Range,
    /// Only with the tests of these releases, which may be others than the kernel's.
    pub selftests: Range,
    /// Only on these architectures; none named: on all.
    pub arch: Vec<Arch>,
    /// Only under this accelerator; none: under both.
    pub accel: Option<Accel>,
    /// Only where the kernel has one of these options neither built in nor as a module.
    pub lacks: Vec<String>,
    /// What becomes of the tests.
    pub outcome: As,
    /// A part of the failure's message or text: another failure is not excused.
    pub message: Option<String>,
    /// Why.
    pub reason: String,
}

/// Releases from one to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// From this release on.
    #[serde(default)]
    pub since: Option<KernelVersion>,
    /// Before this release.
    #[serde(default)]
    pub until: Option<KernelVersion>,
}

impl Range {
    /// Whether a release is in it. One that is not known is only in a range without ends.
    fn has(self, version: Option<KernelVersion>) -> bool {
        if self == Self::default() {
            return true;
        }
        // What changes in a release has changed in its candidates.
        version.map(|version| KernelVersion { rc: None, ..version }).is_some_and(|version| {
            self.since.is_none_or(|since| version >= since) && self.until.is_none_or(|until| version < until)
        })
    }
}

/// What is run on what.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The kernel's release, where it is known.
    pub kernel: Option<KernelVersion>,
    /// The release that the tests were made for, where it is known.
    pub selftests: Option<KernelVersion>,
    /// The architecture.
    pub arch: Arch,
    /// How the guest's CPUs are run.
    pub accel: Accel,
    /// Tells whether an option is built in or a module; none where the kernel's config is not known.
    pub config: Option<&'a dyn Fn(&str) -> bool>,
}

/// What becomes of a test that an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum As {
    /// It is not run, or what it says does not count.
    Skip,
    /// It runs, and must fail.
    Xfail,
    /// It runs, and may fail as the entry says.
    Flaky,
}

/// Whether an entry applies to a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// It does.
    Yes,
    /// It would if the kernel lacked an option, and its config is not known.
    Perhaps,
    /// It does not.
    No,
}

/// An entry as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    test: String,
    #[serde(default)]
    kernel: Range,
    #[serde(default)]
    selftests: Range,
    #[serde(default)]
    arch: Vec<Arch>,
    #[serde(default)]
    accel: Option<Accel>,
    #[serde(default)]
    lacks: Vec<String>,
    #[serde(rename = "as")]
    outcome: As,
    #[serde(default)]
    message: Option<String>,
    reason: String,
}

/// Reads a file.
///
/// # Errors
/// The caller's: it is not there or not what it should be; the entry is named.
pub fn load(path: &Path) -> Result<Vec<Expectation>> {
    let entries: Vec<Entry> = spec::load(path)?;
    entries.into_iter().map(|entry| entry.check().map_err(|e| e.context(path.display()))).collect()
}

impl Entry {
    fn check(self) -> Result<Expectation> {
        let wrong = |what: String| Err(Error::caller(format!("entry for '{}': {what}", self.test)));
        if self.reason.trim().is_empty() {
            return wrong("an exception needs its reason".into());
        }
        if let Some(bad) = self.lacks.iter().find(|option| !option.starts_with("CONFIG_")) {
            return wrong(format!("kconfig option '{bad}' should begin with CONFIG_"));
        }
        for range in [self.kernel, self.selftests] {
            if let (Some(since), Some(until)) = (range.since, range.until)
                && since >= until
            {
                return wrong(format!("since {since} is not before until {until}"));
            }
        }
        if self.outcome == As::Skip && self.message.is_some() {
            return wrong("`message` makes no sense with `as: skip`: the test does not run".into());
        }
        if self.outcome == As::Flaky && self.message.is_none() {
            return wrong(
                "`as: flaky` needs the `message` of the failure: another one is none of these".into(),
            );
        }
        let matcher = match Glob::new(&self.test) {
            Ok(glob) => glob.compile_matcher(),
            Err(e) => return wrong(format!("no glob: {}", e.kind())),
        };
        let Entry { test, kernel, selftests, arch, accel, lacks, outcome, message, reason } = self;
        Ok(Expectation { test, matcher, kernel, selftests, arch, accel, lacks, outcome, message, reason })
    }
}

impl Expectation {
    /// Whether it is about a test.
    pub fn names(&self, test: &str) -> bool {
        self.matcher.is_match(test)
    }

    /// Whether it is about exactly one test.
    pub fn is_one(&self) -> bool {
        !self.test.contains(['*', '?', '[', '{', '\\'])
    }

    fn applies(&self, to: &Subject<'_>) -> Applies {
        let elsewhere = (!self.arch.is_empty() && !self.arch.contains(&to.arch))
            || self.accel.is_some_and(|accel| accel != to.accel);
        if elsewhere || !self.kernel.has(to.kernel) || !self.selftests.has(to.selftests) {
            return Applies::No;
        }
        match to.config {
            _ if self.lacks.is_empty() => Applies::Yes,
            None => Applies::Perhaps,
            Some(has) if self.lacks.iter().any(|option| !has(option)) => Applies::Yes,
            Some(_) => Applies::No,
        }
    }
}

/// The entries that apply to one kernel.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    entries: Vec<(Expectation, Applies)>,
}

impl Expected {
    /// Those of the entries that apply, or may.
    pub fn new(all: &[Expectation], to: &Subject<'_>) -> Self {
        let judged = all.iter().map(|entry| (entry.clone(), entry.applies(to)));
        Self { entries: judged.filter(|(_, applies)| *applies != Applies::No).collect() }
    }

    /// Entries whose tests are not to be run.
    pub fn skipped(&self) -> impl Iterator<Item = &Expectation> {
        let certain = self.entries.iter().filter(|(_, applies)| *applies == Applies::Yes);
        certain.map(|(entry, _)| entry).filter(|entry| entry.outcome == As::Skip)
    }

    /// Gives a result the outcome that it has where this is expected. An error (a crash, a result that is missing) is
    /// nothing that anybody expects.
    pub fn adjust(&self, case: &mut TestCase) {
        let mut passed_against = None;
        for (entry, applies) in self.entries.iter().filter(|(entry, _)| entry.names(&case.name)) {
            match (case.outcome, entry.outcome) {
                (Outcome::Fail, As::Skip) => {
                    case.outcome = Outcome::Skip;
                    case.message = format!("{} (it ran, and failed: {})", entry.reason, case.message);
                    return;
                }
                (Outcome::Fail, As::Xfail | As::Flaky) if entry.excuses(case) => {
                    case.outcome = Outcome::Xfail;
                    case.message = format!("{} ({})", entry.reason, case.message);
                    return;
                }
                // Of several tests some may pass: see `stale`.
                (Outcome::Pass, As::Xfail) if *applies == Applies::Yes && entry.is_one() => {
                    passed_against = Some(entry);
                }
                _ => {}
            }
        }
        if let Some(entry) = passed_against {
            case.outcome = Outcome::Fail;
            case.message = format!(
                "passed, though the expectation for '{}' says that it fails here: {}",
                entry.test, entry.reason
            );
        }
    }
}

impl Expected {
    /// Entries for several tests, some of which passed while none failed as expected: a failure each.
    pub fn stale(&self, cases: &[TestCase]) -> Vec<TestCase> {
        let certain =
            self.entries.iter().filter(|(_, applies)| *applies == Applies::Yes).map(|(entry, _)| entry);
        let several = certain.filter(|entry| entry.outcome == As::Xfail && !entry.is_one());
        let any = |entry: &Expectation, outcome| {
            cases.iter().any(|case| case.outcome == outcome && entry.names(&case.name))
        };
        several
            .filter(|entry| any(entry, Outcome::Pass) && !any(entry, Outcome::Xfail))
            .map(|entry| TestCase {
                name: format!("expectation/{}", entry.test),
                outcome: Outcome::Fail,
                duration: None,
                message: format!("none of these tests failed as it is expected here: {}", entry.reason),
                detail: String::new(),
                cause: None,
            })
            .collect()
    }
}

impl Expected {
    /// Entries that apply here and name none of these tests: a name with a mistake in it excuses nothing, silently.
    pub fn without_test(&self, names: &[&str]) -> Vec<&Expectation> {
        let certain = self.entries.iter().filter(|(_, applies)| *applies == Applies::Yes);
        certain.map(|(entry, _)| entry).filter(|entry| !names.iter().any(|name| entry.names(name))).collect()
    }
}

impl Expectation {
    fn excuses(&self, case: &TestCase) -> bool {
        let part = self.message.as_ref();
        part.is_none_or(|part| case.message.contains(part) || case.detail.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Expectation>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path())
    }

    const GOOD: &str = "- test: dynptr/test_copy_*\n  kernel: {since: 6.16, until: 7.1}\n  arch: [x86_64]\n  \
                        lacks: [CONFIG_A, CONFIG_B]\n  as: xfail\n  message: is not sleepable\n  reason: because\n";

    #[test]
    fn an_entry_without_a_test_is_found() {
        let text = "- {test: a/*, as: xfail, reason: r}\n- {test: b/x, as: xfail, reason: r}\n\
                    - {test: c, arch: [arm64], as: xfail, reason: r}\n";
        let (kernel, accel, arch) = (None, Accel::Tcg, Arch::X86_64);
        let to = Subject { kernel, selftests: None, arch, accel, config: None };
        let expected = Expected::new(&parse(text).unwrap(), &to);
        let without = |names: &[&str]| -> Vec<String> {
            expected.without_test(names).into_iter().map(|entry| entry.test.clone()).collect()
        };
        assert_eq!(without(&["a/1", "b/x"]), [] as [&str; 0]);
        assert_eq!(without(&["a/1", "b/y"]), ["b/x"]);
        assert_eq!(without(&[]), ["a/*", "b/x"], "what is for other kernels is not asked for");
    }

    #[test]
    fn an_entry_applies_where_all_it_says_is_true() {
        let entry = parse(GOOD).unwrap().remove(0);
        assert!(entry.names("dynptr/test_copy_x") && !entry.names("dynptr/test_x"));
        let version = |text: &str| Some(text.parse::<KernelVersion>().unwrap());
        let has = |options: &'static [&'static str]| move |name: &str| options.contains(&name);
        let (all, some) = (has(&["CONFIG_A", "CONFIG_B"]), has(&["CONFIG_A"]));
        type Config<'a> = Option<&'a dyn Fn(&str) -> bool>;
        let table: [(_, _, Config<'_>, _); 9] = [
            (version("6.16"), Arch::X86_64, Some(&some), Applies::Yes),
            (version("6.16-rc3"), Arch::X86_64, Some(&some), Applies::Yes),
            (version("7.0.9"), Arch::X86_64, Some(&some), Applies::Yes),
            (version("7.1-rc1"), Arch::X86_64, Some(&some), Applies::No),
            (version("6.15.9"), Arch::X86_64, Some(&some), Applies::No),
            (version("6.16"), Arch::Arm64, Some(&some), Applies::No),
            (version("6.16"), Arch::X86_64, Some(&all), Applies::No),
            (version("6.16"), Arch::X86_64, None, Applies::Perhaps),
            (None, Arch::X86_64, Some(&some), Applies::No),
        ];
        for (number, (kernel, arch, config, expected)) in table.into_iter().enumerate() {
            let to = Subject { kernel, selftests: None, arch, accel: Accel::Tcg, config };
            assert_eq!(entry.applies(&to), expected, "row {number}");
        }
        let entry = parse("- {test: x, selftests: {since: 6.16}, as: skip, reason: r}").unwrap().remove(0);
        for (selftests, expected) in
            [(version("6.12"), Applies::No), (None, Applies::No), (version("7.2"), Applies::Yes)]
        {
            let (arch, accel) = (Arch::Arm64, Accel::Kvm);
            let to = Subject { kernel: version("7.2"), selftests, arch, accel, config: None };
            assert_eq!(entry.applies(&to), expected, "{selftests:?}");
        }
        let entry = parse("- {test: x, accel: tcg, as: flaky, message: m, reason: r}").unwrap().remove(0);
        for (accel, expected) in [(Accel::Tcg, Applies::Yes), (Accel::Kvm, Applies::No)] {
            let to = Subject { kernel: None, selftests: None, arch: Arch::X86_64, accel, config: None };
            assert_eq!(entry.applies(&to), expected, "{accel}");
        }
    }

    #[test]
    fn a_failure_that_is_expected_is_one_and_a_pass_that_is_not_is_a_failure() {
        let entries = parse(
            "- {test: a/b, lacks: [CONFIG_A], as: xfail, message: not sleepable, reason: needs A}\n\
             - {test: 'skip/*', as: skip, reason: hangs}\n\
             - {test: race, as: flaky, message: too late, reason: a race}\n",
        )
        .unwrap();
        let case = |name: &str, outcome, message: &str| TestCase {
            name: name.into(),
            outcome,
            duration: None,
            message: message.into(),
            detail: String::new(),
            cause: None,
        };
        let none = |_: &str| false;
        let all = |_: &str| true;
        let with = |config| {
            let (arch, accel) = (Arch::X86_64, Accel::Tcg);
            Expected::new(&entries, &Subject { kernel: None, selftests: None, arch, accel, config })
        };
        let (known, unknown, not) =
            (with(Some(&none as &dyn Fn(&str) -> bool)), with(None), with(Some(&all)));
        use Outcome::*;
        let table = [
            (&known, case("a/b", Fail, "x is not sleepable"), Xfail, "needs A (x is not sleepable)"),
            (&known, case("race", Fail, "5 us too late"), Xfail, "a race (5 us too late)"),
            (&known, case("race", Fail, "wrong"), Fail, "wrong"),
            (&known, case("race", Pass, ""), Pass, ""),
            (&unknown, case("a/b", Fail, "x is not sleepable"), Xfail, "needs A (x is not sleepable)"),
            (&not, case("a/b", Fail, "x is not sleepable"), Fail, "x is not sleepable"),
            (&known, case("a/b", Fail, "other"), Fail, "other"),
            (&known, case("a/c", Fail, "x is not sleepable"), Fail, "x is not sleepable"),
            (&known, case("a/b", Error, "crash: not sleepable"), Error, "crash: not sleepable"),
            (&unknown, case("a/b", Pass, ""), Pass, ""),
            (&not, case("a/b", Pass, ""), Pass, ""),
            (
                &known,
                case("a/b", Pass, ""),
                Fail,
                "passed, though the expectation for 'a/b' says that it fails here: needs A",
            ),
            (&known, case("skip/x", Fail, "y"), Skip, "hangs (it ran, and failed: y)"),
            (&known, case("skip/x", Pass, ""), Pass, ""),
        ];
        for (expected, mut case, outcome, message) in table {
            let story = format!("{case:?}");
            expected.adjust(&mut case);
            assert_eq!((case.outcome, case.message.as_str()), (outcome, message), "{story}");
        }
        assert_eq!(known.skipped().map(|entry| entry.test.as_str()).collect::<Vec<_>>(), ["skip/*"]);
    }

    #[test]
    fn an_entry_for_several_tests_is_stale_when_none_of_them_fails() {
        let entries = parse("- {test: 'a/*', as: xfail, message: m, reason: r}").unwrap();
        let (arch, accel) = (Arch::X86_64, Accel::Tcg);
        let to = Subject { kernel: None, selftests: None, arch, accel, config: None };
        let expected = Expected::new(&entries, &to);
        let case = |name: &str, outcome, message: &str| {
            let (name, message) = (name.to_owned(), message.to_owned());
            let mut case =
                TestCase { name, outcome, duration: None, message, detail: String::new(), cause: None };
            expected.adjust(&mut case);
            case
        };
        let (pass, excused) = (case("a/x", Outcome::Pass, ""), case("a/y", Outcome::Fail, "m"));
        assert_eq!((pass.outcome, excused.outcome), (Outcome::Pass, Outcome::Xfail));
        let other = case("b", Outcome::Pass, "");
        assert!(expected.stale(&[pass.clone(), excused.clone(), other.clone()]).is_empty());
        assert!(expected.stale(&[excused, other]).is_empty());
        assert_eq!(expected.stale(&[pass])[0].name, "expectation/a/*");
    }

    #[test]
    fn the_shipped_file_is_right() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../selftests/upstream/expectations.yaml");
        assert!(!load(Path::new(path)).unwrap().is_empty());
    }

    #[test]
    fn releases_are_text_and_10_is_not_1() {
        let entry = parse("- {test: x, kernel: {since: 6.10}, as: skip, reason: r}").unwrap().remove(0);
        assert_eq!(entry.kernel.since, Some(KernelVersion::new(6, 10, 0)));
    }

    #[test]
    fn wrong_entries_are_named() {
        for (from, to, expected) in [
            (
                "reason: because",
                "reason: ' '",
                "entry for 'dynptr/test_copy_*': an exception needs its reason",
            ),
            ("reason: because", "why: x", "unknown field `why`"),
            ("  reason: because\n", "", "missing field `reason`"),
            ("as: xfail", "as: fail", "unknown variant `fail`"),
            ("as: xfail", "as: skip", "`message` makes no sense"),
            ("CONFIG_B", "B", "'B'"),
            ("until: 7.1", "until: 6.1", "since 6.16 is not before until 6.1"),
            ("test_copy_*", "test_[", "no glob"),
            ("since: 6.16", "since: new", "'new'"),
            ("arch: [x86_64]", "arch: [mips]", "mips"),
        ] {
            let e = parse(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(e.contains(expected), "{to}: {e}");
        }
    }
}
