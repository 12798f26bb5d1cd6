//! What a seed stands for: sizes, limits, rates and the list of faults, all drawn before the first step.
//!
//! Swarm: each seed first draws which kinds of faults exist at all, then how often they come, so that a few of them meet
//! undisturbed by the rest. The faults are a list and nothing else, which is what makes them easy to shorten.
//!
//! Invariant: a plan never exceeds what the design promises to survive, except where it says so itself.
//! Deliberately absent: membership change, split and snapshots, until the engine has them.

use kontiki::LogWriter;

mod draw;
mod episodes;
mod rest;

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

/// The second mode of the network: frames come in over their streams, and again beside them, late, early and out of
/// order, as if there were datagrams. The core promises to bear that, although streams do not do it.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyPlan {
    /// How often a frame comes once more.
    pub again_per_mille: u64,
    /// How often with it comes one from long ago.
    pub old_per_mille: u64,
    /// How late at most; a short time lets it overtake what left before it.
    pub delay_us: u64,
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
    /// How many of a thousand reads are scans.
    pub scans: u64,
    /// How many of a thousand writes delete.
    pub deletes: u64,
    /// How many of a thousand writes are batches of several keys.
    pub batches: u64,
    /// How many of a thousand requests go to any node instead of the leader that the client knows.
    pub astray: u64,
    /// When a client gives up waiting.
    pub patience_us: u64,
}

/// Whom a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// This node.
    Node(u64),
    /// The node that leads this group when the fault comes; nobody when none does.
    Leader(u64),
}

/// How a node is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// It does not hear.
    Deaf,
    /// It is not heard.
    Mute,
    /// Neither.
    Isolated,
    /// It does nothing.
    Paused,
    /// Its process is gone; with it, perhaps, the power.
    Killed {
        /// See there.
        power: bool,
    },
}

/// What comes between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
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
    /// The node hears nobody, is heard by nobody, or both.
    Isolate {
        /// Which one.
        who: Who,
        /// It does not hear.
        deaf: bool,
        /// It is not heard.
        mute: bool,
        /// For how long.
        us: u64,
    },
    /// What others say to the node takes longer: they hear it in time, and it learns late what they make of it.
    Lag {
        /// Which one.
        who: Who,
        /// By so much.
        by_us: u64,
        /// For how long.
        us: u64,
    },
}

/// What goes wrong at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The process ends, and starts again after `down_us`. With `power` the machine does, and what was not synced may be
    /// lost.
    Kill {
        /// Which one.
        who: Who,
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
        who: Who,
        /// For how long.
        us: u64,
    },
    /// Something comes between nodes.
    Part(Part),
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
    /// Somebody of another cluster calls this node, and says that he is node `claims`.
    Foreign {
        /// Who is called.
        node: u64,
        /// Who the caller says he is.
        claims: u64,
    },
    /// The machine loses power, and its disk a batch that was synced, or with `flip` a bit of one. The node must notice:
    /// it does not start again. This exceeds what a single node can survive, so a plan has it once, and a majority left.
    Rot {
        /// Which one.
        node: u64,
        /// Only a bit.
        flip: bool,
    },
    /// The others cannot count on this node, and nothing else goes wrong: within `wake_us` they must know a leader for
    /// every group, and it is not this node.
    Away {
        /// Which one.
        node: u64,
        /// How it goes.
        how: Away,
        /// When the others must have leaders.
        wake_us: u64,
        /// For how long it is away.
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
    /// Workers of each node.
    pub workers: usize,
    /// How long faults and clients go on.
    pub run_us: u64,
    /// The core's tunables.
    pub raft: kontiki_raft::Config,
    /// See [`kontiki::Config::cache_bytes_max`].
    pub cache_bytes_max: usize,
    /// See [`kontiki::Config::inbox_bytes_max`].
    pub inbox_bytes_max: usize,
    /// See `KvMachine::with_overlays_of`: keys and bytes.
    pub overlay_max: (usize, usize),
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
    /// Frames that arrive more than once.
    pub copies: CopyPlan,
    /// Disks.
    pub disk: DiskPlan,
    /// Clients.
    pub load: LoadPlan,
    /// A disk gives an older state of itself back: what no engine survives, and no simulator may miss.
    pub canary: bool,
    /// The faults, in order.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Whether the disk that rots only has a bit flipped: it may be in what is dead.
    #[must_use]
    pub fn rots_by_flip(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.what, What::Rot { flip: true, .. }))
    }
}
