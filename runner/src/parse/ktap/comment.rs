//! What a result line says after its number: name, directive, comment.

use std::borrow::Cow;

use super::line::Format;
use crate::event::Outcome;

/// A keyword that changes what a result amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directive {
    Skip,
    Todo,
    Xfail,
    Timeout,
    Error,
}

/// The parts of `name # DIRECTIVE comment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) directive: Option<Directive>,
    /// What follows the directive, or the `#` if there is no directive that we know.
    pub(super) comment: Cow<'a, str>,
}

impl<'a> Said<'a> {
    /// A comment begins at the first `#` with a blank (or nothing) before it that a blank (or nothing) or a directive
    /// follows: `connect #1` is a name, and so is `a\#b`.
    pub(super) fn read(text: &'a str, ok: bool, format: Format) -> Self {
        let bytes = text.as_bytes();
        let starts = memchr::memchr_iter(b'#', bytes)
            .filter(|at| *at == 0 || matches!(bytes[at - 1], b' ' | b'\t'))
            .map(|at| (at, &text[at + 1..]));
        for (at, comment) in starts {
            let found = directive(comment.trim_start_matches([' ', '\t']), ok, format);
            if found.is_none() && !(comment.is_empty() || comment.starts_with([' ', '\t'])) {
                continue;
            }
            let (directive, comment) = found.map_or((None, comment.trim()), |(d, reason)| (Some(d), reason));
            let name = unescape(text[..at].trim_end(), format);
            return Self { name, directive, comment: unescape(comment, format) };
        }
        Self { name: unescape(text.trim_end(), format), directive: None, comment: Cow::Borrowed("") }
    }

    /// What the result line amounts to. A skip counts whichever way its line begins, as both specifications have it; a test
    /// that is expected to fail and does not has passed.
    pub(super) fn outcome(&self, ok: bool) -> Outcome {
        match (self.directive, ok) {
            (Some(Directive::Skip), _) => Outcome::Skip,
            (Some(Directive::Timeout | Directive::Error), _) => Outcome::Error,
            (Some(Directive::Xfail), _) | (Some(Directive::Todo), false) => Outcome::Xfail,
            (Some(Directive::Todo) | None, true) => Outcome::Pass,
            (None, false) => Outcome::Fail,
        }
    }
}

/// The directive at the start of a comment, and its reason. It is a whole word.
///
/// KTAP writes directives in capitals; TAP knows SKIP and TODO in any case. `Skipped:` of TAP 13's examples of plans is no word of
/// either, and excuses no failure. Whatever
/// excuses a failure in a KTAP document has to be written as KTAP has it: `not ok 4 walk # skip list corrupt` failed.
fn directive(comment: &str, ok: bool, format: Format) -> Option<(Directive, &str)> {
    let end = comment.find([' ', '\t']).unwrap_or(comment.len());
    let reason = comment[end..].trim();
    let word = &comment[..end];
    let (bare, colon) = word.strip_suffix(':').map_or((word, false), |bare| (bare, true));
    let capitals = !bare.bytes().any(|b| b.is_ascii_lowercase());
    let lenient = ok || format != Format::Ktap || capitals;
    let is = |directive: &str| bare.eq_ignore_ascii_case(directive);
    let directive = if is("SKIP") && lenient || is("SKIPPED") && ok && (colon || reason.is_empty()) {
        Directive::Skip
    } else if is("TODO") && lenient && !colon {
        Directive::Todo
    } else if is("XFAIL") && capitals && !colon {
        Directive::Xfail
    } else if is("TIMEOUT") && (capitals || !ok) {
        Directive::Timeout
    } else if is("ERROR") && (capitals || !ok) {
        Directive::Error
    } else {
        return None;
    };
    Some((directive, reason.trim_start_matches(['-', ' '])))
}

/// The reason of a plan that plans nothing. Every comment is one in TAP 14; elsewhere it takes the directive.
pub(super) fn skip_all(comment: Option<&str>, format: Format) -> Option<&str> {
    match (directive(comment.unwrap_or(""), true, format), format) {
        (Some((Directive::Skip, reason)), _) => Some(reason),
        (_, Format::Tap(14..)) => Some(comment.unwrap_or("")),
        _ => None,
    }
}

