//! Which store each other node had when it was first met, as the log keeps it.
//!
//! Invariant: a node's record is written once; only [`forget_peer`](super::forget_peer), on an operator's word, replaces
//! it by one that names no store, and then the next store that the node comes with is written.
//! Deliberately absent: what is made of it. The transport refuses (`kontiki_net::Stores`).

use zerocopy::little_endian::{U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::RecordError;
use super::record::{expect_zero, verify_crc};

/// The version that is written, and the only one that is read.
const VERSION: u16 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PeerBytes {
    crc32c: U32,
    version: U16,
    reserved: U16,
    store_id: U128,
}
const _: () = assert!(size_of::<PeerBytes>() == 24);

/// A record's bytes. Store 0 is none: the node is forgotten.
#[must_use]
pub(super) fn encode_peer(store_id: u128) -> Vec<u8> {
    let mut bytes = PeerBytes {
        crc32c: U32::ZERO,
        version: U16::new(VERSION),
        reserved: U16::ZERO,
        store_id: U128::new(store_id),
    };
    bytes.crc32c = U32::new(crc32c::crc32c(&bytes.as_bytes()[4..]));
    bytes.as_bytes().to_vec()
}

/// Reads a record.
///
/// # Errors
/// Says in which respect the bytes are not one.
pub(super) fn decode_peer(bytes: &[u8]) -> Result<u128, RecordError> {
    let needed = size_of::<PeerBytes>();
    let (record, rest) = PeerBytes::read_from_prefix(bytes)
        .map_err(|_| RecordError::Truncated { needed, found: bytes.len() })?;
    if !rest.is_empty() {
        return Err(RecordError::Trailing { extra: rest.len() });
    }
    verify_crc(bytes, record.crc32c.get())?;
    if record.version.get() != VERSION {
        return Err(RecordError::Version { found: record.version.get() });
    }
    expect_zero("reserved", record.reserved.get().into())?;
    Ok(record.store_id.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g10_records_come_back_and_flipped_bits_are_refused() {
        let bytes = encode_peer(9 << 90);
        assert_eq!(decode_peer(&bytes), Ok(9 << 90));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_peer(&bad).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(decode_peer(&bytes[..cut]).is_err(), "cut {cut}");
        }
        assert!(decode_peer(&[&bytes[..], &[0]].concat()).is_err());
    }
}
