//! What a store keeps per group besides its log: identity, hard state, compaction, membership, range.
//!
//! A record is written when one of these changes, which is rare, and always whole: the last one of a group is the
//! truth. It is one fixed header with a checksum, then the members, then the two bounds.
//!
//! Invariant: [`GroupRecord::decode`] accepts exactly what [`GroupRecord::encode`] makes; every length and count
//! is checked against the bytes that are there before anything is allocated.
//! Deliberately absent: merging two records of a group. Whoever writes a record has the newest.

use std::fmt;

use crate::range::RangeBounds;
use kontiki_raft::{HardState, Index, Position, ReplicaId, Term};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a store knows durably of one of its groups, besides the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// This store's replica of the group.
    pub replica: ReplicaId,
    /// Term and vote.
    pub hard_state: HardState,
    /// The position up to which the log was compacted.
    pub compacted: Position,
    /// The members at `compacted`, each with the node it lives on.
    pub membership: Vec<(ReplicaId, u64)>,
    /// The keys that the group serves.
    pub range: RangeBounds,
}

/// Why bytes with a plausible length are not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There are fewer bytes than the record needs.
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
    /// There are more bytes than the record says.
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// The checksum does not match.
    Checksum {
        /// The checksum in the record.
        stored: u32,
        /// The checksum of what was found.
        computed: u32,
    },
    /// Not the magic number of this kind of record.
    Magic,
    /// A version of the record that this program does not know.
    Version {
        /// The version found.
        found: u16,
    },
    /// A field has a value that is never written.
    Field {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// The most members that a record may name; far above what a group has.
pub const MEMBERS_MAX: usize = 64;
/// The longest bound of a range.
pub const BOUND_BYTES_MAX: usize = 64 << 10;

const VERSION: u16 = 1;
const HAS_END: u16 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RecordHeader {
    crc32c: U32,
    version: U16,
    flags: U16,
    replica: U64,
    term: U64,
    vote: U64,
    compacted_term: U64,
    compacted_index: U64,
    members: U32,
    start_bytes: U32,
    end_bytes: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<RecordHeader>() == 64);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MemberBytes {
    replica: U64,
    node: U64,
}
const _: () = assert!(size_of::<MemberBytes>() == 16);

impl GroupRecord {
    /// Appends the record's bytes to `buf`.
    ///
    /// # Panics
    /// When a bound is longer than [`BOUND_BYTES_MAX`] or the members are more than [`MEMBERS_MAX`]: both are
    /// checked where ranges and memberships are made.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        let end: &[u8] = self.range.end.as_deref().unwrap_or_default();
        assert!(self.membership.len() <= MEMBERS_MAX, "{} members", self.membership.len());
        assert!(self.range.start.len() <= BOUND_BYTES_MAX, "start bound too long");
        assert!(end.len() <= BOUND_BYTES_MAX, "end bound too long");
        let at = buf.len();
        let header = RecordHeader {
            crc32c: U32::ZERO,
            version: U16::new(VERSION),
            flags: U16::new(if self.range.end.is_some() { HAS_END } else { 0 }),
            replica: U64::new(self.replica.get()),
            term: U64::new(self.hard_state.term.0),
            vote: U64::new(self.hard_state.vote.map_or(0, ReplicaId::get)),
            compacted_term: U64::new(self.compacted.term.0),
            compacted_index: U64::new(self.compacted.index.0),
            members: U32::new(small(self.membership.len())),
            start_bytes: U32::new(small(self.range.start.len())),
            end_bytes: U32::new(small(end.len())),
            reserved: U32::ZERO,
        };
        buf.extend_from_slice(header.as_bytes());
        for &(replica, node) in &self.membership {
            let member = MemberBytes { replica: U64::new(replica.get()), node: U64::new(node) };
            buf.extend_from_slice(member.as_bytes());
        }
        buf.extend_from_slice(&self.range.start);
        buf.extend_from_slice(end);
        let crc = crc32c::crc32c(&buf[at + 4..]);
        buf[at..at + 4].copy_from_slice(U32::new(crc).as_bytes());
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// Says in which respect the bytes are not a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (header, rest) = RecordHeader::read_from_prefix(bytes).map_err(|_| {
            RecordError::Truncated { needed: size_of::<RecordHeader>(), found: bytes.len() }
        })?;
        verify_crc(bytes, header.crc32c.get())?;
        if header.version.get() != VERSION {
            return Err(RecordError::Version { found: header.version.get() });
        }
        let has_end = match header.flags.get() {
            0 => false,
            HAS_END => true,
            other => return Err(RecordError::Field { what: "flags", value: other.into() }),
        };
        expect_zero("reserved", header.reserved.get().into())?;
        let members = bounded("members", header.members.get(), MEMBERS_MAX)?;
        let start_bytes = bounded("start_bytes", header.start_bytes.get(), BOUND_BYTES_MAX)?;
        let end_bytes = bounded("end_bytes", header.end_bytes.get(), BOUND_BYTES_MAX)?;
        if !has_end {
            expect_zero("end_bytes", header.end_bytes.get().into())?;
        }
        let needed = members * size_of::<MemberBytes>() + start_bytes + end_bytes;
        if rest.len() < needed {
            let fixed = size_of::<RecordHeader>();
            return Err(RecordError::Truncated { needed: fixed + needed, found: bytes.len() });
        }
        if rest.len() > needed {
            return Err(RecordError::Trailing { extra: rest.len() - needed });
        }
        let (member_bytes, rest) = rest.split_at(members * size_of::<MemberBytes>());
        let (start, end) = rest.split_at(start_bytes);
        Ok(Self {
            replica: replica("replica", header.replica.get())?,
            hard_state: HardState {
                term: Term(header.term.get()),
                vote: ReplicaId::new(header.vote.get()),
            },
            compacted: Position {
                term: Term(header.compacted_term.get()),
                index: Index(header.compacted_index.get()),
            },
            membership: decode_members(member_bytes)?,
            range: RangeBounds { start: start.to_vec(), end: has_end.then(|| end.to_vec()) },
        })
    }
}

