//! Delays and their limits.

use super::*;

#[test]
fn delays_double_with_jitter_up_to_the_limit() {
    let mut backoff = Backoff::new(10_000, 1_000_000, 7);
    let mut doubled = 10_000;
    for _ in 0..100 {
        let delay = backoff.next_delay_us();
        assert!((doubled / 2..=doubled).contains(&delay), "{delay} of {doubled}");
        doubled = (doubled * 2).min(1_000_000);
    }
    backoff.reset();
    assert!(backoff.next_delay_us() <= 10_000);
}

#[test]
fn seeds_differ_and_repeat() {
    let delays = |seed| {
        let mut backoff = Backoff::new(10_000, 1_000_000, seed);
        (0..10).map(|_| backoff.next_delay_us()).collect::<Vec<_>>()
    };
    assert_eq!(delays(1), delays(1));
    assert_ne!(delays(1), delays(2));
}

#[test]
fn patience_counts_from_the_first_question() {
    let mut patience = Patience::new(10);
    assert!(!patience.is_over(1_000));
    assert!(!patience.is_over(1_009));
    assert!(patience.is_over(1_010));
    patience.restart();
    assert!(!patience.is_over(5_000));
    assert_eq!(patience.until(5_001), 5_010);
    assert_eq!(Patience::new(u64::MAX).until(5), u64::MAX);
}

fn peer(ours: u64, theirs: u64) -> Peer<u32> {
    let backoff = Backoff::new(10_000, 1_000_000, 7);
    Peer::new(ours, theirs, "127.0.0.1:1".parse().unwrap(), backoff)
}

#[test]
fn the_lower_id_calls() {
    assert_eq!(peer(1, 2).call_at(500), Some(500), "at once");
    assert_eq!(peer(2, 1).call_at(500), None);
}

#[test]
fn a_connection_that_lasted_is_called_again_soon() {
    let mut peer = peer(1, 2);
    for _ in 0..20 {
        peer.on_lost();
    }
    peer.on_up(5);
    peer.settle(0);
    assert_eq!((peer.link(), peer.call_at(0)), (Some(5), None));
    peer.on_lost();
    assert!(peer.call_at(0).unwrap() >= 500_000, "up and down at once is one more failure");
    peer.on_up(6);
    peer.settle(7);
    peer.settle(1_000_007);
    peer.on_lost();
    assert!(peer.call_at(0).unwrap() <= 10_000);
}
