//! The log's database as a thing to read: format record, groups, batches, every checksum on.
//!
//! The writer (`rocks_log`), the view of a running store (`view`) and the check (`check`) all read through this,
//! so that damage looks the same everywhere.
//!
//! Invariant: every read verifies RocksDB's checksums, and damage comes back with file and offset.
//! Deliberately absent: writes.

use std::path::{Path, PathBuf};

use rocksdb::{ColumnFamily, DB, IteratorMode, ReadOptions};

use super::chain::{Chain, Place};
use super::header::{self, BatchHeader};
use super::identity::{FormatRecord, decode_epoch};
use super::rocks_options::{self, BATCH, FAMILIES, GROUP, Mode, STORE};
use super::{Amnesia, GroupRecord, OpenError, PartVisitor, RecordError, StoreError, damage};

/// The key of the format record.
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// The key of the boot epoch.
pub(super) const EPOCH_KEY: &[u8] = b"epoch";

const READAHEAD_BYTES: usize = 2 << 20;

/// The open database of a log.
pub(super) struct Database {
    pub(super) db: DB,
    dir: PathBuf,
}

impl Database {
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

    /// Checks what describes the tables in use.
    pub(super) fn check_tables(&self) -> Result<(), OpenError> {
        let tables = self.tables()?;
        damage::check_tables(&self.dir, tables.iter().map(|(name, _)| name.as_str()))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// One of the families that were opened.
    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("opened with the database")
    }

    /// The format record, with the boot epoch in its identity. Reads all of its family, overwritten values too.
    pub(super) fn format_record(&self) -> Result<FormatRecord, OpenError> {
        for item in self.db.iterator_cf_opt(self.family(STORE), checked(), IteratorMode::Start) {
            item.map_err(|error| damage::on_open(&self.dir, error))?;
        }
        let decode = |error| OpenError::Record { family: STORE, key: 0, error };
        let Some(bytes) = self.store_value(FORMAT_KEY)? else {
            let why = "the database has no format record";
            return Err(OpenError::NotAStore { dir: self.dir.clone(), why });
        };
        let mut record = FormatRecord::decode(&bytes).map_err(decode)?;
        let epoch = self
            .store_value(EPOCH_KEY)?
            .ok_or_else(|| decode(RecordError::Field { what: "boot epoch (missing)", value: 0 }))?;
        record.identity.boot_epoch = decode_epoch(&epoch).map_err(decode)?;
        Ok(record)
    }

    fn store_value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        self.db.get_cf(self.family(STORE), key).map_err(|error| damage::on_open(&self.dir, error))
    }

    /// All group records, ascending.
    pub(super) fn groups(&self) -> Result<Vec<(u64, GroupRecord)>, OpenError> {
        let mut groups = Vec::new();
        for item in self.db.iterator_cf_opt(self.family(GROUP), checked(), IteratorMode::Start) {
            let (key, value) = item.map_err(|error| damage::on_open(&self.dir, error))?;
            let decode = |key, error| OpenError::Record { family: GROUP, key, error };
            let found = key.len();
            let group = header::parse_group_key(&key)
                .ok_or_else(|| decode(0, RecordError::Truncated { needed: 8, found }))?;
            let record = GroupRecord::decode(&value).map_err(|error| decode(group, error))?;
            groups.push((group, record));
        }
        Ok(groups)
    }

    /// The last batch's header and chain hash.
    pub(super) fn last_header(&self) -> Result<(BatchHeader, u64), OpenError> {
        let mut last = self.db.raw_iterator_cf_opt(self.family(BATCH), read_options());
        last.seek_to_last();
        last.status().map_err(|error| damage::on_open(&self.dir, error))?;
        let Some((number, _)) = last.key().and_then(header::parse_batch_key) else {
            return Err(OpenError::Amnesiac(Amnesia::Hole { missing: 1, found: 0 }));
        };
        let bytes = self
            .db
            .get_cf_opt(self.family(BATCH), header::batch_key(number, 0), &read_options())
            .map_err(|error| damage::on_open(&self.dir, error))?
            .ok_or(OpenError::Amnesiac(Amnesia::Part { number, part: 0 }))?;
        BatchHeader::decode(&bytes).map_err(|error| OpenError::Record {
            family: BATCH,
            key: number,
            error,
        })
    }

    /// Walks over all batches: checks the chain from the first live batch of `last` up to `last`, and visits the
    /// parts of live batches. Reads dead ones too, as long as they are there.
    pub(super) fn for_each_part(
        &self,
        last: &BatchHeader,
        visit: &mut PartVisitor<'_>,
    ) -> Result<(), OpenError> {
        let mut chain = Chain::new(last.store_id, last.first_live);
        let mut batches = self.db.raw_iterator_cf_opt(self.family(BATCH), read_options());
        batches.seek_to_first();
        while let Some((key, value)) = batches.item() {
            let Some((number, part)) = header::parse_batch_key(key) else {
                let error = RecordError::Truncated { needed: header::KEY_BYTES, found: key.len() };
                return Err(OpenError::Record { family: BATCH, key: 0, error });
            };
            if number > last.number {
                // A running store writes on while a view reads.
                break;
            }
            if part == 0 {
                chain.header(number, value)?;
            } else if chain.part(number, part, value.len())? == Place::Live {
                visit(number, part, value)?;
            }
            batches.next();
        }
        batches.status().map_err(|error| damage::on_open(&self.dir, error))?;
        chain.end(last.number)
    }

    /// Reads one part.
    pub(super) fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError> {
        self.db
            .get_cf_opt(self.family(BATCH), header::batch_key(number, part), &read_options())
            .map_err(|error| damage::on_read(&self.dir, error))
    }
}

fn checked() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

/// Each batch is read once: nothing is cached.
fn read_options() -> ReadOptions {
    let mut options = checked();
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
    options
}
