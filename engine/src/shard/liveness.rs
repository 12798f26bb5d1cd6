//! What the groups of a shard hear of the nodes they share: who supports whom, who is connected.
//!
//! Nodes promise support to each other once for all their groups (`crate::support`); this is where a group learns of
//! it. A follower whose leader's node is supported is bound to it and has no deadline. When that support lapses, all
//! who followed a leader there lose it, and campaign in the order of `campaigns`. A leader rests its leases on the
//! nodes that support ours, and steps down when those are too few.
//!
//! Invariants:
//! - A follower is bound before its acknowledgement leaves (`bind`, before anything is sent in a round), so whatever
//!   a leader counts on was acknowledged under a promise.
//! - A replica at rest that lacks nothing is touched by a lapse of its leader's node, and by nothing else here.
//!
//! Deliberately absent: promises, beats and their clocks. What is told here was decided once for the node.

use std::collections::VecDeque;

use kontiki_raft::{Liveness, ReplicaId, Time};

use crate::planted::{self, Bug};

use super::Shard;

/// A peer that was sent nothing for so long has received what it was sent before, as long as its connection stood.
const QUIET_US: u64 = 5_000_000;

/// Groups that are asked anew in one round, after a node came back: the others wait for the next.
const PROBES_PER_ROUND: usize = 1024;

/// Another node.
#[derive(Clone, Copy, Debug)]
struct Node {
    id: u64,
    /// Its boot epoch, as its connection says; 0 before the first.
    epoch: u64,
    connected: bool,
    /// Our node supports it.
    supported: bool,
    /// Until when it supports us.
    supports_until: Time,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Nodes {
    external: bool,
    nodes: Vec<Node>,
    /// The latest time the shard was told.
    pub(super) now: Time,
    /// Replicas that lead and are to ask their followers anew.
    probing: VecDeque<u32>,
}

impl Nodes {
    pub(super) fn new(config: &kontiki_raft::Config, now: Time) -> Self {
        let external = config.liveness == Liveness::External;
        Self { external, nodes: Vec::new(), now, probing: VecDeque::new() }
    }

    /// Whether time lives between nodes, and not in groups.
    pub(super) const fn external(&self) -> bool {
        self.external
    }

    fn node(&mut self, id: u64) -> &mut Node {
        if let Some(at) = self.nodes.iter().position(|node| node.id == id) {
            return &mut self.nodes[at];
        }
        let (connected, supported, supports_until) = (false, false, Time(0));
        self.nodes.push(Node { id, epoch: 0, connected, supported, supports_until });
        self.nodes.last_mut().expect("pushed just now")
    }

    fn get(&self, id: u64) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub(super) fn is_connected(&self, id: u64) -> bool {
        self.get(id).is_some_and(|node| node.connected)
    }

    pub(super) fn is_supported(&self, id: u64) -> bool {
        self.get(id).is_some_and(|node| node.supported)
    }

    /// Until when a node certainly supports ours.
    pub(super) fn supports_until(&self, id: Option<u64>) -> Time {
        id.and_then(|id| self.get(id)).map_or(Time(0), |node| node.supports_until)
    }

    /// Whether replicas wait to ask anew.
    pub(super) fn has_probes(&self) -> bool {
        !self.probing.is_empty()
    }
}

/// What a worker is told of nodes.
impl Shard {
    /// Input, at the start: replicas here vote for nobody before `until`, since their earlier life may have promised
    /// not to.
    pub fn hold_votes(&mut self, now: Time, until: Time) {
        self.campaigns.hold(until);
        for replica in &mut self.replicas {
            // A group with a single member has promised nothing to anybody.
            let promised = replica.raft.term().0 > 0 && replica.members.len() > 1;
            if self.nodes.external && promised {
                replica.raft.leader_supported_until(now, until);
            }
        }
    }

    /// Input: our node promises to support `node`. It is not told before.
    pub fn supported(&mut self, now: Time, node: u64) {
        self.nodes.node(node).supported = true;
        for slot in self.all_slots() {
            if self.leader_node(slot) == Some(node) {
                self.bind(slot, now);
            }
        }
    }

    /// Input: our node supports `node` no more. Whoever is led from there has no leader.
    pub fn lapsed(&mut self, now: Time, node: u64) {
        self.nodes.node(node).supported = false;
        self.lapses += 1;
        self.release_from(now, node);
    }

    fn release_from(&mut self, now: Time, node: u64) {
        for slot in self.all_slots() {
            let replica = &self.replicas[slot as usize];
            let raft = &replica.raft;
            let peer = raft.supports().or_else(|| raft.leader().filter(|_| !raft.is_leader()));
            let Some(peer) = peer.filter(|&peer| replica.node_of(peer) == Some(node)) else {
                continue;
            };
            let busy = replica.is_busy();
            if !busy && planted::has(Bug::SleeperNeverWakes) {
                continue;
            }
            self.touch(slot);
            self.replicas[slot as usize].raft.on_support_lapsed(now, peer);
            self.campaign_in_turn(slot, Some(node), busy);
        }
    }

