//! How one membership follows from another: at once, into a joint membership, or out of it.
//!
//! A change says what shall be, whatever was before: saying it twice changes nothing, removing a
//! stranger is no mistake, and of several changes of one replica the last one counts. Only the
//! outcome is judged, never a step on the way, so the order of a list matters to nobody else.
//!
//! Two majorities of voter sets that differ in one voter always meet, so such a step is safe by
//! itself. Any other goes by way of a joint membership, which starts with both sets and is left
//! once it is committed. Until then the outgoing half keeps its votes: a demoted voter waits as
//! "learner next", a removed one stays for its vote.
//!
//! Deliberately absent: when a change may be proposed, and when a joint membership may be left.

use super::{Member, Membership};
use crate::error::MembershipError;
use crate::seat::Seat;
use crate::types::ReplicaId;

/// One wish about one replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// It shall vote and keep everything. It is a stranger or a learner so far, or on its way out.
    AddVoter(ReplicaId),
    /// It shall keep everything and not vote, be it a stranger or a voter so far.
    AddLearner(ReplicaId),
    /// It shall vote and keep positions without payloads. A full voter or a learner may become a
    /// witness; the way back is only out of the group.
    AddWitness(ReplicaId),
    /// It shall be no member.
    Remove(ReplicaId),
}

impl Change {
    /// The replica that it is about.
    #[must_use]
    #[inline]
    pub const fn id(self) -> ReplicaId {
        match self {
            Self::AddVoter(id) | Self::AddLearner(id) | Self::AddWitness(id) | Self::Remove(id) => {
                id
            }
        }
    }

    /// The seat that the replica has after this change, given the one it has in the membership
    /// that is changed. Its vote in the outgoing half is not for a change to take.
    const fn apply(self, before: Option<Seat>) -> Option<Seat> {
        match self {
            Self::AddVoter(_) => Some(Seat::VOTER.beside_outgoing(before)),
            Self::AddLearner(_) => Some(Seat::LEARNER.beside_outgoing(before)),
            Self::AddWitness(_) => Some(Seat::WITNESS.beside_outgoing(before)),
            Self::Remove(_) => match before {
                Some(seat) => seat.only_outgoing(),
                None => None,
            },
        }
    }
}

impl Membership {
    /// The membership after changes that touch at most one voter: it comes, goes, or becomes a
    /// witness. Learners come and go freely.
    ///
    /// # Errors
    /// `AlreadyJoint` on a joint membership, `NeedsJoint` when more than one voter changes, and
    /// whatever speaks against the outcome.
    pub fn simple(&self, changes: &[Change]) -> Result<Self, MembershipError> {
        if self.is_joint() {
            return Err(MembershipError::AlreadyJoint);
        }
        let next = self.changed(changes)?;
        if self.voters_changed(&next) > 1 {
            return Err(MembershipError::NeedsJoint);
        }
        Ok(next)
    }

    /// The joint membership between this one and the one that the changes ask for. With
    /// `auto_leave` the leader leaves it by itself once it is committed.
    ///
    /// ```
    /// use kontiki_raft::{Change, Membership, ReplicaId};
    /// let [a, b] = [1, 2].map(|id| ReplicaId::new(id).unwrap());
    /// let changes = [Change::AddVoter(b), Change::AddLearner(a)];
    /// let joint = Membership::new(&[a])?.enter_joint(false, &changes)?;
    /// assert_eq!(joint.to_string(), "voters=(2)&&(1) learners_next=(1)");
    /// assert_eq!(joint.leave_joint()?.to_string(), "voters=(2) learners=(1)");
    /// # Ok::<(), kontiki_raft::MembershipError>(())
    /// ```
    ///
    /// # Errors
    /// `AlreadyJoint` on a joint membership, `Empty` on one without voters, and whatever speaks
    /// against the outcome.
    pub fn enter_joint(
        &self,
        auto_leave: bool,
        changes: &[Change],
    ) -> Result<Self, MembershipError> {
        if self.is_joint() {
            return Err(MembershipError::AlreadyJoint);
        }
        if self.is_empty() {
            return Err(MembershipError::Empty);
        }
        let mut both = *self;
        for seat in &mut both.seats[..self.len()] {
            *seat = seat.entering_joint();
        }
        Ok(Self { auto_leave, ..both.changed(changes)? })
    }

    /// The membership after the outgoing half has left: those who voted only there are gone, or
    /// learners if that was wished.
    ///
    /// # Errors
    /// `NotJoint` when there is no outgoing half.
    pub fn leave_joint(&self) -> Result<Self, MembershipError> {
        if !self.is_joint() {
            return Err(MembershipError::NotJoint);
        }
        let mut next = Self::EMPTY;
        for Member { id, seat } in self.members() {
            if let Some(seat) = seat.leaving_joint() {
                next.insert(Member { id, seat })?;
            }
        }
        next.checked()
    }

    /// What the changes ask for, with the outgoing half as it is.
    fn changed(&self, changes: &[Change]) -> Result<Self, MembershipError> {
        let mut next = Self::EMPTY;
        for Member { id, seat: before } in self.members() {
            let last = changes.iter().rfind(|change| change.id() == id);
            let Some(seat) = last.map_or(Some(before), |change| change.apply(Some(before))) else {
                continue;
            };
            if before.is_witness() && !seat.is_witness() {
                return Err(MembershipError::BadSeat { id });
            }
            next.insert(Member { id, seat })?;
        }
        for (at, change) in changes.iter().enumerate() {
            let id = change.id();
            let last = changes[at + 1..].iter().all(|later| later.id() != id);
            if let Some(seat) = change.apply(None)
                && last
                && !self.contains(id)
            {
                next.insert(Member { id, seat })?;
            }
        }
        next.checked()
    }

    /// How many voters are in one of two memberships alone, or keep payloads only in one.
    fn voters_changed(&self, next: &Self) -> usize {
        let voter = |of: &Self, id| of.seat(id).filter(|seat| seat.votes_incoming());
        let gone = self.voters().filter(|&id| voter(next, id) != voter(self, id));
        let come = next.voters().filter(|&id| voter(self, id).is_none());
        gone.chain(come).count()
    }
}
