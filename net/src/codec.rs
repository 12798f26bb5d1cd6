//! Frames and messages as values, without sockets.
//!
//! Encoding appends to a caller's buffer; decoding hands out views. An append's blocks stay where
//! they lie: [`Incoming::Append`] carries them as a slice, and [`check_append`] walks them before
//! anything is told to the consensus core.
//!
//! What always holds: no length or count from the wire is used before it was compared with the
//! bytes that remain, every field that a kind does not use is zero, and a decoded message encodes
//! to the same bytes again.
//!
//! Deliberately absent: allocation. The only memory that grows is the caller's span list.

use kontiki_raft::{AppendHeader, Index, Message, MessageKind, Position, ReplicaId, Span, Term};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes, transmute_ref};

use crate::DecodeError;
use crate::beat::{Beat, decode_beat};
use crate::block::Block;
use crate::wire::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, MESSAGE_HEADER_BYTES, MessageCode, MessageHeader,
    NUMBER_MAX, checksum,
};

const FLAG: u8 = 1;

/// Appends `message` to `buf`.
#[inline]
pub fn encode_message(buf: &mut Vec<u8>, group: u64, message: &Message) {
    buf.extend_from_slice(message_header(group, message).as_bytes());
}

/// Appends the header of an append to `buf`; `body_len` bytes of blocks must follow.
#[inline]
pub fn encode_append(buf: &mut Vec<u8>, group: u64, append: &AppendHeader, body_len: u32) {
    buf.extend_from_slice(append_header(group, append, body_len).as_bytes());
}

fn message_header(group: u64, message: &Message) -> MessageHeader {
    let position = |p: Position| (p.term.0, p.index.0);
    let (code, flag, fields) = match message.kind {
        MessageKind::PreVote { last } => {
            let (term, index) = position(last);
            (MessageCode::PreVote, false, [term, index, 0, 0])
        }
        MessageKind::PreVoteReply { granted } => (MessageCode::PreVoteReply, granted, [0; 4]),
        MessageKind::Vote { last, forced } => {
            let (term, index) = position(last);
            (MessageCode::Vote, forced, [term, index, 0, 0])
        }
        MessageKind::VoteReply { granted } => (MessageCode::VoteReply, granted, [0; 4]),
        MessageKind::AppendAck { matched, read_round } => {
            let (term, index) = position(matched);
            (MessageCode::AppendAck, false, [term, index, read_round, 0])
        }
        MessageKind::AppendReject { prev, hint, read_round } => {
            let (term, index) = position(hint);
            (MessageCode::AppendReject, false, [prev.0, term, index, read_round])
        }
        MessageKind::Heartbeat { commit, floor, read_round, sleep } => {
            (MessageCode::Heartbeat, sleep, [commit.0, floor.0, read_round, 0])
        }
        MessageKind::HeartbeatAck { read_round } => {
            (MessageCode::HeartbeatAck, false, [read_round, 0, 0, 0])
        }
        MessageKind::TimeoutNow { last } => {
            let (term, index) = position(last);
            (MessageCode::TimeoutNow, false, [term, index, 0, 0])
        }
        MessageKind::Resign => (MessageCode::Resign, false, [0; 4]),
        MessageKind::ReadIndex { request } => (MessageCode::ReadIndex, false, [request, 0, 0, 0]),
        MessageKind::ReadIndexReply { request, index } => {
            (MessageCode::ReadIndexReply, false, [request, index.0, 0, 0])
        }
    };
    let mut header = MessageHeader {
        group: U64::new(group),
        from: U64::new(message.from.get()),
        to: U64::new(message.to.get()),
        term: U64::new(message.term.0),
        fields: [
            U64::new(fields[0]),
            U64::new(fields[1]),
            U64::new(fields[2]),
            U64::new(fields[3]),
            U64::ZERO,
            U64::ZERO,
        ],
        session: U32::new(message.session),
        body_len: U32::ZERO,
        kind: code.code(),
        flags: u8::from(flag),
        reserved: U16::ZERO,
        crc32c: U32::ZERO,
    };
    header.crc32c = checksum(&header);
    header
}

fn append_header(group: u64, append: &AppendHeader, body_len: u32) -> MessageHeader {
    let mut header = MessageHeader {
        group: U64::new(group),
        from: U64::new(append.from.get()),
        to: U64::new(append.to.get()),
        term: U64::new(append.term.0),
        fields: [
            U64::new(append.prev.term.0),
            U64::new(append.prev.index.0),
            U64::new(append.last.0),
            U64::new(append.commit.0),
            U64::new(append.floor.0),
            U64::new(append.read_round),
        ],
        session: U32::new(append.session),
        body_len: U32::new(body_len),
        kind: MessageCode::Append.code(),
        flags: 0,
        reserved: U16::ZERO,
        crc32c: U32::ZERO,
    };
    header.crc32c = checksum(&header);
    header
}

