//! Patterns of kernel versions: `7.2`, `7.3-rc`, `6.12.95`.

use std::fmt;
use std::str::FromStr;

use crate::version::KernelVersion;

/// Which versions a `debian:` spec accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionPattern {
    /// `7.2`: the newest point release of the series; only where there is none, its newest candidate.
    Series {
        /// `7`
        major: u32,
        /// `2`
        minor: u32,
    },
    /// `7.3-rc`: the newest release candidate of the series.
    Candidate {
        /// `7`
        major: u32,
        /// `3`
        minor: u32,
    },
    /// `6.12.95`, `7.3-rc7`, `7.2.0`: this one and no other.
    Exact(KernelVersion),
}

impl VersionPattern {
    /// Whether a version is one that was asked for. For [`VersionPattern::Series`] candidates count too.
    pub fn matches(self, version: KernelVersion) -> bool {
        match self {
            Self::Series { major, minor } => version.series() == (major, minor),
            Self::Candidate { major, minor } => version.series() == (major, minor) && version.rc.is_some(),
            Self::Exact(exact) => version == exact,
        }
    }

    /// The series it is in.
    pub fn series(self) -> (u32, u32) {
        match self {
            Self::Series { major, minor } | Self::Candidate { major, minor } => (major, minor),
            Self::Exact(version) => version.series(),
        }
    }
}

impl FromStr for VersionPattern {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        if let Some(series) = text.strip_suffix("-rc") {
            return match series.parse()? {
                Self::Series { major, minor } => Ok(Self::Candidate { major, minor }),
                _ => Err(()),
            };
        }
        let (version, rest) = KernelVersion::parse_prefix(text).ok_or(())?;
        if !rest.is_empty() {
            return Err(());
        }
        let point = text.matches('.').count() > 1;
        Ok(if point || version.rc.is_some() {
            Self::Exact(version)
        } else {
            Self::Series { major: version.major, minor: version.minor }
        })
    }
}

impl fmt::Display for VersionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series { major, minor } => write!(f, "{major}.{minor}"),
            Self::Candidate { major, minor } => write!(f, "{major}.{minor}-rc"),
            Self::Exact(v) if v.patch == 0 && v.rc.is_none() => write!(f, "{v}.0"),
            Self::Exact(v) => write!(f, "{v}"),
        }
    }
}
