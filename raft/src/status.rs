//! What a replica shows of itself: plain copies, made without allocation.

use crate::membership::Membership;
use crate::raft::{Raft, RoleState};
use crate::types::{Index, Position, ReplicaId, Term};

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
    /// Leader: bytes of its own proposals that wait for their commit. Otherwise 0.
    pub uncommitted_bytes: u64,
    /// Leader: to whom the leadership is moving.
    pub transferring: Option<ReplicaId>,
}

/// How a leader sends to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// One append at a time, until one is answered.
    Probe,
    /// Appends follow each other without waiting, within the byte window.
    Replicate,
    /// The follower needs entries that are compacted; nothing is sent until it has a snapshot.
    Snapshot,
}

/// A leader's picture of one follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerProgress {
    /// The follower.
    pub id: ReplicaId,
    /// How it is sent to.
    pub state: ProgressState,
    /// The last entry it has acknowledged as durable.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// Bytes on their way to it.
    pub inflight_bytes: u64,
    /// Whether it was heard within an election timeout.
    pub recent_active: bool,
}

/// Looking at a replica.
impl Raft {
    /// Everything at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        let (uncommitted_bytes, transferring) = match &self.role {
            RoleState::Leader(leader) => (leader.uncommitted.bytes(), leader.transferring()),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                (0, None)
            }
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
            uncommitted_bytes,
            transferring,
        }
    }

    /// A leader's picture of its followers; nothing for other roles.
    pub fn progress(&self) -> impl Iterator<Item = PeerProgress> + '_ {
        let leader = match &self.role {
            RoleState::Leader(leader) => Some(leader),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
        };
        let timeout_us = u64::from(self.config.election_timeout_us);
        leader.into_iter().flat_map(move |leader| leader.progress(timeout_us))
    }

    /// The replica.
    #[must_use]
    pub const fn id(&self) -> ReplicaId {
        self.id
    }

    /// Its group.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
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
