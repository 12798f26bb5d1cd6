//! [`RocksLog`]: the log of a store on RocksDB, one `WriteBatch` and one synced write for all groups.
//!
//! A write is one batch header, the rounds' buffers as they are, and the changed group records. The header goes
//! first, so that `wal_scan` finds it at a fixed place. What is dead is known by number (`first_live` in the
//! headers); RocksDB learns of it only when a memtable is about to be flushed, by one range deletion that lies
//! inside that memtable: so dead data of the memtable is never flushed, files never overlap, and the log is never
//! compacted. Dead files go whole.
//!
//! Opening goes from the outside in, and writes nothing of ours before all is checked: lock, witness, manifest, the
//! scan of the log files, format record and identity (read-only), then RocksDB's own recovery, then the audit, which
//! is [`LogStore::for_each_part`]. Only behind the audit is the boot epoch raised.
//!
//! Invariants: batch numbers are gapless; `synced` moves only after a synced write returned; after the first
//! failed write every call is refused.
//! Deliberately absent: retries of anything.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{FlushOptions, WriteBatch, WriteOptions};

use super::format;
use super::header::{self, BatchHeader};
use super::identity::encode_epoch;
use super::lock::StoreLock;
use super::rocks_db::{Database, EPOCH_KEY};
use super::rocks_options::{BATCH, GROUP, Mode, STORE};
use super::wal_scan::{BadPlace, Verdict, WalScan};
use super::{
    Amnesia, GroupRecord, Identity, LogBatch, LogReader, LogStore, OpenError, OpenOptions,
    PARTS_MAX, PartVisitor, StoreError, SyncedBy, WitnessState, WitnessWriter, Written, wal_scan,
    witness,
};
use crate::config::Durability;

