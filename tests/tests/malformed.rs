//! Hundreds of malformed frames against a live node, and hundreds of damaged files below a node that opens.
//!
//! The decoders have their own tests, byte by byte. Here it is the whole node that must stand: it goes on serving,
//! keeps its memory, and says by name what it will not open.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use kontiki::error::StartError;
use kontiki_net::{
    Beat, FRAME_BYTES_MAX, FrameHeader, FrameKind, HELLO_BYTES, Hello, Identity,
    MESSAGE_HEADER_BYTES, MessageHeader, Promise, encode_beat, hello_frame,
};
use kontiki_raft::Time;
use kontiki_tests::process::{
    Acknowledged, Cluster, GROUP_TIMING, Image, Load, Random, audit, replicas_agree, within,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64, U128};

/// The cluster that `kontiki-node` belongs to when nobody says otherwise.
const CLUSTER: u128 = 1;
/// Malformed conversations, and damaged directories.
const CASES: usize = 300;
/// What a node may grow by while it is under attack: a few frames of the largest size.
const GROWTH_MAX: u64 = 64 << 20;
const LIMIT: Duration = Duration::from_secs(20);

fn frame(kind: FrameKind, count: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [FrameHeader::new(kind, len, count).as_bytes(), body].concat()
}

/// The greeting of node `from` to node `to`, changed and sealed again.
fn greeting(from: u64, to: u64, change: impl FnOnce(&mut Hello)) -> Vec<u8> {
    let identity =
        Identity { cluster_id: CLUSTER, node_id: from, store_id: 77, epoch: 1, lane_count: 1 };
    let mut hello = hello_frame(&identity, to, 0);
    change(&mut hello);
    hello.crc32c = U32::new(crc32c::crc32c(&hello.as_bytes()[..HELLO_BYTES - 4]));
    frame(FrameKind::Hello, 1, hello.as_bytes())
}

/// What never gets past the handshake.
fn bad_greeting(random: &mut Random) -> Vec<u8> {
    let good = greeting(1, 3, |_| {});
    match random.below(8) {
        0 => random.bytes(1 + usize::try_from(random.clone().below(100_000)).unwrap()),
        1 => good[..random.at(good.len())].to_vec(),
        2 => {
            let mut bad = good;
            let at = random.at(bad.len());
            bad[at] ^= 1 << random.below(8);
            bad
        }
        3 => {
            // A foreign cluster, with every checksum right.
            let id = u128::from(random.bits()) << 64 | 2;
            greeting(1, 3, |hello| hello.cluster_id = U128::new(id))
        }
        4 => {
            // A node that nobody knows, or this one itself.
            let node = [0, 3, 4, random.bits()][random.at(4)];
            greeting(node, 3, |_| {})
        }
        5 => {
            let lanes = U16::new(2 + u16::try_from(random.below(60)).unwrap());
            greeting(1, 3, |hello| hello.lane_count = lanes)
        }
        6 => {
            // A length that asks for memory before anybody is known.
            let len = (64 << 10) + u32::try_from(random.below(u64::from(u32::MAX >> 1))).unwrap();
            FrameHeader::new(FrameKind::Hello, len, 1).as_bytes().to_vec()
        }
        _ => frame(FrameKind::Messages, 1, &random.bytes(MESSAGE_HEADER_BYTES)),
    }
}

/// An append to group 1 whose header is sound.
fn append(random: &mut Random, body_len: u32) -> MessageHeader {
    let mut header = MessageHeader {
        group: U64::new(1),
        from: U64::new(1),
        to: U64::new(3),
        term: U64::new(1),
        fields: [U64::new(random.below(9)); 6],
        session: U32::new(1),
        body_len: U32::new(body_len),
        kind: 1,
        flags: 0,
        reserved: 0.into(),
        crc32c: U32::ZERO,
    };
    let sealed = crc32c::crc32c(&header.as_bytes()[..MESSAGE_HEADER_BYTES - 4]);
    header.crc32c = U32::new(sealed);
    header
}

