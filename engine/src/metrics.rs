//! Counters of one store: plain atomics, written by the threads that do the work, read by anyone.
//!
//! All count since the store was opened. They are written once per round, so that nobody contends for
//! them; readers see each figure whole, but not all figures of one moment.

use std::sync::atomic::{AtomicU64, Ordering};

/// One monotone counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the value, for figures that are counted elsewhere or that go up and down.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Moves the value by the difference between two readings, for figures that several threads share.
    pub fn moved(&self, before: u64, now: u64) {
        self.0.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident: $kind:literal, $help:literal;)*) => {
        /// The counters of one store.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: Counter,)*
        }

        impl Metrics {
            /// Every figure: name, kind (`counter` or `gauge`), meaning, value.
            #[must_use]
            pub fn figures(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
                vec![$((stringify!($name), $kind, $help, self.$name.get()),)*]
            }
        }
    };
}

metrics! {
    rounds: "counter", "Rounds that handed something to the log writer.";
    syncs: "counter", "Synced writes of the log.";
    log_bytes: "counter", "Bytes written to the log's WAL.";
    log_retained_bytes: "gauge", "Bytes of blocks that the log still needs.";
    blocks_sealed: "counter", "Blocks made by leaders on this store.";
    entries_proposed: "counter", "Entries accepted from clients.";
    payload_bytes: "counter", "Payload bytes accepted from clients.";
    blocks_received: "counter", "Blocks taken from leaders on other nodes.";
    blocks_applied: "counter", "Blocks applied to the state machine.";
    entries_applied: "counter", "Entries applied to the state machine.";
    reads: "counter", "Linearizable reads permitted.";
    lease_reads: "counter", "Linearizable reads permitted by a lease, without asking anybody.";
    support_lapses: "counter", "Times that this node let another one's support lapse, over its workers.";
    replicas_awake: "gauge", "Replicas that have something under way, or had a moment ago.";
    replicas_asleep: "gauge", "Replicas in which nothing is under way.";
    campaigns_in_flight: "gauge", "Campaigns under way.";
    campaigns_in_flight_most: "gauge", "The most campaigns that were ever under way at a time, over the workers.";
    requests_refused: "counter", "Requests answered with an error.";
    messages_in: "counter", "Raft messages received.";
    messages_out: "counter", "Raft messages sent.";
    frames_in: "counter", "Frames received.";
    frames_out: "counter", "Frames sent.";
    net_bytes_in: "counter", "Bytes read from peers.";
    net_bytes_out: "counter", "Bytes written to peers.";
    net_reads: "counter", "Read calls on peer sockets.";
    net_writes: "counter", "Write calls on peer sockets.";
    connections_refused: "counter", "Connections that could not be made or were refused in their handshake.";
    disconnects: "counter", "Connections to peers that ended, for whatever reason.";
    log_loads: "counter", "Rounds read back from the log because they were no longer in memory.";
    cache_bytes: "gauge", "Bytes of recent rounds kept in memory.";
    flush_cycles: "counter", "Flush cycles of the state machine.";
    compactions: "counter", "Groups compacted.";
    inbox_bytes: "gauge", "Bytes of requests that wait in the inboxes.";
    elections: "counter", "Elections that a replica here has won.";
}
