//! From the names of some tests to every file of the source tree that building them reads.
//!
//! Nothing is listed per release: skeletons, objects, scripts and headers are found in what the sources say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};

use super::makefile::Makefile;
use super::mark;
use super::scan::{Scanned, scan};

/// Where the BPF selftests are in a source tree.
pub(super) const SELFTESTS: &str = "tools/testing/selftests/bpf";
/// Largest file that is copied or read, in bytes. The largest that is needed has 0.4 MB.
const MAX_FILE: u64 = 16 << 20;
/// Most files of a selection. A slice has some 2,000, everything some 4,000.
const MAX_FILES: usize = 50_000;
/// Folders of the selftests that test_progs is not made from.
const APART: [&str; 5] = ["test_kmods", "bpf_testmod", "benchs", "map_tests", "verifier"];

/// What is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Files in `prog_tests/`, without `.c`.
    pub tests: BTreeSet<String>,
    /// Files in `progs/`, without `.c`.
    pub programs: BTreeSet<String>,
    /// Skeletons that a folder of their own makes: `libarena`.
    pub libraries: BTreeSet<String>,
    /// Files that the tests find beside test_progs, as make's targets: `$(OUTPUT)/sign-file`, `ima_setup.sh`.
    pub extras: Vec<String>,
    /// Variables that cut the Makefile's own lists down to what is there.
    pub variables: BTreeMap<String, String>,
    /// Whether bpftool has to sign light skeletons, or tests run it.
    pub signs: bool,
    pub runs_bpftool: bool,
    /// Every file to copy, relative to the top of the tree, and where it really is.
    pub files: BTreeMap<String, PathBuf>,
    /// Tests that were left out because the source lacks a program of theirs, as `name.test`.
    pub lost: BTreeSet<String>,
}

/// The selftests of a source tree.
pub(super) struct Tree<'a> {
    root: PathBuf,
    makefile: Makefile,
    /// `tools/arch/<this>`.
    srcarch: String,
    cancel: &'a Cancel,
}

impl<'a> Tree<'a> {
    /// Looks at a source tree. `srcarch` is the kernel's name of the architecture's folder.
    ///
    /// # Errors
    /// The caller's: it has no BPF selftests.
    pub fn open(root: &Path, srcarch: &str, cancel: &'a Cancel) -> Result<Self> {
        let root = root.canonicalize().given(format!("find the source tree {}", root.display()))?;
        let path = root.join(SELFTESTS).join("Makefile");
        let text = read_text(&path).map_err(|e| {
            e.context(format_args!("{} has no selftests of BPF", root.display()))
                .hint("a kernel's source tree is needed, with tools/testing/selftests/bpf")
        })?;
        Ok(Self { root, makefile: Makefile::parse(&text), srcarch: srcarch.to_owned(), cancel })
    }

    /// The names of all tests.
    ///
    /// # Errors
    /// The caller's: there are none. The host's: a folder cannot be read.
    pub fn tests(&self) -> Result<BTreeSet<String>> {
        let tests = stems(&self.root.join(SELFTESTS).join("prog_tests"))?;
        match tests.is_empty() {
            true => {
                Err(Error::caller(format!("{} has no tests in {SELFTESTS}/prog_tests", self.root.display())))
            }
            false => Ok(tests),
        }
    }

    /// The names of the tests in some files of `prog_tests/`, sorted. Subtests are only known when they run.
    ///
    /// # Errors
    /// The host's: a file cannot be read.
    pub fn names_in(&self, files: &BTreeSet<String>) -> Result<Vec<String>> {
        let mut names = BTreeSet::new();
        for file in files {
            let path = self.root.join(SELFTESTS).join(format!("prog_tests/{file}.c"));
            names.extend(mark::names_in(&read_text(&path)?));
        }
        Ok(names.into_iter().collect())
    }

