//! The handshake's golden bytes and refusals, and 300 and more malformed streams.

use kontiki_raft::{Index, Message, MessageKind, Position, ReplicaId, Term};
use zerocopy::IntoBytes;

use super::*;
use crate::block::{BlockKind, BlockMeta, encode_entry};
use crate::codec::{Incoming, check_append};
use crate::outbox::BlockSource;
use crate::wire::{FRAME_HEADER_BYTES, FrameHeader, HELLO_BYTES};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn identity(node_id: u64) -> Identity {
    Identity { cluster_id: 0xC1, node_id, store_id: 5 << 64 | 6, epoch: 9, lane_count: 4 }
}

fn caller() -> Conn {
    Conn::new(identity(1), Side::Caller { node: 2, lane: 2 }, 1 << 20)
}

fn callee() -> Conn {
    Conn::new(identity(2), Side::Callee, 1 << 20)
}

/// What is queued, written.
fn written(conn: &mut Conn) -> Vec<u8> {
    conn.outbox().seal(None);
    let mut bytes = Vec::new();
    while !conn.queue().is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let filled = conn.queue().gather(&mut slices);
        let now: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        conn.outbox().consume(now.len());
        bytes.extend(now);
    }
    bytes
}

/// Gives a connection as much as it has room for; returns how much.
fn offer(conn: &mut Conn, bytes: &[u8]) -> usize {
    let space = conn.read_space();
    let n = space.len().min(bytes.len());
    space[..n].copy_from_slice(&bytes[..n]);
    conn.filled(n);
    n
}

fn greeting(hello: &Hello) -> Vec<u8> {
    let len = u32::try_from(HELLO_BYTES).unwrap();
    [FrameHeader::new(FrameKind::Hello, len, 1).as_bytes(), hello.as_bytes()].concat()
}

#[test]
fn golden_greeting_and_refusal() {
    let golden = [
        "4b4f4e54494b4900",                 // magic
        "0200",                             // least version
        "0200",                             // greatest version
        "0200",                             // lane
        "0400",                             // lanes
        "0900000000000000",                 // epoch
        "c1000000000000000000000000000000", // cluster
        "06000000000000000500000000000000", // store
        "0100000000000000",                 // node
        "0200000000000000",                 // to node
        "00000000",                         // reserved
        "cfc82a4f",                         // crc32c
    ];
    assert_eq!(hex(hello_frame(&identity(1), 2, 2).as_bytes()), golden.concat());
    let golden = ["0200", "0200", "0200", "0000", "86cbbb7a"];
    assert_eq!(hex(refuse_frame(RefuseReason::ForeignCluster).as_bytes()), golden.concat());
}

#[test]
fn both_sides_come_to_know_each_other() {
    let (mut a, mut b) = (caller(), callee());
    let hello = written(&mut a);
    assert_eq!(offer(&mut b, &hello), hello.len());
    let peer = Introduction { node: 1, store_id: 5 << 64 | 6, epoch: 9, lane: 2, version: 2 };
    assert_eq!(b.handshake(|node| node == 1), Ok(Some(peer)));
    b.answer();
    b.answer();
    let hello = written(&mut b);
    assert_eq!(offer(&mut a, &hello), hello.len());
    assert_eq!(a.handshake(|_| true), Ok(Some(Introduction { node: 2, ..peer })));
    a.answer();
    assert!(a.queue().is_empty() && b.queue().is_empty(), "each greets once");
}

#[test]
fn a_greeting_may_come_byte_by_byte() {
    let (mut a, mut b) = (caller(), callee());
    let hello = written(&mut a);
    for byte in &hello[..hello.len() - 1] {
        offer(&mut b, std::slice::from_ref(byte));
        assert!(!b.is_ready());
        assert_eq!(b.handshake(|_| true), Ok(None));
    }
    offer(&mut b, &hello[hello.len() - 1..]);
    assert!(b.is_ready());
    assert!(b.handshake(|_| true).unwrap().is_some());
}

