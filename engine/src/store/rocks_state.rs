//! The state database of a store: what the committed commands of all groups made, without a write-ahead log.
//!
//! The log holds every command already, so the state is written into memtables only and becomes durable when
//! those are flushed, by size or by a flush cycle. Each batch carries the applied records of the groups it
//! changes, one family keeps all, and a batch lies in one memtable: whatever survives a crash is a prefix of
//! the batches, and says itself up to where each group must be applied again.
//!
//! The options follow from one writer that brings large sorted batches. `unordered_write` is what makes
//! RocksDB honour the insert hint for a single writer: each insert then starts where the last one ended. It
//! lets a reader's view see a batch that is being written; the views of `kv/view.rs` lay the overlays that are
//! not yet wholly written over the database, so they never look behind such a batch.
//!
//! Deliberately absent: a write-ahead log, more than one family, and any retry of a failed write.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, ErrorKind, Options, ReadOptions, WriteBatch,
    WriteOptions,
};
use zerocopy::little_endian::{U16, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::keys::{Family, IDENTITY_TAG, Key, USER_TAG, applied_key, parse_applied_key};
use crate::kv::record::AppliedRecord;
use crate::machine::MachineError;
use crate::store::state::{self, StateStore, StateVisitor, StateWrites};

const VERSION: u16 = 1;
/// Bytes that RocksDB adds to a key and a value in a batch: a tag and two lengths.
const BATCH_OVERHEAD_BYTES: usize = 8;

/// How the state database is opened.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// Its directory; made when absent.
    pub dir: PathBuf,
    /// The store it belongs to. A database of another store is refused.
    pub store_id: u128,
    /// Bytes that gather in one memtable before it is flushed. Default 64 MiB.
    pub memtable_bytes: usize,
    /// Bytes of the cache for blocks, indexes and filters. Default 64 MiB.
    pub cache_bytes: usize,
}

impl StateOptions {
    /// The defaults for the store `store_id` in `dir`.
    #[must_use]
    pub const fn new(dir: PathBuf, store_id: u128) -> Self {
        Self { dir, store_id, memtable_bytes: 64 << 20, cache_bytes: 64 << 20 }
    }
}

/// The state database of a store; shared by its shards.
pub struct StateDb {
    db: DB,
    dir: PathBuf,
    write_options: WriteOptions,
}

impl std::fmt::Debug for StateDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateDb").field("dir", &self.dir).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IdentityRecord {
    version: U16,
    store_id: U128,
}

impl StateDb {
    /// Opens the database, and makes it when the directory holds none.
    ///
    /// The caller compares the applied records with the log: a database that is missing or too old for the
    /// log's compacted positions opens as an empty or an older one here.
    ///
    /// # Errors
    /// [`MachineError::Corrupt`] when it is damaged or belongs to another store, [`MachineError::Database`]
    /// when RocksDB refuses for another reason.
    pub fn open(options: &StateOptions) -> Result<Self, MachineError> {
        std::fs::create_dir_all(&options.dir)?;
        let dir = options.dir.clone();
        let db = DB::open(&database_options(options), &dir).map_err(|e| typed(&dir, &e))?;
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);
        write_options.set_memtable_insert_hint_per_batch(true);
        let state = Self { db, dir, write_options };
        state.claim(options.store_id)?;
        Ok(state)
    }

    /// Checks whose database this is; a new one becomes that of `store_id`.
    fn claim(&self, store_id: u128) -> Result<(), MachineError> {
        let Some(bytes) = self.read(&[IDENTITY_TAG])? else {
            let mut all = self.db.raw_iterator_opt(self.read_options());
            all.seek_to_first();
            if all.valid() {
                return Err(self.corrupt("state identity", "missing in a database that holds data"));
            }
            let record =
                IdentityRecord { version: U16::new(VERSION), store_id: U128::new(store_id) };
            let put = self.db.put_opt([IDENTITY_TAG], record.as_bytes(), &self.write_options);
            put.map_err(|e| self.typed(&e))?;
            return self.flush();
        };
        let record = IdentityRecord::read_from_bytes(&bytes)
            .map_err(|_| self.corrupt("state identity", &format!("{} bytes", bytes.len())))?;
        if record.version.get() != VERSION {
            let why = format!("version {}, this build reads {VERSION}", record.version);
            return Err(self.corrupt("state identity", &why));
        }
        if record.store_id.get() != store_id {
            let why = format!("of store {:032x}, not {store_id:032x}", record.store_id.get());
            return Err(self.corrupt("state identity", &why));
        }
        Ok(())
    }

    /// Sizes for the metrics, by RocksDB's own property names.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<u64> {
        let name = std::ffi::CString::new(name).ok()?;
        self.db.property_int_value(&*name).ok().flatten()
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MachineError> {
        let found =
            self.db.get_pinned_opt(key, &self.read_options()).map_err(|e| self.typed(&e))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn read_options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        options
    }

    fn typed(&self, error: &rocksdb::Error) -> MachineError {
        typed(&self.dir, error)
    }

    fn corrupt(&self, what: &str, why: &str) -> MachineError {
        let what = format!("{what} in {}", self.dir.display());
        MachineError::Corrupt { what, why: why.to_owned() }
    }
}

