//! What was handed out to be written, and what is known persisted.
//!
//! Writes are asynchronous: several may be on their way to the disk, and the log may change
//! meanwhile. Each write in flight leaves a mark, the last entry that will be durable with it, and
//! **a truncation lowers every mark in flight** as well as what is persisted. So the completion of
//! a write can never vouch for an entry that was overwritten after the write was issued, even when
//! a later leader has put the very same entry back (hazard L1): the restored entry is handed out
//! again, and only that write's mark reaches it.
//!
//! Completions come once each and in the order of their numbers; anything else is a broken promise
//! of the caller, and an assertion (hazard L3).
//!
//! A snapshot that replaces the log is such a change too: what is in flight vouches for nothing
//! beyond the old commit, and everything up to the snapshot is durable when the write that carries
//! it is. Until then `persisted` lies before the beginning of the log.
//!
//! Invariants: `persisted <= marks, ascending <= handed <= last`.
//!
//! Deliberately absent: the accepting term of a mark. It is the hard state in force when the write
//! was taken, which is durable no later than the entries beside it; whether the *present* one is
//! durable is counted apart, in `hard_wait`.

use crate::message::Persist;
use crate::planted::{self, Bug};
use crate::spill::Spill;
use crate::types::{HardState, Index, Position};

/// Writes in flight that need no heap block.
const MARKS_INLINE: usize = 3;

/// The hard state changed and has not been handed out.
const CHANGED: u16 = u16::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Durability {
    /// Number of the last completed write.
    done: u64,
    /// Everything up to here is durable and still what the log says.
    persisted: Index,
    /// Everything up to here has been handed out.
    handed: Index,
    /// The marks of the oldest writes in flight; unused slots are zero.
    marks: [Index; MARKS_INLINE],
    /// The marks of the others.
    more: Spill<Index>,
    /// How many writes are in flight.
    in_flight: u32,
    /// After how many completions the hard state is durable; 0 when it is.
    hard_wait: u16,
    /// Entries after `handed` have been handed out and are void.
    void: bool,
    /// The log was replaced by a snapshot, and nobody was told to write it.
    replaced: bool,
}

impl Durability {
    /// Everything up to `last` is durable, and so is the hard state.
    pub(crate) const fn new(last: Index) -> Self {
        Self {
            done: 0,
            persisted: last,
            handed: last,
            marks: [Index::ZERO; MARKS_INLINE],
            more: Spill::new(),
            in_flight: 0,
            hard_wait: 0,
            void: false,
            replaced: false,
        }
    }

    #[inline]
    pub(crate) const fn persisted(&self) -> Index {
        self.persisted
    }

    /// Whether the present term and vote are durable.
    #[inline]
    pub(crate) const fn hard_state_is_durable(&self) -> bool {
        self.hard_wait == 0
    }

    /// The term or the vote changed.
    pub(crate) const fn hard_state_changed(&mut self) {
        self.hard_wait = CHANGED;
    }

    /// The log lost its entries at and after `from`.
    pub(crate) fn truncated(&mut self, from: Index) {
        let kept = from.prev();
        if self.handed > kept {
            self.handed = kept;
            self.void = true;
        }
        if !planted::has(Bug::CompletionAfterOverwrite) {
            self.lower_marks(kept);
        } else {
            self.persisted = self.persisted.min(kept);
        }
    }

    /// The log was replaced by a snapshot at `at`; what it held up to `kept` is part of that.
    pub(crate) fn replaced(&mut self, kept: Index, at: Index) {
        self.lower_marks(kept);
        self.handed = at;
        self.void = false;
        self.replaced = true;
    }

    fn lower_marks(&mut self, kept: Index) {
        self.persisted = self.persisted.min(kept);
        for mark in self.marks.iter_mut().chain(self.more.as_mut_slice()) {
            *mark = (*mark).min(kept);
        }
    }

