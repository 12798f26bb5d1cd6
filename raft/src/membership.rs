//! Who belongs to a group, and with which seat.
//!
//! A membership is a value: a short list of members sorted by id, kept inline, so that copying one
//! costs no heap block and equal memberships are equal bit by bit. Its slots, in that order, are
//! what ballots are indexed by. How one membership follows from another is in `change.rs`.
//!
//! Members vote in up to two halves. Usually only the incoming half has voters. While the group
//! moves from one set of voters to another that differs in more than one, the membership is joint:
//! the old voters are the outgoing half, and whatever is decided needs a majority of each half
//! (Raft §6).
//!
//! What always holds of a membership: each half has at most [`VOTERS_MAX`] voters; those who
//! keep payloads are a majority of each half, so that they can elect one of them without a witness;
//! there is an outgoing half only beside an incoming one. [`Membership::EMPTY`] is the one without members.
//!
//! Deliberately absent: weights, more than two halves, and a single number of votes that would be
//! enough, which a joint membership does not have.

mod change;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::error::MembershipError;
use crate::quorum::{VoteResult, majority, vote_result};
use crate::seat::Seat;
use crate::types::{Index, ReplicaId};

pub use change::Change;

/// How many voters one half of a membership may have.
pub const VOTERS_MAX: usize = 7;

/// How many members a group may have: the voters of both halves and the learners.
pub const MEMBERS_MAX: usize = 16;

/// One replica and its seat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    /// Which replica.
    pub id: ReplicaId,
    /// What it is in the group.
    pub seat: Seat,
}

/// A membership, and the entry of the log that carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MembershipAt {
    /// Which entry.
    pub index: Index,
    /// What it says.
    pub membership: Membership,
}

impl Member {
    /// Stands where no member is.
    const FILLER: Self =
        Self { id: ReplicaId::new(1).expect("one is not zero"), seat: Seat::LEARNER };
}

/// The members of a group.
///
/// ```
/// use kontiki_raft::{Change, Membership, ReplicaId, Seat};
/// let [a, b, c, d] = [1, 2, 3, 4].map(|id| ReplicaId::new(id).unwrap());
/// let group = Membership::new(&[a, b, c])?;
/// assert!(group.elects(0b011), "two of three, by their slots in `members`");
///
/// // One voter at a time may come or go at once; learners are free.
/// let group = group.simple(&[Change::AddLearner(d)])?;
/// assert_eq!(group.seat(d), Some(Seat::LEARNER));
///
/// // More than that goes by way of a joint membership, where both halves decide.
/// let joint = group.enter_joint(true, &[Change::AddVoter(d), Change::Remove(a)])?;
/// assert_eq!(joint.to_string(), "voters=(2 3 4)&&(1 2 3) autoleave");
/// assert!(!joint.elects(0b1100), "a majority of the new voters alone is not enough");
/// assert!(joint.elects(0b0110));
/// assert_eq!(joint.leave_joint()?, Membership::new(&[b, c, d])?);
/// # Ok::<(), kontiki_raft::MembershipError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The members' ids in the first `len` slots, ascending; fillers in the others.
    ids: [ReplicaId; MEMBERS_MAX],
    /// The seats of the same slots.
    seats: [Seat; MEMBERS_MAX],
    len: u8,
    /// Set only when joint: the leader leaves it as soon as it is committed.
    auto_leave: bool,
}

impl Membership {
    /// The membership that a replica knows which waits to be added to a group.
    pub const EMPTY: Self = Self {
        ids: [Member::FILLER.id; MEMBERS_MAX],
        seats: [Member::FILLER.seat; MEMBERS_MAX],
        len: 0,
        auto_leave: false,
    };

    /// A membership of voters.
    ///
    /// # Errors
    /// When the list is empty, too long, or names a replica twice.
    pub fn new(voters: &[ReplicaId]) -> Result<Self, MembershipError> {
        if voters.is_empty() {
            return Err(MembershipError::Empty);
        }
        if voters.len() > VOTERS_MAX {
            return Err(MembershipError::TooMany);
        }
        let mut membership = Self::EMPTY;
        for &id in voters {
            membership.insert(Member { id, seat: Seat::VOTER })?;
        }
        membership.checked()
    }

