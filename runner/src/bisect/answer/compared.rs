//! Two logs, and what they say differently.

use serde::Serialize;
use similar::TextDiff;

use super::first_lines;

/// What became of comparing two logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// A unified diff.
    Differ(String),
    /// There is none to show, and why.
    No(String),
}

impl Compared {
    /// Compares what was said on both sides. What is not there has its reason.
    pub fn of(
        before: std::result::Result<String, String>,
        after: std::result::Result<String, String>,
    ) -> Self {
        let (before, after) = match (before, after) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(why), _) | (_, Err(why)) => return Self::No(why),
        };
        let diff = difference(&before, &after);
        match (diff.is_empty(), before.trim().is_empty() && after.trim().is_empty()) {
            (false, _) => Self::Differ(diff),
            (true, true) => Self::No("nothing was said on either".into()),
            (true, false) => Self::No("the same on both, but for times, addresses and ids".into()),
        }
    }
}

/// Lines of context in a diff.
const CONTEXT: usize = 2;
/// Lines of a diff that are kept.
const MAX_KEPT: usize = 20_000;

/// A unified diff of two texts. Times, addresses and ids are taken out first: they always differ.
fn difference(before: &str, after: &str) -> String {
    let (before, after) = (comparable(before), comparable(after));
    let diff = TextDiff::from_lines(&before, &after);
    let text = diff.unified_diff().context_radius(CONTEXT).header("before", "after").to_string();
    first_lines(&text, MAX_KEPT)
}

/// Without printk's times (`[    1.234567] `), what the verifier took, the kernel's addresses, and the numbers that its functions have
/// in BTF.
fn comparable(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("verification time "));
    lines.map(|line| without_ids(&without_addresses(without_time(line))) + "\n").collect()
}

/// `call bpf_dynptr_slice#68803`, as the verifier prints an instruction: which of a kernel's types it is says nothing.
fn without_ids(line: &str) -> String {
    match line.split_once(") call ").and_then(|(_, called)| called.split_once('#')) {
        Some((_, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            let named = &line[..line.len() - rest.len()];
            format!("{named}…{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        _ => line.to_owned(),
    }
}

fn without_time(line: &str) -> &str {
    let rest = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("] "));
    match rest {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

/// An address of the kernel's: sixteen digits that begin with this.
const ADDRESS: &str = "0xffff";

fn without_addresses(line: &str) -> String {
    let mut parts = line.split(ADDRESS);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        text += ADDRESS;
        text += if digits == 12 { "…" } else { &part[..digits] };
        text += &part[digits..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_has_no_times() {
        let before = "[    0.100000] a\n[    0.200000] b\n[    0.300000] c\n";
        let after = "[    0.111111] a\n[    0.222222] B\n[    0.333333] c\n";
        assert_eq!(difference(before, after), "--- before\n+++ after\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(difference(before, &before.replace("0.1", "9.9")), "");
        let loaded = |address| {
            format!("2: (18) r1 = 0xffff{address} ; R2=0xffffffff\nverification time {address} usec\n")
        };
        assert_eq!(difference(&loaded("888005fa0600"), &loaded("888005fb0000")), "");
        let called =
            |id| format!("8: (85) call bpf_dynptr_slice#{id}       ; R0=rdonly_mem_or_null(id=2,sz=#3)\n");
        assert_eq!(difference(&called(68803), &called(68853)), "");
        assert!(!difference(&called(1), &called(1).replace("=#3", "=#4")).is_empty());
        let numbers = |to: usize| (0..to).map(|i| format!("{i}\n")).collect::<String>();
        assert!(difference("", &numbers(5000)).ends_with("+4999\n"), "a program reads all of it");
        assert!(difference("", &numbers(MAX_KEPT + 500)).ends_with("lines more\n"));
    }
}
