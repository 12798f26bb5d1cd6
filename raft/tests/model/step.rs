//! One event, and what the caller of the core does after it.
//!
//! Everything the core gives is taken at once, except writes where the setup says so: messages,
//! appends and entries to apply wait for nothing but the core's own gates. Completion of a write
//! is always an event of its own.

use std::sync::Arc;

use kontiki_raft::{
    AppendHeader, AppendOutcome, Extent, HardState, Index, Membership, MembershipProposed,
    Position, Proposed, Raft, ReplicaId, SnapshotHeader, SnapshotOutcome, SnapshotRequest,
    SnapshotSent,
};

use crate::node::{Disk, Entries, Entry, Node, Packet, What, Write, changes_of, guarded, spans_of};
use crate::setup::Setup;
use crate::shared::Shared;
use crate::world::{Broken, Ghost, Rule, World, id, slot};

/// What may happen to a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The replica is asked to campaign, as by its timer.
    Campaign(u64),
    /// Two election timeouts pass in which nobody says anything.
    Lapse,
    /// The replica's deadline has passed, and it is told.
    Deadline(u64),
    Propose(u64),
    Read(u64),
    Transfer {
        from: u64,
        to: u64,
    },
    /// The replica's next write is on its way to the disk.
    Write(u64),
    /// The replica's oldest write is durable, and it is told.
    Sync(u64),
    /// The replica loses what is not durable; of the writes on their way, so many were.
    Crash {
        node: u64,
        kept: usize,
    },
    Restart(u64),
    Deliver(usize),
    /// The packet arrives, and will arrive again.
    Duplicate(usize),
    /// The packet is lost, and nobody is told.
    Lose(usize),
    /// The next change of membership is proposed.
    Change(u64),
    LeaveJoint(u64),
    /// The replica forgets the log up to what it has applied.
    Compact(u64),
    /// The replica, which is no member, begins anew.
    Wipe(u64),
    /// The leader speaks to everybody.
    Beat(u64),
    /// The connection breaks, with what is on it, and stands again; both sides are told.
    Reset(u64, u64),
}

/// Bytes of every entry.
const ENTRY_BYTES: u32 = 10;

/// A world in the middle of an event.
pub(crate) struct Step<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) world: World,
    /// The observer's memory, once it changes.
    ghost: Option<Ghost>,
}

/// Makes the event happen. `None` when it changes nothing.
pub(crate) fn step(setup: &Setup, world: &World, event: Event) -> Option<World> {
    let mut step = Step { setup, world: world.clone(), ghost: None };
    match guarded(|| step.happen(event)) {
        Ok(None) => return None,
        Ok(Some(())) => {}
        Err(panic) => step.break_rule(Rule::NoPanic, panic),
    }
    let Step { mut world, ghost, .. } = step;
    if let Some(ghost) = ghost {
        world.ghost = Shared::new(ghost);
    }
    Some(world)
}

