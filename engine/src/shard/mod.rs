//! All groups of one worker, as one deterministic state machine.
//!
//! A round is: any number of inputs (`Shard::submit`, [`Shard::messages`], [`Shard::persisted`], …), each of which
//! only tells the replica it concerns, then one [`Shard::end_round`], which drains every replica that was
//! touched: seals proposals into blocks, collects what must be persisted, sends, and hands out what is committed.
//! So the work per group is paid once per round, however many inputs the round had.
//!
//! Invariants (of the ordering rules in `ARCHITECTURE.md`, as assertions here and in the core):
//! - A block is in the round's bytes before any message names it.
//! - What is handed out to be applied is committed and persisted here.
//! - Rounds complete in the order in which they were handed out.
//!
//! Deliberately absent: threads, clocks, sockets, RocksDB. Time is an argument, messages go into
//! [`Links`], bytes to persist and blocks to apply come out. The same calls give the same results.

use std::collections::VecDeque;
use std::sync::Arc;

use kontiki_net::BlockSource;
use kontiki_raft::{HardState, Index, ReadError, ReadId, Span, Time};

use crate::error::RequestError;
use crate::ids::GroupIds;
use crate::log::rounds::{Place, Rounds};
use crate::machine::Answers;
use crate::range::RangeMap;
use crate::store::GroupRecord;
use crate::submission::{RunKind, RunPart, Submitted};

mod campaigns;
mod drain;
mod frames;
mod liveness;
mod output;
mod proposals;
mod reads;
mod recovery;
mod replica;
mod retention;
mod status;
mod timers;

#[cfg(test)]
mod tests;

pub use campaigns::CAMPAIGNS_IN_FLIGHT_MAX;
pub use output::{Committed, Counts, Links, Output, Retention, RoundWrite};
pub use recovery::{Builder, RecoveryError};
pub use replica::Member;
pub use retention::AppliedMarks;

use campaigns::{Campaign, Campaigns};
use liveness::Nodes;
use replica::Replica;
use timers::{Armed, Timers};

/// Rounds with proposals that may be with the log writer before a leader seals more. What arrives meanwhile
/// coalesces: this is the whole of the batching, there is no linger timer. Two, so that one is written while
/// the next is made. Rounds taken as a follower do not count, or a busy neighbour would starve the groups led here.
pub const ROUNDS_SEALING_MAX: usize = 2;

/// Bytes of a round from which on proposals wait for the next one.
const ROUND_BYTES_MAX: usize = 16 << 20;

/// Bytes of blocks handed to the machine in one round; the rest waits for the next one, so that the machine can
/// say in between that it has enough.
const APPLY_BYTES_MAX: usize = 16 << 20;

/// Groups with a single member that begin to be led in one round after an opening, and the rounds of them that may be
/// on their way to the disk: enough that a million of them take some hundred syncs, few enough to be small in memory.
const LONE_PER_ROUND: u32 = 8192;
const LONE_ROUNDS_MAX: usize = 2;

/// How often the shard looks for replicas that may sleep. One that nothing happened to between two looks does, so it
/// keeps its active part from one round to the next, but not for long.
const SLEEP_LOOK_US: u32 = 100_000;

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This node.
    pub node: u64,
    /// Which shard this is, and of how many: it owns the groups whose id modulo `shards` is `shard`.
    pub shard: usize,
    /// See `shard`.
    pub shards: usize,
    /// The core's timing and windows.
    pub raft: kontiki_raft::Config,
    /// See [`crate::Config::cache_bytes_max`].
    pub cache_bytes_max: usize,
    /// See [`crate::Config::seed`].
    pub seed: u64,
    /// See [`crate::Config::priority_groups`]; ascending.
    pub priority_groups: Arc<[u64]>,
}

/// Persists that complete together.
#[derive(Debug)]
struct InFlight {
    seq: u64,
    /// Replica and the core's own sequence.
    marks: Vec<(u32, u64)>,
    bytes: usize,
    /// Whether it holds proposals of clients.
    sealed: bool,
}

