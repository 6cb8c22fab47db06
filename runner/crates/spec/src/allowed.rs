//! `allowed_splats` of a suite: complaints of the kernel that its tests provoke on purpose.

use globset::GlobBuilder;
use regex::Regex;
use serde::{Deserialize, Serialize};

use kvet_base::error::{Error, Result};
use kvet_base::event::Splat;

/// One entry, as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedSplat {
    /// A regular expression for a line of the complaint, without its printk prefix.
    pub pattern: String,
    /// The tests that provoke it, as globs; none named: any, and none.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Why it is no failure.
    pub reason: String,
}

/// The same, to be used.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// What the manifest says.
    pub entry: AllowedSplat,
    pattern: Regex,
    tests: Vec<globset::GlobMatcher>,
}

impl AllowedSplat {
    /// Compiles it. `place` names the manifest in messages.
    ///
    /// # Errors
    /// The caller's: no regular expression or one that covers everything, no glob, no reason.
    pub fn compile(&self, place: &str) -> Result<Allowance> {
        let at = format!("{place}: allowed_splats: '{}'", self.pattern);
        if self.reason.trim().is_empty() {
            return Err(Error::caller(format!(
                "{at}: 'reason' is empty; say why the complaint is no failure"
            )));
        }
        let pattern = Regex::new(&format!("(?m){}", self.pattern))
            .map_err(|e| Error::caller(format!("{at} is not a regular expression")).because(e))?;
        if pattern.is_match("") {
            return Err(Error::caller(format!("{at} would cover every complaint of the kernel")));
        }
        let glob = |text: &String| match GlobBuilder::new(text).build() {
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(e) => Err(Error::caller(format!("{at}: '{text}' is not a glob for tests")).because(e)),
        };
        let tests = self.tests.iter().map(glob).collect::<Result<_>>()?;
        Ok(Allowance { entry: self.clone(), pattern, tests })
    }
}

impl Allowance {
    /// The expression, for a scanner that has to know what is provoked.
    pub fn pattern(&self) -> &Regex {
        &self.pattern
    }

    /// Whether a test is one of those that provoke it.
    pub fn is_for(&self, test: &str) -> bool {
        self.tests.is_empty() || self.tests.iter().any(|glob| glob.is_match(test))
    }

    /// Whether it covers a complaint that came while a test ran; `bare` has its lines without prefix. One that the kernel
    /// does not survive is never covered.
    pub fn covers(&self, splat: &Splat, bare: &str, test: Option<&str>) -> bool {
        let place = test.map_or(self.tests.is_empty(), |test| self.is_for(test));
        !splat.fatal && place && self.pattern.is_match(bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pattern: &str, tests: &[&str], reason: &str) -> AllowedSplat {
        let tests = tests.iter().map(|&test| test.to_owned()).collect();
        AllowedSplat { pattern: pattern.into(), tests, reason: reason.into() }
    }

    #[test]
    fn an_entry_covers_its_tests_only() {
        let splat = |fatal| Splat {
            kind: "memcg_oom".into(),
            title: "awk invoked oom-killer".into(),
            text: String::new(),
            at: None,
            fatal,
            allowed: None,
            test: None,
            during: None,
        };
        let bare = "awk invoked oom-killer\nMemory cgroup out of memory: x";
        let covers =
            |entry: AllowedSplat, fatal, test| entry.compile("s").unwrap().covers(&splat(fatal), bare, test);
        let limits = || entry("^Memory cgroup out of memory", &["limits/*"], "its purpose");
        assert!(covers(limits(), false, Some("limits/oom")));
        assert!(!covers(limits(), true, Some("limits/oom")), "fatal");
        assert!(!covers(limits(), false, Some("other")));
        assert!(!covers(limits(), false, None), "no test ran");
        let all = || entry("oom-killer$", &[], "its purpose");
        assert!(covers(all(), false, None) && covers(all(), false, Some("x")));
        assert!(!covers(entry("^KASAN", &[], "its purpose"), false, None));
    }

    #[test]
    fn bad_entries_are_refused() {
        for (entry, says) in [
            (entry("(", &[], "r"), "'(' is not a regular expression"),
            (entry("x*", &[], "r"), "'x*' would cover every complaint"),
            (entry("x", &["[a"], "r"), "'[a' is not a glob"),
            (entry("x", &[], " "), "'reason' is empty"),
        ] {
            let error = entry.compile("my/suite.yaml").unwrap_err().to_string();
            assert!(error.starts_with("my/suite.yaml: allowed_splats: ") && error.contains(says), "{error}");
        }
    }
}
