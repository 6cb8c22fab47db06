//! Where the archive is: what `KVET_MIRROR` says, else what apt is configured with. kvet knows no host name.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cancel::Cancel;
use crate::error::{Error, Fault, Result};
use kvet_host::process;

/// Which of Debian's two archives a suite is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Archive {
    /// The one with releases, updates and backports.
    Main,
    /// The one with security updates.
    Security,
}

/// The root of an archive: the folder that holds `dists/` and `pool/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Base {
    /// By http or https; no slash at the end.
    Http(String),
    /// On disk.
    Dir(PathBuf),
}

impl Base {
    /// Reads an http://, https:// or file:// URL or a folder's path.
    ///
    /// # Errors
    /// Anything else; the message names it.
    pub fn parse(text: &str) -> Result<Self> {
        let trimmed = text.trim_end_matches('/');
        for scheme in ["http://", "https://"] {
            if let Some(rest) = trimmed.strip_prefix(scheme) {
                if rest.is_empty() || rest.bytes().any(|c| !c.is_ascii_graphic()) {
                    return Err(Error::caller(format!("'{text}' is not the URL of an archive")));
                }
                return Ok(Self::Http(trimmed.to_string()));
            }
        }
        let path =
            trimmed.strip_prefix("file://").or_else(|| trimmed.strip_prefix("file:")).unwrap_or(trimmed);
        if path.contains("://") || (path == trimmed && !text.starts_with(['/', '.'])) {
            return Err(Error::caller(format!(
                "'{text}' is not an archive that kvet can read; known: http://…, https://…, file://…, /a/folder"
            )));
        }
        Ok(Self::Dir(PathBuf::from(if path.is_empty() { "/" } else { path })))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url),
            Self::Dir(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where the archives are, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// Releases, updates, backports.
    pub main: Base,
    /// Security updates; none where apt has none configured.
    pub security: Option<Base>,
    /// What apt reaches it through. The environment's `http_proxy` goes first.
    pub proxy: Option<String>,
    /// Whether apt is told to take an index past its Valid-Until (`Acquire::Check-Valid-Until "false"`).
    pub accept_expired: bool,
}

impl Mirrors {
    /// Asks the environment, then apt.
    ///
    /// # Errors
    /// The caller's when `KVET_MIRROR` cannot be understood; the host's when nobody knows a mirror. Interrupted.
    pub fn discover(env: &dyn Fn(&str) -> Option<OsString>, cancel: &Cancel) -> Result<Self> {
        let named = env("KVET_MIRROR").filter(|v| !v.is_empty());
        let targets = run("apt-get", &["indextargets", "--format", FORMAT, "Created-By: Packages"], cancel)?;
        let found = targets.as_deref().map(read_targets).unwrap_or_default();
        let main = match &named {
            Some(named) => {
                let text = named.to_str().unwrap_or_default();
                Base::parse(text).map_err(|e| e.context(format_args!("KVET_MIRROR={}", named.display())))?
            }
            None => found.main.clone().ok_or_else(|| no_mirror(targets.is_none(), &found.unusable))?,
        };
        // apt's proxy is the way to apt's mirror; it says nothing about one that KVET_MIRROR names.
        let config = match &named {
            None => run("apt-config", &["dump"], cancel)?.unwrap_or_default(),
            Some(_) => String::new(),
        };
        let scheme =
            if matches!(&main, Base::Http(url) if url.starts_with("https")) { "https" } else { "http" };
        Ok(Self {
            main,
            security: found.security,
            proxy: read_proxy(&config, scheme),
            accept_expired: setting(&config, "Acquire::Check-Valid-Until").is_some_and(|v| !truth(v)),
        })
    }
}

fn no_mirror(no_apt: bool, unusable: &[String]) -> Error {
    let why = if no_apt {
        "apt-get cannot be asked".to_string()
    } else if unusable.is_empty() {
        "apt is configured with no Debian archive".to_string()
    } else {
        format!("apt's are of a kind that kvet cannot read: {}", unusable.join(", "))
    };
    Error::host(format!("no Debian mirror is known: KVET_MIRROR is not set, and {why}")).hint(
        "set KVET_MIRROR to the URL (or the folder) of a Debian archive, the one that holds dists/ and pool/",
    )
}

const FORMAT: &str = "$(LABEL)|$(RELEASE)|$(REPO_URI)";

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    main: Option<Base>,
    security: Option<Base>,
    unusable: Vec<String>,
}

/// Picks the archives out of apt's targets. The label is known only after an `apt-get update`; before it, the
/// release's name must do. A wrong guess cannot do harm: what is fetched must be signed by Debian.
fn read_targets(text: &str) -> Found {
    let mut found = Found::default();
    for line in text.lines() {
        let mut fields = line.splitn(3, '|');
        let (Some(label), Some(release), Some(uri)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let slot = match label {
            "Debian-Security" => &mut found.security,
            "Debian" | "Debian Backports" => &mut found.main,
            "" | "$(LABEL)" if release.ends_with("-security") => &mut found.security,
            "" | "$(LABEL)" if is_debian_release(release) => &mut found.main,
            _ => continue,
        };
        match Base::parse(uri) {
            Ok(base) => drop(slot.get_or_insert(base)),
            Err(_) if found.unusable.iter().any(|u| u == uri) => {}
            Err(_) => found.unusable.push(uri.to_string()),
        }
    }
    found
}

fn is_debian_release(name: &str) -> bool {
    const KNOWN: [&str; 11] = [
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ];
    let base = name.strip_suffix("-backports").or_else(|| name.strip_suffix("-updates")).unwrap_or(name);
    KNOWN.contains(&base)
}

fn read_proxy(config: &str, scheme: &str) -> Option<String> {
    let proxy = setting(config, &format!("Acquire::{scheme}::Proxy"))
        .or_else(|| setting(config, "Acquire::http::Proxy").filter(|_| scheme == "https"))?;
    (!proxy.is_empty() && !proxy.eq_ignore_ascii_case("DIRECT")).then(|| proxy.to_string())
}

/// A setting in the output of `apt-config dump`: `Name "value";`.
fn setting<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        key.eq_ignore_ascii_case(name).then(|| value.strip_prefix('"')?.strip_suffix("\";")).flatten()
    })
}

