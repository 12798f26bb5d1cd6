//! Why a store does not open, and why a write or a read of it failed: one variant per thing a caller can act on.
//!
//! Deliberately absent: a catch-all with a free text. [`OpenError::Database`] is what RocksDB said and nothing
//! in it named a file; everything else is typed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{Holder, RecordError};

/// Why a store does not open.
#[derive(Debug)]
pub enum OpenError {
    /// There is no such directory, or it is empty.
    Missing {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The directory holds something, but not a store.
    NotAStore {
        /// The store's directory.
        dir: PathBuf,
        /// What was expected and not found.
        why: &'static str,
    },
    /// A new store was asked for where one exists.
    Exists {
        /// The store's directory.
        dir: PathBuf,
    },
    /// Another process has the store open.
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The store, or its witness, belongs to someone else.
    Foreign {
        /// Which id differs: `cluster`, `node` or `store`.
        what: &'static str,
        /// What the caller (or the log, for a witness) says.
        expected: u128,
        /// What was found.
        found: u128,
    },
    /// The store was written by a newer version that says this one must not open it.
    TooNew {
        /// The least version that may do what was asked.
        needed: u32,
        /// This program's version of the format.
        supported: u32,
    },
    /// Bytes are not what was written, at a place that was known synced.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The first bad byte that is known, or the beginning of the unit that failed.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// A record has correct checksums and makes no sense.
    Record {
        /// The column family.
        family: &'static str,
        /// The key: a group id, a batch number, or 0 for the format record.
        key: u64,
        /// What is wrong with it.
        error: RecordError,
    },
    /// The store lost data that it had synced. It must not vote or acknowledge; replace it.
    Amnesiac(Amnesia),
    /// The witness is missing or damaged, and the caller requires one.
    WitnessUnusable {
        /// The witness file.
        file: PathBuf,
        /// Why it cannot be used.
        why: String,
    },
    /// A file could not be read or written.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// RocksDB refused, and named no file.
    Database(String),
    /// A part has correct checksums in the database, and holds a block that is not whole or does not fit.
    Block {
        /// The batch.
        number: u64,
        /// The part.
        part: u16,
        /// Where in the part.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Which synced data a store lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amnesia {
    /// The witness knows the store, and its log is gone.
    LogMissing {
        /// The last batch that the witness knows synced.
        synced: u64,
    },
    /// No write-ahead log file is left; there is always one.
    NoWal {
        /// The log database's directory.
        dir: PathBuf,
    },
    /// The log ends before what is known synced.
    Short {
        /// The last batch that was found.
        found: u64,
        /// The last batch known synced.
        synced: u64,
        /// Who knows it.
        by: SyncedBy,
    },
    /// A batch in the middle is missing.
    Hole {
        /// The first missing batch.
        missing: u64,
        /// The batch that was found instead.
        found: u64,
    },
    /// A batch does not follow the one before it: one of them is from another store or another time.
    Chain {
        /// The batch that does not fit.
        number: u64,
        /// In which respect.
        why: &'static str,
    },
    /// A part of a batch is missing or has another length than its header says.
    Part {
        /// The batch.
        number: u64,
        /// The part.
        part: u16,
    },
}

/// Who knows that a batch was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncedBy {
    /// The witness file.
    Witness,
    /// A later batch's header, or the intact part of the write-ahead log.
    Log,
}

/// Why a write or a read failed.
#[derive(Debug)]
pub enum StoreError {
    /// The write or its sync failed. What the disk holds is unknown; the log accepts nothing any more.
    SyncFailed(String),
    /// An earlier write failed ([`StoreError::SyncFailed`]); this call was refused.
    Poisoned,
    /// The batch has more parts than a batch can have.
    TooManyParts {
        /// How many there were.
        parts: usize,
    },
    /// Bytes are not what was written.
    Corrupt {
        /// The file, or the database's directory when RocksDB named none.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The audit that precedes the first write found the log damaged.
    Audit(Box<OpenError>),
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// RocksDB refused a read, and named no file.
    Database(String),
}

impl OpenError {
    /// An [`OpenError::Io`] about `path`; for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    /// True when the store lost or damaged synced data, so that waiting or retrying cannot help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Amnesiac(_) | Self::Record { .. } | Self::Block { .. }
        )
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { dir } => write!(f, "no store at {}", dir.display()),
            Self::NotAStore { dir, why } => write!(f, "{} is not a store: {why}", dir.display()),
            Self::Exists { dir } => write!(f, "{} already holds a store", dir.display()),
            Self::Locked { dir, holder } => write!(f, "{} is in use by {holder}", dir.display()),
            Self::Foreign { what, expected, found } => {
                write!(f, "the {what} id is {found:#x}, expected {expected:#x}")
            }
            Self::TooNew { needed, supported } => {
                write!(f, "the store needs format version {needed}, this program has {supported}")
            }
            Self::Corrupt { file, offset, why } => {
                write!(f, "{} is damaged at offset {offset}: {why}", file.display())
            }
            Self::Record { family, key, error } => {
                write!(f, "record {key} of family `{family}` is malformed: {error}")
            }
            Self::Amnesiac(amnesia) => write!(f, "the store lost synced data: {amnesia}"),
            Self::WitnessUnusable { file, why } => {
                write!(f, "the witness {} cannot be used: {why}", file.display())
            }
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Database(text) => write!(f, "the log database: {text}"),
            Self::Block { number, part, offset, why } => {
                write!(f, "block at offset {offset} of part {part} of batch {number}: {why}")
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Record { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Amnesia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogMissing { synced } => {
                write!(f, "the log is gone, and the witness knows batch {synced} synced")
            }
            Self::NoWal { dir } => write!(f, "no write-ahead log is left in {}", dir.display()),
            Self::Short { found, synced, by } => {
                let by = match by {
                    SyncedBy::Witness => "the witness",
                    SyncedBy::Log => "the log itself",
                };
                write!(f, "the log ends at batch {found}, and {by} knows batch {synced} synced")
            }
            Self::Hole { missing, found } => {
                write!(f, "batch {missing} is missing; batch {found} comes instead")
            }
            Self::Chain { number, why } => {
                write!(f, "batch {number} does not follow the one before it: {why}")
            }
            Self::Part { number, part } => {
                write!(f, "part {part} of batch {number} is missing or has another length")
            }
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SyncFailed(text) => write!(f, "a synced write failed: {text}"),
            Self::Poisoned => f.write_str("refused: an earlier write of this log failed"),
            Self::TooManyParts { parts } => write!(f, "a batch of {parts} parts is too large"),
            Self::Corrupt { file, offset, why } => {
                write!(f, "{} is damaged at offset {offset}: {why}", file.display())
            }
            Self::Audit(error) => write!(f, "the log failed its audit: {error}"),
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Database(text) => write!(f, "the log database: {text}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Audit(error) => Some(error),
            _ => None,
        }
    }
}
