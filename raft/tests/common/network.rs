//! What travels between replicas, and what a replica has to say.
//!
//! The network does what it is told: packets lie in one queue, and a test lets them arrive, come
//! twice, come late, or be lost. A snapshot is a packet too; whoever sends one hears what became
//! of it by a packet that is local to its node, which is never lost but may be late.

use kontiki_raft::{
    AppendHeader, AppendOutcome, Extent, Index, MembershipAt, Message, MessageKind, Position,
    ReplicaId, SnapshotHeader, SnapshotOutcome, SnapshotSent, Term, Time,
};

use super::cluster::{Cluster, Sabotage, id, slot};
use super::entries::{ENTRY_BYTES, Entries, Entry, Write, spans_of};
use super::support::Beat;

/// What an append carries.
#[derive(Clone, Debug)]
pub(crate) struct Cargo {
    pub(crate) entries: Vec<Entry>,
    pub(crate) changes: Vec<MembershipAt>,
}

/// Something on the network.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Append(AppendHeader, Cargo),
    Message(Message),
    Snapshot(SnapshotHeader),
    /// What became of a snapshot, told by the transport to the sender `at` that sent it to `peer`.
    Report {
        at: ReplicaId,
        peer: ReplicaId,
        sent: SnapshotSent,
    },
    Beat(Beat),
}

impl Packet {
    pub(crate) fn from(&self) -> ReplicaId {
        match self {
            Self::Append(header, ..) => header.from,
            Self::Message(message) => message.from,
            Self::Snapshot(header) => header.from,
            Self::Report { at, .. } => *at,
            Self::Beat(beat) => beat.from,
        }
    }

    pub(crate) fn to(&self) -> ReplicaId {
        match self {
            Self::Append(header, ..) => header.to,
            Self::Message(message) => message.to,
            Self::Snapshot(header) => header.to,
            Self::Report { at, .. } => *at,
            Self::Beat(beat) => beat.to,
        }
    }

    /// Orders a campaign.
    fn is_order(&self) -> bool {
        let Self::Message(message) = self else { return false };
        matches!(message.kind, MessageKind::TimeoutNow { .. })
    }

    /// Never leaves its node, so nothing can lose it.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Report { .. })
    }
}

/// Arrivals.
impl Cluster {
    /// Lets the packet arrive, unless its receiver is down or out of reach.
    pub(crate) fn deliver(&mut self, packet: Packet) {
        let (from, to) = (packet.from().get(), packet.to().get());
        let barred = packet.is_order() && self.is_reborn(to);
        if !self.running(to) || self.cut.contains(&(from, to)) || barred {
            self.lose(packet);
            return;
        }
        self.note(|| format!("arrives: {packet:?}"));
        let now = self.clock(to);
        match packet {
            Packet::Message(message) => {
                self.raft_mut(to).step(now, &message);
                if let MessageKind::Heartbeat { .. } | MessageKind::TimeoutNow { .. } = message.kind
                {
                    self.heard(to, message.term, message.from, message.session);
                }
            }
            Packet::Append(header, cargo) => {
                self.deliver_append(to, &header, &cargo);
                self.heard(to, header.term, header.from, header.session);
            }
            Packet::Snapshot(header) => {
                self.deliver_snapshot(to, &header);
                self.heard(to, header.term, header.from, header.session);
            }
            Packet::Report { peer, sent, .. } => {
                self.raft_mut(to).on_snapshot_sent(now, peer, sent);
            }
            Packet::Beat(beat) => return self.deliver_beat(beat),
        }
        self.after_input(to);
    }

    /// The packet is gone. Only the sender of a snapshot hears of it.
    pub(crate) fn lose(&mut self, packet: Packet) {
        if let Packet::Snapshot(header) = packet {
            let (at, peer) = (header.from, header.to);
            self.net.push_back(Packet::Report { at, peer, sent: SnapshotSent::Failed });
        }
    }

    fn heard(&mut self, number: u64, term: Term, from: ReplicaId, session: u32) {
        let follows = self.raft(number).term() == term && self.raft(number).leader() == Some(from);
        if follows {
            let node = self.node_mut(number);
            // What is said to an earlier stay is not heard any more.
            let later = node.heard.filter(|&(at, by, _)| (at, by) == (term, from));
            let session = later.map_or(session, |(_, _, later)| session.max(later));
            node.heard = Some((term, from, session));
        }
    }

