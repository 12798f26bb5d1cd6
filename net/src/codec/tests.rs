//! Golden bytes of frames and messages, the round trip of every message, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::block::{BlockKind, BlockMeta, encode_entry};
use crate::wire::FRAME_BYTES_MAX;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id(id: u64) -> ReplicaId {
    ReplicaId::new(id).unwrap()
}

fn position(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

fn sample_append() -> AppendHeader {
    AppendHeader {
        from: id(11),
        to: id(22),
        term: Term(33),
        prev: position(1, 2),
        last: Index(3),
        commit: Index(4),
        floor: Index(5),
        read_round: 6,
        session: 9,
    }
}

fn sample_vote() -> Message {
    let kind = MessageKind::Vote { last: position(8, 40), forced: true };
    Message { from: id(11), to: id(22), term: Term(33), kind, session: 9 }
}

#[test]
fn golden_frame_header() {
    let golden = [
        "e8030000", // length
        "02",       // kind
        "00",       // flags
        "0000",     // reserved
        "05000000", // count
        "697dd9b2", // crc32c
    ];
    let header = FrameHeader::new(FrameKind::Messages, 1_000, 5);
    assert_eq!(hex(header.as_bytes()), golden.concat());
}

#[test]
fn golden_messages() {
    let mut append = Vec::new();
    encode_append(&mut append, 0x0102_0304_0506_0708, &sample_append(), 77);
    let golden = [
        "0807060504030201", // group
        "0b00000000000000", // from
        "1600000000000000", // to
        "2100000000000000", // term
        "0100000000000000", // prev.term
        "0200000000000000", // prev.index
        "0300000000000000", // last
        "0400000000000000", // commit
        "0500000000000000", // floor
        "0600000000000000", // read round
        "09000000",         // session
        "4d000000",         // bytes of blocks
        "01",               // kind
        "00",               // flags
        "0000",             // reserved
        "912e060c",         // crc32c
    ];
    assert_eq!(hex(&append), golden.concat());

    let mut vote = Vec::new();
    encode_message(&mut vote, 5, &sample_vote());
    let golden = [
        "0500000000000000", // group
        "0b00000000000000", // from
        "1600000000000000", // to
        "2100000000000000", // term
        "0800000000000000", // last.term
        "2800000000000000", // last.index
        "0000000000000000", // unused
        "0000000000000000", // unused
        "0000000000000000", // unused
        "0000000000000000", // unused
        "09000000",         // session
        "00000000",         // bytes of blocks
        "04",               // kind
        "01",               // flags: forced
        "0000",             // reserved
        "8edf2bde",         // crc32c
    ];
    assert_eq!(hex(&vote), golden.concat());
}

/// A frame of `count` messages around `body`.
fn framed(count: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [FrameHeader::new(FrameKind::Messages, len, count).as_bytes(), body].concat()
}

fn first_error(frame: &[u8]) -> Option<DecodeError> {
    let (frame, rest) = Frame::parse(frame, FRAME_BYTES_MAX).unwrap();
    assert!(rest.is_empty());
    let mut messages = frame.messages();
    let error = messages.by_ref().find_map(Result::err);
    assert!(messages.next().is_none(), "nothing follows an error");
    error
}

/// The vote with `bytes` at `at` and a checksum that fits again.
fn resealed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    encode_message(&mut message, 5, &sample_vote());
    message[at..at + bytes.len()].copy_from_slice(bytes);
    let end = message.len() - 4;
    let crc = crc32c::crc32c(&message[..end]).to_le_bytes();
    message[end..].copy_from_slice(&crc);
    message
}

