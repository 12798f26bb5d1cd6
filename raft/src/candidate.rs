//! What a candidate does: asks, counts, and wins or yields.
//!
//! A *pre-candidate* asks whether an election would succeed, in a term that nobody enters for it
//! (thesis §9.6), so a replica that was cut off cannot unseat a working leader by coming back with
//! a high term. A *candidate* has entered the term and voted for itself.
//!
//! Invariants: requests leave only when term, vote and the whole log are durable, since the log's
//! end is what the votes are given for (hazard E4); the candidate's own vote counts from then on.
//! Neither knows a leader, so neither refuses the other for the sake of one (hazard E7).

use crate::message::{Message, MessageKind};
use crate::raft::{Raft, RoleState, SESSION};
use crate::types::{HardState, ReplicaId, Time};

/// Who was asked, and who agreed: one bit per slot of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ballot {
    asked: u8,
    granted: u8,
    /// A leader ordered the campaign.
    forced: bool,
}

const _: () = assert!(crate::membership::VOTERS_MAX <= 8, "a ballot has eight bits");

impl Ballot {
    const fn granted_count(&self) -> usize {
        self.granted.count_ones() as usize
    }
}

impl Raft {
    fn own_bit(&self) -> u8 {
        let slot = self.membership.voter_slot(self.id).expect("a replica is in its membership");
        1 << slot
    }

    pub(crate) fn become_pre_candidate(&mut self, now: Time) {
        // The timer draws anew, so that rivals part.
        self.become_follower(now, None);
        let own = self.own_bit();
        self.role = RoleState::PreCandidate(Ballot { asked: own, granted: own, forced: false });
        self.maybe_campaign(now);
    }

    fn maybe_campaign(&mut self, now: Time) {
        if let RoleState::PreCandidate(ballot) = &self.role
            && ballot.granted_count() >= self.membership.quorum()
        {
            self.become_candidate(now, false);
        }
    }

    pub(crate) fn become_candidate(&mut self, now: Time, forced: bool) {
        assert!(!self.is_leader(), "a leader does not campaign");
        self.enter_term(HardState { term: self.hard_state.term.next(), vote: Some(self.id) });
        self.arm(now);
        self.role = RoleState::Candidate(Ballot { asked: self.own_bit(), granted: 0, forced });
    }

    /// Whether everything that a request for votes claims is durable.
    fn is_settled(&self) -> bool {
        self.durability.hard_state_is_durable()
            && self.durability.persisted() == self.log.last().index
    }

    /// Counts the candidate's own vote, once it is durable.
    pub(crate) fn count_own_vote(&mut self) {
        if self.is_settled() {
            // Nobody else was asked before, so this wins only where there is nobody else, and
            // then nothing depends on the time.
            self.count_vote(self.armed_at, self.id);
        }
    }

    fn count_vote(&mut self, now: Time, from: ReplicaId) {
        let Some(slot) = self.membership.voter_slot(from) else { return };
        let RoleState::Candidate(ballot) = &mut self.role else { return };
        ballot.granted |= 1 << slot;
        if ballot.granted_count() >= self.membership.quorum() {
            self.become_leader(now);
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
        let slot = ballot.asked.trailing_ones() as usize;
        let mut unasked = self.membership.voters().iter().enumerate().skip(slot);
        let (slot, &to) = unasked.find(|(slot, _)| ballot.asked & (1 << slot) == 0)?;
        ballot.asked |= 1 << slot;
        let kind = if pre {
            MessageKind::PreVote { last }
        } else {
            MessageKind::Vote { last, forced: ballot.forced }
        };
        Some(Message { from: self.id, to, term: self.hard_state.term, kind, session: SESSION })
    }

    /// A refusal needs no counting: its term, if later than ours, has already made us follow.
    pub(crate) fn on_pre_vote_reply(&mut self, now: Time, from: ReplicaId, granted: bool) {
        let slot = self.membership.voter_slot(from);
        if let (RoleState::PreCandidate(ballot), Some(slot), true) = (&mut self.role, slot, granted)
        {
            ballot.granted |= 1 << slot;
            self.maybe_campaign(now);
        }
    }

    /// Grants that come late find another role, and no one counts them (hazard E9).
    pub(crate) fn on_vote_reply(&mut self, now: Time, from: ReplicaId, granted: bool) {
        if granted {
            self.count_vote(now, from);
        }
    }
}
