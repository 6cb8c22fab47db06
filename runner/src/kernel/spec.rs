//! How a person names a kernel.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::pattern::VersionPattern;

use super::build::{Base, Recipe, Toolchain};
use super::pattern::suite_and_version;
use super::source::{SCHEMES, SourceSpec};

const FORMS: &str = "known forms: debian:7.2, debian:6.12.95, debian:trixie/6.12, debian:7.3-rc7, a bare 7.2, \
                     file:./bzImage, a bare ./bzImage, tree:~/linux, git:~/linux@v6.12, debian-source:7.2, \
                     tar:linux-6.12.30.tar.xz";

/// A kernel as it was asked for. Printed, it reads back as the same spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KernelSpec {
    /// A stock kernel out of the Debian archive.
    Debian {
        /// Only from this suite; else from any configured one.
        suite: Option<String>,
        /// Which.
        version: VersionPattern,
    },
    /// An image on disk.
    File {
        /// bzImage, Image, Image.gz or vmlinux.
        image: PathBuf,
        /// Where its modules are: `lib/modules/<release>`, or an INSTALL_MOD_PATH above it.
        modules: Option<PathBuf>,
        /// Its `.config`, where it cannot be found by itself.
        config: Option<PathBuf>,
    },
    /// One that is built here.
    Source {
        /// Of what.
        source: SourceSpec,
        /// And how.
        recipe: Recipe,
    },
}

impl KernelSpec {
    /// Adds what `--modules` and `--config` say.
    ///
    /// # Errors
    /// The caller's, when the kernel is neither a `file:` nor built: a Debian kernel brings its own.
    pub fn with_files(self, modules: Option<PathBuf>, mut configs: Vec<PathBuf>) -> Result<Self> {
        match self {
            Self::File { image, .. } if configs.len() > 1 => {
                Err(Error::caller(format!("file:{} has one config, and several were given", image.display())))
            }
            Self::File { image, modules: m, config: c } => {
                Ok(Self::File { image, modules: modules.or(m), config: configs.pop().or(c) })
            }
            Self::Source { source, .. } if modules.is_some() => Err(Error::caller(format!(
                "--modules cannot be given for {source}: it is built with its own"
            ))),
            Self::Source { source, recipe } => {
                let fragments = recipe.fragments.into_iter().chain(configs).collect();
                Ok(Self::Source { source, recipe: Recipe { fragments, ..recipe } })
            }
            other if modules.is_none() && configs.is_empty() => Ok(other),
            other => {
                let (what, hint) = match modules {
                    Some(_) => ("modules", "they go with file:<image>"),
                    None => {
                        ("a config", "one goes with file:<image>, and fragments with a kernel that is built")
                    }
                };
                Err(Error::caller(format!("{what} cannot be given for {other}: it brings its own"))
                    .hint(hint))
            }
        }
    }

    /// Adds what `--toolchain` and `--base` say; for kernels that are not built they say nothing.
    #[must_use]
    pub fn with_recipe(self, toolchain: Toolchain, base: Base) -> Self {
        match self {
            Self::Source { source, recipe } => {
                Self::Source { source, recipe: Recipe { toolchain, base, ..recipe } }
            }
            other => other,
        }
    }
}

impl FromStr for KernelSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let scheme = text.split_once(':').filter(|(s, _)| {
            !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+'))
        });
        match scheme {
            Some(("debian", rest)) => debian(text, rest),
            Some(("file", "")) => Err(Error::caller(format!("kernel '{text}' names no file; {FORMS}"))),
            Some(("file", rest)) => Ok(file(rest)),
            Some((scheme, rest)) if SCHEMES.contains(&scheme) => {
                let source = SourceSpec::of_scheme(scheme, rest, text)?;
                Ok(KernelSpec::Source { source, recipe: Recipe::default() })
            }
            Some((other, _)) => Err(Error::caller(format!(
                "unknown kernel source '{other}:' in '{text}'; known: debian:, file:, tree:, git:, debian-source:, tar:"
            ))
            .hint("a file with a colon in its name is written file:<path>")),
            None if text.starts_with('.') || text.contains('/') => Ok(file(text)),
            None => debian(text, text),
        }
    }
}

fn file(path: &str) -> KernelSpec {
    KernelSpec::File { image: PathBuf::from(path), modules: None, config: None }
}

fn debian(whole: &str, rest: &str) -> Result<KernelSpec> {
    let (suite, version) =
        suite_and_version(rest).map_err(|why| Error::caller(format!("kernel '{whole}': {why}; {FORMS}")))?;
    Ok(KernelSpec::Debian { suite, version })
}

impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian { suite: Some(suite), version } => write!(f, "debian:{suite}/{version}"),
            Self::Debian { suite: None, version } => write!(f, "debian:{version}"),
            Self::File { image, .. } => write!(f, "file:{}", image.display()),
            Self::Source { source, .. } => source.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_and_how_it_is_shown() {
        for (typed, shown) in [
            ("debian:7.2", "debian:7.2"),
            ("7.2", "debian:7.2"),
            ("6.12.95", "debian:6.12.95"),
            ("debian:trixie/6.12", "debian:trixie/6.12"),
            ("trixie-backports/7.2.12", "file:trixie-backports/7.2.12"),
            ("7.3-rc7", "debian:7.3-rc7"),
            ("7.3~rc7", "debian:7.3-rc7"),
            ("7.3-rc", "debian:7.3-rc"),
            ("7.2.0", "debian:7.2.0"),
            ("tree:/src/linux", "tree:/src/linux"),
            ("git:/src/linux@v6.12", "git:/src/linux@v6.12"),
            ("file:bzImage", "file:bzImage"),
            ("./bzImage", "file:./bzImage"),
            ("/boot/vmlinuz-6.1", "file:/boot/vmlinuz-6.1"),
            ("./odd:name", "file:./odd:name"),
        ] {
            let spec: KernelSpec = typed.parse().unwrap();
            assert_eq!(spec.to_string(), shown, "{typed}");
            assert_eq!(shown.parse::<KernelSpec>().unwrap(), spec, "{typed}");
        }
    }

    #[test]
    fn what_is_not_a_kernel_says_what_would_be() {
        for (typed, said) in [
            ("svn:~/linux@v6.12", "unknown kernel source 'svn:'"),
            ("git:~/linux", "no @revision"),
            ("debian:seven", "'seven' is not a version"),
            ("debian:7.2/trixie", "cannot be a suite's name"),
            ("debian:", "'' is not a version"),
            ("file:", "names no file"),
            ("bzImage", "'bzImage' is not a version"),
            ("7.2.12+deb13", "is not a version"),
            ("7.2.1-rc", "is not a version"),
            ("", "is not a version"),
        ] {
            let error = typed.parse::<KernelSpec>().unwrap_err();
            assert_eq!(error.fault(), crate::error::Fault::Caller);
            let text = error.to_string();
            assert!(
                text.contains(said) && text.contains("debian") && text.contains("tree:"),
                "{typed}: {text}"
            );
        }
    }

    #[test]
    fn modules_are_for_files_only() {
        let dir = Some(PathBuf::from("m"));
        let spec = "./Image".parse::<KernelSpec>().unwrap().with_files(dir.clone(), vec![]).unwrap();
        assert!(matches!(spec, KernelSpec::File { modules: Some(m), .. } if m.as_os_str() == "m"));
        let error = "7.2".parse::<KernelSpec>().unwrap().with_files(dir, vec![]).unwrap_err().to_string();
        assert!(error.contains("debian:7.2"), "{error}");
    }
}
