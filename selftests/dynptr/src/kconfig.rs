// SPDX-License-Identifier: GPL-2.0-only
//! How the kernel was built, and what follows for a test: one whose options are all there has to be able to run, so that "not
//! supported" is a failure; one that lacks an option is skipped; and where nobody knows, what happens decides.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use crate::isolate::{Missing, Verdict};
use crate::kernel_types;
use crate::tables::SHOWN;
use crate::trigger::NotRun;
use dynptr_spec::Wanted;

/// What kvet tells: a line `CONFIG_X=value` for each option of suite.yaml's `tell`, and the modules that can be loaded.
const TOLD_OPTIONS: &str = "KVET_KCONFIG";
const TOLD_MODULES: &str = "KVET_MODULES";
/// Where some kernels keep their configuration.
const KEPT: &str = "/proc/config.gz";
/// No configuration is longer, unpacked.
const MAX_BYTES: u64 = 4 << 20;

/// What is known of the kernel's configuration.
#[derive(Debug, Default)]
pub struct Kconfig {
    /// The options that are known, `n` where they are not set.
    values: BTreeMap<String, String>,
    /// Are these all that are set, so that any other is not?
    whole: bool,
    /// The modules of [`Wanted::modules`] that can be loaded, where somebody has said it.
    modules: Option<Vec<String>>,
    /// The types of [`SHOWN`] that the kernel has, where they could be read.
    types: Option<Vec<&'static str>>,
}

static KCONFIG: OnceLock<Kconfig> = OnceLock::new();
static NOTHING: Kconfig = Kconfig { values: BTreeMap::new(), whole: false, modules: None, types: None };

/// What [`read`] has found; nothing is known before.
pub fn get() -> &'static Kconfig {
    KCONFIG.get().unwrap_or(&NOTHING)
}

/// Finds out what there is to be known, before processes part.
///
/// # Errors
/// Where what should tell it is not what it should be: what is not known is not missing.
pub fn read() -> Result<(), String> {
    let mut kconfig = match env::var(TOLD_OPTIONS) {
        Ok(text) => Kconfig::told(&text)?,
        Err(env::VarError::NotPresent) => Kconfig::kept()?,
        Err(err) => return Err(format!("{TOLD_OPTIONS}: {err}")),
    };
    if let Ok(modules) = env::var(TOLD_MODULES) {
        kconfig.modules = Some(modules.split_whitespace().map(str::to_owned).collect());
    }
    kconfig.types = Some(kernel_types::present(SHOWN)?);
    KCONFIG.get_or_init(|| kconfig);
    Ok(())
}

impl Kconfig {
    /// As kvet tells it.
    ///
    /// # Errors
    /// Where a line is none.
    pub fn told(text: &str) -> Result<Self, String> {
        let mut kconfig = Self::default();
        for line in text.lines() {
            let (option, value) = line
                .split_once('=')
                .filter(|(option, _)| option.starts_with("CONFIG_"))
                .ok_or_else(|| format!("{TOLD_OPTIONS}: {line:?}: expected the form CONFIG_X=y"))?;
            kconfig.values.insert(option.to_owned(), value.to_owned());
        }
        Ok(kconfig)
    }

