//! What a replica wants done. Each output gives something once, and `None` when there is nothing
//! (more).

use crate::message::{Message, Persist, Proposed};
use crate::planted::{self, Bug};
use crate::raft::{Raft, RoleState};
use crate::types::{Index, Time};

impl Raft {
    /// The no-op with which a new leader opens its term. Its place in the log is reserved; the
    /// caller makes a block for it, right after any input that may have changed the role.
    pub fn take_noop(&mut self) -> Option<Proposed> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        leader.take_noop(self.hard_state.term)
    }

    /// What must be written now: at most one write per call, with everything since the last.
    ///
    /// # Panics
    /// When the no-op of [`Raft::take_noop`] was not taken first.
    #[inline]
    pub fn take_persist(&mut self) -> Option<Persist> {
        if let RoleState::Leader(leader) = &self.role {
            leader.assert_noop_taken();
        }
        self.durability.take(self.hard_state, self.log.compacted(), self.log.last().index)
    }

    /// The next message whose reasons are durable.
    #[inline]
    pub fn take_message(&mut self) -> Option<Message> {
        let durable =
            self.durability.hard_state_is_durable() || planted::has(Bug::VoteBeforePersist);
        if durable && self.talk.owes() {
            return self.talk.take();
        }
        match &self.role {
            RoleState::Follower(_) => self.follower_message(),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => self.ballot_message(),
            RoleState::Leader(_) => self.leader_message(),
        }
    }

    /// The entries to apply next, first and last: committed, persisted here, and not given yet.
    #[inline]
    pub fn take_committed(&mut self) -> Option<(Index, Index)> {
        self.take_committed_page(|_, last| last)
    }

    /// As [`Raft::take_committed`], but no more than `page` says, which is asked for the last
    /// entry to take, given the first and the last that could be. An entry before the first means
    /// that nothing is taken.
    ///
    /// # Panics
    /// When `page` goes beyond what it was offered.
    #[inline]
    pub fn take_committed_page(
        &mut self,
        page: impl FnOnce(Index, Index) -> Index,
    ) -> Option<(Index, Index)> {
        let last = self.appliable();
        if last <= self.given {
            return None;
        }
        let first = self.given.next();
        let end = page(first, last);
        assert!(end <= last, "a page up to {end:?} of {first:?}..{last:?}");
        if end < first {
            return None;
        }
        self.given = end;
        Some((first, end))
    }

    /// When [`Raft::on_deadline`] has something to do, as known now.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match &self.role {
            RoleState::Leader(leader) => leader.deadline(),
            RoleState::Follower(follower) if follower.asleep => None,
            RoleState::Follower(follower)
                if follower.leader.is_some() && self.supports.is_some() =>
            {
                None
            }
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                let at = self.election_deadline();
                let waits = self.is_electable() || self.supports.is_some();
                (at != Time::NEVER && waits).then_some(at)
            }
        }
    }
}
