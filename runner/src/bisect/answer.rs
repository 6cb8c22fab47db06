//! What a bisection found, and how it is told.

mod compared;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::state::{Parts, State, Step, Verdict};
use super::{Find, Subject};
use crate::error::{Error, Result};
use crate::parse::clean::one_line;
use crate::version::KernelVersion;
pub use compared::Compared;

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
    /// The command line that shows the failure on the bad one of the two, without the program's name.
    pub reproduce: Vec<String>,
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

/// Lines of a diff, or of what a test said, that are put into a mail.
const MAX_MAILED: usize = 80;
/// Lines of a diff, or of what a test said, that are shown on a terminal.
const MAX_SHOWN: usize = 30;

/// The beginning of a text, and how much more there is.
fn first_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{}\n… {more} lines more\n", lines[..most].join("\n")),
        _ => text.to_owned(),
    }
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

/// The verdicts, a line each; those of releases and those of commits under a heading each, where both were searched.
pub fn steps(state: &State) -> String {
    let table = |level: &State| -> String {
        let width = level.steps.iter().map(|step| step.shown.chars().count()).max().unwrap_or(0).min(60);
        level.steps.iter().map(|step| step_line(step, width, level) + "\n").collect()
    };
    let parts: Vec<String> = headed(state).map(|(heading, level)| heading + ":\n" + &table(level)).collect();
    if parts.is_empty() { table(state) } else { parts.join("\n") }
}

/// Both searches of a bisection with what they found, in words; nothing where there is one only.
fn headed(state: &State) -> impl Iterator<Item = (String, &State)> {
    let levels = state.releases.iter().flat_map(move |_| state.levels());
    levels.zip(["Releases", "Commits"]).map(|(level, name)| {
        let found = level.answer.as_ref().map(|answer| format!(", {}", last_line(level, answer)));
        (format!("{name}{}", found.unwrap_or_default()), level)
    })
}

/// Where the time went, in one line.
pub fn time_line(state: &State) -> String {
    let (before, steps) = state.time();
    let named = |parts: Parts| {
        let long = parts.named().into_iter().filter(|(_, seconds)| *seconds >= 0.05);
        long.map(|(name, seconds)| format!("{name} {seconds:.1}s")).collect::<Vec<_>>().join(", ")
    };
    let line = |what: String, parts: Parts| match named(parts) {
        known if known.is_empty() => format!("{what} {:.1}s", parts.sum()),
        known => format!("{what} {:.1}s: {known}", parts.sum()),
    };
    let count = state.levels().map(|level| level.steps.len()).sum::<usize>();
    let mut text = line(format!("{count} verdicts in"), steps);
    if before.sum() >= 0.05 {
        text += &line("; before the first step".to_owned(), before);
    }
    text
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
    let judged = (!names.is_empty()).then(|| format!("{said}: {}", names.join(", ")));
    let said: Vec<String> = judged.into_iter().chain(not_there(answer)).collect();
    (!said.is_empty()).then(|| said.join("\n\n"))
}

/// The point releases between the two neighbours that the archive has not.
fn not_there(answer: &Answer) -> Option<String> {
    let version = |subject: &Subject| subject.shown.parse::<KernelVersion>().ok();
    let (before, first) = (version(&answer.before)?, version(&answer.first)?);
    let series = |v: &KernelVersion| (v.major, v.minor, v.rc);
    let between = before.patch + 1..first.patch;
    if series(&before) != series(&first) || first.rc.is_some() {
        return None;
    }
    let names: Vec<String> = between.map(|patch| KernelVersion { patch, ..first }.to_string()).collect();
    let known = |name: &String| answer.doubtful.iter().any(|subject| subject.shown == *name);
    let names: Vec<String> = names.into_iter().filter(|name| !known(name)).collect();
    let shown = match &names[..] {
        [] => return None,
        [one] => one.clone(),
        [one, other] => format!("{one} or {other}"),
        [one, .., last] => format!("{one} to {last}"),
    };
    Some(format!("not to be had, and may be the first as well: {shown}"))
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
    if !evidence.reproduce.is_empty() {
        let _ = writeln!(text, "\nto reproduce: {}", command_line(&evidence.reproduce));
    }
    text
}

