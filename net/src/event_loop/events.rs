//! What a transport tells its owner, and what it counts.

use std::net::SocketAddr;

use super::link::Link;
use crate::{ConnError, DownReason};

/// Something that happened to a connection, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetEvent {
    /// The node is connected. Its frames and its outbox are there from this event on.
    PeerUp {
        /// The node.
        node: u64,
        /// Its data directory: another one than before is a node that lost its memory.
        store_id: u128,
        /// Its boot epoch: a higher one than before is a node that started again.
        epoch: u64,
    },
    /// The node's connection ended; what was under way is lost. Never follows slowness alone, but
    /// a queue that did not move for the configured time, or grew to the hard limit.
    PeerDown {
        /// The node.
        node: u64,
        /// Why.
        reason: DownReason,
    },
    /// The node's queue had been more than half full and is so no longer.
    Writable {
        /// The node.
        node: u64,
    },
    /// A connection did not come up. Not every one is told when there are very many.
    Refused {
        /// The node we called, or the one that introduced itself before it failed.
        node: Option<u64>,
        /// The other end.
        address: SocketAddr,
        /// Why.
        error: ConnError,
    },
}

/// Counters since the transport began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Messages in frames handed out.
    pub messages_in: u64,
    /// Messages pushed to connections that ended, or still have them.
    pub messages_out: u64,
    /// Message frames handed out.
    pub frames_in: u64,
    /// Frames pushed, greetings included.
    pub frames_out: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Reads that gave bytes.
    pub reads: u64,
    /// Writes that took bytes.
    pub writes: u64,
    /// Polls of the system.
    pub polls: u64,
    /// Connections that came up.
    pub connects: u64,
    /// Connections that were up and ended.
    pub disconnects: u64,
    /// Connections that did not come up.
    pub refused: u64,
}

impl NetStats {
    /// Adds what a link counted by itself.
    pub(super) fn add(&mut self, link: &Link) {
        let queue = link.conn.queue();
        self.messages_out += queue.messages();
        self.frames_out += queue.frames();
        self.bytes_in += link.traffic.bytes_in;
        self.bytes_out += link.traffic.bytes_out;
        self.reads += link.traffic.reads;
        self.writes += link.traffic.writes;
    }
}
