//! `selftests/upstream/slices.yaml`: which tests make a slice, and how they are built.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::kernel::{KernelVersion, Series};
use crate::spec::{self, home::Home};

/// The name that stands for every test there is.
pub const ALL: &str = "all";

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The slices that are built without `--slice`.
    pub default: Vec<String>,
    /// The slices, by name.
    pub slices: BTreeMap<String, SliceSpec>,
    /// What is copied of a source tree besides tests and programs: folders and files, relative to its top.
    pub copy: Vec<String>,
    /// Variables for make; `{…}` in a value is replaced.
    pub make: BTreeMap<String, String>,
    /// What the guest's programs are compiled and linked against.
    pub sysroot: SysrootSpec,
    /// Files of the sysroot that go to the guest; `{loader}` is replaced.
    pub libraries: Vec<String>,
    /// The compiler of BPF programs.
    pub clang: ClangSpec,
}

/// A slice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceSpec {
    /// One line for people.
    pub title: String,
    /// Its tests.
    pub tests: Vec<TestSpec>,
}

/// A test of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    /// A file in `prog_tests/`, without `.c`.
    pub name: String,
    /// The first release known to have it.
    pub since: Series,
}

/// Headers and libraries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SysrootSpec {
    /// Packages; what they depend on comes along.
    pub packages: Vec<String>,
    /// Packages that are done without, whoever depends on them.
    pub left_out: Vec<String>,
}

/// Which clang will do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClangSpec {
    /// The oldest major version that compiles the selftests.
    pub oldest: u32,
    /// The newest one that is looked for by name, `clang-22`.
    pub newest: u32,
    /// The package to install where there is none.
    pub package: String,
}

/// What to build: a choice among the tests of any source.
#[derive(Debug, Clone)]
pub struct Slices {
    /// The names, sorted, for people and for the cache: `dynptr skb_meta`.
    pub names: Vec<String>,
    wanted: Vec<TestSpec>,
    globs: Option<(GlobSet, Vec<String>)>,
    all: bool,
}

impl Manifest {
    /// Reads it.
    ///
    /// # Errors
    /// The caller's: the file is not what it should be.
    pub fn load(home: &Home) -> Result<Self> {
        let path = home.selftests().join("upstream/slices.yaml");
        let manifest: Self = spec::load(&path)?;
        match manifest.default.iter().find(|name| !manifest.slices.contains_key(*name)) {
            Some(name) => {
                Err(Error::caller(format!("{}: default names '{name}', which is no slice", path.display())))
            }
            None => Ok(manifest),
        }
    }

    /// Understands `--slice`: names of slices, `NAME=GLOB,…` for one of the caller's, or `all`.
    ///
    /// # Errors
    /// The caller's: an unknown name (the known ones are listed), or no glob.
    pub fn choose(&self, typed: &[String]) -> Result<Slices> {
        let typed = if typed.is_empty() { &self.default } else { typed };
        let mut slices = Slices { names: Vec::new(), wanted: Vec::new(), globs: None, all: false };
        let (mut names, mut globs) = (BTreeSet::new(), Vec::new());
        for text in typed {
            match text.split_once('=') {
                Some((name, list)) => globs.extend(self.own(name, list)?),
                None if text == ALL => slices.all = true,
                None => slices.wanted.extend(self.known(text)?.tests.iter().cloned()),
            }
            names.insert(text.clone());
        }
        slices.names = names.into_iter().collect();
        slices.globs = (!globs.is_empty()).then(|| compile(&globs).map(|set| (set, globs))).transpose()?;
        Ok(slices)
    }

    fn known(&self, name: &str) -> Result<&SliceSpec> {
        self.slices.get(name).ok_or_else(|| {
            let known = self.slices.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Error::caller(format!("--slice {name}: unknown slice; known: {known}, {ALL}"))
                .hint("NAME=GLOB,… makes a slice of your own from files in prog_tests/")
        })
    }

    /// The globs of a slice of the caller's.
    fn own(&self, name: &str, list: &str) -> Result<Vec<String>> {
        if name == ALL || self.slices.contains_key(name) {
            return Err(Error::caller(format!(
                "--slice {name}={list}: '{name}' is one of kvet's own slices"
            ))
            .hint("take another name"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Error::caller(format!(
                "--slice {name}={list}: a name may have letters, digits, '-' and '_' only"
            )));
        }
        let globs: Vec<String> = list.split(',').map(|glob| glob.trim().to_owned()).collect();
        match globs.iter().any(String::is_empty) {
            true => Err(Error::caller(format!("--slice {name}={list}: a glob is empty"))),
            false => Ok(globs),
        }
    }
}

fn compile(globs: &[String]) -> Result<GlobSet> {
    let wrong = |text: &str, e: &globset::Error| {
        Error::caller(format!("--slice: '{text}' is no glob: {}", e.kind()))
            .hint("a glob has * ? [abc] {one,two}")
    };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(Glob::new(glob).map_err(|e| wrong(glob, &e))?);
    }
    set.build().map_err(|e| wrong(&globs.join(","), &e))
}

