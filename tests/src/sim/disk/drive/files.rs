//! Files by path: what the model of the database does with them, and what the engine's own code does.
//!
//! Deliberately absent: directories of their own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kontiki::store::files::{Files, StoreFile};

use super::super::pages::PageFile;
use super::super::table::Table;
use super::{Body, Change, Drive, absent};

impl Drive {
    /// Makes a file of bytes; an older one of that name is gone.
    pub(in crate::sim::disk) fn create(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.names.remove(path);
        inner.make(path, Body::Pages(PageFile::default())).map(drop)
    }

    /// Makes a table, durable with its name.
    pub(in crate::sim::disk) fn create_table(&self, path: &Path, table: Table) -> io::Result<()> {
        let mut inner = self.lock();
        let file = inner.make(path, Body::Table(Arc::new(table), false))?;
        inner.change()?;
        if let Some(Body::Table(_, synced)) = inner.files.get_mut(&file) {
            *synced = true;
        }
        inner.change()?;
        inner.sync_names();
        Ok(())
    }

    /// Writes behind the end of a file.
    pub(in crate::sim::disk) fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let file = *inner.names.get(path).ok_or_else(absent)?;
        let at = inner.pages(file)?.bytes().len();
        inner.write(file, at, bytes)
    }

    /// Syncs a file of bytes, at once.
    pub(in crate::sim::disk) fn sync_now(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        let file = *inner.names.get(path).ok_or_else(absent)?;
        inner.change()?;
        inner.pages(file)?.sync();
        Ok(())
    }

    /// Syncs a log file and the names, or begins to.
    pub(in crate::sim::disk) fn sync_log(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        let file = *inner.names.get(path).ok_or_else(absent)?;
        inner.sync(file, path)?;
        if !inner.runs {
            inner.change()?;
            inner.sync_names();
        }
        Ok(())
    }

    /// Gives a file another name.
    pub(in crate::sim::disk) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        let file = inner.names.remove(from).ok_or_else(absent)?;
        inner.names.insert(to.to_owned(), file);
        inner.journal.push_back(Change::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// Removes a file, if there is one.
    pub(in crate::sim::disk) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        inner.remove(path);
        Ok(())
    }

    /// The whole contents of a file of bytes, as a reader sees them.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        let file = *inner.names.get(path)?;
        inner.pages(file).ok().map(|pages| pages.bytes().to_vec())
    }

    /// The length of a file of bytes.
    #[must_use]
    pub fn len_of(&self, path: &Path) -> usize {
        let mut inner = self.lock();
        let file = inner.names.get(path).copied().unwrap_or(0);
        inner.pages(file).map_or(0, |pages| pages.bytes().len())
    }

    /// A table.
    pub(in crate::sim::disk) fn table(&self, path: &Path) -> Option<Arc<Table>> {
        let inner = self.lock();
        match inner.files.get(inner.names.get(path)?)? {
            Body::Table(table, _) => Some(Arc::clone(table)),
            Body::Pages(_) => None,
        }
    }

    /// The files, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }
}

impl Files for Drive {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.lock();
        let mut names: Vec<String> = inner
            .names
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok()?.iter().next()?.to_str())
            .map(str::to_owned)
            .collect();
        names.dedup();
        if names.is_empty() { Err(absent()) } else { Ok(names) }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        let file = *self.lock().names.get(path).ok_or_else(absent)?;
        Ok(Box::new(Handle { drive: self.clone(), path: path.to_owned(), file }))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        let known = self.lock().names.get(path).copied();
        let file = match known {
            Some(file) => file,
            None => self.lock().make(path, Body::Pages(PageFile::default()))?,
        };
        Ok(Box::new(Handle { drive: self.clone(), path: path.to_owned(), file }))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        inner.sync_names();
        Ok(())
    }
}

/// An open file of bytes.
#[derive(Debug)]
struct Handle {
    drive: Drive,
    path: PathBuf,
    file: u64,
}

impl StoreFile for Handle {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut inner = self.drive.lock();
        let found = inner.pages(self.file)?.bytes();
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(found.len());
        let len = bytes.len().min(found.len() - at);
        bytes[..len].copy_from_slice(&found[at..at + len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).expect("files are small");
        self.drive.lock().write(self.file, at, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.drive.lock();
        inner.change()?;
        inner.pages(self.file)?.set_len(usize::try_from(len).expect("files are small"));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.drive.lock().sync(self.file, &self.path)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.drive.lock().sync(self.file, &self.path)
    }
}
