//! The end of a round: every replica that was touched is drained once, and what is to be persisted is sealed.
//!
//! The order per replica is the life of a write: notice who leads, seal proposals into a block, take what must
//! be persisted, send (appends early; what rests on durability only when the core lets it out), hand out what
//! is committed, permit reads, set the deadline.

use std::sync::Arc;

use kontiki_net::BlockSource;
use kontiki_net::{BlockKind, BlockMeta, Run, encode_block};
use kontiki_raft::{Extent, Index, MessageKind, ProposeError, Proposed};

use crate::error::RequestError;
use crate::log::index::{BlockIndex, BlockRef};
use crate::log::rounds::Rounds;
use crate::planted::{self, Bug};

use super::output::{Committed, Links, Output, RoundWrite};
use super::proposals::cost;
use super::replica::Core;
use super::{APPLY_BYTES_MAX, Building, InFlight, ROUND_BYTES_MAX, ROUNDS_SEALING_MAX, Shard};

/// The most bytes of blocks in one append; a longer log goes in several.
const APPEND_BYTES_MAX: u32 = 2 << 20;

/// Why an append cannot be made now.
#[derive(Clone, Copy)]
enum Obstacle {
    /// The outbox of the peer is full.
    Space,
    /// The next block's round has to be read back.
    Load(u64),
}

impl Shard {
    /// Ends the round: drains every replica that an input touched. What is returned must be made durable, and
    /// reported with [`Shard::persisted`], in order; it comes with messages that may leave before that.
    pub fn end_round(&mut self, links: &mut impl Links, out: &mut Output) -> Option<RoundWrite> {
        let mut ready = std::mem::take(&mut self.ready);
        for slot in ready.drain(..) {
            self.replicas[slot as usize].awake().ready = false;
            self.bind(slot, self.nodes.now);
            self.notice_leader(slot, out);
            self.note_campaign(slot);
            self.seal_proposals(slot, out);
            self.collect_persist(slot);
            self.send_appends(slot, links, out);
            self.send_messages(slot, links, out);
            self.hand_out_committed(slot, out);
            self.serve_reads(slot, out);
            self.arm(slot);
        }
        // Touched again meanwhile: there is more for the next round.
        if self.ready.is_empty() {
            self.ready = ready;
        }
        if self.owes_commits() {
            self.tell_commits(links, out);
        }
        self.handed_out = 0;
        let write = self.seal_round();
        self.rounds.evict();
        write
    }

    /// Follows the core into and out of leadership.
    fn notice_leader(&mut self, slot: u32, out: &mut Output) {
        let (mut core, active) = self.replicas[slot as usize].parts();
        let leads = core.raft.is_leader().then(|| core.raft.term());
        if active.led != leads {
            // Even re-elected at once, what an earlier term proposed may have been overwritten.
            let lost = if planted::has(Bug::LostIsRefused) {
                RequestError::NotLeader { leader: None }
            } else {
                RequestError::LeaderLost
            };
            active.proposals.lose_waiting(lost, out);
            active.led = leads;
            if leads.is_some() {
                out.counts.elections += 1;
            }
        }
        let leader = core.raft.leader();
        if leader != active.leader_seen {
            active.leader_seen = leader;
            out.leaders.push((core.group, leader.and_then(|r| core.node_of(r))));
        }
        if let Some(noop) = core.raft.take_noop() {
            let empty = std::iter::once(Run { lengths: &[0; 4], payload: &[] });
            let (round, kind) = (self.rounds.next(), BlockKind::NoOp);
            if append_block(&mut core, &mut self.building, round, noop, kind, empty) {
                self.logged.push(slot);
            }
            out.counts.blocks_sealed += 1;
        }
    }

    /// Makes one block of the queued proposals, unless enough rounds are on their way to the disk already.
    fn seal_proposals(&mut self, slot: u32, out: &mut Output) {
        let (mut core, active) = self.replicas[slot as usize].parts();
        if !active.proposals.has_queued() {
            return;
        }
        if active.led.is_some() && self.sealed_in_flight >= ROUNDS_SEALING_MAX {
            if !std::mem::replace(&mut active.held, true) {
                self.held.push(slot);
            }
            return;
        }
        if self.building.bytes.len() >= ROUND_BYTES_MAX {
            self.touch(slot);
            return;
        }
        let take = active.proposals.measure();
        match core.raft.propose(take.count, take.bytes) {
            Ok(proposed) => {
                let (round, kind) = (self.rounds.next(), BlockKind::Command);
                let runs = active.proposals.runs(take);
                if append_block(&mut core, &mut self.building, round, proposed, kind, runs) {
                    self.logged.push(slot);
                }
                active.proposals.sealed(take, proposed.first);
                self.building.sealed = true;
                self.queued_bytes -= cost(take.count, take.bytes);
                out.counts.blocks_sealed += 1;
                out.counts.entries_proposed += u64::from(take.count);
                out.counts.payload_bytes += u64::from(take.bytes);
                if active.proposals.has_queued() {
                    self.touch(slot);
                }
            }
            Err(error) => {
                let error = propose_refusal(error, &core);
                self.queued_bytes -= active.proposals.refuse_queued(error, out);
            }
        }
    }

