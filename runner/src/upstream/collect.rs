//! What of a build goes to the guest: test_progs, the objects and files that tests open, and a list of the tests.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};

use super::rounds::Finished;
use super::select::SELFTESTS;
use super::{PROGRAM, mark, place};

/// The folder for the guest, in the entry.
pub(super) const SHARE: &str = "share";
/// What is known of it, in the entry.
const KNOWN: &str = "collected.json";

/// What is known of a result.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Collected {
    /// The names of the tests.
    pub tests: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Copies a result out of the workshop's tree.
///
/// # Errors
/// The host's: no space. The kernel's: something that was built is not there.
pub(super) fn collect(finished: &Finished, tree: &Path, libraries: &[PathBuf], into: &Path) -> Result<()> {
    let (from, share) = (tree.join(SELFTESTS), into.join(SHARE));
    fs::create_dir_all(&share).host(format!("make {}", share.display()))?;
    place::place(&from.join(PROGRAM), &share.join(PROGRAM))?;
    for library in libraries {
        let name = library.file_name().unwrap_or_default();
        place::place(library, &share.join("lib").join(name))?;
    }
    for program in &finished.selection.programs {
        let object = format!("{program}.bpf.o");
        if from.join(&object).is_file() {
            place::place(&from.join(&object), &share.join(&object))?;
        }
    }
    for extra in &finished.selection.extras {
        for file in expand(extra, &from)? {
            place::place(&from.join(&file), &share.join(&file))?;
        }
    }
    if finished.selection.runs_bpftool {
        place::place(&from.join("tools/sbin/bpftool"), &share.join("tools/sbin/bpftool"))?;
    }
    let mut notes = notes(finished);
    if !mark::are_in(&share.join(PROGRAM))? {
        notes.push(
            "this test_progs does not say which test begins: a crash is blamed on what had no result yet"
                .into(),
        );
    }
    let collected = Collected { tests: tests(&from)?, notes };
    let path = into.join(KNOWN);
    let text = serde_json::to_vec_pretty(&collected)
        .map_err(|e| Error::host(format!("cannot describe {}", path.display())).because(e))?;
    fs::write(&path, text).host(format!("write {}", path.display()))
}

/// Reads what is known of a result.
///
/// # Errors
/// The host's: the cache entry is damaged.
pub(super) fn read(entry: &Path) -> Result<Collected> {
    let path = entry.join(KNOWN);
    let bytes = fs::read(&path).host(format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::host(format!("{} is damaged", path.display())).because(e))
}

/// The files behind one of make's words: `$(OUTPUT)/sign-file`, `$(wildcard progs/x_*.c)`, `ima_setup.sh`.
fn expand(word: &str, from: &Path) -> Result<Vec<String>> {
    let Some(patterns) = word.strip_prefix("$(wildcard ").and_then(|rest| rest.strip_suffix(')')) else {
        return Ok(vec![word.strip_prefix("$(OUTPUT)/").unwrap_or(word).to_owned()]);
    };
    let mut files = Vec::new();
    for pattern in patterns.split_whitespace() {
        let (dir, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
        let (start, end) = name.split_once('*').unwrap_or((name, ""));
        for entry in fs::read_dir(from.join(dir)).host(format!("read {dir} of the selftests"))? {
            let file = entry.host(format!("read {dir} of the selftests"))?.file_name();
            let file = file.to_string_lossy();
            if file.starts_with(start) && file.ends_with(end) {
                files.push(format!("{dir}/{file}"));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The names in the list that the Makefile makes of the tests.
fn tests(from: &Path) -> Result<Vec<String>> {
    let path = from.join("prog_tests/tests.h");
    let text = fs::read_to_string(&path).host(format!("read {}", path.display()))?;
    let name = |line: &str| Some(line.strip_prefix("DEFINE_TEST(")?.strip_suffix(')')?.to_owned());
    let tests: Vec<String> = text.lines().filter_map(name).collect();
    match tests.is_empty() {
        true => Err(Error::kernel(format!("{} names no test", path.display()))),
        false => Ok(tests),
    }
}

fn notes(finished: &Finished) -> Vec<String> {
    let (tests, programs): (Vec<&str>, Vec<&str>) =
        finished.broken.iter().map(String::as_str).partition(|name| name.ends_with(".test"));
    let mut notes = Vec::new();
    if !programs.is_empty() {
        let count = programs.len();
        notes.push(format!(
            "{count} programs do not compile and were left out, with the tests that use them: {}",
            programs.join(", ")
        ));
    }
    if !tests.is_empty() {
        let names: Vec<&str> = tests.iter().map(|name| name.trim_end_matches(".test")).collect();
        notes.push(format!("{} tests do not compile and were left out: {}", names.len(), names.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::select::Selection;

    #[test]
    fn what_tests_open_goes_along_and_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("tree").join(SELFTESTS);
        for (name, text) in [
            ("test_progs", "program"),
            ("a.bpf.o", "object"),
            ("unused.bpf.o", "object"),
            ("sign-file", "signs"),
            ("progs/dump_x.c", "x"),
            ("progs/dump_y.c", "y"),
            ("prog_tests/tests.h", "/* Generated */\nDEFINE_TEST(dynptr)\nDEFINE_TEST(ns_x)\n"),
        ] {
            let path = from.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let selection = Selection {
            programs: ["a", "b"].map(String::from).into(),
            extras: ["$(OUTPUT)/sign-file", "$(wildcard progs/dump_*.c)"].map(String::from).into(),
            ..Selection::default()
        };
        let broken = ["b", "c.test"].map(String::from).into();
        let into = dir.path().join("entry");
        let library = dir.path().join("libc.so.6");
        fs::write(&library, "C").unwrap();
        let finished = Finished { steps: 1, broken, selection };
        collect(&finished, &dir.path().join("tree"), &[library], &into).unwrap();
        for name in
            ["lib/libc.so.6", "test_progs", "a.bpf.o", "sign-file", "progs/dump_x.c", "progs/dump_y.c"]
        {
            assert!(into.join(SHARE).join(name).is_file(), "{name}");
        }
        assert!(!into.join(SHARE).join("unused.bpf.o").exists());
        let known = read(&into).unwrap();
        assert_eq!(known.tests, ["dynptr", "ns_x"]);
        assert!(known.notes[0].contains("1 programs") && known.notes[1].contains(": c"), "{:?}", known.notes);
    }
}
