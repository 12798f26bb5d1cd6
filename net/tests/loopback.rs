//! Two transports on loopback: many frames, slow readers, lost and replaced connections, lanes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kontiki_net::{
    BlockSource, Conn, ConnError, DecodeError, DownReason, Identity, Incoming, Net, NetConfig,
    NetError, NetEvent, Side, WRITE_QUEUE_HARD_FACTOR, check_append, encode_entry,
};
use kontiki_raft::{AppendHeader, Index, MessageKind, Span};

use support::*;

/// Takes all frames there are and returns the rounds of their messages, checking every block.
fn take_rounds(net: &mut Net, budget: usize) -> Vec<u64> {
    let mut rounds = Vec::new();
    let mut spans = Vec::new();
    net.for_each_frame(budget, |_, frame| {
        for incoming in frame.messages() {
            rounds.push(match incoming? {
                Incoming::Append { group, header, blocks } => {
                    spans.clear();
                    check_append(group, &header, blocks, &mut spans)?;
                    assert_eq!(
                        spans,
                        [Span { term: header.term, first: header.last, last: header.last }]
                    );
                    header.read_round
                }
                Incoming::Beat(beat) => panic!("{beat:?} was not sent"),
                Incoming::Message { message, .. } => match message.kind {
                    MessageKind::HeartbeatAck { read_round } => read_round,
                    other => panic!("{other:?} was not sent"),
                },
            });
        }
        Ok(())
    });
    rounds
}

#[test]
fn many_frames_of_all_sizes_arrive_in_order() {
    let clock = Clock::new();
    let small = |node| NetConfig { socket_buffer_bytes: Some(16 << 10), ..config(node) };
    let (mut a, mut b) = pair(small(1), small(2));
    connect(&mut a, &mut b, &clock);
    let total = 4_000_u64;
    let sizes = [0, 16, 300, 4_000, 4_096, 70_000, 1 << 20];
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < usize::try_from(total).unwrap() {
        let mut round = Vec::new();
        a.poll(Some(Duration::ZERO), clock.us()).unwrap();
        while let Some(event) = a.next_event() {
            assert!(!is_down(&event), "{event:?}");
        }
        for _ in 0..100 {
            let outbox = a.outbox(2).unwrap();
            if sent == total || outbox.window_left() < 2 << 20 {
                break;
            }
            let size = sizes[usize::try_from(sent).unwrap() % sizes.len()];
            let (header, buffer) = append(sent % 50, sent, size);
            match sent % 3 {
                0 => outbox.push_message(sent % 50, &numbered(sent)),
                1 => outbox.push_append(sent % 50, &header, &[whole(&buffer)], &round),
                _ => {
                    let start = round.len();
                    round.extend_from_slice(&buffer);
                    let source = BlockSource::Round { range: start..round.len() };
                    outbox.push_append(sent % 50, &header, &[source], &round);
                }
            }
            sent += 1;
        }
        a.flush(Some(&Arc::new(round)));
        assert!(!turn(&mut b, &clock).iter().any(is_down));
        got.extend(take_rounds(&mut b, 1 << 20));
    }
    assert!(got.into_iter().eq(0..total));
    let (out, into) = (a.stats(), b.stats());
    assert_eq!(out.bytes_out, into.bytes_in);
    assert_eq!((out.messages_out, into.messages_in), (total, total));
    assert!(out.writes > out.frames_out, "small buffers write in parts: {out:?}");
}

#[test]
fn messages_of_a_round_share_one_write() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    let before = a.stats();
    for round in 0..1_000 {
        a.outbox(2).unwrap().push_message(round, &numbered(round));
    }
    a.flush(None);
    assert_eq!(a.stats().writes, before.writes + 1);
    let mut got = Vec::new();
    while got.len() < 1_000 {
        turn(&mut b, &clock);
        got.extend(take_rounds(&mut b, usize::MAX));
    }
    assert!(got.into_iter().eq(0..1_000));
}

/// Pushes appends of 64 KiB until the window refuses the next; returns how many.
fn fill(net: &mut Net, node: u64, from: u64) -> u64 {
    let mut sent = from;
    loop {
        let outbox = net.outbox(node).unwrap();
        let (header, buffer) = append(1, sent, 64 << 10);
        if outbox.window_left() < buffer.len() {
            return sent;
        }
        outbox.push_append(1, &header, &[whole(&buffer)], &[]);
        sent += 1;
    }
}

