//! One connection without its socket: bytes in, frames out, a bounded write queue.
//!
//! A connection begins with a handshake. The side that called sends its [`Hello`] at once; the
//! other checks it and answers with its own, or with a [`Refuse`] that says why not. Whoever finds
//! fault says so before it closes, so both sides can log the reason.
//!
//! ```text
//! caller                          callee
//!   Hello{node 1, to 2, lane 0} ->    checks magic, versions, cluster, nodes, lanes
//!                               <- Hello{node 2, to 1, lane 0}   or   Refuse{reason}
//!   Messages ...                <-> Messages ...
//! ```
//!
//! What always holds: before the handshake no frame longer than a greeting makes the buffer grow,
//! and no message frame comes out; after it only message frames (and a late refusal) are accepted.
//!
//! Deliberately absent: sockets, clocks, and any decision about which peer is expected where
//! (`Expect` is handed in).

use zerocopy::FromBytes;
use zerocopy::little_endian::{U16, U32, U64, U128};

use crate::buffer::ReadBuffer;
use crate::codec::Frame;
use crate::outbox::Outbox;
use crate::planted;
use crate::wire::{
    FRAME_BYTES_MAX, FrameKind, GREETING_BYTES_MAX, Hello, MAGIC, NUMBER_MAX, Refuse, VERSION_MAX,
    VERSION_MIN, checksum,
};
use crate::{ConnError, DecodeError, RefuseReason};

/// Who we are, as told to every peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u128,
    /// This node.
    pub node_id: u64,
    /// This node's data directory.
    pub store_id: u128,
    /// This node's boot epoch: higher after every start, never zero.
    pub epoch: u64,
    /// The number of lanes of every node.
    pub lane_count: u16,
}

/// What the other side said of itself, once it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    /// The peer.
    pub node: u64,
    /// Its data directory.
    pub store_id: u128,
    /// Its boot epoch.
    pub epoch: u64,
    /// The lane that the connection belongs to.
    pub lane: u16,
    /// The protocol version both sides speak.
    pub version: u16,
}

/// Which side of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We called this node, for this lane.
    Caller {
        /// The node we asked for.
        node: u64,
        /// Our lane.
        lane: u16,
    },
    /// Somebody called us.
    Callee,
}

/// One connection, without its socket.
#[derive(Debug)]
pub struct Conn {
    identity: Identity,
    side: Side,
    input: ReadBuffer,
    outbox: Outbox,
    peer: Option<Introduction>,
    greeted: bool,
}

impl Conn {
    /// A new connection; a caller's greeting is queued at once.
    #[must_use]
    pub fn new(identity: Identity, side: Side, write_queue_bytes_max: usize) -> Self {
        let mut conn = Self {
            identity,
            side,
            input: ReadBuffer::new(),
            outbox: Outbox::new(write_queue_bytes_max),
            peer: None,
            greeted: false,
        };
        if let Side::Caller { node, lane } = side {
            conn.greet(node, lane);
        }
        conn
    }

    /// Room for what the socket has. Ask for frames first: what is complete blocks the room.
    pub fn read_space(&mut self) -> &mut [u8] {
        self.input.space()
    }

    /// Counts `n` bytes that were read into [`Self::read_space`].
    pub fn filled(&mut self, n: usize) {
        self.input.filled(n);
    }

    /// Continues the handshake with what was read.
    ///
    /// `is_expected` says whether a node is one of our peers. `Some` once the peer's greeting is
    /// there and in order; a callee then answers with [`Self::answer`].
    ///
    /// # Errors
    /// [`ConnError`] says what is wrong; [`Self::refuse`] tells it to the other side.
    pub fn handshake(
        &mut self,
        is_expected: impl FnOnce(u64) -> bool,
    ) -> Result<Option<Introduction>, ConnError> {
        assert!(self.peer.is_none(), "the handshake is over");
        let Some(frame) = self.input.next_frame(GREETING_BYTES_MAX)? else {
            return Ok(None);
        };
        let hello = match frame.kind() {
            FrameKind::Hello => Hello::read_from_bytes(frame.body()).map_err(|_| malformed())?,
            FrameKind::Refuse => return Err(read_refusal(&frame)),
            FrameKind::Messages => {
                return Err(ConnError::UnexpectedFrame { kind: frame.kind().code() });
            }
        };
        let peer = check_hello(&self.identity, self.side, &hello)?;
        if !is_expected(peer.node) {
            return Err(ConnError::UnknownNode { node: peer.node });
        }
        self.peer = Some(peer);
        Ok(Some(peer))
    }

    /// A callee's own greeting, after it accepted the caller's.
    pub fn answer(&mut self) {
        let peer = self.peer.expect("only a greeting is answered");
        if self.side == Side::Callee && !self.greeted {
            self.greet(peer.node, peer.lane);
        }
    }

    /// Queues the reason why this connection is closed, if there is one to tell.
    pub fn refuse(&mut self, error: &ConnError) {
        if let Some(reason) = error.refusal() {
            self.outbox.push_refuse(&refuse_frame(reason));
        }
    }

