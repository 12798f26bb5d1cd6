//! The scan on log files made here, byte by byte, in RocksDB's format.

use super::*;
use crate::store::SystemFiles;

const STORE: u128 = 77;

/// A log file being written.
struct Log {
    bytes: Vec<u8>,
}

impl Log {
    fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a logical record as RocksDB's writer does; returns where it begins.
    fn record(&mut self, payload: &[u8]) -> usize {
        let mut rest = payload;
        let mut begin = true;
        let mut start = None;
        loop {
            let left = BLOCK_BYTES - self.bytes.len() % BLOCK_BYTES;
            if left < PHYSICAL_HEADER_BYTES {
                self.bytes.resize(self.bytes.len() + left, 0);
                continue;
            }
            let take = rest.len().min(left - PHYSICAL_HEADER_BYTES);
            let end = take == rest.len();
            let kind = match (begin, end) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let at = self.physical(kind, &rest[..take]);
            let start = *start.get_or_insert(at);
            rest = &rest[take..];
            begin = false;
            if end {
                return start;
            }
        }
    }

    fn physical(&mut self, kind: u8, payload: &[u8]) -> usize {
        let at = self.bytes.len();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
        let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
        self.bytes.extend_from_slice(&masked.to_le_bytes());
        self.bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(payload);
        at
    }
}

/// Writes batches of one store, each chained to the one before.
struct Batches {
    number: u64,
    hash: u64,
    store_id: u128,
}

impl Batches {
    fn from(number: u64) -> Self {
        Self { number, hash: 0, store_id: STORE }
    }

    /// The RocksDB batch of the next number, with `payload` bytes in its part.
    fn next(&mut self, synced: u64, payload: usize) -> Vec<u8> {
        let header = BatchHeader {
            store_id: self.store_id,
            boot_epoch: 1,
            number: self.number,
            previous: self.hash,
            synced,
            first_live: 1,
            blocks: 1,
            parts: vec![u32::try_from(payload).unwrap()],
        };
        let mut value = Vec::new();
        self.hash = header.encode(&mut value);
        let mut batch = vec![0; 12];
        batch[8] = 2;
        put(&mut batch, &header::batch_key(self.number, 0), &value);
        put(&mut batch, &header::batch_key(self.number, 1), &vec![0xab; payload]);
        self.number += 1;
        batch
    }

    /// A log file with `count` batches, each of which knows its predecessor synced; and where each begins.
    fn file(&mut self, count: usize, payload: usize) -> (Log, Vec<usize>) {
        let mut log = Log::new();
        let starts = (0..count)
            .map(|_| {
                let batch = self.next(self.number - 1, payload);
                log.record(&batch)
            })
            .collect();
        (log, starts)
    }
}

fn put(batch: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    batch.extend_from_slice(&[TAG_PUT_IN_FAMILY, 1]);
    for bytes in [key, value] {
        let mut len = bytes.len();
        while len >= 0x80 {
            batch.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
            len >>= 7;
        }
        batch.push(u8::try_from(len).unwrap());
        batch.extend_from_slice(bytes);
    }
}

fn scan_files(files: &[&[u8]]) -> WalScan {
    let dir = tempfile::tempdir().unwrap();
    for (bytes, number) in files.iter().zip(4..) {
        std::fs::write(dir.path().join(format!("{number:06}.log")), bytes).unwrap();
    }
    std::fs::write(dir.path().join("LOG"), b"not a log file").unwrap();
    scan(&SystemFiles, dir.path(), None).unwrap()
}

