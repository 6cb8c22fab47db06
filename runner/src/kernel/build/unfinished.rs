//! What a build that was killed left half written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cancel::Cancel;
use crate::error::{IoContext, Result};

use super::outdated::{each_file, modified, noted};

/// How long before a build's last sign of life something may have been begun that was not finished.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Removes what a build that was killed may have left half written, and says how many files that were. Kbuild notes how a file was
/// made (`.x.o.cmd`) after the file is complete: one that is younger than its note is not to be trusted, nor is an object without
/// any. A note that is torn itself would stop make for good, or hide what an object depends on: it goes with its object. What
/// the tools' own build makes without notes goes if it was made in the last moments; everything depends on it and would be
/// compiled again.
///
/// # Errors
/// The host's: the folder cannot be read, or a file not be removed. Interrupted.
pub(super) fn remove(out: &Path, log: &Path, cancel: &Cancel) -> Result<u64> {
    let last = modified(log).and_then(|time| time.checked_sub(LAST_MOMENTS));
    let mut removed = 0;
    let tools = out.join("tools");
    each_file(out, cancel, &mut |dir, name, entry| {
        if !entry.file_type().host(format_args!("read {}", dir.display()))?.is_file() {
            return Ok(());
        }
        let doubtful = match noted(name) {
            Some(file) if is_torn(&entry.path())? => vec![entry.path(), dir.join(file)],
            None if is_doubtful(dir, name, &tools, last) => vec![entry.path()],
            _ => Vec::new(),
        };
        for path in doubtful {
            removed += u64::from(remove_file(&path)?);
        }
        Ok(())
    })?;
    Ok(removed)
}

fn is_doubtful(dir: &Path, name: &str, tools: &Path, last: Option<SystemTime>) -> bool {
    // What kbuild links in between has no notes, and is made again every time.
    if name.starts_with(".tmp_vmlinux") || name.ends_with(".cmd") {
        return false;
    }
    let made = modified(&dir.join(name));
    match modified(&dir.join(format!(".{name}.cmd"))) {
        Some(note) => made > Some(note),
        None if dir.starts_with(tools) => {
            let program = !name.contains('.') || name.ends_with(".a");
            program && last.is_some() && made >= last
        }
        None => name.ends_with(".o"),
    }
}

/// Whether a note ends before its end. It is a command, and of what is compiled also, after an empty line, what that was made
/// of (`source_x.o := …`, `deps_x.o := …`) and a rule for these: `$(deps_x.o):` (scripts/basic/fixdep.c).
fn is_torn(note: &Path) -> Result<bool> {
    let text = fs::read(note).host(format_args!("read {}", note.display()))?;
    let text = String::from_utf8_lossy(&text);
    let rule = |line: &str| line.starts_with("$(deps_") && line.ends_with("):");
    let goes_on = text.ends_with("\n\n") || text.contains("\nsource_") || text.contains("\ndeps_");
    Ok(!text.ends_with('\n') || (goes_on && !text.lines().any(rule)))
}

/// Whether it was there.
fn remove_file(path: &PathBuf) -> Result<bool> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        done => done.host(format_args!("remove {}", path.display())).map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = "savedcmd_x.o := gcc\n\nsource_x.o := x.c\n\ndeps_x.o := \\\n  $(wildcard include/config/A) \\\n  a.h \\\n\n\
                        x.o: $(deps_x.o)\n\n$(deps_x.o):\n\nx.o: $(wildcard ./tools/objtool/objtool)\n";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.file("build.log", 1, "x");
            folder
        }

        fn file(&self, name: &str, age: u64, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }

        fn remove(&self) -> u64 {
            remove(self.0.path(), &self.0.path().join("build.log"), &Cancel::new().unwrap()).unwrap()
        }

        fn has(&self, name: &str) -> bool {
            self.0.path().join(name).exists()
        }
    }

    #[test]
    fn half_written_objects_go_and_whole_ones_stay() {
        let folder = Folder::new();
        let at = |name: &str, age: u64| folder.file(name, age, "x\n");
        at("k/whole.o", 20);
        at("k/.whole.o.cmd", 10);
        at("k/half.o", 5);
        at("k/.half.o.cmd", 10);
        at("k/first.o", 5);
        at("k/source.c", 5);
        at("vmlinux", 4);
        at(".vmlinux.cmd", 90);
        at(".tmp_vmlinux1.o", 4);
        at("include/config/auto.conf.cmd", 4);
        at("tools/objtool/libsubcmd.a", 60);
        at("tools/objtool/objtool", 4);
        assert_eq!(folder.remove(), 4);
        assert!(
            folder.has("k/whole.o") && folder.has("k/source.c") && folder.has("tools/objtool/libsubcmd.a")
        );
        assert!(!folder.has("k/half.o") && !folder.has("k/first.o"));
        assert!(!folder.has("vmlinux") && !folder.has("tools/objtool/objtool"));
    }

    #[test]
    fn a_note_that_is_torn_goes_with_its_object() {
        let folder = Folder::new();
        let note = |name: &str, text: &str| {
            folder.file(&format!("{name}.o"), 20, "x");
            folder.file(&format!(".{name}.o.cmd"), 10, text);
        };
        note("whole", NOTE);
        // Wherever it is cut, but behind its command, which may be all, and behind the rule.
        let command = NOTE.find('\n').unwrap() + 1;
        for cut in (0..NOTE.find("):\n").unwrap() + 3).filter(|cut| *cut != command) {
            note(&format!("torn{cut}"), &NOTE[..cut]);
        }
        folder.file("k/.gone.o.cmd", 10, &NOTE[..70]);
        let removed = folder.remove();
        assert!(removed > 100 && removed % 2 == 1, "{removed}: notes and their objects, and one without");
        let left: Vec<_> = fs::read_dir(folder.0.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(folder.has("whole.o") && folder.has(".whole.o.cmd"));
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("torn")), "{left:?}");
    }
}
