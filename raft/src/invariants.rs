//! The whole-state check: what must hold after every input, whatever came.
//!
//! Tests and simulations call it after every step. It costs a walk over everything a replica
//! holds, so the engine does not.

use crate::raft::{Raft, RoleState};
use crate::seat::Seat;

impl Raft {
    /// Checks everything that always holds.
    ///
    /// # Panics
    /// With the values, when something does not.
    pub fn check_invariants(&self) {
        self.log.check();
        let (compacted, last) = (self.log.compacted(), self.log.last());
        self.durability.check(last.index);
        let (applied, given, committed) = (self.applied, self.given, self.committed);
        let persisted = self.durability.persisted();
        assert!(compacted.index <= applied, "compacted {compacted}, applied {applied}");
        assert!(applied <= given, "applied {applied}, given {given}");
        assert!(given <= committed, "given {given}, committed {committed}");
        // A snapshot counts as given from the moment it is accepted.
        let installing = given == compacted.index && persisted < given;
        assert!(given <= persisted || installing, "given {given}, persisted {persisted}");
        assert!(committed <= last.index, "committed {committed}, last {last}");
        assert!(self.floor <= last.index, "floor {}, last {last}", self.floor);
        self.memberships.check(compacted.index, last.index);
        let seat = self.memberships.seat(self.id);
        let electable = seat.is_some_and(Seat::may_lead);
        assert!(self.electable == electable, "electable {}, seat {seat:?}", self.electable);
        let term = self.hard_state.term;
        assert!(last.term <= term, "log ends at {last} in term {term}");

        match &self.role {
            RoleState::Follower(follower) => {
                let verified = follower.verified;
                assert!(committed <= verified, "committed {committed}, verified {verified}");
                assert!(verified <= last.index, "verified {verified}, last {last}");
                assert!(follower.leader != Some(self.id), "a follower of itself");
            }
            RoleState::PreCandidate(_) => {}
            RoleState::Candidate(_) => assert!(self.hard_state.vote == Some(self.id)),
            RoleState::Leader(leader) => {
                assert!(self.hard_state.vote == Some(self.id), "leads without its own vote");
                assert!(last.term == term, "a leader's log ends in its term");
                leader.check(&self.log, committed, term);
            }
        }
    }
}
