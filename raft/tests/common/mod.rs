//! Groups of replicas in memory: a network that does what it is told, disks that lose what was not
//! synced, and an oracle that checks the safety properties as it watches.
//!
//! Persistence is an event of its own. A write taken from a replica sits in `writing` until it is
//! completed or lost in a crash; payloads live here, since the core has none.

#![allow(dead_code, reason = "every test crate uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of tests, though not inside of one")]

mod oracle;

use std::collections::VecDeque;

use kontiki_raft::{
    AppendHeader, AppendOutcome, Config, Extent, HardState, Index, Membership, Message,
    MessageKind, Persist, Position, Proposed, Raft, ReadId, ReadReady, ReplicaId, Role, Span,
    Start, Term, Time,
};

use oracle::Oracle;

/// Bytes of every entry.
pub(crate) const ENTRY_BYTES: u32 = 10;

/// One entry as the test sees it. Payloads are unique, so two entries are never mistaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) term: Term,
    pub(crate) payload: u64,
}

/// A log with its entries: index `start + 1` is `entries[0]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    pub(crate) start: Position,
    pub(crate) entries: Vec<Entry>,
}

impl Entries {
    pub(crate) fn last(&self) -> Index {
        Index(self.start.index.0 + self.entries.len() as u64)
    }

    fn slot(&self, index: Index) -> usize {
        usize::try_from(index.0 - self.start.index.0 - 1).unwrap()
    }

    pub(crate) fn get(&self, index: Index) -> Option<Entry> {
        (index > self.start.index && index <= self.last()).then(|| self.entries[self.slot(index)])
    }

    pub(crate) fn range(&self, first: Index, last: Index) -> Vec<Entry> {
        if last < first {
            Vec::new()
        } else {
            self.entries[self.slot(first)..=self.slot(last)].to_vec()
        }
    }

    pub(crate) fn truncate(&mut self, from: Index) {
        let slot = self.slot(from);
        self.entries.truncate(slot);
    }

    fn compact(&mut self, to: Position) {
        if to.index > self.start.index {
            self.entries.drain(..=self.slot(to.index));
            self.start = to;
        }
    }

    /// The entries as the runs of one term that the core understands.
    pub(crate) fn spans(&self) -> Vec<Span> {
        spans_of(self.start.index.next(), &self.entries)
    }
}

pub(crate) fn spans_of(first: Index, entries: &[Entry]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (index, entry) in (first.0..).map(Index).zip(entries) {
        match spans.last_mut() {
            Some(span) if span.term == entry.term => span.last = index,
            _ => spans.push(Span { term: entry.term, first: index, last: index }),
        }
    }
    spans
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) log: Entries,
    pub(crate) applied: Index,
}

impl Disk {
    fn write(&mut self, write: &Write) {
        if let Some(hard_state) = write.persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(from) = write.persist.truncate_from {
            self.log.truncate(from);
        }
        if let Some((first, _)) = write.persist.append {
            assert_eq!(first, self.log.last().next(), "writes leave no gap: {:?}", write.persist);
            self.log.entries.extend(&write.entries);
        }
    }
}

/// A write on its way to the disk, with what it carries.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) persist: Persist,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    /// `None` while crashed.
    pub(crate) raft: Option<Raft>,
    pub(crate) memory: Entries,
    pub(crate) disk: Disk,
    pub(crate) writing: VecDeque<Write>,
    /// Answers of the core to reads, in order.
    pub(crate) reads: Vec<ReadReady>,
    restarts: u64,
}

/// Something on the network.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Append(AppendHeader, Vec<Entry>),
    Message(Message),
}

impl Packet {
    pub(crate) fn from(&self) -> ReplicaId {
        match self {
            Self::Append(header, _) => header.from,
            Self::Message(message) => message.from,
        }
    }

    pub(crate) fn to(&self) -> ReplicaId {
        match self {
            Self::Append(header, _) => header.to,
            Self::Message(message) => message.to,
        }
    }
}

/// A group.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: Config,
    pub(crate) membership: Membership,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: VecDeque<Packet>,
    pub(crate) now: Time,
    /// Ordered pairs that cannot talk.
    pub(crate) cut: Vec<(u64, u64)>,
    /// The largest extent of one append, in entries.
    pub(crate) extent_max: u64,
    pub(crate) oracle: Oracle,
    next_payload: u64,
    seed: u64,
}

pub(crate) fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn slot(number: u64) -> usize {
    usize::try_from(number - 1).unwrap()
}

pub(crate) fn config() -> Config {
    Config { election_timeout_us: 100_000, heartbeat_us: 20_000, ..Config::default() }
}

impl Cluster {
    /// Replicas 1 to `count`, all new.
    pub(crate) fn new(count: u64, seed: u64) -> Self {
        Self::with_logs(&vec![&[][..]; usize::try_from(count).unwrap()], seed)
    }