/// The log of a store on RocksDB.
pub struct RocksLog {
    shared: Arc<Shared>,
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
struct Shared {
    database: Database,
    first_live: AtomicU64,
    _lock: StoreLock,
}

/// A store that has been opened.
#[derive(Debug)]
pub struct Opened {
    /// The log. Call [`LogStore::for_each_part`] next: it is the audit.
    pub log: RocksLog,
    /// Who the store is; the boot epoch is that of this opening.
    pub identity: Identity,
    /// The groups' records, ascending.
    pub groups: Vec<(u64, GroupRecord)>,
    /// Whether the store was closed by [`RocksLog::close`].
    pub clean_shutdown: bool,
    /// What the witness was found to be. A missing or damaged one is worth a warning; a new one was written.
    pub witness: WitnessState,
    /// The unsynced tail that was cut, if there was one.
    pub torn: Option<BadPlace>,
}

impl RocksLog {
    /// Makes a new store. Until its last step, a rename, the directory holds no store, and the call can be repeated.
    ///
    /// # Errors
    /// [`OpenError::Exists`]; or [`OpenError::Amnesiac`] when a witness remembers a store whose log is gone.
    pub fn format(
        options: &OpenOptions,
        identity: &Identity,
        groups: &[(u64, GroupRecord)],
    ) -> Result<(), OpenError> {
        format::format(options, identity, groups)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none (or a half-made one); [`OpenError::Locked`], [`OpenError::Foreign`],
    /// [`OpenError::TooNew`]; [`OpenError::Corrupt`] and [`OpenError::Amnesiac`] when synced data is damaged or lost.
    pub fn open(options: &OpenOptions) -> Result<Opened, OpenError> {
        let log_dir = options.log_dir();
        let witness_dir = options.witness_dir();
        let witness = witness::read(&witness_dir)?;
        if !log_dir.is_dir() {
            return Err(format::absent(options, &witness));
        }
        let lock = StoreLock::take(&options.dir)?;
        check_witness(options, &witness)?;
        let before = examine(options, &witness)?;
        let mode = Mode::Write;
        let database = Database::open(&log_dir, mode, options.memtable_bytes)?;
        database.check_tables()?;
        let (last, last_hash) = database.last_header()?;
        if last.number < before.last {
            let (found, synced, by) = (last.number, before.last, SyncedBy::Log);
            return Err(OpenError::Amnesiac(Amnesia::Short { found, synced, by }));
        }
        let format = database.format_record()?;
        let groups = database.groups()?;
        let boot_epoch = format.identity.boot_epoch + 1;
        let identity = Identity { boot_epoch, ..format.identity };
        // Recovery has flushed everything into synced files.
        let synced = Arc::new(AtomicU64::new(last.number));
        let testimony = witness.testimony();
        let witness_writer =
            WitnessWriter::start(&witness_dir, identity.store_id, testimony, Arc::clone(&synced))?;
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
            witness: Some(witness_writer),
            audited: false,
            poisoned: false,
            scratch: Vec::new(),
        };
        log.reclaim().map_err(|error| OpenError::Database(error.to_string()))?;
        Ok(Opened {
            log,
            identity,
            groups,
            clean_shutdown: testimony.is_some_and(|testimony| testimony.clean),
            witness,
            torn: before.torn,
        })
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

    /// Builds the one `WriteBatch`, writes and syncs it.
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
        let family = database.family(BATCH);
        let mut write = WriteBatch::with_capacity_bytes(payload + records + 256);
        self.scratch.clear();
        let hash = header.encode(&mut self.scratch);
        write.put_cf(family, header::batch_key(number, 0), &self.scratch);
        for (part, slot) in batch.parts.iter().zip(1_u16..) {
            write.put_cf(family, header::batch_key(number, slot), part.bytes.as_slice());
        }
        if !batch.records.is_empty() {
            let family = database.family(GROUP);
            for (group, record) in &batch.records {
                self.scratch.clear();
                record.encode(&mut self.scratch);
                write.put_cf(family, header::group_key(*group), &self.scratch);
            }
        }
        if let Some(epoch) = epoch {
            write.put_cf(database.family(STORE), EPOCH_KEY, encode_epoch(epoch));
        }
        if full && header.first_live > self.memtable_first {
            let from = header::batch_key(self.memtable_first, 0);
            write.delete_range_cf(family, from, header::batch_key(header.first_live, 0));
        }

        let bytes = wal_bytes(write.size_in_bytes());
        let mut options = WriteOptions::default();
        // The boot epoch must hold even where nothing else does.
        options.set_sync(self.durability == Durability::Fsync || epoch.is_some());
        options.disable_wal(self.durability == Durability::None && epoch.is_none());
        database.db.write_opt(write, &options).map_err(|error| self.poison(error))?;

        if self.durability == Durability::Fsync {
            self.synced.store(number, Ordering::Release);
        }
        self.shared.first_live.store(header.first_live, Ordering::Release);
        self.memtable_used += payload;
        self.last = header;
        self.last_hash = hash;
        if full {
            self.flush(false).map_err(|error| self.poison(error))?;
            self.memtable_first = number + 1;
            self.memtable_used = 0;
            self.reclaim().map_err(|error| self.poison(error))?;
        }
        Ok(Written { number, bytes })
    }

    /// Flushes all families, so that no small one pins a log file.
    fn flush(&self, wait: bool) -> Result<(), rocksdb::Error> {
        let database = &self.shared.database;
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        let families = [BATCH, GROUP, STORE].map(|name| database.family(name));
        database.db.flush_cfs_opt(&families, &options)
    }

    /// Gives back the files that hold dead batches only.
    fn reclaim(&mut self) -> Result<(), rocksdb::Error> {
        let bound = self.last.first_live;
        if bound <= self.reclaimed {
            return Ok(());
        }
        let database = &self.shared.database;
        let last_dead = header::batch_key(bound - 1, u16::MAX);
        let from = header::batch_key(0, 0);
        database.db.delete_file_in_range_cf(database.family(BATCH), from, last_dead)?;
        self.reclaimed = bound;
        Ok(())
    }

    fn poison(&mut self, error: rocksdb::Error) -> StoreError {
        self.poisoned = true;
        StoreError::SyncFailed(error.into_string())
    }
}

impl LogStore for RocksLog {
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
            Durability::Fsync | Durability::Os => self.shared.database.db.flush_wal(true),
            Durability::None => self.flush(true),
        };
        sync.map_err(|error| self.poison(error))?;
        self.synced.store(self.last.number, Ordering::Release);
        Ok(self.last.number)
    }
}

impl LogReader for Shared {
    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError> {
        if number < self.first_live.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.database.read_part(number, part)
    }
}

impl std::fmt::Debug for RocksLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksLog")
            .field("dir", &self.shared.database.dir())
            .field("last", &self.last.number)
            .field("first_live", &self.last.first_live)
            .finish_non_exhaustive()
    }
}

