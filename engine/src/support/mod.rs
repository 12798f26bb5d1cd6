//! Time between nodes: who promises whom to let it lead, and until when that is certain.
//!
//! Each node *beats* each other one, ten times a second. A beat asks for support, and carries what its sender
//! promises in turn. B *supports* A: for [`SupportConfig::promise_us`] of B's own clock from the receipt of A's
//! beat, no replica on B that follows a leader on A campaigns or votes for another. A counts on that for a shorter
//! time, from when it *sent* the beat, by its own clock. So leadership, leases and elections of all groups that two
//! nodes share cost one small message per direction and 100 ms, and a group at rest has no timer at all.
//!
//! ```text
//!      A sends at s            counts on B until s + lease
//! A  ---+----------------------------------|--------------------> A's clock
//!        \                       ^
//!         \ beat                / B's beat: promise, answers s
//!          v                   /
//! B  -------+---------------------------------------|-----------> B's clock
//!           received at r      promises until r + promise
//! ```
//!
//! | file | what |
//! |---|---|
//! | `config` | [`SupportConfig`] and its limits |
//! | `promise` | a promise given, a promise held, and the arithmetic between the two |
//! | `pair` | all that one node keeps of one other |
//! | `latency` | round trips of beats, for operators |
//! | `event`, `status` | what is told to the groups, and to operators |
//!
//! What always holds, with clocks whose rates are within [`SupportConfig::drift_percent`] of true:
//! - While [`Support::supported_by`] says that B supports A, B has not ended that very promise: it is named by the
//!   boot epochs of both and B's count of lapses ([`PromiseName`]), and a promise that ran out is never continued.
//! - A node that started again votes for nobody before every promise of its earlier life has run out
//!   ([`Support::votes_from`]), and is taken for another node than before: what it was promised is void.
//! - Clocks of different nodes are never compared, and a clock that goes back stands still.
//! - What is late, repeated or out of order is ignored or only makes a lease end sooner (hazard R8).
//! - While the log makes no progress no beat leaves, so a stalled disk does not ask for support (hazard G16).
//!
//! Deliberately absent: clocks, sockets, threads, groups. Whoever drives it says what time it is, carries the beats,
//! and makes the groups keep what is promised here.
//!
//! # Example
//! ```
//! use kontiki::support::{Support, SupportConfig, SupportEvent};
//! use kontiki_raft::Time;
//!
//! let config = SupportConfig::default();
//! // Two nodes in their first epoch; their clocks have nothing to do with one another.
//! let mut a = Support::new(config, Time(1_000_000), 1, &[2]);
//! let mut b = Support::new(config, Time(77_000_000), 1, &[1]);
//!
//! let asks = a.next_beat(Time(1_000_000), 2).expect("the first beat is due at once");
//! b.on_beat(Time(77_020_000), 1, &asks);
//! // Told to all groups before the beat leaves that says so.
//! assert_eq!(b.take_event(), Some(SupportEvent::Supports { node: 1 }));
//! let answer = b.next_beat(Time(77_020_000), 1).expect("a new promise is told at once");
//! a.on_beat(Time(1_040_000), 2, &answer);
//! assert_eq!(a.take_event(), Some(SupportEvent::Supports { node: 2 }));
//! assert_eq!(a.take_event(), Some(SupportEvent::Gained { node: 2 }));
//!
//! // B promises 600 ms from when it heard A. A counts on less, from when it spoke.
//! let until = a.supported_by(2);
//! assert_eq!(until, Time(1_000_000 + 490_908));
//!
//! // Nothing more comes. A stops first, by whatever clock.
//! a.tick(until);
//! assert_eq!(a.take_event(), Some(SupportEvent::Lost { node: 2 }));
//! assert_eq!(a.supported_by(2), Time(0));
//! b.tick(Time(77_619_999));
//! assert!(b.supports(1));
//! b.tick(Time(77_620_000));
//! assert_eq!(b.take_event(), Some(SupportEvent::Lapsed { node: 1 }));
//! ```

mod config;
mod event;
mod latency;
mod pair;
mod promise;
mod status;

use std::collections::VecDeque;

use kontiki_raft::Time;

pub use config::{
    BEAT_US_MAX, BEAT_US_MIN, BEATS_PER_PROMISE_MIN, DRIFT_PERCENT_MAX, PROMISE_US_MAX,
    SupportConfig, SupportConfigError,
};
pub use event::SupportEvent;
pub use kontiki_net::{Beat, Promise};
pub use latency::RoundTrips;
pub use promise::PromiseName;
pub use status::PairStatus;

use pair::{Pair, Us};

/// What one node promises to each other one, and what it is promised: see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Support {
    us: Us,
    /// The latest time that was told.
    now: Time,
    votes_from: Time,
    /// No beat leaves.
    stalled: bool,
    /// In the order of their ids.
    pairs: Vec<Pair>,
    events: VecDeque<SupportEvent>,
}

