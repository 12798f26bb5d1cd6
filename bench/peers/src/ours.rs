//! Kontiki's core, driven as the engine's shard drives it (`engine/src/shard/drain.rs`).
//!
//! A batch becomes one block, encoded once; what a block is says the [`Carriage`]. Followers get
//! the append's header and the shared block, check it before their core hears of it, and keep it
//! as it is. Blocks are walked again when they are applied, as the engine's worker does.
//!
//! What differs from the engine: a follower shares the leader's block instead of copying it out of
//! a receive buffer, since there is no socket; the other systems share their payloads as well.
//!
//! A replica is drained once per round of inputs, and its drain asks for everything the engine's
//! does: the no-op, a membership's end, the write, the appends, the messages, requests for snapshots,
//! what is committed, reads, the deadline.

use std::collections::VecDeque;
use std::rc::Rc;

use kontiki_raft::{
    AppendHeader, AppendOutcome, Config, Extent, HardState, Index, Membership, Position, Raft,
    ReplicaId, Span, Start, Time,
};

use crate::buffers::Buffers;
use crate::carriage::Carriage;
use crate::work::{Batch, KEEP, Machine, System};

const LEADER: usize = 0;
/// Nothing here takes time.
const NOW: Time = Time(1);

/// A block in a replica's log; it begins where the one before it ends.
#[derive(Debug)]
struct Entry {
    last: Index,
    block: Rc<Vec<u8>>,
}

#[derive(Debug)]
struct Replica {
    raft: Raft,
    log: VecDeque<Entry>,
    machine: Machine,
    applied: Index,
    deadline: Option<Time>,
}

/// See the module.
#[derive(Debug)]
pub struct Ours<C> {
    replicas: [Replica; 3],
    /// A bit per replica that had an input since it was drained.
    touched: u8,
    carriage: C,
    buffers: Buffers,
    /// The runs of an append: kept to be filled again.
    spans: Vec<Span>,
}

impl<C: Carriage> Ours<C> {
    /// A group whose first replica leads.
    pub fn new() -> Self {
        let mut ours = Self {
            replicas: [0, 1, 2].map(Replica::new),
            touched: 0,
            carriage: C::default(),
            buffers: Buffers::default(),
            spans: Vec::new(),
        };
        ours.replicas[LEADER].raft.campaign(NOW);
        ours.run_from(LEADER);
        assert!(ours.replicas[LEADER].raft.is_leader(), "nobody else campaigns");
        ours
    }

    /// Drains replicas in turn, until nothing is left to say. What a drain sends is an input of its
    /// receiver at once, and all inputs of a replica since its last turn are one round.
    fn run_from(&mut self, first: usize) {
        let mut slot = first;
        self.touched |= 1 << first;
        while self.touched != 0 {
            if self.touched & (1 << slot) != 0 {
                self.touched &= !(1 << slot);
                self.drain(slot);
            }
            slot = if slot == 2 { 0 } else { slot + 1 };
        }
    }

    /// The end of a replica's round: all that its core has to say.
    fn drain(&mut self, slot: usize) {
        let replica = &mut self.replicas[slot];
        if let Some(noop) = replica.raft.take_noop() {
            let carriage = &mut self.carriage;
            let block = self.buffers.filled(|buffer| carriage.encode_noop(noop, buffer));
            replica.log.push_back(Entry { last: noop.last, block });
        }
        assert!(replica.raft.take_membership().is_none(), "memberships do not change here");
        if let Some(persist) = &replica.raft.take_persist() {
            // The block is in memory, and so is the vote: as durable as it gets here.
            replica.raft.on_persisted(persist.seq);
        }
        if replica.raft.is_leader() {
            self.send_appends(slot);
        }
        while let Some(message) = &self.replicas[slot].raft.take_message() {
            let to = slot_of(message.to);
            self.replicas[to].raft.step(NOW, message);
            self.touched |= 1 << to;
        }
        let replica = &mut self.replicas[slot];
        assert!(replica.raft.take_snapshot_request().is_none(), "nobody falls behind");
        replica.apply_committed(&self.carriage);
        while replica.raft.take_reads().is_some() {}
        replica.deadline = replica.raft.deadline();
        if replica.held() > KEEP {
            replica.compact(&mut self.buffers);
        }
    }

