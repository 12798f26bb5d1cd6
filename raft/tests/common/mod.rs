//! Groups of replicas in memory: a network that does what it is told, disks that lose what was not
//! synced, and an oracle that checks the safety properties as it watches.
//!
//! - `entries`: logs with their entries, disks, writes on their way.
//! - `cluster`: the group, its clocks, and the inputs of its replicas.
//! - `network`: what travels, what a replica has to say, and ways to drive a whole group.
//! - `support`: liveness from outside, as nodes would give it to each other.
//! - `oracle`, `rules`: what must never happen to logs, and to what is said, read and changed.
//!
//! Persistence is an event of its own. A write taken from a replica sits in `writing` until it is
//! completed or lost in a crash.

#![allow(dead_code, unused_imports, reason = "every test crate uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of tests, though not inside of one")]

mod cluster;
mod entries;
mod network;
mod oracle;
mod rules;
mod support;

pub(crate) use cluster::{Cluster, Node, ORIGIN, Sabotage, config, id};
pub(crate) use entries::{Disk, ENTRY_BYTES, Entries, Entry, Write};
pub(crate) use network::{Packet, message, position};

/// Switches on the planted bug that `KONTIKI_PLANTED` names by its number, if the core was built
/// to have any.
pub(crate) fn switch_planted() {
    let number = std::env::var("KONTIKI_PLANTED").ok().and_then(|number| number.parse().ok());
    kontiki_raft::planted::plant(number.and_then(kontiki_raft::planted::Bug::from_number));
}
