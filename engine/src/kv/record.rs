//! How far a group is applied in the state database, and a digest of what led there.
//!
//! The record goes down in the same batch as the writes it counts, so after a crash it says exactly which
//! entries the state holds. The digest is a sequence digest over `(index, command bytes)` of all commands,
//! malformed ones included; entries without a command do not touch it. It says what was applied, not what the
//! state is now: two replicas with equal records ran the same history. It must be kept, since its past is
//! compacted away.
//!
//! Deliberately absent: the range descriptor, which joins the record when ranges can change.

use kontiki_raft::Index;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const VERSION: u16 = 1;

/// The applied position of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedRecord {
    /// The last index whose effect the state holds.
    pub applied: Index,
    /// The digest over all commands up to there.
    pub digest: u64,
    /// How many commands that were.
    pub commands: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    version: U16,
    reserved: U16,
    reserved2: U32,
    applied: U64,
    digest: U64,
    commands: U64,
}

/// Size of a record.
pub const APPLIED_RECORD_BYTES: usize = size_of::<Layout>();

const _: () = assert!(APPLIED_RECORD_BYTES == 32);

impl AppliedRecord {
    /// The bytes of the record.
    #[must_use]
    pub fn encode(&self) -> [u8; APPLIED_RECORD_BYTES] {
        zerocopy::transmute!(Layout {
            version: U16::new(VERSION),
            reserved: U16::ZERO,
            reserved2: U32::ZERO,
            applied: U64::new(self.applied.0),
            digest: U64::new(self.digest),
            commands: U64::new(self.commands),
        })
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// The reason, when the bytes are not a record of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let layout = Layout::ref_from_bytes(bytes).map_err(|_| RecordError::Length(bytes.len()))?;
        if layout.version.get() != VERSION {
            return Err(RecordError::Version(layout.version.get()));
        }
        if layout.reserved.get() != 0 || layout.reserved2.get() != 0 {
            return Err(RecordError::Reserved);
        }
        Ok(Self {
            applied: Index(layout.applied.get()),
            digest: layout.digest.get(),
            commands: layout.commands.get(),
        })
    }
}

/// Why bytes are not an applied record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They have this length.
    Length(usize),
    /// They are of this version.
    Version(u16),
    /// Bytes that must be zero are not.
    Reserved,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(len) => write!(f, "{len} bytes, {APPLIED_RECORD_BYTES} expected"),
            Self::Version(version) => write!(f, "version {version}, this build reads {VERSION}"),
            Self::Reserved => f.write_str("reserved bytes are not zero"),
        }
    }
}

impl std::error::Error for RecordError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_damage_is_typed() {
        let record = AppliedRecord { applied: Index(7), digest: 9, commands: 5 };
        let bytes = record.encode();
        assert_eq!(bytes[..10], [1, 0, 0, 0, 0, 0, 0, 0, 7, 0]);
        assert_eq!(AppliedRecord::decode(&bytes), Ok(record));
        assert_eq!(AppliedRecord::decode(&bytes[1..]), Err(RecordError::Length(31)));
        let mut bad = bytes;
        bad[0] = 2;
        assert_eq!(AppliedRecord::decode(&bad), Err(RecordError::Version(2)));
        bad = bytes;
        bad[5] = 1;
        assert_eq!(AppliedRecord::decode(&bad), Err(RecordError::Reserved));
    }
}
