//! A node: a replica with its log in memory and on disk, and what it owes to others.
//!
//! After every input the outputs of the core are pulled at once, so that what leaves is what the
//! other implementation would have made at that moment: one append per proposal, say. It stays
//! with the node until scripts let the node work it off (`ready`).
//!
//! Two things are counted here in other units than scripts count: a window of messages is a window
//! of bytes in which every append weighs one byte, and a loss is a broken connection, which the
//! leader hears of with the next answer to a heartbeat.
//!
//! Deliberately absent: threads and when they run (`ready`), and what comes in (`input`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kontiki_raft::{
    ChangeError, Config, Extent, HardState, Index, Liveness, Membership, MessageKind, PeerProgress,
    Position, ProgressState, Raft, ReplicaId, Role, SnapshotHeader, Start, Term,
};

use super::clock::{Clock, ELECTION_TICKS, TICK_US};
use super::entries::{Entry, Log, Payload};
use super::pool::Packet;
use super::ready::{Applying, Page, Work};

/// What `add-nodes` says about its nodes.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) membership: Membership,
    /// The entry of the snapshot that the nodes begin with.
    pub(super) index: Index,
    /// Writes and applies run on threads of their own.
    pub(super) on_threads: bool,
    /// Appends on their way to one follower.
    pub(super) inflight_max: Option<u32>,
    /// Bytes of entries that are given to apply at once.
    pub(super) page_bytes_max: Option<u64>,
    pub(super) pre_vote: bool,
    pub(super) check_quorum: bool,
    /// Reads rest on a lease.
    pub(super) leases: bool,
    /// A leader that is removed follows.
    pub(super) steps_down: bool,
    /// Changes of membership are checked before they go into the log.
    pub(super) checks_changes: bool,
}

impl Options {
    fn config(&self) -> Config {
        Config {
            election_timeout_us: ELECTION_TICKS * TICK_US,
            heartbeat_us: TICK_US,
            inflight_bytes_max: self.inflight_max.unwrap_or(u32::MAX),
            uncommitted_bytes_max: u32::MAX,
            pre_vote: self.pre_vote,
            liveness: if self.check_quorum { Liveness::SelfTimed } else { Liveness::Unchecked },
            lease_percent: if self.leases { kontiki_raft::LEASE_PERCENT_MAX } else { 0 },
            ..Config::default()
        }
    }
}

/// Why a script leaves the ground on which the two implementations can be compared.
pub(super) type Reason = &'static str;

/// What is known about the way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Something was lost, and nobody knows yet.
    Lossy,
    /// The same, and a heartbeat has left since: its answer shows the loss.
    Asked,
    /// The leader was told that the peer is not reachable.
    Down,
}

/// What a node shows of itself when it is asked for its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) role: Role,
    pub(super) term: u64,
    pub(super) vote: u64,
    pub(super) leader: u64,
    pub(super) commit: u64,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ReplicaId,
    pub(super) options: Options,
    pub(super) raft: Raft,
    pub(super) clock: Clock,
    /// The log as the core has it, and as it is written.
    pub(super) memory: Log,
    pub(super) disk: Log,
    /// The last entry given to apply, and the last applied.
    pub(super) given: Index,
    pub(super) applied: Index,
    /// What leaves with the next `process-ready`.
    pub(super) outgoing: Vec<Packet>,
    /// What leaves then too, or after the writes before it when these are on a thread.
    pub(super) answers: Vec<Packet>,
    pub(super) append_work: VecDeque<Work>,
    pub(super) apply_work: VecDeque<Page>,
    /// Completions on their way from the append thread.
    pub(super) reports: usize,
    /// With threads: the last entry that is written, as far as that was reported.
    pub(super) stable: Index,
    /// What is being applied.
    pub(super) applying: Applying,
    /// As of the last `process-ready`.
    pub(super) view: View,
    /// The entry before the no-op, while this node leads.
    pub(super) led_from: Option<(Term, Index)>,
    /// The term in which a script asked for a transfer.
    pub(super) transfer: Option<Term>,
    pub(super) links: BTreeMap<ReplicaId, Link>,
    /// Peers whose probe in flight carries no entry.
    empty_probes: BTreeSet<ReplicaId>,
    /// The log was replaced by a snapshot once.
    pub(super) was_replaced: bool,
    /// The entries of the snapshots that peers were sent last.
    snapshots: BTreeMap<ReplicaId, Index>,
    /// The part that it plays when the case begins, with its term, and those it comes to play in
    /// it.
    pub(super) parts: Vec<(Role, u64)>,
    /// Changes of membership that the core refused since then.
    pub(super) refusals: Vec<ChangeError>,
    pub(super) diverged: Option<Reason>,
}

