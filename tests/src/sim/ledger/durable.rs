//! What is durable: batches as they are written, synced, lost in a crash, and found again.
//!
//! Deliberately absent: what a replica says about it.

use kontiki::Block;
use kontiki::store::LogBatch;
use kontiki_raft::{HardState, Index, Position, Raft, ReplicaId, Term};

use super::{Ledger, Node, Pending, Replica, Span, place, span_of};
use crate::sim::marks::Mark;
use crate::sim::trace::What;

impl Ledger {
    /// A batch goes to the disk of `node`, whose state database durably holds what `applied` says of a group.
    pub fn written(
        &mut self,
        node: u64,
        number: u64,
        batch: &LogBatch,
        applied: impl Fn(u64) -> u64,
    ) {
        self.trace.note(node, What::Written, 0, [number, batch.parts.len() as u64, 0]);
        if batch.parts.len() > 1 {
            self.marks.set(Mark::Merged);
        }
        let mut blocks = Vec::new();
        for part in &batch.parts {
            let mut rest = &part.bytes[..];
            while !rest.is_empty() {
                let Ok((block, after)) = Block::parse(rest) else {
                    self.fail(None, format!("node {node}: batch {number} holds no block"));
                    break;
                };
                rest = after;
                let (group, span) = (block.group(), span_of(&block));
                let here = (span.last, span.crc);
                let known = &mut self.groups[place(group)].blocks;
                let there = *known.entry((span.first, span.term)).or_insert(here);
                if there != here {
                    let what = format!("log matching: node {node} writes another {span:?}");
                    self.fail(Some(group), what);
                }
                blocks.push((group, span));
            }
        }
        let mut records = Vec::new();
        for (group, record) in &batch.records {
            let durable = applied(*group);
            if record.compacted.index.0 > durable {
                let what = format!(
                    "node {node}: compacted to {:?}, durably applied is {durable}",
                    record.compacted
                );
                self.fail(Some(*group), what);
            }
            records.push((*group, record.hard_state, record.compacted));
        }
        self.nodes[place(node)].pending.push_back(Pending { number, blocks, records });
    }

    /// The batches of `node` up to `number` are durable.
    pub fn durable(&mut self, node: u64, number: u64) {
        self.trace.note(node, What::Synced, 0, [number, 0, 0]);
        let Self { nodes, marks, .. } = self;
        let Node { replicas, pending } = &mut nodes[place(node)];
        while pending.front().is_some_and(|pending| pending.number <= number) {
            let Pending { blocks, records, .. } = pending.pop_front().expect("seen just now");
            for (group, span) in blocks {
                let log = &mut replicas[place(group)].log;
                let keep = log.partition_point(|known| known.first < span.first);
                if log.get(keep).is_some_and(|lost| lost.term != span.term) {
                    marks.set(Mark::Overwritten);
                }
                log.truncate(keep);
                log.push(span);
            }
            for (group, hard_state, compacted) in records {
                let replica = &mut replicas[place(group)];
                replica.durable = hard_state;
                replica.compacted = compacted;
                let dead = replica.log.partition_point(|span| span.last <= compacted.index.0);
                replica.log.drain(..dead);
            }
        }
    }

    /// The node's process is gone, and its disk has kept the batches up to `kept`.
    pub fn crashed(&mut self, node: u64, kept: u64) {
        let pending = &self.nodes[place(node)].pending;
        if pending.front().is_some_and(|first| first.number <= kept) {
            self.marks.set(Mark::CrashKeepsBatches);
        }
        if let Some(lost) = pending.back().filter(|last| last.number > kept) {
            self.marks.set(Mark::CrashLosesBatches);
            if !lost.records.is_empty() {
                self.marks.set(Mark::TermLost);
            }
        }
        self.durable(node, kept);
        let Node { replicas, pending } = &mut self.nodes[place(node)];
        pending.clear();
        for replica in replicas {
            // What was not durable may be gone: then it was never promised to anybody.
            replica.term = replica.durable.term.0;
            replica.vote = replica.durable.vote.map_or(0, ReplicaId::get);
            replica.committed = 0;
            replica.led = 0;
            replica.led_to = (0, 0);
        }
    }

    /// The replica of `group` on `node` was rebuilt from the disk.
    pub fn started(&mut self, node: u64, group: u64, raft: &Raft) {
        let status = raft.status();
        let replica = &self.nodes[place(node)].replicas[place(group)];
        let hard_state = HardState { term: status.term, vote: status.vote };
        let (durable, last) = (replica.durable, replica.log.last().copied());
        let compacted = replica.compacted;
        if compacted.index.0 > 0 {
            self.marks.set(Mark::RestartCompacted);
        }
        if hard_state != durable || status.compacted != compacted {
            let what = format!(
                "node {node} comes back with {hard_state:?} and {:?} instead of {durable:?} and \
                 {compacted:?}",
                status.compacted
            );
            self.fail(Some(group), what);
        }
        let found = status.last;
        let expected = last
            .map_or(compacted, |span| Position { term: Term(span.term), index: Index(span.last) });
        if found != expected {
            let what = format!("node {node} comes back with {found:?} instead of {expected:?}");
            self.fail(Some(group), what);
        }
    }
}

impl Replica {
    /// The end of what is durable.
    pub(super) fn last(&self) -> Option<Position> {
        let position = |span: &Span| Position { term: Term(span.term), index: Index(span.last) };
        self.log.last().map(position)
    }

    /// Whether `position` is durable, as far as that is still known.
    pub(super) fn holds(&self, position: Position) -> bool {
        let (index, term) = (position.index.0, position.term.0);
        if index <= self.compacted.index.0 {
            return true;
        }
        let at = self.log.partition_point(|span| span.last < index);
        self.log.get(at).is_some_and(|span| span.first <= index && span.term == term)
    }
}
