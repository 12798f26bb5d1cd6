//! What the key-value machines ask of the database under them: two implementations, RocksDB and the simulator's.
//!
//! Writes are in memory until a flush. What a crash leaves is a prefix of the batches: each is there as a whole or not
//! at all, and none without those before it.
//!
//! Deliberately absent: opening. Who makes a database knows what it is made of.

use std::fmt;

use crate::kv::record::AppliedRecord;
use crate::machine::MachineError;

/// User keys (tagged, strictly ascending) and their values; `None` deletes.
pub type StateWrites<'a> = dyn ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'a;

/// What a scan calls for each key and value, until it returns false.
pub type StateVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// The state of all groups of a store.
pub trait StateStore: fmt::Debug + Send + Sync {
    /// The applied record of `group`; the default when it has never been written.
    ///
    /// # Errors
    /// When the record is damaged or cannot be read.
    fn applied(&self, group: u64) -> Result<AppliedRecord, MachineError>;

    /// Calls `visit` with the applied record of each of `groups`, which ascend, that has one.
    ///
    /// # Errors
    /// When a record is damaged or cannot be read.
    fn each_applied(
        &self,
        groups: &[u64],
        visit: &mut dyn FnMut(u64, AppliedRecord),
    ) -> Result<(), MachineError> {
        groups.iter().try_for_each(|&group| {
            visit(group, self.applied(group)?);
            Ok(())
        })
    }

    /// Writes keys and applied records as one unit. `bytes` is about the size of the keys and values.
    ///
    /// # Errors
    /// When it cannot; nothing may be written after that.
    fn write(
        &self,
        bytes: usize,
        writes: &mut StateWrites<'_>,
        records: &[(u64, AppliedRecord)],
    ) -> Result<(), MachineError>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// When it cannot; nothing that was written may be called durable then.
    fn flush(&self) -> Result<(), MachineError>;

    /// The value of a user key.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MachineError>;

    /// The state as it is now.
    fn view(&self) -> Box<dyn StateView + '_>;
}

/// The state at one moment.
pub trait StateView {
    /// Calls `visit` for the user keys of `[start, end)` in order, until it returns false.
    ///
    /// # Errors
    /// When it cannot be read.
    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut StateVisitor<'_>,
    ) -> Result<(), MachineError>;
}