/// Making one, and looking at it.
impl Node {
    /// A node that has just started, from a snapshot or from nothing.
    ///
    /// The scripts' snapshots are of term 1 while their nodes are in term 0. Here a log is never
    /// ahead of the term, so the snapshot is of term 0; it compares alike with all that follows.
    pub(super) fn new(id: ReplicaId, options: Options) -> Result<Self, String> {
        let mut clock = Clock::new();
        let compacted = Position::new(Term::ZERO, options.index);
        let start = Start {
            id,
            membership: options.membership,
            changes: &[],
            hard_state: HardState::default(),
            compacted,
            spans: &[],
            committed: options.index,
            seed: id.get(),
            now: clock.now,
        };
        if options.leases {
            // A replica that may have promised something before it started waits for the end of
            // that. Scripts begin when it has.
            clock.now = clock.now.after(ELECTION_TICKS * TICK_US);
        }
        let raft = Raft::new(options.config(), start).map_err(|error| error.to_string())?;
        let mut node = Self {
            id,
            raft,
            clock,
            memory: Log::after(compacted),
            disk: Log::after(compacted),
            given: options.index,
            applied: options.index,
            outgoing: Vec::new(),
            answers: Vec::new(),
            append_work: VecDeque::new(),
            apply_work: VecDeque::new(),
            reports: 0,
            stable: options.index,
            applying: Applying::default(),
            view: View { role: Role::Follower, term: 0, vote: 0, leader: 0, commit: 0 },
            led_from: None,
            transfer: None,
            links: BTreeMap::new(),
            empty_probes: BTreeSet::new(),
            was_replaced: false,
            snapshots: BTreeMap::new(),
            parts: vec![(Role::Follower, 0)],
            refusals: Vec::new(),
            diverged: None,
            options,
        };
        node.view = node.look();
        node.clock.observe(&node.raft);
        Ok(node)
    }

    /// Forgets what only counts within one case.
    pub(super) fn begin_case(&mut self) {
        self.refusals.clear();
        let now = self.parts.len().saturating_sub(1);
        self.parts.drain(..now);
    }

    pub(super) fn look(&self) -> View {
        let status = self.raft.status();
        let number = |id: Option<ReplicaId>| id.map_or(0, ReplicaId::get);
        View {
            role: status.role,
            term: status.term.0,
            vote: number(status.vote),
            leader: number(status.leader),
            commit: status.committed.0,
        }
    }

    /// The membership as far as the state machine has come. Scripts show no other: they change a
    /// membership when its entry is applied, and the core does when it is appended.
    pub(super) fn membership(&self) -> Membership {
        self.raft.membership_at(self.applied).unwrap_or_else(|| self.raft.membership())
    }

    /// How far the peer's snapshot goes: what was sent to it, which is at least what was asked.
    pub(super) fn snapshot_sent(&self, peer: &PeerProgress) -> Option<Index> {
        let asked = peer.pending_snapshot?;
        Some(self.snapshots.get(&peer.id).map_or(asked, |&sent| sent.max(asked)))
    }

    /// Whether nothing with entries may be sent to the peer. A probe without entries does not
    /// count in scripts.
    pub(super) fn is_paused(&self, peer: &PeerProgress) -> bool {
        let empty_probe =
            peer.state == ProgressState::Probe && self.empty_probes.contains(&peer.id);
        peer.paused && !empty_probe
    }

