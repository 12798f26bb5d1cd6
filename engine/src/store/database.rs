//! What the log asks of the database that it lives in: two implementations, RocksDB and the simulator's model of it.
//!
//! A database has families of keys, takes batches as one unit through a write-ahead log, keeps them in memory until a
//! flush, and comes back after a crash with a prefix of them. How a store is numbered, chained, checked and refused is not
//! its business: `batch_log` and `recovery` do that, over either.
//!
//! Invariant: damage that a read meets comes back as an error, never as other bytes.
//! Deliberately absent: reading several families at one moment. One thread writes the log.

use std::any::Any;
use std::path::Path;

use super::chain::{Chain, Place};
use super::files::Files;
use super::header::{self, BatchHeader};
use super::identity::{FormatRecord, decode_epoch};
use super::{Amnesia, GroupRecords, OpenError, OpenOptions, PartVisitor, RecordError, StoreError};

/// The key of the format record.
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// The key of the boot epoch.
pub(super) const EPOCH_KEY: &[u8] = b"epoch";

/// A family of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The batches: headers and rounds.
    Batch,
    /// The groups' records.
    Group,
    /// The format record and the boot epoch.
    Store,
}

impl Family {
    /// Its name in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Group => "group",
            Self::Store => "store",
        }
    }
}

/// What a visitor of keys is: called with key and value in key order, until it returns false.
pub type KeyVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, OpenError> + 'a;

/// A database to be read.
pub trait Reads {
    /// Its directory.
    fn dir(&self) -> &Path;

    /// The value of a key.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] when a checksum fails.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError>;

    /// The last key of a family.
    ///
    /// # Errors
    /// As [`Reads::get`].
    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, OpenError>;

    /// Visits the keys of a family in order.
    ///
    /// # Errors
    /// As [`Reads::get`], and whatever `visit` returned.
    fn walk(&self, family: Family, visit: &mut KeyVisitor<'_>) -> Result<(), OpenError>;

    /// The format record, with the boot epoch in its identity. Reads all of its family, overwritten values too.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    fn format_record(&self) -> Result<FormatRecord, OpenError> {
        self.walk(Family::Store, &mut |_, _| Ok(true))?;
        let decode = |error| OpenError::Record { family: Family::Store.name(), key: 0, error };
        let Some(bytes) = self.get(Family::Store, FORMAT_KEY)? else {
            let why = "the database has no format record";
            return Err(OpenError::NotAStore { dir: self.dir().to_owned(), why });
        };
        let mut record = FormatRecord::decode(&bytes).map_err(decode)?;
        let epoch = self
            .get(Family::Store, EPOCH_KEY)?
            .ok_or_else(|| decode(RecordError::Field { what: "boot epoch (missing)", value: 0 }))?;
        record.identity.boot_epoch = decode_epoch(&epoch).map_err(decode)?;
        Ok(record)
    }

    /// All group records, ascending.
    ///
    /// # Errors
    /// When one is damaged.
    fn groups(&self) -> Result<GroupRecords, OpenError> {
        let mut groups = GroupRecords::default();
        self.walk(Family::Group, &mut |key, value| {
            let decode =
                |key, error| OpenError::Record { family: Family::Group.name(), key, error };
            let found = key.len();
            let group = header::parse_group_key(key)
                .ok_or_else(|| decode(0, RecordError::Truncated { needed: 8, found }))?;
            groups.push_encoded(group, value).map_err(|error| decode(group, error))?;
            Ok(true)
        })?;
        Ok(groups)
    }

