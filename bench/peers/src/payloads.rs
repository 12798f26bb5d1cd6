//! Payloads of a batch without header or checksum: a table of lengths, then the bytes.
//!
//! It is the body of Kontiki's block and nothing else: for noraft, whose payloads lie in a side
//! log, and for the line of the table that shows Kontiki's core without checksums.

use crate::work::{Batch, Machine};

/// Appends the payloads of `batch` to `buffer`.
pub fn encode(batch: Batch<'_>, buffer: &mut Vec<u8>) {
    encode_lengths(batch, buffer);
    buffer.extend_from_slice(batch.bytes());
}

/// Appends only the table: a little-endian `u32` for each payload.
pub fn encode_lengths(batch: Batch<'_>, buffer: &mut Vec<u8>) {
    for payload in batch.payloads() {
        let length = u32::try_from(payload.len()).expect("payloads are small");
        buffer.extend_from_slice(&length.to_le_bytes());
    }
}

/// Applies the `count` payloads that [`encode`] put into `buffer`.
pub fn apply(buffer: &[u8], count: u64, machine: &mut Machine) {
    let count = usize::try_from(count).expect("batches are small");
    let (table, mut rest) = buffer.split_at(4 * count);
    let (lengths, _) = table.as_chunks::<4>();
    for &length in lengths {
        let (payload, behind) = rest.split_at(u32::from_le_bytes(length) as usize);
        machine.apply(payload);
        rest = behind;
    }
}
