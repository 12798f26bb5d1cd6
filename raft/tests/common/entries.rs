//! Logs with their entries, and the disks that keep them.
//!
//! The core has no payloads, so they live here. Payloads are unique, so two entries are never
//! mistaken; the memberships that entries carry lie beside them, in the order of the log. A write
//! is a value of its own: it is on the disk whole, or not at all.

use kontiki_raft::{HardState, Index, Membership, MembershipAt, Persist, Position, Span, Term};

/// Bytes of every entry.
pub(crate) const ENTRY_BYTES: u32 = 10;

/// One entry as the test sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) term: Term,
    pub(crate) payload: u64,
}

/// A log with its entries: index `start + 1` is `entries[0]`.
#[derive(Clone, Debug)]
pub(crate) struct Entries {
    pub(crate) start: Position,
    /// The membership in force at `start`.
    pub(crate) base: Membership,
    pub(crate) entries: Vec<Entry>,
    /// The memberships that entries after `start` carry, ascending.
    pub(crate) changes: Vec<MembershipAt>,
}

impl Entries {
    pub(crate) const fn new(start: Position, base: Membership) -> Self {
        Self { start, base, entries: Vec::new(), changes: Vec::new() }
    }

    pub(crate) fn last(&self) -> Index {
        Index(self.start.index.0 + self.entries.len() as u64)
    }

    fn slot(&self, index: Index) -> usize {
        usize::try_from(index.0 - self.start.index.0 - 1).unwrap()
    }

    pub(crate) fn get(&self, index: Index) -> Option<Entry> {
        (index > self.start.index && index <= self.last()).then(|| self.entries[self.slot(index)])
    }

    /// The term at an index from `start` to the last one.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Whether the entry of this position, or everything up to it as a snapshot, is here.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.start.index >= position.index
            || self.get(position.index).is_some_and(|entry| entry.term == position.term)
    }

    pub(crate) fn range(&self, first: Index, last: Index) -> Vec<Entry> {
        if last < first {
            Vec::new()
        } else {
            self.entries[self.slot(first)..=self.slot(last)].to_vec()
        }
    }

    pub(crate) fn changes_in(&self, first: Index, last: Index) -> Vec<MembershipAt> {
        let inside = |change: &&MembershipAt| (first..=last).contains(&change.index);
        self.changes.iter().filter(inside).copied().collect()
    }

    /// The membership in force at the end.
    pub(crate) fn membership(&self) -> Membership {
        self.changes.last().map_or(self.base, |change| change.membership)
    }

    /// The membership in force at an index, which is not before `start`.
    pub(crate) fn membership_at(&self, index: Index) -> Membership {
        assert!(index >= self.start.index);
        let before = self.changes.iter().rev().find(|change| change.index <= index);
        before.map_or(self.base, |change| change.membership)
    }

    pub(crate) fn append(&mut self, entries: &[Entry], changes: &[MembershipAt]) {
        let first = self.last().next();
        self.entries.extend(entries);
        self.changes.extend(changes);
        let inside = |change: &MembershipAt| (first..=self.last()).contains(&change.index);
        assert!(changes.iter().all(inside), "{changes:?} outside of {first:?}..");
    }

    pub(crate) fn truncate(&mut self, from: Index) {
        let slot = self.slot(from);
        self.entries.truncate(slot);
        self.changes.retain(|change| change.index < from);
    }

    pub(crate) fn compact(&mut self, to: Position) {
        if to.index > self.start.index {
            self.base = self.membership_at(to.index);
            self.entries.drain(..=self.slot(to.index));
            self.changes.retain(|change| change.index > to.index);
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
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) log: Entries,
    /// What the state machine has durably.
    pub(crate) applied: Index,
}

impl Disk {
    pub(crate) fn new(base: Membership) -> Self {
        let log = Entries::new(Position::ZERO, base);
        Self { hard_state: HardState::default(), log, applied: Index::ZERO }
    }

    pub(crate) fn write(&mut self, write: &Write) {
        if let Some(hard_state) = write.persist.hard_state {
            self.hard_state = hard_state;
        }
        if let (Some(position), Some(base)) = (write.persist.snapshot, write.snapshot) {
            // State, position and membership come together, in place of everything there was.
            self.log = Entries::new(position, base);
            self.applied = position.index;
        }
        if let Some(from) = write.persist.truncate_from
            && from <= self.log.last()
        {
            assert!(from > self.log.start.index, "a truncation of what is compacted");
            self.log.truncate(from);
        }
        if let Some((first, _)) = write.persist.append {
            assert_eq!(first, self.log.last().next(), "writes leave no gap: {:?}", write.persist);
            self.log.append(&write.entries, &write.changes);
        }
    }
}

/// A write on its way to the disk, with what it carries.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) persist: Persist,
    pub(crate) entries: Vec<Entry>,
    pub(crate) changes: Vec<MembershipAt>,
    /// The membership of the snapshot that the write makes durable.
    pub(crate) snapshot: Option<Membership>,
}
