//! The read side's one buffer: bytes come in at the end, whole frames leave at the front.
//!
//! Frames are handed out as slices of the buffer itself. Only the tail of a frame that is not
//! complete yet is ever moved, to the front, when room is needed behind it. The buffer grows past
//! its start size only to the size of a frame whose header was checked, so the other side cannot
//! make it grow beyond the frame limit.
//!
//! What always holds: `start <= end <= bytes.len() <= limit`, bytes in `start..end` are unread.
//!
//! Deliberately absent: sockets, and any idea of what a frame means.

use crate::DecodeError;
use crate::codec::Frame;
use crate::wire::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader};
use zerocopy::FromBytes;

/// Bytes of a fresh buffer: enough for a round of many groups' small messages.
pub(crate) const READ_BUFFER_BYTES: usize = 64 << 10;

/// A buffer that grew past this goes back to it once it is empty.
const READ_BUFFER_KEPT_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the frame at the front, header included, once its header was checked.
    frame: Option<usize>,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; READ_BUFFER_BYTES], start: 0, end: 0, frame: None }
    }

    /// Room for at least one more byte, and for all of the frame at the front if that is known.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let wanted = self.frame.unwrap_or(FRAME_HEADER_BYTES);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > READ_BUFFER_KEPT_BYTES && wanted <= READ_BUFFER_KEPT_BYTES {
                self.bytes.truncate(READ_BUFFER_KEPT_BYTES);
                self.bytes.shrink_to_fit();
            }
        }
        if self.start + wanted > self.bytes.len() || self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if wanted > self.bytes.len() {
            let room = wanted.next_power_of_two().min(FRAME_BYTES_MAX);
            self.bytes.resize(room, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Counts `n` bytes that were read into [`Self::space`].
    pub(crate) fn filled(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.end, "{n} bytes read into less room");
        self.end += n;
    }

    /// Whether [`Self::next_frame`] would give something now: a frame or an error.
    pub(crate) fn is_ready(&self, bytes_max: usize) -> bool {
        let unread = &self.bytes[self.start..self.end];
        let Ok((header, _)) = FrameHeader::ref_from_prefix(unread) else {
            return false;
        };
        match self.frame {
            Some(bytes) => unread.len() >= bytes,
            None => match header.check(bytes_max) {
                Ok(_) => unread.len() >= FRAME_HEADER_BYTES + header.len.get() as usize,
                Err(_) => true,
            },
        }
    }

    /// The frame at the front, if it is complete; it is gone from the buffer afterwards.
    pub(crate) fn next_frame(
        &mut self,
        bytes_max: usize,
    ) -> Result<Option<Frame<'_>>, DecodeError> {
        let unread = self.end - self.start;
        let bytes = match self.frame {
            Some(bytes) => bytes,
            None if unread < FRAME_HEADER_BYTES => return Ok(None),
            None => {
                let front = &self.bytes[self.start..self.end];
                let (header, _) =
                    FrameHeader::ref_from_prefix(front).expect("the length was just compared");
                header.check(bytes_max)?;
                let bytes = FRAME_HEADER_BYTES + header.len.get() as usize;
                self.frame = Some(bytes);
                bytes
            }
        };
        if unread < bytes {
            return Ok(None);
        }
        let front = self.start..self.start + bytes;
        self.start = front.end;
        self.frame = None;
        let (frame, rest) = Frame::parse(&self.bytes[front], bytes_max)?;
        debug_assert!(rest.is_empty(), "a frame is as long as its header says");
        Ok(Some(frame))
    }

    /// Bytes read and not yet handed out.
    pub(crate) fn unread(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