    /// A membership from its parts, in any order, as [`Membership::members`] and
    /// [`Membership::auto_leave`] give them; for whoever reads one from a record or a message.
    /// Without members it is [`Membership::EMPTY`].
    ///
    /// # Errors
    /// When a replica is named twice, a limit is exceeded, witnesses are not a minority of a
    /// half, only the outgoing half has voters, or `auto_leave` is set without an outgoing half.
    pub fn from_members(members: &[Member], auto_leave: bool) -> Result<Self, MembershipError> {
        let mut membership = Self { auto_leave, ..Self::EMPTY };
        for &member in members {
            membership.insert(member)?;
        }
        if auto_leave && !membership.is_joint() {
            return Err(MembershipError::NotJoint);
        }
        if members.is_empty() {
            return Ok(Self::EMPTY);
        }
        membership.checked()
    }

    /// A membership that was one before: ids ascending, with the bits of their seats.
    pub(crate) fn from_parts(
        parts: impl Iterator<Item = (ReplicaId, u8)>,
        auto_leave: bool,
    ) -> Self {
        let mut membership = Self { auto_leave, ..Self::EMPTY };
        for (slot, (id, bits)) in parts.enumerate() {
            let seat = Seat::from_bits(bits).expect("a seat was stored");
            (membership.ids[slot], membership.seats[slot]) = (id, seat);
            membership.len += 1;
        }
        membership
    }

    /// The members, ascending by id.
    #[inline]
    pub fn members(&self) -> impl DoubleEndedIterator<Item = Member> + ExactSizeIterator + Clone {
        let len = self.len();
        let parts = self.ids[..len].iter().zip(&self.seats[..len]);
        parts.map(|(&id, &seat)| Member { id, seat })
    }

    /// How many members there are.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no member.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the replica is in the group, if it is a member.
    #[must_use]
    #[inline]
    pub fn seat(&self, id: ReplicaId) -> Option<Seat> {
        self.slot(id).map(|slot| self.seats[slot])
    }

