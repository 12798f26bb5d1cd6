//! Checks what RocksDB does not check well in a table file: footer, index, properties.
//!
//! A flipped bit in a data block is found by reading, and RocksDB then names file and offset. In the blocks that
//! describe a table it goes unnoticed or is blamed on the manifest. So those are checked here: the tables of the log
//! are written with CRC-32C and format version 5, whose layout is a footer of 53 bytes at the end {checksum type, two
//! handles, zeroes, version, magic}, and blocks {contents, compression u8, masked crc32c u32}.
//!
//! Invariant: a table that this store's RocksDB wrote, and nobody changed, has no flaw.
//! Deliberately absent: data blocks. Reading the log at opening covers them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::OpenError;
use super::wal_scan::unmask;

const FOOTER_BYTES: usize = 53;
const MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
const VERSION: u32 = 5;
const CHECKSUM_CRC32C: u8 = 1;
const TRAILER_BYTES: usize = 5;
/// No block that describes a table of the log comes near this.
const BLOCK_BYTES_MAX: u64 = 256 << 20;

/// What is wrong with a table, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flaw {
    offset: u64,
    why: &'static str,
}

/// Checks the describing blocks of a table file.
///
/// # Errors
/// [`OpenError::Corrupt`] with file and offset.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let corrupt = |offset, why: String| OpenError::Corrupt { file: path.to_owned(), offset, why };
    let file = File::open(path).map_err(|error| corrupt(0, format!("cannot be read: {error}")))?;
    match first_flaw(&file) {
        Ok(None) => Ok(()),
        Ok(Some(flaw)) => Err(corrupt(flaw.offset, flaw.why.to_owned())),
        Err(error) => Err(OpenError::Io { path: path.to_owned(), error }),
    }
}

fn first_flaw(file: &File) -> io::Result<Option<Flaw>> {
    let len = file.metadata()?.len();
    let flaw = |offset, why| Ok(Some(Flaw { offset, why }));
    let Some(footer_at) = len.checked_sub(FOOTER_BYTES as u64) else {
        return flaw(len, "the table is shorter than its footer");
    };
    let footer = read(file, footer_at, FOOTER_BYTES)?;
    let (contents, tail) = footer.split_at(FOOTER_BYTES - 12);
    if tail[4..] != little_endian(MAGIC) {
        return flaw(len - 8, "the magic number of the footer is wrong");
    }
    if tail[..4] != little_endian(u64::from(VERSION))[..4] {
        return flaw(len - 12, "the format version of the footer is wrong");
    }
    if contents[0] != CHECKSUM_CRC32C {
        return flaw(footer_at, "the checksum type of the footer is wrong");
    }
    let mut at = 1;
    let handles = [handle(contents, &mut at), handle(contents, &mut at)];
    let [Some(metaindex), Some(index)] = handles else {
        return flaw(footer_at, "the footer's handles make no sense");
    };
    if contents[at..].iter().any(|&byte| byte != 0) {
        return flaw(footer_at + at as u64, "the padding of the footer is not zero");
    }
    let described = match block(file, metaindex, footer_at)? {
        Ok(bytes) => bytes,
        Err(why) => return flaw(metaindex.offset.min(len), why),
    };
    let Some(others) = handles_in(&described) else {
        return flaw(metaindex.offset, "the list of blocks makes no sense");
    };
    for other in others.into_iter().chain([index]) {
        if let Err(why) = block(file, other, footer_at)? {
            return flaw(other.offset.min(len), why);
        }
    }
    Ok(None)
}

/// Where a block is.
#[derive(Clone, Copy, Debug)]
struct Handle {
    offset: u64,
    size: u64,
}

fn handle(bytes: &[u8], at: &mut usize) -> Option<Handle> {
    Some(Handle { offset: varint(bytes, at)?, size: varint(bytes, at)? })
}

/// Reads a block and checks it. The trailer's checksum covers contents and compression type.
fn block(file: &File, at: Handle, end: u64) -> io::Result<Result<Vec<u8>, &'static str>> {
    let behind = at.offset.checked_add(at.size).and_then(|e| e.checked_add(TRAILER_BYTES as u64));
    let fits = behind.is_some_and(|behind| behind <= end) && at.size <= BLOCK_BYTES_MAX;
    let Some(size) = usize::try_from(at.size).ok().filter(|_| fits) else {
        return Ok(Err("a block lies outside the table"));
    };
    let mut bytes = read(file, at.offset, size + TRAILER_BYTES)?;
    let stored = bytes.split_off(size + 1);
    let stored = stored.iter().rev().fold(0, |value, &byte| (value << 8) | u32::from(byte));
    if unmask(stored) != crc32c::crc32c(&bytes) {
        return Ok(Err("the checksum of a block does not match"));
    }
    bytes.truncate(size);
    Ok(Ok(bytes))
}

/// The handles that are the values of a block: {shared, unshared, value length as varints, key, value}.., then the
/// restart points and their number, four bytes each.
fn handles_in(block: &[u8]) -> Option<Vec<Handle>> {
    let count_at = block.len().checked_sub(4)?;
    let count = block[count_at..].iter().rev().fold(0, |n, &b| (n << 8) | usize::from(b));
    let end = count_at.checked_sub(count.checked_mul(4)?)?;
    let mut handles = Vec::new();
    let mut at = 0;
    while at < end {
        let _shared = varint(block, &mut at)?;
        let unshared = usize::try_from(varint(block, &mut at)?).ok()?;
        let value_len = usize::try_from(varint(block, &mut at)?).ok()?;
        let value_at = at.checked_add(unshared)?;
        let value = block.get(value_at..value_at.checked_add(value_len)?)?;
        let name = block.get(at..value_at)?;
        at = value_at + value_len;
        // Values that are not handles exist; what the log's tables have are properties and range deletions.
        if name.starts_with(b"rocksdb.") || value_len <= 20 {
            handles.push(handle(value, &mut 0)?);
        }
    }
    Some(handles)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

const fn little_endian(value: u64) -> [u8; 8] {
    zerocopy::little_endian::U64::new(value).to_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn check_bytes(bytes: &[u8]) -> Result<(), OpenError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        check(file.path())
    }

    #[test]
    fn rubbish_is_damage_and_never_a_panic() {
        for len in (0..200).chain([4096]) {
            for fill in [0_u8, 1, 0x80, 0xff] {
                assert!(check_bytes(&vec![fill; len]).is_err());
                let mut footed = vec![fill; len + FOOTER_BYTES];
                footed[len] = CHECKSUM_CRC32C;
                let tail = len + FOOTER_BYTES - 12;
                footed[tail..tail + 4].copy_from_slice(&little_endian(5)[..4]);
                footed[tail + 4..].copy_from_slice(&little_endian(MAGIC));
                assert!(check_bytes(&footed).is_err());
            }
        }
    }

    #[test]
    fn lists_of_blocks_with_wrong_counts_are_refused() {
        for bad in
            [&b""[..], b"abc", &[0xff; 4], &[0, 200, 1, 0, 0, 0, 0], &[9, 9, 9, 9, 0, 0, 0, 0]]
        {
            assert!(handles_in(bad).is_none(), "{bad:?}");
        }
    }
}
