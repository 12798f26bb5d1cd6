//! What a transport is told when it starts, checked once.
//!
//! Deliberately absent: TLS. Until it is there, a listener off loopback is refused unless
//! [`NetConfig::insecure`] says that the network is trusted.

use std::net::{SocketAddr, TcpListener};

use crate::NetError;
use crate::conn::Identity;
use crate::outbox::FRAME_BYTES_TARGET;
use crate::wire::{FRAME_BYTES_MAX, NUMBER_MAX};

/// Everything a [`crate::Net`] needs to know. [`NetConfig::new`] fills in the defaults.
#[derive(Debug)]
pub struct NetConfig {
    /// The cluster; frames of another one are refused.
    pub cluster_id: u128,
    /// This node; not zero.
    pub node_id: u64,
    /// This node's data directory.
    pub store_id: u128,
    /// This node's boot epoch: higher after every start; not zero.
    pub epoch: u64,
    /// The worker that owns the transport.
    pub lane: u16,
    /// The number of workers; equal on all nodes.
    pub lane_count: u16,
    /// Where calls come in, already bound; one lane of a node has it and hands over to the others.
    pub listen: Option<TcpListener>,
    /// The other nodes. An entry for this node is ignored.
    pub peers: Vec<(u64, SocketAddr)>,
    /// The soft limit of one peer's write queue ([`crate::Outbox::window_left`]). The connection
    /// ends at [`WRITE_QUEUE_HARD_FACTOR`] times as much.
    pub write_queue_bytes_max: usize,
    /// The most bytes read from one connection before the next one has its turn.
    pub read_budget_bytes: usize,
    /// The size of the socket's buffers; `None` leaves them to the kernel, which lets them grow
    /// further than a fixed size may be set.
    pub socket_buffer_bytes: Option<usize>,
    /// For the jitter of calls.
    pub seed: u64,
    /// How long a call and its handshake may take.
    pub handshake_timeout_us: u64,
    /// How long a peer may take no byte of a queue that is not empty.
    pub write_stall_us: u64,
    /// The shortest delay before a call is repeated.
    pub backoff_min_us: u64,
    /// The longest delay before a call is repeated.
    pub backoff_max_us: u64,
    /// Listen off loopback without TLS.
    pub insecure: bool,
}

/// A connection whose write queue passes the soft limit by this factor ends: memory is bounded even
/// for the messages that are always taken.
pub const WRITE_QUEUE_HARD_FACTOR: usize = 4;

impl NetConfig {
    /// The first epoch, one lane, no listener, no peers, and the default limits.
    #[must_use]
    pub fn new(cluster_id: u128, node_id: u64, store_id: u128) -> Self {
        Self {
            cluster_id,
            node_id,
            store_id,
            epoch: 1,
            lane: 0,
            lane_count: 1,
            listen: None,
            peers: Vec::new(),
            write_queue_bytes_max: 32 << 20,
            read_budget_bytes: 1 << 20,
            socket_buffer_bytes: None,
            seed: node_id,
            handshake_timeout_us: 5_000_000,
            write_stall_us: 10_000_000,
            backoff_min_us: 10_000,
            backoff_max_us: 1_000_000,
            insecure: false,
        }
    }

    /// Checks every limit.
    ///
    /// # Errors
    /// [`NetError::Insecure`] for a listener off loopback, [`NetError::Config`] for a value that
    /// cannot work.
    pub fn validate(&self) -> Result<(), NetError> {
        let refuse = |field, value| Err(NetError::Config { field, value });
        if self.node_id == 0 {
            return refuse("node_id", 0);
        }
        if self.epoch == 0 || self.epoch > NUMBER_MAX {
            return refuse("epoch", self.epoch);
        }
        if self.lane_count == 0 || self.lane >= self.lane_count {
            return refuse("lane", u64::from(self.lane));
        }
        if self.write_queue_bytes_max < 2 * FRAME_BYTES_MAX {
            return refuse("write_queue_bytes_max", self.write_queue_bytes_max as u64);
        }
        if self.read_budget_bytes < FRAME_BYTES_TARGET {
            return refuse("read_budget_bytes", self.read_budget_bytes as u64);
        }
        if self.handshake_timeout_us == 0 {
            return refuse("handshake_timeout_us", 0);
        }
        if self.write_stall_us == 0 {
            return refuse("write_stall_us", 0);
        }
        if self.backoff_min_us == 0 || self.backoff_min_us > self.backoff_max_us {
            return refuse("backoff_min_us", self.backoff_min_us);
        }
        for (at, (node, _)) in self.peers.iter().enumerate() {
            if *node == 0 || self.peers[..at].iter().any(|(other, _)| other == node) {
                return refuse("peers", *node);
            }
        }
        if let Some(listen) = &self.listen {
            let address = listen.local_addr()?;
            if !address.ip().is_loopback() && !self.insecure {
                return Err(NetError::Insecure { address });
            }
        }
        Ok(())
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity {
            cluster_id: self.cluster_id,
            node_id: self.node_id,
            store_id: self.store_id,
            epoch: self.epoch,
            lane_count: self.lane_count,
        }
    }
}
