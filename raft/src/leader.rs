//! What a leader does: orders proposals, sends appends, counts acknowledgements, moves the commit,
//! confirms reads, and knows when to stop leading.
//!
//! Invariants:
//! - only an entry of the leader's own term commits by counting (Raft §5.4.2), and the leader
//!   counts itself only as far as its own disk has it;
//! - a read is confirmed only after the leader has committed in its own term (hazard R2), by the
//!   same majority that commits (hazard R5);
//! - appends and heartbeats may leave before the leader's own disk has the entries, since they
//!   promise nothing about it.
//!
//! Deliberately absent: retransmission timers; see `progress`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::error::{ProposeError, ReadError, TransferError};
use crate::log::Log;
use crate::membership::VOTERS_MAX;
use crate::message::{AppendHeader, Extent, Message, MessageKind, Proposed, ReadId};
use crate::progress::Progress;
use crate::quorum;
use crate::raft::{Raft, RoleState, SESSION};
use crate::reads::Reads;
use crate::status::{PeerProgress, ProgressState};
use crate::types::{Index, Position, ReplicaId, Term, Time};
use crate::window::Window;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The no-op that opened the term: the first entry that commits by counting.
    first: Index,
    /// The caller has not yet made a block for the no-op.
    noop_untaken: bool,
    /// The latest time this leader was told.
    now: Time,
    /// When a peer may be due a heartbeat.
    heartbeat_at: Time,
    /// When a quorum may have been silent for too long.
    quorum_check_at: Time,
    transfer: Option<Transfer>,
    /// Bytes of own proposals that wait for their commit.
    pub(crate) uncommitted: Window<16>,
    pub(crate) reads: Reads,
    /// Everybody else.
    pub(crate) peers: Vec<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Transfer {
    to: ReplicaId,
    until: Time,
    /// The target was told to campaign.
    ordered: bool,
}

/// The end of time: a deadline that never comes.
const NEVER: Time = Time(u64::MAX);

impl Leader {
    fn peer_mut(&mut self, id: ReplicaId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// Someone of our term speaks to us.
    #[inline]
    fn hear(&mut self, now: Time, id: ReplicaId) -> Option<&mut Progress> {
        self.now = self.now.max(now);
        let now = self.now;
        let peer = self.peer_mut(id)?;
        peer.heard_at = now;
        Some(peer)
    }

    pub(crate) const fn take_noop(&mut self, term: Term) -> Option<Proposed> {
        if !self.noop_untaken {
            return None;
        }
        self.noop_untaken = false;
        Some(Proposed { term, first: self.first, last: self.first })
    }

    pub(crate) const fn untaken_noop(&self) -> Option<Index> {
        if self.noop_untaken { Some(self.first) } else { None }
    }

    #[inline]
    pub(crate) const fn assert_noop_taken(&self) {
        assert!(!self.noop_untaken, "the new leader's no-op must be taken before anything else");
    }

    pub(crate) const fn transferring(&self) -> Option<ReplicaId> {
        match &self.transfer {
            Some(transfer) => Some(transfer.to),
            None => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let until = self.transfer.map_or(NEVER, |transfer| transfer.until);
        Some(self.heartbeat_at.min(self.quorum_check_at).min(until)).filter(|&at| at != NEVER)
    }

    pub(crate) fn progress(&self, timeout_us: u64) -> impl Iterator<Item = PeerProgress> + '_ {
        self.peers.iter().map(move |peer| PeerProgress {
            id: peer.id,
            state: peer.state,
            matched: peer.matched,
            next: peer.next,
            inflight_bytes: peer.inflight.bytes(),
            recent_active: self.now.since(peer.heard_at) < timeout_us,
        })
    }

    /// What `own` and the peers' values agree on by majority, and the least of them.
    #[inline]
    fn agreed<T: Ord + Copy>(
        &self,
        quorum: usize,
        own: T,
        value: impl Fn(&Progress) -> T,
    ) -> (T, T) {
        let mut values = [own; VOTERS_MAX];
        for (slot, peer) in values[1..].iter_mut().zip(&self.peers) {
            *slot = value(peer);
        }
        let values = &mut values[..=self.peers.len()];
        let agreed = quorum::reached_by(values, quorum);
        (agreed, values[self.peers.len()])
    }

    pub(crate) fn check(&self, log: &Log, committed: Index, term: Term) {
        let (last, term_at_first) = (log.last().index, log.term_at(self.first));
        for peer in &self.peers {
            peer.check(last);
        }
        self.uncommitted.check();
        self.reads.check();
        assert!(self.first <= last, "the no-op {:?} is past the end {last:?}", self.first);
        assert!(term_at_first.is_none_or(|at| at == term), "the no-op is of {term_at_first:?}");
        if committed == last {
            assert!(self.uncommitted.bytes() == 0, "bytes leak: {:?}", self.uncommitted);
        }
    }
}

/// Taking and losing the lead.
impl Raft {
    pub(crate) fn become_leader(&mut self, now: Time) {
        let (id, term) = (self.id, self.hard_state.term);
        let first = self.log.last().index.next();
        self.log.append(term, first);
        let others = self.membership.voters().iter().filter(|&&voter| voter != id);
        let peers: Vec<_> = others.map(|&peer| Progress::new(peer, first, now)).collect();
        let alone = peers.is_empty();
        let lost = core::mem::take(&mut self.reads_lost).then_some(self.last_read);
        self.role = RoleState::Leader(Box::new(Leader {
            first,
            noop_untaken: true,
            now,
            heartbeat_at: if alone { NEVER } else { now.after(self.config.heartbeat_us) },
            quorum_check_at: if alone { NEVER } else { now.after(self.config.election_timeout_us) },
            transfer: None,
            uncommitted: Window::new(),
            reads: Reads::after_loss_of(lost),
            peers,
        }));
    }

