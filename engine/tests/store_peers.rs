//! The stores of other nodes in a store's log: they survive what the log survives, and go on an operator's word only.
#![cfg(feature = "rocks")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod store_common;

use kontiki::Durability;
use kontiki::store::{
    ForgetError, LogBatch, LogStore as _, OpenError, StoreView, check, forget_peer,
};
use store_common::{Fixture, batch};

fn met(peers: &[(u64, u128)]) -> LogBatch {
    LogBatch { peers: peers.to_vec(), ..LogBatch::default() }
}

#[test]
fn g10_who_was_met_is_known_after_a_restart() {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    assert_eq!(opened.peers, []);
    let mut log = opened.log;
    log.write(&met(&[(300, 30 << 90)])).unwrap();
    // After a crash of the process: the write was synced, nothing was closed.
    assert_eq!(store.image().open().unwrap().0.peers, [(300, 30 << 90)]);

    let both = LogBatch { peers: vec![(7, 70)], ..batch(1, 1000) };
    log.write(&both).unwrap();
    assert_eq!(StoreView::open_with(&store.options).unwrap().peers(), [(7, 70), (300, 30 << 90)]);
    let witness = log.witness_writer();
    log.close(witness).unwrap();
    let (opened, parts) = store.open().unwrap();
    assert_eq!(opened.peers, [(7, 70), (300, 30 << 90)]);
    assert_eq!(parts.len(), 1);

    // They do not leave with the batches that they came in.
    let mut log = opened.log;
    for seed in 0..40 {
        let last = log.last();
        let next = LogBatch { delete_below: Some(last), ..batch(seed, 100_000) };
        log.write(&next).unwrap();
    }
    drop(log);
    assert_eq!(store.open().unwrap().0.peers, [(7, 70), (300, 30 << 90)]);
    assert!(check(&store.options).unwrap().is_whole());
}

#[test]
fn g10_a_node_is_forgotten_on_an_operators_word_only() {
    let store = Fixture::new(Durability::Fsync);
    let (opened, _) = store.open().unwrap();
    let mut log = opened.log;
    log.write(&met(&[(7, 70), (8, 80)])).unwrap();
    log.write(&batch(1, 1000)).unwrap();
    let last = log.last();

    let locked = forget_peer(&store.options, 7);
    assert!(matches!(locked, Err(ForgetError::Open(OpenError::Locked { .. }))), "{locked:?}");
    drop(log);

    let error = forget_peer(&store.options, 9).unwrap_err();
    assert!(
        matches!(&error, ForgetError::NoSuchPeer { node: 9, known } if *known == [7, 8]),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "no store is recorded for node 9, only for 7, 8");

    assert_eq!(forget_peer(&store.options, 7).unwrap(), 70);
    let (opened, parts) = store.open().unwrap();
    assert_eq!(opened.peers, [(8, 80)]);
    assert!(opened.clean_shutdown);
    assert_eq!(parts.len(), 1, "nothing else changed");
    assert!(opened.log.numbers().1 > last);
    drop(opened);

    let again = forget_peer(&store.options, 7).unwrap_err();
    assert!(matches!(again, ForgetError::NoSuchPeer { node: 7, .. }), "{again:?}");
    assert!(check(&store.options).unwrap().is_whole());

    // The next store that it comes with is its own.
    let mut log = store.open().unwrap().0.log;
    log.write(&met(&[(7, 71)])).unwrap();
    drop(log);
    assert_eq!(store.open().unwrap().0.peers, [(7, 71), (8, 80)]);
}
