//! Kontiki's wire format and transport: bytes between nodes.

mod block;
mod buffer;
mod codec;
mod config;
mod conn;
mod error;
mod event_loop;
mod outbox;
mod peer;
mod wire;

pub use block::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, Block, BlockHeader, BlockKind, BlockMeta, ENTRY_BYTES_MAX,
    ENTRY_OVERHEAD_BYTES, Entries, Run, body_bytes_max, encode_block, encode_entry,
};
pub use codec::{Frame, Incoming, Messages, check_append, encode_append, encode_message};
pub use config::{NetConfig, WRITE_QUEUE_HARD_FACTOR};
pub use conn::{Conn, Identity, Introduction, Side, hello_frame, refuse_frame};
pub use error::{ConnError, DecodeError, DownReason, NetError, RefuseReason};
pub use event_loop::{Handoff, Net, NetEvent, NetStats, Waker};
pub use outbox::{BlockSource, FRAME_BYTES_TARGET, Outbox, SLICES_MAX, WRITEV_BYTES_MIN};
pub use peer::{Backoff, Patience};
pub use wire::{
    APPEND_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, FrameKind,
    GREETING_BYTES_MAX, HELLO_BYTES, Hello, MAGIC, MESSAGE_HEADER_BYTES, MessageCode,
    MessageHeader, NUMBER_MAX, REFUSE_BYTES, Refuse, VERSION_MAX, VERSION_MIN,
};
