//! Everything an embedder can tune, with its default, its range, and one check for all of it.
//!
//! Invariant: past [`Config::validate`] no other code checks a tunable again.
//! Deliberately absent: anything that must be equal on all nodes but is not checked in the handshake.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kontiki_raft::Liveness;

use crate::error::{ConfigError, Fatal};
use crate::range::{RangeBounds, split_evenly};
use crate::support::SupportConfig;

/// How far a write travels before it counts as persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// `fdatasync` before anything is acknowledged: survives a power cut. The default, and the only safe choice.
    #[default]
    Fsync,
    /// Handed to the operating system: survives a crash of the process, not of the machine.
    Os,
    /// Kept in memory: survives nothing. For measuring what the disk costs.
    None,
}

/// The tunables of one store; see each field for unit, range and default.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store's directory (created when absent).
    pub dir: PathBuf,
    /// Where the witness of the last synced batch lives; best on another device. Default: `dir/witness`.
    pub witness_dir: Option<PathBuf>,
    /// The cluster's id, equal on all nodes.
    pub cluster_id: u128,
    /// This node's id; not zero.
    pub node_id: u64,
    /// Where this node listens for its peers. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// A listener that is bound already, to be used instead of `listen`.
    pub listener: Option<Arc<TcpListener>>,
    /// The peers: node id and address, without this node.
    pub peers: Vec<(u64, SocketAddr)>,
    /// Accept peers off loopback without mutual TLS.
    pub insecure: bool,
    /// How far a write goes before it is acknowledged.
    pub durability: Durability,
    /// Worker threads (shards); equal on all nodes. 1 to 64; default 1 up to 4 cores, then cores / 4.
    pub workers: usize,
    /// Where the synced write happens.
    pub log_writer: LogWriter,
    /// Raft's timing and windows. By default nodes support each other, once for all their groups
    /// ([external](kontiki_raft::Liveness::External)); all nodes must agree on that.
    pub raft: kontiki_raft::Config,
    /// How often nodes beat, and how long they promise to support each other. Best equal on all nodes.
    pub support: SupportConfig,
    /// Groups that campaign before all others when a node is lost. Default: none.
    pub priority_groups: Vec<u64>,
    /// Bytes of requests that may wait in a shard's inbox before callers hear `Busy`. What the shard has taken and
    /// not sealed into blocks yet is bounded apart from this, at 64 MiB. Default 64 MiB.
    pub inbox_bytes_max: usize,
    /// Bytes of recent rounds kept in memory to serve followers and apply, shared by the workers; those not
    /// persisted yet are kept in any case. Default 64 MiB.
    pub cache_bytes_max: usize,
    /// Bytes that may wait to be written to one peer. Default 16 MiB.
    pub peer_queue_bytes_max: usize,
    /// About how many bytes of rounds the log holds while all members are up. A flush cycle begins when half of
    /// it, shared by the workers, was written since the last one began; the other half is for what comes while it
    /// runs. 1 MiB to 1 TiB. Default 64 MiB: below the memtable, so that most rounds are dead before RocksDB would
    /// write them a second time.
    pub log_retain_bytes: u64,
    /// The longest time between two flush cycles while the log holds anything. 100 ms to a day; default 30 s.
    pub flush_interval: Duration,
    /// The log database's memtable. Default 128 MiB.
    pub log_memtable_bytes: usize,
    /// The seed of everything random (election timeouts, back-off).
    pub seed: u64,
    /// What happens when the engine has to end.
    pub on_fatal: OnFatal,
}

/// What happens when the engine has to end: a failed sync, a failed machine, a broken assertion.
///
/// In every case the store accepts no further call.
#[derive(Clone, Default)]
pub enum OnFatal {
    /// The process is aborted, after one line on standard error. The default: a stopped replica is safe.
    #[default]
    Abort,
    /// This is called, on the thread that failed; after it the engine stops.
    Call(Arc<dyn Fn(&Fatal) + Send + Sync>),
}

impl std::fmt::Debug for OnFatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Abort => "Abort",
            Self::Call(_) => "Call",
        })
    }
}

