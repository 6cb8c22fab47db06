// SPDX-License-Identifier: GPL-2.0-only
//! Releases at which something changed, and functions and features that came with one.

use serde::Deserialize;

use super::{list, text};
use crate::{Need, Point, Release};

/// A release of the main line, with those of stable branches.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "PointText")]
pub(super) struct PointSpec {
    pub(super) mainline: Release,
    pub(super) backports: Vec<Release>,
    /// Branches that may have taken the change over, nobody here knows with which release.
    pub(super) unsure: Vec<Release>,
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
pub(super) struct FunctionSpec {
    pub(super) since: PointSpec,
    /// The number by which programs call it, where it has one.
    pub(super) helper: Option<i32>,
    /// Since when it is there on arm64, where that is later.
    arm64: Option<PointSpec>,
    /// The options that it needs.
    pub(super) config: Vec<String>,
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

pub(super) fn release(text: &str) -> Result<Release, String> {
    Release::parse(text)
        .filter(|it| it.to_string() == text)
        .ok_or_else(|| format!("{text:?} is no release: expected the form 6.4 or 6.12.8"))
}

impl PointSpec {
    /// The point as the tables have it.
    pub(super) fn resolve(&self) -> Point {
        Point {
            mainline: self.mainline,
            backports: list(self.backports.iter().copied()),
            unsure: list(self.unsure.iter().copied()),
        }
    }
}

impl FunctionSpec {
    /// The need for it, in a harness for this architecture (Rust's name).
    pub(super) fn need(&self, name: &str, arch: &str) -> Need {
        let since = self.arm64.as_ref().filter(|_| arch == "aarch64").unwrap_or(&self.since);
        Need { name: text(name), since: since.resolve() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_string_in_its_shortest_form() {
        for (text, sound) in
            [("6.10", true), ("6.12.8", true), ("6.12.0", false), ("6", false), ("6.1x", false)]
        {
            assert_eq!(release(text).is_ok(), sound, "{text}");
        }
    }

    #[test]
    fn arm64_may_have_a_function_later() {
        let read = "since: '6.1'\narm64: '6.4'\nbackports: ['5.15.3']";
        let function: FunctionSpec = serde_yaml::from_str(read).expect("sound");
        let since = |arch| function.need("read", arch).since;
        assert_eq!(since("x86_64").mainline, Release::new(6, 1, 0));
        assert_eq!(since("x86_64").backports, [Release::new(5, 15, 3)]);
        assert_eq!(since("aarch64").mainline, Release::new(6, 4, 0));
        assert!(since("aarch64").backports.is_empty());
    }
}