    /// Input: `node` supports ours until `until`; under another promise than before when it is `new`, and then what
    /// its replicas have acknowledged under the last one counts for nothing.
    pub fn supported_by(&mut self, now: Time, node: u64, until: Time, new: bool) {
        if new {
            for slot in self.all_slots() {
                let replica = &mut self.replicas[slot as usize];
                if replica.raft.is_leader()
                    && let Some(peer) = replica.member_on(node)
                {
                    replica.raft.on_support_gained(now, peer);
                    self.nodes.probing.push_back(slot);
                }
            }
        }
        self.nodes.node(node).supports_until = until;
    }

    /// Input: `node` does not support ours any more. Who leads with too few others steps down.
    pub fn lost(&mut self, now: Time, node: u64) {
        self.nodes.node(node).supports_until = Time(0);
        for slot in self.all_slots() {
            let replica = &self.replicas[slot as usize];
            if replica.raft.is_leader() && replica.member_on(node).is_some() {
                self.check_support(slot, now);
            }
        }
    }

    /// Input: a connection to `node` is up, which is in its boot `epoch`.
    pub fn peer_up(&mut self, now: Time, node: u64, epoch: u64) {
        self.peer_writable(node);
        let known = self.nodes.node(node);
        known.connected = true;
        let restarted = epoch > known.epoch && known.epoch > 0;
        known.epoch = known.epoch.max(epoch);
        if restarted && self.nodes.external {
            // It has forgotten what it led. What is promised to it is another matter.
            self.release_from(now, node);
        }
        self.reconnected(now, node, true);
    }

    /// Input: the connection to `node` broke. What was sent on it may be lost.
    pub fn peer_down(&mut self, now: Time, node: u64) {
        self.peer_writable(node);
        self.nodes.node(node).connected = false;
        self.reconnected(now, node, false);
    }

    fn reconnected(&mut self, now: Time, node: u64, stands: bool) {
        for slot in self.all_slots() {
            let replica = &mut self.replicas[slot as usize];
            let Some(peer) = replica.member_on(node) else { continue };
            let raft = &mut replica.raft;
            if self.nodes.external {
                if !raft.is_leader() || raft.is_even_with(now, peer, QUIET_US) {
                    continue;
                }
                self.nodes.probing.push_back(slot);
            } else {
                self.touch(slot);
            }
            let raft = &mut self.replicas[slot as usize].raft;
            if stands { raft.on_peer_up(now, peer) } else { raft.on_peer_down(now, peer) }
        }
    }
}

/// What becomes of it.
impl Shard {
    pub(super) fn all_slots(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.replicas.len()).expect("slots fit u32")
    }

    /// The other node on which the leader of a replica is.
    fn leader_node(&self, slot: u32) -> Option<u64> {
        let replica = &self.replicas[slot as usize];
        let leader = replica.raft.leader().filter(|&leader| leader != replica.raft.id())?;
        replica.node_of(leader)
    }

    /// Binds a follower to its leader if our node supports that one's.
    #[inline]
    pub(super) fn bind(&mut self, slot: u32, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        let leader: Option<ReplicaId> = replica.raft.leader();
        if leader.is_none() || leader == replica.raft.supports() || !self.nodes.external {
            return;
        }
        let node = leader.filter(|&id| id != replica.raft.id()).and_then(|id| replica.node_of(id));
        if node.is_some_and(|node| self.nodes.is_supported(node)) {
            replica.raft.leader_supported_until(now, Time::NEVER);
        }
    }

    /// Has a leader step down if too few support it.
    pub(super) fn check_support(&mut self, slot: u32, now: Time) {
        let (nodes, replica) = (&self.nodes, &mut self.replicas[slot as usize]);
        let members = &replica.members;
        let on = |id: ReplicaId| members.iter().find(|m| m.replica == id).map(|m| m.node);
        if replica.raft.would_stay(now, |peer| nodes.supports_until(on(peer))) {
            return;
        }
        self.touch(slot);
        let replica = &mut self.replicas[slot as usize];
        replica.raft.check_support(now, |_| Time(0));
        self.campaign_in_turn(slot, None, true);
    }

    /// Has those drained that are to ask their followers anew, some of them at a time.
    pub(super) fn take_probes(&mut self) {
        for _ in 0..PROBES_PER_ROUND {
            let Some(slot) = self.nodes.probing.pop_front() else { return };
            self.touch(slot);
        }
    }

    /// The index at which a read may be served at the time `now`, because nobody else can lead.
    pub(super) fn lease_read(&self, slot: u32, now: Time) -> Option<kontiki_raft::Index> {
        let replica = &self.replicas[slot as usize];
        let until = |peer| self.nodes.supports_until(replica.node_of(peer));
        if self.nodes.external { replica.raft.lease_read(now, until) } else { None }
    }

    /// Until when replica `slot` leads for certain, by the support of nodes; `Time(0)` when it does not.
    #[must_use]
    pub fn lease_until(&self, slot: u32) -> Time {
        let replica = &self.replicas[slot as usize];
        replica.raft.lease_until(|peer| self.nodes.supports_until(replica.node_of(peer)))
    }

    /// How often our node has let others down, as far as this shard was told.
    #[must_use]
    pub fn lapses(&self) -> u64 {
        self.lapses
    }
}
