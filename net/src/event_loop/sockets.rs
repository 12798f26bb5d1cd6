//! The [`System`] that there is in production: TCP sockets and mio.
//!
//! Deliberately absent: decisions. A socket's flags and the poll are all there is.

use std::any::Any;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::net::sockopt;

use super::Waker;
use super::system::{Readiness, Source, Stream, System};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Events taken from the system at a time; more wait there.
const EVENTS_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Sockets {
    poll: Poll,
    ready: Events,
    waker: Waker,
    listener: Option<TcpListener>,
    buffer_bytes: Option<usize>,
    dead_us: u64,
}

impl Sockets {
    /// Streams that count as dead when nothing confirms their bytes for `dead_us`.
    pub(super) fn new(
        listener: Option<StdListener>,
        buffer_bytes: Option<usize>,
        dead_us: u64,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(mio::Waker::new(poll.registry(), WAKER)?);
        let listener = match listener {
            None => None,
            Some(listener) => {
                listener.set_nonblocking(true)?;
                let mut listener = TcpListener::from_std(listener);
                poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
                Some(listener)
            }
        };
        let ready = Events::with_capacity(EVENTS_MAX);
        Ok(Self { poll, ready, waker, listener, buffer_bytes, dead_us })
    }
}

/// The socket in a stream that this system made.
fn socket(stream: &mut dyn Stream) -> &mut TcpStream {
    let stream: &mut dyn Any = stream;
    stream.downcast_mut().expect("a system is given the streams that it made")
}

impl System for Sockets {
    fn poll(
        &mut self,
        timeout: Option<Duration>,
        note: &mut dyn FnMut(Readiness),
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.ready, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Err(_) => self.ready.clear(),
            Ok(()) => {}
        }
        for event in &self.ready {
            let source = match event.token() {
                WAKER => Source::Waker,
                LISTENER => Source::Listener,
                Token(slot) => Source::Stream(slot),
            };
            let read_closed = event.is_read_closed();
            note(Readiness {
                source,
                readable: event.is_readable() || read_closed,
                writable: event.is_writable() || event.is_error(),
                read_closed,
            });
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let Some(listener) = &self.listener else { return Err(io::ErrorKind::WouldBlock.into()) };
        let (stream, address) = listener.accept()?;
        Ok((Box::new(stream), address))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(TcpStream::connect(address)?))
    }

    fn register(&mut self, stream: &mut dyn Stream, slot: usize) -> io::Result<()> {
        let stream = socket(stream);
        tune(stream, self.buffer_bytes, self.dead_us)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, Token(slot), interest)
    }

    fn deregister(&mut self, stream: &mut dyn Stream) -> io::Result<()> {
        self.poll.registry().deregister(socket(stream))
    }
}

impl Stream for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        io::Read::read(self, into)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        io::Write::write_vectored(self, slices)
    }

    fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Settings that every connection has, whichever side called.
fn tune(stream: &TcpStream, buffer_bytes: Option<usize>, dead_us: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(bytes) = buffer_bytes {
        sockopt::set_socket_send_buffer_size(stream, bytes)?;
        sockopt::set_socket_recv_buffer_size(stream, bytes)?;
    }
    // A peer that vanished without a word is noticed by the kernel: idle by probes, else by bytes
    // that nobody confirms.
    let dead = Duration::from_micros(dead_us).max(Duration::from_secs(1));
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, dead)?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(dead.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, millis)?;
    }
    Ok(())
}
