//! The file in which a small machine keeps its state: written whole, replaced atomically, checked when read.
//!
//! `image.tmp` is written and synced, takes the name `image`, and the directory is synced: a crash at any
//! point leaves the old image or the new one. The checksum covers the header and the body.
//! Deliberately absent: increments. A machine whose state does not fit in memory keeps a database.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use kontiki_raft::Index;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MachineError;

const MAGIC: [u8; 8] = *b"KTKIMAGE";
const VERSION: u16 = 1;
const FILE: &str = "image";
const FILE_TMP: &str = "image.tmp";

/// Which machine wrote an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageKind {
    Null = 1,
    Memory = 2,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ImageHeader {
    magic: [u8; 8],
    version: U16,
    kind: U16,
    /// Of the header with this field zero, and the body.
    crc32c: U32,
    body_len: U64,
    store_id: U128,
}

const _: () = assert!(size_of::<ImageHeader>() == 40);

/// What both machines keep of a group; the memory machine's table follows it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct GroupImage {
    pub(crate) group: U64,
    pub(crate) applied: U64,
    pub(crate) entries: U64,
    pub(crate) digest: U64,
    pub(crate) sum: U64,
    /// Slots of the table, and how many of them are taken.
    pub(crate) slots: U64,
    pub(crate) taken: U64,
    /// Bytes of values that do not fit in their slot.
    pub(crate) arena_len: U64,
}

const _: () = assert!(size_of::<GroupImage>() == 64);

/// How far a group is applied, and what it was then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// What was durable at the opening.
    pub(crate) opened: Index,
    pub(crate) applied: Index,
    pub(crate) entries: u64,
    pub(crate) digest: u64,
    pub(crate) sum: u64,
}

impl Counts {
    pub(crate) fn of_image(image: &GroupImage) -> Self {
        let applied = Index(image.applied.get());
        Self {
            opened: applied,
            applied,
            entries: image.entries.get(),
            digest: image.digest.get(),
            sum: image.sum.get(),
        }
    }

    /// The image of a group without a table.
    pub(crate) fn image(&self, group: u64) -> GroupImage {
        GroupImage {
            group: U64::new(group),
            applied: U64::new(self.applied.0),
            entries: U64::new(self.entries),
            digest: U64::new(self.digest),
            sum: U64::new(self.sum),
            slots: U64::ZERO,
            taken: U64::ZERO,
            arena_len: U64::ZERO,
        }
    }

    /// Moves on to the last index of a block, or over an entry without a command.
    ///
    /// # Panics
    /// When the block is not the next one of the group.
    #[inline]
    pub(crate) fn advance(&mut self, group: u64, first: Index, last: Index) {
        let applied = self.applied;
        assert!(
            first == applied.next(),
            "group {group} is applied up to {applied:?}, got {first:?}"
        );
        self.applied = last;
    }
}

/// Replaces the image in `dir`; when this returns, the new one is durable.
pub(crate) fn write(
    dir: &Path,
    store_id: u128,
    kind: ImageKind,
    body: &[u8],
) -> Result<(), MachineError> {
    let mut header = ImageHeader {
        magic: MAGIC,
        version: U16::new(VERSION),
        kind: U16::new(kind as u16),
        crc32c: U32::ZERO,
        body_len: U64::new(body.len() as u64),
        store_id: U128::new(store_id),
    };
    header.crc32c = U32::new(checksum(&header, body));
    let (tmp, path) = (dir.join(FILE_TMP), dir.join(FILE));
    let mut file = File::create(&tmp)?;
    file.write_all(header.as_bytes())?;
    file.write_all(body)?;
    file.sync_data()?;
    std::fs::rename(&tmp, &path)?;
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// Reads the body of the image in `dir`; `None` when there is none yet.
pub(crate) fn read(
    dir: &Path,
    store_id: u128,
    kind: ImageKind,
) -> Result<Option<Vec<u8>>, MachineError> {
    let path = dir.join(FILE);
    let corrupt = |why: String| MachineError::Corrupt { what: path.display().to_string(), why };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let len = file.metadata()?.len();
    let mut header = [0; size_of::<ImageHeader>()];
    if len < header.len() as u64 {
        return Err(corrupt(format!("{len} bytes are too short for a header")));
    }
    file.read_exact(&mut header)?;
    let mut header: ImageHeader = zerocopy::transmute!(header);
    if header.magic != MAGIC || header.version.get() != VERSION {
        return Err(corrupt(format!("version {} with magic {:?}", header.version, header.magic)));
    }
    if header.store_id.get() != store_id {
        let owner = header.store_id.get();
        return Err(corrupt(format!("of store {owner:032x}, not {store_id:032x}")));
    }
    if header.kind.get() != kind as u16 {
        return Err(corrupt(format!("written by machine {}, not {kind:?}", header.kind)));
    }
    let body_len = len - size_of::<ImageHeader>() as u64;
    if header.body_len.get() != body_len {
        return Err(corrupt(format!("{body_len} bytes of body, {} announced", header.body_len)));
    }
    let mut body =
        Vec::with_capacity(usize::try_from(body_len).map_err(|e| corrupt(e.to_string()))?);
    file.read_to_end(&mut body)?;
    let expected = std::mem::replace(&mut header.crc32c, U32::ZERO).get();
    let found = checksum(&header, &body);
    if found != expected {
        return Err(corrupt(format!("checksum {found:#010x}, {expected:#010x} expected")));
    }
    Ok(Some(body))
}

fn checksum(header: &ImageHeader, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header.as_bytes()), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), 5, ImageKind::Null).unwrap().is_none());
        write(dir.path(), 5, ImageKind::Null, b"one").unwrap();
        write(dir.path(), 5, ImageKind::Null, b"two!").unwrap();
        assert_eq!(read(dir.path(), 5, ImageKind::Null).unwrap().unwrap(), b"two!");
        std::fs::write(dir.path().join(FILE_TMP), b"half of an ima").unwrap();
        assert_eq!(read(dir.path(), 5, ImageKind::Null).unwrap().unwrap(), b"two!");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_a_typed_error() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 5, ImageKind::Null, b"the body of an image").unwrap();
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            matches!(read(dir.path(), 5, ImageKind::Null), Err(MachineError::Corrupt { .. }))
        };
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(refused(&bad), "byte {at}");
            assert!(refused(&good[..at]), "cut at {at}");
        }
        std::fs::write(&path, &good).unwrap();
        assert!(read(dir.path(), 5, ImageKind::Memory).is_err(), "another machine's image");
        assert!(read(dir.path(), 6, ImageKind::Null).is_err(), "another store's image");
    }
}
