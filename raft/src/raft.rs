//! `struct Raft`: one replica of one group, its fields, the one term gate, and its role changes.
//!
//! Inputs change state at once; outputs are pulled, and merge: however many proposals or appends
//! came before a drain, there is one write, one append per follower, one acknowledgement. What each
//! role does with an input is in `follower`, `candidate` and `leader`; who may speak and in which
//! term is decided here, once for all of them.
//!
//! Always: `compacted <= applied <= given <= min(committed, persisted)` and
//! `committed, persisted <= last`, with `last.term <= term`.
//!
//! Deliberately absent: payloads, clocks, threads, and any knowledge of other groups.

use alloc::boxed::Box;
use core::mem::discriminant;

use crate::candidate::Ballot;
use crate::config::Config;
use crate::durability::Durability;
use crate::error::{ProposeError, ReadError, StartError, TransferError};
use crate::follower::Follower;
use crate::leader::Leader;
use crate::log::Log;
use crate::membership::Membership;
use crate::message::{
    AppendHeader, AppendOutcome, Extent, Message, MessageKind, Persist, Proposed, ReadId, ReadReady,
};
use crate::rng::Rng;
use crate::spill::Spill;
use crate::types::{HardState, Index, Position, ReplicaId, Span, Term, Time};

/// The session of every message while memberships are fixed.
pub(crate) const SESSION: u32 = 0;

/// What a replica starts from: everything in it counts as persisted.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The replica.
    pub id: ReplicaId,
    /// Its group.
    pub membership: Membership,
    /// The recovered term and vote.
    pub hard_state: HardState,
    /// The log begins after this entry.
    pub compacted: Position,
    /// The log after `compacted`: ascending, without gaps.
    pub spans: &'a [Span],
    /// The last entry known committed *and applied*; entries after it will be given to apply.
    pub committed: Index,
    /// Seeds the draw of election timeouts; replicas should differ in it.
    pub seed: u64,
    /// The time now.
    pub now: Time,
}

/// One replica of one group.
///
/// See the [crate page](crate) for the protocol and an example.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(crate) id: ReplicaId,
    pub(crate) config: Config,
    pub(crate) membership: Membership,
    /// Term and vote; changed only through [`Raft::enter_term`] and [`Raft::give_vote`].
    pub(crate) hard_state: HardState,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    /// The last entry known committed. Never moves back.
    pub(crate) committed: Index,
    /// The last entry handed to apply.
    pub(crate) given: Index,
    /// The last entry applied.
    pub(crate) applied: Index,
    /// See [`Raft::log_floor`]. Never moves back.
    pub(crate) floor: Index,
    /// Replies that are owed whatever the role: votes, rejections, answers to old leaders. All are
    /// of the present term, and wait for it to be durable.
    pub(crate) outbox: Spill<Message>,
    /// The last read accepted; read ids outlive leaderships.
    pub(crate) last_read: ReadId,
    pub(crate) role: RoleState,
    pub(crate) rng: Rng,
    /// When the election timer was last armed. For a follower that knows a leader, that is when it
    /// last heard it.
    pub(crate) armed_at: Time,
    /// The election timeout drawn when it was armed last.
    pub(crate) timeout_us: u32,
    /// A leadership ended while reads waited.
    pub(crate) reads_lost: bool,
}

/// The part a replica plays, with the data only that part has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RoleState {
    Follower(Follower),
    PreCandidate(Ballot),
    Candidate(Ballot),
    Leader(Box<Leader>),
}

/// Budget of an idle replica: it is multiplied by a hundred thousand.
const _: () = assert!(size_of::<Raft>() <= 320);

/// Starting, and what the caller's world does to a replica.
impl Raft {
    /// A replica as it was when it stopped, or as it is before anything happened to it.
    ///
    /// # Errors
    /// When the parts of `start` contradict each other: see [`StartError`].
    pub fn new(config: Config, start: Start<'_>) -> Result<Self, StartError> {
        config.validate()?;
        if !start.membership.contains(start.id) {
            return Err(StartError::NotMember);
        }
        let mut log = Log::new(start.compacted);
        for span in start.spans {
            let last = log.last();
            let follows = span.first == last.index.next() && span.first <= span.last;
            if !follows || span.term < last.term {
                return Err(StartError::Spans { at: span.first });
            }
            log.append(span.term, span.last);
        }
        let (last, term, committed) = (log.last(), start.hard_state.term, start.committed);
        if term < last.term {
            return Err(StartError::TermBehindLog { term, last });
        }
        if committed < start.compacted.index || committed > last.index {
            return Err(StartError::Committed { committed, last });
        }
        let mut raft = Self {
            id: start.id,
            config,
            membership: start.membership,
            hard_state: start.hard_state,
            log,
            durability: Durability::new(last.index),
            committed,
            given: committed,
            applied: committed,
            floor: start.compacted.index,
            outbox: Spill::new(),
            last_read: ReadId(0),
            role: RoleState::Follower(Follower::new(None, committed)),
            rng: Rng::new(start.seed),
            armed_at: start.now,
            timeout_us: 0,
            reads_lost: false,
        };
        raft.arm(start.now);
        Ok(raft)
    }