    /// As the kernel has kept it, if it has.
    fn kept() -> Result<Self, String> {
        let file = match File::open(KEPT) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(err) => return Err(format!("cannot open {KEPT}: {err}")),
        };
        let mut text = String::new();
        let read = GzDecoder::new(file).take(MAX_BYTES).read_to_string(&mut text);
        read.map_err(|err| format!("cannot read {KEPT}: {err}"))?;
        Ok(Self::of_file(&text))
    }

    fn of_file(text: &str) -> Self {
        let lines = text.lines().filter(|line| line.starts_with("CONFIG_"));
        let set = lines.filter_map(|line| line.split_once('='));
        let values =
            set.map(|(option, value)| (option.to_owned(), value.trim_matches('"').to_owned())).collect();
        Self { values, whole: true, ..Self::default() }
    }

    /// `n` where it is not set; none where that is not known.
    fn value(&self, option: &str) -> Option<&str> {
        self.values.get(option).map(String::as_str).or(self.whole.then_some("n"))
    }

    /// The verdict of a test that need not be begun: it lacks an option or a module, or the kernel has not got
    /// what one of its options stands for.
    pub fn before(&self, wanted: &[Wanted]) -> Option<Verdict> {
        wanted.iter().find_map(|it| self.lacks(it)).map(Verdict::Missing).or_else(|| {
            let absent = wanted.iter().find(|it| self.is_absent(it))?;
            let (option, shows) = (absent.option, absent.shows?);
            Some(Verdict::Fail(vec![format!("{option} is y, and the kernel has no type {shows}")]))
        })
    }

    fn lacks(&self, wanted: &Wanted) -> Option<Missing> {
        let Wanted { option, modules, has, .. } = *wanted;
        let lacks = |what: String| Some(Missing::Config(what));
        match self.value(option) {
            Some("n") => lacks(format!("{option}, which is not set")),
            Some(value) if has.is_some_and(|has| !value.split(',').any(|it| it == has)) => {
                lacks(format!("{} in {option}, which is {value}", has.unwrap_or_default()))
            }
            Some("m") => {
                let at_hand = self.modules.as_ref()?;
                let is_there =
                    modules.is_empty() || modules.iter().any(|it| at_hand.iter().any(|has| has == it));
                let what = || format!("{} ({option}=m), which is not at hand", modules.join(" or "));
                (!is_there).then(|| Missing::Module(what()))
            }
            Some(_) => None,
            None => match wanted.shows {
                Some(name) if self.types.is_some() && self.is_typeless(name) => {
                    lacks(format!("{option}, without which there is no type {name}"))
                }
                _ => None,
            },
        }
    }

    fn is_typeless(&self, name: &str) -> bool {
        self.types.as_ref().is_some_and(|types| !types.contains(&name))
    }

    /// Is it built in, as the configuration says, and not there, as the types say?
    fn is_absent(&self, wanted: &Wanted) -> bool {
        self.value(wanted.option) == Some("y") && wanted.shows.is_some_and(|name| self.is_typeless(name))
    }

    /// The verdict of a test that was begun, and whose program could not be run.
    pub fn after(&self, wanted: &[Wanted], not_run: NotRun) -> Verdict {
        match not_run {
            NotRun::Failed(message) => Verdict::Fail(vec![message]),
            // kvet's guests have everything mounted that the kernel has.
            NotRun::Unmounted(place) if self.is_told() => {
                Verdict::Fail(vec![format!("{place} is not mounted, and the kernel has that file system")])
            }
            NotRun::Unmounted(place) => Verdict::Missing(Missing::Mount(place)),
            NotRun::Unsupported(what) => self.unsupported(wanted, &what),
        }
    }

    fn is_told(&self) -> bool {
        !self.whole && !self.values.is_empty()
    }

    fn unsupported(&self, wanted: &[Wanted], what: &str) -> Verdict {
        let names = |only: &dyn Fn(&&Wanted) -> bool| -> Vec<&str> {
            wanted.iter().filter(only).map(|it| it.option).collect()
        };
        let unknown = names(&|it| self.value(it.option).is_none());
        if !unknown.is_empty() {
            let options = unknown.join(", ");
            let why = format!("{what}; needs {options}, and the kernel's config is not known");
            return Verdict::Missing(Missing::Perhaps(why));
        }
        // Nobody has said which modules there are.
        let modules = names(&|it| self.modules.is_none() && self.value(it.option) == Some("m"));
        if !modules.is_empty() {
            let options = modules.join(", ");
            return Verdict::Missing(Missing::Perhaps(format!("{what}; needs the modules of {options}")));
        }
        let has: Vec<String> = wanted
            .iter()
            .map(|it| format!("{}={}", it.option, self.value(it.option).unwrap_or("n")))
            .collect();
        Verdict::Fail(vec![format!("{what}, although the kernel was built with {}", has.join(", "))])
    }
}

