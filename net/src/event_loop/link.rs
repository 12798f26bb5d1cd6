//! A stream with its [`Conn`]: moves bytes between the two and nothing else.
//!
//! Readiness is edge-triggered, so a flag stays up until the socket says `WouldBlock` (or, on
//! Linux, until a read or write moves less than it could, which says the same without a further
//! system call). Whoever stops early for fairness leaves the flag up and comes back.
//!
//! Deliberately absent: knowledge of peers, and of other links.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::system::Stream;
use crate::ConnError;
use crate::conn::Conn;
use crate::outbox::SLICES_MAX;
use crate::peer::Patience;

/// Names one link for as long as the transport lives: slots are used again, serials are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkId {
    pub(super) slot: usize,
    pub(super) serial: u64,
}

/// A short transfer means that the kernel has no more bytes, or no more room (see epoll(7)).
const SHORT_MEANS_BLOCKED: bool = cfg!(target_os = "linux");

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The call is not answered yet.
    Connecting,
    /// Greetings are exchanged.
    Greeting,
    /// Up, but the caller of the transport has not taken the event yet.
    Announcing,
    /// Up.
    Open,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) serial: u64,
    pub(super) stream: Box<dyn Stream>,
    pub(super) address: SocketAddr,
    pub(super) conn: Conn,
    pub(super) stage: Stage,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer will send nothing more: read on to the end.
    pub(super) read_closed: bool,
    /// An event came since anybody looked.
    pub(super) told: bool,
    pub(super) traffic: Traffic,
    /// For the handshake first, then for a queue that does not move.
    pub(super) patience: Patience,
}

/// What one socket has moved.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub(super) reads: u64,
    pub(super) bytes_in: u64,
    pub(super) writes: u64,
    pub(super) bytes_out: u64,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    Bytes,
    WouldBlock,
}

impl Link {
    /// Whether the handshake is done.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Announcing | Stage::Open)
    }

    /// When the patience with this link ends, if it is being tried.
    pub(super) fn deadline(&mut self, now_us: u64) -> Option<u64> {
        if self.is_up() && self.conn.queue().is_empty() {
            self.patience.restart();
            return None;
        }
        Some(self.patience.until(now_us))
    }

    /// One read into the connection's buffer.
    pub(super) fn read(&mut self) -> Result<ReadOutcome, ConnError> {
        loop {
            let space = self.conn.read_space();
            let room = space.len();
            assert!(room > 0, "complete frames are taken before more is read");
            match self.stream.read(space) {
                Ok(0) => return Err(ConnError::Closed),
                Ok(n) => {
                    self.conn.filled(n);
                    self.traffic.reads += 1;
                    self.traffic.bytes_in += n as u64;
                    self.readable = n == room || self.read_closed || !SHORT_MEANS_BLOCKED;
                    return Ok(ReadOutcome::Bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(ReadOutcome::WouldBlock);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConnError::Io(error.kind())),
            }
        }
    }

    /// Writes the sealed queue until it is empty or the socket is full; says whether it moved.
    pub(super) fn write(&mut self) -> Result<bool, ConnError> {
        let mut moved = false;
        while self.writable && !self.conn.queue().is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.conn.queue().gather(&mut slices);
            let listed: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            match self.stream.write_vectored(&slices[..filled]) {
                Ok(0) => return Err(ConnError::Io(io::ErrorKind::WriteZero)),
                Ok(n) => {
                    self.conn.outbox().consume(n);
                    self.writable = n == listed || !SHORT_MEANS_BLOCKED;
                    self.traffic.writes += 1;
                    self.traffic.bytes_out += n as u64;
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConnError::Io(error.kind())),
            }
        }
        Ok(moved)
    }

    /// Whether the call was answered; an error when it was declined.
    pub(super) fn is_connected(&self) -> Result<bool, ConnError> {
        self.stream.is_connected().map_err(|error| ConnError::Io(error.kind()))
    }
}