    fn collect_persist(&mut self, slot: u32) {
        let replica = &mut self.replicas[slot as usize];
        let Some(persist) = replica.raft.take_persist() else { return };
        self.building.marks.push((slot, persist.seq));
        if persist.hard_state.is_some() {
            self.push_record(slot);
        }
    }

    /// Early sends: appends may leave before the round is written here.
    fn send_appends(&mut self, slot: u32, links: &mut impl Links, out: &mut Output) {
        let (core, active) = self.replicas[slot as usize].parts();
        if active.led.is_none() {
            return;
        }
        let Core { group, raft, log, members } = core;
        let own = raft.id();
        for (member, bit) in members.iter().zip(0u8..).filter(|(m, _)| m.replica != own) {
            let Some(outbox) = links.outbox(member.node) else { continue };
            loop {
                let sources = &mut self.sources;
                sources.clear();
                let mut obstacle = None;
                let space = u32::try_from(outbox.window_left()).unwrap_or(u32::MAX);
                let (rounds, bytes_max) = (&self.rounds, space.min(APPEND_BYTES_MAX));
                let header = raft.next_append(member.replica, |first, last, window| {
                    let limits = Limits { last, window: window.min(bytes_max), space };
                    gather(log, rounds, first, limits, sources).map_err(|o| obstacle = Some(o)).ok()
                });
                let Some(header) = header else {
                    match obstacle {
                        Some(Obstacle::Space) if active.blocked & (1 << bit) == 0 => {
                            active.blocked |= 1 << bit;
                            self.blocked.push((member.node, slot));
                        }
                        Some(Obstacle::Space) | None => {}
                        Some(Obstacle::Load(seq)) => {
                            request_load(&mut self.loading, &self.rounds, seq, slot, out);
                        }
                    }
                    break;
                };
                outbox.push_append(group, &header, sources, &self.building.bytes);
                out.counts.messages_out += 1;
            }
        }
    }

    /// Everything else that the core lets out now: acks and votes whose durability gate is open, heartbeats.
    fn send_messages(&mut self, slot: u32, links: &mut impl Links, out: &mut Output) {
        let wrong = planted::has(Bug::AckOfOtherGroup);
        let before = if wrong { self.replicas[slot.saturating_sub(1) as usize].group } else { 0 };
        let replica = &mut self.replicas[slot as usize];
        while let Some(message) = replica.raft.take_message() {
            let node = replica.node_of(message.to).expect("the core writes to members only");
            // Without a connection nobody would hear it; both ends start over when it is up.
            if let Some(outbox) = links.outbox(node) {
                let is_ack = matches!(message.kind, MessageKind::AppendAck { .. });
                let astray = is_ack && wrong;
                outbox.push_message(if astray { before } else { replica.group }, &message);
                out.counts.messages_out += 1;
            }
        }
    }

    /// Hands the blocks that are committed and persisted to the machine, in order.
    fn hand_out_committed(&mut self, slot: u32, out: &mut Output) {
        let (core, active) = self.replicas[slot as usize].parts();
        if active.led.is_some() && !active.owed && core.raft.owes_commits() {
            active.owed = true;
            self.owed.push(slot);
        }
        active.committed_seen = core.raft.committed();
        if !self.may_apply {
            if !std::mem::replace(&mut active.stalled, true) {
                self.stalled.push(slot);
            }
            return;
        }
        while let Some((first, last)) =
            active.to_apply.take().or_else(|| core.raft.take_committed())
        {
            assert!(
                last <= core.raft.committed() && last <= core.raft.persisted(),
                "group {}: {last:?} handed out beyond committed or persisted",
                core.group
            );
            for block in core.log.from(first).take_while(|block| block.first <= last.0) {
                let Some(buffer) = self.rounds.buffer(block.round) else {
                    active.to_apply = Some((Index(block.first), last));
                    request_load(&mut self.loading, &self.rounds, block.round, slot, out);
                    return;
                };
                if self.handed_out >= APPLY_BYTES_MAX {
                    active.to_apply = Some((Index(block.first), last));
                    if !std::mem::replace(&mut active.ready, true) {
                        self.ready.push(slot);
                    }
                    return;
                }
                self.handed_out += block.bytes as usize;
                out.committed.push(Committed {
                    slot,
                    buffer: Arc::clone(buffer),
                    range: block.range(),
                    read_back: self.rounds.was_read_back(block.round),
                });
            }
        }
    }

    fn serve_reads(&mut self, slot: u32, out: &mut Output) {
        let (core, active) = self.replicas[slot as usize].parts();
        while let Some(ready) = core.raft.take_reads() {
            active.reads.ready(ready, out);
        }
        if !active.reads.is_empty() {
            active.reads.serve(active.applied, out);
        }
    }

