//! What applying a put costs: into the overlay, and all the way into the state database.
//!
//! `apply` is the worker's part: a block of 32 puts (16 B keys, 100 B values) into the overlay. `through` is the
//! same with the state writer behind it: sorting, the sorted batch, the memtable and its flushes, in wall time
//! while the writer's thread runs beside. `get` reads a key that is still in an overlay. The small machines'
//! applies of 16 B entries are here too.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kontiki::kv::{KvMachine, encode_put, state_writer};
use kontiki::machine::{Answers, MachineContext, MemoryMachine, NullMachine, StateMachine, Wake};
use kontiki::store::rocks_state::{StateDb, StateOptions};
use kontiki_net::{Block, BlockKind, BlockMeta, Run, encode_block};
use kontiki_raft::{Index, Term};

const GROUPS: u64 = 256;
const PUTS: u64 = 32;

/// Makes blocks for groups in turn, with keys that follow no order within a group.
struct Blocks {
    round: u64,
    random: u64,
    bytes: Vec<u8>,
    lengths: Vec<u8>,
    payload: Vec<u8>,
}

impl Blocks {
    fn new() -> Self {
        let (bytes, lengths, payload) = (Vec::new(), Vec::new(), Vec::new());
        Self { round: 0, random: 0x9e37_79b9_7f4a_7c15, bytes, lengths, payload }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn next(&mut self, count: u64, mut entry: impl FnMut(&mut Vec<u8>, u64)) -> Block<'_> {
        let group = self.round % GROUPS;
        let first = self.round / GROUPS * count + 1;
        self.round += 1;
        self.lengths.clear();
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        for _ in 0..count {
            let at = payload.len();
            let random = self.random();
            entry(&mut payload, random);
            let len = u32::try_from(payload.len() - at).expect("small entries");
            self.lengths.extend_from_slice(&len.to_le_bytes());
        }
        self.payload = payload;
        self.bytes.clear();
        let kind = BlockKind::Command;
        let meta = BlockMeta { group, first_index: Index(first), term: Term(1), kind };
        let run = Run { lengths: &self.lengths, payload: &self.payload };
        encode_block(&mut self.bytes, meta, std::iter::once(run));
        Block::parse(&self.bytes).expect("just encoded").0
    }

    fn puts(&mut self) -> Block<'_> {
        let group = u8::try_from(self.round % GROUPS).expect("256 groups");
        self.next(PUTS, |payload, random| {
            let mut key = [group; 16];
            key[1..9].copy_from_slice(&random.to_le_bytes());
            encode_put(payload, &key, &[7; 100]).expect("within limits");
        })
    }
}

fn context(dir: &Path, wake: Wake) -> MachineContext {
    let groups: Vec<u64> = (0..GROUPS).collect();
    let dir = dir.to_path_buf();
    MachineContext { shard: 0, shards: 1, store_id: 1, dir, groups: groups.into(), wake }
}

fn kv(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = StateOptions::new(dir.path().join("state"), 1);
    let state = Arc::new(StateDb::open(&options).expect("a new database"));
    let (handle, writer) = state_writer(state);
    let bench = std::thread::current();
    let wake = Wake::new(move || bench.unpark());
    let mut machine = KvMachine::open(&context(dir.path(), wake), handle).expect("a new machine");
    let view = machine.view();
    let thread = std::thread::Builder::new().name("state-writer".into());
    let writer = thread.spawn(move || writer.run()).expect("a thread");
    let mut answers = Answers::default();
    let mut blocks = Blocks::new();
    let mut group = c.benchmark_group("kv");
    group.throughput(Throughput::Elements(PUTS));
    group.bench_function("encode", |b| b.iter(|| black_box(Blocks::new().puts().count())));
    group.bench_function("encode and through", |b| {
        b.iter(|| {
            while !machine.may_apply() {
                std::thread::park();
            }
            machine.apply(&blocks.puts(), &mut answers);
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |b| {
        let key = [0; 16];
        b.iter(|| view.get(black_box(&key)).expect("readable"));
    });
    group.finish();
    machine.flush().expect("a job")().expect("flushed");
    drop(machine);
    writer.join().expect("no panic").expect("written");
}

fn small_machines(c: &mut Criterion) {
    const ENTRIES: u64 = 256;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ctx = context(dir.path(), Wake::new(|| ()));
    let null = NullMachine::open(ctx.clone()).expect("a new machine");
    let memory = MemoryMachine::open(ctx).expect("a new machine");
    let machines: [(&str, Box<dyn StateMachine>); 2] =
        [("null", Box::new(null)), ("memory", Box::new(memory))];
    let mut group = c.benchmark_group("apply 16 B entries");
    group.throughput(Throughput::Elements(ENTRIES));
    for (name, mut machine) in machines {
        let mut answers = Answers::default();
        let mut blocks = Blocks::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                let block = blocks.next(ENTRIES, |payload, random| {
                    payload.extend_from_slice(&(random % 512).to_le_bytes());
                    payload.extend_from_slice(&random.to_le_bytes());
                });
                machine.apply(&block, &mut answers);
                machine.end_round();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kv, small_machines);
criterion_main!(benches);
