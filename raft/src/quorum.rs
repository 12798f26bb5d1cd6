//! Majority arithmetic: what enough members agree on. Pure, and tested alone.
//!
//! Everything that a group decides is one question with different values: how far is the log
//! committed (acknowledged indexes), is a candidate elected (grants), is a read round confirmed
//! (round numbers), was a majority heard lately (times). It is public so that it can be checked
//! against other implementations' cases.
//!
//! Deliberately absent, until memberships change: joint majorities.

/// How many of `voters` are a majority.
///
/// ```
/// use kontiki_raft::quorum::majority;
/// assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
/// ```
#[must_use]
#[inline]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The greatest value that at least `quorum` of `values` reach. Reorders `values`, which end up
/// descending, so the caller finds the least one at the end.
///
/// The lists are tiny, so an insertion sort beats everything cleverer.
///
/// ```
/// use kontiki_raft::quorum::{majority, reached_by};
/// let mut acknowledged = [7, 9, 4];
/// assert_eq!(reached_by(&mut acknowledged, majority(3)), 7, "two of three have it");
/// assert!(!reached_by(&mut [true, false, false], majority(3)), "one grant elects nobody");
/// ```
///
/// # Panics
/// When `quorum` is zero or more than there are values.
#[inline]
pub fn reached_by<T: Ord + Copy>(values: &mut [T], quorum: usize) -> T {
    debug_assert!(0 < quorum && quorum <= values.len());
    for sorted in 1..values.len() {
        let value = values[sorted];
        let mut slot = sorted;
        while slot > 0 && values[slot - 1] < value {
            values[slot] = values[slot - 1];
            slot -= 1;
        }
        values[slot] = value;
    }
    values[quorum - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::VOTERS_MAX;

    /// The definition itself: try every value, count who reaches it.
    fn naive(values: &[u64], quorum: usize) -> u64 {
        let reaches = |&&least: &&u64| values.iter().filter(|&&v| v >= least).count() >= quorum;
        *values.iter().filter(reaches).max().unwrap()
    }

    #[test]
    fn m11_agrees_with_the_definition_for_every_shape() {
        for count in 1..=VOTERS_MAX {
            let quorum = majority(count);
            // All vectors over a small alphabet: every order and every pattern of ties.
            let alphabet: u64 = if count <= 5 { 5 } else { 3 };
            for code in 0..alphabet.pow(u32::try_from(count).unwrap()) {
                let mut values = [0; VOTERS_MAX];
                let mut rest = code;
                for value in &mut values[..count] {
                    *value = rest % alphabet;
                    rest /= alphabet;
                }
                let expected = naive(&values[..count], quorum);
                let mut sorted = values;
                assert_eq!(reached_by(&mut sorted[..count], quorum), expected, "{values:?}");
                assert!(sorted[..count].is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
