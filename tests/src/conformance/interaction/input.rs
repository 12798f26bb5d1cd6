//! What comes to a node: packets, proposals, time, and the words of an operator.
//!
//! Whatever comes, everything that follows from it is pulled before the next.

use kontiki_raft::{
    AppendHeader, AppendOutcome, ChangeError, Index, MessageKind, ProgressState, ProposeError,
    ReplicaId, SnapshotHeader, SnapshotOutcome,
};

use super::change::Wanted;
use super::entries::{Entry, Log, Payload, changes, spans};
use super::node::{Link, Node};
use super::pool::{Body, Packet, Proposal};

/// A proposal that went nowhere: `raft proposal dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dropped;

/// What arrives.
impl Node {
    pub(super) fn receive(&mut self, packet: Packet) -> Result<(), Dropped> {
        let now = self.clock.now;
        let ignored_from = self.is_ignored(&packet.body).then_some(packet.from);
        let before = (self.answers.len(), self.outgoing.len());
        match packet.body {
            Body::Append(header, entries) => self.receive_append(&header, &entries),
            Body::Message(message) => {
                if matches!(message.kind, MessageKind::HeartbeatAck { .. }) {
                    self.notice_loss(message.from);
                }
                self.raft.step(now, &message);
            }
            Body::Snapshot(header) => self.receive_snapshot(&header),
            Body::Proposal(proposal) => return self.propose(proposal),
            Body::Persisted(seq, end) => {
                self.reports -= 1;
                self.raft.on_persisted(seq);
                self.on_stable(end);
            }
            Body::Stable(end) => self.on_stable(Some(end)),
            Body::Applied(page) => self.on_applied(page),
            Body::Transfer(to) => self.transfer(to),
        }
        self.pull();
        if let Some(from) = ignored_from {
            let is_refusal = |packet: &mut Packet| packet.is_refusal(from);
            self.answers.extract_if(before.0.., is_refusal).for_each(drop);
            self.outgoing.extract_if(before.1.., is_refusal).for_each(drop);
        }
        Ok(())
    }

    fn receive_append(&mut self, header: &AppendHeader, entries: &[Entry]) {
        let first = header.prev.index.next();
        let (spans, changes) = (spans(first, entries), changes(first, entries));
        let outcome = self.raft.step_append(self.clock.now, header, &spans, &changes);
        if let AppendOutcome::Accepted { first_new } = outcome {
            self.memory.truncate(first_new);
            self.stable = self.stable.min(first_new.prev());
            let skipped = usize::try_from(first_new.0 - first.0).expect("within what arrived");
            self.memory.extend(&entries[skipped..]);
        }
    }

    fn receive_snapshot(&mut self, header: &SnapshotHeader) {
        match self.raft.install_snapshot(self.clock.now, header) {
            SnapshotOutcome::Install => {
                self.was_replaced = true;
                self.memory = Log::after(header.position);
                let index = header.position.index;
                (self.applied, self.given, self.stable) = (index, index, index);
            }
            SnapshotOutcome::Known | SnapshotOutcome::Rejected => {}
        }
    }

    /// Whether the other implementation gives this no answer. The core refuses in words, which are
    /// lost then; should it do anything else, that counts.
    ///
    /// Requests for votes are ignored when they are of an earlier term, or when a leader lives as
    /// far as this node knows; leaders of an earlier term, where neither pre-vote nor check-quorum
    /// could have left a node in a later one that nobody leads.
    fn is_ignored(&self, body: &Body) -> bool {
        let term = self.raft.term();
        let checks = self.options.pre_vote || self.options.check_quorum;
        let message = match body {
            Body::Append(header, _) => return header.term < term && !checks,
            Body::Snapshot(header) => return header.term < term,
            Body::Message(message) => message,
            _ => return false,
        };
        match message.kind {
            // Asks about the next term.
            MessageKind::PreVote { .. } => message.term.next() > term && self.hears_leader(),
            MessageKind::Vote { forced, .. } => {
                message.term < term || message.term > term && !forced && self.hears_leader()
            }
            MessageKind::Heartbeat { .. } => message.term < term && !checks,
            MessageKind::TimeoutNow { .. } => message.term < term,
            _ => false,
        }
    }

    fn hears_leader(&self) -> bool {
        let heard = self.raft.is_leader() || self.clock.within_election_timeout();
        self.options.check_quorum && self.raft.leader().is_some() && heard
    }

    /// A peer has answered a heartbeat that left after something to it was lost, or after it was
    /// reported unreachable: there is a new connection.
    fn notice_loss(&mut self, peer: ReplicaId) {
        let now = self.clock.now;
        match self.links.get(&peer) {
            Some(Link::Asked) => {
                self.links.remove(&peer);
                if self.peer(peer).is_some_and(|p| p.state == ProgressState::Replicate) {
                    self.raft.on_peer_down(now, peer);
                    self.raft.on_peer_up(now, peer);
                }
            }
            Some(Link::Down) => {
                self.links.remove(&peer);
                self.raft.on_peer_up(now, peer);
            }
            Some(Link::Lossy) | None => {}
        }
    }

    /// An append to the peer was lost on its way.
    pub(super) fn lose(&mut self, peer: ReplicaId) {
        self.links.entry(peer).or_insert(Link::Lossy);
    }
}

