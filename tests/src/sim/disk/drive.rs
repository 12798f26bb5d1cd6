//! A drive: files by name, and what becomes of names and contents when the power goes or something fails.
//!
//! New names, removed names and renames go into a journal, as in the file systems that a store runs on. Syncing a directory
//! makes all of it durable; a power cut leaves a beginning of it. So a file that was made and never synced into its directory
//! may be missing, and one that was removed may be back.
//!
//! While a node runs, syncs of its log and its witness take time: they are begun, and the world ends them. Everything else,
//! and everything while a store is being opened, is there at once; a *fuse* then says after how many changes the power goes.
//!
//! Invariant: after an error or a blown fuse nothing that was not there before is durable.
//! Deliberately absent: directories of their own. A directory exists as long as a file is in it.

mod files;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pages::{PAGE, PageFile};
use super::table::Table;
use crate::sim::random::Rng;

/// Removed files that may come back one day.
const ATTIC_MAX: usize = 8;

/// What is in a file.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// Bytes.
    Pages(PageFile),
    /// A table, modelled whole, and whether it was synced.
    Table(Arc<Table>, bool),
}

#[derive(Clone, Debug)]
enum Change {
    Made(PathBuf, u64),
    Removed(PathBuf),
    Renamed(PathBuf, PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Inner {
    files: BTreeMap<u64, Body>,
    made: u64,
    /// As everyone sees them.
    names: BTreeMap<PathBuf, u64>,
    /// As a power cut certainly leaves them.
    durable: BTreeMap<PathBuf, u64>,
    journal: VecDeque<Change>,
    /// Syncs of bytes are begun only.
    runs: bool,
    /// Those that were begun, by the name that the file had then.
    begun: BTreeMap<u64, PathBuf>,
    fail_next: bool,
    full: bool,
    fuse: Option<u64>,
    /// An error was given since the process began.
    failed: Option<ErrorKind>,
    attic: VecDeque<(PathBuf, Body)>,
}

/// A handle of a drive.
#[derive(Clone, Debug, Default)]
pub struct Drive(Arc<Mutex<Inner>>);

/// The error of a drive whose power is gone.
fn dark() -> io::Error {
    io::Error::other("the power is gone")
}

fn absent() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Inner {
    /// Anything that changes something.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => {
                self.failed = Some(ErrorKind::Other);
                Err(dark())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn no_space(&mut self) -> io::Error {
        self.failed = Some(ErrorKind::StorageFull);
        ErrorKind::StorageFull.into()
    }

    fn pages(&mut self, file: u64) -> io::Result<&mut PageFile> {
        match self.files.get_mut(&file) {
            Some(Body::Pages(pages)) => Ok(pages),
            _ => Err(absent()),
        }
    }

    fn make(&mut self, path: &Path, body: Body) -> io::Result<u64> {
        self.change()?;
        if self.full {
            return Err(self.no_space());
        }
        self.made += 1;
        let file = self.made;
        self.files.insert(file, body);
        self.names.insert(path.to_owned(), file);
        self.journal.push_back(Change::Made(path.to_owned(), file));
        Ok(file)
    }

    fn write(&mut self, file: u64, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.change()?;
        let full = self.full;
        let pages = self.pages(file)?;
        // What was allocated can still be written.
        let room = pages.bytes().len().next_multiple_of(PAGE);
        let fits = if full { room.saturating_sub(at).min(bytes.len()) } else { bytes.len() };
        pages.write_at(at, &bytes[..fits]);
        if fits < bytes.len() { Err(self.no_space()) } else { Ok(()) }
    }

    fn sync(&mut self, file: u64, path: &Path) -> io::Result<()> {
        self.change()?;
        if std::mem::take(&mut self.fail_next) {
            self.failed = Some(ErrorKind::Other);
            self.pages(file)?.fail_sync();
            return Err(io::Error::other("the disk says so"));
        }
        if self.runs {
            self.begun.insert(file, path.to_owned());
            return Ok(());
        }
        self.pages(file)?.sync();
        Ok(())
    }

    fn sync_names(&mut self) {
        let journal = std::mem::take(&mut self.journal);
        journal.into_iter().for_each(|change| change.happen(&mut self.durable));
    }

    fn remove(&mut self, path: &Path) {
        let Some(file) = self.names.remove(path) else { return };
        self.journal.push_back(Change::Removed(path.to_owned()));
        if let Some(body) = self.files.get(&file) {
            self.attic.push_back((path.to_owned(), body.clone()));
            if self.attic.len() > ATTIC_MAX {
                self.attic.pop_front();
            }
        }
    }

    /// Forgets what has no name any more, in either sense.
    fn sweep(&mut self) {
        let named: BTreeSet<u64> =
            self.names.values().chain(self.durable.values()).copied().collect();
        let waits: BTreeSet<u64> = self
            .journal
            .iter()
            .filter_map(
                |change| if let Change::Made(_, file) = change { Some(*file) } else { None },
            )
            .collect();
        self.files.retain(|file, _| named.contains(file) || waits.contains(file));
    }
}

impl Change {
    fn happen(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Made(path, file) => drop(names.insert(path, file)),
            Self::Removed(path) => drop(names.remove(&path)),
            Self::Renamed(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}

impl Drive {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A drive of its own with the same contents.
    #[must_use]
    pub fn image(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// A process begins to open what is here; with a fuse, the power goes after so many changes.
    pub fn begin(&self, fuse: Option<u64>) {
        let mut inner = self.lock();
        (inner.runs, inner.fuse, inner.failed) = (false, fuse, None);
        inner.sweep();
    }

    /// The process has opened everything: from now on syncs take their time.
    pub fn run(&self) {
        let mut inner = self.lock();
        (inner.runs, inner.fuse) = (true, None);
    }

    /// Whether the fuse is blown.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.lock().fuse == Some(0)
    }

    /// The error that the process was given, if it was given one.
    #[must_use]
    pub fn failed(&self) -> Option<ErrorKind> {
        self.lock().failed
    }

    /// Whether a sync of a file with this ending was begun and not ended.
    #[must_use]
    pub fn syncs(&self, ending: &str) -> bool {
        self.lock().begun.values().any(|path| has_ending(path, ending))
    }

    /// Ends the syncs that were begun of files with this ending: they are durable, their names too.
    pub fn end_sync(&self, ending: &str) {
        let mut inner = self.lock();
        let ended: Vec<u64> = inner
            .begun
            .iter()
            .filter(|(_, path)| has_ending(path, ending))
            .map(|(&file, _)| file)
            .collect();
        for file in ended {
            inner.begun.remove(&file);
            if let Ok(pages) = inner.pages(file) {
                pages.sync();
            }
        }
        inner.sync_names();
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self, fails: bool) {
        self.lock().fail_next = fails;
    }

    /// There is no space any more, or there is again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Whether there is no space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lock().full
    }

    /// The process is gone. The kernel keeps what it wrote.
    pub fn end(&self) {
        let mut inner = self.lock();
        inner.begun.clear();
        (inner.runs, inner.fuse, inner.fail_next) = (false, None, false);
    }

    /// The power goes.
    pub fn lose_power(&self, dice: &mut Rng) {
        self.end();
        let mut inner = self.lock();
        let pending = inner.journal.len();
        let kept = match dice.below(5) {
            0 => 0,
            1 | 2 => pending,
            _ => dice.place(pending + 1),
        };
        let Inner { journal, durable, names, files, .. } = &mut *inner;
        journal.drain(..).take(kept).for_each(|change| change.happen(durable));
        names.clone_from(durable);
        for body in files.values_mut() {
            match body {
                Body::Pages(pages) => pages.lose_power(dice),
                Body::Table(_, true) => {}
                Body::Table(table, _) => *table = Arc::new(Table::unreadable()),
            }
        }
        inner.sweep();
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.to_str().is_some_and(|name| name.ends_with(ending))
}
