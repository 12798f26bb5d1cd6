//! Episodes: a few faults in a row that make a leader learn late that it is none any more.
//!
//! Whoever serves reads on the strength of what he was told some time ago serves old values then. Each episode is drawn
//! from parts that also come alone: what the others say to the leader lags, the leadership is handed over, the leader is
//! not heard, hears nobody, stands still, or dies. The time between them is of the order of an election timeout, since
//! that is where leases end.
//!
//! Deliberately absent: knowledge of how the engine serves reads.

use super::{Fault, Part, Plan, What, Who};
use crate::sim::random::Rng;

impl Plan {
    pub(super) fn draw_episodes(&mut self, rng: &mut Rng) {
        let timeout = u64::from(self.raft.election_timeout_us);
        let on = rng.next() | 1 << rng.below(5);
        if rng.chance(400) {
            for node in 1..=self.nodes {
                let what = What::Rate { node, ppm: rng.between(900_000, 1_100_000) };
                self.faults.push(Fault { at_us: 0, what });
            }
        }
        let mut at_us = rng.between(1_000_000, 2_000_000) + timeout;
        while at_us < self.run_us {
            let group = rng.between(1, self.groups);
            let who = Who::Leader(group);
            let long = rng.between(timeout, 4 * timeout);
            if rng.chance(800) {
                // With more, a leader would doubt its majority before the lag is over.
                let by_us = rng.between(timeout / 5, timeout * 4 / 5);
                self.faults
                    .push(Fault { at_us, what: What::Part(Part::Lag { who, by_us, us: long }) });
                at_us += rng.below(2 * timeout);
            }
            let what = match rng.below(6) {
                0 if on & 1 != 0 => Some(What::Transfer { group, to: rng.between(1, self.nodes) }),
                1 | 5 if on & 2 != 0 => {
                    Some(What::Part(Part::Isolate { who, deaf: false, mute: true, us: long }))
                }
                2 if on & 4 != 0 => {
                    Some(What::Part(Part::Isolate { who, deaf: true, mute: true, us: long }))
                }
                3 if on & 8 != 0 => Some(What::Pause { who, us: long }),
                4 if on & 16 != 0 => {
                    Some(What::Kill { who, down_us: long, power: rng.chance(500) })
                }
                _ => None,
            };
            self.faults.extend(what.map(|what| Fault { at_us, what }));
            at_us += long + rng.between(timeout, 3 * timeout);
        }
    }
}
