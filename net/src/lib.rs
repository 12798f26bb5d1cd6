//! Kontiki's wire format and transport: bytes between nodes.
//!
//! A tour in the order of a message's life:
//!
//! 1. A leader encodes its entries once, as a **block** ([`encode_block`]). These bytes are the
//!    ones in every log, on every wire and under every apply; one checksum holds end to end.
//! 2. Appends and other messages of *all* groups for one node are packed into its [`Outbox`]:
//!    headers and small blocks are copied together, large blocks are referenced where they lie.
//! 3. [`Net::flush`] gives each peer one gathered write per round. Bytes that a socket does not
//!    take stay queued; nothing is dropped on a live connection.
//! 4. The peer's [`Net`] reads into one buffer per connection and hands out whole frames as views
//!    of it ([`Net::for_each_frame`]); [`Frame::messages`] decodes them in place, and
//!    [`check_append`] verifies the blocks before the consensus core hears of them.
//!
//! ```text
//! frame    len u32 | kind u8 | flags u8 | reserved u16 | messages u32 | crc32c u32          16 B
//! message  group u64 | from u64 | to u64 | term u64 | six u64 by kind | session u32 |
//!          bytes of blocks u32 | kind u8 | flags u8 | reserved u16 | crc32c u32             96 B
//! beat     epoch u64 | sequence u64 | sent u64 | promised epoch u64 | lapses u64 | answers u64 |
//!          for u32 | held u32 | reserved 32 B | kind u8 | flags u8 | reserved u16 | crc32c u32
//!          96 B
//! block    group u64 | first index u64 | term u64 | entries u32 | body u32 | crc32c u32 |
//!          kind u8 | flags u8 | reserved u16                                               40 B
//!          entries x length u32, then the payloads back to back
//! greeting magic 8 B | versions u16 u16 | lane u16 | lanes u16 | epoch u64 |
//!          cluster u128 | store u128 | node u64 | to node u64 | reserved u32 | crc32c u32   80 B
//! refusal  reason u16 | versions u16 u16 | reserved u16 | crc32c u32                        12 B
//!
//! connection = frame(greeting) frame(messages)*        or   frame(refusal)
//! messages   = ( message | message block+ | beat )+           block+ only behind an append
//! ```
//!
//! All numbers are little-endian, no layout has padding, and each header carries its own CRC-32C:
//! over the bytes before it, or for a block over header and body with the field zero.
//!
//! What always holds:
//! - No length or count from outside is used before it was compared with a limit and with the bytes
//!   that remain; a connection's buffer never passes [`FRAME_BYTES_MAX`], and before the handshake
//!   [`GREETING_BYTES_MAX`].
//! - Only `event_loop` knows sockets; blocks, codec, outbox and connection run on bytes alone.
//! - Steady traffic allocates nothing.
//!
//! Deliberately absent: TLS (until it is there, [`NetConfig`] refuses listeners off loopback),
//! threads, clocks, and decisions of any kind about groups.
//!
//! # Example
//! ```
//! use kontiki_net::{Block, BlockKind, BlockMeta, Run, encode_block};
//! use kontiki_raft::{Index, Term};
//!
//! let meta = BlockMeta {
//!     group: 1,
//!     first_index: Index(10),
//!     term: Term(2),
//!     kind: BlockKind::Command,
//! };
//! let lengths = [3_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat();
//! let run = Run { lengths: &lengths, payload: b"onetwo.." };
//! let mut round = Vec::new();
//! let range = encode_block(&mut round, meta, [run].into_iter());
//!
//! let (block, rest) = Block::parse(&round[range])?;
//! block.verify()?;
//! assert!(rest.is_empty());
//! assert_eq!(block.last(), Index(11));
//! assert_eq!(block.entries().collect::<Vec<_>>(), [&b"one"[..], b"two.."]);
//! # Ok::<(), kontiki_net::DecodeError>(())
//! ```

mod block;
mod wire;

mod beat;
mod buffer;
mod codec;
mod conn;
mod outbox;
mod peer;

mod config;
mod error;
mod event_loop;
pub mod planted;

pub use beat::{Beat, Promise, encode_beat};
pub use block::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, Block, BlockHeader, BlockKind, BlockMeta, ENTRY_BYTES_MAX,
    ENTRY_OVERHEAD_BYTES, Entries, Run, body_bytes_max, encode_block, encode_entry,
};
pub use codec::{Frame, Incoming, Messages, check_append, encode_append, encode_message};
pub use config::{NetConfig, WRITE_QUEUE_HARD_FACTOR};
pub use conn::{Conn, Identity, Introduction, Side, hello_frame, refuse_frame};
pub use error::{ConnError, DecodeError, DownReason, NetError, RefuseReason};
pub use event_loop::{Handoff, Net, NetEvent, NetStats, Waker, system};
pub use outbox::{BlockSource, FRAME_BYTES_TARGET, Outbox, SLICES_MAX, WRITEV_BYTES_MIN};
pub use peer::{Backoff, Patience};
pub use wire::{
    APPEND_BYTES_MAX, BeatMessage, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, FrameKind,
    GREETING_BYTES_MAX, HELLO_BYTES, Hello, MAGIC, MESSAGE_HEADER_BYTES, MessageCode,
    MessageHeader, NUMBER_MAX, REFUSE_BYTES, Refuse, VERSION_MAX, VERSION_MIN,
};
