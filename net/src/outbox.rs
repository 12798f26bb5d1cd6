//! All groups' messages for one peer, packed for one gathered write.
//!
//! Headers and small blocks are copied back to back into one reused buffer; blocks from
//! [`WRITEV_BYTES_MIN`] on are referenced where they lie and left to `writev`. A socket write costs
//! microseconds whatever is in it, a message in a gathered one tens of nanoseconds.
//!
//! ```text
//! copied:    [frame header | message header | message header + small block | message header ]
//! segments:  [Copied 0..n  ][Round 4096..70000  (a large block)              ][Copied n..m  ]
//! ```
//!
//! A round goes: `push_*` any number of times, [`Outbox::seal`] with the finished round buffer,
//! then [`Outbox::gather`] and [`Outbox::consume`] until all is written. Frames are closed at
//! [`FRAME_BYTES_TARGET`], so that the receiver starts early and its buffer stays small, and never
//! pass [`FRAME_BYTES_MAX`].
//!
//! What always holds: only sealed bytes are given to a socket, in the order of the pushes; a frame
//! on the wire is never left without its rest. When everything was written nothing is held.
//!
//! The bound: [`Outbox::window_left`] says how much more may be pushed as appends; the caller asks
//! first. Messages without a body are always taken, since their number is bounded by the number of
//! groups; the event loop ends the connection at a hard limit far above the soft one.
//!
//! Deliberately absent: dropping. What was pushed is written, or the connection ends.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use kontiki_raft::{AppendHeader, Message};
use zerocopy::IntoBytes;

use crate::beat::{Beat, encode_beat};
use crate::codec::{encode_append, encode_message};
use crate::wire::{
    APPEND_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Hello,
    MESSAGE_HEADER_BYTES, Refuse,
};

/// Blocks from this size on are referenced, smaller ones are copied.
///
/// Measured with `benches/wire_codec.rs` (a round of 1,000 appends through loopback, on a busy
/// machine): blocks of 2.7 KB take 0.7 to 1.3 ms referenced and 2.0 to 3.4 ms copied, blocks of
/// 1.4 KB 0.7 to 1.3 ms and 1.8 to 2.1 ms. Copying a large round leaves the cache twice.
pub const WRITEV_BYTES_MIN: usize = 1 << 10;

/// A frame that has reached this size takes no further message.
pub const FRAME_BYTES_TARGET: usize = 256 << 10;

/// The most slices one gathered write lists.
pub const SLICES_MAX: usize = 128;

const _: () = assert!(FRAME_BYTES_TARGET + FRAME_HEADER_BYTES <= FRAME_BYTES_MAX);

/// Where the bytes of one or more consecutive blocks of a group lie.
#[derive(Debug, Clone)]
pub enum BlockSource {
    /// In the round buffer that is being built.
    Round {
        /// The bytes there.
        range: Range<usize>,
    },
    /// In a buffer that is finished.
    Shared {
        /// The buffer.
        buffer: Arc<Vec<u8>>,
        /// The bytes there.
        range: Range<usize>,
    },
}

impl BlockSource {
    fn range(&self) -> &Range<usize> {
        match self {
            Self::Round { range } | Self::Shared { range, .. } => range,
        }
    }
}

#[derive(Debug)]
enum Segment {
    /// Bytes of `Outbox::copied`, counted from the beginning of time (see `Outbox::base`).
    Copied(Range<u64>),
    /// Bytes of the round buffer that is not finished yet.
    Round(Range<usize>),
    /// Bytes of a finished buffer.
    Shared(Arc<Vec<u8>>, Range<usize>),
}

/// The frame that still takes messages.
#[derive(Debug)]
struct OpenFrame {
    /// Where its header lies, counted like `Segment::Copied`.
    header: u64,
    /// Bytes behind the header.
    len: usize,
    count: u32,
}

/// The write queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    copied: Vec<u8>,
    /// The count that `copied[0]` has.
    base: u64,
    segments: VecDeque<Segment>,
    frame: Option<OpenFrame>,
    /// How many segments still refer to the unfinished round.
    unfinished: usize,
    queued: usize,
    limit: usize,
    was_high: bool,
    messages: u64,
    frames: u64,
}

