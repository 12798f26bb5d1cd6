//! The load generator: many logical clients on few threads, cheap enough to share two cores with three nodes.
//!
//! Requests travel as submissions, one per node and turn of the loop, in which the requests of a group lie back
//! to back; answers come back as whole runs through one completion queue per thread. Time is looked at once per
//! turn. `requests.rs` has what both loops share, `closed.rs` and `open.rs` the loops, `ledger.rs` what was
//! acknowledged, in the form in which it is checked later.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::clock::Clock;
use crate::histogram::Recorder;

pub(crate) mod closed;
pub(crate) mod ledger;
pub(crate) mod open;
pub(crate) mod requests;

use ledger::Ledger;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Requests are issued, nothing is recorded.
    Warmup,
    /// Requests are issued and recorded.
    Measure,
    /// Nothing new is issued; what is under way is waited for.
    Drain,
    /// What is under way is given up.
    Abort,
}

/// What the threads of a run have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    phase: AtomicU8,
    /// When the measured window began and ended; `u64::MAX` before.
    window_start: AtomicU64,
    window_end: AtomicU64,
    /// By thread.
    pub(crate) tallies: Vec<Tally>,
}

/// One thread's counters, written by it alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    /// Writes acknowledged and reads served.
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
}

impl Shared {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            clock: Clock::new(),
            phase: AtomicU8::new(Phase::Warmup as u8),
            window_start: AtomicU64::new(u64::MAX),
            window_end: AtomicU64::new(u64::MAX),
            tallies: (0..threads).map(|_| Tally::default()).collect(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Warmup,
            1 => Phase::Measure,
            2 => Phase::Drain,
            _ => Phase::Abort,
        }
    }

    /// Begins a phase; the window is the time between the beginnings of `Measure` and `Drain`.
    pub(crate) fn begin(&self, phase: Phase) {
        let now = self.clock.micros();
        match phase {
            Phase::Warmup | Phase::Abort => {}
            Phase::Measure => self.window_start.store(now, Ordering::Relaxed),
            Phase::Drain => self.window_end.store(now, Ordering::Relaxed),
        }
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The window as far as it is known: start and end.
    pub(crate) fn window(&self) -> (u64, u64) {
        (self.window_start.load(Ordering::Relaxed), self.window_end.load(Ordering::Relaxed))
    }

    /// Writes acknowledged and reads served by all threads so far.
    pub(crate) fn done(&self) -> (u64, u64) {
        let sum = |of: fn(&Tally) -> &AtomicU64| -> u64 {
            self.tallies.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum()
        };
        (sum(|tally| &tally.writes), sum(|tally| &tally.reads))
    }
}

/// Requests that did not go well at first, by reason. All but the unknown ones were repeated until they did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Troubles {
    /// Answered by a node that does not lead the group.
    pub(crate) not_leader: u64,
    /// Refused because a limit was reached, request by request.
    pub(crate) busy: u64,
    /// Submissions refused because the inbox was full.
    pub(crate) inbox_full: u64,
    /// Refused while the leadership was being handed over.
    pub(crate) transferring: u64,
    /// Leadership was lost on the way: the outcome is unknown.
    pub(crate) leader_lost: u64,
    /// The node stopped, or the connection broke: the outcome is unknown.
    pub(crate) stopped: u64,
    /// Still unanswered when the run was given up.
    pub(crate) unanswered: u64,
}

impl Troubles {
    /// Requests that ended in anything but success.
    pub(crate) const fn errors(&self) -> u64 {
        self.leader_lost + self.stopped + self.unanswered
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.not_leader += other.not_leader;
        self.busy += other.busy;
        self.inbox_full += other.inbox_full;
        self.transferring += other.transferring;
        self.leader_lost += other.leader_lost;
        self.stopped += other.stopped;
        self.unanswered += other.unanswered;
    }
}

/// What one thread brings home.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ledger: Ledger,
    pub(crate) recorder: Recorder,
    pub(crate) troubles: Troubles,
    /// Reads of keys that had a value (`kv`).
    pub(crate) reads_found: u64,
}
