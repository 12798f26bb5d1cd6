//! Our own reader of RocksDB's write-ahead log, because RocksDB's stops at the first bad record.
//!
//! RocksDB's default recovery opens silently with everything behind one flipped bit gone. So, before it may open,
//! this reader goes over the `*.log` files and *past* every bad place, and looks for intact batch headers behind
//! it. Each header says which batch was known synced when it was written. If that is the batch at the bad place or
//! a later one, the log is damaged; if not, and the witness does not know better, the bad place is a torn tail.
//!
//! A log file is a row of blocks of 32 KiB; a block is a row of physical records, each {masked crc32c u32, length
//! u16, type u8} and payload; a logical record is one physical record or a chain first, middle.., last. Behind a bad
//! place the reader tries every byte of that block, then goes on with the next block.
//!
//! Invariant: the scan only reads. What the first record of a logical record is: `{sequence u64, count u32}`, and
//! then our batch header's put, since `RocksLog` writes it first.
//! Deliberately absent: recycled log files and compressed ones. Both are switched off; their records are bad here.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zerocopy::FromBytes as _;
use zerocopy::little_endian::{U16, U32};

use super::files::{Files, fill};
use super::header::{self, BatchHeader};
use super::{Amnesia, OpenError, SyncedBy};

const BLOCK_BYTES: usize = 32 << 10;
const PHYSICAL_HEADER_BYTES: usize = 7;
/// What is read at once.
const CHUNK_BYTES: usize = 32 * BLOCK_BYTES;
/// The longest head of a logical record that can hold a batch header.
const HEAD_BYTES_MAX: usize = 64 + 72 + 4 * (u16::MAX as usize);
/// How often a scan starts anew when a file vanishes under its hands.
const ATTEMPTS: usize = 5;
const TAG_PUT_IN_FAMILY: u8 = 5;

/// A place in a log file behind which RocksDB would lose everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlace {
    /// The file.
    pub file: PathBuf,
    /// The bad physical record, or where the missing one should be.
    pub offset: u64,
    /// The logical record that it belongs to begins here.
    pub record: u64,
    /// What is wrong.
    pub why: Flaw,
}

/// The types of records in recycled files, which this store never has (RocksDB's `db/log_format.h`).
const RECYCLED_TYPES: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Where the type stands in a physical record: behind checksum and length.
const TYPE_OFFSET: u64 = 6;

impl BadPlace {
    /// Whether the record says of itself, wrongly, that it is in a recycled file: RocksDB's reader does not come to
    /// an end at such a record, so it must not be let near it.
    #[must_use]
    pub fn claims_recycling(&self, files: &dyn Files) -> bool {
        let mut kind = [0];
        let at = self.offset + TYPE_OFFSET;
        let read = files.open(&self.file).and_then(|file| file.read_at(&mut kind, at));
        read.is_ok_and(|read| read == 1) && RECYCLED_TYPES.contains(&kind[0])
    }
}

/// What is wrong at a [`BadPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The checksum of a record does not match.
    Checksum,
    /// A record is longer than its block or its file.
    Length,
    /// Zeroes where a record should be.
    Zeroes,
    /// Something else than zeroes in the few bytes at the end of a block that hold no record.
    Padding,
    /// A type of record that this store never writes.
    Type(u8),
    /// A piece of a record without its beginning or its end.
    Fragment,
    /// The file ends inside a record.
    Cut,
    /// A whole record that is not one of this log's batches.
    NotABatch,
    /// A batch of another store.
    ForeignBatch,
    /// Batches are missing, without a trace of them.
    Missing {
        /// The first missing one.
        missing: u64,
        /// The one found instead.
        found: u64,
    },
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checksum => f.write_str("a record's checksum does not match"),
            Self::Length => f.write_str("a record is longer than its block"),
            Self::Zeroes => f.write_str("zeroes instead of a record"),
            Self::Padding => f.write_str("the padding of a block is not zero"),
            Self::Type(found) => write!(f, "a record of the unknown type {found}"),
            Self::Fragment => f.write_str("a piece of a record without the others"),
            Self::Cut => f.write_str("the file ends inside a record"),
            Self::NotABatch => f.write_str("a record that is not a batch"),
            Self::ForeignBatch => f.write_str("a batch of another store"),
            Self::Missing { missing, found } => {
                write!(f, "batch {found} comes where batch {missing} should be")
            }
        }
    }
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalScan {
    /// The log files, in order.
    pub files: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// The intact batches.
    pub batches: u64,
    /// The last batch before the first bad place.
    pub last: Option<u64>,
    /// The first bad place.
    pub bad: Option<BadPlace>,
    /// The lowest batch behind the bad place.
    pub first_behind: Option<u64>,
    /// The highest batch that any intact header calls synced.
    pub synced: u64,
    /// The store that the headers name.
    pub store_id: Option<u128>,
}

