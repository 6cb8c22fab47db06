//! A search over kernels in a row: releases, the oldest first.

use super::answer::Answer;
use super::{Next, Search, Subject};
use crate::error::Result;

/// Halves a row of kernels. Those that cannot be judged are gone around.
#[derive(Debug)]
pub struct Row {
    subjects: Vec<Subject>,
    known: Vec<Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    Older,
    Newer,
    Skipped,
}

impl Row {
    /// A search between the first and the last of these.
    ///
    /// # Panics
    /// There are fewer than two.
    pub fn new(subjects: Vec<Subject>) -> Self {
        assert!(subjects.len() >= 2, "a row has two ends");
        let mut known = vec![Known::No; subjects.len()];
        known[0] = Known::Older;
        if let Some(last) = known.last_mut() {
            *last = Known::Newer;
        }
        Self { subjects, known }
    }

    /// The last that is certainly older than the change, and the first that is certainly not.
    fn bounds(&self) -> (usize, usize) {
        let older = self.known.iter().rposition(|k| *k == Known::Older).unwrap_or(0);
        let newer = self.known.iter().position(|k| *k == Known::Newer).unwrap_or(self.known.len() - 1);
        (older, newer)
    }
}

impl Search for Row {
    fn ends(&self) -> (Subject, Subject) {
        (self.subjects[0].clone(), self.subjects[self.subjects.len() - 1].clone())
    }

    fn between(&self) -> (Subject, Subject) {
        let (older, newer) = self.bounds();
        (self.subjects[older].clone(), self.subjects[newer].clone())
    }

    fn has(&self, kernel: &str) -> bool {
        self.subjects.iter().any(|subject| subject.kernel == kernel)
    }

    fn next(&mut self) -> Result<Next> {
        let (older, newer) = self.bounds();
        let open: Vec<usize> = (older + 1..newer).filter(|i| self.known[*i] == Known::No).collect();
        // The middle of what is between the bounds, as near as there is one to be judged.
        let middle = older + (newer - older) / 2;
        let Some(&chosen) = open.iter().min_by_key(|i| i.abs_diff(middle)) else {
            return Ok(Next::Done(Answer {
                first: self.subjects[newer].clone(),
                before: self.subjects[older].clone(),
                doubtful: self.subjects[older + 1..newer].to_vec(),
                commit: None,
            }));
        };
        let left = open.len() - 1;
        Ok(Next::Test { subject: self.subjects[chosen].clone(), left, steps: halvings(left) })
    }

    fn tell(&mut self, subject: &Subject, newer: Option<bool>) -> Result<()> {
        if let Some(index) = self.subjects.iter().position(|s| s == subject) {
            self.known[index] = match newer {
                Some(true) => Known::Newer,
                Some(false) => Known::Older,
                None => Known::Skipped,
            };
        }
        Ok(())
    }
}

/// How often a row of that many must be halved.
pub(super) fn halvings(left: usize) -> usize {
    (usize::BITS - left.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(count: usize) -> Row {
        let subject = |i: usize| Subject { kernel: format!("k{i}"), shown: format!("{i}") };
        Row::new((0..count).map(subject).collect())
    }

    /// Finds the first newer one among `count`, where `skip` cannot be judged. Gives the answer and the number of verdicts.
    fn find(count: usize, first: usize, skip: &[usize]) -> (usize, Vec<usize>, usize) {
        let mut row = row(count);
        let number = |s: &Subject| s.shown.parse::<usize>().unwrap();
        for verdicts in 0..count {
            match row.next().unwrap() {
                Next::Done(answer) => {
                    let doubtful = answer.doubtful.iter().map(number).collect();
                    return (number(&answer.first), doubtful, verdicts);
                }
                Next::Test { subject, .. } => {
                    let i = number(&subject);
                    row.tell(&subject, (!skip.contains(&i)).then_some(i >= first)).unwrap();
                }
            }
        }
        panic!("no end");
    }

    #[test]
    fn the_first_is_found_wherever_it_is_and_in_few_steps() {
        for count in 2..40 {
            for first in 1..count {
                let (found, doubtful, verdicts) = find(count, first, &[]);
                assert_eq!((found, doubtful.len()), (first, 0));
                assert!(verdicts <= halvings(count), "{verdicts} for {count}");
            }
        }
    }

    #[test]
    fn what_cannot_be_judged_is_gone_around_and_named() {
        assert_eq!(find(9, 5, &[4]), (5, vec![4], 3));
        assert_eq!(find(9, 2, &[4, 5, 6]).0, 2);
        let (found, doubtful, _) = find(9, 5, &[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((found, doubtful), (8, vec![1, 2, 3, 4, 5, 6, 7]));
    }
}
