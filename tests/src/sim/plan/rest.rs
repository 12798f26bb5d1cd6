//! Groups at rest, and one node that others cannot count on: who slept must wake (hazard G8).
//!
//! Nearly nothing is asked for, so nothing but the loss of its leader's node can tell a group that it has no leader any
//! more. Nothing else goes wrong: within [`WAKE_US`] the other nodes must know a leader for every group, and not only once
//! the world has healed.
//!
//! Deliberately absent: everything that would be an excuse.

use super::{Away, DiskPlan, Fault, LoadPlan, NetPlan, Plan, What};
use crate::sim::random::Rng;

/// When every group must have a leader again: an election timeout is a second at most, and so is a promise.
const WAKE_US: u64 = 6_000_000;

/// How long a node stays away.
const AWAY_US: u64 = 7_000_000;

/// How long it then has to come back.
const BACK_US: u64 = 5_000_000;

impl Plan {
    pub(super) fn draw_rest(&mut self, rng: &mut Rng) {
        self.nodes = rng.pick(&[3, 3, 5]);
        self.groups = rng.scale(1, 64);
        self.raft.election_timeout_us = rng.pick(&[150_000, 300_000, 500_000, 1_000_000]);
        self.raft.heartbeat_us = self.raft.election_timeout_us / 4;
        // Without it, who hears nothing asks for votes in ever new terms, and unsettles those who could do without him.
        self.raft.pre_vote = true;
        self.net = NetPlan { spike_per_mille: 0, bytes_per_ms: 1_000_000, ..self.net };
        self.net.buffer_bytes = 4 << 20;
        self.disk = DiskPlan { sync_us: 500, jitter_us: 500, stall_per_mille: 0, stall_us: 0 };
        self.load = LoadPlan { clients: 2, think_us: rng.scale(500_000, 5_000_000), ..self.load };
        let mut at_us = rng.between(3_000_000, 6_000_000);
        for _ in 0..rng.between(1, 3) {
            let node = rng.between(1, self.nodes);
            let how = match rng.below(5) {
                0 => Away::Deaf,
                1 => Away::Mute,
                2 => Away::Isolated,
                3 => Away::Paused,
                _ => Away::Killed { power: rng.chance(500) },
            };
            let what = What::Away { node, how, wake_us: WAKE_US, us: AWAY_US };
            self.faults.push(Fault { at_us, what });
            at_us += AWAY_US + BACK_US;
        }
        self.run_us = at_us;
    }
}
