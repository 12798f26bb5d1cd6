//! [`StoreView`]: reading a store without owning it, also while a node runs on it.
//!
//! A view takes no lock, writes nothing, and sees the store as of its opening: what the files held, and the part of
//! the write-ahead log that was there.
//!
//! Invariant: opening and reading a view leaves every file of the store as it was.
//! Deliberately absent: refusing damage up front. A view shows what is readable; `check` judges.

use super::database::{Database as _, Reads as _};
use super::files::SystemFiles;
use super::header::BatchHeader;
use super::identity::FormatRecord;
use super::recovery::absent;
use super::rocks_db::RocksDatabase;
use super::rocks_options::Mode;
use super::wal_scan;
use super::witness::{self, WitnessState};
use super::{GroupRecord, Holder, Identity, OpenError, OpenOptions, PartVisitor, lock};

/// How often a view is opened anew when the running store deleted a file under its hands.
const ATTEMPTS: usize = 5;

/// A store, read-only.
pub struct StoreView {
    database: RocksDatabase,
    format: FormatRecord,
    groups: Vec<(u64, GroupRecord)>,
    last: BatchHeader,
    witness: WitnessState,
    holder: Option<Holder>,
}

impl StoreView {
    /// Opens a view of the store in `dir`.
    ///
    /// # Errors
    /// As [`super::RocksLog::open`] does for what cannot be read at all.
    pub fn open(dir: impl Into<std::path::PathBuf>) -> Result<Self, OpenError> {
        Self::open_with(&OpenOptions::new(dir))
    }

    /// Opens a view of the store that `options` describes.
    ///
    /// # Errors
    /// As [`StoreView::open`], and [`OpenError::Foreign`] when the store is not the expected one.
    pub fn open_with(options: &OpenOptions) -> Result<Self, OpenError> {
        let witness = witness::read(&SystemFiles, &options.witness_dir())?;
        if !options.log_dir().is_dir() {
            return Err(absent(&SystemFiles, options, &witness));
        }
        let mut attempt = 1;
        loop {
            match Self::try_open(options, &witness) {
                Err(OpenError::Corrupt { .. } | OpenError::Database(_)) if attempt < ATTEMPTS => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn try_open(options: &OpenOptions, witness: &WitnessState) -> Result<Self, OpenError> {
        let scan = wal_scan::scan(&SystemFiles, &options.log_dir(), None)?;
        if let Some(bad) = scan.bad.filter(|bad| bad.claims_recycling(&SystemFiles)) {
            let why =
                "a damaged record ends the log; a node that opens the store cuts or refuses it";
            return Err(OpenError::Corrupt {
                file: bad.file,
                offset: bad.offset,
                why: why.to_owned(),
            });
        }
        let mode = Mode::ReadOnly;
        let database = RocksDatabase::open(&options.log_dir(), mode, options.memtable_bytes)?;
        let format = database.format_record()?;
        format.expect_supported(false)?;
        format.identity.expect(options.cluster_id, options.node_id, options.store_id)?;
        let groups = database.groups()?.iter().collect();
        let (last, _) = database.last_header()?;
        let holder = lock::held_by(&options.dir)?;
        Ok(Self { database, format, groups, last, witness: witness.clone(), holder })
    }

    /// Who the store is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.format.identity
    }

    /// The format record.
    #[must_use]
    pub const fn format(&self) -> FormatRecord {
        self.format
    }

    /// The groups' records, ascending.
    #[must_use]
    pub fn groups(&self) -> &[(u64, GroupRecord)] {
        &self.groups
    }

    /// The numbers of the first live and of the last batch.
    #[must_use]
    pub const fn numbers(&self) -> (u64, u64) {
        (self.last.first_live, self.last.number)
    }

    /// What the witness says.
    #[must_use]
    pub const fn witness(&self) -> &WitnessState {
        &self.witness
    }

    /// The process that has the store open, if one has.
    #[must_use]
    pub const fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Visits every part of every live batch in order, with every checksum on, and checks the chain.
    ///
    /// # Errors
    /// As [`super::LogStore::for_each_part`].
    pub fn for_each_part(&self, visit: &mut PartVisitor<'_>) -> Result<(), OpenError> {
        self.database.for_each_part(&self.last, visit)
    }

    /// The table files that the view reads, and their bytes.
    pub(super) fn tables(&self) -> Result<(usize, u64), OpenError> {
        let tables = self.database.tables()?;
        Ok((tables.len(), tables.iter().map(|(_, bytes)| bytes).sum()))
    }

    /// Checks what describes the tables.
    pub(super) fn check_tables(&self) -> Result<(), OpenError> {
        self.database.check_tables()
    }
}

impl std::fmt::Debug for StoreView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreView").field("dir", &self.database.dir()).finish_non_exhaustive()
    }
}