#[test]
fn each_wrong_greeting_has_its_error() {
    let good = hello_frame(&identity(1), 2, 2);
    let other = |change: &dyn Fn(&mut Hello)| {
        let mut hello = good;
        change(&mut hello);
        hello.crc32c = checksum(&hello);
        hello
    };
    let lane = |lane, lane_count| ConnError::LaneMismatch { lane, lane_count };
    let cases = [
        (other(&|hello| hello.magic = *b"KONTIKI1"), ConnError::NotKontiki),
        (Hello { node_id: U64::new(9), ..good }, DecodeError::GreetingChecksum.into()),
        (
            other(&|hello| (hello.version_min, hello.version_max) = (U16::new(3), U16::new(9))),
            ConnError::Version { their_min: 3, their_max: 9 },
        ),
        (
            other(&|hello| (hello.version_min, hello.version_max) = (U16::new(0), U16::new(0))),
            ConnError::Version { their_min: 0, their_max: 0 },
        ),
        (
            other(&|hello| (hello.version_min, hello.version_max) = (U16::new(9), U16::new(1))),
            ConnError::Version { their_min: 9, their_max: 1 },
        ),
        (other(&|hello| hello.reserved = U32::new(1)), DecodeError::Reserved.into()),
        (other(&|hello| hello.epoch = U64::ZERO), DecodeError::ZeroEpoch.into()),
        (other(&|hello| hello.epoch = U64::new(u64::MAX)), DecodeError::Number(u64::MAX).into()),
        (
            other(&|hello| hello.cluster_id = U128::new(0xC2)),
            ConnError::ForeignCluster { theirs: 0xC2 },
        ),
        (other(&|hello| hello.node_id = U64::new(2)), ConnError::SelfConnection),
        (
            other(&|hello| hello.to_node = U64::new(3)),
            ConnError::WrongNode { expected: 3, found: 2 },
        ),
        (other(&|hello| hello.lane = U16::new(4)), lane(4, 4)),
        (other(&|hello| hello.lane_count = U16::new(5)), lane(2, 5)),
        (other(&|hello| hello.lane_count = U16::new(0)), lane(2, 0)),
        (other(&|hello| hello.node_id = U64::new(3)), ConnError::WrongDirection { node: 3 }),
        (other(&|hello| hello.node_id = U64::new(0)), ConnError::UnknownNode { node: 0 }),
    ];
    for (hello, error) in cases {
        let mut conn = callee();
        offer(&mut conn, &greeting(&hello));
        assert_eq!(conn.handshake(|node| node == 1), Err(error));
        assert!(conn.peer().is_none());
        // The other side hears of it.
        conn.refuse(&error);
        let mut other = caller();
        written(&mut other);
        offer(&mut other, &written(&mut conn));
        assert_eq!(other.handshake(|_| true), Err(ConnError::Refused(error.refusal())));
    }
}

#[test]
fn a_caller_checks_the_answer() {
    let wrong = |hello: Hello| {
        let mut conn = caller();
        offer(&mut conn, &greeting(&hello));
        conn.handshake(|_| true).unwrap_err()
    };
    let found = wrong(hello_frame(&identity(3), 1, 2));
    assert_eq!(found, ConnError::WrongNode { expected: 2, found: 3 });
    let lane = wrong(hello_frame(&identity(2), 1, 3));
    assert_eq!(lane, ConnError::LaneMismatch { lane: 3, lane_count: 4 });
}

#[test]
fn an_unknown_reason_is_still_a_refusal() {
    let mut refuse = refuse_frame(RefuseReason::Busy);
    refuse.reason = U16::new(999);
    refuse.crc32c = checksum(&refuse);
    let mut conn = caller();
    conn.outbox().push_refuse(&refuse);
    let bytes = written(&mut conn).split_off(FRAME_HEADER_BYTES + HELLO_BYTES);
    offer(&mut conn, &bytes);
    assert_eq!(conn.handshake(|_| true), Err(ConnError::Refused(None)));
    for code in 0..20 {
        assert!(RefuseReason::from_code(code).is_none_or(|reason| reason.code() == code));
    }
}

/// Two connections after their handshake.
fn connected() -> (Conn, Conn) {
    let (mut a, mut b) = (caller(), callee());
    offer(&mut b, &written(&mut a));
    b.handshake(|_| true).unwrap().unwrap();
    b.answer();
    offer(&mut a, &written(&mut b));
    a.handshake(|_| true).unwrap().unwrap();
    (a, b)
}

