//! Transports that remember whose store is whose: new acquaintances wait, other stores are refused by both sides.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use kontiki_net::{ConnError, DownReason, Net, NetConfig, NetEvent, RefuseReason, Stores};

use support::*;

fn stores(recorded: &[(u64, u128)]) -> Option<Arc<Stores>> {
    Some(Arc::new(Stores::new(recorded.iter().copied())))
}

const STORE_1: u128 = 1 << 64;
const STORE_2: u128 = 2 << 64;

#[test]
fn g10_a_new_acquaintance_waits_until_it_is_recorded() {
    let clock = Clock::new();
    let known = stores(&[]);
    let first = NetConfig { stores: known.clone(), ..config(1) };
    let second = NetConfig { stores: stores(&[(1, STORE_1)]), ..config(2) };
    let (mut a, mut b) = pair(first, second);
    let mut met = Vec::new();
    let mut up = false;
    while met.is_empty() || !up {
        met.extend(turn(&mut a, &clock));
        up |= turn(&mut b, &clock).iter().any(is_up);
    }
    assert_eq!(met, [NetEvent::Met { node: 2, store_id: STORE_2 }]);

    // What comes meanwhile waits with it, and nothing can be said to it.
    b.outbox(1).unwrap().push_message(9, &numbered(77));
    for _ in 0..50 {
        assert_eq!(turn(&mut a, &clock), []);
        assert_eq!(turn(&mut b, &clock), []);
        assert!(a.outbox(2).is_none());
        a.for_each_frame(usize::MAX, |node, _| panic!("a frame of node {node}"));
    }

    known.unwrap().recorded(2);
    let mut events = Vec::new();
    while events.is_empty() {
        events = turn(&mut a, &clock);
    }
    assert_eq!(events, [NetEvent::PeerUp { node: 2, store_id: STORE_2, epoch: 1 }]);
    let mut frames = 0;
    while frames == 0 {
        assert_eq!(turn(&mut a, &clock), []);
        a.for_each_frame(usize::MAX, |node, frame| {
            assert_eq!((node, frame.count()), (2, 1));
            frames += 1;
            Ok(())
        });
    }
}

/// Turns both until each has said something.
fn until_both_say(a: &mut Net, b: &mut Net, clock: &Clock) -> (Vec<NetEvent>, Vec<NetEvent>) {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    while of_a.is_empty() || of_b.is_empty() {
        of_a.extend(turn(a, clock));
        of_b.extend(turn(b, clock));
    }
    (of_a, of_b)
}

#[test]
fn g10_a_caller_with_another_store_is_refused_and_hears_why() {
    let mut clock = Clock::new();
    let wiped = NetConfig { store_id: 99, stores: stores(&[(2, STORE_2)]), ..config(1) };
    let other = NetConfig { stores: stores(&[(1, STORE_1)]), ..config(2) };
    let (mut a, mut b) = pair(wiped, other);
    let (of_a, of_b) = until_both_say(&mut a, &mut b, &clock);
    let error = ConnError::WrongStore { node: 1, expected: STORE_1, found: 99 };
    assert!(error.is_wrong_store());
    assert!(
        matches!(of_b[..], [NetEvent::Refused { node: Some(1), error: found, .. }] if found == error),
        "{of_b:?}"
    );
    let told = ConnError::Refused(Some(RefuseReason::WrongStore));
    assert!(told.is_wrong_store());
    assert!(
        matches!(of_a[..], [NetEvent::Refused { node: Some(2), error: found, .. }] if found == told),
        "{of_a:?}"
    );
    assert_eq!(RefuseReason::WrongStore.code(), 10);

    // It is tried again, but far less often than a node that may come back by itself.
    let mut refused = Vec::new();
    while refused.len() < 4 {
        clock.ahead_us += 10_000;
        let before = clock.us();
        if !turn(&mut a, &clock).is_empty() {
            refused.push(before);
        }
        assert!(!turn(&mut b, &clock).iter().any(is_up));
    }
    let gaps: Vec<u64> = refused.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|&gap| gap > 2_000_000), "{gaps:?}");
    assert!(!turn(&mut b, &clock).iter().any(is_up));
    assert_eq!(b.stats().connects, 0);
}

#[test]
fn g10_a_node_that_is_called_and_has_another_store_is_refused_and_hears_why() {
    let clock = Clock::new();
    let caller = NetConfig { stores: stores(&[(2, STORE_2)]), ..config(1) };
    // It has forgotten everybody: to itself, all is new.
    let forgetful = stores(&[]);
    let wiped = NetConfig { store_id: 99, stores: forgetful.clone(), ..config(2) };
    let (mut a, mut b) = pair(caller, wiped);
    let (of_a, of_b) = until_both_say(&mut a, &mut b, &clock);
    let error = ConnError::WrongStore { node: 2, expected: STORE_2, found: 99 };
    assert!(
        matches!(of_a[..], [NetEvent::Refused { node: Some(2), error: found, .. }] if found == error),
        "{of_a:?}"
    );
    assert_eq!(of_b, [NetEvent::Met { node: 1, store_id: STORE_1 }]);
    assert_eq!(a.stats().connects, 0);

    forgetful.unwrap().recorded(1);
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(turn(&mut b, &clock));
        b.for_each_frame(usize::MAX, |node, _| panic!("a frame of node {node}"));
    }
    let told = DownReason::Conn(ConnError::Refused(Some(RefuseReason::WrongStore)));
    assert_eq!(
        events,
        [
            NetEvent::PeerUp { node: 1, store_id: STORE_1, epoch: 1 },
            NetEvent::PeerDown { node: 1, reason: told },
        ]
    );
}
