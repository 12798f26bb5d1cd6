//! A table file of the log's database, whole: keys and values of one family, and whether they can be read.
//!
//! A memtable is the same thing while it grows. Range deletions lie beside the keys, and hide what older layers hold.
//!
//! Deliberately absent: bytes. RocksDB checks the blocks of a table itself, so damage is a mark on what it hits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A value.
pub type Value = Arc<[u8]>;

/// One layer of a family: a memtable or a table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The keys.
    pub keys: BTreeMap<Vec<u8>, Value>,
    /// What is deleted in older layers: from, to.
    pub ranges: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys in blocks whose checksum fails.
    pub bad: BTreeSet<Vec<u8>>,
    /// Its footer or its index is damaged.
    pub unreadable: bool,
}

impl Table {
    /// What is left of a table that was never synced.
    #[must_use]
    pub fn unreadable() -> Self {
        Self { unreadable: true, ..Self::default() }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    /// Sets a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.keys.insert(key.to_vec(), value.into());
    }

    /// Deletes the keys of `from..to`, here and in older layers.
    pub fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        let mut behind = self.keys.split_off(from);
        self.keys.append(&mut behind.split_off(to));
        self.ranges.push((from.to_vec(), to.to_vec()));
    }

    /// Whether this layer deletes a key of older ones.
    #[must_use]
    pub fn hides(&self, key: &[u8]) -> bool {
        self.ranges.iter().any(|(from, to)| from.as_slice() <= key && key < to.as_slice())
    }
}
