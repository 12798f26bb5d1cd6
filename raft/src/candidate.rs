//! What a candidate does: asks, counts, and wins or yields.
//!
//! A *pre-candidate* asks whether an election would succeed, in a term that nobody enters for it
//! (thesis §9.6), so a replica that was cut off cannot unseat a working leader by coming back with
//! a high term. A *candidate* has entered the term and voted for itself.
//!
//! Invariants: requests leave only when term, vote and the whole log are durable, since the log's
//! end is what the votes are given for (hazard E4); the candidate's own vote counts from then on.
//! Neither knows a leader, so neither refuses the other for the sake of one (hazard E7).

use crate::membership::MEMBERS_MAX;
use crate::message::{Message, MessageKind};
use crate::planted::{self, Bug};
use crate::quorum::VoteResult;
use crate::raft::{Raft, RoleState};
use crate::types::{HardState, Index, ReplicaId, Time};

/// Who was asked, and who agreed: one bit per slot of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ballot {
    asked: u16,
    granted: u16,
    refused: u16,
    /// A leader ordered the campaign.
    forced: bool,
    /// When the campaign began.
    began_at: Time,
    /// What is known to be in the log of the leader that this term has or had.
    pub(crate) verified: Index,
}

impl Ballot {
    const fn new(own: u16, granted: u16, forced: bool, began_at: Time, verified: Index) -> Self {
        Self { asked: own, granted, refused: 0, forced, began_at, verified }
    }

    const fn count(&mut self, slot: usize, granted: bool) {
        if granted {
            self.granted |= 1 << slot;
        } else {
            self.refused |= 1 << slot;
        }
    }
}

const _: () = assert!(MEMBERS_MAX <= 16, "a ballot has sixteen bits");

impl Raft {
    /// None when this replica is no member any more: then it does not count itself.
    fn own_bit(&self) -> u16 {
        self.memberships.current().slot(self.id).map_or(0, |slot| 1 << slot)
    }

    /// Campaigns, if this replica may: first for the right to, where that is asked for.
    pub(crate) fn become_pre_candidate(&mut self, now: Time) {
        if !self.can_campaign() {
            return self.arm(now);
        }
        if !self.config.pre_vote {
            return self.become_candidate(now, false);
        }
        // The timer draws anew, so that rivals part.
        self.become_follower(now, None);
        let (own, verified) = (self.own_bit(), self.verified());
        self.role = RoleState::PreCandidate(Ballot::new(own, own, false, now, verified));
        self.judge(now);
    }

    /// Acts on the ballot: wins, loses, or waits. A campaign that cannot be won any more ends at
    /// once instead of keeping others from theirs.
    fn judge(&mut self, now: Time) {
        let membership = self.memberships.current();
        let result = |ballot: &Ballot| membership.decides(ballot.granted, ballot.refused);
        match &self.role {
            RoleState::PreCandidate(ballot) => match result(ballot) {
                VoteResult::Won => self.become_candidate(now, false),
                VoteResult::Lost => self.become_follower(now, None),
                VoteResult::Pending => {}
            },
            RoleState::Candidate(ballot) => match result(ballot) {
                VoteResult::Won => self.become_leader(now),
                VoteResult::Lost => self.become_follower(now, None),
                VoteResult::Pending => {}
            },
            RoleState::Follower(_) | RoleState::Leader(_) => {}
        }
    }

    pub(crate) fn become_candidate(&mut self, now: Time, forced: bool) {
        assert!(!self.is_leader(), "a leader does not campaign");
        self.enter_term(HardState { term: self.hard_state.term.next(), vote: Some(self.id) });
        self.reads_lost |= self.talk.lose_reads();
        // The leader ordered it, or nobody is supported here.
        self.supports = None;
        self.arm(now);
        let own = self.own_bit();
        self.role = RoleState::Candidate(Ballot::new(own, 0, forced, now, self.committed));
    }

    /// Whether everything that a request for votes claims is durable.
    fn is_settled(&self) -> bool {
        (self.durability.hard_state_is_durable()
            && self.durability.persisted() == self.log.last().index)
            || planted::has(Bug::VoteBeforePersist)
    }

    /// Counts the candidate's own vote, once it is durable.
    pub(crate) fn count_own_vote(&mut self) {
        let RoleState::Candidate(ballot) = &self.role else { return };
        let began_at = ballot.began_at;
        if self.is_settled() {
            self.on_vote_reply(began_at, self.id, true);
        }
    }

    /// The next request, when requests may leave.
    pub(crate) fn ballot_message(&mut self) -> Option<Message> {
        if !self.is_settled() {
            return None;
        }
        let last = self.log.last();
        let (ballot, pre) = match &mut self.role {
            RoleState::PreCandidate(ballot) => (ballot, true),
            RoleState::Candidate(ballot) => (ballot, false),
            RoleState::Follower(_) | RoleState::Leader(_) => return None,
        };
        let membership = self.memberships.current();
        let mut members = membership.members().enumerate();
        let unasked = |slot: usize| ballot.asked & (1 << slot) == 0;
        let (slot, member) = members.find(|&(slot, m)| m.seat.votes() && unasked(slot))?;
        let to = member.id;
        ballot.asked |= 1 << slot;
        let kind = if pre {
            MessageKind::PreVote { last }
        } else {
            MessageKind::Vote { last, forced: ballot.forced }
        };
        Some(Message { from: self.id, to, term: self.hard_state.term, kind, session: 0 })
    }

    pub(crate) fn on_pre_vote_reply(&mut self, now: Time, from: ReplicaId, granted: bool) {
        let slot = self.memberships.current().slot(from);
        if let (RoleState::PreCandidate(ballot), Some(slot)) = (&mut self.role, slot) {
            ballot.count(slot, granted);
            self.judge(now);
        }
    }

    /// Replies that come late find another role, and no one counts them (hazard E9).
    pub(crate) fn on_vote_reply(&mut self, now: Time, from: ReplicaId, granted: bool) {
        let slot = self.memberships.current().slot(from);
        if let (RoleState::Candidate(ballot), Some(slot)) = (&mut self.role, slot) {
            ballot.count(slot, granted);
            self.judge(now);
        }
    }
}
