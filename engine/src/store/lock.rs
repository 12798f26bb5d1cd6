//! One process per store: an advisory lock on `store.lock`, which also says who holds it.
//!
//! The system frees the lock when the process ends, however it ends; the file stays and means nothing by itself.
//! Invariant: what the file names is the holder of the lock, except for the moment between taking and writing.
//! Deliberately absent: breaking a lock. If its holder is gone, so is the lock.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use super::OpenError;

/// The lock's file, in the store's directory.
pub const LOCK_FILE: &str = "store.lock";

/// Who holds a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The process; 0 when the file does not say.
    pub pid: u32,
    /// Its program.
    pub program: String,
    /// When it took the lock.
    pub since: Option<SystemTime>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("another process");
        }
        write!(f, "process {} ({})", self.pid, self.program)?;
        match self.since.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            Some(since) => write!(f, " since {} (Unix time)", since.as_secs()),
            None => Ok(()),
        }
    }
}

/// The held lock of a store; dropping it gives the store free.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock of the store in `dir`, which must exist.
    ///
    /// # Errors
    /// [`OpenError::Locked`] names the holder.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io(&path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::Locked { dir: dir.to_owned(), holder: holder(dir) });
            }
            Err(errno) => return Err(OpenError::Io { path, error: io::Error::from(errno) }),
        }
        let program = std::env::current_exe()
            .ok()
            .and_then(|exe| exe.file_name().map(|name| name.to_string_lossy().into_owned()))
            .unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.write_all(format!("{} {program}\n", std::process::id()).as_bytes()))
            .map_err(OpenError::io(&path))?;
        Ok(Self { _file: file })
    }
}

/// Who has the store in `dir` open now, if anyone has. Takes the lock for a moment to find out, shared, so that
/// two who ask do not take each other for the holder.
///
/// # Errors
/// When there is a lock file that cannot be opened.
pub fn held_by(dir: &Path) -> Result<Option<Holder>, OpenError> {
    let path = dir.join(LOCK_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::Io { path, error }),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(holder(dir))),
        Err(errno) => Err(OpenError::Io { path, error: io::Error::from(errno) }),
    }
}

/// What the lock file of the store in `dir` says; it may name a process that is gone.
#[must_use]
pub fn holder(dir: &Path) -> Holder {
    let path = dir.join(LOCK_FILE);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Holder::default();
    };
    let text = text.trim_end();
    let (pid, program) = text.split_once(' ').unwrap_or((text, ""));
    Holder {
        pid: pid.parse().unwrap_or(0),
        program: program.to_owned(),
        since: std::fs::metadata(&path).and_then(|meta| meta.modified()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g18_the_second_opener_learns_the_holders_name() {
        let dir = tempfile::tempdir().unwrap();
        let held = StoreLock::take(dir.path()).unwrap();
        match StoreLock::take(dir.path()) {
            Err(OpenError::Locked { holder, .. }) => {
                assert_eq!(holder.pid, std::process::id());
                assert!(!holder.program.is_empty());
                assert!(holder.since.is_some());
                assert!(holder.to_string().contains(&holder.pid.to_string()));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(held_by(dir.path()).unwrap().unwrap().pid, std::process::id());
        drop(held);
        assert_eq!(held_by(dir.path()).unwrap(), None);
        StoreLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_of_someone_gone_does_not_lock() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "garbage", "99999999999 x", "\u{fffd} "] {
            std::fs::write(dir.path().join(LOCK_FILE), text).unwrap();
            assert_eq!(holder(dir.path()).pid, 0, "{text}");
            drop(StoreLock::take(dir.path()).unwrap());
        }
    }
}
