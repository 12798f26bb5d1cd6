//! The properties, checked after every event on what it changed.
//!
//! The observer sees all replicas, disks and messages at once. It remembers who led and what was
//! committed, so a property is held against the whole history and not only against those who are
//! up at the moment.

use kontiki_raft::{Index, Membership, Message, MessageKind, Raft, ReadReady, ReplicaId};

use crate::node::{Entries, Node, What};
use crate::step::Step;
use crate::world::Rule;

impl Step<'_> {
    /// One replica, before and after its outputs are taken.
    pub(crate) fn check_node(&mut self, node: &Node) {
        let Some(raft) = &node.raft else { return };
        raft.check_invariants();
        let (ours, theirs) = (node.log.last(), raft.last());
        assert!(ours == theirs, "the core's log ends at {theirs}, the entries at {ours}");
        let (ours, theirs) = (node.log.membership(), raft.membership());
        self.require(Rule::MembershipInForce, ours == theirs, || {
            format!("{:?} is in {theirs}, its log says {ours}", node.id)
        });
        if raft.is_leader() {
            self.check_leader(node, raft);
        }
        self.check_commit(node, raft);
    }

    fn check_leader(&mut self, node: &Node, raft: &Raft) {
        let term = raft.term();
        match self.ghost().leaders.iter().find(|(of, _)| *of == term) {
            Some(&(_, known)) => {
                self.require(Rule::ElectionSafety, known == node.id, || {
                    format!("{known:?} and {:?} both lead {term:?}", node.id)
                });
            }
            None => {
                let voted = |other: &Node| {
                    let state = other.disk.hard_state;
                    state.term > term || (state.term == term && state.vote == Some(node.id))
                };
                let elected = self.is_quorum(node, raft, voted);
                self.require(Rule::DurableVotes, elected, || {
                    format!("{:?} leads {term:?} without votes on disks", node.id)
                });
                let at = self.ghost().leaders.partition_point(|(of, _)| *of < term);
                self.ghost_mut().leaders.insert(at, (term, node.id));
            }
        }
        let lacks = self.ghost().committed.iter().zip(1..).find(|((entry, at), index)| {
            *at < term
                && node.log.start.index < Index(*index)
                && node.log.get(Index(*index)) != Some(entry)
        });
        let lacks =
            lacks.map(|((entry, at), index)| format!("{index} ({entry:?}, committed in {at:?})"));
        if let Some(lacks) = lacks {
            self.break_rule(
                Rule::LeaderCompleteness,
                format!("{:?} leads {term:?} without {lacks}", node.id),
            );
        }
    }

    /// Whether a majority of each half says yes, the replica as it is now.
    fn is_quorum(&self, node: &Node, raft: &Raft, says: impl Fn(&Node) -> bool) -> bool {
        decides(&raft.membership(), |id| match id == node.id {
            true => says(node),
            false => says(self.world.node(id.get())),
        })
    }

    fn check_commit(&mut self, node: &Node, raft: &Raft) {
        let known = self.ghost().committed.len() as u64;
        for index in (node.log.start.index.0 + 1..=raft.committed().0).map(Index) {
            let Some(entry) = node.log.get(index) else { return };
            if index.0 <= known {
                let slot = usize::try_from(index.0 - 1).expect("a model's log is short");
                let (first, _) = &self.ghost().committed[slot];
                let differs = (first != entry).then(|| format!("{first:?} and {entry:?}"));
                if let Some(both) = differs {
                    self.break_rule(
                        Rule::StateMachineSafety,
                        format!("{both} committed at {index:?}"),
                    );
                }
                continue;
            }
            let holds = |other: &Node| {
                other.disk.log.start.index >= index || other.disk.log.get(index) == Some(entry)
            };
            let durable = self.is_quorum(node, raft, holds);
            self.require(Rule::DurableCommit, durable, || {
                format!("{:?} commits {index:?} ({entry:?}) too early", node.id)
            });
            if index == raft.committed() {
                // It may have led when it counted, and retired with what it counted.
                let own = entry.term == raft.term()
                    && self.ghost().leaders.contains(&(raft.term(), node.id));
                self.require(Rule::OwnTermCommit, own, || {
                    format!("{:?} of {:?} commits {entry:?} by counting", node.id, raft.term())
                });
            }
            let entry = entry.clone();
            self.ghost_mut().committed.push((entry, raft.term()));
        }
    }

    /// What a message promises is on the disk of its sender.
    pub(crate) fn check_message(&mut self, node: &Node, message: &Message) {
        let (state, log) = (node.disk.hard_state, &node.disk.log);
        let kept = match message.kind {
            MessageKind::Vote { last, .. } => {
                (state.term, state.vote) == (message.term, Some(node.id)) && log.last() == last
            }
            MessageKind::VoteReply { granted: true } => {
                (state.term, state.vote) == (message.term, Some(message.to))
            }
            MessageKind::AppendAck { matched, .. } => {
                state.term >= message.term && log.holds(matched)
            }
            // Echoes the asker's term, which nobody has entered.
            MessageKind::PreVoteReply { granted: true } => true,
            _ => state.term >= message.term,
        };
        self.require(Rule::DurablePromise, kept, || {
            format!("{message:?} leaves with {state:?} and {} on the disk", log.last())
        });
    }

    pub(crate) fn check_read(&mut self, reader: ReplicaId, ready: ReadReady) {
        let (up_to, served) = match ready {
            ReadReady::Confirmed { up_to, index } => (up_to, Some(index)),
            ReadReady::Lost { up_to } => (up_to, None),
        };
        let ended = |read: &&(ReplicaId, _, u64)| read.0 == reader && read.1 <= up_to;
        let newest = self.ghost().reads.iter().filter(ended).map(|read| read.2).max();
        let ends = self.ghost().reads.iter().filter(ended).count();
        if let (Some(index), Some(newest)) = (served, newest) {
            self.require(Rule::FreshReads, index.0 >= newest, || {
                format!("{reader:?} serves a read at {index:?}, but #{newest} was committed before")
            });
        }
        if ends > 0 {
            let ghost = self.ghost_mut();
            ghost.reads.retain(|read| read.0 != reader || read.1 > up_to);
            if served.is_some() {
                ghost.reads_confirmed += u8::try_from(ends).expect("reads are few");
            }
        }
    }

    pub(crate) fn check_apply(&mut self, node: &Node, first: Index, last: Index) {
        let Some(raft) = &node.raft else { return };
        let applied = raft.status().applied;
        let durable =
            |index| node.disk.log.get(index).is_some_and(|e| Some(e) == node.log.get(index));
        let right = first == applied.next()
            && last <= raft.committed()
            && (first.0..=last.0).map(Index).all(durable);
        self.require(Rule::ApplyOrder, right, || {
            format!("{:?} applies {first:?} to {last:?} after {applied:?}", node.id)
        });
    }

    /// What concerns several replicas, after one of them changed.
    pub(crate) fn check_world(&mut self, changed: u64) {
        let node = self.world.node(changed).clone();
        for other in self.world.nodes.clone() {
            for logs in [(&node.log, &other.log), (&node.log, &other.disk.log)] {
                if let Some(at) = mismatch(logs.0, logs.1) {
                    let pair = (node.id, other.id);
                    self.break_rule(Rule::LogMatching, format!("{pair:?} differ before {at:?}"));
                }
            }
        }
        self.check_append_only(&node);
        self.check_memberships(&node);
        self.check_old_leaders();
    }

    /// A leader's log only grows. Its own entries are never changed, so whoever holds an entry of
    /// its term holds no other than the leader, which is log matching; what is left is its end.
    fn check_append_only(&mut self, node: &Node) {
        let Some(raft) = node.raft.as_ref().filter(|raft| raft.is_leader()) else { return };
        let ahead = |other: &Node| {
            let last = other.disk.log.last();
            last.term == raft.term() && last.index > raft.last().index
        };
        let ahead = self.world.nodes.iter().find(|other| ahead(other)).map(|other| other.id);
        if let Some(other) = ahead {
            self.break_rule(
                Rule::LeaderAppendOnly,
                format!("{other:?} has more of {:?} than its leader", raft.term()),
            );
        }
    }

    fn check_memberships(&mut self, node: &Node) {
        let changes = node.log.changes();
        let mut before = *node.log.base;
        for change in changes {
            self.require_meeting(&before, &change.membership);
            before = change.membership;
        }
        let Some(raft) = node.raft.as_ref().filter(|raft| raft.is_leader()) else { return };
        if self.ghost().leaders.last().is_some_and(|(term, _)| *term == raft.term()) {
            let members = |(entry, _): &(crate::node::Entry, _)| match &entry.what {
                What::Members(membership) => Some(**membership),
                What::Noop(_) | What::Value(_) | What::Old => None,
            };
            let last = self.ghost().committed.iter().rev().find_map(members);
            let last = last.unwrap_or_else(|| self.setup.membership());
            self.require_meeting(&last, &raft.membership());
        }
    }

    fn require_meeting(&mut self, one: &Membership, two: &Membership) {
        // A replica that waits to be added knows no membership that could decide anything.
        let meet = one == two || one.is_empty() || meet(one, two, self.world.nodes.len());
        self.require(Rule::QuorumsMeet, meet, || format!("{one} and {two} can decide apart"));
    }

    /// A commit may come after an election of a later term; then that leader must have it too.
    fn check_old_leaders(&mut self) {
        for node in self.world.nodes.clone() {
            if let Some(raft) = node.raft.as_ref().filter(|raft| raft.is_leader()) {
                self.check_leader(&node, raft);
            }
        }
    }
}

