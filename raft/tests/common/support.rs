//! Liveness from outside, modelled: nodes beat each other, and answer by a promise.
//!
//! A beat names the epoch of its sender's node and when it left. Its receiver promises to support
//! that epoch for a while of its own clock; the sender, which hears of it later, counts on four
//! fifths of that while, from when the beat left. Clocks that differ by up to a tenth keep the one
//! within the other. A promise that has run out is never taken up again: the next one has another
//! name, by which its receiver knows that what it was acknowledged before counts for nothing. A
//! node that restarts has forgotten what it promised, and waits that out.

use std::collections::BTreeMap;

use kontiki_raft::{Index, ReplicaId, Time};

use super::cluster::{Cluster, id};
use super::network::Packet;

/// How long a promise holds.
const PROMISE_US: u32 = 100_000;
/// How long its receiver counts on it.
const COUNTED_US: u32 = 80_000;

/// Which start of the promiser it is from, and how often it had let the other down by then.
type Name = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    /// The epoch of the node that asks for support, and when it asked, by its clock.
    epoch: u64,
    at: Time,
    /// The promise, on its way back.
    answer: Option<Name>,
}

/// What a node promised to another.
#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    /// The epoch that is supported.
    epoch: u64,
    lapses: u64,
    /// Until when by the promiser's clock, while it holds.
    until: Option<Time>,
}

#[derive(Debug, Default)]
pub(crate) struct Support {
    /// By promiser and supported.
    promised: BTreeMap<(ReplicaId, ReplicaId), Promise>,
    /// By supported and promiser: the name of the promise, and until when by the clock of the
    /// supported.
    counted: BTreeMap<(ReplicaId, ReplicaId), (Name, Time)>,
}

impl Cluster {
    fn epoch(&self, number: u64) -> u64 {
        self.node(number).restarts
    }

    /// The node asks all others for support.
    pub(crate) fn beat(&mut self, number: u64) {
        self.lapse(number);
        let (at, epoch) = (self.clock(number), self.epoch(number));
        for other in self.numbers().filter(|&other| other != number) {
            let beat = Beat { from: id(number), to: id(other), epoch, at, answer: None };
            self.net.push_back(Packet::Beat(beat));
        }
    }

    pub(crate) fn deliver_beat(&mut self, beat: Beat) {
        let Beat { from, to, epoch, at, answer } = beat;
        if let Some(name) = answer {
            return self.deliver_promise(beat, name);
        }
        self.lapse(to.get());
        let now = self.clock(to.get());
        let mut promise = self.support.promised.get(&(to, from)).copied().unwrap_or_default();
        if epoch < promise.epoch {
            return;
        }
        if epoch > promise.epoch {
            self.let_down(to, from);
            promise = self.support.promised.get(&(to, from)).copied().unwrap_or_default();
        }
        let until = promise.until.unwrap_or_default().max(now.after(PROMISE_US));
        promise = Promise { epoch, until: Some(until), ..promise };
        self.support.promised.insert((to, from), promise);
        let name = (self.epoch(to.get()), promise.lapses);
        let back = Beat { from: to, to: from, epoch, at, answer: Some(name) };
        self.net.push_back(Packet::Beat(back));
        self.after_input(to.get());
    }

    fn deliver_promise(&mut self, beat: Beat, name: Name) {
        let Beat { from, to, epoch, at, .. } = beat;
        if epoch != self.epoch(to.get()) {
            return;
        }
        let known = self.support.counted.get(&(to, from)).copied();
        if known.is_some_and(|(known, _)| name < known) {
            return;
        }
        let until = at.after(COUNTED_US);
        let before = known.filter(|&(known, _)| known == name).map(|(_, until)| until);
        if before.is_none() {
            let now = self.clock(to.get());
            self.raft_mut(to.get()).on_support_gained(now, from);
        }
        let until = before.unwrap_or_default().max(until);
        self.support.counted.insert((to, from), (name, until));
        self.after_input(to.get());
    }

    /// Ends what the node promised and has not renewed in time.
    pub(crate) fn lapse(&mut self, number: u64) {
        if !self.is_external() {
            return;
        }
        let (me, now) = (id(number), self.clock(number));
        let over = |promise: &Promise| promise.until.is_some_and(|until| until <= now);
        let promised = self.support.promised.iter();
        let ended: Vec<_> = promised
            .filter(|((promiser, _), promise)| *promiser == me && over(promise))
            .map(|(&(_, supported), _)| supported)
            .collect();
        for supported in ended {
            self.let_down(me, supported);
        }
    }

    fn let_down(&mut self, promiser: ReplicaId, supported: ReplicaId) {
        let promise = self.support.promised.entry((promiser, supported)).or_default();
        promise.lapses += 1;
        promise.until = None;
        let now = self.clock(promiser.get());
        self.raft_mut(promiser.get()).on_support_lapsed(now, supported);
        self.after_input(promiser.get());
    }

    /// Tells the replica that its leader's node is supported.
    pub(crate) fn tell_support(&mut self, number: u64) {
        let (me, now) = (id(number), self.clock(number));
        let Some(leader) = self.raft(number).leader().filter(|&leader| leader != me) else {
            return;
        };
        let promise = self.support.promised.get(&(me, leader)).copied().unwrap_or_default();
        if self.is_external() && promise.until.is_some() {
            self.raft_mut(number).leader_supported_until(now, Time::NEVER);
        }
    }

    /// Until when each node supports the replica's.
    fn counted(&self, number: u64) -> impl Fn(ReplicaId) -> Time + use<> {
        let (me, counted) = (id(number), self.support.counted.clone());
        move |peer| counted.get(&(me, peer)).map(|&(_, until)| until).unwrap_or_default()
    }

    /// A leader whose support has lapsed steps down.
    pub(crate) fn check_support(&mut self, number: u64) -> bool {
        let (now, counted) = (self.clock(number), self.counted(number));
        let supported = self.raft_mut(number).check_support(now, counted);
        self.after_input(number);
        supported
    }

    /// Where a read may be served by the lease.
    pub(crate) fn lease_read(&self, number: u64) -> Option<Index> {
        self.raft(number).lease_read(self.clock(number), self.counted(number))
    }

    pub(crate) fn support_after_restart(&mut self, number: u64) {
        if !self.is_external() {
            return;
        }
        let (me, now) = (id(number), self.clock(number));
        self.support.promised.retain(|&(promiser, _), _| promiser != me);
        self.support.counted.retain(|&(supported, _), _| supported != me);
        // The first start of all has promised nothing yet.
        let first = self.node(number).restarts == 1;
        let until = if first { now } else { now.after(PROMISE_US) };
        self.raft_mut(number).leader_supported_until(now, until);
    }
}
