//! More than 300 malformed connections against a live transport: each ends with a typed error, and
//! the peers that behave notice nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::TcpStream;

use kontiki_net::{
    Beat, ConnError, DownReason, FrameHeader, FrameKind, HELLO_BYTES, Hello, Identity,
    MESSAGE_HEADER_BYTES, Net, NetConfig, NetEvent, Outbox, Promise, encode_beat, encode_message,
    hello_frame,
};
use kontiki_raft::Time;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64, U128};

use support::*;

fn frame(kind: FrameKind, count: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [FrameHeader::new(kind, len, count).as_bytes(), body].concat()
}

fn greeting(change: impl Fn(&mut Hello)) -> Vec<u8> {
    let identity =
        Identity { cluster_id: CLUSTER, node_id: 1, store_id: 5, epoch: 3, lane_count: 1 };
    let mut hello = hello_frame(&identity, 2, 0);
    change(&mut hello);
    let sealed = crc32c::crc32c(&hello.as_bytes()[..HELLO_BYTES - 4]);
    hello.crc32c = U32::new(sealed);
    frame(FrameKind::Hello, 1, hello.as_bytes())
}

/// Bytes that no handshake survives.
fn bad_greetings() -> Vec<Vec<u8>> {
    let good = greeting(|_| {});
    let mut bad: Vec<Vec<u8>> = (0..good.len())
        .map(|at| {
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            flipped
        })
        .collect();
    for len in [81, 4_096, (64 << 10) - 15, 8 << 20, u32::MAX] {
        bad.push(FrameHeader::new(FrameKind::Hello, len, 1).as_bytes().to_vec());
        bad.push(FrameHeader::new(FrameKind::Messages, len, len).as_bytes().to_vec());
    }
    for node in [0, 2, 4, 9, u64::MAX] {
        bad.push(greeting(|hello| hello.node_id = U64::new(node)));
    }
    for epoch in [0, 1 << 63, u64::MAX] {
        bad.push(greeting(|hello| hello.epoch = U64::new(epoch)));
    }
    for other in [0, 1, u128::MAX] {
        bad.push(greeting(|hello| hello.cluster_id = U128::new(other)));
    }
    for lane in [1, 2, u16::MAX] {
        bad.push(greeting(|hello| hello.lane = U16::new(lane)));
        bad.push(greeting(|hello| hello.lane_count = U16::new(lane + u16::from(lane == 1))));
    }
    bad.push(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec());
    bad.push(vec![0; 4_096]);
    bad.push(vec![0xFF; 4_096]);
    bad
}

