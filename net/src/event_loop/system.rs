//! What the transport asks of an operating system: readiness, calls, accepts, bytes.
//!
//! There are two implementations: sockets (`Sockets`), and the simulator's streams. So the
//! whole life of a connection, with its partial reads and its replacements, runs in a simulation as it runs here.
//!
//! What always holds: readiness is edge-triggered, as epoll's is. A side that was told once is told again only after
//! a transfer that moved less than it could, or nothing.
//!
//! Deliberately absent: anything but streams. Who is called, when, and what a stream carries is decided by others.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use super::Waker;

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The listener has somebody waiting.
    Listener,
    /// Somebody wants this worker to look at its queues.
    Waker,
    /// The stream that was registered as this slot.
    Stream(usize),
}

/// One event of readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// What it is about.
    pub source: Source,
    /// There may be bytes.
    pub readable: bool,
    /// There may be room.
    pub writable: bool,
    /// The other side will send nothing more.
    pub read_closed: bool,
}

/// One end of a stream of bytes.
pub trait Stream: Any + fmt::Debug + Send {
    /// Reads what is there, up to the size of `into`; zero bytes mean the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there yet; another error when the stream is broken.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes as much of `slices` as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room at all; another error when the stream is broken.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether a call was answered.
    ///
    /// # Errors
    /// When it was declined.
    fn is_connected(&self) -> io::Result<bool>;
}

/// Where streams come from.
pub trait System: fmt::Debug + Send {
    /// Waits for something to be ready, for at most `timeout` (`None`: as long as it takes), and says what is.
    ///
    /// # Errors
    /// When waiting is not possible any more. Being interrupted is not an error.
    fn poll(
        &mut self,
        timeout: Option<Duration>,
        note: &mut dyn FnMut(Readiness),
    ) -> io::Result<()>;

    /// A handle that ends a poll from any thread.
    fn waker(&self) -> Waker;

    /// Where calls come in, if this system has a listener.
    fn local_addr(&self) -> Option<SocketAddr>;

    /// Takes the next call that came in.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)>;

    /// Begins a call.
    ///
    /// # Errors
    /// When it cannot even begin.
    fn connect(&mut self, address: SocketAddr) -> io::Result<Box<dyn Stream>>;

    /// Makes `stream` ready for use, and tells of its readiness as that of `slot` from now on.
    ///
    /// # Errors
    /// When the system cannot watch it.
    fn register(&mut self, stream: &mut dyn Stream, slot: usize) -> io::Result<()>;

    /// Tells no more of `stream`, which goes to another worker.
    ///
    /// # Errors
    /// When the system refuses.
    fn deregister(&mut self, stream: &mut dyn Stream) -> io::Result<()>;
}
