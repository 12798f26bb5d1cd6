//! The fixed layouts that travel between nodes: frame, message, beat, greeting, refusal.
//!
//! Every layout is little-endian, free of padding, of alignment one, and says its size to the
//! compiler, so bytes are viewed where they lie and never copied to be understood. Each carries its
//! own CRC-32C as its last field, over all bytes before it.
//!
//! Deliberately absent: the meaning of the message fields (`codec.rs`), of the beat (`beat.rs`) and
//! of the greeting (`conn.rs`).

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::DecodeError;
use crate::block::{BLOCK_HEADER_BYTES, ENTRY_BYTES_MAX, ENTRY_OVERHEAD_BYTES};

/// The most bytes of a frame, header included.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// The most bytes of a frame before the other side has introduced itself.
pub const GREETING_BYTES_MAX: usize = 64 << 10;

/// The most block bytes that one append may carry.
pub const APPEND_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES - MESSAGE_HEADER_BYTES;

/// Size of [`FrameHeader`].
pub const FRAME_HEADER_BYTES: usize = 16;

/// Size of [`MessageHeader`].
pub const MESSAGE_HEADER_BYTES: usize = 96;

/// Size of [`Hello`].
pub const HELLO_BYTES: usize = 80;

/// Size of [`Refuse`].
pub const REFUSE_BYTES: usize = 12;

/// The least protocol version this build speaks.
pub const VERSION_MIN: u16 = 2;

/// The greatest protocol version this build speaks.
pub const VERSION_MAX: u16 = 2;

/// The greatest term, index or read round that may travel: far beyond what any cluster reaches, and
/// far enough from the end that steps from it cannot overflow.
pub const NUMBER_MAX: u64 = u64::MAX >> 1;

/// The first bytes of every greeting.
pub const MAGIC: [u8; 8] = *b"KONTIKI\0";

/// The fixed start of a frame.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    /// Bytes behind this header.
    pub len: U32,
    /// See [`FrameKind`].
    pub kind: u8,
    /// Zero.
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
    /// Messages in the frame; one for a greeting or a refusal.
    pub count: U32,
    /// CRC-32C of the bytes before it.
    pub crc32c: U32,
}

/// The fixed start of a message: one layout for all of them.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MessageHeader {
    /// The group.
    pub group: U64,
    /// The sending replica.
    pub from: U64,
    /// The receiving replica.
    pub to: U64,
    /// The sender's term.
    pub term: U64,
    /// What the kind makes of them; zero where it makes nothing.
    pub fields: [U64; 6],
    /// The sender's session with the receiver.
    pub session: U32,
    /// Bytes of blocks behind this header; zero for all but appends.
    pub body_len: U32,
    /// See [`MessageCode`].
    pub kind: u8,
    /// Bit 0 is the kind's yes or no; the others are zero.
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
    /// CRC-32C of the bytes before it. The blocks carry their own.
    pub crc32c: U32,
}

/// What a node tells another one by itself. It stands among messages, and has their size.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BeatMessage {
    /// The sender's boot epoch, not zero.
    pub epoch: U64,
    /// Counts the sender's beats to the receiver.
    pub sequence: U64,
    /// When it left, on the sender's clock.
    pub sent_at: U64,
    /// The receiver's boot epoch that the sender supports; this and the next four are zero when it
    /// promises nothing.
    pub promised_epoch: U64,
    /// How often the sender has let the receiver's support lapse.
    pub lapses: U64,
    /// `sent_at` of the beat that the promise rests on.
    pub answers: U64,
    /// For how long it is promised.
    pub for_us: U32,
    /// How long ago that beat came.
    pub held_us: U32,
    /// Zero.
    pub reserved: [U64; 4],
    /// [`MessageCode::Beat`].
    pub kind: u8,
    /// Bit 0: there is a promise; the others are zero.
    pub flags: u8,
    /// Zero.
    pub reserved2: U16,
    /// CRC-32C of the bytes before it.
    pub crc32c: U32,
}

/// How a side introduces itself: the first frame in each direction.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The least protocol version the sender speaks.
    pub version_min: U16,
    /// The greatest protocol version the sender speaks.
    pub version_max: U16,
    /// The lane (worker) that this connection belongs to.
    pub lane: U16,
    /// The number of lanes; equal on all nodes.
    pub lane_count: U16,
    /// The sender's boot epoch: higher after every start, never zero.
    pub epoch: U64,
    /// The cluster.
    pub cluster_id: U128,
    /// The sender's data directory; a wiped node comes back with another one.
    pub store_id: U128,
    /// The sender.
    pub node_id: U64,
    /// The node that the sender means to talk to.
    pub to_node: U64,
    /// Zero.
    pub reserved: U32,
    /// CRC-32C of the bytes before it.
    pub crc32c: U32,
}

/// Why the sender closes the connection during the handshake.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Refuse {
    /// See [`crate::RefuseReason`].
    pub reason: U16,
    /// The least protocol version the sender speaks.
    pub version_min: U16,
    /// The greatest protocol version the sender speaks.
    pub version_max: U16,
    /// Zero.
    pub reserved: U16,
    /// CRC-32C of the bytes before it.
    pub crc32c: U32,
}

