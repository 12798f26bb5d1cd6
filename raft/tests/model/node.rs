//! One replica of the model: the running core, the entries in its memory, its disk, and the writes
//! between the two. The core has no payloads, so they live here, as in the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kontiki_raft::{
    AppendHeader, HardState, Index, Membership, MembershipAt, Message, Persist, Position, Raft,
    ReplicaId, SnapshotHeader, Span, Start, Term, Time,
};

use crate::setup::Setup;

/// One entry as the model sees it: two that differ in anything are different entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) term: Term,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// The first entry of a leader.
    Noop(ReplicaId),
    /// A proposal, numbered in the order in which the world made them.
    Value(u8),
    Members(Arc<Membership>),
    /// Was there when the model began.
    Old,
}

/// A log with its entries: index `start.index + 1` is `entries[0]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entries {
    pub(crate) start: Position,
    /// The membership in force at `start`.
    pub(crate) base: Arc<Membership>,
    pub(crate) entries: Vec<Entry>,
}

impl Entries {
    pub(crate) const fn new(start: Position, base: Arc<Membership>) -> Self {
        Self { start, base, entries: Vec::new() }
    }

    /// The memberships that the entries carry.
    pub(crate) fn changes(&self) -> Vec<MembershipAt> {
        changes_of(self.start.index.next(), &self.entries)
    }

    /// The membership in force at the end.
    pub(crate) fn membership(&self) -> Membership {
        self.changes().last().map_or(*self.base, |change| change.membership)
    }

    /// Forgets the entries up to `to`.
    pub(crate) fn compact(&mut self, to: Position) {
        let changes = self.changes();
        if let Some(at) = changes.iter().rfind(|change| change.index <= to.index) {
            self.base = Arc::new(at.membership);
        }
        self.entries.drain(..=self.slot(to.index));
        self.start = to;
    }

    pub(crate) fn last(&self) -> Position {
        match self.entries.last() {
            Some(entry) => {
                Position::new(entry.term, Index(self.start.index.0 + self.entries.len() as u64))
            }
            None => self.start,
        }
    }

    fn slot(&self, index: Index) -> usize {
        usize::try_from(index.0 - self.start.index.0 - 1).expect("indexes of a model are small")
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        (index > self.start.index).then(|| self.entries.get(self.slot(index))).flatten()
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

    /// Whether the position is here, or lies before everything that is kept.
    pub(crate) fn holds(&self, position: Position) -> bool {
        position.index <= self.start.index
            || self.get(position.index).is_some_and(|entry| entry.term == position.term)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        spans_of(self.start.index.next(), &self.entries)
    }
}

/// The entries as the runs of one term that the core understands.
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

/// The memberships among entries, of which the first is at `first`.
pub(crate) fn changes_of(first: Index, entries: &[Entry]) -> Vec<MembershipAt> {
    let change = |(index, entry): (Index, &Entry)| match &entry.what {
        What::Members(membership) => Some(MembershipAt { index, membership: **membership }),
        What::Noop(_) | What::Value(_) | What::Old => None,
    };
    (first.0..).map(Index).zip(entries).filter_map(change).collect()
}

/// What survives a crash. That an entry was applied is deliberately not remembered: a restarted
/// replica knows the least that it may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) log: Entries,
}

impl Disk {
    pub(crate) fn write(&mut self, write: Write) {
        if let Some(hard_state) = write.persist.hard_state {
            self.hard_state = hard_state;
        }
        if let (Some(position), Some(base)) = (write.persist.snapshot, write.base) {
            self.log = Entries::new(position, base);
        }
        if let Some(from) = write.persist.truncate_from {
            self.log.truncate(from);
        }
        if let Some((first, _)) = write.persist.append {
            let next = self.log.last().index.next();
            assert!(first == next, "a gap before {first:?} on the disk, whose next is {next:?}");
            self.log.entries.extend(write.entries);
        }
    }
}

/// A write on its way to the disk, with what it carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    pub(crate) persist: Persist,
    pub(crate) entries: Vec<Entry>,
    /// With a snapshot: the membership in force there.
    pub(crate) base: Option<Arc<Membership>>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    /// `None` while crashed.
    pub(crate) raft: Option<Raft>,
    /// The entries of the running core's log.
    pub(crate) log: Entries,
    pub(crate) disk: Disk,
    /// Oldest first.
    pub(crate) writing: Vec<Write>,
    /// How often it was started again.
    pub(crate) restarts: u8,
}

impl Node {
    pub(crate) fn new(id: ReplicaId, disk: Disk) -> Self {
        Self { id, raft: None, log: disk.log.clone(), disk, writing: Vec::new(), restarts: 0 }
    }

    pub(crate) fn leads(&self) -> bool {
        self.raft.as_ref().is_some_and(Raft::is_leader)
    }

    /// Starts the core from the disk.
    pub(crate) fn start(&mut self, setup: &Setup, now: Time) {
        self.log = self.disk.log.clone();
        let start = Start {
            id: self.id,
            membership: *self.disk.log.base,
            changes: &self.disk.log.changes(),
            hard_state: self.disk.hard_state,
            compacted: self.disk.log.start,
            spans: &self.disk.log.spans(),
            committed: self.disk.log.start.index,
            seed: self.id.get() << 8 | u64::from(self.restarts),
            now,
        };
        self.raft = Some(Raft::new(setup.config, start).expect("a disk is a valid start"));
    }
}

/// Something on the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Packet {
    Append(AppendHeader, Vec<Entry>),
    Message(Message),
    Snapshot(SnapshotHeader),
}

/// What the core says when it stops itself, instead of stopping the search.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    crate::report::quietly(|| catch_unwind(AssertUnwindSafe(work))).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}
