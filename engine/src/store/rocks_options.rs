//! How RocksDB is set up for the log, and why. What is pinned here is part of the durability argument.
//!
//! Pinned, because recovery relies on it: log files are never recycled; checks are paranoid; nothing is written
//! unordered or held back in RocksDB's own buffer; recovery is point-in-time; a background error is final.
//!
//! The `batch` family is append-only with ascending keys, and dead batches leave by whole files. So each flush
//! makes one file, the file moves down a level without being rewritten, and nothing is ever compacted. The log
//! starts its own flushes (see `rocks_log`), before a memtable would be full.
//!
//! Deliberately absent: compression and bloom filters. A round's blocks hardly compress, and no key is ever asked
//! for that does not exist.

use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, ColumnFamilyDescriptor, DBCompactionStyle,
    DBCompressionType, DBRecoveryMode, InfoLogger, LogLevel, Options,
};

use super::OpenError;
use super::database::Family;

/// The families, in the order in which they are made; RocksDB insists on the first one.
pub(super) const FAMILIES: [&str; 4] =
    ["default", Family::Batch.name(), Family::Group.name(), Family::Store.name()];

/// How a database is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A new one.
    Create,
    /// An existing one, to write.
    Write,
    /// An existing one, perhaps another process's; leaves no trace.
    ReadOnly,
    /// As `ReadOnly`, without what only the log files hold: RocksDB is kept from reading them, since its reader
    /// does not end at a record that says of itself, wrongly, that it is in a recycled file.
    Tables,
}

impl Mode {
    /// Whether nothing may be written.
    pub(super) const fn reads_only(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Tables)
    }
}

/// The options of the whole database.
pub(super) fn database(mode: Mode, memtable_bytes: usize) -> Result<Options, OpenError> {
    // RocksDB must not get over an error by itself: after a failed write the log is closed. This goes first, since
    // the options made from a text keep nothing alive that was set before.
    let mut options = Options::default()
        .get_options_from_string("max_bgerror_resume_count=0")
        .map_err(|error| OpenError::Database(error.into_string()))?;
    options.create_if_missing(mode == Mode::Create);
    options.create_missing_column_families(mode == Mode::Create);
    options.set_error_if_exists(mode == Mode::Create);

    options.set_recycle_log_file_num(0);
    options.set_paranoid_checks(true);
    options.set_manual_wal_flush(false);
    options.set_unordered_write(false);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);

    // One thread writes: no write queue to speak of, no concurrent inserts.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_enable_pipelined_write(false);
    options.set_max_background_jobs(2);
    options.set_max_open_files(-1);
    options.set_max_file_opening_threads(1);
    options.set_avoid_unnecessary_blocking_io(true);

    // A log file lives until the families have been flushed, which the log does for all at once. This bound is a
    // second line only.
    options.set_max_total_wal_size(4 * memtable_bytes as u64);
    // Flushed files go to the disk in small steps, so that they do not stand in a synced write's way.
    options.set_bytes_per_sync(1 << 20);
    options.set_wal_bytes_per_sync(0);

    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    if mode.reads_only() {
        // Otherwise even a reader renames the owner's info log.
        options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
    }
    Ok(options)
}

/// The families with their options.
pub(super) fn families(names: &[&str], memtable_bytes: usize) -> Vec<ColumnFamilyDescriptor> {
    names
        .iter()
        .map(|&name| {
            let options =
                if name == Family::Batch.name() { batch(memtable_bytes) } else { small() };
            ColumnFamilyDescriptor::new(name, options)
        })
        .collect()
}

fn batch(memtable_bytes: usize) -> Options {
    let mut table = table();
    table.set_block_size(64 << 10);
    table.disable_cache();
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::None);
    // Half as much again as the log lets it have: the flushes are the log's.
    options.set_write_buffer_size(memtable_bytes + memtable_bytes / 2);
    options.set_max_write_buffer_number(4);
    options.set_min_write_buffer_number_to_merge(1);
    // One file per flush; each moves to level 1 as it is, where `delete_file_in_range` can reach it.
    options.set_compaction_style(DBCompactionStyle::Level);
    options.set_num_levels(2);
    options.set_level_zero_file_num_compaction_trigger(1);
    options.set_level_zero_slowdown_writes_trigger(1 << 20);
    options.set_level_zero_stop_writes_trigger(1 << 20);
    options.set_target_file_size_base(u64::MAX >> 8);
    options.set_max_bytes_for_level_base(u64::MAX >> 8);
    options.set_max_compaction_bytes(u64::MAX >> 8);
    options.set_soft_pending_compaction_bytes_limit(0);
    options.set_hard_pending_compaction_bytes_limit(0);
    options.set_periodic_compaction_seconds(0);
    options.set_ttl(0);
    options
}

fn small() -> Options {
    let mut table = table();
    table.set_block_cache(&Cache::new_lru_cache(1 << 20));
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(16 << 20);
    options.set_periodic_compaction_seconds(0);
    options.set_ttl(0);
    options
}

/// Checksums and format of the tables are those that `table_scan` reads.
fn table() -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_format_version(5);
    table.set_checksum_type(ChecksumType::CRC32c);
    table
}
