//! What a group's committed entries are applied to: the trait for embedders, and two small machines.
//!
//! A machine belongs to one shard and is called by that shard's worker only, so it needs no locks of its own.
//! `apply` runs on the worker's thread and should be memory work: a machine that also writes to disk hands that
//! to a thread of its own and says `may_apply() == false` while too much of it is pending. The durability of
//! applied entries is the log's until a flush says otherwise (see [`StateMachine::flush`]).
//!
//! Deliberately absent: clocks, sockets, and any way to refuse an entry. What is committed is applied on every
//! replica alike; an outcome such as "key too long" is an answer, not an error.

use std::path::PathBuf;
use std::sync::Arc;

use kontiki_net::Block;
use kontiki_raft::Index;

mod answers;
pub(crate) mod fold;
pub(crate) mod groups;
pub(crate) mod image;
mod memory;
mod null;
#[cfg(test)]
pub(crate) mod testing;

pub use answers::Answers;
pub use memory::{MemoryMachine, MemoryProbe, MemoryStats, payload_hash};
pub use null::NullMachine;

/// The work that makes applied entries durable; run on the maintenance thread, off the worker's path.
pub type FlushJob = Box<dyn FnOnce() -> Result<(), MachineError> + Send>;

/// What the committed entries of all groups of one shard are applied to.
pub trait StateMachine: Send + 'static {
    /// The index up to which `group` was durably applied when the machine was opened; the engine asks before it
    /// applies anything, and applies from the next one on. [`Index::ZERO`] for a group it has never seen.
    fn applied(&self, group: u64) -> Index;

    /// Applies one committed block: blocks of a group come in index order, each exactly once per opening.
    ///
    /// The block has been checked (structure and checksum). Its kind is `Command`; no-ops and membership
    /// changes come through [`StateMachine::skip`]. Answers are optional: see [`Answers`].
    fn apply(&mut self, block: &Block<'_>, answers: &mut Answers);

    /// Says that `group` is applied up to `index` by an entry that carries no command.
    fn skip(&mut self, group: u64, index: Index);

    /// False while the machine cannot take more (for instance: too many sealed overlays wait for the disk).
    /// It then calls [`MachineContext::wake`] when it can again.
    fn may_apply(&self) -> bool {
        true
    }

    /// Called after the last `apply` of a round.
    fn end_round(&mut self) {}

    /// Starts to make everything applied so far durable. The returned job runs on the maintenance thread;
    /// when it returns `Ok`, all that was applied before this call is durable, and the log may be compacted.
    ///
    /// # Errors
    /// A machine that cannot flush; the engine treats it as it treats a failed sync: it ends.
    fn flush(&mut self) -> Result<FlushJob, MachineError>;

    /// A digest of the state of `group`, equal on every replica at the same applied index.
    fn digest(&self, group: u64) -> u64;
}

/// What a machine gets to know when it is opened.
#[derive(Clone, Debug)]
pub struct MachineContext {
    /// Which shard it serves, and of how many.
    pub shard: usize,
    /// The number of shards (workers) of this store.
    pub shards: usize,
    /// The store's id, for state kept elsewhere to be recognised by.
    pub store_id: u128,
    /// A directory of this machine's own; it exists. The same one at each opening.
    pub dir: PathBuf,
    /// The groups of this shard, ascending.
    pub groups: Arc<[u64]>,
    /// Wakes the worker, so that it looks at `may_apply` again.
    pub wake: Wake,
}

/// Wakes a worker from any thread.
#[derive(Clone)]
pub struct Wake(Arc<dyn Fn() + Send + Sync>);

impl Wake {
    /// A wake that calls `f`.
    pub fn new(f: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Wakes the worker; cheap when it is awake.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

/// Why a machine could not be opened or flushed.
#[derive(Debug)]
pub enum MachineError {
    /// A file of the machine could not be read or written.
    Io(std::io::Error),
    /// Its database refused; the text names file and offset where known.
    Database(String),
    /// What was read back is not what was written.
    Corrupt {
        /// The file or key.
        what: String,
        /// What was wrong with it.
        why: String,
    },
}

impl std::fmt::Display for MachineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(e) => write!(f, "state machine: {e}"),
            Self::Database(e) => write!(f, "state database: {e}"),
            Self::Corrupt { what, why } => write!(f, "state machine: {what} is damaged: {why}"),
        }
    }
}

impl std::error::Error for MachineError {}

impl From<std::io::Error> for MachineError {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e)
    }
}