    /// Hands out what is not yet on its way to the disk, given the present beginning and end of
    /// the log.
    #[inline]
    pub(crate) fn take(
        &mut self,
        hard_state: HardState,
        compacted: Position,
        last: Index,
    ) -> Option<Persist> {
        let nothing = self.handed == last && !self.void && !self.replaced;
        if nothing && self.hard_wait != CHANGED {
            return None;
        }
        let append = (last > self.handed).then(|| (self.handed.next(), last));
        let truncate_from = self.void.then(|| self.handed.next());
        let snapshot = self.replaced.then_some(compacted);
        (self.void, self.replaced) = (false, false);
        self.handed = last;

        match self.marks.get_mut(self.in_flight as usize) {
            Some(mark) => *mark = last,
            None => self.more.push(last),
        }
        self.in_flight += 1;
        let hard_state = if self.hard_wait == CHANGED {
            let behind = u16::try_from(self.in_flight).ok().filter(|&writes| writes < CHANGED);
            self.hard_wait = behind.expect("fewer than 65,535 writes are in flight");
            Some(hard_state)
        } else {
            None
        };
        Some(Persist {
            seq: self.done + u64::from(self.in_flight),
            hard_state,
            snapshot,
            truncate_from,
            append,
        })
    }

    /// The write `seq` is durable. Returns whether more of the log is persisted than before.
    #[inline]
    pub(crate) fn completed(&mut self, seq: u64) -> bool {
        assert!(
            self.in_flight > 0 && seq == self.done + 1,
            "completion of write {seq} after {} with {} in flight",
            self.done,
            self.in_flight
        );
        self.done = seq;
        self.in_flight -= 1;
        if self.hard_wait != CHANGED {
            self.hard_wait = self.hard_wait.saturating_sub(1);
        }
        let newest = planted::has(Bug::CompletionOutOfOrder).then_some(self.handed);
        let mark = newest.unwrap_or(self.marks[0]);
        self.marks.copy_within(1.., 0);
        self.marks[MARKS_INLINE - 1] = self.more.pop_front().unwrap_or(Index::ZERO);
        if self.in_flight == 0 {
            self.more.clear();
        }
        if planted::has(Bug::CompletionOutOfOrder) || planted::has(Bug::CompletionAfterOverwrite) {
            self.persisted = self.persisted.max(mark.min(self.handed));
            return true;
        }
        assert!(mark >= self.persisted, "mark {mark:?} behind persisted {:?}", self.persisted);
        let moved = mark > self.persisted;
        self.persisted = mark;
        moved
    }

