//! What may be refused, one enum per question, so that a caller can act on every variant.
//!
//! Errors here are the world's doing: a proposal at the wrong replica, a start from a damaged
//! record. Broken promises of the caller or of the core itself are assertions instead.

use core::fmt;

use crate::types::{Index, Position, ReplicaId, Term};

/// Why [`Raft::propose`](crate::Raft::propose) took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposeError {
    /// Only the leader proposes.
    NotLeader {
        /// The leader as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// Too many bytes wait for their commit; try again after the next commit.
    Busy,
    /// The leadership is being handed over; the target is the likely next leader.
    Transferring {
        /// To whom.
        to: ReplicaId,
    },
}

/// Why [`Raft::read`](crate::Raft::read) took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadError {
    /// Only the leader confirms reads.
    NotLeader {
        /// The leader as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// The leadership is being handed over, so a new read round would most likely be lost.
    NotReady,
}

/// Why a change of membership was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeError {
    /// Only the leader proposes.
    NotLeader {
        /// The leader as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// The leadership is being handed over; the target is the likely next leader.
    Transferring {
        /// To whom.
        to: ReplicaId,
    },
    /// The leader has not committed in its own term yet, so it cannot know that no earlier change
    /// is pending (hazard M2). Try again after the next commit.
    NotReady,
    /// The last change is not committed yet.
    InProgress {
        /// The entry that carries it.
        index: Index,
    },
    /// The membership is joint: it must be left first.
    Joint,
    /// The membership is not joint: there is nothing to leave.
    NotJoint,
    /// The changes do not make a membership.
    Invalid(MembershipError),
}

/// Why [`Raft::transfer`](crate::Raft::transfer) did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferError {
    /// Only the leader hands over.
    NotLeader {
        /// The leader as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// The target is the leader already.
    AlreadyLeader,
    /// The target does not vote in this group, will not for long, or holds no payloads.
    NotVoter,
    /// Another transfer is going on.
    Transferring {
        /// To whom.
        to: ReplicaId,
    },
}

/// Why a [`Config`](crate::Config) makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigError {
    /// The election timeout must be at least 1 ms and at most half an hour.
    ElectionTimeout,
    /// The heartbeat must be positive and at most half of the election timeout.
    Heartbeat,
    /// A byte window of zero would never let anything pass.
    Window,
    /// Leases last at most [`LEASE_PERCENT_MAX`](crate::LEASE_PERCENT_MAX) of the election timeout,
    /// and need a leader that checks its quorum.
    Lease,
    /// Priorities end at [`PRIORITY_MAX`](crate::PRIORITY_MAX).
    Priority,
}

/// Why a list of members is not a membership, or why a membership cannot be changed like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MembershipError {
    /// A group needs a voter in each half.
    Empty,
    /// Those who keep payloads must be a majority of each half: a witness cannot lead, and must not
    /// be needed to elect who can, since it may have more of the log than anybody else.
    Witnesses,
    /// More than [`VOTERS_MAX`](crate::VOTERS_MAX) voters in one half, or more than
    /// [`MEMBERS_MAX`](crate::MEMBERS_MAX) members.
    TooMany,
    /// One replica is named twice.
    Duplicate {
        /// Which one.
        id: ReplicaId,
    },
    /// The membership is joint, so only leaving it is possible.
    AlreadyJoint,
    /// The membership is not joint: there is nothing to leave.
    NotJoint,
    /// More than one voter changes, which is safe only by way of a joint membership.
    NeedsJoint,
    /// A witness lacks the payloads that a full voter or a learner answers for. It is removed
    /// first and added again later, under a new id. Nor may a leader make itself a witness: it may
    /// be the only one that has what it has.
    BadSeat {
        /// Which one.
        id: ReplicaId,
    },
}

