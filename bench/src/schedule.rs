//! Who issues what and when: clients on slots, slots on threads, and the timetable of the open loop.
//!
//! A *slot* is an active group by its place in the list of active groups. Client c belongs to slot c modulo
//! the number of slots; a slot belongs to one thread, so that the threads share nothing.
//!
//! In the open loop, request n of a thread is due at n / rate, whatever has become of the ones before. Latency
//! counts from there: a system that stalls for a second is charged for the whole second by each request that
//! was due in it (no coordinated omission). Which request is due follows from n alone.

use crate::workload::Op;

/// The slots and clients of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Slots of this thread, ascending.
    pub(crate) slots: Vec<u32>,
    /// How many slots and clients all threads have together.
    pub(crate) slots_total: u32,
    pub(crate) clients_total: u32,
}

impl Share {
    /// The share of thread `thread` of `threads`.
    pub(crate) fn new(thread: usize, threads: usize, slots_total: u32, clients_total: u32) -> Self {
        let slots = (0..slots_total).filter(|&slot| slot as usize % threads == thread).collect();
        Self { slots, slots_total, clients_total }
    }

    /// How many clients slot `slot` has.
    pub(crate) const fn clients_of(&self, slot: u32) -> u32 {
        (self.clients_total - slot).div_ceil(self.slots_total)
    }

    /// Client number `nth` of slot `slot`.
    pub(crate) const fn client(&self, slot: u32, nth: u32) -> u32 {
        slot + nth * self.slots_total
    }

    /// How many clients this thread has.
    pub(crate) fn clients(&self) -> u32 {
        self.slots.iter().map(|&slot| self.clients_of(slot)).sum()
    }
}

/// When the requests of one thread are due in the open loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timetable {
    rate: f64,
}

impl Timetable {
    /// `rate` requests per second.
    pub(crate) const fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// When request number `n` (from 0 on) is due, in microseconds from the start.
    #[expect(clippy::cast_possible_truncation, reason = "a run is shorter than 2^53 microseconds")]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "as above, and positive"
    )]
    pub(crate) fn due_micros(&self, n: u64) -> u64 {
        (n as f64 * 1e6 / self.rate) as u64
    }

    /// How many requests are due by `micros`.
    #[expect(clippy::cast_possible_truncation, reason = "at most 1e8 a second for a day")]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "as above, and positive"
    )]
    pub(crate) fn due_by(&self, micros: u64) -> u64 {
        let guess = (micros as f64 * self.rate / 1e6) as u64;
        // The two roundings may disagree by one in either direction.
        let mut n = guess.saturating_sub(1);
        while self.due_micros(n) <= micros {
            n += 1;
        }
        n
    }

    /// The slot (by place in the thread's share) and the request that number `n` stands for: round robin over
    /// the slots, and within a slot over its clients.
    pub(crate) fn op(share: &Share, n: u64) -> (usize, Op) {
        let slots = share.slots.len() as u64;
        let place = usize::try_from(n % slots).expect("less than the number of slots");
        let (slot, turn) = (share.slots[place], n / slots);
        let clients = u64::from(share.clients_of(slot));
        let nth = u32::try_from(turn % clients).expect("less than the number of clients");
        let sequence = u32::try_from(turn / clients + 1).expect("under 2^32 requests per client");
        (place, Op { client: share.client(slot, nth), sequence })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_client_belongs_to_one_slot_and_one_thread() {
        for (threads, slots, clients) in [(1, 1, 1), (1, 48, 288), (3, 48, 100), (4, 5, 17)] {
            let mut seen = BTreeSet::new();
            for thread in 0..threads {
                let share = Share::new(thread, threads, slots, clients);
                let mut own = 0;
                for &slot in &share.slots {
                    for nth in 0..share.clients_of(slot) {
                        let client = share.client(slot, nth);
                        assert_eq!(client % slots, slot);
                        assert!(client < clients && seen.insert(client));
                        own += 1;
                    }
                }
                assert_eq!(own, share.clients());
            }
            assert_eq!(seen.len(), clients as usize);
        }
    }

    #[test]
    fn requests_are_due_evenly_from_the_start() {
        let table = Timetable::new(4.0);
        let due: Vec<u64> = (0..5).map(|n| table.due_micros(n)).collect();
        assert_eq!(due, [0, 250_000, 500_000, 750_000, 1_000_000]);
        assert_eq!(table.due_by(0), 1);
        assert_eq!(table.due_by(249_999), 1);
        assert_eq!(table.due_by(250_000), 2);
    }

    #[test]
    fn what_is_due_by_a_time_is_exactly_what_is_due_until_then() {
        for rate in [0.3, 7.0, 1_000.0, 333_333.0, 1e6, 3.7e6] {
            let table = Timetable::new(rate);
            for micros in [0, 1, 2, 3, 999, 1_000, 12_345, 1_000_000, 77_777_777] {
                let n = table.due_by(micros);
                assert!(n == 0 || table.due_micros(n - 1) <= micros, "rate {rate} at {micros}");
                assert!(table.due_micros(n) > micros, "rate {rate} at {micros}");
            }
        }
    }

    #[test]
    fn the_timetable_never_asks_the_same_twice_and_serves_all_clients() {
        let share = Share::new(1, 2, 6, 15);
        let mut seen = BTreeSet::new();
        let mut clients = BTreeSet::new();
        for n in 0..1_000 {
            let (place, op) = Timetable::op(&share, n);
            assert_eq!(op.client % 6, share.slots[place]);
            assert!(op.sequence >= 1 && seen.insert(op), "{op:?} twice");
            clients.insert(op.client);
        }
        assert_eq!(clients.len(), share.clients() as usize);
    }
}
