//! What a seed stands for: sizes, limits, rates and the list of faults, all drawn before the first step.
//!
//! Swarm: each seed first draws which kinds of faults exist at all, then how often they come, so that a few of them meet
//! undisturbed by the rest. The faults are a list and nothing else, which is what makes them easy to shorten.
//!
//! Invariant: a plan never exceeds what the design promises to survive, except where it says so itself.
//! Deliberately absent: membership change, split and snapshots, until the engine has them.

use kontiki::LogWriter;

use super::random::Rng;

/// Lines and buffers.
#[derive(Clone, Copy, Debug)]
pub struct NetPlan {
    /// The least time from one node to another.
    pub delay_us: u64,
    /// What may be added to it.
    pub jitter_us: u64,
    /// How often something takes much longer.
    pub spike_per_mille: u64,
    /// How much longer.
    pub spike_us: u64,
    /// How often a write arrives in pieces.
    pub split_per_mille: u64,
    /// What a line carries.
    pub bytes_per_ms: u64,
    /// What fits between a writer and a reader that does not read.
    pub buffer_bytes: usize,
}

/// Disks.
#[derive(Clone, Copy, Debug)]
pub struct DiskPlan {
    /// The least time of a sync.
    pub sync_us: u64,
    /// What may be added to it.
    pub jitter_us: u64,
    /// How often a sync stalls.
    pub stall_per_mille: u64,
    /// For how long.
    pub stall_us: u64,
}

/// Clients.
#[derive(Clone, Copy, Debug)]
pub struct LoadPlan {
    /// How many there are; each has one request under way at a time.
    pub clients: u64,
    /// The mean time between two requests of one client.
    pub think_us: u64,
    /// Keys of each group.
    pub keys: u64,
    /// The longest value.
    pub value_bytes: u64,
    /// How many of a thousand requests read.
    pub reads: u64,
    /// How many of a thousand writes delete.
    pub deletes: u64,
    /// How many of a thousand writes are batches of several keys.
    pub batches: u64,
    /// When a client gives up waiting.
    pub patience_us: u64,
}

/// What goes wrong at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The process ends, and starts again after `down_us`. With `power` the machine does, and what was not synced may be
    /// lost.
    Kill {
        /// Which one.
        node: u64,
        /// For how long.
        down_us: u64,
        /// Whether the machine loses power.
        power: bool,
    },
    /// All machines lose power at once.
    Blackout {
        /// For how long.
        down_us: u64,
    },
    /// The process does nothing for a while.
    Pause {
        /// Which one.
        node: u64,
        /// For how long.
        us: u64,
    },
    /// Nothing passes between the nodes of `side` (a bit each) and the others.
    Partition {
        /// One side.
        side: u64,
        /// For how long.
        us: u64,
        /// Only from the others to `side`.
        one_way: bool,
    },
    /// Nothing passes from `from` to `to`; with `both`, nor back.
    Cut {
        /// From here.
        from: u64,
        /// To there.
        to: u64,
        /// For how long.
        us: u64,
        /// Both ways.
        both: bool,
    },
    /// What passes from `from` to `to` takes longer.
    Slow {
        /// From here.
        from: u64,
        /// To there.
        to: u64,
        /// By so much.
        by_us: u64,
        /// For how long.
        us: u64,
    },
    /// Connections between two nodes break; with `half`, only the first hears of it.
    Reset {
        /// One node.
        a: u64,
        /// The other one.
        b: u64,
        /// See there.
        half: bool,
    },
    /// Somebody asks for the leadership of `group` to go to `to`.
    Transfer {
        /// The group.
        group: u64,
        /// Where it shall go.
        to: u64,
    },
    /// The next syncs of this node take so long.
    Stall {
        /// Which one.
        node: u64,
        /// For how long.
        us: u64,
    },
    /// The node's clock goes faster or slower from now on, in millionths of its true rate.
    Rate {
        /// Which one.
        node: u64,
        /// The new rate.
        ppm: u64,
    },
    /// The node's clock jumps forward.
    Jump {
        /// Which one.
        node: u64,
        /// By so much.
        us: u64,
    },
    /// The next sync of this node fails, and the process with it.
    SyncError {
        /// Which one.
        node: u64,
        /// For how long it stays down.
        down_us: u64,
    },
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub at_us: u64,
    /// What.
    pub what: What,
}