    /// Heartbeats, check-quorum, and the end of a transfer that takes too long.
    pub(crate) fn on_leader_deadline(&mut self, now: Time) {
        let (config, quorum) = (self.config, self.membership.quorum());
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.now = leader.now.max(now);
        let now = leader.now;
        if leader.transfer.is_some_and(|transfer| now >= transfer.until) {
            leader.transfer = None;
        }
        if now >= leader.heartbeat_at {
            let mut oldest = now;
            for peer in &mut leader.peers {
                if now.since(peer.sent_at) >= u64::from(config.heartbeat_us) {
                    peer.beat_due = true;
                } else {
                    oldest = oldest.min(peer.sent_at);
                }
            }
            leader.heartbeat_at = oldest.after(config.heartbeat_us);
        }
        if now >= leader.quorum_check_at {
            let (heard_at, _) = leader.agreed(quorum, now, |peer| peer.heard_at);
            leader.quorum_check_at = heard_at.after(config.election_timeout_us);
            if now >= leader.quorum_check_at {
                // Someone else may lead by now; going on would only mislead our clients.
                self.become_follower(now, None);
            }
        }
    }

    pub(crate) fn on_connection_changed(&mut self, now: Time, id: ReplicaId) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.now = leader.now.max(now);
        if let Some(peer) = leader.peer_mut(id) {
            peer.reconnect();
        }
    }

    pub(crate) fn leader_transfer(
        &mut self,
        now: Time,
        target: ReplicaId,
    ) -> Result<(), TransferError> {
        let known = self.leader();
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(TransferError::NotLeader { leader: known });
        };
        if target == self.id {
            return Err(TransferError::AlreadyLeader);
        }
        if self.membership.voter_slot(target).is_none() {
            return Err(TransferError::NotVoter);
        }
        if let Some(to) = leader.transferring() {
            return Err(TransferError::Transferring { to });
        }
        leader.now = leader.now.max(now);
        let until = leader.now.after(self.config.election_timeout_us);
        leader.transfer = Some(Transfer { to: target, until, ordered: false });
        self.maybe_order_campaign();
        Ok(())
    }

    /// Tells the target of a transfer to campaign, once it has everything durable.
    fn maybe_order_campaign(&mut self) {
        let last = self.log.last();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(Transfer { to, ordered: false, .. }) = leader.transfer else { return };
        if leader.peers.iter().any(|peer| peer.id == to && peer.matched == last.index) {
            leader.transfer = leader.transfer.map(|t| Transfer { ordered: true, ..t });
            self.post(to, MessageKind::TimeoutNow { last });
        }
    }
}

