//! What the caller's world does to a replica: time, disk, state machine, connections.

use crate::raft::{Raft, RoleState};
use crate::types::{Index, Position, ReplicaId, Time};

impl Raft {
    /// Tells the time. Does nothing before [`Raft::deadline`].
    pub fn on_deadline(&mut self, now: Time) {
        if self.is_leader() {
            self.on_leader_deadline(now);
        } else if self.deadline().is_some_and(|at| now >= at) {
            if self.supports.is_some() {
                // A promise outlives its leader, and only that one can say that it is void.
                self.arm(now);
                return self.remind();
            }
            self.become_pre_candidate(now);
        }
    }

    /// The write `seq` of [`Raft::take_persist`] is durable. Every write is reported once, in
    /// order.
    ///
    /// # Panics
    /// When `seq` is not the oldest write in flight.
    pub fn on_persisted(&mut self, seq: u64) {
        let moved = self.durability.completed(seq);
        match &mut self.role {
            RoleState::Follower(follower) if moved => follower.on_persisted(),
            RoleState::Follower(_) | RoleState::PreCandidate(_) => {}
            RoleState::Candidate(_) => self.count_own_vote(),
            RoleState::Leader(_) => self.advance_commit(),
        }
    }

    /// The state machine has taken everything up to `index`.
    ///
    /// # Panics
    /// When `index` moves back or was never given to apply.
    pub fn on_applied(&mut self, index: Index) {
        // A snapshot may have been accepted since the entries were given.
        assert!(
            index <= self.given && (self.applied <= index || index <= self.log.compacted().index),
            "applied {index:?} after {:?}, given {:?}",
            self.applied,
            self.given
        );
        self.applied = self.applied.max(index);
    }

    /// Forgets the log up to `index` and returns where it begins now. Going back does nothing. Who
    /// needs what is forgotten will need a snapshot; nobody does up to [`Raft::log_floor`].
    ///
    /// # Panics
    /// When `index` is not applied yet.
    pub fn on_compacted(&mut self, index: Index) -> Position {
        assert!(index <= self.applied, "compaction to {index:?} past applied {:?}", self.applied);
        if index > self.log.compacted().index {
            self.log.compact(index);
            self.memberships.compact(index);
        }
        self.log.compacted()
    }

    /// A connection to the replica's node stands: a leader finds out anew where it is.
    pub fn on_peer_up(&mut self, now: Time, peer: ReplicaId) {
        self.on_connection_changed(now, peer, true);
    }

    /// The connection to the replica's node broke: whatever was on its way may be lost.
    pub fn on_peer_down(&mut self, now: Time, peer: ReplicaId) {
        self.on_connection_changed(now, peer, false);
    }

    /// Asks for an election now, as if the timer had expired. Who leads, or cannot, ignores it; and
    /// so does who has promised to support a leader still, since its lease may rest on that
    /// (hazard R9).
    pub fn campaign(&mut self, now: Time) {
        self.wake(now);
        if !self.is_leader() && self.can_campaign() && !self.is_bound(now) {
            self.become_pre_candidate(now);
        }
    }
}
