//! The group that a script plays with: one step of one replica after another.
//!
//! A step is an input, or several that arrive together, and then what the caller of the core owes
//! it: the write, the appends, the messages, the entries to apply.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kontiki_raft::{
    AppendHeader, AppendOutcome, Config, Extent, Index, Membership, Position, ProgressState, Raft,
    ReplicaId, Term, Time,
};

use super::net::{Body, Net, Packet};
use super::node::{Entries, Entry, Node, spans};
use super::safety::Safety;
use super::trace::{self, Events, Level};

/// More steps than this without a rest are a runner that goes in circles.
const STEPS_MAX: usize = 100_000;

#[derive(Debug)]
pub(super) struct World {
    pub(super) config: Config,
    pub(super) append_max: u64,
    pub(super) seed: u64,
    pub(super) now: Time,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Net,
    pub(super) level: Level,
    told: Vec<String>,
    safety: Safety,
}

impl Default for World {
    fn default() -> Self {
        Self {
            config: Config::default(),
            append_max: u64::MAX,
            seed: 1,
            now: Time(1_000_000),
            nodes: Vec::new(),
            net: Net::default(),
            level: Level::All,
            told: Vec::new(),
            safety: Safety::default(),
        }
    }
}

/// Looking.
impl World {
    pub(super) fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn tell(&mut self, line: String) {
        if self.level != Level::Nothing {
            self.told.push(line);
        }
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.nodes.len() as u64
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node, String> {
        let node = self.nodes.iter().find(|node| node.id.get() == number);
        node.ok_or_else(|| format!("there is no replica {number}"))
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node, String> {
        let node = self.nodes.iter_mut().find(|node| node.id.get() == number);
        node.ok_or_else(|| format!("there is no replica {number}"))
    }

    pub(super) fn raft(&self, number: u64) -> Result<&Raft, String> {
        self.node(number)?.raft.as_ref().ok_or_else(|| format!("replica {number} is down"))
    }

    pub(super) fn runs(&self, number: u64) -> bool {
        self.raft(number).is_ok()
    }

    fn connected(&self, a: u64, b: u64) -> bool {
        self.runs(a) && self.runs(b) && !self.net.apart.contains(&(a, b))
    }

    fn membership(&self) -> Membership {
        let ids: Vec<_> = self.nodes.iter().map(|node| node.id).collect();
        Membership::new(&ids).expect("the count was checked when the nodes were made")
    }
}

/// Steps.
impl World {
    pub(super) fn start(&mut self, number: u64) -> Result<(), String> {
        let (config, membership) = (self.config, self.membership());
        let (seed, now) = (self.seed, self.now);
        self.node_mut(number)?.start(config, membership, seed, now)
    }

    /// Gives the replica an input and does what it owes for it. When the core stops, so does the
    /// replica.
    pub(super) fn step(
        &mut self,
        number: u64,
        input: impl FnOnce(&mut Node, Time, &mut Events),
    ) -> Result<(), String> {
        self.raft(number)?;
        let now = self.now;
        let node = self.node_mut(number)?;
        let mut events = Events::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| input(node, now, &mut events)));
        match outcome {
            Ok(()) => self.drain(number, &mut events)?,
            Err(panic) => {
                let why = match panic.downcast::<String>() {
                    Ok(why) => *why,
                    Err(panic) => (*panic.downcast::<&str>().unwrap_or_default()).to_owned(),
                };
                events.state(format!("stops: {why}"));
                self.node_mut(number)?.stop();
            }
        }
        if let Some(line) = events.line(number, self.level) {
            self.tell(line);
        }
        Ok(())
    }

