//! From a seed to its plan.
//!
//! Each seed has a theme. Most draw each kind of fault, or leave it out, at a leisurely pace, and a few of those are quiet.
//! Some are *unrest*: few groups, short timeouts, faults that come faster than elections end; there hide the bugs that
//! take several leaders in a row. Some are about *reads*: many clients, few keys, and leaders that learn late that they
//! are none any more (`episodes.rs`). Some are about groups at *rest* (`rest.rs`).

use kontiki::LogWriter;
use kontiki::kv::{OVERLAY_BYTES_MAX, OVERLAY_KEYS_MAX};
use kontiki_raft::Liveness;

use super::{CopyPlan, DiskPlan, Fault, LoadPlan, NetPlan, Part, Plan, What, Who};
use crate::sim::random::Rng;

/// Heartbeats and their answers in one run, about: what idle groups tell each other takes the time of other seeds.
const MESSAGES_ENOUGH: u64 = 100_000;

/// How many kinds of faults there are.
const KINDS: u64 = 13;

/// Those that make leaders come and go.
const UNREST: [u64; 7] = [0, 1, 3, 4, 5, 7, 8];

/// What a seed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Mixed,
    Unrest,
    Reads,
    Rest,
}

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::stream(seed, "plan");
        let theme = match rng.below(100) {
            0..35 => Theme::Unrest,
            35..55 => Theme::Reads,
            55..62 => Theme::Rest,
            _ => Theme::Mixed,
        };
        let unrest = theme == Theme::Unrest;
        let mut nodes = rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
        let many = theme == Theme::Mixed && rng.chance(10);
        let mut groups = if many { rng.between(200, 2000) } else { rng.scale(1, 64) };
        if theme != Theme::Mixed {
            (nodes, groups) = (rng.pick(&[3, 3, 5]), rng.between(1, 6));
        }
        let mut raft = raft(&mut rng, unrest, groups * nodes);
        if theme == Theme::Reads {
            groups = rng.between(1, 2);
            raft.election_timeout_us = rng.pick(&[200_000, 300_000, 500_000]);
            raft.heartbeat_us = raft.election_timeout_us / 10;
            raft.lease_percent = if rng.chance(800) { 80 } else { 0 };
        }
        let of_nodes = if theme == Theme::Reads { 500 } else { 700 };
        if rng.chance(of_nodes) {
            // As the engine is run: nodes support each other, and leases rest on that.
            (raft.liveness, raft.lease_percent) = (Liveness::External, 0);
        }
        let chatter = groups * nodes.saturating_sub(1) * 2 + 1;
        let enough_us = MESSAGES_ENOUGH * u64::from(raft.heartbeat_us) / chatter;
        let run_us = (rng.between(8, 30) * 1_000_000).min(enough_us.max(4_000_000));
        let mut plan = Self {
            seed,
            nodes,
            groups,
            workers: rng.pick(&[1, 1, 1, 1, 2, 3, 4]),
            run_us,
            raft,
            cache_bytes_max: if rng.chance(400) { small(&mut rng, 256, 64 << 10) } else { 1 << 20 },
            inbox_bytes_max: if rng.chance(200) { small(&mut rng, 512, 1 << 14) } else { 1 << 20 },
            overlay_max: if rng.chance(300) {
                (small(&mut rng, 1, 100), small(&mut rng, 64, 64 << 10))
            } else {
                (OVERLAY_KEYS_MAX, OVERLAY_BYTES_MAX)
            },
            log_retain_bytes: rng.scale(1 << 10, 1 << 20),
            flush_interval_us: rng.scale(100_000, 30_000_000),
            log_writer: rng.pick(&[LogWriter::Adaptive, LogWriter::Inline, LogWriter::Thread]),
            wake_us: rng.scale(1, 100),
            net: net(&mut rng, groups, many),
            copies: copies(&mut rng),
            disk: disk(&mut rng, unrest),
            load: if theme == Theme::Reads {
                reads(&mut rng)
            } else {
                load(&mut rng, run_us, unrest)
            },
            canary: false,
            faults: Vec::new(),
        };
        let mut rng = Rng::stream(seed, "faults");
        match theme {
            Theme::Mixed => plan.draw_faults(&mut rng),
            Theme::Unrest => plan.draw_unrest(&mut rng),
            Theme::Reads => plan.draw_episodes(&mut rng),
            Theme::Rest => plan.draw_rest(&mut rng),
        }
        if nodes > 2 && theme != Theme::Rest && rng.chance(60) {
            let what = What::Rot { node: rng.between(1, nodes), flip: rng.chance(500) };
            plan.faults.push(Fault { at_us: rng.below(run_us), what });
        }
        plan.faults.sort_by_key(|fault| fault.at_us);
        plan
    }

    /// A run that must fail: a node comes back with its disk as it was some time ago.
    #[must_use]
    pub fn canary() -> Self {
        let mut plan = Self::calm(1);
        (plan.canary, plan.run_us) = (true, 8_000_000);
        let kill = |at_us| Fault {
            at_us,
            what: What::Kill { who: Who::Node(1), down_us: 500_000, power: true },
        };
        plan.faults = vec![kill(3_000_000), kill(6_000_000)];
        plan
    }

    /// Without faults, of the size that the speed is measured with.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        (plan.nodes, plan.groups, plan.workers, plan.run_us) = (3, 8, 1, 60_000_000);
        plan.raft = kontiki_raft::Config { liveness: Liveness::External, ..Default::default() };
        plan.cache_bytes_max = 64 << 20;
        plan.inbox_bytes_max = 64 << 20;
        plan.overlay_max = (OVERLAY_KEYS_MAX, OVERLAY_BYTES_MAX);
        plan.log_retain_bytes = 64 << 20;
        plan.copies = CopyPlan::default();
        plan.flush_interval_us = 30_000_000;
        plan.log_writer = LogWriter::Adaptive;
        plan.wake_us = 20;
        plan.net = NetPlan {
            delay_us: 100,
            jitter_us: 50,
            spike_per_mille: 0,
            spike_us: 1,
            split_per_mille: 0,
            bytes_per_ms: 1_000_000,
            buffer_bytes: 4 << 20,
        };
        plan.disk = DiskPlan { sync_us: 200, jitter_us: 50, stall_per_mille: 0, stall_us: 1 };
        plan.load = LoadPlan {
            clients: 4,
            think_us: 38_000,
            keys: 100,
            value_bytes: 128,
            reads: 300,
            scans: 0,
            deletes: 100,
            batches: 0,
            astray: 150,
            patience_us: 2_000_000,
        };
        plan.faults.clear();
        plan
    }

    fn draw_unrest(&mut self, rng: &mut Rng) {
        let on = rng.next();
        let mean_us = rng.scale(50_000, 600_000);
        let mut at_us = rng.below(1_000_000);
        while at_us < self.run_us {
            let kind = rng.pick(&UNREST);
            if on & (1 << kind) != 0
                && let Some(what) = self.draw_fault(kind, rng.scale(5_000, 500_000), rng)
            {
                self.faults.push(Fault { at_us, what });
            }
            at_us += rng.between(mean_us / 4, 2 * mean_us);
        }
    }

    fn draw_faults(&mut self, rng: &mut Rng) {
        let on = rng.next() & rng.next() | 1 << rng.below(KINDS);
        if rng.chance(50) {
            return; // Quiet seeds show what goes wrong by itself.
        }
        for kind in (0..KINDS).filter(|kind| on & (1 << kind) != 0) {
            let mean_us = rng.scale(300_000, 10_000_000);
            let mut at_us = rng.below(3_000_000);
            while at_us < self.run_us {
                let long = rng.scale(10_000, 4_000_000);
                if let Some(what) = self.draw_fault(kind, long, rng) {
                    self.faults.push(Fault { at_us, what });
                }
                at_us += rng.between(mean_us / 4, 2 * mean_us);
            }
        }
    }

    /// A fault of this kind that lasts about so long.
    fn draw_fault(&self, kind: u64, long: u64, rng: &mut Rng) -> Option<What> {
        let node = rng.between(1, self.nodes);
        let who = if rng.chance(300) {
            Who::Leader(rng.between(1, self.groups))
        } else {
            Who::Node(node)
        };
        let other = (node + rng.below(self.nodes.max(2) - 1)) % self.nodes + 1;
        let alone = self.nodes == 1;
        Some(match kind {
            0 => What::Kill { who, down_us: long, power: false },
            1 => What::Kill { who, down_us: long, power: true },
            2 => What::Blackout { down_us: long },
            3 if rng.chance(100) => What::Pause { who, us: rng.between(1_000_000, 30_000_000) },
            3 => What::Pause { who, us: long },
            4 if !alone => {
                let side = 1 + rng.below((1 << self.nodes) - 2);
                What::Part(Part::Partition { side, us: 2 * long, one_way: rng.chance(300) })
            }
            5 if !alone => {
                What::Part(Part::Cut { from: node, to: other, us: 4 * long, both: rng.chance(500) })
            }
            6 if !alone => {
                let by_us = rng.scale(1_000, 1_000_000);
                What::Slow { from: node, to: other, by_us, us: long }
            }
            7 if !alone => What::Reset { a: node, b: other, half: rng.chance(300) },
            8 => What::Transfer { group: rng.between(1, self.groups), to: node },
            9 => What::Stall { node, us: rng.scale(10_000, 3_000_000) },
            // A lease rests on clocks of about the same rate, and on time that does not leap.
            10 if rng.chance(500) || self.has_leases() => {
                What::Rate { node, ppm: rng.between(900_000, 1_100_000) }
            }
            10 => What::Jump { node, us: rng.scale(1_000, 30_000_000) },
            11 => What::SyncError { node, down_us: long },
            12 if node > 1 => What::Foreign { node, claims: rng.between(1, node - 1) },
            _ => return None,
        })
    }
}

