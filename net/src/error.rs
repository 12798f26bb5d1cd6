//! What can be wrong with bytes, connections and configurations, one enum per question.
//!
//! [`DecodeError`] judges bytes, [`ConnError`] a connection, [`NetError`] a configuration and
//! [`DownReason`] says why a connection that was up is not any more. All of them are small values
//! that carry numbers, so a caller can act on each variant and a log line can name the figures.
//!
//! Deliberately absent: a variant that holds a string. Nothing here comes from our own mistakes
//! either; those are assertions.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why bytes from a peer, or from a disk, are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// A fixed layout or a counted body needs more bytes than there are.
    Truncated {
        /// Bytes the layout asks for.
        needed: u64,
        /// Bytes that are there.
        left: u64,
    },
    /// Bytes are left over behind the last item that was announced.
    Trailing {
        /// Bytes that nobody announced.
        left: u64,
    },
    /// A frame is longer than the limit of the connection's present stage.
    FrameTooLarge {
        /// Bytes announced behind the frame header.
        len: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// The frame header's checksum does not fit: most likely not a Kontiki peer at all.
    FrameChecksum,
    /// The frame header names a kind that this version does not know.
    FrameKind(u8),
    /// A message frame that carries no message, or more than its bytes can hold.
    FrameCount {
        /// Messages announced.
        count: u32,
        /// Bytes behind the frame header.
        len: u32,
    },
    /// A field or a flag that must be zero is not.
    Reserved,
    /// The checksum of a greeting or of a refusal does not fit.
    GreetingChecksum,
    /// The message header's checksum does not fit.
    MessageChecksum,
    /// The message header names a kind that this version does not know.
    MessageKind(u8),
    /// A term, an index or a round past [`crate::NUMBER_MAX`].
    Number(u64),
    /// A replica id of zero, which no replica has.
    ZeroReplica,
    /// A boot epoch of zero, which no node has.
    ZeroEpoch,
    /// A promise that ends when it begins.
    EmptyPromise,
    /// A body on a message that has none, or none where the header's indexes announce entries.
    MessageBody {
        /// Bytes announced.
        len: u32,
    },
    /// The block names a kind that this version does not know.
    BlockKind(u8),
    /// A block without entries, at index zero, or past the last index there is.
    BlockRange {
        /// The block's first index.
        first: u64,
        /// Its number of entries.
        count: u32,
    },
    /// A block larger than the limit for its number of entries.
    BlockTooLarge {
        /// Bytes announced behind the block header.
        len: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// The table of lengths does not add up to the body.
    BlockLengths {
        /// Bytes the table announces, the table itself included.
        announced: u64,
        /// Bytes of the body.
        body: u64,
    },
    /// The block's checksum does not fit.
    BlockChecksum {
        /// The group the header names.
        group: u64,
        /// The first index the header names.
        first: u64,
    },
    /// An append carries a block of another group.
    AppendGroup {
        /// The group of the append.
        expected: u64,
        /// The group of the block.
        found: u64,
    },
    /// An append's blocks do not follow one another, or do not end where the header says.
    AppendGap {
        /// The index that had to come next (or last).
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// A block's term lies before the entry it follows or after the leader's own.
    AppendTerm {
        /// The block's term.
        term: u64,
        /// The least term allowed there.
        least: u64,
        /// The greatest term allowed there.
        most: u64,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, left } => write!(f, "{needed} bytes needed, {left} left"),
            Self::Trailing { left } => write!(f, "{left} bytes behind the last item"),
            Self::FrameTooLarge { len, max } => write!(f, "frame of {len} bytes, limit {max}"),
            Self::FrameChecksum => f.write_str("frame header fails its checksum"),
            Self::FrameKind(kind) => write!(f, "unknown frame kind {kind}"),
            Self::FrameCount { count, len } => {
                write!(f, "frame of {len} bytes announces {count} messages")
            }
            Self::Reserved => f.write_str("a reserved field is not zero"),
            Self::GreetingChecksum => f.write_str("greeting fails its checksum"),
            Self::MessageChecksum => f.write_str("message header fails its checksum"),
            Self::MessageKind(kind) => write!(f, "unknown message kind {kind}"),
            Self::Number(number) => write!(f, "{number} is past every term and index"),
            Self::ZeroReplica => f.write_str("replica id zero"),
            Self::ZeroEpoch => f.write_str("boot epoch zero"),
            Self::EmptyPromise => f.write_str("a promise for no time"),
            Self::MessageBody { len } => {
                write!(f, "a body of {len} bytes does not fit its message")
            }
            Self::BlockKind(kind) => write!(f, "unknown block kind {kind}"),
            Self::BlockRange { first, count } => {
                write!(f, "block of {count} entries at index {first}")
            }
            Self::BlockTooLarge { len, max } => write!(f, "block of {len} bytes, limit {max}"),
            Self::BlockLengths { announced, body } => {
                write!(f, "block lengths announce {announced} bytes, the body has {body}")
            }
            Self::BlockChecksum { group, first } => {
                write!(f, "block at index {first} of group {group} fails its checksum")
            }
            Self::AppendGroup { expected, found } => {
                write!(f, "append for group {expected} carries a block of group {found}")
            }
            Self::AppendGap { expected, found } => {
                write!(f, "append block at index {found}, expected {expected}")
            }
            Self::AppendTerm { term, least, most } => {
                write!(f, "append block of term {term}, allowed {least} to {most}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why one side of a connection will not talk to the other. Travels in a refusal as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RefuseReason {
    /// The two protocol version ranges do not meet.
    Version = 1,
    /// The other side belongs to another cluster.
    ForeignCluster = 2,
    /// The node id is not one of the expected peers.
    UnknownNode = 3,
    /// The caller reached a node other than the one it asked for.
    WrongNode = 4,
    /// The caller has the receiver's own node id.
    SelfConnection = 5,
    /// The lane does not exist, or the lane counts differ.
    Lane = 6,
    /// The node with the higher id called; the lower one calls.
    WrongDirection = 7,
    /// The bytes were not understood.
    Malformed = 8,
    /// Too many connections are in their handshake.
    Busy = 9,
}

impl RefuseReason {
    /// The reason with this number, if this version knows it.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Version,
            2 => Self::ForeignCluster,
            3 => Self::UnknownNode,
            4 => Self::WrongNode,
            5 => Self::SelfConnection,
            6 => Self::Lane,
            7 => Self::WrongDirection,
            8 => Self::Malformed,
            9 => Self::Busy,
            _ => return None,
        })
    }

    /// The number that travels.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "no protocol version in common",
            Self::ForeignCluster => "foreign cluster",
            Self::UnknownNode => "unknown node",
            Self::WrongNode => "not the node that was asked for",
            Self::SelfConnection => "a node called itself",
            Self::Lane => "lanes differ",
            Self::WrongDirection => "the node with the lower id calls",
            Self::Malformed => "malformed bytes",
            Self::Busy => "too many handshakes",
        })
    }
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnError {
    /// Bytes that are not a frame, a message or a block.
    Decode(DecodeError),
    /// The greeting does not start with the protocol's magic.
    NotKontiki,
    /// The two protocol version ranges do not meet.
    Version {
        /// The least version the other side speaks.
        their_min: u16,
        /// The greatest version the other side speaks.
        their_max: u16,
    },
    /// The other side belongs to another cluster.
    ForeignCluster {
        /// Its cluster id.
        theirs: u128,
    },
    /// The node id is not one of the expected peers.
    UnknownNode {
        /// The id it gave.
        node: u64,
    },
    /// Another node answers at the address (or we were called by another node's name).
    WrongNode {
        /// The node that was expected.
        expected: u64,
        /// The node that is there.
        found: u64,
    },
    /// The other side has our own node id.
    SelfConnection,
    /// The lane does not exist, or the lane counts differ.
    LaneMismatch {
        /// The other side's lane.
        lane: u16,
        /// The other side's number of lanes.
        lane_count: u16,
    },
    /// The node with the higher id called; the lower one calls.
    WrongDirection {
        /// The caller.
        node: u64,
    },
    /// The first frame is not a greeting, or a greeting comes where messages are due.
    UnexpectedFrame {
        /// The kind of the frame.
        kind: u8,
    },
    /// The other side refused; `None` is a reason that this version does not know.
    Refused(Option<RefuseReason>),
    /// The other side did not finish the handshake in time.
    HandshakeTimeout,
    /// Too many connections were in their handshake already.
    Busy,
    /// The other side closed the connection.
    Closed,
    /// The socket failed.
    Io(io::ErrorKind),
}

