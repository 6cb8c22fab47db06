//! What a row of outcomes amounts to, from the oldest kernel to the newest.

use serde::Serialize;

use crate::event::{Cause, Outcome};

/// A row's kind, for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// It passes on every kernel.
    Always,
    /// Older kernels skip it, all others pass it.
    Since,
    /// It could be judged on no kernel, and some said why.
    Skipped,
    /// No kernel has anything to say about it.
    Unknown,
    /// It passes on some kernels and not on others, the newest included in those that pass.
    Fixed,
    /// It passes on some kernels, and not on the newest.
    Regressed,
    /// It passes on no kernel.
    Failing,
    /// It fails on no kernel but as a known bug makes it fail.
    Known,
}

/// An outcome, and of an error its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// In one word.
    pub outcome: Outcome,
    /// What kept it from a result, where that is known.
    pub cause: Option<Cause>,
}

/// The kind and the words of a row. `labels` name the kernels.
pub fn judge(labels: &[&str], marks: &[Option<Mark>]) -> (Trend, String) {
    let judged: Vec<(usize, Mark)> = marks
        .iter()
        .enumerate()
        .filter_map(|(i, mark)| mark.filter(|m| is_judgement(m.outcome)).map(|m| (i, m)))
        .collect();
    let skips = |marks: &[Option<Mark>]| marks.iter().flatten().any(|m| m.outcome == Outcome::Skip);
    let Some(&(first, begin)) = judged.first() else {
        let skipped = skips(marks);
        return if skipped { (Trend::Skipped, "skipped".into()) } else { (Trend::Unknown, "not run".into()) };
    };
    let older = skips(&marks[..first]);
    // What was measured, and no more: the releases between the two may do either.
    let before = marks[..first].iter().rposition(|mark| mark.is_some_and(|m| m.outcome == Outcome::Skip));
    let since = before.map(|before| format!("{}, not {}", labels[first], labels[before]));
    let mut words: Vec<String> = since.into_iter().collect();
    if judged.iter().all(|(_, mark)| *mark == begin) {
        let everywhere = judged.len() == marks.len();
        return uniform(begin, older, everywhere, words);
    }
    if begin.outcome != Outcome::Pass {
        words.push(first_words(begin).to_owned());
    }
    for pair in judged.windows(2) {
        if let Some(word) = step(pair[0].1, pair[1].1) {
            words.push(format!("{word} in {}", labels[pair[1].0]));
        }
    }
    (mixed(&judged), words.join(", "))
}

/// Whether an outcome says something about the kernel.
pub fn is_judgement(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Skip | Outcome::NotRun)
}

fn uniform(mark: Mark, older: bool, everywhere: bool, mut words: Vec<String>) -> (Trend, String) {
    let trend = match mark.outcome {
        Outcome::Pass if older => return (Trend::Since, words.remove(0)),
        Outcome::Pass if everywhere => return (Trend::Always, "always".into()),
        Outcome::Pass => return (Trend::Always, "always where it ran".into()),
        Outcome::Xfail => Trend::Known,
        _ => Trend::Failing,
    };
    words.push(
        match mark.outcome {
            Outcome::Xfail => "always a known bug",
            Outcome::Error => match mark.cause {
                Some(Cause::Crash) => "always crashes",
                Some(Cause::TimeOut) => "always times out",
                None => "always an error",
            },
            _ => "always fails",
        }
        .to_owned(),
    );
    (trend, words.join(", "))
}

fn mixed(judged: &[(usize, Mark)]) -> Trend {
    let known = |mark: &Mark| matches!(mark.outcome, Outcome::Pass | Outcome::Xfail);
    let last = judged.last().map(|(_, mark)| mark.outcome);
    match last {
        _ if judged.iter().all(|(_, mark)| known(mark)) => Trend::Known,
        Some(Outcome::Pass) => Trend::Fixed,
        _ if judged.iter().any(|(_, mark)| mark.outcome == Outcome::Pass) => Trend::Regressed,
        _ => Trend::Failing,
    }
}