#[test]
fn each_fault_of_a_message_has_its_error() {
    let mut vote = Vec::new();
    encode_message(&mut vote, 5, &sample_vote());
    let with_body = |len: u32, bytes: usize| {
        let mut message = resealed(84, &len.to_le_bytes());
        message.resize(message.len() + bytes, 0);
        message
    };
    let mut flipped = vote.clone();
    flipped[0] ^= 1;
    let mut probe = Vec::new();
    let empty = AppendHeader { last: Index(2), ..sample_append() };
    encode_append(&mut probe, 5, &empty, 0);
    let mut bodiless = Vec::new();
    encode_append(&mut bodiless, 5, &sample_append(), 0);
    let mut backwards = Vec::new();
    encode_append(&mut backwards, 5, &AppendHeader { last: Index(1), ..sample_append() }, 0);
    let mut idle = Vec::new();
    encode_append(&mut idle, 5, &empty, 1);
    idle.push(0);
    let cases = [
        (framed(1, &vote), None),
        (framed(1, &probe), None),
        (framed(2, &vote.repeat(2)), None),
        (framed(1, &vote.repeat(2)), Some(DecodeError::Trailing { left: 96 })),
        (framed(1, &[&vote[..], &[0]].concat()), Some(DecodeError::Trailing { left: 1 })),
        (framed(1, &flipped), Some(DecodeError::MessageChecksum)),
        (framed(1, &resealed(88, &[0])), Some(DecodeError::MessageKind(0))),
        (framed(1, &resealed(88, &[14])), Some(DecodeError::MessageKind(14))),
        (framed(1, &resealed(89, &[2])), Some(DecodeError::Reserved)),
        (framed(1, &resealed(90, &[1])), Some(DecodeError::Reserved)),
        (framed(1, &resealed(48, &[1])), Some(DecodeError::Reserved)),
        (framed(1, &resealed(72, &[1])), Some(DecodeError::Reserved)),
        // A flag on a kind that has none: a pre-vote, an ack, an append.
        (framed(1, &resealed(88, &[2])), Some(DecodeError::Reserved)),
        (framed(1, &resealed(88, &[6])), Some(DecodeError::Reserved)),
        (framed(1, &resealed(88, &[1])), Some(DecodeError::Reserved)),
        (framed(1, &resealed(8, &[0])), Some(DecodeError::ZeroReplica)),
        (framed(1, &resealed(16, &[0])), Some(DecodeError::ZeroReplica)),
        (framed(1, &resealed(24, &[255; 8])), Some(DecodeError::Number(u64::MAX))),
        (framed(1, &resealed(40, &[255; 8])), Some(DecodeError::Number(u64::MAX))),
        (framed(1, &with_body(3, 3)), Some(DecodeError::MessageBody { len: 3 })),
        (framed(1, &with_body(3, 2)), Some(DecodeError::Truncated { needed: 3, left: 2 })),
        (
            framed(1, &with_body(u32::MAX, 0)),
            Some(DecodeError::Truncated { needed: u64::from(u32::MAX), left: 0 }),
        ),
        (framed(1, &bodiless), Some(DecodeError::MessageBody { len: 0 })),
        (framed(1, &backwards), Some(DecodeError::MessageBody { len: 0 })),
        (framed(1, &idle), Some(DecodeError::MessageBody { len: 1 })),
        (framed(2, &[&with_body(0, 0)[..], &[0; 96]].concat()), Some(DecodeError::MessageChecksum)),
    ];
    for (at, (frame, error)) in cases.into_iter().enumerate() {
        assert_eq!(first_error(&frame), error, "case {at}");
    }
}

