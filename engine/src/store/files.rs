//! The files of a store as opening and the witness use them: two implementations, the system's and the simulator's.
//!
//! RocksDB opens its files itself. What is decided *before* it may, and beside it, goes through here: the scan of the
//! log files, the look at the manifest, the cut of a torn tail, the witness. So the simulator runs that code, and not a
//! copy of it, over a disk that loses pages.
//!
//! Invariant: nothing here is retried or buffered; what a call says is what the file said.
//! Deliberately absent: what only RocksDB reads (tables), and the lock, which no crash leaves behind.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Directories and the files in them.
pub trait Files: Debug + Send + Sync {
    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StoreFile>>;

    /// Opens a file to write it where it is, after making it and its directory when they are missing.
    ///
    /// # Errors
    /// What the system says.
    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn StoreFile>>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether there is such a directory.
    fn is_dir(&self, dir: &Path) -> bool {
        self.names(dir).is_ok()
    }
}

/// An open file.
pub trait StoreFile: Debug + Send {
    /// Reads at an offset, as much as there is and fits; 0 at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes at an offset.
    ///
    /// # Errors
    /// What the system says; some of it may have been written.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file to this length, or fills it up with zeroes.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the contents durable, and what is needed to read them.
    ///
    /// # Errors
    /// What the system says. The contents are unknown then, whatever they look like.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the contents durable, and all that is known of the file.
    ///
    /// # Errors
    /// As [`StoreFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;
}

/// The files of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        std::fs::read_dir(dir)?.map(name).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        Ok(Box::new(options.open(path)?))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }
}

impl StoreFile for File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }
}

/// Fills `bytes` from offset `at` on as far as the file goes; returns how far that is.
pub(super) fn fill(file: &dyn StoreFile, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The whole contents of a small file.
pub(super) fn read_all(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    const STEP: usize = 4096;
    let file = files.open(path)?;
    let mut bytes = Vec::new();
    loop {
        let at = bytes.len();
        bytes.resize(at + STEP, 0);
        let filled = fill(&*file, &mut bytes[at..], at as u64)?;
        if filled < STEP {
            bytes.truncate(at + filled);
            return Ok(bytes);
        }
    }
}
