//! Who a store is: cluster, node, store, and how often it was opened. The format record says it on disk.
//!
//! Invariant: a store id is drawn once, at format, and never used for another directory; the boot epoch rises
//! with each writable opening, durably, before anything else is written.
//! Deliberately absent: changing an identity. A store that must not be who it was is formatted anew.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::{expect_zero, verify_crc};
use super::{OpenError, RecordError};

/// The identity of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster_id: u128,
    /// The node it belongs to.
    pub node_id: u64,
    /// The store itself; random.
    pub store_id: u128,
    /// The number of writable openings.
    pub boot_epoch: u64,
}

impl Identity {
    /// The identity of a new store, with a random store id.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(cluster_id: u128, node_id: u64) -> Result<Self, OpenError> {
        Ok(Self { cluster_id, node_id, store_id: random_id()?, boot_epoch: 0 })
    }

    /// Refuses a store that is not the expected one.
    pub(super) fn expect(
        &self,
        cluster_id: Option<u128>,
        node_id: Option<u64>,
        store_id: Option<u128>,
    ) -> Result<(), OpenError> {
        let node_id = node_id.map(u128::from);
        for (what, expected, found) in [
            ("cluster", cluster_id, self.cluster_id),
            ("node", node_id, self.node_id.into()),
            ("store", store_id, self.store_id),
        ] {
            if let Some(expected) = expected.filter(|&expected| expected != found) {
                return Err(OpenError::Foreign { what, expected, found });
            }
        }
        Ok(())
    }
}

/// This program's version of the store's format.
pub const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"KONTIKI\x01";

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FormatBytes {
    crc32c: U32,
    reserved: U32,
    magic: [u8; 8],
    version: U32,
    min_reader: U32,
    min_writer: U32,
    padding: U32,
    cluster_id: U128,
    store_id: U128,
    node_id: U64,
}
const _: () = assert!(size_of::<FormatBytes>() == 72);

/// The record that makes a directory a store: its format's versions and its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatRecord {
    /// The version that wrote it.
    pub version: u32,
    /// The least version that may read the store.
    pub min_reader: u32,
    /// The least version that may write to it.
    pub min_writer: u32,
    /// Who the store is; the boot epoch is a record of its own.
    pub identity: Identity,
}

