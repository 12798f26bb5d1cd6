//! [`RocksLog`]: the log of a store on RocksDB.
//!
//! What the log does is in `batch_log`, how it is opened in `recovery`; here the two meet RocksDB.
//! Deliberately absent: decisions.

use std::any::Any;
use std::path::Path;

use rocksdb::{FlushOptions, WriteBatch, WriteOptions};

use super::batch_log::BatchLog;
use super::database::{Backend, Database, Family, Reads as _};
use super::files::{Files, SystemFiles};
use super::lock::StoreLock;
use super::recovery::{self, Recovered};
use super::rocks_db::RocksDatabase;
use super::rocks_options::Mode;
use super::{GroupRecords, Identity, OpenError, OpenOptions, StoreError, damage, format, header};

/// The log of a store on RocksDB.
pub type RocksLog = BatchLog<RocksDatabase>;

/// A store that has been opened.
pub type Opened = Recovered<RocksLog>;

impl RocksLog {
    /// Makes a new store. Until its last step, a rename, the directory holds no store, and the call can be repeated.
    ///
    /// # Errors
    /// [`OpenError::Exists`]; or [`OpenError::Amnesiac`] when a witness remembers a store whose log is gone.
    pub fn format(
        options: &OpenOptions,
        identity: &Identity,
        groups: &GroupRecords,
    ) -> Result<(), OpenError> {
        format::format(options, identity, groups)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none (or a half-made one); [`OpenError::Locked`], [`OpenError::Foreign`],
    /// [`OpenError::TooNew`]; [`OpenError::Corrupt`] and [`OpenError::Amnesiac`] when synced data is damaged or lost.
    pub fn open(options: &OpenOptions) -> Result<Opened, OpenError> {
        recovery::open(options, &Rocks)
    }
}

/// RocksDB in the directories of the system.
struct Rocks;

impl Backend for Rocks {
    type Database = RocksDatabase;
    type View = RocksDatabase;

    fn files(&self) -> &dyn Files {
        &SystemFiles
    }

    fn lock(&self, options: &OpenOptions) -> Result<Box<dyn Any + Send + Sync>, OpenError> {
        Ok(Box::new(StoreLock::take(&options.dir)?))
    }

    fn view(
        &self,
        options: &OpenOptions,
        logs: bool,
        families: &[Family],
    ) -> Result<RocksDatabase, OpenError> {
        let mode = if logs { Mode::ReadOnly } else { Mode::Tables };
        let names: Vec<&str> =
            std::iter::once("default").chain(families.iter().map(|f| f.name())).collect();
        let (dir, memtable_bytes) = (options.log_dir(), options.memtable_bytes);
        RocksDatabase::open_families(&dir, mode, memtable_bytes, &names)
    }

    fn recover(&self, options: &OpenOptions) -> Result<RocksDatabase, OpenError> {
        RocksDatabase::open(&options.log_dir(), Mode::Write, options.memtable_bytes)
    }
}

impl Database for RocksDatabase {
    type Batch = WriteBatch;

    fn batch(&self, bytes: usize) -> WriteBatch {
        WriteBatch::with_capacity_bytes(bytes)
    }

    fn put(&self, batch: &mut WriteBatch, family: Family, key: &[u8], value: &[u8]) {
        batch.put_cf(self.family(family), key, value);
    }

    fn delete_range(&self, batch: &mut WriteBatch, from: &[u8], to: &[u8]) {
        batch.delete_range_cf(self.family(Family::Batch), from, to);
    }

    fn write(&self, batch: WriteBatch, wal: bool, sync: bool) -> Result<usize, String> {
        let size = batch.size_in_bytes();
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        options.disable_wal(!wal);
        self.db.write_opt(batch, &options).map_err(rocksdb::Error::into_string)?;
        Ok(size)
    }

    fn flush(&self, wait: bool) -> Result<(), String> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        let families =
            [Family::Batch, Family::Group, Family::Store].map(|family| self.family(family));
        self.db.flush_cfs_opt(&families, &options).map_err(rocksdb::Error::into_string)
    }

    fn sync_wal(&self) -> Result<(), String> {
        self.db.flush_wal(true).map_err(rocksdb::Error::into_string)
    }

    fn delete_tables(&self, from: &[u8], to: &[u8]) -> Result<(), String> {
        let family = self.family(Family::Batch);
        self.db.delete_file_in_range_cf(family, from, to).map_err(rocksdb::Error::into_string)
    }

    fn check_tables(&self) -> Result<(), OpenError> {
        let tables = self.tables()?;
        damage::check_tables(self.dir(), tables.iter().map(|(name, _)| name.as_str()))
    }

    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_now(Family::Batch, &header::batch_key(number, part))
            .map_err(|error| damage::on_read(self.dir(), error))
    }
}

/// Makes the database of a new store in `dir`.
pub(super) fn create(
    dir: &Path,
    memtable_bytes: usize,
    identity: &Identity,
    groups: &GroupRecords,
) -> Result<(), OpenError> {
    let database = RocksDatabase::open(dir, Mode::Create, memtable_bytes)?;
    super::batch_log::write_first_batch(&database, identity, groups)
}