    /// Replicas whose logs have the given terms, and who know the last of them.
    pub(crate) fn with_logs(logs: &[&[u64]], seed: u64) -> Self {
        let ids: Vec<_> = (1..=logs.len() as u64).map(id).collect();
        let mut cluster = Self {
            config: config(),
            membership: Membership::new(&ids).unwrap(),
            nodes: Vec::new(),
            net: VecDeque::new(),
            now: Time(1_000_000),
            cut: Vec::new(),
            extent_max: 3,
            oracle: Oracle::default(),
            next_payload: 1 << 32,
            seed,
        };
        for (&id, &terms) in ids.iter().zip(logs) {
            let mut disk = Disk::default();
            // The same term at the same index is the same entry.
            let entry = |(slot, &term): (usize, &u64)| Entry {
                term: Term(term),
                payload: term << 16 | slot as u64,
            };
            disk.log.entries = terms.iter().enumerate().map(entry).collect();
            disk.hard_state.term = Term(terms.last().copied().unwrap_or(0));
            cluster.nodes.push(Node {
                id,
                raft: None,
                memory: Entries::default(),
                disk,
                writing: VecDeque::new(),
                reads: Vec::new(),
                restarts: 0,
            });
            cluster.restart(id.get());
        }
        cluster
    }

    pub(crate) fn node(&self, number: u64) -> &Node {
        &self.nodes[slot(number)]
    }

    pub(crate) fn node_mut(&mut self, number: u64) -> &mut Node {
        &mut self.nodes[slot(number)]
    }

    pub(crate) fn raft(&self, number: u64) -> &Raft {
        self.node(number).raft.as_ref().expect("the replica runs")
    }

    pub(crate) fn raft_mut(&mut self, number: u64) -> &mut Raft {
        self.node_mut(number).raft.as_mut().expect("the replica runs")
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.nodes.len() as u64
    }

    pub(crate) fn running(&self, number: u64) -> bool {
        self.node(number).raft.is_some()
    }

    /// The leader of the latest term, among those that run.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |&n: &u64| self.running(n) && self.raft(n).is_leader();
        self.numbers().filter(leads).max_by_key(|&n| self.raft(n).term())
    }

    pub(crate) fn roles(&self) -> Vec<Role> {
        self.numbers().map(|n| self.raft(n).role()).collect()
    }
}

/// Inputs.
impl Cluster {
    /// Loses everything that is not on the disk, but first completes the first `completed` writes
    /// in flight: the disk had them, only nobody was told.
    pub(crate) fn crash(&mut self, number: u64, completed: usize) {
        let node = self.node_mut(number);
        for write in node.writing.drain(..).take(completed) {
            node.disk.write(&write);
        }
        node.raft = None;
        let id = node.id;
        self.oracle.on_crash(id);
    }

    pub(crate) fn restart(&mut self, number: u64) {
        let (config, membership, now) = (self.config, self.membership, self.now);
        let seed = self.seed;
        let node = self.node_mut(number);
        node.restarts += 1;
        node.memory = node.disk.log.clone();
        let raft = Raft::new(
            config,
            Start {
                id: node.id,
                membership,
                hard_state: node.disk.hard_state,
                compacted: node.disk.log.start,
                spans: &node.disk.log.spans(),
                committed: node.disk.applied,
                seed: seed ^ (number << 32) ^ node.restarts,
                now,
            },
        );
        node.raft = Some(raft.expect("a disk is a valid start"));
        for other in self.numbers().filter(|&other| other != number) {
            if self.running(other) {
                self.raft_mut(other).on_peer_up(now, id(number));
            }
        }
        self.after_input(number);
    }

    pub(crate) fn campaign(&mut self, number: u64) {
        let now = self.now;
        self.raft_mut(number).campaign(now);
        self.after_input(number);
    }

    pub(crate) fn propose(&mut self, number: u64, count: u32) -> Option<Proposed> {
        let proposed = self.raft_mut(number).propose(count, count * ENTRY_BYTES).ok()?;
        self.add_entries(number, proposed);
        self.after_input(number);
        Some(proposed)
    }

    pub(crate) fn read(&mut self, number: u64) -> Option<ReadId> {
        let read = self.raft_mut(number).read().ok()?;
        self.oracle.on_read(id(number), read);
        self.after_input(number);
        Some(read)
    }

    pub(crate) fn deadline(&mut self, number: u64) {
        let now = self.now;
        if self.raft(number).deadline().is_some_and(|at| at <= now) {
            self.raft_mut(number).on_deadline(now);
            self.after_input(number);
        }
    }

    /// Completes the oldest write.
    pub(crate) fn persist(&mut self, number: u64) -> bool {
        let node = self.node_mut(number);
        let Some(write) = node.writing.pop_front() else { return false };
        node.disk.write(&write);
        self.raft_mut(number).on_persisted(write.persist.seq);
        self.after_input(number);
        true
    }

