//! What a worker sees of the network: the system that its event loop asks, and the streams that it is given.
//!
//! Readiness is edge-triggered as epoll's is: a short read means that all was read, a short write that there is no room.
//! Deliberately absent: everything that a stream is made of.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use kontiki_net::Waker;
use kontiki_net::system::{Readiness, Stream, System};

use super::Fabric;

/// The system of one worker of a node, in one of its lives.
#[derive(Debug)]
pub struct Sim {
    fabric: Fabric,
    node: u64,
    boot: u64,
    lane: usize,
    waker: Waker,
}

impl Sim {
    pub(super) const fn new(
        fabric: Fabric,
        (node, boot): (u64, u64),
        lane: usize,
        waker: Waker,
    ) -> Self {
        Self { fabric, node, boot, lane, waker }
    }
}

/// The address of a node, from which the system knows it again.
#[must_use]
pub fn address_of(node: u64) -> SocketAddr {
    let port = u16::try_from(node).expect("a few nodes");
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl System for Sim {
    fn poll(&mut self, _: Option<Duration>, note: &mut dyn FnMut(Readiness)) -> io::Result<()> {
        let mut inner = self.fabric.lock();
        for ready in inner.host(self.node).desks[self.lane].ready.drain(..) {
            note(ready);
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        (self.lane == 0).then(|| address_of(self.node))
    }

    fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let mut inner = self.fabric.lock();
        if self.lane > 0 {
            return Err(ErrorKind::WouldBlock.into()); // The first worker has the listener.
        }
        while let Some(id) = inner.host(self.node).calls.pop_front() {
            if let Some(connection) = inner.connections.get(&id) {
                let address = address_of(connection.ends[0].node);
                return Ok((Box::new(SimStream::new(&self.fabric, id, 1)), address));
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let id = self.fabric.lock().connect(self.node, self.boot, u64::from(address.port()));
        Ok(Box::new(SimStream::new(&self.fabric, id, 0)))
    }

    fn register(&mut self, stream: &mut dyn Stream, slot: usize) -> io::Result<()> {
        let stream: &mut dyn std::any::Any = stream;
        let stream: &SimStream = stream.downcast_ref().expect("made by this system");
        let mut inner = self.fabric.lock();
        if let Some(connection) = inner.connections.get_mut(&stream.id) {
            let end = &mut connection.ends[stream.at];
            (end.lane, end.slot) = (self.lane, Some(slot));
            let (connected, ended) = (end.connected, end.ending.is_some());
            let readable = ended || !connection.pipes[1 - stream.at].arrived.is_empty();
            if connected || ended {
                inner.tell(stream.id, stream.at, readable, true, ended);
            }
        }
        Ok(())
    }

    fn deregister(&mut self, stream: &mut dyn Stream) -> io::Result<()> {
        let stream: &mut dyn std::any::Any = stream;
        let stream: &SimStream = stream.downcast_ref().expect("made by this system");
        let mut inner = self.fabric.lock();
        if let Some(connection) = inner.connections.get_mut(&stream.id) {
            connection.ends[stream.at].slot = None;
        }
        Ok(())
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct SimStream {
    fabric: Fabric,
    id: u64,
    at: usize,
}

impl SimStream {
    fn new(fabric: &Fabric, id: u64, at: usize) -> Self {
        Self { fabric: fabric.clone(), id, at }
    }
}

impl Stream for SimStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fabric.lock().read(self.id, self.at, into)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.fabric.lock().write(self.id, self.at, slices)
    }

    fn is_connected(&self) -> io::Result<bool> {
        let inner = self.fabric.lock();
        let connection = inner.connections.get(&self.id).ok_or(ErrorKind::ConnectionReset)?;
        let end = &connection.ends[self.at];
        if end.ending.is_some() {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        Ok(end.connected)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // After a panic the world is only looked at, never run on.
        if let Ok(mut inner) = self.fabric.0.lock() {
            inner.close(self.id, self.at);
        }
    }
}
