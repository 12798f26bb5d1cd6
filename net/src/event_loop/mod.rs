//! The event loop of one worker. `sockets` and `waker` are the only files that name mio.
//!
//! [`Net`] owns a worker's sockets and nothing of its decisions. A turn of the worker's loop is
//!
//! ```text
//! net.poll(timeout, now)          readiness, accepts, calls, handshakes; may sleep
//! while net.next_event()          who came, who went
//! net.for_each_frame(budget, f)   views of whole frames, nothing copied
//! net.outbox(node).push_*         any number of messages of any number of groups
//! net.flush(round)                one gathered write per peer
//! ```
//!
//! What always holds:
//! - A node's frames and outbox appear with its [`NetEvent::PeerUp`], and not before that event was
//!   taken, so what the owner believes of a connection is what the connection is.
//! - On a live connection nothing is dropped in either direction. A socket that is full keeps its
//!   queue; a worker that does not read leaves the bytes to TCP, which slows the sender down.
//! - Readiness is edge-triggered and remembered: whatever was left for fairness, or because the
//!   owner did not ask, keeps the next poll from sleeping.
//!
//! Deliberately absent: threads, clocks (`now_us` is handed in), and the meaning of messages.

mod connections;
mod events;
mod link;
mod sockets;
pub mod system;
mod waker;

pub use connections::Handoff;
pub use events::{NetEvent, NetStats};
pub use waker::Waker;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::link::{Link, LinkId, ReadOutcome, Stage};
use self::sockets::Sockets;
use self::system::{Readiness, Source, System};
use crate::codec::Frame;
use crate::conn::Identity;
use crate::outbox::Outbox;
use crate::peer::{Backoff, Patience, Peer};
use crate::wire::FRAME_HEADER_BYTES;
use crate::{ConnError, DecodeError, DownReason, NetConfig, NetError, WRITE_QUEUE_HARD_FACTOR};

/// The transport of one worker.
#[derive(Debug)]
pub struct Net {
    config: NetConfig,
    identity: Identity,
    system: Box<dyn System>,
    waker: Waker,
    accept_ready: bool,
    accept_retry: Option<Patience>,
    /// In the order of their ids.
    peers: Vec<Peer<LinkId>>,
    links: Vec<Option<Link>>,
    serial: u64,
    /// The link that is served first in the next [`Net::for_each_frame`].
    turn: usize,
    events: VecDeque<(NetEvent, Option<LinkId>)>,
    handoffs: VecDeque<(u16, Handoff)>,
    now_us: u64,
    stats: NetStats,
}

impl Net {
    /// A transport that will call its peers in the first [`Self::poll`].
    ///
    /// # Errors
    /// [`NetError`] for a configuration that cannot work or is not safe, or a system that refuses.
    pub fn new(mut config: NetConfig) -> Result<Self, NetError> {
        config.validate()?;
        let (listener, buffer) = (config.listen.take(), config.socket_buffer_bytes);
        let sockets = Sockets::new(listener, buffer, config.write_stall_us)?;
        Ok(Self::over(config, Box::new(sockets)))
    }