/// The round that is being made.
#[derive(Debug, Default)]
struct Building {
    bytes: Vec<u8>,
    blocks: u32,
    records: Vec<(u64, Arc<GroupRecord>)>,
    marks: Vec<(u32, u64)>,
    retention: Option<Retention>,
    /// Whether it holds proposals of clients.
    sealed: bool,
    /// Blocks of this round that died in it already.
    dead: u32,
}

impl Building {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
            && self.records.is_empty()
            && self.marks.is_empty()
            && self.retention.is_none()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    replicas: Vec<Replica>,
    slots: GroupIds,
    /// What each group serves, for its record. Shared by all shards of the node.
    ranges: Arc<RangeMap>,
    rounds: Rounds,
    timers: Timers,
    nodes: Nodes,
    campaigns: Campaigns,
    /// How often our node has let another one's support lapse.
    lapses: u64,
    /// Replicas that are awake, and when they are looked through for those that may sleep.
    awake: Vec<u32>,
    sleep_look: Time,
    /// Replicas whose log is not empty, or was not when a flush cycle last ended.
    logged: Vec<u32>,
    /// While groups with a single member wait to be led: the slot to look at next.
    lone: Option<u32>,
    /// Replicas that something happened to in this round.
    ready: Vec<u32>,
    /// Replicas that will be ready again when a round completes: their proposals wait for it.
    held: Vec<u32>,
    /// Bytes of proposals that no block holds yet, with what each costs besides its payload.
    queued_bytes: usize,
    /// Bytes of rounds handed out and not yet persisted.
    in_flight_bytes: usize,
    /// How many of these rounds hold proposals of clients.
    sealed_in_flight: usize,
    /// Bytes of blocks handed to the machine in this round.
    handed_out: usize,
    /// Replicas that have committed blocks while the machine takes none.
    stalled: Vec<u32>,
    /// Groups led here whose followers have not been told the newest commit.
    owed: Vec<u32>,
    /// Replicas that wait for space in the outbox of a node.
    blocked: Vec<(u64, u32)>,
    /// Replicas that wait for a round to be read back.
    loading: Vec<(u64, u32)>,
    building: Building,
    in_flight: VecDeque<InFlight>,
    /// Empty mark lists, kept for reuse.
    spare_marks: Vec<Vec<(u32, u64)>>,
    /// Whether the machine takes committed blocks now.
    may_apply: bool,
    /// Scratch: the spans of an append, the blocks of an append, expired replicas.
    spans: Vec<Span>,
    sources: Vec<BlockSource>,
    due: Vec<u32>,
}

