//! How a person names a kernel's source.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

use super::super::pattern::suite_and_version;
use crate::pattern::VersionPattern;
use kvet_host::hash::Sha256Hex;

const FORMS: &str = "known forms: tree:~/linux, git:~/linux@v6.12, debian-source:7.2, debian-source:trixie/6.12, \
                     tar:linux-6.12.30.tar.xz, tar:https://…/linux-6.12.30.tar.xz#sha256=…";

/// A kernel's source as it was asked for. Printed, it reads back as the same spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceSpec {
    /// A tree of the caller's, as it is. Nothing is written into it.
    Tree(PathBuf),
    /// A revision of a repository on disk. It is checked out elsewhere.
    Git {
        /// The repository: a checkout, a bare one, or a linked worktree.
        repository: PathBuf,
        /// Whatever `git rev-parse` understands.
        revision: String,
    },
    /// The archive's linux-source package of a release.
    Debian {
        /// Only from this suite; else from any configured one.
        suite: Option<String>,
        /// Which.
        version: VersionPattern,
    },
    /// A tarball, such as those of kernel.org.
    Tar {
        /// A path or an http(s) URL.
        place: String,
        /// What shows that it is the right one.
        proof: Proof,
    },
}

/// What a tarball is checked by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Nothing: for files on disk only.
    None,
    /// `#sha256=…`: the hash of the file as it is, compressed.
    Sha256(Sha256Hex),
    /// `#keyring=FILE`: a signature beside it, `linux-6.12.30.tar.sign`, over the uncompressed tar by one of these keys.
    Keyring(PathBuf),
}

/// The words before the colon.
pub const SCHEMES: [&str; 4] = ["tree", "git", "debian-source", "tar"];

impl SourceSpec {
    /// Reads what follows one of [`SCHEMES`] and a colon. `whole` is all of it, for messages.
    pub(in crate::kernel) fn of_scheme(scheme: &str, rest: &str, whole: &str) -> Result<Self> {
        let wrong = |why: &str| Error::caller(format!("source '{whole}': {why}; {FORMS}"));
        match scheme {
            "tree" if rest.is_empty() => Err(wrong("no folder is named")),
            "tree" => Ok(Self::Tree(home(rest))),
            "git" => {
                let (repository, revision) = rest.rsplit_once('@').ok_or_else(|| wrong("no @revision"))?;
                if repository.is_empty() || revision.is_empty() {
                    return Err(wrong("a repository and a revision are needed"));
                }
                if repository.contains("://") || is_scp(repository) {
                    return Err(wrong("the repository must be on this machine")
                        .hint(format!("git clone --bare {repository} somewhere, and name that")));
                }
                // git would take it for an option.
                if revision.starts_with('-') || revision.chars().any(char::is_control) {
                    return Err(wrong(&format!("'{revision}' cannot be a revision")));
                }
                Ok(Self::Git { repository: home(repository), revision: revision.to_string() })
            }
            "debian-source" => {
                let (suite, version) = suite_and_version(rest).map_err(|why| wrong(&why))?;
                Ok(Self::Debian { suite, version })
            }
            "tar" => tar(rest).map_err(|why| wrong(&why)),
            other => Err(Error::caller(format!("unknown source '{other}:' in '{whole}'; {FORMS}"))),
        }
    }
}

impl FromStr for SourceSpec {
    type Err = Error;

    /// A bare path is a tree.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((scheme, rest)) if !scheme.contains(['/', '.']) => Self::of_scheme(scheme, rest, text),
            _ if text.starts_with(['.', '/', '~']) || text.contains('/') => Ok(Self::Tree(home(text))),
            _ => Err(Error::caller(format!("source '{text}' has no known form; {FORMS}"))),
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(path) => write!(f, "tree:{}", path.display()),
            Self::Git { repository, revision } => write!(f, "git:{}@{revision}", repository.display()),
            Self::Debian { suite: Some(suite), version } => write!(f, "debian-source:{suite}/{version}"),
            Self::Debian { suite: None, version } => write!(f, "debian-source:{version}"),
            Self::Tar { place, proof } => {
                write!(f, "tar:{place}")?;
                match proof {
                    Proof::None => Ok(()),
                    Proof::Sha256(hash) => write!(f, "#sha256={hash}"),
                    Proof::Keyring(file) => write!(f, "#keyring={}", file.display()),
                }
            }
        }
    }
}

