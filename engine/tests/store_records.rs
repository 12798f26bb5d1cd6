//! Records that are not what they should be, in a database that is otherwise whole: typed errors, no panic.
#![cfg(feature = "rocks")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]
#![allow(clippy::big_endian_bytes, reason = "the keys of the log sort by number")]

mod store_common;

use kontiki::Durability;
use kontiki::store::identity::FormatRecord;
use kontiki::store::witness::{self, WitnessState};
use kontiki::store::{
    Amnesia, BatchHeader, GroupRecord, Identity, LogStore as _, OpenError, RocksLog, StoreError,
    StoreView,
};
use rocksdb::{BlockBasedOptions, ChecksumType, DB, Options};
use store_common::{CLUSTER, Fixture, NODE, batch, record};

/// Changes the database behind the store's back, through RocksDB itself.
fn tamper(store: &Fixture, change: impl FnOnce(&DB)) {
    let families = ["batch", "group", "store"];
    // As the store's own tables are.
    let mut table = BlockBasedOptions::default();
    table.set_format_version(5);
    table.set_checksum_type(ChecksumType::CRC32c);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_disable_auto_compactions(true);
    let each = families.map(|name| (name, options.clone()));
    let db = DB::open_cf_with_opts(&Options::default(), store.options.log_dir(), each).unwrap();
    change(&db);
    for name in families {
        db.flush_cf(db.cf_handle(name).unwrap()).unwrap();
    }
}

fn put(store: &Fixture, family: &str, key: &[u8], value: &[u8]) {
    tamper(store, |db| db.put_cf(db.cf_handle(family).unwrap(), key, value).unwrap());
}

fn open(store: &Fixture) -> Result<(), OpenError> {
    store.open().map(|_| ())
}

/// Numbers without a pattern.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).unwrap() % below
    }
}

/// Cuts, lengthens or changes bytes; every other time with a checksum that fits again.
fn mangle(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = random(seed);
    let mut bad = bytes.to_vec();
    match seed % 3 {
        0 => bad.truncate(random(bytes.len())),
        1 => bad.extend(vec![0xcd; 1 + random(300)]),
        _ => {
            for _ in 0..=random(3) {
                let at = 4 + random(bytes.len() - 4);
                bad[at] ^= 1 << random(8);
            }
        }
    }
    if seed.is_multiple_of(2) && bad.len() >= 4 {
        let crc = crc32c::crc32c(&bad[4..]);
        bad[..4].copy_from_slice(&crc.to_le_bytes());
    }
    bad
}

#[test]
fn mangled_records_are_refused_or_read_and_never_panic() {
    let mut group = Vec::new();
    record(3).encode(&mut group);
    let mut header = Vec::new();
    BatchHeader {
        store_id: 1,
        boot_epoch: 1,
        number: 5,
        previous: 9,
        synced: 4,
        first_live: 2,
        blocks: 3,
        parts: vec![10, 20, 30],
    }
    .encode(&mut header);
    let format = FormatRecord::new(Identity::new(CLUSTER, NODE).unwrap()).encode();
    let mut refused = [0; 4];
    for seed in 0..300 {
        let bad = mangle(&group, seed);
        if let Ok(read) = GroupRecord::decode(&bad) {
            let mut again = Vec::new();
            read.encode(&mut again);
            assert_eq!(again, bad, "what is accepted is what would be written");
        } else {
            refused[0] += 1;
        }
        refused[1] += u32::from(BatchHeader::decode(&mangle(&header, seed)).is_err());
        refused[2] += u32::from(FormatRecord::decode(&mangle(&format, seed)).is_err());
        let slots = [mangle(&[0x4b; 256], seed), mangle(&[0; 256], seed + 1)].concat();
        refused[3] += u32::from(!matches!(witness::decode(&slots), WitnessState::Present(_)));
    }
    assert!(refused.iter().all(|&count| count >= 240), "{refused:?}");
}

#[test]
fn a_malformed_group_record_is_refused_with_its_group() {
    let mut bytes = Vec::new();
    record(3).encode(&mut bytes);
    for seed in [0, 1, 3, 5, 6, 11] {
        let store = Fixture::new(Durability::Fsync);
        put(&store, "group", &2_u64.to_be_bytes(), &mangle(&bytes, seed));
        match open(&store) {
            Err(OpenError::Record { family: "group", key: 2, .. }) => {}
            other => panic!("{seed}: {other:?}"),
        }
        assert!(StoreView::open(&store.options.dir).is_err());
    }
    let store = Fixture::new(Durability::Fsync);
    put(&store, "group", b"no group", &bytes);
    open(&store).unwrap();
    put(&store, "group", b"short", &bytes);
    assert!(matches!(open(&store), Err(OpenError::Record { family: "group", key: 0, .. })));
}

