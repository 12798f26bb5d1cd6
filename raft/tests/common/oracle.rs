//! Watches a group and knows what must never happen: the logs.
//!
//! The five safety properties of the Raft paper (Figure 3), what only moves on, and when an entry
//! may count as committed. It sees everything at once, which no replica can, and counts for
//! itself: majorities come from the seats of a membership and from the disks, not from the core.
//! What replicas say, read and change is in `rules`.
//!
//! Tests that make up messages get the milder rules; `strict` adds those that only hold when every
//! message is genuine.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_raft::{
    CommitStatus, Index, Membership, MembershipAt, Position, Proposed, Raft, ReadId, ReplicaId,
    Term,
};

use super::cluster::Node;
use super::entries::{Entries, Entry};

/// What a replica looked like at the last look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    term: Term,
    vote: Option<ReplicaId>,
    committed: Index,
    floor: Index,
    leads: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Every message comes from the core.
    pub(crate) strict: bool,
    /// What was said of messages is not checked, for tests of the tests.
    pub(crate) deaf: bool,
    /// Election Safety: who led each term.
    leaders: BTreeMap<Term, ReplicaId>,
    /// Whom each life of each replica voted for, once it has said so.
    pub(super) votes: BTreeMap<(Term, ReplicaId, u64), ReplicaId>,
    /// Log Matching: what each position holds, and which term stood before it.
    positions: BTreeMap<(Term, Index), (u64, Option<Term>)>,
    /// Leader Append-Only: the end of each leader's log when last seen.
    ends: BTreeMap<(ReplicaId, Term), Index>,
    /// State Machine Safety: what is committed, by whoever said so first, and that one's term.
    pub(crate) committed: BTreeMap<Index, (Entry, Term)>,
    /// The memberships among it, after the one that the group began with.
    pub(super) changes: Vec<MembershipAt>,
    seen: BTreeMap<ReplicaId, Seen>,
    /// The commit each read must see.
    pub(super) reads: BTreeMap<(ReplicaId, ReadId), Index>,
    /// The end of each proposal, and those that somebody called rejected.
    pub(crate) tickets: Vec<Position>,
    rejected: BTreeSet<(Term, Index)>,
    pub(crate) elections: u64,
    pub(crate) reads_confirmed: u64,
    /// Reads that were served by a lease of nodes.
    pub(crate) lease_reads: u64,
    pub(crate) installs: u64,
}

/// Whether those who have something are a majority of each half of the membership.
pub(super) fn carries(membership: &Membership, has: impl Fn(ReplicaId) -> bool) -> bool {
    let mut halves = 0;
    for half in [true, false] {
        let counts = |seat: kontiki_raft::Seat| {
            if half { seat.votes_incoming() } else { seat.votes_outgoing() }
        };
        let voters = || membership.members().filter(|member| counts(member.seat));
        let all = voters().count();
        halves += usize::from(all > 0);
        if all > 0 && 2 * voters().filter(|member| has(member.id)).count() <= all {
            return false;
        }
    }
    halves > 0
}

impl Oracle {
    pub(crate) fn new(membership: Membership) -> Self {
        let first = MembershipAt { index: Index::ZERO, membership };
        Self { changes: vec![first], ..Self::default() }
    }

    pub(crate) fn committed_end(&self) -> Index {
        self.committed.keys().next_back().copied().unwrap_or_default()
    }

    pub(crate) fn committed_last(&self) -> Position {
        let last = self.committed.iter().next_back();
        last.map_or(Position::ZERO, |(&index, (entry, _))| Position::new(entry.term, index))
    }

    /// The membership in force at a committed index.
    pub(crate) fn membership_at(&self, index: Index) -> Membership {
        let mut before = self.changes.iter().rev().filter(|change| change.index <= index);
        before.next().expect("the first is at zero").membership
    }

    /// How many changes of the membership are committed.
    pub(crate) fn memberships(&self) -> u64 {
        self.changes.len() as u64 - 1
    }

