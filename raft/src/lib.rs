//! The consensus core of Kontiki: Raft without payload, I/O, clock or randomness of its own.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod error;
mod membership;
mod message;
mod raft;
mod status;
mod types;

pub use config::Config;
pub use error::{ConfigError, MembershipError, ProposeError, ReadError, StartError, TransferError};
pub use membership::{Membership, VOTERS_MAX};
pub use message::{
    AppendHeader, AppendOutcome, Extent, Message, MessageKind, Persist, Proposed, ReadId, ReadReady,
};
pub use raft::{Raft, Start};
pub use status::{PeerProgress, ProgressState, Role, Status};
pub use types::{HardState, Index, Position, ReplicaId, Span, Term, Time};
