//! The witness: 512 bytes in a second place that know which batch was synced last.
//!
//! A log alone cannot tell a tail that was never synced from one that was synced and lost. The witness can, up
//! to the batches of the last moments: it is written off the path of acknowledgements, at most every
//! [`INTERVAL_US`] or [`BATCHES`] batches, and at a clean shutdown. It has two slots of 256 bytes that are written in
//! turn, each with a sequence number and a checksum, so that a torn write leaves the other one.
//!
//! Invariant: a witness never says more than is true: it is written after the sync it speaks of.
//! A missing or damaged witness is no proof of loss: the store opens, says so, and writes a new one. What then
//! remains is the chain in the batch headers, which covers all but the end of the log.
//! Deliberately absent: anything the log needs to be read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::files::{Files, StoreFile, read_all};
use super::record::{RecordError, expect_zero, verify_crc};
use super::{OpenError, StoreError};

/// The witness's file, in its directory.
pub const WITNESS_FILE: &str = "store.witness";
/// The longest time for which a synced batch stays unwitnessed, while someone calls
/// [`WitnessWriter::maybe_write`].
pub const INTERVAL_US: u64 = 50_000;
/// The number of batches after which the witness is written before the interval has passed.
pub const BATCHES: u64 = 16;

const SLOT_BYTES: usize = 256;
const SLOTS: usize = 2;
const MAGIC: [u8; 8] = *b"KTWITNES";

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Slot {
    crc32c: U32,
    version: U16,
    clean: u8,
    reserved: u8,
    magic: [u8; 8],
    sequence: U64,
    store_id: U128,
    synced: U64,
    padding: [u8; SLOT_BYTES - 48],
}
const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

/// What a witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// How often it was written.
    pub sequence: u64,
    /// The store it speaks of.
    pub store_id: u128,
    /// The last batch that it knows synced.
    pub synced: u64,
    /// Whether the store was shut down after that batch, and not opened since.
    pub clean: bool,
}

/// What was found where the witness should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessState {
    /// A witness.
    Present(Testimony),
    /// No file.
    Missing,
    /// A file in which no slot is whole.
    Damaged {
        /// Why the better slot is not.
        why: RecordError,
    },
}

impl WitnessState {
    /// What the witness says, if there is one.
    #[must_use]
    pub const fn testimony(&self) -> Option<&Testimony> {
        match self {
            Self::Present(testimony) => Some(testimony),
            Self::Missing | Self::Damaged { .. } => None,
        }
    }
}

impl Testimony {
    fn encode(&self) -> Slot {
        let mut slot = Slot {
            crc32c: U32::ZERO,
            version: U16::new(1),
            clean: u8::from(self.clean),
            reserved: 0,
            magic: MAGIC,
            sequence: U64::new(self.sequence),
            store_id: U128::new(self.store_id),
            synced: U64::new(self.synced),
            padding: [0; SLOT_BYTES - 48],
        };
        slot.crc32c = U32::new(crc32c::crc32c(&slot.as_bytes()[4..]));
        slot
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let slot = Slot::read_from_bytes(bytes)
            .map_err(|_| RecordError::Truncated { needed: SLOT_BYTES, found: bytes.len() })?;
        if slot.magic != MAGIC {
            return Err(RecordError::Magic);
        }
        verify_crc(bytes, slot.crc32c.get())?;
        if slot.version.get() != 1 {
            return Err(RecordError::Version { found: slot.version.get() });
        }
        expect_zero("reserved", slot.reserved.into())?;
        if slot.clean > 1 {
            return Err(RecordError::Field { what: "clean", value: slot.clean.into() });
        }
        Ok(Self {
            sequence: slot.sequence.get(),
            store_id: slot.store_id.get(),
            synced: slot.synced.get(),
            clean: slot.clean == 1,
        })
    }
}

/// Decodes the bytes of a witness file.
#[must_use]
pub fn decode(bytes: &[u8]) -> WitnessState {
    let found = bytes.len();
    let mut best: Option<Testimony> = None;
    let mut damage = RecordError::Truncated { needed: SLOT_BYTES * SLOTS, found };
    for slot in bytes.chunks(SLOT_BYTES).take(SLOTS) {
        match Testimony::decode(slot) {
            Ok(testimony) if best.is_none_or(|b| b.sequence < testimony.sequence) => {
                best = Some(testimony);
            }
            Ok(_) => {}
            Err(why) => damage = why,
        }
    }
    best.map_or(WitnessState::Damaged { why: damage }, WitnessState::Present)
}

/// Reads the witness in `dir`.
///
/// # Errors
/// [`OpenError::Io`] when there is a file that cannot be read.
pub fn read(files: &dyn Files, dir: &Path) -> Result<WitnessState, OpenError> {
    let path = dir.join(WITNESS_FILE);
    match read_all(files, &path) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(WitnessState::Missing),
        Err(error) => Err(OpenError::Io { path, error }),
    }
}

/// Writes the witness of one open store. Made by the log; called by the maintenance thread.
#[derive(Debug)]
pub struct WitnessWriter {
    file: Box<dyn StoreFile>,
    path: PathBuf,
    last: Testimony,
    written_at_us: Option<u64>,
    /// The last synced batch, kept by the log.
    synced: Arc<AtomicU64>,
}

