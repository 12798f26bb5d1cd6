//! The log's RocksDB as a thing to read: every checksum on.
//!
//! The writer (`rocks_log`), the view of a running store (`view`) and the check (`check`) all read through this,
//! so that damage looks the same everywhere.
//!
//! Invariant: every read verifies RocksDB's checksums, and damage comes back with file and offset.
//! Deliberately absent: writes (`rocks_log`), and what the values mean (`database`).

use std::path::{Path, PathBuf};

use rocksdb::{ColumnFamily, DB, ReadOptions};

use super::database::{Family, KeyVisitor, Reads};
use super::rocks_options::{self, FAMILIES, Mode};
use super::{OpenError, damage};

const READAHEAD_BYTES: usize = 2 << 20;

/// The open RocksDB database of a log.
pub struct RocksDatabase {
    pub(super) db: DB,
    dir: PathBuf,
}

impl RocksDatabase {
    /// Opens the database in `dir`.
    pub(super) fn open(dir: &Path, mode: Mode, memtable_bytes: usize) -> Result<Self, OpenError> {
        Self::open_families(dir, mode, memtable_bytes, &FAMILIES)
    }

    /// Opens some families of the database in `dir`; reading only, RocksDB allows that.
    pub(super) fn open_families(
        dir: &Path,
        mode: Mode,
        memtable_bytes: usize,
        names: &[&str],
    ) -> Result<Self, OpenError> {
        let mut options = rocks_options::database(mode, memtable_bytes)?;
        if mode == Mode::Tables {
            // The store's own directory: it exists, and holds no log file.
            options.set_wal_dir(dir.parent().unwrap_or(dir));
        }
        let families = rocks_options::families(names, memtable_bytes);
        let db = if mode.reads_only() {
            DB::open_cf_descriptors_read_only(&options, dir, families, false)
        } else {
            DB::open_cf_descriptors(&options, dir, families)
        };
        let db = db.map_err(|error| damage::on_open(dir, error))?;
        Ok(Self { db, dir: dir.to_owned() })
    }

    /// The table files in use, as name and size.
    pub(super) fn tables(&self) -> Result<Vec<(String, u64)>, OpenError> {
        let files = self.db.live_files().map_err(|error| damage::on_open(&self.dir, error))?;
        Ok(files.into_iter().map(|file| (file.name, file.size as u64)).collect())
    }

    /// One of the families that were opened.
    pub(super) fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("opened with the database")
    }

    /// A key's value, or RocksDB's own error.
    pub(super) fn get_now(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.db.get_cf_opt(self.family(family), key, &read_options(family))
    }
}

impl Reads for RocksDatabase {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        self.get_now(family, key).map_err(|error| damage::on_open(&self.dir, error))
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, OpenError> {
        let mut last = self.db.raw_iterator_cf_opt(self.family(family), read_options(family));
        last.seek_to_last();
        last.status().map_err(|error| damage::on_open(&self.dir, error))?;
        Ok(last.key().map(<[u8]>::to_vec))
    }

    fn walk(&self, family: Family, visit: &mut KeyVisitor<'_>) -> Result<(), OpenError> {
        let mut keys = self.db.raw_iterator_cf_opt(self.family(family), read_options(family));
        keys.seek_to_first();
        while let Some((key, value)) = keys.item() {
            if !visit(key, value)? {
                break;
            }
            keys.next();
        }
        keys.status().map_err(|error| damage::on_open(&self.dir, error))
    }
}

/// Checksums are verified. Each batch is read once: none is cached.
fn read_options(family: Family) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    if family == Family::Batch {
        options.fill_cache(false);
        options.set_readahead_size(READAHEAD_BYTES);
    }
    options
}

impl std::fmt::Debug for RocksDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksDatabase").field("dir", &self.dir).finish_non_exhaustive()
    }
}
