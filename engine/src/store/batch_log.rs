//! [`BatchLog`]: the log of a store on a database, one batch and one synced write for all groups.
//!
//! A write is one batch header, the rounds' buffers as they are, and the changed group records. The header goes
//! first, so that `wal_scan` finds it at a fixed place. What is dead is known by number (`first_live` in the
//! headers); the database learns of it only when a memtable is about to be flushed, by one range deletion that lies
//! inside that memtable: so dead data of the memtable is never flushed, files never overlap, and the log is never
//! compacted. Dead files go whole.
//!
//! Invariants: batch numbers are gapless; `synced` moves only after a synced write returned; after the first
//! failed write every call is refused.
//! Deliberately absent: retries of anything, and opening (`recovery`).

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::database::{Database, EPOCH_KEY, FORMAT_KEY, Family};
use super::header::{self, BatchHeader};
use super::identity::{FormatRecord, encode_epoch};
use super::{
    GroupRecords, Identity, LogBatch, LogReader, LogStore, OpenError, OpenOptions, PARTS_MAX,
    PartVisitor, StoreError, WitnessWriter, Written,
};
use crate::config::Durability;

/// The first batch: the format record and the first groups.
pub(super) const FIRST_BATCH: u64 = 1;

/// The log of a store on a database.
pub struct BatchLog<D> {
    shared: Arc<Shared<D>>,
    identity: Identity,
    durability: Durability,
    memtable_bytes: usize,
    /// The last batch.
    last: BatchHeader,
    last_hash: u64,
    /// The first batch in the current memtable, and its bytes so far.
    memtable_first: u64,
    memtable_used: usize,
    /// The bound below which files were given back.
    reclaimed: u64,
    synced: Arc<AtomicU64>,
    /// Until it is asked for.
    witness: Option<WitnessWriter>,
    audited: bool,
    poisoned: bool,
    /// Reused for headers and records.
    scratch: Vec<u8>,
}

/// What readers share with the log. The lock goes last: the database is closed before the store is free.
struct Shared<D> {
    database: D,
    first_live: AtomicU64,
    _lock: Box<dyn Any + Send + Sync>,
}

impl<D: Database> BatchLog<D> {
    /// The log in a database that has recovered, and whose last batch is `last`, with its hash.
    pub(super) fn new(
        options: &OpenOptions,
        database: D,
        lock: Box<dyn Any + Send + Sync>,
        identity: Identity,
        last: (BatchHeader, u64),
        synced: Arc<AtomicU64>,
        witness: WitnessWriter,
    ) -> Result<Self, String> {
        let (last, last_hash) = last;
        let first_live = AtomicU64::new(last.first_live);
        let mut log = Self {
            shared: Arc::new(Shared { database, first_live, _lock: lock }),
            identity,
            durability: options.durability,
            memtable_bytes: options.memtable_bytes,
            memtable_first: last.number + 1,
            last,
            last_hash,
            memtable_used: 0,
            reclaimed: 0,
            synced,
            witness: Some(witness),
            audited: false,
            poisoned: false,
            scratch: Vec::new(),
        };
        log.reclaim()?;
        Ok(log)
    }

    /// Who the store is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The writer of the witness, for the maintenance thread.
    ///
    /// # Panics
    /// When it was already given out: there is one witness.
    pub fn witness_writer(&mut self) -> WitnessWriter {
        self.witness.take().expect("the witness has one writer")
    }

    /// The numbers of the first live and of the last batch.
    #[must_use]
    pub const fn numbers(&self) -> (u64, u64) {
        (self.last.first_live, self.last.number)
    }

    /// Closes the store cleanly: everything written is synced, and the witness says so.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after a failed write: such a store is not closed cleanly.
    pub fn close(self, witness: WitnessWriter) -> Result<(), StoreError> {
        witness.finish(LogStore::close(Box::new(self))?)
    }

    fn next_header(&self, batch: &LogBatch) -> Result<BatchHeader, StoreError> {
        let number = self.last.number + 1;
        if batch.parts.len() > PARTS_MAX {
            return Err(StoreError::TooManyParts { parts: batch.parts.len() });
        }
        let bound = batch.delete_below.unwrap_or(0).min(number);
        let length = |bytes: &Vec<u8>| u32::try_from(bytes.len()).expect("a round is below 4 GiB");
        Ok(BatchHeader {
            store_id: self.identity.store_id,
            boot_epoch: self.identity.boot_epoch,
            number,
            previous: self.last_hash,
            synced: self.synced.load(Ordering::Relaxed),
            first_live: self.last.first_live.max(bound),
            blocks: batch.parts.iter().map(|part| part.blocks).sum(),
            parts: batch.parts.iter().map(|part| length(&part.bytes)).collect(),
        })
    }

    /// Builds the one batch of the database, writes and syncs it.
    fn put(&mut self, batch: &LogBatch, epoch: Option<u64>) -> Result<Written, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let header = self.next_header(batch)?;
        let number = header.number;
        let payload: usize = batch.parts.iter().map(|part| part.bytes.len() + 32).sum();
        let records = batch.records.len() * 256;
        let full = self.memtable_used + payload >= self.memtable_bytes;