/// A beat that no node can mean, with a checksum that fits.
fn bad_beat(random: &mut Random) -> Vec<u8> {
    let answers = Time(random.below(1 << 40));
    let promise = Promise { epoch: 1, lapses: random.below(9), answers, for_us: 1, held_us: 0 };
    let mut beat = Beat { epoch: 1, sequence: 1, sent_at: Time(1), promise: Some(promise) };
    match random.below(5) {
        0 => beat.epoch = 0,
        1 => beat.sent_at = Time(u64::MAX - random.below(1 << 62)),
        2 => beat.promise = Some(Promise { epoch: 0, ..promise }),
        3 => beat.promise = Some(Promise { for_us: 0, ..promise }),
        _ => beat.promise = Some(Promise { lapses: u64::MAX, ..promise }),
    }
    let mut bytes = Vec::new();
    encode_beat(&mut bytes, &beat);
    bytes
}

/// What no connection survives once it is up.
fn bad_frame(random: &mut Random) -> Vec<u8> {
    let max = u32::try_from(FRAME_BYTES_MAX).unwrap();
    match random.below(8) {
        0 => random.bytes(4_096),
        7 => frame(FrameKind::Messages, 1, &bad_beat(random)),
        1 => {
            // Oversized: said, and not sent.
            let len = max + u32::try_from(random.below(1 << 30)).unwrap();
            FrameHeader::new(FrameKind::Messages, len, 1).as_bytes().to_vec()
        }
        2 => {
            // The largest allowed, and then silence.
            FrameHeader::new(FrameKind::Messages, max - 16, 1).as_bytes().to_vec()
        }
        3 => {
            // More messages than there are bytes, or none.
            let count = [0, 2, 3, u32::MAX][random.at(4)];
            frame(FrameKind::Messages, count, append(random, 0).as_bytes())
        }
        4 => {
            // An append whose blocks are noise.
            let blocks = random.bytes(200);
            let header = append(random, 200);
            frame(FrameKind::Messages, 1, &[header.as_bytes(), &blocks].concat())
        }
        5 => {
            // An append that says it has more blocks than it has.
            let header = append(random, u32::MAX - 7);
            frame(FrameKind::Messages, 1, &[header.as_bytes(), &random.bytes(64)].concat())
        }
        _ => {
            let mut bad = frame(FrameKind::Messages, 1, append(random, 0).as_bytes());
            let at = random.at(bad.len());
            bad[at] ^= 1 << random.below(8);
            bad
        }
    }
}

/// Sends `bytes`, and then nothing more; returns when the node has closed the connection.
fn say(cluster: &Cluster, bytes: &[u8]) {
    let mut stream = TcpStream::connect(cluster.peer_address(2)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The node may close before it has read everything.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    loop {
        match stream.read(&mut [0; 4_096]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let cut =
                    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
                assert!(cut, "{error}, and the connection is still open");
                return;
            }
        }
    }
}