/// apt's StringToBool, as far as it says no.
fn truth(value: &str) -> bool {
    !["false", "no", "off", "without", "disable", "0"].iter().any(|no| value.eq_ignore_ascii_case(no))
}

/// What apt says; none where there is no apt or it fails. It is in a process group of its own: the ^C that a terminal sends to
/// all of ours must not look like an apt that fails.
fn run(program: &str, args: &[&str], cancel: &Cancel) -> Result<Option<String>> {
    match process::run(Command::new(program).args(args).env("LC_ALL", "C"), "apt", cancel) {
        Ok(output) if output.status.success() => Ok(String::from_utf8(output.stdout).ok()),
        Err(error) if error.fault() == Fault::Interrupted => Err(error),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// The keyring files that are there.
///
/// # Errors
/// The host's: not one of them is there.
pub(super) fn keyrings(wanted: &[PathBuf]) -> Result<Vec<&Path>> {
    let there: Vec<&Path> = wanted.iter().map(PathBuf::as_path).filter(|p| p.is_file()).collect();
    if there.is_empty() {
        let list = wanted.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Error::host(format!(
            "no keyring to check the archive's signature with; looked for: {list}"
        ))
        .hint("apt-get install debian-archive-keyring"));
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_apart_by_label_and_before_an_update_by_release() {
        let found = read_targets(
            "nodistro|nodistro|https://other.example/x/\nDebian|trixie|http://mirror.example/debian/\n\
             Debian|trixie-updates|http://second.example/debian/\nDebian-Security|trixie-security|http://s.example/sec/\n",
        );
        assert_eq!(found.main, Some(Base::Http("http://mirror.example/debian".into())));
        assert_eq!(found.security, Some(Base::Http("http://s.example/sec".into())));
        let fresh = read_targets(
            "|bookworm|file:/srv/debian/\n|noble|http://u.example/\n|bookworm-security|cdrom://x/\n",
        );
        assert_eq!(fresh.main, Some(Base::Dir("/srv/debian".into())));
        assert_eq!((fresh.security, fresh.unusable), (None, vec!["cdrom://x/".to_string()]));
    }

    #[test]
    fn kvet_mirror_goes_first_and_must_be_understood() {
        let mirror = |value: &'static str| {
            let cancel = Cancel::new().unwrap();
            Mirrors::discover(&move |name| (name == "KVET_MIRROR").then(|| OsString::from(value)), &cancel)
                .map(|m| m.main)
        };
        assert_eq!(mirror("file:///srv/a/").unwrap(), Base::Dir("/srv/a".into()));
        assert_eq!(mirror("/srv/a").unwrap(), Base::Dir("/srv/a".into()));
        assert_eq!(mirror("http://m.example/debian/").unwrap(), Base::Http("http://m.example/debian".into()));
        for bad in ["ftp://m.example/debian", "m.example/debian", "http://"] {
            let error = mirror(bad).unwrap_err();
            assert!(error.to_string().contains("KVET_MIRROR=") && error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn an_interrupt_is_no_apt_that_fails() {
        let cancel = Cancel::new().unwrap();
        assert_eq!(run("false", &[], &cancel).unwrap(), None);
        assert_eq!(run("kvet-no-such-program", &[], &cancel).unwrap(), None);
        cancel.request();
        let error = run("sleep", &["60"], &cancel).unwrap_err();
        assert_eq!(error.fault(), Fault::Interrupted);
        let error = Mirrors::discover(&|_| None, &cancel).unwrap_err();
        assert_eq!((error.fault(), error.hint_text()), (Fault::Interrupted, None));
    }

    #[test]
    fn nobody_knows_a_mirror() {
        let error = no_mirror(false, &["cdrom://x/".into()]);
        assert!(
            error.to_string().contains("cdrom://x/") && error.hint_text().unwrap().contains("KVET_MIRROR")
        );
    }

    #[test]
    fn apts_own_proxy_and_its_view_of_expiry() {
        let config = "APT \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p.example:3142\";\n\
                      Acquire::Check-Valid-Until \"false\";\n";
        assert_eq!(read_proxy(config, "http").as_deref(), Some("http://p.example:3142"));
        assert_eq!(read_proxy("Acquire::http::Proxy \"DIRECT\";\n", "http"), None);
        assert!(!truth(setting(config, "acquire::check-valid-until").unwrap()));
    }

    #[test]
    fn a_missing_keyring_is_named() {
        let error = keyrings(&["/nowhere/a.gpg".into()]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/a.gpg") && error.hint_text().is_some());
    }
}