/// A stream of two frames: small messages, and an append of two blocks.
fn sample_stream() -> Vec<u8> {
    let (mut conn, _) = connected();
    let id = |id| ReplicaId::new(id).unwrap();
    let prev = Position { term: Term(3), index: Index(8) };
    let kind = MessageKind::AppendAck { matched: prev, read_round: 1 };
    let ack = Message { from: id(1), to: id(2), term: Term(3), kind, session: 1 };
    conn.outbox().push_message(5, &ack);
    conn.outbox().push_message(6, &ack);
    let mut stream = written(&mut conn);
    let mut round = Vec::new();
    for (first, payload) in [(9, b"first"), (10, b"other")] {
        let (first_index, term) = (Index(first), Term(3));
        let meta = BlockMeta { group: 5, first_index, term, kind: BlockKind::Command };
        encode_entry(&mut round, meta, payload);
    }
    let append = kontiki_raft::AppendHeader {
        from: id(1),
        to: id(2),
        term: Term(3),
        prev,
        last: Index(10),
        commit: Index(8),
        floor: Index(0),
        read_round: 0,
        session: 1,
    };
    let source = BlockSource::Round { range: 0..round.len() };
    conn.outbox().push_append(5, &append, &[source], &round);
    conn.outbox().push_message(7, &ack);
    stream.extend(written(&mut conn));
    stream
}

/// Reads a stream to its end or its first error; returns the number of good messages.
fn read_all(mut bytes: &[u8]) -> (usize, Result<(), ConnError>, usize) {
    let (_, mut conn) = connected();
    let (mut good, mut spans) = (0, Vec::new());
    let mut read = |conn: &mut Conn, good: &mut usize| -> Result<(), ConnError> {
        while let Some(frame) = conn.next_frame()? {
            for incoming in frame.messages() {
                if let Incoming::Append { group, header, blocks } = incoming? {
                    check_append(group, &header, blocks, &mut spans)?;
                }
                *good += 1;
            }
        }
        Ok(())
    };
    loop {
        if let Err(error) = read(&mut conn, &mut good) {
            return (good, Err(error), conn.input.capacity());
        }
        if bytes.is_empty() {
            return (good, Ok(()), conn.input.capacity());
        }
        let n = offer(&mut conn, bytes);
        bytes = &bytes[n..];
    }
}

#[test]
fn every_flipped_bit_of_a_stream_is_noticed() {
    let stream = sample_stream();
    assert_eq!(read_all(&stream).0, 4);
    let mut cases = 0;
    for bit in 0..stream.len() * 8 {
        let mut flipped = stream.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (good, result, capacity) = read_all(&flipped);
        assert!(matches!(result, Err(ConnError::Decode(_))), "bit {bit}: {result:?}");
        assert!(good < 4 && capacity <= FRAME_BYTES_MAX);
        cases += 1;
    }
    assert!(cases >= 300, "{cases} cases");
}

#[test]
fn a_stream_cut_anywhere_gives_what_is_whole_and_no_more() {
    let stream = sample_stream();
    for end in 0..stream.len() {
        let (good, result, _) = read_all(&stream[..end]);
        assert_eq!(result, Ok(()), "an end is no fault of the bytes before it");
        assert!(good < 4, "{end}");
    }
}

#[test]
fn no_length_makes_the_buffer_pass_the_limit() {
    for len in [0, 1, 95, 96, 1 << 16, (8 << 20) - 16, (8 << 20) - 15, 1 << 24, u32::MAX] {
        for count in [0, 1, 2, len / 96, len / 96 + 1, u32::MAX] {
            for kind in [FrameKind::Hello, FrameKind::Messages, FrameKind::Refuse] {
                let header = FrameHeader::new(kind, len, count);
                let (_, _, capacity) = read_all(&[header.as_bytes(), &[0; 100]].concat());
                assert!(capacity <= FRAME_BYTES_MAX, "{len} {count}: {capacity}");

                // Before the handshake even less.
                let mut conn = callee();
                offer(&mut conn, header.as_bytes());
                conn.handshake(|_| true).ok();
                conn.read_space();
                assert!(conn.input.capacity() <= GREETING_BYTES_MAX, "{len} {count}");
            }
        }
    }
}

#[test]
fn messages_before_and_greetings_after_the_handshake_are_refused() {
    let mut conn = callee();
    offer(&mut conn, &sample_stream());
    assert_eq!(conn.handshake(|_| true), Err(ConnError::UnexpectedFrame { kind: 2 }));

    let (_, mut conn) = connected();
    offer(&mut conn, &greeting(&hello_frame(&identity(1), 2, 2)));
    assert_eq!(conn.next_frame().unwrap_err(), ConnError::UnexpectedFrame { kind: 1 });
}