#[test]
fn each_fault_of_a_frame_has_its_error() {
    let header = |len, count| FrameHeader::new(FrameKind::Messages, len, count);
    let sealed = |mut header: FrameHeader| {
        header.crc32c = checksum(&header);
        header.as_bytes().to_vec()
    };
    let count = |count, len| DecodeError::FrameCount { count, len };
    let max = (FRAME_BYTES_MAX - FRAME_HEADER_BYTES) as u64;
    let over = u32::try_from(max + 1).unwrap();
    let cases = [
        (header(96, 1).as_bytes()[..15].to_vec(), DecodeError::Truncated { needed: 16, left: 15 }),
        (header(96, 1).as_bytes().to_vec(), DecodeError::Truncated { needed: 96, left: 0 }),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), DecodeError::FrameChecksum),
        (sealed(FrameHeader { kind: 0, ..header(96, 1) }), DecodeError::FrameKind(0)),
        (sealed(FrameHeader { kind: 4, ..header(96, 1) }), DecodeError::FrameKind(4)),
        (sealed(FrameHeader { flags: 1, ..header(96, 1) }), DecodeError::Reserved),
        (sealed(FrameHeader { reserved: U16::new(1), ..header(96, 1) }), DecodeError::Reserved),
        (sealed(header(over, 1)), DecodeError::FrameTooLarge { len: u64::from(over), max }),
        (sealed(header(u32::MAX, 1)), DecodeError::FrameTooLarge { len: u64::from(u32::MAX), max }),
        (sealed(header(96, 0)), count(0, 96)),
        (sealed(header(96, 2)), count(2, 96)),
        (sealed(header(0, 0)), count(0, 0)),
        (sealed(header(95, 1)), count(1, 95)),
        (sealed(header(96, u32::MAX)), count(u32::MAX, 96)),
        (FrameHeader::new(FrameKind::Hello, 79, 1).as_bytes().to_vec(), count(1, 79)),
        (FrameHeader::new(FrameKind::Hello, 80, 2).as_bytes().to_vec(), count(2, 80)),
        (FrameHeader::new(FrameKind::Refuse, 96, 1).as_bytes().to_vec(), count(1, 96)),
    ];
    for (bytes, error) in cases {
        let found = Frame::parse(&bytes, FRAME_BYTES_MAX).map(|_| ());
        assert_eq!(found, Err(error), "{}", hex(&bytes));
    }
}

/// Blocks of one entry each: (group, first index, term).
fn blocks(of: &[(u64, u64, u64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(group, first, term) in of {
        let (first_index, term) = (Index(first), Term(term));
        let meta = BlockMeta { group, first_index, term, kind: BlockKind::Command };
        encode_entry(&mut bytes, meta, b"entry");
    }
    bytes
}

#[test]
fn an_append_must_hang_together() {
    let header = AppendHeader { last: Index(5), ..sample_append() };
    let check = |bytes: &[u8]| {
        let mut spans = vec![Span { term: Term(0), first: Index(0), last: Index(0) }];
        let result = check_append(7, &header, bytes, &mut spans);
        assert_eq!(spans.remove(0).last, Index(0), "what was there stays");
        if result.is_err() {
            assert_eq!(spans, [], "an error leaves no spans");
        }
        result.map(|()| spans)
    };
    let span =
        |term, first, last| Span { term: Term(term), first: Index(first), last: Index(last) };
    let good = blocks(&[(7, 3, 1), (7, 4, 1), (7, 5, 33)]);
    assert_eq!(check(&good), Ok(vec![span(1, 3, 4), span(33, 5, 5)]));
    let group = DecodeError::AppendGroup { expected: 7, found: 8 };
    assert_eq!(check(&blocks(&[(7, 3, 1), (8, 4, 1)])), Err(group));
    let gap = |expected, found| Err(DecodeError::AppendGap { expected, found });
    assert_eq!(check(&blocks(&[(7, 4, 1)])), gap(3, 4));
    assert_eq!(check(&blocks(&[(7, 3, 1), (7, 3, 1)])), gap(4, 3));
    assert_eq!(check(&blocks(&[(7, 3, 1), (7, 4, 1)])), gap(5, 4));
    assert_eq!(check(&[]), gap(5, 2));
    let long = blocks(&[(7, 3, 1), (7, 4, 1), (7, 5, 1), (7, 6, 1)]);
    assert_eq!(check(&long), gap(5, 6));
    let term = |term, least, most| Err(DecodeError::AppendTerm { term, least, most });
    assert_eq!(check(&blocks(&[(7, 3, 0)])), term(0, 1, 33));
    assert_eq!(check(&blocks(&[(7, 3, 34)])), term(34, 1, 33));
    assert_eq!(check(&blocks(&[(7, 3, 5), (7, 4, 4)])), term(4, 5, 33));
    let mut damaged = good.clone();
    let end = damaged.len() - 1;
    damaged[end] ^= 1;
    assert_eq!(check(&damaged), Err(DecodeError::BlockChecksum { group: 7, first: 5 }));
    let cut = check(&good[..good.len() - 1]);
    assert_eq!(cut, Err(DecodeError::Truncated { needed: 9, left: 8 }));

    let probe = AppendHeader { last: Index(2), ..header };
    assert_eq!(check_append(7, &probe, &[], &mut Vec::new()), Ok(()));
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..10_u64, 0..=NUMBER_MAX]
}

fn positions() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(term, index)| position(term, index))
}