    /// Finds everything that building `tests` takes, without the programs in `broken`, and without the tests that use one
    /// of those. `tolerant`: also without tests that name what is not there.
    ///
    /// # Errors
    /// The caller's: something that the sources name is not there. The host's: files cannot be read. Interrupted.
    pub fn select(
        &self,
        tests: &BTreeSet<String>,
        broken: &BTreeSet<String>,
        tolerant: bool,
        copy: &[String],
    ) -> Result<Selection> {
        let bpf = self.root.join(SELFTESTS);
        let progs = stems(&bpf.join("progs"))?;
        let mut selection = Selection::default();
        let (mut strings, mut skeletons) = (BTreeSet::new(), BTreeSet::new());
        let helpers = self.makefile.words("TRUNNER_EXTRA_SOURCES").iter().filter(|word| word.ends_with(".c"));
        let mut shared = Uses::default();
        for helper in helpers {
            self.follow(&bpf.join(helper), &mut shared)?;
        }
        for test in tests {
            self.cancel.check()?;
            let mut uses = Uses::default();
            self.follow(&bpf.join(format!("prog_tests/{test}.c")), &mut uses)?;
            // What the Makefile says besides: `resolve_btfids.test.o: btf_data.bpf.o`.
            uses.strings.extend(self.makefile.needs_of(&format!("{test}.test.o")).iter().cloned());
            let needs = match self.programs(&uses, &progs, test) {
                Err(_) if tolerant => {
                    selection.lost.insert(format!("{test}.test"));
                    continue;
                }
                needs => needs?,
            };
            if needs.union(&uses.skeletons).any(|needed| broken.contains(needed))
                || broken.contains(&format!("{test}.test"))
            {
                continue;
            }
            selection.programs.extend(needs);
            selection.tests.insert(test.clone());
            strings.extend(uses.strings);
            skeletons.extend(uses.skeletons);
        }
        selection.programs.extend(self.programs(&shared, &progs, "the helpers")?);
        strings.extend(shared.strings);
        skeletons.extend(shared.skeletons);
        for extra in self.extras(&strings) {
            let source = extra.strip_prefix("$(OUTPUT)/").map(|name| bpf.join(format!("{name}.c")));
            if let Some(source) = source.filter(|source| source.is_file()) {
                let mut uses = Uses::default();
                self.follow(&source, &mut uses)?;
                selection.programs.extend(self.programs(&uses, &progs, &extra)?);
            }
        }
        self.with_included_programs(&mut selection.programs, &progs)?;
        self.lists(&mut selection, &skeletons, &strings);
        self.files(&mut selection, copy)?;
        Ok(selection)
    }

