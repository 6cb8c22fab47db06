//! Marks: test_progs writes the name of each test and subtest into the kernel's log before it starts.
//!
//! `selftests/upstream/mark.c` does it. It is linked in from the side: the linker leads the calls there, and no file of the
//! release is changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, IoContext, Result};
use kvet_host::process::with_clean_env;

/// The code.
pub(super) const SOURCE: &str = include_str!("../../../selftests/upstream/mark.c");
/// The functions by which test_progs begins a subtest; the second since 7.2.
const SUBTESTS: [&str; 2] = ["test__start_subtest", "test__start_subtest_with_desc"];
/// The folder in a workshop.
const FOLDER: &str = "marks";
/// The longest line of a C file that may begin a test, in bytes; what is longer is none.
const MAX_LINE: usize = 256;

/// What is linked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// Words for the linker, before all libraries.
    pub link: String,
    /// Whether it differs from what was linked the last time.
    pub changed: bool,
}

/// Compiles the marks of some tests, the files in `prog_tests/`. `compiler` is make's `CC`, `archiver` the `ar` beside it.
///
/// # Errors
/// The host's: it does not compile, files cannot be written. The caller's: a test cannot be read.
pub(super) fn ensure(shop: &Path, tests: &[&PathBuf], compiler: &str, archiver: &str) -> Result<Marks> {
    let dir = shop.join(FOLDER);
    fs::create_dir_all(&dir).host(format!("make {}", dir.display()))?;
    let mut functions = BTreeSet::new();
    for test in tests {
        let text = fs::read(test).given(format!("read {}", test.display()))?;
        functions.extend(tests_in(&String::from_utf8_lossy(&text)));
    }
    let lines = functions.iter().map(|test| format!("TEST({}, {})\n", test.function, test.name));
    let wrapped = SUBTESTS.iter().copied().chain(functions.iter().map(|test| test.function.as_str()));
    let options: String = wrapped.map(|function| format!("--wrap={function}\n")).collect();
    let (archive, list) = (dir.join("libkvet_mark.a"), dir.join("wrapped"));
    let mut changed = !archive.is_file();
    for (path, text) in [
        (dir.join("mark.c"), SOURCE.to_owned()),
        (dir.join("kvet_tests.h"), lines.collect()),
        (list.clone(), options),
    ] {
        changed |= write(&path, &text)?;
    }
    if changed {
        // The archive comes last: if anything goes wrong, the next time begins anew.
        let _ = fs::remove_file(&archive);
        let mut words = compiler.split_whitespace();
        let mut compile = Command::new(words.next().unwrap_or_default());
        compile.args(words).args(["-O2", "-Wall", "-Werror", "-c", "mark.c", "-o", "mark.o"]);
        run(compile.current_dir(&dir))?;
        run(Command::new(archiver).args(["rcs", "libkvet_mark.a", "mark.o"]).current_dir(&dir))?;
    }
    Ok(Marks { link: format!("-Wl,@{} {}", list.display(), archive.display()), changed })
}

/// Whether a built test_progs has the marks.
///
/// # Errors
/// The host's: it cannot be read.
pub(super) fn are_in(program: &Path) -> Result<bool> {
    let bytes = fs::read(program).host(format!("read {}", program.display()))?;
    Ok(memchr::memmem::find(&bytes, kvet_wire::RUN_MARK.as_bytes()).is_some())
}

/// A test and the function that runs it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    function: String,
    name: String,
}

/// The tests of a C file: functions `test_NAME` and `serial_test_NAME` that take and give nothing, from the start of a line,
/// as the selftests' own Makefile finds them.
fn tests_in(text: &str) -> Vec<Test> {
    let found = |line: &str| {
        let (function, rest) = line.strip_prefix("void ")?.split_once('(')?;
        let name = function.strip_prefix("serial_").unwrap_or(function).strip_prefix("test_")?;
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let nothing = rest.starts_with(')') || rest.starts_with("void)");
        (plain && nothing).then(|| Test { function: function.to_owned(), name: name.to_owned() })
    };
    text.lines().filter(|line| line.len() <= MAX_LINE).filter_map(found).collect()
}

/// The names of the tests of a C file.
pub(super) fn names_in(text: &str) -> impl Iterator<Item = String> {
    tests_in(text).into_iter().map(|test| test.name)
}

/// Writes a file, unless the same is there already. Gives whether it was not.
fn write(path: &Path, text: &str) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    fs::write(path, text).host(format!("write {}", path.display()))?;
    Ok(true)
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = with_clean_env(command).output().host(format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| line.contains("error")).or(said.lines().next()).unwrap_or_default();
    Err(Error::host(format!("{program} cannot make the marks of tests: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_as_the_makefile_finds_them() {
        let text = "void test_a(void)\n{\n}\nvoid serial_test_b()\nvoid test_ns_c(void) {\nstatic void test_no(void)\n\
                    void test_not(int x)\n\tvoid test_inner(void)\nvoid test_(void)\nvoid other(void)\n";
        let found = tests_in(text);
        let found: Vec<_> = found.iter().map(|test| (test.function.as_str(), test.name.as_str())).collect();
        assert_eq!(found, [("test_a", "a"), ("serial_test_b", "b"), ("test_ns_c", "ns_c")]);
    }

    /// A program like test_progs, and another one that is linked with the same libraries.
    const PROGRAM: &str = "#include <stdbool.h>\n#include <stdio.h>\n\
        extern void test_one(void) __attribute__((weak)), serial_test_one(void) __attribute__((weak));\n\
        extern void test_two(void) __attribute__((weak)), serial_test_two(void) __attribute__((weak));\n\
        bool test__start_subtest(const char *name) { return name[0] != 'n'; }\n\
        int main(void) { if (serial_test_one || test_two) return 9; test_one(); serial_test_two(); return 0; }\n";
    const TESTS: &str = "#include <stdbool.h>\n#include <stdio.h>\nbool test__start_subtest(const char *name);\n\
        void test_one(void)\n{\n\tprintf(\"%d%d\", test__start_subtest(\"x\"), test__start_subtest(\"no\"));\n}\n\
        void serial_test_two(void)\n{\n\tprintf(\"two\");\n}\n";

    #[test]
    fn they_are_linked_into_test_progs_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (program, tests) = (file("program.c", PROGRAM), file("tests.c", TESTS));
        let other = file("other.c", "int main(void) { return 0; }\n");
        let marks = ensure(dir.path(), &[&tests], "gcc", "ar").unwrap();
        assert!(marks.changed);
        assert!(!ensure(dir.path(), &[&tests], "gcc", "ar").unwrap().changed);
        let link = |sources: &[&Path], to: &str| {
            let mut gcc = Command::new("gcc");
            gcc.args(sources).args(marks.link.split(' ')).arg("-o").arg(dir.path().join(to));
            let output = gcc.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            dir.path().join(to)
        };
        let linked = link(&[&program, &tests], "test_progs");
        assert!(are_in(&linked).unwrap());
        assert!(!are_in(&link(&[&other], "other")).unwrap());
        let output = Command::new(&linked).output().unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(0), b"10two".to_vec()));
        let names = Command::new("nm").arg(&linked).output().unwrap();
        assert!(String::from_utf8_lossy(&names.stdout).contains("__wrap_serial_test_two"));
        // A further test.
        fs::write(&tests, format!("{TESTS}void test_three(void)\n{{\n}}\n")).unwrap();
        assert!(ensure(dir.path(), &[&tests], "gcc", "ar").unwrap().changed);
    }
}