    /// Log Matching: the entries from `first` on are new in some log. If each position always has
    /// the same payload and the same term before it, then logs that agree on one position agree
    /// on everything before it.
    pub(crate) fn on_log(&mut self, log: &Entries, first: Index) {
        for index in (first.0..=log.last().0).map(Index) {
            let entry = log.get(index).unwrap();
            let here = (entry.payload, log.term_at(index.prev()));
            let known = self.positions.entry((entry.term, index)).or_insert(here);
            assert_eq!(*known, here, "log matching at {index:?}");
        }
    }

    pub(crate) fn on_state(&mut self, nodes: &[Node], changed: usize) {
        let node = &nodes[changed];
        let raft = node.raft();
        let status = raft.status();
        let seen = self.seen.get(&node.id).copied();
        if let Some(seen) = seen {
            assert!(status.term >= seen.term, "the term moved back");
            let same = status.term == seen.term && seen.vote.is_some();
            assert!(!same || status.vote == seen.vote, "a vote was changed");
            assert!(status.committed >= seen.committed, "the commit moved back");
            assert!(status.floor >= seen.floor, "the floor moved back");
        }
        let led = seen.is_some_and(|seen| seen.leads && seen.term == status.term);
        if raft.is_leader() {
            self.on_leader(nodes, node);
            let floor = seen.map_or(Index::ZERO, |seen| seen.floor);
            if status.floor > floor {
                check_floor(nodes, node, status.floor);
            }
        }
        let from = seen.map_or(Index::ZERO, |seen| seen.committed);
        self.on_committed(nodes, node, from, raft.is_leader() || led);
        let (term, vote, committed) = (status.term, status.vote, status.committed);
        let seen = Seen { term, vote, committed, floor: status.floor, leads: raft.is_leader() };
        self.seen.insert(node.id, seen);
    }

    fn on_leader(&mut self, nodes: &[Node], node: &Node) {
        let raft = node.raft();
        let term = raft.term();
        let first_seen = self.leaders.insert(term, node.id);
        assert!(first_seen.is_none_or(|id| id == node.id), "two leaders in {term:?}");
        if first_seen.is_none() {
            self.elections += 1;
            self.on_elected(nodes, node);
        }
        let end = self.ends.insert((node.id, term), raft.last().index);
        assert!(end.is_none_or(|end| end <= raft.last().index), "a leader cut its own log");
        if self.strict {
            self.check_progress(nodes, node);
        }
    }

    fn on_elected(&self, nodes: &[Node], node: &Node) {
        let raft = node.raft();
        let term = raft.term();
        // Leader Completeness.
        for (&index, &(entry, by)) in self.committed.range(raft.compacted().index.next()..) {
            if by < term {
                assert_eq!(node.memory.get(index), Some(entry), "a leader lacks {index:?}");
            }
        }
        let membership = node.memory.membership();
        // Who is to lose its seat may lead until that is committed.
        let may = |membership: &Membership| {
            membership.seat(node.id).is_some_and(|seat| seat.votes() && !seat.is_witness())
        };
        let pending = raft.committed().0..raft.last().index.0;
        let before = |index| raft.membership_at(Index(index)).as_ref().is_some_and(may);
        assert!(may(&membership) || pending.into_iter().any(before), "{} leads", node.id);
        let voted = |voter: ReplicaId| {
            let other = |other: &&Node| other.id == voter && voter != node.id;
            let Some(other) = nodes.iter().find(other) else {
                let durable = node.disk.hard_state;
                return (durable.term, durable.vote) == (term, Some(node.id));
            };
            if self.strict {
                (0..=other.wipes).any(|w| self.votes.get(&(term, voter, w)) == Some(&node.id))
            } else {
                other.disk.hard_state.term >= term
            }
        };
        assert!(carries(&membership, voted), "elected in {term:?} without a durable majority");
    }

