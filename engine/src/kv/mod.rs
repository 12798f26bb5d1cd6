//! The key-value layer: what a committed command does, and how its result is read.
//!
//! | file | what |
//! |---|---|
//! | `command` | the bytes of a command: puts and deletes that are applied together |
//! | `overlay` | applied operations that are not in the state database yet |
//! | `record` | how far a group is applied, in the same batch as what was applied |
//! | `machine` | [`KvMachine`]: committed blocks go into the overlay of their shard |
//! | `writer` | [`StateWriter`]: sealed overlays go into the database, sorted, one batch each |
//! | `view` | [`KvView`]: reads through overlays and database, from any thread |
//!
//! The life of an applied put: `KvMachine::apply` copies it into the shard's active overlay, where readers see
//! it at once. A full overlay is sealed and queued; the state writer sorts it and writes it, with the applied
//! records of its groups, as one batch without a write-ahead log; then readers find it in the database and the
//! overlay is reused. A flush makes the database durable, and only that lets the log be compacted.
//!
//! Deliberately absent: who may read. The engine gives read permits; a view answers from what is applied.

pub mod command;
pub(crate) mod overlay;
pub mod record;

mod layers;
mod machine;
mod view;
pub(crate) mod writer;

pub use command::{Command, CommandError, Op, encode_batch, encode_delete, encode_put};
pub use machine::{ANSWER_BAD_COMMAND, KvMachine};
pub use overlay::{OVERLAY_BYTES_MAX, OVERLAY_KEYS_MAX};
pub use view::{KvView, SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ENTRIES_MAX, ScanPage, ShardView};
pub use writer::{StateWriter, StateWriterHandle, state_writer};
