//! What a replica shows of itself: plain copies, made without allocation.

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