    fn deliver_append(&mut self, to: u64, header: &AppendHeader, cargo: &Cargo) {
        let Cargo { entries, changes } = cargo;
        let now = self.clock(to);
        let first = header.prev.index.next();
        let spans = spans_of(first, entries);
        let outcome = self.raft_mut(to).step_append(now, header, &spans, changes);
        if let AppendOutcome::Accepted { first_new } = outcome {
            assert!(first <= first_new && first_new <= header.last);
            let skipped = usize::try_from(first_new.0 - first.0).unwrap();
            let memory = &mut self.node_mut(to).memory;
            if let Some(ours) = memory.get(first_new) {
                assert_ne!(ours.term, entries[skipped].term, "cut at {first_new} without conflict");
            }
            memory.truncate(first_new);
            let new: Vec<_> = changes.iter().filter(|c| c.index >= first_new).copied().collect();
            memory.append(&entries[skipped..], &new);
            self.oracle.on_log(&self.nodes[slot(to)].memory, first_new);
        }
    }

    fn deliver_snapshot(&mut self, to: u64, header: &SnapshotHeader) {
        let now = self.clock(to);
        let outcome = self.raft_mut(to).install_snapshot(now, header);
        self.note(|| format!("{to} {outcome:?} the snapshot at {}", header.position));
        if outcome == SnapshotOutcome::Install {
            let node = self.node_mut(to);
            node.memory = Entries::new(header.position, header.membership);
            node.applied = header.position.index;
            node.staged = Some((header.position, header.membership));
            self.oracle.on_install(header);
        }
        let sent = SnapshotSent::Sent(header.position.index);
        self.net.push_back(Packet::Report { at: header.from, peer: header.to, sent });
    }
}

/// What a replica has to say.
impl Cluster {
    /// Starts the write that is due.
    pub(crate) fn write(&mut self, number: u64) -> bool {
        let Some(persist) = self.raft_mut(number).take_persist() else { return false };
        self.note(|| format!("{number} writes {persist:?}"));
        let early = self.sabotage == Some(Sabotage::PersistEarly);
        let node = self.node_mut(number);
        let (mut entries, mut changes) = (vec![], vec![]);
        if let Some((first, last)) = persist.append {
            entries = node.memory.range(first, last);
            changes = node.memory.changes_in(first, last);
        }
        let snapshot = persist.snapshot.map(|position| {
            let (staged, membership) = node.staged.expect("a snapshot was installed");
            assert_eq!(staged, position, "the snapshot to persist is the last one installed");
            membership
        });
        node.writing.push_back(Write { persist, entries, changes, snapshot });
        if early {
            self.raft_mut(number).on_persisted(persist.seq);
            self.after_input(number);
        }
        true
    }

    /// Sends every message whose reasons are durable.
    pub(crate) fn send_messages(&mut self, number: u64) {
        while self.send_message(number) {}
        while let Some(ready) = self.raft_mut(number).take_reads() {
            self.note(|| format!("{number} answers {ready:?}"));
            self.oracle.on_read_ready(id(number), ready);
            self.node_mut(number).reads.push(ready);
        }
    }

    pub(crate) fn send_message(&mut self, number: u64) -> bool {
        let Some(message) = self.raft_mut(number).take_message() else { return false };
        self.note(|| format!("{number} says {message:?}"));
        self.oracle.on_message(&self.nodes[slot(number)], &message);
        self.post(number, Packet::Message(message));
        true
    }

    /// Puts the packet on the network. Who has not heard that a replica was removed and came back
    /// knows only its past life, and the connections of that one went with its disk. Answers go
    /// back to whoever asked.
    fn post(&mut self, number: u64, packet: Packet) {
        let answers = match &packet {
            Packet::Message(message) => !matches!(
                message.kind,
                MessageKind::PreVote { .. }
                    | MessageKind::Vote { .. }
                    | MessageKind::Heartbeat { .. }
                    | MessageKind::TimeoutNow { .. }
            ),
            Packet::Append(..) | Packet::Snapshot(_) => false,
            Packet::Report { .. } | Packet::Beat(_) => true,
        };
        let to = &self.nodes[slot(packet.to().get())];
        if !answers && !self.node(number).knows_life_of(to) {
            self.lose(packet);
        } else {
            self.net.push_back(packet);
        }
    }

    /// Sends every append that may go, and the snapshots that are asked for if it serves them.
    pub(crate) fn send_appends(&mut self, number: u64) {
        for peer in self.numbers().filter(|&peer| peer != number) {
            while self.send_append(number, peer) {}
        }
        while self.serves_snapshots && self.send_snapshot(number, 0) {}
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
        self.note(|| format!("{number} appends {header:?}"));
        let (node, first) = (self.node(number), header.prev.index.next());
        self.oracle.on_append(node, &header);
        let entries = node.memory.range(first, header.last);
        let changes = node.memory.changes_in(first, header.last);
        self.post(number, Packet::Append(header, Cargo { entries, changes }));
        true
    }