fn command_line(words: &[String]) -> String {
    format!("kvet {}", crate::quote::command(words))
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
    if !evidence.reproduce.is_empty() {
        let _ = writeln!(text, "To reproduce:\n\n    {}\n", command_line(&evidence.reproduce));
    }
    let _ = writeln!(text, "Found by:\n\n    {}\n", command_line(&state.command));
    let mut levels: Vec<(String, &State)> = headed(state).collect();
    if levels.is_empty() {
        levels.push((String::new(), state));
    }
    for (heading, level) in levels {
        if !heading.is_empty() {
            let _ = writeln!(text, "## {}\n", one_line(&heading));
        }
        text += &step_table(level);
    }
    let _ = writeln!(text, "{}", time_line(state));
    if !evidence.test.is_empty() {
        let _ = writeln!(text, "\n`{}` on {}:\n", evidence.test, answer.before.shown);
        let _ = writeln!(
            text,
            "{}\non {}:\n\n{}",
            first_lines(&indent(&evidence.before), MAX_MAILED),
            answer.first.shown,
            first_lines(&indent(&evidence.after), MAX_MAILED)
        );
    }
    for (what, compared) in [("The console", &evidence.console), ("The verifier", &evidence.verifier)] {
        let _ = match compared {
            Compared::Differ(diff) => {
                let diff = first_lines(diff, MAX_MAILED).replace("```", "'''");
                writeln!(text, "\n{what}:\n\n```diff\n{diff}```")
            }
            Compared::No(why) => writeln!(text, "\n{what}: no difference to show: {}", one_line(why)),
        };
    }
    text
}

