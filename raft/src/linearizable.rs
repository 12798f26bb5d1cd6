//! Linearizable reads: rounds, leases, and reads that followers forward.
//!
//! Invariants: a read is served only after the leader has committed in its own term (hazard R2),
//! confirmed by the same majorities that commit (hazard R5), or under a lease that such a
//! confirmation began. A lease ends for good with the order to campaign: whoever hears of that
//! order, however late, may be voted for at once (hazards R6, R7).

use alloc::boxed::Box;

use crate::error::ReadError;
use crate::leader::Leader;
use crate::message::{MessageKind, ReadId, ReadReady};
use crate::planted::{self, Bug};
use crate::raft::{Raft, RoleState};
use crate::reads::Reads;
use crate::types::{Index, ReplicaId, Time};

impl Leader {
    /// The number of the last round begun; 0 before the first.
    #[inline]
    pub(crate) fn latest_round(&self) -> u64 {
        self.reads.as_ref().map_or(0, |reads| reads.latest())
    }

    pub(crate) fn reads_mut(&mut self) -> &mut Reads {
        self.reads.get_or_insert_with(Box::default)
    }

    /// Whether this leadership may no longer be certain for any time ahead.
    pub(crate) const fn is_lease_void(&self) -> bool {
        self.transfer.is_some() || self.lease_void
    }

    /// Until when the leadership is certain by the group's own rounds.
    pub(crate) fn round_lease(&self, lease_us: u32) -> Option<Time> {
        let survives = planted::has(Bug::LeaseSurvivesTransfer);
        if lease_us == 0 || (self.is_lease_void() && !survives) {
            return None;
        }
        Some(self.reads.as_ref()?.lease_from()?.after(lease_us))
    }
}

impl Raft {
    /// Asks for a moment at which a linearizable read may be served here. The answer comes from
    /// [`Raft::take_reads`], and always comes: on a leader under a lease at once, else when a round
    /// is confirmed; on a follower when its leader has answered for it.
    ///
    /// # Errors
    /// When this replica knows no leader, or leads and is handing over.
    pub fn read(&mut self, now: Time) -> Result<ReadId, ReadError> {
        self.wake(now);
        let lease_us = self.config.lease_us();
        let committed = self.committed;
        let ready = self.own_term_committed() || planted::has(Bug::ReadBeforeOwnCommit);
        match &mut self.role {
            RoleState::Leader(leader) => {
                leader.now = leader.now.max(now);
                let lease = leader.round_lease(lease_us);
                let survives = planted::has(Bug::LeaseSurvivesTransfer);
                if leader.transfer.is_some() && !survives {
                    return Err(ReadError::NotReady);
                }
                self.last_read = ReadId(self.last_read.0 + 1);
                let reads = leader.reads_mut();
                reads.add(self.last_read);
                if ready && lease.is_some_and(|until| now < until) {
                    reads.settle(self.last_read, committed);
                }
            }
            RoleState::Follower(follower) if follower.leader.is_some() => {
                self.last_read = ReadId(self.last_read.0 + 1);
                self.talk.add_read(self.last_read);
            }
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                return Err(ReadError::NotLeader { leader: None });
            }
        }
        Ok(self.last_read)
    }

    /// A follower asks for its reads. The request keeps its number until it is answered or the
    /// leadership ends.
    pub(crate) fn on_read_index(&mut self, now: Time, from: (ReplicaId, u32), request: u64) {
        let (lease_us, committed) = (self.config.lease_us(), self.committed);
        let ready = self.own_term_committed();
        let RoleState::Leader(leader) = &mut self.role else {
            return self.refuse_read(from.0, request);
        };
        if leader.hear(now, from).is_none() {
            return self.refuse_read(from.0, request);
        }
        let (id, now) = (from.0, leader.now);
        if leader.transfer.is_some() {
            return self.refuse_read(id, request);
        }
        if ready && leader.round_lease(lease_us).is_some_and(|until| now < until) {
            return self.post(id, MessageKind::ReadIndexReply { request, index: committed });
        }
        let next = ReadId(self.last_read.0 + 1);
        if leader.reads_mut().forward(next, id, request) {
            self.last_read = next;
        }
    }

    /// Whoever cannot answer for a read says so: one who was removed, or whose leader is none any
    /// more, may never hear anything else (hazard R3).
    #[cold]
    pub(crate) fn refuse_read(&mut self, to: ReplicaId, request: u64) {
        self.post(to, MessageKind::ReadIndexReply { request, index: Index::ZERO });
    }

    /// Begins a round for waiting reads.
    #[inline]
    pub(crate) fn maybe_begin_round(&mut self) {
        if let RoleState::Leader(leader) = &self.role
            && leader.reads.is_some()
        {
            self.begin_round(false);
        }
    }

    /// Begins a round, for waiting reads or for the lease, unless the commit may still be behind
    /// what an earlier leader answered for: until an entry of our own term is committed.
    pub(crate) fn begin_round(&mut self, for_lease: bool) {
        let ready = self.own_term_committed() || planted::has(Bug::ReadBeforeOwnCommit);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (now, committed) = (leader.now, self.committed);
        if ready && leader.reads_mut().begin(committed, now, for_lease) {
            for peer in &mut leader.peers {
                peer.beat_due = true;
            }
            self.confirm_reads();
        }
    }

    #[inline]
    pub(crate) fn on_round_answered(&mut self, from: ReplicaId, read_round: u64) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let latest = leader.latest_round();
        let Some(peer) = leader.peer_mut(from) else { return };
        // No follower can answer a round that has not begun.
        if read_round > peer.acked_round && read_round <= latest {
            peer.acked_round = read_round;
            self.confirm_reads();
        }
    }

    pub(crate) fn confirm_reads(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let answered = leader.agreed(u64::MAX, |peer| peer.acked_round);
        let now = leader.now;
        let Some(reads) = &mut leader.reads else { return };
        let Some((up_to, index)) = reads.confirm(answered, now) else { return };
        while let Some((to, request)) = self.next_forwarded(up_to) {
            self.post(to, MessageKind::ReadIndexReply { request, index });
        }
    }

    fn next_forwarded(&mut self, up_to: ReadId) -> Option<(ReplicaId, u64)> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        leader.reads.as_mut()?.take_forwarded(up_to)
    }

    /// What became of waiting reads.
    #[inline]
    pub fn take_reads(&mut self) -> Option<ReadReady> {
        if self.reads_lost {
            self.reads_lost = false;
            return Some(ReadReady::Lost { up_to: self.last_read });
        }
        match &mut self.role {
            RoleState::Leader(leader) => leader.reads.as_mut()?.take(),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                self.talk.take_ready()
            }
        }
    }
}