impl Plan {
    /// Whether reads may be served by the clock.
    fn has_leases(&self) -> bool {
        self.raft.lease_percent > 0 || self.raft.liveness == Liveness::External
    }
}

fn size(rng: &mut Rng, low: u64, high: u64) -> u32 {
    u32::try_from(rng.scale(low, high)).expect("limits are small")
}

fn small(rng: &mut Rng, low: u64, high: u64) -> usize {
    usize::try_from(rng.scale(low, high)).expect("limits are small")
}

fn raft(rng: &mut Rng, unrest: bool, replicas: u64) -> kontiki_raft::Config {
    let election = match replicas {
        _ if unrest => rng.pick(&[100_000, 150_000, 300_000]),
        65.. => 1_000_000,
        _ => rng.pick(&[150_000, 300_000, 500_000, 1_000_000, 1_000_000]),
    };
    let tiny = rng.chance(if unrest { 600 } else { 300 });
    kontiki_raft::Config {
        election_timeout_us: election,
        heartbeat_us: election / u32::try_from(rng.between(2, 6)).expect("small"),
        inflight_bytes_max: if tiny { size(rng, 64, 64 << 10) } else { 16 << 20 },
        uncommitted_bytes_max: if tiny { size(rng, 2048, 256 << 10) } else { 64 << 20 },
        lease_percent: if rng.chance(400) { 80 } else { 0 },
        pre_vote: !rng.chance(100),
        ..kontiki_raft::Config::default()
    }
}

