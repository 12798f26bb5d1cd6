//! The hazards of promises and leases, one by one, on two nodes whose clocks have nothing in common.

use super::*;

const CONFIG: SupportConfig =
    SupportConfig { beat_us: 100_000, promise_us: 600_000, drift_percent: 10 };
const A: u64 = 1;
const B: u64 = 2;

/// A node in its epoch whose clock begins at `now`, with the other one as its peer.
fn node(epoch: u64, now: u64, peer: u64) -> Support {
    Support::new(CONFIG, Time(now), epoch, &[peer])
}

fn events(support: &mut Support) -> Vec<SupportEvent> {
    std::iter::from_fn(|| support.take_event()).collect()
}

/// What happened to what we promise.
fn given(support: &mut Support) -> Vec<SupportEvent> {
    let is_given = |event: &SupportEvent| {
        matches!(event, SupportEvent::Supports { .. } | SupportEvent::Lapsed { .. })
    };
    events(support).into_iter().filter(is_given).collect()
}

/// What happened to what we are promised.
fn held(support: &mut Support) -> Vec<SupportEvent> {
    let is_held = |event: &SupportEvent| {
        !matches!(event, SupportEvent::Supports { .. } | SupportEvent::Lapsed { .. })
    };
    events(support).into_iter().filter(is_held).collect()
}

/// The beat that is due, with all events taken first.
fn beat(support: &mut Support, now: u64, to: u64) -> Beat {
    events(support);
    support.next_beat(Time(now), to).expect("a beat is due")
}

/// A at 1 s of its clock asked, B at 50 s of its own promised, A at 1.03 s heard of it.
fn supported() -> (Support, Support) {
    let (mut a, mut b) = (node(1, 1_000_000, B), node(1, 50_000_000, A));
    let asks = beat(&mut a, 1_000_000, B);
    b.on_beat(Time(50_010_000), A, &asks);
    let answer = beat(&mut b, 50_010_000, A);
    a.on_beat(Time(1_030_000), B, &answer);
    assert_eq!(
        events(&mut a),
        [SupportEvent::Supports { node: B }, SupportEvent::Gained { node: B }]
    );
    (a, b)
}

const LEASE: u64 = CONFIG.lease_us();

#[test]
fn the_arithmetic_rounds_to_the_safe_side() {
    for drift in 0..=u64::from(DRIFT_PERCENT_MAX) {
        let percent = u8::try_from(drift).unwrap();
        for promise in [30_000, 30_001, 599_999, 600_000, 1_000_000, 59_999_999, PROMISE_US_MAX] {
            let (lease, wait) =
                (promise::lease_us(promise, percent), promise::restart_wait_us(promise, percent));
            // lease / slow <= (promise - 1) / fast, and one more microsecond would be too much.
            assert!(lease * (100 + drift) <= (promise - 1) * (100 - drift));
            assert!((lease + 1) * (100 + drift) > (promise - 1) * (100 - drift));
            // (wait - 1) / fast >= promise / slow, and one less would be too little.
            assert!((wait - 1) * (100 - drift) >= promise * (100 + drift));
            assert!((wait - 2) * (100 - drift) < promise * (100 + drift));
        }
    }
    assert_eq!(
        promise::lease_us(u64::MAX, 0),
        u64::MAX / 100,
        "saturated, and short rather than long"
    );
    assert_eq!(promise::lease_us(0, 10), 0);
    assert_eq!(promise::certain_until(Time(9), Time(u64::MAX - 5), 60_000_000, 0), Time::NEVER);
}

