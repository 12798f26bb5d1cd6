//! The log of a store on RocksDB: what is written comes back, in whatever way the process ended.
#![cfg(feature = "rocks")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod store_common;

use kontiki::Durability;
use kontiki::store::{
    GroupRecords, Identity, LogBatch, LogStore as _, OpenError, OpenOptions, RocksLog, StoreView,
    WitnessState, check,
};
use store_common::{CLUSTER, Fixture, NODE, batch, part, parts, record};

#[test]
fn what_is_written_comes_back_after_a_clean_shutdown() {
    for durability in [Durability::Fsync, Durability::Os, Durability::None] {
        let store = Fixture::new(durability);
        let (opened, found) = store.open().unwrap();
        assert!(opened.clean_shutdown && found.is_empty() && opened.torn.is_none());
        assert_eq!(opened.identity.boot_epoch, 1);
        assert_eq!(opened.groups.len(), 3);
        let mut log = opened.log;
        let first = log.write(&batch(1, 1000)).unwrap();
        let two = LogBatch {
            parts: vec![part(2, 10), part(3, 40_000)],
            records: vec![(2, record(9).into()), (7, record(5).into())],
            delete_below: None,
        };
        let second = log.write(&two).unwrap();
        assert_eq!(second.number, first.number + 1);
        assert!(second.bytes > 40_010 && second.bytes < 41_500, "{}", second.bytes);
        let reader = log.reader();
        let bytes = reader.read_part(second.number, 2).unwrap().unwrap();
        assert_eq!(bytes, *two.parts[1].bytes);
        assert_eq!(reader.read_part(second.number, 3).unwrap(), None);
        assert_eq!(reader.read_part(second.number + 1, 1).unwrap(), None);
        let witness = log.witness_writer();
        drop(reader);
        log.close(witness).unwrap();

        let (opened, found) = store.open().unwrap();
        assert!(opened.clean_shutdown);
        assert_eq!(opened.identity.boot_epoch, 2);
        let numbers: Vec<_> = found.iter().map(|(number, part, _)| (*number, *part)).collect();
        let (a, b) = (first.number, second.number);
        assert_eq!(numbers, [(a, 1), (b, 1), (b, 2)]);
        assert_eq!(found[2].2, *two.parts[1].bytes);
        let groups: Vec<_> = opened.groups.iter().map(|(g, r)| (g, r.hard_state.term.0)).collect();
        assert_eq!(groups, [(1, 1), (2, 9), (3, 1), (7, 5)]);
    }
}

#[test]
fn what_is_synced_comes_back_after_a_crash_at_any_batch() {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    for seed in 1..=12 {
        log.write(&batch(seed, 150_000)).unwrap();
        let image = store.image();
        let (reopened, found) = image.open().unwrap();
        assert!(!reopened.clean_shutdown && reopened.torn.is_none());
        assert_eq!(found.len() as u64, seed);
        assert_eq!(found.last().unwrap().2, *part(seed, 150_000).bytes);
    }
}

#[test]
fn dead_batches_leave_and_stay_away() {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    let mut last = 0;
    for seed in 0..120 {
        let mut next = batch(seed, 100_000);
        next.delete_below = (last > 4).then(|| last - 4);
        last = log.write(&next).unwrap().number;
    }
    let (first_live, _) = log.numbers();
    assert_eq!(first_live, last - 5);
    let reader = log.reader();
    assert_eq!(reader.read_part(first_live - 1, 1).unwrap(), None);
    assert!(reader.read_part(first_live, 1).unwrap().is_some());
    let live = parts(&mut log).unwrap();
    assert_eq!(live.len() as u64, last - first_live + 1);
    drop((log, reader));
    let on_disk: u64 =
        store.files("sst").iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    assert!(on_disk < 3_000_000, "12 MB were written, 0.6 MB are live, {on_disk} are on disk");

    let (opened, found) = store.open().unwrap();
    assert_eq!(found, live);
    let mut log = opened.log;
    let backwards = LogBatch { delete_below: Some(3), ..batch(9, 10) };
    log.write(&backwards).unwrap();
    assert_eq!(log.numbers().0, first_live, "the bound never moves back");
    assert_eq!(parts(&mut log).unwrap().len(), live.len() + 1);
}

#[test]
fn tables_move_down_without_being_rewritten_and_survive_many_openings() {
    let store = Fixture::new(Durability::Fsync);
    // A small table may be merged away between the listing and the look at it.
    let large =
        |path: &std::path::PathBuf| std::fs::metadata(path).is_ok_and(|m| m.len() > 1_000_000);
    let mut tables = Vec::new();
    let mut written = 0;
    for _ in 0..10 {
        let (opened, found) = store.open().unwrap();
        assert_eq!(found.len(), written);
        assert!(tables.iter().all(|table: &std::path::PathBuf| table.exists()), "{tables:?}");
        tables = store.files("sst");
        tables.retain(large);
        let mut log = opened.log;
        for seed in 0..5 {
            log.write(&batch(seed, 300_000)).unwrap();
            written += 1;
        }
    }
    let (_, found) = store.open().unwrap();
    assert_eq!(found.len(), written);
    assert!(tables.len() >= 9, "one table per opening: {tables:?}");
}

#[test]
fn g18_a_second_opener_gets_the_holders_name() {
    let store = Fixture::new(Durability::Fsync);
    let opened = store.open().unwrap();
    match RocksLog::open(&store.options) {
        Err(OpenError::Locked { holder, dir }) => {
            assert_eq!(holder.pid, std::process::id());
            assert_eq!(dir, store.options.dir);
        }
        other => panic!("{other:?}"),
    }
    drop(opened);
    store.open().unwrap();
}

