//! The machine against crashes, restarts and malformed commands, on a real state database.

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use proptest::prelude::*;

use super::*;
use crate::kv::layers::SEALED_MAX;
use crate::kv::overlay::OVERLAY_KEYS_MAX;
use crate::kv::{KvView, StateWriter, encode_batch, encode_delete, encode_put, state_writer};
use crate::machine::Wake;
use crate::machine::testing::{apply, context, crash_image};
use crate::store::rocks_state::{StateDb, StateOptions};

fn database(dir: &Path) -> Arc<StateDb> {
    let options = StateOptions::new(dir.join("state"), 77);
    Arc::new(StateDb::open(&StateOptions { memtable_bytes: 4 << 20, ..options }).unwrap())
}

/// What a crash at this moment would leave of the database.
fn crashed(dir: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    crash_image(&dir.join("state"), &image.path().join("state"));
    image
}

/// A store of one shard whose writer runs.
struct Store {
    machine: Option<KvMachine>,
    view: KvView,
    writer: JoinHandle<Result<(), MachineError>>,
}

fn start(writer: StateWriter) -> JoinHandle<Result<(), MachineError>> {
    std::thread::Builder::new().name("state-writer".into()).spawn(|| writer.run()).unwrap()
}

impl Store {
    fn open(dir: &Path, groups: &[u64]) -> Self {
        let (handle, writer) = state_writer(database(dir));
        let machine = KvMachine::open(&context(dir, groups), handle).unwrap();
        let view = KvView::new(vec![machine.view()]);
        Self { machine: Some(machine), view, writer: start(writer) }
    }

    fn machine(&mut self) -> &mut KvMachine {
        self.machine.as_mut().unwrap()
    }

    fn flush(&mut self) {
        self.machine().flush().unwrap()().unwrap();
    }

    fn close(mut self) {
        self.machine = None;
        self.writer.join().unwrap().unwrap();
    }
}

fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut command = Vec::new();
    encode_put(&mut command, key, value).unwrap();
    command
}

fn delete(key: &[u8]) -> Vec<u8> {
    let mut command = Vec::new();
    encode_delete(&mut command, key).unwrap();
    command
}

/// Applies commands as one block behind what the group has, and returns the answers.
fn commit(machine: &mut KvMachine, group: u64, commands: &[Vec<u8>]) -> Answers {
    let next = machine.groups.entry(group).applied.next();
    let commands: Vec<&[u8]> = commands.iter().map(Vec::as_slice).collect();
    apply(machine, group, next.0, &commands)
}

#[test]
fn what_is_applied_is_read_at_once_and_after_every_stage() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &[1, 2]);
    commit(store.machine(), 1, &[put(b"a", b"1"), put(b"b", b"1")]);
    commit(store.machine(), 2, &[put(b"x", b"1")]);
    assert_eq!(store.view.get(0, b"a").unwrap().unwrap(), b"1");
    store.flush();
    assert_eq!(store.view.get(0, b"a").unwrap().unwrap(), b"1");
    commit(store.machine(), 1, &[put(b"a", b"2"), delete(b"b"), delete(b"none")]);
    for _ in 0..2 {
        assert_eq!(store.view.get(0, b"a").unwrap().unwrap(), b"2");
        assert_eq!(
            store.view.get(0, b"b").unwrap(),
            None,
            "an overlaid deletion hides the database"
        );
        assert_eq!(store.view.get(0, b"x").unwrap().unwrap(), b"1");
        assert_eq!(store.view.get(0, b"none").unwrap(), None);
        store.flush();
    }
    store.close();
}

#[test]
fn a_batch_is_applied_in_order_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &[1]);
    let mut batch = Vec::new();
    let ops = [
        Op::Put { key: b"a", value: b"1" },
        Op::Delete { key: b"a" },
        Op::Put { key: b"b", value: b"" },
    ];
    encode_batch(&mut batch, ops).unwrap();
    let mut torn = batch.clone();
    torn.truncate(batch.len() - 1);
    let answers = commit(store.machine(), 1, &[torn, put(b"c", b"1"), batch]);
    assert_eq!(answers.get(0), [ANSWER_BAD_COMMAND]);
    assert_eq!(answers.get(1), b"");
    assert_eq!(answers.get(2), b"");
    assert_eq!(store.view.get(0, b"a").unwrap(), None);
    assert_eq!(store.view.get(0, b"b").unwrap().unwrap(), b"");
    assert_eq!(store.view.get(0, b"c").unwrap().unwrap(), b"1");
    store.close();
}

