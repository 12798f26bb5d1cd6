//! Reads and scans through overlays and database, against an ordered map.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::kv::record::AppliedRecord;
use crate::machine::Wake;
use crate::store::rocks_state::{StateDb, StateOptions};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn database(dir: &Path) -> Arc<dyn StateStore> {
    let options = StateOptions::new(dir.to_path_buf(), 1);
    Arc::new(StateDb::open(&StateOptions { memtable_bytes: 1 << 20, ..options }).unwrap())
}

fn shards(state: &Arc<dyn StateStore>, count: u64) -> Vec<ShardView> {
    (0..count)
        .map(|seed| {
            ShardView::new(Arc::clone(state), Arc::new(ShardLayers::new(seed, Wake::new(|| ()))))
        })
        .collect()
}

/// Writes the oldest sealed overlay of a shard, as the state writer does.
fn write_oldest(view: &ShardView) {
    let oldest = view.shared.layers.read().sealed.first().cloned();
    if let Some(sealed) = oldest {
        let records: [(u64, AppliedRecord); 0] = [];
        view.state
            .write(sealed.keys.overlay().bytes(), &mut sealed.keys.writes(), &records)
            .unwrap();
        view.shared.written(sealed);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Option<Vec<u8>>),
    Seal(usize),
    Write(usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..4, 1..5)
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..6));
    prop_oneof![
        12 => (key(), value).prop_map(|(key, value)| Step::Set(key, value)),
        1 => (0usize..2).prop_map(Step::Seal),
        1 => (0usize..2).prop_map(Step::Write),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn scans_and_gets_are_those_of_one_map(
        steps in prop::collection::vec(step(), 1..300),
        spans in prop::collection::vec((key(), prop::option::of(key()), 1usize..9), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let state = database(dir.path());
        let shards = shards(&state, 2);
        let view = KvView::new(shards.clone());
        // Keys from [2] on belong to the second shard.
        let shard_of = |key: &[u8]| usize::from(key[0] >= 2);
        let mut model = Map::new();
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    let shard = &shards[shard_of(&key)];
                    shard.shared.layers.write().active.set(&key, value.as_deref());
                    match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
                Step::Seal(shard) => drop(shards[shard].shared.seal(Vec::new())),
                Step::Write(shard) => write_oldest(&shards[shard]),
            }
        }
        for (start, end, limit) in spans {
            let expected: Vec<(Vec<u8>, Vec<u8>)> = model
                .range(start.clone()..)
                .filter(|(key, _)| end.as_ref().is_none_or(|end| *key < end))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let mut found = Vec::new();
            let mut from = Some(start.clone());
            while let Some(start) = from {
                let page = view.scan(&start, end.as_deref(), limit).unwrap();
                prop_assert!(page.entries.len() == limit || page.next.is_none(), "{page:?}");
                found.extend(page.entries);
                from = page.next;
            }
            prop_assert_eq!(found, expected);
            let value = view.get(shard_of(&start), &start).unwrap();
            prop_assert_eq!(value.as_ref(), model.get(&start));
        }
    }
}

#[test]
fn a_page_ends_at_its_bytes_and_says_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = database(dir.path());
    let shards = shards(&state, 1);
    let view = KvView::new(shards.clone());
    let value = vec![7; SCAN_PAGE_BYTES_MAX / 2];
    for key in 0..5u8 {
        shards[0].shared.layers.write().active.set(&[key], Some(&value));
    }
    let page = view.scan(b"", None, 100).unwrap();
    assert_eq!((page.entries.len(), page.next), (2, Some(vec![2])));
    let page = view.scan(&[4], None, 100).unwrap();
    assert_eq!((page.entries.len(), page.next), (1, None));
    assert_eq!(view.scan(&[3], Some(&[3]), 100).unwrap(), ScanPage::default());
    assert_eq!(view.scan(&[3], None, 0).unwrap().next, Some(vec![3]));
}

#[test]
fn a_page_of_an_older_moment_is_not_changed_by_later_writes() {
    let dir = tempfile::tempdir().unwrap();
    let state = database(dir.path());
    let shards = shards(&state, 1);
    let view = KvView::new(shards.clone());
    let set =
        |key: &[u8], value: Option<&[u8]>| shards[0].shared.layers.write().active.set(key, value);
    set(b"a", Some(b"1"));
    set(b"b", Some(b"1"));
    drop(shards[0].shared.seal(Vec::new()));
    let (moment, snapshot) = view.moment(b"", None, 10);
    set(b"a", Some(b"2"));
    set(b"b", None);
    set(b"c", Some(b"2"));
    drop(shards[0].shared.seal(Vec::new()));
    write_oldest(&shards[0]);
    write_oldest(&shards[0]);
    let page = Merge::new(&moment, b"", None, 10).page(&*snapshot).unwrap();
    let one = |key: &[u8]| (key.to_vec(), b"1".to_vec());
    assert_eq!(page.entries, [one(b"a"), one(b"b")]);
    drop(snapshot);
    let page = view.scan(b"", None, 10).unwrap();
    assert_eq!(page.entries, [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"2".to_vec())]);
}