/// What a scan means for opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No bad place.
    Whole,
    /// There is a bad place, and nobody says that anything at or behind it was synced.
    Torn(BadPlace),
    /// A synced batch is damaged.
    Damaged(BadPlace),
    /// A synced batch is missing.
    Lost(Amnesia),
}

impl WalScan {
    /// Decides. `last` is the last batch before the bad place (or the end), from the scan or, if the log files hold
    /// none, from the database; `witnessed` is what the witness knows synced.
    #[must_use]
    pub fn judge(&self, last: u64, witnessed: u64) -> Verdict {
        let known = self.synced.max(witnessed);
        let by = if witnessed > self.synced { SyncedBy::Witness } else { SyncedBy::Log };
        match &self.bad {
            None if known <= last => Verdict::Whole,
            None => Verdict::Lost(Amnesia::Short { found: last, synced: known, by }),
            Some(bad) => match bad.why {
                Flaw::ForeignBatch | Flaw::NotABatch => Verdict::Damaged(bad.clone()),
                _ if known <= last => Verdict::Torn(bad.clone()),
                Flaw::Missing { missing, found } => Verdict::Lost(Amnesia::Hole { missing, found }),
                _ => Verdict::Damaged(bad.clone()),
            },
        }
    }
}

/// Scans the log files in `dir`. `store_id` is the expected store, when known.
///
/// # Errors
/// Only when a file cannot be read; bad contents are what the scan reports.
pub fn scan(files: &dyn Files, dir: &Path, store_id: Option<u128>) -> Result<WalScan, OpenError> {
    for _ in 1..ATTEMPTS {
        match try_scan(files, dir, store_id) {
            // A running store may delete a file between our listing it and our opening it.
            Err(OpenError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {}
            result => return result,
        }
    }
    try_scan(files, dir, store_id)
}

fn try_scan(files: &dyn Files, dir: &Path, store_id: Option<u128>) -> Result<WalScan, OpenError> {
    let logs = log_files(files, dir)?;
    let mut reader = Reader::new(WalScan { store_id, ..WalScan::default() });
    for file in &logs {
        reader.read_file(files, file)?;
    }
    reader.scan.files = logs;
    Ok(reader.scan)
}

/// Scans one file of the log format whose records are not batches: the manifest.
///
/// # Errors
/// Only when the file cannot be read.
pub fn first_flaw(files: &dyn Files, file: &Path) -> Result<(Option<BadPlace>, bool), OpenError> {
    let mut reader = Reader::new(WalScan::default());
    reader.plain = true;
    reader.read_file(files, file)?;
    Ok((reader.scan.bad, reader.intact_behind))
}

/// RocksDB's log files in `dir`, in the order of their numbers.
fn log_files(files: &dyn Files, dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let names = files.names(dir).map_err(OpenError::io(dir))?;
    let number = |name: &str| name.strip_suffix(".log")?.parse::<u64>().ok();
    let mut logs: Vec<(u64, PathBuf)> =
        names.iter().filter_map(|name| Some((number(name)?, dir.join(name)))).collect();
    logs.sort_unstable();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

struct Reader {
    scan: WalScan,
    /// The chain hash of the header of `scan.last`.
    last_hash: u64,
    /// Which file `scan.bad` is in.
    bad_file: Option<usize>,
    file_number: usize,
    file: PathBuf,
    /// The logical record being put together: where it began, and its first bytes.
    record: Option<u64>,
    head: Vec<u8>,
    head_wanted: usize,
    /// Behind a bad place: skip pieces until a record begins.
    resync: bool,
    /// Records are not batches.
    plain: bool,
    intact_behind: bool,
}

impl Reader {
    fn new(scan: WalScan) -> Self {
        Self {
            scan,
            last_hash: 0,
            bad_file: None,
            file_number: 0,
            file: PathBuf::new(),
            record: None,
            head: Vec::new(),
            head_wanted: 0,
            resync: false,
            plain: false,
            intact_behind: false,
        }
    }

    fn read_file(&mut self, files: &dyn Files, path: &Path) -> Result<(), OpenError> {
        path.clone_into(&mut self.file);
        self.file_number += 1;
        self.resync = false;
        let file = files.open(path).map_err(OpenError::io(path))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0_u64;
        loop {
            let filled = fill(&*file, &mut chunk, at).map_err(OpenError::io(path))?;
            for block in chunk[..filled].chunks(BLOCK_BYTES) {
                self.read_block(block, at);
                at += block.len() as u64;
            }
            if filled < chunk.len() {
                break;
            }
        }
        if let Some(start) = self.record.take() {
            self.bad(start, start, Flaw::Cut);
        }
        self.scan.bytes += at;
        Ok(())
    }

    /// Reads one block, which begins at `base`; only the last one of a file may be short.
    fn read_block(&mut self, block: &[u8], base: u64) {
        let mut at = 0;
        while block.len() - at >= PHYSICAL_HEADER_BYTES {
            match physical(&block[at..]) {
                Ok((kind, payload)) => {
                    self.piece(kind, payload, base + at as u64);
                    at += PHYSICAL_HEADER_BYTES + payload.len();
                }
                Err(flaw) => {
                    let offset = base + at as u64;
                    let start = self.record.take().unwrap_or(offset);
                    self.bad(offset, start, flaw);
                    match next_intact(block, at + 1) {
                        Some(found) => at = found,
                        None => return,
                    }
                }
            }
        }
        let rest = &block[at..];
        let is_short = block.len() < BLOCK_BYTES && !rest.is_empty();
        if is_short || rest.iter().any(|&byte| byte != 0) {
            let offset = base + at as u64;
            let start = self.record.take().unwrap_or(offset);
            self.bad(offset, start, if is_short { Flaw::Cut } else { Flaw::Padding });
        }
    }

    /// Takes one intact physical record.
    fn piece(&mut self, kind: u8, payload: &[u8], offset: u64) {
        const FULL: u8 = 1;
        const FIRST: u8 = 2;
        const MIDDLE: u8 = 3;
        const LAST: u8 = 4;
        match kind {
            FULL | FIRST => {
                if let Some(start) = self.record.take() {
                    self.bad(offset, start, Flaw::Fragment);
                }
                self.resync = false;
                self.record = Some(offset);
                self.head.clear();
                self.head_wanted = HEAD_BYTES_MAX;
                self.add_to_head(payload);
                if kind == FULL {
                    self.finish();
                }
            }
            MIDDLE | LAST if self.record.is_some() => {
                self.add_to_head(payload);
                if kind == LAST {
                    self.finish();
                }
            }
            MIDDLE | LAST if self.resync => {}
            MIDDLE | LAST => self.bad(offset, offset, Flaw::Fragment),
            // RocksDB ignores unknown types with the highest bit set: notes between log files.
            0x80.. => {}
            other => {
                let start = self.record.take().unwrap_or(offset);
                self.bad(offset, start, Flaw::Type(other));
            }
        }
    }

    fn add_to_head(&mut self, payload: &[u8]) {
        let room = self.head_wanted.saturating_sub(self.head.len());
        if room == 0 || self.plain {
            return;
        }
        self.head.extend_from_slice(&payload[..payload.len().min(room)]);
        if self.head_wanted == HEAD_BYTES_MAX {
            self.head_wanted = header_value(&self.head).map_or(HEAD_BYTES_MAX, |(_, end)| end);
        }
    }

    fn finish(&mut self) {
        let start = self.record.take().expect("only called while a record is being read");
        self.intact_behind |= self.scan.bad.is_some();
        if self.plain || is_note(&self.head) {
            return;
        }
        let value = header_value(&self.head).and_then(|(at, end)| self.head.get(at..end));
        let Some(Ok((header, hash))) = value.map(BatchHeader::decode) else {
            if self.scan.bad.is_none() {
                self.bad(start, start, Flaw::NotABatch);
            }
            return;
        };
        self.batch(&header, hash, start);
    }

    fn batch(&mut self, header: &BatchHeader, hash: u64, start: u64) {
        if *self.scan.store_id.get_or_insert(header.store_id) != header.store_id {
            if self.scan.bad.is_none() {
                self.bad(start, start, Flaw::ForeignBatch);
            }
            return;
        }
        self.scan.batches += 1;
        let follows = |last: u64| header.number == last + 1 && header.previous == self.last_hash;
        let in_later_file = self.bad_file.is_some_and(|file| file < self.file_number);
        if in_later_file && self.scan.last.is_some_and(follows) {
            // An earlier opening cut that tail and went on in a new file: the chain is whole.
            self.scan.bad = None;
            self.bad_file = None;
            self.scan.first_behind = None;
        }
        self.scan.synced = self.scan.synced.max(header.synced);
        if self.scan.bad.is_none() {
            match self.scan.last {
                Some(last) if header.number > last + 1 => {
                    let why = Flaw::Missing { missing: last + 1, found: header.number };
                    self.bad(start, start, why);
                }
                _ => {
                    self.scan.last = Some(header.number);
                    self.last_hash = hash;
                    return;
                }
            }
        }
        let lowest = self.scan.first_behind.get_or_insert(header.number);
        *lowest = header.number.min(*lowest);
    }

    fn bad(&mut self, offset: u64, record: u64, why: Flaw) {
        self.resync = true;
        if self.scan.bad.is_none() {
            self.bad_file = Some(self.file_number);
            self.scan.bad = Some(BadPlace { file: self.file.clone(), offset, record, why });
        }
    }
}

/// Checks the physical record at the beginning of `bytes`: its type and payload.
fn physical(bytes: &[u8]) -> Result<(u8, &[u8]), Flaw> {
    let (&stored, rest) = U32::ref_from_prefix(bytes).map_err(|_| Flaw::Cut)?;
    let (&length, rest) = U16::ref_from_prefix(rest).map_err(|_| Flaw::Cut)?;
    let length = usize::from(length.get());
    let kind = *rest.first().ok_or(Flaw::Cut)?;
    if kind == 0 && length == 0 {
        return Err(Flaw::Zeroes);
    }
    let checked = rest.get(..=length).ok_or(Flaw::Length)?;
    if unmask(stored.get()) != crc32c::crc32c(checked) {
        return Err(Flaw::Checksum);
    }
    Ok((kind, &checked[1..]))
}

/// The next byte of `block`, from `from` on, at which an intact record begins that can begin or end a record.
fn next_intact(block: &[u8], from: usize) -> Option<usize> {
    (from..block.len().saturating_sub(PHYSICAL_HEADER_BYTES)).find(|&at| {
        let plausible = matches!(block[at + 6], 1..=4);
        plausible && physical(&block[at..]).is_ok()
    })
}

/// RocksDB stores checksums rotated and shifted, so that a checksum over stored checksums stays sound.
pub(super) const fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

/// Whether a RocksDB batch holds no record at all. RocksDB writes one into a new log file after it cut a tail.
fn is_note(batch: &[u8]) -> bool {
    batch.get(8..12) == Some(&[0; 4])
}

/// Where in a RocksDB batch the value of its first put is, if that is the put of a batch header.
fn header_value(batch: &[u8]) -> Option<(usize, usize)> {
    let mut at = 12;
    if *batch.get(at)? != TAG_PUT_IN_FAMILY {
        return None;
    }
    at += 1;
    let _family = varint(batch, &mut at)?;
    let key_len = varint(batch, &mut at)?;
    let key = batch.get(at..at.checked_add(key_len)?)?;
    let (_, part) = header::parse_batch_key(key)?;
    at += key_len;
    let value_len = varint(batch, &mut at)?;
    if part != 0 || value_len > HEAD_BYTES_MAX {
        return None;
    }
    Some((at, at + value_len))
}

/// Reads a varint of at most 32 bits.
fn varint(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
