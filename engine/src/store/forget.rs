//! Forgetting which store a node had: an operator's word, for a node that was knowingly replaced.
//!
//! Whoever gives it vouches that nothing counts on what the node's former store had acknowledged. The store at hand is
//! opened as a node opens it (lock, recovery, audit), gets one batch more, and is closed cleanly.
//!
//! Deliberately absent: forgetting while a node runs on the store. The running node holds the lock, and its word.

use std::fmt;

use super::{LogBatch, LogStore as _, OpenError, OpenOptions, RocksLog, StoreError};

/// Why a node was not forgotten. The store is as it was.
#[derive(Debug)]
pub enum ForgetError {
    /// The store does not open; [`OpenError::Locked`] when a process has it open.
    Open(OpenError),
    /// The store knows nothing of this node.
    NoSuchPeer {
        /// The node.
        node: u64,
        /// The nodes that the store knows, ascending.
        known: Vec<u64>,
    },
    /// The store could not be written.
    Store(StoreError),
}

impl fmt::Display for ForgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::NoSuchPeer { node, known } if known.is_empty() => {
                write!(f, "no store is recorded for node {node}, nor for any other one")
            }
            Self::NoSuchPeer { node, known } => {
                let known: Vec<String> = known.iter().map(u64::to_string).collect();
                write!(f, "no store is recorded for node {node}, only for {}", known.join(", "))
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ForgetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::NoSuchPeer { .. } => None,
            Self::Store(error) => Some(error),
        }
    }
}

/// Forgets which store `node` had, in the store that `options` describes: the next store that the node comes with is
/// its own. Returns the one that was forgotten.
///
/// # Errors
/// [`ForgetError`]; then nothing is forgotten.
pub fn forget_peer(options: &OpenOptions, node: u64) -> Result<u128, ForgetError> {
    let opened = RocksLog::open(options).map_err(ForgetError::Open)?;
    let mut log = opened.log;
    let witness = log.witness_writer();
    log.for_each_part(&mut |_, _, _| Ok(())).map_err(ForgetError::Open)?;
    let found = opened.peers.iter().find(|(known, _)| *known == node);
    let forgotten = match found {
        Some(&(_, store_id)) => {
            let batch = LogBatch { peers: vec![(node, 0)], ..LogBatch::default() };
            log.write(&batch).map(|_| store_id).map_err(ForgetError::Store)
        }
        None => {
            let known = opened.peers.iter().map(|&(known, _)| known).collect();
            Err(ForgetError::NoSuchPeer { node, known })
        }
    };
    log.close(witness).map_err(ForgetError::Store)?;
    forgotten
}
