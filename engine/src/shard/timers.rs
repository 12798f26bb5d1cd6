//! One wheel of deadlines for all groups of a shard.
//!
//! A replica sits in the wheel once at most. Its deadline may move later while it sits there (every append
//! does that), which costs nothing: when the old time comes, the shard asks the replica again and puts it back.
//! Moving earlier is the one case that needs a new entry; [`Timers::arm`] then leaves the old one to fire early,
//! which is harmless.
//!
//! Deliberately absent: clocks. `now` is an argument.

use kontiki_raft::Time;

/// How fine the wheel is: deadlines are kept to this, always late, never early.
const TICK_US: u64 = 10_000;

/// How far it reaches; a later deadline is parked at its end and put back from there.
const TICKS: u64 = 512;

/// When the wheel will look at a replica, in half a word: its low bits are enough, since the wheel reaches no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Armed(u32);

impl Armed {
    /// It will not. The tick of the same bits, once in 497 days, is taken for this and armed twice, which is harmless.
    pub(crate) const NOT: Self = Self(0);

    /// At a time that the wheel gave.
    pub(crate) fn at(time: Time) -> Self {
        let low = (time.0 / TICK_US) & u64::from(u32::MAX);
        Self(u32::try_from(low).expect("masked"))
    }

    /// Whether that is after `time`, which is less than the wheel's reach away.
    pub(crate) fn is_after(self, time: Time) -> bool {
        self != Self::NOT && self.0.wrapping_sub(Self::at(time).0).wrapping_sub(1) < u32::MAX / 2
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Timers {
    wheel: Vec<Vec<u32>>,
    /// The first tick that has not fired.
    next: u64,
    /// How many entries the wheel holds.
    len: usize,
}

impl Timers {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            wheel: vec![Vec::new(); usize::try_from(TICKS).expect("a small constant")],
            next: now.0 / TICK_US,
            len: 0,
        }
    }

    /// When a slot with this deadline would be looked at.
    pub(crate) fn due(&self, deadline: Time) -> Time {
        let due = deadline.0.div_ceil(TICK_US);
        Time(due.clamp(self.next, self.next + TICKS - 1) * TICK_US)
    }

    /// Puts `slot` in, to be looked at when `deadline` has passed. Returns the time at which it will be.
    pub(crate) fn arm(&mut self, slot: u32, deadline: Time) -> Time {
        let tick = self.due(deadline).0 / TICK_US;
        self.wheel[Self::place(tick)].push(slot);
        self.len += 1;
        Time(tick * TICK_US)
    }

    fn place(tick: u64) -> usize {
        usize::try_from(tick % TICKS).expect("less than TICKS")
    }

    /// Moves every slot whose time has come into `due`.
    pub(crate) fn expire(&mut self, now: Time, due: &mut Vec<u32>) {
        let last = now.0 / TICK_US;
        if last >= self.next + TICKS {
            self.next = last + 1 - TICKS; // A long pause: one turn of the wheel sees every entry.
        }
        while self.next <= last {
            if self.len == 0 {
                self.next = last + 1;
                return;
            }
            let fired = &mut self.wheel[Self::place(self.next)];
            self.len -= fired.len();
            due.append(fired);
            self.next += 1;
        }
    }

    /// When the wheel wants to be looked at next.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        (self.next..self.next + TICKS)
            .find(|&tick| !self.wheel[Self::place(tick)].is_empty())
            .map(|tick| Time(tick * TICK_US))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(timers: &mut Timers, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        timers.expire(Time(now), &mut due);
        due
    }

    #[test]
    fn a_deadline_fires_at_or_after_its_time_and_never_before() {
        let mut timers = Timers::new(Time(1_000_000));
        timers.arm(1, Time(1_015_000));
        assert_eq!(timers.next_deadline(), Some(Time(1_020_000)));
        assert!(due(&mut timers, 1_015_000).is_empty());
        assert_eq!(due(&mut timers, 1_020_000), [1]);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn an_armed_deadline_is_not_due_earlier_than_it_was_armed_for() {
        let mut timers = Timers::new(Time(0));
        for deadline in [Time(5), Time(123_456), Time(999_999_999)] {
            let armed = timers.arm(1, deadline);
            assert_eq!(timers.due(deadline), armed);
        }
    }

    #[test]
    fn half_a_word_orders_times_across_its_end() {
        let end = (1 << 32) * TICK_US;
        for base in [10 * TICK_US, end - 5 * TICK_US, end + TICK_US, 3 * end - TICK_US] {
            let armed = Armed::at(Time(base));
            assert!(armed.is_after(Time(base - 1)) && !armed.is_after(Time(base)));
            assert!(!armed.is_after(Time(base + TICKS * TICK_US)));
            assert!(armed.is_after(Time(base.saturating_sub(TICKS * TICK_US))) || base < end);
        }
        assert!(!Armed::NOT.is_after(Time(0)));
    }

    #[test]
    fn a_far_deadline_is_parked_within_the_wheel() {
        let mut timers = Timers::new(Time(0));
        let parked = timers.arm(1, Time(3_600_000_000));
        assert!(parked.0 <= TICKS * TICK_US);
        assert_eq!(due(&mut timers, parked.0), [1]);
    }

    #[test]
    fn a_long_pause_fires_everything_once() {
        let mut timers = Timers::new(Time(0));
        for slot in 0..100 {
            timers.arm(slot, Time(u64::from(slot) * 40_000));
        }
        let mut fired = due(&mut timers, 1_000_000_000_000);
        fired.sort_unstable();
        assert_eq!(fired, (0..100).collect::<Vec<_>>());
        assert!(due(&mut timers, 1_000_000_010_000).is_empty());
        timers.arm(7, Time(1_000_000_020_000));
        assert_eq!(due(&mut timers, 1_000_000_020_000), [7]);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut timers = Timers::new(Time(1_000_000));
        assert!(due(&mut timers, 1_000_000).is_empty());
        timers.arm(3, Time(5));
        assert_eq!(due(&mut timers, 1_010_000), [3]);
    }
}