impl StateStore for StateDb {
    fn applied(&self, group: u64) -> Result<AppliedRecord, MachineError> {
        let Some(bytes) = self.read(&applied_key(group))? else {
            return Ok(AppliedRecord::default());
        };
        AppliedRecord::decode(&bytes)
            .map_err(|e| self.corrupt(&format!("applied record of group {group}"), &e.to_string()))
    }

    /// One scan, which leaves the cache to those who come for more than one record.
    fn each_applied(
        &self,
        groups: &[u64],
        visit: &mut dyn FnMut(u64, AppliedRecord),
    ) -> Result<(), MachineError> {
        let Some(last) = groups.last() else { return Ok(()) };
        let mut options = self.read_options();
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek(applied_key(groups[0]));
        let mut wanted = groups.iter().copied().peekable();
        while let Some((key, value)) = iterator.item() {
            let Some(group) = parse_applied_key(key).filter(|group| group <= last) else { break };
            while wanted.next_if(|&next| next < group).is_some() {}
            if wanted.next_if_eq(&group).is_some() {
                let decoded = AppliedRecord::decode(value);
                let what = || format!("applied record of group {group}");
                visit(group, decoded.map_err(|e| self.corrupt(&what(), &e.to_string()))?);
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.typed(&e))
    }

    fn write(
        &self,
        bytes: usize,
        writes: &mut StateWrites<'_>,
        records: &[(u64, AppliedRecord)],
    ) -> Result<(), MachineError> {
        let overhead = BATCH_OVERHEAD_BYTES * (writes.len() + records.len()) + 64 * records.len();
        let mut batch = WriteBatch::with_capacity_bytes(bytes + overhead + 64);
        for (key, value) in writes {
            debug_assert_eq!(key.first(), Some(&USER_TAG), "a user key carries its tag");
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        for (group, record) in records {
            batch.put(applied_key(*group), record.encode());
        }
        self.db.write_opt(batch, &self.write_options).map_err(|e| self.typed(&e))
    }

    fn flush(&self) -> Result<(), MachineError> {
        self.db.flush().map_err(|e| self.typed(&e))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MachineError> {
        let mut tagged = Vec::with_capacity(key.len() + 1);
        Key::User(key).encode(&mut tagged);
        self.read(&tagged)
    }

    fn view(&self) -> Box<dyn state::StateView + '_> {
        Box::new(View { state: self, snapshot: self.db.snapshot() })
    }
}

/// The database at one moment.
struct View<'a> {
    state: &'a StateDb,
    snapshot: rocksdb::Snapshot<'a>,
}

impl state::StateView for View<'_> {
    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut StateVisitor<'_>,
    ) -> Result<(), MachineError> {
        let tagged = |key| {
            let mut tagged = Vec::new();
            Key::User(key).encode(&mut tagged);
            tagged
        };
        let mut options = self.state.read_options();
        let upper = end.map_or_else(|| vec![USER_TAG + 1], tagged);
        options.set_iterate_range(tagged(start)..upper);
        let mut iterator = self.snapshot.raw_iterator_opt(options);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            if !visit(&key[1..], value) {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.state.typed(&e))
    }
}

fn database_options(options: &StateOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(options.cache_bytes));
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    table.set_block_size(16 << 10);
    let mut db = Options::default();
    db.set_block_based_table_factory(&table);
    db.create_if_missing(true);
    db.set_paranoid_checks(true);
    db.set_unordered_write(true);
    // A memtable, two that are being flushed, and one of slack before the writer has to wait.
    db.set_write_buffer_size(options.memtable_bytes);
    db.set_max_write_buffer_number(4);
    db.set_max_background_jobs(2);
    // The writer must not be slowed down by a compaction that is behind; reads pay for the files instead.
    db.set_level_zero_file_num_compaction_trigger(8);
    db.set_level_zero_slowdown_writes_trigger(40);
    db.set_level_zero_stop_writes_trigger(64);
    db.set_max_bytes_for_level_base(8 * options.memtable_bytes as u64);
    db.set_target_file_size_base(options.memtable_bytes as u64);
    db.set_soft_pending_compaction_bytes_limit(64 << 30);
    db.set_hard_pending_compaction_bytes_limit(256 << 30);
    // What is rewritten soon is not worth compressing.
    db.set_compression_type(DBCompressionType::None);
    db.set_bottommost_compression_type(DBCompressionType::Lz4);
    db.set_bytes_per_sync(1 << 20);
    db.set_keep_log_file_num(2);
    db.set_stats_dump_period_sec(0);
    db
}

fn typed(dir: &Path, error: &rocksdb::Error) -> MachineError {
    let text = error.to_string();
    if error.kind() == ErrorKind::Corruption {
        return MachineError::Corrupt { what: dir.display().to_string(), why: text };
    }
    MachineError::Database(format!("{}, family {}: {text}", dir.display(), Family::State.name()))
}

#[cfg(test)]
mod tests;
