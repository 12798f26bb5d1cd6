//! The consensus core of Kontiki: Raft without payload, I/O, clock or randomness of its own.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod candidate;
mod config;
mod durability;
mod error;
mod follower;
mod invariants;
mod leader;
mod log;
mod membership;
mod message;
mod progress;
mod quorum;
mod raft;
mod reads;
mod rng;
mod spill;
mod status;
mod types;
mod window;

pub use config::Config;
pub use error::{ConfigError, MembershipError, ProposeError, ReadError, StartError, TransferError};
pub use membership::{Membership, VOTERS_MAX};
pub use message::{
    AppendHeader, AppendOutcome, Extent, Message, MessageKind, Persist, Proposed, ReadId, ReadReady,
};
pub use raft::{Raft, Start};
pub use status::{PeerProgress, ProgressState, Role, Status};
pub use types::{HardState, Index, Position, ReplicaId, Span, Term, Time};
