//! The parts that a node is put together from, for those who put them together in another way.
//!
//! `node.rs` gives each part a thread, a socket, a clock and RocksDB; the deterministic simulator gives them turns, byte
//! streams, a time of its own and a disk that can lose things. All that is decided is decided in here, so what the
//! simulator finds is true of a node.
//!
//! Deliberately absent: promises. What is in here changes with the engine's inside; embedders use [`Engine`] and
//! [`Store`], which have a feature of their own.
//!
#![cfg_attr(feature = "rocks", doc = "[`Engine`]: crate::Engine")]
#![cfg_attr(not(feature = "rocks"), doc = "[`Engine`]: crate")]
#![cfg_attr(feature = "rocks", doc = "[`Store`]: crate::Store")]
#![cfg_attr(not(feature = "rocks"), doc = "[`Store`]: crate")]

pub use crate::kv::writer::{StateWriter, StateWriterHandle, state_writer};
pub use crate::maintenance::Chore;
pub use crate::opening::{first_records, flush_policy, ranges_of, rebuild, supports};
pub use crate::router::{Inbox, InboxReceiver, Router};
pub use crate::store::state::{StateStore, StateView, StateVisitor, StateWrites};
pub use crate::worker::{FlushPolicy, Worker, WorkerParts};
pub use crate::writer::{Job, LogSlot, Placed, Writer};