#[test]
fn l20_someone_elses_store_is_refused_and_not_touched() {
    let store = Fixture::new(Durability::Fsync);
    let set = |change: fn(&mut OpenOptions)| {
        let mut options = store.options.clone();
        change(&mut options);
        RocksLog::open(&options)
    };
    for (result, name) in [
        (set(|options| options.cluster_id = Some(CLUSTER + 1)), "cluster"),
        (set(|options| options.node_id = Some(NODE + 1)), "node"),
        (set(|options| options.store_id = Some(5)), "store"),
    ] {
        match result {
            Err(OpenError::Foreign { what, .. }) => assert_eq!(what, name),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        RocksLog::format(
            &store.options,
            &Identity::new(CLUSTER, NODE).unwrap(),
            &GroupRecords::default()
        ),
        Err(OpenError::Exists { .. })
    ));
    let (opened, _) = store.open().unwrap();
    assert_eq!(opened.identity.boot_epoch, 1, "a refused opening is none");
}

#[test]
fn a_view_reads_a_running_store_and_leaves_no_trace() {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    for seed in 1..=8 {
        log.write(&batch(seed, 200_000)).unwrap();
    }
    let names = |store: &Fixture| {
        let entries = std::fs::read_dir(store.options.log_dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // Tables and logs come and go by the running store's own flushes; an opening would leave the others.
        let own = |name: &String| name.ends_with(".sst") || name.ends_with(".log");
        let mut names: Vec<_> = names.filter(|name| !own(name)).collect();
        names.sort();
        names
    };
    let before = names(&store);
    let view = StoreView::open(&store.options.dir).unwrap();
    assert_eq!(view.identity().store_id, log.identity().store_id);
    assert_eq!(view.groups().len(), 3);
    assert_eq!(view.holder().unwrap().pid, std::process::id());
    assert_eq!(view.numbers(), log.numbers());
    let mut seen = 0;
    log.write(&batch(9, 10)).unwrap();
    view.for_each_part(&mut |_, _, _| {
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 8);
    drop(view);
    assert_eq!(names(&store), before);
    log.write(&batch(10, 10)).unwrap();
    drop(log);
    let view = StoreView::open(&store.options.dir).unwrap();
    assert!(view.holder().is_none());
}

#[test]
fn directories_that_are_no_store_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let options = |name: &str| OpenOptions::new(root.path().join(name));
    let open = |name: &str| RocksLog::open(&options(name)).map(|_| ());
    assert!(matches!(open("nothing"), Err(OpenError::Missing { .. })));
    std::fs::create_dir(root.path().join("empty")).unwrap();
    assert!(matches!(open("empty"), Err(OpenError::Missing { .. })));
    std::fs::create_dir(root.path().join("other")).unwrap();
    std::fs::write(root.path().join("other/letter.txt"), "Dear Sir").unwrap();
    assert!(matches!(open("other"), Err(OpenError::NotAStore { .. })));
    assert!(!root.path().join("other/store.lock").exists());
    std::fs::create_dir_all(root.path().join("half/state")).unwrap();
    std::fs::write(root.path().join("half/state/CURRENT"), "x").unwrap();
    assert!(matches!(open("half"), Err(OpenError::NotAStore { .. })));
    assert!(matches!(StoreView::open(root.path().join("other")), Err(OpenError::NotAStore { .. })));
    assert!(matches!(StoreView::open(root.path().join("gone")), Err(OpenError::Missing { .. })));
    assert!(matches!(check(&options("other")), Err(OpenError::NotAStore { .. })));
}

#[test]
fn a_store_half_made_is_no_store_and_can_be_made_again() {
    let whole = Fixture::new(Durability::Fsync);
    let identity = Identity::new(CLUSTER, NODE).unwrap();
    // Before the rename: any part of the unfinished log.
    for keep in 0..4 {
        let root = tempfile::tempdir().unwrap();
        let options = OpenOptions::new(root.path().join("store"));
        let unfinished = options.dir.join("log.new");
        std::fs::create_dir_all(&unfinished).unwrap();
        for entry in std::fs::read_dir(whole.options.log_dir()).unwrap().take(keep * 3) {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), unfinished.join(entry.file_name())).unwrap();
        }
        std::fs::write(options.dir.join("store.lock"), "").unwrap();
        assert!(matches!(RocksLog::open(&options), Err(OpenError::Missing { .. })));
        RocksLog::format(&options, &identity, &GroupRecords::default()).unwrap();
        assert!(!unfinished.exists());
        RocksLog::open(&options).unwrap();
    }
    // After the rename, before the witness.
    let image = whole.image();
    std::fs::remove_dir_all(image.options.witness_dir()).unwrap();
    let (opened, _) = image.open().unwrap();
    assert_eq!(opened.witness, WitnessState::Missing);
    assert!(!opened.clean_shutdown);
    drop(opened);
    let (opened, _) = image.open().unwrap();
    assert!(matches!(opened.witness, WitnessState::Present(_)), "a new one was written");
}

#[test]
fn a_write_before_the_audit_runs_it() {
    let store = Fixture::new(Durability::Fsync);
    let mut opened = RocksLog::open(&store.options).unwrap();
    let before = opened.log.numbers().1;
    let written = opened.log.write(&batch(1, 10)).unwrap();
    assert_eq!(written.number, before + 2, "the boot epoch came first");
}