/// What it means that a file system is not where it should be.
pub fn unmounted(place: &str, file_system: &str) -> NotRun {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().next_back() == Some(file_system)) {
        NotRun::Unmounted(place.to_owned())
    } else {
        NotRun::Unsupported(format!("the kernel has no file system {file_system}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUN: Wanted = Wanted { option: "CONFIG_TUN", modules: &["tun"], has: None, shows: None };
    const LSM: Wanted = Wanted { option: "CONFIG_LSM", modules: &[], has: Some("bpf"), shows: None };
    const LINK: Wanted =
        Wanted { option: "CONFIG_LINK", modules: &[], has: None, shows: Some("bpf_nf_link") };

    fn told(text: &str, modules: Option<&[&str]>, types: &[&'static str]) -> Kconfig {
        let modules = modules.map(|it| it.iter().map(|name| (*name).to_owned()).collect());
        Kconfig { modules, types: Some(types.to_vec()), ..Kconfig::told(text).expect("sound") }
    }

    fn not_supported(kconfig: &Kconfig, wanted: &[Wanted]) -> Verdict {
        kconfig.after(wanted, NotRun::Unsupported("no tun".into()))
    }

    fn text(verdict: Verdict) -> String {
        match verdict {
            Verdict::Fail(lines) => format!("fail: {}", lines.join("\n")),
            Verdict::Missing(missing) => format!("skip: {missing}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn not_supported_is_a_failure_where_the_options_are_there() {
        let kconfig = told("CONFIG_TUN=y\nCONFIG_LSM=yama,bpf\n", Some(&[]), &[]);
        assert_eq!(kconfig.before(&[TUN, LSM]), None);
        let wanted = "fail: no tun, although the kernel was built with CONFIG_TUN=y, CONFIG_LSM=yama,bpf";
        assert_eq!(text(not_supported(&kconfig, &[TUN, LSM])), wanted);
        let kconfig = told("CONFIG_TUN=m\n", Some(&["loop", "tun"]), &[]);
        assert_eq!(kconfig.before(&[TUN]), None);
        assert_eq!(
            text(not_supported(&kconfig, &[TUN])),
            "fail: no tun, although the kernel was built with CONFIG_TUN=m"
        );
    }

    #[test]
    fn what_the_kernel_was_built_without_is_named() {
        for (config, modules, wanted, reason) in [
            ("CONFIG_TUN=n\n", None, TUN, "skip: needs CONFIG_TUN, which is not set"),
            ("CONFIG_LSM=yama\n", None, LSM, "skip: needs bpf in CONFIG_LSM, which is yama"),
            (
                "CONFIG_TUN=m\n",
                Some(&["loop"][..]),
                TUN,
                "skip: needs module tun (CONFIG_TUN=m), which is not at hand",
            ),
            ("CONFIG_LINK=n\n", None, LINK, "skip: needs CONFIG_LINK, which is not set"),
            ("", None, LINK, "skip: needs CONFIG_LINK, without which there is no type bpf_nf_link"),
            ("CONFIG_LINK=y\n", None, LINK, "fail: CONFIG_LINK is y, and the kernel has no type bpf_nf_link"),
        ] {
            let verdict = told(config, modules, &[]).before(&[wanted]).expect(reason);
            assert_eq!(text(verdict), reason);
        }
    }

    #[test]
    fn where_nobody_knows_what_happens_decides() {
        let nothing = Kconfig::default();
        assert_eq!(nothing.before(&[TUN, LSM, LINK]), None, "types that could not be read are not missing");
        assert_eq!(
            text(not_supported(&nothing, &[TUN])),
            "skip: no tun; needs CONFIG_TUN, and the kernel's config is not known"
        );
        let kconfig = told("CONFIG_TUN=m\n", None, &[]);
        assert_eq!(kconfig.before(&[TUN]), None);
        assert_eq!(text(not_supported(&kconfig, &[TUN])), "skip: no tun; needs the modules of CONFIG_TUN");
        // A test that needs nothing that can be missing.
        assert!(text(not_supported(&nothing, &[])).starts_with("fail: no tun"));
    }

    #[test]
    fn a_configuration_that_the_kernel_kept_is_whole() {
        let kconfig = Kconfig::of_file("#\n# CONFIG_A is not set\nCONFIG_LSM=\"yama,bpf\"\nCONFIG_TUN=m\n");
        assert_eq!(kconfig.value("CONFIG_LSM"), Some("yama,bpf"));
        assert_eq!(kconfig.value("CONFIG_A"), Some("n"));
        assert!(!kconfig.is_told());
        assert!(Kconfig::told("TUN=y").is_err_and(|err| err.contains("\"TUN=y\"")));
    }

    #[test]
    fn a_place_that_is_not_mounted_is_a_failure_in_a_guest_of_kvets_only() {
        let place = || NotRun::Unmounted("/sys/kernel/tracing".into());
        let kconfig = told("CONFIG_TUN=y\n", None, &[]);
        assert!(text(kconfig.after(&[TUN], place())).starts_with("fail: /sys/kernel/tracing is not mounted"));
        assert_eq!(
            text(Kconfig::default().after(&[TUN], place())),
            "skip: needs /sys/kernel/tracing mounted"
        );
    }
}
