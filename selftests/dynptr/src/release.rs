// SPDX-License-Identifier: GPL-2.0-only
//! Kernel releases, and the points in their history at which something changed. The build script shares this file.

use std::fmt;

/// A kernel release, `major.minor.patch`; a release candidate counts as its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// The release of the running kernel from `uname`'s two strings. Debian's release string freezes the patch level
    /// (`6.1.0-56-amd64`); the version string (`… Debian 6.1.192-2 (…)`) has the real one.
    pub fn of_uname(release: &str, version: &str) -> Option<Self> {
        let named = Self::parse(release)?;
        let packaged = version
            .split_once("Debian ")
            .and_then(|(_, package)| Self::parse(package))
            .filter(|it| it.same_branch(named));
        Some(packaged.unwrap_or(named))
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
pub struct Point {
    /// The first release of the main line that has it.
    pub mainline: Release,
    /// The first release of each older branch that has it.
    pub backports: &'static [Release],
}

impl Point {
    /// Does a kernel of this release have the change?
    pub fn reached_by(&self, release: Release) -> bool {
        release >= self.mainline || self.backports.iter().any(|it| it.same_branch(release) && release >= *it)
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
        assert_eq!(Release::of_uname("6.1.0-56-amd64", version), Some(Release::new(6, 1, 192)));
        // A kernel that was built on Debian is not Debian's.
        let own = "#1 SMP Debian 12.2.0-14";
        assert_eq!(Release::of_uname("6.12.3", own), Some(Release::new(6, 12, 3)));
        assert_eq!(Release::of_uname("6.12.3", "#1 SMP"), Some(Release::new(6, 12, 3)));
        assert_eq!(Release::of_uname("nonsense", version), None);
    }

    #[test]
    fn a_point_is_reached_on_the_main_line_and_on_branches_that_took_it_over() {
        const POINT: Point = Point { mainline: Release::new(6, 13, 0), backports: &[Release::new(6, 12, 8)] };
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
            assert_eq!(POINT.reached_by(release(text)), reached, "{text}");
        }
    }

    #[test]
    fn shows_no_patch_level_where_there_is_none() {
        assert_eq!(Release::new(6, 4, 0).to_string(), "6.4");
        assert_eq!(Release::new(6, 12, 8).to_string(), "6.12.8");
    }
}
