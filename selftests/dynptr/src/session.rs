// SPDX-License-Identifier: GPL-2.0-only
//! A run of tests, in order, with their results.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::prctl;

use crate::cli::Options;
use crate::environment;
use crate::isolate::{self, Verdict};
use crate::kconfig::{self, Kconfig};
use crate::kernel_types;
use crate::ktap::{Outcome, Writer};
use crate::leak_check::{Objects, Traces};
#[cfg(feature = "selftests")]
use crate::mutant::{self, Mutation};
use crate::run;
use crate::suite::Suite;
use crate::tables::GROUPS;
use dynptr_spec::{Bug, Group, Need, Test};
use dynptr_spec::{Has, Running};

/// The tests that were asked for, on the running kernel.
pub struct Session {
    /// The kernel.
    pub release: Running,
    /// The tests, in the order in which they are run.
    pub groups: Vec<(&'static Group, Vec<&'static Test>)>,
    /// None where the kernel is too old for all of them.
    pub suite: Option<Suite>,
    strict: bool,
    /// Whether the verifier's log of every test is kept.
    logs: bool,
    /// How the kernel was built.
    kconfig: &'static Kconfig,
    /// Tests, by `group/test`, whose programs are made wrong.
    #[cfg(feature = "selftests")]
    mutated: Vec<(String, Mutation)>,
    /// Functions that this kernel may have by its name, and does not have.
    absent: Vec<&'static str>,
}

impl Session {
    /// Prepares the tests that were asked for.
    ///
    /// # Errors
    /// Where this machine cannot run them.
    pub fn new(options: &Options) -> Result<Self, String> {
        let wanted = |group: &Group, test: &Test| {
            let names = &options.tests;
            names.is_empty() || names.iter().any(|name| test.is_called(name, group.name))
        };
        let mut groups: Vec<(&Group, Vec<&Test>)> = GROUPS
            .iter()
            .map(|group| (group, group.tests.iter().filter(|test| wanted(group, test)).collect::<Vec<_>>()))
            .filter(|(_, tests)| !tests.is_empty())
            .collect();
        if let Some(seed) = options.shuffle {
            let mut random = Random(seed);
            random.shuffle(&mut groups);
            groups.iter_mut().for_each(|(_, tests)| random.shuffle(tests));
        } else {
            // What others leave is gone only when the kernel has waited for everybody: meanwhile, these leave nothing.
            groups.iter_mut().for_each(|(_, tests)| tests.sort_by_key(|test| test.is_refused()));
        }
        let release = environment::running()?;
        kconfig::read()?;
        let absent =
            kernel_types::absent(groups.iter().flat_map(|(_, tests)| tests.iter().copied()), release);
        let mut session = Self {
            release,
            groups,
            suite: None,
            strict: options.strict,
            logs: options.logs,
            kconfig: kconfig::get(),
            #[cfg(feature = "selftests")]
            mutated: options.selftests.mutated.clone(),
            absent,
        };
        let tests: Vec<&Test> = session
            .groups
            .iter()
            .flat_map(|(_, tests)| tests)
            .copied()
            .filter(|test| session.too_old(test).is_none() && session.kconfig.before(test.config).is_none())
            .collect();
        if !tests.is_empty() {
            session.suite = Some(Suite::prepare(&tests)?);
        }
        Ok(session)
    }

    /// What the kernel is too old for. Where its name does not tell, the functions that it has do.
    pub fn too_old(&self, test: &Test) -> Option<String> {
        if let Some(need) = test.missing_in(self.release) {
            return Some(format!("needs {}: {}", need.since.mainline, need.name));
        }
        let absent = |need: &&Need| self.absent.contains(&need.name);
        let need = test.unknown_in(self.release).find(absent)?;
        Some(format!("needs {}: {}, which {} does not have", need.since.mainline, need.name, self.release))
    }

    /// Runs them all. True if no test failed.
    ///
    /// # Errors
    /// Where the results cannot be written, or no process can be had.
    pub fn run(&self) -> io::Result<bool> {
        // Processes that a test leaves become our children.
        prctl::set_child_subreaper(true)?;
        let mut out = Writer::new(io::stdout(), self.groups.len())?;
        let mut all_good = true;
        let mut traces = Traces::now();
        for (group, tests) in &self.groups {
            out.begin_group(group.name, tests.len())?;
            let mut outcomes = Vec::new();
            let mut objects = Objects::now();
            for (index, test) in tests.iter().enumerate() {
                mark_console(group.name, test.name);
                out.begin_test(test.name)?;
                let (outcome, duration, diagnostics) = self.test(group, test, &mut traces)?;
                objects.note(test.name);
                let diagnostics = diagnostics.iter().map(String::as_str);
                if index + 1 < tests.len() {
                    out.hold_test(test.name, &outcome, duration, diagnostics);
                } else {
                    out.end_test(test.name, &outcome, duration, diagnostics)?;
                }
                outcomes.push(outcome);
            }
            let left = objects.left();
            let outcome = if left.is_empty() { of_group(&outcomes) } else { Outcome::Fail };
            all_good &= outcome != Outcome::Fail;
            out.end_group(group.name, &outcome, left.iter().map(String::as_str))?;
        }
        Ok(all_good)
    }

