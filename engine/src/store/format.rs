//! Making a store, so that a crash at any step leaves either no store or a whole one.
//!
//! The database is built in `log.new` and renamed to `log` when it is whole and synced; the rename is the moment at
//! which the directory becomes a store. The witness is written after it: a witness without a log therefore never
//! comes from a crash here, but from a log that was lost.
//!
//! Invariant: a directory in which `log` exists holds a whole store.
//! Deliberately absent: making a store over the remains of another one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rocksdb::{FlushOptions, WriteBatch, WriteOptions};

use super::header::{self, BatchHeader};
use super::identity::{FormatRecord, encode_epoch};
use super::lock::{LOCK_FILE, StoreLock};
use super::rocks_db::{Database, EPOCH_KEY, FORMAT_KEY};
use super::rocks_options::{BATCH, GROUP, Mode, STORE};
use super::{
    Amnesia, GroupRecord, Identity, LOG_DIR, OpenError, OpenOptions, WITNESS_DIR, WitnessState,
    WitnessWriter, witness,
};

/// The unfinished log of a store that is being made.
const UNFINISHED_DIR: &str = "log.new";
/// The state database's directory: with state in it, a directory without a log is a damaged store, not a new one.
const STATE_DIR: &str = "state";
/// The first batch: the format record and the first groups.
const FIRST_BATCH: u64 = 1;

/// Makes a new store.
pub(super) fn format(
    options: &OpenOptions,
    identity: &Identity,
    groups: &[(u64, GroupRecord)],
) -> Result<(), OpenError> {
    let dir = &options.dir;
    std::fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    let _lock = StoreLock::take(dir)?;
    let log_dir = options.log_dir();
    if log_dir.exists() {
        return Err(OpenError::Exists { dir: dir.clone() });
    }
    let witness_dir = options.witness_dir();
    match absent(options, &witness::read(&witness_dir)?) {
        OpenError::Missing { .. } => {}
        refusal => return Err(refusal),
    }
    let unfinished = dir.join(UNFINISHED_DIR);
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(OpenError::io(&unfinished))?;
    }
    write_first_batch(&unfinished, options.memtable_bytes, identity, groups)?;
    sync_dir(&unfinished)?;
    std::fs::rename(&unfinished, &log_dir).map_err(OpenError::io(&log_dir))?;
    sync_dir(dir)?;
    let synced = Arc::new(AtomicU64::new(FIRST_BATCH));
    let writer = WitnessWriter::start(&witness_dir, identity.store_id, None, synced)?;
    writer.finish(FIRST_BATCH).map_err(|error| OpenError::Database(error.to_string()))
}

fn write_first_batch(
    dir: &Path,
    memtable_bytes: usize,
    identity: &Identity,
    groups: &[(u64, GroupRecord)],
) -> Result<(), OpenError> {
    let database = Database::open(dir, Mode::Create, memtable_bytes)?;
    let header = BatchHeader {
        store_id: identity.store_id,
        boot_epoch: identity.boot_epoch,
        number: FIRST_BATCH,
        previous: 0,
        synced: 0,
        first_live: FIRST_BATCH,
        blocks: 0,
        parts: Vec::new(),
    };
    let mut write = WriteBatch::default();
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    write.put_cf(database.family(BATCH), header::batch_key(FIRST_BATCH, 0), &bytes);
    let store = database.family(STORE);
    write.put_cf(store, FORMAT_KEY, FormatRecord::new(*identity).encode());
    write.put_cf(store, EPOCH_KEY, encode_epoch(identity.boot_epoch));
    for (group, record) in groups {
        bytes.clear();
        record.encode(&mut bytes);
        write.put_cf(database.family(GROUP), header::group_key(*group), &bytes);
    }
    let mut options = WriteOptions::default();
    options.set_sync(true);
    let families = [BATCH, GROUP, STORE].map(|name| database.family(name));
    database
        .db
        .write_opt(write, &options)
        .and_then(|()| database.db.flush_cfs_opt(&families, &FlushOptions::default()))
        .map_err(|error| OpenError::Database(error.into_string()))
}

/// What it means that the store's directory has no log.
pub(super) fn absent(options: &OpenOptions, witness: &WitnessState) -> OpenError {
    let dir = options.dir.clone();
    match witness {
        WitnessState::Present(found) => {
            return OpenError::Amnesiac(Amnesia::LogMissing { synced: found.synced });
        }
        WitnessState::Damaged { why } => {
            let file = options.witness_dir().join(witness::WITNESS_FILE);
            return OpenError::WitnessUnusable { file, why: format!("{why}; and the log is gone") };
        }
        WitnessState::Missing => {}
    }
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return OpenError::Missing { dir };
    };
    if has_entries(&dir.join(STATE_DIR)) {
        let why = "it has a state database and no log";
        return OpenError::NotAStore { dir, why };
    }
    let ours = [LOCK_FILE, UNFINISHED_DIR, STATE_DIR, WITNESS_DIR, LOG_DIR];
    let foreign =
        entries.flatten().any(|entry| !ours.iter().any(|&name| entry.file_name() == name));
    if foreign {
        return OpenError::NotAStore { dir, why: "it has other files and no log" };
    }
    OpenError::Missing { dir }
}

fn has_entries(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::io(dir))
}
