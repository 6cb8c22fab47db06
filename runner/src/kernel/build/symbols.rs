//! What a tree's Kconfig files say about an option: where it is defined, what it depends on, and what switches it on.
//!
//! Read only to explain why an option could not be had; kbuild's own conf decides. Language:
//! Documentation/kbuild/kconfig-language.rst.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Files nested deeper than this are none of the kernel's.
const MAX_DEPTH: usize = 24;
/// No Kconfig file comes near this.
const MAX_FILE: u64 = 4 << 20;

/// One `config NAME` block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Definition {
    /// `net/Kconfig:12`, below the tree.
    pub place: String,
    /// Every condition: its own `depends on`, and those of the `if`, `menu` and `choice` around it.
    pub depends: Vec<String>,
    /// Whether people can set it, and on what condition.
    pub prompt: Option<String>,
    /// The `choice` it is in, by number.
    pub choice: Option<usize>,
    /// Its `range` lines: least, most, and on what condition. The first whose condition holds counts.
    pub ranges: Vec<(String, String, String)>,
}

/// All options of a tree, for one architecture.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub defined: BTreeMap<String, Vec<Definition>>,
    /// By the option that is selected: who does, and on what condition.
    pub selected_by: BTreeMap<String, Vec<(String, String)>>,
    choices: usize,
}

/// What the conditions around a line are.
#[derive(Debug, Clone)]
struct Around {
    kind: Kind,
    depends: Vec<String>,
    choice: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    If,
    Menu,
    Choice,
}

impl Kind {
    /// What `endif`, `endmenu` or `endchoice` ends.
    fn ended(word: &str) -> Self {
        match word {
            "endif" => Self::If,
            "endmenu" => Self::Menu,
            _ => Self::Choice,
        }
    }
}

/// What `depends on` speaks of.
enum Subject {
    Config(String),
    Around,
    Nothing,
}

impl Symbols {
    /// Reads the tree's Kconfig files. What cannot be read is left out: this only explains.
    pub fn read(tree: &Path, source_arch: &str) -> Self {
        let mut symbols = Self::default();
        let mut around = Vec::new();
        symbols.file(tree, source_arch, Path::new("Kconfig"), &mut around, 0);
        symbols
    }

    fn file(&mut self, tree: &Path, arch: &str, name: &Path, around: &mut Vec<Around>, depth: usize) {
        let path = tree.join(name);
        if depth > MAX_DEPTH || path.metadata().map_or(u64::MAX, |m| m.len()) > MAX_FILE {
            return;
        }
        let Ok(bytes) = fs::read(&path) else { return };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let outside = around.len();
        let mut subject = Subject::Nothing;
        for (number, line) in logical_lines(&text) {
            let (word, rest) = split_word(&line);
            match word {
                "source" | "rsource" | "osource" => {
                    if let Some(target) = sourced(word, rest, arch, name) {
                        self.file(tree, arch, &target, around, depth + 1);
                    }
                    subject = Subject::Nothing;
                }
                "if" | "menu" | "choice" => {
                    around.push(self.begin(word, rest));
                    subject = if word == "if" { subject } else { Subject::Around };
                }
                "endif" | "endmenu" | "endchoice" => {
                    // What another file began it does not end.
                    if around.len() > outside && around.last().is_some_and(|a| a.kind == Kind::ended(word)) {
                        around.pop();
                    }
                    subject = Subject::Nothing;
                }
                "config" | "menuconfig" => {
                    self.define(rest, format!("{}:{number}", name.display()), around);
                    subject = Subject::Config(rest.to_string());
                }
                "comment" => subject = Subject::Nothing,
                _ => self.property(word, rest, &subject, around),
            }
        }
        around.truncate(outside);
    }

    /// What `if`, `menu` and `choice` put around the lines that follow.
    fn begin(&mut self, word: &str, rest: &str) -> Around {
        match word {
            "if" => Around { kind: Kind::If, depends: vec![rest.to_string()], choice: None },
            "menu" => Around { kind: Kind::Menu, depends: Vec::new(), choice: None },
            _ => {
                self.choices += 1;
                Around { kind: Kind::Choice, depends: Vec::new(), choice: Some(self.choices) }
            }
        }
    }

    /// The beginning of a `config` block.
    fn define(&mut self, name: &str, place: String, around: &[Around]) {
        let definition = Definition {
            place,
            depends: around.iter().flat_map(|a| a.depends.clone()).collect(),
            prompt: None,
            choice: around.iter().rev().find_map(|a| a.choice),
            ranges: Vec::new(),
        };
        self.defined.entry(name.to_string()).or_default().push(definition);
    }

