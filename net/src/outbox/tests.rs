//! The outbox against a plain model: whatever is pushed comes out whole, in order, in frames.

use kontiki_raft::{Index, MessageKind, Position, ReplicaId, Term};
use proptest::prelude::*;

use super::*;
use crate::codec::{Frame, Incoming};

fn message(round: u64) -> Message {
    let id = |id| ReplicaId::new(id).unwrap();
    let kind = MessageKind::HeartbeatAck { read_round: round };
    Message { from: id(1), to: id(2), term: Term(3), kind, session: 4 }
}

fn append(round: u64, entries: u64) -> AppendHeader {
    let id = |id| ReplicaId::new(id).unwrap();
    let prev = Position { term: Term(3), index: Index(round) };
    AppendHeader {
        from: id(1),
        to: id(2),
        term: Term(3),
        prev,
        last: Index(round + entries),
        commit: Index(0),
        floor: Index(0),
        read_round: round,
        session: 4,
    }
}

/// Writes everything, `step` bytes at a time.
fn written(outbox: &mut Outbox, step: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !outbox.is_empty() {
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = outbox.gather(&mut slices);
        let mut now: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        now.truncate(step);
        outbox.consume(now.len());
        bytes.extend(now);
    }
    bytes
}

/// The frames' messages: group, round, and bytes of blocks.
fn read(mut bytes: &[u8]) -> (usize, Vec<(u64, u64, Vec<u8>)>) {
    let (mut frames, mut messages) = (0, Vec::new());
    while !bytes.is_empty() {
        let (frame, rest) = Frame::parse(bytes, FRAME_BYTES_MAX).unwrap();
        bytes = rest;
        frames += 1;
        for incoming in frame.messages() {
            messages.push(match incoming.unwrap() {
                Incoming::Append { group, header, blocks } => {
                    (group, header.read_round, blocks.to_vec())
                }
                Incoming::Beat(beat) => panic!("{beat:?} was not sent"),
                Incoming::Message { group, message } => match message.kind {
                    MessageKind::HeartbeatAck { read_round } => (group, read_round, Vec::new()),
                    other => panic!("{other:?}"),
                },
            });
        }
    }
    (frames, messages)
}

#[test]
fn small_blocks_are_copied_and_large_ones_are_referenced() {
    let mut outbox = Outbox::new(1 << 20);
    let mut round = vec![1; 100];
    round.extend(vec![2; WRITEV_BYTES_MIN]);
    outbox.push_append(5, &append(0, 1), &[BlockSource::Round { range: 0..100 }], &round);
    assert_eq!(outbox.segments.len(), 1);
    let large = BlockSource::Round { range: 100..round.len() };
    outbox.push_append(6, &append(1, 1), &[large], &round);
    outbox.push_message(7, &message(2));
    assert_eq!(outbox.segments.len(), 3);
    let round = Arc::new(round);
    outbox.seal(Some(&round));
    assert_eq!(Arc::strong_count(&round), 2);
    let bytes = written(&mut outbox, usize::MAX);
    assert_eq!(Arc::strong_count(&round), 1, "what is written is let go");
    let (frames, messages) = read(&bytes);
    assert_eq!(frames, 1);
    let expected = [(5, 0, vec![1; 100]), (6, 1, vec![2; WRITEV_BYTES_MIN]), (7, 2, Vec::new())];
    assert_eq!(messages, expected);
}

#[test]
fn neighbours_in_a_buffer_become_one_slice() {
    let mut outbox = Outbox::new(1 << 20);
    let buffer = Arc::new(vec![0; 3 * WRITEV_BYTES_MIN]);
    let shared = |at: usize| BlockSource::Shared {
        buffer: Arc::clone(&buffer),
        range: at * WRITEV_BYTES_MIN..(at + 1) * WRITEV_BYTES_MIN,
    };
    outbox.push_append(5, &append(0, 3), &[shared(0), shared(1), shared(2)], &[]);
    assert_eq!(outbox.segments.len(), 2, "the header and one reference");
}

#[test]
fn a_frame_ends_at_its_target() {
    let mut outbox = Outbox::new(64 << 20);
    let count = 3 * FRAME_BYTES_TARGET / MESSAGE_HEADER_BYTES;
    for round in 0..count as u64 {
        outbox.push_message(1, &message(round));
    }
    outbox.seal(None);
    let (frames, messages) = read(&written(&mut outbox, usize::MAX));
    assert_eq!((frames, messages.len()), (3, count));
}

