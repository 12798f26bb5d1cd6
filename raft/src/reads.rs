//! Read rounds and leases: how a leader learns that it still leads, once for all reads that wait.
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
//! A *lease* counts from the moment a confirmed round began, which is no later than anything that
//! carried it was sent (thesis §6.4.1, hazard R8): whoever answered refuses other candidates for
//! an election timeout from a later moment on.
//!
//! Reads that a follower forwarded are reads like others, answered by a message.

use alloc::vec::Vec;

use crate::message::{ReadId, ReadReady};
use crate::planted::{self, Bug};
use crate::types::{Index, ReplicaId, Time};

/// Rounds in flight before reads wait for one to end.
const ROUNDS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Round {
    number: u64,
    /// The last read that rests on the round; the first possible one when none does.
    up_to: ReadId,
    /// The commit when the round began.
    index: Index,
    /// When it began.
    begun_at: Time,
}

/// A read that a follower waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Forwarded {
    read: ReadId,
    from: ReplicaId,
    request: u64,
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
    /// When the latest confirmed round began.
    lease_from: Option<Time>,
    /// At most one of each follower.
    forwarded: Vec<Forwarded>,
}

impl Reads {
    /// The reads of a leadership that begins while those up to `lost` wait to be ended.
    pub(crate) fn after_loss_of(lost: ReadId) -> Self {
        Self { lost: Some(lost), ..Self::default() }
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

    /// When the latest confirmed round began.
    pub(crate) const fn lease_from(&self) -> Option<Time> {
        self.lease_from
    }

    /// Whether any read has not been answered to the caller.
    pub(crate) fn any(&self) -> bool {
        self.open.is_some()
            || self.rounds[..usize::from(self.count)].iter().any(|round| round.up_to > ReadId(0))
            || self.confirmed.is_some()
            || self.lost.is_some()
    }

    /// A read came.
    pub(crate) const fn add(&mut self, id: ReadId) {
        self.open = Some(id);
    }

    /// A read came from a follower. An older one of the same follower is forgotten: it asks for
    /// something else only when it no longer waits for that. Returns whether it is news.
    pub(crate) fn forward(&mut self, id: ReadId, from: ReplicaId, request: u64) -> bool {
        if self.forwarded.iter().any(|other| other.from == from && other.request == request) {
            return false;
        }
        self.forwarded.retain(|other| other.from != from);
        self.forwarded.push(Forwarded { read: id, from, request });
        self.add(id);
        true
    }

    /// The next forwarded read that is answered by reads up to `up_to`.
    pub(crate) fn take_forwarded(&mut self, up_to: ReadId) -> Option<(ReplicaId, u64)> {
        let slot = self.forwarded.iter().position(|forwarded| forwarded.read <= up_to)?;
        let Forwarded { from, request, .. } = self.forwarded.remove(slot);
        Some((from, request))
    }

    /// Begins a round for the reads that have none, or for the sake of the lease alone. Returns
    /// whether it did.
    #[inline]
    pub(crate) fn begin(&mut self, committed: Index, now: Time, for_lease: bool) -> bool {
        if self.open.is_none() && !for_lease {
            return false;
        }
        let Some(round) = self.rounds.get_mut(usize::from(self.count)) else { return false };
        if !(planted::has(Bug::ReadRoundReused) && self.latest > 0) {
            self.latest += 1;
        }
        let up_to = self.open.take().unwrap_or_default();
        *round = Round { number: self.latest, up_to, index: committed, begun_at: now };
        self.count += 1;
        true
    }

    /// A quorum has answered `number`; it is `now`. Returns the last read that was waiting for it
    /// and the index that it must see.
    #[inline]
    pub(crate) fn confirm(&mut self, number: u64, now: Time) -> Option<(ReadId, Index)> {
        let mut settled = None;
        while self.count > 0 && self.rounds[0].number <= number {
            let round = self.rounds[0];
            self.rounds.copy_within(1.., 0);
            self.count -= 1;
            self.rounds[usize::from(self.count)] = Round::default();
            let from = if planted::has(Bug::LeaseFromReceive) { now } else { round.begun_at };
            self.lease_from = self.lease_from.max(Some(from));
            if round.up_to > ReadId(0) {
                settled = Some((round.up_to, round.index));
                self.settle(round.up_to, round.index);
            }
        }
        settled
    }

    /// Reads up to `up_to` may be served at `index`. Later ones were settled at a later index.
    pub(crate) fn settle(&mut self, up_to: ReadId, index: Index) {
        if self.confirmed.is_none_or(|(settled, _)| settled < up_to) {
            self.confirmed = Some((up_to, index));
        }
        self.open = self.open.filter(|&open| open > up_to);
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
            (pair[0].number < pair[1].number || planted::has(Bug::ReadRoundReused))
                && pair[0].index <= pair[1].index
                && pair[0].begun_at <= pair[1].begun_at
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
        let mut reads = Reads::after_loss_of(ReadId(3));
        assert!(reads.any());
        reads.add(ReadId(4));
        reads.begin(Index(9), Time(0), false);
        reads.confirm(1, Time(5));
        assert_eq!(reads.take(), Some(ReadReady::Lost { up_to: ReadId(3) }));
        assert_eq!(reads.take(), confirmed(4, 9));
        assert_eq!(reads.take(), None);
    }

    #[test]
    fn reads_before_a_drain_share_one_round() {
        let mut reads = Reads::default();
        reads.add(ReadId(1));
        reads.add(ReadId(2));
        assert!(reads.begin(Index(7), Time(0), false));
        assert!(!reads.begin(Index(8), Time(0), false), "nothing new came");
        reads.confirm(1, Time(5));
        assert_eq!(reads.take(), confirmed(2, 7));
        assert!(!reads.any());
    }

    #[test]
    fn too_many_rounds_delay_reads_and_lose_none() {
        let mut reads = Reads::default();
        for id in 1..=10 {
            reads.add(ReadId(id));
            reads.begin(Index(id), Time(id), false);
            reads.check();
        }
        assert_eq!(reads.latest(), ROUNDS_MAX as u64);
        reads.confirm(1, Time(20));
        assert_eq!(reads.take(), confirmed(1, 1));
        assert!(reads.begin(Index(11), Time(21), false), "a place became free");
        reads.confirm(reads.latest(), Time(22));
        assert_eq!(reads.take(), confirmed(10, 11));
        assert!(!reads.any());
    }

    #[test]
    fn r8_a_lease_counts_from_the_beginning_of_its_round() {
        let mut reads = Reads::default();
        assert!(reads.begin(Index(7), Time(100), true));
        assert!(!reads.any(), "no read waits for the round");
        assert_eq!(reads.confirm(1, Time(900)), None);
        assert_eq!((reads.lease_from(), reads.take()), (Some(Time(100)), None));
    }

    #[test]
    fn an_earlier_round_does_not_undo_what_was_settled_later() {
        let mut reads = Reads::default();
        reads.add(ReadId(1));
        reads.begin(Index(7), Time(0), false);
        reads.settle(ReadId(2), Index(8));
        reads.confirm(1, Time(5));
        assert_eq!(reads.take(), confirmed(2, 8));
        assert_eq!(reads.take(), None);
    }
}
