//! Watches what replicas say, read, apply and change: the ordering rules.
//!
//! - What a message rests on is on the disk of its sender: term, vote, the end of its log.
//! - One vote a term; an answer to a leader echoes the session that the leader named last.
//! - What is applied is committed and durable there, and the same everywhere.
//! - A read sees everything that was committed before it was asked.
//! - One change of the membership at a time, only after the leader has committed in its term, and
//!   no quorum of the old membership can miss one of the new.

use kontiki_raft::{
    AppendHeader, Index, Member, Membership, Message, MessageKind, Position, Proposed, ReadId,
    ReadReady, ReplicaId, SnapshotHeader, Term,
};

use super::cluster::Node;
use super::oracle::{Oracle, carries};

impl Oracle {
    pub(crate) fn on_message(&mut self, node: &Node, message: &Message) {
        if self.deaf {
            return;
        }
        let (hard_state, log) = (node.disk.hard_state, &node.disk.log);
        let session = |exact: bool| {
            let heard = Some((message.term, message.to));
            if let Some((term, from, session)) = node.heard
                && Some((term, from)) == heard
                && exact
                // What answers a leader of an earlier term is of no session.
                && message.session != u32::MAX
            {
                assert_eq!(message.session, session, "{message:?} echoes another session");
            }
        };
        match message.kind {
            MessageKind::Vote { last, .. } => {
                let durable = (hard_state.term, hard_state.vote);
                assert_eq!(durable, (message.term, Some(node.id)), "asks before it is durable");
                let ends = log.holds(last) && log.last() == last.index;
                assert!(ends, "asks with {last}, but its disk ends at {:?}", log.last());
                self.on_vote(node, message.term, node.id);
            }
            MessageKind::VoteReply { granted: true } => {
                let durable = (hard_state.term, hard_state.vote);
                assert_eq!(durable, (message.term, Some(message.to)), "votes before it is durable");
                self.on_vote(node, message.term, message.to);
            }
            MessageKind::AppendAck { matched, .. } => {
                assert!(hard_state.term >= message.term, "acknowledged before the term is durable");
                assert!(log.holds(matched), "acknowledged {matched} too early");
                session(true);
            }
            MessageKind::PreVoteReply { granted: true } => {}
            MessageKind::HeartbeatAck { .. } => {
                assert!(hard_state.term >= message.term, "spoke before the term was durable");
                session(true);
            }
            MessageKind::Heartbeat { commit, .. } => {
                assert!(hard_state.term >= message.term, "spoke before the term was durable");
                assert!(commit <= node.raft().committed(), "tells a commit that it does not know");
            }
            MessageKind::PreVote { .. }
            | MessageKind::PreVoteReply { .. }
            | MessageKind::VoteReply { .. }
            | MessageKind::AppendReject { .. }
            | MessageKind::TimeoutNow { .. }
            | MessageKind::ReadIndex { .. }
            | MessageKind::Resign
            | MessageKind::ReadIndexReply { .. } => {
                assert!(hard_state.term >= message.term, "spoke before the term was durable");
            }
        }
    }

    fn on_vote(&mut self, node: &Node, term: Term, candidate: ReplicaId) {
        let before = self.votes.insert((term, node.id, node.wipes), candidate);
        let once = before.is_none_or(|before| before == candidate);
        assert!(once, "{:?} votes for {before:?} and {candidate:?} in {term:?}", node.id);
    }

    pub(crate) fn on_append(&self, node: &Node, header: &AppendHeader) {
        if self.deaf {
            return;
        }
        let (disk, raft) = (node.disk.hard_state, node.raft());
        assert!(disk.term >= header.term, "leads before the term is durable");
        assert!(header.commit <= raft.committed(), "tells a commit that it does not know");
        let prev = node.memory.term_at(header.prev.index);
        assert_eq!(prev, Some(header.prev.term), "names another entry before the first");
    }

    /// A snapshot holds what is committed, and the membership there.
    pub(crate) fn on_snapshot(&self, node: &Node, header: &SnapshotHeader) {
        let SnapshotHeader { position, membership, .. } = *header;
        assert!(position.index <= node.raft().committed(), "a snapshot of what may be lost");
        if let Some((entry, _)) = self.committed.get(&position.index) {
            assert_eq!(entry.term, position.term, "a snapshot of another history");
        }
        // Who was added later has never heard of the memberships before; nobody needs them from it.
        let here = node.memory.membership_at(position.index);
        let known = if here.is_empty() { here } else { self.membership_at(position.index) };
        assert_eq!(membership, known, "of another membership");
    }

