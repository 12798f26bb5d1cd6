//! `struct Raft`: one replica of one group, its fields, the one term gate, and its role changes.
//!
//! Inputs change state at once; outputs are pulled, and merge: however many proposals or appends
//! came before a drain, there is one write, one append per follower, one acknowledgement. What each
//! role does with an input is in the files named after it; who may speak and in which term is
//! decided here, once for all of them.
//!
//! Always: `compacted <= applied <= given <= committed <= last` and `persisted <= last`, with
//! `last.term <= term`. What is given to apply is persisted, but for a snapshot, which counts as
//! applied from the moment it is accepted.
//!
//! Deliberately absent: payloads, clocks, threads, and any knowledge of other groups.

use alloc::boxed::Box;

use crate::candidate::Ballot;
use crate::config::{Config, Liveness};
use crate::durability::Durability;
use crate::error::StartError;
use crate::follower::Follower;
use crate::leader::Leader;
use crate::log::Log;
use crate::membership::{Membership, MembershipAt};
use crate::memberships::Memberships;
use crate::message::{AppendHeader, AppendOutcome, Message, MessageKind, ReadId};
use crate::planted::{self, Bug};
use crate::rng::Rng;
use crate::seat::Seat;
use crate::talk::Talk;
use crate::types::{HardState, Index, Position, ReplicaId, Span, Term, Time};

/// What a replica starts from: everything in it counts as persisted.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The replica. It need not be a member: one that waits to be added starts with
    /// [`Membership::EMPTY`], follows whoever leads, and learns the rest from the log.
    pub id: ReplicaId,
    /// The membership in force at `compacted`.
    pub membership: Membership,
    /// The memberships that the log after `compacted` carries, ascending.
    pub changes: &'a [MembershipAt],
    /// The recovered term and vote.
    pub hard_state: HardState,
    /// The log begins after this entry.
    pub compacted: Position,
    /// The log after `compacted`: ascending, without gaps.
    pub spans: &'a [Span],
    /// The last entry known committed *and applied*; entries after it will be given to apply.
    pub committed: Index,
    /// Seeds the draw of election timeouts, and of the names of forwarded reads. It should differ
    /// among replicas, and must differ at every start of one.
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
    pub(crate) memberships: Memberships,
    /// Term and vote; the term changes only through [`Raft::enter_term`].
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
    pub(crate) talk: Talk,
    /// The last read accepted; read ids outlive leaderships.
    pub(crate) last_read: ReadId,
    pub(crate) role: RoleState,
    /// Before this time no vote goes to another than the leader, whatever the term: a leader may
    /// rest a lease on it (hazard R9).
    pub(crate) support_until: Time,
    /// With external liveness: whom the caller supports until it says otherwise. No vote goes to
    /// another, and it outlives the leader's term.
    pub(crate) supports: Option<ReplicaId>,
    /// The election timer ends this much after `support_until`.
    pub(crate) jitter_us: u32,
    pub(crate) rng: Rng,
    /// A leadership, or a leader, ended while reads waited.
    pub(crate) reads_lost: bool,
    /// The leader was heard since the election timer was armed.
    pub(crate) heard: bool,
    /// The membership in force lets this replica lead. Follows from `memberships` and `id`.
    pub(crate) electable: bool,
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

/// Starting.
impl Raft {
    /// A replica as it was when it stopped, or as it is before anything happened to it.
    ///
    /// A group is created by starting its replicas with one membership and nothing else; or by
    /// starting one, which then adds the others, who start with [`Membership::EMPTY`].
    ///
    /// # Errors
    /// When the parts of `start` contradict each other: see [`StartError`].
    pub fn new(config: Config, start: Start<'_>) -> Result<Self, StartError> {
        config.validate()?;
        let mut log = Log::new(start.compacted);
        for span in start.spans {
            let last = log.last();
            let follows = span.first == last.index.next() && span.first <= span.last;
            if !follows || span.term < last.term {
                return Err(StartError::Spans { at: span.first });
            }
            log.append(span.term, span.last);
        }
        let mut memberships = Memberships::new(&start.membership, start.compacted.index);
        for change in start.changes {
            if change.index <= memberships.since() || change.index > log.last().index {
                return Err(StartError::Changes { at: change.index });
            }
            memberships.append(change.index, &change.membership);
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
            memberships,
            hard_state: start.hard_state,
            log,
            durability: Durability::new(last.index),
            committed,
            given: committed,
            applied: committed,
            floor: start.compacted.index,
            talk: Talk::default(),
            last_read: ReadId(0),
            role: RoleState::Follower(Follower::new(None, committed)),
            support_until: Time(0),
            supports: None,
            jitter_us: 0,
            rng: Rng::new(start.seed),
            reads_lost: false,
            heard: false,
            electable: false,
        };
        raft.note_electable();
        if config.lease_percent > 0 && term > Term::ZERO {
            // A promise from before the start may still be running.
            raft.support_until = start.now.after(config.election_timeout_us);
        }
        raft.arm(start.now);
        Ok(raft)
    }

