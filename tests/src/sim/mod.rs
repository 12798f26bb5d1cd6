//! The deterministic simulator: the whole engine, from one seed, on one thread.
//!
//! What runs is the engine's own: shards and the consensus core, the encoders, frames and connections, the event loop's
//! life of connections, the log index, recovery and compaction, the log writer's merging, the key-value machine. What is
//! replaced is what does: sockets (`fabric`), disks (`store`), clocks (`clock`), and threads, which become turns (`world`).
//!
//! | file | what |
//! |---|---|
//! | `random` | the dice |
//! | `plan` | what a seed stands for: sizes, limits, rates, faults |
//! | `fabric` | streams of bytes between nodes |
//! | `store` | the state database of a node |
//! | `clock` | what a node takes for the time |
//! | `node` | the engine's parts, put together for turns |
//! | `load` | clients |
//! | `world` | the queue of events, the faults, the healing |
//! | `ledger` | what must be true of all replicas together |
//! | `checker` | whether what clients saw is linearizable |
//! | `trace`, `marks` | what happened; which situations the seeds came through |
//!
//! Invariant: a plan decides everything. The same plan twice gives the same trace.
//! Deliberately absent: membership change, split and snapshots, which the engine does not have yet.

pub mod checker;
pub mod clock;
pub mod command;
pub mod copies;
pub mod fabric;
pub mod ledger;
pub mod load;
pub mod marks;
pub mod node;
pub mod plan;
pub mod planted;
pub mod random;
pub mod run;
pub mod shrink;
pub mod store;
pub mod trace;
pub mod world;