/// Three hundred commands that are none, and the same ones between good commands on two replicas.
#[test]
fn malformed_commands_are_answered_alike_everywhere_and_change_nothing() {
    let mut batch = Vec::new();
    let ops = [Op::Put { key: b"key-one", value: b"value" }, Op::Delete { key: b"key-two" }];
    encode_batch(&mut batch, ops).unwrap();
    let mut bad: Vec<Vec<u8>> =
        (0..batch.len()).filter(|&n| n != 20).map(|n| batch[..n].to_vec()).collect();
    let mut random = 1u64;
    while bad.len() < 300 {
        random = crate::machine::fold::hash_u64(random, 3);
        let mut other = batch.clone();
        let at = random as usize % other.len();
        other[at] ^= (random >> 32) as u8;
        other.truncate(other.len() - (random >> 40) as usize % 3);
        other.resize(other.len() + (random >> 48) as usize % 3, 0xfe);
        if Command::parse(&other).is_err() {
            bad.push(other);
        }
    }
    bad[7] = put(b"long", &[0; 100]);
    bad[7][2..4].copy_from_slice(&u16::MAX.to_le_bytes());
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut stores = dirs.each_ref().map(|dir| Store::open(dir.path(), &[1]));
    for store in &mut stores {
        let answers = commit(store.machine(), 1, &bad);
        assert!((0..300).all(|entry| answers.get(entry) == [ANSWER_BAD_COMMAND]));
        assert_eq!(store.view.scan(b"", None, 10).unwrap().entries, []);
        commit(store.machine(), 1, &[batch.clone()]);
    }
    assert_eq!(stores[0].machine().digest(1), stores[1].machine().digest(1));
    assert_ne!(stores[0].machine().digest(1), 0);
    for store in stores {
        store.close();
    }
}

#[test]
fn positions_and_digests_come_back_as_of_the_last_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &[1, 2, 3]);
    commit(store.machine(), 1, &[put(b"a", b"1"), put(b"b", b"1")]);
    store.machine().skip(1, Index(3));
    store.machine().skip(2, Index(1));
    store.flush();
    let flushed = store.machine().digest(1);
    commit(store.machine(), 1, &[put(b"a", b"2")]);
    let later = store.machine().digest(1);
    let image = crashed(dir.path());
    store.close();

    let mut store = Store::open(image.path(), &[1, 2, 3]);
    let applied = [1, 2, 3].map(|group| store.machine().applied(group));
    assert_eq!(applied, [Index(3), Index(1), Index::ZERO]);
    assert_eq!(store.machine().digest(1), flushed);
    assert_eq!(
        store.view.get(0, b"a").unwrap().unwrap(),
        b"1",
        "not flushed, so to be applied again"
    );
    commit(store.machine(), 1, &[put(b"a", b"2")]);
    assert_eq!(store.machine().digest(1), later);
    store.close();
}

#[test]
fn a_shard_pauses_while_overlays_wait_and_is_woken_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let mut ctx = context(dir.path(), &[1]);
    ctx.wake = Wake::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let (handle, writer) = state_writer(database(dir.path()));
    let mut machine = KvMachine::open(&ctx, handle).unwrap();
    let view = machine.view();
    let mut key = 0u64;
    for overlay in 0..SEALED_MAX {
        assert!(machine.may_apply(), "{overlay} overlays wait");
        for _ in 0..OVERLAY_KEYS_MAX / 4096 {
            let commands: Vec<Vec<u8>> =
                (key..key + 4096).map(|n| put(&n.to_le_bytes(), b"v")).collect();
            commit(&mut machine, 1, &commands);
            key += 4096;
        }
    }
    assert!(!machine.may_apply());
    // Nothing is refused, and everything is readable, also while nobody writes.
    commit(&mut machine, 1, &[put(b"more", b"v")]);
    assert_eq!(view.get(&7u64.to_le_bytes()).unwrap().unwrap(), b"v");
    let job = machine.flush().unwrap();
    let writer = start(writer);
    job().unwrap();
    assert!(machine.may_apply());
    assert!(woken.load(Ordering::SeqCst) >= 1);
    assert_eq!(machine.shared.layers.read().sealed.len(), 0);
    assert_eq!(view.get(&7u64.to_le_bytes()).unwrap().unwrap(), b"v");
    assert_eq!(view.get(b"more").unwrap().unwrap(), b"v");
    drop(machine);
    writer.join().unwrap().unwrap();
}

