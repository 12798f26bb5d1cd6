//! Liveness from outside, modelled: nodes beat each other, and answer by a promise.
//!
//! A beat names the epoch of its sender's node and when it left. Its receiver promises to support
//! that epoch for a while of its own clock; the sender, which hears of it later, counts on four
//! fifths of that while, from when the beat left. Clocks that differ by up to a tenth keep the one
//! within the other. A node that restarts has forgotten what it promised, and waits that out.

use std::collections::BTreeMap;

use kontiki_raft::{ReplicaId, Term, Time};

use super::cluster::{Cluster, id};
use super::network::Packet;

/// How long a promise holds.
const PROMISE_US: u32 = 100_000;
/// How long its receiver counts on it.
const COUNTED_US: u32 = 80_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    /// The epoch of the node that asks for support, and when it asked, by its clock.
    epoch: u64,
    at: Time,
    /// The promise, on its way back.
    answer: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Support {
    /// By promiser and supported: which epoch, and until when by the promiser's clock.
    promised: BTreeMap<(ReplicaId, ReplicaId), (u64, Time)>,
    /// By supported and promiser: until when by the clock of the supported.
    counted: BTreeMap<(ReplicaId, ReplicaId), Time>,
    /// The epoch of each node: a restart begins another, and so does a lapse of support, or those
    /// who still support what it led would wait for ever.
    epochs: BTreeMap<ReplicaId, u64>,
    /// In which epoch of its node each leader began to lead; its messages say so.
    begun: BTreeMap<(Term, ReplicaId), u64>,
    /// Until when a restarted node waits, by its clock.
    waits: BTreeMap<ReplicaId, Time>,
}

impl Support {
    fn epoch(&self, node: ReplicaId) -> u64 {
        self.epochs.get(&node).copied().unwrap_or(0)
    }

    /// What was promised for the epoch that ends counts no more.
    fn begin_epoch(&mut self, node: ReplicaId) {
        *self.epochs.entry(node).or_insert(0) += 1;
        self.counted.retain(|&(supported, _), _| supported != node);
    }
}

impl Cluster {
    /// The node asks all others for support.
    pub(crate) fn beat(&mut self, number: u64) {
        let (at, epoch) = (self.clock(number), self.support.epoch(id(number)));
        for other in self.numbers().filter(|&other| other != number) {
            let beat = Beat { from: id(number), to: id(other), epoch, at, answer: false };
            self.net.push_back(Packet::Beat(beat));
        }
    }

    pub(crate) fn deliver_beat(&mut self, beat: Beat) {
        let Beat { from, to, epoch, at, answer } = beat;
        let now = self.clock(to.get());
        if answer {
            if epoch == self.support.epoch(to) {
                let until = at.after(COUNTED_US);
                let counted = self.support.counted.entry((to, from)).or_default();
                *counted = until.max(*counted);
            }
            return;
        }
        let (known, until) =
            self.support.promised.get(&(to, from)).copied().unwrap_or((0, Time(0)));
        if epoch < known {
            return;
        }
        let until = if epoch > known { now } else { until }.max(now.after(PROMISE_US));
        self.support.promised.insert((to, from), (epoch, until));
        let back = Beat { from: to, to: from, epoch, at, answer: true };
        self.net.push_back(Packet::Beat(back));
        self.after_input(to.get());
    }

    /// Tells the replica how long its leader's node is supported.
    pub(crate) fn tell_support(&mut self, number: u64) {
        if !self.is_external() {
            return;
        }
        let (me, now) = (id(number), self.clock(number));
        let (term, epoch) = (self.raft(number).term(), self.support.epoch(me));
        if self.raft(number).is_leader() {
            self.support.begun.entry((term, me)).or_insert(epoch);
        }
        let wait = self.support.waits.get(&me).copied().unwrap_or_default();
        // Without a leader, what was said of the last one still holds.
        let Some(leader) = self.raft(number).leader().filter(|&leader| leader != me) else {
            return;
        };
        // A node that comes back in a later epoch has lost what it led in the one before.
        let begun = self.support.begun.get(&(term, leader));
        let promised = self.support.promised.get(&(me, leader));
        let promised = promised.filter(|(epoch, _)| Some(epoch) == begun);
        let until = promised.map_or(Time(0), |&(_, until)| until).max(wait);
        self.raft_mut(number).leader_supported_until(now, until);
    }

    /// A leader whose support has lapsed steps down.
    pub(crate) fn check_support(&mut self, number: u64) -> bool {
        let (me, now) = (id(number), self.clock(number));
        let counted = self.support.counted.clone();
        let support = |peer| counted.get(&(me, peer)).copied().unwrap_or_default();
        let led = self.raft(number).is_leader();
        let supported = self.raft_mut(number).check_support(now, support);
        if led && !supported {
            self.support.begin_epoch(me);
        }
        self.after_input(number);
        supported
    }

    pub(crate) fn support_after_restart(&mut self, number: u64) {
        if !self.is_external() {
            return;
        }
        let (me, now) = (id(number), self.clock(number));
        self.support.promised.retain(|&(promiser, _), _| promiser != me);
        self.support.begin_epoch(me);
        // The first start of all has promised nothing yet.
        let first = self.node(number).restarts == 1;
        let until = if first { now } else { now.after(PROMISE_US) };
        self.support.waits.insert(me, until);
        self.raft_mut(number).leader_supported_until(now, until);
    }
}
