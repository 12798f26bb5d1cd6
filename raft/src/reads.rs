//! Read rounds: how a leader learns that it still leads, once for all reads that wait.
//!
//! A round has a number that belongs to the leader and its term (hazard R1): it begins at zero
//! with every leadership, rides on appends and heartbeats, and comes back in their answers. A
//! quorum of answers with that number or a later one says that, when the round began, no other
//! leader could have committed anything; so what was committed then is what a read must see
//! (thesis §6.4). Reads are never keyed by anything a client chose.
//!
//! Rounds are pipelined: each drain begins one for the reads that came since the last. When too
//! many are in flight, reads wait for the next and lose nothing.
//!
//! Deliberately absent, until nodes support each other: leases.

use crate::message::{ReadId, ReadReady};
use crate::types::Index;

/// Rounds in flight before reads wait for one to end.
const ROUNDS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Round {
    number: u64,
    /// The last read that rests on the round.
    up_to: ReadId,
    /// The commit when the round began.
    index: Index,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Reads {
    /// The number of the last round begun.
    latest: u64,
    /// The last read that has no round yet.
    open: Option<ReadId>,
    /// Rounds in flight, oldest first; the first `count` are used.
    rounds: [Round; ROUNDS_MAX],
    count: u8,
    /// Confirmed, and not yet told to the caller.
    confirmed: Option<(ReadId, Index)>,
    /// Lost with an earlier leadership of this replica, and not yet told to the caller.
    lost: Option<ReadId>,
}

impl Reads {
    /// The reads of a leadership that begins while those up to `lost` wait to be ended.
    pub(crate) fn after_loss_of(lost: Option<ReadId>) -> Self {
        Self { lost, ..Self::default() }
    }

    /// The number of the last round begun.
    #[inline]
    pub(crate) const fn latest(&self) -> u64 {
        self.latest
    }

    /// Whether a round waits for answers.
    #[inline]
    pub(crate) const fn in_flight(&self) -> bool {
        self.count > 0
    }

    /// Whether any read has not been answered to the caller.
    pub(crate) const fn any(&self) -> bool {
        self.open.is_some() || self.count > 0 || self.confirmed.is_some() || self.lost.is_some()
    }

    /// A read came.
    pub(crate) const fn add(&mut self, id: ReadId) {
        self.open = Some(id);
    }

    /// Begins a round for the reads that have none. Returns whether it did.
    #[inline]
    pub(crate) fn begin(&mut self, committed: Index) -> bool {
        let Some(up_to) = self.open else { return false };
        let Some(round) = self.rounds.get_mut(usize::from(self.count)) else { return false };
        self.latest += 1;
        *round = Round { number: self.latest, up_to, index: committed };
        self.count += 1;
        self.open = None;
        true
    }

    /// A quorum has answered `number`.
    #[inline]
    pub(crate) fn confirm(&mut self, number: u64) {
        while self.count > 0 && self.rounds[0].number <= number {
            let round = self.rounds[0];
            self.confirmed = Some((round.up_to, round.index));
            self.rounds.copy_within(1.., 0);
            self.count -= 1;
            self.rounds[usize::from(self.count)] = Round::default();
        }
    }

    /// What became of reads, the earlier ones first.
    pub(crate) const fn take(&mut self) -> Option<ReadReady> {
        if let Some(up_to) = self.lost.take() {
            return Some(ReadReady::Lost { up_to });
        }
        match self.confirmed.take() {
            Some((up_to, index)) => Some(ReadReady::Confirmed { up_to, index }),
            None => None,
        }
    }

    pub(crate) fn check(&self) {
        let rounds = &self.rounds[..usize::from(self.count)];
        let ascending = |pair: &[Round]| {
            pair[0].number < pair[1].number
                && pair[0].up_to < pair[1].up_to
                && pair[0].index <= pair[1].index
        };
        assert!(rounds.windows(2).all(ascending), "{rounds:?}");
        assert!(rounds.iter().all(|round| round.number <= self.latest), "{rounds:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(up_to: u64, index: u64) -> Option<ReadReady> {
        Some(ReadReady::Confirmed { up_to: ReadId(up_to), index: Index(index) })
    }

    #[test]
    fn r3_a_loss_that_nobody_heard_of_ends_only_the_reads_before_it() {
        let mut reads = Reads::after_loss_of(Some(ReadId(3)));
        assert!(reads.any());
        reads.add(ReadId(4));
        reads.begin(Index(9));
        reads.confirm(1);
        assert_eq!(reads.take(), Some(ReadReady::Lost { up_to: ReadId(3) }));
        assert_eq!(reads.take(), confirmed(4, 9));
        assert_eq!(reads.take(), None);
    }

    #[test]
    fn reads_before_a_drain_share_one_round() {
        let mut reads = Reads::default();
        reads.add(ReadId(1));
        reads.add(ReadId(2));
        assert!(reads.begin(Index(7)));
        assert!(!reads.begin(Index(8)), "nothing new came");
        reads.confirm(1);
        assert_eq!(reads.take(), confirmed(2, 7));
        assert!(!reads.any());
    }

    #[test]
    fn too_many_rounds_delay_reads_and_lose_none() {
        let mut reads = Reads::default();
        for id in 1..=10 {
            reads.add(ReadId(id));
            reads.begin(Index(id));
            reads.check();
        }
        assert_eq!(reads.latest(), ROUNDS_MAX as u64);
        reads.confirm(1);
        assert_eq!(reads.take(), confirmed(1, 1));
        assert!(reads.begin(Index(11)), "a place became free");
        reads.confirm(reads.latest());
        assert_eq!(reads.take(), confirmed(10, 11));
        assert!(!reads.any());
    }
}
