//! The golden bytes of a beat, its round trip among messages, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::codec::{Frame, Incoming, encode_message};
use crate::outbox::Outbox;
use crate::wire::{FRAME_BYTES_MAX, FrameHeader, FrameKind, MESSAGE_HEADER_BYTES};

fn promising() -> Beat {
    let promise =
        Promise { epoch: 4, lapses: 5, answers: Time(6), for_us: 600_000, held_us: 70_000 };
    Beat { epoch: 1, sequence: 2, sent_at: Time(3), promise: Some(promise) }
}

fn encoded(beat: &Beat) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_beat(&mut bytes, beat);
    bytes
}

fn framed(count: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [FrameHeader::new(FrameKind::Messages, len, count).as_bytes(), body].concat()
}

/// What the only message of a frame is taken for.
fn read(message: &[u8]) -> Result<Beat, DecodeError> {
    let bytes = framed(1, message);
    let (frame, _) = Frame::parse(&bytes, FRAME_BYTES_MAX)?;
    let mut messages = frame.messages();
    let Incoming::Beat(beat) = messages.next().expect("the frame announces one")? else {
        panic!("no beat");
    };
    assert!(messages.next().is_none());
    Ok(beat)
}

/// The beat with `bytes` at `at` and a checksum that fits again.
fn resealed(beat: &Beat, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut message = encoded(beat);
    message[at..at + bytes.len()].copy_from_slice(bytes);
    let end = message.len() - 4;
    let crc = crc32c::crc32c(&message[..end]).to_le_bytes();
    message[end..].copy_from_slice(&crc);
    message
}

#[test]
fn golden_beat() {
    let golden = [
        "0100000000000000", // epoch
        "0200000000000000", // sequence
        "0300000000000000", // sent
        "0400000000000000", // promised epoch
        "0500000000000000", // lapses
        "0600000000000000", // answers
        "c0270900",         // for
        "70110100",         // held
        "0000000000000000", // reserved
        "0000000000000000",
        "0000000000000000",
        "0000000000000000",
        "40",       // kind
        "01",       // flags: promises
        "0000",     // reserved
        "94a905a0", // crc32c
    ];
    let hex: String = encoded(&promising()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.concat());
}

#[test]
fn each_fault_of_a_beat_has_its_error() {
    let bare = Beat { promise: None, ..promising() };
    assert_eq!(read(&encoded(&promising())), Ok(promising()));
    assert_eq!(read(&encoded(&bare)), Ok(bare));
    let past = NUMBER_MAX + 1;
    let cases = [
        (resealed(&bare, 0, &[0]), DecodeError::ZeroEpoch),
        (resealed(&promising(), 24, &[0]), DecodeError::ZeroEpoch),
        (resealed(&promising(), 48, &[0; 4]), DecodeError::EmptyPromise),
        (resealed(&bare, 24, &[1]), DecodeError::Reserved),
        (resealed(&bare, 32, &[1]), DecodeError::Reserved),
        (resealed(&bare, 40, &[1]), DecodeError::Reserved),
        (resealed(&bare, 48, &[1]), DecodeError::Reserved),
        (resealed(&bare, 52, &[1]), DecodeError::Reserved),
        (resealed(&promising(), 89, &[0]), DecodeError::Reserved),
        (resealed(&promising(), 89, &[2]), DecodeError::Reserved),
        (resealed(&promising(), 89, &[3]), DecodeError::Reserved),
        (resealed(&promising(), 90, &[1]), DecodeError::Reserved),
        (resealed(&promising(), 56, &[1]), DecodeError::Reserved),
        (resealed(&promising(), 87, &[1]), DecodeError::Reserved),
    ];
    let numbers = [0, 8, 16, 24, 32, 40].map(|at| {
        let message = resealed(&promising(), at, &past.to_le_bytes());
        (message, DecodeError::Number(past))
    });
    for (at, (message, error)) in cases.into_iter().chain(numbers).enumerate() {
        assert_eq!(read(&message), Err(error), "case {at}");
    }
    let whole = encoded(&promising());
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read(&flipped), Err(DecodeError::MessageChecksum), "bit {bit}");
    }
    let cut = framed(1, &[&whole[..], &whole[..95]].concat());
    let (frame, _) = Frame::parse(&cut, FRAME_BYTES_MAX).unwrap();
    let last = frame.messages().last().expect("an error");
    assert_eq!(last.map(drop), Err(DecodeError::Trailing { left: 95 }));
}

#[test]
fn a_beat_rides_in_the_frame_of_the_messages_around_it() {
    let id = |n| kontiki_raft::ReplicaId::new(n).unwrap();
    let kind = kontiki_raft::MessageKind::HeartbeatAck { read_round: 8 };
    let term = kontiki_raft::Term(3);
    let message = kontiki_raft::Message { from: id(1), to: id(2), term, kind, session: 0 };
    let mut outbox = Outbox::new(1 << 20);
    outbox.push_message(7, &message);
    outbox.push_beat(&promising());
    outbox.push_message(8, &message);
    outbox.seal(None);
    assert_eq!((outbox.frames(), outbox.messages()), (1, 3));
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(outbox.gather(&mut slices), 1);
    let (frame, rest) = Frame::parse(&slices[0], FRAME_BYTES_MAX).unwrap();
    assert!(rest.is_empty());
    let kinds: Vec<_> = frame
        .messages()
        .map(|incoming| match incoming.unwrap() {
            Incoming::Beat(beat) => Err(beat),
            Incoming::Message { group, .. } => Ok(group),
            Incoming::Append { .. } => panic!("no append was sent"),
        })
        .collect();
    assert_eq!(kinds, [Ok(7), Err(promising()), Ok(8)]);
    let mut bytes = Vec::new();
    encode_message(&mut bytes, 7, &message);
    assert_eq!(bytes.len(), MESSAGE_HEADER_BYTES);
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..10_u64, 0..=NUMBER_MAX]
}

fn promises() -> impl Strategy<Value = Promise> {
    (1..=NUMBER_MAX, number(), number(), 1..=u32::MAX, any::<u32>()).prop_map(
        |(epoch, lapses, answers, for_us, held_us)| Promise {
            epoch,
            lapses,
            answers: Time(answers),
            for_us,
            held_us,
        },
    )
}

proptest! {
    #[test]
    fn beats_round_trip(
        (epoch, sequence, sent_at) in (1..=NUMBER_MAX, number(), number()),
        promise in proptest::option::of(promises()),
    ) {
        let beat = Beat { epoch, sequence, sent_at: Time(sent_at), promise };
        prop_assert_eq!(read(&encoded(&beat)), Ok(beat));
    }
}