#[test]
fn a_slow_reader_holds_the_sender_back_and_loses_nothing() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    let mut sent = 0;
    loop {
        let filled = fill(&mut a, 2, sent);
        assert!(a.outbox(2).unwrap().queued_bytes() <= 16 << 20);
        if filled == sent {
            break;
        }
        sent = filled;
        // The reader polls and does not read: the bytes stay with TCP, and then with the sender.
        assert!(!turn(&mut a, &clock).iter().any(is_down));
        assert!(!turn(&mut b, &clock).iter().any(is_down));
        assert_eq!(b.stats().frames_in, 0);
    }
    let (mut got, mut events) = (Vec::new(), Vec::new());
    while got.len() < usize::try_from(sent).unwrap() {
        events.extend(turn(&mut a, &clock));
        turn(&mut b, &clock);
        got.extend(take_rounds(&mut b, usize::MAX));
    }
    assert!(got.into_iter().eq(0..sent));
    assert_eq!(events, [NetEvent::Writable { node: 2 }]);
    assert_eq!(a.outbox(2).unwrap().queued_bytes(), 0);
}

#[test]
fn a_reader_that_never_reads_is_given_up_after_the_configured_time() {
    let mut clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    let mut sent = 0;
    loop {
        let filled = fill(&mut a, 2, sent);
        assert!(!turn(&mut a, &clock).iter().any(is_down));
        if filled == sent {
            break;
        }
        sent = filled;
    }
    clock.ahead_us += 9_000_000;
    assert!(!turn(&mut a, &clock).iter().any(is_down), "the time is not over");
    clock.ahead_us += 2_000_000;
    let events = turn(&mut a, &clock);
    assert_eq!(events, [NetEvent::PeerDown { node: 2, reason: DownReason::Stalled }]);
    assert!(a.outbox(2).is_none());
}

#[test]
fn a_queue_past_the_hard_limit_ends_the_connection() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    let hard = (16 << 20) * WRITE_QUEUE_HARD_FACTOR;
    let outbox = a.outbox(2).unwrap();
    // Far more than the kernel's buffers take in one flush.
    while outbox.queued_bytes() < hard + (32 << 20) {
        outbox.push_message(1, &numbered(0));
    }
    a.flush(None);
    let event = a.next_event();
    assert!(
        matches!(
            event,
            Some(NetEvent::PeerDown { node: 2, reason: DownReason::QueueOverflow { queued, max } })
                if queued > max && max == hard as u64
        ),
        "{event:?}"
    );
}

#[test]
fn a_lost_peer_is_called_again_with_growing_delays() {
    let mut clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    drop(b);
    let mut events = Vec::new();
    while !events.iter().any(is_down) {
        events = turn(&mut a, &clock);
        a.for_each_frame(usize::MAX, |_, _| Ok(()));
    }
    let closed = events.iter().any(|event| {
        matches!(event, NetEvent::PeerDown { node: 2, reason: DownReason::Conn(ConnError::Closed) })
    });
    assert!(closed, "{events:?}");

    // Nobody listens there any more: every call is declined, and the next one waits longer.
    let mut declined = Vec::new();
    while declined.len() < 12 {
        clock.ahead_us += 1_000;
        for event in turn(&mut a, &clock) {
            assert!(matches!(event, NetEvent::Refused { node: Some(2), .. }), "{event:?}");
            declined.push(clock.us());
        }
    }
    let gaps: Vec<u64> = declined.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] < 100_000, "{gaps:?}");
    assert!(gaps[9] > 400_000, "{gaps:?}");

    // It comes back elsewhere, with another store.
    let (listen, address) = listener();
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let wiped = NetConfig {
        peers: vec![(1, nowhere)],
        listen: Some(listen),
        store_id: 99,
        epoch: 7,
        ..config(2)
    };
    let mut b = Net::new(wiped).unwrap();
    a.set_peer(2, address);
    let mut events = Vec::new();
    while !events.iter().any(is_up) {
        clock.ahead_us += 10_000;
        events = turn(&mut a, &clock);
        turn(&mut b, &clock);
    }
    assert_eq!(events, [NetEvent::PeerUp { node: 2, store_id: 99, epoch: 7 }]);
}

/// A caller made of a blocking socket and a bare connection, for what a whole transport never does.
struct Caller {
    stream: TcpStream,
    conn: Conn,
}

