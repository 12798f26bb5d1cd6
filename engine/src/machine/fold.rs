//! The hash of the machines: folded multiplication, a few nanoseconds for a small payload.
//!
//! Digests are compared between replicas and are kept on disk, so these functions are part of the format:
//! they give the same numbers on every platform and in every version. The golden test holds them.
//! Deliberately absent: resistance against chosen input. Digests find faults, not forgers; a table that
//! clients can aim at mixes in a random seed of its process.

const K0: u64 = 0xa076_1d64_78bd_642f;
const K1: u64 = 0xe703_7ed1_a0b4_28db;
const K2: u64 = 0x8ebc_6af0_9c88_c6e3;
const K3: u64 = 0x5899_65cc_7537_4cc3;

/// Multiplies to 128 bits and folds the halves.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The hash of a number.
#[inline]
pub(crate) const fn hash_u64(seed: u64, value: u64) -> u64 {
    fold(value ^ K0, seed ^ K1)
}

/// The hash of bytes.
#[inline]
pub(crate) fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let len = bytes.len();
    let mut hash = seed ^ K2;
    if len > 16 {
        for chunk in bytes[..len - 1].chunks_exact(16) {
            hash = fold(word(chunk, 0) ^ K0, word(chunk, 8) ^ hash);
        }
        // The last sixteen bytes, which may overlap the last whole chunk.
        let tail = &bytes[len - 16..];
        return finish(word(tail, 0), word(tail, 8), hash, len);
    }
    if len >= 8 {
        return finish(word(bytes, 0), word(bytes, len - 8), hash, len);
    }
    if len >= 4 {
        return finish(half(bytes, 0), half(bytes, len - 4), hash, len);
    }
    let Some(&first) = bytes.first() else { return finish(0, 0, hash, 0) };
    let (middle, last) = (bytes[len / 2], bytes[len - 1]);
    finish(u64::from(first) << 16 | u64::from(middle) << 8 | u64::from(last), 0, hash, len)
}

#[inline]
fn finish(a: u64, b: u64, hash: u64, len: usize) -> u64 {
    fold(fold(a ^ K0, b ^ hash) ^ K3, len as u64 ^ K1)
}

/// Steps a digest over the entry at `index` whose payload hashes to `payload`. The order of steps matters,
/// and for a given entry no two digests step to the same one.
#[inline]
pub(crate) const fn step(digest: u64, index: u64, payload: u64) -> u64 {
    (digest.rotate_left(23) ^ payload ^ index.wrapping_mul(K0)).wrapping_mul(K1 | 1)
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_length_and_every_bit_counts() {
        let bytes: Vec<u8> = (0..80).collect();
        let mut seen = HashSet::new();
        for len in 0..=bytes.len() {
            assert!(seen.insert(hash_bytes(7, &bytes[..len])), "length {len}");
            for at in 0..len {
                for bit in 0..8 {
                    let mut other = bytes[..len].to_vec();
                    other[at] ^= 1 << bit;
                    assert!(seen.insert(hash_bytes(7, &other)), "length {len} byte {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn the_order_and_the_index_count() {
        let (a, b) = (hash_bytes(0, b"a"), hash_bytes(0, b"b"));
        assert_ne!(step(step(0, 1, a), 2, b), step(step(0, 1, b), 2, a));
        assert_ne!(step(0, 1, a), step(0, 2, a));
        assert_ne!(hash_u64(1, 2), hash_u64(1, 3));
    }

    #[test]
    fn the_numbers_are_part_of_the_format() {
        let bytes: Vec<u8> = (0..40).collect();
        let golden = [0, 3, 7, 16, 40].map(|len| hash_bytes(1, &bytes[..len]));
        assert_eq!(golden, GOLDEN);
    }

    const GOLDEN: [u64; 5] = [
        9_103_281_141_912_743_458,
        10_070_052_863_896_247_322,
        13_725_446_297_916_464_324,
        9_241_824_396_781_716_137,
        5_958_266_534_508_657_488,
    ];
}