/// Where the synced write of a round happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogWriter {
    /// In the worker when nothing could overlap with it (a lone small round), else on the writer's thread.
    #[default]
    Adaptive,
    /// In the worker whenever its order allows: no thread hop, nothing overlaps. With several workers, and while
    /// a round is with the writer's thread, that thread writes.
    Inline,
    /// Always on the writer's thread.
    Thread,
}

/// Who is in the cluster and what it serves, said once: when the stores are formatted.
///
/// Every node must be given the same; a store that exists ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The nodes; each gets a replica of each group. 1 to 7, ids not zero, no id twice.
    pub nodes: Vec<u64>,
    /// The groups and the key range that each serves, without a gap.
    pub ranges: Vec<(u64, RangeBounds)>,
}

impl Bootstrap {
    /// `count` groups, numbered from 1, over evenly split keys.
    ///
    /// # Panics
    /// When `count` is zero or over [`crate::range::RANGES_MAX`].
    #[must_use]
    pub fn groups(nodes: &[u64], count: usize) -> Self {
        Self {
            nodes: nodes.to_vec(),
            ranges: split_evenly(count, 1).expect("between 1 and RANGES_MAX groups"),
        }
    }
}

impl Config {
    /// The defaults, for a store in `dir` of node `node_id`, listening on a free loopback port.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, node_id: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            dir: dir.into(),
            witness_dir: None,
            cluster_id: 1,
            node_id,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            listener: None,
            peers: Vec::new(),
            insecure: false,
            durability: Durability::Fsync,
            workers: if cores <= 4 { 1 } else { cores / 4 },
            log_writer: LogWriter::Adaptive,
            raft: kontiki_raft::Config { liveness: Liveness::External, ..Default::default() },
            support: SupportConfig::default(),
            priority_groups: Vec::new(),
            inbox_bytes_max: 64 << 20,
            cache_bytes_max: 64 << 20,
            peer_queue_bytes_max: 16 << 20,
            log_retain_bytes: 64 << 20,
            flush_interval: Duration::from_secs(30),
            log_memtable_bytes: 128 << 20,
            seed: node_id,
            on_fatal: OnFatal::Abort,
        }
    }

    /// Checks every limit.
    ///
    /// # Errors
    /// The first field that is out of range, and why.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, why: &str| Err(ConfigError { field, why: why.to_owned() });
        let between = |field, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(ConfigError { field, why: format!("{value} is not between {min} and {max}") })
        };
        if self.node_id == 0 {
            return refuse("node_id", "must not be zero");
        }
        if self.peers.iter().any(|&(node, _)| node == 0 || node == self.node_id) {
            return refuse("peers", "a peer's id must not be zero nor this node's own");
        }
        let mut ids: Vec<u64> = self.peers.iter().map(|&(node, _)| node).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != self.peers.len() {
            return refuse("peers", "a node id appears twice");
        }
        between("peers", self.peers.len() as u64, 0, 6)?;
        between("workers", self.workers as u64, 1, 64)?;
        between("inbox_bytes_max", self.inbox_bytes_max as u64, 1 << 20, 16 << 30)?;
        between("cache_bytes_max", self.cache_bytes_max as u64, 1 << 20, 64 << 30)?;
        between("peer_queue_bytes_max", self.peer_queue_bytes_max as u64, 16 << 20, 1 << 30)?;
        between("log_retain_bytes", self.log_retain_bytes, 1 << 20, 1 << 40)?;
        between("log_memtable_bytes", self.log_memtable_bytes as u64, 1 << 20, 16 << 30)?;
        let interval = u64::try_from(self.flush_interval.as_millis()).unwrap_or(u64::MAX);
        between("flush_interval (ms)", interval, 100, 86_400_000)?;
        if self.raft.liveness == Liveness::Unchecked {
            return refuse("raft", "the engine has no use for leaders that nobody checks");
        }
        if self.raft.liveness == Liveness::External && self.raft.lease_percent > 0 {
            return refuse(
                "raft",
                "a lease rests on the support of nodes or on rounds, not on both",
            );
        }
        self.support
            .validate()
            .map_err(|e| ConfigError { field: "support", why: e.to_string() })?;
        self.raft.validate().map_err(|e| ConfigError { field: "raft", why: e.to_string() })
    }
}
