//! A directory for the stores of one run: new, on a real disk when there is one, and removed at the end.

use std::path::{Path, PathBuf};

use crate::environment;
use crate::error::BenchError;

/// A directory that exists as long as this does.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// Removes it; absent when it is to be kept.
    _guard: Option<tempfile::TempDir>,
}

impl Scratch {
    /// A new directory in `parent`, else in the system's temporary directory, else, when that one is kept in
    /// memory (where a sync costs nothing and shows nothing), in the current one.
    pub(crate) fn new(parent: Option<&Path>, keep: bool) -> Result<Self, BenchError> {
        let parent = match parent {
            Some(parent) => parent.to_owned(),
            None => Self::usual_parent(),
        };
        let failed = || BenchError::io(format!("a directory in {}", parent.display()));
        std::fs::create_dir_all(&parent).map_err(failed())?;
        let made = tempfile::Builder::new().prefix("raft-bench-").tempdir_in(&parent);
        let made = made.map_err(failed())?;
        if keep {
            return Ok(Self { path: made.keep(), _guard: None });
        }
        Ok(Self { path: made.path().to_owned(), _guard: Some(made) })
    }

    fn usual_parent() -> PathBuf {
        let temporary = std::env::temp_dir();
        if environment::filesystem(&temporary) == "tmpfs" { PathBuf::from(".") } else { temporary }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_owner_unless_it_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(Some(parent.path()), false).unwrap();
        let path = scratch.path().to_owned();
        assert!(path.is_dir());
        drop(scratch);
        assert!(!path.exists());
        let scratch = Scratch::new(Some(parent.path()), true).unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(path.is_dir());
    }
}