    /// The last batch's header and chain hash.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    fn last_header(&self) -> Result<(BatchHeader, u64), OpenError> {
        let last = self.last_key(Family::Batch)?;
        let Some((number, _)) = last.as_deref().and_then(header::parse_batch_key) else {
            return Err(OpenError::Amnesiac(Amnesia::Hole { missing: 1, found: 0 }));
        };
        let bytes = self
            .get(Family::Batch, &header::batch_key(number, 0))?
            .ok_or(OpenError::Amnesiac(Amnesia::Part { number, part: 0 }))?;
        BatchHeader::decode(&bytes).map_err(|error| OpenError::Record {
            family: Family::Batch.name(),
            key: number,
            error,
        })
    }

    /// Walks over all batches: checks the chain from the first live batch of `last` up to `last`, and visits the
    /// parts of live batches. Reads dead ones too, as long as they are there.
    ///
    /// # Errors
    /// When something is damaged or missing, and whatever `visit` returned.
    fn for_each_part(
        &self,
        last: &BatchHeader,
        visit: &mut PartVisitor<'_>,
    ) -> Result<(), OpenError> {
        let mut chain = Chain::new(last.store_id, last.first_live);
        self.walk(Family::Batch, &mut |key, value| {
            let Some((number, part)) = header::parse_batch_key(key) else {
                let error = RecordError::Truncated { needed: header::KEY_BYTES, found: key.len() };
                return Err(OpenError::Record { family: Family::Batch.name(), key: 0, error });
            };
            if number > last.number {
                // A running store writes on while a view reads.
                return Ok(false);
            }
            if part == 0 {
                chain.header(number, value)?;
            } else if chain.part(number, part, value.len())? == Place::Live {
                visit(number, part, value)?;
            }
            Ok(true)
        })?;
        chain.end(last.number)
    }
}

/// A database that a log can live in.
pub trait Database: Reads + Send + Sync + 'static {
    /// Changes that are to be written as one unit.
    type Batch;

    /// An empty batch, with room for about so many bytes.
    fn batch(&self, bytes: usize) -> Self::Batch;

    /// Adds a key and its value to `batch`.
    fn put(&self, batch: &mut Self::Batch, family: Family, key: &[u8], value: &[u8]);

    /// Adds the deletion of the keys `from..to` of the batches' family to `batch`.
    fn delete_range(&self, batch: &mut Self::Batch, from: &[u8], to: &[u8]);

    /// Writes `batch`, with `wal` into the write-ahead log, which with `sync` is durable afterwards. Returns the size of
    /// the batch.
    ///
    /// # Errors
    /// The database's words. What the disk holds is unknown then.
    fn write(&self, batch: Self::Batch, wal: bool, sync: bool) -> Result<usize, String>;

    /// Moves what is in memory into tables, all families at once; without `wait`, begins to.
    ///
    /// # Errors
    /// The database's words.
    fn flush(&self, wait: bool) -> Result<(), String>;

    /// Makes what was written into the write-ahead log durable.
    ///
    /// # Errors
    /// The database's words.
    fn sync_wal(&self) -> Result<(), String>;

    /// Gives back the tables whose batches are all in `from..=to`.
    ///
    /// # Errors
    /// The database's words.
    fn delete_tables(&self, from: &[u8], to: &[u8]) -> Result<(), String>;

    /// Checks what describes the tables in use.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`].
    fn check_tables(&self) -> Result<(), OpenError>;

    /// One part, for whoever needs it now.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a checksum fails.
    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Where databases are opened.
pub trait Backend {
    /// What is opened.
    type Database: Database;
    /// What is opened to be read only.
    type View: Reads;

    /// The files of the store, beside the database.
    fn files(&self) -> &dyn Files;

    /// Takes the store for this process, until what comes back is dropped.
    ///
    /// # Errors
    /// [`OpenError::Locked`].
    fn lock(&self, options: &OpenOptions) -> Result<Box<dyn Any + Send + Sync>, OpenError>;

    /// Opens some families to be read, and changes nothing. Without `logs`, from the tables alone.
    ///
    /// # Errors
    /// What is wrong with them.
    fn view(
        &self,
        options: &OpenOptions,
        logs: bool,
        families: &[Family],
    ) -> Result<Self::View, OpenError>;

    /// Opens the database to write, after its own recovery: the log files up to their first bad record.
    ///
    /// # Errors
    /// What is wrong with it.
    fn recover(&self, options: &OpenOptions) -> Result<Self::Database, OpenError>;
}