    pub(super) fn peer(&self, id: ReplicaId) -> Option<PeerProgress> {
        self.raft.progress().find(|peer| peer.id == id)
    }
}

/// Pulling what the core has to say.
impl Node {
    /// Takes everything the core gives now. Called after every input.
    pub(super) fn pull(&mut self) {
        self.observe_part();
        self.observe_lead();
        if let Some(noop) = self.raft.take_noop() {
            self.led_from = Some((noop.term, noop.first.prev()));
            self.memory.push(Entry { term: noop.term, payload: Payload::empty() });
        }
        if let Some(left) = self.raft.take_membership() {
            let payload = Payload::Change {
                old_style: false,
                text: String::new(),
                membership: left.membership,
            };
            self.memory.push(Entry { term: left.proposed.term, payload });
        }
        let peers: Vec<_> = self.raft.peers().collect();
        for peer in peers {
            if self.links.get(&peer) != Some(&Link::Down) {
                while let Some(packet) = self.next_append(peer) {
                    self.outgoing.push(packet);
                }
            }
            if let Some(message) = self.raft.commit_owed(peer) {
                self.outgoing.push(Packet::message(message, true));
            }
        }
        self.pull_snapshots();
        while let Some(message) = self.raft.take_message() {
            self.sort(Packet::message(message, false), &message.kind);
        }
        self.clock.observe(&self.raft);
        self.raft.check_invariants();
        let (ours, core) = (self.memory.last(), self.raft.last().index);
        assert_eq!(ours, core, "the entries follow the core");
    }

    fn sort(&mut self, packet: Packet, kind: &MessageKind) {
        let ordered = self.transfer == Some(self.raft.term());
        if matches!(kind, MessageKind::TimeoutNow { .. }) && !ordered {
            // A leader that is removed proposes a successor. Scripts know of none, so the word is
            // lost on its way.
            return;
        }
        if packet.is_answer() {
            self.answers.push(packet);
        } else {
            self.outgoing.push(packet);
        }
    }

    fn next_append(&mut self, peer: ReplicaId) -> Option<Packet> {
        // One append carries everything there is and weighs one byte of the window.
        let whole = |_first, last, _room| Some(Extent { last, bytes: 1 });
        let header = self.raft.next_append(peer, whole)?;
        if header.is_empty() {
            self.empty_probes.insert(peer);
        } else {
            self.empty_probes.remove(&peer);
        }
        let entries = self.memory.range(header.prev.index.next(), header.last).to_vec();
        Some(Packet::append(header, entries))
    }

    /// Answers requests for snapshots with the latest there is: everything applied.
    fn pull_snapshots(&mut self) {
        while let Some(request) = self.raft.take_snapshot_request() {
            assert!(self.applied >= request.at_least, "a snapshot of what is not applied");
            let header = self.snapshot_for(request.to, request.session);
            self.snapshots.insert(request.to, header.position.index);
            self.outgoing.push(Packet::snapshot(header));
        }
    }

    pub(super) fn snapshot_for(&self, to: ReplicaId, session: u32) -> SnapshotHeader {
        let index = self.applied;
        let term = self.raft.term_at(index).expect("what is applied last is in the log or ends it");
        SnapshotHeader {
            from: self.id,
            to,
            term: self.raft.term(),
            session,
            position: Position::new(term, index),
            membership: self.membership(),
        }
    }

    fn observe_part(&mut self) {
        let part = (self.raft.role(), self.raft.term().0);
        if self.parts.last() != Some(&part) {
            self.parts.push(part);
        }
    }

    /// Notices that a leader has stepped down because it was removed.
    fn observe_lead(&mut self) {
        let Some((term, _)) = self.led_from else { return };
        if self.raft.is_leader() {
            return;
        }
        self.led_from = None;
        let votes = self.raft.membership().voters().any(|voter| voter == self.id);
        if self.raft.term() == term && !votes && !self.options.steps_down {
            self.diverged = Some("a leader that is removed goes on leading there, never here");
        }
    }
}