fn first_words(mark: Mark) -> &'static str {
    match mark.outcome {
        Outcome::Xfail => "known bug",
        Outcome::Error => error_words(mark.cause),
        _ => "fails",
    }
}

fn error_words(cause: Option<Cause>) -> &'static str {
    match cause {
        Some(Cause::Crash) => "crashes",
        Some(Cause::TimeOut) => "times out",
        None => "error",
    }
}

/// From one kernel to the next.
fn step(from: Mark, to: Mark) -> Option<&'static str> {
    match (from.outcome, to.outcome) {
        _ if from == to => None,
        (_, Outcome::Pass) => Some("fixed"),
        (Outcome::Pass, Outcome::Xfail) => Some("known bug"),
        (_, Outcome::Error) => Some(error_words(to.cause)),
        (Outcome::Pass, _) => Some("regressed"),
        (_, Outcome::Xfail) => Some("known bug"),
        (_, _) => Some("fails"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter a kernel, as in the legend.
    fn row(letters: &str) -> (Trend, String) {
        let labels = ["6.1", "6.12", "6.18", "7.0", "7.2.6", "7.2.9"];
        let mark = |c: char| {
            let (outcome, sign) = super::super::legend().find(|(_, sign)| sign.0 == c)?;
            let cause = match sign {
                super::super::CRASH => Some(Cause::Crash),
                super::super::TIME_OUT => Some(Cause::TimeOut),
                _ => None,
            };
            Some(Mark { outcome, cause })
        };
        let marks: Vec<Option<Mark>> = letters.chars().map(mark).collect();
        judge(&labels[..marks.len()], &marks)
    }

    #[test]
    fn rows_in_words() {
        for (letters, trend, words) in [
            ("......", Trend::Always, "always"),
            ("--....", Trend::Since, "6.18, not 6.12"),
            ("-.-...", Trend::Since, "6.12, not 6.1"),
            (". . ..", Trend::Always, "always where it ran"),
            ("..?...", Trend::Always, "always where it ran"),
            (".-....", Trend::Always, "always where it ran"),
            ("------", Trend::Skipped, "skipped"),
            ("??????", Trend::Unknown, "not run"),
            ("      ", Trend::Unknown, "not run"),
            ("--.FF.", Trend::Fixed, "6.18, not 6.12, regressed in 7.0, fixed in 7.2.9"),
            ("...FFF", Trend::Regressed, "regressed in 7.0"),
            ("..F-FF", Trend::Regressed, "regressed in 6.18"),
            ("FFF...", Trend::Fixed, "fails, fixed in 7.0"),
            ("-FFFFF", Trend::Failing, "6.12, not 6.1, always fails"),
            ("EEEEEE", Trend::Failing, "always an error"),
            ("CCCCCC", Trend::Failing, "always crashes"),
            (".C....", Trend::Fixed, "crashes in 6.12, fixed in 6.18"),
            ("FFCCEE", Trend::Failing, "fails, crashes in 6.18, error in 7.2.6"),
            ("TTTTTT", Trend::Failing, "always times out"),
            ("..CCT.", Trend::Fixed, "crashes in 6.18, times out in 7.2.6, fixed in 7.2.9"),
            (".E....", Trend::Fixed, "error in 6.12, fixed in 6.18"),
            ("FFEEEE", Trend::Failing, "fails, error in 6.18"),
            ("xxxxx.", Trend::Known, "known bug, fixed in 7.2.9"),
            (
                "-.x.x.",
                Trend::Known,
                "6.12, not 6.1, known bug in 6.18, fixed in 7.0, known bug in 7.2.6, fixed in 7.2.9",
            ),
            ("xxxxxx", Trend::Known, "always a known bug"),
            ("x.F...", Trend::Fixed, "known bug, fixed in 6.12, regressed in 6.18, fixed in 7.0"),
            ("", Trend::Unknown, "not run"),
        ] {
            assert_eq!(row(letters), (trend, words.to_owned()), "{letters}");
        }
    }
}