    /// In an otherwise empty round: tells followers the commits that no append has carried to them.
    fn tell_commits(&mut self, links: &mut impl Links, out: &mut Output) {
        for slot in std::mem::take(&mut self.owed) {
            let replica = &mut self.replicas[slot as usize];
            replica.awake().owed = false;
            for member in replica.members.iter() {
                let Some(outbox) = links.outbox(member.node) else { continue };
                if let Some(message) = replica.raft.commit_owed(member.replica) {
                    outbox.push_message(replica.group, &message);
                    out.counts.messages_out += 1;
                }
            }
        }
    }

    fn seal_round(&mut self) -> Option<RoundWrite> {
        if self.building.is_empty() {
            return None;
        }
        let seq = self.rounds.next();
        let next = Building {
            bytes: self.rounds.take_spare(),
            marks: self.spare_marks.pop().unwrap_or_default(),
            ..Building::default()
        };
        let done = std::mem::replace(&mut self.building, next);
        let bytes = Arc::new(self.rounds.fitted(done.bytes));
        self.rounds.push(Arc::clone(&bytes), done.blocks - done.dead);
        self.in_flight_bytes += bytes.len();
        if done.sealed {
            self.sealed_in_flight += 1;
        }
        let (marks, sealed) = (done.marks, done.sealed);
        self.in_flight.push_back(InFlight { seq, marks, bytes: bytes.len(), sealed });
        Some(RoundWrite {
            seq,
            bytes,
            blocks: done.blocks,
            records: done.records,
            retention: done.retention,
        })
    }

    /// One block of `round` is no longer part of any log.
    pub(super) fn release(rounds: &mut Rounds, building: &mut Building, round: u64) {
        if round == rounds.next() {
            building.dead += 1;
        } else {
            rounds.release(round);
        }
    }
}

/// Encodes a block into the round and enters it into the replica's log; true when that held none.
fn append_block<'a>(
    replica: &mut Core<'_>,
    building: &mut Building,
    round: u64,
    proposed: Proposed,
    kind: BlockKind,
    runs: impl Iterator<Item = Run<'a>> + Clone,
) -> bool {
    let meta =
        BlockMeta { group: replica.group, first_index: proposed.first, term: proposed.term, kind };
    let range = encode_block(&mut building.bytes, meta, runs);
    building.blocks += 1;
    let count =
        u32::try_from(proposed.last.0 - proposed.first.0 + 1).expect("a block's count is u32");
    replica.log.push(block_ref(proposed.first, count, round, range))
}

/// The entry for a block at `range` of the round being built.
pub(super) fn block_ref(
    first: Index,
    count: u32,
    round: u64,
    range: std::ops::Range<usize>,
) -> BlockRef {
    let small = |n: usize| u32::try_from(n).expect("a round stays under 4 GiB");
    BlockRef { first: first.0, round, offset: small(range.start), bytes: small(range.len()), count }
}

struct Limits {
    last: Index,
    window: u32,
    space: u32,
}

/// Lists whole blocks from `first` on for one append, within `limits`; the first one may be larger than the
/// window.
fn gather(
    log: &BlockIndex,
    rounds: &Rounds,
    first: Index,
    limits: Limits,
    sources: &mut Vec<BlockSource>,
) -> Result<Extent, Obstacle> {
    let mut extent = Extent { last: Index(0), bytes: 0 };
    for block in log.from(first).take_while(|block| block.last() <= limits.last.0) {
        let after = extent.bytes.saturating_add(block.bytes);
        if !sources.is_empty() && after > limits.window {
            break;
        }
        // The outbox's limit is soft: an append that begins below it may pass it.
        if limits.space == 0 {
            return Err(Obstacle::Space);
        }
        if block.round == rounds.next() {
            sources.push(BlockSource::Round { range: block.range() });
        } else if let Some(buffer) = rounds.buffer(block.round) {
            sources.push(BlockSource::Shared { buffer: Arc::clone(buffer), range: block.range() });
        } else if sources.is_empty() {
            return Err(Obstacle::Load(block.round));
        } else {
            break;
        }
        extent = Extent { last: Index(block.last()), bytes: after };
    }
    assert!(!sources.is_empty(), "the core asks from {first:?} on, and the log has no block there");
    Ok(extent)
}

/// Has round `seq` read back, once, and `slot` drained when it is there.
fn request_load(
    loading: &mut Vec<(u64, u32)>,
    rounds: &Rounds,
    seq: u64,
    slot: u32,
    out: &mut Output,
) {
    if !loading.iter().any(|&(loading, _)| loading == seq) {
        let place = rounds.place(seq);
        out.loads.push((seq, place.number, place.part));
    }
    if !loading.contains(&(seq, slot)) {
        loading.push((seq, slot));
    }
}

fn propose_refusal(error: ProposeError, replica: &Core<'_>) -> RequestError {
    match error {
        ProposeError::NotLeader { leader } => {
            RequestError::NotLeader { leader: leader.and_then(|r| replica.node_of(r)) }
        }
        ProposeError::Busy => RequestError::Busy,
        ProposeError::Transferring { .. } => RequestError::Transferring,
    }
}
