//! Proposals, and what becomes of them: the leader orders entries and moves the commit.
//!
//! Invariants: only an entry of the leader's own term commits by counting (Raft §5.4.2), and the
//! leader counts itself only as far as its own disk has it. A proposal that would exceed the
//! window of uncommitted bytes is refused, but for one when nothing waits.

use crate::error::ProposeError;
use crate::message::{CommitStatus, Proposed};
use crate::planted::{self, Bug};
use crate::raft::{Raft, RoleState};
use crate::types::{Index, Position, Time};

impl Raft {
    /// Offers `count` entries of `bytes` together to the log. An accepted proposal has its place
    /// in the log, and nothing more: it may still be lost with the leadership.
    ///
    /// # Errors
    /// When this replica does not lead, is handing over, or has too much uncommitted.
    ///
    /// # Panics
    /// When `count` is zero, or the no-op of [`Raft::take_noop`] was not taken first.
    #[inline]
    pub fn propose(&mut self, count: u32, bytes: u32) -> Result<Proposed, ProposeError> {
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        };
        leader.assert_noop_taken();
        assert!(count > 0, "a proposal of no entries");
        if let Some(to) = leader.transferring() {
            return Err(ProposeError::Transferring { to });
        }
        let max = self.config.uncommitted_bytes_max;
        let waiting = leader.uncommitted.bytes();
        if waiting > 0 && waiting + u64::from(bytes) > u64::from(max) {
            return Err(ProposeError::Busy);
        }
        if leader.asleep {
            leader.rouse();
        }
        let (term, end) = (self.hard_state.term, self.log.last().index);
        let last = end.advanced(count);
        self.log.append(term, last);
        leader.uncommitted.push(last, bytes, max / 4);
        Ok(Proposed { term, first: end.next(), last })
    }

    /// Moves the commit to what a majority of each half has persisted, but only through an entry
    /// of our own term; older ones commit together with it (Raft §5.4.2, Figure 8). Moves the
    /// floor too.
    #[inline]
    pub(crate) fn advance_commit(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (persisted, last) = (self.durability.persisted(), self.log.last().index);
        let own = if planted::has(Bug::LeaderCountsUnpersisted) { last } else { persisted };
        let candidate = leader.agreed(own, |peer| peer.matched);
        let in_term = candidate >= leader.first || planted::has(Bug::OldTermCommits);
        let moved = candidate > self.committed && in_term;
        if moved {
            assert!(candidate <= last, "commit {candidate:?} past the end {last:?}");
            if leader.heartbeat_at == Time::NEVER && self.committed < leader.first {
                // A majority knows this leader; from now on it is told when their support ends.
                leader.quorum_check_at = Time::NEVER;
            }
            self.committed = candidate;
            leader.uncommitted.release(candidate);
        }
        let leaves = moved && !leader.stays();
        self.advance_floor();
        if leaves {
            self.maybe_retire();
        }
    }

    /// Moves the floor: to what every member holds. An acknowledgement of committed entries can move
    /// nothing else.
    #[inline]
    pub(crate) fn advance_floor(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let persisted = self.durability.persisted();
        let everywhere = leader.members().fold(persisted, |least, peer| least.min(peer.matched));
        let floor = everywhere.min(self.committed);
        if floor > self.floor {
            self.floor = floor;
            leader.floor_told = false;
        }
    }

    /// What has become of the entry that once had this position in some replica's log, as far as
    /// this one knows.
    #[must_use]
    pub fn commit_status(&self, position: Position) -> CommitStatus {
        let Position { term, index } = position;
        if index < self.log.compacted().index {
            return CommitStatus::Unknown;
        }
        let known = index <= self.committed;
        match self.log.term_at(index) {
            Some(here) if known && here == term => CommitStatus::Committed,
            Some(_) if known => CommitStatus::Rejected,
            // Terms never go down along a log, so nothing older can follow on the commit. Beyond
            // that, what is here, even of a later term, may yet be replaced by what was asked for.
            _ if self.log.term_at(self.committed).is_some_and(|at| at > term) => {
                CommitStatus::Rejected
            }
            _ => CommitStatus::InProgress,
        }
    }

    /// The first entry that was proposed in this leader's term; others need not ask.
    pub(crate) fn own_term_committed(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        self.committed >= leader.first
    }

    /// The last entry that this replica may give to apply.
    #[inline]
    pub(crate) fn appliable(&self) -> Index {
        self.committed.min(self.durability.persisted())
    }
}
