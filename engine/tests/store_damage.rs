//! Damage to a store: what was synced and is not there is refused by name; what was never synced is cut.
#![cfg(feature = "rocks")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod store_common;

use kontiki::Durability;
use kontiki::store::{
    Amnesia, GroupRecords, LogStore as _, OpenError, RocksLog, StoreView, SyncedBy, WitnessState,
    check,
};
use store_common::{Fixture, batch, flip, record};

/// A store that crashed with `count` synced batches of `len` bytes behind it, in one log file.
fn crashed(count: u64, len: usize) -> Fixture {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    for seed in 1..=count {
        let mut next = batch(seed, len);
        next.records.push((seed % 3 + 1, record(seed).into()));
        log.write(&next).unwrap();
    }
    store.image()
}

/// A store closed cleanly with all its batches in table files.
fn in_tables() -> Fixture {
    let store = Fixture::new(Durability::Fsync);
    for _ in 0..2 {
        let (opened, _) = store.open().unwrap();
        let mut log = opened.log;
        for seed in 1..=12 {
            log.write(&batch(seed, 50_000)).unwrap();
        }
        let witness = log.witness_writer();
        log.close(witness).unwrap();
    }
    // Recovery flushes the log files into tables.
    drop(RocksLog::open(&store.options).unwrap());
    store
}

fn corrupt(result: Result<(), OpenError>, context: &str) -> (std::path::PathBuf, u64, String) {
    match result {
        Err(OpenError::Corrupt { file, offset, why }) => (file, offset, why),
        other => panic!("{context}: {other:?}"),
    }
}

fn open(store: &Fixture) -> Result<(), OpenError> {
    store.open().map(|_| ())
}

#[test]
fn l18_a_flipped_bit_in_the_middle_of_a_synced_wal_is_refused_with_file_and_offset() {
    let store = crashed(8, 30_000);
    let wal = store.files("log").pop().unwrap();
    let len = usize::try_from(std::fs::metadata(&wal).unwrap().len()).unwrap();
    let middle = len - 31_000;
    for at in (0..middle).step_by(4_001) {
        let image = store.image();
        let file = image.options.log_dir().join(wal.file_name().unwrap());
        flip(&file, at);
        let (found, offset, why) = corrupt(open(&image), &format!("flip at {at}"));
        assert_eq!(found, file, "{why}");
        assert!(offset <= at as u64 && at as u64 - offset < 33_000, "flip at {at}: {offset}");
        let report = check(&image.options).unwrap();
        assert!(!report.is_whole());
        // It stays refused: the refusal changed nothing.
        assert!(open(&image).is_err());
    }
}

#[test]
fn l18_a_flipped_bit_in_a_table_is_refused_with_file_and_offset() {
    let store = in_tables();
    let mut flips = 0;
    for table in store.files("sst") {
        let len = usize::try_from(std::fs::metadata(&table).unwrap().len()).unwrap();
        for at in (0..len).step_by((len / 40).max(1)) {
            let image = store.image();
            let file = image.options.log_dir().join(table.file_name().unwrap());
            flip(&file, at);
            let (found, _, why) = corrupt(open(&image), &format!("{} {at}", file.display()));
            assert_eq!(found, file, "flip at {at}: {why}");
            assert!(!check(&image.options).unwrap().is_whole(), "flip at {at}");
            flips += 1;
        }
    }
    assert!(flips > 100, "{flips}");
}

#[test]
fn l19_a_torn_tail_that_was_never_acknowledged_is_cut() {
    let store = Fixture::new(Durability::Os);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    for seed in 1..=6 {
        log.write(&batch(seed, 30_000)).unwrap();
    }
    let wal = store.files("log").pop().unwrap();
    let whole = std::fs::read(&wal).unwrap();
    for cut in (40_000..whole.len()).step_by(7_001) {
        let kept = store.image();
        for tail in 0..3 {
            let mut bytes = whole.clone();
            match tail {
                0 => bytes.truncate(cut),
                1 => bytes[cut..].fill(0),
                _ => bytes[cut..].iter_mut().for_each(|byte| *byte ^= 0x5a),
            }
            let image = kept.image();
            std::fs::write(image.options.log_dir().join(wal.file_name().unwrap()), bytes).unwrap();
            assert!(check(&image.options).unwrap().is_whole());
            let (opened, found) = image.open().unwrap();
            assert!(opened.torn.is_some(), "cut at {cut}");
            let complete = (cut - 300) / 30_120;
            assert!(found.len().abs_diff(complete) <= 1, "cut at {cut}: {} parts", found.len());
            for ((_, _, bytes), seed) in found.iter().zip(1..) {
                assert_eq!(*bytes, *store_common::part(seed, 30_000).bytes);
            }
            let mut log = opened.log;
            log.write(&batch(99, 10)).unwrap();
            drop(log);
            let (opened, again) = image.open().unwrap();
            assert!(opened.torn.is_none());
            assert_eq!(again.len(), found.len() + 1);
        }
    }
}