/// Why a replica cannot start from what was recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartError {
    /// The tunables make no sense.
    Config(ConfigError),
    /// The spans do not follow on `compacted` without a gap, or their terms go down.
    Spans {
        /// The first entry of the first span that does not fit.
        at: Index,
    },
    /// The memberships do not ascend, or lie outside of the log.
    Changes {
        /// The first that does not fit.
        at: Index,
    },
    /// The log holds an entry of a later term than the hard state knows.
    TermBehindLog {
        /// The recovered term.
        term: Term,
        /// The end of the recovered log.
        last: Position,
    },
    /// The known commit is outside of the log: durable entries are missing.
    Committed {
        /// The commit that was known.
        committed: Index,
        /// The end of the recovered log.
        last: Position,
    },
}

impl From<MembershipError> for ChangeError {
    fn from(error: MembershipError) -> Self {
        Self::Invalid(error)
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(id) } => write!(f, "not the leader; replica {id} is"),
            Self::NotLeader { leader: None } => f.write_str("not the leader; none is known"),
            Self::Busy => f.write_str("too many uncommitted bytes"),
            Self::Transferring { to } => write!(f, "leadership is moving to replica {to}"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(id) } => write!(f, "not the leader; replica {id} is"),
            Self::NotLeader { leader: None } => f.write_str("not the leader; none is known"),
            Self::NotReady => f.write_str("leadership is moving"),
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(id) } => write!(f, "not the leader; replica {id} is"),
            Self::NotLeader { leader: None } => f.write_str("not the leader; none is known"),
            Self::Transferring { to } => write!(f, "leadership is moving to replica {to}"),
            Self::NotReady => f.write_str("nothing is committed in this leader's term yet"),
            Self::InProgress { index } => write!(f, "the change at index {index} is not committed"),
            Self::Joint => f.write_str("the membership is joint and must be left first"),
            Self::NotJoint => f.write_str("the membership is not joint"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(id) } => write!(f, "not the leader; replica {id} is"),
            Self::NotLeader { leader: None } => f.write_str("not the leader; none is known"),
            Self::AlreadyLeader => f.write_str("the target leads already"),
            Self::NotVoter => f.write_str("the target cannot lead this group"),
            Self::Transferring { to } => write!(f, "leadership is moving to replica {to} already"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ElectionTimeout => "election timeout is not within 1 ms and 30 min",
            Self::Heartbeat => "heartbeat is zero or more than half of the election timeout",
            Self::Window => "a byte window is zero",
            Self::Lease => "leases end at 80 % of the election timeout, and need check-quorum",
            Self::Priority => "priority is above 3",
        })
    }
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a group needs a voter that keeps payloads"),
            Self::Witnesses => f.write_str("witnesses are not a minority of the voters"),
            Self::TooMany => f.write_str("too many members"),
            Self::Duplicate { id } => write!(f, "replica {id} is named twice"),
            Self::AlreadyJoint => f.write_str("the membership is joint already"),
            Self::NotJoint => f.write_str("the membership is not joint"),
            Self::NeedsJoint => {
                f.write_str("more than one voter changes, which needs a joint membership")
            }
            Self::BadSeat { id } => {
                write!(
                    f,
                    "replica {id} cannot take that seat: a witness lacks payloads, a leader not"
                )
            }
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Spans { at } => write!(f, "recovered log does not continue at index {at}"),
            Self::Changes { at } => write!(f, "membership at index {at} is out of place"),
            Self::TermBehindLog { term, last } => {
                write!(f, "recovered term {term} is behind the recovered log, which ends at {last}")
            }
            Self::Committed { committed, last } => {
                write!(f, "commit {committed} is outside of the log, which ends at {last}")
            }
        }
    }
}

impl core::error::Error for ProposeError {}
impl core::error::Error for ReadError {}
impl core::error::Error for ChangeError {}
impl core::error::Error for TransferError {}
impl core::error::Error for ConfigError {}
impl core::error::Error for MembershipError {}
impl core::error::Error for StartError {}