    /// Each append carries one block, so that what travels is the block as it lies in the log.
    fn send_appends(&mut self, slot: usize) {
        for to in (0..3).filter(|&to| to != slot) {
            loop {
                let mut block = None;
                let Replica { raft, log, .. } = &mut self.replicas[slot];
                let header = raft.next_append(replica_id(to), |first, _, _| {
                    let entry = log.get(slot_from(log, first)).expect("the log has blocks");
                    block = Some(Rc::clone(&entry.block));
                    let bytes = u32::try_from(entry.block.len()).expect("blocks are small");
                    Some(Extent { last: entry.last, bytes })
                });
                let Some(header) = &header else { break };
                self.receive_append(to, header, block);
                self.touched |= 1 << to;
            }
        }
    }

    fn receive_append(&mut self, to: usize, header: &AppendHeader, block: Option<Rc<Vec<u8>>>) {
        let bytes = block.as_deref().map_or(&[][..], Vec::as_slice);
        self.spans.clear();
        self.carriage.check(header, bytes, &mut self.spans);
        let replica = &mut self.replicas[to];
        let outcome = replica.raft.step_append(NOW, header, &self.spans, &[]);
        if let (AppendOutcome::Accepted { first_new }, Some(block)) = (outcome, block) {
            assert!(first_new == header.prev.index.next(), "one leader, so no conflict");
            replica.log.push_back(Entry { last: header.last, block });
        }
    }
}

impl Replica {
    fn new(slot: usize) -> Self {
        let start = Start {
            id: replica_id(slot),
            membership: Membership::new(&[0, 1, 2].map(replica_id)).expect("three voters"),
            changes: &[],
            hard_state: HardState::default(),
            compacted: Position::ZERO,
            spans: &[],
            committed: Index::ZERO,
            seed: slot as u64,
            now: Time(0),
        };
        let raft = Raft::new(Config::default(), start).expect("an empty replica starts");
        Self {
            raft,
            log: VecDeque::new(),
            machine: Machine::default(),
            applied: Index::ZERO,
            deadline: None,
        }
    }

    fn apply_committed(&mut self, carriage: &impl Carriage) {
        while let Some((mut first, last)) = self.raft.take_committed() {
            let blocks = self.log.range(slot_from(&self.log, first)..);
            for entry in blocks.take_while(|entry| entry.last <= last) {
                let count = entry.last.0 - first.0 + 1;
                carriage.apply(&entry.block, count, &mut self.machine);
                first = entry.last.next();
            }
            self.raft.on_applied(last);
            self.applied = last;
        }
    }

    /// Entries in the log.
    fn held(&self) -> u64 {
        self.raft.last().index.0 - self.raft.compacted().index.0
    }

    /// Drops what is applied here and held everywhere.
    #[cold]
    fn compact(&mut self, buffers: &mut Buffers) {
        let limit = self.raft.log_floor().min(self.applied);
        let mut through = None;
        while self.log.front().is_some_and(|entry| entry.last <= limit) {
            let entry = self.log.pop_front().expect("seen just now");
            through = Some(entry.last);
            buffers.release(entry.block);
        }
        if let Some(through) = through {
            self.raft.on_compacted(through);
        }
    }
}

impl<C: Carriage> System for Ours<C> {
    fn commit_batch(&mut self, batch: Batch<'_>) {
        let count = u32::try_from(batch.len()).expect("batches are small");
        let bytes = u32::try_from(batch.bytes().len()).expect("batches are small");
        let leader = &mut self.replicas[LEADER];
        let before = leader.machine.entries;
        let proposed = leader.raft.propose(count, bytes).expect("it leads, and all is committed");
        let carriage = &mut self.carriage;
        let block = self.buffers.filled(|buffer| carriage.encode(proposed, batch, buffer));
        leader.log.push_back(Entry { last: proposed.last, block });
        self.run_from(LEADER);
        assert_eq!(self.replicas[LEADER].machine.entries, before + u64::from(count), "applied");
    }

    fn finish(&mut self) -> [Machine; 3] {
        for to in [1, 2] {
            if let Some(message) = self.replicas[LEADER].raft.commit_owed(replica_id(to)) {
                self.replicas[to].raft.step(NOW, &message);
            }
            self.run_from(to);
        }
        [0, 1, 2].map(|slot| self.replicas[slot].machine)
    }
}

/// Where the block that starts at `first` lies in the log: nearly always among the last few.
fn slot_from(log: &VecDeque<Entry>, first: Index) -> usize {
    let mut at = log.len();
    while at > 0 && log[at - 1].last >= first {
        at -= 1;
    }
    at
}

fn replica_id(slot: usize) -> ReplicaId {
    ReplicaId::new(slot as u64 + 1).expect("not zero")
}

fn slot_of(id: ReplicaId) -> usize {
    usize::try_from(id.get() - 1).expect("three replicas")
}