#[test]
fn no_frame_passes_the_limit() {
    let mut outbox = Outbox::new(64 << 20);
    let buffer = Arc::new(vec![0; APPEND_BYTES_MAX]);
    let whole = BlockSource::Shared { buffer: Arc::clone(&buffer), range: 0..APPEND_BYTES_MAX };
    outbox.push_message(1, &message(0));
    outbox.push_append(2, &append(1, 1), &[whole], &[]);
    outbox.push_message(3, &message(2));
    outbox.seal(None);
    let (frames, messages) = read(&written(&mut outbox, usize::MAX));
    assert_eq!(frames, 3);
    assert_eq!(messages.iter().map(|message| message.0).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
#[should_panic(expected = "limit")]
fn an_append_past_the_limit_is_our_fault() {
    let buffer = Arc::new(vec![0; APPEND_BYTES_MAX + 1]);
    let whole = BlockSource::Shared { range: 0..buffer.len(), buffer };
    Outbox::new(1).push_append(2, &append(1, 1), &[whole], &[]);
}

#[test]
#[should_panic(expected = "sealed with it")]
fn a_reference_without_its_round_is_our_fault() {
    let mut outbox = Outbox::new(1);
    let round = vec![0; WRITEV_BYTES_MIN];
    outbox.push_append(2, &append(1, 1), &[BlockSource::Round { range: 0..round.len() }], &round);
    outbox.seal(None);
}

#[test]
fn the_window_shrinks_and_draining_to_half_is_told_once() {
    let mut outbox = Outbox::new(1_000);
    for round in 0..6 {
        outbox.push_message(1, &message(round));
    }
    outbox.seal(None);
    let queued = FRAME_HEADER_BYTES + 6 * MESSAGE_HEADER_BYTES;
    assert_eq!((outbox.queued_bytes(), outbox.window_left()), (queued, 1_000 - queued));
    assert!(!outbox.take_writable());
    outbox.consume(queued - 500);
    assert!(outbox.take_writable());
    assert!(!outbox.take_writable());
    outbox.consume(500);
    assert!(!outbox.take_writable());
    assert_eq!(outbox.window_left(), 1_000);
}

#[test]
fn rounds_after_the_first_need_no_more_memory() {
    let mut outbox = Outbox::new(1 << 20);
    let round = Arc::new(vec![7; 2 * WRITEV_BYTES_MIN]);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        for group in 0..100 {
            outbox.push_message(group, &message(group));
            let range = if group % 2 == 0 { 0..64 } else { 0..WRITEV_BYTES_MIN };
            outbox.push_append(group, &append(1, 1), &[BlockSource::Round { range }], &round);
        }
        outbox.seal(Some(&round));
        written(&mut outbox, usize::MAX);
        sizes.push((outbox.copied.capacity(), outbox.segments.capacity()));
    }
    assert!(sizes.windows(2).all(|pair| pair[0] == pair[1]), "{sizes:?}");
}

#[test]
fn a_queue_that_never_empties_does_not_grow() {
    let mut outbox = Outbox::new(1 << 20);
    for round in 0..1_000 {
        outbox.push_message(1, &message(round));
    }
    outbox.seal(None);
    let full = outbox.queued_bytes();
    for round in 0..20_000 {
        outbox.push_message(1, &message(round));
        outbox.seal(None);
        outbox.consume(FRAME_HEADER_BYTES + MESSAGE_HEADER_BYTES);
        assert_eq!(outbox.queued_bytes(), full);
    }
    assert!(outbox.copied.capacity() <= 8 * full, "{}", outbox.copied.capacity());
}

#[derive(Debug, Clone)]
enum Step {
    Message(u64),
    Round(u64, usize),
    Shared(u64, usize),
    Seal,
    Write(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![1..200_usize, WRITEV_BYTES_MIN - 2..2 * WRITEV_BYTES_MIN];
    let step = prop_oneof![
        any::<u64>().prop_map(Step::Message),
        (any::<u64>(), size.clone()).prop_map(|(group, size)| Step::Round(group, size)),
        (any::<u64>(), size).prop_map(|(group, size)| Step::Shared(group, size)),
        Just(Step::Seal),
        (1..5_000_usize).prop_map(Step::Write),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn what_is_pushed_comes_out(steps in steps()) {
        let mut outbox = Outbox::new(1 << 20);
        let (mut round, mut expected, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        let mut number = 0;
        for step in steps.into_iter().chain([Step::Seal]) {
            number += 1;
            let fill = u8::try_from(number % 256).unwrap();
            match step {
                Step::Message(group) => {
                    outbox.push_message(group, &message(number));
                    expected.push((group, number, Vec::new()));
                }
                Step::Round(group, size) => {
                    let start = round.len();
                    round.resize(start + size, fill);
                    let source = BlockSource::Round { range: start..round.len() };
                    outbox.push_append(group, &append(number, 1), &[source], &round);
                    expected.push((group, number, vec![fill; size]));
                }
                Step::Shared(group, size) => {
                    let buffer = Arc::new(vec![fill; size + 2]);
                    let source = BlockSource::Shared { buffer, range: 1..size + 1 };
                    outbox.push_append(group, &append(number, 1), &[source], &round);
                    expected.push((group, number, vec![fill; size]));
                }
                Step::Seal => outbox.seal(Some(&Arc::new(std::mem::take(&mut round)))),
                Step::Write(step) if outbox.is_sealed() && !outbox.is_empty() => {
                    let mut slices = [IoSlice::new(&[]); 4];
                    let filled = outbox.gather(&mut slices);
                    let mut now: Vec<u8> =
                        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                    now.truncate(step);
                    outbox.consume(now.len());
                    bytes.extend(now);
                }
                Step::Write(_) => {}
            }
        }
        bytes.extend(written(&mut outbox, 1_000));
        prop_assert_eq!(read(&bytes).1, expected);
        prop_assert_eq!(outbox.queued_bytes(), 0);
        prop_assert!(outbox.segments.is_empty() && outbox.copied.is_empty());
    }
}
