//! A promise from both ends: given, by the clock of who gives it; held, by the clock of who counts on it.
//!
//! # The arithmetic
//!
//! Let every clock run at a rate between `1 - d` and `1 + d` of true time. B promises `P` of its clock from the
//! receipt of a beat; A counts on it for `L` of its clock from when it sent the beat, which was earlier.
//!
//! - B's clock runs at most at `1 + d`, so the promise lasts for `P / (1 + d)` of true time or more.
//! - A's clock runs at least at `1 - d`, so A counts for `L / (1 - d)` of true time or less.
//!
//! A has stopped when B may stop if `L / (1 - d) <= P / (1 + d)`, that is `L <= P * (1 - d) / (1 + d)`. When B starts
//! again, its former life's promises end, by a clock that ran slowly, within `P / (1 - d)` of true time. It waits for
//! `W` of a clock that runs fast, so `W / (1 + d) >= P / (1 - d)`, that is `W >= P * (1 + d) / (1 - d)`.
//!
//! Clocks are read in whole microseconds, rounded down. A time read at the beginning of a span may so be a little
//! too early, which makes the span shorter by less than one: `L` reckons with a `P` that is shorter by one, and `W`
//! is longer by one. Divisions round `L` down and `W` up.
//!
//! Invariants: a promise that ended is never continued: the next one has another name. What is held never outlasts
//! what is given, and never changes to an older name.

use kontiki_raft::Time;

use crate::planted::{self, Bug};

/// For how long, from the sending of a beat, the promise that answers it can be counted on.
pub(super) const fn lease_us(promise_us: u64, drift_percent: u8) -> u64 {
    let (slow, fast) = rates(drift_percent);
    promise_us.saturating_sub(1).saturating_mul(slow) / fast
}

/// For how long after a start the promises of the life before may hold.
pub(super) const fn restart_wait_us(promise_us: u64, drift_percent: u8) -> u64 {
    let (slow, fast) = rates(drift_percent);
    promise_us.saturating_mul(fast).div_ceil(slow).saturating_add(1)
}

/// The rates of the slowest and the fastest clock, in percent.
const fn rates(drift_percent: u8) -> (u64, u64) {
    let drift = drift_percent as u64;
    assert!(drift < 100, "a clock that may stand still measures nothing");
    (100 - drift, 100 + drift)
}

/// Names one unbroken promise of one life of a node to one life of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PromiseName {
    /// The boot epoch of who promises.
    pub promiser: u64,
    /// The boot epoch of who is supported.
    pub supported: u64,
    /// How often the promiser has let the other's support lapse.
    pub lapses: u64,
}

/// What a promise rests on: the newest beat of who asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rests {
    /// When it was sent, on the asker's clock.
    pub(super) answers: Time,
    /// When it came.
    pub(super) received: Time,
    /// When the promise runs out.
    pub(super) until: Time,
}

/// What we promise to another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Given {
    /// Promises that have ended.
    pub(super) lapses: u64,
    pub(super) rests: Option<Rests>,
}

impl Given {
    /// Begins the promise or makes it last longer; whether it begins. One that has run out must have been ended.
    pub(super) fn renew(&mut self, now: Time, answers: Time, promise_us: u64) -> bool {
        let until = Time(now.0.saturating_add(promise_us));
        let former = self.rests.replace(Rests { answers, received: now, until });
        if let Some(former) = former {
            assert!(now < former.until && former.until <= until, "{former:?} continued at {now:?}");
        }
        former.is_none()
    }

    /// Ends the promise if it has run out; whether it did.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        self.rests.is_some_and(|rests| now >= rests.until) && self.end()
    }

    /// Ends the promise, if there is one; whether there was.
    pub(super) fn end(&mut self) -> bool {
        let ended = self.rests.take().is_some();
        // Not `+= u64::from(ended)`, which rustc 1.95 loses when callers branch on the result
        // (rust-lang/rust#158206).
        if ended {
            self.lapses += 1;
        }
        ended
    }
}

/// What another node promises to us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Held {
    /// The promiser's count of lapses that names the promise; `None` when it makes none.
    pub(super) lapses: Option<u64>,
    /// Until when it is certain, of our clock.
    pub(super) until: Time,
    /// It is counted on, and that was told.
    pub(super) counted: bool,
    /// It was counted on before.
    known: bool,
}

/// How a promise that came changes what is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Something else was counted on until now.
    pub(super) lost: bool,
    /// It is counted on from now on; the flag says that it was before.
    pub(super) counted: Option<bool>,
}

impl Held {
    /// A promise with this name is certain until `until`.
    pub(super) fn take(&mut self, now: Time, lapses: u64, until: Time) -> Taken {
        let mut taken = Taken::default();
        match self.lapses {
            Some(former) if lapses < former => return taken,
            Some(former) if lapses == former => self.until = self.until.max(until),
            Some(_) | None => {
                taken.lost = self.end();
                self.lapses = Some(lapses);
                self.until = until;
            }
        }
        if !self.counted && now < self.until {
            self.counted = true;
            taken.counted = Some(self.known);
            self.known = true;
        }
        taken
    }

    /// Stops to count on a promise that is no longer certain; whether it was counted on.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let lost = self.counted && now >= self.until;
        self.counted &= !lost;
        lost
    }

    /// There is no promise any more; whether it was counted on.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(self).counted
    }
}

/// Until when a promise is certain that answers the beat we sent at `answers`, and that came at `now`.
pub(super) fn certain_until(now: Time, answers: Time, for_us: u64, drift_percent: u8) -> Time {
    // Bug 12: what was held up on its way, or answers a paused sender, gains by it.
    let from = if planted::has(Bug::LeaseFromReceive) { now } else { answers };
    Time(from.0.saturating_add(lease_us(for_us, drift_percent)))
}