impl Slices {
    /// Whether programs that do not compile are left out instead of being an error.
    pub fn tolerant(&self) -> bool {
        self.all
    }

    /// Those of a source's tests that are chosen, and notes: what it lacks because it is older, and globs that match none.
    ///
    /// # Errors
    /// The kernel's: a test that this release should have is not there. The caller's: the globs, or everything together,
    /// match nothing.
    pub fn select(
        &self,
        there: &BTreeSet<String>,
        version: KernelVersion,
    ) -> Result<(BTreeSet<String>, Vec<String>)> {
        let mut chosen: BTreeSet<String> = if self.all { there.clone() } else { BTreeSet::new() };
        let mut older = Vec::new();
        for TestSpec { name, since: Series(major, minor) } in &self.wanted {
            if there.contains(name) {
                chosen.insert(name.clone());
            } else if version.series() >= (*major, *minor) {
                return Err(Error::kernel(format!(
                    "prog_tests/{name}.c is not among the selftests of {version}, and has been since {major}.{minor}"
                )));
            } else if !older.contains(name) {
                older.push(name.clone());
            }
        }
        let mut notes = Vec::new();
        if !older.is_empty() {
            notes.push(format!("the selftests of {version} do not have {} yet", older.join(", ")));
        }
        if let Some((set, globs)) = &self.globs {
            let mut unmatched: BTreeSet<usize> = (0..globs.len()).collect();
            for name in there {
                let matches = set.matches(name.as_str());
                if !matches.is_empty() {
                    chosen.insert(name.clone());
                }
                unmatched.retain(|glob| !matches.contains(glob));
            }
            if unmatched.len() == globs.len() {
                return Err(Error::caller(format!(
                    "no file in prog_tests/ of {version} matches --slice {}",
                    globs.join(",")
                ))
                .hint("a glob is matched with the names of the files, without .c"));
            }
            let none = |glob: usize| format!("no file in prog_tests/ of {version} matches '{}'", globs[glob]);
            notes.extend(unmatched.into_iter().map(none));
        }
        if chosen.is_empty() {
            let names = self.names.join(", ");
            return Err(Error::caller(format!("the selftests of {version} have none of the slices {names}")));
        }
        Ok((chosen, notes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../selftests/upstream/slices.yaml");

    fn manifest() -> Manifest {
        spec::parse(SHIPPED).unwrap()
    }

    fn choose(typed: &[&str]) -> Result<Slices> {
        manifest().choose(&typed.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_file_we_ship_is_right_and_typos_are_not() {
        let manifest = manifest();
        assert!(manifest.default.iter().all(|name| manifest.slices.contains_key(name)));
        let e = spec::parse::<Manifest>(&SHIPPED.replace("oldest:", "oldst:")).unwrap_err().to_string();
        assert!(e.contains("oldst") && e.contains("line"), "{e}");
    }

    #[test]
    fn slices_are_chosen_by_name_and_made_of_globs() {
        let there = names(&["dynptr", "xdp_context_test_run", "ringbuf", "ringbuf_multi", "timer"]);
        let version = KernelVersion::new(6, 1, 0);
        let chosen = choose(&["dynptr", "file", "mine=ringbuf*,tmer"]).unwrap();
        let (chosen, notes) = chosen.select(&there, version).unwrap();
        assert_eq!(chosen, names(&["dynptr", "ringbuf", "ringbuf_multi"]));
        let expected = [
            "the selftests of 6.1 do not have file_reader yet",
            "no file in prog_tests/ of 6.1 matches 'tmer'",
        ];
        assert_eq!(notes, expected);
        let all = choose(&["all"]).unwrap();
        assert!(all.tolerant());
        assert_eq!(all.select(&there, version).unwrap().0, there);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let e = choose(&["dynprt"]).unwrap_err().to_string();
        assert!(e.contains("'dynprt'") || e.contains("dynprt:"), "{e}");
        assert!(e.contains("skb_meta") && e.contains("all"), "{e}");
        for wrong in ["dynptr=x", "=x", "a b=x", "mine=", "mine=a,,b", "mine=a[", "all=x"] {
            assert_eq!(choose(&[wrong]).unwrap_err().fault(), crate::error::Fault::Caller, "{wrong}");
        }
        let none = choose(&["mine=zzz*"]).unwrap().select(&names(&["dynptr"]), KernelVersion::new(7, 2, 0));
        assert!(none.unwrap_err().to_string().contains("zzz*"));
    }

    #[test]
    fn a_test_that_should_be_there_is_the_kernels_fault() {
        let e =
            choose(&["file"]).unwrap().select(&names(&["dynptr"]), KernelVersion::new(7, 2, 1)).unwrap_err();
        assert_eq!(e.fault(), crate::error::Fault::Kernel);
        assert!(e.to_string().contains("file_reader.c") && e.to_string().contains("6.19"), "{e}");
    }
}
