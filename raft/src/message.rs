//! What replicas say to each other, and what the core hands to its caller.
//!
//! Everything here is `Copy`, fixed in size and free of payload. A message's `term` is the term of
//! its sender when it was made, with one exception: a granted [`MessageKind::PreVoteReply`] echoes
//! the term of the request, so that a grant belongs to one campaign. Each kind carries at most
//! four numbers and one flag, which is what the wire format reserves.
//!
//! Deliberately absent: entries. An append is a header here; its blocks travel beside it.

use crate::types::{HardState, Index, Position, ReplicaId, Term};

/// One message between two replicas of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The replica that says it.
    pub from: ReplicaId,
    /// The replica it is for; any other one ignores it.
    pub to: ReplicaId,
    /// The sender's term.
    pub term: Term,
    /// What it says.
    pub kind: MessageKind,
    /// Which stay of the peer in the membership it belongs to; 0 while memberships are fixed.
    pub session: u32,
}

/// What a [`Message`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// "Would you vote for me in the next term?" Changes nothing at the receiver (thesis §9.6).
    PreVote {
        /// The end of the asker's log.
        last: Position,
    },
    /// The answer to [`MessageKind::PreVote`].
    PreVoteReply {
        /// Whether the replica would.
        granted: bool,
    },
    /// "Vote for me in this term" (Raft §5.2).
    Vote {
        /// The end of the candidate's persisted log.
        last: Position,
        /// The leader itself asked for this election, so a live leader is no reason to refuse.
        forced: bool,
    },
    /// The answer to [`MessageKind::Vote`]; a grant leaves only once the vote is durable.
    VoteReply {
        /// Whether the vote was given.
        granted: bool,
    },
    /// "My log matches yours up to here, durably."
    AppendAck {
        /// The end of the verified and persisted prefix.
        matched: Position,
        /// The latest read round seen from this leader.
        read_round: u64,
    },
    /// "I do not have the entry before yours."
    AppendReject {
        /// The index of the entry that was missing or different.
        prev: Index,
        /// The latest position of this log that can still match the leader's.
        hint: Position,
        /// The latest read round seen from this leader.
        read_round: u64,
    },
    /// "I still lead", with what is news to the follower.
    Heartbeat {
        /// The commit, no further than what the follower has acknowledged.
        commit: Index,
        /// See [`Raft::log_floor`](crate::Raft::log_floor).
        floor: Index,
        /// The leader's latest read round.
        read_round: u64,
    },
    /// The answer to [`MessageKind::Heartbeat`], and to any leader of an old term.
    HeartbeatAck {
        /// The latest read round seen from this leader; 0 for a leader of an old term.
        read_round: u64,
    },
    /// "Campaign at once" (thesis §3.10).
    TimeoutNow {
        /// What the target must have persisted before it campaigns.
        last: Position,
    },
}

/// The fixed part of an append; the entries `prev.index + 1 ..= last` travel beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendHeader {
    /// The leader.
    pub from: ReplicaId,
    /// The follower.
    pub to: ReplicaId,
    /// The leader's term.
    pub term: Term,
    /// The entry just before the first one sent.
    pub prev: Position,
    /// The last entry sent; `prev.index` when there are none.
    pub last: Index,
    /// The leader's commit.
    pub commit: Index,
    /// See [`Raft::log_floor`](crate::Raft::log_floor).
    pub floor: Index,
    /// The leader's latest read round.
    pub read_round: u64,
    /// Which stay of the peer in the membership it belongs to; 0 while memberships are fixed.
    pub session: u32,
}

impl AppendHeader {
    /// Whether the append carries no entries and only asks about `prev`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last == self.prev.index
    }
}

/// How much of the log one append carries: the caller's answer in
/// [`Raft::next_append`](crate::Raft::next_append).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The last entry that is sent, at or after the first.
    pub last: Index,
    /// The bytes they take.
    pub bytes: u32,
}

/// Where accepted proposals went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proposed {
    /// The leader's term; the entries carry it.
    pub term: Term,
    /// The first entry.
    pub first: Index,
    /// The last entry.
    pub last: Index,
}

/// One write to the log, to be made durable as a whole and in the order of `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Names the write in [`Raft::on_persisted`](crate::Raft::on_persisted).
    pub seq: u64,
    /// The new hard state, when it changed. Durable no later than the entries beside it.
    pub hard_state: Option<HardState>,
    /// Everything at and after this index that was handed out before is void.
    pub truncate_from: Option<Index>,
    /// The entries to write, first and last.
    pub append: Option<(Index, Index)>,
}

/// What [`Raft::step_append`](crate::Raft::step_append) did with the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// Entries from `first_new` on are new, and whatever the log held from there on is gone.
    Accepted {
        /// The first entry to keep, always the first of a block.
        first_new: Index,
    },
    /// Everything was known.
    Duplicate,
    /// Nothing was taken.
    Rejected,
}

/// Names a read; ids ascend in the order in which reads came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReadId(pub u64);

/// What became of waiting reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadReady {
    /// The leadership was confirmed: serve every waiting read up to `up_to` once `index` is
    /// applied.
    Confirmed {
        /// The last of these reads.
        up_to: ReadId,
        /// What must be applied first.
        index: Index,
    },
    /// The leadership was lost: every waiting read up to `up_to` ends unanswered.
    Lost {
        /// The last of these reads.
        up_to: ReadId,
    },
}