#[test]
fn a_malformed_or_newer_format_record_is_refused() {
    let identity = Identity::new(CLUSTER, NODE).unwrap();
    let newer = FormatRecord { version: 2, min_writer: 2, ..FormatRecord::new(identity) };
    let store = Fixture::new(Durability::Fsync);
    put(&store, "store", b"format", &newer.encode());
    assert!(matches!(open(&store), Err(OpenError::TooNew { needed: 2, supported: 1 })));
    assert!(StoreView::open(&store.options.dir).is_ok(), "it may still be read");
    let newest = FormatRecord { version: 3, min_reader: 3, ..newer };
    put(&store, "store", b"format", &newest.encode());
    assert!(matches!(
        StoreView::open(&store.options.dir),
        Err(OpenError::TooNew { needed: 3, supported: 1 })
    ));
    for (key, value) in [(&b"format"[..], &b"KONTIKI"[..]), (b"epoch", b"1")] {
        let store = Fixture::new(Durability::Fsync);
        put(&store, "store", key, value);
        assert!(matches!(open(&store), Err(OpenError::Record { family: "store", .. })));
    }
    let store = Fixture::new(Durability::Fsync);
    tamper(&store, |db| db.delete_cf(db.cf_handle("store").unwrap(), "format").unwrap());
    assert!(matches!(open(&store), Err(OpenError::NotAStore { .. })));
}

#[test]
fn l18_a_batch_that_was_changed_or_taken_away_breaks_the_chain() {
    let key = |number: u64, part: u16| [&number.to_be_bytes()[..], &part.to_be_bytes()].concat();
    let written = || {
        let store = Fixture::new(Durability::Fsync);
        let (opened, _) = store.open().unwrap();
        let mut log = opened.log;
        for seed in 1..=5 {
            log.write(&batch(seed, 500)).unwrap();
        }
        let witness = log.witness_writer();
        log.close(witness).unwrap();
        store
    };
    let delete = |keys: &[Vec<u8>]| {
        let store = written();
        tamper(&store, |db| {
            for key in keys {
                db.delete_cf(db.cf_handle("batch").unwrap(), key).unwrap();
            }
        });
        match open(&store) {
            Err(OpenError::Amnesiac(amnesia)) => amnesia,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&[key(4, 0), key(4, 1)]), Amnesia::Hole { missing: 4, found: 5 });
    assert_eq!(delete(&[key(1, 0)]), Amnesia::Hole { missing: 1, found: 2 });
    assert_eq!(delete(&[key(4, 1)]), Amnesia::Part { number: 4, part: 1 });
    assert_eq!(delete(&[key(7, 0)]), Amnesia::Part { number: 7, part: 0 });
    let end = delete(&[key(7, 0), key(7, 1)]);
    assert!(matches!(end, Amnesia::Short { found: 6, synced: 7, .. }), "{end:?}");

    let store = written();
    put(&store, "batch", &key(5, 1), b"another length");
    assert!(matches!(open(&store), Err(OpenError::Amnesiac(Amnesia::Part { number: 5, part: 1 }))));
    let store = written();
    put(&store, "batch", &key(5, 0), b"no header");
    assert!(matches!(open(&store), Err(OpenError::Record { family: "batch", key: 5, .. })));
    let store = written();
    put(&store, "batch", b"no key", b"");
    assert!(open(&store).is_err());
}

#[test]
fn l14_a_failed_write_closes_the_log_for_good() {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    let witness = log.witness_writer();
    // The disk goes away: what needs a new file fails.
    std::fs::remove_dir_all(store.options.log_dir()).unwrap();
    let failure = (0..40).find_map(|seed| log.write(&batch(seed, 200_000)).err());
    assert!(matches!(failure, Some(StoreError::SyncFailed(_))), "{failure:?}");
    assert!(matches!(log.write(&batch(1, 10)), Err(StoreError::Poisoned)));
    assert!(matches!(log.close(witness), Err(StoreError::Poisoned)));
    assert!(matches!(
        RocksLog::open(&store.options),
        Err(OpenError::Amnesiac(Amnesia::LogMissing { .. }))
    ));
}
