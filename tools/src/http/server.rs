//! The admin listener: a thread that accepts, and one thread per connection, of which there is a bounded number.
//!
//! Blocking sockets and a thread each are the simplest thing that serves a scraper, an operator and a load
//! generator's hundred connections; the path that must be fast is between the nodes and not here.
//!
//! Bounds: [`CONNECTIONS_MAX`] connections (one more is told 503 and closed), requests as in `message`, and a time
//! for each: [`IDLE`] between requests, [`WHOLE`] for a request to arrive once it began, [`WRITE`] for a write
//! that makes no progress.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use kontiki::clock::Clock;
use parking_lot::{Condvar, Mutex};

use super::message::{Head, Malformed, Request, Response, parse_head};
use crate::api::ErrorReport;

/// The most connections at one time; what one costs is a thread and at most one request.
pub const CONNECTIONS_MAX: usize = 256;

/// How long a connection may wait for its next request.
const IDLE: Duration = Duration::from_secs(60);
/// How long a request may take from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(30);
/// How long one write may make no progress.
const WRITE: Duration = Duration::from_secs(10);

/// What answers a request.
type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A running listener; [`Server::stop`] ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a connection has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    next_id: u64,
    /// A second handle on the socket of each connection, so that stopping can wake its thread.
    connections: BTreeMap<u64, TcpStream>,
}

impl Server {
    /// Serves `listener` until stopped.
    ///
    /// # Errors
    /// When the listener has no address, or no thread can be started.
    pub fn start(
        listener: TcpListener,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let handler: Arc<Handler> = Arc::new(handler);
        let acceptor = {
            let shared = Arc::clone(&shared);
            Builder::new()
                .name("admin".into())
                .spawn(move || accept(&listener, &shared, &handler))?
        };
        Ok(Self { address, shared, acceptor })
    }

    /// The address that is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, ends every connection, and waits for their threads, `limit` at most.
    pub fn stop(self, limit: Duration) {
        let mut state = self.shared.state.lock();
        state.stopping = true;
        for stream in state.connections.values() {
            // Whoever is in the middle of a request may still write its answer.
            drop(stream.shutdown(Shutdown::Read));
        }
        drop(state);
        // The acceptor sleeps in `accept`; a connection wakes it.
        let mut target = self.address;
        if target.ip().is_unspecified() {
            target.set_ip(match target.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        if TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_ok() {
            // A panic of the acceptor was printed; there is nothing left to stop then.
            drop(self.acceptor.join());
        }
        let mut state = self.shared.state.lock();
        self.shared.ended.wait_while_for(&mut state, |s| !s.connections.is_empty(), limit);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<Handler>) {
    loop {
        let accepted = listener.accept();
        if shared.state.lock().stopping {
            return;
        }
        match accepted {
            Ok((stream, _)) => begin(stream, shared, handler),
            // Out of descriptors, or the peer was gone already: a moment later there may be room.
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
}

/// Starts the thread of a connection, or tells it that there is no room.
fn begin(stream: TcpStream, shared: &Arc<Shared>, handler: &Arc<Handler>) {
    let id = {
        let mut state = shared.state.lock();
        let second = stream.try_clone();
        if let (true, Ok(second)) = (state.connections.len() < CONNECTIONS_MAX, second) {
            let id = state.next_id;
            state.next_id += 1;
            state.connections.insert(id, second);
            id
        } else {
            drop(state);
            refuse(&stream);
            return;
        }
    };
    let (shared2, handler) = (Arc::clone(shared), Arc::clone(handler));
    let spawned =
        Builder::new().name(format!("admin-{id}")).stack_size(512 << 10).spawn(move || {
            let _ends = Ends { id, shared: shared2 };
            // Its error is the connection's end, which needs no other word.
            drop(Connection { stream, buffer: Vec::new(), clock: Clock::new() }.serve(&*handler));
        });
    if spawned.is_err() {
        shared.state.lock().connections.remove(&id);
    }
}

fn refuse(mut stream: &TcpStream) {
    let busy = ErrorReport::new("too many connections to the admin listener");
    if stream.set_write_timeout(Some(Duration::from_millis(100))).is_ok() {
        // Whether it is heard or not, the connection closes.
        drop(stream.write_all(&Response::json(503, &busy).encode(false)));
    }
}

/// Takes the connection off the list however its thread ends, by a panic of the handler too.
struct Ends {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.shared.state.lock().connections.remove(&self.id);
        self.shared.ended.notify_all();
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes that were read and not yet used.
    buffer: Vec<u8>,
    clock: Clock,
}

impl Connection {
    /// One request after the other, until the peer closes, stalls, or is not understood.
    fn serve(mut self, handler: &Handler) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(WRITE))?;
        loop {
            if self.buffer.is_empty() && !self.fill(IDLE)? {
                return Ok(());
            }
            let limit = self.clock.now().0 + micros(WHOLE);
            let Some(head) = self.head(limit)? else {
                return Ok(());
            };
            let keep_alive = head.keep_alive;
            let Some(request) = self.body(head, limit)? else {
                return Ok(());
            };
            let response = handler(&request);
            self.stream.write_all(&response.encode(keep_alive))?;
            if !keep_alive {
                return Ok(());
            }
        }
    }

    /// The next head; `None` when the connection ends here.
    fn head(&mut self, limit: u64) -> io::Result<Option<Head>> {
        loop {
            match parse_head(&self.buffer) {
                Ok(Some(head)) => return Ok(Some(head)),
                Ok(None) => {}
                Err(malformed) => return self.give_up(malformed).map(|()| None),
            }
            if !self.fill_until(limit)? {
                return Ok(None);
            }
        }
    }

    /// The request to `head`, once its body has arrived.
    fn body(&mut self, head: Head, limit: u64) -> io::Result<Option<Request>> {
        let whole = head.bytes + head.body_bytes;
        if head.expects_continue && self.buffer.len() < whole {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        while self.buffer.len() < whole {
            if !self.fill_until(limit)? {
                return Ok(None);
            }
        }
        let rest = self.buffer.split_off(whole);
        let mut body = std::mem::replace(&mut self.buffer, rest);
        body.drain(..head.bytes);
        Ok(Some(Request { method: head.method, path: head.path, query: head.query, body }))
    }

    fn fill_until(&mut self, limit: u64) -> io::Result<bool> {
        let left = limit.saturating_sub(self.clock.now().0);
        if left > 0 && self.fill(Duration::from_micros(left))? {
            return Ok(true);
        }
        if self.clock.now().0 >= limit {
            let late = ErrorReport::new("the request took too long to arrive");
            self.stream.write_all(&Response::json(408, &late).encode(false))?;
        }
        Ok(false)
    }

    /// Reads what there is, waiting for `wait` at most; false when nothing came or the peer has closed.
    fn fill(&mut self, wait: Duration) -> io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.stream.read(&mut chunk) {
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(count > 0)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Says what is wrong, and reads on for a moment: closing with unread bytes would reset the connection and
    /// with it the answer.
    fn give_up(&mut self, malformed: Malformed) -> io::Result<()> {
        self.stream.write_all(&malformed.response().encode(false))?;
        self.stream.shutdown(Shutdown::Write)?;
        let limit = self.clock.now().0 + 1_000_000;
        while self.clock.now().0 < limit && self.fill(Duration::from_millis(200))? {
            self.buffer.clear();
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
