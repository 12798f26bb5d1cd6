//! Opening a store: what may be believed, in which order, and what is refused.
//!
//! Opening goes from the outside in, and writes nothing of ours before all is checked: lock, witness, manifest, the
//! scan of the log files, format record and identity (read-only), then the database's own recovery, then the audit, which
//! is [`LogStore::for_each_part`](super::LogStore::for_each_part). Only behind the audit is the boot epoch raised.
//!
//! Invariant: nothing is cut of which anybody says that it was synced.
//! Deliberately absent: RocksDB. These decisions are the same over the simulator's disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::batch_log::BatchLog;
use super::database::{Backend, Database as _, Family, Reads as _};
use super::files::Files;
use super::wal_scan::{BadPlace, Verdict, WalScan};
use super::{
    Amnesia, GroupRecords, Identity, OpenError, OpenOptions, SyncedBy, WitnessState, WitnessWriter,
    manifest, wal_scan, witness,
};

/// The state database's directory: with state in it, a directory without a log is a damaged store, not a new one.
const STATE_DIR: &str = "state";
/// The unfinished log of a store that is being made.
pub(super) const UNFINISHED_DIR: &str = "log.new";

/// A store that has been opened.
#[derive(Debug)]
pub struct Recovered<L> {
    /// The log. Call [`LogStore::for_each_part`](super::LogStore::for_each_part) next: it is the audit.
    pub log: L,
    /// Who the store is; the boot epoch is that of this opening.
    pub identity: Identity,
    /// The groups' records, ascending.
    pub groups: GroupRecords,
    /// Whether the store was closed cleanly.
    pub clean_shutdown: bool,
    /// What the witness was found to be. A missing or damaged one is worth a warning; a new one was written.
    pub witness: WitnessState,
    /// The unsynced tail that was cut, if there was one.
    pub torn: Option<BadPlace>,
}

/// Opens the store that `options` describes, where `backend` has it.
///
/// # Errors
/// [`OpenError::Missing`] when there is none (or a half-made one); [`OpenError::Locked`], [`OpenError::Foreign`],
/// [`OpenError::TooNew`]; [`OpenError::Corrupt`] and [`OpenError::Amnesiac`] when synced data is damaged or lost.
pub fn open<B: Backend>(
    options: &OpenOptions,
    backend: &B,
) -> Result<Recovered<BatchLog<B::Database>>, OpenError> {
    let files = backend.files();
    let witness_dir = options.witness_dir();
    let witness = witness::read(files, &witness_dir)?;
    if !files.is_dir(&options.log_dir()) {
        return Err(absent(files, options, &witness));
    }
    let lock = backend.lock(options)?;
    check_witness(options, &witness)?;
    let before = examine(options, backend, &witness)?;
    let database = backend.recover(options)?;
    database.check_tables()?;
    let (last, last_hash) = database.last_header()?;
    if last.number < before.last {
        let (found, synced, by) = (last.number, before.last, SyncedBy::Log);
        return Err(OpenError::Amnesiac(Amnesia::Short { found, synced, by }));
    }
    let format = database.format_record()?;
    let groups = database.groups()?;
    let boot_epoch = format.identity.boot_epoch + 1;
    let identity = Identity { boot_epoch, ..format.identity };
    // Recovery has flushed everything into synced files.
    let synced = Arc::new(AtomicU64::new(last.number));
    let testimony = witness.testimony();
    let counter = Arc::clone(&synced);
    let writer = WitnessWriter::start(files, &witness_dir, identity.store_id, testimony, counter)?;
    let log = BatchLog::new(options, database, lock, identity, (last, last_hash), synced, writer)
        .map_err(OpenError::Database)?;
    Ok(Recovered {
        log,
        identity,
        groups,
        clean_shutdown: testimony.is_some_and(|testimony| testimony.clean),
        witness,
        torn: before.torn,
    })
}

/// What is known of a store before the database may recover it.
struct Before {
    /// The last batch that recovery must come to.
    last: u64,
    torn: Option<BadPlace>,
}

fn check_witness(options: &OpenOptions, witness: &WitnessState) -> Result<(), OpenError> {
    let why = match witness {
        WitnessState::Damaged { why } if options.require_witness => why.to_string(),
        WitnessState::Missing if options.require_witness => "it is missing".to_owned(),
        _ => return Ok(()),
    };
    let file = options.witness_dir().join(witness::WITNESS_FILE);
    Err(OpenError::WitnessUnusable { file, why })
}