    /// Whether the replica is a member, with whichever seat.
    #[must_use]
    #[inline]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.slot(id).is_some()
    }

    /// Where a member stands in [`Membership::members`].
    #[inline]
    pub(crate) fn slot(&self, id: ReplicaId) -> Option<usize> {
        self.ids[..self.len()].iter().position(|&member| member == id)
    }

    /// The voters of the incoming half, witnesses too; ascending.
    #[inline]
    pub fn voters(&self) -> impl Iterator<Item = ReplicaId> + Clone {
        self.with(Seat::votes_incoming)
    }

    /// The voters of the outgoing half, witnesses too; ascending, and none unless joint.
    #[inline]
    pub fn outgoing_voters(&self) -> impl Iterator<Item = ReplicaId> + Clone {
        self.with(Seat::votes_outgoing)
    }

    /// Those who vote in no half; ascending.
    #[inline]
    pub fn learners(&self) -> impl Iterator<Item = ReplicaId> + Clone {
        self.with(Seat::is_learner)
    }

    /// Those who vote in the outgoing half still and become learners when it is left; ascending.
    #[inline]
    pub fn learners_next(&self) -> impl Iterator<Item = ReplicaId> + Clone {
        self.with(Seat::becomes_learner)
    }

    /// The voters of either half that keep no payloads; ascending.
    #[inline]
    pub fn witnesses(&self) -> impl Iterator<Item = ReplicaId> + Clone {
        self.with(Seat::is_witness)
    }

    /// Whether there is an outgoing half.
    #[must_use]
    #[inline]
    pub fn is_joint(&self) -> bool {
        self.seats[..self.len()].iter().any(|seat| seat.votes_outgoing())
    }

    /// Whether the leader leaves this joint membership by itself as soon as it is committed.
    #[must_use]
    #[inline]
    pub const fn auto_leave(&self) -> bool {
        self.auto_leave
    }

    /// Whether these grants, one bit for each slot of [`Membership::members`], are a majority of
    /// each half. Bits of those who do not vote count for nothing, and a group without voters
    /// elects nobody.
    #[must_use]
    pub fn elects(&self, granted: u16) -> bool {
        !self.is_empty() && self.decides(granted, 0) == VoteResult::Won
    }

    /// What these grants and refusals decide, one bit of each for each slot. A grant outweighs a
    /// refusal by the same member.
    pub(crate) fn decides(&self, granted: u16, refused: u16) -> VoteResult {
        let half = |votes: fn(Seat) -> bool| {
            let (mut voters, mut grants, mut refusals) = (0, 0, 0);
            for (slot, &seat) in self.seats[..self.len()].iter().enumerate() {
                voters += usize::from(votes(seat));
                grants += usize::from(votes(seat) && granted >> slot & 1 == 1);
                refusals += usize::from(votes(seat) && (refused & !granted) >> slot & 1 == 1);
            }
            vote_result(grants, refusals, voters)
        };
        half(Seat::votes_incoming).and(half(Seat::votes_outgoing))
    }

    fn with(&self, fits: fn(Seat) -> bool) -> impl Iterator<Item = ReplicaId> + Clone {
        self.members().filter(move |member| fits(member.seat)).map(|member| member.id)
    }

    /// Adds a member where its id belongs.
    fn insert(&mut self, member: Member) -> Result<(), MembershipError> {
        let len = self.len();
        if self.contains(member.id) {
            return Err(MembershipError::Duplicate { id: member.id });
        }
        if len == MEMBERS_MAX {
            return Err(MembershipError::TooMany);
        }
        let slot = self.ids[..len].partition_point(|&id| id < member.id);
        self.ids.copy_within(slot..len, slot + 1);
        self.seats.copy_within(slot..len, slot + 1);
        (self.ids[slot], self.seats[slot]) = (member.id, member.seat);
        self.len += 1;
        Ok(())
    }

    /// This membership, if what always holds of one with members holds of it.
    fn checked(self) -> Result<Self, MembershipError> {
        let count = |fits: fn(Seat) -> bool| self.with(fits).count();
        let (incoming, outgoing) = (count(Seat::votes_incoming), count(Seat::votes_outgoing));
        let full_incoming = count(|seat| seat.votes_incoming() && !seat.is_witness());
        let full_outgoing = count(|seat| seat.votes_outgoing() && !seat.is_witness());
        if incoming == 0 {
            return Err(MembershipError::Empty);
        }
        let enough = |full: usize, voters: usize| voters == 0 || full >= majority(voters);
        if !enough(full_incoming, incoming) || !enough(full_outgoing, outgoing) {
            return Err(MembershipError::Witnesses);
        }
        if incoming.max(outgoing) > VOTERS_MAX {
            return Err(MembershipError::TooMany);
        }
        Ok(self)
    }
}

/// As `voters=(2 3)&&(1 2 3) learners=(4) learners_next=(1) witnesses=(3) autoleave`, without what
/// is not there.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(
            f: &mut fmt::Formatter<'_>,
            title: &str,
            ids: impl Iterator<Item = ReplicaId>,
        ) -> fmt::Result {
            f.write_str(title)?;
            for (at, id) in ids.enumerate() {
                write!(f, "{}{id}", if at == 0 { "" } else { " " })?;
            }
            f.write_str(")")
        }
        list(f, "voters=(", self.voters())?;
        if self.is_joint() {
            list(f, "&&(", self.outgoing_voters())?;
        }
        if self.learners().next().is_some() {
            list(f, " learners=(", self.learners())?;
        }
        if self.learners_next().next().is_some() {
            list(f, " learners_next=(", self.learners_next())?;
        }
        if self.witnesses().next().is_some() {
            list(f, " witnesses=(", self.witnesses())?;
        }
        f.write_str(if self.auto_leave { " autoleave" } else { "" })
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
