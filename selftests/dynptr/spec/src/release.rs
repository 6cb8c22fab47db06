// SPDX-License-Identifier: GPL-2.0-only
//! Kernel releases, and the points in their history at which something changed.

use std::fmt;

/// A kernel release, `major.minor.patch`; a release candidate counts as its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Release {
    /// The 6 of 6.12.107.
    pub major: u16,
    /// The 12 of 6.12.107.
    pub minor: u16,
    /// The 107 of 6.12.107, the release of its stable branch.
    pub patch: u16,
}

impl Release {
    /// The release of these numbers.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Reads the numbers at the beginning of `text`: `6.12`, `7.2.12+deb13-amd64`, `7.3-rc7`. None where there are
    /// fewer than two.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let major = whole(parts.next()?)?;
        let minor_text = parts.next()?;
        let minor = leading(minor_text)?;
        let patch = match parts.next() {
            // `7.3-rc7.1` has no patch level: what follows the dot does not belong to the numbers.
            Some(patch) if whole(minor_text).is_some() => leading(patch).unwrap_or(0),
            _ => 0,
        };
        Some(Self::new(major, minor, patch))
    }

    /// Is this the next release of the main line after that one? 20 follows 19 as the next major number's 0 (6.19, 7.0).
    pub fn is_next_after(self, other: Self) -> bool {
        self.patch == 0
            && ((self.major, self.minor) == (other.major, other.minor + 1)
                || (other.minor >= 19 && (self.major, self.minor) == (other.major + 1, 0)))
    }

    /// Are both of the same stable branch?
    pub fn same_branch(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}

/// What Debian says in the version string of a kernel of its own, where it is of the same branch.
fn packaged(named: Release, version: &str) -> Option<Release> {
    let (_, package) = version.split_once("Debian ")?;
    Release::parse(package).filter(|it| it.same_branch(named))
}

/// The running kernel, and how much its name tells about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The release that it says it is.
    pub release: Release,
    /// It has what that release has, no more and no less. A kernel that somebody built says the last release that was tagged
    /// before its commit, and may have been changed; a patch level of 0 may be a distribution's that never changes.
    pub exact: bool,
    /// It says that it comes before its release.
    candidate: bool,
    /// Where a point is not known to be reached, the programs are told that it is.
    pub newer: bool,
}

impl Running {
    /// Reads `uname`'s two strings. Debian's release string freezes the patch level (`6.1.0-56-amd64`); the version string
    /// (`… Debian 6.1.192-2 (…)`) has the real one.
    pub fn of_uname(release: &str, version: &str) -> Option<Self> {
        let named = Release::parse(release)?;
        let candidate = release.contains("-rc") || version.contains("~rc");
        let packaged = packaged(named, version);
        // `6.12.8`, and nothing behind it: no `+`, `-00017-g0123456789ab`, `-dirty`, nor any other name of somebody's own.
        let plain = named.patch > 0 && release == named.to_string();
        let exact = !candidate && (packaged.is_some() || plain);
        Some(Self { release: packaged.unwrap_or(named), exact, candidate, newer: true })
    }

    /// The same kernel, taken for one that has not reached what it is not known to have reached.
    pub fn older(self) -> Self {
        Self { newer: false, ..self }
    }
}

impl From<Release> for Running {
    fn from(release: Release) -> Self {
        Self { release, exact: true, candidate: false, newer: true }
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.release)?;
        if self.exact { Ok(()) } else { write!(f, " or something near it") }
    }
}

/// Whether a kernel has a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// It has.
    Yes,
    /// It has not.
    No,
    /// Its name does not tell.
    Unknown,
}

fn whole(text: &str) -> Option<u16> {
    text.parse().ok()
}

fn leading(text: &str) -> Option<u16> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    whole(&text[..end])
}

/// When a change reached kernels: with a release of the main line, and with a release of each stable branch that
/// took it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Point {
    /// The first release of the main line that has it.
    pub mainline: Release,
    /// The first release of each older branch that has it.
    pub backports: &'static [Release],
    /// Older branches whose kernels may have it: whether they took it over, and with which release, is not known.
    pub unsure: &'static [Release],
}

