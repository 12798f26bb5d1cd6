//! The block: a run of entries of one group, one term and one kind, encoded once.
//!
//! The bytes that a leader makes are the bytes on every wire, in every replica's log and under
//! every apply, so they carry one checksum from end to end. [`encode_block`] makes them,
//! [`Block::parse`] checks everything about their shape before anything is believed, and
//! [`Block::verify`] compares the checksum.
//!
//! What always holds for a parsed [`Block`]: at least one entry, indexes that fit in a `u64` and
//! start at one or later, a known kind, zero flags and reserved bytes, and lengths that add up to
//! the body exactly. So its accessors cannot fail.
//!
//! Deliberately absent: splitting a block. The same `(group, first index, term)` is the same block
//! on every replica, and a log conflict always falls on a block boundary.

use std::ops::Range;

use kontiki_raft::{Index, Term};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::DecodeError;
use crate::wire::NUMBER_MAX;

/// The most bytes behind the header of a block with several entries.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// The most bytes of one entry; an entry past [`BLOCK_BYTES_MAX`] is alone in its block.
pub const ENTRY_BYTES_MAX: usize = (8 << 20) - (64 << 10);

/// Bytes that an entry adds to its block beside its payload.
pub const ENTRY_OVERHEAD_BYTES: usize = 4;

/// Size of [`BlockHeader`].
pub const BLOCK_HEADER_BYTES: usize = 40;

/// The fixed start of a block.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockHeader {
    /// The group.
    pub group: U64,
    /// The index of the first entry.
    pub first_index: U64,
    /// The term of all entries.
    pub term: U64,
    /// The number of entries.
    pub count: U32,
    /// Bytes behind this header: the table of lengths and the payloads.
    pub body_len: U32,
    /// CRC-32C of this header (with this field zero) and the body.
    pub crc32c: U32,
    /// See [`BlockKind`].
    pub kind: u8,
    /// Zero.
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
}

const _: () = assert!(size_of::<BlockHeader>() == BLOCK_HEADER_BYTES);
const _: () = assert!(align_of::<BlockHeader>() == 1);
const _: () = assert!(std::mem::offset_of!(BlockHeader, crc32c) == 32);

/// What the entries of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BlockKind {
    /// Proposals of clients.
    Command = 1,
    /// The one empty entry with which a leader opens its term.
    NoOp = 2,
    /// A change of the membership.
    Membership = 3,
    /// Split and other range commands; always alone in its block.
    Admin = 4,
}

impl BlockKind {
    /// The kind with this number, if this version knows it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Command,
            2 => Self::NoOp,
            3 => Self::Membership,
            4 => Self::Admin,
            _ => return None,
        })
    }

    /// The number that is stored.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// What [`encode_block`] has to be told beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockMeta {
    /// The group.
    pub group: u64,
    /// The index of the first entry.
    pub first_index: Index,
    /// The term of all entries.
    pub term: Term,
    /// The kind of all entries.
    pub kind: BlockKind,
}

/// Entries as a client handed them in: a table of lengths and the payloads back to back.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// One little-endian `u32` per entry.
    pub lengths: &'a [u8],
    /// The payloads; their bytes are the sum of the lengths.
    pub payload: &'a [u8],
}

/// Appends one block to `buf` and returns where it lies.
///
/// Costs two copies per run and one checksum over the result; nothing is done per entry.
///
/// # Panics
/// When the runs hold no entry, or more than a block may hold: callers cut at
/// [`BLOCK_BYTES_MAX`], and clients' entries were checked against [`ENTRY_BYTES_MAX`].
pub fn encode_block<'a, I>(buf: &mut Vec<u8>, meta: BlockMeta, runs: I) -> Range<usize>
where
    I: Iterator<Item = Run<'a>> + Clone,
{
    let start = buf.len();
    buf.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
    for run in runs.clone() {
        debug_assert_eq!(sum_of(run.lengths), run.payload.len() as u64, "lengths and payload");
        buf.extend_from_slice(run.lengths);
    }
    let table = buf.len() - start - BLOCK_HEADER_BYTES;
    assert!(table > 0 && table.is_multiple_of(4), "a block needs entries, got {table} table bytes");
    for run in runs {
        buf.extend_from_slice(run.payload);
    }
    let body = buf.len() - start - BLOCK_HEADER_BYTES;
    let count = table / 4;
    assert!(body <= body_bytes_max(count), "a block of {count} entries has {body} bytes");
    let first = meta.first_index.0;
    assert!(first > 0 && first <= NUMBER_MAX - count as u64, "{count} entries at index {first}");
    assert!(meta.term.0 <= NUMBER_MAX, "term {:?}", meta.term);
    let mut header = BlockHeader {
        group: U64::new(meta.group),
        first_index: U64::new(meta.first_index.0),
        term: U64::new(meta.term.0),
        count: U32::new(u32::try_from(count).expect("bounded by the block limit")),
        body_len: U32::new(u32::try_from(body).expect("bounded by the block limit")),
        crc32c: U32::ZERO,
        kind: meta.kind.code(),
        flags: 0,
        reserved: U16::ZERO,
    };
    let block = &mut buf[start..];
    block[..BLOCK_HEADER_BYTES].copy_from_slice(header.as_bytes());
    header.crc32c = U32::new(crc32c::crc32c(block));
    block[..BLOCK_HEADER_BYTES].copy_from_slice(header.as_bytes());
    start..buf.len()
}