    /// Checks the invariants against the end of the log.
    pub(crate) fn check(&self, last: Index) {
        if planted::has(Bug::CompletionOutOfOrder) || planted::has(Bug::CompletionAfterOverwrite) {
            return; // Found by what they do, not by their own bookkeeping.
        }
        let mut previous = self.persisted;
        let inline = (self.in_flight as usize).min(MARKS_INLINE);
        for &mark in self.marks[..inline].iter().chain(self.more.as_slice()) {
            assert!(previous <= mark, "mark {mark:?} after {previous:?}");
            previous = mark;
        }
        assert!(previous <= self.handed, "mark {previous:?} past handed {:?}", self.handed);
        assert!(self.handed <= last, "handed {:?} past last {last:?}", self.handed);
        assert!(self.marks[inline..].iter().all(|&mark| mark == Index::ZERO), "stale marks");
        let counted = inline + self.more.as_slice().len();
        assert!(counted == self.in_flight as usize, "{counted} marks of {}", self.in_flight);
        let hard_wait = self.hard_wait;
        assert!(
            hard_wait == CHANGED || u32::from(hard_wait) <= self.in_flight,
            "hard state lost its write"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    fn take(durability: &mut Durability, last: u64) -> Persist {
        let persist = durability
            .take(HardState::default(), Position::ZERO, Index(last))
            .expect("something is new");
        durability.check(Index(last));
        persist
    }

    #[test]
    fn l1_a_late_completion_does_not_vouch_for_a_restored_entry() {
        let mut durability = Durability::new(Index(4));
        let first = take(&mut durability, 5); // 5 as leader A wrote it
        durability.truncated(Index(5));
        let second = take(&mut durability, 5); // 5 as leader B wrote it
        durability.truncated(Index(5));
        let third = take(&mut durability, 5); // A's entry again, from leader C
        assert_eq!(second.truncate_from, Some(Index(5)));
        assert_eq!(third.truncate_from, Some(Index(5)));

        assert!(!durability.completed(first.seq));
        assert_eq!(durability.persisted(), Index(4), "A's write was overwritten by B's");
        assert!(!durability.completed(second.seq));
        assert!(durability.completed(third.seq));
        assert_eq!(durability.persisted(), Index(5));
    }

    #[test]
    #[should_panic(expected = "completion of write 2 after 0")]
    fn l3_completions_out_of_order_stop_the_replica() {
        let mut durability = Durability::new(Index::ZERO);
        take(&mut durability, 1);
        take(&mut durability, 2);
        durability.completed(2);
    }

    #[test]
    #[should_panic(expected = "completion of write 1 after 1")]
    fn l3_a_completion_counts_once() {
        let mut durability = Durability::new(Index::ZERO);
        take(&mut durability, 1);
        durability.completed(1);
        durability.completed(1);
    }

    #[test]
    fn l2_the_hard_state_is_durable_with_the_write_that_carries_it() {
        let mut durability = Durability::new(Index::ZERO);
        take(&mut durability, 1);
        durability.hard_state_changed();
        let with_term = take(&mut durability, 2);
        assert!(with_term.hard_state.is_some());
        take(&mut durability, 3);
        durability.completed(1);
        assert!(!durability.hard_state_is_durable());
        durability.completed(2);
        assert!(durability.hard_state_is_durable());
        durability.completed(3);
        assert!(durability.hard_state_is_durable());
    }

    #[test]
    fn many_writes_in_flight_complete_one_by_one() {
        let mut durability = Durability::new(Index::ZERO);
        for last in 1..=20 {
            take(&mut durability, last);
        }
        for seq in 1..=20 {
            durability.completed(seq);
            durability.check(Index(20));
            assert_eq!(durability.persisted(), Index(seq));
        }
        assert!(durability.more.is_empty());
    }

    #[test]
    fn a_truncation_of_what_was_never_handed_out_needs_no_write() {
        let mut durability = Durability::new(Index(3));
        durability.truncated(Index(4));
        assert_eq!(durability.take(HardState::default(), Position::ZERO, Index(3)), None);
    }

    #[test]
    fn l11_what_was_in_flight_does_not_vouch_for_a_snapshot() {
        let mut durability = Durability::new(Index(4));
        let entries = take(&mut durability, 7);
        durability.replaced(Index(4), Index(20));
        durability.check(Index(20));
        let at = Position::new(Term(3), Index(20));
        let snapshot = durability.take(HardState::default(), at, Index(20)).expect("a snapshot");
        assert_eq!((snapshot.snapshot, snapshot.append), (Some(at), None));
        let more = take(&mut durability, 22);
        assert_eq!((more.snapshot, more.append), (None, Some((Index(21), Index(22)))));

        assert!(!durability.completed(entries.seq));
        assert_eq!(durability.persisted(), Index(4), "the entries it wrote are void");
        assert!(durability.completed(snapshot.seq));
        assert_eq!(durability.persisted(), Index(20));
        assert!(durability.completed(more.seq));
        assert_eq!(durability.persisted(), Index(22));
    }

    #[test]
    fn l11_of_two_snapshots_in_flight_each_vouches_for_itself() {
        let mut durability = Durability::new(Index(4));
        durability.replaced(Index(4), Index(20));
        let first = durability.take(HardState::default(), Position::ZERO, Index(20)).unwrap();
        durability.replaced(Index(20), Index(30));
        let second = durability.take(HardState::default(), Position::ZERO, Index(30)).unwrap();
        durability.completed(first.seq);
        assert_eq!(durability.persisted(), Index(20));
        durability.completed(second.seq);
        assert_eq!(durability.persisted(), Index(30));
    }
}
