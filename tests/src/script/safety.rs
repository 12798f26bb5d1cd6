//! What must never happen, whatever a script does: the safety properties that can be seen from
//! outside. The core's own tests check more, after every step of random histories.

use std::collections::BTreeMap;

use kontiki_raft::{Index, Role, Status, Term};

use super::node::{Entries, Entry};

#[derive(Debug, Default)]
pub(super) struct Safety {
    leaders: BTreeMap<Term, u64>,
    committed: BTreeMap<Index, Entry>,
}

impl Safety {
    /// Election safety, state machine safety, leader completeness. `known` is the commit that was
    /// checked before.
    ///
    /// # Panics
    /// When one of them is broken.
    pub(super) fn check(&mut self, status: &Status, known: Index, log: &Entries) {
        let id = status.id.get();
        if status.role == Role::Leader {
            let first = self.leaders.insert(status.term, id);
            assert!(first.is_none_or(|first| first == id), "term {} has two leaders", status.term);
            if first.is_none() {
                for (&index, entry) in self.committed.range(status.compacted.index.next()..) {
                    assert_eq!(log.get(index), Some(entry), "leader {id} lacks entry {index}");
                }
            }
        }
        for index in (known.0 + 1..=status.committed.0).map(Index) {
            let Some(entry) = log.get(index) else { continue };
            let committed = self.committed.entry(index).or_insert_with(|| entry.clone());
            assert_eq!(committed, entry, "replica {id}: two entries committed at {index}");
        }
    }
}
