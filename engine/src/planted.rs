//! Mistakes of this crate that can be switched on, to prove that the tests would find them.
//!
//! As in [`kontiki_raft::planted`]: with the test-only feature `planted` one of them can be switched on for the whole
//! process; without it the question is answered at compile time and leaves nothing behind.
//! Deliberately absent: mistakes of the consensus core and of the transport.

/// A mistake that can be switched on. The numbers are those of the list of hazards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The log writer reports rounds before it has written them.
    ReportBeforeSync = 2,
    /// A lease counts from when the answer came instead of when the question left.
    LeaseFromReceive = 12,
    /// The log is compacted past what is durably applied.
    CompactPastDurable = 16,
    /// A request that may be in the log is refused as if it were not, and so is sent again.
    LostIsRefused = 20,
    /// A group at rest does not hear that its leader's node is gone.
    SleeperNeverWakes = 25,
    /// An acknowledgement in a frame of many is given to the group before it.
    AckOfOtherGroup = 26,
    /// A failed sync is taken for a good one.
    SyncErrorSwallowed = 27,
}

impl Bug {
    /// All of them, by number.
    pub const ALL: &'static [Self] = &[
        Self::ReportBeforeSync,
        Self::LeaseFromReceive,
        Self::CompactPastDurable,
        Self::LostIsRefused,
        Self::SleeperNeverWakes,
        Self::AckOfOtherGroup,
        Self::SyncErrorSwallowed,
    ];

    /// What it does, in a few words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::ReportBeforeSync => "the log writer reports before it syncs",
            Self::LeaseFromReceive => "a lease counts from the answer instead of the question",
            Self::CompactPastDurable => "compaction passes the durable applied position",
            Self::LostIsRefused => "a retry is applied twice",
            Self::SleeperNeverWakes => "a sleeping group never wakes",
            Self::AckOfOtherGroup => "a coalesced acknowledgement goes to another group",
            Self::SyncErrorSwallowed => "a sync error is swallowed",
        }
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Bug;

    static PLANTED: AtomicU32 = AtomicU32::new(0);

    pub(super) fn set(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u32), Ordering::Relaxed);
    }

    pub(super) fn is_on(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u32
    }
}