/// Everything that a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Nodes, numbered from 1.
    pub nodes: u64,
    /// Groups, numbered from 1.
    pub groups: u64,
    /// How long faults and clients go on.
    pub run_us: u64,
    /// The core's tunables.
    pub raft: kontiki_raft::Config,
    /// See [`kontiki::Config::cache_bytes_max`].
    pub cache_bytes_max: usize,
    /// See [`kontiki::Config::log_retain_bytes`].
    pub log_retain_bytes: u64,
    /// See [`kontiki::Config::flush_interval`].
    pub flush_interval_us: u64,
    /// Where synced writes happen.
    pub log_writer: LogWriter,
    /// How long a woken process takes to run.
    pub wake_us: u64,
    /// Lines.
    pub net: NetPlan,
    /// Disks.
    pub disk: DiskPlan,
    /// Clients.
    pub load: LoadPlan,
    /// The faults, in order.
    pub faults: Vec<Fault>,
}

/// Heartbeats and their answers in one run, about.
const MESSAGES_ENOUGH: u64 = 100_000;

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::stream(seed, "plan");
        let nodes = rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7]);
        let many = rng.chance(5);
        let groups = if many { rng.between(200, 2000) } else { rng.scale(1, 64) };
        let election = rng.pick(&[150_000, 300_000, 500_000, 1_000_000, 1_000_000]);
        let election = if groups * nodes > 64 { 1_000_000 } else { election };
        let heartbeat = election / u32::try_from(rng.between(2, 6)).expect("small");
        let tiny = rng.chance(300);
        let raft = kontiki_raft::Config {
            election_timeout_us: election,
            heartbeat_us: heartbeat,
            inflight_bytes_max: if tiny { size(&mut rng, 64, 64 << 10) } else { 16 << 20 },
            uncommitted_bytes_max: if tiny { size(&mut rng, 2048, 256 << 10) } else { 64 << 20 },
            lease_percent: if rng.chance(400) { 80 } else { 0 },
            pre_vote: !rng.chance(100),
            ..kontiki_raft::Config::default()
        };
        let slow_disk = rng.chance(150);
        // About so many messages are enough: what idle groups tell each other takes the time of other seeds.
        let chatter = groups * nodes.saturating_sub(1) * 2 + 1;
        let enough_us = MESSAGES_ENOUGH * u64::from(heartbeat) / chatter;
        let run_us = (rng.between(8, 30) * 1_000_000).min(enough_us.max(4_000_000));
        let clients = rng.between(1, 8);
        let requests = rng.scale(30, 3_000);
        let mut plan = Self {
            seed,
            nodes,
            groups,
            run_us,
            raft,
            cache_bytes_max: if rng.chance(400) { small(&mut rng, 256, 64 << 10) } else { 1 << 20 },
            log_retain_bytes: rng.scale(1 << 10, 1 << 20),
            flush_interval_us: rng.scale(100_000, 30_000_000),
            log_writer: rng.pick(&[LogWriter::Adaptive, LogWriter::Inline, LogWriter::Thread]),
            wake_us: rng.scale(1, 100),
            net: NetPlan {
                delay_us: rng.scale(20, 5_000),
                jitter_us: rng.scale(1, 10_000),
                spike_per_mille: if rng.chance(300) { rng.scale(1, 50) } else { 0 },
                spike_us: rng.scale(10_000, 2_000_000),
                split_per_mille: if rng.chance(400) { rng.between(1, 500) } else { 0 },
                bytes_per_ms: if rng.chance(100) && !many { 2_000 } else { 1_000_000 },
                // A line must be able to carry what leaders say while nothing happens.
                buffer_bytes: if rng.chance(300) {
                    small(&mut rng, 512 + 2_000 * groups, 1 << 22)
                } else {
                    4 << 20
                },
            },
            disk: DiskPlan {
                sync_us: if slow_disk { rng.scale(5_000, 50_000) } else { rng.scale(20, 5_000) },
                jitter_us: rng.scale(1, 5_000),
                stall_per_mille: if rng.chance(200) { rng.between(1, 20) } else { 0 },
                stall_us: rng.scale(10_000, 3_000_000),
            },
            load: LoadPlan {
                clients,
                think_us: clients * run_us / requests + 1_000,
                keys: rng.between(1, 6),
                value_bytes: if rng.chance(100) { 20_000 } else { rng.scale(16, 2_000) },
                reads: rng.between(100, 700),
                deletes: rng.between(0, 300),
                batches: if rng.chance(500) { rng.between(0, 300) } else { 0 },
                patience_us: rng.scale(200_000, 5_000_000),
            },
            faults: Vec::new(),
        };
        plan.draw_faults();
        plan
    }

    /// Without faults, of the size that the speed is measured with.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        (plan.nodes, plan.groups, plan.run_us) = (3, 8, 60_000_000);
        plan.raft = kontiki_raft::Config::default();
        plan.cache_bytes_max = 64 << 20;
        plan.log_retain_bytes = 64 << 20;
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
            think_us: 40_000,
            keys: 100,
            value_bytes: 128,
            reads: 300,
            deletes: 100,
            batches: 0,
            patience_us: 2_000_000,
        };
        plan.faults.clear();
        plan
    }

    fn draw_faults(&mut self) {
        const KINDS: u64 = 12;
        let mut rng = Rng::stream(self.seed, "faults");
        let on = rng.next() & rng.next() | 1 << rng.below(KINDS);
        if rng.chance(50) {
            return; // Quiet seeds show what goes wrong by itself.
        }
        for kind in (0..KINDS).filter(|kind| on & (1 << kind) != 0) {
            let mean_us = rng.scale(300_000, 10_000_000);
            let mut at_us = rng.below(3_000_000);
            while at_us < self.run_us {
                if let Some(what) = self.draw_fault(kind, &mut rng) {
                    self.faults.push(Fault { at_us, what });
                }
                at_us += rng.between(mean_us / 4, 2 * mean_us);
            }
        }
        self.faults.sort_by_key(|fault| fault.at_us);
    }

    fn draw_fault(&self, kind: u64, rng: &mut Rng) -> Option<What> {
        let node = rng.between(1, self.nodes);
        let other = (node + rng.below(self.nodes.max(2) - 1)) % self.nodes + 1;
        let long = rng.scale(10_000, 4_000_000);
        let alone = self.nodes == 1;
        Some(match kind {
            0 => What::Kill { node, down_us: long, power: false },
            1 => What::Kill { node, down_us: long, power: true },
            2 => What::Blackout { down_us: long },
            3 => What::Pause { node, us: rng.scale(1_000, 4_000_000) },
            4 if !alone => {
                let side = 1 + rng.below((1 << self.nodes) - 2);
                What::Partition { side, us: rng.scale(50_000, 8_000_000), one_way: rng.chance(300) }
            }
            5 if !alone => What::Cut {
                from: node,
                to: other,
                us: rng.scale(10_000, 14_000_000),
                both: rng.chance(500),
            },
            6 if !alone => {
                let by_us = rng.scale(1_000, 1_000_000);
                What::Slow { from: node, to: other, by_us, us: long }
            }
            7 if !alone => What::Reset { a: node, b: other, half: rng.chance(300) },
            8 => What::Transfer { group: rng.between(1, self.groups), to: node },
            9 => What::Stall { node, us: rng.scale(10_000, 3_000_000) },
            // A lease rests on clocks of about the same rate, and on time that does not leap.
            10 if rng.chance(500) || self.raft.lease_percent > 0 => {
                What::Rate { node, ppm: rng.between(900_000, 1_100_000) }
            }
            10 => What::Jump { node, us: rng.scale(1_000, 30_000_000) },
            11 => What::SyncError { node, down_us: long },
            _ => return None,
        })
    }
}

fn size(rng: &mut Rng, low: u64, high: u64) -> u32 {
    u32::try_from(rng.scale(low, high)).expect("limits are small")
}

fn small(rng: &mut Rng, low: u64, high: u64) -> usize {
    usize::try_from(rng.scale(low, high)).expect("limits are small")
}
