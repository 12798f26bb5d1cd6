//! Bugs that can be switched on, to prove that the tests would find them.
//!
//! Each is a mistake that a shipped Raft has made. With the test-only feature `planted`, one of
//! them can be switched on for the whole process, by [`plant`] or by the variable `KONTIKI_PLANTED`
//! with its number; a suite that still passes then does not watch what it should. Without the
//! feature the question is answered at compile time and leaves nothing behind.
//!
//! Deliberately absent: bugs outside of the consensus core.

macro_rules! bugs {
    ($($name:ident = $number:literal, $what:literal;)*) => {
        /// A mistake that can be switched on. The numbers are those of the list of hazards, which
        /// also counts bugs outside of this crate.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Bug {
            $(#[doc = concat!("Bug ", $number, ": ", $what, ".")] $name = $number,)*
        }

        impl Bug {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it does, in a few words.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }
        }
    };
}

bugs! {
    VoteBeforePersist = 1, "a vote leaves before it is persisted";
    AckBeforeSync = 2, "an append is acknowledged before it is persisted";
    LearnerCounted = 3, "a learner's acknowledgement counts";
    LeaderCountsUnpersisted = 4, "a leader counts its own entries before they are persisted";
    OldTermCommits = 5, "an entry of an old term commits by counting";
    VoteByIndex = 6, "a vote compares the index only";
    CompletionAfterOverwrite = 7, "a write's completion vouches for what overwrote it";
    CompletionOutOfOrder = 8, "one completion vouches for every write in flight";
    ReadRoundReused = 9, "a read joins a round that began before it";
    ReadBeforeOwnCommit = 10, "a new leader serves reads before it commits in its term";
    LeaseSurvivesTransfer = 11, "a lease survives the order to campaign";
    LeaseFromReceive = 12, "a lease counts from the answer instead of the question";
    JointByOneHalf = 21, "a joint membership decides by its incoming half";
    ChangeBeforeOwnCommit = 22, "a membership changes before a commit in the leader's term";
    QuorumMissorted = 23, "the quorum is read off an unsorted list";
    PreVoteRefusalIgnored = 24, "the term of a refused pre-vote is ignored";
    TruncateByDuplicate = 29, "a shorter duplicate truncates the log";
    OldSessionCounted = 30, "an acknowledgement of an earlier membership counts";
}

impl Bug {
    /// Its number in the list of hazards.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The bug of a number, if it lives in this crate.
    ///
    /// ```
    /// use kontiki_raft::planted::Bug;
    /// assert_eq!(Bug::from_number(6), Some(Bug::VoteByIndex));
    /// assert_eq!(Bug::from_number(13), None, "lives elsewhere");
    /// ```
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.number() == number)
    }
}

/// Switches one bug on, and all others off. Does nothing without the feature `planted`.
pub fn plant(bug: Option<Bug>) {
    switch::set(bug);
}

/// Whether the bug is on. Always false, at compile time, without the feature `planted`.
#[inline]
pub(crate) fn has(bug: Bug) -> bool {
    switch::is_on(bug)
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Bug;

    pub(super) const fn set(_: Option<Bug>) {}

    #[inline]
    pub(super) const fn is_on(_: Bug) -> bool {
        false
    }
}

#[cfg(feature = "planted")]
mod switch {
    extern crate std;

    use core::sync::atomic::{AtomicU32, Ordering};

    use super::Bug;

    /// Nobody has looked yet.
    const UNREAD: u32 = u32::MAX;

    static PLANTED: AtomicU32 = AtomicU32::new(UNREAD);

    pub(super) fn set(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, Bug::number), Ordering::Relaxed);
    }

    pub(super) fn is_on(bug: Bug) -> bool {
        let planted = match PLANTED.load(Ordering::Relaxed) {
            UNREAD => {
                let named = std::env::var("KONTIKI_PLANTED").ok();
                let number = named.and_then(|number| number.parse().ok()).unwrap_or(0);
                PLANTED.store(number, Ordering::Relaxed);
                number
            }
            planted => planted,
        };
        planted == bug.number()
    }
}
