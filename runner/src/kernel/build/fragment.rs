//! Fragments of a kernel's config: options that are asked for, each with the place where it stands.
//!
//! A fragment is a piece of a `.config`. Besides, a line that begins with `#@` speaks of the option in the line after it:
//! `#@ since 6.7` (the first release that has it), `#@ until 6.15` (the first that has it no more), both of them,
//! `#@ override` (it is meant to differ from what an earlier fragment asks for), or `#@ default` (a later fragment may differ).
//! Others' fragments, such as the kernel's own, have no such lines.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};

use super::super::kconfig::MAX_CONFIG_BYTES;
use super::super::version::KernelVersion;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub file: PathBuf,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One option that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// With `CONFIG_`.
    pub option: String,
    /// As in a `.config`, strings with their quotes; `n` where it must be off.
    pub value: String,
    pub place: Place,
    pub since: Option<KernelVersion>,
    pub until: Option<KernelVersion>,
    pub overrides: bool,
    /// Whether a later fragment may want something else without saying that it means to.
    pub default: bool,
}

impl Request {
    /// Whether a release has the option, as far as the fragment says.
    pub fn applies(&self, version: KernelVersion) -> bool {
        // Candidates of the release that brought it have it.
        let series = KernelVersion::new(version.major, version.minor, version.patch);
        self.since.is_none_or(|since| series >= since) && self.until.is_none_or(|until| series < until)
    }

    /// Whether a later request wants something else, and neither says that this is meant.
    pub fn contradicts(&self, later: &Self) -> bool {
        self.value != later.value && !later.overrides && !self.default
    }
}

#[derive(Default)]
struct Note {
    since: Option<KernelVersion>,
    until: Option<KernelVersion>,
    overrides: bool,
    default: bool,
    line: usize,
}

/// Reads a fragment.
///
/// # Errors
/// The caller's: it is not there, or a line is not what a line can be, which is named.
pub(super) fn load(path: &Path) -> Result<Vec<Request>> {
    let size = fs::metadata(path).given(format_args!("open the config fragment {}", path.display()))?.len();
    if size > MAX_CONFIG_BYTES {
        return Err(Error::caller(format!("{} has {size} bytes: too large for a config", path.display())));
    }
    let text = fs::read_to_string(path).given(format_args!("read the config fragment {}", path.display()))?;
    let requests = parse(&text, path)?;
    if requests.is_empty() {
        return Err(Error::caller(format!("config fragment {} asks for no option", path.display())));
    }
    Ok(requests)
}

pub(super) fn parse(text: &str, file: &Path) -> Result<Vec<Request>> {
    let mut all: Vec<Request> = Vec::new();
    let mut note: Option<Note> = None;
    for (number, raw) in text.lines().enumerate() {
        let place = Place { file: file.to_path_buf(), line: number + 1 };
        let wrong = |why: String| Error::caller(format!("{place}: {why}"));
        let line = raw.trim();
        if let Some(words) = line.strip_prefix("#@") {
            if note.is_some() {
                return Err(wrong("two `#@` lines for one option: put it all into one".into()));
            }
            note = Some(annotation(words, number + 1).map_err(wrong)?);
            continue;
        }
        let asked = match unset(line) {
            Some(option) => Some((option.to_string(), "n".to_string())),
            None if line.is_empty() || line.starts_with('#') => None,
            None => Some(assignment(line).map_err(wrong)?),
        };
        match (asked, note.take()) {
            (None, None) => {}
            (None, Some(note)) => {
                return Err(wrong(format!("the `#@` in line {} is not followed by an option", note.line)));
            }
            (Some((option, value)), note) => {
                if let Some(other) = all.iter().find(|r| r.option == option) {
                    return Err(wrong(format!("{option} is asked for in line {} already", other.place.line)));
                }
                let Note { since, until, overrides, default, .. } = note.unwrap_or_default();
                all.push(Request { option, value, place, since, until, overrides, default });
            }
        }
    }
    match note {
        Some(note) => Err(Error::caller(format!(
            "{}:{}: `#@` at the end speaks of no option",
            file.display(),
            note.line
        ))),
        None => Ok(all),
    }
}

/// `# CONFIG_X is not set`.
fn unset(line: &str) -> Option<&str> {
    let option = line.strip_prefix('#')?.trim_start().strip_suffix("is not set")?.trim_end();
    is_option(option).then_some(option)
}

fn is_option(text: &str) -> bool {
    text.strip_prefix("CONFIG_")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'))
}