    fn test(
        &self,
        group: &Group,
        test: &'static Test,
        traces: &mut Traces,
    ) -> io::Result<(Outcome, Duration, Vec<String>)> {
        let begin = Instant::now();
        if let Some(reason) = self.too_old(test) {
            return Ok((Outcome::Skip(reason), begin.elapsed(), Vec::new()));
        }
        let (outcome, mut lines) = self.judge(test, self.verdict(group, test)?);
        let left = traces.left();
        if left.is_empty() {
            return Ok((outcome, begin.elapsed(), lines));
        }
        // The next test is not to blame for it.
        *traces = Traces::now();
        lines.extend(left);
        Ok((Outcome::Fail, begin.elapsed(), lines))
    }

    /// As what kernels the test may see this one: where the kernel's name does not tell what the test's program should expect,
    /// also as an older one.
    pub fn expectations_of(&self, test: &Test) -> Vec<Running> {
        let either = test.release_window.is_some_and(|point| point.of(self.release) == Has::Unknown);
        if either { vec![self.release, self.release.older()] } else { vec![self.release] }
    }

    /// Runs the test, as often as it may see the kernel in another way.
    fn verdict(&self, group: &Group, test: &'static Test) -> io::Result<Verdict> {
        let mut first = None;
        for running in self.expectations_of(test) {
            let verdict = self.verdict_as(running, group, test)?;
            if !matches!(verdict, Verdict::Fail(_)) {
                // What it was in the first way is told, unless it passes in another.
                return Ok(first.filter(|_| verdict != Verdict::Pass).unwrap_or(verdict));
            }
            first.get_or_insert(verdict);
        }
        Ok(first.unwrap_or(Verdict::Pass))
    }

    /// Runs the test, or a mutant of it.
    fn verdict_as(&self, running: Running, group: &Group, test: &'static Test) -> io::Result<Verdict> {
        // Where every test lacks an option, nothing was prepared.
        if let Some(verdict) = self.kconfig.before(test.config) {
            return Ok(verdict);
        }
        let Some(suite) = &self.suite else {
            return Ok(Verdict::Fail(vec!["harness: nothing was prepared".into()]));
        };
        let log = format!("{}.{}.log", group.name, test.name);
        #[cfg(feature = "selftests")]
        if let Some((_, mutation)) = self.mutated.iter().find(|it| test.is_called(&it.0, group.name)) {
            let (verdict, mutation) = mutant::chosen(suite, running, test, *mutation)?;
            return self.explained(verdict, || mutant::explain(suite, test, mutation, &log));
        }
        let verdict = if test.is_refused() {
            // What the verifier has to refuse does nothing, to memory neither.
            isolate::run_vfork(|| run::run(test, suite, running))?
        } else {
            isolate::run(|| run::run(test, suite, running))?
        };
        self.explained(verdict, || run::explain(test, suite, &log))
    }

    /// The verdict; where the verifier said something that it should not have said, with all of what
    /// it has to say when the program is loaded a second time.
    fn explained(&self, verdict: Verdict, explain: impl Fn() -> Vec<String>) -> io::Result<Verdict> {
        let explain = || match isolate::run(|| Verdict::Fail(explain()))? {
            Verdict::Fail(lines) => Ok::<_, io::Error>(lines),
            _ => Ok(Vec::new()),
        };
        match verdict {
            Verdict::Refused(mut lines) => {
                lines.extend(explain()?);
                Ok(Verdict::Fail(lines))
            }
            Verdict::Pass | Verdict::Fail(_) if self.logs => {
                // It is there for whoever compares kernels; the verdict has nothing to do with it.
                explain()?;
                Ok(verdict)
            }
            _ => Ok(verdict),
        }
    }