impl ConnError {
    /// What to tell the other side, when there is something to tell.
    #[must_use]
    pub fn refusal(&self) -> Option<RefuseReason> {
        match self {
            Self::Decode(_) | Self::NotKontiki | Self::UnexpectedFrame { .. } => {
                Some(RefuseReason::Malformed)
            }
            Self::Version { .. } => Some(RefuseReason::Version),
            Self::ForeignCluster { .. } => Some(RefuseReason::ForeignCluster),
            Self::UnknownNode { .. } => Some(RefuseReason::UnknownNode),
            Self::WrongNode { .. } => Some(RefuseReason::WrongNode),
            Self::SelfConnection => Some(RefuseReason::SelfConnection),
            Self::LaneMismatch { .. } => Some(RefuseReason::Lane),
            Self::WrongDirection { .. } => Some(RefuseReason::WrongDirection),
            Self::Busy => Some(RefuseReason::Busy),
            Self::Refused(_) | Self::HandshakeTimeout | Self::Closed | Self::Io(_) => None,
        }
    }
}

impl fmt::Display for ConnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Decode(error) => write!(f, "malformed bytes: {error}"),
            Self::NotKontiki => f.write_str("the other side does not speak this protocol"),
            Self::Version { their_min, their_max } => {
                write!(f, "the other side speaks protocol versions {their_min} to {their_max}")
            }
            Self::ForeignCluster { theirs } => {
                write!(f, "the other side belongs to cluster {theirs:032x}")
            }
            Self::UnknownNode { node } => write!(f, "node {node} is not an expected peer"),
            Self::WrongNode { expected, found } => {
                write!(f, "expected node {expected}, found node {found}")
            }
            Self::SelfConnection => f.write_str("the other side has our own node id"),
            Self::LaneMismatch { lane, lane_count } => {
                write!(f, "the other side is lane {lane} of {lane_count}")
            }
            Self::WrongDirection { node } => {
                write!(f, "node {node} called, but the node with the lower id calls")
            }
            Self::UnexpectedFrame { kind } => write!(f, "a frame of kind {kind} was not due"),
            Self::Refused(Some(reason)) => write!(f, "refused by the other side: {reason}"),
            Self::Refused(None) => f.write_str("refused by the other side for an unknown reason"),
            Self::HandshakeTimeout => f.write_str("the handshake took too long"),
            Self::Busy => f.write_str("too many handshakes"),
            Self::Closed => f.write_str("closed by the other side"),
            Self::Io(kind) => write!(f, "socket: {kind}"),
        }
    }
}