/// Appends the block of one entry; the short form of [`encode_block`] for no-ops and the like.
///
/// # Panics
/// When the entry is larger than [`ENTRY_BYTES_MAX`].
pub fn encode_entry(buf: &mut Vec<u8>, meta: BlockMeta, payload: &[u8]) -> Range<usize> {
    let len = u32::try_from(payload.len()).expect("an entry is far below 4 GiB");
    let run = Run { lengths: &len.to_le_bytes(), payload };
    encode_block(buf, meta, std::iter::once(run))
}

/// The most bytes that may follow the header of a block of `count` entries.
#[must_use]
pub const fn body_bytes_max(count: usize) -> usize {
    if count == 1 { ENTRY_OVERHEAD_BYTES + ENTRY_BYTES_MAX } else { BLOCK_BYTES_MAX }
}

/// A block whose shape was checked.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    header: &'a BlockHeader,
    kind: BlockKind,
    bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// Checks the block at the start of `bytes`; returns it and the bytes behind it.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong. The checksum is not looked at: see [`Self::verify`].
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let Ok((header, rest)) = BlockHeader::ref_from_prefix(bytes) else {
            return Err(truncated(BLOCK_HEADER_BYTES, bytes.len()));
        };
        let kind = BlockKind::from_code(header.kind).ok_or(DecodeError::BlockKind(header.kind))?;
        if header.flags != 0 || header.reserved != U16::ZERO {
            return Err(DecodeError::Reserved);
        }
        let (first, count) = (header.first_index.get(), header.count.get());
        let range = DecodeError::BlockRange { first, count };
        if count == 0 || first == 0 || first > NUMBER_MAX - u64::from(count) {
            return Err(range);
        }
        if header.term.get() > NUMBER_MAX {
            return Err(DecodeError::Number(header.term.get()));
        }
        let (entries, body) = (count as usize, header.body_len.get() as usize);
        let max = body_bytes_max(entries);
        if body > max {
            return Err(DecodeError::BlockTooLarge { len: body as u64, max: max as u64 });
        }
        if body > rest.len() {
            return Err(truncated(body, rest.len()));
        }
        let table = entries as u64 * 4;
        if table > body as u64 {
            return Err(DecodeError::BlockLengths { announced: table, body: body as u64 });
        }
        let announced = table + sum_of(&rest[..entries * 4]);
        if announced != body as u64 {
            return Err(DecodeError::BlockLengths { announced, body: body as u64 });
        }
        let (bytes, rest) = bytes.split_at(BLOCK_HEADER_BYTES + body);
        Ok((Self { header, kind, bytes }, rest))
    }

    /// Compares the checksum.
    ///
    /// # Errors
    /// [`DecodeError::BlockChecksum`] when it does not fit.
    pub fn verify(&self) -> Result<(), DecodeError> {
        let header = BlockHeader { crc32c: U32::ZERO, ..*self.header };
        let crc = crc32c::crc32c(header.as_bytes());
        if crc32c::crc32c_append(crc, self.body()) == self.header.crc32c.get() {
            return Ok(());
        }
        let (group, first) = (self.group(), self.header.first_index.get());
        Err(DecodeError::BlockChecksum { group, first })
    }

    /// The header as it lies in the bytes.
    #[must_use]
    pub fn header(&self) -> &'a BlockHeader {
        self.header
    }

    /// The whole block, header included.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> u64 {
        self.header.group.get()
    }

    /// The index of the first entry.
    #[must_use]
    pub fn first(&self) -> Index {
        Index(self.header.first_index.get())
    }

    /// The index of the last entry.
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.header.first_index.get() + u64::from(self.count()) - 1)
    }

    /// The term of all entries.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.header.term.get())
    }

    /// The number of entries; at least one.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.header.count.get()
    }

    /// The kind of all entries.
    #[must_use]
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// The payloads, in index order.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        let body = &self.bytes[BLOCK_HEADER_BYTES..];
        let (lengths, payload) = body.split_at(self.count() as usize * 4);
        Entries { lengths: table(lengths).iter(), payload }
    }

    fn body(&self) -> &'a [u8] {
        &self.bytes[BLOCK_HEADER_BYTES..]
    }
}

/// The payloads of a block, in index order.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    lengths: std::slice::Iter<'a, U32>,
    payload: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let len = self.lengths.next()?.get() as usize;
        let (entry, rest) = self.payload.split_at(len);
        self.payload = rest;
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.lengths.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// The table of lengths as numbers. Its bytes are a multiple of four by construction.
fn table(lengths: &[u8]) -> &[U32] {
    <[U32]>::ref_from_bytes(lengths).expect("the table is a multiple of four bytes")
}

fn sum_of(lengths: &[u8]) -> u64 {
    table(lengths).iter().map(|len| u64::from(len.get())).sum()
}

fn truncated(needed: usize, left: usize) -> DecodeError {
    DecodeError::Truncated { needed: needed as u64, left: left as u64 }
}

#[cfg(test)]
mod tests;