#[test]
fn l19_unsynced_batches_behind_a_hole_are_cut_with_it() {
    let store = Fixture::new(Durability::Os);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    for seed in 1..=6 {
        log.write(&batch(seed, 70_000)).unwrap();
    }
    let image = store.image();
    let wal = image.files("log").pop().unwrap();
    let mut bytes = std::fs::read(&wal).unwrap();
    // Two whole blocks that never reached the disk, in batch 3.
    bytes[5 * 32_768..7 * 32_768].fill(0);
    std::fs::write(&wal, bytes).unwrap();
    let (opened, found) = image.open().unwrap();
    assert!(opened.torn.is_some());
    assert_eq!(found.len(), 2);
    drop(opened);
    assert_eq!(image.open().unwrap().1.len(), 2);
}

#[test]
fn l18_the_last_synced_batch_is_missed_by_the_witness() {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    let mut witness = log.witness_writer();
    let mut last = 0;
    for seed in 1..=6 {
        last = log.write(&batch(seed, 5_000)).unwrap().number;
    }
    assert!(witness.maybe_write(1).unwrap());
    assert_eq!(witness.witnessed(), last);
    let wal = |image: &Fixture| image.files("log").pop().unwrap();

    let image = store.image();
    let len = std::fs::metadata(wal(&image)).unwrap().len();
    std::fs::File::options().write(true).open(wal(&image)).unwrap().set_len(len - 100).unwrap();
    let (file, ..) = corrupt(open(&image), "cut");
    assert_eq!(file, wal(&image));

    // Cut between two records, nothing looks wrong but the number.
    let image = store.image();
    let record = usize::try_from(len).unwrap() - 5_000 - 300;
    let bytes = std::fs::read(wal(&image)).unwrap();
    let boundary = (record..bytes.len()).find(|&at| {
        std::fs::write(wal(&image), &bytes[..at]).unwrap();
        matches!(
            RocksLog::open(&image.options).map(|_| ()),
            Err(OpenError::Amnesiac(Amnesia::Short { .. }))
        )
    });
    std::fs::write(wal(&image), &bytes[..boundary.unwrap()]).unwrap();
    match open(&image) {
        Err(OpenError::Amnesiac(Amnesia::Short { found, synced, by })) => {
            assert_eq!((found, synced, by), (last - 1, last, SyncedBy::Witness));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn l18_deleted_files_make_an_amnesiac() {
    let store = crashed(4, 1_000);
    let image = store.image();
    for wal in image.files("log") {
        std::fs::remove_file(wal).unwrap();
    }
    assert!(matches!(open(&image), Err(OpenError::Amnesiac(Amnesia::NoWal { .. }))));

    // An empty file in its place is not better, once the witness knows.
    let running = Fixture::new(Durability::Fsync);
    let (opened, _) = running.open().unwrap();
    let mut log = opened.log;
    let mut witness = log.witness_writer();
    for seed in 1..=4 {
        log.write(&batch(seed, 1_000)).unwrap();
    }
    witness.maybe_write(0).unwrap();
    let image = running.image();
    for wal in image.files("log") {
        std::fs::write(wal, b"").unwrap();
    }
    assert!(matches!(
        open(&image),
        Err(OpenError::Amnesiac(Amnesia::Short { synced: 6, by: SyncedBy::Witness, .. }))
    ));

    let tables = in_tables();
    for table in tables.files("sst") {
        let image = tables.image();
        let file = image.options.log_dir().join(table.file_name().unwrap());
        std::fs::remove_file(&file).unwrap();
        let (found, ..) = corrupt(open(&image), "deleted table");
        assert_eq!(found, file);
    }

    let image = tables.image();
    std::fs::remove_dir_all(image.options.log_dir()).unwrap();
    assert!(matches!(open(&image), Err(OpenError::Amnesiac(Amnesia::LogMissing { .. }))));
    let identity = kontiki::store::Identity::new(1, 1).unwrap();
    assert!(matches!(
        RocksLog::format(&image.options, &identity, &GroupRecords::default()),
        Err(OpenError::Amnesiac(Amnesia::LogMissing { .. }))
    ));
}

#[test]
fn damage_to_the_databases_own_files_is_named() {
    let store = in_tables();
    let manifest = std::fs::read_to_string(store.options.log_dir().join("CURRENT")).unwrap();
    let manifest = manifest.trim().to_owned();
    let len = std::fs::read(store.options.log_dir().join(&manifest)).unwrap().len();
    for at in (0..len).step_by(37) {
        let image = store.image();
        flip(&image.options.log_dir().join(&manifest), at);
        let result = open(&image);
        assert!(result.as_ref().is_err_and(OpenError::is_damage), "flip at {at}: {result:?}");
    }
    for at in 0..manifest.len() + 1 {
        let image = store.image();
        flip(&image.options.log_dir().join("CURRENT"), at);
        let (file, ..) = corrupt(open(&image), "CURRENT");
        assert!(file.ends_with("CURRENT"));
    }
    let image = store.image();
    std::fs::remove_file(image.options.log_dir().join("CURRENT")).unwrap();
    assert!(corrupt(open(&image), "no CURRENT").0.ends_with("CURRENT"));
}

#[test]
fn l20_files_of_another_store_are_refused() {
    let store = crashed(3, 1_000);
    let other = crashed(5, 1_000);
    // Another store's log file in place of ours.
    let image = store.image();
    let wal = image.files("log").pop().unwrap();
    std::fs::copy(other.files("log").pop().unwrap(), &wal).unwrap();
    assert!(matches!(open(&image), Err(OpenError::Foreign { .. })));
    // Another store's witness.
    let image = store.image();
    store_common::copy(&other.options.witness_dir(), &image.options.witness_dir());
    assert!(matches!(open(&image), Err(OpenError::Foreign { .. })));
    // Our own log file of an older time, in place of the present one.
    let image = in_tables();
    let older = image.image();
    let (opened, _) = image.open().unwrap();
    let mut log = opened.log;
    let mut witness = log.witness_writer();
    for seed in 1..=3 {
        log.write(&batch(seed, 100)).unwrap();
    }
    witness.maybe_write(0).unwrap();
    drop(log);
    let wal = image.files("log").pop().unwrap();
    std::fs::copy(older.files("log").pop().unwrap(), wal).unwrap();
    assert!(matches!(open(&image), Err(OpenError::Amnesiac(_))));
}

#[test]
fn a_missing_or_damaged_witness_is_reported_or_refused_as_asked() {
    let store = crashed(3, 1_000);
    for damage in 0..3 {
        let mut image = store.image();
        let file = image.options.witness_dir().join("store.witness");
        match damage {
            0 => std::fs::remove_file(&file).unwrap(),
            1 => std::fs::write(&file, b"short").unwrap(),
            _ => std::fs::write(&file, [0x77; 512]).unwrap(),
        }
        image.options.require_witness = true;
        assert!(matches!(open(&image), Err(OpenError::WitnessUnusable { .. })));
        image.options.require_witness = false;
        let (opened, found) = image.open().unwrap();
        assert!(!matches!(opened.witness, WitnessState::Present(_)));
        assert_eq!(found.len(), 3);
    }
}

#[test]
fn a_check_of_a_whole_store_finds_nothing_and_counts() {
    let store = crashed(5, 1_000);
    let report = check(&store.options).unwrap();
    assert!(report.is_whole(), "{:?}", report.problems);
    assert_eq!((report.parts, report.blocks, report.bytes), (5, 5, 5_000));
    assert_eq!(report.groups.len(), 3);
    assert_eq!(report.numbers.1, 7);
    assert_eq!(report.wal.last, Some(7));
    let view = StoreView::open(&store.options.dir).unwrap();
    assert_eq!(Some(view.identity()), report.identity);
}
