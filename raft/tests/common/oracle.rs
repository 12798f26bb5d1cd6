//! Watches a group and knows what must never happen.
//!
//! The five safety properties of the Raft paper (Figure 3), the ordering rules (what must be
//! durable before a message leaves), and the promises of reads and of the log floor. It sees
//! everything at once, which no replica can.

use std::collections::BTreeMap;

use kontiki_raft::{Index, Message, MessageKind, Position, ReadId, ReadReady, ReplicaId, Term};

use super::{Entries, Entry, Node};

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Election Safety: who led each term.
    leaders: BTreeMap<Term, ReplicaId>,
    /// Log Matching: what each position holds, and which term stood before it.
    positions: BTreeMap<(Term, Index), (u64, Option<Term>)>,
    /// Leader Append-Only: the end of each leader's log when last seen.
    ends: BTreeMap<(ReplicaId, Term), Index>,
    /// State Machine Safety: what is committed, by whoever said so first.
    pub(crate) committed: BTreeMap<Index, Entry>,
    /// The commit each read must see.
    reads: BTreeMap<(ReplicaId, ReadId), Index>,
    floors: BTreeMap<ReplicaId, Index>,
    commits: BTreeMap<ReplicaId, Index>,
    /// How many elections, commits and confirmed reads it has seen.
    pub(crate) elections: u64,
    pub(crate) reads_confirmed: u64,
}

impl Oracle {
    /// Log Matching: the entries from `first` on are new in some log. If each position always has
    /// the same payload and the same term before it, then logs that agree on one position agree
    /// on everything before it.
    pub(crate) fn on_log(&mut self, log: &Entries, first: Index) {
        for index in (first.0..=log.last().0).map(Index) {
            let entry = log.get(index).unwrap();
            let before = match log.get(index.prev()) {
                Some(before) => Some(before.term),
                None => (log.start.index == index.prev()).then_some(log.start.term),
            };
            let known =
                self.positions.entry((entry.term, index)).or_insert((entry.payload, before));
            assert_eq!(*known, (entry.payload, before), "log matching at {index:?}");
        }
    }

    pub(crate) fn on_state(&mut self, nodes: &[Node], changed: usize) {
        let node = &nodes[changed];
        let raft = node.raft.as_ref().expect("the replica runs");
        if raft.is_leader() {
            self.on_leader(nodes, node);
        }
        self.on_committed(nodes, node);

        let floor = raft.log_floor();
        let before = self.floors.insert(node.id, floor);
        assert!(before.is_none_or(|before| before <= floor), "floor moved back");
        let everywhere = |node: &Node| node.disk.log.last() >= floor;
        assert!(nodes.iter().all(everywhere), "floor {floor:?} is not on every disk");
    }

    fn on_leader(&mut self, nodes: &[Node], node: &Node) {
        let raft = node.raft.as_ref().expect("the replica runs");
        let term = raft.term();
        let first_seen = self.leaders.insert(term, node.id);
        assert!(first_seen.is_none_or(|id| id == node.id), "two leaders in {term:?}");
        if first_seen.is_none() {
            self.elections += 1;
            // Leader Completeness.
            for (&index, &entry) in self.committed.range(raft.compacted().index.next()..) {
                assert_eq!(node.memory.get(index), Some(entry), "a leader lacks {index:?}");
            }
            let voters = nodes.iter().filter(|n| n.disk.hard_state.term >= term).count();
            assert!(voters > nodes.len() / 2, "elected without a durable majority");
        }
        let end = self.ends.insert((node.id, term), raft.last().index);
        assert!(end.is_none_or(|end| end <= raft.last().index), "a leader cut its own log");
    }

    fn on_committed(&mut self, nodes: &[Node], node: &Node) {
        let raft = node.raft.as_ref().expect("the replica runs");
        let commit = raft.committed();
        let from = self.commits.insert(node.id, commit).unwrap_or(Index::ZERO);
        if raft.is_leader() && commit > from {
            let term = node.memory.get(commit).unwrap().term;
            assert_eq!(term, raft.term(), "{commit:?} of an old term committed by counting");
        }
        for index in (from.0 + 1..=commit.0).map(Index) {
            let Some(entry) = node.memory.get(index) else { continue };
            if let Some(known) = self.committed.get(&index) {
                assert_eq!(*known, entry, "two entries committed at {index:?}");
                continue;
            }
            let durable = |node: &&Node| {
                node.disk.log.get(index) == Some(entry) || node.disk.log.start.index >= index
            };
            let copies = nodes.iter().filter(durable).count();
            assert!(copies > nodes.len() / 2, "{index:?} committed with {copies} durable copies");
            self.committed.insert(index, entry);
        }
    }

    /// The ordering rules: what a message rests on is on the disk of its sender.
    pub(crate) fn on_message(&self, node: &Node, message: &Message) {
        let (hard_state, log) = (node.disk.hard_state, &node.disk.log);
        let holds = |position: Position| {
            log.get(position.index).is_some_and(|entry| entry.term == position.term)
                || log.start.index >= position.index
        };
        match message.kind {
            MessageKind::Vote { last, .. } => {
                assert_eq!((hard_state.term, hard_state.vote), (message.term, Some(node.id)));
                assert!(holds(last) && log.last() == last.index, "asks with more than it has");
            }
            MessageKind::VoteReply { granted: true } => {
                assert_eq!((hard_state.term, hard_state.vote), (message.term, Some(message.to)));
            }
            MessageKind::AppendAck { matched, .. } => {
                assert!(hard_state.term >= message.term, "acknowledged before the term is durable");
                assert!(holds(matched), "acknowledged {matched} too early");
            }
            MessageKind::PreVoteReply { granted: true } => {}
            MessageKind::PreVote { .. }
            | MessageKind::PreVoteReply { .. }
            | MessageKind::VoteReply { .. }
            | MessageKind::AppendReject { .. }
            | MessageKind::Heartbeat { .. }
            | MessageKind::HeartbeatAck { .. }
            | MessageKind::TimeoutNow { .. } => {
                assert!(hard_state.term >= message.term, "spoke before the term was durable");
            }
        }
    }

    pub(crate) fn on_read(&mut self, id: ReplicaId, read: ReadId) {
        let committed = self.committed.keys().next_back().copied().unwrap_or_default();
        self.reads.insert((id, read), committed);
    }

    pub(crate) fn on_read_ready(&mut self, id: ReplicaId, ready: ReadReady) {
        let (up_to, served) = match ready {
            ReadReady::Confirmed { up_to, index } => (up_to, Some(index)),
            ReadReady::Lost { up_to } => (up_to, None),
        };
        let waiting: Vec<_> = self.reads.range((id, ReadId(0))..=(id, up_to)).collect();
        for (_, must_see) in &waiting {
            assert!(served.is_none_or(|index| index >= **must_see), "a stale read");
        }
        self.reads_confirmed += if served.is_some() { waiting.len() as u64 } else { 0 };
        self.reads.retain(|&(reader, read), _| reader != id || read > up_to);
    }

    /// A crash ends the reads that waited at the replica, and what it remembered.
    pub(crate) fn on_crash(&mut self, id: ReplicaId) {
        self.reads.retain(|&(reader, _), _| reader != id);
        self.floors.remove(&id);
        self.commits.remove(&id);
    }

    /// Reads of the replica that have no answer yet.
    pub(crate) fn reads_waiting(&self, id: ReplicaId) -> usize {
        self.reads.keys().filter(|&&(reader, _)| reader == id).count()
    }
}
