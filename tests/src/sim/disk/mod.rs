//! The disk of a node, down to pages: the drive, and the log's database on it.
//!
//! The engine's own code decides everything above: it numbers and chains batches, scans the log files past bad places, reads
//! and writes the witness, cuts torn tails and refuses what has lost something. Below it are models. That they behave as
//! RocksDB on a real file system does is itself tested, by `tests/disk_model.rs`.
//!
//! | file | what |
//! |---|---|
//! | `pages` | a file: what is seen, what is durable, what a power cut leaves |
//! | `drive` | names and their journal, syncs that take time, errors, damage |
//! | `wal` | RocksDB's log format: writing it, and reading it as RocksDB does |
//! | `table`, `manifest` | tables, and which of them are in use |
//! | `model` | the database: memtables, flushes in steps, recovery |
//!
//! Deliberately absent: compaction, and the bytes of tables.

pub mod drive;
pub mod manifest;
pub mod model;
pub mod pages;
pub mod table;
pub mod wal;

pub use drive::Drive;
pub use model::{ModelDb, ModelStore};