    /// A line of a block.
    fn property(&mut self, word: &str, rest: &str, subject: &Subject, around: &mut [Around]) {
        match (word, subject) {
            ("depends", Subject::Config(name)) => {
                if let Some(definition) = self.defined.get_mut(name).and_then(|d| d.last_mut()) {
                    definition.depends.push(rest.strip_prefix("on").unwrap_or(rest).trim().to_string());
                }
            }
            ("depends", Subject::Around) => {
                if let Some(last) = around.last_mut() {
                    last.depends.push(rest.strip_prefix("on").unwrap_or(rest).trim().to_string());
                }
            }
            ("bool" | "tristate" | "int" | "hex" | "string" | "prompt", Subject::Config(name))
                if rest.starts_with(['"', '\'']) =>
            {
                if let Some(definition) = self.defined.get_mut(name).and_then(|d| d.last_mut()) {
                    let quote = &rest[..1];
                    let after = rest[1..].split_once(quote).map_or("", |(_, after)| after);
                    let condition = after.trim().strip_prefix("if ").unwrap_or("");
                    definition.prompt = Some(condition.to_string());
                }
            }
            ("range", Subject::Config(name)) => {
                let (bounds, condition) = rest.split_once(" if ").unwrap_or((rest, ""));
                let definition = self.defined.get_mut(name).and_then(|d| d.last_mut());
                if let (Some(definition), Some((least, most))) =
                    (definition, bounds.trim().split_once(char::is_whitespace))
                {
                    let [least, most, condition] =
                        [least, most, condition].map(|text| text.trim().to_string());
                    definition.ranges.push((least, most, condition));
                }
            }
            ("select", Subject::Config(name)) => {
                let (target, condition) = rest.split_once(" if ").unwrap_or((rest, ""));
                let entry = (name.clone(), condition.trim().to_string());
                self.selected_by.entry(target.trim().to_string()).or_default().push(entry);
            }
            _ => {}
        }
    }

    /// The others of a choice.
    pub fn choice(&self, number: usize) -> impl Iterator<Item = &str> {
        self.defined
            .iter()
            .filter(move |(_, d)| d.iter().any(|d| d.choice == Some(number)))
            .map(|(name, _)| name.as_str())
    }
}

/// The file that a line `source "…"` of another names, below the tree; none where it would lead out of it.
fn sourced(word: &str, rest: &str, arch: &str, by: &Path) -> Option<PathBuf> {
    let target = rest.trim_matches('"').replace("$(SRCARCH)", arch).replace("$SRCARCH", arch);
    let target = match word {
        "rsource" => by.parent().unwrap_or(Path::new("")).join(&target),
        _ => PathBuf::from(&target),
    };
    let leads_out = target.is_absolute() || target.components().any(|c| c == Component::ParentDir);
    (!leads_out).then_some(target)
}

/// Lines without comments, help texts and line breaks in the middle, each with its number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut help: Option<Option<usize>> = None;
    let mut continued = false;
    for (number, raw) in text.lines().enumerate() {
        let indent = raw.chars().take_while(|c| c.is_whitespace()).fold(0, |at, c| match c {
            '\t' => (at / 8 + 1) * 8,
            _ => at + 1,
        });
        let line = raw.trim();
        if line.is_empty() {
            continued = false;
            continue;
        }
        match help {
            Some(None) if indent > 0 => {
                help = Some(Some(indent));
                continue;
            }
            Some(Some(least)) if indent >= least => continue,
            _ => help = None,
        }
        if line.starts_with('#') {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line, false),
        };
        match all.last_mut().filter(|_| continued) {
            Some((_, last)) => {
                last.push(' ');
                last.push_str(part);
            }
            None => all.push((number + 1, part.to_string())),
        }
        continued = more;
        if line == "help" || line == "---help---" {
            help = Some(None);
        }
    }
    all
}

fn split_word(line: &str) -> (&str, &str) {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
    (&line[..end], line[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_what_is_around_count() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "Kconfig",
            "mainmenu \"x\"\nsource \"arch/$(SRCARCH)/Kconfig\"\nif NET\nsource \"net/Kconfig\"\nendif\nconfig LAST\n\tbool\n",
        );
        put(
            "arch/x86/Kconfig",
            "config 64BIT\n\tbool \"64 bits\"\n\thelp\n\t  config NOT_ONE\n\n\t  depends on nothing\n\nconfig X86\n\tdef_bool y\n\tselect LAST if 64BIT\n",
        );
        put(
            "net/Kconfig",
            "menu \"m\"\n\tdepends on A && \\\n\t\t(B || C)\n# comment\nconfig TUN\n\ttristate \"t\" if EXPERT\n\tdepends on D\nchoice\n\
             \tprompt \"which\"\nconfig ONE\n\tbool \"1\"\nconfig TWO\n\tbool '2'\nendchoice\nendmenu\nsource \"../etc/Kconfig\"\n",
        );
        let symbols = Symbols::read(dir.path(), "x86");
        let tun = &symbols.defined["TUN"][0];
        assert_eq!(tun.place, "net/Kconfig:5");
        assert_eq!(tun.depends, ["NET", "A && (B || C)", "D"]);
        assert_eq!(tun.prompt.as_deref(), Some("EXPERT"));
        assert!(!symbols.defined.contains_key("NOT_ONE"));
        assert_eq!(symbols.defined["LAST"][0].depends, Vec::<String>::new());
        assert_eq!(symbols.selected_by["LAST"], [("X86".to_string(), "64BIT".to_string())]);
        let choice = symbols.defined["TWO"][0].choice.unwrap();
        assert_eq!(symbols.choice(choice).collect::<Vec<_>>(), ["ONE", "TWO"]);
        assert_eq!(symbols.defined["64BIT"][0].choice, None);
    }
}