/// Proposals and the commit.
impl Raft {
    #[inline]
    pub(crate) fn leader_propose(
        &mut self,
        count: u32,
        bytes: u32,
    ) -> Result<Proposed, ProposeError> {
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        };
        leader.assert_noop_taken();
        assert!(count > 0, "a proposal of no entries");
        if let Some(to) = leader.transferring() {
            return Err(ProposeError::Transferring { to });
        }
        let waiting = leader.uncommitted.bytes();
        let total = waiting + u64::from(bytes);
        if waiting > 0 && total > u64::from(self.config.uncommitted_bytes_max) {
            return Err(ProposeError::Busy);
        }
        let (term, end) = (self.hard_state.term, self.log.last().index);
        let last = end.advanced(count);
        self.log.append(term, last);
        leader.uncommitted.push(last, bytes);
        Ok(Proposed { term, first: end.next(), last })
    }

    /// Moves the commit to what a majority has persisted, but only through an entry of our own
    /// term; older ones commit together with it (Raft §5.4.2, Figure 8). Moves the floor too.
    #[inline]
    pub(crate) fn advance_commit(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (quorum, own) = (self.membership.quorum(), self.durability.persisted());
        let (candidate, everywhere) = leader.agreed(quorum, own, |peer| peer.matched);
        if candidate > self.committed && candidate >= leader.first {
            let last = self.log.last().index;
            assert!(candidate <= last, "commit {candidate:?} past the end {last:?}");
            self.committed = candidate;
            leader.uncommitted.release(candidate);
        }
        self.floor = self.floor.max(everywhere.min(self.committed));
    }
}

/// What followers answer.
impl Raft {
    #[inline]
    pub(crate) fn on_append_ack(
        &mut self,
        now: Time,
        from: ReplicaId,
        matched: Position,
        read_round: u64,
    ) {
        let known = self.log.term_at(matched.index) == Some(matched.term);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.hear(now, from) else { return };
        // A late acknowledgement may name an entry that is compacted here by now.
        let news = known && peer.on_ack(matched.index);
        if news {
            self.advance_commit();
            self.maybe_order_campaign();
        }
        self.on_round_answered(from, read_round);
    }

    pub(crate) fn on_append_reject(
        &mut self,
        now: Time,
        from: ReplicaId,
        prev: Index,
        hint: Position,
        read_round: u64,
    ) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.hear(now, from) else { return };
        if peer.rejection_counts(prev) {
            // The two logs cannot meet after the hint, nor at an entry of a later term than the
            // hint's: skip such terms whole.
            let meeting = self.log.latest_up_to(hint.index.min(prev.prev()), hint.term);
            match meeting {
                Some(position) => peer.probe_from(position.index.max(peer.matched).next()),
                None => peer.await_snapshot(),
            }
        }
        self.on_round_answered(from, read_round);
    }

    pub(crate) fn on_heartbeat_ack(&mut self, now: Time, from: ReplicaId, read_round: u64) {
        let patience_us = self.config.heartbeat_us;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.hear(now, from) else { return };
        peer.renew_probe(now, patience_us);
        self.on_round_answered(from, read_round);
    }
}

/// Reads.
impl Raft {
    pub(crate) fn leader_read(&mut self) -> Result<ReadId, ReadError> {
        let known = self.leader();
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(ReadError::NotLeader { leader: known });
        };
        if leader.transfer.is_some() {
            return Err(ReadError::NotReady);
        }
        self.last_read = ReadId(self.last_read.0 + 1);
        leader.reads.add(self.last_read);
        Ok(self.last_read)
    }

    /// Begins a round for waiting reads, unless the commit may still be behind what an earlier
    /// leader answered for: until an entry of our own term is committed (hazard R2).
    #[inline]
    fn maybe_begin_round(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if self.committed >= leader.first && leader.reads.begin(self.committed) {
            self.confirm_reads();
        }
    }

    #[inline]
    fn on_round_answered(&mut self, from: ReplicaId, read_round: u64) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let latest = leader.reads.latest();
        let Some(peer) = leader.peer_mut(from) else { return };
        // No follower can answer a round that has not begun.
        if read_round > peer.acked_round && read_round <= latest {
            peer.acked_round = read_round;
            self.confirm_reads();
        }
    }

    fn confirm_reads(&mut self) {
        let quorum = self.membership.quorum();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (answered, _) = leader.agreed(quorum, u64::MAX, |peer| peer.acked_round);
        leader.reads.confirm(answered);
    }
}

