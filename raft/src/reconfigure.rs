//! Changing the membership: what a leader may propose, and what follows from it.
//!
//! A change is an entry like others, except that it counts from the moment it is appended, and
//! that only one may be uncommitted (hazard M1). One voter at a time may change at once, since any
//! two such memberships share a voter in every pair of majorities; more go by way of a joint
//! membership, where both halves decide (Raft §6). Either waits until the leader has committed in
//! its own term, or two leaders could each have changed another voter (hazard M2, the bug of
//! single-server changes found in 2015).
//!
//! A joint membership must be left (hazard M3). With automatic leave that is the business of
//! whoever leads once it is committed, so a new leader does it without knowing who began.

use crate::error::{ChangeError, MembershipError};
use crate::membership::{Change, Membership};
use crate::message::{MembershipProposed, Proposed};
use crate::planted::{self, Bug};
use crate::raft::{Raft, RoleState};
use crate::seat::Seat;

/// By which way a membership changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Transition {
    /// At once when at most one voter changes; else joint, left automatically.
    #[default]
    Auto,
    /// Joint, left automatically as soon as it is committed.
    Joint,
    /// Joint, until [`Raft::propose_leave_joint`].
    JointExplicit,
}

impl Raft {
    /// Proposes a change of membership. It is in force at once, here, and elsewhere when its entry
    /// is appended there. The caller makes a block of the one entry, from the membership returned.
    ///
    /// ```
    /// use kontiki_raft::{Change, Config, HardState, Index, Membership, Position, Raft, ReplicaId};
    /// use kontiki_raft::{Start, Time, Transition};
    /// # let [a, b] = [1, 2].map(|id| ReplicaId::new(id).unwrap());
    /// # let mut raft = Raft::new(Config::default(), Start {
    /// #     id: a, membership: Membership::new(&[a])?, changes: &[], spans: &[], seed: 7,
    /// #     hard_state: HardState::default(), compacted: Position::ZERO, committed: Index::ZERO,
    /// #     now: Time(0),
    /// # })?;
    /// # fn drain(raft: &mut Raft) {
    /// #     while let Some(write) = raft.take_persist() {
    /// #         raft.on_persisted(write.seq);
    /// #         raft.take_noop();
    /// #     }
    /// # }
    /// # raft.campaign(Time(0));
    /// # drain(&mut raft);
    /// // A group of one, which leads itself, takes in a second replica: first as a learner, that
    /// // catches up without a vote, then as a voter.
    /// let change = raft.propose_membership(&[Change::AddLearner(b)], Transition::Auto)?;
    /// assert_eq!(change.membership.to_string(), "voters=(1) learners=(2)");
    /// drain(&mut raft);
    /// assert_eq!(raft.committed(), change.proposed.last, "one of one voters has it");
    ///
    /// raft.propose_membership(&[Change::AddVoter(b)], Transition::Auto)?;
    /// drain(&mut raft);
    /// assert!(raft.committed() < raft.membership_index(), "now the second must have it too");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When this replica may not, or the changes do not make a membership: see [`ChangeError`].
    ///
    /// # Panics
    /// When the no-op of [`Raft::take_noop`] was not taken first.
    pub fn propose_membership(
        &mut self,
        changes: &[Change],
        transition: Transition,
    ) -> Result<MembershipProposed, ChangeError> {
        let current = self.changeable()?;
        if current.is_joint() {
            return Err(ChangeError::Joint);
        }
        let next = match transition {
            Transition::Auto => {
                current.simple(changes).or_else(|_| current.enter_joint(true, changes))
            }
            Transition::Joint => current.enter_joint(true, changes),
            Transition::JointExplicit => current.enter_joint(false, changes),
        }?;
        if next.seat(self.id).is_some_and(Seat::is_witness) {
            // Nobody who may lead might have what this leader has.
            return Err(ChangeError::Invalid(MembershipError::BadSeat { id: self.id }));
        }
        Ok(self.append_membership(&next))
    }

    /// Proposes to leave a joint membership: the incoming half decides alone from now on.
    ///
    /// # Errors
    /// When this replica may not, or the membership is not joint: see [`ChangeError`].
    ///
    /// # Panics
    /// When the no-op of [`Raft::take_noop`] was not taken first.
    pub fn propose_leave_joint(&mut self) -> Result<MembershipProposed, ChangeError> {
        let current = self.changeable()?;
        let next = current.leave_joint().map_err(|_| ChangeError::NotJoint)?;
        Ok(self.append_membership(&next))
    }

    /// The entry by which a leader leaves a joint membership of its own accord, when it is time.
    /// The caller makes a block for it, as for [`Raft::propose_membership`]. Asked for in every
    /// drain, since a commit is what makes it due.
    #[inline]
    pub fn take_membership(&mut self) -> Option<MembershipProposed> {
        let RoleState::Leader(leader) = &self.role else { return None };
        if !leader.is_joint() {
            return None;
        }
        self.take_leave()
    }

    #[cold]
    fn take_leave(&mut self) -> Option<MembershipProposed> {
        let current = self.changeable().ok().filter(Membership::auto_leave)?;
        let next = current.leave_joint().expect("a joint membership can be left");
        Some(self.append_membership(&next))
    }

    /// The membership in force, when this replica may propose another one now.
    fn changeable(&mut self) -> Result<Membership, ChangeError> {
        let (leader, since) = (self.leader(), self.memberships.since());
        let ready = self.own_term_committed() || planted::has(Bug::ChangeBeforeOwnCommit);
        let pending = self.committed < since;
        let RoleState::Leader(own) = &mut self.role else {
            return Err(ChangeError::NotLeader { leader });
        };
        own.assert_noop_taken();
        if let Some(to) = own.transferring() {
            return Err(ChangeError::Transferring { to });
        }
        if !ready {
            return Err(ChangeError::NotReady);
        }
        if pending && !planted::has(Bug::ChangeBeforeOwnCommit) {
            return Err(ChangeError::InProgress { index: since });
        }
        Ok(self.memberships.current())
    }

    /// Appends the entry, and lets it count.
    fn append_membership(&mut self, membership: &Membership) -> MembershipProposed {
        let (term, index) = (self.hard_state.term, self.log.last().index.next());
        self.log.append(term, index);
        self.memberships.append(index, membership);
        self.note_electable();
        let RoleState::Leader(leader) = &mut self.role else {
            unreachable!("only a leader proposes")
        };
        let watched = !leader.peers.is_empty();
        leader.reseat_peers(self.id, membership, index);
        if leader.asleep || !watched {
            leader.rouse();
        }
        leader.recheck_transfer();
        // The majority may be smaller now, or the leader alone (hazards M8, R4).
        self.advance_commit();
        self.confirm_reads();
        let proposed = Proposed { term, first: index, last: index };
        MembershipProposed { proposed, membership: *membership }
    }
}
