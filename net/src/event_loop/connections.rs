//! How connections begin and end: calls, accepts, handshakes, handovers, time limits.
//!
//! What always holds: a peer's state names a link exactly while that link is there, and for every
//! `PeerUp` that was told there is one `PeerDown` when that connection ends.
//!
//! Deliberately absent: frames and messages.

use std::io;
use std::net::SocketAddr;

use super::link::{Link, LinkId, ReadOutcome, Stage, Traffic};
use super::system::Stream;
use super::{Net, NetEvent};
use crate::conn::{Conn, Introduction, Side};
use crate::peer::{Patience, PeerState};
use crate::{ConnError, DownReason};

/// Connections that may be in their handshake at a time.
const HANDSHAKES_MAX: usize = 256;

/// Connections accepted in one poll.
const ACCEPTS_MAX: usize = 64;

/// How long to wait after the system refused to accept, for want of descriptors perhaps.
const ACCEPT_RETRY_US: u64 = 100_000;

/// Events kept for an owner that does not take them; refusals beyond are only counted.
const EVENTS_KEPT_MAX: usize = 1024;

/// A connection on its way to the lane it belongs to.
#[derive(Debug)]
pub struct Handoff {
    stream: Box<dyn Stream>,
    address: SocketAddr,
    conn: Conn,
    peer: Introduction,
}

impl Handoff {
    /// The node at the other end.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.peer.node
    }

    /// The lane it belongs to.
    #[must_use]
    pub fn lane(&self) -> u16 {
        self.peer.lane
    }
}

impl Net {
    /// Takes over a connection that another lane accepted for this one.
    pub fn adopt(&mut self, handoff: Handoff) {
        let Handoff { stream, address, conn, peer } = handoff;
        assert_eq!(peer.lane, self.config.lane, "a connection belongs to its lane");
        let Some(slot) = self.insert(stream, address, conn, Stage::Greeting) else { return };
        if self.peer(peer.node).is_some() {
            self.introduce(slot, peer);
        } else {
            self.fail(slot, ConnError::UnknownNode { node: peer.node });
        }
    }

    /// Calls every peer whose time has come.
    pub(super) fn call_peers(&mut self) {
        for at in 0..self.peers.len() {
            let now = self.now_us;
            self.peers[at].settle(now);
            if self.peers[at].call_at(now).is_none_or(|when| when > now) {
                continue;
            }
            let (node, address) = (self.peers[at].node, self.peers[at].address);
            let side = Side::Caller { node, lane: self.config.lane };
            let conn = Conn::new(self.identity, side, self.config.write_queue_bytes_max);
            let called = match self.system.connect(address) {
                Ok(stream) => self.insert(stream, address, conn, Stage::Connecting),
                Err(error) => {
                    self.tell_refused(Some(node), address, ConnError::Io(error.kind()));
                    None
                }
            };
            match called.and_then(|slot| self.id_of(slot)) {
                Some(id) => self.peers[at].state = PeerState::Calling(id),
                None => self.peers[at].on_lost(),
            }
        }
    }