/// `\#` is `#` everywhere, `\\` is `\` in TAP 14, which says so.
fn unescape(text: &str, format: Format) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = chars.peek().filter(|next| {
            c == '\\' && (**next == '#' || **next == '\\' && matches!(format, Format::Tap(14..)))
        });
        match escaped {
            Some(next) => {
                plain.push(*next);
                chars.next();
            }
            None => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Directive::*;

    const KTAP: Format = Format::Ktap;
    const TAP: Format = Format::Tap(12);
    const TAP14: Format = Format::Tap(14);

    #[test]
    fn directives_are_whole_words() {
        let table = [
            (true, KTAP, "a # SKIP not here", "a", Some(Skip), "not here"),
            (false, KTAP, "a # SKIP", "a", Some(Skip), ""),
            (true, KTAP, "a # skip not here", "a", Some(Skip), "not here"),
            (false, KTAP, "a # skip list corrupt", "a", None, "skip list corrupt"),
            (false, TAP, "a # skip either way", "a", Some(Skip), "either way"),
            (false, TAP, "a # SkIp: colon", "a", Some(Skip), "colon"),
            (true, TAP, "a #Skipped: why not", "a", Some(Skip), "why not"),
            (false, TAP, "a # skipped 3 frames", "a", None, "skipped 3 frames"),
            (false, TAP, "a # skiplist corrupt", "a", None, "skiplist corrupt"),
            (false, TAP, "a # skip_count=3", "a", None, "skip_count=3"),
            (false, TAP, "a # todo later", "a", Some(Todo), "later"),
            (false, TAP, "a # todo_count is 3", "a", None, "todo_count is 3"),
            (false, TAP, "a # TODO: later", "a", None, "TODO: later"),
            (false, KTAP, "a # TODO", "a", Some(Todo), ""),
            (false, KTAP, "a # todo", "a", None, "todo"),
            (false, TAP, "a # xfail x", "a", None, "xfail x"),
            (false, TAP, "a # XFAIL x", "a", Some(Xfail), "x"),
            (false, KTAP, "a # TIMEOUT 45 seconds", "a", Some(Timeout), "45 seconds"),
            (true, KTAP, "a # timeout=5s", "a", None, "timeout=5s"),
            (true, KTAP, "a # error counters are zero", "a", None, "error counters are zero"),
            (false, KTAP, "# error no memory", "", Some(Error), "no memory"),
            (true, KTAP, "a # ERROR no memory", "a", Some(Error), "no memory"),
            (true, TAP, "a # b # SKIP c", "a", None, "b # SKIP c"),
        ];
        for (ok, format, text, name, directive, comment) in table {
            let said = Said::read(text, ok, format);
            assert_eq!(
                (said.name.as_ref(), said.directive, said.comment.as_ref()),
                (name, directive, comment),
                "{text}"
            );
        }
    }

    #[test]
    fn names_keep_what_is_no_comment() {
        let name = |text, format| Said::read(text, false, format).name.into_owned();
        assert_eq!(name("connect #1", TAP), "connect #1");
        assert_eq!(name("connect #1 # SKIP x", TAP), "connect #1");
        assert_eq!(name("a#b", TAP), "a#b");
        assert_eq!(name(r"a \# SKIP b", TAP), "a # SKIP b");
        assert_eq!(name(r"C:\\x", TAP14), r"C:\x");
        assert_eq!(name(r"C:\\x", KTAP), r"C:\\x");
        assert_eq!(name(r"a\\\#b", TAP14), r"a\#b");
        assert_eq!(Said::read(r"a \\# SKIP b", false, TAP14).directive, None);
    }

    #[test]
    fn plans_of_nothing() {
        assert_eq!(skip_all(Some("SKIP no bpf"), KTAP), Some("no bpf"));
        assert_eq!(skip_all(Some("Skipped: no bpf"), TAP), Some("no bpf"));
        assert_eq!(skip_all(Some("no bpf"), TAP14), Some("no bpf"));
        assert_eq!(skip_all(Some("no bpf"), TAP), None);
        assert_eq!(skip_all(None, KTAP), None);
    }
}