#[test]
fn limits_are_checked_by_name() {
    let check = |change: &dyn Fn(&mut SupportConfig)| {
        let mut config = CONFIG;
        change(&mut config);
        config.validate()
    };
    assert_eq!(check(&|_| {}), Ok(()));
    assert_eq!(SupportConfig::default(), CONFIG);
    for us in [0, 9_999, 1_000_001, u64::MAX] {
        assert_eq!(check(&|config| config.beat_us = us), Err(SupportConfigError::Beat { us }));
    }
    for us in [0, 299_999, PROMISE_US_MAX + 1, u64::MAX] {
        let error = SupportConfigError::Promise { us, least: 300_000 };
        assert_eq!(check(&|config| config.promise_us = us), Err(error));
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(check(&|config| config.promise_us = 300_000), Ok(()));
    assert_eq!(check(&|config| config.drift_percent = 20), Ok(()));
    let drift = check(&|config| config.drift_percent = 21);
    assert_eq!(drift, Err(SupportConfigError::Drift { percent: 21 }));
}

#[test]
fn a_steady_pair_keeps_its_promises_with_one_beat_each_per_interval() {
    let (mut a, mut b) = supported();
    let (mut sent, mut until) = (0, a.supported_by(B));
    for step in 1..=1_000 {
        let elapsed = step * 10_000;
        if let Some(asks) = a.next_beat(Time(1_030_000 + elapsed), B) {
            sent += 1;
            b.on_beat(Time(50_015_000 + elapsed), A, &asks);
        }
        if let Some(answer) = b.next_beat(Time(50_020_000 + elapsed), A) {
            sent += 1;
            a.on_beat(Time(1_035_000 + elapsed), B, &answer);
        }
        a.tick(Time(1_040_000 + elapsed));
        assert!(a.supported_by(B) >= until && b.supports(A), "{elapsed}");
        until = a.supported_by(B);
    }
    let gained = SupportEvent::Gained { node: A };
    assert_eq!((events(&mut a), events(&mut b)), (vec![], vec![gained]), "and nothing after that");
    assert!((198..=204).contains(&sent), "{sent} beats in ten seconds");
    assert_eq!(a.promise_by(B), b.promise_to(A));
    let pair = a.pairs().next().unwrap();
    let trips = pair.round_trips.unwrap();
    assert!(trips.p50_us <= trips.p99_us && trips.max_us < 130_000, "{trips:?}");
    assert_eq!((pair.beats_missed, pair.beats_ignored, pair.epoch), (0, 0, 1));
}

#[test]
fn r8_a_lease_counts_from_the_sending_and_a_promise_from_the_receipt() {
    let (a, mut b) = supported();
    assert_eq!(a.supported_by(B), Time(1_000_000 + LEASE));
    b.tick(Time(50_609_999));
    assert!(b.supports(A));
    b.tick(Time(50_610_000));
    assert!(!b.supports(A));
}

#[test]
fn r8_the_lease_ends_before_the_promise_at_every_clock_rate() {
    // True time in units of which the clocks make 90 to 110 per 100.
    for rate_a in [90, 95, 100, 105, 110_u64] {
        for rate_b in [90, 95, 100, 105, 110_u64] {
            for delay in [0, 1, 7, 50_000, 400_000_u64] {
                let clock_a = |true_us: u64| Time(5_000_000 + true_us * rate_a / 100);
                let clock_b = |true_us: u64| Time(9_000_003 + true_us * rate_b / 100);
                let (mut a, mut b) = (node(1, 5_000_000, B), node(1, 9_000_003, A));
                let asks = a.next_beat(clock_a(1_000), B).unwrap();
                b.on_beat(clock_b(1_000 + delay), A, &asks);
                let answer = beat(&mut b, clock_b(1_000 + delay).0, A);
                a.on_beat(clock_a(1_000 + delay), B, &answer);
                // The last moment at which A counts, and the first at which B is free.
                let until = a.supported_by(B).0;
                let mut at = (until - 5_000_000) * 100 / rate_a;
                while clock_a(at) >= Time(until) {
                    at -= 1;
                }
                b.tick(clock_b(at));
                assert!(b.supports(A), "rates {rate_a} and {rate_b}, delay {delay}");
                assert!(clock_a(at + 2) >= Time(until), "that was the last moment");
            }
        }
    }
}

#[test]
fn r8_pauses_of_whoever_asks_make_no_lease_longer() {
    for pause in [1, 5, 30_u64].map(|s| s * 1_000_000) {
        let (mut a, mut b) = (node(1, 1_000_000, B), node(1, 50_000_000, A));
        let asks = beat(&mut a, 1_000_000, B);
        b.on_beat(Time(50_010_000), A, &asks);
        let answer = beat(&mut b, 50_010_000, A);
        // A sleeps with the answer in its socket, and wakes when B has long been free.
        a.on_beat(Time(1_010_000 + pause), B, &answer);
        assert_eq!(a.supported_by(B), Time(0));
        assert_eq!(events(&mut a), [SupportEvent::Supports { node: B }], "and nothing is gained");
    }
}

#[test]
fn r8_pauses_of_whoever_promises_make_the_promise_later_and_the_lease_not() {
    for pause in [1, 5, 30_u64].map(|s| s * 1_000_000) {
        let (mut a, mut b) = supported();
        // Ten beats wait in B's socket while it sleeps; the promise of before has run out by then.
        let waiting: Vec<Beat> =
            (1..=10).map(|n| a.next_beat(Time(1_000_000 + n * 100_000), B).unwrap()).collect();
        let woke = 50_010_000 + pause;
        for asks in &waiting {
            b.on_beat(Time(woke), A, asks);
        }
        let began = [SupportEvent::Lapsed { node: A }, SupportEvent::Supports { node: A }];
        assert_eq!(given(&mut b), began, "what ran out is not continued");
        let answer = b.next_beat(Time(woke), A).unwrap();
        assert_eq!(answer.promise.unwrap().answers, waiting[9].sent_at);
        a.on_beat(Time(1_030_000 + pause), B, &answer);
        let lost_first = held(&mut a);
        assert_eq!(lost_first[0], SupportEvent::Lost { node: B });
        let gains = 2_000_000 + LEASE > 1_030_000 + pause;
        assert_eq!(lost_first.len(), 1 + usize::from(gains));
        assert_eq!(a.supported_by(B), Time(if gains { 2_000_000 + LEASE } else { 0 }));
        b.tick(Time(woke + 600_000));
        assert!(!b.supports(A));
    }
}

#[test]
fn r8_an_answer_to_nothing_we_sent_yet_is_for_nobody() {
    let (mut a, mut b) = (node(1, 1_000_000, B), node(1, 50_000_000, A));
    let mut answer = beat(&mut b, 50_000_000, A);
    let promise =
        Promise { epoch: 1, lapses: 0, answers: Time(1_000_001), for_us: 1_000_000, held_us: 0 };
    answer.promise = Some(promise);
    a.on_beat(Time(1_000_000), B, &answer);
    assert_eq!(a.supported_by(B), Time(0));
    // The end of all numbers is an end, not a wrap.
    let until_never = Promise { answers: Time(1_000_000), for_us: u32::MAX, ..promise };
    let answer = Beat { sequence: 2, promise: Some(until_never), ..answer };
    a.on_beat(Time(1_000_000), B, &answer);
    assert_eq!(a.supported_by(B), Time(1_000_000 + promise::lease_us(u32::MAX.into(), 10)));
}

#[test]
fn a_promise_once_lapsed_is_a_new_one() {
    let (mut a, mut b) = supported();
    let name = a.promise_by(B);
    assert_eq!(name, b.promise_to(A));
    // B hears nothing until its promise has ended, though nobody looked at the clock.
    a.tick(Time(1_000_000 + LEASE));
    assert_eq!(held(&mut a), [SupportEvent::Lost { node: B }]);
    let asks = beat(&mut a, 1_700_000, B);
    b.on_beat(Time(50_710_000), A, &asks);
    let began = [SupportEvent::Lapsed { node: A }, SupportEvent::Supports { node: A }];
    assert_eq!(given(&mut b), began);
    let answer = beat(&mut b, 50_710_000, A);
    a.on_beat(Time(1_730_000), B, &answer);
    assert_eq!(held(&mut a), [SupportEvent::Gained { node: B }]);
    assert_ne!(a.promise_by(B), name);
    assert_eq!(a.promise_by(B), b.promise_to(A));
    assert_eq!(a.promise_by(B).map(|name| name.lapses), Some(1));
}

#[test]
fn a_new_promise_is_a_new_one_even_where_the_old_one_is_still_counted_on() {
    // A's clock stands still, so it never sees its lease end: its own fault, but no reason to mix promises up.
    let (mut a, mut b) = supported();
    let name = a.promise_by(B);
    let asks = Beat { sequence: 2, ..beat(&mut node(1, 1_030_000, B), 1_030_000, B) };
    b.on_beat(Time(50_710_000), A, &asks);
    let answer = beat(&mut b, 50_710_000, A);
    a.on_beat(Time(1_030_000), B, &answer);
    assert_eq!(held(&mut a), [SupportEvent::Lost { node: B }, SupportEvent::Gained { node: B }]);
    assert!(a.promise_by(B) > name);
}

#[test]
fn support_lost_from_sight_is_resumed_and_not_gained() {
    let (mut a, mut b) = supported();
    let name = a.promise_by(B);
    let asks = beat(&mut a, 1_300_000, B);
    b.on_beat(Time(50_310_000), A, &asks);
    let answer = beat(&mut b, 50_310_000, A);
    // The answer is held up for longer than the first lease, but not than its own.
    a.tick(Time(1_000_000 + LEASE));
    assert_eq!(events(&mut a), [SupportEvent::Lost { node: B }]);
    a.on_beat(Time(1_600_000), B, &answer);
    assert_eq!(events(&mut a), [SupportEvent::Resumed { node: B }]);
    assert_eq!(a.supported_by(B), Time(1_300_000 + LEASE));
    assert_eq!(a.promise_by(B), name);
    assert_eq!(b.promise_to(A), name, "B never ended it");
}

#[test]
fn a_restart_of_who_asks_ends_the_promise_at_once() {
    let (_, mut b) = supported();
    let mut reborn = node(2, 1_000, B);
    assert_eq!(reborn.votes_from(), Time(1_000 + CONFIG.restart_wait_us()));
    let asks = beat(&mut reborn, 1_000, B);
    b.on_beat(Time(50_020_000), A, &asks);
    let began = [SupportEvent::Lapsed { node: A }, SupportEvent::Supports { node: A }];
    assert_eq!(events(&mut b), began);
    let answer = beat(&mut b, 50_020_000, A);
    assert_eq!(answer.promise.map(|promise| (promise.epoch, promise.lapses)), Some((2, 1)));
    reborn.on_beat(Time(31_000), B, &answer);
    assert_eq!(reborn.supported_by(B), Time(1_000 + LEASE));
}

#[test]
fn a_restart_of_who_promises_ends_what_was_counted_on_at_once() {
    let (mut a, _) = supported();
    let mut reborn = node(2, 0, A);
    let plain = beat(&mut reborn, 0, A);
    assert_eq!(plain.promise, None);
    a.on_beat(Time(1_050_000), B, &plain);
    assert_eq!(held(&mut a), [SupportEvent::Lost { node: B }]);
    assert_eq!(a.supported_by(B), Time(0));
    // Even when the first that is heard of it is a promise.
    let (mut a, _) = supported();
    let asks = beat(&mut a, 1_100_000, B);
    reborn.on_beat(Time(100_000), A, &asks);
    let answer = beat(&mut reborn, 100_000, A);
    a.on_beat(Time(1_130_000), B, &answer);
    assert_eq!(held(&mut a), [SupportEvent::Lost { node: B }, SupportEvent::Gained { node: B }]);
    assert_eq!(a.promise_by(B).map(|name| (name.promiser, name.lapses)), Some((2, 0)));
}

#[test]
fn a_greeting_with_a_new_epoch_ends_all_before_the_first_beat() {
    let (mut a, mut b) = supported();
    b.on_epoch(Time(50_020_000), A, 1);
    assert_eq!(events(&mut b), [], "the same life");
    b.on_epoch(Time(50_020_000), A, 2);
    assert_eq!(events(&mut b), [SupportEvent::Lapsed { node: A }]);
    assert!(!b.supports(A));
    // What the former life had on its way is void, however late it comes.
    let late = beat(&mut a, 1_100_000, B);
    b.on_beat(Time(50_030_000), A, &late);
    assert_eq!((b.supports(A), events(&mut b)), (false, vec![]));
    b.on_epoch(Time(50_040_000), A, 1);
    assert_eq!(events(&mut b), [], "a greeting that is older still");
    a.on_epoch(Time(1_200_000), B, 2);
    assert_eq!(events(&mut a), [SupportEvent::Lapsed { node: B }, SupportEvent::Lost { node: B }]);
    b.on_epoch(Time(50_040_000), 77, 1);
    assert_eq!(events(&mut b), [], "no peer");
}

#[test]
fn only_the_first_life_votes_at_once() {
    assert_eq!(node(1, 5, B).votes_from(), Time(5));
    for epoch in [2, 3, u64::MAX] {
        assert_eq!(node(epoch, 5, B).votes_from(), Time(5 + CONFIG.restart_wait_us()));
    }
    assert_eq!(node(2, u64::MAX - 5, B).votes_from(), Time::NEVER);
}

#[test]
fn promises_to_a_former_life_are_for_nobody() {
    let (mut a, mut b) = (node(1, 1_000_000, B), node(1, 50_000_000, A));
    let asks = beat(&mut a, 1_000_000, B);
    b.on_beat(Time(50_010_000), A, &asks);
    let answer = beat(&mut b, 50_010_000, A);
    // The answer finds A started again, with a clock that is ahead of what it answers.
    let mut reborn = node(2, 2_000_000, B);
    reborn.on_beat(Time(2_000_000), B, &answer);
    assert_eq!(reborn.supported_by(B), Time(0));
    assert_eq!(events(&mut reborn), [SupportEvent::Supports { node: B }]);
}

#[test]
fn asymmetric_loss_ends_each_direction_by_itself() {
    let (mut a, mut b) = supported();
    // A's beats are lost, B's arrive: B supports A no longer, and says so.
    for step in 1..=10 {
        let elapsed = step * 100_000;
        a.next_beat(Time(1_030_000 + elapsed), B);
        b.tick(Time(50_010_000 + elapsed));
        let says = beat(&mut b, 50_010_000 + elapsed, A);
        assert_eq!(says.promise.is_some(), elapsed < 600_000, "{elapsed}");
        a.on_beat(Time(1_035_000 + elapsed), B, &says);
        assert!(a.supports(B), "who is heard is supported");
        // The lease rests on the one beat that came through.
        let lease = if elapsed + 35_000 < LEASE { 1_000_000 + LEASE } else { 0 };
        assert_eq!(a.supported_by(B), Time(lease), "{elapsed}");
    }
    assert_eq!(events(&mut a), [SupportEvent::Lost { node: B }]);
}

#[test]
fn duplicates_and_what_is_overtaken_are_ignored() {
    let (mut a, mut b) = (node(1, 1_000_000, B), node(1, 50_000_000, A));
    let first = beat(&mut a, 1_000_000, B);
    let second = beat(&mut a, 1_100_000, B);
    b.on_beat(Time(50_110_000), A, &second);
    b.on_beat(Time(50_120_000), A, &first);
    b.on_beat(Time(50_700_000), A, &second);
    b.on_beat(Time(50_700_000), A, &first);
    let ended = [SupportEvent::Supports { node: A }, SupportEvent::Lapsed { node: A }];
    assert_eq!(b.take_event(), Some(ended[0]));
    b.tick(Time(50_710_000));
    assert_eq!(events(&mut b), [ended[1]], "they make no promise longer");
    b.on_beat(Time(50_720_000), A, &second);
    assert!(!b.supports(A), "nor do they begin one");
    assert_eq!(b.pairs().next().unwrap().beats_ignored, 4);
    // The same of answers.
    let (mut a, mut b) = supported();
    let asks = beat(&mut a, 1_200_000, B);
    let old = beat(&mut b, 50_210_000, A);
    b.on_beat(Time(50_210_000), A, &asks);
    let new = beat(&mut b, 50_310_000, A);
    a.on_beat(Time(1_320_000), B, &new);
    a.on_beat(Time(1_330_000), B, &old);
    a.on_beat(Time(1_340_000), B, &new);
    assert_eq!(a.supported_by(B), Time(1_200_000 + LEASE), "nor shorter");
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let (mut a, mut b) = supported();
    beat(&mut a, 1_030_000, B);
    a.tick(Time(0));
    b.tick(Time(0));
    assert_eq!(a.next_beat(Time(5), B), None, "not due");
    let asks = beat(&mut a, 1_130_000, B);
    assert_eq!(beat(&mut a, 1_230_000, B).sent_at, Time(1_230_000));
    assert_eq!(a.next_beat(Time(3), B), None);
    b.on_beat(Time(1), A, &asks);
    // The promise begins at the latest time that B knows, not at the one it was told.
    b.tick(Time(50_609_999));
    assert!(b.supports(A));
    b.tick(Time(50_610_000));
    assert!(!b.supports(A));
    // What has ended has ended, whatever the clock says afterwards.
    a.tick(Time(2_000_000));
    events(&mut a);
    a.tick(Time(1_100_000));
    assert_eq!((a.supported_by(B), events(&mut a)), (Time(0), vec![]));
}

#[test]
fn a_clock_that_stands_still_sends_no_flood() {
    let (mut a, _) = supported();
    assert_eq!(a.next_beat(Time(1_030_000), B).map(|beat| beat.sequence), Some(2), "told at once");
    for _ in 0..100 {
        assert_eq!(a.next_beat(Time(1_030_000), B), None);
    }
    // After a long sleep one beat is due, not one for each interval.
    assert!(a.next_beat(Time(90_000_000), B).is_some());
    events(&mut a);
    assert_eq!(a.next_beat(Time(90_000_001), B), None);
}

#[test]
fn g16_a_stalled_log_asks_for_nothing_and_promises_nothing_new() {
    let (mut a, mut b) = supported();
    a.set_stalled(true);
    for step in 1..=10 {
        let now = Time(1_030_000 + step * 100_000);
        a.tick(now);
        assert_eq!(a.next_beat(now, B), None);
    }
    assert_eq!(events(&mut a), [SupportEvent::Lost { node: B }, SupportEvent::Lapsed { node: B }]);
    assert_eq!(a.deadline(), None, "nothing to wake up for");
    b.tick(Time(50_610_000));
    assert_eq!(b.take_event(), Some(SupportEvent::Lapsed { node: A }));
    // It still hears others: its replicas follow them.
    let asks = beat(&mut b, 50_700_000, A);
    a.on_beat(Time(2_100_000), B, &asks);
    assert!(a.supports(B));
    // When the log moves again, a beat is due at once, and all begins anew.
    a.set_stalled(false);
    assert!(a.deadline().is_some_and(|at| at <= Time(2_100_000)));
    let asks = beat(&mut a, 2_100_000, B);
    b.on_beat(Time(51_110_000), A, &asks);
    assert_eq!(given(&mut b), [SupportEvent::Supports { node: A }]);
    assert_eq!(b.promise_to(A).map(|name| name.lapses), Some(1));
}

#[test]
#[should_panic(expected = "is told to the groups before it leaves")]
fn a_promise_leaves_only_after_it_was_told() {
    let (mut a, mut b) = (node(1, 0, B), node(1, 0, A));
    b.on_beat(Time(0), A, &beat(&mut a, 0, B));
    b.next_beat(Time(0), A);
}

#[test]
#[should_panic(expected = "not validated")]
fn a_configuration_that_cannot_work_is_not_used() {
    let config = SupportConfig { promise_us: 100, ..CONFIG };
    drop(Support::new(config, Time(0), 1, &[]));
}

#[test]
fn strangers_are_nobody_and_a_node_alone_needs_nobody() {
    let mut alone = Support::new(CONFIG, Time(0), 1, &[]);
    let (mut a, _) = supported();
    alone.on_beat(Time(0), 9, &beat(&mut a, 2_000_000, B));
    alone.tick(Time(1));
    assert_eq!((alone.take_event(), alone.deadline()), (None, None));
    assert_eq!((alone.next_beat(Time(2), 9), alone.supported_by(9)), (None, Time(0)));
    assert!(!alone.supports(9) && alone.promise_by(9).is_none());
    // Named twice is one peer.
    assert_eq!(Support::new(CONFIG, Time(0), 1, &[3, 2, 3]).pairs().count(), 2);
}

#[test]
fn deadlines_name_the_next_thing_to_do() {
    let (mut a, mut b) = supported();
    assert_eq!(a.deadline(), Some(Time(1_030_000)), "B is to hear at once that it is supported");
    beat(&mut a, 1_030_000, B);
    assert_eq!(a.deadline(), Some(Time(1_130_000)));
    a.set_stalled(true);
    assert_eq!(a.deadline(), Some(Time(1_000_000 + LEASE)));
    a.tick(Time(1_000_000 + LEASE));
    assert_eq!(a.deadline(), Some(Time(1_630_000)), "the promise to B");
    b.set_stalled(true);
    assert_eq!(b.deadline(), Some(Time(50_610_000)));
}

#[test]
fn a_promise_is_good_for_as_long_as_it_says() {
    // Nodes of different settings: what counts is the promiser's.
    let long = SupportConfig { promise_us: 2_000_000, ..CONFIG };
    let (mut a, mut b) = (node(1, 0, B), Support::new(long, Time(0), 1, &[A]));
    b.on_beat(Time(10_000), A, &beat(&mut a, 0, B));
    let answer = beat(&mut b, 10_000, A);
    a.on_beat(Time(20_000), B, &answer);
    assert_eq!(a.supported_by(B), Time(long.lease_us()));
    a.on_beat(Time(20_000), B, &beat(&mut b, 110_000, A));
    let (mut c, mut d) = (Support::new(long, Time(0), 1, &[B]), node(1, 0, A));
    d.on_beat(Time(10_000), A, &beat(&mut c, 0, B));
    c.on_beat(Time(20_000), B, &beat(&mut d, 10_000, A));
    assert_eq!(c.supported_by(B), Time(LEASE));
}