    pub(crate) fn on_install(&mut self, header: &SnapshotHeader) {
        let known = self.committed.get(&header.position.index).map(|(entry, _)| entry.term);
        assert_eq!(known, Some(header.position.term), "an install of what is not committed");
        self.installs += 1;
    }

    pub(crate) fn on_apply(&self, node: &Node, first: Index, last: Index) {
        let raft = node.raft();
        assert_eq!(first, node.applied.next(), "each entry is given once, in order");
        assert!(first <= last && last <= raft.committed(), "{last:?} is not committed");
        for index in (first.0..=last.0).map(Index) {
            let entry = node.memory.get(index);
            assert_eq!(node.disk.log.get(index), entry, "{index:?} is not durable here");
            if let Some((known, _)) = self.committed.get(&index) {
                assert_eq!(entry, Some(*known), "another entry is applied at {index:?}");
            }
        }
    }
}

/// Reads.
impl Oracle {
    pub(crate) fn on_read(&mut self, id: ReplicaId, read: ReadId) {
        self.reads.insert((id, read), self.committed_end());
    }

    /// A read that is served at once.
    pub(crate) fn on_lease_read(&mut self, id: ReplicaId, index: Index) {
        let must_see = self.committed_end();
        assert!(
            index >= must_see,
            "a stale read by lease: {id:?} must see {must_see:?}: {index:?}"
        );
        self.lease_reads += 1;
    }

    pub(crate) fn on_read_ready(&mut self, id: ReplicaId, ready: ReadReady) {
        let (up_to, served) = match ready {
            ReadReady::Confirmed { up_to, index } => (up_to, Some(index)),
            ReadReady::Lost { up_to } => (up_to, None),
        };
        let waiting: Vec<_> = self.reads.range((id, ReadId(0))..=(id, up_to)).collect();
        for ((_, read), must_see) in &waiting {
            let fresh = served.is_none_or(|index| index >= **must_see);
            assert!(fresh, "a stale read: {read:?} at {id:?} must see {must_see:?}, {ready:?}");
        }
        self.reads_confirmed += if served.is_some() { waiting.len() as u64 } else { 0 };
        self.reads.retain(|&(reader, read), _| reader != id || read > up_to);
    }

    /// Reads of the replica that have no answer yet.
    pub(crate) fn reads_waiting(&self, id: ReplicaId) -> usize {
        self.reads.keys().filter(|&&(reader, _)| reader == id).count()
    }
}

/// Memberships.
impl Oracle {
    /// The leader `node` has given a place to another membership.
    pub(crate) fn on_change(&self, node: &Node, proposed: Proposed, new: &Membership) {
        let raft = node.raft();
        let (term, committed) = (raft.term(), raft.committed());
        assert_eq!(proposed.term, term);
        let before = node.memory.changes.last().map_or(Index::ZERO, |change| change.index);
        assert!(before <= committed, "a change at {:?} while {before:?} waits", proposed.last);
        let own = node.memory.term_at(committed) == Some(term);
        assert!(own, "a change before anything of {term:?} is committed");
        let old = node.memory.membership();
        assert!(!(old.is_joint() && new.is_joint()), "joint after joint");
        check_overlap(&old, new);
    }
}

/// No quorum of one membership misses a quorum of the other: whichever way all members are
/// divided in two, not both parts can decide.
fn check_overlap(old: &Membership, new: &Membership) {
    let mut ids: Vec<_> = old.members().chain(new.members()).map(|m: Member| m.id).collect();
    ids.sort_unstable();
    ids.dedup();
    for part in 0..1_u32 << ids.len() {
        let inside = |id: ReplicaId| {
            let slot = ids.iter().position(|&other| other == id).expect("it is a member");
            part & (1 << slot) != 0
        };
        let parted = carries(old, inside) && carries(new, |id| !inside(id));
        assert!(!parted, "{old:?} and {new:?} decide apart");
    }
}
