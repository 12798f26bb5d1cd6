//! What an operator gets to see of a node and its groups: plain data, ready for JSON.
//!
//! Indexes and terms are plain numbers here, since these values leave the process.

use serde::{Deserialize, Serialize};

use crate::support::PairStatus;

/// One replica as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group's id.
    pub group: u64,
    /// The node that reports.
    pub node: u64,
    /// This replica's id.
    pub replica: u64,
    /// `follower`, `pre-candidate`, `candidate` or `leader`.
    pub role: String,
    /// The current term.
    pub term: u64,
    /// The node that leads, when known here.
    pub leader: Option<u64>,
    /// The log starts after this index.
    pub compacted: u64,
    /// Applied to the state machine.
    pub applied: u64,
    /// Known to be committed.
    pub committed: u64,
    /// Durable in this replica's log.
    pub persisted: u64,
    /// The end of the log.
    pub last: u64,
    /// Matched on every member, as far as is known here.
    pub floor: u64,
    /// Entries proposed here and not yet answered.
    pub waiting: u64,
    /// All members; what the leader knows of each, when this replica leads.
    pub members: Vec<MemberStatus>,
}

/// One member of a group, as the reporting replica sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member's replica id.
    pub replica: u64,
    /// The node it is on.
    pub node: u64,
    /// What the leader knows of it; absent on followers.
    pub progress: Option<ProgressStatus>,
}

/// A leader's picture of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressStatus {
    /// `probe`, `replicate`, `snapshot`, or `self`.
    pub state: String,
    /// Known to be durable there and equal to the leader's log.
    pub matched: u64,
    /// The next index to send.
    pub next: u64,
    /// Bytes sent and not yet acknowledged.
    pub inflight_bytes: u64,
    /// Entries it lacks: the leader's last index less `matched`.
    pub lag: u64,
    /// Whether it was heard of within the last election timeout.
    pub active: bool,
}

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The cluster's id, in hexadecimal.
    pub cluster: String,
    /// The node's id.
    pub node: u64,
    /// The store's id, in hexadecimal.
    pub store: String,
    /// How often this store has been opened.
    pub boot_epoch: u64,
    /// The address its peers reach it at.
    pub listen: String,
    /// Its peers.
    pub peers: Vec<PeerStatus>,
    /// What this node and each other promise each other; empty when groups watch themselves.
    #[serde(default)]
    pub pairs: Vec<PairStatus>,
    /// Replicas on this store.
    pub groups: u64,
    /// Replicas that lead.
    pub leading: u64,
    /// Replicas that know no leader.
    pub leaderless: u64,
    /// Replicas that have something under way, or had a moment ago; the others sleep.
    #[serde(default)]
    pub awake: u64,
    /// Campaigns under way.
    #[serde(default)]
    pub campaigns: u64,
}

/// A peer of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its node id.
    pub node: u64,
    /// Its address.
    pub address: String,
    /// Whether a connection to it is up, for every worker.
    pub connected: bool,
    /// Why the last connection to it ended or was refused, while none is up.
    pub reason: Option<String>,
}