fn net(rng: &mut Rng, groups: u64, many: bool) -> NetPlan {
    NetPlan {
        delay_us: rng.scale(20, 5_000),
        jitter_us: rng.scale(1, 10_000),
        spike_per_mille: if rng.chance(300) { rng.scale(1, 50) } else { 0 },
        spike_us: rng.scale(10_000, 2_000_000),
        split_per_mille: if rng.chance(400) { rng.between(1, 500) } else { 0 },
        bytes_per_ms: if rng.chance(100) && !many { 2_000 } else { 1_000_000 },
        // A line must be able to carry what leaders say while nothing happens.
        buffer_bytes: if rng.chance(300) {
            small(rng, 512 + 2_000 * groups, 1 << 22)
        } else {
            4 << 20
        },
    }
}

fn copies(rng: &mut Rng) -> CopyPlan {
    if !rng.chance(300) {
        return CopyPlan::default();
    }
    CopyPlan {
        again_per_mille: rng.between(0, 300),
        old_per_mille: rng.between(0, 100),
        delay_us: rng.scale(1, 2_000_000),
    }
}

fn disk(rng: &mut Rng, unrest: bool) -> DiskPlan {
    let slow = rng.chance(if unrest { 400 } else { 150 });
    DiskPlan {
        sync_us: if slow { rng.scale(5_000, 50_000) } else { rng.scale(20, 5_000) },
        jitter_us: rng.scale(1, 5_000),
        stall_per_mille: if rng.chance(200) { rng.between(1, 20) } else { 0 },
        stall_us: rng.scale(10_000, 3_000_000),
    }
}

fn load(rng: &mut Rng, run_us: u64, unrest: bool) -> LoadPlan {
    let clients = rng.between(if unrest { 4 } else { 1 }, 8);
    let requests = rng.scale(if unrest { 500 } else { 30 }, 3_000);
    LoadPlan {
        clients,
        think_us: clients * run_us / requests + 1_000,
        keys: rng.between(1, 6),
        value_bytes: if rng.chance(100) { 20_000 } else { rng.scale(16, 2_000) },
        reads: rng.between(if unrest { 300 } else { 100 }, 800),
        scans: if rng.chance(300) { rng.between(10, 200) } else { 0 },
        deletes: rng.between(0, 300),
        batches: if rng.chance(500) { rng.between(0, 300) } else { 0 },
        astray: rng.pick(&[50, 150, 400]),
        patience_us: rng.scale(200_000, 5_000_000),
    }
}

/// Many reads of few keys, by clients that do not wait long.
fn reads(rng: &mut Rng) -> LoadPlan {
    LoadPlan {
        clients: rng.between(5, 8),
        think_us: rng.between(3_000, 15_000),
        keys: rng.between(1, 2),
        value_bytes: 32,
        reads: rng.between(500, 800),
        scans: rng.pick(&[0, 0, 100]),
        deletes: 50,
        batches: 0,
        astray: rng.between(200, 500),
        patience_us: rng.between(20_000, 150_000),
    }
}
