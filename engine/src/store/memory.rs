//! [`MemoryLog`]: the contract of the log without a disk, with crash images for the simulator and for tests.
//!
//! It keeps apart what is synced and what is only written. [`MemoryLog::crash`] gives the log as a new process
//! would find it: everything synced, and as many of the unsynced batches as the caller's dice say, always a prefix
//! (that is what a cut tail leaves).
//!
//! Invariant: it accepts and refuses exactly what `RocksLog` does: numbers, poison after a failed sync, reads
//! below the first live batch.
//! Deliberately absent: encoding. Batches are kept as values.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Amnesia, GroupRecord, Identity, LogBatch, LogReader, LogStore, OpenError, PARTS_MAX,
    PartVisitor, StoreError, SyncedBy, Written,
};
use crate::config::Durability;

/// A log in memory. Clones are handles of the same log.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    shared: Arc<Mutex<Inner>>,
}

#[derive(Clone, Debug)]
struct Inner {
    identity: Identity,
    durability: Durability,
    /// The groups' records as of the last synced batch.
    groups: BTreeMap<u64, GroupRecord>,
    /// The live batches and all that are not synced, ascending.
    batches: VecDeque<Stored>,
    last: u64,
    synced: u64,
    first_live: u64,
    fail_next_sync: bool,
    poisoned: bool,
}

#[derive(Clone, Debug)]
struct Stored {
    number: u64,
    batch: LogBatch,
}

impl MemoryLog {
    /// A new log; its first batch will be number 2, since formatting a store writes the first.
    #[must_use]
    pub fn new(
        identity: Identity,
        groups: Vec<(u64, GroupRecord)>,
        durability: Durability,
    ) -> Self {
        let inner = Inner {
            identity: Identity { boot_epoch: identity.boot_epoch + 1, ..identity },
            durability,
            groups: groups.into_iter().collect(),
            batches: VecDeque::new(),
            last: 1,
            synced: 1,
            first_live: 1,
            fail_next_sync: false,
            poisoned: false,
        };
        Self { shared: Arc::new(Mutex::new(inner)) }
    }

    /// Who the store is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.lock().identity
    }

    /// The groups' records as they would be found now, were nothing lost.
    #[must_use]
    pub fn groups(&self) -> Vec<(u64, GroupRecord)> {
        let mut inner = self.shared.lock().clone();
        inner.sync_up_to(u64::MAX);
        inner.groups.into_iter().collect()
    }

    /// Makes every written batch durable.
    ///
    /// # Errors
    /// As [`LogStore::write`] does with [`Durability::Fsync`].
    pub fn sync(&self) -> Result<(), StoreError> {
        self.shared.lock().sync()
    }

    /// The number of batches that are written and not synced.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        let inner = self.shared.lock();
        inner.last - inner.synced
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self) {
        self.shared.lock().fail_next_sync = true;
    }

    /// The log that a new process finds after a crash: all that is synced, and the first `keep_unsynced` of the
    /// batches that are not. Its boot epoch is one higher. This log is not changed.
    #[must_use]
    pub fn crash(&self, keep_unsynced: u64) -> Self {
        let mut inner = self.shared.lock().clone();
        let last = inner.last.min(inner.synced + keep_unsynced);
        inner.batches.retain(|stored| stored.number <= last);
        inner.last = last;
        inner.sync_up_to(last);
        inner.first_live = inner.first_live_of_batches();
        inner.identity.boot_epoch += 1;
        inner.poisoned = false;
        inner.fail_next_sync = false;
        Self { shared: Arc::new(Mutex::new(inner)) }
    }

    /// Loses a batch that was synced, as a damaged disk does; [`LogStore::for_each_part`] will say so.
    pub fn lose(&self, number: u64) {
        self.shared.lock().batches.retain(|stored| stored.number != number);
    }

    /// Flips a bit of a part that was written, as a damaged disk does; whoever reads the part is to notice. Nothing when
    /// there is no such part.
    pub fn flip(&self, number: u64, part: u16, bit: usize) {
        let mut inner = self.shared.lock();
        let found = inner.batches.iter_mut().find(|stored| stored.number == number);
        let slot = usize::from(part).checked_sub(1);
        let Some(part) = found.zip(slot).and_then(|(s, slot)| s.batch.parts.get_mut(slot)) else {
            return;
        };
        let bytes = Arc::make_mut(&mut part.bytes);
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// The numbers of the first live and of the last batch.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64) {
        let inner = self.shared.lock();
        (inner.first_live, inner.last)
    }
}

