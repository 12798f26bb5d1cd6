//! Real nodes in real processes: start, watch, kill, load and audit them.
//!
//! | file | what |
//! |---|---|
//! | `binary` | where `kontiki-node` is, and how it gets there |
//! | `node` | one process: its admin listener, its signals, its end |
//! | `cluster` | three nodes that know each other; what all of them say together |
//! | `load` | clients that write without pause and keep a ledger of every answer |
//! | `audit` | the ledger against what the cluster holds; the replicas against each other |
//! | `image` | a store without its process: what a crash leaves on the disk |
//! | `random` | a small seeded generator, so that a failed run can be run again |
//!
//! Invariant: nothing here waits for time; it asks again until a deadline, and says what it waited for.
//! Deliberately absent: anything that knows the inside of a node.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod audit;
mod binary;
mod cluster;
mod image;
mod load;
mod node;
mod random;

pub use audit::{audit, replicas_agree};
pub use binary::node_binary;
pub use cluster::{Cluster, GROUP_TIMING};
pub use image::{Acknowledged, Image, flip};
pub use load::{Counts, Fate, Ledger, Load, value_of};
pub use node::{Node, node_ends, within};
pub use random::Random;
