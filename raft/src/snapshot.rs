//! Snapshots, as far as the log is concerned: whom the log cannot catch up, and what one replaces.
//!
//! The core moves no bytes. A leader says who needs a snapshot and from where on; the caller makes
//! one, sends it and says how that went. At the receiver the caller stages all of it first and
//! then asks whether to install.
//!
//! Invariants: a snapshot never undoes what is committed (hazard L12); it carries the whole
//! membership at its place, both halves of a joint one (hazard M5); nothing is acknowledged, and
//! nobody campaigns, before the write that carries it is persisted (hazards E13, L11).

use crate::message::{SnapshotHeader, SnapshotOutcome, SnapshotRequest, SnapshotSent};
use crate::progress::Flow;
use crate::raft::{Raft, RoleState};
use crate::types::{HardState, ReplicaId, Time};

/// The leader's side.
impl Raft {
    /// A follower that needs a snapshot, once each time that this turns out. The caller answers
    /// with [`Raft::on_snapshot_sent`]; what a snapshot needs that it chooses is an applied entry at
    /// or after `at_least`, and [`Raft::membership_at`] that. It holds compaction back meanwhile,
    /// or the next request follows at once.
    #[inline]
    pub fn take_snapshot_request(&mut self) -> Option<SnapshotRequest> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        if !leader.snapshot_wanted {
            return None;
        }
        for peer in &mut leader.peers {
            if let Flow::Snapshot { at_least, requested } = &mut peer.flow
                && !*requested
            {
                *requested = true;
                let (to, session) = (peer.id, peer.session);
                return Some(SnapshotRequest { to, session, at_least: *at_least });
            }
        }
        leader.snapshot_wanted = false;
        None
    }

    /// A snapshot has arrived at `peer` as a whole, or will not. Then the peer is probed behind it,
    /// and asked for again when it lacks it still; the caller paces its attempts.
    pub fn on_snapshot_sent(&mut self, now: Time, peer: ReplicaId, sent: SnapshotSent) {
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.now = leader.now.max(now);
        let Some(peer) = leader.peer_mut(peer) else { return };
        if let Flow::Snapshot { .. } = peer.flow {
            let reached = match sent {
                SnapshotSent::Sent(index) => peer.matched.max(index.min(last)),
                SnapshotSent::Failed => peer.matched,
            };
            peer.probe_from(reached.next());
        }
    }
}

/// The receiver's side.
impl Raft {
    /// All bytes of a snapshot are staged here: says whether they are needed. See
    /// [`SnapshotOutcome`] for what the caller does then.
    ///
    /// # Panics
    /// When the snapshot contradicts what is committed here: two histories of one group exist, and
    /// this replica must not go on.
    pub fn install_snapshot(&mut self, now: Time, header: &SnapshotHeader) -> SnapshotOutcome {
        let &SnapshotHeader { from, to, term, session, position, membership } = header;
        if !self.is_addressed(from, to) {
            return SnapshotOutcome::Rejected;
        }
        if term < self.hard_state.term {
            self.answer_old_leader(from);
            return SnapshotOutcome::Rejected;
        }
        if term > self.hard_state.term {
            self.enter_term(HardState { term, vote: None });
            self.supports = None;
            self.become_follower(now, Some(from));
        }
        let Some(follower) = self.hear_leader(now, from, session) else {
            return SnapshotOutcome::Rejected;
        };
        follower.asleep = false;
        let here = self.log.term_at(position.index);
        let known = position.index <= self.committed || here == Some(position.term);
        if position.index <= self.committed {
            let same = here.is_none_or(|here| here == position.term);
            assert!(same, "a snapshot at {position}, but {here:?} is committed there");
        }
        if known {
            // The log has it all, and knows it to be committed now.
            self.committed = self.committed.max(position.index);
        } else {
            let kept = self.committed;
            self.log.reset(position);
            self.durability.replaced(kept, position.index);
            self.memberships.reset(&membership, position.index);
            (self.committed, self.given) = (position.index, position.index);
            self.applied = position.index;
            self.note_electable();
        }
        let committed = self.committed;
        if let RoleState::Follower(follower) = &mut self.role {
            follower.verify(committed);
        }
        if known { SnapshotOutcome::Known } else { SnapshotOutcome::Install }
    }
}
