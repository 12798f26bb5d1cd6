//! Kontiki: a multi-Raft storage engine.
#![cfg_attr(
    not(feature = "rocks"),
    allow(dead_code, reason = "without the stores nothing drives the shards")
)]

pub mod clock;
pub mod config;
#[cfg(feature = "rocks")]
pub mod engine;
pub mod error;
pub mod keys;
pub mod kv;
#[cfg(feature = "rocks")]
pub mod kvstore;
pub mod log;
pub mod machine;
#[cfg(feature = "rocks")]
mod maintenance;
pub mod metrics;
#[cfg(feature = "rocks")]
mod node;
pub mod range;
#[cfg(feature = "rocks")]
mod router;
pub mod shard;
pub mod status;
pub mod store;
mod submission;
#[cfg(feature = "rocks")]
pub mod testing;
mod ticket;
#[cfg(feature = "rocks")]
mod worker;
#[cfg(feature = "rocks")]
mod writer;

pub use config::{Bootstrap, Config, Durability, LogWriter, OnFatal};
#[cfg(feature = "rocks")]
pub use engine::Engine;
#[cfg(feature = "rocks")]
pub use kvstore::Store;
pub use submission::{RunKind, Submission};
pub use ticket::{Applied, Completion, CompletionQueue, Ticket};