impl Point {
    /// Does a kernel have the change?
    pub fn of(&self, running: Running) -> Has {
        let release = running.release;
        let backport = self.backports.iter().find(|it| it.same_branch(release));
        if release >= self.mainline || backport.is_some_and(|it| release >= *it) {
            // A candidate for the release in which it came.
            let early = running.candidate && self.mainline.same_branch(release);
            return if early { Has::Unknown } else { Has::Yes };
        }
        let unsure = self.unsure.iter().any(|it| it.same_branch(release));
        // A commit on the way to the next release, or one of a stable branch.
        let on_its_way = !running.exact
            && (backport.is_some() || (release.patch == 0 && self.mainline.is_next_after(release)));
        if unsure || on_its_way { Has::Unknown } else { Has::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        Release::parse(text).unwrap_or_else(|| panic!("{text:?} should parse"))
    }

    #[test]
    fn reads_the_release_strings_of_real_kernels() {
        assert_eq!(release("6.12.107+deb13-amd64"), Release::new(6, 12, 107));
        assert_eq!(release("6.1.0-56-cloud-amd64"), Release::new(6, 1, 0));
        assert_eq!(release("7.3-rc7+deb14-amd64"), Release::new(7, 3, 0));
        assert_eq!(release("7.3-rc7.2"), Release::new(7, 3, 0));
        assert_eq!(release("6.10"), Release::new(6, 10, 0));
        assert_eq!(release("5.10.223-dirty"), Release::new(5, 10, 223));
        for bad in ["", "6", "six.one", "v6.1", "6.", "99999999.1"] {
            assert_eq!(Release::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn debians_version_string_has_the_real_patch_level() {
        let version = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)";
        let release = |name, version| Running::of_uname(name, version).map(|it| it.release);
        assert_eq!(release("6.1.0-56-amd64", version), Some(Release::new(6, 1, 192)));
        // A kernel that was built on Debian is not Debian's.
        let own = "#1 SMP Debian 12.2.0-14";
        assert_eq!(release("6.12.3", own), Some(Release::new(6, 12, 3)));
        assert_eq!(release("6.12.3", "#1 SMP"), Some(Release::new(6, 12, 3)));
        assert_eq!(release("nonsense", version), None);
    }

    #[test]
    fn a_point_is_reached_on_the_main_line_and_on_branches_that_took_it_over() {
        const POINT: Point =
            Point { mainline: Release::new(6, 13, 0), backports: &[Release::new(6, 12, 8)], unsure: &[] };
        for (text, reached) in [
            ("6.1.192", false),
            ("6.11.99", false),
            ("6.12", false),
            ("6.12.7", false),
            ("6.12.8", true),
            ("6.12.107", true),
            ("6.13", true),
            ("7.2.12", true),
        ] {
            assert_eq!(POINT.of(release(text).into()) == Has::Yes, reached, "{text}");
        }
    }

    #[test]
    fn only_kernels_that_somebody_released_are_exact() {
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)";
        for (name, version, exact) in [
            ("6.1.0-56-amd64", debian, true),
            ("6.12.8", "#1 SMP", true),
            // The archive of the main line's releases has no patch level; commits behind 7.2 say the same.
            ("7.2.0", "#1 SMP", false),
            ("6.8.0-45-generic", "#45-Ubuntu SMP", false),
            ("7.2.0-00017-g0123456789ab", "#1 SMP", false),
            ("7.2.6+", "#1 SMP", false),
            ("7.2.6-dirty", "#1 SMP", false),
            ("7.2.13-kvet", "#1 SMP", false),
            ("7.3.0-rc3+", "#1 SMP", false),
            ("7.3-rc7+deb14-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.3~rc7-1~exp1 (2026-10-01)", false),
        ] {
            let running = Running::of_uname(name, version).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(running.exact, exact, "{name}");
        }
        assert_eq!(Running::of_uname("nonsense", debian), None);
    }

    #[test]
    fn near_a_point_an_inexact_release_tells_nothing() {
        const POINT: Point = Point {
            mainline: Release::new(7, 3, 0),
            backports: &[Release::new(7, 2, 9)],
            unsure: &[Release::new(6, 18, 0)],
        };
        for (name, has) in [
            // Every commit from v7.2 to v7.3-rc1.
            ("7.2.0", Has::Unknown),
            ("7.2.0-00017-g0123456789ab", Has::Unknown),
            ("7.3.0-rc1", Has::Unknown),
            ("7.3.0-rc4-00017-g0123456789ab", Has::Unknown),
            ("7.3.0-kvet", Has::Yes),
            ("7.2.6", Has::No),
            ("7.2.6+", Has::Unknown),
            ("7.2.9+", Has::Yes),
            ("7.1.3-dirty", Has::No),
            ("7.1.0-rc2+", Has::No),
            ("7.2.0-rc2+", Has::Unknown),
            ("7.4.0-rc1", Has::Yes),
            ("6.18.3", Has::Unknown),
            ("6.12.3", Has::No),
        ] {
            let running = Running::of_uname(name, "#1 SMP").unwrap_or_else(|| panic!("{name}"));
            assert_eq!(POINT.of(running), has, "{name}");
        }
        assert!(
            release("7.0").is_next_after(release("6.19")) && release("6.0").is_next_after(release("5.19"))
        );
        assert!(
            !release("7.0").is_next_after(release("6.12")) && !release("6.14").is_next_after(release("6.12"))
        );
    }

    #[test]
    fn shows_no_patch_level_where_there_is_none() {
        assert_eq!(Release::new(6, 4, 0).to_string(), "6.4");
        assert_eq!(Release::new(6, 12, 8).to_string(), "6.12.8");
    }
}