const _: () = assert!(size_of::<FrameHeader>() == FRAME_HEADER_BYTES);
const _: () = assert!(size_of::<MessageHeader>() == MESSAGE_HEADER_BYTES);
// A beat is told from a message by its kind, which lies at one place in both.
const _: () = assert!(size_of::<BeatMessage>() == MESSAGE_HEADER_BYTES);
const _: () = assert!(offset_of!(BeatMessage, kind) == offset_of!(MessageHeader, kind));
const _: () = assert!(size_of::<Hello>() == HELLO_BYTES);
const _: () = assert!(size_of::<Refuse>() == REFUSE_BYTES);
const _: () = assert!(align_of::<FrameHeader>() == 1 && align_of::<MessageHeader>() == 1);
const _: () = assert!(align_of::<Hello>() == 1 && align_of::<Refuse>() == 1);
// The largest entry, alone in its block, in an append alone in its frame, fits.
const _: () =
    assert!(BLOCK_HEADER_BYTES + ENTRY_OVERHEAD_BYTES + ENTRY_BYTES_MAX <= APPEND_BYTES_MAX);
const _: () = assert!(HELLO_BYTES + FRAME_HEADER_BYTES <= GREETING_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize);

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// One [`Hello`].
    Hello = 1,
    /// Messages of any number of groups.
    Messages = 2,
    /// One [`Refuse`].
    Refuse = 3,
}

impl FrameKind {
    /// The kind with this number, if this version knows it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Hello,
            2 => Self::Messages,
            3 => Self::Refuse,
            _ => return None,
        })
    }

    /// The number that travels.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageCode {
    /// An append header; blocks follow.
    Append = 1,
    /// A pre-vote request.
    PreVote = 2,
    /// The answer to it.
    PreVoteReply = 3,
    /// A vote request.
    Vote = 4,
    /// The answer to it.
    VoteReply = 5,
    /// An append was persisted.
    AppendAck = 6,
    /// An append did not fit the log.
    AppendReject = 7,
    /// A leader's sign of life, with its commit.
    Heartbeat = 8,
    /// The answer to it.
    HeartbeatAck = 9,
    /// The leader asks the receiver to take over.
    TimeoutNow = 10,
    /// A follower asks where reads may be served.
    ReadIndex = 11,
    /// The answer to it.
    ReadIndexReply = 12,
    /// The sender does not lead any more.
    Resign = 13,
    /// No message of a group: a [`BeatMessage`].
    Beat = 64,
}

impl MessageCode {
    /// The code with this number, if this version knows it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Append,
            2 => Self::PreVote,
            3 => Self::PreVoteReply,
            4 => Self::Vote,
            5 => Self::VoteReply,
            6 => Self::AppendAck,
            7 => Self::AppendReject,
            8 => Self::Heartbeat,
            9 => Self::HeartbeatAck,
            10 => Self::TimeoutNow,
            11 => Self::ReadIndex,
            12 => Self::ReadIndexReply,
            13 => Self::Resign,
            64 => Self::Beat,
            _ => return None,
        })
    }

    /// The number that travels.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// CRC-32C of all of a layout's bytes but the last four, which hold it.
#[inline]
pub(crate) fn checksum<T: IntoBytes + Immutable>(layout: &T) -> U32 {
    let bytes = layout.as_bytes();
    U32::new(crc32c::crc32c(&bytes[..bytes.len() - 4]))
}

impl FrameHeader {
    /// A header with its checksum.
    #[must_use]
    pub fn new(kind: FrameKind, len: u32, count: u32) -> Self {
        let mut header = Self {
            len: U32::new(len),
            kind: kind.code(),
            flags: 0,
            reserved: U16::ZERO,
            count: U32::new(count),
            crc32c: U32::ZERO,
        };
        header.crc32c = checksum(&header);
        header
    }

    /// Checks the header of a frame that may have at most `bytes_max` bytes, header included.
    ///
    /// This is all that stands between the other side and an allocation, so nothing in the header
    /// is used before the checksum, the kind and the limits are.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong.
    pub fn check(&self, bytes_max: usize) -> Result<FrameKind, DecodeError> {
        if self.crc32c != checksum(self) {
            return Err(DecodeError::FrameChecksum);
        }
        let kind = FrameKind::from_code(self.kind).ok_or(DecodeError::FrameKind(self.kind))?;
        if self.flags != 0 || self.reserved != U16::ZERO {
            return Err(DecodeError::Reserved);
        }
        let (len, count) = (self.len.get(), self.count.get());
        let max = bytes_max - FRAME_HEADER_BYTES;
        if len as usize > max {
            return Err(DecodeError::FrameTooLarge { len: u64::from(len), max: max as u64 });
        }
        let (least, exact) = match kind {
            FrameKind::Hello => (HELLO_BYTES, true),
            FrameKind::Refuse => (REFUSE_BYTES, true),
            FrameKind::Messages => (MESSAGE_HEADER_BYTES, false),
        };
        let fits = if exact {
            count == 1 && len as usize == least
        } else {
            count > 0 && count as usize <= len as usize / least
        };
        if fits { Ok(kind) } else { Err(DecodeError::FrameCount { count, len }) }
    }
}
