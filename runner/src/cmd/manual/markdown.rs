//! The definition of the command line as a page of the documentation.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The width to which text is wrapped.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Command line

<!-- Generated from the definition of the command line. To update it after a change:
     KVET_BLESS=1 cargo test -p kvet --lib command_line -->

Every command prints this with `--help`, and `kvet man COMMAND` prints it as a manual page.
";

/// The whole page. `definition` has been built.
pub fn reference(mut definition: Command) -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, &mut definition, "kvet");
    page
}

/// One command, and then those below it.
fn section(page: &mut String, command: &mut Command, name: &str) {
    let usage = command.render_usage().to_string();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ =
        write!(page, "\n## {name}\n\n{}", wrapped(&format!("{}.", escaped(about.trim_end_matches('.'))), ""));
    let _ = write!(page, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: "));
    let top = name == "kvet";
    let shown = |arg: &&Arg| !arg.is_hide_set() && (top || !arg.is_global_set()) && arg.get_id() != "help";
    let arguments: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if !arguments.is_empty() {
        page.push('\n');
    }
    for arg in arguments {
        argument(page, arg);
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = write!(page, "\n```text\n{after}\n```\n");
    }
    for child in command.get_subcommands_mut().filter(|child| !child.is_hide_set()) {
        let name = format!("{name} {}", child.get_name());
        section(page, child, &name);
    }
}

/// One argument: what is typed, what it means, its values and its default.
fn argument(page: &mut String, arg: &Arg) {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = format!("- `{}`: {}.", typed(arg), escaped(help.trim_end_matches('.')));
    let values = arg.get_possible_values();
    let listed = arg.get_action().takes_values() && !values.is_empty();
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !default.is_empty() {
        let _ = write!(text, " Default: `{}`.", default.join(" "));
    }
    page.push_str(&wrapped(&text, "  "));
    for value in values.iter().filter(|value| listed && !value.is_hide_set()) {
        let text = match value.get_help() {
            Some(help) => {
                format!("  - `{}`: {}.", value.get_name(), escaped(help.to_string().trim_end_matches('.')))
            }
            None => format!("  - `{}`", value.get_name()),
        };
        page.push_str(&wrapped(&text, "    "));
    }
}

/// An argument as it is typed: `-k, --kernel <SPEC>`, `[FILE]`.
fn typed(arg: &Arg) -> String {
    let Some(long) = arg.get_long() else { return arg.to_string() };
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let value = arg.to_string();
    let value = value.strip_prefix(&format!("--{long}")).unwrap_or_default();
    format!("{short}--{long}{value}")
}

/// Text in which Markdown finds no markup but code.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    let mut code = false;
    for c in text.chars() {
        code ^= c == '`';
        if !code && matches!(c, '<' | '*' | '[') {
            escaped.push('\\');
        }
        escaped.push(if c == '\n' { ' ' } else { c });
    }
    escaped
}

/// Text in lines of at most [`WIDTH`] characters; those after the first begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let first = &text[..text.len() - text.trim_start().len()];
    let mut lines = vec![first.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        let begun = !line.trim().is_empty();
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{indent}{word}"));
        } else {
            line.push_str(if begun { " " } else { "" });
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cmd::manual::definition;

    #[test]
    fn the_command_line_page_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/command-line.md");
        let page = reference(definition());
        if std::env::var_os("KVET_BLESS").is_some() {
            fs::write(&file, &page).unwrap();
        }
        assert!(
            fs::read_to_string(&file).is_ok_and(|text| text == page),
            "{} is out of date: run KVET_BLESS=1 cargo test -p kvet --lib command_line",
            file.display()
        );
    }

    #[test]
    fn markup_is_escaped_and_lines_are_short() {
        assert_eq!(escaped("a <b> `<c>` x*"), "a \\<b> `<c>` x\\*");
        let text = wrapped(&format!("- {}", "word ".repeat(50)), "  ");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("  word")), "{text}");
    }
}
