//! What one member is in its group: where it votes, and what it keeps.
//!
//! A seat is a byte of four bits, so that a membership stays a small value that is copied. Only
//! eight of the sixteen combinations mean something, and only those can be made:
//!
//! | seat | votes in the incoming half | in the outgoing half |
//! |---|---|---|
//! | voter, witness | yes | no |
//! | voter, witness, of both halves of a joint membership | yes | yes |
//! | voter, witness, on its way out | no | yes |
//! | voter on its way to a learner | no | yes |
//! | learner | no | no |
//!
//! Deliberately absent: a witness on its way to a learner. A witness has no payloads, and a
//! learner that could be promoted would answer for payloads it never had.

use core::fmt;

/// What a member is in its group.
///
/// ```
/// use kontiki_raft::Seat;
/// assert!(Seat::VOTER.votes() && !Seat::VOTER.is_witness());
/// assert!(Seat::WITNESS.votes() && Seat::WITNESS.is_witness());
/// assert!(Seat::LEARNER.is_learner() && !Seat::LEARNER.votes());
///
/// // As bits, for a record or a message, and back with a check.
/// assert_eq!(Seat::from_bits(Seat::WITNESS.bits()), Some(Seat::WITNESS));
/// assert_eq!(Seat::from_bits(0), None, "a member has a seat");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat(u8);

impl Seat {
    const INCOMING: u8 = 1;
    const OUTGOING: u8 = 2;
    /// With a vote in the outgoing half: a learner once that half is gone.
    const LEARNS: u8 = 4;
    const WITNESSES: u8 = 8;

    /// Votes, and keeps everything.
    pub const VOTER: Self = Self(Self::INCOMING);
    /// Keeps everything and votes in no half.
    pub const LEARNER: Self = Self(Self::LEARNS);
    /// Votes, and keeps positions without payloads.
    pub const WITNESS: Self = Self(Self::INCOMING | Self::WITNESSES);

    /// The seat as bits that stay the same over versions: 1 votes in the incoming half, 2 votes in
    /// the outgoing half, 4 is or becomes a learner, 8 is a witness.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The seat of these bits, or `None` when no member can have them.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0b0001..=0b0100 | 0b0110 | 0b1001..=0b1011 => Some(Self(bits)),
            _ => None,
        }
    }

    /// Whether it votes in either half.
    #[must_use]
    #[inline]
    pub const fn votes(self) -> bool {
        self.0 & (Self::INCOMING | Self::OUTGOING) != 0
    }

    /// Whether it votes in the incoming half, which is the only one of a membership that is not
    /// joint.
    #[must_use]
    #[inline]
    pub const fn votes_incoming(self) -> bool {
        self.0 & Self::INCOMING != 0
    }

    /// Whether it votes in the outgoing half of a joint membership.
    #[must_use]
    #[inline]
    pub const fn votes_outgoing(self) -> bool {
        self.0 & Self::OUTGOING != 0
    }

    /// Whether it votes in no half.
    #[must_use]
    #[inline]
    pub const fn is_learner(self) -> bool {
        !self.votes()
    }

    /// Whether it votes in the outgoing half still, and is a learner once that half is left.
    #[must_use]
    #[inline]
    pub const fn becomes_learner(self) -> bool {
        self.votes() && self.0 & Self::LEARNS != 0
    }

    /// Whether a replica with it may lead: it votes and keeps payloads.
    #[inline]
    pub(crate) const fn may_lead(self) -> bool {
        self.votes() && !self.is_witness()
    }

    /// Whether it keeps positions without payloads.
    #[must_use]
    #[inline]
    pub const fn is_witness(self) -> bool {
        self.0 & Self::WITNESSES != 0
    }

    /// A voter or witness of the present membership as one of both halves.
    pub(crate) const fn entering_joint(self) -> Self {
        if self.votes_incoming() { Self(self.0 | Self::OUTGOING) } else { self }
    }

    /// What remains of the seat once the outgoing half is left.
    pub(crate) const fn leaving_joint(self) -> Option<Self> {
        if self.votes_incoming() {
            Some(Self(self.0 & !Self::OUTGOING))
        } else if self.0 & Self::LEARNS != 0 {
            Some(Self::LEARNER)
        } else {
            None
        }
    }

    /// This seat, with the vote in the outgoing half that the member has had so far: nothing takes
    /// that away but leaving the joint membership.
    pub(crate) const fn beside_outgoing(self, before: Option<Self>) -> Self {
        match before {
            Some(before) => Self(self.0 | before.0 & Self::OUTGOING),
            None => self,
        }
    }

    /// What is left of a removed member: its vote in the outgoing half, if it has one there.
    pub(crate) const fn only_outgoing(self) -> Option<Self> {
        if self.votes_outgoing() {
            Some(Self(self.0 & (Self::OUTGOING | Self::WITNESSES)))
        } else {
            None
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_witness(), self.votes_incoming(), self.votes_outgoing()) {
            (_, false, false) => "learner",
            (_, false, true) if self.becomes_learner() => "voter (learner next)",
            (false, true, false) => "voter",
            (false, true, true) => "voter (both halves)",
            (false, false, true) => "voter (outgoing)",
            (true, true, false) => "witness",
            (true, true, true) => "witness (both halves)",
            (true, false, true) => "witness (outgoing)",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use super::*;

    #[test]
    fn eight_seats_exist_and_survive_as_bits() {
        let seats: BTreeSet<u8> = (0..=u8::MAX).filter(|&b| Seat::from_bits(b).is_some()).collect();
        assert_eq!(seats, [1, 2, 3, 4, 6, 9, 10, 11].into());
        let mut texts = BTreeSet::new();
        for &bits in &seats {
            let seat = Seat::from_bits(bits).unwrap();
            assert_eq!(seat.bits(), bits);
            assert_eq!(seat.votes(), seat.votes_incoming() || seat.votes_outgoing());
            assert_ne!(seat.votes(), seat.is_learner());
            assert!(!seat.is_witness() || seat.votes(), "a witness votes");
            if seat.becomes_learner() {
                assert!(seat.votes_outgoing() && !seat.votes_incoming() && !seat.is_witness());
            }
            texts.insert(format!("{seat:?}"));
        }
        assert_eq!(texts.len(), seats.len(), "no two seats print alike: {texts:?}");
    }

    #[test]
    fn steps_lead_from_seats_to_seats() {
        let seats = || (0..=u8::MAX).filter_map(Seat::from_bits);
        for seat in seats() {
            let before = seats().map(Some).chain([None]);
            let beside = before.map(|before| Seat::LEARNER.beside_outgoing(before));
            let next = [seat.leaving_joint(), seat.only_outgoing(), Some(seat.entering_joint())];
            for next in next.into_iter().flatten().chain(beside) {
                assert!(Seat::from_bits(next.bits()).is_some(), "{seat:?} to {next:?}");
            }
            assert!(seat.leaving_joint().is_none_or(|next| !next.votes_outgoing()));
            assert_eq!(seat.leaving_joint().is_some_and(Seat::votes), seat.votes_incoming());
        }
    }
}