impl WitnessWriter {
    /// Opens (or makes) the witness in `dir` for the store `store_id`, and writes that the store is open.
    /// `found` is what the witness said before.
    pub(super) fn start(
        files: &dyn Files,
        dir: &Path,
        store_id: u128,
        found: Option<&Testimony>,
        synced: Arc<AtomicU64>,
    ) -> Result<Self, OpenError> {
        let path = dir.join(WITNESS_FILE);
        let file = files.open_to_write(&path).map_err(OpenError::io(&path))?;
        let sequence = found.map_or(0, |testimony| testimony.sequence);
        let last = Testimony { sequence, store_id, synced: 0, clean: false };
        let mut writer = Self { file, path, last, written_at_us: None, synced };
        let now = writer.synced.load(Ordering::Acquire);
        let write = writer.put(now, false).and_then(|()| {
            writer.file.sync_all()?;
            files.sync_dir(dir)
        });
        write.map_err(OpenError::io(&writer.path))?;
        Ok(writer)
    }

    /// Writes the witness when something new was synced and it is time: [`INTERVAL_US`] after the last time, or
    /// after [`BATCHES`] batches. `now_us` is the caller's clock. Returns whether it wrote.
    ///
    /// # Errors
    /// When the witness cannot be written. The log itself is not affected.
    pub fn maybe_write(&mut self, now_us: u64) -> Result<bool, StoreError> {
        let synced = self.synced.load(Ordering::Acquire);
        let behind = synced.saturating_sub(self.last.synced);
        if behind == 0 {
            return Ok(false);
        }
        let early = self.written_at_us.is_some_and(|at| now_us < at.saturating_add(INTERVAL_US));
        if early && behind < BATCHES {
            return Ok(false);
        }
        self.write_now(synced, false)?;
        self.written_at_us = Some(now_us);
        Ok(true)
    }

    /// Writes that the store was shut down cleanly after batch `synced`.
    pub(crate) fn finish(mut self, synced: u64) -> Result<(), StoreError> {
        self.write_now(synced, true)
    }

    /// The last batch that the witness knows synced.
    #[must_use]
    pub const fn witnessed(&self) -> u64 {
        self.last.synced
    }

    fn write_now(&mut self, synced: u64, clean: bool) -> Result<(), StoreError> {
        self.put(synced, clean).map_err(|error| StoreError::Io { path: self.path.clone(), error })
    }

    fn put(&mut self, synced: u64, clean: bool) -> io::Result<()> {
        assert!(synced >= self.last.synced, "synced moves back to {synced}");
        let next = Testimony { sequence: self.last.sequence + 1, synced, clean, ..self.last };
        let slot = if next.sequence.is_multiple_of(2) { 0 } else { SLOT_BYTES };
        self.file.write_all_at(next.encode().as_bytes(), slot as u64)?;
        self.file.sync_data()?;
        self.last = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SystemFiles;

    fn start(dir: &Path, synced: u64) -> (WitnessWriter, Arc<AtomicU64>) {
        let number = Arc::new(AtomicU64::new(synced));
        let found = read(&SystemFiles, dir).unwrap();
        let writer =
            WitnessWriter::start(&SystemFiles, dir, 77, found.testimony(), Arc::clone(&number))
                .unwrap();
        (writer, number)
    }

    #[test]
    fn it_says_what_was_synced_and_whether_the_end_was_clean() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&SystemFiles, dir.path()).unwrap(), WitnessState::Missing);
        let (mut writer, number) = start(dir.path(), 1);
        assert!(!writer.maybe_write(0).unwrap(), "nothing new");
        number.store(5, Ordering::Release);
        assert!(writer.maybe_write(10).unwrap());
        number.store(6, Ordering::Release);
        assert!(!writer.maybe_write(20).unwrap(), "too early");
        number.store(5 + BATCHES, Ordering::Release);
        assert!(writer.maybe_write(30).unwrap(), "many batches");
        number.store(6 + BATCHES, Ordering::Release);
        assert!(writer.maybe_write(30 + INTERVAL_US).unwrap());
        let open = *read(&SystemFiles, dir.path()).unwrap().testimony().unwrap();
        assert_eq!((open.store_id, open.synced, open.clean), (77, 6 + BATCHES, false));
        writer.finish(7 + BATCHES).unwrap();
        let shut = *read(&SystemFiles, dir.path()).unwrap().testimony().unwrap();
        assert_eq!((shut.synced, shut.clean), (7 + BATCHES, true));
        assert_eq!(std::fs::metadata(dir.path().join(WITNESS_FILE)).unwrap().len(), 512);
        drop(start(dir.path(), 7 + BATCHES));
        assert!(!read(&SystemFiles, dir.path()).unwrap().testimony().unwrap().clean, "open again");
    }

    #[test]
    fn a_torn_slot_leaves_the_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, number) = start(dir.path(), 1);
        number.store(2, Ordering::Release);
        writer.maybe_write(0).unwrap();
        let path = dir.path().join(WITNESS_FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut torn = whole.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            let found = *decode(&torn).testimony().unwrap();
            // Sequence 1 (batch 1) is in the second slot, sequence 2 (batch 2) in the first.
            assert_eq!(found.synced, if bit / 8 < SLOT_BYTES { 1 } else { 2 });
        }
    }

    #[test]
    fn rubbish_is_damage_and_never_a_panic() {
        for len in 0..600 {
            for fill in [0_u8, 0xff, 0x4b] {
                assert!(matches!(decode(&vec![fill; len]), WitnessState::Damaged { .. }));
            }
        }
    }
}