    /// Lets the packet arrive, unless its receiver is down or out of reach.
    pub(crate) fn deliver(&mut self, packet: Packet) {
        let (from, to) = (packet.from().get(), packet.to().get());
        if !self.running(to) || self.cut.contains(&(from, to)) {
            return;
        }
        let now = self.now;
        match packet {
            Packet::Message(message) => self.raft_mut(to).step(now, &message),
            Packet::Append(header, entries) => self.deliver_append(to, &header, &entries),
        }
        self.after_input(to);
    }

    fn deliver_append(&mut self, to: u64, header: &AppendHeader, entries: &[Entry]) {
        let now = self.now;
        let first = header.prev.index.next();
        let spans = spans_of(first, entries);
        let outcome = self.raft_mut(to).step_append(now, header, &spans);
        if let AppendOutcome::Accepted { first_new } = outcome {
            assert!(first <= first_new && first_new <= header.last);
            let skipped = usize::try_from(first_new.0 - first.0).unwrap();
            let memory = &mut self.node_mut(to).memory;
            memory.truncate(first_new);
            memory.entries.extend(&entries[skipped..]);
            self.oracle.on_log(&self.nodes[slot(to)].memory, first_new);
        }
    }

    fn add_entries(&mut self, number: u64, proposed: Proposed) {
        for _ in proposed.first.0..=proposed.last.0 {
            let payload = self.next_payload;
            self.next_payload += 1;
            let memory = &mut self.node_mut(number).memory;
            memory.entries.push(Entry { term: proposed.term, payload });
        }
        assert_eq!(self.node(number).memory.last(), proposed.last);
        self.oracle.on_log(&self.nodes[slot(number)].memory, proposed.first);
    }

    /// What the caller owes the core after every input, and the checks.
    pub(crate) fn after_input(&mut self, number: u64) {
        if let Some(noop) = self.raft_mut(number).take_noop() {
            self.add_entries(number, noop);
        }
        let index = slot(number);
        let node = &self.nodes[index];
        let raft = node.raft.as_ref().expect("the replica runs");
        raft.check_invariants();
        assert_eq!(raft.last().index, node.memory.last(), "memory follows the core");
        self.oracle.on_state(&self.nodes, index);
    }
}

/// Outputs.
impl Cluster {
    /// Starts the write that is due.
    pub(crate) fn write(&mut self, number: u64) -> bool {
        let Some(persist) = self.raft_mut(number).take_persist() else { return false };
        let node = self.node_mut(number);
        let entries = persist.append.map_or(vec![], |(first, last)| node.memory.range(first, last));
        node.writing.push_back(Write { persist, entries });
        true
    }

    /// Sends every message whose reasons are durable.
    pub(crate) fn send_messages(&mut self, number: u64) {
        while let Some(message) = self.raft_mut(number).take_message() {
            self.oracle.on_message(self.node(number), &message);
            self.net.push_back(Packet::Message(message));
        }
        while let Some(ready) = self.raft_mut(number).take_reads() {
            self.oracle.on_read_ready(id(number), ready);
            self.node_mut(number).reads.push(ready);
        }
    }

    /// Sends every append that may go.
    pub(crate) fn send_appends(&mut self, number: u64) {
        for peer in self.numbers().filter(|&peer| peer != number) {
            while self.send_append(number, peer) {}
        }
    }

    pub(crate) fn send_append(&mut self, number: u64, peer: u64) -> bool {
        let most = self.extent_max;
        let extent = |first: Index, last: Index, room: u32| {
            assert!(room > 0);
            let last = last.min(Index(first.0 + most - 1));
            let count = u32::try_from(last.0 - first.0 + 1).unwrap();
            Some(Extent { last, bytes: count * ENTRY_BYTES })
        };
        let Some(header) = self.raft_mut(number).next_append(id(peer), extent) else {
            return false;
        };
        let entries = self.node(number).memory.range(header.prev.index.next(), header.last);
        self.net.push_back(Packet::Append(header, entries));
        true
    }

    pub(crate) fn send_commits(&mut self, number: u64) {
        for peer in self.numbers().filter(|&peer| peer != number) {
            if let Some(message) = self.raft_mut(number).commit_owed(id(peer)) {
                self.net.push_back(Packet::Message(message));
            }
        }
    }

    /// Applies what is given, durably, and compacts when asked.
    pub(crate) fn apply(&mut self, number: u64, compact: bool) {
        let Some((first, last)) = self.raft_mut(number).take_committed() else { return };
        let node = self.node_mut(number);
        assert_eq!(first, node.disk.applied.next(), "each entry is given once, in order");
        node.disk.applied = last;
        let raft = node.raft.as_mut().expect("the replica runs");
        raft.on_applied(last);
        if compact {
            let to = raft.on_compacted(last.min(raft.log_floor()));
            node.memory.compact(to);
            node.disk.log.compact(to);
        }
        self.after_input(number);
    }