/// Where two logs hold the same term after different entries, which Log Matching forbids.
fn mismatch(one: &Entries, two: &Entries) -> Option<Index> {
    let from = one.start.index.max(two.start.index).0 + 1;
    let to = one.last().index.min(two.last().index).0;
    let same_term = |index: &Index| {
        one.get(*index).map(|entry| entry.term) == two.get(*index).map(|entry| entry.term)
    };
    let met = (from..=to).rev().map(Index).find(same_term)?;
    let differs = |index: &Index| one.get(*index) != two.get(*index);
    (from..=met.0).map(Index).any(|index| differs(&index)).then_some(met)
}

/// Whether the voters that say yes are a majority of each half.
fn decides(membership: &Membership, says: impl Fn(ReplicaId) -> bool) -> bool {
    let half = |voters: Vec<ReplicaId>| {
        let yes = voters.iter().filter(|&&id| says(id)).count();
        yes * 2 > voters.len() || voters.is_empty()
    };
    half(membership.voters().collect()) && half(membership.outgoing_voters().collect())
}

/// Whether the two memberships cannot decide by replicas of which none is the same. Tries all sets.
fn meet(one: &Membership, two: &Membership, replicas: usize) -> bool {
    let within = |set: u64| move |id: ReplicaId| set >> (id.get() - 1) & 1 == 1;
    (0..1_u64 << replicas).all(|set| !(decides(one, within(set)) && decides(two, within(!set))))
}
