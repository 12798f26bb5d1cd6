//! A store without its process: what a crash leaves on the disk, to be damaged and opened again.
//!
//! A node in this process serves as the one that crashed: while nothing is being written, a copy of its directory
//! is what `kill -9` at that moment would have left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kontiki::error::StartError;
use kontiki::kvstore::CallError;
use kontiki::store::{OpenOptions, SystemFiles, check, witness};
use kontiki::{Bootstrap, Config, OnFatal, Store};

use super::{Random, within};

/// How long a store may take to do what it is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// Groups of each store here.
const GROUPS: usize = 4;

/// A directory of a store that no process has open.
#[derive(Debug)]
pub struct Image {
    _root: tempfile::TempDir,
    /// How it is opened; change what you like before.
    pub config: Config,
}

/// What a store has acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(BTreeMap<Vec<u8>, Vec<u8>>);

impl Acknowledged {
    /// Writes `count` new pairs with values of `bytes` bytes to `store`, and waits for every answer.
    ///
    /// # Panics
    /// When a write fails.
    pub fn write(&mut self, store: &Store, random: &mut Random, count: usize, bytes: usize) {
        for _ in 0..count {
            let (key, value) = (random.bytes(16), random.bytes(bytes));
            // The first ones may come before the elections.
            within("a put", LIMIT, || store.put(&key, &value).ok());
            self.0.insert(key, value);
        }
    }

    /// Checks that `store` serves all of it.
    ///
    /// # Panics
    /// With the first pair that is lost.
    pub fn is_held_by(&self, store: &Store) {
        for (key, value) in &self.0 {
            let (found, _) = within("a read", LIMIT, || store.get(key).ok());
            assert_eq!(found.as_ref(), Some(value), "{key:02x?} is lost");
        }
    }

    /// As [`Acknowledged::is_held_by`], of a store whose state may turn out to be damaged when it is read: then it
    /// must say so, and may not answer with anything else.
    ///
    /// # Panics
    /// When a read is answered, and wrongly; `context` says what had been done to the store.
    pub fn is_held_by_or_fails(&self, store: &Store, context: &str) {
        for (key, value) in &self.0 {
            let (found, _) =
                within(&format!("an answer: {context}"), LIMIT, || match store.get(key) {
                    Ok(found) => Some(Some(found)),
                    Err(CallError::State(_)) => Some(None),
                    Err(_) => store.engine().fatal().map(|_| None),
                });
            match found {
                Some(found) => assert_eq!(found.as_ref(), Some(value), "{context}: {key:02x?}"),
                None => return,
            }
        }
    }
}

impl Image {
    /// A place for a store that is alone in its cluster and not formatted yet.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::new(root.path().join("store"), 1);
        config.cluster_id = 0xc1;
        config.raft.election_timeout_us = 100_000;
        config.raft.heartbeat_us = 25_000;
        config.on_fatal = OnFatal::Call(Arc::new(|_| {}));
        Self { _root: root, config }
    }

    /// The store as it is on the disk now, as after `kill -9`. Nothing may be being written to it.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut image = Self::empty();
        let dir = std::mem::replace(&mut image.config.dir, PathBuf::new());
        image.config = Config { dir, ..self.config.clone() };
        // A compaction may be under way even so. A copy that no file came or went under is a moment's image.
        within("a directory that keeps still", LIMIT, || {
            let before = listing(&self.config.dir);
            copy_dir(&self.config.dir, &image.config.dir);
            if before == listing(&self.config.dir) {
                return Some(());
            }
            std::fs::remove_dir_all(&image.config.dir).unwrap();
            None
        });
        image
    }

    /// Opens the store, formatting it when it is new.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(&self) -> Result<Store, StartError> {
        Store::open(self.config.clone(), Bootstrap::groups(&[1], GROUPS))
    }

    /// Opens the store, which is whole.
    ///
    /// # Panics
    /// When it does not open.
    #[must_use]
    pub fn opened(&self, context: &str) -> Store {
        self.open().unwrap_or_else(|error| panic!("{context}: {error}"))
    }

    /// Why the store does not open, twice: a refusal changes nothing.
    ///
    /// # Panics
    /// When it opens.
    #[must_use]
    pub fn refused(&self, context: &str) -> StartError {
        let Err(first) = self.open() else { panic!("{context}: it opens") };
        let Err(second) = self.open() else { panic!("{context}: it opens at the second time") };
        assert_eq!(first.to_string(), second.to_string(), "{context}");
        first
    }

    /// A directory of the store: `log`, `state`, `witness`.
    #[must_use]
    pub fn part(&self, name: &str) -> PathBuf {
        self.config.dir.join(name)
    }

    /// The files with `extension` in a directory of the store, in order.
    ///
    /// # Panics
    /// When there is no such directory.
    #[must_use]
    pub fn files(&self, part: &str, extension: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.part(part)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        files.sort();
        files
    }

    /// The one file of the log that is being written.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn write_ahead_log(&self) -> PathBuf {
        self.files("log", "log").pop().unwrap()
    }

    /// Puts the directory `part` of another image in place of this one's.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn take_part(&self, part: &str, other: &Self) {
        std::fs::remove_dir_all(self.part(part)).unwrap();
        copy_dir(&other.part(part), &self.part(part));
    }

    /// Waits until the witness of the running store knows everything that was synced.
    ///
    /// # Panics
    /// When it does not come to.
    pub fn wait_witnessed(&self) {
        let options = OpenOptions::new(&self.config.dir);
        let last = check(&options).unwrap().numbers.1;
        let dir = self.config.witness_dir.clone().unwrap_or_else(|| self.part("witness"));
        within("a witness of the last batch", LIMIT, || {
            let state = witness::read(&SystemFiles, &dir).unwrap();
            state.testimony().filter(|testimony| testimony.synced >= last).map(|_| ())
        });
    }
}

/// Flips one bit of a file.
///
/// # Panics
/// When the file is shorter.
pub fn flip(file: &Path, at: usize, bit: u32) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1u8.rotate_left(bit);
    std::fs::write(file, bytes).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            // A file may be gone since it was listed; whoever needs a moment's image compares the listings.
            std::fs::copy(entry.path(), to).ok();
        }
    }
}

/// Every file below `dir` with its size and the time of its last change, in order.
fn listing(dir: &Path) -> Vec<(PathBuf, u64, Option<std::time::SystemTime>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => files.extend(listing(&entry.path())),
            Ok(meta) => files.push((entry.path(), meta.len(), meta.modified().ok())),
            // Gone since: the next listing will differ.
            Err(_) => files.push((entry.path(), 0, None)),
        }
    }
    files.sort();
    files
}
