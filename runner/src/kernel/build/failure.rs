//! What went wrong in a build: the first error and its lines, out of a log that may go on for thousands more.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Most lines of an error that are shown.
const MAX_LINES: usize = 25;
/// Longest line that is shown, in characters.
const MAX_LINE: usize = 300;

/// Whose trouble a failed build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The source does not compile or link.
    Source(Vec<String>),
    /// The machine gave up: the disk is full, memory ran out.
    Host(Trouble),
}

/// What a build could not go on for, though its source may be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub why: String,
    /// What helps, with a `; ` behind it.
    pub remedy: &'static str,
}

impl Trouble {
    /// Of a make that was ended by a signal, nothing says whose fault it is: none, if it ended by itself.
    pub(crate) fn of(status: ExitStatus) -> Option<Self> {
        status.signal().map(|signal| Self { why: format!("make was ended by signal {signal}"), remedy: "" })
    }
}

const ROOM: &str = "`kvet kernel prune` makes room, KVET_CACHE moves the cache to another disk; ";
const MEMORY: &str = "a smaller `--jobs` needs less memory; ";

/// What tools say of it; why; and what helps.
const TROUBLES: &[(&str, &str, &str)] = &[
    ("No space left on device", "no space left on the disk", ROOM),
    ("Disk quota exceeded", "the disk quota is exceeded", ROOM),
    ("error: unable to make temporary file", "no temporary file can be made", ROOM),
    ("Killed signal terminated program", "a compiler was killed: memory ran out", MEMORY),
    ("unable to execute command: Killed", "a compiler was killed: memory ran out", MEMORY),
    ("terminated with signal 9 [Killed]", "the linker was killed: memory ran out", MEMORY),
    // What a shell says of a program that was ended by SIGKILL, and make of one that it started itself.
    ("] Error 137", "a program was killed: memory ran out", MEMORY),
    ("] Killed", "a program was killed: memory ran out", MEMORY),
    ("virtual memory exhausted", "memory ran out", MEMORY),
    ("Cannot allocate memory", "memory ran out", MEMORY),
    ("] Terminated", "a program was ended by a signal", ""),
    ("] Error 143", "a program was ended by a signal", ""),
];

/// The trouble that a line of make's or of its compilers' tells.
pub(crate) fn trouble(line: &str) -> Option<Trouble> {
    // `   53 |   { "No space left on device", …`: a compiler shows source, which may say anything.
    let behind_number = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
    if behind_number.trim_start().starts_with('|') {
        return None;
    }
    let (_, why, remedy) = TROUBLES.iter().find(|(needle, ..)| line.contains(needle))?;
    Some(Trouble { why: (*why).to_owned(), remedy })
}

/// Finds the reason in the lines of a log.
pub(super) fn diagnose<'a>(log: impl Iterator<Item = &'a str> + Clone) -> Failure {
    if let Some(trouble) = log.clone().find_map(trouble) {
        return Failure::Host(trouble);
    }
    let lines: Vec<&str> = log.collect();
    let Some(first) = lines.iter().position(|line| is_error(line)) else {
        let end = lines.iter().position(|line| is_make_error(line)).unwrap_or(lines.len());
        let start = end.saturating_sub(10);
        return Failure::Source(lines[start..lines.len().min(end + 1)].iter().map(|l| shorten(l)).collect());
    };
    // `In file included from`, `In function`: what leads there.
    let lead = lines[..first].iter().rev().take_while(|l| leads(l)).count().min(8);
    let rest = lines[first + 1..].iter().take_while(|l| !is_step(l) && !is_make(l));
    // Make stops other compilers' output in the middle of ours only at lines of its own.
    let shown = lines[first - lead..=first].iter().chain(rest).take(MAX_LINES);
    Failure::Source(shown.map(|l| shorten(l)).collect())
}

/// The line that says what is wrong, of the lines that [`diagnose`] found.
pub(super) fn headline(lines: &[String]) -> &str {
    lines
        .iter()
        .find(|line| is_error(line))
        .or_else(|| lines.iter().find(|line| is_make_error(line)))
        .or(lines.last())
        .map_or("make failed and said nothing", |line| line.trim())
}

