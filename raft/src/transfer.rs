//! Handing the leadership over: on request, and when the leader is no longer to lead.
//!
//! The target is brought up to date while proposals are refused, and then told to campaign at once
//! (thesis §3.10). Its requests for votes say that they were ordered, so nobody refuses them for
//! the sake of the leader (hazard E8). It obeys only when what the leader named is durable on it
//! (hazard E10).
//!
//! Invariant: the order, once given, may be obeyed at any later time, so from then on the leader
//! serves no read by a lease.

use alloc::vec::Vec;

use crate::error::TransferError;
use crate::message::MessageKind;
use crate::progress::Progress;
use crate::raft::{Raft, RoleState};
use crate::types::{Index, ReplicaId, Time};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    pub(crate) to: ReplicaId,
    pub(crate) until: Time,
    /// The target was told to campaign.
    ordered: bool,
}

impl crate::leader::Leader {
    #[inline]
    pub(crate) const fn transferring(&self) -> Option<ReplicaId> {
        match &self.transfer {
            Some(transfer) => Some(transfer.to),
            None => None,
        }
    }

    /// Whether the peer may lead and will stay.
    fn may_lead(&self, id: ReplicaId) -> bool {
        let seat = self.peers.iter().find(|peer| peer.id == id).map(|peer| peer.seat);
        seat.is_some_and(|seat| seat.votes_incoming() && !seat.is_witness())
    }

    /// A target that has lost its seat is not waited for (hazard M9).
    pub(crate) fn recheck_transfer(&mut self) {
        self.transfer = self.transfer.filter(|transfer| self.may_lead(transfer.to));
    }
}

impl Raft {
    /// Begins to hand the leadership to `target`: proposals are refused from now on, the target is
    /// brought up to date and told to campaign. Given up after an election timeout.
    ///
    /// # Errors
    /// When it cannot begin: see [`TransferError`].
    pub fn transfer(&mut self, now: Time, target: ReplicaId) -> Result<(), TransferError> {
        self.wake(now);
        let known = self.leader();
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(TransferError::NotLeader { leader: known });
        };
        if target == self.id {
            return Err(TransferError::AlreadyLeader);
        }
        if !leader.may_lead(target) {
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
    #[inline]
    pub(crate) fn maybe_order_campaign(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let (to, last) = (transfer.to, self.log.last());
        let even = leader.peers.iter().any(|peer| peer.id == to && peer.matched == last.index);
        if even && !transfer.ordered {
            transfer.ordered = true;
            leader.lease_void = true;
            if self.is_retiring() {
                return self.retire(to);
            }
            self.post(to, MessageKind::TimeoutNow { last });
        }
    }

    /// Whether this leader has no place in the membership, and that is committed.
    fn is_retiring(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        !leader.stays() && !leader.is_joint() && self.committed >= self.memberships.since()
    }

    /// A leader that has no place in the membership that is now committed hands over (thesis
    /// §4.2.2), to one that is heard and has most of the log. It leads on, without counting itself,
    /// until its heir has all of it: with witnesses, a majority may hold what nobody else who may
    /// lead has.
    #[cold]
    pub(crate) fn maybe_retire(&mut self) {
        if !self.is_retiring() {
            return;
        }
        let timeout_us = self.config.election_timeout_us;
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.transfer.is_some() {
            return;
        }
        let now = leader.now;
        let merit =
            |peer: &&Progress| (peer.heard_at.age_us(now) < u64::from(timeout_us), peer.matched);
        let heirs = leader.members().filter(|peer| leader.may_lead(peer.id));
        let Some(to) = heirs.max_by_key(merit).map(|peer| peer.id) else { return };
        leader.transfer = Some(Transfer { to, until: now.after(timeout_us), ordered: false });
        self.maybe_order_campaign();
    }

    /// Turns away from the lead, once and for all.
    #[cold]
    fn retire(&mut self, heir: ReplicaId) {
        let last = self.log.last();
        let RoleState::Leader(leader) = &self.role else { return };
        let now = leader.now;
        let told: Vec<_> = leader
            .members()
            .filter(|peer| peer.matched > peer.told_commit)
            .map(|peer| (peer.id, self.committed.min(peer.matched)))
            .collect();
        // Whoever has the entry hears that it is committed, the heir too, before it is told to lead.
        for (to, commit) in told {
            let (floor, read_round, sleep) = (Index::ZERO, 0, false);
            self.post(to, MessageKind::Heartbeat { commit, floor, read_round, sleep });
        }
        self.post(heir, MessageKind::TimeoutNow { last });
        self.become_follower(now, None);
    }
}