impl Outbox {
    /// An empty queue that asks its user to stop at `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            copied: Vec::new(),
            base: 0,
            segments: VecDeque::new(),
            frame: None,
            unfinished: 0,
            queued: 0,
            limit: bytes_max,
            was_high: false,
            messages: 0,
            frames: 0,
        }
    }

    /// Queues a message without a body.
    #[inline]
    pub fn push_message(&mut self, group: u64, message: &Message) {
        self.open(MESSAGE_HEADER_BYTES);
        let start = self.copied.len();
        encode_message(&mut self.copied, group, message);
        self.note_copied(start);
    }

    /// Queues a beat.
    #[inline]
    pub fn push_beat(&mut self, beat: &Beat) {
        self.open(MESSAGE_HEADER_BYTES);
        let start = self.copied.len();
        encode_beat(&mut self.copied, beat);
        self.note_copied(start);
    }

    /// Queues an append with its blocks; `round` is the round buffer as far as it is built.
    ///
    /// A [`BlockSource::Round`] of [`WRITEV_BYTES_MIN`] bytes or more is kept as a reference, so
    /// the bytes must lie at the same place in the buffer that [`Self::seal`] is given.
    ///
    /// # Panics
    /// When the blocks have more than [`APPEND_BYTES_MAX`] bytes, or lie outside of their buffer.
    pub fn push_append(
        &mut self,
        group: u64,
        append: &AppendHeader,
        blocks: &[BlockSource],
        round: &[u8],
    ) {
        let body: usize = blocks.iter().map(|block| block.range().len()).sum();
        assert!(body <= APPEND_BYTES_MAX, "append of {body} bytes, limit {APPEND_BYTES_MAX}");
        let body_len = u32::try_from(body).expect("bounded by the frame limit");
        self.open(MESSAGE_HEADER_BYTES + body);
        let start = self.copied.len();
        encode_append(&mut self.copied, group, append, body_len);
        self.note_copied(start);
        for block in blocks {
            match block {
                BlockSource::Round { range } if range.len() >= WRITEV_BYTES_MIN => {
                    assert!(range.end <= round.len(), "{range:?} past {}", round.len());
                    self.refer_round(range.clone());
                }
                BlockSource::Shared { buffer, range } if range.len() >= WRITEV_BYTES_MIN => {
                    assert!(range.end <= buffer.len(), "{range:?} past {}", buffer.len());
                    self.refer_shared(buffer, range.clone());
                }
                BlockSource::Round { range } => self.copy(&round[range.clone()]),
                BlockSource::Shared { buffer, range } => self.copy(&buffer[range.clone()]),
            }
        }
    }

    /// Queues a greeting as a frame of its own.
    pub fn push_hello(&mut self, hello: &Hello) {
        self.push_control(FrameKind::Hello, hello.as_bytes());
    }

    /// Queues a refusal as a frame of its own.
    pub fn push_refuse(&mut self, refuse: &Refuse) {
        self.push_control(FrameKind::Refuse, refuse.as_bytes());
    }

    /// Closes the open frame and ties references to the finished round buffer.
    ///
    /// # Panics
    /// When something refers to a round and none is given.
    pub fn seal(&mut self, round: Option<&Arc<Vec<u8>>>) {
        self.close();
        if self.unfinished == 0 {
            return;
        }
        let round = round.expect("a queue that refers to the round is sealed with it");
        // What refers to the round was pushed since the last seal, so it lies at the end.
        for segment in self.segments.iter_mut().rev() {
            if let Segment::Round(range) = segment {
                assert!(range.end <= round.len(), "{range:?} past {}", round.len());
                *segment = Segment::Shared(Arc::clone(round), range.clone());
                self.unfinished -= 1;
                if self.unfinished == 0 {
                    return;
                }
            }
        }
        unreachable!("{} references to the round are not listed", self.unfinished);
    }

    /// Lists the bytes at the front of the queue; returns how many slices it filled.
    ///
    /// # Panics
    /// When the queue is not sealed.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        assert!(self.is_sealed(), "only a sealed queue is written");
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(match segment {
                Segment::Copied(range) => &self.copied[self.place(range)],
                Segment::Shared(buffer, range) => &buffer[range.clone()],
                Segment::Round(_) => unreachable!("sealing ties all references"),
            });
            filled += 1;
        }
        filled
    }

    /// Forgets the first `n` bytes: they were written.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn consume(&mut self, mut n: usize) {
        assert!(n <= self.queued && self.is_sealed(), "{n} of {} bytes written", self.queued);
        self.queued -= n;
        while n > 0 {
            let front = self.segments.front_mut().expect("queued bytes lie in segments");
            let len = match front {
                Segment::Copied(range) => {
                    let len = usize::try_from(range.end - range.start).expect("fits the buffer");
                    range.start += n.min(len) as u64;
                    len
                }
                Segment::Shared(_, range) | Segment::Round(range) => {
                    let len = range.len();
                    range.start += n.min(len);
                    len
                }
            };
            if n < len {
                break;
            }
            n -= len;
            self.segments.pop_front();
        }
        self.reclaim();
    }

    /// Bytes queued and not yet written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Bytes that may be queued before the soft limit; ask before [`Self::push_append`].
    ///
    /// Whoever holds back asks again after [`crate::NetEvent::Writable`], which tells that a queue
    /// that was more than half full is so no longer; half a queue has room for any append.
    #[must_use]
    pub fn window_left(&self) -> usize {
        self.limit.saturating_sub(self.queued)
    }

    /// Messages queued since the connection began.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Frames queued since the connection began.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether a queue that was more than half full is so no longer; true once per filling.
    pub(crate) fn take_writable(&mut self) -> bool {
        let drained = self.was_high && self.queued <= self.limit / 2;
        self.was_high &= !drained;
        drained
    }

    /// Whether all that is queued may be written.
    pub(crate) fn is_sealed(&self) -> bool {
        self.frame.is_none() && self.unfinished == 0
    }

    /// Makes sure that a frame is open and takes `bytes` more.
    #[inline]
    fn open(&mut self, bytes: usize) {
        if let Some(frame) = &mut self.frame {
            if frame.len < FRAME_BYTES_TARGET
                && FRAME_HEADER_BYTES + frame.len + bytes <= FRAME_BYTES_MAX
            {
                frame.len += bytes;
                frame.count += 1;
                self.messages += 1;
                return;
            }
            self.close();
        }
        let header = self.base + self.copied.len() as u64;
        self.frame = Some(OpenFrame { header, len: bytes, count: 1 });
        self.messages += 1;
        self.copy(&[0; FRAME_HEADER_BYTES]);
    }

    /// Writes the header of the open frame, now that its length is known.
    fn close(&mut self) {
        let Some(frame) = self.frame.take() else { return };
        let len = u32::try_from(frame.len).expect("bounded by the frame limit");
        let header = FrameHeader::new(FrameKind::Messages, len, frame.count);
        let place = self.place(&(frame.header..frame.header + FRAME_HEADER_BYTES as u64));
        self.copied[place].copy_from_slice(header.as_bytes());
        self.frames += 1;
        self.was_high |= self.queued > self.limit / 2;
    }

    fn push_control(&mut self, kind: FrameKind, body: &[u8]) {
        self.close();
        let len = u32::try_from(body.len()).expect("greetings are small");
        self.copy(FrameHeader::new(kind, len, 1).as_bytes());
        self.copy(body);
        self.frames += 1;
    }

    #[inline]
    fn copy(&mut self, bytes: &[u8]) {
        let start = self.copied.len();
        self.copied.extend_from_slice(bytes);
        self.note_copied(start);
    }

    /// Lists what was appended to `copied` since it had `start` bytes.
    #[inline]
    fn note_copied(&mut self, start: usize) {
        let range = self.base + start as u64..self.base + self.copied.len() as u64;
        self.queued += self.copied.len() - start;
        if let Some(Segment::Copied(last)) = self.segments.back_mut()
            && last.end == range.start
        {
            last.end = range.end;
        } else {
            self.segments.push_back(Segment::Copied(range));
        }
    }

    fn refer_round(&mut self, range: Range<usize>) {
        self.queued += range.len();
        match self.segments.back_mut() {
            Some(Segment::Round(last)) if last.end == range.start => last.end = range.end,
            _ => {
                self.unfinished += 1;
                self.segments.push_back(Segment::Round(range));
            }
        }
    }

    fn refer_shared(&mut self, buffer: &Arc<Vec<u8>>, range: Range<usize>) {
        self.queued += range.len();
        match self.segments.back_mut() {
            Some(Segment::Shared(last, end))
                if Arc::ptr_eq(last, buffer) && end.end == range.start =>
            {
                end.end = range.end;
            }
            _ => self.segments.push_back(Segment::Shared(Arc::clone(buffer), range)),
        }
    }

    /// Where counted bytes lie in `copied` now.
    fn place(&self, range: &Range<u64>) -> Range<usize> {
        let at = |count: u64| usize::try_from(count - self.base).expect("lies in the buffer");
        at(range.start)..at(range.end)
    }

    /// Gives back the written front of `copied`, at a cost that is constant per byte.
    fn reclaim(&mut self) {
        if self.segments.is_empty() {
            self.base += self.copied.len() as u64;
            self.copied.clear();
            return;
        }
        let first = self.segments.iter().find_map(|segment| match segment {
            Segment::Copied(range) => Some(range.start),
            Segment::Round(_) | Segment::Shared(..) => None,
        });
        let first = first.unwrap_or(self.base + self.copied.len() as u64);
        let dead = usize::try_from(first - self.base).expect("lies in the buffer");
        if dead > self.copied.len() / 2 {
            self.copied.drain(..dead);
            self.base = first;
        }
    }
}

#[cfg(test)]
mod tests;
