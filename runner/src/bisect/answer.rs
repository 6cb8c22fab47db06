//! What a bisection found, and how it is told.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use super::state::{Parts, State, Step, Verdict};
use super::{Find, Subject};
use crate::error::{Error, Result};
use crate::parse::clean::one_line;

/// Where it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The first kernel on the newer side.
    #[serde(with = "subject")]
    pub first: Subject,
    /// The nearest one that was judged to be on the older side.
    #[serde(with = "subject")]
    pub before: Subject,
    /// Kernels between the two that could not be judged: any of them may be the first.
    #[serde(with = "subjects")]
    pub doubtful: Vec<Subject>,
    /// What is known of the first, where it is a commit.
    pub commit: Option<Commit>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Its whole hash.
    pub hash: String,
    /// `Name <mail>`.
    pub author: String,
    /// When, as git says it.
    pub date: String,
    /// Its subject.
    pub subject: String,
    /// `git diff --stat` of it.
    pub stat: String,
}

mod subject {
    use super::Subject;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(s: &Subject, to: S) -> Result<S::Ok, S::Error> {
        (&s.kernel, &s.shown).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Subject, D::Error> {
        <(String, String)>::deserialize(d).map(|(kernel, shown)| Subject { kernel, shown })
    }
}

mod subjects {
    use super::Subject;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(all: &[Subject], to: S) -> Result<S::Ok, S::Error> {
        all.iter().map(|s| (&s.kernel, &s.shown)).collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Subject>, D::Error> {
        let all = Vec::<(String, String)>::deserialize(d)?;
        Ok(all.into_iter().map(|(kernel, shown)| Subject { kernel, shown }).collect())
    }
}

/// What the logs of the last kernel before and of the first one say differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The failing test; empty where there are no two runs to compare.
    pub test: String,
    /// Its message and text on the older side.
    pub before: String,
    /// On the newer side.
    pub after: String,
    /// The consoles while the test ran.
    pub console: Compared,
    /// What the verifier said of the test's programs.
    pub verifier: Compared,
}

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
            (true, false) => Self::No("the same on both, but for times and addresses".into()),
        }
    }
}

/// Lines of context in a diff.
const CONTEXT: usize = 2;
/// Lines of a diff that are shown.
const MAX_DIFF: usize = 80;

/// Lines of a diff, or of what a test said, that are shown on a terminal.
const MAX_SHOWN: usize = 30;

/// A unified diff of two texts, cut to what a person reads. Times and addresses are taken out first: they always differ.
pub fn difference(before: &str, after: &str) -> String {
    let (before, after) = (comparable(before), comparable(after));
    let diff = TextDiff::from_lines(&before, &after);
    let text = diff.unified_diff().context_radius(CONTEXT).header("before", "after").to_string();
    first_lines(&text, MAX_DIFF)
}

/// The beginning of a text, and how much more there is.
fn first_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{}\n… {more} lines more\n", lines[..most].join("\n")),
        _ => text.to_owned(),
    }
}

/// Without printk's times (`[    1.234567] `), what the verifier took, and the kernel's addresses.
fn comparable(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("verification time "));
    lines.map(|line| without_addresses(without_time(line)) + "\n").collect()
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

/// The state and what the runs say differently, for tools.
///
/// # Errors
/// The host's: it cannot be written as JSON.
pub fn json(state: &State, evidence: &Evidence) -> Result<Vec<u8>> {
    let value = serde_json::to_value(state).and_then(|mut value| {
        value["evidence"] = serde_json::to_value(evidence)?;
        serde_json::to_vec_pretty(&value)
    });
    value.map_err(|e| Error::host("cannot turn the answer into JSON").because(e))
}

/// The last line of standard output, for scripts.
pub fn last_line(state: &State, answer: &Answer) -> String {
    format!("first {}: {}", state.find.word(), answer.first.shown)
}

/// The verdicts, a line each.
pub fn steps(state: &State) -> String {
    let width = state.steps.iter().map(|step| step.shown.chars().count()).max().unwrap_or(0).min(60);
    state.steps.iter().map(|step| step_line(step, width, state) + "\n").collect()
}

/// Where the time went, in one line.
pub fn time_line(state: &State) -> String {
    let seconds: f64 = state.steps.iter().map(|step| step.seconds).sum();
    let mut parts = Parts::default().named();
    for step in &state.steps {
        for (part, (_, more)) in parts.iter_mut().zip(step.parts.named()) {
            part.1 += more;
        }
    }
    let parts: Vec<String> =
        parts.iter().filter(|(_, s)| *s >= 0.05).map(|(name, s)| format!("{name} {s:.1}s")).collect();
    let known = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{} verdicts in {seconds:.1}s{known}", state.steps.len())
}

/// One verdict.
pub fn step_line(step: &Step, width: usize, state: &State) -> String {
    let mut line = format!("{:4}  {:width$}  {:6.1}s", step.verdict, one_line(&step.shown), step.seconds);
    let runs = Some(runs_said(step, state));
    for more in [runs, step.folder(), Some(one_line(&step.reason))].into_iter().flatten() {
        if !more.is_empty() {
            let _ = write!(line, "  {more}");
        }
    }
    line
}

