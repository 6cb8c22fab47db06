//! Which cells of a matrix a shard runs.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// `2/4`: the second of four parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text
            .split_once('/')
            .and_then(|(number, of)| Some(Self { number: number.parse().ok()?, of: of.parse().ok()? }));
        parsed
            .filter(|shard| (1..=shard.of).contains(&shard.number))
            .ok_or_else(|| Error::caller(format!("'{text}' is no shard; write 2/4 for the second of four")))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Gives each cell the number of its shard, from 1: the heaviest cells first, each to the shard with the least to do. The same
/// weights give the same shards, on every machine.
pub fn assign(weights: &[f64], shards: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let mut load = vec![(0.0_f64, 0_usize); shards.max(1)];
    let mut numbers = vec![0; weights.len()];
    for cell in order {
        let lightest = (0..load.len())
            .min_by(|&a, &b| load[a].0.total_cmp(&load[b].0).then(load[a].1.cmp(&load[b].1)).then(a.cmp(&b)))
            .unwrap_or(0);
        load[lightest].0 += weights[cell];
        load[lightest].1 += 1;
        numbers[cell] = lightest + 1;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_in_one_shard_and_the_shards_are_even() {
        let weights = [30.0, 5.0, 5.0, 20.0, 10.0, 10.0, 0.0, 0.0];
        let numbers = assign(&weights, 3);
        assert_eq!(numbers, assign(&weights, 3));
        let load: Vec<f64> = (1..=3)
            .map(|n| weights.iter().zip(&numbers).filter(|(_, s)| **s == n).map(|(w, _)| w).sum())
            .collect();
        assert_eq!(load, [30.0, 25.0, 25.0]);
        assert_eq!(assign(&[1.0; 5], 2), [1, 2, 1, 2, 1]);
        // Cells of which nothing is known are dealt out all the same.
        assert_eq!(assign(&[0.0; 4], 4), [1, 2, 3, 4]);
        assert_eq!(assign(&[1.0], 3), [1]);
    }

    #[test]
    fn what_is_typed() {
        assert_eq!("2/4".parse::<Shard>().unwrap(), Shard { number: 2, of: 4 });
        for bad in ["", "0/4", "5/4", "1", "a/b", "1/0", "-1/2", "1/2/3"] {
            assert!(bad.parse::<Shard>().unwrap_err().to_string().contains("2/4"), "{bad}");
        }
    }
}
