//! What can end the benchmark, and the exit code each of it means.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The exit code when everything that was acknowledged is there.
pub(crate) const EXIT_OK: u8 = 0;
/// The exit code when an acknowledged write is missing or replicas differ.
pub(crate) const EXIT_VERIFY: u8 = 1;
/// The exit code for flags that make no sense.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The exit code when the run could not be set up or could not go on.
pub(crate) const EXIT_RUN: u8 = 3;

/// Why there are no figures, or why they must not be trusted.
#[derive(Debug)]
pub(crate) enum BenchError {
    /// The flags do not fit together.
    Usage(String),
    /// A file or a socket.
    Io {
        /// What was attempted, with the path or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node could not be opened.
    Open(kontiki::error::StartError),
    /// A node did not stop cleanly.
    Shutdown(kontiki::engine::ShutdownError),
    /// A database of the micro benchmark.
    Database(rocksdb::Error),
    /// The nodes did not do in time what they should.
    TimedOut {
        /// What was waited for, with the state of affairs.
        what: String,
    },
    /// A node ended while it was being measured.
    NodeEnded {
        /// Which one.
        node: u64,
        /// What it said.
        why: String,
    },
    /// A node answered something that does not belong to its protocol.
    Protocol {
        /// The endpoint.
        endpoint: String,
        /// What was wrong with the answer.
        why: String,
    },
    /// A report could not be written.
    Report {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
}

impl BenchError {
    /// An I/O error, said with what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The process's exit code.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            _ => EXIT_RUN,
        }
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) => write!(f, "{why} (see --help)"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Open(e) => write!(f, "a node could not be opened: {e}"),
            Self::Shutdown(e) => write!(f, "a node did not stop cleanly: {e}"),
            Self::Database(e) => write!(f, "micro benchmark: {e}"),
            Self::TimedOut { what } => write!(f, "timed out: {what}"),
            Self::NodeEnded { node, why } => write!(f, "node {node} ended: {why}"),
            Self::Protocol { endpoint, why } => write!(f, "{endpoint}: {why}"),
            Self::Report { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<kontiki::error::StartError> for BenchError {
    fn from(e: kontiki::error::StartError) -> Self {
        Self::Open(e)
    }
}

impl From<kontiki::engine::ShutdownError> for BenchError {
    fn from(e: kontiki::engine::ShutdownError) -> Self {
        Self::Shutdown(e)
    }
}

impl From<rocksdb::Error> for BenchError {
    fn from(e: rocksdb::Error) -> Self {
        Self::Database(e)
    }
}
