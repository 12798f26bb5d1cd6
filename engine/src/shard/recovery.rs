//! From the bytes of a store's log to a running shard.
//!
//! Parts are visited in the order in which they were written. A block replaces all blocks of its group at or
//! after its first index, because that is what the replica did when it wrote it. Only then does what lies at or
//! before a group's compacted position go. Holes are refused: a log without its middle is no log.

use std::fmt;
use std::sync::Arc;

use kontiki_net::Block;
use kontiki_net::DecodeError;
use kontiki_raft::{
    HardState, Index, Membership, Position, Raft, ReplicaId, Span, Start, StartError, Time,
};

use crate::ids::GroupIds;
use crate::log::index::BlockIndex;
use crate::log::rounds::{Place, Rounds};
use crate::range::RangeMap;
use crate::store::GroupRecords;

use super::campaigns::Campaigns;
use super::drain::block_ref;
use super::liveness::Nodes;
use super::replica::{Member, Members, Replica};
use super::timers::Timers;
use super::{Building, Shard, ShardConfig};

/// Why a shard could not be rebuilt from its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// A block in the log is not what it should be.
    Block {
        /// The batch and the part it is in.
        batch: (u64, u16),
        /// What is wrong.
        why: DecodeError,
    },
    /// A group's log has a hole.
    Hole {
        /// The group.
        group: u64,
        /// The index after the last one found.
        expected: u64,
        /// The index that came instead.
        found: u64,
    },
    /// The state machine is ahead of the log: entries that were durable are missing.
    AppliedPastLog {
        /// The group.
        group: u64,
        /// What the machine has applied.
        applied: u64,
        /// The end of the log.
        last: u64,
    },
    /// The state machine is behind the log's beginning: it lost what was durable.
    AppliedBeforeLog {
        /// The group.
        group: u64,
        /// What the machine has applied.
        applied: u64,
        /// What the log was compacted up to.
        compacted: u64,
    },
    /// The core refuses what was found.
    Start {
        /// The group.
        group: u64,
        /// Why.
        why: StartError,
    },
    /// No range is known for a group.
    Range {
        /// The group.
        group: u64,
    },
    /// The members of a group are not a membership.
    Membership {
        /// The group.
        group: u64,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { batch: (number, part), why } => {
                write!(f, "batch {number}, part {part}: {why}")
            }
            Self::Hole { group, expected, found } => {
                write!(f, "group {group}: the log continues at index {found}, not {expected}")
            }
            Self::AppliedPastLog { group, applied, last } => {
                write!(f, "group {group}: applied up to {applied}, but the log ends at {last}")
            }
            Self::AppliedBeforeLog { group, applied, compacted } => write!(
                f,
                "group {group}: applied up to {applied} only, but the log begins after {compacted}"
            ),
            Self::Start { group, why } => write!(f, "group {group}: {why}"),
            Self::Range { group } => write!(f, "group {group}: no range is known for it"),
            Self::Membership { group } => write!(f, "group {group}: no valid membership"),
        }
    }
}

impl std::error::Error for RecoveryError {}

/// A group as its record says, and what was found of its log so far.
#[derive(Debug)]
struct Recovering {
    group: u64,
    replica: ReplicaId,
    hard_state: HardState,
    compacted: Position,
    members: Arc<Members>,
    log: BlockIndex,
    spans: Vec<Span>,
}

/// Rebuilds one shard: feed it every part of the log in order, then [finish](Builder::finish).
#[derive(Debug)]
pub struct Builder {
    config: ShardConfig,
    ranges: Arc<RangeMap>,
    rounds: Rounds,
    slots: GroupIds,
    groups: Vec<Recovering>,
}