/// What is known of a store before RocksDB may recover it.
struct Before {
    /// The last batch that recovery must come to.
    last: u64,
    torn: Option<BadPlace>,
}

fn check_witness(options: &OpenOptions, witness: &WitnessState) -> Result<(), OpenError> {
    let why = match witness {
        WitnessState::Damaged { why } if options.require_witness => why.to_string(),
        WitnessState::Missing if options.require_witness => "it is missing".to_owned(),
        _ => return Ok(()),
    };
    let file = options.witness_dir().join(witness::WITNESS_FILE);
    Err(OpenError::WitnessUnusable { file, why })
}

/// Everything that can be known without changing a byte.
fn examine(options: &OpenOptions, witness: &WitnessState) -> Result<Before, OpenError> {
    let dir = options.log_dir();
    let testimony = witness.testimony();
    super::damage::check_manifest(&dir, testimony.is_some_and(|found| found.clean))?;
    let scan = wal_scan::scan(&dir, None)?;
    if scan.files.is_empty() {
        return Err(OpenError::Amnesiac(Amnesia::NoWal { dir }));
    }
    let (store_id, last) = preflight(options, &scan)?;
    for (what, found) in [
        ("store (in its witness)", testimony.map(|found| found.store_id)),
        ("store (in its log files)", scan.store_id),
    ] {
        if let Some(found) = found.filter(|&found| found != store_id) {
            return Err(OpenError::Foreign { what, expected: store_id, found });
        }
    }
    let witnessed = testimony.map_or(0, |found| found.synced);
    match scan.judge(last, witnessed) {
        Verdict::Whole => Ok(Before { last, torn: None }),
        Verdict::Torn(bad) => {
            cut_tail(&scan, &bad)?;
            Ok(Before { last, torn: Some(bad) })
        }
        Verdict::Damaged(bad) => {
            Err(OpenError::Corrupt { file: bad.file, offset: bad.offset, why: bad.why.to_string() })
        }
        Verdict::Lost(amnesia) => Err(OpenError::Amnesiac(amnesia)),
    }
}

/// Reads the format record without recovering anything, checks that the store is the expected one, and finds the
/// last batch before the first bad place. The batches are only opened when the log files hold none: then there is
/// nothing in them to replay, and it is cheap.
fn preflight(options: &OpenOptions, scan: &WalScan) -> Result<(u128, u64), OpenError> {
    let mut names = vec!["default", STORE];
    if scan.last.is_none() {
        names.push(BATCH);
    }
    let dir = options.log_dir();
    let mode = if scan.bad.is_some() { Mode::Tables } else { Mode::ReadOnly };
    let database = Database::open_families(&dir, mode, options.memtable_bytes, &names)?;
    let format = database.format_record()?;
    format.expect_supported(true)?;
    format.identity.expect(options.cluster_id, options.node_id, options.store_id)?;
    let last = match scan.last {
        Some(last) => last,
        None => database.last_header()?.0.number,
    };
    Ok((format.identity.store_id, last))
}

/// RocksDB cuts a torn tail by itself, except that it may take up again what lies behind zeroes or in a later file,
/// and that its reader never comes to an end at some tails (see [`Mode::Tables`]). So we cut first.
fn cut_tail(scan: &WalScan, bad: &BadPlace) -> Result<(), OpenError> {
    let from = scan.files.iter().position(|file| *file == bad.file).unwrap_or(scan.files.len());
    for (file, keep) in scan.files[from..].iter().zip(std::iter::once(bad.record).chain(zeroes())) {
        truncate(file, keep)?;
    }
    Ok(())
}

fn zeroes() -> impl Iterator<Item = u64> {
    std::iter::repeat(0)
}

fn truncate(file: &Path, keep: u64) -> Result<(), OpenError> {
    let shorten = |file| {
        let file = std::fs::OpenOptions::new().write(true).open(file)?;
        file.set_len(keep)?;
        file.sync_all()
    };
    shorten(file).map_err(OpenError::io(file))
}

/// The bytes that a batch of `size` takes in the log file: a header per block of 32 KiB that it touches.
const fn wal_bytes(size: usize) -> u64 {
    (size + 7 * (size / (32 * 1024 - 7) + 1)) as u64
}