/// Beats that no node can mean, with a checksum that fits, and one with each byte wrong.
fn bad_beats() -> Vec<Vec<u8>> {
    let promise = Promise { epoch: 1, lapses: 0, answers: Time(1), for_us: 1, held_us: 0 };
    let beat = Beat { epoch: 1, sequence: 1, sent_at: Time(1), promise: Some(promise) };
    let mut good = Vec::new();
    encode_beat(&mut good, &beat);
    let flipped = (0..good.len()).map(|at| (at, vec![good[at] ^ 0x20], false));
    // No epoch, numbers past all, a promise of no time or of no epoch, reserved words, flags.
    let zero = [0, 24, 48].map(|at| (at, vec![0], true));
    let huge = [0, 8, 16, 24, 32, 40].map(|at| (at, vec![0xFF; 8], true));
    let reserved = [56, 64, 72, 80, 87, 90, 91].map(|at| (at, vec![1], true));
    let flags = [(89, vec![0], true), (89, vec![2], true)];
    let bad = flipped.chain(zero).chain(huge).chain(reserved).chain(flags);
    bad.map(|(at, with, sealed)| {
        let mut bytes = good.clone();
        bytes[at..at + with.len()].copy_from_slice(&with);
        if sealed {
            let crc = crc32c::crc32c(&bytes[..MESSAGE_HEADER_BYTES - 4]);
            bytes[MESSAGE_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    })
    .collect()
}

/// Bytes that no connection survives once it is up.
fn bad_frames() -> Vec<Vec<u8>> {
    let mut message = Vec::new();
    encode_message(&mut message, 7, &numbered(1));
    let good = frame(FrameKind::Messages, 1, &message);
    let mut bad: Vec<Vec<u8>> = (0..good.len() * 2)
        .map(|at| {
            let mut flipped = good.clone();
            flipped[at / 2] ^= [1, 0x80][at % 2];
            flipped
        })
        .collect();
    bad.extend(bad_beats().iter().map(|beat| frame(FrameKind::Messages, 1, beat)));
    for count in [0, 2, 3, u32::MAX] {
        bad.push(frame(FrameKind::Messages, count, &message));
    }
    for extra in 1..20 {
        bad.push(frame(FrameKind::Messages, 1, &[&message[..], &vec![0; extra]].concat()));
        bad.push(frame(FrameKind::Messages, 1, &message[..message.len() - extra]));
    }
    for len in [(8 << 20) - 15, 8 << 20, 1 << 30, u32::MAX] {
        bad.push(FrameHeader::new(FrameKind::Messages, len, 1).as_bytes().to_vec());
    }
    for kind in [FrameKind::Hello, FrameKind::Refuse] {
        bad.push(frame(kind, 1, &message));
    }
    bad.push(greeting(|_| {}));
    bad
}

/// Polls and reads until something happened.
fn next_event(net: &mut Net, clock: &Clock) -> NetEvent {
    loop {
        let mut events = turn(net, clock);
        net.for_each_frame(usize::MAX, |_, frame| frame.messages().try_for_each(|m| m.map(drop)));
        if let Some(event) = events.pop() {
            assert!(events.is_empty(), "{events:?} before {event:?}");
            return event;
        }
    }
}

fn send(net: &Net, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(net.local_addr().unwrap()).unwrap();
    // The other side may close before all is written; what it says of it is what counts.
    stream.write_all(bytes).ok();
    stream
}

#[test]
fn malformed_connections_end_with_a_typed_error_and_harm_nobody() {
    let clock = Clock::new();
    let (listen, address) = listener();
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let peers = vec![(1, nowhere)];
    let mut b = Net::new(NetConfig { peers, listen: Some(listen), ..config(2) }).unwrap();
    let mut cases = 0;
    for bytes in bad_greetings() {
        let stream = send(&b, &bytes);
        let event = next_event(&mut b, &clock);
        assert!(
            matches!(event, NetEvent::Refused { address, error, .. }
                if address == stream.local_addr().unwrap() && error.refusal().is_some()),
            "{event:?}"
        );
        cases += 1;
    }
    for bytes in bad_frames() {
        let _stream = send(&b, &[greeting(|_| {}), bytes].concat());
        let up = next_event(&mut b, &clock);
        assert_eq!(up, NetEvent::PeerUp { node: 1, store_id: 5, epoch: 3 });
        let down = next_event(&mut b, &clock);
        assert!(
            matches!(
                down,
                NetEvent::PeerDown {
                    node: 1,
                    reason: DownReason::Conn(
                        ConnError::Decode(_) | ConnError::UnexpectedFrame { .. }
                    ),
                }
            ),
            "{down:?}"
        );
        cases += 1;
    }
    assert!(cases >= 300, "{cases} cases");

    // After all that, an honest peer is served.
    let mut a = Net::new(NetConfig { peers: vec![(2, address)], ..config(1) }).unwrap();
    connect(&mut a, &mut b, &clock);
    a.outbox(2).unwrap().push_message(7, &numbered(1));
    a.flush(None);
    let mut messages = 0;
    while messages == 0 {
        assert_eq!(turn(&mut b, &clock), []);
        b.for_each_frame(usize::MAX, |_, frame| {
            messages += frame.count();
            Ok(())
        });
    }
    let counted = (b.stats().refused, b.stats().connects);
    assert_eq!(counted, (bad_greetings().len() as u64, bad_frames().len() as u64 + 1));
}

#[test]
fn a_connection_cut_inside_a_frame_is_closed_and_no_fault() {
    let clock = Clock::new();
    let (_, mut b) = pair(config(1), config(2));
    let mut outbox = Outbox::new(1 << 20);
    outbox.push_message(7, &numbered(1));
    outbox.seal(None);
    let mut slices = [std::io::IoSlice::new(&[]); 1];
    outbox.gather(&mut slices);
    for cut in [1, 15, 16, 17, slices[0].len() - 1] {
        drop(send(&b, &[greeting(|_| {}), slices[0][..cut].to_vec()].concat()));
        assert!(is_up(&next_event(&mut b, &clock)));
        let reason = DownReason::Conn(ConnError::Closed);
        assert_eq!(next_event(&mut b, &clock), NetEvent::PeerDown { node: 1, reason });
    }
}
