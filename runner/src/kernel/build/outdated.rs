//! What a build folder has to compile again, out of kbuild's notes: kbuild's own dry run takes as long as a small build.

use std::collections::HashMap;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cancel::Cancel;
use crate::error::{IoContext, Result};

/// Has every file below a folder looked at: its own folder, its name, its entry. Links are not followed.
///
/// # Errors
/// The host's: the folder cannot be read. Interrupted. What `each` says.
pub(super) fn each_file(
    top: &Path,
    cancel: &Cancel,
    each: &mut dyn FnMut(&Path, &str, &DirEntry) -> Result<()>,
) -> Result<()> {
    let mut open = vec![top.to_path_buf()];
    while let Some(dir) = open.pop() {
        cancel.check()?;
        let action = || format!("read {}", dir.display());
        for entry in fs::read_dir(&dir).host(action())? {
            let entry = entry.host(action())?;
            if entry.file_type().host(action())?.is_dir() {
                open.push(entry.path());
            } else {
                each(&dir, &entry.file_name().to_string_lossy(), &entry)?;
            }
        }
    }
    Ok(())
}

/// The file whose making a note of kbuild's is about: `x.o` of `.x.o.cmd`.
pub(super) fn noted(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(".cmd")
}

/// How many of the kernel's objects in a folder are older than something that they were made of, or are gone. What was never
/// compiled there is not counted, nor what only another compiler flag makes anew.
///
/// # Errors
/// The host's: the folder cannot be read. Interrupted.
pub(super) fn count(out: &Path, cancel: &Cancel) -> Result<u64> {
    let mut times = Times { out, known: HashMap::new() };
    let mut outdated = 0;
    each_file(out, cancel, &mut |dir, name, entry| {
        if let Some(object) = noted(name).filter(|object| object.ends_with(".o")) {
            let note = fs::read(entry.path()).host(format_args!("read {}", dir.display()))?;
            let made = modified(&dir.join(object));
            outdated += u64::from(is_outdated(&String::from_utf8_lossy(&note), made, &mut times));
        }
        Ok(())
    })?;
    Ok(outdated)
}

/// A note is what scripts/basic/fixdep.c writes: the command, then a line `source_…` for what is compiled, then what that
/// includes, a line each.
fn is_outdated(note: &str, made: Option<SystemTime>, times: &mut Times<'_>) -> bool {
    let mut lines = note.lines();
    // Programs of the build itself are compiled without this.
    if !lines.next().is_some_and(|command| command.contains("-D__KERNEL__")) {
        return false;
    }
    let Some(source) = lines.find_map(|line| line.strip_prefix("source_")?.split_once(" := ")) else {
        return false;
    };
    let Some(made) = made else { return true };
    let included = lines.filter_map(|line| line.strip_prefix("  ")).filter(|name| !name.starts_with(' '));
    let included = included.map(|name| name.trim_end_matches(['\\', ' ']));
    std::iter::once(source.1).chain(included).any(|name| times.of(name).is_none_or(|time| time > made))
}

/// When files were changed last. Most are included a thousand times.
struct Times<'a> {
    /// What paths are relative to.
    out: &'a Path,
    known: HashMap<PathBuf, Option<SystemTime>>,
}

impl Times<'_> {
    fn of(&mut self, name: &str) -> Option<SystemTime> {
        if let Some(time) = self.known.get(Path::new(name)) {
            return *time;
        }
        let time = modified(&self.out.join(name));
        self.known.insert(name.into(), time);
        time
    }
}

pub(super) fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A folder with three objects of the kernel, two of which include `b.h`, and one of a program of the build.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, age: u64| touch(&dir.path().join(name), age);
        for (name, header, flag) in [
            ("k/one.o", "a.h", "-D__KERNEL__"),
            ("k/two.o", "b.h", "-D__KERNEL__"),
            ("k/three.o", "b.h", "-D__KERNEL__"),
            ("scripts/tool.o", "b.h", "-O2"),
        ] {
            at(name, 50);
            at(&name.replace(".o", ".c"), 100);
            let (folder, file) = name.split_once('/').unwrap();
            let source = dir.path().join(name.replace(".o", ".c"));
            let note = format!(
                "savedcmd_{name} := gcc {flag} -c -o {name} {source}\n\nsource_{name} := {source}\n\n\
                 deps_{name} := \\\n    $(wildcard include/config/SMP) \\\n  include/{header} \\\n\n\
                 {name}: $(deps_{name})\n\n$(deps_{name}):\n",
                source = source.display(),
            );
            fs::write(dir.path().join(format!("{folder}/.{file}.cmd")), note).unwrap();
        }
        at("include/a.h", 100);
        at("include/b.h", 100);
        // What is only linked.
        fs::write(dir.path().join("k/.built-in.o.cmd"), "savedcmd_k/built-in.o := ld -r -D__KERNEL__\n")
            .unwrap();
        dir
    }

    fn touch(path: &Path, age: u64) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }

    #[test]
    fn what_is_older_than_its_source_or_a_header_is_counted() {
        let dir = folder();
        let cancel = Cancel::new().unwrap();
        let count = || count(dir.path(), &cancel).unwrap();
        assert_eq!(count(), 0);
        touch(&dir.path().join("k/one.c"), 10);
        assert_eq!(count(), 1);
        touch(&dir.path().join("include/b.h"), 10);
        assert_eq!(count(), 3);
        touch(&dir.path().join("k/two.o"), 5);
        assert_eq!(count(), 2);
        fs::remove_file(dir.path().join("k/two.o")).unwrap();
        assert_eq!(count(), 3, "what is gone is made again");
        fs::remove_file(dir.path().join("include/a.h")).unwrap();
        touch(&dir.path().join("k/one.o"), 0);
        assert_eq!(count(), 3, "so is what lacks a header");
    }
}