impl Step<'_> {
    pub(crate) fn ghost(&self) -> &Ghost {
        self.ghost.as_ref().unwrap_or(&self.world.ghost)
    }

    pub(crate) fn ghost_mut(&mut self) -> &mut Ghost {
        self.ghost.get_or_insert_with(|| self.world.ghost.to_owned())
    }

    pub(crate) fn break_rule(&mut self, rule: Rule, detail: impl Into<String>) {
        if self.world.broken.is_none() {
            self.world.broken = Some(Shared::new(Broken { rule, detail: detail.into() }));
        }
    }

    pub(crate) fn require(&mut self, rule: Rule, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            self.break_rule(rule, detail());
        }
    }

    fn happen(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Campaign(number) => {
                spend(&mut self.world.left.elections)?;
                let now = self.world.now(self.setup);
                self.tell(number, |raft| raft.campaign(now))
            }
            Event::Lapse => spend(&mut self.world.left.lapses),
            Event::Deadline(number) => {
                if !self.world.node(number).leads() {
                    spend(&mut self.world.left.elections)?;
                }
                let now = self.world.now(self.setup);
                self.tell(number, |raft| raft.on_deadline(now))
            }
            Event::Propose(number) => self.propose(number),
            Event::Read(number) => self.read(number),
            Event::Transfer { from, to } => {
                spend(&mut self.world.left.transfers)?;
                let now = self.world.now(self.setup);
                let mut node = self.world.node(from).to_owned();
                node.raft.as_mut()?.transfer(now, id(to)).ok()?;
                self.settle(node)
            }
            Event::Write(number) => {
                let mut node = self.world.node(number).to_owned();
                take_write(&mut node).then(|| self.settle(node))?
            }
            Event::Sync(number) => {
                let mut node = self.world.node(number).to_owned();
                let write = node.writing.remove(0);
                let seq = write.persist.seq;
                node.disk.write(write);
                node.raft.as_mut()?.on_persisted(seq);
                self.settle(node)
            }
            Event::Crash { node, kept } => self.crash(node, kept),
            Event::Restart(number) => self.restart(number),
            Event::Deliver(at) => {
                let flight = self.world.net.remove(at);
                self.deliver(flight.to, &flight.packet)
            }
            Event::Duplicate(at) => {
                spend(&mut self.world.left.duplicates)?;
                let flight = self.world.net[at].clone();
                self.deliver(flight.to, &flight.packet)
            }
            Event::Lose(at) => self.lose(at),
            Event::Change(number) => self.change(number),
            Event::LeaveJoint(number) => {
                let mut node = self.world.node(number).to_owned();
                let change = node.raft.as_mut()?.propose_leave_joint().ok()?;
                self.add_change(&mut node, &change);
                self.settle(node)
            }
            Event::Compact(number) => self.compact(number),
            Event::Wipe(number) => self.wipe(number),
            Event::Beat(number) => {
                spend(&mut self.world.left.beats)?;
                let now = self.world.now(self.setup);
                self.tell(number, |raft| raft.heartbeat(now))
            }
            Event::Reset(one, two) => self.reset(one, two),
        }
    }

    /// An input without an answer.
    fn tell(&mut self, number: u64, input: impl FnOnce(&mut Raft)) -> Option<()> {
        let mut node = self.world.node(number).to_owned();
        input(node.raft.as_mut()?);
        self.settle(node)
    }

    fn propose(&mut self, number: u64) -> Option<()> {
        let value = self.setup.budget.proposals - self.world.left.proposals;
        spend(&mut self.world.left.proposals)?;
        let mut node = self.world.node(number).to_owned();
        let proposed = node.raft.as_mut()?.propose(1, ENTRY_BYTES).ok()?;
        self.add_entry(&mut node, proposed, What::Value(value));
        self.settle(node)
    }

    fn read(&mut self, number: u64) -> Option<()> {
        spend(&mut self.world.left.reads)?;
        let mut node = self.world.node(number).to_owned();
        let now = self.world.now(self.setup);
        let read = node.raft.as_mut()?.read(now).ok()?;
        let committed = self.ghost().committed.len() as u64;
        self.ghost_mut().reads.push((node.id, read, committed));
        self.settle(node)
    }

    fn crash(&mut self, number: u64, kept: usize) -> Option<()> {
        spend(&mut self.world.left.crashes)?;
        let mut node = self.world.node(number).to_owned();
        for write in std::mem::take(&mut node.writing).into_iter().take(kept) {
            node.disk.write(write);
        }
        node.raft = None;
        node.log = node.disk.log.clone();
        node.restarts += 1;
        self.world.net.retain(|flight| flight.to != number);
        if self.ghost().reads.iter().any(|read| read.0 == node.id) {
            self.ghost_mut().reads.retain(|read| read.0 != node.id);
        }
        self.world.nodes[slot(number)] = Shared::new(node);
        self.tell_others(number, false)
    }

    fn restart(&mut self, number: u64) -> Option<()> {
        let now = self.world.now(self.setup);
        let mut node = self.world.node(number).to_owned();
        node.start(self.setup, now);
        self.settle(node)?;
        self.tell_others(number, true)
    }

    fn wipe(&mut self, number: u64) -> Option<()> {
        spend(&mut self.world.left.wipes)?;
        let now = self.world.now(self.setup);
        let base = Arc::new(Membership::EMPTY);
        let log = Entries::new(Position::ZERO, base);
        let mut node = Node::new(id(number), Disk { hard_state: HardState::default(), log });
        node.restarts = self.world.node(number).restarts + 1;
        node.start(self.setup, now);
        // What it has said before is still on its way.
        self.world.net.retain(|flight| flight.to != number);
        self.settle(node)?;
        self.tell_others(number, false)?;
        self.tell_others(number, true)
    }

    fn tell_others(&mut self, number: u64, up: bool) -> Option<()> {
        let now = self.world.now(self.setup);
        for other in self.world.numbers().filter(|&other| other != number) {
            if self.world.node(other).raft.is_some() {
                self.tell(other, |raft| match up {
                    true => raft.on_peer_up(now, id(number)),
                    false => raft.on_peer_down(now, id(number)),
                })?;
            }
        }
        Some(())
    }

    fn reset(&mut self, one: u64, two: u64) -> Option<()> {
        spend(&mut self.world.left.resets)?;
        if self.setup.network == crate::setup::Network::Ordered {
            let pair = [(one, two), (two, one)];
            self.world.net.retain(|flight| !pair.contains(&(flight.from, flight.to)));
        }
        let now = self.world.now(self.setup);
        for (number, peer) in [(one, two), (two, one)] {
            self.tell(number, |raft| {
                raft.on_peer_down(now, id(peer));
                raft.on_peer_up(now, id(peer));
            })?;
        }
        Some(())
    }

    fn deliver(&mut self, to: u64, packet: &Packet) -> Option<()> {
        let now = self.world.now(self.setup);
        let mut node = self.world.node(to).to_owned();
        let raft = node.raft.as_mut()?;
        match packet {
            Packet::Message(message) => raft.step(now, message),
            Packet::Append(header, entries) => {
                let spans = spans_of(header.prev.index.next(), entries);
                let changes = changes_of(header.prev.index.next(), entries);
                let outcome = raft.step_append(now, header, &spans, &changes);
                self.keep_entries(&mut node, header, entries, outcome);
            }
            Packet::Snapshot(header) => {
                if raft.install_snapshot(now, header) == SnapshotOutcome::Install {
                    node.log = Entries::new(header.position, Arc::new(header.membership));
                }
                self.settle(node)?;
                return self.report_snapshot(header, SnapshotSent::Sent(header.position.index));
            }
        }
        self.settle(node)
    }

    fn lose(&mut self, at: usize) -> Option<()> {
        spend(&mut self.world.left.losses)?;
        let flight = self.world.net.remove(at);
        if let Packet::Snapshot(header) = &*flight.packet {
            self.report_snapshot(header, SnapshotSent::Failed)?;
        }
        Some(())
    }

    fn report_snapshot(&mut self, header: &SnapshotHeader, sent: SnapshotSent) -> Option<()> {
        let from = header.from.get();
        if self.world.node(from).raft.is_some() {
            let now = self.world.now(self.setup);
            self.tell(from, |raft| raft.on_snapshot_sent(now, header.to, sent))?;
        }
        Some(())
    }

    fn change(&mut self, number: u64) -> Option<()> {
        let next = usize::from(self.setup.budget.changes - self.world.left.changes);
        spend(&mut self.world.left.changes)?;
        let (changes, transition) = self.setup.changes.get(next)?;
        let mut node = self.world.node(number).to_owned();
        let change = node.raft.as_mut()?.propose_membership(changes, *transition).ok()?;
        self.add_change(&mut node, &change);
        self.settle(node)
    }

    fn add_change(&mut self, node: &mut Node, change: &MembershipProposed) {
        let committed = &self.ghost().committed;
        let own = committed.iter().any(|(entry, _)| entry.term == change.proposed.term);
        let before = node.log.changes().last().map_or(0, |before| before.index.0);
        let ordered = own && before <= committed.len() as u64;
        self.require(Rule::OrderedChanges, ordered, || {
            format!("{:?} changes {before} to {change:?} too early", node.id)
        });
        self.add_entry(node, change.proposed, What::Members(Arc::new(change.membership)));
    }

    fn compact(&mut self, number: u64) -> Option<()> {
        spend(&mut self.world.left.compactions)?;
        let mut node = self.world.node(number).to_owned();
        let raft = node.raft.as_mut()?;
        let (applied, before) = (raft.status().applied, raft.compacted());
        if applied <= before.index || node.disk.log.start != before {
            // There is nothing to forget, or a snapshot is on its way to the disk.
            return None;
        }
        let to = raft.on_compacted(applied);
        node.log.compact(to);
        node.disk.log.compact(to);
        self.settle(node)
    }

    fn keep_entries(
        &mut self,
        node: &mut Node,
        header: &AppendHeader,
        entries: &[Entry],
        outcome: AppendOutcome,
    ) {
        let AppendOutcome::Accepted { first_new } = outcome else { return };
        let first = header.prev.index.next();
        assert!(first <= first_new && first_new <= header.last, "{first_new:?} of {header:?}");
        let skipped = usize::try_from(first_new.0 - first.0).expect("an append is short");
        if let Some(ours) = node.log.get(first_new) {
            let conflict = ours.term != entries[skipped].term;
            self.require(Rule::RealConflict, conflict, || {
                format!("{:?} cuts {ours:?} at {first_new:?} for itself", node.id)
            });
        }
        node.log.truncate(first_new);
        node.log.entries.extend_from_slice(&entries[skipped..]);
    }

    pub(crate) fn add_entry(&mut self, node: &mut Node, proposed: Proposed, what: What) {
        assert!(proposed.first == proposed.last, "one entry was asked for: {proposed:?}");
        let next = node.log.last().index.next();
        assert!(proposed.first == next, "{proposed:?} in a log whose next is {next:?}");
        node.log.entries.push(Entry { term: proposed.term, what });
    }
}

