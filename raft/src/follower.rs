//! What a follower does: takes appends, learns the commit, owes answers, gives votes.
//!
//! Answers merge. However many appends came, one acknowledgement says how far the log is verified
//! *and* persisted. It leaves when everything accepted is durable, or when a write has made part
//! of it so. A read round does not wait for the disk: when one came with an append that is still
//! being written, it is answered alone.
//!
//! Invariant: `committed <= verified <= last`, and entries up to `verified` are the leader's. So a
//! truncation below `verified` would mean that a leader overwrote its own log, and stops the
//! replica.

use crate::durability::Durability;
use crate::membership::MembershipAt;
use crate::message::{AppendHeader, AppendOutcome, Message, MessageKind};
use crate::planted::{self, Bug};
use crate::raft::{Raft, RoleState};
use crate::types::{HardState, Index, Position, ReplicaId, Span, Term, Time};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// The leader of the term, once it has spoken.
    pub(crate) leader: Option<ReplicaId>,
    /// Everything up to here is known to be in the leader's log too.
    pub(crate) verified: Index,
    /// The latest read round of this leader.
    read_round: u64,
    /// The number that the leader gives to this stay in the membership.
    pub(crate) session: u32,
    /// Accepted entries, or a probe, are not acknowledged in full.
    owes_ack: bool,
    /// More is persisted than when the last acknowledgement left.
    more_persisted: bool,
    /// A heartbeat or a read round is not answered.
    owes_beat: bool,
    /// The leader said that nothing will come: there is no need to wait for it.
    pub(crate) asleep: bool,
}

impl Follower {
    pub(crate) const fn new(leader: Option<ReplicaId>, committed: Index) -> Self {
        Self {
            leader,
            verified: committed,
            read_round: 0,
            session: 0,
            owes_ack: false,
            more_persisted: false,
            owes_beat: false,
            asleep: false,
        }
    }

    #[inline]
    pub(crate) const fn on_persisted(&mut self) {
        self.more_persisted = true;
    }

    #[inline]
    fn note_round(&mut self, read_round: u64) {
        if read_round > self.read_round {
            self.read_round = read_round;
            self.owes_beat = true;
        }
    }

    pub(crate) const fn owe_beat(&mut self) {
        self.owes_beat = true;
    }

    /// Everything up to `index` is in the leader's log, and it is to hear how much is durable.
    #[inline]
    pub(crate) fn verify(&mut self, index: Index) {
        self.verified = self.verified.max(index);
        self.owes_ack = true;
    }

    /// The answer that may leave now. The log begins after `compacted`, which is not durable yet
    /// while a snapshot is being written.
    #[inline]
    fn answer(&mut self, durability: &Durability, compacted: Index) -> Option<Answer> {
        let ready = durability.hard_state_is_durable() || planted::has(Bug::AckBeforeSync);
        if !(self.owes_ack || self.owes_beat) || !ready {
            return None;
        }
        let mut persisted = durability.persisted();
        if planted::has(Bug::AckBeforeSync) {
            persisted = self.verified;
        }
        if self.owes_ack
            && persisted >= compacted
            && (self.more_persisted || persisted >= self.verified)
        {
            self.owes_ack = persisted < self.verified;
            self.more_persisted = false;
            self.owes_beat = false;
            return Some(Answer::Ack(persisted.min(self.verified)));
        }
        if self.owes_beat {
            self.owes_beat = false;
            return Some(Answer::Beat);
        }
        None
    }
}

/// What a follower may say to its leader.
enum Answer {
    Ack(Index),
    Beat,
}

impl Raft {
    #[inline]
    pub(crate) fn follower_message(&mut self) -> Option<Message> {
        let RoleState::Follower(follower) = &mut self.role else { return None };
        let to = follower.leader?;
        let (read_round, session) = (follower.read_round, follower.session);
        let compacted = self.log.compacted().index;
        let kind = match follower.answer(&self.durability, compacted) {
            None if self.durability.hard_state_is_durable() => {
                self.talk.take_request(|| self.rng.name())?
            }
            None => return None,
            Some(Answer::Beat) => MessageKind::HeartbeatAck { read_round },
            Some(Answer::Ack(index)) => {
                let term =
                    self.log.term_at(index).expect("a verified, persisted entry is in the log");
                MessageKind::AppendAck { matched: Position::new(term, index), read_round }
            }
        };
        Some(Message { from: self.id, to, term: self.hard_state.term, kind, session })
    }

    /// Follows the leader of our term, which has just spoken (Raft §5.2: a candidate yields to it,
    /// and so does a follower that voted for somebody else).
    /// Gives `None` when the leader speaks to an earlier stay of this replica in the membership.
    #[inline]
    pub(crate) fn hear_leader(
        &mut self,
        now: Time,
        from: ReplicaId,
        session: u32,
    ) -> Option<&mut Follower> {
        let known = matches!(&self.role, RoleState::Follower(f) if f.leader == Some(from));
        if !known {
            self.adopt_leader(now, from);
        }
        self.note_heard(now);
        match &mut self.role {
            RoleState::Follower(follower) if session < follower.session => None,
            RoleState::Follower(follower) => {
                follower.session = session;
                Some(follower)
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) | RoleState::Leader(_) => {
                unreachable!("a replica that heard its leader follows it")
            }
        }
    }

