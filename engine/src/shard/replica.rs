//! One replica: its consensus state, where its blocks are, and who waits for it.

use std::sync::Arc;

use kontiki_raft::{Index, Raft, ReplicaId};

use crate::log::index::BlockIndex;
use crate::store::GroupRecord;

use super::proposals::Proposals;
use super::reads::Reads;

/// A member of a group and the node it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member.
    pub replica: ReplicaId,
    /// Its node.
    pub node: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) group: u64,
    pub(super) raft: Raft,
    pub(super) log: BlockIndex,
    /// Shared by all groups with the same members.
    pub(super) members: Arc<[Member]>,
    /// What recovery needs to know; hard state and compacted position are brought up to date when it is written.
    /// Apart from the rest, since it is touched by elections and compactions only, and shared with the writer
    /// rather than copied for it.
    pub(super) record: Arc<GroupRecord>,
    pub(super) proposals: Proposals,
    pub(super) reads: Reads,
    /// What the machine has applied.
    pub(super) applied: Index,
    /// Committed and taken from the core, not yet handed to the machine: first and last.
    pub(super) to_apply: Option<(Index, Index)>,
    /// The commit that was seen last, to notice when it moves.
    pub(super) committed_seen: Index,
    pub(super) leader_seen: Option<ReplicaId>,
    /// The term in which this replica leads.
    pub(super) led: Option<kontiki_raft::Term>,
    /// In the shard's list of replicas to drain.
    pub(super) ready: bool,
    /// In the shard's list of groups whose followers were not told the newest commit.
    pub(super) owed: bool,
    /// In the shard's list of replicas whose proposals wait for the disk.
    pub(super) held: bool,
    /// In the shard's list of replicas that wait for the machine.
    pub(super) stalled: bool,
    /// In the shard's list of replicas that wait for an outbox: a bit per member.
    pub(super) blocked: u8,
    /// When the wheel of deadlines will look at this replica.
    pub(super) armed: Option<kontiki_raft::Time>,
}

impl Replica {
    /// The node of member `replica`.
    pub(super) fn node_of(&self, replica: ReplicaId) -> Option<u64> {
        self.members.iter().find(|m| m.replica == replica).map(|m| m.node)
    }

    /// The member on `node`.
    pub(super) fn member_on(&self, node: u64) -> Option<ReplicaId> {
        self.members.iter().find(|m| m.node == node).map(|m| m.replica)
    }
}
