//! The most frequent of many: exact up to a number of different ones, so that memory has a bound whatever a month holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Different keys that are told apart.
const DISTINCT: usize = 10_000;

/// Counts by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts<T> {
    by_key: BTreeMap<String, T>,
    /// What came after that many different ones.
    beyond: T,
}

impl<T: Default> Default for Counts<T> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), beyond: T::default() }
    }
}

impl<T: Default> Counts<T> {
    /// What is counted under a key, or under none of them if there are too many already.
    pub fn of(&mut self, key: &str) -> &mut T {
        if self.by_key.len() >= DISTINCT && !self.by_key.contains_key(key) {
            return &mut self.beyond;
        }
        self.by_key.entry(key.to_owned()).or_default()
    }

    /// The greatest, by what `size` says, and those of the same size in the order of keys; and all the others.
    pub fn top(&self, limit: usize, size: impl Fn(&T) -> u64) -> (Vec<(&str, &T)>, impl Iterator<Item = &T>) {
        let mut sorted: Vec<(&str, &T)> = self.by_key.iter().map(|(key, of)| (key.as_str(), of)).collect();
        sorted.sort_by_key(|(_, of)| std::cmp::Reverse(size(of)));
        let rest = sorted.split_off(limit.min(sorted.len()));
        (sorted, rest.into_iter().map(|(_, of)| of).chain([&self.beyond]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_4_the_most_frequent_come_first_and_nothing_is_left_out_of_the_sum() {
        let mut counts = Counts::<u64>::default();
        for n in 0..DISTINCT + 50 {
            *counts.of(&format!("{n:05}")) += 1;
        }
        *counts.of("00007") += 4;
        let (top, rest) = counts.top(2, |count| *count);
        assert_eq!(top, [("00007", &5), ("00000", &1)]);
        assert_eq!(rest.sum::<u64>(), (DISTINCT + 50 - 2) as u64);
    }
}
