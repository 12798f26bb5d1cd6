//! Why a command did not do what it was asked: one line and an exit code.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use kontiki::store::OpenError;

/// The exit codes; documented in `--help` and in docs/raftctl.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    DamageFound = 1,
    Usage = 2,
    Unreachable = 3,
    Missing = 4,
    Foreign = 5,
    NotFound = 6,
    Damaged = 7,
    Refused = 8,
    Io = 9,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    text: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    pub(super) fn no_group(group: u64) -> Self {
        Self::new(Exit::NotFound, format!("there is no group {group}"))
    }

    /// What reading the store in `dir` came to.
    pub(super) fn of_store(dir: &Path, error: &OpenError) -> Self {
        let exit = match error {
            error if error.is_damage() => Exit::Damaged,
            OpenError::Missing { .. } => Exit::Missing,
            OpenError::NotAStore { .. } | OpenError::Foreign { .. } | OpenError::TooNew { .. } => {
                Exit::Foreign
            }
            OpenError::Database(_) => Exit::Damaged,
            _ => Exit::Io,
        };
        let text = error.to_string().replace('\n', " ");
        let named = dir.display().to_string();
        if text.contains(&named) {
            return Self::new(exit, text);
        }
        Self::new(exit, format!("{named}: {text}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
