//! One replica: its consensus state, where its blocks are, and what it has under way.
//!
//! Most replicas of a store have nothing to do at a given moment, so a replica is in two parts. What it must
//! always know is here and small. What it needs while something is under way (requests, places in the shard's
//! lists, what was last seen of the core) is its [`Active`] part, which is made when something happens to it
//! and given up when nothing has for a while and nothing is left to do: then it is *asleep*.
//!
//! Invariant: the active part is made before the core hears of what happens, so that what is noted in it as seen
//! is what was true before (`Shard::touch` goes first).

use std::ops::Deref;
use std::sync::Arc;

use kontiki_raft::{Index, Raft, ReplicaId, Term, Time};

use crate::log::index::BlockIndex;

use super::campaigns::Campaign;
use super::proposals::Proposals;
use super::reads::Reads;
use super::timers::Armed;

/// A member of a group and the node it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member.
    pub replica: ReplicaId,
    /// Its node.
    pub node: u64,
}

/// The members of a group, behind a pointer of one word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Members(pub(super) Box<[Member]>);

impl Deref for Members {
    type Target = [Member];

    fn deref(&self) -> &[Member] {
        &self.0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) group: u64,
    pub(super) raft: Raft,
    pub(super) log: BlockIndex,
    /// Shared by all groups with the same members.
    pub(super) members: Arc<Members>,
    /// When the wheel of deadlines will look at this replica.
    pub(super) armed: Armed,
    /// Where it stands in the shard's queue of campaigns.
    pub(super) campaign: Campaign,
    active: Option<Box<Active>>,
}

/// All that a sleeping replica takes, but for what a leader knows of its peers: it is multiplied by a million.
const _: () = assert!(size_of::<Replica>() <= size_of::<Raft>() + 40);

/// What a replica needs while something is under way.
#[derive(Debug)]
pub(super) struct Active {
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
    pub(super) led: Option<Term>,
    /// Something happened to it since the last look for replicas that may sleep.
    pub(super) touched: bool,
    /// Since when its campaign is under way, when one is.
    pub(super) campaigns_since: Time,
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
}

impl Replica {
    /// A replica that sleeps: the machine has applied what the core starts with as applied.
    pub(super) fn new(group: u64, raft: Raft, log: BlockIndex, members: Arc<Members>) -> Self {
        Self {
            group,
            raft,
            log,
            members,
            armed: Armed::NOT,
            campaign: Campaign::None,
            active: None,
        }
    }

    /// The node of member `replica`.
    pub(super) fn node_of(&self, replica: ReplicaId) -> Option<u64> {
        node_of(&self.members, replica)
    }

    /// The member on `node`.
    pub(super) fn member_on(&self, node: u64) -> Option<ReplicaId> {
        self.members.iter().find(|m| m.node == node).map(|m| m.replica)
    }

    /// Makes the active part, before anything happens to a replica that sleeps; true when it did.
    #[inline]
    pub(super) fn wake(&mut self) -> bool {
        if self.active.is_some() {
            return false;
        }
        self.active = Some(Box::new(Active::new(&self.raft)));
        true
    }

    /// The active part, when there is one.
    pub(super) fn active(&self) -> Option<&Active> {
        self.active.as_deref()
    }

    /// The active part of a replica that something happened to.
    #[inline]
    pub(super) fn awake(&mut self) -> &mut Active {
        self.parts().1
    }

    /// The replica without its active part, as far as that is needed together, and the active part.
    #[inline]
    pub(super) fn parts(&mut self) -> (Core<'_>, &mut Active) {
        let Self { group, raft, log, members, active, .. } = self;
        let active = active.as_deref_mut().expect("who is touched is awake until it has slept");
        (Core { group: *group, raft, log, members }, active)
    }

    /// Whether something is or was a moment ago under way.
    pub(super) const fn is_busy(&self) -> bool {
        self.active.is_some()
    }

    /// What the machine has applied.
    pub(super) fn applied(&self) -> Index {
        self.active().map_or_else(|| self.raft.status().applied, |active| active.applied)
    }

    /// Whether nothing happened to it since the last look for those that may sleep.
    pub(super) fn is_quiet(&self) -> bool {
        self.active().is_some_and(|active| !active.touched)
    }

    /// Gives the active part up, unless something was or is under way. True when the replica sleeps now.
    pub(super) fn try_sleep(&mut self) -> bool {
        let Some(active) = self.active.as_deref_mut() else { return true };
        let recent = std::mem::replace(&mut active.touched, false);
        let campaigns = matches!(self.campaign, Campaign::Running(_));
        if recent || campaigns || !active.is_idle(&self.raft) {
            return false;
        }
        self.active = None;
        true
    }
}

/// What of a replica is used beside its active part.
pub(super) struct Core<'a> {
    pub(super) group: u64,
    pub(super) raft: &'a mut Raft,
    pub(super) log: &'a mut BlockIndex,
    pub(super) members: &'a Members,
}

impl Core<'_> {
    /// The node of member `replica`.
    pub(super) fn node_of(&self, replica: ReplicaId) -> Option<u64> {
        node_of(self.members, replica)
    }
}

fn node_of(members: &[Member], replica: ReplicaId) -> Option<u64> {
    members.iter().find(|m| m.replica == replica).map(|m| m.node)
}

impl Active {
    fn new(raft: &Raft) -> Self {
        Self {
            proposals: Proposals::default(),
            reads: Reads::default(),
            applied: raft.status().applied,
            to_apply: None,
            committed_seen: raft.committed(),
            leader_seen: raft.leader(),
            led: raft.is_leader().then(|| raft.term()),
            touched: true,
            campaigns_since: Time(0),
            ready: false,
            owed: false,
            held: false,
            stalled: false,
            blocked: 0,
        }
    }

    /// Whether a new active part would say the same.
    fn is_idle(&self, raft: &Raft) -> bool {
        let listed = self.ready || self.owed || self.held || self.stalled || self.blocked != 0;
        let waited_for = !self.proposals.is_empty() || !self.reads.is_empty();
        let under_way = self.to_apply.is_some() || self.applied != raft.committed();
        let unseen = self.committed_seen != raft.committed()
            || self.leader_seen != raft.leader()
            || self.led != raft.is_leader().then(|| raft.term());
        !listed && !waited_for && !under_way && !unseen
    }
}