    /// Follows from the membership in force whether this replica can lead: it has a vote and keeps
    /// payloads.
    pub(crate) fn note_electable(&mut self) {
        let seat = self.memberships.seat(self.id);
        self.electable = seat.is_some_and(Seat::may_lead);
    }

    /// Whether this replica may be elected. One that could lead by a membership which is not known
    /// to be replaced for good still may: nobody else may have the later one, and then nobody else
    /// can win (thesis §4.2.2).
    #[inline]
    pub(crate) fn is_electable(&self) -> bool {
        self.electable || (self.memberships.since() > self.committed && self.was_electable())
    }

    #[cold]
    fn was_electable(&self) -> bool {
        let mut pending = self.memberships.from(self.committed).map(|at| at.seat(self.id));
        let witness = self.memberships.seat(self.id).is_some_and(Seat::is_witness);
        !witness && pending.any(|seat| seat.is_some_and(Seat::may_lead))
    }
}

/// The term gate.
impl Raft {
    /// Takes a message. One that is for another replica is ignored. So is the answer of a replica
    /// that is not a member; but its questions are not, for whoever asks may know of a membership
    /// that has not come here yet (Raft §6).
    pub fn step(&mut self, now: Time, message: &Message) {
        let &Message { from, to, term, kind, session } = message;
        if !self.is_addressed(from, to) {
            return;
        }
        self.wake_for(now, term, kind);
        self.note_resigned(now, from, term, kind);
        self.answer_ignorance(from, kind);
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
            MessageKind::PreVote { .. } | MessageKind::Resign => {}
            MessageKind::PreVoteReply { granted } => self.on_pre_vote_reply(now, from, granted),
            MessageKind::Vote { last, forced } => self.on_vote(now, from, last, forced),
            MessageKind::VoteReply { granted } => self.on_vote_reply(now, from, granted),
            MessageKind::AppendAck { .. } | MessageKind::HeartbeatAck { .. }
                if !self.is_leader() =>
            {
                self.disown(from);
            }
            MessageKind::AppendAck { matched, read_round } => {
                self.on_append_ack(now, (from, session), matched, read_round);
            }
            MessageKind::AppendReject { prev, hint, read_round } => {
                self.on_append_reject(now, (from, session), prev, hint, read_round);
            }
            MessageKind::Heartbeat { .. } => self.on_heartbeat(now, message),
            MessageKind::HeartbeatAck { read_round } => {
                self.on_heartbeat_ack(now, (from, session), read_round);
            }
            MessageKind::TimeoutNow { last } => self.on_timeout_now(now, (from, session), last),
            MessageKind::ReadIndex { request } => self.on_read_index(now, (from, session), request),
            MessageKind::ReadIndexReply { request, index } => self.talk.on_answer(request, index),
        }
    }

    /// Takes an append: its header, the terms of its entries as runs, and the memberships among
    /// them. The caller keeps the blocks that the outcome calls new.
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
        changes: &[MembershipAt],
    ) -> AppendOutcome {
        if !self.is_addressed(header.from, header.to) {
            return AppendOutcome::Rejected;
        }
        if header.term < self.hard_state.term {
            self.answer_old_leader(header.from);
            return AppendOutcome::Rejected;
        }
        self.on_append(now, header, spans, changes)
    }

    /// Whether the message is for this replica.
    #[inline]
    pub(crate) fn is_addressed(&self, from: ReplicaId, to: ReplicaId) -> bool {
        to == self.id && from != self.id
    }

    /// Enters the later term of a message, if the message is a reason to. Returns whether it was.
    fn follow_term(&mut self, now: Time, term: Term, kind: MessageKind) -> bool {
        let was_leader = self.is_leader();
        let follows = match kind {
            // While we hear a leader, an election is a disturbance (thesis §4.2.3), except when
            // the leader itself asked for it.
            MessageKind::Vote { forced, .. } => forced || !self.hears_leader(now),
            // The echo of a request; nobody has entered that term.
            MessageKind::PreVoteReply { granted: true } => false,
            MessageKind::PreVoteReply { granted: false } => {
                !planted::has(Bug::PreVoteRefusalIgnored)
            }
            MessageKind::PreVote { .. }
            | MessageKind::VoteReply { .. }
            | MessageKind::AppendAck { .. }
            | MessageKind::AppendReject { .. }
            | MessageKind::Heartbeat { .. }
            | MessageKind::HeartbeatAck { .. }
            | MessageKind::TimeoutNow { .. }
            | MessageKind::Resign
            | MessageKind::ReadIndex { .. }
            | MessageKind::ReadIndexReply { .. } => true,
        };
        if follows {
            self.enter_term(HardState { term, vote: None });
            let asked = matches!(kind, MessageKind::Vote { .. });
            let untimed = self.supports.is_some();
            if asked {
                // Nobody was supported, or the leader itself ordered the election.
                self.supports = None;
            }
            self.follow(None);
            // Being asked is no reason to wait longer: who asks in vain, in ever new terms, must
            // not keep those waiting who could win (hazard E11).
            if was_leader || untimed || !asked {
                self.arm(now);
            }
            self.remind();
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
            MessageKind::ReadIndex { request } => self.refuse_read(from, request),
            // One that follows us in an earlier term would wait for ever where nodes are supported
            // instead of leaders.
            MessageKind::HeartbeatAck { .. } if self.config.liveness == Liveness::External => {
                self.answer_old_leader(from);
            }
            MessageKind::PreVote { .. }
            | MessageKind::PreVoteReply { .. }
            | MessageKind::VoteReply { .. }
            | MessageKind::AppendAck { .. }
            | MessageKind::AppendReject { .. }
            | MessageKind::HeartbeatAck { .. }
            | MessageKind::Resign
            | MessageKind::ReadIndexReply { .. } => {}
        }
    }

    /// A leader of an earlier term, or who follows one, must hear of ours, or a replica that is ahead of it in terms
    /// could never rejoin.
    #[cold]
    pub(crate) fn answer_old_leader(&mut self, from: ReplicaId) {
        // Of no session: whoever leads our term by now must not take it for an acknowledgement.
        let kind = MessageKind::HeartbeatAck { read_round: 0 };
        let (term, session) = (self.hard_state.term, u32::MAX);
        self.talk.post(Message { from: self.id, to: from, term, kind, session });
    }
}

