//! A node's clock: scripts count ticks, the core counts microseconds.
//!
//! A tick is a fixed time; an election timeout is three ticks and a heartbeat one. The core draws
//! its timeouts itself, while a script may set one in ticks: then the clock is bent between the
//! arming of the timer and its deadline, so that the core's own deadline comes with the tick that
//! the script names, and not before. Every timer that fires is the core's.
//!
//! Each node has a clock of its own, since scripts let time pass for one node alone, and nothing
//! that nodes say to each other carries a time.

use kontiki_raft::{Raft, Role, Term, Time};

pub(super) const ELECTION_TICKS: u32 = 3;

/// The core remembers some moments in steps of 64 microseconds; a tick is a multiple of them.
pub(super) const TICK_US: u32 = 2_000 * 64;

/// A timeout that a script has set; it holds until the node changes its part or term.
#[derive(Clone, Copy, Debug)]
struct Set {
    ticks: u64,
    role: Role,
    term: Term,
}

#[derive(Debug)]
pub(super) struct Clock {
    pub(super) now: Time,
    /// When the core armed its election timer, and until when.
    armed: (Time, Option<Time>),
    /// Ticks since then.
    ticks: u64,
    set: Option<Set>,
}

impl Clock {
    pub(super) const fn new() -> Self {
        let now = Time(1_000 * TICK_US as u64);
        Self { now, armed: (now, None), ticks: 0, set: None }
    }

    /// Looks whether the timer was armed anew: its deadline only moves then.
    pub(super) fn observe(&mut self, raft: &Raft) {
        let deadline = raft.deadline();
        if deadline != self.armed.1 {
            self.armed = (self.now, deadline);
            self.ticks = 0;
        }
        self.set = self.set.filter(|set| (set.role, set.term) == (raft.role(), raft.term()));
    }

    /// The election timer, armed when it was, expires `ticks` ticks after that.
    pub(super) fn set_timeout(&mut self, raft: &Raft, ticks: u64) {
        self.set = Some(Set { ticks, role: raft.role(), term: raft.term() });
    }

    /// Whether fewer ticks than an election timeout have passed since the timer was armed.
    pub(super) fn within_election_timeout(&self) -> bool {
        self.ticks < u64::from(ELECTION_TICKS)
    }

    /// One tick passes.
    pub(super) fn tick(&mut self, raft: &Raft) {
        self.ticks += 1;
        self.now = match (self.set, self.armed) {
            (Some(set), (armed, Some(deadline))) if !raft.is_leader() => {
                let reached = self.bent(set.ticks, armed, deadline);
                reached.max(self.now)
            }
            _ => self.now.after(TICK_US),
        };
    }

    fn bent(&self, ticks: u64, armed: Time, deadline: Time) -> Time {
        if self.ticks >= ticks {
            deadline
        } else {
            let straight = armed.0 + self.ticks * u64::from(TICK_US);
            Time(straight.min(deadline.0 - 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_comes_with_the_tick_that_was_set() {
        let mut clock = Clock::new();
        let (armed, tick) = (clock.now, u64::from(TICK_US));
        let deadline = Time(armed.0 + 4 * tick + 77);
        let mut at = |ticks, set| {
            clock.ticks = ticks;
            clock.bent(set, armed, deadline).0 - armed.0
        };
        assert_eq!(at(2, 3), 2 * tick);
        assert_eq!(at(3, 3), 4 * tick + 77);
        assert_eq!(at(3, 5), 3 * tick, "the election timeout has passed, the drawn one has not");
        assert_eq!(at(5, 6), 4 * tick + 76);
        assert_eq!(at(6, 6), 4 * tick + 77);
    }
}