/// What clients and operators ask for.
impl Node {
    /// Proposes, or passes the proposal on to the leader.
    pub(super) fn propose(&mut self, proposal: Proposal) -> Result<(), Dropped> {
        if !self.raft.is_leader() {
            let leader = self.raft.leader().ok_or(Dropped)?;
            self.outgoing.push(Packet::proposal(self.id.get(), leader.get(), proposal));
            return Ok(());
        }
        let payload = match &proposal {
            Proposal::Normal(text) => Payload::Normal(text.clone()),
            Proposal::Change(wanted) => match self.change(wanted) {
                Ok(done) => return done,
                // The other implementation puts an empty entry where the change would have been.
                Err(Refused) => Payload::empty(),
            },
        };
        if self.waiting_change().is_some() && self.raft.membership().auto_leave() {
            self.diverged = Some("an entry comes before the leave of a joint membership here");
        }
        let bytes = match &payload {
            Payload::Normal(text) => u32::try_from(text.len()).expect("a word of a script"),
            Payload::Change { .. } => 0,
        };
        match self.raft.propose(1, bytes) {
            Ok(proposed) => self.memory.push(Entry { term: proposed.term, payload }),
            Err(ProposeError::NotLeader { .. } | ProposeError::Transferring { .. }) => {
                return Err(Dropped);
            }
            Err(ProposeError::Busy) => unreachable!("nothing bounds what is uncommitted"),
        }
        self.pull();
        Ok(())
    }

    /// Proposes a change. The inner result is final; `Refused` means that the change itself is not
    /// possible now.
    fn change(&mut self, wanted: &Wanted) -> Result<Result<(), Dropped>, Refused> {
        let result = match wanted.how {
            Some(how) => self.raft.propose_membership(&wanted.changes, how),
            None => self.raft.propose_leave_joint(),
        };
        match result {
            Ok(done) => {
                let payload = Payload::Change {
                    old_style: wanted.old_style,
                    text: wanted.text.clone(),
                    membership: done.membership,
                };
                self.memory.push(Entry { term: done.proposed.term, payload });
                self.pull();
                Ok(Ok(()))
            }
            Err(ChangeError::NotLeader { .. } | ChangeError::Transferring { .. }) => {
                Ok(Err(Dropped))
            }
            Err(error) => {
                self.judge_refusal(error);
                Err(Refused)
            }
        }
    }

    /// Where the other implementation would have taken the change, the two part.
    fn judge_refusal(&mut self, error: ChangeError) {
        let knows_all = self.led_from.is_some_and(|(_, before)| self.applied >= before);
        if self.waiting_change().is_some() {
            self.diverged = Some("a change of membership that waits here is committed there");
        } else if !self.options.checks_changes {
            self.diverged = Some("changes of membership are always checked here");
        } else if error == ChangeError::NotReady && knows_all {
            self.diverged = Some("a change of membership waits here for a commit of the term");
        }
        self.refusals.push(error);
    }

    /// The other implementation does not campaign while it has not applied a change of membership
    /// that is committed; for the core that change counts already.
    pub(super) fn campaign(&mut self) {
        let unapplied = self.memory.range(self.applied.next(), self.raft.committed());
        if !unapplied.iter().any(|entry| matches!(entry.payload, Payload::Change { .. })) {
            self.raft.campaign(self.clock.now);
            self.pull();
        }
    }

    pub(super) fn forget_leader(&mut self) {
        self.raft.forget_leader();
        self.pull();
    }

    /// Hands the leadership over, or passes the wish on to the leader. A wish that cannot be
    /// fulfilled is only logged by the other implementation.
    pub(super) fn transfer(&mut self, to: ReplicaId) {
        if self.raft.is_leader() {
            if self.raft.transfer(self.clock.now, to).is_ok() {
                self.transfer = Some(self.raft.term());
            }
        } else if let Some(leader) = self.raft.leader() {
            self.outgoing.push(Packet::transfer(self.id.get(), leader.get(), to));
        }
        self.pull();
    }

    /// Only a stream of appends is interrupted by that.
    pub(super) fn report_unreachable(&mut self, peer: ReplicaId) {
        if self.peer(peer).is_some_and(|p| p.state == ProgressState::Replicate) {
            self.raft.on_peer_down(self.clock.now, peer);
            self.links.insert(peer, Link::Down);
        }
        self.pull();
    }

    /// Forgets the log up to `to`, as far as it is written and applied; the core allows no more.
    pub(super) fn compact(&mut self, to: Index) {
        if to > self.applied || to > self.disk.last() {
            self.diverged = Some("a log is compacted here only as far as it is applied");
            return;
        }
        let position = self.raft.on_compacted(to);
        self.memory.compact(position);
        self.disk.compact(position);
        self.pull();
    }

    /// One tick passes.
    pub(super) fn tick(&mut self) {
        for link in self.links.values_mut().filter(|link| **link == Link::Lossy) {
            *link = Link::Asked;
        }
        self.clock.tick(&self.raft);
        if self.raft.deadline().is_some_and(|deadline| deadline <= self.clock.now) {
            self.raft.on_deadline(self.clock.now);
        }
        self.pull();
    }
}

/// A change that is not possible now.
struct Refused;
