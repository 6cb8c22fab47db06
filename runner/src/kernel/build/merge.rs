//! Several fragments become one config to ask for.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::error::{Error, Result};

use super::super::version::KernelVersion;
use super::fragment::Request;

/// What is asked for in the end: one request for each option.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub requests: BTreeMap<String, Request>,
}

/// Puts fragments together, in order. What a release does not have is left out.
///
/// # Errors
/// The caller's: two fragments want different things, and the later one does not say that it means to.
pub(super) fn merge(
    fragments: impl IntoIterator<Item = Vec<Request>>,
    version: KernelVersion,
) -> Result<Merged> {
    let mut merged = Merged::default();
    let mut conflicts = Vec::new();
    for request in fragments.into_iter().flatten().filter(|r| r.applies(version)) {
        match merged.requests.get(&request.option) {
            Some(earlier) if earlier.contradicts(&request) => conflicts.push(format!(
                "{} is {} in {} and {} in {}",
                request.option, earlier.value, earlier.place, request.value, request.place
            )),
            _ => drop(merged.requests.insert(request.option.clone(), request)),
        }
    }
    if conflicts.is_empty() {
        return Ok(merged);
    }
    Err(Error::caller(format!("config fragments contradict each other: {}", conflicts.join("; ")))
        .hint("a line `#@ override` above the later one says that it is meant to"))
}

impl Merged {
    /// As the lines of a `.config`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (option, request) in &self.requests {
            // Writing to a String cannot fail.
            let _ = match request.value.as_str() {
                "n" => writeln!(text, "# {option} is not set"),
                value => writeln!(text, "{option}={value}"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fragment::parse;
    use super::*;

    fn merged(texts: &[&str], version: &str) -> Result<String> {
        let fragments = texts.iter().zip(["a.config", "b.config", "c.config"]);
        let fragments = fragments.map(|(text, name)| parse(text, Path::new(name)).unwrap());
        merge(fragments, version.parse().unwrap()).map(|m| m.text())
    }

    #[test]
    fn the_same_twice_is_no_conflict_and_what_a_release_lacks_is_left_out() {
        let text = merged(
            &["CONFIG_B=y\n#@ since 6.9\nCONFIG_NEW=y\n", "CONFIG_B=y\n# CONFIG_A is not set\n"],
            "6.8",
        );
        assert_eq!(text.unwrap(), "# CONFIG_A is not set\nCONFIG_B=y\n");
    }

    #[test]
    fn a_conflict_names_both_places() {
        let error = merged(&["CONFIG_A=y\n", "\nCONFIG_B=y\n# CONFIG_A is not set\n"], "6.8").unwrap_err();
        assert_eq!(error.fault(), crate::error::Fault::Caller);
        let text = error.to_string();
        assert!(text.contains("CONFIG_A is y in a.config:1 and n in b.config:3"), "{text}");
        let meant = merged(&["CONFIG_A=y\n", "#@ override\n# CONFIG_A is not set\n"], "6.8");
        assert_eq!(meant.unwrap(), "# CONFIG_A is not set\n");
        let yields = merged(&["#@ default\nCONFIG_A=y\n", "# CONFIG_A is not set\n"], "6.8");
        assert_eq!(yields.unwrap(), "# CONFIG_A is not set\n");
        let settled =
            merged(&["#@ default\nCONFIG_A=y\n", "CONFIG_A=n\n", "CONFIG_A=m\n"], "6.8").unwrap_err();
        assert!(settled.to_string().contains("is n in b.config:1 and m in c.config:1"), "{settled}");
    }
}
