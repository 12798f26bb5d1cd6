//! What the tests of the store share: a store in a temporary directory, batches with known contents, and images.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kontiki::Durability;
use kontiki::store::{
    GroupRecord, Identity, LogBatch, LogStore as _, OpenError, OpenOptions, Opened, Part,
    RangeBounds, RocksLog,
};
use kontiki_net::{BlockKind, BlockMeta, encode_entry};
use kontiki_raft::{HardState, Index, Position, ReplicaId, Term};

/// The cluster and node of every store here.
pub const CLUSTER: u128 = 0xc1;
/// See [`CLUSTER`].
pub const NODE: u64 = 3;

/// A store in a temporary directory.
pub struct Fixture {
    pub root: tempfile::TempDir,
    pub options: OpenOptions,
}

impl Fixture {
    /// A new store with three groups.
    pub fn new(durability: Durability) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut options = OpenOptions::new(root.path().join("store"));
        options.durability = durability;
        options.memtable_bytes = 1 << 20;
        let groups = [1, 2, 3].map(|group| (group, record(1))).iter().collect();
        RocksLog::format(&options, &Identity::new(CLUSTER, NODE).unwrap(), &groups).unwrap();
        Self { root, options }
    }

    /// Opens the store, and audits it.
    pub fn open(&self) -> Result<(Opened, Parts), OpenError> {
        let mut opened = RocksLog::open(&self.options)?;
        let parts = parts(&mut opened.log)?;
        Ok((opened, parts))
    }

    /// A copy of the store as it is on the disk now, as after a crash of the process.
    pub fn image(&self) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut options = self.options.clone();
        options.dir = root.path().join("store");
        copy(&self.options.dir, &options.dir);
        Self { root, options }
    }

    /// The log database's files with this extension, in order.
    pub fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.options.log_dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect();
        files.sort();
        files
    }
}

/// The parts of a log: batch, part, bytes.
pub type Parts = Vec<(u64, u16, Vec<u8>)>;

/// All parts of a log.
pub fn parts(log: &mut RocksLog) -> Result<Parts, OpenError> {
    let mut parts = Vec::new();
    log.for_each_part(&mut |number, part, bytes| {
        parts.push((number, part, bytes.to_vec()));
        Ok(())
    })?;
    Ok(parts)
}

/// A group's record in a term.
pub fn record(term: u64) -> GroupRecord {
    let id = |n| ReplicaId::new(n).unwrap();
    GroupRecord {
        replica: id(31),
        hard_state: HardState { term: Term(term), vote: Some(id(32)) },
        compacted: Position { term: Term(0), index: Index(0) },
        membership: vec![(id(31), 3), (id(32), 4)],
        range: RangeBounds { start: b"a".to_vec(), end: Some(b"m".to_vec()) },
    }
}

/// A batch of one part: `seed` and a row of bytes that follows from it.
pub fn batch(seed: u64, len: usize) -> LogBatch {
    LogBatch { parts: vec![part(seed, len)], ..LogBatch::default() }
}

/// A part of one block, whose bytes follow from `seed`; they do not compress and do not repeat.
pub fn part(seed: u64, len: usize) -> Part {
    let meta =
        BlockMeta { group: seed, first_index: Index(1), term: Term(1), kind: BlockKind::Command };
    let payload = noise(seed, len.saturating_sub(44));
    let mut bytes = Vec::new();
    encode_entry(&mut bytes, meta, &payload);
    Part { bytes: Arc::new(bytes), blocks: 1 }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .collect()
}

/// Flips one bit of a file.
pub fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1 << (at % 8);
    std::fs::write(file, bytes).unwrap();
}

/// Copies a directory with everything in it. A store that is open may delete a file that it no longer needs meanwhile;
/// the copy is then of a moment without it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            match std::fs::copy(entry.path(), to) {
                Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
                copied => assert!(copied.is_ok(), "{copied:?}"),
            }
        }
    }
}
