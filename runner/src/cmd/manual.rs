//! `kvet man`: manual pages, and the command-line reference of the documentation. Both come from the definition of the
//! command line, so neither can name a flag that does not exist.

mod markdown;

use std::fs;

use clap::{Command, CommandFactory};

use super::args::{Cli, ManArgs};
use super::say::{print, print_bytes};
use crate::error::{Error, IoContext, Result};

/// `kvet man`.
pub fn run(args: &ManArgs) -> Result<u8> {
    if args.markdown {
        return print(&markdown::reference(definition()));
    }
    if let Some(dir) = &args.into {
        fs::create_dir_all(dir).given(format!("create {}", dir.display()))?;
        return clap_mangen::generate_to(definition(), dir)
            .given(format!("write manual pages into {}", dir.display()))
            .map(|()| 0);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(find(&args.command)?)
        .render(&mut page)
        .map_err(|e| Error::host("cannot make the manual page").because(e))?;
    print_bytes(&page)
}

/// The command line, with the full name of each command in it.
fn definition() -> Command {
    let mut definition = Cli::command().disable_help_subcommand(true);
    definition.build();
    definition
}

/// The definition of one command, by the words after `kvet`.
fn find(words: &[String]) -> Result<Command> {
    let mut found = definition();
    for word in words {
        let Some(next) = found.find_subcommand(word).cloned() else {
            let known: Vec<&str> = found.get_subcommands().map(Command::get_name).collect();
            let name = format!("kvet {}", words.join(" "));
            return Err(match known.as_slice() {
                [] => Error::caller(format!("there is no command '{name}'")),
                known => Error::caller(format!("there is no command '{name}': use {}", known.join(", "))),
            });
        };
        found = next;
    }
    // The title and the synopsis of a page are what the user types.
    let name = found.get_display_name().unwrap_or("kvet").to_owned();
    Ok(found.name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("man1");
        run(&ManArgs { command: Vec::new(), into: Some(into.clone()), markdown: false }).unwrap();
        for (page, word) in [
            ("kvet.1", "KVET_CACHE"),
            ("kvet-run.1", "git\\-bisect"),
            ("kvet-kernel-fetch.1", "refresh"),
            ("kvet-matrix.1", "shard"),
        ] {
            let text = fs::read_to_string(into.join(page)).unwrap();
            assert!(text.contains(word), "{page} has no {word}:\n{text}");
        }
    }

    #[test]
    fn a_page_is_found_by_its_words() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(find(&words("kernel fetch")).unwrap().get_name(), "kvet-kernel-fetch");
        assert_eq!(find(&[]).unwrap().get_name(), "kvet");
        let e = find(&words("kernel ftch")).unwrap_err().to_string();
        assert_eq!(e, "there is no command 'kvet kernel ftch': use fetch, build, list, info, prune");
    }
}