/// A frame whose header was checked; its messages were not.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    kind: FrameKind,
    count: u32,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks the frame at the start of `bytes`; returns it and the bytes behind it.
    ///
    /// `bytes_max` is the most that a frame may have now, header included.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there is not yet a whole frame; else what is wrong with it.
    pub fn parse(bytes: &'a [u8], bytes_max: usize) -> Result<(Self, &'a [u8]), DecodeError> {
        let Ok((header, rest)) = FrameHeader::ref_from_prefix(bytes) else {
            return Err(truncated(FRAME_HEADER_BYTES, bytes.len()));
        };
        let kind = header.check(bytes_max)?;
        let len = header.len.get() as usize;
        let Some((body, rest)) = rest.split_at_checked(len) else {
            return Err(truncated(len, rest.len()));
        };
        Ok((Self { kind, count: header.count.get(), body }, rest))
    }

    /// What the frame holds.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// How many messages it announces.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bytes behind the header.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The messages, in order. A frame of another kind has none that decode.
    #[must_use]
    pub fn messages(&self) -> Messages<'a> {
        Messages { left: self.count, body: self.body }
    }
}

/// A message as it came in.
#[derive(Debug, Clone, Copy)]
pub enum Incoming<'a> {
    /// What the sending node says of itself; it belongs to no group.
    Beat(Beat),
    /// Everything else but appends.
    Message {
        /// The group.
        group: u64,
        /// The message.
        message: Message,
    },
    /// An append; its blocks were not looked at yet: see [`check_append`].
    Append {
        /// The group.
        group: u64,
        /// The header.
        header: AppendHeader,
        /// The blocks, back to back; empty for a probe.
        blocks: &'a [u8],
    },
}