/// What the caller owes the core after every input.
impl Step<'_> {
    /// Takes what the replica gives, checks it, and puts the replica back into the world.
    fn settle(&mut self, mut node: Node) -> Option<()> {
        let number = node.id.get();
        loop {
            let raft = node.raft.as_mut()?;
            if let Some(noop) = raft.take_noop() {
                let id = node.id;
                self.add_entry(&mut node, noop, What::Noop(id));
            }
            self.check_node(&node);
            let mut moved = self.leave_joint(&mut node);
            moved |= self.send_appends(&mut node);
            moved |= self.send_snapshots(&mut node);
            moved |= self.setup.eager_writes && take_write(&mut node);
            moved |= self.send_messages(&mut node);
            moved |= self.take_reads(&mut node);
            moved |= self.apply(&mut node);
            if !moved {
                break;
            }
        }
        self.check_node(&node);
        self.world.nodes[slot(number)] = Shared::new(node);
        self.check_world(number);
        Some(())
    }

    /// The leader leaves a joint membership of its own accord.
    fn leave_joint(&mut self, node: &mut Node) -> bool {
        let Some(change) = node.raft.as_mut().and_then(Raft::take_membership) else { return false };
        self.add_change(node, &change);
        true
    }

    fn send_snapshots(&mut self, node: &mut Node) -> bool {
        let mut any = false;
        while let Some(request) = node.raft.as_mut().and_then(Raft::take_snapshot_request) {
            any = true;
            let SnapshotRequest { to, session, at_least } = request;
            let Some(raft) = &node.raft else { return any };
            let index = raft.status().applied;
            assert!(
                index >= at_least,
                "a snapshot at {at_least:?} of what was applied to {index:?}"
            );
            let at = raft.term_at(index).zip(raft.membership_at(index));
            let (of, membership) = at.expect("what is applied and not compacted is in the log");
            let (position, term) = (Position::new(of, index), raft.term());
            let from = node.id;
            let header = SnapshotHeader { from, to, term, session, position, membership };
            self.send(from, to, Packet::Snapshot(header));
        }
        any
    }

    fn send_appends(&mut self, node: &mut Node) -> bool {
        let Some(raft) = node.raft.as_mut().filter(|raft| raft.is_leader()) else { return false };
        let (from, most) = (node.id.get(), self.setup.extent_max);
        let mut sent = Vec::new();
        for peer in self.world.numbers().filter(|&peer| peer != from).map(id) {
            let extent = |first: Index, last: Index, _room: u32| {
                let last = last.min(Index(first.0 + most - 1));
                let count = u32::try_from(last.0 - first.0 + 1).expect("an append is short");
                Some(Extent { last, bytes: count * ENTRY_BYTES })
            };
            while let Some(header) = raft.next_append(peer, extent) {
                let entries = node.log.range(header.prev.index.next(), header.last);
                sent.push((peer, Packet::Append(header, entries)));
            }
            if self.setup.tell_commits {
                let owed = raft.commit_owed(peer);
                sent.extend(owed.map(|message| (peer, Packet::Message(message))));
            }
        }
        let any = !sent.is_empty();
        for (to, packet) in sent {
            self.send(node.id, to, packet);
        }
        any
    }

    fn send_messages(&mut self, node: &mut Node) -> bool {
        let mut any = false;
        while let Some(message) = node.raft.as_mut().and_then(Raft::take_message) {
            any = true;
            self.check_message(node, &message);
            self.send(node.id, message.to, Packet::Message(message));
        }
        any
    }

    /// What is sent to a replica that is down is gone.
    fn send(&mut self, from: ReplicaId, to: ReplicaId, packet: Packet) {
        if self.world.node(to.get()).raft.is_some() {
            self.world.send(self.setup, from.get(), to.get(), packet);
        }
    }

    fn take_reads(&mut self, node: &mut Node) -> bool {
        let mut any = false;
        while let Some(ready) = node.raft.as_mut().and_then(Raft::take_reads) {
            any = true;
            self.check_read(node.id, ready);
        }
        any
    }

    fn apply(&mut self, node: &mut Node) -> bool {
        let Some((first, last)) = node.raft.as_mut().and_then(Raft::take_committed) else {
            return false;
        };
        self.check_apply(node, first, last);
        if let Some(raft) = &mut node.raft {
            raft.on_applied(last);
        }
        true
    }
}

/// Starts the write that is due.
fn take_write(node: &mut Node) -> bool {
    let Some(persist) = node.raft.as_mut().and_then(Raft::take_persist) else { return false };
    let entries = persist.append.map_or(vec![], |(first, last)| node.log.range(first, last));
    let base = persist.snapshot.map(|_| Arc::clone(&node.log.base));
    node.writing.push(Write { persist, entries, base });
    true
}

fn spend(budget: &mut u8) -> Option<()> {
    *budget = budget.checked_sub(1)?;
    Some(())
}
