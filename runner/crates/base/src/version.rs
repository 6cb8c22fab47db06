//! Kernel versions.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// An upstream kernel version. A release candidate sorts before its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelVersion {
    /// `7` of `7.2.12`.
    pub major: u32,
    /// `2` of `7.2.12`.
    pub minor: u32,
    /// `12` of `7.2.12`; 0 for `7.2` itself.
    pub patch: u32,
    /// `7` of `7.3-rc7`; none for a release.
    pub rc: Option<u32>,
}

impl KernelVersion {
    /// A release.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch, rc: None }
    }

    /// Which series it belongs to: `(7, 2)` for 7.2.12.
    pub fn series(self) -> (u32, u32) {
        (self.major, self.minor)
    }

    /// Reads the leading version out of a longer name and returns what follows it: `7.2.12` and `+deb13-amd64`.
    ///
    /// Understood are `7.2`, `7.2.12`, `7.3-rc7`, `7.3~rc7`, each followed by nothing or by one of `-+~. `.
    /// Beware of Debian's older ABI names: `6.1.0-50-amd64` holds 6.1.176; only the package version tells.
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let (major, rest) = number(text)?;
        let (minor, mut rest) = number(rest.strip_prefix('.')?)?;
        let mut version = Self::new(major, minor, 0);
        if let Some((patch, after)) = rest.strip_prefix('.').and_then(number) {
            (version.patch, rest) = (patch, after);
        }
        if let Some((rc, after)) = ["-rc", "~rc"].iter().find_map(|p| rest.strip_prefix(p)).and_then(number) {
            (version.rc, rest) = (Some(rc), after);
        }
        (rest.is_empty() || rest.starts_with(['-', '+', '~', '.', ' '])).then_some((version, rest))
    }
}

/// A decimal number of at most six digits (no kernel needs more, and nothing can overflow) and what follows.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end > 6 {
        return None;
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

impl FromStr for KernelVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse_prefix(text).map(|(version, _)| version).ok_or_else(|| {
            Error::caller(format!("'{text}' does not begin with a kernel version such as 6.12.95 or 7.3-rc7"))
        })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        self.rc.map_or(Ok(()), |rc| write!(f, "-rc{rc}"))
    }
}

impl Ord for KernelVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |v: &Self| (v.major, v.minor, v.patch, v.rc.unwrap_or(u32::MAX));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for KernelVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for KernelVersion {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KernelVersion {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> KernelVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_from_the_names_kernels_have() {
        for (text, shown, rest) in [
            ("7.2.12+deb13-amd64", "7.2.12", "+deb13-amd64"),
            ("6.1.0-50-amd64", "6.1", "-50-amd64"),
            ("6.1.176-1", "6.1.176", "-1"),
            ("7.3~rc7-1~exp1", "7.3-rc7", "-1~exp1"),
            ("6.12.0-rc3-next", "6.12-rc3", "-next"),
            ("7.2", "7.2", ""),
            ("5.10.223 (x@y)", "5.10.223", " (x@y)"),
        ] {
            let (version, left) = KernelVersion::parse_prefix(text).unwrap();
            assert_eq!((version.to_string().as_str(), left), (shown, rest), "{text}");
        }
        for bad in ["", "7", "7.", "seven.2", "7.2x", "7.2.3rc1", "99999999.1", ".7.2"] {
            assert!(KernelVersion::parse_prefix(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_candidate_comes_before_its_release() {
        let mut all = ["7.3", "7.2.12", "7.3-rc7", "7.3.1", "7.3-rc10", "7.2.9"].map(v);
        all.sort();
        assert_eq!(
            all.map(|v| v.to_string()),
            ["7.2.9", "7.2.12", "7.3-rc7", "7.3-rc10", "7.3", "7.3.1"].map(String::from)
        );
    }
}