impl Inner {
    fn write(&mut self, batch: &LogBatch) -> Result<Written, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        if batch.parts.len() > PARTS_MAX {
            return Err(StoreError::TooManyParts { parts: batch.parts.len() });
        }
        let number = self.last + 1;
        let bytes = batch.parts.iter().map(|part| part.bytes.len() as u64).sum();
        if let Some(bound) = batch.delete_below {
            self.first_live = self.first_live.max(bound.min(number));
        }
        self.batches.push_back(Stored { number, batch: batch.clone() });
        self.last = number;
        if self.durability == Durability::Fsync {
            self.sync()?;
        }
        Ok(Written { number, bytes })
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        if std::mem::take(&mut self.fail_next_sync) {
            self.poisoned = true;
            return Err(StoreError::SyncFailed("asked to fail".to_owned()));
        }
        self.sync_up_to(self.last);
        Ok(())
    }

    fn sync_up_to(&mut self, number: u64) {
        for stored in self.batches.iter_mut() {
            if stored.number > self.synced && stored.number <= number {
                for (group, record) in stored.batch.records.drain(..) {
                    self.groups.insert(group, Arc::unwrap_or_clone(record));
                }
            }
        }
        self.synced = number.min(self.last);
        let dead_below = self.first_live_of_batches();
        while self.batches.front().is_some_and(|stored| stored.number < dead_below) {
            self.batches.pop_front();
        }
    }

    /// The highest durable bound: only then may bytes really go.
    fn first_live_of_batches(&self) -> u64 {
        let durable = self.batches.iter().filter(|stored| stored.number <= self.synced);
        let bound = durable.filter_map(|s| s.batch.delete_below.map(|b| b.min(s.number))).max();
        let oldest = self.batches.front().map_or(self.last, |stored| stored.number);
        bound.map_or(oldest, |bound| bound.max(oldest))
    }
}

impl LogStore for MemoryLog {
    fn write(&mut self, batch: &LogBatch) -> Result<Written, StoreError> {
        self.shared.lock().write(batch)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(self.clone())
    }

    fn for_each_part(&mut self, visit: &mut PartVisitor<'_>) -> Result<(), OpenError> {
        let inner = self.shared.lock().clone();
        let mut expected = None;
        for Stored { number, batch } in &inner.batches {
            if *number < inner.first_live {
                continue;
            }
            let missing = expected.unwrap_or(*number);
            if missing != *number {
                return Err(OpenError::Amnesiac(Amnesia::Hole { missing, found: *number }));
            }
            expected = Some(number + 1);
            for (part, slot) in batch.parts.iter().zip(1_u16..) {
                visit(*number, slot, &part.bytes)?;
            }
        }
        let found = expected.map_or(inner.last, |next| next - 1);
        if found < inner.synced {
            let (synced, by) = (inner.synced, SyncedBy::Witness);
            return Err(OpenError::Amnesiac(Amnesia::Short { found, synced, by }));
        }
        Ok(())
    }

    fn last(&self) -> u64 {
        self.shared.lock().last
    }

    fn close(self: Box<Self>) -> Result<u64, StoreError> {
        self.sync()?;
        Ok(self.last())
    }
}