/// What several runs of a kernel showed, and how sure it is that it is good: never quite, which rounding must not hide.
fn runs_said(step: &Step, state: &State) -> String {
    if step.runs < 2 {
        return String::new();
    }
    let failed = format!("{} of {} runs failed", step.failed_runs, step.runs);
    match step.verdict {
        Verdict::Good => {
            let percent = (100.0 * state.confidence(step.runs)).floor().min(99.0);
            format!("{failed} ({percent} % sure)")
        }
        Verdict::Bad | Verdict::Skip => failed,
    }
}

/// Kernels that may be the first as well, if there are any.
fn doubt(answer: &Answer) -> Option<String> {
    let names: Vec<String> = answer.doubtful.iter().map(|subject| one_line(&subject.shown)).collect();
    let said = "could not be judged, and may be the first as well";
    (!names.is_empty()).then(|| format!("{said}: {}", names.join(", ")))
}

/// The answer for people.
pub fn text(state: &State, answer: &Answer, evidence: &Evidence) -> String {
    let mut text = format!("\n{}\n{}\n", steps(state), time_line(state));
    if let Some(doubt) = doubt(answer) {
        let _ = writeln!(text, "\n{doubt}");
    }
    if let Some(commit) = &answer.commit {
        let _ = writeln!(
            text,
            "\ncommit {}\nAuthor: {}\nDate:   {}\n\n    {}\n\n{}",
            commit.hash,
            one_line(&commit.author),
            one_line(&commit.date),
            one_line(&commit.subject),
            commit.stat.trim_end()
        );
    }
    if !evidence.test.is_empty() {
        let said = |text: &str| first_lines(&indent(text), MAX_SHOWN);
        let (before, after) = (said(&evidence.before), said(&evidence.after));
        let _ = writeln!(text, "\n{} on {}:\n{before}", evidence.test, answer.before.shown);
        let _ = writeln!(text, "{} on {}:\n{after}", evidence.test, answer.first.shown);
    }
    for (what, compared) in [("the console", &evidence.console), ("the verifier", &evidence.verifier)] {
        let (before, first) = (&answer.before.shown, &answer.first.shown);
        let _ = match compared {
            Compared::Differ(diff) => {
                writeln!(text, "\n{what}, {before} → {first}:\n{}", first_lines(diff, MAX_SHOWN))
            }
            Compared::No(why) => writeln!(text, "{what}, {before} → {first}: no difference to show: {why}"),
        };
    }
    text
}

fn indent(text: &str) -> String {
    let text = if text.trim().is_empty() { "passes" } else { text.trim_end() };
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// `Fixes:` names the commit that broke something (the kernel's submitting-patches), and is no line for one that mends it.
fn tag(find: Find) -> &'static str {
    match find {
        Find::Bug => "Fixes",
        Find::Fix => "Fixed-by",
    }
}

