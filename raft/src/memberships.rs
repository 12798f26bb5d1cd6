//! The memberships of a log by index: the one in force, and those that a truncation would restore.
//!
//! A membership counts from the moment it is appended (thesis §4.1), so it goes away with its
//! entry when that is truncated, and the one before it is in force again. A compaction forgets all
//! but the last at or before it, which the compacting caller stores beside the log.
//!
//! Nearly every replica has one membership of a few members and no other in its log. That one is
//! kept inline; anything larger or older goes into one block on the heap.
//!
//! Invariants: `earlier` ascends by index and ends before `since`; its first, else the one in
//! force, is that of the place where the log begins.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::membership::{Membership, MembershipAt};
use crate::seat::Seat;
use crate::types::{Index, ReplicaId};

/// Members that need no heap block.
const INLINE: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memberships {
    /// The members in force, unless there are more than fit: then these are unused.
    ids: [Option<ReplicaId>; INLINE],
    seats: [u8; INLINE],
    auto_leave: bool,
    /// The entry that carries the membership in force.
    since: Index,
    rest: Option<Box<Rest>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Rest {
    /// The membership in force, when it does not fit inline.
    large: Option<Membership>,
    /// Those that were in force before, oldest first.
    earlier: Vec<MembershipAt>,
}

impl Memberships {
    /// The membership in force where the log begins.
    pub(crate) fn new(membership: &Membership, begin: Index) -> Self {
        let mut memberships = Self {
            ids: [None; INLINE],
            seats: [0; INLINE],
            auto_leave: false,
            since: begin,
            rest: None,
        };
        memberships.put(membership);
        memberships
    }

    /// The membership in force.
    pub(crate) fn current(&self) -> Membership {
        if let Some(large) = self.rest.as_ref().and_then(|rest| rest.large) {
            return large;
        }
        let members = self.ids.iter().zip(self.seats).map_while(|(id, seat)| Some(((*id)?, seat)));
        Membership::from_parts(members, self.auto_leave)
    }

    /// The entry that carries the membership in force, or the place where the log began with it.
    #[inline]
    pub(crate) const fn since(&self) -> Index {
        self.since
    }

    /// The seat of a replica in the membership in force.
    pub(crate) fn seat(&self, id: ReplicaId) -> Option<Seat> {
        self.current().seat(id)
    }

    /// The membership in force at `index`, which is not before the beginning of the log.
    pub(crate) fn at(&self, index: Index) -> Membership {
        if index >= self.since {
            return self.current();
        }
        let earlier = self.rest.as_ref().map_or(&[][..], |rest| &rest.earlier);
        let found = earlier.iter().rev().find(|at| at.index <= index);
        found.expect("a log knows the membership where it begins").membership
    }

    /// The memberships from the one in force at `index` to the last one before the present.
    pub(crate) fn from(&self, index: Index) -> impl Iterator<Item = &Membership> {
        let earlier = self.rest.as_ref().map_or(&[][..], |rest| &rest.earlier);
        let behind = earlier.iter().skip(1).take_while(|at| at.index <= index).count();
        earlier[behind..].iter().map(|at| &at.membership)
    }

    /// The entry `index` carries `membership`.
    pub(crate) fn append(&mut self, index: Index, membership: &Membership) {
        assert!(index > self.since, "membership at {index:?} after {:?}", self.since);
        let before = MembershipAt { index: self.since, membership: self.current() };
        self.rest.get_or_insert_default().earlier.push(before);
        self.since = index;
        self.put(membership);
    }

    /// The entries at and after `from` are gone. Returns whether another membership is in force.
    pub(crate) fn truncate(&mut self, from: Index) -> bool {
        let mut restored = None;
        while self.since >= from {
            let earlier = self.rest.as_mut().and_then(|rest| rest.earlier.pop());
            let before = earlier.expect("the membership where the log begins is never truncated");
            self.since = before.index;
            restored = Some(before.membership);
        }
        if let Some(membership) = restored {
            self.put(&membership);
        }
        restored.is_some()
    }

    /// The entries up to `to` are forgotten.
    pub(crate) fn compact(&mut self, to: Index) {
        if let Some(rest) = &mut self.rest {
            if self.since <= to {
                rest.earlier.clear();
            } else {
                let behind = rest.earlier.iter().skip(1).take_while(|at| at.index <= to).count();
                rest.earlier.drain(..behind);
            }
            self.trim();
        }
    }

    /// The log is replaced by a snapshot.
    pub(crate) fn reset(&mut self, membership: &Membership, at: Index) {
        *self = Self::new(membership, at);
    }

    fn put(&mut self, membership: &Membership) {
        (self.ids, self.seats, self.auto_leave) = ([None; INLINE], [0; INLINE], false);
        if membership.len() > INLINE {
            self.rest.get_or_insert_default().large = Some(*membership);
            return;
        }
        if let Some(rest) = &mut self.rest {
            rest.large = None;
        }
        for (slot, member) in membership.members().enumerate() {
            (self.ids[slot], self.seats[slot]) = (Some(member.id), member.seat.bits());
        }
        self.auto_leave = membership.auto_leave();
        self.trim();
    }

    /// Gives the heap block back when nothing is in it.
    fn trim(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.large.is_none() && rest.earlier.is_empty()) {
            self.rest = None;
        }
    }

    pub(crate) fn check(&self, compacted: Index, last: Index) {
        let since = self.since;
        assert!(since <= last, "membership at {since:?}, past the end {last:?}");
        let earlier = self.rest.as_ref().map_or(&[][..], |rest| &rest.earlier);
        assert!(earlier.is_sorted_by(|a, b| a.index < b.index), "{earlier:?}");
        assert!(earlier.last().is_none_or(|at| at.index < since), "{earlier:?} before {since:?}");
        let first = earlier.first().map_or(since, |at| at.index);
        assert!(first <= compacted, "no membership at {compacted:?}, the first is at {first:?}");
        let needless = earlier.get(1).is_some_and(|at| at.index <= compacted);
        assert!(!needless, "memberships before {compacted:?} are kept: {earlier:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: u64) -> Membership {
        let ids: Vec<_> = (1..=count).map(|id| ReplicaId::new(id).unwrap()).collect();
        Membership::new(&ids).unwrap()
    }

    /// Every truncation and compaction of a log with memberships of every size.
    #[test]
    fn agrees_with_a_list() {
        let list = [(0, of(3)), (4, of(4)), (7, of(7)), (8, of(5)), (11, of(6))];
        for from in 1..=13 {
            for to in 0..from {
                let mut memberships = Memberships::new(&list[0].1, Index::ZERO);
                for (index, membership) in &list[1..] {
                    memberships.append(Index(*index), membership);
                    assert_eq!(memberships.current(), *membership);
                }
                assert_eq!(memberships.truncate(Index(from)), from <= 11);
                memberships.compact(Index(to));
                memberships.check(Index(to), Index(from - 1));
                for index in to..from {
                    let listed = list.iter().rev().find(|at| at.0 <= index).unwrap();
                    assert_eq!(memberships.at(Index(index)), listed.1, "at {index}");
                }
            }
        }
    }

    #[test]
    fn a_small_membership_alone_takes_nothing_from_the_heap() {
        let mut memberships = Memberships::new(&of(3), Index::ZERO);
        memberships.append(Index(3), &of(7));
        memberships.append(Index(5), &of(5));
        assert!(memberships.rest.is_some());
        memberships.compact(Index(5));
        assert!(memberships.rest.is_none());
        assert_eq!(memberships, Memberships::new(&of(5), Index(5)));
    }
}