impl Caller {
    fn new(net: &Net, node: u64, store_id: u128) -> Self {
        let stream = TcpStream::connect(net.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let identity =
            Identity { cluster_id: CLUSTER, node_id: node, store_id, epoch: 1, lane_count: 1 };
        let conn = Conn::new(identity, Side::Caller { node: 2, lane: 0 }, 1 << 20);
        let mut caller = Self { stream, conn };
        caller.write();
        caller
    }

    fn write(&mut self) {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let filled = self.conn.queue().gather(&mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        self.stream.write_all(&bytes).unwrap();
        self.conn.outbox().consume(bytes.len());
    }

    /// What there is to read; zero at the end or when nothing is there.
    fn read(&mut self) -> std::io::Result<usize> {
        let n = self.stream.read(self.conn.read_space())?;
        self.conn.filled(n);
        Ok(n)
    }
}

#[test]
fn a_newer_connection_takes_the_place_of_a_live_one() {
    let clock = Clock::new();
    let (_, mut b) = pair(config(1), config(2));
    let _first = Caller::new(&b, 1, 5);
    let mut events = Vec::new();
    while events.is_empty() {
        events = turn(&mut b, &clock);
    }
    assert_eq!(events, [NetEvent::PeerUp { node: 1, store_id: 5, epoch: 1 }]);

    let mut second = Caller::new(&b, 1, 6);
    let mut events = Vec::new();
    while events.is_empty() {
        events = turn(&mut b, &clock);
    }
    let replaced = NetEvent::PeerDown { node: 1, reason: DownReason::Replaced };
    assert_eq!(events, [replaced, NetEvent::PeerUp { node: 1, store_id: 6, epoch: 1 }]);

    second.conn.outbox().push_message(9, &numbered(77));
    second.conn.outbox().seal(None);
    second.write();
    let mut got = Vec::new();
    while got.is_empty() {
        assert_eq!(turn(&mut b, &clock), []);
        got = take_rounds(&mut b, usize::MAX);
    }
    assert_eq!(got, [77]);
}

#[test]
fn a_refused_caller_hears_why() {
    let clock = Clock::new();
    let (_, mut b) = pair(config(1), config(2));
    let mut stranger = Caller::new(&b, 3, 5);
    let mut events = Vec::new();
    while events.is_empty() {
        events = turn(&mut b, &clock);
    }
    let unknown = ConnError::WrongDirection { node: 3 };
    assert!(
        matches!(events[..], [NetEvent::Refused { node: None, error, .. }] if error == unknown),
        "{events:?}"
    );
    let told = loop {
        clock.us();
        stranger.read().ok();
        match stranger.conn.handshake(|_| true) {
            Ok(None) => {}
            Ok(Some(peer)) => panic!("{peer:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(told, ConnError::Refused(unknown.refusal()));
    assert_eq!(b.stats().refused, 1);
}

#[test]
fn a_silent_caller_is_given_up() {
    let mut clock = Clock::new();
    let (_, mut b) = pair(config(1), config(2));
    let stream = TcpStream::connect(b.local_addr().unwrap()).unwrap();
    for _ in 0..20 {
        assert_eq!(turn(&mut b, &clock), []);
    }
    let mut events = Vec::new();
    while events.is_empty() {
        clock.ahead_us += 1_000_000;
        events = turn(&mut b, &clock);
    }
    let address = stream.local_addr().unwrap();
    let error = ConnError::HandshakeTimeout;
    assert_eq!(events, [NetEvent::Refused { node: None, address, error }]);
}

#[test]
fn a_handler_that_finds_fault_ends_that_connection() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    a.outbox(2).unwrap().push_message(1, &numbered(1));
    a.flush(None);
    let fault = DecodeError::AppendGroup { expected: 1, found: 2 };
    let mut events = Vec::new();
    while events.is_empty() {
        b.for_each_frame(usize::MAX, |node, _| {
            assert_eq!(node, 1);
            Err(fault)
        });
        events = turn(&mut b, &clock);
    }
    let reason = DownReason::Conn(ConnError::Decode(fault));
    assert_eq!(events, [NetEvent::PeerDown { node: 1, reason }]);
    // The other side hears that its bytes were not understood.
    let mut events = Vec::new();
    while events.is_empty() {
        a.for_each_frame(usize::MAX, |_, _| Ok(()));
        events = turn(&mut a, &clock);
    }
    let told = ConnError::Refused(ConnError::Decode(fault).refusal());
    assert_eq!(events, [NetEvent::PeerDown { node: 2, reason: DownReason::Conn(told) }]);
}

#[test]
fn what_the_budget_left_over_keeps_the_next_poll_awake() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    for round in 0..10 {
        a.outbox(2).unwrap().push_message(1, &numbered(round));
        a.flush(None);
    }
    let mut got = Vec::new();
    while got.len() < 10 {
        // No event is coming once all has arrived: without the memory of it, this would hang.
        b.poll(None, clock.us()).unwrap();
        assert_eq!(b.next_event(), None);
        let more = take_rounds(&mut b, 1);
        assert!(more.len() <= 1, "one frame uses the budget up");
        got.extend(more);
    }
    assert!(got.into_iter().eq(0..10));
}

#[test]
fn lanes_are_handed_to_their_workers() {
    let clock = Clock::new();
    let (listen, address) = listener();
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let lane = |node, lane, peers: (u64, _)| NetConfig {
        lane,
        lane_count: 2,
        peers: vec![peers],
        ..config(node)
    };
    let mut a0 = Net::new(lane(1, 0, (2, address))).unwrap();
    let mut a1 = Net::new(lane(1, 1, (2, address))).unwrap();
    let with_listener = NetConfig { listen: Some(listen), ..lane(2, 0, (1, nowhere)) };
    let mut b0 = Net::new(with_listener).unwrap();
    let mut b1 = Net::new(lane(2, 1, (1, nowhere))).unwrap();
    let mut ups = [false; 4];
    while ups != [true; 4] {
        for (net, up) in [&mut a0, &mut a1, &mut b0, &mut b1].into_iter().zip(&mut ups) {
            *up |= turn(net, &clock).iter().any(is_up);
        }
        while let Some((lane, handoff)) = b0.take_handoff() {
            assert_eq!((lane, handoff.lane(), handoff.node()), (1, 1, 1));
            b1.adopt(handoff);
        }
    }
    for (from, to, round) in [(&mut a0, &mut b0, 100), (&mut a1, &mut b1, 101)] {
        from.outbox(2).unwrap().push_message(1, &numbered(round));
        from.flush(None);
        let mut got = Vec::new();
        while got.is_empty() {
            turn(to, &clock);
            got = take_rounds(to, usize::MAX);
        }
        assert_eq!(got, [round]);
        to.outbox(1).unwrap().push_message(1, &numbered(round + 100));
        to.flush(None);
        let mut got = Vec::new();
        while got.is_empty() {
            turn(from, &clock);
            got = take_rounds(from, usize::MAX);
        }
        assert_eq!(got, [round + 100]);
    }
}

#[test]
fn a_wake_ends_a_sleep_and_many_wakes_cost_one() {
    fn is_send<T: Send>() {}
    is_send::<Net>();
    is_send::<kontiki_net::Handoff>();

    let clock = Clock::new();
    let mut net = Net::new(config(1)).unwrap();
    let waker = net.waker();
    // Before the sleep.
    for _ in 0..1_000 {
        waker.wake();
    }
    net.poll(None, clock.us()).unwrap();
    // During the sleep, or just before it.
    let thread = std::thread::Builder::new().spawn(move || waker.wake()).unwrap();
    net.poll(None, clock.us()).unwrap();
    thread.join().unwrap();
    // Taken back: this one runs into its time limit.
    let before = clock.us();
    net.poll(Some(Duration::from_millis(5)), before).unwrap();
    assert!(clock.us() - before >= 4_000);
}

#[test]
fn no_wake_is_lost() {
    let clock = Clock::new();
    let mut net = Net::new(config(1)).unwrap();
    let (asked, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let waking = {
        let (asked, done, waker) = (Arc::clone(&asked), Arc::clone(&done), net.waker());
        move || {
            for round in 1..=10_000 {
                asked.store(round, Ordering::SeqCst);
                waker.wake();
                while done.load(Ordering::SeqCst) < round {
                    std::thread::yield_now();
                }
            }
        }
    };
    let thread = std::thread::Builder::new().spawn(waking).unwrap();
    while done.load(Ordering::SeqCst) < 10_000 {
        // A lost wake would leave both sides waiting for ever.
        net.poll(None, clock.us()).unwrap();
        done.store(asked.load(Ordering::SeqCst), Ordering::SeqCst);
    }
    thread.join().unwrap();
}

#[test]
fn a_listener_off_loopback_needs_a_word() {
    let everywhere = || Some(std::net::TcpListener::bind("0.0.0.0:0").unwrap());
    let refused = Net::new(NetConfig { listen: everywhere(), ..config(1) });
    assert!(matches!(refused, Err(NetError::Insecure { .. })), "{refused:?}");
    Net::new(NetConfig { listen: everywhere(), insecure: true, ..config(1) }).unwrap();
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let address = "127.0.0.1:1".parse().unwrap();
    let cases = [
        ("node_id", NetConfig { node_id: 0, ..config(1) }),
        ("epoch", NetConfig { epoch: 0, ..config(1) }),
        ("epoch", NetConfig { epoch: u64::MAX, ..config(1) }),
        ("lane", NetConfig { lane: 1, ..config(1) }),
        ("lane", NetConfig { lane_count: 0, ..config(1) }),
        ("write_queue_bytes_max", NetConfig { write_queue_bytes_max: 1, ..config(1) }),
        ("read_budget_bytes", NetConfig { read_budget_bytes: 0, ..config(1) }),
        ("handshake_timeout_us", NetConfig { handshake_timeout_us: 0, ..config(1) }),
        ("write_stall_us", NetConfig { write_stall_us: 0, ..config(1) }),
        ("backoff_min_us", NetConfig { backoff_min_us: 0, ..config(1) }),
        ("peers", NetConfig { peers: vec![(2, address), (2, address)], ..config(1) }),
        ("peers", NetConfig { peers: vec![(0, address)], ..config(1) }),
    ];
    for (wrong, config) in cases {
        let refused = Net::new(config);
        assert!(
            matches!(refused, Err(NetError::Config { field, .. }) if field == wrong),
            "{wrong}"
        );
    }
}

#[test]
fn a_removed_peer_is_gone() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    a.remove_peer(2);
    let reason = DownReason::Removed;
    assert_eq!(turn(&mut a, &clock), [NetEvent::PeerDown { node: 2, reason }]);
    assert!(a.outbox(2).is_none());
    let mut events = Vec::new();
    while !events.iter().any(is_down) {
        b.for_each_frame(usize::MAX, |_, _| Ok(()));
        events = turn(&mut b, &clock);
    }
}

#[test]
fn three_nodes_connect_each_pair_once() {
    let clock = Clock::new();
    let bound: Vec<_> = (0..3).map(|_| listener()).collect();
    let peers: Vec<_> =
        bound.iter().zip(1..).map(|((_, address), node)| (node, *address)).collect();
    let mut nets: Vec<Net> = bound
        .into_iter()
        .zip(1..)
        .map(|((listen, _), node)| {
            let peers = peers.clone();
            Net::new(NetConfig { listen: Some(listen), peers, ..config(node) }).unwrap()
        })
        .collect();
    let mut ups = 0;
    while ups < 6 {
        for net in &mut nets {
            let events = turn(net, &clock);
            assert!(events.iter().all(is_up), "{events:?}");
            ups += events.len();
        }
    }
    for net in &nets {
        assert_eq!(net.stats().connects, 2);
    }
}

#[test]
fn an_append_of_the_largest_entry_passes() {
    let clock = Clock::new();
    let (mut a, mut b) = pair(config(1), config(2));
    connect(&mut a, &mut b, &clock);
    let (header, _) = append(1, 4, 0);
    let header = AppendHeader { commit: Index(0), ..header };
    let meta = kontiki_net::BlockMeta {
        group: 1,
        first_index: header.last,
        term: header.term,
        kind: kontiki_net::BlockKind::Command,
    };
    let mut round = Vec::new();
    let range = encode_entry(&mut round, meta, &vec![9; kontiki_net::ENTRY_BYTES_MAX]);
    a.outbox(2).unwrap().push_append(1, &header, &[BlockSource::Round { range }], &round);
    a.flush(Some(&Arc::new(round)));
    let mut got = Vec::new();
    while got.is_empty() {
        turn(&mut a, &clock);
        turn(&mut b, &clock);
        got = take_rounds(&mut b, usize::MAX);
    }
    assert_eq!(got, [4]);
}
