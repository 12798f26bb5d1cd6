//! What a step asks of the shell: bytes to persist, blocks to apply, answers to give.
//!
//! Order is the contract. Messages go straight into the peers' outboxes (see [`Links`]); a leader's appends may
//! leave before the round is written, everything else has waited for its durability inside the core.

use std::sync::Arc;

use kontiki_net::{Beat, Outbox};
use kontiki_raft::Index;

use crate::error::RequestError;
pub use crate::log::rounds::Retention;
use crate::machine::Answers;
use crate::store::GroupRecord;
use crate::submission::RunPart;
use crate::ticket::Completion;

/// The way to the peers: the transport in the engine, a queue in the simulator.
pub trait Links {
    /// What is to be sent to `node`; `None` while no connection is up.
    fn outbox(&mut self, node: u64) -> Option<&mut Outbox>;
}

/// What one round must make durable, in one piece.
#[derive(Debug)]
pub struct RoundWrite {
    /// The round's sequence, to come back with [`super::Shard::persisted`].
    pub seq: u64,
    /// The round's blocks, back to back; shared with the outboxes.
    pub bytes: Arc<Vec<u8>>,
    /// How many blocks these are.
    pub blocks: u32,
    /// Groups whose hard state or compacted position changed.
    pub records: Vec<(u64, Arc<GroupRecord>)>,
    /// What this shard needs of the log from now on, when that changed.
    pub retention: Option<Retention>,
}

/// A block that is committed and persisted here, to be applied.
#[derive(Debug)]
pub struct Committed {
    /// The replica, as a place in the shard.
    pub slot: u32,
    /// The round's bytes, and the block in them.
    pub buffer: Arc<Vec<u8>>,
    /// Where the block is.
    pub range: std::ops::Range<usize>,
    /// Whether it was read back from the log, so that its checksum is still to be verified.
    pub read_back: bool,
}

/// What the steps of one round ask for. Drained by the shell, which keeps the buffers.
#[derive(Debug, Default)]
pub struct Output {
    /// To be applied, in order.
    pub committed: Vec<Committed>,
    /// To be answered.
    pub completions: Vec<Completion>,
    /// What other nodes said of themselves.
    pub beats: Vec<(u64, Beat)>,
    /// Rounds to be read back from the log: sequence, batch number, part.
    pub loads: Vec<(u64, u64, u16)>,
    /// Groups whose leader, as known here, changed: group, node.
    pub leaders: Vec<(u64, Option<u64>)>,
    /// What happened, for the counters.
    pub counts: Counts,
}

/// What the steps of one round did; added to the store's counters and set back by the shell.
#[derive(Debug, Default)]
pub struct Counts {
    /// Blocks sealed as a leader.
    pub blocks_sealed: u64,
    /// Entries accepted from clients.
    pub entries_proposed: u64,
    /// Their payload.
    pub payload_bytes: u64,
    /// Blocks taken as a follower.
    pub blocks_received: u64,
    /// Reads permitted.
    pub reads: u64,
    /// Those of them that a lease permitted, without asking anybody.
    pub lease_reads: u64,
    /// Requests refused.
    pub refused: u64,
    /// Messages pushed into outboxes.
    pub messages_out: u64,
    /// Messages taken from frames.
    pub messages_in: u64,
    /// Elections won.
    pub elections: u64,
    /// Groups compacted.
    pub compactions: u64,
}

impl Output {
    /// Answers a part of a run with an error.
    pub(super) fn refuse(&mut self, part: RunPart, error: RequestError) {
        self.counts.refused += u64::from(part.count);
        self.completions.push(Completion { part, result: Err(error), answers: None });
    }

    /// Answers a part of a run with success.
    pub(super) fn complete(
        &mut self,
        part: RunPart,
        index: Index,
        answers: Option<(Arc<Answers>, u32)>,
    ) {
        self.completions.push(Completion { part, result: Ok(index), answers });
    }
}
