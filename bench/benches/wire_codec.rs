//! What the wire format and the transport cost: per block, per message, and through a socket.
//!
//! The figures to watch are those per message: a gathered message should cost 0.03 to 0.2 µs on
//! each side, and a block no more than its copies and its checksum.

use std::hint::black_box;
use std::io::IoSlice;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kontiki_net::{
    Block, BlockKind, BlockMeta, BlockSource, FRAME_BYTES_MAX, Frame, Incoming, Net, NetConfig,
    NetEvent, Outbox, Run, check_append, encode_block,
};
use kontiki_raft::{AppendHeader, Index, Message, MessageKind, Position, ReplicaId, Span, Term};

const MESSAGES: u64 = 1_000;

fn replica(id: u64) -> ReplicaId {
    ReplicaId::new(id).expect("not zero")
}

fn ack(round: u64) -> Message {
    let matched = Position { term: Term(3), index: Index(round) };
    let kind = MessageKind::AppendAck { matched, read_round: round };
    Message { from: replica(1), to: replica(2), term: Term(3), kind, session: 1 }
}

fn append(entries: u64) -> AppendHeader {
    AppendHeader {
        from: replica(1),
        to: replica(2),
        term: Term(3),
        prev: Position { term: Term(3), index: Index(9) },
        last: Index(9 + entries),
        commit: Index(9),
        floor: Index(0),
        read_round: 0,
        session: 1,
    }
}

/// The table of lengths and the payloads of `entries` entries.
fn entries(entries: u32, bytes: u32) -> (Vec<u8>, Vec<u8>) {
    let lengths = (0..entries).flat_map(|_| bytes.to_le_bytes()).collect();
    (lengths, vec![7; (entries * bytes) as usize])
}

fn block(buf: &mut Vec<u8>, group: u64, run: Run<'_>) -> std::ops::Range<usize> {
    let (first_index, term, kind) = (Index(10), Term(3), BlockKind::Command);
    encode_block(buf, BlockMeta { group, first_index, term, kind }, std::iter::once(run))
}

fn blocks(criterion: &mut Criterion) {
    for (count, bytes) in [(1, 16), (80, 16), (4_096, 16), (80, 128), (1, 16 << 10)] {
        let name = format!("{count} x {bytes} B");
        let (lengths, payload) = entries(count, bytes);
        let run = Run { lengths: &lengths, payload: &payload };
        let mut group = criterion.benchmark_group("block");
        group.throughput(Throughput::Elements(u64::from(count)));
        let mut buf = Vec::new();
        group.bench_function(format!("encode {name}"), |bencher| {
            bencher.iter(|| {
                buf.clear();
                black_box(block(&mut buf, 1, black_box(run)))
            });
        });
        group.bench_function(format!("parse and verify {name}"), |bencher| {
            bencher.iter(|| {
                let (block, _) = Block::parse(black_box(&buf)).expect("well formed");
                block.verify().expect("well formed");
            });
        });
        group.bench_function(format!("walk {name}"), |bencher| {
            let (block, _) = Block::parse(&buf).expect("well formed");
            bencher.iter(|| block.entries().map(|entry| black_box(entry).len()).sum::<usize>());
        });
        group.finish();
    }
}

/// Writes the queue to nowhere.
fn drain(outbox: &mut Outbox) {
    while !outbox.is_empty() {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = outbox.gather(&mut slices);
        let bytes = black_box(&slices[..filled]).iter().map(|slice| slice.len()).sum();
        outbox.consume(bytes);
    }
}

