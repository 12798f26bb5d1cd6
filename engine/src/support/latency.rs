//! Round trips of beats and beats that did not come, for operators.
//!
//! A round trip is what passes between a beat's sending and its answer, less what the other side says it held it
//! back. The newest [`KEPT`] are kept, and sorted when somebody asks, so a beat costs one store.
//!
//! Invariant: nothing is decided by these figures. Two pairs that differ in nothing else are equal, which spares a
//! model checker their histories.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// How many round trips are kept: the last 6 s, with ten beats a second.
const KEPT: usize = 64;

/// Round trips of the last beats, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// The newest one.
    pub last_us: u32,
    /// Half of them took at most so long.
    pub p50_us: u32,
    /// 99 of 100 took at most so long.
    pub p99_us: u32,
    /// The longest one.
    pub max_us: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// A ring; `taken` counts what went into it.
    ring: [u32; KEPT],
    taken: u64,
    heard: u64,
    missed: u64,
    ignored: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self { ring: [0; KEPT], taken: 0, heard: 0, missed: 0, ignored: 0 }
    }
}

impl PartialEq for Figures {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Figures {}

impl Hash for Figures {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Figures {
    /// A beat came after `gap` others that had not.
    pub(super) fn note_heard(&mut self, gap: u64) {
        self.heard += 1;
        self.missed = self.missed.saturating_add(gap);
    }

    /// A beat or a promise came that says nothing any more.
    pub(super) fn note_ignored(&mut self) {
        self.ignored += 1;
    }

    /// An answer came `since_us` after the question, of which the other side kept it for `held_us`.
    pub(super) fn note_round_trip(&mut self, since_us: u64, held_us: u32) {
        let took = since_us.saturating_sub(u64::from(held_us));
        self.ring[slot(self.taken)] = u32::try_from(took).unwrap_or(u32::MAX);
        self.taken += 1;
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    pub(super) fn ignored(&self) -> u64 {
        self.ignored
    }

    pub(super) fn round_trips(&self) -> Option<RoundTrips> {
        let last_us = self.ring[slot(self.taken.checked_sub(1)?)];
        let kept = usize::try_from(self.taken).map_or(KEPT, |taken| taken.min(KEPT));
        let mut sorted = self.ring;
        let sorted = &mut sorted[..kept];
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(kept * percent).div_ceil(100) - 1];
        Some(RoundTrips { last_us, p50_us: at(50), p99_us: at(99), max_us: at(100) })
    }
}

fn slot(count: u64) -> usize {
    usize::try_from(count % KEPT as u64).expect("below the size of the ring")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest() {
        let mut figures = Figures::default();
        assert_eq!(figures.round_trips(), None);
        figures.note_round_trip(700, 200);
        let one = RoundTrips { last_us: 500, p50_us: 500, p99_us: 500, max_us: 500 };
        assert_eq!(figures.round_trips(), Some(one));
        // A clock that stood still, or a peer that says nonsense of itself.
        figures.note_round_trip(10, 20);
        assert_eq!(figures.round_trips().map(|trips| trips.last_us), Some(0));
        for took in 1..=200 {
            figures.note_round_trip(took, 0);
        }
        let last = RoundTrips { last_us: 200, p50_us: 168, p99_us: 200, max_us: 200 };
        assert_eq!(figures.round_trips(), Some(last), "of 137 to 200");
        figures.note_round_trip(u64::MAX, 0);
        assert_eq!(figures.round_trips().map(|trips| trips.max_us), Some(u32::MAX));
        assert_eq!(figures, Figures::default(), "figures decide nothing");
    }
}
