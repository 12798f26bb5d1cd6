//! The durable log of a store: what is written, how it is read back, and when a store refuses to open.
//!
//! One store has one log for all its groups. A [`LogBatch`] is everything that all shards have to persist at
//! one moment: the sealed buffers of their rounds, and one small [`GroupRecord`] per group whose hard state
//! changed. [`LogStore::write`] turns it into one RocksDB `WriteBatch` and one synced write, whatever the number
//! of groups in it.
//!
//! | file | what |
//! |---|---|
//! | `error` | [`OpenError`], [`StoreError`], [`Amnesia`]: why a store does not open, why a write failed |
//! | `record`, `records` | [`GroupRecord`] and its bytes; those of many groups |
//! | `header` | [`BatchHeader`]: the link of a batch to the one before it |
//! | `identity` | [`Identity`], the format record, random store ids |
//! | `lock` | one process per store; the lock names its holder |
//! | `witness` | the 512-byte second opinion about what was synced |
//! | `files` | the files that opening and the witness use: the system's, or the simulator's |
//! | `wal_scan` | our own reader of RocksDB's write-ahead log, past the first bad record |
//! | `chain` | follows the batch headers; says what is missing |
//! | `memory` | [`MemoryLog`]: the same contract without a disk, with crash images |
//! | `format` | making a store, crash-safe |
//! | `database` | what the log asks of the database under it: RocksDB, or the simulator's model |
//! | `batch_log` | [`BatchLog`]: the log on a database |
//! | `recovery`, `manifest` | opening: what is checked in which order, cut, or refused |
//! | `rocks_log` | `RocksLog`: the log on RocksDB; `rocks_options` its settings, `rocks_db` its reads |
//! | `table_scan` | checks what describes a table file, which RocksDB does not name |
//! | `damage` | RocksDB's error texts as file and offset |
//! | `view`, `check` | reading a store without owning it; reading all of it |
//!
//! Invariants:
//! - Every write carries a [`BatchHeader`], so the records of the write-ahead log form one chain without holes.
//! - A batch number is given once. Batches are synced in number order.
//! - After [`StoreError::SyncFailed`] a log refuses every later call: the page cache after a failed sync is no
//!   evidence of anything.
//!
//! Deliberately absent: what the blocks mean (see `log`), and any repair of a store that lost synced data. Such a
//! store is replaced, under a new store id.

use std::path::PathBuf;
use std::sync::Arc;

pub mod batch_log;
mod chain;
pub mod database;
mod error;
pub mod files;
mod header;
pub mod identity;
pub mod lock;
mod manifest;
mod memory;
mod record;
mod records;
pub mod recovery;
pub mod state;
mod table_scan;
pub mod wal_scan;
pub mod witness;

#[cfg(feature = "rocks")]
pub mod check;
#[cfg(feature = "rocks")]
mod damage;
#[cfg(feature = "rocks")]
mod format;
#[cfg(feature = "rocks")]
mod rocks_db;
#[cfg(feature = "rocks")]
mod rocks_log;
#[cfg(feature = "rocks")]
mod rocks_options;
#[cfg(feature = "rocks")]
pub mod rocks_state;
#[cfg(feature = "rocks")]
pub mod view;

pub use crate::range::RangeBounds;
pub use batch_log::BatchLog;
pub use error::{Amnesia, OpenError, StoreError, SyncedBy};
pub use files::SystemFiles;
pub use header::BatchHeader;
pub use identity::Identity;
pub use lock::Holder;
pub use memory::MemoryLog;
pub use record::{BOUND_BYTES_MAX, GroupRecord, MEMBERS_MAX, RecordError};
pub use records::GroupRecords;
pub use witness::{WitnessState, WitnessWriter};

#[cfg(feature = "rocks")]
pub use check::{CheckReport, check};
#[cfg(feature = "rocks")]
pub use rocks_db::RocksDatabase;
#[cfg(feature = "rocks")]
pub use rocks_log::{Opened, RocksLog};
#[cfg(feature = "rocks")]
pub use view::StoreView;

use crate::config::Durability;

