//! Majority arithmetic: what enough members agree on. Pure, and tested alone.
//!
//! Everything that a group decides is one question with different values: how far is the log
//! committed (acknowledged indexes), is a candidate elected (grants), is a read round confirmed
//! (round numbers), was a majority heard lately (times). It is public so that it can be checked
//! against other implementations' cases.
//!
//! A joint membership asks the same of two halves at once and takes the lesser answer. A half
//! without voters bounds nothing, so a membership that is not joint is the case where the other
//! half is empty.
//!
//! Deliberately absent: who votes. Callers bring the values of those who do.

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

/// The greatest value that a majority of each half reaches. A half without voters bounds nothing;
/// `None` when neither has any. Reorders both like [`reached_by`].
///
/// ```
/// use kontiki_raft::quorum::jointly_reached;
/// let (incoming, outgoing) = (&mut [7, 9, 4], &mut [4, 2]);
/// assert_eq!(jointly_reached(incoming, outgoing), Some(2), "two of two reach 2, not 4");
/// assert_eq!(jointly_reached(incoming, &mut []), Some(7));
/// assert_eq!(jointly_reached::<u64>(&mut [], &mut []), None);
/// ```
#[inline]
pub fn jointly_reached<T: Ord + Copy>(incoming: &mut [T], outgoing: &mut [T]) -> Option<T> {
    fn reached<T: Ord + Copy>(half: &mut [T]) -> Option<T> {
        (!half.is_empty()).then(|| reached_by(half, majority(half.len())))
    }
    match (reached(incoming), reached(outgoing)) {
        (Some(incoming), Some(outgoing)) => Some(incoming.min(outgoing)),
        (one, other) => one.or(other),
    }
}

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoteResult {
    /// Enough have granted it.
    Won,
    /// So many have refused it that those who are silent cannot help any more.
    Lost,
    /// Those who are silent decide it.
    Pending,
}

impl VoteResult {
    /// How a vote stands that must be won in two halves.
    ///
    /// ```
    /// use kontiki_raft::quorum::VoteResult::{Lost, Pending, Won};
    /// assert_eq!(Won.and(Pending), Pending);
    /// assert_eq!(Pending.and(Lost), Lost);
    /// ```
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lost, _) | (_, Self::Lost) => Self::Lost,
            (Self::Pending, _) | (_, Self::Pending) => Self::Pending,
            (Self::Won, Self::Won) => Self::Won,
        }
    }
}

/// How a vote among `voters` stands after so many grants and refusals. Without voters it is won,
/// so that an absent half does not count.
///
/// ```
/// use kontiki_raft::quorum::{VoteResult, vote_result};
/// assert_eq!(vote_result(2, 0, 4), VoteResult::Pending);
/// assert_eq!(vote_result(2, 2, 4), VoteResult::Lost, "no majority is left to grant it");
/// assert_eq!(vote_result(0, 0, 0), VoteResult::Won);
/// ```
#[must_use]
#[inline]
pub const fn vote_result(granted: usize, refused: usize, voters: usize) -> VoteResult {
    debug_assert!(granted + refused <= voters);
    if voters == 0 || granted >= majority(voters) {
        VoteResult::Won
    } else if voters - refused < majority(voters) {
        VoteResult::Lost
    } else {
        VoteResult::Pending
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::membership::{MEMBERS_MAX, VOTERS_MAX};

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

    #[test]
    fn m11_joint_agrees_with_the_definition_for_every_shape() {
        // One value for each replica; a half is a set of replicas, so halves overlap at will.
        const REPLICAS: usize = 5;
        const ALPHABET: u64 = 4;
        let half = |values: &[u64; REPLICAS], set: usize| -> Vec<u64> {
            (0..REPLICAS).filter(|at| set >> at & 1 == 1).map(|at| values[at]).collect()
        };
        // The definition: the greatest value that more than half of each half reaches.
        let naive = |halves: [&[u64]; 2]| {
            if halves.iter().all(|half| half.is_empty()) {
                return None;
            }
            let reached = |half: &[u64], least| {
                half.is_empty() || 2 * half.iter().filter(|&&v| v >= least).count() > half.len()
            };
            (0..ALPHABET).filter(|&least| halves.iter().all(|half| reached(half, least))).max()
        };
        for code in 0..ALPHABET.pow(u32::try_from(REPLICAS).unwrap()) {
            let mut rest = code;
            let values = [(); REPLICAS].map(|()| {
                let value = rest % ALPHABET;
                rest /= ALPHABET;
                value
            });
            for sets in 0..1 << (2 * REPLICAS) {
                let (mut incoming, mut outgoing) =
                    (half(&values, sets & ((1 << REPLICAS) - 1)), half(&values, sets >> REPLICAS));
                let expected = naive([&incoming, &outgoing]);
                let ours = jointly_reached(&mut incoming, &mut outgoing);
                assert_eq!(ours, expected, "{incoming:?} {outgoing:?}");
            }
        }
    }

    #[test]
    fn m11_a_vote_is_decided_when_nobody_silent_can_turn_it() {
        for voters in 0..=MEMBERS_MAX {
            for granted in 0..=voters {
                for refused in 0..=voters - granted {
                    // The definition: look at every way in which those who are silent may vote.
                    let outcomes: Vec<bool> = (granted..=voters - refused)
                        .map(|grants| voters == 0 || 2 * grants > voters)
                        .collect();
                    let expected = match (outcomes.contains(&true), outcomes.contains(&false)) {
                        (true, false) => VoteResult::Won,
                        (false, _) => VoteResult::Lost,
                        (true, true) => VoteResult::Pending,
                    };
                    assert_eq!(vote_result(granted, refused, voters), expected);
                }
            }
        }
    }

    #[test]
    fn two_halves_are_won_together_and_lost_alone() {
        use VoteResult::{Lost, Pending, Won};
        for one in [Won, Lost, Pending] {
            assert_eq!(Won.and(one), one);
            assert_eq!(Lost.and(one), Lost);
            for other in [Won, Lost, Pending] {
                assert_eq!(one.and(other), other.and(one));
            }
        }
        assert_eq!(Pending.and(Pending), Pending);
    }
}