    /// Accepts what waits at the listener, some at a time.
    pub(super) fn accept(&mut self) {
        let mut accepted = Vec::new();
        while self.accept_ready && accepted.len() < ACCEPTS_MAX {
            match self.system.accept() {
                Ok(connection) => accepted.push(connection),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.accept_ready = false,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.accept_ready = false;
                        self.accept_retry = Some(Patience::new(ACCEPT_RETRY_US));
                    }
                },
            }
        }
        for (stream, address) in accepted {
            let open = self.links.iter().flatten().filter(|link| !link.is_up()).count();
            if open >= HANDSHAKES_MAX {
                self.tell_refused(None, address, ConnError::Busy);
                continue;
            }
            let max = self.config.write_queue_bytes_max;
            let conn = Conn::new(self.identity, Side::Callee, max);
            self.insert(stream, address, conn, Stage::Greeting);
        }
    }

    /// Moves every link on that can be: calls answered, greetings read, queues resumed.
    pub(super) fn advance_links(&mut self) {
        for slot in 0..self.links.len() {
            let Some(link) = &mut self.links[slot] else { continue };
            if link.stage == Stage::Connecting && std::mem::take(&mut link.told) {
                match link.is_connected() {
                    Ok(false) => {}
                    Ok(true) => {
                        link.stage = Stage::Greeting;
                        link.readable = true;
                        link.writable = true;
                    }
                    Err(error) => {
                        self.fail(slot, error);
                        continue;
                    }
                }
            }
            let Some(link) = &mut self.links[slot] else { continue };
            if link.stage == Stage::Greeting {
                match greet(link, |node| {
                    self.peers.binary_search_by_key(&node, |peer| peer.node).is_ok()
                }) {
                    Ok(None) => {}
                    Ok(Some(peer)) if peer.lane == self.config.lane => self.introduce(slot, peer),
                    Ok(Some(peer)) => self.hand_over(slot, peer),
                    Err(error) => self.fail(slot, error),
                }
            }
            if self.links[slot].as_ref().is_some_and(|link| link.conn.queue().is_sealed()) {
                self.write(slot);
            }
        }
    }

    /// Ends what took too long.
    pub(super) fn expire(&mut self) {
        let now = self.now_us;
        if self.accept_retry.as_mut().is_some_and(|retry| retry.is_over(now)) {
            self.accept_retry = None;
            self.accept_ready = true;
        }
        for slot in 0..self.links.len() {
            let Some(link) = &mut self.links[slot] else { continue };
            if link.deadline(now).is_none_or(|deadline| deadline > now) {
                continue;
            }
            if link.is_up() {
                self.end(slot, DownReason::Stalled);
            } else {
                self.fail(slot, ConnError::HandshakeTimeout);
            }
        }
    }

    /// Ends a link that never came up, telling both the other side and the owner why.
    pub(super) fn fail(&mut self, slot: usize, error: ConnError) {
        let Some(mut link) = self.links[slot].take() else { return };
        say_why(&mut link, &error);
        self.stats.add(&link);
        let mut node = link.conn.peer().map(|peer| peer.node);
        if let Side::Caller { node: called, .. } = link.conn.side() {
            node = Some(called);
            let id = LinkId { slot, serial: link.serial };
            if let Some(peer) = self.peer_mut(called)
                && matches!(peer.state, PeerState::Calling(calling) if calling == id)
            {
                peer.on_lost();
            }
        }
        self.tell_refused(node, link.address, error);
    }

    /// Ends a link that was up.
    pub(super) fn end(&mut self, slot: usize, reason: DownReason) {
        let Some(mut link) = self.links[slot].take() else { return };
        if let DownReason::Conn(error) = &reason {
            say_why(&mut link, error);
        }
        self.stats.add(&link);
        self.stats.disconnects += 1;
        let node = link.conn.peer().expect("a link that is up was introduced").node;
        let id = LinkId { slot, serial: link.serial };
        if let Some(peer) = self.peer_mut(node)
            && peer.link() == Some(id)
        {
            peer.on_lost();
        }
        self.events.push_back((NetEvent::PeerDown { node, reason }, None));
    }

    /// Ends calls to nodes that are not peers any more.
    pub(super) fn drop_calls_of_strangers(&mut self) {
        for slot in 0..self.links.len() {
            let Some(link) = &self.links[slot] else { continue };
            if let Side::Caller { node, .. } = link.conn.side()
                && !link.is_up()
                && self.peer(node).is_none()
            {
                self.fail(slot, ConnError::UnknownNode { node });
            }
        }
    }

    /// The link is up: it takes the place of the peer's former one.
    fn introduce(&mut self, slot: usize, introduced: Introduction) {
        let id = self.id_of(slot).expect("the link is being introduced");
        if let Some(former) = self.peer(introduced.node).and_then(|peer| peer.link()) {
            self.end(former.slot, DownReason::Replaced);
        }
        let stall_us = self.config.write_stall_us;
        let link = self.link_mut(id).expect("the link is being introduced");
        link.stage = Stage::Announcing;
        link.patience = Patience::new(stall_us);
        link.conn.answer();
        let peer = self.peer_mut(introduced.node).expect("only expected peers are introduced");
        peer.on_up(id);
        self.stats.connects += 1;
        let Introduction { node, store_id, epoch, .. } = introduced;
        self.events.push_back((NetEvent::PeerUp { node, store_id, epoch }, Some(id)));
    }

    fn hand_over(&mut self, slot: usize, peer: Introduction) {
        let Some(mut link) = self.links[slot].take() else { return };
        match self.system.deregister(&mut *link.stream) {
            Ok(()) => {
                let Link { stream, address, conn, .. } = link;
                self.handoffs.push_back((peer.lane, Handoff { stream, address, conn, peer }));
            }
            Err(error) => {
                let error = ConnError::Io(error.kind());
                self.tell_refused(Some(peer.node), link.address, error);
            }
        }
    }

    /// Registers a socket; `None` when the system refuses.
    fn insert(
        &mut self,
        mut stream: Box<dyn Stream>,
        address: SocketAddr,
        conn: Conn,
        stage: Stage,
    ) -> Option<usize> {
        let slot = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        if let Err(error) = self.system.register(&mut *stream, slot) {
            self.tell_refused(None, address, ConnError::Io(error.kind()));
            return None;
        }
        self.serial += 1;
        let accepted = stage == Stage::Greeting;
        let link = Link {
            serial: self.serial,
            stream,
            address,
            conn,
            stage,
            readable: accepted,
            writable: accepted,
            read_closed: false,
            told: false,
            traffic: Traffic::default(),
            patience: Patience::new(self.config.handshake_timeout_us),
        };
        if slot == self.links.len() {
            self.links.push(Some(link));
        } else {
            self.links[slot] = Some(link);
        }
        Some(slot)
    }

    fn id_of(&self, slot: usize) -> Option<LinkId> {
        let link = self.links[slot].as_ref()?;
        Some(LinkId { slot, serial: link.serial })
    }

    fn tell_refused(&mut self, node: Option<u64>, address: SocketAddr, error: ConnError) {
        self.stats.refused += 1;
        if self.events.len() < EVENTS_KEPT_MAX {
            self.events.push_back((NetEvent::Refused { node, address, error }, None));
        }
    }
}

/// Reads until the greeting is there and in order.
fn greet(
    link: &mut Link,
    is_expected: impl Fn(u64) -> bool,
) -> Result<Option<Introduction>, ConnError> {
    loop {
        if let Some(peer) = link.conn.handshake(&is_expected)? {
            return Ok(Some(peer));
        }
        if !link.readable || link.read()? == ReadOutcome::WouldBlock {
            return Ok(None);
        }
    }
}

/// Tells the other side why the link ends, if there is a reason and the queue is not in its way.
///
/// Whether it can be said does not matter: the link ends anyway.
fn say_why(link: &mut Link, error: &ConnError) {
    if link.stage != Stage::Connecting && link.conn.queue().is_empty() {
        link.conn.refuse(error);
        link.write().ok();
    }
}