fn decode_members(bytes: &[u8]) -> Result<Vec<(ReplicaId, u64)>, RecordError> {
    bytes
        .chunks_exact(size_of::<MemberBytes>())
        .map(|chunk| {
            let member = MemberBytes::read_from_bytes(chunk).expect("chunks have a member's size");
            Ok((replica("member", member.replica.get())?, member.node.get()))
        })
        .collect()
}

fn replica(what: &'static str, value: u64) -> Result<ReplicaId, RecordError> {
    ReplicaId::new(value).ok_or(RecordError::Field { what, value })
}

fn bounded(what: &'static str, value: u32, max: usize) -> Result<usize, RecordError> {
    match usize::try_from(value) {
        Ok(n) if n <= max => Ok(n),
        _ => Err(RecordError::Field { what, value: value.into() }),
    }
}

fn small(len: usize) -> u32 {
    u32::try_from(len).expect("bounded by the asserts of the caller")
}

/// Checks the checksum in the first four bytes of `bytes` against all that follow.
pub(super) fn verify_crc(bytes: &[u8], stored: u32) -> Result<(), RecordError> {
    let computed = crc32c::crc32c(&bytes[4..]);
    if stored == computed { Ok(()) } else { Err(RecordError::Checksum { stored, computed }) }
}

/// Refuses a reserved field that is not zero.
pub(super) fn expect_zero(what: &'static str, value: u64) -> Result<(), RecordError> {
    if value == 0 { Ok(()) } else { Err(RecordError::Field { what, value }) }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => write!(f, "{found} bytes, needs {needed}"),
            Self::Trailing { extra } => write!(f, "{extra} bytes too many"),
            Self::Checksum { stored, computed } => {
                write!(f, "checksum {stored:08x} is stored, {computed:08x} is right")
            }
            Self::Magic => f.write_str("not its magic number"),
            Self::Version { found } => write!(f, "unknown version {found}"),
            Self::Field { what, value } => write!(f, "`{what}` cannot be {value}"),
        }
    }
}

impl std::error::Error for RecordError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> GroupRecord {
        let id = |n| ReplicaId::new(n).unwrap();
        GroupRecord {
            replica: id(11),
            hard_state: HardState { term: Term(7), vote: Some(id(12)) },
            compacted: Position { term: Term(5), index: Index(99) },
            membership: vec![(id(11), 1), (id(12), 2), (id(13), 3)],
            range: RangeBounds { start: b"k10".to_vec(), end: Some(b"k20".to_vec()) },
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let open_end = GroupRecord {
            hard_state: HardState { term: Term(0), vote: None },
            membership: Vec::new(),
            range: RangeBounds::default(),
            ..sample()
        };
        for record in [sample(), open_end] {
            let mut bytes = vec![0xee; 3];
            record.encode(&mut bytes);
            assert_eq!(GroupRecord::decode(&bytes[3..]), Ok(record));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(GroupRecord::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(GroupRecord::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn wrong_counts_under_a_right_checksum_are_refused_before_anything_is_allocated() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for field in [48, 52, 56, 60, 4, 6, 8] {
            let mut bad = bytes.clone();
            bad[field..field + 2].copy_from_slice(&[0xff, 0xff]);
            if field == 8 {
                bad[8..16].fill(0);
            }
            let crc = crc32c::crc32c(&bad[4..]);
            bad[..4].copy_from_slice(U32::new(crc).as_bytes());
            assert!(GroupRecord::decode(&bad).is_err(), "field at {field}");
        }
    }
}
