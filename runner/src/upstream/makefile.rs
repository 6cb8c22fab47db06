//! The lists in the selftests' Makefile that say what belongs together: linked and light skeletons, helpers, extra files.
//!
//! Only plain assignments are read, and nothing is expanded: what make does with them, make does.

use std::collections::BTreeMap;

/// Variables and the words of their first values that are not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Makefile {
    variables: BTreeMap<String, Vec<String>>,
    /// What single test objects need, by the object's name.
    needs: BTreeMap<String, Vec<String>>,
}

impl Makefile {
    /// Reads a Makefile's text.
    pub fn parse(text: &str) -> Self {
        let mut makefile = Self::default();
        for line in joined(text) {
            // Indented lines are recipes; `define` bodies hold assignments with `$$`, which are templates.
            if line.starts_with(['\t', ' ', '#']) {
                continue;
            }
            if let Some((target, needs)) =
                line.split_once(':').filter(|(target, _)| target.ends_with(".test.o"))
            {
                let target = target.rsplit('/').next().unwrap_or_default().to_owned();
                makefile.needs.entry(target).or_default().extend(split(needs));
            }
            let Some((name, value)) = line.split_once('=') else { continue };
            let name = name.trim_end_matches([':', '?', '+', ' ', '\t']);
            if name.is_empty() || name.contains(['$', ' ', '\t', ':', '(']) {
                continue;
            }
            let words: Vec<String> = split(value);
            let old = makefile.variables.entry(name.to_owned()).or_default();
            // The lists of test_progs come first; other programs set the same variables anew.
            if old.is_empty() {
                *old = words;
            }
        }
        makefile
    }

    /// What a rule of its own says that a test's object needs.
    pub fn needs_of(&self, object: &str) -> &[String] {
        self.needs.get(object).map_or(&[], Vec::as_slice)
    }

    /// The words of a variable; none where it is not set.
    pub fn words(&self, name: &str) -> &[String] {
        self.variables.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Lines with their continuations.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some(last) if goes_on => {
                last.push(' ');
                last.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
        goes_on = more;
    }
    lines
}

/// Words, where `$(wildcard a b)` is one.
fn split(value: &str) -> Vec<String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0u32);
    for c in value.chars() {
        match c {
            '#' if depth == 0 => break,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty()));
        } else {
            word.push(c);
        }
    }
    words.extend(Some(word).filter(|w| !w.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_templates_are_not() {
        let text = "A := one.c two.c \\\n\tthree.c # said why\nB += x\nA := later\n\tA = recipe\n\
                    s.skel.h-deps := a.bpf.o b.bpf.o\nEXTRA := $(OUTPUT)/x $(wildcard p/*.c q/*.c) \\\n  y.sh\n\
                    $(1)_T := $$(A)\nempty :=\nempty := now\n%.o: C = t\n\
                    $(OUT)/x.test.o: $(TOOL) $(OUT)/data.bpf.o\n";
        let makefile = Makefile::parse(text);
        assert_eq!(makefile.words("A"), ["one.c", "two.c", "three.c"]);
        assert_eq!(makefile.words("s.skel.h-deps"), ["a.bpf.o", "b.bpf.o"]);
        assert_eq!(makefile.words("EXTRA"), ["$(OUTPUT)/x", "$(wildcard p/*.c q/*.c)", "y.sh"]);
        assert_eq!(makefile.words("empty"), ["now"]);
        assert_eq!(makefile.needs_of("x.test.o"), ["$(TOOL)", "$(OUT)/data.bpf.o"]);
        assert_eq!(makefile.words("B"), ["x"]);
        assert!(makefile.words("$(1)_T").is_empty() && makefile.words("C").is_empty());
    }
}