/// The answer as Markdown, ready for a mail to a list.
pub fn markdown(state: &State, answer: &Answer, evidence: &Evidence) -> String {
    let what = state.find.word();
    let mut text = format!("# First {what}: {}\n\n", one_line(&answer.first.shown));
    if let Some(symptom) = &state.symptom {
        for sign in &symptom.signs {
            let _ = writeln!(text, "- `{}`: {}", sign.test, one_line(&sign.message));
        }
        text.push('\n');
    }
    if let Some(doubt) = doubt(answer) {
        let _ = writeln!(text, "{doubt}\n");
    }
    if let Some(commit) = &answer.commit {
        let short: String = commit.hash.chars().take(12).collect();
        let _ = writeln!(text, "{}, {}\n", one_line(&commit.author), one_line(&commit.date));
        let tag = tag(state.find);
        let _ = writeln!(text, "    {tag}: {short} (\"{}\")\n", one_line(&commit.subject));
        let _ = writeln!(text, "```\n{}\n```\n", commit.stat.trim_end());
    }
    let _ = writeln!(text, "To reproduce:\n\n    kvet {}\n", crate::quote::command(&state.command));
    let _ = writeln!(text, "| verdict | kernel | seconds | run | |\n|---|---|--:|---|---|");
    for step in &state.steps {
        let cell = |text: &str| one_line(text).replace('|', "\\|");
        let said = [runs_said(step, state), step.reason.clone()];
        let said: Vec<String> = said.into_iter().filter(|part| !part.is_empty()).collect();
        let (shown, reason) = (cell(&step.shown), cell(&said.join("; ")));
        let (verdict, run) = (step.verdict, cell(&step.folder().unwrap_or_default()));
        let _ = writeln!(text, "| {verdict} | {shown} | {:.1} | {run} | {reason} |", step.seconds);
    }
    let _ = writeln!(text, "\n{}", time_line(state));
    if !evidence.test.is_empty() {
        let _ = writeln!(text, "\n`{}` on {}:\n", evidence.test, answer.before.shown);
        let _ = writeln!(
            text,
            "{}\non {}:\n\n{}",
            indent(&evidence.before),
            answer.first.shown,
            indent(&evidence.after)
        );
    }
    for (what, compared) in [("The console", &evidence.console), ("The verifier", &evidence.verifier)] {
        let _ = match compared {
            Compared::Differ(diff) => {
                writeln!(text, "\n{what}:\n\n```diff\n{}```", diff.replace("```", "'''"))
            }
            Compared::No(why) => writeln!(text, "\n{what}: no difference to show: {}", one_line(why)),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::state::replay;
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
        let long: String = (0..500).map(|i| format!("{i}\n")).collect();
        assert!(difference("", &long).ends_with("lines more\n"));
    }

    #[test]
    fn everything_is_told() {
        let mut state = State::new(["bisect", "-t", "a"].map(String::from).to_vec(), Find::Bug, None, 1);
        state.steps = replay("bad k3\ngood k1\nskip k2 # did not boot\n", "log").unwrap();
        state.steps[0].dirs = vec!["results/bisect-1/steps/k3/k3-x86_64-dynptr".into()];
        let subject = |name: &str| Subject { kernel: name.into(), shown: name.into() };
        let answer = Answer {
            first: subject("k3"),
            before: subject("k1"),
            doubtful: vec![subject("k2"), subject("k2.1")],
            commit: Some(Commit {
                hash: "0123456789abcdef".into(),
                author: "A <a@b>".into(),
                date: "today".into(),
                subject: "bpf: break it".into(),
                stat: " kernel/bpf/helpers.c | 2 +-".into(),
            }),
        };
        let evidence = Evidence {
            test: "dynptr/a".into(),
            before: String::new(),
            after: "expected 3".into(),
            console: Compared::of(Ok("x\n".into()), Ok("y\n".into())),
            verifier: Compared::of(Ok("0: (b7) r0 = 0\n".into()), Ok("0: (b7) r0 = 1\n".into())),
        };
        assert_eq!(last_line(&state, &answer), "first bad: k3");
        let text = text(&state, &answer, &evidence);
        for part in [
            "bad   k3",
            "  steps/k3  said by log",
            "may be the first as well: k2, k2.1\n",
            "bpf: break it",
            "dynptr/a on k1:\n    passes",
            "-x\n+y",
            "the verifier, k1 → k3:",
            "-0: (b7) r0 = 0\n+0: (b7) r0 = 1",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let mail = markdown(&state, &answer, &evidence);
        let fixes = "Fixes: 0123456789ab (\"bpf: break it\")";
        for part in [
            fixes,
            "\n\ncould not be judged, and may be the first as well: k2, k2.1\n\n",
            "kvet bisect -t a",
            "| bad | k3 | 0.0 | steps/k3 | said by log |",
            "The verifier:\n\n```diff",
        ] {
            assert!(mail.contains(part), "{part} in {mail}");
        }
        let fixed = markdown(&State { find: Find::Fix, ..state.clone() }, &answer, &evidence);
        assert!(fixed.contains("    Fixed-by: 0123456789ab (\"bpf") && !fixed.contains("Fixes:"), "{fixed}");
        state.answer = Some(answer.clone());
        let json: serde_json::Value = serde_json::from_slice(&json(&state, &evidence).unwrap()).unwrap();
        assert_eq!(json["steps"][0]["verdict"], "bad");
        assert_eq!(json["answer"]["doubtful"], serde_json::json!([["k2", "k2"], ["k2.1", "k2.1"]]));
        let Compared::Differ(diff) = &evidence.verifier else { panic!("{:?}", evidence.verifier) };
        assert_eq!(json["evidence"]["verifier"]["differ"], diff.as_str());
    }

    #[test]
    fn that_there_is_no_difference_is_said_with_the_reason() {
        let said = |text: &str| Ok(text.to_owned());
        let missing = || Err("it crashed before".to_owned());
        let no = |why: &str| Compared::No(why.into());
        assert_eq!(Compared::of(missing(), said("x")), no("it crashed before"));
        assert_eq!(Compared::of(said("x"), missing()), no("it crashed before"));
        assert_eq!(Compared::of(said(""), said("")), no("nothing was said on either"));
        let same = no("the same on both, but for times and addresses");
        assert_eq!(Compared::of(said("[ 1.0] x\n"), said("[ 2.0] x\n")), same);
        let state = State::new(vec!["bisect".into()], Find::Bug, None, 1);
        let subject = |name: &str| Subject { kernel: name.into(), shown: name.into() };
        let (first, before) = (subject("k3"), subject("k1"));
        let answer = Answer { first, before, doubtful: Vec::new(), commit: None };
        let evidence = Evidence {
            test: String::new(),
            before: String::new(),
            after: String::new(),
            console: same,
            verifier: no("it crashed before"),
        };
        let text = text(&state, &answer, &evidence);
        assert!(text.contains("the console, k1 → k3: no difference to show: the same on both"), "{text}");
        let mail = markdown(&state, &answer, &evidence);
        assert!(mail.contains("The verifier: no difference to show: it crashed before"), "{mail}");
        let json: serde_json::Value = serde_json::from_slice(&json(&state, &evidence).unwrap()).unwrap();
        assert_eq!(json["evidence"]["verifier"]["no"], "it crashed before");
    }
}
