//! The log of a CI job: parts that its page shows folded, and what in it would be a command.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::parse::clean::one_line;

/// Whose page it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// `::group::` and `::endgroup::` (GitHub Actions, "Workflow commands").
    Github,
    /// `section_start` and `section_end` (GitLab CI/CD, "Custom collapsible sections").
    Gitlab,
}

/// Whether this is a job of a CI system that takes lines of its log for commands: GitHub Actions (Forgejo's and Gitea's say
/// the same), GitLab, Azure Pipelines, TeamCity.
pub(super) fn in_a_job() -> bool {
    let said = |name: &str| std::env::var_os(name).unwrap_or_default().to_ascii_lowercase();
    ["GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD"].iter().any(|name| said(name) == "true")
        || !said("TEAMCITY_VERSION").is_empty()
}

/// A text for people in which the CI system whose job this is, if it is one's, finds no command. Everything that a guest may
/// have said goes through here before it is printed.
pub fn harmless(text: &str) -> String {
    if in_a_job() { tame(text) } else { text.to_owned() }
}

/// The same for JSON, which means what it meant: inside of a string every character may be written as its number.
pub fn harmless_json(json: &str) -> String {
    if in_a_job() { tame_with(json, "\\u005b", "\\u003a") } else { json.to_owned() }
}

/// A text in which no system finds a command: what a guest says must not end our parts, hide what comes later, or mark a
/// line as an error. GitHub's runner heeds lines that begin with `::`, after blanks, and `##[` wherever it is; Azure's heeds `##[` and
/// `##vso[`, TeamCity's `##teamcity[`, and GitLab's `section_start:` and `section_end:`.
pub(super) fn tame(text: &str) -> String {
    let tame_line = |line: &str| {
        let line = tame_with(line, r"\[", r"\:");
        if line.trim_start().starts_with("::") { line.replacen("::", r"\::", 1) } else { line }
    };
    text.split('\n').map(tame_line).collect::<Vec<_>>().join("\n")
}

/// Writes the bracket after `##word` and the colon after GitLab's words in another way.
fn tame_with(line: &str, bracket: &str, colon: &str) -> String {
    let mut tame = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '[' if tame.trim_end_matches(|c: char| c.is_alphanumeric()).ends_with("##") => {
                tame.push_str(bracket);
            }
            ':' if tame.ends_with("section_start") || tame.ends_with("section_end") => tame.push_str(colon),
            c => tame.push(c),
        }
    }
    tame
}

impl Fold {
    /// The CI system that we run in, if it is one of them.
    pub fn of_environment() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| value == "true");
        if set("GITHUB_ACTIONS") {
            Some(Self::Github)
        } else if set("GITLAB_CI") {
            Some(Self::Gitlab)
        } else {
            None
        }
    }

    /// Begins a part. `id` tells it from the others.
    pub(super) fn begin(self, id: &str, title: &str) -> String {
        match self {
            Self::Github => format!("::group::{}\n", one_line_kept(title)),
            Self::Gitlab => {
                format!("\x1b[0Ksection_start:{}:{}[collapsed=true]\r\x1b[0K{title}\n", now(), section(id))
            }
        }
    }

    /// Ends it.
    pub(super) fn end(self, id: &str) -> String {
        match self {
            Self::Github => "::endgroup::".to_owned(),
            Self::Gitlab => format!("\x1b[0Ksection_end:{}:{}\r\x1b[0K", now(), section(id)),
        }
    }
}

/// A title has no line break; its colours may stay.
fn one_line_kept(title: &str) -> String {
    title.replace(['\n', '\r'], " ")
}

/// Letters, digits, `_`, `.` and `-` are what a section's name may have.
fn section(id: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    one_line(id).chars().map(keep).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_ends() {
        assert_eq!(Fold::Github.begin("a b", "title\nx"), "::group::title x\n");
        assert_eq!(Fold::Github.end("a b"), "::endgroup::");
        let begin = Fold::Gitlab.begin("debian:7.2 x/y", "title");
        assert!(begin.contains(":debian_7.2_x_y[collapsed=true]\r\x1b[0Ktitle\n"), "{begin:?}");
        assert!(Fold::Gitlab.end("debian:7.2 x/y").contains(":debian_7.2_x_y\r"));
    }

    #[test]
    fn what_a_guest_says_is_no_command() {
        for (said, shown) in [
            ("::endgroup::", r"\::endgroup::"),
            ("a\n  \t::add-mask::x", "a\n  \t\\::add-mask::x"),
            ("│ ##[group]x ##[error]y", r"│ ##\[group]x ##\[error]y"),
            ("###[group] #[x] ## [y] [z]", r"###\[group] #[x] ## [y] [z]"),
            ("##vso[task.setvariable variable=x]y", r"##vso\[task.setvariable variable=x]y"),
            ("##teamcity[testFailed name='x']", r"##teamcity\[testFailed name='x']"),
            ("section_start:1:x section_end:1:x", r"section_start\:1:x section_end\:1:x"),
            ("✗ a::b  ::c", "✗ a::b  ::c"),
        ] {
            assert_eq!(tame(said), shown);
        }
    }

    #[test]
    fn json_means_the_same_without_commands() {
        let said = r###"{"line":"##[error]x ##vso[y] section_start:1"}"###;
        let shown = tame_with(said, "\\u005b", "\\u003a");
        assert!(
            !shown.contains("##[") && !shown.contains("vso[") && !shown.contains("section_start:"),
            "{shown}"
        );
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(said));
    }
}
