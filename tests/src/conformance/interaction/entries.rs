//! Entries with what they say, and the log that a node keeps of them.
//!
//! The core knows logs as runs of terms; here stands what the script put into them, so that a log
//! can be shown. A node has two: what its core has in mind, and what is written.
//!
//! Deliberately absent: any decision. What goes where is what the core said.

use kontiki_raft::{Index, Membership, MembershipAt, Position, Span, Term};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Normal(String),
    /// A change of membership. `text` lists the changes as the script wrote them.
    Change {
        old_style: bool,
        text: String,
        membership: Membership,
    },
}

impl Payload {
    /// The no-op of a new leader, and what stands where a change was refused.
    pub(super) fn empty() -> Self {
        Self::Normal(String::new())
    }

    /// The bytes that the entry takes in the other implementation's encoding: term, index and kind
    /// at two each, then the content with its length, if there is any. Pages of entries to apply
    /// are cut by it.
    pub(super) fn encoded_bytes(&self) -> u64 {
        let content = match self {
            Self::Normal(text) => text.len(),
            Self::Change { text, .. } if text.is_empty() => 0,
            Self::Change { old_style: true, .. } => 6,
            Self::Change { text, .. } => 2 + 6 * text.split_whitespace().count(),
        };
        if content == 0 { 6 } else { 8 + content as u64 }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) term: Term,
    pub(super) payload: Payload,
}

impl Entry {
    /// The entry as `raft-log` shows it.
    pub(super) fn describe(&self, index: Index) -> String {
        let place = format!("{}/{}", self.term.0, index.0);
        match &self.payload {
            Payload::Normal(text) => format!("{place} EntryNormal {text:?}"),
            Payload::Change { old_style, text, .. } => {
                let kind = if *old_style { "EntryConfChange" } else { "EntryConfChangeV2" };
                format!("{place} {kind} {text}").trim_end().to_owned()
            }
        }
    }
}

/// A log: index `start + 1` is `entries[0]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) start: Position,
    entries: Vec<Entry>,
}

impl Log {
    /// An empty log after `start`.
    pub(super) const fn after(start: Position) -> Self {
        Self { start, entries: Vec::new() }
    }

    pub(super) fn last(&self) -> Index {
        Index(self.start.index.0 + self.entries.len() as u64)
    }

    fn slot(&self, index: Index) -> usize {
        let slot = index.0.checked_sub(self.start.index.0 + 1).expect("the entry is in the log");
        usize::try_from(slot).expect("a log fits into memory")
    }

    pub(super) fn get(&self, index: Index) -> Option<&Entry> {
        if index <= self.start.index { None } else { self.entries.get(self.slot(index)) }
    }

    /// The entries `first..=last`, none when the range is empty.
    pub(super) fn range(&self, first: Index, last: Index) -> &[Entry] {
        if last < first { &[] } else { &self.entries[self.slot(first)..=self.slot(last)] }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(super) fn extend(&mut self, entries: &[Entry]) {
        self.entries.extend_from_slice(entries);
    }

    /// Drops the entries at and after `from`.
    pub(super) fn truncate(&mut self, from: Index) {
        if from <= self.last() {
            self.entries.truncate(self.slot(from));
        }
    }

    /// Drops the entries up to and including `to`.
    pub(super) fn compact(&mut self, to: Position) {
        if to.index > self.start.index {
            self.entries.drain(..=self.slot(to.index));
            self.start = to;
        }
    }
}

impl Log {
    /// The log as it is shown, as if it began with `first`.
    pub(super) fn shown_from(&self, first: Index) -> Vec<String> {
        let last = self.last();
        if first > last {
            return vec![format!("log is empty: first index={first}, last index={last}")];
        }
        let first = first.max(self.start.index.next());
        let entries = self.range(first, last).iter().zip(first.0..);
        entries.map(|(entry, index)| entry.describe(Index(index))).collect()
    }

    /// The log as `raft-log` shows it.
    pub(super) fn shown(&self) -> Vec<String> {
        self.shown_from(self.start.index.next())
    }
}

/// The entries from `first` on as the runs of one term that the core understands.
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

/// The memberships among the entries from `first` on.
pub(super) fn changes(first: Index, entries: &[Entry]) -> Vec<MembershipAt> {
    let at = |(index, entry): (u64, &Entry)| match entry.payload {
        Payload::Change { membership, .. } => {
            Some(MembershipAt { index: Index(index), membership })
        }
        Payload::Normal(_) => None,
    };
    (first.0..).zip(entries).filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let mut log = Log::after(Position::new(Term(0), Index(10)));
        log.push(Entry { term: Term(1), payload: Payload::empty() });
        log.push(Entry { term: Term(2), payload: Payload::Normal("a b".to_owned()) });
        let membership = Membership::EMPTY;
        let change = |text: &str, old_style| Payload::Change {
            old_style,
            text: text.to_owned(),
            membership,
        };
        log.push(Entry { term: Term(2), payload: change("v3 r1", false) });
        log.push(Entry { term: Term(2), payload: change("v3", true) });
        log.push(Entry { term: Term(2), payload: change("", false) });
        log
    }

    #[test]
    fn a_log_is_shown_as_the_scripts_show_it() {
        let mut log = log();
        assert_eq!(
            log.shown(),
            [
                "1/11 EntryNormal \"\"",
                "2/12 EntryNormal \"a b\"",
                "2/13 EntryConfChangeV2 v3 r1",
                "2/14 EntryConfChange v3",
                "2/15 EntryConfChangeV2",
            ]
        );
        assert_eq!(log.shown_from(Index(15)), ["2/15 EntryConfChangeV2"]);
        assert_eq!(log.shown_from(Index(16)), ["log is empty: first index=16, last index=15"]);
        log.compact(Position::new(Term(2), Index(12)));
        log.truncate(Index(14));
        assert_eq!(log.shown(), ["2/13 EntryConfChangeV2 v3 r1"]);
        log.truncate(Index(13));
        assert_eq!(log.shown(), ["log is empty: first index=13, last index=12"]);
        assert_eq!(Log::default().shown(), ["log is empty: first index=1, last index=0"]);
    }

    #[test]
    fn the_core_sees_runs_and_memberships() {
        let log = log();
        let (first, entries) = (Index(11), log.range(Index(11), Index(15)));
        let runs: Vec<_> = spans(first, entries)
            .iter()
            .map(|span| (span.term.0, span.first.0, span.last.0))
            .collect();
        assert_eq!(runs, [(1, 11, 11), (2, 12, 15)]);
        let indexes: Vec<_> = changes(first, entries).iter().map(|at| at.index.0).collect();
        assert_eq!(indexes, [13, 14, 15]);
    }
}