impl Support {
    /// A node in its `epoch` (it rises with every start, durably; the first is 1) among `peers`; its own id, should
    /// it be there, must have been left out.
    ///
    /// From its second epoch on the node may have promised something before, and waits it out: see
    /// [`Self::votes_from`].
    ///
    /// # Panics
    /// When the configuration was not [validated](SupportConfig::validate), or `epoch` is zero.
    #[must_use]
    pub fn new(config: SupportConfig, now: Time, epoch: u64, peers: &[u64]) -> Self {
        if let Err(error) = config.validate() {
            panic!("not validated: {error}");
        }
        assert!(epoch > 0, "the first epoch is 1");
        let wait_us = if epoch == 1 { 0 } else { config.restart_wait_us() };
        let mut nodes = peers.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        Self {
            us: Us { config, epoch },
            now,
            votes_from: Time(now.0.saturating_add(wait_us)),
            stalled: false,
            pairs: nodes.into_iter().map(|node| Pair::new(node, now)).collect(),
            events: VecDeque::new(),
        }
    }

    /// Input: a beat of node `from`. A node that is no peer is ignored.
    ///
    /// `now` must have been read *after* the beat was taken from its connection. An earlier reading would let the
    /// promise begin before the beat was sent, and so end before the other side stops counting on it.
    pub fn on_beat(&mut self, now: Time, from: u64, beat: &Beat) {
        let now = self.advance(now);
        if let Ok(at) = self.place(from) {
            self.pairs[at].on_beat(&self.us, now, beat, &mut self.events);
        }
    }

    /// Input: a connection's greeting says that `node` is in `epoch`. If that is a new one, all between the two
    /// nodes ends here, before the new one's first beat.
    pub fn on_epoch(&mut self, now: Time, node: u64, epoch: u64) {
        self.advance(now);
        if let Ok(at) = self.place(node) {
            self.pairs[at].meet(epoch, &mut self.events);
        }
    }

    /// Input: whether the log writer has stopped making progress. While it has, no beat leaves.
    pub fn set_stalled(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// Input: time has passed. Promises that ran out end, both ways.
    pub fn tick(&mut self, now: Time) {
        let now = self.advance(now);
        for pair in &mut self.pairs {
            pair.tick(now, &mut self.events);
        }
    }

    /// The beat to `to`, when one is due: send it now, or drop it if there is no connection.
    ///
    /// # Panics
    /// When [`SupportEvent::Supports`] for `to` was not taken yet. The beat would tell the other node of a promise
    /// that nobody here knows of.
    pub fn next_beat(&mut self, now: Time, to: u64) -> Option<Beat> {
        let now = self.advance(now);
        let at = self.place(to).ok()?;
        let untold = self.events.contains(&SupportEvent::Supports { node: to });
        assert!(!untold, "a promise to node {to} is told to the groups before it leaves");
        if self.stalled {
            return None;
        }
        self.pairs[at].next_beat(&self.us, now, &mut self.events)
    }

    /// When to call [`Self::tick`] and [`Self::next_beat`] next, although nothing happened.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.pairs.iter().filter_map(|pair| pair.deadline(self.stalled)).min()
    }

    /// Output: what has changed, in order. Take all before [`Self::next_beat`].
    pub fn take_event(&mut self) -> Option<SupportEvent> {
        self.events.pop_front()
    }

    /// Until when, of our own clock, `node` certainly supports us; `Time(0)` when it does not.
    #[must_use]
    pub fn supported_by(&self, node: u64) -> Time {
        self.place(node).map_or(Time(0), |at| self.pairs[at].supported_until())
    }

    /// Whether we support `node`, as of the last time that was told.
    #[must_use]
    pub fn supports(&self, node: u64) -> bool {
        self.promise_to(node).is_some()
    }

    /// Before this time no replica of ours votes for anybody, itself included: our earlier life may have promised
    /// not to.
    #[must_use]
    pub fn votes_from(&self) -> Time {
        self.votes_from
    }

    /// The name of what we promise to `node` now.
    #[must_use]
    pub fn promise_to(&self, node: u64) -> Option<PromiseName> {
        self.place(node).ok().and_then(|at| self.pairs[at].given_name(&self.us))
    }

    /// The name of what `node` promises to us, while we count on it.
    #[must_use]
    pub fn promise_by(&self, node: u64) -> Option<PromiseName> {
        self.place(node).ok().and_then(|at| self.pairs[at].held_name(&self.us))
    }

    /// Each peer as an operator sees it.
    pub fn pairs(&self) -> impl Iterator<Item = PairStatus> {
        self.pairs.iter().map(|pair| pair.status(self.now))
    }

    fn advance(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        self.now
    }

    fn place(&self, node: u64) -> Result<usize, usize> {
        self.pairs.binary_search_by_key(&node, Pair::node)
    }
}

#[cfg(test)]
mod tests;
