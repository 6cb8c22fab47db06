//! Kernel versions, and how Debian orders the versions of its packages.

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

/// Orders two Debian package versions as dpkg does (deb-version(7)).
pub fn cmp_debian(a: &str, b: &str) -> Ordering {
    fn parts(version: &str) -> (u64, &str, &str) {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        (epoch.parse().unwrap_or(0), upstream, revision)
    }
    let ((ea, ua, ra), (eb, ub, rb)) = (parts(a), parts(b));
    ea.cmp(&eb).then_with(|| cmp_part(ua, ub)).then_with(|| cmp_part(ra, rb))
}

/// One part: stretches of non-digits and of digits by turns. `~` sorts before the end, letters before the rest.
fn cmp_part(a: &str, b: &str) -> Ordering {
    fn weight(c: Option<&u8>) -> i32 {
        match c {
            Some(b'~') => -1,
            None => 0,
            Some(c) if c.is_ascii_digit() => 0,
            Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
            Some(c) => i32::from(*c) + 256,
        }
    }
    fn digits(s: &[u8]) -> (&[u8], &[u8]) {
        let (run, rest) = s.split_at(s.iter().position(|c| !c.is_ascii_digit()).unwrap_or(s.len()));
        (&run[run.iter().position(|c| *c != b'0').unwrap_or(run.len())..], rest)
    }
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|c| !c.is_ascii_digit()) || b.first().is_some_and(|c| !c.is_ascii_digit())
        {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                unequal => return unequal,
            }
        }
        let ((na, ra), (nb, rb)) = (digits(a), digits(b));
        match na.len().cmp(&nb.len()).then_with(|| na.cmp(nb)) {
            Ordering::Equal => (a, b) = (ra, rb),
            unequal => return unequal,
        }
    }
    Ordering::Equal
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

    #[test]
    fn debian_versions_sort_as_dpkg_sorts_them() {
        let ascending = [
            "1.0~rc1-1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a-1",
            "1.0+x-1",
            "1.00.1-1",
            "1.2-1",
            "1:0.1-1",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(cmp_debian(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(cmp_debian("1.01-1", "1.1-1"), Ordering::Equal);
    }
}