    #[cold]
    fn adopt_leader(&mut self, now: Time, from: ReplicaId) {
        let (term, known) = (self.hard_state.term, self.leader());
        assert!(known.is_none(), "{term:?} has two leaders, {known:?} and {from:?}");
        // A majority has elected it, so whoever led before has no lease to rest on a promise.
        self.supports = None;
        self.become_follower(now, Some(from));
    }

    pub(crate) fn on_append(
        &mut self,
        now: Time,
        header: &AppendHeader,
        spans: &[Span],
        changes: &[MembershipAt],
    ) -> AppendOutcome {
        if !spans_fit(header, spans) || !changes_fit(header, changes) {
            // Not something a leader makes. Whoever decodes peers' bytes closes such a connection.
            return AppendOutcome::Rejected;
        }
        if header.term > self.hard_state.term {
            self.enter_term(HardState { term: header.term, vote: None });
            self.supports = None;
            self.become_follower(now, Some(header.from));
        }
        let Some(follower) = self.hear_leader(now, header.from, header.session) else {
            return AppendOutcome::Rejected;
        };
        follower.note_round(header.read_round);
        follower.asleep = false;
        self.note_floor(header.floor);

        // What is committed matches every leader; there the terms may be compacted away.
        if header.prev.index > self.committed
            && self.log.term_at(header.prev.index) != Some(header.prev.term)
        {
            self.reject(header);
            return AppendOutcome::Rejected;
        }
        if planted::has(Bug::TruncateByDuplicate) {
            self.truncate_to(header);
        }
        let outcome = match self.first_new(header, spans) {
            Some(first_new) => {
                self.take_entries(first_new, spans);
                if !changes.is_empty() {
                    self.take_memberships(first_new, changes);
                }
                AppendOutcome::Accepted { first_new }
            }
            None => AppendOutcome::Duplicate,
        };
        let RoleState::Follower(follower) = &mut self.role else { return outcome };
        follower.verify(header.last);
        let committed = header.commit.min(follower.verified);
        self.committed = self.committed.max(committed);
        outcome
    }

    /// The planted bug of its name.
    fn truncate_to(&mut self, header: &AppendHeader) {
        let from = header.last.max(self.committed).next();
        if from <= self.log.last().index {
            if let RoleState::Follower(follower) = &mut self.role {
                follower.verified = follower.verified.min(from.prev());
            }
            self.truncate(from);
        }
    }

    /// The first entry that the log does not hold, or holds with another term.
    #[inline]
    fn first_new(&self, header: &AppendHeader, spans: &[Span]) -> Option<Index> {
        let (known, last) = (header.prev.index.max(self.committed), self.log.last().index);
        if header.last <= known {
            return None;
        }
        if known == last {
            return Some(known.next());
        }
        let mut next = known.next();
        for span in spans {
            while next <= span.last {
                if next > last {
                    return Some(next);
                }
                let ours = self.log.run_at(next);
                if ours.term != span.term {
                    return Some(next);
                }
                next = ours.last.min(span.last).next();
            }
        }
        None
    }

    /// Replaces everything at and after `first_new` by the leader's entries. Only a real conflict
    /// of terms leads here with entries to drop: a duplicate that is merely shorter has nothing
    /// new (hazard L4).
    #[inline]
    fn take_entries(&mut self, first_new: Index, spans: &[Span]) {
        if first_new <= self.log.last().index {
            self.drop_conflict(first_new);
        }
        for span in spans {
            if span.last >= first_new {
                self.log.append(span.term, span.last);
            }
        }
    }

    /// Memberships count from the moment they are appended (thesis §4.1).
    #[cold]
    fn take_memberships(&mut self, first_new: Index, changes: &[MembershipAt]) {
        for change in changes {
            if change.index >= first_new {
                self.memberships.append(change.index, &change.membership);
            }
        }
        self.note_electable();
    }

    #[cold]
    fn drop_conflict(&mut self, from: Index) {
        if let RoleState::Follower(follower) = &self.role {
            let verified = follower.verified;
            assert!(from > verified, "conflict at {from:?}, but {verified:?} is verified");
        }
        assert!(from > self.committed, "conflict at {from:?}, committed {:?}", self.committed);
        self.truncate(from);
    }

    /// Memberships that go away with their entries are no longer in force.
    fn truncate(&mut self, from: Index) {
        self.log.truncate(from);
        self.durability.truncated(from);
        if self.memberships.truncate(from) {
            self.note_electable();
        }
    }

