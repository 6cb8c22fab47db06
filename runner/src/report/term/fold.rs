//! Parts of a CI job's log that its page shows folded.

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

/// A text for people in which the CI system that we run in, if it is one of them, finds no command.
pub fn harmless(text: &str) -> String {
    Fold::of_environment().map_or_else(|| text.to_owned(), |fold| fold.harmless(text))
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

    /// A text in which the system finds no command: what a guest says must not end our parts, or hide what comes later. GitHub's
    /// runner heeds lines that begin with `::`, after blanks, and `##[` wherever it is; GitLab's only what has escapes, which
    /// nothing that is printed still has.
    pub(super) fn harmless(self, text: &str) -> String {
        let tame = |line: &str| {
            let line = line.replace("##[", r"##\[");
            if line.trim_start().starts_with("::") { line.replacen("::", r"\::", 1) } else { line }
        };
        match self {
            Self::Github => text.split('\n').map(tame).collect::<Vec<_>>().join("\n"),
            Self::Gitlab => text.to_owned(),
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
            ("✗ a::b  ::c", "✗ a::b  ::c"),
        ] {
            assert_eq!(Fold::Github.harmless(said), shown);
            assert_eq!(Fold::Gitlab.harmless(said), said);
        }
    }
}
