//! Command lines as text that a POSIX shell reads back.

use std::ffi::OsStr;

/// An argument with as many quotes as a shell needs.
pub fn argument(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A command on one line.
pub fn command<S: AsRef<OsStr>>(argv: &[S]) -> String {
    argv.iter().map(|arg| argument(arg.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A command with one argument a line, and a newline at its end.
pub fn command_in_lines<S: AsRef<OsStr>>(argv: &[S]) -> String {
    argv.iter().map(|arg| argument(arg.as_ref())).collect::<Vec<_>>().join(" \\\n  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_a_shell() {
        assert_eq!(command(&["a b", "", "it's", "x=1"]), r"'a b' '' 'it'\''s' x=1");
        assert_eq!(command_in_lines(&["a", "$b"]), "a \\\n  '$b'\n");
    }
}
