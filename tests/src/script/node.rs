//! A replica with what its caller keeps for it: the entries, the disk, the writes in flight.

use std::collections::VecDeque;

use kontiki_raft::{
    HardState, Index, Membership, Persist, Position, Proposed, Raft, ReplicaId, Span, Start,
    Status, Term, Time,
};

/// One entry. The core has no payloads; here they are what scripts call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) term: Term,
    pub(super) payload: String,
}

/// A log with its entries: index `start + 1` is `entries[0]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    pub(super) start: Position,
    pub(super) entries: Vec<Entry>,
}

impl Entries {
    pub(super) fn last(&self) -> Index {
        Index(self.start.index.0 + self.entries.len() as u64)
    }

    fn slot(&self, index: Index) -> usize {
        usize::try_from(index.0 - self.start.index.0 - 1).expect("a log fits into memory")
    }

    pub(super) fn get(&self, index: Index) -> Option<&Entry> {
        (index > self.start.index && index <= self.last()).then(|| &self.entries[self.slot(index)])
    }

    pub(super) fn range(&self, first: Index, last: Index) -> &[Entry] {
        if last < first { &[] } else { &self.entries[self.slot(first)..=self.slot(last)] }
    }

    pub(super) fn truncate(&mut self, from: Index) {
        let slot = self.slot(from);
        self.entries.truncate(slot);
    }

    pub(super) fn compact(&mut self, to: Position) {
        if to.index > self.start.index {
            self.entries.drain(..=self.slot(to.index));
            self.start = to;
        }
    }
}

/// The entries as the runs of one term that the core understands.
pub(super) fn spans(first: Index, entries: &[Entry]) -> Vec<Span> {
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
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) log: Entries,
    pub(super) applied: Index,
}

/// A write on its way to the disk.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) persist: Persist,
    entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ReplicaId,
    /// `None` while it is down.
    pub(super) raft: Option<Raft>,
    pub(super) memory: Entries,
    pub(super) disk: Disk,
    pub(super) writing: VecDeque<Write>,
    /// Writes complete only when told to.
    pub(super) held: bool,
    /// The state that was last told.
    pub(super) seen: Option<Status>,
    starts: u64,
}

impl Node {
    pub(super) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            raft: None,
            memory: Entries::default(),
            disk: Disk::default(),
            writing: VecDeque::new(),
            held: false,
            seen: None,
            starts: 0,
        }
    }

    /// Starts from the disk.
    pub(super) fn start(
        &mut self,
        config: kontiki_raft::Config,
        membership: Membership,
        seed: u64,
        now: Time,
    ) -> Result<(), String> {
        self.starts += 1;
        self.memory = self.disk.log.clone();
        let start = Start {
            id: self.id,
            membership,
            changes: &[],
            hard_state: self.disk.hard_state,
            compacted: self.disk.log.start,
            spans: &spans(self.disk.log.start.index.next(), &self.disk.log.entries),
            committed: self.disk.applied,
            seed: seed ^ (self.id.get() << 32) ^ self.starts,
            now,
        };
        let raft = Raft::new(config, start).map_err(|error| error.to_string())?;
        self.seen = Some(raft.status());
        self.raft = Some(raft);
        Ok(())
    }

    /// Stops at once; writes in flight are lost.
    pub(super) fn stop(&mut self) {
        self.raft = None;
        self.seen = None;
        self.writing.clear();
    }

    pub(super) fn add(&mut self, proposed: Proposed, payloads: &[&str]) {
        let entry = |payload: &&str| Entry { term: proposed.term, payload: (*payload).to_owned() };
        self.memory.entries.extend(payloads.iter().map(entry));
        assert_eq!(self.memory.last(), proposed.last, "the entries go where the core says");
    }

    /// Takes the write that is due, if any.
    pub(super) fn begin_write(&mut self) -> Option<Persist> {
        let persist = self.raft.as_mut()?.take_persist()?;
        let entries = persist
            .append
            .map_or_else(Vec::new, |(first, last)| self.memory.range(first, last).to_vec());
        self.writing.push_back(Write { persist, entries });
        Some(persist)
    }

    /// Completes the oldest write in flight. Returns whether there was one.
    pub(super) fn end_write(&mut self) -> bool {
        let Some(Write { persist, entries }) = self.writing.pop_front() else { return false };
        if let Some(hard_state) = persist.hard_state {
            self.disk.hard_state = hard_state;
        }
        if let Some(from) = persist.truncate_from {
            self.disk.log.truncate(from);
        }
        if let Some((first, _)) = persist.append {
            assert_eq!(first, self.disk.log.last().next(), "writes leave no gap: {persist:?}");
            self.disk.log.entries.extend(entries);
        }
        if let Some(raft) = &mut self.raft {
            raft.on_persisted(persist.seq);
        }
        true
    }

    /// Applies what is given, durably.
    pub(super) fn apply(&mut self) -> bool {
        let Some(raft) = &mut self.raft else { return false };
        let Some((first, last)) = raft.take_committed() else { return false };
        assert_eq!(first, self.disk.applied.next(), "each entry is given once, in order");
        self.disk.applied = last;
        raft.on_applied(last);
        true
    }
}
