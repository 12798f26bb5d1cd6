//! What a replica shows of itself: plain copies, made without allocation.

use crate::leader::Leader;
use crate::membership::Membership;
use crate::raft::{Raft, RoleState};
use crate::seat::Seat;
use crate::types::{Index, Position, ReplicaId, Term, Time};

/// The part a replica plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes what the leader sends.
    Follower,
    /// Asks whether an election would succeed, without starting one.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Orders the log.
    Leader,
}

/// A replica at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// The replica.
    pub id: ReplicaId,
    /// Its part.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in its term.
    pub vote: Option<ReplicaId>,
    /// The leader of its term, as far as it knows.
    pub leader: Option<ReplicaId>,
    /// The log begins after this entry.
    pub compacted: Position,
    /// The last entry the state machine has taken.
    pub applied: Index,
    /// The last entry known committed.
    pub committed: Index,
    /// The last entry known durable here.
    pub persisted: Index,
    /// The last entry.
    pub last: Position,
    /// See [`Raft::log_floor`](crate::Raft::log_floor).
    pub floor: Index,
    /// The replica's own seat in the membership in force; none when it is no member.
    pub seat: Option<Seat>,
    /// The entry that carries the membership in force, or where the log once began with it.
    pub membership_index: Index,
    /// Nothing happens in the group, and nobody waits for anything.
    pub asleep: bool,
    /// Leader: bytes of its own proposals that wait for their commit. Otherwise 0.
    pub uncommitted_bytes: u64,
    /// Leader: to whom the leadership is moving.
    pub transferring: Option<ReplicaId>,
    /// Leader: until when it may serve reads without asking, by its own rounds.
    pub lease_until: Option<Time>,
}

/// How a leader sends to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// One append at a time, until one is answered.
    Probe,
    /// Appends follow each other without waiting, within the byte window.
    Replicate,
    /// The peer needs entries that are compacted; nothing is sent until it has a snapshot.
    Snapshot,
}

/// A leader's picture of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerProgress {
    /// The peer.
    pub id: ReplicaId,
    /// Its seat.
    pub seat: Seat,
    /// How it is sent to.
    pub state: ProgressState,
    /// The last entry it has acknowledged as durable.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// Bytes on their way to it.
    pub inflight_bytes: u64,
    /// It must answer before it is sent any more entries.
    pub paused: bool,
    /// The snapshot that it waits for must be at this entry or later.
    pub pending_snapshot: Option<Index>,
    /// The number of its stay in the membership.
    pub session: u32,
    /// Whether it was heard within an election timeout.
    pub recent_active: bool,
}

/// Looking at a replica.
impl Raft {
    /// Everything at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        let leader = self.as_leader();
        let asleep = match &self.role {
            RoleState::Leader(leader) => leader.asleep,
            RoleState::Follower(follower) => follower.asleep,
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => false,
        };
        Status {
            id: self.id,
            role: self.role(),
            term: self.hard_state.term,
            vote: self.hard_state.vote,
            leader: self.leader(),
            compacted: self.log.compacted(),
            applied: self.applied,
            committed: self.committed,
            persisted: self.durability.persisted(),
            last: self.log.last(),
            floor: self.floor,
            seat: self.memberships.seat(self.id),
            membership_index: self.memberships.since(),
            asleep,
            uncommitted_bytes: leader.map_or(0, |leader| leader.uncommitted.bytes()),
            transferring: leader.and_then(Leader::transferring),
            lease_until: leader.and_then(|leader| leader.round_lease(self.config.lease_us())),
        }
    }

    fn as_leader(&self) -> Option<&Leader> {
        match &self.role {
            RoleState::Leader(leader) => Some(leader),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
        }
    }

    /// A leader's picture of its followers; nothing for other roles.
    pub fn progress(&self) -> impl Iterator<Item = PeerProgress> + '_ {
        let timeout_us = u64::from(self.config.election_timeout_us);
        let config = (timeout_us, self.config.inflight_bytes_max);
        self.as_leader().into_iter().flat_map(move |leader| leader.progress(config))
    }

    /// Whom a leader speaks to: the other members, and those just removed who do not know it yet.
    /// The caller asks [`Raft::next_append`] and [`Raft::commit_owed`] for each. Nobody for other
    /// roles.
    pub fn peers(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.as_leader().into_iter().flat_map(|leader| leader.peers.iter().map(|peer| peer.id))
    }

    /// The replica.
    #[must_use]
    pub const fn id(&self) -> ReplicaId {
        self.id
    }

    /// The membership in force: the latest in the log, committed or not.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.memberships.current()
    }

    /// The entry that carries the membership in force, or where the log once began with it.
    #[must_use]
    pub const fn membership_index(&self) -> Index {
        self.memberships.since()
    }

    /// The membership in force at an entry from `compacted` to `last`: what a snapshot there must
    /// say, and what is stored beside a log that begins there.
    #[must_use]
    pub fn membership_at(&self, index: Index) -> Option<Membership> {
        let held = self.log.compacted().index <= index && index <= self.log.last().index;
        held.then(|| self.memberships.at(index))
    }

    /// Its part.
    #[must_use]
    pub const fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower(_) => Role::Follower,
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Whether it leads.
    #[must_use]
    #[inline]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, RoleState::Leader(_))
    }

    /// Its term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.hard_state.term
    }

    /// The leader of its term, as far as it knows.
    #[must_use]
    pub const fn leader(&self) -> Option<ReplicaId> {
        match &self.role {
            RoleState::Follower(follower) => follower.leader,
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
            RoleState::Leader(_) => Some(self.id),
        }
    }

    /// The last entry known committed.
    #[must_use]
    pub const fn committed(&self) -> Index {
        self.committed
    }

    /// The last entry known durable here.
    #[must_use]
    pub const fn persisted(&self) -> Index {
        self.durability.persisted()
    }

    /// The last entry.
    #[must_use]
    pub const fn last(&self) -> Position {
        self.log.last()
    }

    /// The log begins after this entry.
    #[must_use]
    pub const fn compacted(&self) -> Position {
        self.log.compacted()
    }

    /// The term of an entry from `compacted` to `last`.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The last entry that every member is known to hold durably, so that nobody needs it or
    /// anything before it from a log. The leader counts it; followers learn it. Never moves back.
    #[must_use]
    pub const fn log_floor(&self) -> Index {
        self.floor
    }
}