impl FormatRecord {
    /// The record of a new store.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        let version = FORMAT_VERSION;
        Self { version, min_reader: version, min_writer: version, identity }
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = FormatBytes {
            crc32c: U32::ZERO,
            reserved: U32::ZERO,
            magic: MAGIC,
            version: U32::new(self.version),
            min_reader: U32::new(self.min_reader),
            min_writer: U32::new(self.min_writer),
            padding: U32::ZERO,
            cluster_id: U128::new(self.identity.cluster_id),
            store_id: U128::new(self.identity.store_id),
            node_id: U64::new(self.identity.node_id),
        };
        bytes.crc32c = U32::new(crc32c::crc32c(&bytes.as_bytes()[4..]));
        bytes.as_bytes().to_vec()
    }

    /// Reads the record. A record of a newer version may be longer: what this one knows comes first.
    ///
    /// # Errors
    /// Says in which respect the bytes are not a format record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let needed = size_of::<FormatBytes>();
        let (record, rest) = FormatBytes::read_from_prefix(bytes)
            .map_err(|_| RecordError::Truncated { needed, found: bytes.len() })?;
        if record.magic != MAGIC {
            return Err(RecordError::Magic);
        }
        verify_crc(bytes, record.crc32c.get())?;
        let version = record.version.get();
        if version <= FORMAT_VERSION {
            if !rest.is_empty() {
                return Err(RecordError::Trailing { extra: rest.len() });
            }
            expect_zero("reserved", record.reserved.get().into())?;
            expect_zero("padding", record.padding.get().into())?;
        }
        if version == 0 {
            return Err(RecordError::Version { found: 0 });
        }
        Ok(Self {
            version,
            min_reader: record.min_reader.get(),
            min_writer: record.min_writer.get(),
            identity: Identity {
                cluster_id: record.cluster_id.get(),
                node_id: record.node_id.get(),
                store_id: record.store_id.get(),
                boot_epoch: 0,
            },
        })
    }

    /// Refuses a store that only a newer program may open.
    pub(super) fn expect_supported(&self, for_writing: bool) -> Result<(), OpenError> {
        let needed =
            if for_writing { self.min_writer.max(self.min_reader) } else { self.min_reader };
        if needed <= FORMAT_VERSION {
            return Ok(());
        }
        Err(OpenError::TooNew { needed, supported: FORMAT_VERSION })
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EpochBytes {
    crc32c: U32,
    version: U16,
    reserved: U16,
    boot_epoch: U64,
}
const _: () = assert!(size_of::<EpochBytes>() == 16);

/// The bytes of the boot epoch's record.
pub(super) fn encode_epoch(boot_epoch: u64) -> Vec<u8> {
    let mut bytes = EpochBytes {
        crc32c: U32::ZERO,
        version: U16::new(1),
        reserved: U16::ZERO,
        boot_epoch: U64::new(boot_epoch),
    };
    bytes.crc32c = U32::new(crc32c::crc32c(&bytes.as_bytes()[4..]));
    bytes.as_bytes().to_vec()
}

/// Reads the boot epoch's record.
pub(super) fn decode_epoch(bytes: &[u8]) -> Result<u64, RecordError> {
    let needed = size_of::<EpochBytes>();
    let (record, rest) = EpochBytes::read_from_prefix(bytes)
        .map_err(|_| RecordError::Truncated { needed, found: bytes.len() })?;
    if !rest.is_empty() {
        return Err(RecordError::Trailing { extra: rest.len() });
    }
    verify_crc(bytes, record.crc32c.get())?;
    if record.version.get() != 1 {
        return Err(RecordError::Version { found: record.version.get() });
    }
    expect_zero("reserved", record.reserved.get().into())?;
    Ok(record.boot_epoch.get())
}

/// 128 random bits from the system.
fn random_id() -> Result<u128, OpenError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(OpenError::io(path))?;
    // 0 stands for "no store" in places that print ids.
    Ok(U128::from_bytes(bytes).get().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FormatRecord {
        let identity =
            Identity { cluster_id: 7 << 100, node_id: 3, store_id: 9 << 90, boot_epoch: 0 };
        FormatRecord::new(identity)
    }

    #[test]
    fn records_come_back_and_flipped_bits_are_refused() {
        let bytes = sample().encode();
        assert_eq!(FormatRecord::decode(&bytes), Ok(sample()));
        let epoch = encode_epoch(42);
        assert_eq!(decode_epoch(&epoch), Ok(42));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(FormatRecord::decode(&bad).is_err(), "bit {bit}");
        }
        for bit in 0..epoch.len() * 8 {
            let mut bad = epoch.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_epoch(&bad).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(FormatRecord::decode(&bytes[..cut]).is_err(), "cut {cut}");
        }
        for cut in 0..epoch.len() {
            assert!(decode_epoch(&epoch[..cut]).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn a_newer_store_is_read_as_far_as_it_allows() {
        let newer = FormatRecord { version: 3, min_reader: 1, min_writer: 2, ..sample() };
        let mut bytes = newer.encode();
        bytes.extend_from_slice(b"fields of a later version");
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(U32::new(crc).as_bytes());
        let found = FormatRecord::decode(&bytes).unwrap();
        assert_eq!(found, newer);
        assert!(found.expect_supported(false).is_ok());
        assert!(matches!(
            found.expect_supported(true),
            Err(OpenError::TooNew { needed: 2, supported: 1 })
        ));
    }

    #[test]
    fn l20_someone_elses_store_is_refused_by_name() {
        let identity = sample().identity;
        assert!(identity.expect(None, None, None).is_ok());
        assert!(identity.expect(Some(7 << 100), Some(3), Some(9 << 90)).is_ok());
        for (cluster, node, store, name) in [
            (Some(1), None, None, "cluster"),
            (None, Some(4), None, "node"),
            (None, None, Some(1), "store"),
        ] {
            match identity.expect(cluster, node, store) {
                Err(OpenError::Foreign { what, .. }) => assert_eq!(what, name),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn store_ids_differ() {
        let a = Identity::new(1, 1).unwrap();
        let b = Identity::new(1, 1).unwrap();
        assert_ne!(a.store_id, b.store_id);
    }
}