#[test]
fn g11_g19_a_node_serves_through_hundreds_of_malformed_conversations() {
    let mut random = Random::of_this_run("malformed conversations");
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 16, &GROUP_TIMING);
    let load = Load::start(&cluster.admins(), 16, 1, random.bits());
    within("first writes", LIMIT, || (load.acknowledged() > 5_000).then_some(()));
    let before = cluster.node(2).resident_bytes();
    for case in 0..CASES {
        if case % 2 == 0 {
            say(&cluster, &bad_greeting(&mut random));
        } else {
            // In the name of node 1, whose own connection this one takes the place of.
            say(&cluster, &[greeting(1, 3, |_| {}), bad_frame(&mut random)].concat());
        }
        if case % 30 == 0 {
            let served = load.acknowledged();
            within("writes meanwhile", LIMIT, || (load.acknowledged() > served).then_some(()));
            assert!(cluster.node(2).is_healthy());
        }
    }
    // Many at once, each holding what it may.
    let held: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(cluster.peer_address(2)).unwrap();
            let claim = FrameHeader::new(FrameKind::Hello, 80, 1);
            drop(stream.write_all(claim.as_bytes()));
            stream
        })
        .collect();
    assert!(cluster.node(2).is_healthy());
    let grown = cluster.node(2).resident_bytes().saturating_sub(before);
    drop(held);
    let ledger = load.finish();
    eprintln!("{CASES} cases, {:?}, node 3 grew by {} KiB", ledger.counts, grown >> 10);
    cluster.wait_all_led(LIMIT);
    audit(&cluster, &ledger);
    replicas_agree(&cluster);
    // The load's own bytes are in caches and memtables of all nodes; what counts is what the attack added.
    let other = cluster.node(1).resident_bytes();
    let attacked = cluster.node(2).resident_bytes();
    assert!(attacked < other + GROWTH_MAX, "{attacked} bytes, where its peer has {other}");
}

/// A file of the store, whichever.
fn any_file(image: &Image, random: &mut Random) -> PathBuf {
    let mut files = Vec::new();
    let mut open = vec![image.config.dir.clone()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files.swap_remove(random.at(files.len()))
}

/// Damages one file in one way, and says how.
fn damage(image: &Image, random: &mut Random) -> String {
    let file = any_file(image, random);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = random.at(bytes.len() + 1);
    let how = match random.below(7) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            bytes[at..].fill(0);
            format!("zeroes from {at}")
        }
        2 => {
            bytes = random.bytes(bytes.len());
            "noise".to_owned()
        }
        3 => {
            bytes.splice(at..at, random.clone().bytes(1 + random.at(50)));
            format!("more bytes at {at}")
        }
        4 => {
            bytes.drain(at..(at + 1 + random.at(50)).min(bytes.len()).max(at));
            format!("fewer bytes at {at}")
        }
        5 => {
            std::fs::remove_file(&file).unwrap();
            return format!("{} removed", file.display());
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            format!("a bit of byte {at}")
        }
    };
    std::fs::write(&file, bytes).unwrap();
    format!("{}: {how}", file.display())
}

#[test]
fn l18_whatever_is_damaged_a_node_says_so_or_holds_everything() {
    let mut random = Random::of_this_run("damaged directories");
    let live = Image::empty();
    let mut acknowledged = Acknowledged::default();
    // Three lives, so that log and state have table files as well as a log file.
    for life in 0..3 {
        let store = live.opened("a whole store");
        acknowledged.write(&store, &mut random, 20, 2_000);
        if life < 2 {
            store.engine().shutdown().unwrap();
            continue;
        }
        live.wait_witnessed();
        let image = live.copy();
        store.engine().shutdown().unwrap();
        drop(store);
        let (mut refused, mut opened) = (0, 0);
        for _ in 0..CASES {
            let image = image.copy();
            let how = damage(&image, &mut random);
            match image.open() {
                Err(error) => {
                    refused += 1;
                    assert!(is_typed(&error), "{how}: {error:?}");
                    assert!(!error.to_string().is_empty(), "{how}");
                }
                Ok(store) => {
                    opened += 1;
                    // What does not matter to the log may be gone; nothing that was acknowledged may.
                    acknowledged.is_held_by_or_fails(&store, &how);
                    drop(store.engine().shutdown());
                }
            }
        }
        eprintln!(
            "{CASES} damaged directories: {refused} refused, {opened} opened with everything in them"
        );
        assert!(refused > CASES / 4 && opened > 0, "{refused} refused, {opened} opened");
    }
}

/// Whether an error is one of those that say what is wrong with a store.
fn is_typed(error: &StartError) -> bool {
    matches!(error, StartError::Store(_) | StartError::Recovery(_) | StartError::Machine(_))
}
