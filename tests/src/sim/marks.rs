//! Coverage: interesting situations by name, and how many seeds came through them.
//!
//! A mark that no seed of a long run reached says that the simulator has become blind there, so it fails that run.
//! Deliberately absent: marks in the product. A situation is recognised from outside.

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// A leader is deposed by another one.
    LeaderChanged,
    /// A replica's log loses entries to another leader's.
    Overwritten,
    /// A crash loses batches that were not synced.
    CrashLosesBatches,
    /// A crash keeps batches that were not synced.
    CrashKeepsBatches,
    /// A restarted replica applies entries again.
    AppliedAgain,
    /// A restarted node's log was compacted.
    RestartCompacted,
    /// A flush cycle ends.
    Flushed,
    /// A round is read back from the log.
    ReadBack,
    /// A follower refuses an append.
    Rejected,
    /// A leadership is transferred.
    Transferred,
    /// A connection replaces another one that was still up.
    Replaced,
    /// A connection times out.
    TimedOut,
    /// A queue was full for a while.
    Starved,
    /// A client is told that its write is not applied.
    NotApplied,
    /// A client does not know what became of its write.
    Unknown,
    /// A client reads a value.
    Read,
    /// A request is lost with its leader.
    LeaderLost,
    /// A caller hears `Busy`.
    Busy,
    /// All nodes are down at once.
    AllDown,
    /// A majority of nodes is down at once.
    MajorityDown,
    /// A round is written by the worker itself.
    Inline,
    /// One batch carries several rounds.
    Merged,
    /// A sync fails.
    SyncFailed,
    /// A vote is lost with a crash before it was sent.
    TermLost,
    /// A node does not start any more, since its disk has lost something.
    Retired,
    /// A leader could serve reads by a lease of nodes.
    Leased,
    /// An overlay is sealed because it is full.
    Sealed,
    /// A client is given a page of a scan, and it is not the last one.
    Page,
    /// A frame comes once more.
    Copied,
    /// A node of another cluster is turned away.
    TurnedAway,
    /// A node has several workers.
    Workers,
    /// There are more than a thousand groups.
    ManyGroups,
    /// Somebody does without a node, and has leaders again.
    DoneWithout,
}

/// Every mark.
pub const ALL: &[Mark] = &[
    Mark::LeaderChanged,
    Mark::Overwritten,
    Mark::CrashLosesBatches,
    Mark::CrashKeepsBatches,
    Mark::AppliedAgain,
    Mark::RestartCompacted,
    Mark::Flushed,
    Mark::ReadBack,
    Mark::Rejected,
    Mark::Transferred,
    Mark::Replaced,
    Mark::TimedOut,
    Mark::Starved,
    Mark::NotApplied,
    Mark::Unknown,
    Mark::Read,
    Mark::LeaderLost,
    Mark::Busy,
    Mark::AllDown,
    Mark::MajorityDown,
    Mark::Inline,
    Mark::Merged,
    Mark::SyncFailed,
    Mark::TermLost,
    Mark::Retired,
    Mark::Leased,
    Mark::Sealed,
    Mark::Page,
    Mark::Copied,
    Mark::TurnedAway,
    Mark::Workers,
    Mark::ManyGroups,
    Mark::DoneWithout,
];

/// The marks of one run, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u64);

impl Marks {
    /// The run came through this.
    pub fn set(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u8;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether a run came through this.
    #[must_use]
    pub const fn has(self, mark: Mark) -> bool {
        self.0 & (1 << mark as u8) != 0
    }

    /// Those that no run reached.
    pub fn missing(self) -> impl Iterator<Item = Mark> {
        ALL.iter().copied().filter(move |&mark| !self.has(mark))
    }
}
