//! What can go wrong for a caller: one enum per question, each variant something the caller can act on.
//!
//! Client errors carry their outcome: whether the write is certainly not applied, or may be.
//! What goes wrong at opening is a [`StartError`]; what ends a running engine is a [`Fatal`].

use std::fmt;

use crate::machine::MachineError;
use crate::range::RangeError;
use crate::shard::RecoveryError;
use crate::store::{OpenError, StoreError};

/// Whether a request that failed left its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not applied and never will be: trying again is safe.
    NotApplied,
    /// It was applied.
    Applied,
    /// It may be applied already, later, or never: trying again may apply it twice.
    Unknown,
}

/// Why a proposal or a read was not answered with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestError {
    /// This node does not lead the group; `leader` is the node that does, as far as is known here.
    NotLeader {
        /// The node to try.
        leader: Option<u64>,
    },
    /// This store has no replica of the group.
    UnknownGroup,
    /// A named limit of this store is reached; try again after a pause of a few milliseconds.
    Busy,
    /// The group's leadership is being handed over; try the target in a moment.
    Transferring,
    /// Leadership was lost while the request was under way.
    LeaderLost,
    /// The engine stopped while the request was under way.
    Stopped,
}

impl RequestError {
    /// What the error says of a *write*.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NotLeader { .. } | Self::UnknownGroup | Self::Busy | Self::Transferring => {
                Outcome::NotApplied
            }
            Self::LeaderLost | Self::Stopped => Outcome::Unknown,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(node) } => write!(f, "not the leader; node {node} is"),
            Self::NotLeader { leader: None } => f.write_str("not the leader; no leader is known"),
            Self::UnknownGroup => f.write_str("no replica of this group on this store"),
            Self::Busy => f.write_str("busy: a limit of this store is reached, try again"),
            Self::Transferring => f.write_str("the group's leadership is being handed over"),
            Self::LeaderLost => f.write_str("leadership was lost; the outcome is unknown"),
            Self::Stopped => f.write_str("the engine stopped; the outcome is unknown"),
        }
    }
}

impl std::error::Error for RequestError {}

/// Why a request was refused at the door; nothing of it was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The payload is larger than an entry may be.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        max: usize,
    },
    /// The submission holds more than one submission may.
    Full,
    /// The shard's inbox is at its bound; try again after a pause of a few milliseconds.
    Busy,
    /// The engine has stopped.
    Stopped,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, max } => {
                write!(f, "an entry of {bytes} bytes is over the limit of {max}")
            }
            Self::Full => f.write_str("the submission is full; submit it and start another"),
            Self::Busy => f.write_str("busy: the inbox of the shard is full, try again"),
            Self::Stopped => f.write_str("the engine has stopped"),
        }
    }
}

impl std::error::Error for SubmitError {}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with its value.
    pub why: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config: {}: {}", self.field, self.why)
    }
}

impl std::error::Error for ConfigError {}

/// What ended an engine: after it, the store accepts nothing more.
#[derive(Debug)]
pub enum Fatal {
    /// The log could not be written or synced.
    Log(StoreError),
    /// A round that the log must still hold is not there.
    LogGap {
        /// Its batch.
        number: u64,
        /// Its part.
        part: u16,
    },
    /// A block that was read back is not what was written.
    LogBlock(kontiki_net::DecodeError),
    /// The state machine failed.
    Machine(MachineError),
    /// The event loop's own system calls failed.
    Net(std::io::Error),
    /// A thread that others depend on is no longer there.
    Gone {
        /// What it was.
        thread: &'static str,
    },
    /// A thread panicked: an assertion of ours did not hold.
    Panicked {
        /// The thread's name.
        thread: String,
    },
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(e) => write!(f, "the log failed: {e}"),
            Self::LogGap { number, part } => {
                write!(f, "part {part} of batch {number} is missing from the log")
            }
            Self::LogBlock(e) => write!(f, "a block read back from the log is damaged: {e}"),
            Self::Machine(e) => write!(f, "the state machine failed: {e}"),
            Self::Net(e) => write!(f, "the event loop failed: {e}"),
            Self::Gone { thread } => write!(f, "the {thread} thread is gone"),
            Self::Panicked { thread } => write!(f, "thread {thread} panicked"),
        }
    }
}

impl std::error::Error for Fatal {}

/// Why a node did not start. Nothing was changed, but for a store that may have been formatted.
#[derive(Debug)]
pub enum StartError {
    /// The configuration fails its check.
    Config(ConfigError),
    /// The store does not open.
    Store(OpenError),
    /// The log does not add up to groups.
    Recovery(RecoveryError),
    /// The key ranges leave a gap or overlap.
    Ranges(RangeError),
    /// The state machine does not open.
    Machine(MachineError),
    /// The address cannot be listened on.
    Listen(std::io::Error),
    /// The transport refuses its configuration.
    Net(kontiki_net::NetError),
    /// A thread cannot be started.
    Thread(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(e) => write!(f, "{e}"),
            Self::Store(e) => write!(f, "{e}"),
            Self::Recovery(e) => write!(f, "recovery: {e}"),
            Self::Ranges(e) => write!(f, "ranges: {e}"),
            Self::Machine(e) => write!(f, "{e}"),
            Self::Listen(e) => write!(f, "cannot listen: {e}"),
            Self::Net(e) => write!(f, "transport: {e}"),
            Self::Thread(e) => write!(f, "cannot start a thread: {e}"),
        }
    }
}

impl std::error::Error for StartError {}