/// Everything that can be known without changing a byte; then a torn tail is cut.
fn examine<B: Backend>(
    options: &OpenOptions,
    backend: &B,
    witness: &WitnessState,
) -> Result<Before, OpenError> {
    let dir = options.log_dir();
    let files = backend.files();
    let testimony = witness.testimony();
    manifest::check(files, &dir, testimony.is_some_and(|found| found.clean))?;
    let scan = wal_scan::scan(files, &dir, None)?;
    if scan.files.is_empty() {
        return Err(OpenError::Amnesiac(Amnesia::NoWal { dir }));
    }
    let (store_id, last) = preflight(options, backend, &scan)?;
    for (what, found) in [
        ("store (in its witness)", testimony.map(|found| found.store_id)),
        ("store (in its log files)", scan.store_id),
    ] {
        if let Some(found) = found.filter(|&found| found != store_id) {
            return Err(OpenError::Foreign { what, expected: store_id, found });
        }
    }
    let witnessed = testimony.map_or(0, |found| found.synced);
    match scan.judge(last, witnessed) {
        Verdict::Whole => Ok(Before { last, torn: None }),
        Verdict::Torn(bad) => {
            cut_tail(files, &scan, &bad)?;
            Ok(Before { last, torn: Some(bad) })
        }
        Verdict::Damaged(bad) => {
            Err(OpenError::Corrupt { file: bad.file, offset: bad.offset, why: bad.why.to_string() })
        }
        Verdict::Lost(amnesia) => Err(OpenError::Amnesiac(amnesia)),
    }
}

/// Reads the format record without recovering anything, checks that the store is the expected one, and finds the
/// last batch before the first bad place. The batches are only opened when the log files hold none: then there is
/// nothing in them to replay, and it is cheap.
fn preflight<B: Backend>(
    options: &OpenOptions,
    backend: &B,
    scan: &WalScan,
) -> Result<(u128, u64), OpenError> {
    let mut families = vec![Family::Store];
    if scan.last.is_none() {
        families.push(Family::Batch);
    }
    let view = backend.view(options, scan.bad.is_none(), &families)?;
    let format = view.format_record()?;
    format.expect_supported(true)?;
    format.identity.expect(options.cluster_id, options.node_id, options.store_id)?;
    let last = match scan.last {
        Some(last) => last,
        None => view.last_header()?.0.number,
    };
    Ok((format.identity.store_id, last))
}

/// RocksDB cuts a torn tail by itself, except that it may take up again what lies behind zeroes or in a later file,
/// and that its reader never comes to an end at some tails (see `rocks_options::Mode::Tables`). So we cut first.
fn cut_tail(files: &dyn Files, scan: &WalScan, bad: &BadPlace) -> Result<(), OpenError> {
    let from = scan.files.iter().position(|file| *file == bad.file).unwrap_or(scan.files.len());
    let keep = std::iter::once(bad.record).chain(std::iter::repeat(0));
    for (path, keep) in scan.files[from..].iter().zip(keep) {
        let cut = files.open_to_write(path).and_then(|file| {
            file.set_len(keep)?;
            file.sync_all()
        });
        cut.map_err(OpenError::io(path))?;
    }
    Ok(())
}

/// What it means that the store's directory has no log.
pub(super) fn absent(
    files: &dyn Files,
    options: &OpenOptions,
    witness: &WitnessState,
) -> OpenError {
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
    let Ok(entries) = files.names(&dir) else {
        return OpenError::Missing { dir };
    };
    if files.names(&dir.join(STATE_DIR)).is_ok_and(|names| !names.is_empty()) {
        let why = "it has a state database and no log";
        return OpenError::NotAStore { dir, why };
    }
    let ours =
        [super::lock::LOCK_FILE, UNFINISHED_DIR, STATE_DIR, super::WITNESS_DIR, super::LOG_DIR];
    if entries.iter().any(|entry| !ours.contains(&entry.as_str())) {
        return OpenError::NotAStore { dir, why: "it has other files and no log" };
    }
    OpenError::Missing { dir }
}