fn is_error(line: &str) -> bool {
    [
        " error: ",
        " fatal error: ",
        ": Error: ",
        "undefined reference to",
        "multiple definition of",
        "ld.lld: error:",
        "ERROR: modpost:",
        "FAILED: ",
        "FAILED unresolved symbol",
        "No rule to make target",
    ]
    .iter()
    .any(|needle| line.contains(needle))
        || ["error: ", "fatal error: ", "ERROR: ", "Error: "].iter().any(|needle| line.starts_with(needle))
}

fn leads(line: &str) -> bool {
    line.starts_with("In file included from")
        || line.starts_with("                 from ")
        || line.contains(": In function ")
        || line.contains(": in function ")
        || line.contains(": At top level:")
}

/// `  CC      init/main.o`: kbuild begins something.
pub(super) fn is_step(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("  ") else { return false };
    let word = rest.split(' ').next().unwrap_or("");
    word.len() >= 2 && word.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_')
}

fn is_make(line: &str) -> bool {
    line.starts_with("make: ") || line.starts_with("make[")
}

fn is_make_error(line: &str) -> bool {
    is_make(line) && line.contains("*** ")
}

fn shorten(line: &str) -> String {
    let clean: String =
        line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).take(MAX_LINE).collect();
    clean.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> String {
        let path = format!("{}/tests/data/builds/{name}.log", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn source(name: &str) -> Vec<String> {
        match diagnose(log(name).lines()) {
            Failure::Source(lines) => lines,
            host => panic!("{host:?}"),
        }
    }

    #[test]
    fn a_compile_error_is_shown_with_its_lines_and_no_others() {
        let lines = source("compile-error");
        assert!(headline(&lines).starts_with("/src/linux/kernel/bpf/helpers.c:3176:23: error:"), "{lines:?}");
        assert!(
            lines.iter().any(|l| l.contains("^")) && lines[0].contains("In function") && lines.len() < 12,
            "{lines:?}"
        );
        assert!(!lines.iter().any(|l| is_step(l) || is_make(l)), "{lines:?}");
    }

    #[test]
    fn a_link_error_names_the_symbol() {
        let lines = source("link-error");
        assert!(headline(&lines).contains("undefined reference to `bpf_dynptr_no_such'"), "{lines:?}");
    }

    #[test]
    fn a_full_disk_is_no_fault_of_the_source() {
        for (line, said) in [
            ("/tmp/ccX.s: fatal error: error writing to x: No space left on device", "no space"),
            ("x86_64-linux-gnu-gcc: fatal error: Killed signal terminated program cc1", "memory"),
            ("make[2]: *** [scripts/Makefile.vmlinux:36: vmlinux] Error 137", "memory"),
            ("make[2]: *** [scripts/Makefile.build:287: a.o] Killed", "memory"),
            ("make[2]: *** [scripts/Makefile.build:287: a.o] Terminated", "signal"),
            ("clang-19: error: unable to execute command: Killed", "memory"),
            ("collect2: fatal error: ld terminated with signal 9 [Killed]", "memory"),
        ] {
            let text = format!("  CC      a.o\n{line}\nmake[1]: *** [x] Error 1\n");
            assert!(
                matches!(diagnose(text.lines()), Failure::Host(trouble) if trouble.why.contains(said)),
                "{line}"
            );
        }
    }

    #[test]
    fn what_a_compiler_quotes_is_no_trouble_of_the_host() {
        let text = "  CC      net/9p/error.o\nnet/9p/error.c:53:9: error: 'ENOMEMM' undeclared here\n   \
                    53 |         {\"Cannot allocate memory\", ENOMEMM},\n      |         ^~~~\n   \
                    68 |\t{\"No space left on device\", ENOSPC},\nmake: *** [net/9p/error.o] Error 1\n";
        let Failure::Source(lines) = diagnose(text.lines()) else { panic!("it is the source's") };
        assert!(headline(&lines).contains("'ENOMEMM' undeclared"), "{lines:?}");
    }

    #[test]
    fn make_alone_is_quoted_when_nobody_else_says_anything() {
        let text =
            "  GEN     a\nsomething odd\nmake[2]: *** [../Makefile:7: a] Error 127\nmake: *** [b] Error 2\n";
        let Failure::Source(lines) = diagnose(text.lines()) else { panic!() };
        assert_eq!(headline(&lines), "make[2]: *** [../Makefile:7: a] Error 127");
        assert!(lines.iter().any(|l| l == "something odd"), "{lines:?}");
        assert_eq!(headline(&[]), "make failed and said nothing");
    }
}
