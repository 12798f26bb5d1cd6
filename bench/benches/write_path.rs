//! What the packed round costs against one RocksDB key per group and round, and one key per entry.
//!
//! Each figure is one round of 4,096 entries of 128 B, spread over as many groups as its name says (with 10,000
//! groups, each round touches 4,096 of them, in turn). All three ways write the same bytes in one `WriteBatch`
//! with the write-ahead log on and no sync. What is measured is the CPU time of the whole process, RocksDB's
//! background threads included, so that neither the disk nor the neighbours show. The rivals delete nothing; the
//! packed log pays for deleting what is dead.

use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kontiki::Durability;
use kontiki::store::{
    GroupRecords, Identity, LogBatch, LogStore as _, OpenOptions, Part, RocksLog,
};
use kontiki_net::{BlockKind, BlockMeta, Run, encode_block};
use kontiki_raft::{Index, Term};
use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};

const ENTRIES: usize = 4096;
const ENTRY_BYTES: usize = 128;
const MEMTABLE_BYTES: usize = 128 << 20;
const RETAINED_ROUNDS: u64 = 64;

/// The CPU time of the process, all its threads together.
struct ProcessCpu;

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanos)
}

impl Measurement for ProcessCpu {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu_time()
    }

    fn end(&self, start: Duration) -> Duration {
        cpu_time() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_secs_f64() * 1e9
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// One round: its blocks, and where each group's block and each entry lies.
struct Round {
    bytes: Arc<Vec<u8>>,
    blocks: Vec<std::ops::Range<usize>>,
    entries_per_group: usize,
}

fn round(groups: usize) -> Round {
    let active = groups.min(ENTRIES);
    let entries_per_group = ENTRIES / active;
    let length = u32::try_from(ENTRY_BYTES).expect("small").to_le_bytes();
    let lengths = length.repeat(entries_per_group);
    let payload = vec![0xa5; ENTRY_BYTES * entries_per_group];
    let mut bytes = Vec::new();
    let blocks = (0..active as u64)
        .map(|group| {
            let kind = BlockKind::Command;
            let meta = BlockMeta { group, first_index: Index(1), term: Term(1), kind };
            let run = Run { lengths: &lengths, payload: &payload };
            encode_block(&mut bytes, meta, std::iter::once(run))
        })
        .collect();
    Round { bytes: Arc::new(bytes), blocks, entries_per_group }
}

/// The engine's own log.
struct Packed {
    log: RocksLog,
    _dir: tempfile::TempDir,
}

impl Packed {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = OpenOptions::new(dir.path().join("store"));
        options.durability = Durability::Os;
        options.memtable_bytes = MEMTABLE_BYTES;
        let identity = Identity::new(1, 1).expect("random bytes");
        RocksLog::format(&options, &identity, &GroupRecords::default()).expect("a new store");
        let log = RocksLog::open(&options).expect("a whole store").log;
        Self { log, _dir: dir }
    }

    fn write(&mut self, round: &Round) {
        let blocks = u32::try_from(round.blocks.len()).expect("few blocks");
        let parts = vec![Part { bytes: Arc::clone(&round.bytes), blocks }];
        let (_, last) = self.log.numbers();
        let delete_below = last.checked_sub(RETAINED_ROUNDS);
        let batch = LogBatch { parts, delete_below, ..LogBatch::default() };
        self.log.write(&batch).expect("written");
    }
}

/// A log with keys of group and index, as most engines on RocksDB have it.
struct Keyed {
    db: DB,
    options: WriteOptions,
    groups: u64,
    next_group: u64,
    round: u64,
    _dir: tempfile::TempDir,
}

impl Keyed {
    fn new(groups: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_compression_type(DBCompressionType::None);
        options.set_allow_concurrent_memtable_write(false);
        options.set_max_background_jobs(2);
        let db = DB::open(&options, dir.path()).expect("a new database");
        let options = WriteOptions::default();
        Self { db, options, groups: groups as u64, next_group: 0, round: 0, _dir: dir }
    }

    fn key(group: u64, index: u64) -> [u8; 16] {
        #[expect(clippy::big_endian_bytes, reason = "keys sort by group and index")]
        let (group, index) = (group.to_be_bytes(), index.to_be_bytes());
        let mut key = [0; 16];
        key[..8].copy_from_slice(&group);
        key[8..].copy_from_slice(&index);
        key
    }

    fn step(&mut self) -> u64 {
        let group = self.next_group;
        self.next_group = (group + 1) % self.groups;
        group
    }

    fn write_blocks(&mut self, round: &Round) {
        let mut batch =
            WriteBatch::with_capacity_bytes(round.bytes.len() + 32 * round.blocks.len());
        self.round += 1;
        for block in &round.blocks {
            let key = Self::key(self.step(), self.round);
            batch.put(key, &round.bytes[block.clone()]);
        }
        self.db.write_opt(batch, &self.options).expect("written");
    }

    fn write_entries(&mut self, round: &Round) {
        let mut batch = WriteBatch::with_capacity_bytes(round.bytes.len() + 32 * ENTRIES);
        let first = self.round * round.entries_per_group as u64;
        self.round += 1;
        for block in &round.blocks {
            let group = self.step();
            for (entry, index) in (0..round.entries_per_group).zip(first..) {
                let end = block.end - entry * ENTRY_BYTES;
                batch.put(Self::key(group, index), &round.bytes[end - ENTRY_BYTES..end]);
            }
        }
        self.db.write_opt(batch, &self.options).expect("written");
    }
}

fn write_path(criterion: &mut Criterion<ProcessCpu>) {
    let mut bench = criterion.benchmark_group("write_path");
    bench.throughput(Throughput::Elements(ENTRIES as u64));
    bench.sample_size(20).warm_up_time(Duration::from_millis(500));
    bench.measurement_time(Duration::from_secs(2));
    for groups in [1, 100, 1_000, 10_000] {
        let round = round(groups);
        bench.bench_function(BenchmarkId::new("packed_round", groups), |bencher| {
            let mut log = Packed::new();
            bencher.iter(|| log.write(&round));
        });
        bench.bench_function(BenchmarkId::new("key_per_group_and_round", groups), |bencher| {
            let mut log = Keyed::new(groups);
            bencher.iter(|| log.write_blocks(&round));
        });
        bench.bench_function(BenchmarkId::new("key_per_entry", groups), |bencher| {
            let mut log = Keyed::new(groups);
            bencher.iter(|| log.write_entries(&round));
        });
    }
    bench.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessCpu);
    targets = write_path
}
criterion_main!(benches);
