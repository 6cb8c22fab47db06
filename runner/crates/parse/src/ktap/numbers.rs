//! The numbers of a document's results.

/// How many runs of missing numbers are remembered. Results in a wilder order than that are no longer told apart.
const MAX_GAPS: usize = 10_000;

/// Which numbers a document had.
#[derive(Debug)]
pub(super) struct Numbers {
    /// One more than the highest so far.
    next: u64,
    /// What is missing below that, first and last, in order.
    gaps: Vec<(u64, u64)>,
    /// Results so far, with or without a number.
    pub(super) results: u64,
    /// Whether some had a number, and whether some had none.
    pub(super) numbered: bool,
    pub(super) unnumbered: bool,
}

/// What a number means beside those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next one, or a later one.
    Ahead,
    /// It was missing.
    Late,
    /// It was there already, or cannot be one.
    Again,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { next: 1, gaps: Vec::new(), results: 0, numbered: false, unnumbered: false }
    }
}

impl Numbers {
    /// A result without a number takes the next one.
    pub(super) fn take_next(&mut self) {
        self.results += 1;
        self.unnumbered = true;
        self.next = self.next.saturating_add(1);
    }

    /// A result with a number.
    pub(super) fn take(&mut self, number: u64) -> Place {
        self.results += 1;
        self.numbered = true;
        // There is a next one after every number.
        let number = number.min(u64::MAX - 1);
        if number >= self.next {
            if number > self.next && self.gaps.len() < MAX_GAPS {
                self.gaps.push((self.next, number - 1));
            }
            self.next = number.saturating_add(1);
            return Place::Ahead;
        }
        let at = self.gaps.partition_point(|(_, last)| *last < number);
        let Some(&(first, last)) = self.gaps.get(at).filter(|(first, _)| *first <= number) else {
            return Place::Again;
        };
        let rest = [(first, number - 1), (number + 1, last)];
        self.gaps.splice(at..=at, rest.into_iter().filter(|(first, last)| first <= last));
        Place::Late
    }

    /// The number that a well-behaved program gives its next result.
    pub(super) fn expected(&self) -> u64 {
        self.gaps.first().map_or(self.next, |(first, _)| *first)
    }

    /// How many numbers are missing, and the first of them: up to the plan, or below the highest without one.
    pub(super) fn missing(&self, plan: Option<u64>) -> (u64, impl Iterator<Item = u64> + '_) {
        let tail = plan.filter(|plan| *plan >= self.next).map(|plan| (self.next, plan));
        let plan = plan.unwrap_or(u64::MAX);
        let runs = move || {
            self.gaps
                .iter()
                .copied()
                .chain(tail)
                .filter(move |(first, _)| *first <= plan)
                .map(move |(first, last)| (first, last.min(plan)))
        };
        let count =
            runs().fold(0u64, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)));
        (count, runs().flat_map(|(first, last)| first..=last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(taken: &[u64]) -> Numbers {
        let mut numbers = Numbers::default();
        for number in taken {
            numbers.take(*number);
        }
        numbers
    }

    fn missing(numbers: &Numbers, plan: Option<u64>) -> (u64, Vec<u64>) {
        let (count, which) = numbers.missing(plan);
        (count, which.take(5).collect())
    }

    #[test]
    fn gaps_are_remembered_and_filled() {
        let mut numbers = after(&[1, 5]);
        assert_eq!(missing(&numbers, None), (3, vec![2, 3, 4]));
        assert_eq!(missing(&numbers, Some(7)), (5, vec![2, 3, 4, 6, 7]));
        assert_eq!(missing(&numbers, Some(3)), (2, vec![2, 3]));
        assert_eq!(numbers.take(3), Place::Late);
        assert_eq!(numbers.take(3), Place::Again);
        assert_eq!(numbers.take(5), Place::Again);
        assert_eq!(numbers.take(0), Place::Again);
        assert_eq!(missing(&numbers, None), (2, vec![2, 4]));
        assert_eq!((numbers.take(4), numbers.take(2)), (Place::Late, Place::Late));
        assert_eq!(missing(&numbers, Some(5)), (0, vec![]));
        assert_eq!(numbers.expected(), 6);
    }

    #[test]
    fn huge_numbers_do_no_harm() {
        let mut numbers = after(&[u64::MAX]);
        assert_eq!(missing(&numbers, None), (u64::MAX - 2, vec![1, 2, 3, 4, 5]));
        assert_eq!(numbers.take(u64::MAX), Place::Again);
        assert_eq!(missing(&Numbers::default(), Some(u64::MAX)), (u64::MAX, vec![1, 2, 3, 4, 5]));
    }

    #[test]
    fn any_order_is_known_in_the_end() {
        let mut taken: Vec<u64> = (1..=502).map(|n| n * 7919 % 503).filter(|n| *n <= 500).collect();
        let lost = taken.remove(0);
        assert_eq!(missing(&after(&taken), Some(500)), (1, vec![lost]));
    }
}