    /// Offers `count` entries of `bytes` together to the log. An accepted proposal has its place
    /// in the log, and nothing more: it may still be lost with the leadership.
    ///
    /// # Errors
    /// When this replica does not lead, is handing over, or has too much uncommitted.
    ///
    /// # Panics
    /// When `count` is zero, or the no-op of [`Raft::take_noop`] was not taken first.
    #[inline]
    pub fn propose(&mut self, count: u32, bytes: u32) -> Result<Proposed, ProposeError> {
        self.leader_propose(count, bytes)
    }

    /// Asks for a moment at which a linearizable read may be served. The answer comes from
    /// [`Raft::take_reads`], and always comes.
    ///
    /// # Errors
    /// When this replica does not lead or is handing over.
    pub fn read(&mut self) -> Result<ReadId, ReadError> {
        self.leader_read()
    }

    /// Takes a message. One that is for another replica, or from outside the group, is ignored.
    pub fn step(&mut self, now: Time, message: &Message) {
        let &Message { from, to, term, kind, session } = message;
        if !self.is_addressed(from, to, session) {
            return;
        }
        if let MessageKind::PreVote { last } = kind {
            // Asks about a term that nobody has entered, so it must not move ours.
            return self.on_pre_vote(now, from, term, last);
        }
        if term < self.hard_state.term {
            return self.on_old_term(from, kind);
        }
        if term > self.hard_state.term && !self.follow_term(now, term, kind) {
            return;
        }
        match kind {
            MessageKind::PreVote { .. } => {}
            MessageKind::PreVoteReply { granted } => self.on_pre_vote_reply(now, from, granted),
            MessageKind::Vote { last, .. } => self.on_vote(now, from, last),
            MessageKind::VoteReply { granted } => self.on_vote_reply(now, from, granted),
            MessageKind::AppendAck { matched, read_round } => {
                self.on_append_ack(now, from, matched, read_round);
            }
            MessageKind::AppendReject { prev, hint, read_round } => {
                self.on_append_reject(now, from, prev, hint, read_round);
            }
            MessageKind::Heartbeat { commit, floor, read_round } => {
                self.on_heartbeat(now, from, commit, floor, read_round);
            }
            MessageKind::HeartbeatAck { read_round } => {
                self.on_heartbeat_ack(now, from, read_round);
            }
            MessageKind::TimeoutNow { last } => self.on_timeout_now(now, from, last),
        }
    }

    /// Takes an append: its header, and the terms of its entries as runs. The caller keeps the
    /// blocks that the outcome calls new.
    ///
    /// # Panics
    /// When the append proves that this replica has lost durable entries (hazard L13), or that a
    /// term has two leaders. Either way it must not go on.
    #[inline]
    pub fn step_append(
        &mut self,
        now: Time,
        header: &AppendHeader,
        spans: &[Span],
    ) -> AppendOutcome {
        if !self.is_addressed(header.from, header.to, header.session) {
            return AppendOutcome::Rejected;
        }
        if header.term < self.hard_state.term {
            self.answer_old_leader(header.from);
            return AppendOutcome::Rejected;
        }
        self.on_append(now, header, spans)
    }

    /// Tells the time. Does nothing before [`Raft::deadline`].
    pub fn on_deadline(&mut self, now: Time) {
        if matches!(self.role, RoleState::Leader(_)) {
            self.on_leader_deadline(now);
        } else if now >= self.election_deadline() {
            self.become_pre_candidate(now);
        }
    }

    /// The write `seq` of [`Raft::take_persist`] is durable. Every write is reported once, in
    /// order.
    ///
    /// # Panics
    /// When `seq` is not the oldest write in flight.
    pub fn on_persisted(&mut self, seq: u64) {
        let moved = self.durability.completed(seq);
        match &mut self.role {
            RoleState::Follower(follower) if moved => follower.on_persisted(),
            RoleState::Follower(_) | RoleState::PreCandidate(_) => {}
            RoleState::Candidate(_) => self.count_own_vote(),
            RoleState::Leader(_) => self.advance_commit(),
        }
    }

    /// The state machine has taken everything up to `index`.
    ///
    /// # Panics
    /// When `index` moves back or was never given to apply.
    pub fn on_applied(&mut self, index: Index) {
        assert!(
            self.applied <= index && index <= self.given,
            "applied {index:?} after {:?}, given {:?}",
            self.applied,
            self.given
        );
        self.applied = index;
    }

