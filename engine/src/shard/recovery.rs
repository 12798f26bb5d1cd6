//! From the bytes of a store's log to a running shard.
//!
//! Parts are visited in the order in which they were written. A block replaces all blocks of its group at or
//! after its first index, because that is what the replica did when it wrote it. Only then does what lies at or
//! before a group's compacted position go. Holes are refused: a log without its middle is no log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use kontiki_net::Block;
use kontiki_net::DecodeError;
use kontiki_raft::{Index, Membership, Raft, Span, Start, StartError, Time};

use crate::log::index::BlockIndex;
use crate::log::rounds::{Place, Rounds};
use crate::store::GroupRecord;

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
            Self::Membership { group } => write!(f, "group {group}: no valid membership"),
        }
    }
}

impl std::error::Error for RecoveryError {}

#[derive(Debug)]
struct Recovering {
    record: GroupRecord,
    log: BlockIndex,
    spans: Vec<Span>,
}

/// Rebuilds one shard: feed it every part of the log in order, then [finish](Builder::finish).
#[derive(Debug)]
pub struct Builder {
    config: ShardConfig,
    rounds: Rounds,
    groups: BTreeMap<u64, Recovering>,
}

impl Builder {
    /// Begins with the records of the store's groups; those of other shards are left out.
    #[must_use]
    pub fn new(config: ShardConfig, records: &[(u64, GroupRecord)]) -> Self {
        let own =
            records.iter().filter(|(group, _)| group % config.shards as u64 == config.shard as u64);
        let groups = own
            .map(|(group, record)| {
                let record = record.clone();
                (*group, Recovering { record, log: BlockIndex::default(), spans: Vec::new() })
            })
            .collect();
        Self { rounds: Rounds::new(config.cache_bytes_max), config, groups }
    }

    /// The groups of this shard, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        self.groups.keys().copied().collect()
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
            let Some(group) = self.groups.get_mut(&block.group()) else {
                // Another shard verifies what is its own. What is nobody's may be a block with a damaged head.
                if block.group() % self.config.shards as u64 == self.config.shard as u64 {
                    block.verify().map_err(wrong)?;
                }
                continue;
            };
            block.verify().map_err(wrong)?;
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
        for (&group, recovering) in &mut self.groups {
            compact(group, recovering, &mut self.rounds)?;
        }
        let building = Building { retention: self.rounds.drop_dead(), ..Building::default() };
        let mut memberships: Vec<Arc<Members>> = Vec::new();
        let mut replicas = Vec::with_capacity(self.groups.len());
        let mut slots = HashMap::default();
        let mut logged = Vec::new();
        for (group, recovering) in self.groups {
            let Recovering { record, log, spans } = recovering;
            let applied = applied(group);
            let raft = start(&self.config, group, &record, &spans, applied, now)?;
            let members: Vec<Member> =
                record.membership.iter().map(|&(replica, node)| Member { replica, node }).collect();
            let known = memberships.iter().find(|known| known.0[..] == *members).cloned();
            let members = known.unwrap_or_else(|| {
                memberships.push(Arc::new(Members(members.into())));
                Arc::clone(memberships.last().expect("pushed just now"))
            });
            let slot = u32::try_from(replicas.len()).expect("slots fit u32");
            slots.insert(group, slot);
            if !log.is_empty() {
                logged.push(slot);
            }
            replicas.push(Replica::new(group, raft, log, members, Arc::new(record)));
        }
        let raft = self.config.raft;
        let mut shard = Shard {
            config: self.config,
            replicas,
            slots,
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
            shard.touch(u32::try_from(slot).expect("slots fit u32"));
        }
        Ok(shard)
    }
}

/// Lets go of what lies at or before a group's compacted position; what is left must follow on it.
fn compact(
    group: u64,
    recovering: &mut Recovering,
    rounds: &mut Rounds,
) -> Result<(), RecoveryError> {
    let Recovering { record, log, spans } = recovering;
    let through = record.compacted.index;
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
    group: u64,
    record: &GroupRecord,
    spans: &[Span],
    applied: Index,
    now: Time,
) -> Result<Raft, RecoveryError> {
    let last = spans.last().map_or(record.compacted.index, |span| span.last);
    if applied > last {
        return Err(RecoveryError::AppliedPastLog { group, applied: applied.0, last: last.0 });
    }
    if applied < record.compacted.index {
        let compacted = record.compacted.index.0;
        return Err(RecoveryError::AppliedBeforeLog { group, applied: applied.0, compacted });
    }
    let ids: Vec<_> = record.membership.iter().map(|&(replica, _)| replica).collect();
    let membership = Membership::new(&ids).map_err(|_| RecoveryError::Membership { group })?;
    let start = Start {
        id: record.replica,
        membership,
        changes: &[],
        hard_state: record.hard_state,
        compacted: record.compacted,
        spans,
        committed: applied,
        // Replicas of one group on different nodes, and groups on one node, draw different timeouts.
        seed: config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ group.rotate_left(32) ^ config.node,
        now,
    };
    Raft::new(config.raft, start).map_err(|why| RecoveryError::Start { group, why })
}