    /// Everything a replica has to do, once.
    pub(crate) fn pump(&mut self, number: u64) {
        if self.running(number) {
            self.send_appends(number);
            self.write(number);
            self.send_messages(number);
            self.apply(number, false);
        }
    }

    /// Delivers in order and persists at once until nothing moves.
    pub(crate) fn run(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "the group does not come to rest");
            for number in self.numbers() {
                self.pump(number);
                while self.running(number) && self.persist(number) {
                    self.pump(number);
                }
            }
            if self.net.is_empty() {
                let leader = self.leader();
                leader.into_iter().for_each(|leader| self.send_commits(leader));
            }
            if self.net.is_empty() {
                return;
            }
            for packet in std::mem::take(&mut self.net) {
                self.deliver(packet);
            }
        }
    }

    /// Like [`Cluster::run`], but no append ever leaves.
    pub(crate) fn run_messages(&mut self) {
        loop {
            for number in self.numbers() {
                while self.running(number) && (self.write(number) || self.persist(number)) {}
                if self.running(number) {
                    self.send_messages(number);
                }
            }
            if self.net.is_empty() {
                return;
            }
            for packet in std::mem::take(&mut self.net) {
                self.deliver(packet);
            }
        }
    }

    /// Everything in flight arrives, and the replica alone writes and answers.
    pub(crate) fn run_messages_of(&mut self, number: u64) {
        for packet in std::mem::take(&mut self.net) {
            self.deliver(packet);
        }
        self.sync(number);
        self.send_messages(number);
        for packet in std::mem::take(&mut self.net) {
            self.deliver(packet);
        }
    }

    /// Makes the replica leader, but nothing it has to say has left yet.
    pub(crate) fn elect_silently(&mut self, number: u64) {
        self.campaign(number);
        self.run_messages();
        assert_eq!(self.leader(), Some(number), "{:?}", self.raft(number).status());
    }

    /// Hands one message to the replica, past the network.
    pub(crate) fn tell(&mut self, from: u64, to: u64, term: u64, kind: MessageKind) {
        self.deliver(Packet::Message(message(from, to, term, kind)));
    }

    /// What the replica says at once, without any write completing.
    pub(crate) fn says(&mut self, number: u64) -> Vec<Message> {
        std::iter::from_fn(|| self.raft_mut(number).take_message()).collect()
    }

    /// Everything the replica writes becomes durable.
    pub(crate) fn sync(&mut self, number: u64) {
        while self.write(number) || self.persist(number) {}
    }

    /// Lets time pass in small steps, all deadlines kept, everything delivered.
    pub(crate) fn pass(&mut self, us: u64) {
        let end = self.now.0 + us;
        while self.now.0 < end {
            self.now = Time(end.min(self.now.0 + 1_000));
            for number in self.numbers() {
                if self.running(number) {
                    self.deadline(number);
                }
            }
            self.run();
        }
    }

    /// Makes the replica leader, with everything delivered and persisted.
    pub(crate) fn elect(&mut self, number: u64) {
        self.campaign(number);
        self.run();
        assert_eq!(self.leader(), Some(number), "{:?}", self.raft(number).status());
    }

    /// Takes the replica off the network. The others see its connections break.
    pub(crate) fn isolate(&mut self, number: u64) {
        let now = self.now;
        for other in self.numbers().filter(|&other| other != number) {
            self.cut.extend([(number, other), (other, number)]);
            if self.running(other) {
                self.raft_mut(other).on_peer_down(now, id(number));
            }
        }
    }

    /// Mends every cut.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        let now = self.now;
        for number in self.numbers() {
            for other in self.numbers().filter(|&other| other != number) {
                if self.running(number) {
                    self.raft_mut(number).on_peer_up(now, id(other));
                }
            }
        }
    }

    /// The messages in flight from one replica to another.
    pub(crate) fn between(&self, from: u64, to: u64) -> Vec<MessageKind> {
        let fits = |packet: &&Packet| packet.from() == id(from) && packet.to() == id(to);
        let kind = |packet: &Packet| match packet {
            Packet::Message(message) => Some(message.kind),
            Packet::Append(..) => None,
        };
        self.net.iter().filter(fits).filter_map(kind).collect()
    }
}

/// A message from one replica to another, in the session that fixed memberships have.
pub(crate) fn message(from: u64, to: u64, term: u64, kind: MessageKind) -> Message {
    Message { from: id(from), to: id(to), term: Term(term), kind, session: 0 }
}

pub(crate) fn position(term: u64, index: u64) -> Position {
    Position::new(Term(term), Index(index))
}
