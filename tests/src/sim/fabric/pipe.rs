//! Bytes from one end of a connection to the other: written, split, flying, arrived, read.
//!
//! What does not fit between a writer and a reader who does not read is refused, and the writer is told when there is room
//! again. Frames are recognised where they are written, so that the rules can look at them, and again where their last
//! byte is read.
//!
//! Deliberately absent: loss, duplication and reordering of bytes. A stream has none; `copies.rs` has.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use super::connection::{Due, Ending};
use super::{Heard, Inner, Sent};
use crate::sim::marks::Mark;

#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) flying: VecDeque<(u64, Vec<u8>)>,
    pub(super) arrived: VecDeque<(Vec<u8>, usize)>,
    /// Bytes flying or arrived.
    pub(super) bytes: usize,
    pub(super) last_at: u64,
    /// The writer found no room, and is to be told.
    starved: bool,
    /// Bytes sent that were not looked at yet.
    seen: Vec<u8>,
    /// Bytes of whole frames that were sent, and bytes that were read.
    framed: u64,
    read: u64,
    /// Frames that were not read to their end yet: where that is, and their numbers.
    frames: VecDeque<(u64, u64)>,
}

impl Inner {
    pub(super) fn write(
        &mut self,
        id: u64,
        at: usize,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let capacity = self.plan.buffer_bytes;
        let connection = self.connections.get_mut(&id).ok_or(ErrorKind::ConnectionReset)?;
        match connection.ends[at].ending {
            Some(Ending::Timeout) => return Err(ErrorKind::TimedOut.into()),
            Some(Ending::Reset | Ending::Close) => return Err(ErrorKind::BrokenPipe.into()),
            None => {}
        }
        let (from, to) = (connection.ends[at].node, connection.ends[1 - at].node);
        let boot = connection.ends[at].boot.max(connection.ends[1 - at].boot);
        let pipe = &mut connection.pipes[at];
        let room = capacity.saturating_sub(pipe.bytes);
        let listed: usize = slices.iter().map(|slice| slice.len()).sum();
        let n = listed.min(room);
        pipe.starved |= n < listed;
        if n < listed {
            self.marks.set(Mark::Starved);
        }
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut data = Vec::with_capacity(n);
        for slice in slices {
            let left = n - data.len();
            data.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        pipe.bytes += n;
        pipe.seen.extend_from_slice(&data);
        if boot != u64::MAX {
            let lane = connection.ends[at].lane;
            for bytes in split_frames(&mut pipe.seen) {
                self.frames += 1;
                pipe.framed += bytes.len() as u64;
                pipe.frames.push_back((pipe.framed, self.frames));
                self.sent.push(Sent { number: self.frames, from, to, lane, bytes });
            }
        }
        self.launch(id, at, data);
        Ok(n)
    }

    /// Sends bytes on their way, in one piece or several.
    pub(super) fn launch(&mut self, id: u64, at: usize, mut data: Vec<u8>) {
        let connection = &self.connections[&id];
        let (from, to) = (connection.ends[at].node, connection.ends[1 - at].node);
        loop {
            let split = data.len() > 1 && self.rng.chance(self.plan.split_per_mille);
            let rest = if split {
                let keep = 1 + self.rng.place(data.len() - 1);
                data.split_off(keep)
            } else {
                Vec::new()
            };
            let when = self.arrival(from, to, data.len());
            let pipe = &mut self.connections.get_mut(&id).expect("seen just now").pipes[at];
            pipe.last_at = pipe.last_at.max(when);
            let when = pipe.last_at;
            pipe.flying.push_back((when, data));
            self.due.push((when, Due::Bytes(id, at)));
            if rest.is_empty() {
                return;
            }
            data = rest;
        }
    }

    pub(super) fn bytes(&mut self, id: u64, from: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get(&id) else { return };
        let (a, b) = (connection.ends[from].node, connection.ends[1 - from].node);
        let cut_until = self.line(a, b).cut_until;
        if cut_until > now {
            let again = self.rng.between(1000, 200_000); // The next try of the sender's kernel.
            self.due.push((cut_until + again, Due::Bytes(id, from)));
            return;
        }
        let (other_up, other_boot) = (self.host(b).up, self.host(b).boot);
        let connection = self.connections.get_mut(&id).expect("seen just now");
        let other = &connection.ends[1 - from];
        let outside = other.boot == u64::MAX && !other.gone;
        if !outside && (other.silent || other.gone || other.boot != other_boot) {
            if other_up {
                // Its kernel does not know the connection, and says so.
                self.happen(Due::End(id, from, Ending::Reset));
            }
            return;
        }
        let pipe = &mut connection.pipes[from];
        let mut any = false;
        while pipe.flying.front().is_some_and(|&(at, _)| at <= now) {
            let (_, bytes) = pipe.flying.pop_front().expect("seen just now");
            pipe.arrived.push_back((bytes, 0));
            any = true;
        }
        if any {
            self.tell(id, 1 - from, true, false, false);
        }
    }

    pub(super) fn read(&mut self, id: u64, at: usize, into: &mut [u8]) -> io::Result<usize> {
        let now = self.now;
        let connection = self.connections.get_mut(&id).ok_or(ErrorKind::ConnectionReset)?;
        let pipe = &mut connection.pipes[1 - at];
        match connection.ends[at].ending {
            Some(Ending::Reset) => return Err(ErrorKind::ConnectionReset.into()),
            Some(Ending::Timeout) => return Err(ErrorKind::TimedOut.into()),
            Some(Ending::Close) if pipe.arrived.is_empty() => return Ok(0),
            Some(Ending::Close) | None => {}
        }
        let mut filled = 0;
        while filled < into.len() {
            let Some((bytes, start)) = pipe.arrived.front_mut() else { break };
            let n = (bytes.len() - *start).min(into.len() - filled);
            into[filled..filled + n].copy_from_slice(&bytes[*start..*start + n]);
            filled += n;
            *start += n;
            if *start == bytes.len() {
                pipe.arrived.pop_front();
            }
        }
        if filled == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.bytes -= filled;
        pipe.read += filled as u64;
        while let Some(&(end, number)) = pipe.frames.front()
            && end <= pipe.read
        {
            pipe.frames.pop_front();
            self.heard.push(Heard { number, connection: id, at });
        }
        if std::mem::take(&mut pipe.starved) {
            let (from, to) = (connection.ends[at].node, connection.ends[1 - at].node);
            let when = self.arrival(from, to, 64);
            self.due.push((when.max(now), Due::Room(id, 1 - at)));
        }
        Ok(filled)
    }
}

/// Takes whole frames off the front of `bytes`.
fn split_frames(bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let (mut at, mut frames) = (0, Vec::new());
    while bytes.len() - at >= kontiki_net::FRAME_HEADER_BYTES {
        let len = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let whole = kontiki_net::FRAME_HEADER_BYTES + u32::from_le_bytes(len) as usize;
        if bytes.len() - at < whole {
            break;
        }
        frames.push(bytes[at..at + whole].to_vec());
        at += whole;
    }
    bytes.drain(..at);
    frames
}