#[test]
fn a_flush_without_a_writer_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, writer) = state_writer(database(dir.path()));
    let mut machine = KvMachine::open(&context(dir.path(), &[1]), handle).unwrap();
    commit(&mut machine, 1, &[put(b"a", b"1")]);
    let waiting = machine.flush().unwrap();
    drop(writer);
    assert!(matches!(waiting(), Err(MachineError::Database(_))));
    assert!(machine.flush().unwrap()().is_err());
}

#[test]
fn a_damaged_applied_record_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    drop(database(dir.path()));
    let raw = rocksdb::DB::open_default(dir.path().join("state")).unwrap();
    raw.put(crate::keys::applied_key(5), b"short").unwrap();
    drop(raw);
    let (handle, _writer) = state_writer(database(dir.path()));
    let error = KvMachine::open(&context(dir.path(), &[4, 5]), handle).unwrap_err();
    assert!(matches!(error, MachineError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("group 5"), "{error}");
}

#[test]
#[should_panic(expected = "group 1 is applied up to")]
fn a_block_that_was_applied_before_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, _writer) = state_writer(database(dir.path()));
    let mut machine = KvMachine::open(&context(dir.path(), &[1]), handle).unwrap();
    let command = put(b"a", b"1");
    apply(&mut machine, 1, 1, &[&command]);
    apply(&mut machine, 1, 1, &[&command]);
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, Option<u8>)>),
    Flush,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let ops = prop::collection::vec((any::<u8>(), prop::option::of(any::<u8>())), 1..30);
    prop_oneof![8 => ops.prop_map(Step::Commit), 2 => Just(Step::Flush), 1 => Just(Step::Crash)]
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn all(view: &KvView) -> Map {
    let mut map = Map::new();
    let mut start = Vec::new();
    loop {
        let page = view.scan(&start, None, 7).unwrap();
        map.extend(page.entries);
        let Some(next) = page.next else { return map };
        start = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// After a crash the state is that of the applied position it names, and a replay from there ends the same.
    #[test]
    fn l17_a_crash_leaves_the_state_of_its_applied_position(steps in prop::collection::vec(step(), 1..40)) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &[1]);
        let mut log: Vec<Vec<u8>> = Vec::new();
        let mut states: Vec<(Map, u64)> = vec![(Map::new(), 0)];
        let mut flushed = 0;
        for step in steps {
            match step {
                Step::Commit(ops) => {
                    let mut map = states.last().unwrap().0.clone();
                    for (key, value) in ops {
                        let key = vec![b'k', key % 32];
                        let value = value.map(|byte| vec![byte; usize::from(byte) % 9]);
                        let command = value.as_ref().map_or_else(|| delete(&key), |value| put(&key, value));
                        match value {
                            Some(value) => map.insert(key, value),
                            None => map.remove(&key),
                        };
                        commit(store.machine(), 1, std::slice::from_ref(&command));
                        log.push(command);
                        states.push((map.clone(), store.machine().digest(1)));
                    }
                }
                Step::Flush => {
                    store.flush();
                    flushed = log.len();
                }
                Step::Crash => {
                    let image = crashed(dir.path());
                    store.close();
                    dir = image;
                    store = Store::open(dir.path(), &[1]);
                    let applied = store.machine().applied(1).0 as usize;
                    prop_assert_eq!(applied, flushed, "what was flushed, and no memtable filled up");
                    let (map, digest) = &states[applied];
                    prop_assert_eq!(&all(&store.view), map);
                    prop_assert_eq!(store.machine().digest(1), *digest);
                    for command in &log[applied..] {
                        commit(store.machine(), 1, std::slice::from_ref(command));
                    }
                }
            }
            prop_assert_eq!(&all(&store.view), &states.last().unwrap().0);
        }
        store.close();
    }
}