    /// What a leader counts on is on the disks of its followers, in this very life of theirs.
    fn check_progress(&self, nodes: &[Node], leader: &Node) {
        let raft = leader.raft();
        for peer in raft.progress() {
            let Some(node) = nodes.iter().find(|node| node.id == peer.id) else { continue };
            // One that has moved on may have lost it to a later leader; and a leader that was left
            // behind may count on a life that has ended.
            let stale = node.disk.hard_state.term > raft.term() || !leader.knows_life_of(node);
            let Some(term) = raft.term_at(peer.matched) else { continue };
            let holds = node.disk.log.holds(Position::new(term, peer.matched));
            assert!(
                stale || holds,
                "{peer:?} is counted on, but ends at {:?}",
                node.disk.log.last()
            );
        }
    }

    fn on_committed(&mut self, nodes: &[Node], node: &Node, from: Index, leads: bool) {
        let raft = node.raft();
        let (commit, term) = (raft.committed(), raft.term());
        if leads && commit > from {
            let at = node.memory.term_at(commit);
            assert_eq!(at, Some(term), "{commit:?} of an old term committed by counting");
        }
        let mut checked = false;
        for index in (from.0 + 1..=commit.0).map(Index) {
            let Some(entry) = node.memory.get(index) else { continue };
            if let Some((known, _)) = self.committed.get(&index) {
                assert_eq!(*known, entry, "two entries committed at {index:?}");
                continue;
            }
            assert!(leads || !self.strict, "{index:?} was committed by nobody who leads");
            if !checked {
                // Whoever holds the last of them holds them all.
                check_copies(nodes, node, commit);
                checked = true;
            }
            let taken_back = self.rejected.contains(&(entry.term, index));
            assert!(!taken_back, "{index:?} is committed after it was called rejected");
            self.committed.insert(index, (entry, term));
            let change = node.memory.changes.iter().find(|change| change.index == index);
            self.changes.extend(change);
        }
    }

    /// A proposal has got a place.
    pub(crate) fn on_proposed(&mut self, proposed: Proposed) {
        self.tickets.push(Position::new(proposed.term, proposed.last));
    }

    /// What a replica says of a proposal is true, and stays true.
    pub(crate) fn check_ticket(&mut self, raft: &Raft, ticket: Position) -> CommitStatus {
        let status = raft.commit_status(ticket);
        let known = self.committed.get(&ticket.index).map(|(entry, _)| entry.term);
        match status {
            CommitStatus::Committed => {
                assert_eq!(known, Some(ticket.term), "{ticket} is not what is committed there");
            }
            CommitStatus::Rejected => {
                assert_ne!(known, Some(ticket.term), "{ticket} is committed");
                self.rejected.insert((ticket.term, ticket.index));
            }
            CommitStatus::InProgress | CommitStatus::Unknown => {}
        }
        status
    }

    /// A crash ends the reads that waited at the replica, and what it remembered.
    pub(crate) fn on_crash(&mut self, id: ReplicaId) {
        self.reads.retain(|&(reader, _), _| reader != id);
        self.seen.remove(&id);
    }

    /// Only one that is no member may lose its disk and come back.
    pub(crate) fn on_wipe(&mut self, id: ReplicaId) {
        let member = self.membership_at(self.committed_end()).contains(id);
        assert!(!member, "{id:?} is wiped while it is a member");
    }
}

fn check_copies(nodes: &[Node], leader: &Node, commit: Index) {
    let term = leader.memory.term_at(commit).expect("the commit is in the log");
    let durable = |id: ReplicaId| {
        let node = nodes.iter().find(|node| node.id == id).expect("every member has a node");
        node.disk.log.holds(Position::new(term, commit))
    };
    let membership = leader.memory.membership();
    let copies: Vec<_> = membership.members().map(|m| m.id).filter(|&id| durable(id)).collect();
    assert!(carries(&membership, durable), "{commit:?} is committed on the disks of {copies:?}");
}

fn check_floor(nodes: &[Node], leader: &Node, floor: Index) {
    for member in leader.memory.membership().members() {
        let node = nodes.iter().find(|node| node.id == member.id).expect("every member has one");
        let there = node.wipes > 0 || node.disk.log.last() >= floor;
        assert!(there, "floor {floor:?} is not on the disk of {:?}", node.id);
    }
}
