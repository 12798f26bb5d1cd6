//! What replicas say to each other, and what the core hands to its caller.
//!
//! Everything here is `Copy`, fixed in size and free of payload. A message's `term` is the term of
//! its sender when it was made, with one exception: a granted [`MessageKind::PreVoteReply`] echoes
//! the term of the request, so that a grant belongs to one campaign. Each kind carries at most
//! four numbers and one flag, which is what the wire format reserves.
//!
//! **Sessions.** A replica may leave a group and be added again, and what its first stay has
//! acknowledged says nothing about the second. So a leader numbers the stays of its peers, puts
//! the number into what it sends, and takes an answer only with the number of the present stay. In
//! elections the session is 0.
//!
//! Deliberately absent: entries and the bytes of snapshots. An append or a snapshot is a header
//! here; the rest travels beside it.

use crate::membership::Membership;
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
    /// Which stay of the leader's peer it belongs to.
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
        /// Nothing more will come until something happens: the follower need not wait for it.
        sleep: bool,
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
    /// "I do not lead this term any more": who supports its sender need not wait for that to end.
    /// Only with external liveness, where the node of a leader that stepped down is alive still.
    Resign,
    /// "At which index may reads be served that came to me?" (thesis §6.4)
    ReadIndex {
        /// Comes back in the answer. Unlike the leader's rounds it proves nothing.
        request: u64,
    },
    /// The answer to [`MessageKind::ReadIndex`], once a round that began after it is confirmed.
    ReadIndexReply {
        /// Which request.
        request: u64,
        /// What must be applied first; 0 when the leader does not serve it.
        index: Index,
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
    /// Which stay of the follower it belongs to.
    pub session: u32,
}

impl AppendHeader {
    /// Whether the append carries no entries and only asks about `prev`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last == self.prev.index
    }
}

/// The fixed part of a snapshot, whose bytes travel beside it and are staged at the receiver
/// before it is told: see [`Raft::install_snapshot`](crate::Raft::install_snapshot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotHeader {
    /// The leader.
    pub from: ReplicaId,
    /// The follower.
    pub to: ReplicaId,
    /// The leader's term.
    pub term: Term,
    /// Which stay of the follower it belongs to: see [`SnapshotRequest::session`].
    pub session: u32,
    /// The last entry whose effect it contains.
    pub position: Position,
    /// The membership in force there, both halves of a joint one included (hazard M5).
    pub membership: Membership,
}

/// A follower that can be caught up only by a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotRequest {
    /// The follower.
    pub to: ReplicaId,
    /// Goes into [`SnapshotHeader::session`].
    pub session: u32,
    /// The snapshot must be at this entry or later, where the log begins now.
    pub at_least: Index,
}

/// How the sending of a snapshot ended, as its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotSent {
    /// The follower has all bytes of a snapshot at this entry.
    Sent(Index),
    /// It has not, and will not get them.
    Failed,
}

/// What [`Raft::install_snapshot`](crate::Raft::install_snapshot) decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotOutcome {
    /// The log is replaced. The caller installs the snapshot, whole, no later than it completes
    /// the write that carries it, and before it applies anything more.
    Install,
    /// The log has it all already. The snapshot is not needed; an acknowledgement is owed.
    Known,
    /// It is of an old term or an earlier stay. The snapshot is not needed.
    Rejected,
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
    /// Everything that was handed out before is void: the log begins after this entry, with the
    /// membership of the snapshot, and so does the state machine.
    pub snapshot: Option<Position>,
    /// Everything at and after this index that was handed out before is void.
    pub truncate_from: Option<Index>,
    /// The entries to write, first and last.
    pub append: Option<(Index, Index)>,
}

/// A change of membership that was given its place in the log, as one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MembershipProposed {
    /// Where; first and last are the same.
    pub proposed: Proposed,
    /// What the entry says. In force from now on.
    pub membership: Membership,
}

/// What has become of an entry that once had a place in some log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommitStatus {
    /// It may still commit, or be replaced.
    InProgress,
    /// It is committed.
    Committed,
    /// Another entry has its place: it will never be committed.
    Rejected,
    /// The log no longer reaches back to it.
    Unknown,
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