    /// What the kernel may be too old for, where nothing else than the test tells.
    fn may_lack(&self, test: &Test) -> Option<&'static Need> {
        test.unknown_in(self.release).find(|need| !need.is_function())
    }

    /// What the test's verdict comes to on this kernel, and what there is to say about it.
    pub fn judge(&self, test: &Test, verdict: Verdict) -> (Outcome, Vec<String>) {
        let bug = test.bug.as_ref().filter(|bug| bug.is_in(self.release));
        match (verdict, bug) {
            (Verdict::Pass, None) => (Outcome::Pass, Vec::new()),
            (Verdict::Pass, Some(bug)) if bug.may_be_absent_from(self.release) => {
                let note =
                    format!("{} may have this mistake, and does not show it: {}", self.release, bug.what);
                (Outcome::Pass, vec![format!("{note} (fixed by {})", bug.commit)])
            }
            (Verdict::Pass, Some(bug)) => (Outcome::Fail, vec![survived(bug, self.release)]),
            (Verdict::Fail(lines) | Verdict::Refused(lines), Some(bug)) if is_of(bug, &lines) => {
                (Outcome::Xfail(format!("{} (fixed by {})", bug.what, bug.commit)), lines)
            }
            (Verdict::Fail(lines) | Verdict::Refused(lines), _) => match self.may_lack(test) {
                Some(need) => {
                    let since = need.since.mainline;
                    (Outcome::Skip(format!("needs {since}: {}, it seems: the test failed", need.name)), lines)
                }
                None => (Outcome::Fail, lines),
            },
            (Verdict::Missing(missing), _) if self.strict => {
                (Outcome::Fail, vec![format!("{missing}, and --strict allows nothing to be missing")])
            }
            (Verdict::Missing(missing), _) => (Outcome::Skip(missing.to_string()), Vec::new()),
        }
    }
}

/// Did the test fail as it does of this mistake?
fn is_of(bug: &Bug, lines: &[String]) -> bool {
    lines.first().and_then(|first| first.lines().next()).is_some_and(|first| first.contains(bug.fails))
}

fn survived(bug: &Bug, release: Running) -> String {
    format!(
        "the test passed, and {release} should have this mistake: {} (fixed by {} in {}); is expectations.yaml right?",
        bug.what, bug.commit, bug.fixed.mainline
    )
}

/// Puts the test's name into the kernel's log, so that what the kernel complains about from now on stands behind it.
pub fn mark_console(group: &str, test: &str) {
    // Where the log cannot be written there is nobody who reads it for this mark.
    let _ = std::fs::write("/dev/kmsg", format!("<4>{}{group}/{test}\n", kvet_wire::RUN_MARK));
}

