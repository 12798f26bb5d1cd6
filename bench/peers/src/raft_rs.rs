//! TiKV's `raft` 0.7 (raft-rs): a `RawNode` per node, with the fast paths that its docs name.
//!
//! - Entries are rust-protobuf objects whose data is a `Bytes`: one buffer per batch, which every
//!   copy of an entry shares. A batch is proposed by one `MsgPropose` with all of its entries,
//!   which costs a quarter to a third less than a `propose` for each; a single payload by `propose`,
//!   which is the faster way for one.
//! - `advance_append`, messages sent before the leader's own write, `batch_append`, no empty
//!   appends for the commit alone (`skip_bcast_commit`), no limits on sizes, no logging.
//! - The storage is a plain deque that takes the entries of a `Ready` as they are; `MemStorage`
//!   would clone them and lock.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::{
    Config, Error, GetEntriesContext, RaftState, RawNode, StateRole, Storage, StorageError,
};

use crate::work::{Batch, KEEP, Machine, System};

const LEADER: usize = 0;

/// A log in memory.
struct Log {
    hard_state: HardState,
    conf_state: ConfState,
    entries: VecDeque<Entry>,
    /// Index and term of the entry before the first.
    compacted: (u64, u64),
}

impl Log {
    /// Takes entries, which replace what is there from the first of them on.
    fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        let kept = first.index - self.compacted.0 - 1;
        self.entries.truncate(usize::try_from(kept).expect("a short log"));
        self.entries.extend(entries);
    }

    fn compact(&mut self, through: u64) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.index <= through) {
            self.compacted = (entry.index, entry.term);
            self.entries.pop_front();
        }
    }

    fn at(&self, index: u64) -> raft::Result<usize> {
        let at = index.checked_sub(self.compacted.0 + 1);
        at.and_then(|at| usize::try_from(at).ok()).ok_or(Error::Store(StorageError::Compacted))
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        _max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        // No limit is ever configured, so all that is asked for is returned.
        Ok(self.entries.range(self.at(low)?..self.at(high)?).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.compacted.0 {
            return Ok(self.compacted.1);
        }
        let entry = self.entries.get(self.at(index)?);
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.compacted.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.compacted.0 + self.entries.len() as u64)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // Nobody falls behind what is kept.
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

struct Node {
    raw: RawNode<Log>,
    machine: Machine,
    applied: u64,
}

/// See the module.
pub struct RaftRs {
    nodes: [Node; 3],
    /// A bit per node that had an input since its last `Ready`.
    touched: u8,
}

impl RaftRs {
    /// A group whose first node leads.
    pub fn new() -> Self {
        let mut system = Self { nodes: [1, 2, 3].map(Node::new), touched: 0 };
        system.nodes[LEADER].raw.campaign().expect("a voter may campaign");
        system.run_from(LEADER);
        assert_eq!(system.nodes[LEADER].raw.raft.state, StateRole::Leader);
        system
    }

    /// Handles the nodes' `Ready`s in turn, until there are no more. A message is stepped into its
    /// receiver at once, and everything stepped since a node's last turn is one `Ready`.
    fn run_from(&mut self, first: usize) {
        let mut slot = first;
        self.touched |= 1 << first;
        while self.touched != 0 {
            if self.touched & (1 << slot) != 0 {
                self.touched &= !(1 << slot);
                self.ready(slot);
            }
            slot = if slot == 2 { 0 } else { slot + 1 };
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = usize::try_from(message.to - 1).expect("three nodes");
            self.nodes[to].raw.step(message).expect("a member's message");
            self.touched |= 1 << to;
        }
    }

    /// Does everything that the node asks for, as the crate's page describes it.
    fn ready(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if !node.raw.has_ready() {
            return;
        }
        let mut ready = node.raw.ready();
        self.send(ready.take_messages());
        let node = &mut self.nodes[slot];
        node.apply(ready.take_committed_entries());
        let entries = ready.take_entries();
        node.raw.mut_store().append(entries);
        if let Some(hard_state) = ready.hs() {
            node.raw.mut_store().hard_state = hard_state.clone();
        }
        self.send(ready.take_persisted_messages());
        let node = &mut self.nodes[slot];
        let mut light = node.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            node.raw.mut_store().hard_state.commit = commit;
        }
        node.apply(light.take_committed_entries());
        node.raw.advance_apply();
        if node.raw.store().entries.len() as u64 > KEEP {
            node.raw.mut_store().compact(node.applied);
        }
        self.send(light.take_messages());
    }
}

impl Node {
    fn new(id: u64) -> Self {
        let config = Config {
            id,
            election_tick: 10,
            heartbeat_tick: 3,
            max_size_per_msg: u64::MAX,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            skip_bcast_commit: true,
            batch_append: true,
            ..Config::default()
        };
        let log = Log {
            hard_state: HardState::default(),
            conf_state: ConfState::from((vec![1, 2, 3], vec![])),
            entries: VecDeque::new(),
            compacted: (0, 0),
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, log, &logger).expect("a valid configuration");
        Self { raw, machine: Machine::default(), applied: 0 }
    }

    /// Proposes a single payload as such, and several in one message: the fastest way for each.
    fn propose(&mut self, batch: Batch<'_>) {
        if batch.len() == 1 {
            let proposed = self.raw.propose(Vec::new(), batch.bytes().to_vec());
            return proposed.expect("it leads");
        }
        let bytes = Bytes::copy_from_slice(batch.bytes());
        let entry = |at: usize| Entry {
            data: bytes.slice(at * batch.size()..(at + 1) * batch.size()),
            ..Entry::default()
        };
        let mut message = Message { from: self.raw.raft.id, ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.entries = (0..batch.len()).map(entry).collect::<Vec<_>>().into();
        self.raw.step(message).expect("it leads");
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            // The entry that opens a term has no data.
            if !entry.data.is_empty() {
                self.machine.apply(&entry.data);
            }
            self.applied = entry.index;
        }
    }
}

impl System for RaftRs {
    fn commit_batch(&mut self, batch: Batch<'_>) {
        let leader = &mut self.nodes[LEADER];
        let before = leader.machine.entries;
        leader.propose(batch);
        self.run_from(LEADER);
        assert_eq!(self.nodes[LEADER].machine.entries, before + batch.len() as u64, "applied");
    }

    fn finish(&mut self) -> [Machine; 3] {
        self.nodes[LEADER].raw.ping();
        self.run_from(LEADER);
        [0, 1, 2].map(|slot| self.nodes[slot].machine)
    }
}