impl std::error::Error for ConnError {}

impl From<DecodeError> for ConnError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// Why a connection that was up is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DownReason {
    /// The connection itself failed or was closed.
    Conn(ConnError),
    /// A newer connection of the same node took its place.
    Replaced,
    /// The peer took no bytes for longer than the configured time.
    Stalled,
    /// The write queue passed its hard limit.
    QueueOverflow {
        /// Bytes queued.
        queued: u64,
        /// The hard limit.
        max: u64,
    },
    /// The peer was removed from the configuration.
    Removed,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conn(error) => error.fmt(f),
            Self::Replaced => f.write_str("replaced by a newer connection"),
            Self::Stalled => f.write_str("the peer takes no bytes"),
            Self::QueueOverflow { queued, max } => {
                write!(f, "{queued} bytes queued, hard limit {max}")
            }
            Self::Removed => f.write_str("removed from the configuration"),
        }
    }
}

/// Why a transport cannot start.
#[derive(Debug)]
pub enum NetError {
    /// A listener off loopback without TLS, and nobody said that this is meant.
    Insecure {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A limit or an id that cannot work.
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The system refused something.
    Io(io::Error),
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insecure { address } => write!(
                f,
                "refusing to listen on {address} without TLS: only loopback is safe without it \
                 (set `insecure` to accept the risk)"
            ),
            Self::Config { field, value } => write!(f, "{field} = {value} cannot work"),
            Self::Io(error) => write!(f, "transport: {error}"),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Insecure { .. } | Self::Config { .. } => None,
        }
    }
}

impl From<io::Error> for NetError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
