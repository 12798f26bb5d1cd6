//! The format of RocksDB's log files: framing payloads into physical records, and reading them as RocksDB does.
//!
//! A file is a row of blocks of 32 KiB, a block a row of physical records {masked crc32c u32, length u16, type u8} and
//! payload. The reader here is a model of RocksDB's own, with its habits: it stops at the first record that is wrong, takes
//! zeroes for the rest of a block that was never written, and what a file ends in the middle of for its end.
//! It has nothing in common with the engine's `wal_scan`, which looks past bad places.
//!
//! Deliberately absent: recycled files and compression, which the engine switches off.

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Appends the physical records of `payload` to `out`, for a file that is `at` bytes long.
pub fn frame(at: usize, payload: &[u8], out: &mut Vec<u8>) {
    let base = out.len();
    let mut rest = payload;
    let mut begin = true;
    loop {
        let left = BLOCK - (at + out.len() - base) % BLOCK;
        if left < HEADER {
            out.resize(out.len() + left, 0);
            continue;
        }
        let (piece, behind) = rest.split_at(rest.len().min(left - HEADER));
        let kind = match (begin, behind.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), piece);
        let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
        let length = u16::try_from(piece.len()).expect("less than a block");
        out.extend_from_slice(&masked.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.push(kind);
        out.extend_from_slice(piece);
        rest = behind;
        begin = false;
        if rest.is_empty() {
            return;
        }
    }
}

/// What RocksDB's reader makes of a file.
#[derive(Debug, Default)]
pub struct Records {
    /// The payloads, and where their records begin and end.
    pub whole: Vec<(usize, usize, Vec<u8>)>,
    /// Whether it stopped at something wrong, and not at the end.
    pub bad: bool,
}

/// Reads a file as RocksDB does. In a log file an end in the middle of a record is wrong; in a manifest it is an end.
#[must_use]
pub fn read(bytes: &[u8], is_manifest: bool) -> Records {
    let mut records = Records::default();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        let mut at = 0;
        while block.len() - at >= HEADER {
            let start = number * BLOCK + at;
            let stored = u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
            let length = usize::from(u16::from_le_bytes([block[at + 4], block[at + 5]]));
            let kind = block[at + 6];
            if kind == 0 && length == 0 {
                // Room that was reserved and never written, as far as RocksDB knows.
                records.bad = open.is_some();
                break;
            }
            let Some(piece) = block.get(at + HEADER..at + HEADER + length) else {
                let at_end = block.len() < BLOCK;
                records.bad = !at_end || (!is_manifest && open.is_some());
                return records;
            };
            let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), piece);
            if stored != crc.rotate_right(15).wrapping_add(0xa282_ead8) {
                records.bad = true;
                return records;
            }
            at += HEADER + length;
            let end = number * BLOCK + at;
            match (kind, open.take()) {
                (FULL, None) => records.whole.push((start, end, piece.to_vec())),
                (FIRST, None) => open = Some((start, piece.to_vec())),
                (MIDDLE, Some((start, mut payload))) => {
                    payload.extend_from_slice(piece);
                    open = Some((start, payload));
                }
                (LAST, Some((start, mut payload))) => {
                    payload.extend_from_slice(piece);
                    records.whole.push((start, end, payload));
                }
                (0x80.., still) => open = still,
                _ => {
                    records.bad = true;
                    return records;
                }
            }
        }
        if records.bad {
            return records;
        }
    }
    records.bad = open.is_some() && !is_manifest;
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::random::Rng;

    fn file(seed: u64, count: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut dice = Rng::new(seed);
        let mut bytes = Vec::new();
        let mut payloads = Vec::new();
        for _ in 0..count {
            let len = usize::try_from(dice.scale(1, 100_000)).unwrap();
            let payload = vec![u8::try_from(dice.below(256)).unwrap(); len];
            frame(bytes.len(), &payload, &mut bytes);
            payloads.push(payload);
        }
        (bytes, payloads)
    }

    #[test]
    fn what_is_framed_is_read() {
        for seed in 0..50 {
            let (bytes, payloads) = file(seed, 20);
            let read = read(&bytes, false);
            assert!(!read.bad);
            let found: Vec<Vec<u8>> =
                read.whole.into_iter().map(|(_, _, payload)| payload).collect();
            assert_eq!(found, payloads);
        }
    }

    #[test]
    fn a_cut_file_has_the_records_before_the_cut() {
        let (bytes, payloads) = file(3, 12);
        let whole = read(&bytes, false).whole;
        let mut dice = Rng::new(9);
        for _ in 0..300 {
            let cut = dice.place(bytes.len());
            let found = read(&bytes[..cut], false).whole.len();
            let expected = whole.iter().filter(|(_, end, _)| *end <= cut).count();
            assert_eq!(found, expected, "cut at {cut}");
            assert!(found < payloads.len());
            assert!(!read(&bytes[..cut], true).bad, "a manifest may end anywhere");
        }
    }

    #[test]
    fn a_flipped_bit_ends_what_is_read() {
        let (bytes, _) = file(4, 12);
        let whole = read(&bytes, false).whole;
        let mut dice = Rng::new(9);
        for _ in 0..300 {
            let mut bad = bytes.clone();
            let at = dice.place(bytes.len());
            bad[at] ^= 1 << dice.below(8);
            let before = whole.iter().filter(|(_, end, _)| *end <= at).count();
            assert!(read(&bad, false).whole.len() <= before.max(whole.len() - 1));
            assert!(read(&bad, false).whole.len() >= before);
        }
    }
}