    /// What the caller of the core owes it after an input, until nothing is owed.
    fn drain(&mut self, number: u64, events: &mut Events) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let mut moved = self.node_mut(number)?.apply();
            self.observe(number, events)?;
            moved |= self.write(number, events)?;
            for peer in self.numbers() {
                while self.send_append(number, peer, events)? {
                    moved = true;
                }
            }
            moved |= self.send_messages(number, events)?;
            let node = self.node_mut(number)?;
            if !node.held {
                moved |= node.end_write();
            }
            if !moved {
                return Ok(());
            }
        }
        Err(format!("replica {number} does not come to rest"))
    }

    /// Looks at the replica: what is new, and whether all is well.
    fn observe(&mut self, number: u64, events: &mut Events) -> Result<(), String> {
        let node = self.node_mut(number)?;
        let Some(raft) = &mut node.raft else { return Ok(()) };
        let noop = raft.take_noop();
        raft.check_invariants();
        let status = raft.status();
        let before = node.seen.replace(status);
        if let Some(before) = &before {
            trace::part(events, before, raft);
            trace::marks(events, before, raft, node.held);
        }
        if let Some(noop) = noop {
            node.add(noop, &["no-op"]);
        }
        assert_eq!(status.last.index, node.memory.last(), "the entries follow the core");
        let memory = std::mem::take(&mut node.memory);
        let known = before.map_or(status.compacted.index, |before| before.committed);
        self.safety.check(&status, known, &memory);
        self.node_mut(number)?.memory = memory;
        Ok(())
    }

    fn write(&mut self, number: u64, events: &mut Events) -> Result<bool, String> {
        let node = self.node_mut(number)?;
        let Some(persist) = node.begin_write() else { return Ok(false) };
        if let (true, Some(raft)) = (node.held, &node.raft) {
            events.state(trace::write(&persist, raft));
        }
        Ok(true)
    }

    fn send_append(&mut self, number: u64, peer: u64, events: &mut Events) -> Result<bool, String> {
        if number == peer || !self.connected(number, peer) {
            return Ok(false);
        }
        let (most, id) = (self.append_max, self.node(peer)?.id);
        let node = self.node_mut(number)?;
        let Some(raft) = &mut node.raft else { return Ok(false) };
        let state = raft.progress().find(|p| p.id == id).map(|p| p.state);
        let bytes_of = |entries: &[Entry]| entries.iter().map(|e| e.payload.len() as u64).sum();
        let memory = &node.memory;
        let extent = |first: Index, last: Index, _room: u32| {
            let last = Index(last.0.min(first.0.saturating_add(most - 1)));
            let bytes: u64 = bytes_of(memory.range(first, last));
            Some(Extent { last, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) })
        };
        let Some(header) = raft.next_append(id, extent) else { return Ok(false) };
        let first = header.prev.index.next();
        let entries = memory.range(first, header.last).to_vec();
        let at = |entry: &Entry, index| Position::new(entry.term, index);
        let ends = entries.first().zip(entries.last());
        let ends = ends.map(|(a, b)| (at(a, first), at(b, header.last)));
        let text = trace::append(&header, ends, state.unwrap_or(ProgressState::Probe));
        events.sent(&text, peer);
        self.net.send(Packet { from: number, to: peer, text, body: Body::Append(header, entries) });
        Ok(true)
    }

    fn send_messages(&mut self, number: u64, events: &mut Events) -> Result<bool, String> {
        let mut moved = false;
        while let Some(message) = self.raft_mut(number)?.take_message() {
            self.send_message(number, message, events);
            moved = true;
        }
        while let Some(ready) = self.raft_mut(number)?.take_reads() {
            events.state(trace::reads(ready));
            moved = true;
        }
        Ok(moved)
    }

    fn send_message(&mut self, from: u64, message: kontiki_raft::Message, events: &mut Events) {
        let to = message.to.get();
        if self.connected(from, to) {
            let text = trace::message(&message.kind);
            events.sent(&text, to);
            self.net.send(Packet { from, to, text, body: Body::Message(message) });
        }
    }

    fn raft_mut(&mut self, number: u64) -> Result<&mut Raft, String> {
        let node = self.node_mut(number)?;
        node.raft.as_mut().ok_or_else(|| format!("replica {number} is down"))
    }

    /// An otherwise empty round: commits are told to those who have not heard of them.
    pub(super) fn round(&mut self, number: u64) -> Result<(), String> {
        self.raft(number)?;
        let mut events = Events::default();
        let peers: Vec<ReplicaId> = self.nodes.iter().map(|node| node.id).collect();
        for peer in peers {
            if let Some(message) = self.raft_mut(number)?.commit_owed(peer) {
                self.send_message(number, message, &mut events);
            }
        }
        if let Some(line) = events.line(number, self.level) {
            self.tell(line);
        }
        Ok(())
    }
}

/// The network and the clock.
impl World {
    /// Packets that arrive together.
    fn arrive(&mut self, to: u64, packets: Vec<Packet>) -> Result<(), String> {
        if !self.runs(to) {
            return Ok(());
        }
        self.step(to, |node, now, events| {
            for packet in packets {
                match packet.body {
                    Body::Message(message) => {
                        if let Some(raft) = &mut node.raft {
                            raft.step(now, &message);
                        }
                        look(node, events);
                    }
                    Body::Append(header, entries) => {
                        arrive_append(node, now, &header, &entries, events);
                    }
                }
            }
        })
    }

    /// What fits arrives, and so do the answers that fit, until nothing more is in flight.
    pub(super) fn deliver(&mut self, fits: impl Fn(&Packet) -> bool) -> Result<bool, String> {
        let mut any = false;
        for _ in 0..STEPS_MAX {
            let mut moved = false;
            for number in self.numbers() {
                let packets = self.net.take(usize::MAX, |p| p.to == number && fits(p));
                if !packets.is_empty() {
                    moved = true;
                    self.arrive(number, packets)?;
                }
            }
            if !moved {
                return Ok(any);
            }
            any = true;
        }
        Err("the network does not come to rest".to_owned())
    }