    /// Builds and sends a snapshot that is asked for, `behind` entries before the latest possible.
    pub(crate) fn send_snapshot(&mut self, number: u64, behind: u64) -> bool {
        let Some(request) = self.raft_mut(number).take_snapshot_request() else { return false };
        let node = self.node(number);
        let raft = node.raft();
        assert!(request.at_least <= node.applied, "{request:?} past {:?}", node.applied);
        let index = Index(node.applied.0.saturating_sub(behind)).max(request.at_least);
        let index = index.max(node.memory.start.index);
        let term = raft.term_at(index).expect("the log reaches back to what is applied");
        let membership = raft.membership_at(index).expect("its membership too");
        let header = SnapshotHeader {
            from: node.id,
            to: request.to,
            term: raft.term(),
            session: request.session,
            position: Position::new(term, index),
            membership,
        };
        self.note(|| format!("{number} sends {header:?}"));
        self.oracle.on_snapshot(node, &header);
        self.post(number, Packet::Snapshot(header));
        true
    }

    pub(crate) fn send_commits(&mut self, number: u64) {
        for peer in self.numbers().filter(|&peer| peer != number) {
            if let Some(message) = self.raft_mut(number).commit_owed(id(peer)) {
                self.oracle.on_message(&self.nodes[slot(number)], &message);
                self.post(number, Packet::Message(message));
            }
        }
    }

    /// Applies what is given, a page at a time, and compacts up to the floor when asked.
    pub(crate) fn apply(&mut self, number: u64, compact: bool) {
        if self.take_page(number) && compact {
            let to = self.node(number).applied.min(self.raft(number).log_floor());
            self.compact(number, to);
        }
    }

    fn take_page(&mut self, number: u64) -> bool {
        let most = self.page_max;
        let page = |first: Index, last: Index| last.min(Index(first.0.saturating_add(most - 1)));
        let Some((first, last)) = self.raft_mut(number).take_committed_page(page) else {
            return false;
        };
        self.oracle.on_apply(self.node(number), first, last);
        self.node_mut(number).applied = last;
        self.raft_mut(number).on_applied(last);
        if !self.lazy_apply {
            self.flush(number);
        }
        self.after_input(number);
        true
    }

    /// Forgets the log up to `to`, but no further than what is durably applied.
    pub(crate) fn compact(&mut self, number: u64, to: Index) {
        let node = self.node_mut(number);
        if node.staged.is_some() {
            return; // The disk has not even the log that this would shorten.
        }
        let to = to.min(node.disk.applied);
        let raft = node.raft.as_mut().expect("the replica runs");
        let position = raft.on_compacted(to);
        node.memory.compact(position);
        node.disk.log.compact(position);
        self.after_input(number);
    }

    /// Everything a replica has to do, once.
    pub(crate) fn pump(&mut self, number: u64) {
        if self.running(number) {
            self.send_appends(number);
            self.write(number);
            self.send_messages(number);
            while self.take_page(number) {}
        }
    }
}

/// Driving a group.
impl Cluster {
    /// Delivers in order and persists at once until nothing moves.
    pub(crate) fn run(&mut self) {
        assert!(self.run_rounds(100_000), "the group does not come to rest");
    }

    /// The same, for so many rounds. Returns whether the group came to rest.
    pub(crate) fn run_rounds(&mut self, rounds: u64) -> bool {
        for _ in 0..rounds {
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
                return true;
            }
            for packet in std::mem::take(&mut self.net) {
                self.deliver(packet);
            }
        }
        false
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

    /// Makes the replica leader, with everything delivered and persisted.
    pub(crate) fn elect(&mut self, number: u64) {
        self.campaign(number);
        self.run();
        assert_eq!(self.leader(), Some(number), "{:?}", self.raft(number).status());
    }

    /// Hands one message to the replica, past the network.
    pub(crate) fn tell(&mut self, from: u64, to: u64, term: u64, kind: MessageKind) {
        let mut message = message(from, to, term, kind);
        // A leader believes whoever speaks of the present stay of the peer.
        let peer = self.raft(to).progress().find(|peer| peer.id == message.from);
        message.session = peer.map_or(0, |peer| peer.session);
        self.deliver(Packet::Message(message));
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

    /// Takes the replica off the network. The others see its connections break.
    pub(crate) fn isolate(&mut self, number: u64) {
        for other in self.numbers().filter(|&other| other != number) {
            self.cut.extend([(number, other), (other, number)]);
            if self.running(other) {
                let now = self.clock(other);
                self.raft_mut(other).on_peer_down(now, id(number));
            }
        }
    }

    /// Mends every cut.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for number in self.numbers() {
            for other in self.numbers().filter(|&other| other != number) {
                if self.running(number) {
                    let now = self.clock(number);
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
            _ => None,
        };
        self.net.iter().filter(fits).filter_map(kind).collect()
    }
}

/// A message from one replica to another, in the session of a membership that never changed.
pub(crate) fn message(from: u64, to: u64, term: u64, kind: MessageKind) -> Message {
    Message { from: id(from), to: id(to), term: Term(term), kind, session: 0 }
}

pub(crate) fn position(term: u64, index: u64) -> Position {
    Position::new(Term(term), Index(index))
}
