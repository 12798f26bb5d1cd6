//! The header of a batch: what ties it to its store and to the batch before it.
//!
//! Every write to the log carries one, under the key `(number, part 0)`. The headers form a chain: each holds the
//! hash of the one before it, so that a missing, reordered or foreign batch shows. Each also says which batch was
//! known synced when it was written: that is what tells a torn tail from a damaged log (see `wal_scan`).
//!
//! Invariant: the bytes of a header follow from its fields alone; the chain hash is taken over those bytes.
//! Deliberately absent: a checksum over the parts. Each block has its own, and RocksDB has one per record.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::{RecordError, expect_zero, verify_crc};

/// The header of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The store that wrote it.
    pub store_id: u128,
    /// The opening of the store during which it was written.
    pub boot_epoch: u64,
    /// The batch's number; the first one is 1.
    pub number: u64,
    /// The chain hash of the header before it; 0 for the first.
    pub previous: u64,
    /// The highest batch known synced when this one was written.
    pub synced: u64,
    /// The first batch that was still needed when this one was written; all from there on must exist.
    pub first_live: u64,
    /// The blocks in all parts.
    pub blocks: u32,
    /// The length of each part; part `i + 1` has `parts[i]` bytes.
    pub parts: Vec<u32>,
}

const VERSION: u16 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    crc32c: U32,
    version: U16,
    parts: U16,
    store_id: U128,
    boot_epoch: U64,
    number: U64,
    previous: U64,
    synced: U64,
    first_live: U64,
    blocks: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<HeaderBytes>() == 72);

impl BatchHeader {
    /// Appends the header's bytes to `buf` and returns their chain hash.
    pub fn encode(&self, buf: &mut Vec<u8>) -> u64 {
        let at = buf.len();
        let parts = u16::try_from(self.parts.len()).expect("checked by the log's write");
        let header = HeaderBytes {
            crc32c: U32::ZERO,
            version: U16::new(VERSION),
            parts: U16::new(parts),
            store_id: U128::new(self.store_id),
            boot_epoch: U64::new(self.boot_epoch),
            number: U64::new(self.number),
            previous: U64::new(self.previous),
            synced: U64::new(self.synced),
            first_live: U64::new(self.first_live),
            blocks: U32::new(self.blocks),
            reserved: U32::ZERO,
        };
        buf.extend_from_slice(header.as_bytes());
        for &len in &self.parts {
            buf.extend_from_slice(U32::new(len).as_bytes());
        }
        let crc = crc32c::crc32c(&buf[at + 4..]);
        buf[at..at + 4].copy_from_slice(U32::new(crc).as_bytes());
        chain_hash(&buf[at..])
    }

    /// Reads a header back, with its chain hash.
    ///
    /// # Errors
    /// Says in which respect the bytes are not a header.
    pub fn decode(bytes: &[u8]) -> Result<(Self, u64), RecordError> {
        let (header, lengths) = HeaderBytes::read_from_prefix(bytes).map_err(|_| {
            RecordError::Truncated { needed: size_of::<HeaderBytes>(), found: bytes.len() }
        })?;
        let parts = usize::from(header.parts.get());
        let needed = size_of::<HeaderBytes>() + parts * 4;
        if bytes.len() < needed {
            return Err(RecordError::Truncated { needed, found: bytes.len() });
        }
        if bytes.len() > needed {
            return Err(RecordError::Trailing { extra: bytes.len() - needed });
        }
        verify_crc(bytes, header.crc32c.get())?;
        if header.version.get() != VERSION {
            return Err(RecordError::Version { found: header.version.get() });
        }
        expect_zero("reserved", header.reserved.get().into())?;
        let (number, synced) = (header.number.get(), header.synced.get());
        if number == 0 {
            return Err(RecordError::Field { what: "number", value: 0 });
        }
        if synced >= number {
            return Err(RecordError::Field { what: "synced", value: synced });
        }
        if header.first_live.get() > number {
            return Err(RecordError::Field { what: "first_live", value: header.first_live.get() });
        }
        let lengths = lengths
            .chunks_exact(4)
            .map(|b| U32::read_from_bytes(b).expect("chunks have a length's size").get());
        let decoded = Self {
            store_id: header.store_id.get(),
            boot_epoch: header.boot_epoch.get(),
            number,
            previous: header.previous.get(),
            synced,
            first_live: header.first_live.get(),
            blocks: header.blocks.get(),
            parts: lengths.collect(),
        };
        Ok((decoded, chain_hash(bytes)))
    }
}

/// FNV-1a, 64 bits: the chain needs a fingerprint of some hundred bytes, not protection against an attacker.
fn chain_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The length of a key of the `batch` family.
pub(super) const KEY_BYTES: usize = 10;

/// The key of a part; part 0 is the header. Big-endian, so that RocksDB's order is the order of writing.
#[expect(clippy::big_endian_bytes, reason = "the order of keys is the order of batches")]
pub(super) fn batch_key(number: u64, part: u16) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Number and part of a key; `None` when it has another length.
#[expect(clippy::big_endian_bytes, reason = "the order of keys is the order of batches")]
pub(super) fn parse_batch_key(key: &[u8]) -> Option<(u64, u16)> {
    let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
    let [a, b, c, d, e, f, g, h, i, j] = *key;
    Some((u64::from_be_bytes([a, b, c, d, e, f, g, h]), u16::from_be_bytes([i, j])))
}

/// The key of a group's record.
#[expect(clippy::big_endian_bytes, reason = "groups are listed in the order of their ids")]
pub(super) fn group_key(group: u64) -> [u8; 8] {
    group.to_be_bytes()
}

/// The group of a key; `None` when it has another length.
pub(super) fn parse_group_key(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BatchHeader {
        BatchHeader {
            store_id: 0x1234_5678_9abc_def0_1122_3344_5566_7788,
            boot_epoch: 3,
            number: 17,
            previous: 0xdead_beef,
            synced: 16,
            first_live: 9,
            blocks: 5,
            parts: vec![100, 2000],
        }
    }

    #[test]
    fn a_header_comes_back_with_the_same_hash() {
        let mut bytes = Vec::new();
        let hash = sample().encode(&mut bytes);
        assert_eq!(bytes.len(), 72 + 8);
        assert_eq!(BatchHeader::decode(&bytes), Ok((sample(), hash)));
        let mut other = Vec::new();
        assert_ne!(BatchHeader { number: 18, ..sample() }.encode(&mut other), hash);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(BatchHeader::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(BatchHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn headers_that_claim_the_impossible_are_refused() {
        for bad in [
            BatchHeader { number: 0, synced: 0, first_live: 0, ..sample() },
            BatchHeader { synced: 17, ..sample() },
            BatchHeader { first_live: 18, ..sample() },
        ] {
            let mut bytes = Vec::new();
            bad.encode(&mut bytes);
            assert!(matches!(BatchHeader::decode(&bytes), Err(RecordError::Field { .. })));
        }
    }

    #[test]
    fn keys_sort_as_batches_and_parts_do() {
        let keys = [(1, 0), (1, 1), (1, 256), (2, 0), (255, 9), (256, 0), (u64::MAX, 1)];
        let bytes: Vec<_> = keys.iter().map(|&(n, p)| batch_key(n, p)).collect();
        assert!(bytes.is_sorted());
        for (key, expected) in bytes.iter().zip(keys) {
            assert_eq!(parse_batch_key(key), Some(expected));
        }
        assert_eq!(parse_batch_key(b"short"), None);
        assert_eq!(parse_group_key(&group_key(77)), Some(77));
    }
}