impl Builder {
    /// Begins with the records of the store's groups, ascending, and what they serve; those of other shards are left
    /// out.
    #[must_use]
    pub fn new(config: ShardConfig, ranges: &Arc<RangeMap>, records: &GroupRecords) -> Self {
        let mut memberships: Vec<Arc<Members>> = Vec::new();
        let mut groups = Vec::with_capacity(records.len() / config.shards + 1);
        for (group, record) in records.iter() {
            if group % config.shards as u64 != config.shard as u64 {
                continue;
            }
            groups.push(Recovering {
                group,
                replica: record.replica,
                hard_state: record.hard_state,
                compacted: record.compacted,
                members: shared(&mut memberships, &record.membership),
                log: BlockIndex::default(),
                spans: Vec::new(),
            });
        }
        Self {
            ranges: Arc::clone(ranges),
            rounds: Rounds::new(config.cache_bytes_max),
            slots: groups.iter().map(|recovering| recovering.group).collect(),
            config,
            groups,
        }
    }

    /// The groups of this shard, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        self.slots.iter().collect()
    }

    /// Takes the next part of the log.
    ///
    /// # Errors
    /// A block that is damaged or leaves a hole.
    pub fn part(&mut self, number: u64, part: u16, bytes: &[u8]) -> Result<(), RecoveryError> {
        let round = self.rounds.next();
        let mut live = 0;
        let mut dead_here = 0;
        let mut dead_before = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let wrong = |why| RecoveryError::Block { batch: (number, part), why };
            let (block, after) = Block::parse(rest).map_err(wrong)?;
            let start = bytes.len() - rest.len();
            rest = after;
            let Some(slot) = self.slots.position(block.group()) else {
                // Another shard verifies what is its own. What is nobody's may be a block with a damaged head.
                if block.group() % self.config.shards as u64 == self.config.shard as u64 {
                    block.verify().map_err(wrong)?;
                }
                continue;
            };
            block.verify().map_err(wrong)?;
            let group = &mut self.groups[slot as usize];
            live += 1;
            // The order of the log decides, also over what was compacted since: a block that is dead by now
            // may have voided a tail that would otherwise come back.
            group.log.truncate(block.first(), |dead| {
                if dead.round == round { dead_here += 1 } else { dead_before.push(dead.round) }
            });
            // The blocks before the first one that is left may have gone with their batches.
            let expected = group.log.last().map_or_else(|| block.first().0, |last| last + 1);
            if block.first().0 != expected {
                let (group, found) = (block.group(), block.first().0);
                return Err(RecoveryError::Hole { group, expected, found });
            }
            let range = start..start + block.bytes().len();
            group.log.push(block_ref(block.first(), block.count(), round, range));
            extend_spans(&mut group.spans, &block);
        }
        if live > 0 {
            let place = Place { number, part };
            let size = u32::try_from(bytes.len()).expect("a round stays under 4 GiB");
            self.rounds.push_recovered(place, size, live - dead_here);
        }
        for seq in dead_before {
            self.rounds.release(seq);
        }
        Ok(())
    }

    /// Starts every replica; `applied` is what the machine has durably applied of a group.
    ///
    /// # Errors
    /// A group whose record, log and machine do not fit together.
    pub fn finish(
        mut self,
        now: Time,
        applied: impl Fn(u64) -> Index,
    ) -> Result<Shard, RecoveryError> {
        for recovering in &mut self.groups {
            compact(recovering, &mut self.rounds)?;
        }
        let building = Building { retention: self.rounds.drop_dead(), ..Building::default() };
        let mut replicas = Vec::with_capacity(self.groups.len());
        let mut logged = Vec::new();
        for (recovering, slot) in self.groups.into_iter().zip(0..) {
            let group = recovering.group;
            let raft = start(&self.config, &recovering, applied(group), now)?;
            if self.ranges.bounds_of(group).is_none() {
                return Err(RecoveryError::Range { group });
            }
            if !recovering.log.is_empty() {
                logged.push(slot);
            }
            replicas.push(Replica::new(group, raft, recovering.log, recovering.members));
        }
        let raft = self.config.raft;
        let lone = replicas.iter().any(|replica| replica.members.len() == 1).then_some(0);
        let mut shard = Shard {
            config: self.config,
            replicas,
            slots: self.slots,
            ranges: self.ranges,
            lone,
            rounds: self.rounds,
            timers: Timers::new(now),
            nodes: Nodes::new(&raft, now),
            campaigns: Campaigns::default(),
            lapses: 0,
            awake: Vec::new(),
            sleep_look: now,
            logged,
            ready: Vec::new(),
            held: Vec::new(),
            queued_bytes: 0,
            in_flight_bytes: 0,
            sealed_in_flight: 0,
            handed_out: 0,
            stalled: Vec::new(),
            owed: Vec::new(),
            blocked: Vec::new(),
            loading: Vec::new(),
            building,
            in_flight: std::collections::VecDeque::new(),
            spare_marks: Vec::new(),
            may_apply: true,
            spans: Vec::new(),
            sources: Vec::new(),
            due: Vec::new(),
        };
        for slot in 0..shard.replicas.len() {
            shard.arm(u32::try_from(slot).expect("slots fit u32"));
        }
        Ok(shard)
    }
}