    /// Reads a file and the headers of the selftests that it includes.
    fn follow(&self, path: &Path, uses: &mut Uses) -> Result<()> {
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            if !uses.seen.insert(path.clone()) {
                continue;
            }
            let Scanned { includes, strings } = scan(&read_text(&path)?);
            uses.strings.extend(strings);
            for include in includes {
                let name = include.rsplit('/').next().unwrap_or_default();
                let kinds = [".lskel.h", ".subskel.h", ".skel.h"];
                if let Some(stem) = kinds.iter().find_map(|kind| name.strip_suffix(kind)) {
                    uses.skeletons.insert(stem.to_owned());
                } else if let Some(file) = self.beside(&path, &include) {
                    open.push(file);
                }
            }
        }
        Ok(())
    }

    /// A header of the selftests, as the compiler would find it; the rest of the tree names no programs.
    fn beside(&self, from: &Path, include: &str) -> Option<PathBuf> {
        let bpf = self.root.join(SELFTESTS);
        let found =
            [from.parent()?.join(include), bpf.join(include)].into_iter().find(|file| file.is_file())?;
        let found = plain(&found)?;
        found.starts_with(&bpf).then_some(found)
    }

    /// The programs behind skeletons and object files.
    fn programs(&self, uses: &Uses, progs: &BTreeSet<String>, who: &str) -> Result<BTreeSet<String>> {
        let mut needs = BTreeSet::new();
        for skeleton in &uses.skeletons {
            let linked = self.makefile.words(&format!("{skeleton}.skel.h-deps"));
            if self.makefile.words("LINKED_SKELS").contains(&format!("{skeleton}.skel.h"))
                && !linked.is_empty()
            {
                needs.extend(
                    linked.iter().filter_map(|object| object.strip_suffix(".bpf.o")).map(str::to_owned),
                );
            } else if progs.contains(skeleton) {
                needs.insert(skeleton.clone());
            } else if !self.is_library(skeleton) {
                return Err(Error::caller(format!(
                    "{who} includes {skeleton}.skel.h, and {}/{SELFTESTS}/progs/{skeleton}.c is not there",
                    self.root.display()
                )));
            }
        }
        let pasted = uses.strings.contains(".bpf.o");
        let composed = uses.strings.iter().any(|text| text.contains("%s.bpf.o"));
        for text in &uses.strings {
            let name = text.rsplit('/').next().unwrap_or_default();
            let stem = [".bpf.o", ".bpf.linked3.o", ".o"].iter().find_map(|end| name.strip_suffix(end));
            // Where names are put together at run time, each that could be one is taken for one.
            // "btf__core_reloc_" #name ".bpf.o": put together by the preprocessor.
            if pasted && text.len() > 4 && text.ends_with('_') {
                needs.extend(progs.iter().filter(|program| program.starts_with(text.as_str())).cloned());
            }
            needs.extend(
                stem.or(composed.then_some(name)).filter(|stem| progs.contains(*stem)).map(str::to_owned),
            );
        }
        Ok(needs)
    }

    /// A skeleton that is made elsewhere: a folder of that name has its own Makefile (libarena).
    fn is_library(&self, skeleton: &str) -> bool {
        let folder = skeleton.split(['_', '.']).next().unwrap_or_default();
        self.root.join(SELFTESTS).join(folder).join("Makefile").is_file()
    }

    /// Programs that consist of others: `#include "test_x.c"`.
    fn with_included_programs(
        &self,
        programs: &mut BTreeSet<String>,
        progs: &BTreeSet<String>,
    ) -> Result<()> {
        let mut open: Vec<String> = programs.iter().cloned().collect();
        while let Some(program) = open.pop() {
            let text = read_text(&self.root.join(SELFTESTS).join(format!("progs/{program}.c")))?;
            for include in scan(&text).includes {
                let stem = include.strip_suffix(".c").filter(|stem| progs.contains(*stem));
                if let Some(stem) = stem.filter(|stem| !programs.contains(*stem)) {
                    programs.insert(stem.to_owned());
                    open.push(stem.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Cuts the Makefile's lists down.
    fn lists(&self, selection: &mut Selection, skeletons: &BTreeSet<String>, strings: &BTreeSet<String>) {
        for list in ["LSKELS", "LSKELS_EXTRA", "LSKELS_SIGNED"] {
            let there = |file: &&String| {
                file.strip_suffix(".c").is_some_and(|stem| selection.programs.contains(stem))
            };
            let left: Vec<String> = self.makefile.words(list).iter().filter(there).cloned().collect();
            selection.signs |= list == "LSKELS_SIGNED" && !left.is_empty();
            selection.variables.insert(list.into(), left.join(" "));
        }
        let complete = |skeleton: &&String| {
            let parts = self.makefile.words(&format!("{skeleton}-deps"));
            parts
                .iter()
                .all(|part| part.strip_suffix(".bpf.o").is_some_and(|p| selection.programs.contains(p)))
        };
        let linked: Vec<String> =
            self.makefile.words("LINKED_SKELS").iter().filter(complete).cloned().collect();
        selection.variables.insert("LINKED_SKELS".into(), linked.join(" "));
        for (variable, skeleton) in [("LIBARENA_SKEL", "libarena"), ("LIBARENA_ASAN_SKEL", "libarena_asan")] {
            if !skeletons.contains(skeleton) {
                selection.variables.insert(variable.into(), String::new());
            }
        }
        selection.libraries = skeletons.iter().filter(|name| self.is_library(name)).cloned().collect();
        selection.extras = self.extras(strings);
        selection.variables.insert("TRUNNER_EXTRA_FILES".into(), selection.extras.join(" "));
        // The helpers ask for it by this path wherever they need it; they are part of every selection.
        let bpftool = |text: &String| text.contains("bpftool ") || text.ends_with("/bpftool");
        selection.runs_bpftool = selection.tests.iter().any(|test| {
            let path = self.root.join(SELFTESTS).join(format!("prog_tests/{test}.c"));
            read_text(&path).is_ok_and(|text| {
                let found = scan(&text);
                found.includes.iter().any(|i| i.ends_with("bpftool_helpers.h"))
                    || found.strings.iter().any(bpftool)
            })
        });
    }

    /// Those of the Makefile's extra files that some string names.
    fn extras(&self, strings: &BTreeSet<String>) -> Vec<String> {
        let named = |file: &str| strings.iter().any(|text| text.rsplit('/').next() == Some(file));
        let mut kept = Vec::new();
        for word in self.makefile.words("TRUNNER_EXTRA_FILES") {
            // $(NAME) of one word stands for that.
            let variable = word.strip_prefix("$(").and_then(|w| w.strip_suffix(')'));
            let word = match variable.map(|name| self.makefile.words(name)) {
                Some([one]) => one,
                _ => word,
            };
            if let Some(patterns) = word.strip_prefix("$(wildcard ") {
                let prefix = |pattern: &str| {
                    let name = pattern.trim_end_matches(')').rsplit('/').next().unwrap_or_default();
                    name.split('*').next().unwrap_or_default().to_owned()
                };
                let begins = |start: &str| strings.iter().any(|text| text.starts_with(start));
                if patterns.split_whitespace().map(prefix).any(|start| !start.is_empty() && begins(&start)) {
                    kept.push(word.to_owned());
                }
            } else if let Some(file) = word.rsplit('/').next()
                && !file.ends_with(".ko")
                && named(file)
            {
                kept.push(word.replace("$(CURDIR)/", ""));
            }
        }
        // A program that is linked with a library of ours needs it.
        if kept.iter().any(|word| word == "$(OUTPUT)/urandom_read") {
            kept.push("$(OUTPUT)/liburandom_read.so".into());
            kept.dedup();
        }
        kept
    }

    /// Everything to copy.
    fn files(&self, selection: &mut Selection, copy: &[String]) -> Result<()> {
        for path in copy {
            let full = self.root.join(path);
            if full.is_dir() {
                self.add_folder(&full, &mut selection.files, &|_| true)?;
            } else if full.is_file() {
                self.add(&full, &mut selection.files)?;
            }
        }
        let bpf = self.root.join(SELFTESTS);
        let (tests, programs) = (selection.tests.clone(), selection.programs.clone());
        let wanted = |path: &Path| {
            let Ok(inside) = path.strip_prefix(&bpf) else { return false };
            let first = inside.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let is_c = path.extension().is_some_and(|extension| extension == "c");
            match first {
                "prog_tests" if is_c => tests.contains(stem),
                "progs" if is_c => programs.contains(stem),
                "prog_tests" | "progs" => path.is_dir() || path.extension().is_some_and(|e| e == "h"),
                _ => !APART.contains(&first),
            }
        };
        self.add_folder(&bpf, &mut selection.files, &wanted)?;
        self.add_included(&mut selection.files)
    }

    /// Files elsewhere in the tree that are included by a relative path.
    fn add_included(&self, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
        let mut open: Vec<PathBuf> = files.keys().map(|path| self.root.join(path)).collect();
        let folders =
            ["tools/include".into(), format!("tools/arch/{}/include", self.srcarch), SELFTESTS.into()];
        while let Some(path) = open.pop() {
            if path.extension().is_none_or(|end| end != "h" && end != "c") {
                continue;
            }
            self.cancel.check()?;
            for include in scan(&read_text(&path)?).includes.iter().filter(|i| i.starts_with("../")) {
                let near = path.parent().map(Path::to_owned).into_iter();
                let places = near.chain(folders.iter().map(|folder| self.root.join(folder)));
                let found =
                    places.filter_map(|place| plain(&place.join(include))).find(|file| file.is_file());
                let Some(found) = found.filter(|file| file.starts_with(&self.root)) else { continue };
                let before = files.len();
                self.add(&found, files)?;
                if files.len() > before {
                    open.push(found);
                }
            }
        }
        Ok(())
    }

    fn add_folder(
        &self,
        dir: &Path,
        files: &mut BTreeMap<String, PathBuf>,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<()> {
        for entry in fs::read_dir(dir).host(format!("read {}", dir.display()))? {
            let entry = entry.host(format!("read {}", dir.display()))?;
            let (path, kind) = (entry.path(), entry.file_type().host(format!("read {}", dir.display()))?);
            if !wanted(&path) || is_output(&path) {
                continue;
            }
            match kind.is_dir() {
                true => self.add_folder(&path, files, wanted)?,
                // What a link leads to is copied in its place, if it is in the tree.
                false => self.add(&path, files)?,
            }
        }
        Ok(())
    }

    fn add(&self, path: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
        let Ok(real) = path.canonicalize() else { return Ok(()) };
        let Some(name) = path.strip_prefix(&self.root).ok().and_then(Path::to_str) else { return Ok(()) };
        if real.starts_with(&self.root) && real.is_file() {
            files.insert(name.to_owned(), real);
        }
        match files.len() > MAX_FILES {
            true => {
                Err(Error::caller(format!("{} has more files than selftests can need", self.root.display())))
            }
            false => Ok(()),
        }
    }
}

/// What a file and its headers name.
#[derive(Debug, Default)]
struct Uses {
    seen: BTreeSet<PathBuf>,
    strings: BTreeSet<String>,
    skeletons: BTreeSet<String>,
}

/// What a build inside the caller's tree leaves behind is no source.
fn is_output(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ends = [".o", ".a", ".so", ".cmd", ".d", ".skel.h", ".lskel.h", ".subskel.h", ".ko", ".rej", ".orig"];
    ends.iter().any(|end| name.ends_with(end))
        || name == ".git"
        || path.ends_with("prog_tests/tests.h")
        || path.ends_with("selftests/bpf/verification_cert.h")
        || path.ends_with("selftests/bpf/tools")
        || name.starts_with("FEATURE-DUMP")
}

/// The names of a folder's C files, without `.c`.
fn stems(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).given(format!("read {}", dir.display()))? {
        let name = entry.host(format!("read {}", dir.display()))?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".c")).map(str::to_owned));
    }
    Ok(names)
}

/// A path without `.` and `..`, by its text.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            part => plain.push(part),
        }
    }
    Some(plain)
}

/// A source file's text; bytes that are no UTF-8 are replaced.
fn read_text(path: &Path) -> Result<String> {
    let action = || format!("read {}", path.display());
    let size = fs::metadata(path).given(action())?.len();
    if size > MAX_FILE {
        return Err(Error::caller(format!(
            "{} has {size} bytes, too many for a source file",
            path.display()
        )));
    }
    Ok(String::from_utf8_lossy(&fs::read(path).given(action())?).into_owned())
}

#[cfg(test)]
#[path = "select/tests.rs"]
mod tests;
