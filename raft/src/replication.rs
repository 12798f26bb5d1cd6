//! The leader's side of the log: appends, their answers, and heartbeats.
//!
//! Appends and heartbeats may leave before the leader's own disk has the entries, since they
//! promise nothing about it. A conflict is answered with the latest position where the logs could
//! meet, so that both sides skip whole conflicting terms (Raft §5.3; hazard L16).

use crate::config::Liveness;
use crate::message::{AppendHeader, Extent, Message, MessageKind};
use crate::progress::Flow;
use crate::raft::{Raft, RoleState};
use crate::types::{Index, Position, ReplicaId, Time};

/// What followers answer. A peer is named with the session of its answer.
impl Raft {
    #[inline]
    pub(crate) fn on_append_ack(
        &mut self,
        now: Time,
        from: (ReplicaId, u32),
        matched: Position,
        read_round: u64,
    ) {
        let compacted = self.log.compacted().index;
        let known =
            matched.index < compacted || self.log.term_at(matched.index) == Some(matched.term);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.hear(now, from) else { return };
        // A late acknowledgement may name an entry that is compacted here by now.
        let news = known && peer.on_ack(matched.index, compacted);
        if news {
            if matched.index > self.committed {
                self.advance_commit();
            } else {
                self.advance_floor();
            }
            self.maybe_order_campaign();
        }
        self.on_round_answered(from.0, read_round);
    }

    pub(crate) fn on_append_reject(
        &mut self,
        now: Time,
        from: (ReplicaId, u32),
        prev: Index,
        hint: Position,
        read_round: u64,
    ) {
        let compacted = self.log.compacted().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.hear(now, from) else { return };
        if peer.rejection_counts(prev) {
            // The two logs cannot meet after the hint, nor at an entry of a later term than the
            // hint's: skip such terms whole.
            let meeting = self.log.latest_up_to(hint.index.min(prev.prev()), hint.term);
            match meeting {
                Some(position) => peer.probe_from(position.index.max(peer.matched).next()),
                None => {
                    peer.await_snapshot(compacted);
                    leader.snapshot_wanted = true;
                    leader.dismiss(|peer| peer.id == from.0);
                }
            }
        }
        self.on_round_answered(from.0, read_round);
    }

    pub(crate) fn on_heartbeat_ack(&mut self, now: Time, from: (ReplicaId, u32), read_round: u64) {
        let patience_us = self.config.heartbeat_us;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.hear(now, from) else { return };
        peer.renew_probe(now, patience_us);
        self.on_round_answered(from.0, read_round);
    }

    pub(crate) fn on_connection_changed(&mut self, now: Time, id: ReplicaId, stands: bool) {
        self.wake(now);
        match &mut self.role {
            RoleState::Leader(leader) => {
                leader.now = leader.now.max(now);
                leader.floor_told = false;
                let round = leader.reads.as_ref().is_some_and(|reads| reads.in_flight());
                if let Some(peer) = leader.peer_mut(id) {
                    peer.reconnect(round);
                    leader.dismiss(|peer| peer.id == id);
                }
            }
            RoleState::Follower(follower) if follower.leader == Some(id) => {
                if stands {
                    self.talk.ask_again();
                    if self.config.liveness == Liveness::External {
                        // Should it have stepped down meanwhile, it says so.
                        follower.owe_beat();
                    }
                } else {
                    // A replica without an election timer might wait for ever.
                    self.reads_lost |= self.talk.lose_reads();
                }
            }
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
        }
    }
}

