//! A batch in RocksDB's own form: a sequence number, a count, and the records, each with the family it is for.
//!
//! Deliberately absent: the tags of operations that the log does not use.

use kontiki::store::database::Family;

use super::super::manifest::FAMILIES;
use super::Memory;

/// A batch in RocksDB's own form: sequence u64, count u32, then the records.
#[derive(Debug)]
pub struct ModelBatch {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
}

pub(super) const TAG_PUT: u8 = 5;
pub(super) const TAG_DELETE_RANGE: u8 = 14;
pub(super) const HEADER: usize = 12;

pub(super) fn number_of(family: Family) -> u8 {
    match family {
        Family::Batch => 1,
        Family::Group => 2,
        Family::Store => 3,
    }
}

pub(super) fn family_of(number: u8) -> Option<Family> {
    FAMILIES.into_iter().find(|&family| number_of(family) == number)
}

pub(super) fn put_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

pub(super) fn put_slice(bytes: &mut Vec<u8>, slice: &[u8]) {
    put_varint(bytes, slice.len());
    bytes.extend_from_slice(slice);
}

/// Takes a length and as many bytes off the front.
pub(super) fn take_slice<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut len = 0;
    let mut shift = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (slice, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(slice)
}

/// A record of a batch.
pub(super) enum Record<'a> {
    Put(Family, &'a [u8], &'a [u8]),
    DeleteRange(Family, &'a [u8], &'a [u8]),
}

/// The records of a batch's bytes, behind its header.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (&[tag, family], rest) = bytes.split_first_chunk()?;
        bytes = rest;
        let family = family_of(family)?;
        let (a, b) = (take_slice(&mut bytes)?, take_slice(&mut bytes)?);
        Some(match tag {
            TAG_PUT => Record::Put(family, a, b),
            _ => Record::DeleteRange(family, a, b),
        })
    })
}

/// The sequence number of a batch's bytes, and the one behind it.
pub(super) fn sequences(bytes: &[u8]) -> Option<(u64, u64)> {
    let sequence = u64::from_le_bytes(*bytes.first_chunk()?);
    let count = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    Some((sequence, sequence + u64::from(count)))
}

/// The number of the engine's batch that the bytes of a batch hold, if they do.
#[must_use]
#[expect(clippy::big_endian_bytes, reason = "the engine's keys are in the order of batches")]
pub fn batch_number(bytes: &[u8]) -> Option<u64> {
    match records(bytes.get(HEADER..)?).next()? {
        Record::Put(Family::Batch, key, _) => Some(u64::from_be_bytes(*key.first_chunk()?)),
        _ => None,
    }
}

pub(super) fn insert(memory: &mut Memory, record: &Record<'_>) {
    match *record {
        Record::Put(family, key, value) => memory.entry(family).or_default().put(key, value),
        Record::DeleteRange(family, from, to) => {
            memory.entry(family).or_default().delete_range(from, to);
        }
    }
}