fn bytes_of(outbox: &Outbox) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = outbox.gather(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Counts the messages of a stream of frames, checking appends as a follower does.
fn decode(mut bytes: &[u8], spans: &mut Vec<Span>) -> u64 {
    let mut count = 0;
    while !bytes.is_empty() {
        let (frame, rest) = Frame::parse(bytes, FRAME_BYTES_MAX).expect("well formed");
        bytes = rest;
        for incoming in frame.messages() {
            if let Incoming::Append { group, header, blocks } = incoming.expect("well formed") {
                spans.clear();
                check_append(group, &header, blocks, spans).expect("well formed");
            }
            count += 1;
        }
    }
    count
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Elements(MESSAGES));
    let mut outbox = Outbox::new(64 << 20);
    let mut spans = Vec::new();
    group.bench_function("pack acks", |bencher| {
        bencher.iter(|| {
            for round in 0..MESSAGES {
                outbox.push_message(round, &ack(round));
            }
            outbox.seal(None);
            drain(&mut outbox);
        });
    });
    for round in 0..MESSAGES {
        outbox.push_message(round, &ack(round));
    }
    outbox.seal(None);
    let bytes = bytes_of(&outbox);
    drain(&mut outbox);
    group.bench_function("decode acks", |bencher| {
        bencher.iter(|| assert_eq!(decode(black_box(&bytes), &mut spans), MESSAGES));
    });
    for (count, size) in [(1, 16), (20, 16), (20, 128), (40, 128)] {
        let (lengths, payload) = entries(count, size);
        let mut round = Vec::new();
        let ranges: Vec<_> = (0..MESSAGES)
            .map(|id| block(&mut round, id, Run { lengths: &lengths, payload: &payload }))
            .collect();
        let round = Arc::new(round);
        let header = append(u64::from(count));
        let pack = |outbox: &mut Outbox| {
            for (id, range) in (0..MESSAGES).zip(&ranges) {
                let source = BlockSource::Round { range: range.clone() };
                outbox.push_append(id, &header, &[source], &round);
            }
            outbox.seal(Some(&round));
        };
        group.bench_function(format!("pack appends of {count} x {size} B"), |bencher| {
            bencher.iter(|| {
                pack(&mut outbox);
                drain(&mut outbox);
            });
        });
        pack(&mut outbox);
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let now = bytes_of(&outbox);
            outbox.consume(now.len());
            bytes.extend(now);
        }
        group.bench_function(format!("decode appends of {count} x {size} B"), |bencher| {
            bencher.iter(|| assert_eq!(decode(black_box(&bytes), &mut spans), MESSAGES));
        });
    }
    group.finish();
}

/// Two connected transports: the first calls.
fn pair() -> (Net, Net) {
    let listen = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = listen.local_addr().expect("it is bound");
    let mut first = NetConfig::new(1, 1, 1);
    first.peers = vec![(2, address)];
    let mut second = NetConfig::new(1, 2, 2);
    second.peers = vec![(1, address)];
    second.listen = Some(listen);
    let mut nets = (Net::new(first).expect("valid"), Net::new(second).expect("valid"));
    let (mut now, mut ups) = (0, 0);
    while ups < 2 {
        now += 1;
        for net in [&mut nets.0, &mut nets.1] {
            net.poll(Some(Duration::ZERO), now).expect("the system can poll");
            while let Some(event) = net.next_event() {
                ups += u32::from(matches!(event, NetEvent::PeerUp { .. }));
            }
        }
    }
    nets
}

fn sockets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loopback");
    let (mut a, mut b) = pair();
    let mut spans = Vec::new();
    for count in [1, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("round of {count} acks"), |bencher| {
            bencher.iter(|| {
                let outbox = a.outbox(2).expect("connected");
                for round in 0..count {
                    outbox.push_message(round, &ack(round));
                }
                a.flush(None);
                let mut left = count;
                while left > 0 {
                    b.poll(Some(Duration::ZERO), 1).expect("the system can poll");
                    b.for_each_frame(usize::MAX, |_, frame| {
                        for incoming in frame.messages() {
                            black_box(incoming?);
                            left -= 1;
                        }
                        Ok(())
                    });
                }
            });
        });
    }
    for (appends, count, size) in
        [(1, 4_096, 16), (100, 40, 16), (1_000, 10, 128), (1_000, 20, 128), (100, 200, 128)]
    {
        let (lengths, payload) = entries(count, size);
        let run = Run { lengths: &lengths, payload: &payload };
        let mut round = Vec::new();
        let ranges: Vec<_> = (0..appends).map(|id| block(&mut round, id, run)).collect();
        let round = Arc::new(round);
        let header = append(u64::from(count));
        group.throughput(Throughput::Elements(appends * u64::from(count)));
        group.bench_function(
            format!("round of {appends} appends of {count} x {size} B"),
            |bencher| {
                bencher.iter(|| {
                    let outbox = a.outbox(2).expect("connected");
                    for (id, range) in (0..appends).zip(&ranges) {
                        let source = BlockSource::Round { range: range.clone() };
                        outbox.push_append(id, &header, &[source], &round);
                    }
                    a.flush(Some(&round));
                    let mut left = appends;
                    while left > 0 {
                        b.poll(Some(Duration::ZERO), 1).expect("the system can poll");
                        a.poll(Some(Duration::ZERO), 1).expect("the system can poll");
                        b.for_each_frame(usize::MAX, |_, frame| {
                            for incoming in frame.messages() {
                                if let Incoming::Append { group, header, blocks } = incoming? {
                                    spans.clear();
                                    check_append(group, &header, blocks, &mut spans)?;
                                }
                                left -= 1;
                            }
                            Ok(())
                        });
                    }
                });
            },
        );
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(30);
    targets = blocks, messages, sockets
}
criterion_main!(benches);