/// A group fails with any of its tests, and is skipped with all of them.
pub fn of_group(outcomes: &[Outcome]) -> Outcome {
    if outcomes.contains(&Outcome::Fail) {
        Outcome::Fail
    } else if outcomes.iter().all(|it| matches!(it, Outcome::Skip(_))) {
        Outcome::Skip("all of its tests were".into())
    } else {
        Outcome::Pass
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolate::Missing;
    use dynptr_spec::Wanted;
    use dynptr_spec::{Point, Release};

    fn session(release: &str, strict: bool) -> Session {
        let release = Running::of_uname(release, "#1 SMP").expect("a release");
        Session {
            release,
            groups: Vec::new(),
            suite: None,
            strict,
            logs: false,
            kconfig: kconfig::get(),
            #[cfg(feature = "selftests")]
            mutated: Vec::new(),
            absent: Vec::new(),
        }
    }

    fn with_bug() -> Test {
        const FIXED: Point = Point {
            mainline: Release::new(7, 3, 0),
            backports: &[Release::new(7, 2, 9)],
            unsure: &[Release::new(7, 0, 0)],
        };
        let bug = Bug {
            what: "it leaks",
            commit: "0123456789ab",
            introduced: Point { mainline: Release::new(6, 19, 0), backports: &[], unsure: &[] },
            fixed: FIXED,
            fails: "line 7",
        };
        let run = dynptr_spec::Run::Rejected(&[]);
        Test {
            name: "t",
            program: "t",
            source: "local",
            with: None,
            also: None,
            ops: None,
            rights: dynptr_spec::Rights::All,
            needs: &[],
            config: &[],
            calls: &[],
            maps: &[],
            bytes: 0,
            protocol: 0,
            linear: None,
            release_window: None,
            bug: Some(bug),
            run,
        }
    }

    #[test]
    fn a_group_fails_with_any_test_and_is_skipped_with_all() {
        let skip = Outcome::Skip("old".into());
        assert_eq!(of_group(&[Outcome::Pass, Outcome::Fail, skip.clone()]), Outcome::Fail);
        assert_eq!(of_group(&[Outcome::Pass, skip.clone()]), Outcome::Pass);
        assert_eq!(of_group(&[Outcome::Xfail("x".into()), skip.clone()]), Outcome::Pass);
        assert!(matches!(of_group(&[skip.clone(), skip]), Outcome::Skip(_)));
    }

    #[test]
    fn a_known_bug_is_expected_where_it_is_and_nowhere_else() {
        let test = with_bug();
        let failed = |line: &str| Verdict::Fail(vec![format!("{line}\nmore")]);
        for (release, verdict, expected) in [
            ("7.2.6", failed("line 7: x"), "xfail"),
            ("7.2.6", failed("line 8: x"), "fail"),
            ("7.2.6", Verdict::Pass, "fail"),
            ("7.2.9", failed("line 7: x"), "fail"),
            ("7.2.9", Verdict::Pass, "pass"),
            ("7.3.0", Verdict::Pass, "pass"),
            ("7.3.0", failed("line 7: x"), "fail"),
            ("6.18.0", Verdict::Pass, "pass"),
            ("6.18.2", failed("line 7: x"), "fail"),
            // On the way to a release: before and after the commit that brings or mends it.
            ("6.18.0-00100-g0123456789ab", failed("line 7: x"), "xfail"),
            ("7.2.0-kvet", failed("line 7: x"), "xfail"),
            ("7.2.0-kvet", failed("line 8: x"), "fail"),
            ("7.2.0-kvet", Verdict::Pass, "pass"),
            ("7.3.0-rc2+", failed("line 7: x"), "xfail"),
            ("7.3.0-rc2+", Verdict::Pass, "pass"),
            // With a patch of one's own.
            ("7.1.13-dirty", Verdict::Pass, "pass"),
            ("7.1.13", failed("line 7: x"), "xfail"),
            // Nobody knows.
            ("7.0.4", failed("line 7: x"), "xfail"),
            ("7.0.4", Verdict::Pass, "pass"),
            ("7.0.4", failed("line 8: x"), "fail"),
        ] {
            let (outcome, _) = session(release, false).judge(&test, verdict);
            let got = match outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "fail",
                Outcome::Xfail(_) => "xfail",
                Outcome::Skip(_) => "skip",
            };
            assert_eq!(got, expected, "{release}");
        }
    }

    #[test]
    fn a_function_that_a_commit_between_releases_has_not_yet_is_skipped_and_a_failure_of_one_that_it_has_is_told()
     {
        let need = |name| Need {
            name,
            since: Point { mainline: Release::new(7, 3, 0), backports: &[], unsure: &[] },
        };
        let needs: &'static [Need] = Vec::leak(vec![need("bpf_sock_read_xattr")]);
        let test = Test { needs, bug: None, ..with_bug() };
        let mut between = session("7.2.0-kvet", false);
        assert_eq!(between.too_old(&test), None);
        let failed = || Verdict::Fail(vec!["x".into()]);
        assert_eq!(between.judge(&test, failed()).0, Outcome::Fail);
        between.absent.push("bpf_sock_read_xattr");
        assert!(between.too_old(&test).is_some_and(|why| why.starts_with("needs 7.3: bpf_sock_read_xattr")));
        // A released kernel that is new enough has to have it.
        let mut released = session("7.3.1", false);
        released.absent.push("bpf_sock_read_xattr");
        assert_eq!(released.too_old(&test), None);
        assert!(session("7.2.6", false).too_old(&test).is_some());
        let needs: &'static [Need] = Vec::leak(vec![need("wide_sizes")]);
        let test = Test { needs, bug: None, ..with_bug() };
        assert!(matches!(between.judge(&test, failed()).0, Outcome::Skip(_)));
        assert_eq!(session("7.3.1", false).judge(&test, failed()).0, Outcome::Fail);
    }

    #[test]
    fn a_test_that_lacks_an_option_is_skipped_also_where_nothing_was_prepared() {
        const TUN: Wanted = Wanted { option: "CONFIG_TUN", modules: &[], has: None, shows: None };
        let kconfig = Box::leak(Box::new(Kconfig::told("CONFIG_TUN=n\n").expect("sound")));
        let session = Session { kconfig, ..session("6.1.0", false) };
        let test: &'static Test = Box::leak(Box::new(Test { config: &[TUN], bug: None, ..with_bug() }));
        let group = &GROUPS[0];
        let verdict = session.verdict_as(session.release, group, test).expect("no process is needed");
        assert_eq!(verdict, Verdict::Missing(Missing::Config("CONFIG_TUN, which is not set".into())));
    }

    #[test]
    fn strict_turns_what_is_missing_into_a_failure() {
        let missing = || Verdict::Missing(Missing::Module("tun".into()));
        let test = with_bug();
        assert_eq!(
            session("6.1.0", false).judge(&test, missing()).0,
            Outcome::Skip("needs module tun".into())
        );
        let (outcome, lines) = session("6.1.0", true).judge(&test, missing());
        assert_eq!(outcome, Outcome::Fail);
        assert!(lines[0].contains("needs module tun"));
    }

    #[test]
    fn a_shuffle_keeps_everything_and_depends_on_the_seed_alone() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            Random(seed).shuffle(&mut items);
            items
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
    }
}
