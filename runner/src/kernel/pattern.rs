//! Versions as the archive's users name them: `7.2`, or `trixie/6.12` for one of its suites.

use crate::pattern::VersionPattern;

/// Reads `7.2` or `trixie/6.12`. The error is a fragment that names what is wrong.
pub(super) fn suite_and_version(rest: &str) -> std::result::Result<(Option<String>, VersionPattern), String> {
    let (suite, version) = match rest.split_once('/') {
        Some((suite, version)) => (Some(suite), version),
        None => (None, rest),
    };
    if let Some(suite) = suite
        && (suite.is_empty()
            || !suite.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'))
    {
        return Err(format!("'{suite}' cannot be a suite's name"));
    }
    let version = version.parse().map_err(|()| format!("'{version}' is not a version"))?;
    Ok((suite.map(String::from), version))
}