impl Shard {
    /// The replicas of this shard.
    #[must_use]
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Whether the shard has no replica.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// Replicas that have something under way, or had a moment ago.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.awake.len()
    }

    /// Replicas in which nothing is under way: they take no time, and no memory beyond what they must know.
    #[must_use]
    pub fn asleep(&self) -> usize {
        self.replicas.len() - self.awake.len()
    }

    /// The group of replica `slot`.
    ///
    /// # Panics
    /// When there is no such replica.
    #[must_use]
    pub fn group(&self, slot: u32) -> u64 {
        self.replicas[slot as usize].group
    }

    /// What recovery needs to know of `slot` besides its log.
    fn record(&self, slot: u32) -> GroupRecord {
        let replica = &self.replicas[slot as usize];
        let status = replica.raft.status();
        GroupRecord {
            replica: status.id,
            hard_state: HardState { term: status.term, vote: status.vote },
            compacted: status.compacted,
            membership: replica.members.iter().map(|m| (m.replica, m.node)).collect(),
            range: self.ranges.bounds_of(replica.group).expect("checked when the shard was opened"),
        }
    }

    /// Has the record of `slot` written with this round.
    fn push_record(&mut self, slot: u32) {
        let record = Arc::new(self.record(slot));
        self.building.records.push((self.group(slot), record));
    }

    /// Whether a round now would have something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty()
            || !self.building.is_empty()
            || self.owes_commits()
            || self.nodes.has_probes()
    }

    /// Whether followers are to be told a commit, now that nothing else goes to them.
    fn owes_commits(&self) -> bool {
        !self.owed.is_empty() && self.in_flight.is_empty() && self.building.is_empty()
    }

    /// Bytes of proposals that wait for a block: while the disk is behind, callers are to wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes of rounds handed out and not yet persisted: while these are many, peers are to wait.
    #[must_use]
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// When the next round is due even if nothing comes in.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let look = (!self.awake.is_empty()).then_some(self.sleep_look);
        let campaigns = self.campaigns.deadline(self.nodes.now);
        let lone = self.lone.filter(|_| self.may_lead_alone()).map(|_| Time(0));
        [self.timers.next_deadline(), look, campaigns, lone].into_iter().flatten().min()
    }

    /// Input: requests of clients. Takes the runs of this shard's groups. `now` was read after they came: by an
    /// earlier time a lease would serve what was asked after its end (hazard R8).
    pub(crate) fn submit(&mut self, now: Time, submitted: &Arc<Submitted>, out: &mut Output) {
        let shards = self.config.shards as u64;
        for (at, run) in submitted.submission.runs().iter().enumerate() {
            if run.group % shards != self.config.shard as u64 {
                continue;
            }
            let at = u32::try_from(at).expect("bounded by SUBMISSION_REQUESTS_MAX");
            let part =
                || RunPart { submitted: Arc::clone(submitted), run: at, from: 0, count: run.count };
            let Some(slot) = self.slots.position(run.group) else {
                out.refuse(part(), RequestError::UnknownGroup);
                continue;
            };
            self.touch(slot);
            match run.kind {
                RunKind::Write => {
                    let active = self.replicas[slot as usize].awake();
                    self.queued_bytes += active.proposals.queue(submitted, at);
                }
                RunKind::Read => match self.lease_read(slot, now) {
                    Some(index) => {
                        out.counts.lease_reads += u64::from(run.count);
                        self.replicas[slot as usize].awake().reads.ask_at(index, part());
                    }
                    None => match read(now, &mut self.replicas[slot as usize]) {
                        Ok(id) => self.replicas[slot as usize].awake().reads.ask(id, part()),
                        Err(error) => out.refuse(part(), error),
                    },
                },
            }
        }
    }

    /// Input: round `seq` is durable, as part `part` of batch `number`.
    ///
    /// # Panics
    /// When rounds complete out of order.
    pub fn persisted(&mut self, seq: u64, number: u64, part: u16) {
        let InFlight { seq: expected, mut marks, bytes, sealed } =
            self.in_flight.pop_front().expect("a round is persisted after it was handed out");
        self.in_flight_bytes -= bytes;
        if sealed {
            self.sealed_in_flight -= 1;
        }
        assert!(seq == expected, "round {seq} completes before round {expected}");
        self.rounds.persisted(seq, Place { number, part });
        for (slot, mark) in marks.drain(..) {
            self.touch(slot);
            self.replicas[slot as usize].raft.on_persisted(mark);
        }
        self.spare_marks.push(marks);
        for slot in std::mem::take(&mut self.held) {
            self.replicas[slot as usize].awake().held = false;
            self.touch(slot);
        }
    }

    /// Input: the machine has applied the block `first..=last` of replica `slot`.
    pub fn applied(
        &mut self,
        slot: u32,
        first: Index,
        last: Index,
        answers: Option<&Arc<Answers>>,
        out: &mut Output,
    ) {
        let (core, active) = self.replicas[slot as usize].parts();
        assert!(
            first.0 == active.applied.0 + 1 && last >= first,
            "group {}: {first:?}..={last:?} applied after {:?}",
            core.group,
            active.applied
        );
        active.applied = last;
        core.raft.on_applied(last);
        active.proposals.applied(first, last, answers, out);
        if !active.reads.is_empty() {
            active.reads.serve(last, out);
        }
    }

    /// Input: whether the machine takes committed blocks.
    pub fn set_may_apply(&mut self, may_apply: bool) {
        self.may_apply = may_apply;
        if may_apply {
            for slot in std::mem::take(&mut self.stalled) {
                self.replicas[slot as usize].awake().stalled = false;
                self.touch(slot);
            }
        }
    }

    /// Input: the outbox of `node` has space again.
    pub fn peer_writable(&mut self, node: u64) {
        let mut at = 0;
        while at < self.blocked.len() {
            if self.blocked[at].0 == node {
                let (_, slot) = self.blocked.swap_remove(at);
                let replica = &mut self.replicas[slot as usize];
                let place = replica.members.iter().position(|member| member.node == node);
                replica.awake().blocked &= place.map_or(0, |place| !(1 << place));
                self.touch(slot);
            } else {
                at += 1;
            }
        }
    }

    /// Input: the bytes of round `seq`, read back as an [`Output::loads`] asked.
    pub fn loaded(&mut self, seq: u64, bytes: Arc<Vec<u8>>) {
        self.rounds.loaded(seq, bytes);
        let mut at = 0;
        while at < self.loading.len() {
            if self.loading[at].0 == seq {
                let (_, slot) = self.loading.swap_remove(at);
                self.touch(slot);
            } else {
                at += 1;
            }
        }
    }

    /// Input: time has come this far.
    pub fn tick(&mut self, now: Time) {
        self.nodes.now = self.nodes.now.max(now);
        if now >= self.sleep_look {
            self.look_for_sleep(now);
        }
        self.lead_alone(now);
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(now, &mut due);
        for slot in due.drain(..) {
            let replica = &mut self.replicas[slot as usize];
            if replica.armed.is_after(now) {
                continue; // Left behind by a deadline that moved earlier and back again.
            }
            replica.armed = Armed::NOT;
            if replica.raft.deadline().is_some_and(|deadline| deadline <= now) {
                self.on_deadline(slot, now);
            } else {
                self.arm(slot);
            }
        }
        self.due = due;
        self.begin_campaigns(now);
        self.take_probes();
    }

    fn on_deadline(&mut self, slot: u32, now: Time) {
        let raft = &self.replicas[slot as usize].raft;
        let (leads, bound) = (raft.is_leader(), raft.supports().is_some());
        if self.nodes.external() && !leads && !bound {
            return self.leaderless(slot, now);
        }
        self.touch(slot);
        self.replicas[slot as usize].raft.on_deadline(now);
        if self.nodes.external() && leads {
            self.check_support(slot, now);
        }
    }

    /// Whether more groups with a single member are to be led now.
    fn may_lead_alone(&self) -> bool {
        self.in_flight.len() < LONE_ROUNDS_MAX
    }

    /// Groups with a single member wait for nobody: after an opening they are led at once, many in each round, so
    /// that their votes share a few syncs.
    fn lead_alone(&mut self, now: Time) {
        let Some(first) = self.lone.filter(|_| self.may_lead_alone()) else { return };
        let all = u32::try_from(self.replicas.len()).expect("slots fit u32");
        let end = all.min(first.saturating_add(LONE_PER_ROUND));
        for slot in first..end {
            let replica = &self.replicas[slot as usize];
            if replica.members.len() == 1 && !replica.raft.is_leader() {
                self.touch(slot);
                self.replicas[slot as usize].raft.campaign(now);
            }
        }
        self.lone = (end < all).then_some(end);
    }

    /// Input: the leadership of `group` is to go to the replica on `node`, or, with `None`, to the member that
    /// is furthest ahead.
    ///
    /// # Errors
    /// As the variants of [`RequestError`] say.
    pub fn transfer(
        &mut self,
        now: Time,
        group: u64,
        node: Option<u64>,
    ) -> Result<(), RequestError> {
        let slot = self.slots.position(group).ok_or(RequestError::UnknownGroup)?;
        let replica = &self.replicas[slot as usize];
        if !replica.raft.is_leader() {
            let leader = replica.raft.leader().and_then(|r| replica.node_of(r));
            return Err(RequestError::NotLeader { leader });
        }
        let target = match node {
            Some(node) => replica.member_on(node).ok_or(RequestError::UnknownGroup)?,
            None => {
                let ahead = replica.raft.progress().filter(|p| {
                    let node = replica.node_of(p.id);
                    let there = node.is_some_and(|node| self.nodes.is_connected(node));
                    (p.recent_active || self.nodes.external()) && there && p.id != replica.raft.id()
                });
                ahead.max_by_key(|p| p.matched).ok_or(RequestError::Busy)?.id
            }
        };
        if target == replica.raft.id() {
            return Ok(());
        }
        self.touch(slot);
        let replica = &mut self.replicas[slot as usize];
        replica.raft.transfer(now, target).map_err(|_| RequestError::Busy)
    }

    /// The groups led here.
    pub fn led(&self) -> impl Iterator<Item = u64> {
        self.replicas.iter().filter(|r| r.raft.is_leader()).map(|r| r.group)
    }

    /// The groups led here that have another member to lead them.
    pub fn led_with_others(&self) -> impl Iterator<Item = u64> {
        let led = self.replicas.iter().filter(|r| r.raft.is_leader() && r.members.len() > 1);
        led.map(|r| r.group)
    }

    /// Answers every request with `Stopped`: the engine stops.
    pub fn stop(&mut self, out: &mut Output) {
        for &slot in &self.awake {
            let active = self.replicas[slot as usize].awake();
            self.queued_bytes -= active.proposals.refuse_queued(RequestError::Stopped, out);
            active.proposals.lose_waiting(RequestError::Stopped, out);
            active.reads.lose_all(RequestError::Stopped, out);
        }
    }

    /// Has `slot` drained at the end of this round. Goes before the core hears of what happened: what is seen
    /// of the core when a replica wakes is what was true while it slept.
    #[inline]
    fn touch(&mut self, slot: u32) {
        let replica = &mut self.replicas[slot as usize];
        if replica.wake() {
            self.awake.push(slot);
        }
        let active = replica.awake();
        active.touched = true;
        if !std::mem::replace(&mut active.ready, true) {
            self.ready.push(slot);
        }
    }

    /// Lets replicas sleep that nothing happened to since the last look.
    fn look_for_sleep(&mut self, now: Time) {
        let replicas = &mut self.replicas;
        let mut last_words = Vec::new();
        self.awake.retain(|&slot| {
            let replica = &mut replicas[slot as usize];
            let speaks = replica.is_quiet() && replica.raft.tell_floor();
            if speaks {
                last_words.push(slot);
            }
            speaks || !replica.try_sleep()
        });
        for slot in last_words {
            self.touch(slot);
        }
        if self.awake.is_empty() {
            self.awake = Vec::new(); // A list of all replicas is not kept for the few that come next.
        }
        self.sleep_look = now.after(SLEEP_LOOK_US);
    }

    /// Puts `slot` into the wheel, unless it will be looked at early enough anyway.
    fn arm(&mut self, slot: u32) {
        let replica = &mut self.replicas[slot as usize];
        let queued = matches!(replica.campaign, Campaign::Queued(_));
        if let Some(deadline) = replica.raft.deadline()
            && !queued
        {
            // What the wheel looks at in time anyway is not put in again.
            if replica.armed.is_after(self.timers.due(deadline)) || replica.armed == Armed::NOT {
                replica.armed = Armed::at(self.timers.arm(slot, deadline));
            }
        }
    }
}

/// Reads are served where the state is known to be the latest, and not forwarded: the client goes
/// to the leader itself.
fn read(now: Time, replica: &mut Replica) -> Result<ReadId, RequestError> {
    if !replica.raft.is_leader() {
        let leader = replica.raft.leader().and_then(|leader| replica.node_of(leader));
        return Err(RequestError::NotLeader { leader });
    }
    replica.raft.read(now).map_err(|error| match error {
        ReadError::NotLeader { .. } => RequestError::NotLeader { leader: None },
        ReadError::NotReady => RequestError::Transferring,
    })
}