fn assignment(line: &str) -> std::result::Result<(String, String), String> {
    let (option, value) =
        line.split_once('=').ok_or_else(|| format!("'{line}' is neither CONFIG_X=… nor a comment"))?;
    if !is_option(option) {
        return Err(format!(
            "'{option}' is no option's name: it begins with CONFIG_ and has letters, digits and '_'"
        ));
    }
    let number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => !hex.is_empty() && hex.bytes().all(|c| c.is_ascii_hexdigit()),
            None => !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()),
        }
    };
    let string = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    if matches!(value, "y" | "m" | "n") || number(value) || string {
        return Ok((option.to_string(), value.to_string()));
    }
    Err(format!("'{value}' is no value for {option}: y, m, n, a number, or a \"text\" in quotes"))
}

fn annotation(words: &str, line: usize) -> std::result::Result<Note, String> {
    const FORMS: &str =
        "known: `#@ since 6.7`, `#@ until 6.15`, `#@ override`, `#@ default`, with spaces between several";
    let mut note = Note { line, ..Note::default() };
    let mut words = words.split_ascii_whitespace();
    let mut any = false;
    while let Some(word) = words.next() {
        any = true;
        let slot = match word {
            "since" => &mut note.since,
            "until" => &mut note.until,
            "override" if !note.overrides => {
                note.overrides = true;
                continue;
            }
            "default" if !note.default => {
                note.default = true;
                continue;
            }
            other => return Err(format!("`#@ {other}` is not understood; {FORMS}")),
        };
        let text = words.next().ok_or_else(|| format!("`#@ {word}` names no release; {FORMS}"))?;
        let version = KernelVersion::parse_prefix(text).filter(|(v, rest)| rest.is_empty() && v.rc.is_none());
        let (version, _) = version.ok_or_else(|| format!("'{text}' is no release such as 6.7"))?;
        if slot.replace(version).is_some() {
            return Err(format!("`#@ {word}` stands twice"));
        }
    }
    match (note.since, note.until) {
        _ if !any => Err(format!("`#@` says nothing; {FORMS}")),
        (Some(since), Some(until)) if since >= until => {
            Err(format!("no release is both since {since} and until {until}"))
        }
        _ => Ok(note),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Request>> {
        parse(text, Path::new("f.config"))
    }

    #[test]
    fn options_with_their_places_and_releases() {
        let all = parsed(
            "# why\nCONFIG_A=y\n\n#@ since 6.7 until 6.15\nCONFIG_B=m\n# CONFIG_C is not set\n\
             CONFIG_S=\"a,b\"\nCONFIG_N=0x10\n#@ override\nCONFIG_O=n\n\
             #@ default\nCONFIG_D=y\n",
        )
        .unwrap();
        let shown: Vec<String> =
            all.iter().map(|r| format!("{}={} {}", r.option, r.value, r.place)).collect();
        assert_eq!(
            shown,
            [
                "CONFIG_A=y f.config:2",
                "CONFIG_B=m f.config:5",
                "CONFIG_C=n f.config:6",
                "CONFIG_S=\"a,b\" f.config:7",
                "CONFIG_N=0x10 f.config:8",
                "CONFIG_O=n f.config:10",
                "CONFIG_D=y f.config:12"
            ]
        );
        let applies = |v: &str| all[1].applies(v.parse().unwrap());
        assert_eq!(
            ["6.6.9", "6.7", "6.7-rc1", "6.14.2", "6.15-rc1", "6.15"].map(applies),
            [false, true, true, true, false, false]
        );
        assert!(all[5].overrides && !all[0].overrides && all[6].default && !all[5].default);
    }

    #[test]
    fn what_is_no_line_is_named_with_its_place() {
        for (text, said) in [
            ("CONFIG_A", "f.config:1: 'CONFIG_A' is neither"),
            ("A=y", "'A' is no option's name"),
            ("CONFIG_A-B=y", "'CONFIG_A-B' is no option's name"),
            ("\nCONFIG_A=yes", "f.config:2: 'yes' is no value for CONFIG_A"),
            ("CONFIG_A=y # why", "'y # why' is no value"),
            ("CONFIG_A=y\nCONFIG_A=n", "f.config:2: CONFIG_A is asked for in line 1"),
            ("#@ after 6.7\nCONFIG_A=y", "`#@ after`"),
            ("#@ since\nCONFIG_A=y", "names no release"),
            ("#@ since soon\nCONFIG_A=y", "'soon' is no release"),
            ("#@\nCONFIG_A=y", "says nothing"),
            ("#@ since 6.7\n# why\nCONFIG_A=y", "line 1 is not followed"),
            ("#@ since 6.7", "speaks of no option"),
            ("#@ since 6.7\n#@ until 6.8\nCONFIG_A=y", "two `#@` lines"),
            ("#@ since 6.7 until 6.7\nCONFIG_A=y", "no release is both"),
        ] {
            let error = parsed(text).unwrap_err();
            assert_eq!(error.fault(), crate::error::Fault::Caller);
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }
}
