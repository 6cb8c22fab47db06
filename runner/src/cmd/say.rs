//! What kvet says on the terminal, beside its reports. Nothing here panics where the terminal is lost or full, as `println!`
//! and its kin would: a lint keeps those out.

use std::fmt;
use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use crate::error::{Error, Result, exit};
use crate::report::term::{ColorChoice, harmless};

/// Tells the user something on standard error; the macro `tell!` formats it. If nobody can read it, nothing else changes.
pub fn tell(text: fmt::Arguments<'_>) {
    // There is no other place to complain.
    let _ = writeln!(std::io::stderr().lock(), "{}", harmless(&text.to_string()));
}

/// Prints text as data: on standard output, where a reader that has gone away is no trouble of ours.
///
/// # Errors
/// The host's: what was asked for could not be written, for example because the disk is full.
pub fn print(text: &str) -> Result<u8> {
    print_bytes(text.as_bytes())
}

/// The same for bytes.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    printed(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What it means that data could be printed, or not.
pub fn printed(written: std::io::Result<()>) -> Result<u8> {
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::host("cannot write to standard output").because(e))
        }
        _ => Ok(exit::PASSED),
    }
}

/// Tells an error and its hint.
pub fn complain(error: &Error, color: ColorChoice) {
    let paint = color.is_on(std::io::stderr().is_terminal());
    let styled = |style: Style, text: &str| {
        if paint { format!("{style}{text}{style:#}") } else { text.to_owned() }
    };
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
    tell!("{} {error}", styled(red, "error:"));
    if let Some(hint) = error.hint_text() {
        tell!("{} {hint}", styled(cyan, "hint:"));
    }
}

/// Has a panic, in whatever thread, tell what a maintainer has to know.
pub fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let payload = panic.payload();
        let said = payload.downcast_ref::<&str>().copied();
        let said =
            said.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let thread = std::thread::current();
        let thread = thread.name().map_or(String::new(), |name| format!(" (thread {name})"));
        tell!(
            "error: internal error of kvet {} in {place}{thread}: {said}\n\
             hint: this is a bug of kvet's and says nothing about the kernel; please report these lines and the command",
            env!("CARGO_PKG_VERSION")
        );
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            tell!("{trace}");
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_asks_for_a_report() {
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["--ignored", "--exact", "--nocapture", "cmd::say::tests::inner_panic"]);
        let output = inner.env_remove("RUST_BACKTRACE").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let version = env!("CARGO_PKG_VERSION");
        let place = format!("error: internal error of kvet {version} in runner/src/cmd/say.rs:");
        let ours: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(ours.len() == 1 && ours[0].starts_with(&place), "{said}");
        assert!(ours[0].ends_with(" (thread worker): a panic that this test wants"), "{said}");
        assert!(said.contains("hint: this is a bug of kvet's"), "{said}");
    }

    #[test]
    #[ignore = "run by a_panic_asks_for_a_report, in a process of its own: the hook is the process's"]
    fn inner_panic() {
        explain_panics();
        let worker = std::thread::Builder::new().name("worker".into());
        let thread = worker.spawn(|| panic!("a panic that this test {}", "wants")).unwrap();
        assert!(thread.join().is_err());
    }
}