fn name(bad: &BadPlace) -> String {
    bad.file.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_whole_log_is_whole() {
    for payload in [0, 10, 5_000, 100_000, 1_500_000] {
        let mut batches = Batches::from(5);
        let (first, _) = batches.file(7, payload);
        let (second, _) = batches.file(3, payload);
        let found = scan_files(&[&first.bytes, &second.bytes, b""]);
        assert_eq!((found.bad.clone(), found.last, found.synced), (None, Some(14), 13));
        assert_eq!((found.batches, found.files.len()), (10, 3));
        assert_eq!(found.store_id, Some(STORE));
        assert_eq!(found.judge(14, 14), Verdict::Whole);
        assert!(matches!(found.judge(14, 15), Verdict::Lost(Amnesia::Short { .. })));
    }
}

#[test]
fn l18_a_flipped_bit_before_a_synced_batch_is_damage_wherever_it_is() {
    let mut batches = Batches::from(1);
    let (log, starts) = batches.file(12, 9_000);
    let last_start = starts[starts.len() - 1];
    for at in (0..last_start).step_by(97) {
        let mut bytes = log.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let found = scan_files(&[&bytes]);
        let bad = found.bad.clone().unwrap_or_else(|| panic!("flip at {at} unseen"));
        assert!(bad.record <= at as u64 && bad.offset <= at as u64, "flip at {at}: {bad:?}");
        let last = found.last.unwrap_or(0);
        assert!(matches!(found.judge(last, 0), Verdict::Damaged(_)), "flip at {at}");
        assert_eq!(name(&bad), "000004.log");
    }
}

#[test]
fn l18_small_records_are_found_behind_a_bad_one_in_the_same_block() {
    let mut batches = Batches::from(1);
    let (log, starts) = batches.file(3, 20);
    for at in 0..starts[2] {
        let mut bytes = log.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let found = scan_files(&[&bytes]);
        let verdict = found.judge(found.last.unwrap_or(0), 0);
        assert!(matches!(verdict, Verdict::Damaged(_)), "flip at {at}: {verdict:?}");
    }
}

#[test]
fn l19_a_cut_or_garbled_tail_that_nobody_called_synced_is_torn() {
    let mut batches = Batches::from(1);
    let (log, starts) = batches.file(6, 20_000);
    let last_start = starts[5];
    for cut in (last_start + 1..log.bytes.len()).step_by(501) {
        let cut_off = log.bytes[..cut].to_vec();
        let mut zeroed = log.bytes.clone();
        zeroed[cut..].fill(0);
        let mut garbled = log.bytes.clone();
        for (byte, noise) in garbled[cut..].iter_mut().zip((7_u8..=251).cycle()) {
            *byte ^= noise;
        }
        for bytes in [cut_off, zeroed, garbled] {
            let found = scan_files(&[&bytes]);
            assert_eq!(found.last, Some(5));
            assert!(matches!(found.judge(5, 5), Verdict::Torn(_)), "cut at {cut}");
            assert!(matches!(found.judge(5, 6), Verdict::Damaged(_)), "the witness knows better");
        }
    }
    let mut padded = log.bytes;
    padded.resize(padded.len() + 100_000, 0);
    let found = scan_files(&[&padded]);
    assert_eq!(found.last, Some(6));
    assert!(matches!(found.judge(6, 6), Verdict::Torn(_)));
}

#[test]
fn l19_unsynced_batches_behind_a_hole_are_torn_too() {
    let mut batches = Batches::from(1);
    let mut log = Log::new();
    let starts: Vec<usize> = (0..8).map(|_| log.record(&batches.next(0, 9_000))).collect();
    let mut bytes = log.bytes;
    bytes[starts[4] + 100] ^= 1;
    let found = scan_files(&[&bytes]);
    assert_eq!((found.last, found.first_behind), (Some(4), Some(6)));
    let Verdict::Torn(bad) = found.judge(4, 0) else { panic!() };
    assert_eq!(bad.record, starts[4] as u64);
    assert!(matches!(found.judge(4, 5), Verdict::Damaged(_)));
}

#[test]
fn a_tail_that_an_earlier_opening_cut_is_forgotten_when_the_chain_goes_on() {
    let mut batches = Batches::from(1);
    let (mut first, _) = batches.file(4, 500);
    let mut torn = Batches { hash: batches.hash, ..batches };
    let start = first.record(&torn.next(4, 500));
    first.bytes.truncate(start + 200);
    let (second, _) = batches.file(3, 500);
    let found = scan_files(&[&first.bytes, &second.bytes]);
    assert_eq!((found.bad.clone(), found.last), (None, Some(7)));
    assert_eq!(found.judge(7, 7), Verdict::Whole);
    // A next file that does not follow leaves the bad place.
    let (other, _) = Batches::from(9).file(2, 500);
    let found = scan_files(&[&first.bytes, &other.bytes]);
    assert!(matches!(found.judge(4, 0), Verdict::Damaged(_)));
}

#[test]
fn l18_a_missing_file_is_a_hole() {
    let mut batches = Batches::from(1);
    let (first, _) = batches.file(3, 100);
    let _lost = batches.file(2, 100);
    let (third, _) = batches.file(2, 100);
    let found = scan_files(&[&first.bytes, &third.bytes]);
    let expected = Amnesia::Hole { missing: 4, found: 6 };
    assert_eq!(found.judge(3, 0), Verdict::Lost(expected));
}

#[test]
fn l20_a_log_file_of_another_store_is_damage() {
    let mut batches = Batches::from(1);
    let (first, _) = batches.file(3, 100);
    let mut foreign = Batches { number: 4, hash: 1, store_id: 9 };
    let (second, _) = foreign.file(2, 100);
    let found = scan_files(&[&first.bytes, &second.bytes]);
    let Verdict::Damaged(bad) = found.judge(3, 3) else { panic!() };
    assert_eq!((bad.why, bad.offset), (Flaw::ForeignBatch, 0));
    let mut log = Log::new();
    log.record(b"some other database's batch");
    let found = scan_files(&[&log.bytes]);
    assert!(matches!(found.judge(0, 0), Verdict::Damaged(_)));
}

#[test]
fn notes_of_rocksdb_between_log_files_are_skipped() {
    let mut batches = Batches::from(1);
    let mut log = Log::new();
    log.physical(130, b"predecessor");
    log.record(&[0; 12]);
    log.record(&batches.next(0, 10));
    let found = scan_files(&[&log.bytes]);
    assert_eq!((found.bad, found.last), (None, Some(1)));
    let mut log = Log::new();
    log.physical(9, b"compressed");
    log.record(&batches.next(1, 10));
    let bad = scan_files(&[&log.bytes]).bad.unwrap();
    assert_eq!(bad.why, Flaw::Type(9));
}

#[test]
fn any_bytes_at_all_give_a_scan_and_no_panic() {
    let mut batches = Batches::from(1);
    let (log, _) = batches.file(5, 9_000);
    let mut state = 0x1234_5678_u32;
    for _ in 0..300 {
        let mut bytes = log.bytes.clone();
        for _ in 0..64 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = usize::try_from(state >> 3).unwrap() % bytes.len();
            bytes[at] = state.to_le_bytes()[3];
        }
        let found = scan_files(&[&bytes]);
        assert!(found.bad.is_some());
    }
}