fn tar(rest: &str) -> std::result::Result<SourceSpec, String> {
    let (place, fragment) = match rest.rsplit_once('#') {
        Some((place, fragment)) => (place, Some(fragment)),
        None => (rest, None),
    };
    if place.is_empty() {
        return Err("no file is named".into());
    }
    let proof = match fragment.map(|f| f.split_once('=').unwrap_or((f, ""))) {
        None => Proof::None,
        Some(("sha256", hex)) => {
            Proof::Sha256(Sha256Hex::parse(hex).ok_or_else(|| format!("'{hex}' is not a SHA-256"))?)
        }
        Some(("keyring", file)) if !file.is_empty() => Proof::Keyring(home(file)),
        Some((other, _)) => return Err(format!("'#{other}' is neither #sha256=… nor #keyring=…")),
    };
    let url = is_url(place);
    if place.contains("://") && !url {
        return Err("only http:// and https:// URLs are fetched".into());
    }
    if url && proof == Proof::None {
        return Err("a URL needs #sha256=… or #keyring=FILE: nothing unverified is unpacked".into());
    }
    let known = [".tar", ".tar.xz", ".tar.gz", ".tar.zst", ".tgz"].iter().any(|e| place.ends_with(e));
    if !known {
        return Err("known are .tar, .tar.xz, .tar.gz, .tgz and .tar.zst".into());
    }
    let place = if url { place.to_string() } else { home(place).display().to_string() };
    Ok(SourceSpec::Tar { place, proof })
}

/// Whether a place is to be fetched.
pub(super) fn is_url(place: &str) -> bool {
    place.starts_with("http://") || place.starts_with("https://")
}

/// `host:path`, as ssh and git take it.
fn is_scp(text: &str) -> bool {
    text.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'))
}

/// A shell expands `~/` only at the beginning of a word, and `tree:~/linux` begins otherwise.
fn home(path: &str) -> PathBuf {
    let rest = if path == "~" { Some("") } else { path.strip_prefix("~/") };
    match (rest, std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_reads_back_as_itself() {
        let sha = "0".repeat(64);
        for (typed, shown) in [
            ("tree:/src/linux", "tree:/src/linux".to_string()),
            ("tree:.", "tree:.".into()),
            ("./linux", "tree:./linux".into()),
            ("git:/src/linux@v6.12", "git:/src/linux@v6.12".into()),
            ("git:/src/a@b/linux@HEAD~3", "git:/src/a@b/linux@HEAD~3".into()),
            ("debian-source:7.2.12", "debian-source:7.2.12".into()),
            ("debian-source:trixie/6.12", "debian-source:trixie/6.12".into()),
            ("tar:linux-6.12.30.tar.xz", "tar:linux-6.12.30.tar.xz".into()),
            ("tar:a.tgz#keyring=k.gpg", "tar:a.tgz#keyring=k.gpg".into()),
            (
                &format!("tar:https://h.example/l.tar.xz#sha256={sha}"),
                format!("tar:https://h.example/l.tar.xz#sha256={sha}"),
            ),
        ] {
            let spec: SourceSpec = typed.parse().unwrap();
            assert_eq!(spec.to_string(), shown);
            assert_eq!(shown.parse::<SourceSpec>().unwrap(), spec);
        }
        let spec: SourceSpec = "tree:~/linux".parse().unwrap();
        assert!(!spec.to_string().contains('~') || std::env::var_os("HOME").is_none(), "{spec}");
    }

    #[test]
    fn what_is_no_source_says_what_would_be() {
        for (typed, said) in [
            ("tree:", "no folder"),
            ("git:/src/linux", "no @revision"),
            ("git:/src/linux@", "are needed"),
            ("git:/src/linux@--upload-pack=x", "cannot be a revision"),
            ("git:https://h.example/linux@v6.12", "on this machine"),
            ("git:host:linux@v6.12", "on this machine"),
            ("debian-source:new", "'new' is not a version"),
            ("debian-source:A/7.2", "suite"),
            ("tar:", "no file"),
            ("tar:linux.zip", "known are .tar"),
            ("tar:https://h.example/l.tar.xz", "needs #sha256="),
            ("tar:ftp://h.example/l.tar.xz", "only http"),
            ("tar:l.tar.xz#sha256=12", "'12' is not a SHA-256"),
            ("tar:l.tar.xz#md5=12", "'#md5'"),
            ("svn:linux", "unknown source 'svn:'"),
            ("linux", "no known form"),
        ] {
            let error = typed.parse::<SourceSpec>().unwrap_err();
            assert_eq!(error.fault(), crate::error::Fault::Caller);
            let text = error.to_string();
            assert!(text.contains(said) && text.contains("known forms"), "{typed}: {text}");
        }
    }
}
