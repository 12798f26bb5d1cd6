//! Making a store, so that a crash at any step leaves either no store or a whole one.
//!
//! The database is built in `log.new` and renamed to `log` when it is whole and synced; the rename is the moment at
//! which the directory becomes a store. The witness is written after it: a witness without a log therefore never
//! comes from a crash here, but from a log that was lost.
//!
//! Invariant: a directory in which `log` exists holds a whole store.
//! Deliberately absent: making a store over the remains of another one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::batch_log::FIRST_BATCH;
use super::files::{Files as _, SystemFiles};
use super::lock::StoreLock;
use super::recovery::{UNFINISHED_DIR, absent};
use super::{GroupRecords, Identity, OpenError, OpenOptions, WitnessWriter, rocks_log, witness};

/// Makes a new store.
pub(super) fn format(
    options: &OpenOptions,
    identity: &Identity,
    groups: &GroupRecords,
) -> Result<(), OpenError> {
    let dir = &options.dir;
    std::fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    let _lock = StoreLock::take(dir)?;
    let log_dir = options.log_dir();
    if log_dir.exists() {
        return Err(OpenError::Exists { dir: dir.clone() });
    }
    let witness_dir = options.witness_dir();
    match absent(&SystemFiles, options, &witness::read(&SystemFiles, &witness_dir)?) {
        OpenError::Missing { .. } => {}
        refusal => return Err(refusal),
    }
    let unfinished = dir.join(UNFINISHED_DIR);
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(OpenError::io(&unfinished))?;
    }
    rocks_log::create(&unfinished, options.memtable_bytes, identity, groups)?;
    SystemFiles.sync_dir(&unfinished).map_err(OpenError::io(&unfinished))?;
    std::fs::rename(&unfinished, &log_dir).map_err(OpenError::io(&log_dir))?;
    SystemFiles.sync_dir(dir).map_err(OpenError::io(dir))?;
    let synced = Arc::new(AtomicU64::new(FIRST_BATCH));
    let store_id = identity.store_id;
    let writer = WitnessWriter::start(&SystemFiles, &witness_dir, store_id, None, synced)?;
    writer.finish(FIRST_BATCH).map_err(|error| OpenError::Database(error.to_string()))
}
