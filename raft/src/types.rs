//! The words of the protocol as types: term, index, position, replica, time.
//!
//! Each is a newtype over an integer, so that a term cannot be handed in where an index is meant.
//! Steps are checked and sums of ids do not exist: `Index` counts entries and may be advanced by
//! a count; nothing adds two indexes, because the result would mean nothing.
//!
//! Deliberately absent: arithmetic traits, conversion from signed numbers, wall-clock time.

use core::fmt;
use core::num::NonZeroU64;

/// The number of an election. At most one leader exists in a term (Raft §5.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

impl Term {
    /// The term before the first election.
    pub const ZERO: Self = Self(0);

    /// The following term.
    ///
    /// # Panics
    /// When terms are exhausted, which no real history reaches.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("terms do not run out"))
    }
}

/// The place of an entry in a group's log. The first entry has index 1; 0 stands before the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Index(pub u64);

impl Index {
    /// The place before the first entry.
    pub const ZERO: Self = Self(0);

    /// The following index.
    ///
    /// # Panics
    /// When indexes are exhausted, which no real history reaches.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("indexes do not run out"))
    }

    /// The index before this one.
    ///
    /// # Panics
    /// On [`Index::ZERO`], before which there is nothing.
    #[must_use]
    #[inline]
    pub const fn prev(self) -> Self {
        Self(self.0.checked_sub(1).expect("nothing precedes index zero"))
    }

    /// The index `count` entries later.
    ///
    /// # Panics
    /// When indexes are exhausted, which no real history reaches.
    #[must_use]
    #[inline]
    pub const fn advanced(self, count: u32) -> Self {
        Self(self.0.checked_add(count as u64).expect("indexes do not run out"))
    }
}

/// Names one entry of all logs of a group: the same position is the same entry (Log Matching).
///
/// Ordered by term first, then index: exactly the "at least as up-to-date" order of votes
/// (Raft §5.4.1).
///
/// ```
/// use kontiki_raft::{Index, Position, Term};
/// let stale_but_long = Position::new(Term(1), Index(9));
/// let fresh_but_short = Position::new(Term(2), Index(3));
/// assert!(fresh_but_short > stale_but_long);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The term of the leader that created the entry. First, because order is by term first.
    pub term: Term,
    /// The place of the entry in the log.
    pub index: Index,
}

impl Position {
    /// The position before the first entry of every log.
    pub const ZERO: Self = Self { term: Term::ZERO, index: Index::ZERO };

    /// A position from its two halves.
    #[must_use]
    #[inline]
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

/// One member of one group. Never zero and never reused, even when a replica is removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(NonZeroU64);

impl ReplicaId {
    /// The id, or `None` for zero, which on the wire means "nobody".
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The id as a plain number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// Microseconds since an origin that the caller chose and keeps. It must not run backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The end of time: a deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// This time and `us` microseconds more; the end of time is an answer, not an overflow.
    #[must_use]
    #[inline]
    pub const fn after(self, us: u32) -> Self {
        Self(self.0.saturating_add(us as u64))
    }

    /// Microseconds from `earlier` to this time; 0 when `earlier` is later.
    #[must_use]
    #[inline]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a replica must never forget: written together, in one record, before it is acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HardState {
    /// The latest term the replica has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
}

/// A run of entries of one term: `first..=last`. The core knows logs only as such runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The term of every entry in the run.
    pub term: Term,
    /// The first entry.
    pub first: Index,
    /// The last entry, at or after the first.
    pub last: Index,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}
