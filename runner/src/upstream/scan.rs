//! What a C file says of other files: those it includes, and those that its strings name.

/// The findings in one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// `#include "…"`, as written, and `#include <…>` of skeletons.
    pub includes: Vec<String>,
    /// Every string literal, escapes as written.
    pub strings: Vec<String>,
}

/// Reads a C file. Comments are skipped; conditions are not evaluated: what any configuration includes counts.
pub(super) fn scan(text: &str) -> Scanned {
    let mut found = Scanned::default();
    let mut rest = text;
    let mut at_start_of_line = true;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(comment, _)| &rest[comment.len()..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else if c == '#' && at_start_of_line {
            rest = directive(rest, &mut found);
        } else if c == '"' || c == '\'' {
            let (literal, after) = quoted(rest, c);
            if c == '"' {
                found.strings.push(literal.to_owned());
            }
            rest = after;
            at_start_of_line = false;
        } else {
            at_start_of_line = c == '\n' || (at_start_of_line && c.is_whitespace());
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// Looks at a `#`. Gives what follows it: an include with its line gone, of anything else only the `#`.
fn directive<'a>(text: &'a str, found: &mut Scanned) -> &'a str {
    let line = text.lines().next().unwrap_or_default();
    let name = line[1..].trim_start().strip_prefix("include").map(str::trim_start);
    let within = |open: char, close: char| Some(name?.strip_prefix(open)?.split_once(close)?.0);
    // Skeletons are made beside the tests, however they are included.
    let path = within('"', '"').or(within('<', '>').filter(|path| path.ends_with("skel.h")));
    match path {
        Some(path) => {
            found.includes.push(path.to_owned());
            &text[line.len()..]
        }
        None => &text[1..],
    }
}

/// A literal that begins with `quote`, without its quotes, and what follows. It ends with its line at the latest.
fn quoted(text: &str, quote: char) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' if !escaped => return (&text[1..at], &text[at..]),
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return (&text[1..at], &text[at + 1..]),
            _ => {}
        }
    }
    (&text[1..], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_and_strings_are_found_and_comments_are_not() {
        let text = "// \"no\" it's\n#include \"a.skel.h\"\n  # include \"../b.h\" /* x */\n#include <sys.h>\n#include <c.lskel.h>\n\
                    /* #include \"no.h\"\n \"no\" */\nchar c = '\"'; f(\"./x.bpf.o\", \"q\\\"z\"); // \"no\"\n\
                    #define N \"named\"\nint a; #include \"not a directive\"\n\"unfinished\nf(\"end\")";
        let found = scan(text);
        assert_eq!(found.includes, ["a.skel.h", "../b.h", "c.lskel.h"]);
        assert_eq!(found.strings, ["./x.bpf.o", "q\\\"z", "named", "not a directive", "unfinished", "end"]);
    }

    #[test]
    fn any_bytes_come_to_an_end() {
        for text in
            ["", "\"", "'", "/*", "//", "#", "#include", "#include \"", "\"\\", "é\"ü'ß", "\\\n\"a\\\nb\""]
        {
            scan(text);
        }
    }
}
