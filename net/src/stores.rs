//! Which store each peer had when it was first met: a node that comes back with another one has lost its memory.
//!
//! Votes and acknowledgements are counted by node, and they are only as good as the memory of who gave them. So the
//! first store that a node is met with is the only one it may have. A transport holds a new acquaintance back until its
//! owner has written it down durably; nothing of such a peer is counted before that, and nothing of another store ever.
//!
//! What always holds: a node has one store in here, and that changes only with the process; [`Admission::Known`] is
//! said only of what is durable.
//!
//! Deliberately absent: writing, and forgetting. The owner does both, the second one while it is not running.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{ConnError, planted};

/// The stores of all peers, shared by the lanes of a node.
#[derive(Debug, Default)]
pub struct Stores(Mutex<BTreeMap<u64, Entry>>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    store_id: u128,
    durable: bool,
}

/// What is known of a store that introduces itself as a node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is the node's.
    Known,
    /// It is the first one that the node has, as of now: it is to be recorded.
    New,
    /// Somebody is recording it.
    Recording,
}

impl Stores {
    /// What was recorded: node and store.
    #[must_use]
    pub fn new(recorded: impl IntoIterator<Item = (u64, u128)>) -> Self {
        let entry = |(node, store_id)| (node, Entry { store_id, durable: true });
        Self(Mutex::new(recorded.into_iter().map(entry).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // Every change is one insertion or one flag, so there is nothing half done behind a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `node` may have the store `store_id`. When it has none yet, it has this one from now on.
    ///
    /// # Errors
    /// [`ConnError::WrongStore`] when it has another one.
    pub fn admit(&self, node: u64, store_id: u128) -> Result<Admission, ConnError> {
        let mut known = self.lock();
        let Some(entry) = known.get(&node) else {
            known.insert(node, Entry { store_id, durable: false });
            return Ok(Admission::New);
        };
        if entry.store_id != store_id && !planted::accepts_other_stores() {
            let expected = entry.store_id;
            return Err(ConnError::WrongStore { node, expected, found: store_id });
        }
        Ok(if entry.durable { Admission::Known } else { Admission::Recording })
    }

    /// The store of `node` is recorded durably.
    pub fn recorded(&self, node: u64) {
        if let Some(entry) = self.lock().get_mut(&node) {
            entry.durable = true;
        }
    }

    /// Whether the store of `node` is recorded durably.
    #[must_use]
    pub fn is_recorded(&self, node: u64) -> bool {
        self.lock().get(&node).is_some_and(|entry| entry.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g10_a_node_has_the_store_it_was_first_met_with() {
        let stores = Stores::new([(1, 10)]);
        assert_eq!(stores.admit(1, 10), Ok(Admission::Known));
        let wrong = |node, expected, found| Err(ConnError::WrongStore { node, expected, found });
        assert_eq!(stores.admit(1, 11), wrong(1, 10, 11));

        assert_eq!(stores.admit(2, 20), Ok(Admission::New));
        assert_eq!(stores.admit(2, 20), Ok(Admission::Recording), "nothing is durable yet");
        assert_eq!(stores.admit(2, 21), wrong(2, 20, 21), "not even before it is recorded");
        assert!(!stores.is_recorded(2));
        stores.recorded(2);
        assert!(stores.is_recorded(2));
        assert_eq!(stores.admit(2, 20), Ok(Admission::Known));
        assert_eq!(stores.admit(2, 21), wrong(2, 20, 21));

        stores.recorded(3);
        assert_eq!(stores.admit(3, 30), Ok(Admission::New), "nobody was recorded under that name");
    }
}
