//! Where a line belongs: to which level, to a YAML block, to the kernel's log.

use super::emit::{Fault, Order};
use super::line::{Format, Line, program};
use super::rule::Rule;
use super::*;

/// A line and its level.
pub(super) struct Place<'a> {
    pub(super) depth: usize,
    /// The prefix of the group that it opens on that level, perhaps with others around it.
    pub(super) opens: Option<String>,
    pub(super) line: Line<'a>,
    /// It has more levels than are read.
    pub(super) too_deep: bool,
}

/// How many levels a piece of a prefix is: each `# ` is one, and blanks that stand alone are one.
fn levels(piece: &str) -> usize {
    piece.matches('#').count().max(1)
}

/// A YAML block that is being read.
#[derive(Debug)]
pub(super) struct Yaml {
    /// What stands before each of its lines.
    prefix: String,
    /// Where it begins.
    line: u64,
    /// Whether a line in it looks like a result.
    has_result: bool,
}

impl KtapParser {
    /// The level a line belongs to, and what it says there.
    pub(super) fn locate<'a>(&self, text: &'a str) -> Place<'a> {
        // Nothing stands before the lines of the first one.
        let depth = self.groups[1..].iter().rposition(|g| text.starts_with(&g.prefix)).map_or(0, |at| at + 1);
        let group = &self.groups[depth];
        let rest = &text[group.prefix.len()..];
        let place = |depth, opens, line| Place { depth, opens, line, too_deep: false };
        // The runner's own words about the next program stand behind the same sign as what the last one printed.
        if group.prefix.ends_with("# ")
            && let Some(name) = program(rest)
        {
            return place(depth - 1, None, Line::Program(name));
        }
        let line = Line::parse(rest);
        if line.is_structure() {
            return place(depth, None, line);
        }
        let Some((indent, inner)) = self.nested(depth, rest) else { return place(depth, None, line) };
        let below = depth + levels(&rest[..indent]);
        if below >= self.limits.depth {
            return Place { depth, opens: None, line, too_deep: true };
        }
        place(below, Some(text[..group.prefix.len() + indent].to_owned()), inner)
    }

    /// The first line of a nested group: how far it is indented, and what it says. Two or more spaces (or a tab) suffice
    /// before anything that has structure. Behind a `# ` count a header, a failure, and the first result.
    fn nested<'a>(&self, depth: usize, text: &'a str) -> Option<(usize, Line<'a>)> {
        let mut at = 0;
        let mut hashed = false;
        loop {
            let rest = &text[at..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            if blanks >= 2 || rest.starts_with('\t') {
                at += blanks;
            } else if rest.starts_with("# ") {
                at += 2;
                hashed = true;
            } else {
                return None;
            }
            if hashed && self.comments_are_text(depth, self.order(depth)) {
                return None;
            }
            let line = Line::parse(&text[at..]);
            let opens = match &line {
                Line::Version(_) | Line::Plan { .. } => true,
                Line::BailOut(_) => hashed || line.is_structure(),
                Line::Result(result) if hashed => {
                    result.sure && (!result.ok || result.number == Some(1) || self.awaits_program(depth))
                }
                _ => !hashed && line.is_structure(),
            };
            if opens {
                return Some((at, line));
            }
        }
    }

    /// Whether kselftest's runner has just started a program.
    fn awaits_program(&self, depth: usize) -> bool {
        self.groups[depth].next_child.as_deref().and_then(program).is_some()
    }

    /// Whether nothing behind a `#` can be a result: TAP 14 says so of its comments, and what follows a failure in TAP is about
    /// that failure.
    pub(super) fn comments_are_text(&self, depth: usize, order: Order) -> bool {
        order != Order::Before && (matches!(self.format(depth), Format::Tap(14..)) || self.holds_failure())
    }

    /// Opens the group that a line is the first of, on its level, and those around it.
    pub(super) fn open_at(&mut self, depth: usize, prefix: &str, out: &mut Vec<TestEvent>) {
        let around = self.groups.iter().rposition(|g| prefix.starts_with(&g.prefix)).unwrap_or(0);
        let known = self.groups[around].prefix.len();
        let signs = prefix[known..].match_indices('#').skip(1).map(|(at, _)| known + at);
        let ends: Vec<usize> = signs.chain([prefix.len()]).collect();
        debug_assert_eq!(around + ends.len(), depth);
        for (parent, end) in (around..).zip(ends) {
            self.open(parent, prefix[..end].to_owned(), out);
        }
    }

    /// Takes a line that belongs to a YAML block, which stands behind a result and is indented.
    pub(super) fn in_yaml(&mut self, text: &str, out: &mut Vec<TestEvent>) -> bool {
        let Some(yaml) = &mut self.yaml else { return self.opens_yaml(text) };
        let Some(inner) = text.strip_prefix(&yaml.prefix) else {
            if text.trim().is_empty() {
                return true;
            }
            self.end_yaml(out);
            return false;
        };
        if let Some(after) = inner.strip_prefix("...") {
            // A result may be glued to the end.
            self.yaml = None;
            return after.trim().is_empty();
        } else {
            let inside = inner.trim_start();
            yaml.has_result |= Line::parse(inside).is_sure_result() || line::may_be_failure(inside);
            if self.held.is_some() {
                self.talk.yaml(inner);
            }
        }
        true
    }

    fn opens_yaml(&mut self, text: &str) -> bool {
        let Some(depth) = self.after_result.filter(|_| text.ends_with('-')) else { return false };
        let Some(rest) = self.groups.get(depth).and_then(|group| text.strip_prefix(&group.prefix)) else {
            return false;
        };
        if rest.trim_start() != "---" || rest == "---" {
            return false;
        }
        let prefix = text[..text.len() - 3].to_owned();
        self.yaml = Some(Yaml { prefix, line: self.line, has_result: false });
        true
    }

    /// A block ends without its mark. A result in it may have been meant as one.
    pub(super) fn end_yaml(&mut self, out: &mut Vec<TestEvent>) {
        if let Some(Yaml { line, has_result: true, .. }) = self.yaml.take() {
            let message =
                format!("the YAML block that begins on line {line} has no end, and a result stands in it");
            self.fault(0, Fault::new(Rule::Yaml, "YAML block", message), out);
        }
    }
}