    /// The next complete message frame. It is a view of the read buffer.
    ///
    /// # Errors
    /// [`ConnError`] when the bytes are not a message frame, or the peer refuses after all.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ConnError> {
        assert!(self.peer.is_some(), "no frames before the handshake");
        let Some(frame) = self.input.next_frame(FRAME_BYTES_MAX)? else {
            return Ok(None);
        };
        match frame.kind() {
            FrameKind::Messages => Ok(Some(frame)),
            FrameKind::Refuse => Err(read_refusal(&frame)),
            FrameKind::Hello => Err(ConnError::UnexpectedFrame { kind: frame.kind().code() }),
        }
    }

    /// Whether [`Self::next_frame`] or [`Self::handshake`] would get somewhere without a read.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let max = if self.peer.is_some() { FRAME_BYTES_MAX } else { GREETING_BYTES_MAX };
        self.input.is_ready(max)
    }

    /// Bytes that were read and are not yet a complete frame.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.input.unread()
    }

    /// The write queue.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// The write queue, to look at.
    #[must_use]
    pub fn queue(&self) -> &Outbox {
        &self.outbox
    }

    /// The other side, once it introduced itself.
    #[must_use]
    pub fn peer(&self) -> Option<Introduction> {
        self.peer
    }

    /// Which side we are.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    fn greet(&mut self, node: u64, lane: u16) {
        self.greeted = true;
        self.outbox.push_hello(&hello_frame(&self.identity, node, lane));
    }
}

/// Our greeting to `to_node`.
#[must_use]
pub fn hello_frame(identity: &Identity, to_node: u64, lane: u16) -> Hello {
    let mut hello = Hello {
        magic: MAGIC,
        version_min: U16::new(VERSION_MIN),
        version_max: U16::new(VERSION_MAX),
        lane: U16::new(lane),
        lane_count: U16::new(identity.lane_count),
        epoch: U64::new(identity.epoch),
        cluster_id: U128::new(identity.cluster_id),
        store_id: U128::new(identity.store_id),
        node_id: U64::new(identity.node_id),
        to_node: U64::new(to_node),
        reserved: U32::ZERO,
        crc32c: U32::ZERO,
    };
    hello.crc32c = checksum(&hello);
    hello
}

/// Our refusal for `reason`.
#[must_use]
pub fn refuse_frame(reason: RefuseReason) -> Refuse {
    let mut refuse = Refuse {
        reason: U16::new(reason.code()),
        version_min: U16::new(VERSION_MIN),
        version_max: U16::new(VERSION_MAX),
        reserved: U16::ZERO,
        crc32c: U32::ZERO,
    };
    refuse.crc32c = checksum(&refuse);
    refuse
}

/// Whether the other side may talk to us: in the order in which the answers help an operator.
fn check_hello(us: &Identity, side: Side, hello: &Hello) -> Result<Introduction, ConnError> {
    if hello.magic != MAGIC {
        return Err(ConnError::NotKontiki);
    }
    if hello.crc32c != checksum(hello) {
        return Err(malformed());
    }
    // The range comes first: another version may use the reserved bytes.
    let (their_min, their_max) = (hello.version_min.get(), hello.version_max.get());
    let version = their_max.min(VERSION_MAX);
    if version < their_min.max(VERSION_MIN) {
        return Err(ConnError::Version { their_min, their_max });
    }
    if hello.reserved != U32::ZERO {
        return Err(DecodeError::Reserved.into());
    }
    let epoch = hello.epoch.get();
    if epoch == 0 {
        return Err(DecodeError::ZeroEpoch.into());
    }
    if epoch > NUMBER_MAX {
        return Err(DecodeError::Number(epoch).into());
    }
    if hello.cluster_id.get() != us.cluster_id && !planted::accepts_foreign_clusters() {
        return Err(ConnError::ForeignCluster { theirs: hello.cluster_id.get() });
    }
    let node = hello.node_id.get();
    if node == us.node_id {
        return Err(ConnError::SelfConnection);
    }
    if hello.to_node.get() != us.node_id {
        return Err(ConnError::WrongNode { expected: hello.to_node.get(), found: us.node_id });
    }
    let (lane, lane_count) = (hello.lane.get(), hello.lane_count.get());
    let mismatch = ConnError::LaneMismatch { lane, lane_count };
    if lane_count != us.lane_count || lane >= lane_count {
        return Err(mismatch);
    }
    match side {
        Side::Caller { node: expected, .. } if node != expected => {
            return Err(ConnError::WrongNode { expected, found: node });
        }
        Side::Caller { lane: ours, .. } if lane != ours => return Err(mismatch),
        Side::Callee if node > us.node_id => return Err(ConnError::WrongDirection { node }),
        Side::Caller { .. } | Side::Callee => {}
    }
    Ok(Introduction { node, store_id: hello.store_id.get(), epoch, lane, version })
}

fn read_refusal(frame: &Frame<'_>) -> ConnError {
    match Refuse::ref_from_bytes(frame.body()) {
        Ok(refuse) if refuse.crc32c == checksum(refuse) => {
            ConnError::Refused(RefuseReason::from_code(refuse.reason.get()))
        }
        _ => malformed(),
    }
}

fn malformed() -> ConnError {
    ConnError::Decode(DecodeError::GreetingChecksum)
}

#[cfg(test)]
mod tests;