/// The verdicts of one search as Markdown.
fn step_table(level: &State) -> String {
    let mut text = String::from("| verdict | kernel | seconds | run | |\n|---|---|--:|---|---|\n");
    for step in &level.steps {
        let cell = |text: &str| one_line(text).replace('|', "\\|");
        let said = [runs_said(step, level), step.reason.clone()];
        let said: Vec<String> = said.into_iter().filter(|part| !part.is_empty()).collect();
        let (shown, reason) = (cell(&step.shown), cell(&said.join("; ")));
        let (verdict, run) = (step.verdict, cell(&step.folder().unwrap_or_default()));
        let _ = writeln!(text, "| {verdict} | {shown} | {:.1} | {run} | {reason} |", step.seconds);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::state::replay;
    use super::*;

    #[test]
    fn releases_that_nobody_has_may_be_the_first_as_well() {
        let said = |before: &str, first: &str, doubtful: &[&str]| {
            let subject = |name: &str| Subject { kernel: format!("debian:{name}"), shown: name.into() };
            let doubtful = doubtful.iter().map(|name| subject(name)).collect();
            doubt(&Answer { first: subject(first), before: subject(before), doubtful, commit: None })
        };
        let there = "not to be had, and may be the first as well: ";
        assert_eq!(said("7.2.6", "7.2.9", &[]), Some(format!("{there}7.2.7 or 7.2.8")));
        assert_eq!(said("7.2.1", "7.2.9", &[]), Some(format!("{there}7.2.2 to 7.2.8")));
        let both = format!("could not be judged, and may be the first as well: 7.2.7\n\n{there}7.2.8");
        assert_eq!(said("7.2.6", "7.2.9", &["7.2.7"]), Some(both));
        assert_eq!((said("7.2.6", "7.2.7", &[]), said("7.1.13", "7.2.6", &[])), (None, None));
        assert_eq!(said("0123456789ab bpf: x", "0123456789ac bpf: y", &[]), None);
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
            reproduce: ["run", "-k", "k3", "-t", "dynptr/a b"].map(String::from).to_vec(),
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
            "to reproduce: kvet run -k k3 -t 'dynptr/a b'\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let mail = markdown(&state, &answer, &evidence);
        let fixes = "Fixes: 0123456789ab (\"bpf: break it\")";
        for part in [
            fixes,
            "\n\ncould not be judged, and may be the first as well: k2, k2.1\n\n",
            "To reproduce:\n\n    kvet run -k k3 -t 'dynptr/a b'\n",
            "Found by:\n\n    kvet bisect -t a\n",
            "| bad | k3 | 0.0 | steps/k3 | said by log |",
            "The verifier:\n\n```diff",
        ] {
            assert!(mail.contains(part), "{part} in {mail}");
        }
        assert_eq!(mail.matches("may be the first as well").count(), 1, "{mail}");
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
        let same = no("the same on both, but for times, addresses and ids");
        assert_eq!(Compared::of(said("[ 1.0] x\n"), said("[ 2.0] x\n")), same);
        let state = State::new(vec!["bisect".into()], Find::Bug, None, 1);
        let subject = |name: &str| Subject { kernel: name.into(), shown: name.into() };
        let (first, before) = (subject("k3"), subject("k1"));
        let answer = Answer { first, before, doubtful: Vec::new(), commit: None };
        let evidence = Evidence {
            reproduce: Vec::new(),
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

    #[test]
    fn a_mail_has_the_beginning_of_a_long_difference_and_json_all_of_it() {
        let state = State::new(vec!["bisect".into()], Find::Bug, None, 1);
        let subject = |name: &str| Subject { kernel: name.into(), shown: name.into() };
        let (first, before) = (subject("k3"), subject("k1"));
        let answer = Answer { first, before, doubtful: Vec::new(), commit: None };
        let lines = |what: &str| (0..300).map(|i| format!("{what} {i}\n")).collect::<String>();
        let evidence = Evidence {
            reproduce: Vec::new(),
            test: "t".into(),
            before: String::new(),
            after: lines("said"),
            console: Compared::of(Ok(lines("a")), Ok(lines("b"))),
            verifier: Compared::No("there is none".into()),
        };
        let json: serde_json::Value = serde_json::from_slice(&json(&state, &evidence).unwrap()).unwrap();
        let whole = json["evidence"]["console"]["differ"].as_str().unwrap();
        assert!(whole.ends_with("+b 299\n") && whole.lines().count() == 603, "{whole}");
        assert_eq!(json["evidence"]["after"], lines("said"));
        let mail = markdown(&state, &answer, &evidence);
        assert!(mail.contains("\n    said 79\n… 220 lines more\n"), "{mail}");
        assert!(mail.contains("\n-a 76\n… 523 lines more\n```\n"), "{mail}");
        assert!(text(&state, &answer, &evidence).contains("\n-a 26\n… 573 lines more\n"));
    }

    /// Releases and then commits, each with its answer.
    fn both_levels() -> (State, Answer) {
        let level = |log: &str, before: &str, first: &str| {
            let subject = |name: &str| Subject { kernel: name.into(), shown: name.into() };
            let (first, before) = (subject(first), subject(before));
            let answer = Answer { first, before, doubtful: Vec::new(), commit: None };
            let mut state = State::new(["bisect", "-t", "a"].map(String::from).to_vec(), Find::Fix, None, 1);
            state.steps = replay(log, "log").unwrap();
            for step in &mut state.steps {
                step.parts.boot = 2.0;
            }
            state.prepared.make = 30.0;
            state.answer = Some(answer.clone());
            (state, answer)
        };
        let (releases, _) = level("bad debian:7.2.6\ngood debian:7.2.9\n", "debian:7.2.6", "debian:7.2.9");
        let (commits, answer) = level("bad git:/l@1\ngood git:/l@3\nskip git:/l@2\n", "git:/l@1", "git:/l@3");
        (State { releases: Some(Box::new(releases)), ..commits }, answer)
    }

    #[test]
    fn of_releases_and_then_commits_both_are_told() {
        let (state, answer) = both_levels();
        let evidence = Evidence {
            reproduce: Vec::new(),
            test: String::new(),
            before: String::new(),
            after: String::new(),
            console: Compared::No("x".into()),
            verifier: Compared::No("x".into()),
        };
        let text = text(&state, &answer, &evidence);
        let mail = markdown(&state, &answer, &evidence);
        let headings = ["Releases, first fixed: debian:7.2.9", "Commits, first fixed: git:/l@3"];
        let kernels = [&["debian:7.2.6", "debian:7.2.9"][..], &["git:/l@1", "git:/l@3", "git:/l@2"]];
        for (whole, heading, line) in [(&text, "", "  "), (&mail, "## ", " | ")] {
            let mut rest = whole.split_once(&format!("{heading}{}", headings[0])).expect(whole).1;
            for (level, kernels) in kernels.iter().enumerate() {
                let next = headings.get(level + 1).map(|next| format!("{heading}{next}"));
                let (own, after) = next.map_or((rest, ""), |next| rest.split_once(&next).expect(whole));
                for kernel in *kernels {
                    assert!(own.contains(&format!("{line}{kernel}")), "{kernel} below its heading: {whole}");
                }
                assert!(level > 0 || !own.contains("git:/l@2"), "{whole}");
                rest = after;
            }
            let time = "5 verdicts in 10.0s: boot 10.0s; before the first step 60.0s: make 60.0s";
            assert!(whole.contains(time), "{whole}");
        }
        let json: serde_json::Value = serde_json::from_slice(&json(&state, &evidence).unwrap()).unwrap();
        assert_eq!(json["steps"].as_array().unwrap().len(), 3);
        assert_eq!(json["releases"]["steps"][1]["kernel"], "debian:7.2.9");
        // What --replay takes for both searches.
        let log = state.log();
        let again = replay(&log, "log").unwrap();
        assert_eq!(again.len(), 5);
        assert_eq!(State::keep(again.clone(), "debian").len(), 2);
        assert_eq!(State::keep(again, "git").len(), 3);
        assert_eq!(log.matches("# kvet").count(), 1, "{log}");
    }
}