/// Replies and role changes.
impl Raft {
    /// Owes a reply in the present term.
    pub(crate) fn post(&mut self, to: ReplicaId, kind: MessageKind) {
        self.post_in(self.hard_state.term, to, kind);
    }

    pub(crate) fn post_in(&mut self, term: Term, to: ReplicaId, kind: MessageKind) {
        let session = match &self.role {
            RoleState::Leader(leader) => leader.session(to),
            RoleState::Follower(follower) if follower.leader == Some(to) => follower.session,
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => 0,
        };
        self.talk.post(Message { from: self.id, to, term, kind, session });
    }

    /// Changes the term. Replies of the old one are withdrawn, since its votes may never become
    /// durable once a later term is.
    pub(crate) fn enter_term(&mut self, hard_state: HardState) {
        assert!(hard_state.term > self.hard_state.term, "terms only move on");
        match &mut self.role {
            // Of another leader's log nothing is known but what is committed.
            RoleState::Follower(follower) => follower.verified = self.committed,
            RoleState::PreCandidate(ballot) | RoleState::Candidate(ballot) => {
                ballot.verified = self.committed;
            }
            RoleState::Leader(_) => {}
        }
        self.hard_state = hard_state;
        self.durability.hard_state_changed();
        self.talk.clear();
    }

    /// Follows: `leader`, or nobody yet; and waits anew before it campaigns.
    pub(crate) fn become_follower(&mut self, now: Time, leader: Option<ReplicaId>) {
        self.follow(leader);
        self.arm(now);
    }

    /// Follows. Reads that wait for the role that ends are lost.
    pub(crate) fn follow(&mut self, leader: Option<ReplicaId>) {
        self.reads_lost |= self.talk.lose_reads();
        self.resign();
        if let RoleState::Leader(old) = &self.role {
            self.reads_lost |= old.reads.as_ref().is_some_and(|reads| reads.any());
            if let Some(noop) = old.untaken_noop() {
                // No block was ever made for it, and nothing was handed out since.
                self.log.truncate(noop);
            }
        }
        let mut follower = Follower::new(leader, self.verified());
        if leader.is_some() && follower.verified > self.committed {
            // Before we doubted it, the leader was owed an answer. It waits for that and sends
            // nothing again on a connection that did not break (hazard G13).
            follower.verify(self.committed);
        }
        self.role = RoleState::Follower(follower);
    }

    /// Everything up to here is in the log of the leader of our term, whether we follow it or ask
    /// for another one.
    pub(crate) fn verified(&self) -> Index {
        let in_term = match &self.role {
            RoleState::Follower(follower) => follower.verified,
            RoleState::PreCandidate(ballot) | RoleState::Candidate(ballot) => ballot.verified,
            RoleState::Leader(_) => Index::ZERO,
        };
        in_term.max(self.committed)
    }

    /// Whether leaders check their quorum and votes are refused under a live leader.
    pub(crate) const fn is_checked(&self) -> bool {
        !matches!(self.config.liveness, Liveness::Unchecked)
    }
}
