//! What we know of one expected peer, and when to call it next.
//!
//! Of two nodes the one with the lower id calls, so there is one connection per pair and lane. A
//! call that fails is repeated after a delay that doubles up to a limit, with jitter from a seed,
//! so that the nodes of a cluster do not come back in step.
//!
//! Deliberately absent: sockets and clocks. [`Patience`] starts to count when it is first asked,
//! because the time known before a sleep says nothing about the time after it.

use std::net::SocketAddr;

/// Delays that double, with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    min_us: u64,
    max_us: u64,
    failures: u32,
    random: u64,
}

impl Backoff {
    /// The first delay is at most `min_us`, the last at most `max_us`.
    ///
    /// # Panics
    /// When the limits are zero or the wrong way round.
    #[must_use]
    pub fn new(min_us: u64, max_us: u64, seed: u64) -> Self {
        assert!(min_us > 0 && min_us <= max_us, "delays from {min_us} to {max_us}");
        Self { min_us, max_us, failures: 0, random: seed }
    }

    /// The delay after one more failure: between half of the doubled delay and all of it.
    pub fn next_delay_us(&mut self) -> u64 {
        let doubled = self.min_us.saturating_mul(1 << self.failures.min(32)).min(self.max_us);
        self.failures = self.failures.saturating_add(1);
        doubled / 2 + self.next_random() % (doubled - doubled / 2 + 1)
    }

    /// Begins again with short delays.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// One step of splitmix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// How long something may take, counted from the first time anybody asks.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    limit_us: u64,
    until_us: Option<u64>,
}

impl Patience {
    /// Patience for `limit_us`.
    #[must_use]
    pub fn new(limit_us: u64) -> Self {
        Self { limit_us, until_us: None }
    }

    /// When it ends.
    pub fn until(&mut self, now_us: u64) -> u64 {
        *self.until_us.get_or_insert_with(|| now_us.saturating_add(self.limit_us))
    }

    /// Whether it has ended.
    pub fn is_over(&mut self, now_us: u64) -> bool {
        self.until(now_us) <= now_us
    }

    /// Begins again the next time somebody asks.
    pub fn restart(&mut self) {
        self.until_us = None;
    }
}

/// Where a peer's connection stands. `L` names a connection of the event loop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PeerState<L> {
    /// No connection; the side that calls does so when the patience ends.
    Idle(Patience),
    /// We are calling, or in the handshake of our call.
    Calling(L),
    /// Connected, and settled when the patience ends.
    Up(L, Patience),
}

/// One expected peer.
#[derive(Debug)]
pub(crate) struct Peer<L> {
    pub(crate) node: u64,
    pub(crate) address: SocketAddr,
    /// We are the side that calls.
    pub(crate) calls: bool,
    pub(crate) backoff: Backoff,
    pub(crate) state: PeerState<L>,
}

impl<L: Copy> Peer<L> {
    /// A peer that is called at once, if we are the side that calls.
    pub(crate) fn new(our_node: u64, node: u64, address: SocketAddr, backoff: Backoff) -> Self {
        let state = PeerState::Idle(Patience::new(0));
        Self { node, address, calls: our_node < node, backoff, state }
    }

    /// The connection failed or ended: wait before the next call.
    pub(crate) fn on_lost(&mut self) {
        self.state = PeerState::Idle(Patience::new(self.backoff.next_delay_us()));
    }

    /// The handshake is done.
    pub(crate) fn on_up(&mut self, link: L) {
        self.state = PeerState::Up(link, Patience::new(self.backoff.max_us));
    }

    /// When to call, if we are to call at all.
    pub(crate) fn call_at(&mut self, now_us: u64) -> Option<u64> {
        match &mut self.state {
            PeerState::Idle(patience) if self.calls => Some(patience.until(now_us)),
            PeerState::Idle(_) | PeerState::Calling(_) | PeerState::Up(..) => None,
        }
    }

    /// Notes that a connection has lasted: its end will not be one more failure in a row.
    pub(crate) fn settle(&mut self, now_us: u64) {
        if let PeerState::Up(_, settled) = &mut self.state
            && settled.is_over(now_us)
        {
            self.backoff.reset();
        }
    }

    /// The connection, when there is one that is up.
    pub(crate) fn link(&self) -> Option<L> {
        match self.state {
            PeerState::Up(link, _) => Some(link),
            PeerState::Idle(_) | PeerState::Calling(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