/// What the leader sends.
impl Raft {
    /// The next append for `peer`, if one may go out. `extent` is asked how far it reaches, given
    /// the first entry, the last one there is, and the bytes left in the follower's window; it
    /// stops at the end of a block. It says `None` when the transport has no room, and then
    /// nothing changes. A probe without entries does not ask. When nothing is in flight, the first
    /// block may exceed the window.
    ///
    /// # Panics
    /// When the no-op of [`Raft::take_noop`] was not taken first, or the extent is outside of what
    /// was offered.
    #[inline]
    pub fn next_append<F>(&mut self, peer: ReplicaId, extent: F) -> Option<AppendHeader>
    where
        F: FnOnce(Index, Index, u32) -> Option<Extent>,
    {
        self.maybe_begin_round();
        let (committed, floor, last) = (self.committed, self.floor, self.log.last().index);
        let (window, persisted) = (self.config.inflight_bytes_max, self.durability.persisted());
        let RoleState::Leader(leader) = &mut self.role else { return None };
        leader.assert_noop_taken();
        let (now, read_round) = (leader.now, leader.latest_round());
        let to = leader.peer_mut(peer)?;
        let room = to.room(window)?;
        // A witness must not have what nobody has who may lead: it would refuse all others.
        let last = if to.seat.is_witness() { last.min(persisted) } else { last };
        let first = to.next;
        if first > last && matches!(to.flow, Flow::Replicate { .. }) {
            return None;
        }
        let prev = first.prev();
        let Some(prev_term) = self.log.term_at(prev) else {
            to.await_snapshot(self.log.compacted().index);
            leader.snapshot_wanted = true;
            leader.dismiss(|other| other.id == peer);
            return None;
        };
        let Extent { last, bytes } = if first > last {
            Extent { last: prev, bytes: 0 }
        } else {
            let extent = extent(first, last, room)?;
            assert!(
                first <= extent.last && extent.last <= last,
                "{extent:?} of {first:?}..{last:?}"
            );
            extent
        };
        to.on_append_sent(now, last, bytes, window, committed);
        let header = AppendHeader {
            from: self.id,
            to: peer,
            term: self.hard_state.term,
            prev: Position::new(prev_term, prev),
            last,
            commit: committed,
            // One who came lately does not hold what all others do.
            floor: floor.min(to.matched),
            read_round,
            session: to.session,
        };
        if to.has_left(self.memberships.since()) {
            leader.dismiss(|other| other.id == peer);
        }
        Some(header)
    }

    /// Whether some peer holds what is committed and has not heard that it is: one that acknowledged
    /// after a majority had, say.
    #[inline]
    #[must_use]
    pub fn owes_commits(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        leader.peers.iter().any(|peer| self.committed.min(peer.matched) > peer.told_commit)
    }

    /// Tells everybody that everybody holds everything, if that is so and was not told: whoever does
    /// not know keeps its log for those who need it no more. For groups that come to rest. Returns
    /// whether there is something to send.
    pub fn tell_floor(&mut self) -> bool {
        let even = self.floor == self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return false };
        if !even || leader.floor_told {
            return false;
        }
        leader.floor_told = true;
        for peer in leader.peers.iter_mut().filter(|peer| !peer.leaving) {
            peer.beat_due = true;
        }
        true
    }

    /// A message that tells `peer` a commit it has not heard of, for rounds without an append.
    #[inline]
    pub fn commit_owed(&mut self, peer: ReplicaId) -> Option<Message> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let slot = leader.peers.iter().position(|other| other.id == peer)?;
        let peer = &leader.peers[slot];
        let owed = self.committed.min(peer.matched) > peer.told_commit;
        if owed && matches!(peer.flow, Flow::Replicate { .. }) {
            Some(self.beat(slot))
        } else {
            None
        }
    }

    /// The next heartbeat that is due: for silence, for news, or for a read round.
    #[inline]
    pub(crate) fn leader_message(&mut self) -> Option<Message> {
        self.maybe_begin_round();
        let RoleState::Leader(leader) = &self.role else { return None };
        let slot = leader.peers.iter().position(|peer| peer.beat_due)?;
        Some(self.beat(slot))
    }

    /// A heartbeat names no commit beyond what the follower has acknowledged, since nothing else
    /// is known to be the leader's own there.
    fn beat(&mut self, slot: usize) -> Message {
        let (from, term, floor) = (self.id, self.hard_state.term, self.floor);
        let RoleState::Leader(leader) = &mut self.role else {
            unreachable!("only a leader sends heartbeats")
        };
        let (now, read_round, sleep) = (leader.now, leader.latest_round(), leader.asleep);
        let peer = &mut leader.peers[slot];
        let commit = self.committed.min(peer.matched);
        peer.told_commit = peer.told_commit.max(commit);
        peer.on_sent(now);
        let floor = floor.min(peer.matched);
        let (to, session) = (peer.id, peer.session);
        if peer.has_left(self.memberships.since()) {
            leader.dismiss(|other| other.id == to);
        }
        let kind = MessageKind::Heartbeat { commit, floor, read_round, sleep };
        Message { from, to, term, kind, session }
    }

    /// A leader speaks to everybody now: so that they know it, or that it learns whether it still
    /// leads. Others do nothing.
    pub fn heartbeat(&mut self, now: Time) {
        self.wake(now);
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.now = leader.now.max(now);
        for peer in &mut leader.peers {
            peer.beat_due = true;
        }
    }
}