/// The messages of a frame. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    left: u32,
    body: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Incoming<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let left = std::mem::take(&mut self.body).len() as u64;
            return (left > 0).then_some(Err(DecodeError::Trailing { left }));
        }
        match decode(self.body) {
            Ok((incoming, rest)) => {
                self.left -= 1;
                self.body = rest;
                Some(Ok(incoming))
            }
            Err(error) => {
                self.left = 0;
                self.body = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Messages<'_> {}

fn decode(bytes: &[u8]) -> Result<(Incoming<'_>, &[u8]), DecodeError> {
    let Ok((header, rest)) = MessageHeader::ref_from_prefix(bytes) else {
        return Err(truncated(MESSAGE_HEADER_BYTES, bytes.len()));
    };
    if header.crc32c != checksum(header) {
        return Err(DecodeError::MessageChecksum);
    }
    let code = MessageCode::from_code(header.kind).ok_or(DecodeError::MessageKind(header.kind))?;
    if code == MessageCode::Beat {
        return Ok((Incoming::Beat(decode_beat(transmute_ref!(header))?), rest));
    }
    if header.flags > FLAG || header.reserved != U16::ZERO {
        return Err(DecodeError::Reserved);
    }
    let term = header.term.get();
    let greatest = header.fields.iter().fold(term, |greatest, field| greatest.max(field.get()));
    if greatest > NUMBER_MAX {
        return Err(DecodeError::Number(greatest));
    }
    let len = header.body_len.get();
    let Some((body, rest)) = rest.split_at_checked(len as usize) else {
        return Err(truncated(len as usize, rest.len()));
    };
    let group = header.group.get();
    let incoming = if code == MessageCode::Append {
        Incoming::Append { group, header: decode_append(header)?, blocks: body }
    } else if body.is_empty() {
        Incoming::Message { group, message: decode_message(header, code)? }
    } else {
        return Err(DecodeError::MessageBody { len });
    };
    Ok((incoming, rest))
}

fn decode_append(header: &MessageHeader) -> Result<AppendHeader, DecodeError> {
    if header.flags != 0 {
        return Err(DecodeError::Reserved);
    }
    let [prev_term, prev_index, last, commit, floor, read_round] = header.fields.map(U64::get);
    let len = header.body_len.get();
    // A probe has no entries and no bytes, an append has both.
    if last < prev_index || (last == prev_index) != (len == 0) {
        return Err(DecodeError::MessageBody { len });
    }
    Ok(AppendHeader {
        from: replica(header.from)?,
        to: replica(header.to)?,
        term: Term(header.term.get()),
        prev: Position { term: Term(prev_term), index: Index(prev_index) },
        last: Index(last),
        commit: Index(commit),
        floor: Index(floor),
        read_round,
        session: header.session.get(),
    })
}

fn decode_message(header: &MessageHeader, code: MessageCode) -> Result<Message, DecodeError> {
    let [a, b, c, d, e, f] = header.fields.map(U64::get);
    let position = |term: u64, index: u64| Position { term: Term(term), index: Index(index) };
    let flag = header.flags == FLAG;
    let (kind, used, flagged) = match code {
        MessageCode::PreVote => (MessageKind::PreVote { last: position(a, b) }, 2, false),
        MessageCode::PreVoteReply => (MessageKind::PreVoteReply { granted: flag }, 0, true),
        MessageCode::Vote => (MessageKind::Vote { last: position(a, b), forced: flag }, 2, true),
        MessageCode::VoteReply => (MessageKind::VoteReply { granted: flag }, 0, true),
        MessageCode::AppendAck => {
            (MessageKind::AppendAck { matched: position(a, b), read_round: c }, 3, false)
        }
        MessageCode::AppendReject => {
            let (prev, hint) = (Index(a), position(b, c));
            (MessageKind::AppendReject { prev, hint, read_round: d }, 4, false)
        }
        MessageCode::Heartbeat => {
            let (commit, floor) = (Index(a), Index(b));
            (MessageKind::Heartbeat { commit, floor, read_round: c, sleep: flag }, 3, true)
        }
        MessageCode::HeartbeatAck => (MessageKind::HeartbeatAck { read_round: a }, 1, false),
        MessageCode::TimeoutNow => (MessageKind::TimeoutNow { last: position(a, b) }, 2, false),
        MessageCode::Resign => (MessageKind::Resign, 0, false),
        MessageCode::ReadIndex => (MessageKind::ReadIndex { request: a }, 1, false),
        MessageCode::ReadIndexReply => {
            (MessageKind::ReadIndexReply { request: a, index: Index(b) }, 2, false)
        }
        MessageCode::Append | MessageCode::Beat => unreachable!("they take other paths"),
    };
    if [a, b, c, d, e, f][used..].iter().any(|field| *field != 0) || (flag && !flagged) {
        return Err(DecodeError::Reserved);
    }
    Ok(Message {
        from: replica(header.from)?,
        to: replica(header.to)?,
        term: Term(header.term.get()),
        kind,
        session: header.session.get(),
    })
}

fn replica(id: U64) -> Result<ReplicaId, DecodeError> {
    ReplicaId::new(id.get()).ok_or(DecodeError::ZeroReplica)
}

/// Checks all blocks of an append, checksums included, and adds their terms to `spans`.
///
/// After `Ok`, the blocks belong to `group`, follow `header.prev` without a gap, end at
/// `header.last`, and their terms never fall and never pass the leader's. `spans` then says the
/// same to the consensus core, neighbours of one term merged.
///
/// # Errors
/// [`DecodeError`] says what is wrong; `spans` is left as it was.
pub fn check_append(
    group: u64,
    header: &AppendHeader,
    blocks: &[u8],
    spans: &mut Vec<Span>,
) -> Result<(), DecodeError> {
    let start = spans.len();
    let result = walk_append(group, header, blocks, spans, start);
    if result.is_err() {
        spans.truncate(start);
    }
    result
}

fn walk_append(
    group: u64,
    header: &AppendHeader,
    blocks: &[u8],
    spans: &mut Vec<Span>,
    start: usize,
) -> Result<(), DecodeError> {
    let mut rest = blocks;
    let mut end = header.prev;
    while !rest.is_empty() {
        let (block, behind) = Block::parse(rest)?;
        rest = behind;
        if block.group() != group {
            return Err(DecodeError::AppendGroup { expected: group, found: block.group() });
        }
        let expected = end.index.next().0;
        if block.first().0 != expected {
            return Err(DecodeError::AppendGap { expected, found: block.first().0 });
        }
        let term = block.term();
        if term < end.term || term > header.term {
            let (least, most) = (end.term.0, header.term.0);
            return Err(DecodeError::AppendTerm { term: term.0, least, most });
        }
        block.verify()?;
        end = Position { term, index: block.last() };
        match spans[start..].last_mut() {
            Some(span) if span.term == term => span.last = end.index,
            _ => spans.push(Span { term, first: block.first(), last: end.index }),
        }
    }
    if end.index != header.last {
        return Err(DecodeError::AppendGap { expected: header.last.0, found: end.index.0 });
    }
    Ok(())
}

fn truncated(needed: usize, left: usize) -> DecodeError {
    DecodeError::Truncated { needed: needed as u64, left: left as u64 }
}

#[cfg(test)]
mod tests;
