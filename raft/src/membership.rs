//! Who belongs to a group.
//!
//! A membership is a short list in the order the caller gave it, and a voter's slot in it is what
//! ballots are indexed by. It is fixed inline, so a replica needs no heap block for it.
//!
//! Deliberately absent, until memberships change: learners, witnesses, the two halves of a joint
//! configuration. They fit beside `voters` without touching a caller, since the rest of the core
//! asks only [`Membership::voter_slot`] and the quorum functions.

use core::fmt;

use crate::error::MembershipError;
use crate::quorum;
use crate::types::ReplicaId;

/// How many voters a group may have.
pub const VOTERS_MAX: usize = 7;

/// The members of a group.
///
/// ```
/// use kontiki_raft::{Membership, ReplicaId};
/// let [a, b, c] = [1, 2, 3].map(|id| ReplicaId::new(id).unwrap());
/// let membership = Membership::new(&[a, b, c])?;
/// assert_eq!(membership.quorum(), 2);
/// assert!(membership.contains(b));
/// # Ok::<(), kontiki_raft::MembershipError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The first `voter_count` slots are voters; the rest repeat the first, so that equal
    /// memberships are equal bit by bit.
    slots: [ReplicaId; VOTERS_MAX],
    voter_count: u8,
}

impl Membership {
    /// A membership of voters.
    ///
    /// # Errors
    /// When the list is empty, too long, or names a replica twice.
    pub fn new(voters: &[ReplicaId]) -> Result<Self, MembershipError> {
        let (&first, rest) = voters.split_first().ok_or(MembershipError::Empty)?;
        if voters.len() > VOTERS_MAX {
            return Err(MembershipError::TooMany);
        }
        let mut membership = Self { slots: [first; VOTERS_MAX], voter_count: 1 };
        for &id in rest {
            if membership.contains(id) {
                return Err(MembershipError::Duplicate { id });
            }
            membership.slots[membership.voters().len()] = id;
            membership.voter_count += 1;
        }
        Ok(membership)
    }

    /// The voters, in the order given.
    #[must_use]
    #[inline]
    pub fn voters(&self) -> &[ReplicaId] {
        &self.slots[..usize::from(self.voter_count)]
    }

    /// Whether the replica is a member.
    #[must_use]
    #[inline]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.voter_slot(id).is_some()
    }

    /// How many voters make a majority.
    #[must_use]
    #[inline]
    pub fn quorum(&self) -> usize {
        quorum::majority(self.voters().len())
    }

    /// Where a voter stands in [`Membership::voters`].
    #[inline]
    pub(crate) fn voter_slot(&self, id: ReplicaId) -> Option<usize> {
        self.voters().iter().position(|&voter| voter == id)
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.voters()).finish()
    }
}