    /// Forgets the log up to `index` and returns where it begins now. Going back does nothing.
    ///
    /// # Panics
    /// When `index` is not applied yet, or is above [`Raft::log_floor`]: some member may still
    /// need it from the log (hazards L7, L9).
    pub fn on_compacted(&mut self, index: Index) -> Position {
        assert!(index <= self.applied, "compaction to {index:?} past applied {:?}", self.applied);
        assert!(index <= self.floor, "compaction to {index:?} past the floor {:?}", self.floor);
        if index > self.log.compacted().index {
            self.log.compact(index);
        }
        self.log.compacted()
    }

    /// A connection to the replica's node stands: a leader finds out anew where it is.
    pub fn on_peer_up(&mut self, now: Time, peer: ReplicaId) {
        self.on_connection_changed(now, peer);
    }

    /// The connection to the replica's node broke: whatever was on its way may be lost.
    pub fn on_peer_down(&mut self, now: Time, peer: ReplicaId) {
        self.on_connection_changed(now, peer);
    }

    /// Begins to hand the leadership to `target`: proposals are refused from now on, the target is
    /// brought up to date and told to campaign. Given up after an election timeout.
    ///
    /// # Errors
    /// When it cannot begin: see [`TransferError`].
    pub fn transfer(&mut self, now: Time, target: ReplicaId) -> Result<(), TransferError> {
        self.leader_transfer(now, target)
    }

    /// Asks for an election now, as if the timer had expired. A leader ignores it.
    pub fn campaign(&mut self, now: Time) {
        if !matches!(self.role, RoleState::Leader(_)) {
            self.become_pre_candidate(now);
        }
    }
}

/// Outputs. Each gives something once, and `None` when there is nothing (more).
impl Raft {
    /// The no-op with which a new leader opens its term. Its place in the log is reserved; the
    /// caller makes a block for it, right after any input that may have changed the role.
    pub fn take_noop(&mut self) -> Option<Proposed> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        leader.take_noop(self.hard_state.term)
    }

    /// What must be written now: at most one write per call, with everything since the last.
    ///
    /// # Panics
    /// When the no-op of [`Raft::take_noop`] was not taken first.
    #[inline]
    pub fn take_persist(&mut self) -> Option<Persist> {
        if let RoleState::Leader(leader) = &self.role {
            leader.assert_noop_taken();
        }
        self.durability.take(self.hard_state, self.log.last().index)
    }

    /// The next append for `peer`, if one may go out. `extent` is asked how far it reaches, given
    /// the first entry, the last one there is, and the bytes left in the follower's window; it
    /// stops at the end of a block. It says `None` when the transport has no room, and then
    /// nothing changes. A probe without entries does not ask. When nothing is in flight, the first
    /// block may exceed the window.
    ///
    /// # Panics
    /// When the no-op of [`Raft::take_noop`] was not taken first, or the extent is outside of what
    /// was offered.
    #[inline]
    pub fn next_append<F>(&mut self, peer: ReplicaId, extent: F) -> Option<AppendHeader>
    where
        F: FnOnce(Index, Index, u32) -> Option<Extent>,
    {
        self.leader_next_append(peer, extent)
    }

    /// The next message whose reasons are durable.
    #[inline]
    pub fn take_message(&mut self) -> Option<Message> {
        if !self.outbox.is_empty() && self.durability.hard_state_is_durable() {
            let message = self.outbox.pop_front();
            if self.outbox.is_empty() {
                self.outbox.clear();
            }
            return message;
        }
        match &self.role {
            RoleState::Follower(_) => self.follower_message(),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => self.ballot_message(),
            RoleState::Leader(_) => self.leader_message(),
        }
    }

    /// A message that tells `peer` a commit it has not heard of, for rounds without an append.
    #[inline]
    pub fn commit_owed(&mut self, peer: ReplicaId) -> Option<Message> {
        self.leader_commit_owed(peer)
    }

    /// The entries to apply next, first and last: committed, persisted here, and not given yet.
    #[inline]
    pub fn take_committed(&mut self) -> Option<(Index, Index)> {
        let last = self.committed.min(self.durability.persisted());
        if last <= self.given {
            return None;
        }
        let first = self.given.next();
        self.given = last;
        Some((first, last))
    }

    /// What became of waiting reads.
    #[inline]
    pub fn take_reads(&mut self) -> Option<ReadReady> {
        if self.reads_lost {
            self.reads_lost = false;
            return Some(ReadReady::Lost { up_to: self.last_read });
        }
        let RoleState::Leader(leader) = &mut self.role else { return None };
        leader.reads.take()
    }

    /// When [`Raft::on_deadline`] has something to do, as known now.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match &self.role {
            RoleState::Leader(leader) => leader.deadline(),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                Some(self.election_deadline())
            }
        }
    }
}