/// What the leader sends.
impl Raft {
    #[inline]
    pub(crate) fn leader_next_append<F>(&mut self, id: ReplicaId, extent: F) -> Option<AppendHeader>
    where
        F: FnOnce(Index, Index, u32) -> Option<Extent>,
    {
        self.maybe_begin_round();
        let (committed, floor, last) = (self.committed, self.floor, self.log.last().index);
        let RoleState::Leader(leader) = &mut self.role else { return None };
        leader.assert_noop_taken();
        let (now, read_round) = (leader.now, leader.reads.latest());
        let peer = leader.peer_mut(id)?;
        let first = peer.next;
        let room = u64::from(self.config.inflight_bytes_max).saturating_sub(peer.inflight.bytes());
        let blocked = match peer.state {
            ProgressState::Probe => peer.probe_in_flight,
            ProgressState::Replicate => first > last || room == 0,
            ProgressState::Snapshot => true,
        };
        if blocked {
            return None;
        }
        let prev = first.prev();
        let Some(prev_term) = self.log.term_at(prev) else {
            peer.await_snapshot();
            return None;
        };
        let Extent { last, bytes } = if first > last {
            Extent { last: prev, bytes: 0 }
        } else {
            let room = u32::try_from(room).expect("room is at most the configured u32");
            let extent = extent(first, last, room)?;
            assert!(
                first <= extent.last && extent.last <= last,
                "{extent:?} of {first:?}..{last:?}"
            );
            extent
        };
        peer.on_append_sent(now, last, bytes, committed);
        peer.sent_round = read_round;
        Some(AppendHeader {
            from: self.id,
            to: id,
            term: self.hard_state.term,
            prev: Position::new(prev_term, prev),
            last,
            commit: committed,
            floor,
            read_round,
            session: SESSION,
        })
    }

    /// The next heartbeat that is due: for silence, or for a read round.
    #[inline]
    pub(crate) fn leader_message(&mut self) -> Option<Message> {
        self.maybe_begin_round();
        let RoleState::Leader(leader) = &self.role else { return None };
        let round = if leader.reads.in_flight() { leader.reads.latest() } else { 0 };
        let due = |peer: &Progress| peer.beat_due || peer.sent_round < round;
        let slot = leader.peers.iter().position(due)?;
        Some(self.heartbeat(slot))
    }

    #[inline]
    pub(crate) fn leader_commit_owed(&mut self, id: ReplicaId) -> Option<Message> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let slot = leader.peers.iter().position(|peer| peer.id == id)?;
        let peer = &leader.peers[slot];
        let owed = self.committed.min(peer.matched) > peer.told_commit;
        if owed && peer.state == ProgressState::Replicate {
            Some(self.heartbeat(slot))
        } else {
            None
        }
    }

    /// A heartbeat names no commit beyond what the follower has acknowledged, since nothing else
    /// is known to be the leader's own there.
    fn heartbeat(&mut self, slot: usize) -> Message {
        let (from, term, floor) = (self.id, self.hard_state.term, self.floor);
        let RoleState::Leader(leader) = &mut self.role else {
            unreachable!("only a leader sends heartbeats")
        };
        let (now, read_round) = (leader.now, leader.reads.latest());
        let peer = &mut leader.peers[slot];
        let commit = self.committed.min(peer.matched);
        peer.told_commit = peer.told_commit.max(commit);
        peer.sent_round = read_round;
        peer.on_sent(now);
        let kind = MessageKind::Heartbeat { commit, floor, read_round };
        Message { from, to: peer.id, term, kind, session: SESSION }
    }
}