    /// What is in flight on one way arrives, at most `most` packets.
    pub(super) fn deliver_way(&mut self, from: u64, to: u64, most: usize) -> Result<(), String> {
        self.node(from)?;
        self.node(to)?;
        let packets = self.net.take(most, |p| (p.from, p.to) == (from, to));
        if packets.is_empty() {
            return Err(format!("nothing is in flight from {from} to {to}"));
        }
        self.arrive(to, packets)
    }

    /// Everything arrives and every commit is told, until nothing moves.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            self.deliver(|_| true)?;
            for number in self.numbers().filter(|&number| self.runs(number)).collect::<Vec<_>>() {
                self.round(number)?;
            }
            if self.net.packets.is_empty() {
                return Ok(());
            }
        }
        Err("the group does not come to rest".to_owned())
    }

    /// Lets time pass and keeps every deadline, the earliest first. With `deliver`, packets take
    /// no time; else they wait.
    pub(super) fn pass(&mut self, us: u64, deliver: bool) -> Result<(), String> {
        let end = Time(self.now.0 + us);
        for _ in 0..STEPS_MAX {
            if deliver {
                self.settle()?;
            }
            let deadline = |node: &Node| Some((node.raft.as_ref()?.deadline()?, node.id.get()));
            let next = self.nodes.iter().filter_map(deadline).min();
            let Some((at, number)) = next.filter(|&(at, _)| at <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(at);
            self.step(number, |node, now, _| {
                if let Some(raft) = &mut node.raft {
                    raft.on_deadline(now);
                }
            })?;
        }
        Err("deadlines do not move on".to_owned())
    }

    /// Tells one replica about its connection to another.
    pub(super) fn connection(&mut self, number: u64, peer: u64, up: bool) -> Result<(), String> {
        let id = self.node(peer)?.id;
        self.step(number, |node, now, _| {
            let Some(raft) = &mut node.raft else { return };
            if up { raft.on_peer_up(now, id) } else { raft.on_peer_down(now, id) }
        })
    }

    /// Tells everybody who runs that the connection with one replica broke, or stands.
    pub(super) fn connections(&mut self, number: u64, up: bool) -> Result<(), String> {
        for other in self.numbers().filter(|&other| other != number) {
            if !up {
                self.net.part(number, other);
            } else if self.net.isolated.contains(&number) || self.net.isolated.contains(&other) {
                continue;
            } else if self.runs(number) && self.runs(other) {
                self.net.apart.remove(&(number, other));
                self.net.apart.remove(&(other, number));
            }
            if self.runs(other) {
                self.connection(other, number, up)?;
            }
            if self.runs(number) {
                self.connection(number, other, up)?;
            }
        }
        Ok(())
    }
}

/// After each of several packets: the no-op of a new leader goes into the log before anything else
/// happens, and a change of part is told before what follows from it.
fn look(node: &mut Node, events: &mut Events) {
    let Some(raft) = &mut node.raft else { return };
    let noop = raft.take_noop();
    let now = raft.status();
    if let Some(seen) = &mut node.seen {
        trace::part(events, seen, raft);
        (seen.role, seen.term, seen.leader, seen.vote) = (now.role, now.term, now.leader, now.vote);
    }
    if let Some(noop) = noop {
        node.add(noop, &["no-op"]);
    }
}

fn arrive_append(
    node: &mut Node,
    now: Time,
    header: &AppendHeader,
    entries: &[Entry],
    events: &mut Events,
) {
    let Some(raft) = &mut node.raft else { return };
    let first = header.prev.index.next();
    let end = raft.last();
    let outcome = raft.step_append(now, header, &spans(first, entries), &[]);
    look(node, events);
    let AppendOutcome::Accepted { first_new } = outcome else { return };
    if first_new <= end.index {
        let gone = Position::new(term_of(&node.memory, first_new), first_new);
        events.state(format!("cut {}", trace::run(gone, end)));
        node.memory.truncate(first_new);
    }
    let skipped = usize::try_from(first_new.0 - first.0).expect("within what arrived");
    node.memory.entries.extend_from_slice(&entries[skipped..]);
    let from = Position::new(term_of(&node.memory, first_new), first_new);
    let to = Position::new(term_of(&node.memory, header.last), header.last);
    events.state(format!("append {}", trace::run(from, to)));
}

fn term_of(log: &Entries, index: Index) -> Term {
    log.get(index).map_or(log.start.term, |entry| entry.term)
}