/// The term gate and the role changes.
impl Raft {
    /// Whether the message is for this replica, from another member, in its present stay.
    #[inline]
    fn is_addressed(&self, from: ReplicaId, to: ReplicaId, session: u32) -> bool {
        to == self.id && from != self.id && session == SESSION && self.membership.contains(from)
    }

    /// Enters the later term of a message, if the message is a reason to. Returns whether it was.
    fn follow_term(&mut self, now: Time, term: Term, kind: MessageKind) -> bool {
        let follows = match kind {
            // While we hear a leader, an election is a disturbance (thesis §4.2.3), except when
            // the leader itself asked for it.
            MessageKind::Vote { forced, .. } => forced || !self.hears_leader(now),
            // The echo of a request; nobody has entered that term.
            MessageKind::PreVoteReply { granted } => !granted,
            MessageKind::PreVote { .. }
            | MessageKind::VoteReply { .. }
            | MessageKind::AppendAck { .. }
            | MessageKind::AppendReject { .. }
            | MessageKind::Heartbeat { .. }
            | MessageKind::HeartbeatAck { .. }
            | MessageKind::TimeoutNow { .. } => true,
        };
        if follows {
            self.enter_term(HardState { term, vote: None });
            self.become_follower(now, None);
        }
        follows
    }

    /// Answers a message of an earlier term, so that its sender learns of ours.
    fn on_old_term(&mut self, from: ReplicaId, kind: MessageKind) {
        match kind {
            MessageKind::Vote { .. } => self.post(from, MessageKind::VoteReply { granted: false }),
            MessageKind::Heartbeat { .. } | MessageKind::TimeoutNow { .. } => {
                self.answer_old_leader(from);
            }
            MessageKind::PreVote { .. }
            | MessageKind::PreVoteReply { .. }
            | MessageKind::VoteReply { .. }
            | MessageKind::AppendAck { .. }
            | MessageKind::AppendReject { .. }
            | MessageKind::HeartbeatAck { .. } => {}
        }
    }

    /// A leader of an earlier term must hear of ours, or a replica that is ahead of it in terms
    /// could never rejoin.
    #[cold]
    fn answer_old_leader(&mut self, from: ReplicaId) {
        self.post(from, MessageKind::HeartbeatAck { read_round: 0 });
    }

    /// Whether this replica leads, or has heard its leader within an election timeout.
    pub(crate) fn hears_leader(&self, now: Time) -> bool {
        match &self.role {
            RoleState::Follower(follower) => {
                follower.leader.is_some()
                    && now.since(self.armed_at) < u64::from(self.config.election_timeout_us)
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => false,
            RoleState::Leader(_) => true,
        }
    }

    /// Owes a reply. A newer one of the same kind to the same peer replaces an older one, so the
    /// outbox is bounded by the membership.
    pub(crate) fn post(&mut self, to: ReplicaId, kind: MessageKind) {
        self.post_in(self.hard_state.term, to, kind);
    }

    pub(crate) fn post_in(&mut self, term: Term, to: ReplicaId, kind: MessageKind) {
        let message = Message { from: self.id, to, term, kind, session: SESSION };
        let same = |other: &&mut Message| {
            other.to == to && discriminant(&other.kind) == discriminant(&kind)
        };
        match self.outbox.as_mut_slice().iter_mut().find(same) {
            Some(older) => *older = message,
            None => self.outbox.push(message),
        }
    }

    /// Changes the term. Replies of the old one are withdrawn, since its votes may never become
    /// durable once a later term is.
    pub(crate) fn enter_term(&mut self, hard_state: HardState) {
        assert!(hard_state.term > self.hard_state.term, "terms only move on");
        self.hard_state = hard_state;
        self.durability.hard_state_changed();
        self.outbox.clear();
    }

    /// Follows: `leader`, or nobody yet.
    pub(crate) fn become_follower(&mut self, now: Time, leader: Option<ReplicaId>) {
        if let RoleState::Leader(old) = &self.role {
            self.reads_lost |= old.reads.any();
            if let Some(noop) = old.untaken_noop() {
                // No block was ever made for it, and nothing was handed out since.
                self.log.truncate(noop);
            }
        }
        self.arm(now);
        self.role = RoleState::Follower(Follower::new(leader, self.committed));
    }

    /// Arms the election timer anew, with a new draw so that replicas do not move in step.
    pub(crate) fn arm(&mut self, now: Time) {
        self.armed_at = now;
        let base = self.config.election_timeout_us;
        self.timeout_us = base + self.rng.below(base);
    }

    pub(crate) fn election_deadline(&self) -> Time {
        self.armed_at.after(self.timeout_us)
    }
}