        let database = &self.shared.database;
        let mut write = database.batch(payload + records + 256);
        self.scratch.clear();
        let hash = header.encode(&mut self.scratch);
        database.put(&mut write, Family::Batch, &header::batch_key(number, 0), &self.scratch);
        for (part, slot) in batch.parts.iter().zip(1_u16..) {
            let key = header::batch_key(number, slot);
            database.put(&mut write, Family::Batch, &key, part.bytes.as_slice());
        }
        for (group, record) in &batch.records {
            self.scratch.clear();
            record.encode(&mut self.scratch);
            database.put(&mut write, Family::Group, &header::group_key(*group), &self.scratch);
        }
        if let Some(epoch) = epoch {
            database.put(&mut write, Family::Store, EPOCH_KEY, &encode_epoch(epoch));
        }
        if full && header.first_live > self.memtable_first {
            let from = header::batch_key(self.memtable_first, 0);
            database.delete_range(&mut write, &from, &header::batch_key(header.first_live, 0));
        }

        // The boot epoch must hold even where nothing else does.
        let sync = self.durability == Durability::Fsync || epoch.is_some();
        let wal = self.durability != Durability::None || epoch.is_some();
        let size = database.write(write, wal, sync).map_err(|error| self.poison(error))?;

        if self.durability == Durability::Fsync {
            self.synced.store(number, Ordering::Release);
        }
        self.shared.first_live.store(header.first_live, Ordering::Release);
        self.memtable_used += payload;
        self.last = header;
        self.last_hash = hash;
        if full {
            // All families, so that no small one pins a log file.
            self.shared.database.flush(false).map_err(|error| self.poison(error))?;
            self.memtable_first = number + 1;
            self.memtable_used = 0;
            self.reclaim().map_err(|error| self.poison(error))?;
        }
        Ok(Written { number, bytes: wal_bytes(size) })
    }

    /// Gives back the files that hold dead batches only.
    fn reclaim(&mut self) -> Result<(), String> {
        let bound = self.last.first_live;
        if bound <= self.reclaimed {
            return Ok(());
        }
        let last_dead = header::batch_key(bound - 1, u16::MAX);
        self.shared.database.delete_tables(&header::batch_key(0, 0), &last_dead)?;
        self.reclaimed = bound;
        Ok(())
    }

    fn poison(&mut self, error: String) -> StoreError {
        self.poisoned = true;
        StoreError::SyncFailed(error)
    }
}

impl<D: Database> LogStore for BatchLog<D> {
    fn write(&mut self, batch: &LogBatch) -> Result<Written, StoreError> {
        if !self.audited {
            self.for_each_part(&mut |_, _, _| Ok(()))
                .map_err(|error| StoreError::Audit(Box::new(error)))?;
        }
        self.put(batch, None)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.shared) as Arc<dyn LogReader>
    }

    fn for_each_part(&mut self, visit: &mut PartVisitor<'_>) -> Result<(), OpenError> {
        self.shared.database.for_each_part(&self.last, visit)?;
        if !self.audited {
            let epoch = self.identity.boot_epoch;
            self.put(&LogBatch::default(), Some(epoch))
                .map_err(|error| OpenError::Database(error.to_string()))?;
            self.audited = true;
        }
        Ok(())
    }

    fn last(&self) -> u64 {
        self.last.number
    }

    fn close(mut self: Box<Self>) -> Result<u64, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let sync = match self.durability {
            Durability::Fsync | Durability::Os => self.shared.database.sync_wal(),
            Durability::None => self.shared.database.flush(true),
        };
        sync.map_err(|error| self.poison(error))?;
        self.synced.store(self.last.number, Ordering::Release);
        Ok(self.last.number)
    }
}

impl<D: Database> LogReader for Shared<D> {
    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError> {
        if number < self.first_live.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.database.read_part(number, part)
    }
}

impl<D: Database> std::fmt::Debug for BatchLog<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchLog")
            .field("dir", &self.shared.database.dir())
            .field("last", &self.last.number)
            .field("first_live", &self.last.first_live)
            .finish_non_exhaustive()
    }
}

/// The most bytes of group records that are written at once when a store is made.
const FORMAT_BYTES_MAX: usize = 4 << 20;

/// Writes the first batch of a new store into an empty database, and has it in tables.
///
/// # Errors
/// The database's words.
pub fn write_first_batch<D: Database>(
    database: &D,
    identity: &Identity,
    groups: &GroupRecords,
) -> Result<(), OpenError> {
    let header = BatchHeader {
        store_id: identity.store_id,
        boot_epoch: identity.boot_epoch,
        number: FIRST_BATCH,
        previous: 0,
        synced: 0,
        first_live: FIRST_BATCH,
        blocks: 0,
        parts: Vec::new(),
    };
    let (mut write, mut pending) = (database.batch(1024), 0);
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    database.put(&mut write, Family::Batch, &header::batch_key(FIRST_BATCH, 0), &bytes);
    database.put(&mut write, Family::Store, FORMAT_KEY, &FormatRecord::new(*identity).encode());
    database.put(&mut write, Family::Store, EPOCH_KEY, &encode_epoch(identity.boot_epoch));
    // Nothing of it is a store before all of it is synced, so it may go in pieces.
    for (group, record) in groups.encoded() {
        database.put(&mut write, Family::Group, &header::group_key(group), record);
        pending += record.len();
        if pending >= FORMAT_BYTES_MAX {
            let full = std::mem::replace(&mut write, database.batch(FORMAT_BYTES_MAX));
            database.write(full, true, false).map_err(OpenError::Database)?;
            pending = 0;
        }
    }
    let written = database.write(write, true, true).and_then(|_| database.flush(true));
    written.map_err(OpenError::Database)
}

/// The bytes that a batch of `size` takes in the log file: a header per block of 32 KiB that it touches.
const fn wal_bytes(size: usize) -> u64 {
    (size + 7 * (size / (32 * 1024 - 7) + 1)) as u64
}