fn kinds() -> impl Strategy<Value = MessageKind> {
    let index = || number().prop_map(Index);
    prop_oneof![
        positions().prop_map(|last| MessageKind::PreVote { last }),
        any::<bool>().prop_map(|granted| MessageKind::PreVoteReply { granted }),
        (positions(), any::<bool>()).prop_map(|(last, forced)| MessageKind::Vote { last, forced }),
        any::<bool>().prop_map(|granted| MessageKind::VoteReply { granted }),
        (positions(), number())
            .prop_map(|(matched, read_round)| MessageKind::AppendAck { matched, read_round }),
        (index(), positions(), number()).prop_map(|(prev, hint, read_round)| {
            MessageKind::AppendReject { prev, hint, read_round }
        }),
        (index(), index(), number(), any::<bool>()).prop_map(
            |(commit, floor, read_round, sleep)| {
                MessageKind::Heartbeat { commit, floor, read_round, sleep }
            }
        ),
        Just(MessageKind::Resign),
        number().prop_map(|request| MessageKind::ReadIndex { request }),
        (number(), index())
            .prop_map(|(request, index)| MessageKind::ReadIndexReply { request, index }),
        number().prop_map(|read_round| MessageKind::HeartbeatAck { read_round }),
        positions().prop_map(|last| MessageKind::TimeoutNow { last }),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    (1..=u64::MAX, 1..=u64::MAX, number(), kinds(), any::<u32>()).prop_map(
        |(from, to, term, kind, session)| Message {
            from: id(from),
            to: id(to),
            term: Term(term),
            kind,
            session,
        },
    )
}

proptest! {
    #[test]
    fn messages_round_trip(sent in proptest::collection::vec((any::<u64>(), messages()), 1..20)) {
        let mut body = Vec::new();
        for (group, message) in &sent {
            encode_message(&mut body, *group, message);
        }
        let bytes = framed(u32::try_from(sent.len()).unwrap(), &body);
        let (frame, _) = Frame::parse(&bytes, FRAME_BYTES_MAX).unwrap();
        let got: Result<Vec<_>, _> = frame
            .messages()
            .map(|incoming| match incoming? {
                Incoming::Message { group, message } => Ok((group, message)),
                Incoming::Append { .. } | Incoming::Beat(_) => panic!("only messages were sent"),
            })
            .collect();
        prop_assert_eq!(got, Ok::<_, DecodeError>(sent));
    }

    #[test]
    fn appends_round_trip(
        group: u64,
        (from, to, session) in (1..=u64::MAX, 1..=u64::MAX, any::<u32>()),
        (term, prev, floor, commit, read_round) in
            (number(), positions(), number(), number(), number()),
        (entries, body) in (1..100_u64, proptest::collection::vec(any::<u8>(), 1..100)),
    ) {
        let last = Index((prev.index.0 + entries).min(NUMBER_MAX));
        prop_assume!(last > prev.index);
        let header = AppendHeader {
            from: id(from),
            to: id(to),
            term: Term(term),
            prev,
            last,
            commit: Index(commit),
            floor: Index(floor),
            read_round,
            session,
        };
        let mut bytes = Vec::new();
        encode_append(&mut bytes, group, &header, u32::try_from(body.len()).unwrap());
        bytes.extend(&body);
        let bytes = framed(1, &bytes);
        let (frame, _) = Frame::parse(&bytes, FRAME_BYTES_MAX).unwrap();
        let mut messages = frame.messages();
        let Some(Ok(Incoming::Append { group: got_group, header: got, blocks })) = messages.next()
        else {
            panic!("an append was sent");
        };
        prop_assert_eq!((got_group, got, blocks), (group, header, &body[..]));
        prop_assert!(messages.next().is_none());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 96..400)) {
        let count = u32::try_from(body.len() / 96).unwrap();
        prop_assert!(first_error(&framed(count, &body)).is_some());
    }
}