    /// A transport over another system than this machine's. Nothing of `config` that is about sockets counts.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_system(config: NetConfig, system: Box<dyn System>) -> Result<Self, NetError> {
        config.validate()?;
        Ok(Self::over(config, system))
    }

    fn over(mut config: NetConfig, system: Box<dyn System>) -> Self {
        let peers = std::mem::take(&mut config.peers);
        let mut net = Self {
            identity: config.identity(),
            waker: system.waker(),
            system,
            accept_ready: false,
            accept_retry: None,
            peers: Vec::new(),
            links: Vec::new(),
            serial: 0,
            turn: 0,
            events: VecDeque::new(),
            handoffs: VecDeque::new(),
            now_us: 0,
            stats: NetStats::default(),
            config,
        };
        for (node, address) in peers {
            net.set_peer(node, address);
        }
        net
    }

    /// A handle that wakes this worker from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Where calls come in, if this lane has the listener.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.system.local_addr()
    }

    /// Adds a peer, or gives one a new address for its next call. This node itself is ignored.
    pub fn set_peer(&mut self, node: u64, address: SocketAddr) {
        if node == self.identity.node_id {
            return;
        }
        match self.peers.binary_search_by_key(&node, |peer| peer.node) {
            Ok(at) => self.peers[at].address = address,
            Err(at) => {
                let (min, max) = (self.config.backoff_min_us, self.config.backoff_max_us);
                let backoff = Backoff::new(min, max, self.config.seed ^ node.rotate_left(32));
                let peer = Peer::new(self.identity.node_id, node, address, backoff);
                self.peers.insert(at, peer);
            }
        }
    }

    /// Forgets a peer and ends its connection.
    pub fn remove_peer(&mut self, node: u64) {
        if let Some(link) = self.peer(node).and_then(|peer| peer.link()) {
            self.end(link.slot, DownReason::Removed);
        }
        self.peers.retain(|peer| peer.node != node);
        self.drop_calls_of_strangers();
    }

    /// Waits for something to do, for at most `timeout` (`None`: as long as it takes; zero: not at
    /// all), and does what concerns connections alone. Then take [`Self::next_event`] until it is
    /// empty, or the next poll will not sleep.
    ///
    /// The system counts sleeps in milliseconds, rounded up.
    ///
    /// # Errors
    /// When the system's poll fails, which leaves the transport unusable.
    pub fn poll(&mut self, timeout: Option<Duration>, now_us: u64) -> io::Result<()> {
        self.now_us = self.now_us.max(now_us);
        self.expire();
        self.call_peers();
        let timeout = self.sleep_time(timeout);
        self.stats.polls += 1;
        let Self { system, links, accept_ready, .. } = self;
        system.poll(timeout, &mut |ready| note_readiness(links, accept_ready, ready))?;
        self.waker.end_sleep();
        self.accept();
        self.advance_links();
        Ok(())
    }

    /// The next thing that happened to a connection.
    pub fn next_event(&mut self) -> Option<NetEvent> {
        let (event, link) = self.events.pop_front()?;
        if let Some(id) = link
            && let Some(link) = self.link_mut(id)
            && link.stage == Stage::Announcing
        {
            link.stage = Stage::Open;
        }
        Some(event)
    }

    /// Hands out whole frames, about `budget_bytes` of them, as views of the read buffers.
    ///
    /// Each connection has at most [`NetConfig::read_budget_bytes`] before the next has its turn;
    /// what is left over is remembered. When `handle` finds a frame malformed, that connection ends.
    pub fn for_each_frame<F>(&mut self, budget_bytes: usize, mut handle: F)
    where
        F: FnMut(u64, Frame<'_>) -> Result<(), DecodeError>,
    {
        let slots = self.links.len();
        let mut left = budget_bytes;
        for _ in 0..slots {
            if left == 0 {
                return;
            }
            let slot = self.turn % slots;
            self.turn = (slot + 1) % slots;
            let budget = left.min(self.config.read_budget_bytes);
            match self.drain(slot, budget, &mut handle) {
                Ok(used) => left = left.saturating_sub(used),
                Err(error) => self.end(slot, DownReason::Conn(error)),
            }
        }
    }

    /// The write queue of a node that is connected.
    #[inline]
    pub fn outbox(&mut self, node: u64) -> Option<&mut Outbox> {
        let id = self.peer(node)?.link()?;
        let link = self.link_mut(id)?;
        (link.stage == Stage::Open).then(|| link.conn.outbox())
    }

    /// Seals every outbox with the finished round buffer and writes until the sockets are full.
    ///
    /// # Panics
    /// When an outbox refers to the round and none is given.
    pub fn flush(&mut self, round: Option<&Arc<Vec<u8>>>) {
        for slot in 0..self.links.len() {
            let Some(link) = &mut self.links[slot] else { continue };
            link.conn.outbox().seal(round);
            self.write(slot);
        }
    }

    /// A connection that belongs to another lane, and that lane: give it to [`Self::adopt`] there.
    pub fn take_handoff(&mut self) -> Option<(u16, Handoff)> {
        self.handoffs.pop_front()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        let mut stats = self.stats;
        for link in self.links.iter().flatten() {
            stats.add(link);
        }
        stats
    }

    /// How long to sleep; readies the waker when that is not zero.
    fn sleep_time(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        let timeout = self.time_left(timeout);
        let not_at_all = timeout == Some(Duration::ZERO) || !self.waker.begin_sleep();
        if not_at_all { Some(Duration::ZERO) } else { timeout }
    }

    /// How long a poll with this timeout would sleep if nothing came in; `None` for ever.
    pub fn time_left(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        if timeout == Some(Duration::ZERO) || self.has_work() {
            return Some(Duration::ZERO);
        }
        let left = self.deadline().map(|at| Duration::from_micros(at.saturating_sub(self.now_us)));
        match (timeout, left) {
            (Some(timeout), Some(left)) => Some(timeout.min(left)),
            (timeout, left) => timeout.or(left),
        }
    }

    /// Whether something was left to do that no readiness event will tell again.
    fn has_work(&self) -> bool {
        let left_over =
            |link: &Link| link.stage == Stage::Open && (link.readable || link.conn.is_ready());
        self.accept_ready
            || !self.events.is_empty()
            || !self.handoffs.is_empty()
            || self.links.iter().flatten().any(left_over)
    }

    /// When to look again although nothing happened.
    fn deadline(&mut self) -> Option<u64> {
        let now = self.now_us;
        let accept = self.accept_retry.as_mut().map(|retry| retry.until(now));
        let calls = self.peers.iter_mut().filter_map(|peer| peer.call_at(now));
        let links = self.links.iter_mut().flatten().filter_map(|link| link.deadline(now));
        calls.chain(links).chain(accept).min()
    }

    /// Takes frames from one link until it has no more or the budget is used up.
    fn drain<F>(&mut self, slot: usize, budget: usize, handle: &mut F) -> Result<usize, ConnError>
    where
        F: FnMut(u64, Frame<'_>) -> Result<(), DecodeError>,
    {
        let Some(link) = &mut self.links[slot] else { return Ok(0) };
        if link.stage != Stage::Open {
            return Ok(0);
        }
        let node = link.conn.peer().expect("an open link was introduced").node;
        let mut used = 0;
        while used < budget {
            if let Some(frame) = link.conn.next_frame()? {
                used += FRAME_HEADER_BYTES + frame.body().len();
                self.stats.frames_in += 1;
                self.stats.messages_in += u64::from(frame.count());
                handle(node, frame)?;
            } else if !link.readable || link.read()? == ReadOutcome::WouldBlock {
                break;
            }
        }
        Ok(used)
    }

    /// Writes one link's sealed queue; ends the link when that fails or the queue is far too long.
    fn write(&mut self, slot: usize) {
        let Some(link) = &mut self.links[slot] else { return };
        if link.stage == Stage::Connecting {
            return;
        }
        match link.write() {
            Ok(true) if link.is_up() => link.patience.restart(),
            Ok(_) => {}
            Err(error) if link.is_up() => return self.end(slot, DownReason::Conn(error)),
            Err(error) => return self.fail(slot, error),
        }
        let queued = link.conn.queue().queued_bytes();
        let max = self.config.write_queue_bytes_max.saturating_mul(WRITE_QUEUE_HARD_FACTOR);
        if queued > max {
            let (queued, max) = (queued as u64, max as u64);
            return self.end(slot, DownReason::QueueOverflow { queued, max });
        }
        if link.conn.outbox().take_writable()
            && let Some(peer) = link.conn.peer()
        {
            self.events.push_back((NetEvent::Writable { node: peer.node }, None));
        }
    }

    fn peer(&self, node: u64) -> Option<&Peer<LinkId>> {
        let at = self.peers.binary_search_by_key(&node, |peer| peer.node).ok()?;
        Some(&self.peers[at])
    }

    fn peer_mut(&mut self, node: u64) -> Option<&mut Peer<LinkId>> {
        let at = self.peers.binary_search_by_key(&node, |peer| peer.node).ok()?;
        Some(&mut self.peers[at])
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(id.slot)?.as_mut().filter(|link| link.serial == id.serial)
    }
}

fn note_readiness(links: &mut [Option<Link>], accept_ready: &mut bool, ready: Readiness) {
    match ready.source {
        Source::Waker => {}
        Source::Listener => *accept_ready = true,
        // An event of the slot's former link does no harm: the stream says `WouldBlock`.
        Source::Stream(slot) => {
            if let Some(Some(link)) = links.get_mut(slot) {
                link.read_closed |= ready.read_closed;
                link.readable |= ready.readable;
                link.writable |= ready.writable;
                link.told = true;
            }
        }
    }
}