/// The members that a record names, once for all groups that have the same.
fn shared(known: &mut Vec<Arc<Members>>, membership: &[(ReplicaId, u64)]) -> Arc<Members> {
    let named = membership.iter().map(|&(replica, node)| Member { replica, node });
    // Those of the group before are nearly always those of this one.
    if let Some(found) = known.iter().rev().find(|known| known.iter().copied().eq(named.clone())) {
        return Arc::clone(found);
    }
    let members = Arc::new(Members(named.collect()));
    known.push(Arc::clone(&members));
    members
}

/// Lets go of what lies at or before a group's compacted position; what is left must follow on it.
fn compact(recovering: &mut Recovering, rounds: &mut Rounds) -> Result<(), RecoveryError> {
    let &mut Recovering { group, compacted, ref mut log, ref mut spans, .. } = recovering;
    let through = compacted.index;
    log.compact(through, |dead| rounds.release(dead.round));
    log.shrink();
    spans.retain(|span| span.last > through);
    if let Some(first) = spans.first_mut() {
        first.first = first.first.max(through.next());
    }
    match log.first() {
        Some(found) if found != through.0 + 1 => {
            Err(RecoveryError::Hole { group, expected: through.0 + 1, found })
        }
        Some(_) | None => Ok(()),
    }
}

/// Adds a block's term to the spans of its group, after cutting what it replaces.
fn extend_spans(spans: &mut Vec<Span>, block: &Block<'_>) {
    while spans.last().is_some_and(|span| span.first >= block.first()) {
        spans.pop();
    }
    if let Some(last) = spans.last_mut() {
        last.last = last.last.min(Index(block.first().0 - 1));
        if last.term == block.term() {
            last.last = block.last();
            return;
        }
    }
    spans.push(Span { term: block.term(), first: block.first(), last: block.last() });
}

fn start(
    config: &ShardConfig,
    recovering: &Recovering,
    applied: Index,
    now: Time,
) -> Result<Raft, RecoveryError> {
    let &Recovering { group, compacted, ref spans, ref members, .. } = recovering;
    let last = spans.last().map_or(compacted.index, |span| span.last);
    if applied > last {
        return Err(RecoveryError::AppliedPastLog { group, applied: applied.0, last: last.0 });
    }
    if applied < compacted.index {
        let compacted = compacted.index.0;
        return Err(RecoveryError::AppliedBeforeLog { group, applied: applied.0, compacted });
    }
    let ids: Vec<_> = members.iter().map(|member| member.replica).collect();
    let membership = Membership::new(&ids).map_err(|_| RecoveryError::Membership { group })?;
    let start = Start {
        id: recovering.replica,
        membership,
        changes: &[],
        hard_state: recovering.hard_state,
        compacted,
        spans,
        committed: applied,
        // Replicas of one group on different nodes, and groups on one node, draw different timeouts.
        seed: config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ group.rotate_left(32) ^ config.node,
        now,
    };
    Raft::new(config.raft, start).map_err(|why| RecoveryError::Start { group, why })
}
