//! What the transport's tests share: real time, pairs of nodes on loopback, sample messages.
//!
//! Tests poll with a deadline and never sleep; every port is the system's choice.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kontiki_net::{BlockKind, BlockMeta, BlockSource, Net, NetConfig, NetEvent, encode_entry};
use kontiki_raft::{AppendHeader, Index, Message, MessageKind, Position, ReplicaId, Term};

pub(crate) const CLUSTER: u128 = 0xC1;

/// Longer than any test may take, short enough to end a hung one.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "a test's sockets live in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Time as the transport wants it, with a deadline for the test.
pub(crate) struct Clock {
    start: Instant,
    /// Added to real time.
    pub(crate) ahead_us: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: now(), ahead_us: 0 }
    }

    pub(crate) fn us(&self) -> u64 {
        let passed = now().duration_since(self.start);
        assert!(passed < PATIENCE, "the test hangs");
        u64::try_from(passed.as_micros()).unwrap() + self.ahead_us
    }
}

pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A configuration with small limits.
pub(crate) fn config(node: u64) -> NetConfig {
    let mut config = NetConfig::new(CLUSTER, node, u128::from(node) << 64);
    config.write_queue_bytes_max = 16 << 20;
    config
}

/// Nodes 1 and 2: 1 calls, 2 listens.
pub(crate) fn pair(first: NetConfig, second: NetConfig) -> (Net, Net) {
    let (listen, address) = listener();
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let first = NetConfig { peers: vec![(1, nowhere), (2, address)], ..first };
    let second = NetConfig { peers: vec![(1, nowhere)], listen: Some(listen), ..second };
    (Net::new(first).unwrap(), Net::new(second).unwrap())
}

/// One turn without sleeping; returns what happened.
pub(crate) fn turn(net: &mut Net, clock: &Clock) -> Vec<NetEvent> {
    net.poll(Some(Duration::ZERO), clock.us()).unwrap();
    let events = std::iter::from_fn(|| net.next_event()).collect();
    net.flush(None);
    events
}

/// Turns both until both are up.
pub(crate) fn connect(a: &mut Net, b: &mut Net, clock: &Clock) {
    let (mut a_up, mut b_up) = (false, false);
    while !(a_up && b_up) {
        a_up |= turn(a, clock).iter().any(is_up);
        b_up |= turn(b, clock).iter().any(is_up);
    }
}

pub(crate) fn is_up(event: &NetEvent) -> bool {
    matches!(event, NetEvent::PeerUp { .. })
}

pub(crate) fn is_down(event: &NetEvent) -> bool {
    matches!(event, NetEvent::PeerDown { .. })
}

pub(crate) fn replica(id: u64) -> ReplicaId {
    ReplicaId::new(id).unwrap()
}

/// A message that can be told from its neighbours by its round.
pub(crate) fn numbered(round: u64) -> Message {
    Message {
        from: replica(11),
        to: replica(22),
        term: Term(7),
        kind: MessageKind::HeartbeatAck { read_round: round },
        session: 3,
    }
}

/// An append of one entry of `bytes` bytes at index `round + 1`, with its block in a buffer.
pub(crate) fn append(group: u64, round: u64, bytes: usize) -> (AppendHeader, Arc<Vec<u8>>) {
    let (term, prev) = (Term(7), Position { term: Term(7), index: Index(round) });
    let meta = BlockMeta { group, first_index: prev.index.next(), term, kind: BlockKind::Command };
    let mut buffer = Vec::new();
    let seed = u8::try_from(round % 251).unwrap();
    encode_entry(&mut buffer, meta, &vec![seed; bytes]);
    let header = AppendHeader {
        from: replica(11),
        to: replica(22),
        term,
        prev,
        last: prev.index.next(),
        commit: Index(round),
        floor: Index(0),
        read_round: round,
        session: 3,
    };
    (header, Arc::new(buffer))
}

pub(crate) fn whole(buffer: &Arc<Vec<u8>>) -> BlockSource {
    BlockSource::Shared { buffer: Arc::clone(buffer), range: 0..buffer.len() }
}