/// The sealed buffer of one round of one shard: whole blocks, back to back.
#[derive(Clone, Debug)]
pub struct Part {
    /// The bytes; shared with the sockets, so nothing is ever written in front of or behind them.
    pub bytes: Arc<Vec<u8>>,
    /// How many blocks they hold.
    pub blocks: u32,
}

/// Everything that is to become durable in one write.
#[derive(Clone, Debug, Default)]
pub struct LogBatch {
    /// The rounds, in the order in which they were sealed. At most [`PARTS_MAX`].
    pub parts: Vec<Part>,
    /// The groups whose record changed: group id and the whole new record. The last one of a group counts.
    pub records: Vec<(u64, Arc<GroupRecord>)>,
    /// Batches with a lower number hold no live block any more. Never moves back; lower values are ignored.
    pub delete_below: Option<u64>,
}

/// The most parts that one batch may have: the part number is a u16, and 0 is the header's.
pub const PARTS_MAX: usize = u16::MAX as usize - 1;

/// What a write has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The batch's number: one more than the batch before it.
    pub number: u64,
    /// The bytes that went to the write-ahead log.
    pub bytes: u64,
}

/// What a visitor of parts is: called with batch number, part number (from 1) and the part's bytes.
pub type PartVisitor<'a> = dyn FnMut(u64, u16, &[u8]) -> Result<(), OpenError> + 'a;

/// The durable log of a store. It has two implementations: [`BatchLog`] and [`MemoryLog`].
pub trait LogStore: Send {
    /// Writes `batch` as one unit and, with [`Durability::Fsync`], syncs it. Part `i` of the batch becomes part
    /// `i + 1` of the returned number.
    ///
    /// # Errors
    /// After [`StoreError::SyncFailed`] nothing may be acknowledged, and every later call is refused.
    fn write(&mut self, batch: &LogBatch) -> Result<Written, StoreError>;

    /// A handle that reads parts from any thread.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Visits every part of every live batch in order, verifies every checksum on the way, and the chain.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] names file and offset; [`OpenError::Amnesiac`] says which batch is missing; and
    /// whatever `visit` returned.
    fn for_each_part(&mut self, visit: &mut PartVisitor<'_>) -> Result<(), OpenError>;

    /// The number of the last batch.
    fn last(&self) -> u64;

    /// Closes the log: everything written is durable, as far as its durability goes. Returns the last batch, for the
    /// witness to say so.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after a failed write: such a log is not closed cleanly.
    fn close(self: Box<Self>) -> Result<u64, StoreError>;
}

/// Reads parts of the log from any thread.
pub trait LogReader: Send + Sync {
    /// The bytes of part `part` (from 1) of batch `number`; `None` when that batch was deleted.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a checksum fails.
    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError>;
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The store's directory; the log is in `dir/log`.
    pub dir: PathBuf,
    /// Where the witness lives; best on another device. Default: `dir/witness`.
    pub witness_dir: Option<PathBuf>,
    /// How far a write goes before it counts.
    pub durability: Durability,
    /// The cluster the store must belong to, when known.
    pub cluster_id: Option<u128>,
    /// The node the store must belong to, when known.
    pub node_id: Option<u64>,
    /// The store's own id, when known.
    pub store_id: Option<u128>,
    /// The memtable of the `batch` family. Default 128 MiB.
    pub memtable_bytes: usize,
    /// Refuse a store whose witness is missing or damaged, instead of reporting it. Default false.
    pub require_witness: bool,
}

impl OpenOptions {
    /// The defaults for the store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            witness_dir: None,
            durability: Durability::Fsync,
            cluster_id: None,
            node_id: None,
            store_id: None,
            memtable_bytes: 128 << 20,
            require_witness: false,
        }
    }

    /// The log database's directory.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join(LOG_DIR)
    }

    /// The witness's directory.
    #[must_use]
    pub fn witness_dir(&self) -> PathBuf {
        self.witness_dir.clone().unwrap_or_else(|| self.dir.join(WITNESS_DIR))
    }
}

/// The log database's directory, below the store's.
pub const LOG_DIR: &str = "log";
/// The witness's directory, below the store's, unless another one is given.
pub const WITNESS_DIR: &str = "witness";