    /// Says where the logs could still meet: the latest position here that is no later than the
    /// one asked for, in term and in index. A conflicting term is thereby skipped whole.
    #[cold]
    fn reject(&mut self, header: &AppendHeader) {
        let (prev, committed) = (header.prev, self.committed);
        let hint = self.log.latest_up_to(prev.index, prev.term).unwrap_or_else(|| {
            let term = self.log.term_at(committed).expect("the commit is in the log or ends it");
            Position::new(term, committed)
        });
        let RoleState::Follower(follower) = &mut self.role else { return };
        follower.owes_beat = false; // The rejection answers the round as well.
        let read_round = follower.read_round;
        self.post(header.from, MessageKind::AppendReject { prev: prev.index, hint, read_round });
    }

    pub(crate) fn on_heartbeat(&mut self, now: Time, message: &Message) {
        let MessageKind::Heartbeat { commit, floor, read_round, sleep } = message.kind else {
            return;
        };
        let Some(follower) = self.hear_leader(now, message.from, message.session) else { return };
        follower.note_round(read_round);
        follower.owes_beat = true;
        // The leader names no commit beyond what we acknowledged, so we must hold it.
        self.assert_holds(commit);
        self.note_floor(floor);
        if commit > self.committed {
            self.committed = commit;
            if let RoleState::Follower(follower) = &mut self.role {
                follower.verified = follower.verified.max(commit);
            }
        }
        // Should the request have been lost without anybody noticing.
        self.talk.ask_again();
        let rested = self.committed == self.log.last().index
            && self.durability.persisted() == self.committed
            && self.talk.is_idle();
        if let RoleState::Follower(follower) = &mut self.role {
            follower.asleep = sleep && rested;
        }
    }

    #[inline]
    fn note_floor(&mut self, floor: Index) {
        if floor > self.floor {
            self.assert_holds(floor);
            self.floor = floor;
        }
    }

    /// A leader that counts on an entry here, which is not here, has been told of it once: this
    /// replica has lost durable entries. It must not be repaired as if nothing had happened, for
    /// the lost entries may have made a majority (hazard L13).
    #[inline]
    fn assert_holds(&self, index: Index) {
        let last = self.log.last();
        assert!(
            index <= last.index,
            "durable entries are lost: {index:?} was here, {last} is last"
        );
    }

    pub(crate) fn on_timeout_now(
        &mut self,
        now: Time,
        (from, session): (ReplicaId, u32),
        last: Position,
    ) {
        if self.hear_leader(now, from, session).is_none() {
            return;
        }
        let holds = self.log.term_at(last.index) == Some(last.term);
        if holds && self.durability.persisted() >= last.index && self.can_campaign() {
            self.become_candidate(now, true);
        }
    }

    /// Answers "would you": only for a term beyond ours, a log at least as long as ours, and when
    /// we hear no leader. Nothing changes here. A refusal carries our term, so that a replica
    /// which is behind in terms catches up instead of asking for ever (hazard E6).
    pub(crate) fn on_pre_vote(&mut self, now: Time, from: ReplicaId, term: Term, last: Position) {
        let granted =
            term >= self.hard_state.term && self.is_up_to_date(last) && !self.hears_leader(now);
        let echo = if granted { term } else { self.hard_state.term };
        self.post_in(echo, from, MessageKind::PreVoteReply { granted });
    }

    /// Gives the vote of our term, once, and only to a log at least as up-to-date as ours. Whoever
    /// is asked answers, whatever the seat: a learner may be a voter of a membership that it does
    /// not know yet (hazard M6). Who has no vote is not counted.
    pub(crate) fn on_vote(&mut self, now: Time, from: ReplicaId, last: Position, forced: bool) {
        let granted = match self.hard_state.vote {
            Some(vote) => vote == from,
            None => {
                self.leader().is_none()
                    && self.is_up_to_date(last)
                    && (forced || !self.hears_leader(now))
            }
        };
        if granted && self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(from);
            self.durability.hard_state_changed();
            // Only a vote given restarts the timer; asking alone must not (hazard E11).
            self.supports = None;
            self.become_follower(now, None);
        }
        self.post(from, MessageKind::VoteReply { granted });
    }

    /// Whether a log that ends with `last` has everything that may be committed: term first, then
    /// length (Raft §5.4.1).
    fn is_up_to_date(&self, last: Position) -> bool {
        if planted::has(Bug::VoteByIndex) {
            return last.index >= self.log.last().index;
        }
        last >= self.log.last()
    }
}

/// Whether the spans are exactly the entries that the header announces, of terms that do not go
/// down.
#[inline]
fn spans_fit(header: &AppendHeader, spans: &[Span]) -> bool {
    let mut end = header.prev;
    for span in spans {
        let follows = span.first.0.checked_sub(1) == Some(end.index.0) && span.first <= span.last;
        if !follows || span.term < end.term {
            return false;
        }
        end = Position::new(span.term, span.last);
    }
    end.index == header.last && end.term <= header.term
}

/// Whether the memberships belong to entries that the header announces, in their order.
#[inline]
fn changes_fit(header: &AppendHeader, changes: &[MembershipAt]) -> bool {
    let mut before = header.prev.index;
    changes.iter().all(|change| {
        let follows = before < change.index && change.index <= header.last;
        before = change.index;
        follows
    })
}