impl LogReader for MemoryLog {
    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = self.shared.lock();
        if number < inner.first_live {
            return Ok(None);
        }
        let Ok(at) = inner.batches.binary_search_by_key(&number, |stored| stored.number) else {
            return Ok(None);
        };
        let slot = usize::from(part).checked_sub(1);
        let found = slot.and_then(|slot| inner.batches[at].batch.parts.get(slot));
        Ok(found.map(|part| part.bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Part;

    fn log(durability: Durability) -> MemoryLog {
        let identity = Identity { cluster_id: 1, node_id: 2, store_id: 3, boot_epoch: 0 };
        MemoryLog::new(identity, Vec::new(), durability)
    }

    fn batch(byte: u8) -> LogBatch {
        let part = Part { bytes: Arc::new(vec![byte; 4]), blocks: 1 };
        LogBatch { parts: vec![part], ..LogBatch::default() }
    }

    fn parts(log: &mut MemoryLog) -> Vec<(u64, u16, u8)> {
        let mut seen = Vec::new();
        log.for_each_part(&mut |number, part, bytes| {
            seen.push((number, part, bytes[0]));
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn a_crash_keeps_what_is_synced_and_a_prefix_of_the_rest() {
        let mut log = log(Durability::Os);
        log.write(&batch(1)).unwrap();
        log.sync().unwrap();
        log.write(&batch(2)).unwrap();
        log.write(&batch(3)).unwrap();
        assert_eq!(log.unsynced(), 2);
        assert_eq!(parts(&mut log.crash(0)), [(2, 1, 1)]);
        assert_eq!(parts(&mut log.crash(1)), [(2, 1, 1), (3, 1, 2)]);
        let mut reborn = log.crash(1);
        assert_eq!(reborn.identity().boot_epoch, log.identity().boot_epoch + 1);
        assert_eq!(reborn.write(&batch(9)).unwrap().number, 4, "the cut number is used again");
    }

    #[test]
    fn l14_a_failed_sync_poisons_the_log() {
        let mut log = log(Durability::Fsync);
        log.write(&batch(1)).unwrap();
        log.fail_next_sync();
        assert!(matches!(log.write(&batch(2)), Err(StoreError::SyncFailed(_))));
        assert!(matches!(log.write(&batch(2)), Err(StoreError::Poisoned)));
        assert!(matches!(log.sync(), Err(StoreError::Poisoned)));
        assert_eq!(parts(&mut log.crash(0)), [(2, 1, 1)], "l21: what failed counts for nothing");
    }

    #[test]
    fn l17_a_deletion_that_is_not_durable_deletes_nothing() {
        let mut log = log(Durability::Os);
        for byte in 1..4 {
            log.write(&batch(byte)).unwrap();
        }
        log.sync().unwrap();
        log.write(&LogBatch { delete_below: Some(4), ..batch(9) }).unwrap();
        let reader = log.reader();
        assert_eq!(reader.read_part(3, 1).unwrap(), None);
        assert_eq!(reader.read_part(4, 1).unwrap(), Some(vec![3; 4]));
        assert_eq!(parts(&mut log.crash(0)).len(), 3);
        log.sync().unwrap();
        assert_eq!(parts(&mut log.crash(0)), [(4, 1, 3), (5, 1, 9)]);
    }

    #[test]
    fn a_flipped_bit_is_in_what_is_read_and_not_in_what_was_given() {
        let mut log = log(Durability::Fsync);
        let given = batch(1);
        log.write(&given).unwrap();
        log.flip(2, 1, 9);
        assert_eq!(log.reader().read_part(2, 1).unwrap(), Some(vec![1, 3, 1, 1]));
        assert_eq!(*given.parts[0].bytes, vec![1; 4]);
        log.flip(2, 2, 0);
        log.flip(3, 1, 0);
    }

    #[test]
    fn l18_a_lost_batch_is_noticed() {
        let mut log = log(Durability::Fsync);
        for byte in 1..5 {
            log.write(&batch(byte)).unwrap();
        }
        let middle = log.crash(0);
        middle.lose(3);
        let mut middle = middle;
        assert!(matches!(
            middle.for_each_part(&mut |_, _, _| Ok(())),
            Err(OpenError::Amnesiac(Amnesia::Hole { missing: 3, found: 4 }))
        ));
        log.lose(5);
        assert!(matches!(
            log.for_each_part(&mut |_, _, _| Ok(())),
            Err(OpenError::Amnesiac(Amnesia::Short { found: 4, synced: 5, .. }))
        ));
    }
}
